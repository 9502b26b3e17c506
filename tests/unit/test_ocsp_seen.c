/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Requests that were parsed before. */

#include <pthread.h>
#include <string.h>

#include "mod_ocsp/ocsp_seen.h"
#include "ocsp_engine_support.h"

#define REQUESTS 20000
#define THREADS 4

static ocsp_request_t *parse(gh_bytes_t der)
{
    ocsp_request_t *request;
    ocsp_status_t ocsp;

    assert_success(ocsp_request_parse(&request, der, 100, &ocsp, test_pool, &result));
    return request;
}

static int same(gh_bytes_t one, gh_bytes_t other)
{
    return one.length == other.length && memcmp(one.data, other.data, one.length) == 0;
}

static int agrees(const ocsp_request_t *found, const ocsp_request_t *parsed)
{
    const ocsp_certid_t *one = found->ids, *other = parsed->ids;

    return found->count == 1 && same(found->der, parsed->der) && !found->has_nonce
        && !found->is_signed && !found->requestor && !found->preferred_count
        && one->digest == other->digest && one->has_null == other->has_null
        && same(one->name_hash, other->name_hash) && same(one->key_hash, other->key_hash)
        && same(one->serial, other->serial);
}

static void test_plain(void **state)
{
    const EVP_MD *digests[] = { EVP_sha1(), EVP_sha256() };
    ocsp_seen_t *seen = ocsp_seen_create(test_pool);
    const ocsp_request_t *found;
    int i;

    for (i = 0; i < 2; ++i) {
        gh_bytes_t der = world_request(ca, digests[i], world_serial(7), NULL);
        gh_bytes_t other = world_request(ca, digests[i], world_serial(8), NULL);
        ocsp_request_t *parsed = parse(der);

        assert_int_equal(ocsp_seen_find(seen, der, &found, test_pool), 0);
        ocsp_seen_put(seen, parsed);
        assert_int_equal(ocsp_seen_find(seen, der, &found, test_pool), 1);
        assert_true(agrees(found, parsed));
        assert_int_equal(ocsp_seen_find(seen, other, &found, test_pool), 0);
        --der.length;
        assert_int_equal(ocsp_seen_find(seen, der, &found, test_pool), 0);
    }
    assert_int_equal(ocsp_seen_find(seen, (gh_bytes_t){ NULL, 0 }, &found, test_pool), 0);
}

/* Whatever says more than which certificate is parsed each time. */
static void test_others(void **state)
{
    ocsp_seen_t *seen = ocsp_seen_create(test_pool);
    const ocsp_request_t *found;
    world_request_t asking;
    gh_bytes_t ders[5];
    int i;

    ders[0] = world_request(ca, NULL, world_serial(7), "nonce");
    ders[1] = world_request(ca, EVP_sha512(), world_serial(7), NULL);
    asking = world_asking();
    world_ask(&asking, ca, world_serial(7));
    world_ask(&asking, ca, world_serial(8));
    ders[2] = world_asked(&asking);
    asking = world_asking();
    world_ask(&asking, ca, world_serial(7));
    world_ask_extension(&asking, "1.2.3.4", 0, "0500");
    ders[3] = world_asked(&asking);
    asking = world_asking();
    world_ask(&asking, ca, world_serial(7));
    OCSP_request_set1_name(asking.request, X509_get_subject_name(ca->certificate));
    ders[4] = world_asked(&asking);
    for (i = 0; i < 5; ++i) {
        ocsp_seen_put(seen, parse(ders[i]));
        assert_int_equal(ocsp_seen_find(seen, ders[i], &found, test_pool), 0);
    }
}

/* The same questions, the second time without being parsed. */
static void test_answers(void **state)
{
    gh_bytes_t request = world_request(ca, NULL, world_serial(1), NULL);
    apr_time_t now = apr_time_now();
    gh_bytes_t serial;
    int i, again = 0;

    ask_at(request, now);
    assert_int_equal(answer.origin, OCSP_SIGNED);
    serial = answer.serial;
    ask_at(request, now);
    assert_int_equal(answer.origin, OCSP_FROM_CACHE);
    assert_true(same(answer.serial, serial));
    assert_ptr_equal(answer.authority, ca->authority);
    assert_int_equal(answer.count, 1);
    assert_int_equal(answer.digest, NID_sha1);
    world_change(ca, world_serial(1), GH_KNOWN_REVOKED, 1);
    ask_at(request, now);
    assert_int_equal(answer.origin, OCSP_SIGNED);
    assert_int_equal(said().status, V_OCSP_CERTSTATUS_REVOKED);
    ask_at(request, now);
    assert_int_equal(answer.origin, OCSP_FROM_CACHE);
    assert_int_equal(said().status, V_OCSP_CERTSTATUS_REVOKED);
    /* signatures are still demanded */
    endpoint->signature = OCSP_SIGNATURE_REQUIRE;
    ask_at(request, now);
    assert_error(OCSP_SIG_REQUIRED);
    endpoint->signature = OCSP_SIGNATURE_IGNORE;
    /* and it is made again when that is due, in the very request that claims it */
    {
        ocsp_policy_t policy = world_policy();

        policy.max_stale = 0;
        use_policy(&policy);
    }
    ask_at(request, now);
    ask_at(request, now);
    for (i = 0; i < 3000 && !again; i += 10) {
        ask_at(request, now + i * SECOND);
        again = answer.origin == OCSP_SIGNED;
    }
    assert_true(again && i >= 1790);
}

static struct {
    ocsp_seen_t *seen;
    ocsp_request_t *parsed[REQUESTS];
    int wrong;
    int found;
} torn;

static void *put_and_find(void *baton)
{
    unsigned int random = *(unsigned int *)baton;
    apr_pool_t *p;
    int i;

    apr_pool_create_unmanaged_ex(&p, NULL, NULL);
    for (i = 0; i < 300000; ++i) {
        const ocsp_request_t *found;
        ocsp_request_t *parsed;

        random = random * 1103515245 + 12345;
        parsed = torn.parsed[(random >> 8) % REQUESTS];
        if (random >> 30 == 0) {
            ocsp_seen_put(torn.seen, parsed);
        }
        else if (ocsp_seen_find(torn.seen, parsed->der, &found, p)) {
            __atomic_add_fetch(&torn.found, 1, __ATOMIC_RELAXED);
            if (!agrees(found, parsed)) {
                __atomic_add_fetch(&torn.wrong, 1, __ATOMIC_RELAXED);
            }
        }
        apr_pool_clear(p);
    }
    apr_pool_destroy(p);
    return NULL;
}

/* More requests than slots, by several threads: what is found is whole. */
static void test_threads(void **state)
{
    unsigned int seeds[THREADS];
    pthread_t threads[THREADS];
    int i;

    memset(&torn, 0, sizeof(torn));
    torn.seen = ocsp_seen_create(test_pool);
    for (i = 0; i < REQUESTS; ++i) {
        torn.parsed[i] = parse(world_request(ca, i % 2 ? EVP_sha256() : NULL,
                                             world_serial(1000 + (apr_uint64_t)i), NULL));
    }
    for (i = 0; i < THREADS; ++i) {
        seeds[i] = (unsigned int)i + 1;
        assert_int_equal(pthread_create(&threads[i], NULL, put_and_find, &seeds[i]), 0);
    }
    for (i = 0; i < THREADS; ++i) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(torn.wrong, 0);
    assert_true(torn.found > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_plain, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_others, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_answers, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_threads, engine_setup, engine_teardown)
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
