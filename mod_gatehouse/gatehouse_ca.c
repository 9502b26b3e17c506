/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* SetHandler gatehouse-ca: <issuer>.cer is the CA's certificate in DER, where AIA of the
 * certificates that it issues points to (RFC 5280 4.2.2.1); <issuer>.pem is that with its chain. */

#include <string.h>
#include <apr_strings.h>
#include <openssl/bio.h>
#include <openssl/pem.h>

#include "gatehouse_private.h"
#include "text.h"
#include "x509/ca.h"

/** A CA's certificate changes rarely, and the name of its file not at all. */
#define MAX_AGE 3600

apr_status_t gatehouse_make_authority(gatehouse_authority_t **authority,
                                      const gh_issuer_t *issuer, apr_pool_t *p)
{
    const apr_array_header_t *chain = gh_issuer_chain(issuer);
    gatehouse_authority_t *made = apr_pcalloc(p, sizeof(*made));
    unsigned char digest[EVP_MAX_MD_SIZE];
    apr_status_t rv = APR_ENOMEM;
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    long length;
    int i;

    if (!bio || !PEM_write_bio_X509(bio, gh_issuer_certificate(issuer))) {
        goto cleanup;
    }
    for (i = 0; i < chain->nelts; ++i) {
        if (!PEM_write_bio_X509(bio, APR_ARRAY_IDX(chain, i, X509 *))) {
            goto cleanup;
        }
    }
    length = BIO_get_mem_data(bio, &text);
    made->pem.data = apr_pmemdup(p, text, length);
    made->pem.length = length;
    made->der = gh_issuer_certificate_der(issuer);
    if (!EVP_Digest(text, length, digest, NULL, EVP_sha256(), NULL)) {
        goto cleanup;
    }
    made->etag = apr_pstrcat(p, "\"", gh_hex(p, digest, 16), "\"", NULL);
    *authority = made;
    rv = APR_SUCCESS;
cleanup:
    BIO_free(bio);
    return rv;
}

int gatehouse_ca_handler(request_rec *r)
{
    const gatehouse_settings_t *settings = gatehouse_settings();
    const gatehouse_authority_t *authority;
    gatehouse_content_t content;
    const char *name, *extension;
    int pem;
    int status = gatehouse_content_request(r, "gatehouse-ca", &name, &extension);

    if (status != OK) {
        return status;
    }
    pem = !strcmp(extension, "pem");
    authority = settings ? apr_hash_get(settings->authorities, name, APR_HASH_KEY_STRING) : NULL;
    if (!authority || (!pem && strcmp(extension, "cer"))) {
        return HTTP_NOT_FOUND;
    }
    content.bytes = pem ? authority->pem : authority->der;
    content.type = pem ? "application/x-pem-file" : "application/pkix-cert";
    content.etag = authority->etag;
    content.modified = 0;
    content.max_age = MAX_AGE;
    return gatehouse_content_send(r, &content);
}
