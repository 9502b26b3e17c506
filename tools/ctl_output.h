/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehousectl_ctl_output_h
#define gatehousectl_ctl_output_h

#include <stdio.h>

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>
#include <apr_user.h>
#include <jansson.h>

#include "store/certificates.h"
#include "store/enrolments.h"
#include "store/jobs.h"

/* What commands print: JSON, one object per line, or text in columns. */

/* Objects. The caller owns them; members that do not apply are null. */

/** "good", "held", "revoked", or "expired" for what was good or held until its end. */
const char *ctl_certificate_status(const gh_certificate_record_t *record, apr_time_t now);

json_t *ctl_certificate_json(const gh_certificate_record_t *record, apr_time_t now,
                             apr_pool_t *p);
/** @param job that carries it out; NULL: none */
json_t *ctl_enrolment_json(const gh_enrolment_record_t *record, const gh_job_record_t *job,
                           apr_pool_t *p);

/** A string that may hold anything; NULL is null. */
json_t *ctl_json_text(const char *text, apr_pool_t *p);

/** The names of a JSON array, with commas between, in p; NULL if there are none. */
const char *ctl_sans_text(const char *sans, apr_pool_t *p);

/** A time; 0 is null. */
json_t *ctl_json_time(apr_time_t time, apr_pool_t *p);

/** Prints an object on a line of its own and releases it. */
void ctl_json_print(FILE *file, json_t *object);

/* Columns, each as wide as its widest text; the last one is not padded. */

typedef struct ctl_table ctl_table_t;

#define CTL_TABLE_COLUMNS 10

/** @param headings NULL-ended, at most CTL_TABLE_COLUMNS */
ctl_table_t *ctl_table_create(const char *const *headings, apr_pool_t *p);

/** Adds a row, one text for each heading; NULL is printed as "-". Texts are made printable. */
void ctl_table_row(ctl_table_t *table, const char *const *texts);

/** Prints the rows, with headings the first time, and empties the table. Widths never shrink. */
void ctl_table_print(ctl_table_t *table, FILE *file);

/** Prints "label  text", labels padded to the same width; nothing if the text is NULL or empty. */
void ctl_field_print(FILE *file, const char *label, const char *text, apr_pool_t *p);

#endif /* gatehousectl_ctl_output_h */
