/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Whatever is wrong inside an envelope costs the same work: one request is parsed, one is verified.
 * OpenSSL's functions are counted on their way. */

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

X509_REQ *d2i_X509_REQ(X509_REQ **out, const unsigned char **in, long length)
{
    X509_REQ *(*original)(X509_REQ **, const unsigned char **, long);

    *(void **)&original = dlsym(RTLD_NEXT, "d2i_X509_REQ");
    ++parsed;
    return original(out, in, length);
}

int X509_REQ_verify(X509_REQ *asked, EVP_PKEY *key)
{
    int (*original)(X509_REQ *, EVP_PKEY *);

    *(void **)&original = dlsym(RTLD_NEXT, "X509_REQ_verify");
    ++verified;
    return original(asked, key);
}

/** Sends a content and expects the uniform refusal, or another failInfo, after the uniform work. */
static void costs_the_same(const char *what, const char *type, gh_bytes_t content, int spoil,
                           int fail_info)
{
    scep_test_spec_t spec = { .type = type, .transaction = "uniform" };
    gh_bytes_t message = scep_test_message(&spec, content, client_key, client, ra, pool);
    scep_response_t response;
    scep_test_reply_t reply;

    if (spoil) {
        /* the signature holds: the spoilt part is the content of the envelope before signing */
        spec.plain_content = 0;
    }
    parsed = verified = 0;
    send_to(engine, type ? &manual_endpoint : &endpoint, message, &response);
    assert_int_equal(response.status, 200);
    if (parsed != 1 || verified != 1) {
        fail_msg("%s: %d parsed, %d verified", what, parsed, verified);
    }
    assert_true(scep_test_reply(&reply, response.body, client_key, client, pool));
    assert_int_equal(reply.status, SCEP_FAILURE);
    assert_int_equal(reply.fail_info, fail_info);
}
