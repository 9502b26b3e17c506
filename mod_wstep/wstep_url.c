/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_wstep/wstep_url.h"

#include <string.h>

#include <apr_strings.h>

#include "text.h"

#define SERVICES "services"

static const struct {
    wstep_authentication_t authentication;
    const char *name;
} names[] = {
    { WSTEP_USERTOKEN, "usertoken" },
    { WSTEP_KERBEROS, "kerberos" },
    { WSTEP_CERTIFICATE, "certificate" },
    { WSTEP_ANONYMOUS, "anonymous" }
};

/* Group policies have such URLs already. */
static const struct {
    wstep_authentication_t authentication;
    const char *path;
} windows[] = {
    { WSTEP_USERTOKEN, "/ADPolicyProvider_CEP_UsernamePassword/service.svc/CEP" },
    { WSTEP_KERBEROS, "/ADPolicyProvider_CEP_Kerberos/service.svc/CEP" },
    { WSTEP_CERTIFICATE, "/ADPolicyProvider_CEP_Certificate/service.svc/CEP" }
};

const char *wstep_authentication_name(wstep_authentication_t authentication)
{
    apr_size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); ++i) {
        if (names[i].authentication == authentication) {
            return names[i].name;
        }
    }
    return "";
}

apr_status_t wstep_authentication_parse(wstep_authentication_t *authentication, const char *name)
{
    apr_size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); ++i) {
        if (!strcmp(names[i].name, name)) {
            *authentication = names[i].authentication;
            return APR_SUCCESS;
        }
    }
    return APR_NOTFOUND;
}

/** The elements of a path, with or without a final slash.
 *  @return how many; 0 if one is empty, or if there are more than most */
static int split(const char **elements, int most, const char *path, apr_pool_t *p)
{
    int count = 0;

    while (*path == '/' && path[1]) {
        apr_size_t length = strcspn(++path, "/");

        if (!length || count == most) {
            return 0;
        }
        elements[count++] = apr_pstrmemdup(p, path, length);
        path += length;
    }
    return *path && strcmp(path, "/") ? 0 : count;
}

static apr_status_t parse_windows(wstep_url_t *url, const char *path)
{
    apr_size_t length = strlen(path);
    apr_size_t i;

    if (length && path[length - 1] == '/') {
        --length;
    }
    for (i = 0; i < sizeof(windows) / sizeof(windows[0]); ++i) {
        if (strlen(windows[i].path) == length && !strncmp(windows[i].path, path, length)) {
            url->policy = 1;
            url->authentication = windows[i].authentication;
            return APR_SUCCESS;
        }
    }
    return APR_NOTFOUND;
}

apr_status_t wstep_url_parse(wstep_url_t *url, const char *path, apr_pool_t *p)
{
    const char *elements[5];
    int count = split(elements, 5, path, p);

    memset(url, 0, sizeof(*url));
    if (count < 4) {
        return parse_windows(url, path);
    }
    url->policy = !strcmp(elements[0], XCEP_URL_ROOT + 1);
    if ((!url->policy && strcmp(elements[0], WSTEP_URL_ROOT + 1))
        || count != (url->policy ? 4 : 5) || strcmp(elements[2], SERVICES)
        || !gh_name_valid(elements[3]) || (!url->policy && !gh_name_valid(elements[4]))) {
        return APR_NOTFOUND;
    }
    url->tenant = elements[3];
    url->issuer = url->policy ? NULL : elements[4];
    return wstep_authentication_parse(&url->authentication, elements[1]);
}

const char *wstep_url_path(const wstep_url_t *url, apr_pool_t *p)
{
    const char *authentication = wstep_authentication_name(url->authentication);
    apr_size_t i;

    for (i = 0; !url->tenant && i < sizeof(windows) / sizeof(windows[0]); ++i) {
        if (windows[i].authentication == url->authentication) {
            return windows[i].path;
        }
    }
    if (url->policy) {
        return apr_pstrcat(p, XCEP_URL_ROOT "/", authentication, "/" SERVICES "/", url->tenant,
                           NULL);
    }
    return apr_pstrcat(p, WSTEP_URL_ROOT "/", authentication, "/" SERVICES "/", url->tenant, "/",
                       url->issuer, NULL);
}
