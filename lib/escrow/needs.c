/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "escrow/needs.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#include "store/escrow_credentials.h"

/** The next name. @param at moves behind it @return its length; 0 at the end */
static apr_size_t next_name(const char **at, const char **name)
{
    apr_size_t length;

    while (**at == ',') {
        ++*at;
    }
    *name = *at;
    length = strcspn(*at, ",");
    *at += length;
    return length;
}

/** @param position of "[n]"; 0 without it; -1 for "[*]"
 *  @return the purpose; 0 if it is none */
static int read_name(const char *name, apr_size_t length, int *position)
{
    int purpose;

    *position = 0;
    for (purpose = GH_ESCROW_SIGNING; purpose <= GH_ESCROW_ARCHIVED; ++purpose) {
        const char *text = gh_escrow_purpose_name(purpose);
        apr_size_t size = strlen(text);

        if (length < size || strncmp(name, text, size) != 0
            || (length > size && name[size] != '[')) {
            continue;
        }
        if (length > size) {
            *position = name[size + 1] == '*' ? -1 : (int)strtol(name + size + 1, NULL, 10);
        }
        return purpose;
    }
    return 0;
}

apr_array_header_t *gh_escrow_needs_missing(const char *needs, const int *counts, apr_pool_t *p)
{
    apr_array_header_t *missing = apr_array_make(p, 2, sizeof(const char *));
    const char *name;
    apr_size_t length;

    while ((length = next_name(&needs, &name)) > 0) {
        int position, purpose = read_name(name, length, &position);

        if (purpose == 0 || position >= counts[purpose]) {
            APR_ARRAY_PUSH(missing, const char *) = apr_pstrmemdup(p, name, length);
        }
    }
    return missing;
}

int gh_escrow_needs_purpose(const char *needs, int purpose)
{
    const char *name;
    apr_size_t length;

    while ((length = next_name(&needs, &name)) > 0) {
        int position;

        if (read_name(name, length, &position) == purpose) {
            return 1;
        }
    }
    return 0;
}

int gh_escrow_needs_one(const char *needs, int purpose, int position)
{
    const char *name;
    apr_size_t length;

    while ((length = next_name(&needs, &name)) > 0) {
        int found;

        if (read_name(name, length, &found) == purpose && found == position) {
            return 1;
        }
    }
    return 0;
}
