/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * An answer of a CMP server to a request for a certificate, or for what has become of one: the
 * first byte chooses which, and whether refusals need protection. No answer is protected by our
 * secret, so that nothing but a refusal may come of one.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <openssl/cmp.h>
#include <openssl/err.h>

#include "fcgi/cmp/cmp_transaction.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static apr_pool_t *pool;
static X509 *ca;
static gh_bytes_t request;

static void require(int condition)
{
    if (!condition) {
        abort();
    }
}

static void start(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509_REQ *csr = X509_REQ_new();
    unsigned char *der = NULL;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    ca = X509_new();
    X509_NAME_add_entry_by_txt(X509_get_subject_name(ca), "CN", MBSTRING_UTF8,
                               (const unsigned char *)"CA", -1, -1, 0);
    X509_set_pubkey(ca, key);
    X509_sign(ca, key, EVP_sha256());
    X509_REQ_set_pubkey(csr, key);
    X509_REQ_sign(csr, key, EVP_sha256());
    request.length = (apr_size_t)i2d_X509_REQ(csr, &der);
    request.data = der;
    X509_REQ_free(csr);
    EVP_PKEY_free(key);
}

static void answer_with(void *baton, gh_bytes_t message, cmp_answer_t *answer, apr_pool_t *p)
{
    answer->answered = answer->sent = 1;
    answer->status = 200;
    answer->body = *(const gh_bytes_t *)baton;
}

static apr_status_t refuse(void *baton, X509 *certificate, gh_result_t *result)
{
    /* it had no protection: OpenSSL should never come so far */
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gh_bytes_t body = { data + 1, size - 1 }, serial = { data, 1 };
    cmp_party_t party = {
        .name = "fuzz", .reference = { (const unsigned char *)"ra", 2 },
        .secret = { (const unsigned char *)"secret", 6 }, .message = OSSL_CMP_P10CR
    };
    cmp_request_t wanted = { .check = refuse };
    cmp_transport_t transport = { answer_with, &body };
    cmp_reply_t reply;
    apr_pool_t *p;

    if (size < 2) {
        return 0;
    }
    if (!pool) {
        start();
    }
    apr_pool_create(&p, pool);
    party.ca = ca;
    party.unprotected_errors = data[0] & 1;
    wanted.request = request;
    switch (data[0] >> 1 & 3) {
    case 0:
        cmp_enrol(&reply, &party, &wanted, &transport, p);
        break;
    case 1:
        wanted.waiting = body;
        cmp_enrol(&reply, &party, &wanted, &transport, p);
        break;
    case 2:
        cmp_revoke(&reply, &party, serial, 1, &transport, p);
        break;
    default:
        cmp_probe(&reply, &party, &transport, p);
    }
    require(reply.verdict >= CMP_DONE && reply.verdict <= CMP_WRONG);
    require(!reply.certificate);
    require(reply.verdict == CMP_DONE || reply.result.number[0] != '\0');
    require(reply.verdict != CMP_DONE || party.unprotected_errors);
    require(ERR_peek_error() == 0);
    apr_pool_destroy(p);
    return 0;
}
