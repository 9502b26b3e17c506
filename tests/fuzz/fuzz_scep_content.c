/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * What is inside the envelope of a SCEP message, before an engine with a store and a CA: the first
 * byte chooses message type, signer and location, the rest is the content. Signed and encrypted as
 * a client does; if the byte says so, a request is signed anew, since a fuzzer cannot.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <apr_hash.h>
#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include "issuer/publisher.h"
#include "scep_world.h"
#include "store/certificates.h"
#include "x509/ca.h"
#include "x509/csr.h"

#define CHOICE_TYPE         0x07
#define CHOICE_ISSUED       0x08        /* signed by a certificate of the CA */
#define CHOICE_SIGNED_ANEW  0x10
#define CHOICE_MANUAL       0x20        /* at the location with approval */
#define CHOICE_CHALLENGE    0x40        /* where a challenge is asked for */
#define CHOICE_MANAGER      0x80        /* signed by a manager of devices */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static scep_endpoint_t open_endpoint, open_manual;
static X509 *issued;

/* The store of this program need not outlive a power cut. */

int fsync(int descriptor)
{
    return 0;
}

int fdatasync(int descriptor)
{
    return 0;
}

static void require(int condition)
{
    if (!condition) {
        abort();
    }
}

static void tear_down(void)
{
    X509_free(issued);
    scep_world_teardown(NULL);
}

static void publish_crl(void)
{
    apr_hash_t *issuers = apr_hash_make(pool);
    gh_result_t result;

    apr_hash_set(issuers, "devices", APR_HASH_KEY_STRING, issuer);
    services.publisher = gh_publisher_create(services.store, issuers, "node1", NULL, pool);
    require(gh_publisher_run(services.publisher, &result) == APR_SUCCESS);
}

static void open_to_all(scep_endpoint_t *made, const gh_profile_t *profile)
{
    static const gh_renewal_policy_t renewal = {
        .revoke_old = GH_RENEWAL_KEEP_OLD, .same_key = 1
    };
    apr_array_header_t *managers = apr_array_make(pool, 1, sizeof(X509 *));

    APR_ARRAY_PUSH(managers, X509 *) = other;
    make_endpoint(made, profile, gh_authoriser_none(pool));
    made->renewal = &renewal;
    made->managers = managers;
}

static void set_up(void)
{
    scep_test_spec_t spec = { .transaction = "first" };

    if (issued) {
        return;
    }
    require(scep_world_setup(NULL) == 0);
    publish_crl();
    open_to_all(&open_endpoint, automatic);
    open_to_all(&open_manual, manual);
    issued = gh_certificate_parse(enrolled(&open_endpoint, &spec), pool);
    require(issued != NULL);
    X509_up_ref(issued);
    atexit(tear_down);
}

/** A request with the client's key and signature, if it is one that OpenSSL can read. */
static gh_bytes_t signed_anew(gh_bytes_t content, apr_pool_t *p)
{
    const unsigned char *at = content.data;
    X509_REQ *asked = d2i_X509_REQ(NULL, &at, (long)content.length);
    unsigned char *encoded = NULL;
    int length;

    if (asked && X509_REQ_set_pubkey(asked, client_key)
        && X509_REQ_sign(asked, client_key, EVP_sha256())) {
        length = i2d_X509_REQ(asked, &encoded);
        if (length > 0) {
            content.data = apr_pmemdup(p, encoded, (apr_size_t)length);
            content.length = (apr_size_t)length;
        }
        OPENSSL_free(encoded);
    }
    X509_REQ_free(asked);
    ERR_clear_error();
    return content;
}

typedef struct {
    gh_bytes_t serial;
    apr_array_header_t *records;
    apr_pool_t *pool;
} stored_t;

static apr_status_t find_stored(gh_transaction_t *transaction, void *baton)
{
    stored_t *stored = baton;

    return gh_certificate_find(transaction, "devices", stored->serial, &stored->records,
                               stored->pool);
}

