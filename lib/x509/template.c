/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "x509/template.h"

#include <string.h>

#include <apr_strings.h>

/** RFC 4514 2.4, and every space, since those at the ends have a meaning. */
static const char *escaped(const char *value, apr_pool_t *p)
{
    char *text = apr_palloc(p, strlen(value) * 2 + 1);
    char *out = text;

    for (; *value != '\0'; value++) {
        if (strchr(",+\"\\<>;#= ", *value) != NULL)
            *out++ = '\\';
        *out++ = *value;
    }
    *out = '\0';
    return text;
}

const char *gh_template_fill(const char *text, gh_placeholder_fn *placeholder, void *baton,
                             int escape, const char **failed, apr_pool_t *p)
{
    const char *filled = "";

    *failed = NULL;
    for (;;) {
        apr_size_t plain = strcspn(text, "<>");
        const char *end, *value;

        filled = apr_pstrcat(p, filled, apr_pstrmemdup(p, text, plain), NULL);
        text += plain;
        if (*text == '\0')
            return filled;
        end = *text == '<' ? strchr(text, '>') : NULL;
        if (end == NULL)
            return NULL;
        *failed = apr_pstrmemdup(p, text + 1, (apr_size_t)(end - text - 1));
        value = placeholder(baton, *failed, p);
        if (value == NULL)
            return NULL;
        *failed = NULL;
        filled = apr_pstrcat(p, filled, escape ? escaped(value, p) : value, NULL);
        text = end + 1;
    }
}
