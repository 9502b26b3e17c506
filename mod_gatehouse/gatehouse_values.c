/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <apr_uri.h>

#include "gatehouse_values.h"

const char *gatehouse_public_url_fault(const char *url, apr_pool_t *p)
{
    apr_uri_t uri;
    const char *c;

    for (c = url; *c; ++c) {
        if (!apr_isgraph(*c) || strchr("\"<>\\^`{|}", *c)) {
            return "it has a character that no URL has";
        }
    }
    if (apr_uri_parse(p, url, &uri) != APR_SUCCESS || !uri.scheme
        || (strcmp(uri.scheme, "http") && strcmp(uri.scheme, "https"))) {
        return "it does not begin with http:// or https://";
    }
    if (!uri.hostname || !*uri.hostname) {
        return "it names no host";
    }
    if (uri.user || uri.password) {
        return "it has a user name";
    }
    if (strpbrk(url, "?#")) {
        return "it has a query or a fragment";
    }
    if (url[strlen(url) - 1] == '/') {
        return "it ends with a slash";
    }
    return NULL;
}

int gatehouse_node_valid(const char *name)
{
    apr_size_t length = strlen(name);
    const char *c;

    if (length < 1 || length > 64) {
        return 0;
    }
    for (c = name; *c; ++c) {
        if (!apr_isalnum(*c) && !strchr("._-", *c)) {
            return 0;
        }
    }
    return 1;
}

int gatehouse_path_covers(const char *prefix, const char *path)
{
    apr_size_t length = strlen(prefix);

    if (!length || strncmp(prefix, path, length)) {
        return 0;
    }
    return prefix[length - 1] == '/' || path[length] == '/' || !path[length];
}

int gatehouse_path_file(const char *path, apr_pool_t *p, const char **name,
                        const char **extension)
{
    const char *slash = strrchr(path, '/');
    const char *file = slash ? slash + 1 : path;
    const char *dot = strrchr(file, '.');

    if (!dot || dot == file || !dot[1]) {
        return 0;
    }
    *name = apr_pstrmemdup(p, file, dot - file);
    *extension = dot + 1;
    return 1;
}

long gatehouse_crl_max_age(apr_time_t now, apr_time_t next_update, apr_interval_time_t delay)
{
    apr_interval_time_t age = (next_update - now) / 2;

    if (age > delay) {
        age = delay;
    }
    return age > 0 ? (long)apr_time_sec(age) : 0;
}

const char *gatehouse_printable(apr_pool_t *p, const char *text, apr_size_t max)
{
    char *copy = apr_pstrndup(p, text, max);
    char *c;

    for (c = copy; *c; ++c) {
        if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e) {
            *c = '?';
        }
    }
    return copy;
}
