/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Certificates of clients. */

#include "mod_wstep/wstep_peer.h"

#include <string.h>

#include <mod_ssl.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "mod_gatehouse/client_certificate.h"
#include "x509/key.h"

static struct {
    APR_OPTIONAL_FN_TYPE(gatehouse_client_certificate) *certificate;    /* NULL: no mod_escrow */
    APR_OPTIONAL_FN_TYPE(ssl_var_lookup) *variable;                     /* NULL: no mod_ssl */
} offered;

void wstep_find_peers(void)
{
    offered.certificate = APR_RETRIEVE_OPTIONAL_FN(gatehouse_client_certificate);
    offered.variable = APR_RETRIEVE_OPTIONAL_FN(ssl_var_lookup);
}

apr_status_t wstep_peer_certificate(X509 **certificate, request_rec *r, gh_result_t *result)
{
    const char *text;
    BIO *bio;

    *certificate = NULL;
    if (offered.certificate) {
        return offered.certificate(r, certificate, result);
    }
    text = offered.variable ? offered.variable(r->pool, r->server, r->connection, r,
                                               (char *)"SSL_CLIENT_CERT") : NULL;
    bio = text && *text ? BIO_new_mem_buf(text, -1) : NULL;
    if (bio) {
        *certificate = gh_own_certificate(r->pool, PEM_read_bio_X509(bio, NULL, NULL, NULL));
        BIO_free(bio);
        ERR_clear_error();
    }
    return *certificate ? APR_SUCCESS : APR_NOTFOUND;
}
