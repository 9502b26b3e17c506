/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Whatever is wrong inside an envelope costs the same work: one request is parsed to its end, one
 * is verified. OpenSSL's functions are counted on their way. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dlfcn.h>
#include <string.h>
#include <cmocka.h>

#include <apr_strings.h>

#include "scep_world.h"

static int parsed, verified;

ASN1_VALUE *ASN1_item_d2i_ex(ASN1_VALUE **out, const unsigned char **in, long length,
                             const ASN1_ITEM *item, OSSL_LIB_CTX *context, const char *properties)
{
    ASN1_VALUE *(*original)(ASN1_VALUE **, const unsigned char **, long, const ASN1_ITEM *,
                            OSSL_LIB_CTX *, const char *);
    ASN1_VALUE *made;

    *(void **)&original = dlsym(RTLD_NEXT, "ASN1_item_d2i_ex");
    made = original(out, in, length, item, context, properties);
    parsed += made != NULL && item == ASN1_ITEM_rptr(X509_REQ) && context == services.decoding;
    return made;
}

int X509_REQ_verify_ex(X509_REQ *asked, EVP_PKEY *key, OSSL_LIB_CTX *context,
                       const char *properties)
{
    int (*original)(X509_REQ *, EVP_PKEY *, OSSL_LIB_CTX *, const char *);

    *(void **)&original = dlsym(RTLD_NEXT, "X509_REQ_verify_ex");
    verified += context == services.decoding;
    return original(asked, key, context, properties);
}

/** Sends a content and expects a refusal after the uniform work. @param to whom it is encrypted */
static void costs_the_same(const char *what, const scep_test_spec_t *spec, gh_bytes_t content,
                           X509 *to, int fail_info)
{
    gh_bytes_t message = scep_test_message(spec, content, client_key, client, to, pool);
    scep_response_t response;
    scep_test_reply_t reply;

    parsed = verified = 0;
    send_to(engine, spec->type ? &manual_endpoint : &endpoint, message, &response);
    assert_int_equal(response.status, 200);
    if (parsed != 1 || verified != 1) {
        fail_msg("%s: %d parsed, %d verified", what, parsed, verified);
    }
    assert_true(scep_test_reply(&reply, response.body, client_key, client, pool));
    assert_int_equal(reply.status, SCEP_FAILURE);
    assert_int_equal(reply.fail_info, fail_info);
}

/** The RA's certificate by name and number, with a key that the RA does not have. */
static X509 *impostor(void)
{
    X509 *made = X509_dup(ra);

    assert_non_null(made);
    assert_int_equal(X509_set_pubkey(made, other_key), 1);
    return made;
}

static void test_requests(void **state)
{
    scep_test_spec_t spec = { .transaction = "uniform" };
    gh_bytes_t garbage = { (const unsigned char *)"not a request", 13 };
    gh_bytes_t good = request(CHALLENGE), broken = request(CHALLENGE);
    X509 *fake = impostor();

    ((unsigned char *)broken.data)[broken.length - 3] ^= 1;
    costs_the_same("undecryptable", &spec, good, fake, SCEP_BAD_MESSAGE_CHECK);
    costs_the_same("garbage", &spec, garbage, ra, SCEP_BAD_MESSAGE_CHECK);
    costs_the_same("bad signature", &spec, broken, ra, SCEP_BAD_MESSAGE_CHECK);
    costs_the_same("other key", &spec, scep_test_csr(other_key, "client", CHALLENGE, NULL, pool),
                   ra, SCEP_BAD_MESSAGE_CHECK);
    costs_the_same("weak digest", &spec,
                   scep_test_csr(client_key, "client", CHALLENGE, EVP_sha1(), pool), ra,
                   SCEP_BAD_MESSAGE_CHECK);
    costs_the_same("another content", &spec,
                   scep_test_issuer_and_subject(X509_get_subject_name(ca), "client", pool), ra,
                   SCEP_BAD_MESSAGE_CHECK);
    /* and what comes through so far */
    costs_the_same("wrong challenge", &spec, request("wrong"), ra, SCEP_BAD_REQUEST);
    X509_free(fake);
}

static void test_polls(void **state)
{
    scep_test_spec_t spec = { .type = "20", .transaction = "uniform" };
    gh_bytes_t names = scep_test_issuer_and_subject(X509_get_subject_name(ca), "client", pool);
    gh_bytes_t foreign = scep_test_issuer_and_subject(X509_get_subject_name(other), "client",
                                                      pool);
    X509 *fake = impostor();

    costs_the_same("undecryptable", &spec, names, fake, SCEP_BAD_MESSAGE_CHECK);
    costs_the_same("a request", &spec, request(CHALLENGE), ra, SCEP_BAD_MESSAGE_CHECK);
    costs_the_same("another issuer", &spec, foreign, ra, SCEP_BAD_CERT_ID);
    costs_the_same("unknown", &spec, names, ra, SCEP_BAD_CERT_ID);
    X509_free(fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_polls)
    };

    return cmocka_run_group_tests(tests, scep_world_setup, scep_world_teardown);
}
