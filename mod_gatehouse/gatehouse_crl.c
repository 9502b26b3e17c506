/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* SetHandler gatehouse-crl: <issuer>.crl is the CRL in DER (RFC 5280 4.2.1.13), <issuer>.pem in PEM
 * (RFC 7468 7). */

#include <string.h>

#include "gatehouse_private.h"
#include "gatehouse_values.h"

/** How long a client waits, in seconds, while no CRL was published yet. */
#define RETRY_AFTER "1"

/** How long a request waits for this process to have what another one has. */
#define PATIENCE apr_time_from_msec(500)

/* An issuer whose CRL nobody makes or names here has none, and never will. */
static int has_crl(gh_issuer_t *issuer)
{
    const gh_issuer_backend_t *backend = gh_issuer_backend(issuer);

    return backend->crl ? gh_issuer_config(issuer)->crl_file != NULL : backend->crl_signer != NULL;
}

/* The CRL of this process, or the newer one that another child has just got, which is a read of the
 * store away. */
static apr_status_t newest_crl(const gatehouse_service_t *service, const char *name, int slot,
                               const gh_crl_t **crl, apr_pool_t *p)
{
    apr_time_t deadline = apr_time_now() + PATIENCE;
    apr_pool_t *ptemp;
    apr_status_t rv;

    apr_pool_create(&ptemp, p);
    rv = gh_publisher_crl(service->publisher, name, crl, ptemp);
    if (gatehouse_board_ahead(slot, rv == APR_SUCCESS ? (*crl)->number : 0)) {
        gatehouse_follower_wake();
        do {
            apr_pool_clear(ptemp);
            apr_sleep(apr_time_from_msec(2));
            rv = gh_publisher_crl(service->publisher, name, crl, ptemp);
        } while (gatehouse_board_ahead(slot, rv == APR_SUCCESS ? (*crl)->number : 0)
                 && apr_time_now() < deadline);
    }
    apr_pool_destroy(ptemp);
    rv = gh_publisher_crl(service->publisher, name, crl, p);
    if (rv == APR_SUCCESS) {
        gatehouse_board_note(slot, (*crl)->number);
    }
    return rv;
}

int gatehouse_crl_handler(request_rec *r)
{
    const gatehouse_settings_t *settings = gatehouse_settings();
    const gatehouse_service_t *service = gatehouse_service();
    const gatehouse_authority_t *authority;
    gatehouse_content_t content;
    const char *name, *extension;
    gh_issuer_t *issuer;
    const gh_crl_t *crl;
    int pem;
    int status = gatehouse_content_request(r, "gatehouse-crl", &name, &extension);

    if (status != OK) {
        return status;
    }
    pem = !strcmp(extension, "pem");
    if (!settings || (!pem && strcmp(extension, "crl"))) {
        return HTTP_NOT_FOUND;
    }
    issuer = apr_hash_get(settings->shared.issuers, name, APR_HASH_KEY_STRING);
    authority = apr_hash_get(settings->authorities, name, APR_HASH_KEY_STRING);
    if (!issuer || !has_crl(issuer)) {
        return HTTP_NOT_FOUND;
    }
    if (!service
        || newest_crl(service, name, authority->slot, &crl, r->pool) != APR_SUCCESS) {
        apr_table_setn(r->err_headers_out, "Retry-After", RETRY_AFTER);
        return HTTP_SERVICE_UNAVAILABLE;
    }
    content.bytes = pem ? crl->pem : crl->der;
    content.type = pem ? "application/x-pem-file" : "application/pkix-crl";
    content.etag = crl->etag;
    content.modified = crl->this_update;
    content.max_age = gatehouse_crl_max_age(r->request_time, crl->next_update,
                                            gh_issuer_config(issuer)->crl_delay);
    return gatehouse_content_send(r, &content);
}
