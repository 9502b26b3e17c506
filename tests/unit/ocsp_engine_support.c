/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "ocsp_engine_support.h"

#include <sys/mman.h>

#include <apr_strings.h>
#include <openssl/err.h>

#include "mod_ocsp/ocsp_response.h"

#define CACHE_SIZE (4 * 1024 * 1024)

world_ca_t *ca;
ocsp_endpoint_t *endpoint;
ocsp_engine_options_t options;
ocsp_engine_t *engine;
ocsp_answer_t answer;
gh_result_t result;
static void *memory;

/* A second level that remembers one value, and a cap */

static unsigned char second_key[32];
gh_bytes_t second_value;
int second_gets, second_puts;

static apr_status_t second_get(void *baton, const unsigned char key[32], gh_bytes_t *value,
                               apr_pool_t *p)
{
    ++second_gets;
    if (!second_value.data || memcmp(key, second_key, 32) != 0) {
        return APR_NOTFOUND;
    }
    *value = second_value;
    return APR_SUCCESS;
}

static void second_put(void *baton, const unsigned char key[32], gh_bytes_t value,
                       apr_time_t expiry, apr_pool_t *p)
{
    ++second_puts;
    memcpy(second_key, key, 32);
    second_value.data = apr_pmemdup(test_pool, value.data, value.length);
    second_value.length = value.length;
}

const ocsp_second_level_t second = { NULL, second_get, second_put };
int room[2];
static int inside[2];

static int cap_enter(void *baton, int live)
{
    if (inside[live] >= room[live]) {
        return 0;
    }
    ++inside[live];
    return 1;
}

static void cap_leave(void *baton, int live)
{
    --inside[live];
}

static const ocsp_signing_cap_t cap = { NULL, cap_enter, cap_leave };

void make_engine(int with_cache)
{
    memset(&options, 0, sizeof(options));
    options.cap = &cap;
    if (with_cache) {
        memset(memory, 0, ocsp_cache_size(CACHE_SIZE));
        assert_success(ocsp_cache_prepare(memory, ocsp_cache_size(CACHE_SIZE)));
        assert_success(ocsp_cache_join(&options.cache, memory, ocsp_cache_size(CACHE_SIZE),
                                       test_pool));
    }
    engine = ocsp_engine_create(&options, test_pool);
    assert_non_null(engine);
}

int engine_setup(void **state)
{
    (void)state;
    memory = mmap(NULL, ocsp_cache_size(CACHE_SIZE), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    room[0] = room[1] = 4;
    inside[0] = inside[1] = 0;
    second_value.data = NULL;
    second_gets = second_puts = 0;
    ca = world_ca("Engine", "p256-01");
    world_index_default(ca);
    world_authority(ca, NULL);
    endpoint = world_endpoint(ca, NULL);
    make_engine(1);
    return 0;
}

int engine_teardown(void **state)
{
    munmap(memory, ocsp_cache_size(CACHE_SIZE));
    assert_int_equal(inside[0] + inside[1], 0);
    return x509_test_teardown(state);
}

void use_policy(const ocsp_policy_t *policy)
{
    world_authority(ca, policy);
    endpoint = world_endpoint(ca, NULL);
}

void ask_at(gh_bytes_t der, apr_time_t now)
{
    ocsp_engine_answer(engine, endpoint, der, now, &answer, test_pool, &result);
    assert_int_equal(ERR_peek_error(), 0);
}

void ask_now(gh_bytes_t der)
{
    ask_at(der, apr_time_now());
}

void ask_for(apr_uint64_t serial)
{
    ask_now(world_request(ca, NULL, world_serial(serial), NULL));
}

world_single_t said(void)
{
    assert_int_equal(answer.ocsp, OCSP_SUCCESSFUL);
    return world_single(world_read(answer.der, ca), 0);
}

void assert_error(ocsp_status_t ocsp)
{
    unsigned char *der = NULL;
    OCSP_RESPONSE *response = OCSP_response_create((int)ocsp, NULL);
    int length = i2d_OCSP_RESPONSE(response, &der);

    assert_int_equal(answer.ocsp, ocsp);
    assert_int_equal(answer.der.length, length);
    assert_memory_equal(answer.der.data, der, length);
    assert_int_equal(answer.authoritative, 0);
    assert_int_equal(answer.status, -1);
    assert_int_equal(answer.origin, OCSP_FROM_NOTHING);
    assert_true(result.number[0]);
    OPENSSL_free(der);
    OCSP_RESPONSE_free(response);
}

gh_bytes_t nonce_of(OCSP_BASICRESP *basic)
{
    int at = OCSP_BASICRESP_get_ext_by_NID(basic, NID_id_pkix_OCSP_Nonce, -1);
    gh_bytes_t value = { NULL, 0 };

    if (at >= 0) {
        const ASN1_STRING *data = X509_EXTENSION_get_data(OCSP_BASICRESP_get_ext(basic, at));

        value.data = ASN1_STRING_get0_data(data);
        value.length = (apr_size_t)ASN1_STRING_length(data);
    }
    return value;
}
