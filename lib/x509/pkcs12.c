/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "x509/pkcs12.h"

#include <openssl/pkcs12.h>

#include "log.h"
#include "status.h"
#include "x509/own.h"
#include "x509/key.h"

/** The password is good or is ours; this is what each try costs who has only the file. */
#define ITERATIONS 10000

static STACK_OF(X509) *stack_of(const apr_array_header_t *chain)
{
    STACK_OF(X509) *stack = sk_X509_new_null();
    int i;

    for (i = 0; stack != NULL && i < chain->nelts; i++) {
        if (sk_X509_push(stack, APR_ARRAY_IDX(chain, i, X509 *)) <= 0) {
            sk_X509_free(stack);
            stack = NULL;
        }
    }
    return stack;
}

apr_status_t gh_pkcs12_make(gh_bytes_t *pkcs12, EVP_PKEY *key, gh_bytes_t certificate,
                            const apr_array_header_t *chain, const char *name,
                            const char *password, apr_pool_t *p, gh_result_t *result)
{
    const unsigned char *at = certificate.data;
    X509 *own = d2i_X509(NULL, &at, (long)certificate.length);
    STACK_OF(X509) *above = stack_of(chain);
    unsigned char *encoded = NULL;
    PKCS12 *made = NULL;
    apr_status_t rv = APR_SUCCESS;
    int length = -1;

    if (own != NULL && !gh_key_matches(key, own)) {
        rv = gh_result_fail(result, GH_ECORRUPT, GH_FAILURE_INTERNAL, "pkcs12.key",
                            "Report it: this is a fault of Gatehouse.",
                            GHNO(1019) "a stored key does not belong to its certificate");
        goto cleanup;
    }
    if (own != NULL && above != NULL)
        made = PKCS12_create(password, name, key, own, above, NID_aes_256_cbc, NID_aes_256_cbc,
                             ITERATIONS, ITERATIONS, 0);
    if (made != NULL)
        length = i2d_PKCS12(made, &encoded);
    if (length <= 0) {
        rv = gh_result_openssl(result, APR_EGENERAL, GH_FAILURE_INTERNAL, "pkcs12.make", NULL,
                               GHNO(1020) "a PKCS#12 file cannot be made");
        goto cleanup;
    }
    *pkcs12 = gh_own_bytes(p, encoded, (apr_size_t)length, 1);

cleanup:
    PKCS12_free(made);
    sk_X509_free(above);
    X509_free(own);
    return rv;
}
