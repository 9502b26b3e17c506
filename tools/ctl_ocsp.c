/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "ctl_ocsp.h"

#include <string.h>

#include "status.h"
#include "text.h"

#define RULE "ocsp"

const ctl_authority_t *ctl_find_authority(const ctl_t *ctl, const char *name, int *code)
{
    const apr_array_header_t *authorities = ctl->config->authorities;
    gh_result_t result;
    int i;

    for (i = 0; i < authorities->nelts; i++) {
        const ctl_authority_t *authority = APR_ARRAY_IDX(authorities, i, const ctl_authority_t *);

        if (strcmp(authority->name, name) == 0) {
            return authority;
        }
    }
    gh_result_clear(&result);
    gh_result_fail(&result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, RULE,
                   "gatehousectl ocsp status lists those that are configured.",
                   GHNO(0717) "the configuration has no <OCSPAuthority %s>", name);
    *code = ctl_fail(&result);
    return NULL;
}

int ctl_ocsp_digest(unsigned char digest[32], const ctl_authority_t *authority, apr_pool_t *p)
{
    gh_bytes_t bytes;

    if (authority->digest == NULL || gh_hex_parse(&bytes, authority->digest, p) != APR_SUCCESS
        || bytes.length != 32) {
        return 0;
    }
    memcpy(digest, bytes.data, 32);
    return 1;
}

static apr_status_t not_told(const ctl_authority_t *authority, gh_result_t *result)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, RULE,
                          "Use the gatehousectl that was installed together with the modules.",
                          GHNO(0718) "httpd does not say where the status index of %s is",
                          authority->name);
}

apr_status_t ctl_ocsp_view(gh_view_t **view, const ctl_t *ctl, const ctl_authority_t *authority,
                           gh_source_t source, gh_store_t *store, apr_pool_t *p,
                           gh_result_t *result)
{
    unsigned char digest[32];

    if (ctl->config->ocsp_directory == NULL || !ctl_ocsp_digest(digest, authority, p)) {
        return not_told(authority, result);
    }
    *view = gh_view_create(ctl->config->ocsp_directory, authority->name, digest, source,
                           authority->issuer, p);
    return *view == NULL ? APR_ENOMEM : gh_view_follow(*view, store, p, result);
}

apr_status_t ctl_ocsp_state(ocsp_state_t **state, const ctl_t *ctl,
                            const ctl_authority_t *authority, apr_pool_t *p)
{
    unsigned char digest[32];

    if (ctl->config->ocsp_directory == NULL || !ctl_ocsp_digest(digest, authority, p)) {
        return APR_EINVAL;
    }
    return ocsp_state_read(state, ctl->config->ocsp_directory, authority->name, digest, p);
}

apr_time_t ctl_ocsp_confirmed(const gh_view_state_t *state)
{
    return state->progress.synced_at > state->info.synced_at ? state->progress.synced_at
                                                             : state->info.synced_at;
}
