/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* SetHandler gatehouse-crl: <issuer>.crl is the CRL in DER (RFC 5280 4.2.1.13), <issuer>.pem in PEM
 * (RFC 7468 7). */

#include <string.h>
#include <apr_atomic.h>

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

/* A process that has just started may have none while another makes the first one. */
static int is_behind(const gatehouse_service_t *service, const char *name, int slot,
                     const gh_crl_t **crl, apr_pool_t *p)
{
    return gh_publisher_crl(service->publisher, name, crl, p) != APR_SUCCESS
        || gatehouse_board_ahead(slot, (*crl)->number);
}

/* Waits for the newer CRL that another child has just got, which is a read of the store away. A
 * process that cannot read the store serves what it has: one request at a time waits, none where
 * that is known to be in vain. */
static void wait_for_news(const gatehouse_service_t *service, const char *name, int slot,
                          apr_pool_t *p)
{
    static volatile apr_uint32_t waiting;
    apr_time_t deadline = apr_time_now() + PATIENCE;
    apr_pool_t *ptemp;
    const gh_crl_t *crl;

    gatehouse_follower_wake();
    if (!gatehouse_follower_keeps_up() || apr_atomic_cas32(&waiting, 1, 0) != 0) {
        return;
    }
    apr_pool_create(&ptemp, p);
    do {
        apr_pool_clear(ptemp);
        apr_sleep(apr_time_from_msec(2));
    } while (is_behind(service, name, slot, &crl, ptemp) && gatehouse_follower_keeps_up()
             && apr_time_now() < deadline);
    apr_pool_destroy(ptemp);
    apr_atomic_set32(&waiting, 0);
}

/* The CRL of this process, or the newer one of another. */
static apr_status_t newest_crl(const gatehouse_service_t *service, const char *name, int slot,
                               const gh_crl_t **crl, apr_pool_t *p)
{
    apr_status_t rv;

    if (is_behind(service, name, slot, crl, p)) {
        wait_for_news(service, name, slot, p);
    }
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
    apr_status_t rv = APR_EGENERAL;
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
    if (service) {
        gatehouse_begin_work(r);
        rv = newest_crl(service, name, authority->slot, &crl, r->pool);
        gatehouse_end_work();
    }
    if (rv != APR_SUCCESS) {
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
