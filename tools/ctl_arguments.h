/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehousectl_ctl_arguments_h
#define gatehousectl_ctl_arguments_h

#include <apr_hash.h>
#include <apr_pools.h>
#include <apr_tables.h>

#include "result.h"

/* Options and operands of a command line, by tables. */

typedef struct {
    const char *name;           /* without "--" */
    char letter;                /* short form, or 0 */
    const char *value;          /* what help calls its value; NULL: it takes none; with "..." at
                                   its end it may be given several times */
    const char *help;
} ctl_option_t;

typedef struct {
    apr_hash_t *options;        /* const char * by name; "" for an option without value */
    apr_hash_t *values;         /* array of const char * by name, of those that may be repeated */
    apr_array_header_t *operands;   /* const char * */
} ctl_arguments_t;

/**
 * Reads a command line.
 * @param tables  NULL-ended list of tables, each ended by an entry without name
 * @param argc, argv what is to be read; argv[0] is skipped
 * @param all     1: options may follow operands; 0: the first operand ends the options, and it and
 *                all behind it are operands
 * @return APR_EINVAL with result: unknown option, value missing or not expected, given twice
 */
apr_status_t ctl_arguments_parse(ctl_arguments_t **arguments, const ctl_option_t *const *tables,
                                 int argc, const char *const *argv, int all, apr_pool_t *p,
                                 gh_result_t *result);

/** The value of an option, "" for one that takes none, NULL if it was not given. */
const char *ctl_option(const ctl_arguments_t *arguments, const char *name);

/** The values of an option that may be repeated, const char *; NULL if it was not given. */
const apr_array_header_t *ctl_option_all(const ctl_arguments_t *arguments, const char *name);

int ctl_operands(const ctl_arguments_t *arguments);
const char *ctl_operand(const ctl_arguments_t *arguments, int number);

#endif /* gatehousectl_ctl_arguments_h */