/** What no client may get, whatever it sends; and what it has got is in the store. */
static void check_certificate(gh_bytes_t der, apr_pool_t *p)
{
    X509 *certificate = gh_certificate_parse(der, p);
    stored_t stored = { { NULL, 0 }, NULL, p };
    gh_result_t result;
    gh_bytes_t kept;

    require(certificate != NULL && X509_check_ca(certificate) == 0);
    require((X509_get_extension_flags(certificate) & (EXFLAG_INVALID | EXFLAG_CRITICAL)) == 0);
    require((X509_get_key_usage(certificate) & (KU_KEY_CERT_SIGN | KU_CRL_SIGN)) == 0);
    require(X509_get_extended_key_usage(certificate) == XKU_SSL_CLIENT);
    require(EVP_PKEY_eq(X509_get0_pubkey(certificate), client_key) == 1);
    stored.serial = gh_certificate_serial(certificate, p);
    require(gh_store_read(services.store, find_stored, &stored, &result) == APR_SUCCESS);
    require(stored.records->nelts == 1);
    kept = APR_ARRAY_IDX(stored.records, 0, gh_certificate_record_t *)->der;
    require(kept.length == der.length && memcmp(kept.data, der.data, der.length) == 0);
}

static void check_reply(const scep_response_t *response, const scep_test_spec_t *spec,
                        EVP_PKEY *key, X509 *signer, const gh_audit_event_t *audited, apr_pool_t *p)
{
    scep_test_reply_t reply;

    require(response->status == 200);
    require(scep_test_reply(&reply, response->body, key, signer, p));
    require(reply.verified && reply.type == SCEP_CERT_REP);
    require(strcmp(reply.transaction, spec->transaction) == 0);
    switch (reply.status) {
    case SCEP_SUCCESS:
        require(reply.has_content);
        /* nobody approves here, so that no poll succeeds; GetCert and GetCRL give what is public */
        require(strcmp(spec->type, "20") != 0);
        if (spec->type[0] == '1') {
            require(strcmp(audited->result, "issued") == 0);
            require(reply.certificates && reply.certificates->nelts > 0);
            check_certificate(APR_ARRAY_IDX(reply.certificates, 0, gh_bytes_t), p);
        }
        break;
    case SCEP_FAILURE:
        require(reply.fail_text && strncmp(reply.fail_text, "GH", 2) == 0 && !reply.has_content);
        require(strcmp(audited->result, "refused") == 0);
        break;
    default:
        require(reply.status == SCEP_PENDING && !reply.has_content);
        require(strcmp(audited->result, "pending") == 0);
        break;
    }
}

static const scep_endpoint_t *chosen_endpoint(uint8_t choice)
{
    if (choice & CHOICE_CHALLENGE) {
        return choice & CHOICE_MANUAL ? &manual_endpoint : &endpoint;
    }
    return choice & CHOICE_MANUAL ? &open_manual : &open_endpoint;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const types[] = { "19", "20", "17", "21", "22", "18", "19", "20" };
    gh_audit_event_t audited = { .event = NULL };
    scep_request_t with = { .client = "192.0.2.1", .id = "0123", .event = &audited };
    unsigned char digest[SHA256_DIGEST_LENGTH];
    scep_test_spec_t spec = { .type = NULL };
    scep_response_t response;
    gh_bytes_t content;
    apr_pool_t *p;
    EVP_PKEY *key;
    X509 *signer;

    set_up();
    if (size < 2 || size > SCEP_MESSAGE_MAX / 2) {
        return 0;
    }
    require(apr_pool_create(&p, NULL) == APR_SUCCESS);
    key = data[0] & CHOICE_MANAGER ? other_key : client_key;
    signer = data[0] & CHOICE_MANAGER ? other : data[0] & CHOICE_ISSUED ? issued : client;
    content.data = data + 1;
    content.length = size - 1;
    if (data[0] & CHOICE_SIGNED_ANEW) {
        content = signed_anew(content, p);
    }
    SHA256(data, size, digest);
    spec.type = types[data[0] & CHOICE_TYPE];
    spec.transaction = gh_hex(p, digest, sizeof(digest));
    scep_engine_operate(engine, chosen_endpoint(data[0]),
                        scep_test_message(&spec, content, key, signer, ra, p), &with,
                        &response, p);
    require(ERR_peek_error() == 0);
    check_reply(&response, &spec, key, signer, &audited, p);
    apr_pool_destroy(p);
    return 0;
}
