/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "ctl_arguments.h"

#include <getopt.h>
#include <string.h>

#include <apr_strings.h>

#include "log.h"

#define RULE "command line"

/* Long options are numbered from here, so that no number is a letter. */
#define FIRST_NUMBER 256

/* What getopt_long() wants, made from our tables. */
typedef struct {
    struct option *options;
    const ctl_option_t **entries;
    int count;
    char *letters;
} getopt_tables_t;

static void tables_make(getopt_tables_t *made, const ctl_option_t *const *tables, int all,
                        apr_pool_t *p)
{
    const ctl_option_t *entry;
    char *letter;
    int total = 0;
    int i;

    for (i = 0; tables[i] != NULL; i++) {
        for (entry = tables[i]; entry->name != NULL; entry++) {
            total++;
        }
    }
    made->options = apr_pcalloc(p, sizeof(*made->options) * (apr_size_t)(total + 1));
    made->entries = apr_pcalloc(p, sizeof(*made->entries) * (apr_size_t)(total + 1));
    made->letters = apr_pcalloc(p, (apr_size_t)(2 * total + 3));
    made->count = 0;

    letter = made->letters;
    if (!all) {
        *letter++ = '+';
    }
    *letter++ = ':';
    for (i = 0; tables[i] != NULL; i++) {
        for (entry = tables[i]; entry->name != NULL; entry++) {
            struct option *option = &made->options[made->count];

            option->name = entry->name;
            option->has_arg = entry->value != NULL ? required_argument : no_argument;
            option->val = FIRST_NUMBER + made->count;
            made->entries[made->count++] = entry;
            if (entry->letter != 0) {
                *letter++ = entry->letter;
                if (entry->value != NULL) {
                    *letter++ = ':';
                }
            }
        }
    }
}

static const ctl_option_t *entry_of(const getopt_tables_t *made, int number)
{
    int i;

    if (number >= FIRST_NUMBER) {
        return made->entries[number - FIRST_NUMBER];
    }
    for (i = 0; i < made->count; i++) {
        if (made->entries[i]->letter == number) {
            return made->entries[i];
        }
    }
    return NULL;
}

static int is_repeatable(const ctl_option_t *entry)
{
    apr_size_t length = entry->value != NULL ? strlen(entry->value) : 0;

    return length > 3 && strcmp(entry->value + length - 3, "...") == 0;
}

static void add_value(ctl_arguments_t *arguments, const char *name, const char *value,
                      apr_pool_t *p)
{
    apr_array_header_t *values = apr_hash_get(arguments->values, name, APR_HASH_KEY_STRING);

    if (values == NULL) {
        values = apr_array_make(p, 4, sizeof(const char *));
        apr_hash_set(arguments->values, name, APR_HASH_KEY_STRING, values);
    }
    APR_ARRAY_PUSH(values, const char *) = value;
}

static apr_status_t parse_options(ctl_arguments_t *arguments, const getopt_tables_t *made,
                                  int argc, char **argv, apr_pool_t *p, gh_result_t *result)
{
    const ctl_option_t *entry;
    int number;

    opterr = 0;
    optind = 0;                 /* glibc: begin anew, and forget an earlier order of options */
    while ((number = getopt_long(argc, argv, made->letters, made->options, NULL)) != -1) {
        if (number == ':') {
            entry = entry_of(made, optopt);
            return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                                  "See gatehousectl help.", GHNO(0321) "--%s needs a value",
                                  entry != NULL ? entry->name : "?");
        }
        entry = number == '?' ? NULL : entry_of(made, number);
        if (entry == NULL) {
            return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                                  "See gatehousectl help, or gatehousectl help COMMAND.",
                                  GHNO(0322) "%s is not an option of this command",
                                  argv[optind - 1]);
        }
        if (is_repeatable(entry)) {
            add_value(arguments, entry->name, apr_pstrdup(p, optarg), p);
            continue;
        }
        if (apr_hash_get(arguments->options, entry->name, APR_HASH_KEY_STRING) != NULL) {
            return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                                  "Give it once.", GHNO(0323) "--%s was given twice",
                                  entry->name);
        }
        apr_hash_set(arguments->options, entry->name, APR_HASH_KEY_STRING,
                     entry->value != NULL ? apr_pstrdup(p, optarg) : "");
    }
    return APR_SUCCESS;
}

apr_status_t ctl_arguments_parse(ctl_arguments_t **arguments, const ctl_option_t *const *tables,
                                 int argc, const char *const *argv, int all, apr_pool_t *p,
                                 gh_result_t *result)
{
    getopt_tables_t made;
    ctl_arguments_t *parsed = apr_pcalloc(p, sizeof(*parsed));
    char **copy = apr_pcalloc(p, sizeof(*copy) * (apr_size_t)(argc + 1));
    apr_status_t rv;
    int i;

    for (i = 0; i < argc; i++) {
        copy[i] = apr_pstrdup(p, argv[i]);
    }
    parsed->options = apr_hash_make(p);
    parsed->values = apr_hash_make(p);
    parsed->operands = apr_array_make(p, 4, sizeof(const char *));
    tables_make(&made, tables, all, p);

    rv = parse_options(parsed, &made, argc, copy, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    for (i = optind; i < argc; i++) {
        APR_ARRAY_PUSH(parsed->operands, const char *) = copy[i];
    }
    *arguments = parsed;
    return APR_SUCCESS;
}

const char *ctl_option(const ctl_arguments_t *arguments, const char *name)
{
    return apr_hash_get(arguments->options, name, APR_HASH_KEY_STRING);
}

const apr_array_header_t *ctl_option_all(const ctl_arguments_t *arguments, const char *name)
{
    return apr_hash_get(arguments->values, name, APR_HASH_KEY_STRING);
}

int ctl_operands(const ctl_arguments_t *arguments)
{
    return arguments->operands->nelts;
}

const char *ctl_operand(const ctl_arguments_t *arguments, int number)
{
    if (number < 0 || number >= arguments->operands->nelts) {
        return NULL;
    }
    return APR_ARRAY_IDX(arguments->operands, number, const char *);
}
