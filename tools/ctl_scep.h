/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehousectl_ctl_scep_h
#define gatehousectl_ctl_scep_h

#include <apr_tables.h>
#include <jansson.h>

#include "ctl.h"
#include "mod_scep/scep_capture.h"
#include "mod_scep/scep_explain.h"

/* What "scep explain" has found out, and how it is shown. */

/** A certificate of this configuration that a message may be encrypted to. */
typedef struct {
    const char *issuer;             /* of the configuration */
    const char *role;               /* "RA", "CA", "chain" */
    apr_int64_t generation;         /* of an RA; 0 otherwise */
    const char *state;              /* "usable", "expired"; "withdrawn": revoked or held */
    X509 *certificate;
} ctl_scep_known_t;

/** What becomes of a message at some locations, which are alike. */
typedef struct {
    const char *issuer;             /* NULL: no particular one */
    unsigned allow;                 /* SCEP_ALLOW_* */
    apr_array_header_t *locations;  /* const char *: paths; empty: locations in general */
    scep_verdict_t verdict;
    apr_array_header_t *findings;   /* scep_finding_t */
} ctl_scep_judgement_t;

typedef struct {
    scep_capture_t capture;
    const char *location;           /* of the request, or NULL */
    scep_explanation_t *explanation;
    apr_array_header_t *known;      /* ctl_scep_known_t; NULL: not known */
    const char *note;               /* why something of the server is not known, or NULL */
    apr_array_header_t *judgements; /* ctl_scep_judgement_t */
} ctl_scep_t;

/** The object that --json prints; the caller owns it. It has no secret. */
json_t *ctl_scep_json(const ctl_scep_t *scep, apr_pool_t *p);

/** Prints such an object for people. */
void ctl_scep_print(FILE *file, const json_t *object, apr_pool_t *p);

#endif /* gatehousectl_ctl_scep_h */
