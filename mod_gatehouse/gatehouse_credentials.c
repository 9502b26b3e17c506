/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Our own credentials for CA gateways: the keys are made here and lie sealed in the store, a worker
 * gets the certificates and uses them. */

#include <httpd.h>
#include <apr_strings.h>

#include "gatehouse_child.h"
#include "gatehouse_remote.h"
#include "issuer/gateway_state.h"
#include "issuer/own_keys.h"
#include "status.h"

#define INTERVAL apr_time_from_sec(5)

typedef struct {
    gh_own_keys_t keys;
    gh_own_attempt_t attempt;
    gh_result_t failure;            /* of the last attempt that has failed */
} credential_t;

static void collect(gatehouse_child_t *child)
{
    const apr_array_header_t *sections = child->settings->issuers;
    int i;

    child->credentials = apr_array_make(child->pool, 2, sizeof(credential_t));
    for (i = 0; i < sections->nelts; ++i) {
        const gatehouse_issuer_section_t *section
            = APR_ARRAY_IDX(sections, i, gatehouse_issuer_section_t *);
        const gatehouse_remote_t *remote = &section->remote;
        credential_t *one;

        if (remote->enrolled && remote->own) {
            one = apr_array_push(child->credentials);
            one->keys.purpose = GH_GATEWAY_PURPOSE;
            one->keys.kind = remote->own_kind;
            one->keys.subject = remote->own_subject;
            one->keys.issuer = section->issuer;
            one->keys.profile = remote->own;
        }
    }
}

/** @return APR_SUCCESS also if the CA has been asked and is at work */
static apr_status_t renew(const gatehouse_child_t *child, credential_t *one, apr_time_t now,
                          apr_pool_t *ptemp)
{
    const gatehouse_service_t *has = &child->service;
    gh_own_services_t services = { has->store, has->ledger, has->sealer, has->node,
                                   gatehouse_audit };
    apr_array_header_t *generations;
    gh_result_t failure;
    apr_status_t rv;

    gh_result_clear(&failure);
    rv = gh_own_keys_provide(&generations, &one->keys, &services, &one->attempt, now, ptemp,
                             &failure);
    /* an attempt that has failed is not repeated on each look: its reason stays */
    if (*failure.number) {
        one->failure = failure;
    }
    if (rv == GH_EPENDING) {
        return APR_SUCCESS;
    }
    return rv == APR_SUCCESS && one->attempt.failed ? GH_EUNAVAILABLE : rv;
}

apr_status_t gatehouse_credentials_renew(gatehouse_child_t *child, apr_pool_t *ptemp,
                                         gh_result_t *result)
{
    apr_time_t now = apr_time_now();
    apr_status_t rv = APR_SUCCESS;
    int i;

    if (!child->credentials) {
        collect(child);
    }
    /* a clock that was set back must not stop this */
    if (now < child->credentials_next && child->credentials_next - now <= INTERVAL) {
        if (child->credentials_failure) {
            *result = *child->credentials_failure;
        }
        return child->credentials_status;
    }
    child->credentials_failure = NULL;
    child->credentials_next = now + INTERVAL;
    for (i = 0; i < child->credentials->nelts; ++i) {
        credential_t *one = &APR_ARRAY_IDX(child->credentials, i, credential_t);
        apr_status_t status = renew(child, one, now, ptemp);

        if (status != APR_SUCCESS) {
            *result = one->failure;
            child->credentials_failure = &one->failure;
            rv = status;
        }
    }
    child->credentials_status = rv;
    return rv;
}
