/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* SetHandler gatehouse-crl: <issuer>.crl is the CRL in DER (RFC 5280 4.2.1.13), <issuer>.pem in PEM
 * (RFC 7468 7). */

#include <string.h>

#include "gatehouse_private.h"
#include "gatehouse_values.h"

/** How long a client waits, in seconds, while no CRL was published yet. */
#define RETRY_AFTER "1"

/* An issuer whose CRL nobody makes or names here has none, and never will. */
static int has_crl(gh_issuer_t *issuer)
{
    const gh_issuer_backend_t *backend = gh_issuer_backend(issuer);

    return backend->crl ? gh_issuer_config(issuer)->crl_file != NULL : backend->crl_signer != NULL;
}

int gatehouse_crl_handler(request_rec *r)
{
    const gatehouse_config_t *config = gatehouse_config();
    const gatehouse_service_t *service = gatehouse_service();
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
    issuer = config ? apr_hash_get(config->issuers, name, APR_HASH_KEY_STRING) : NULL;
    if (!issuer || !has_crl(issuer) || (!pem && strcmp(extension, "crl"))) {
        return HTTP_NOT_FOUND;
    }
    if (!service || gh_publisher_crl(service->publisher, name, &crl, r->pool) != APR_SUCCESS) {
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
