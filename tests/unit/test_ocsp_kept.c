/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* When answers that were kept are served, on a node and from the second level. */

#include <apr_strings.h>

#include "ocsp_engine_support.h"
#include "store/certificates.h"

static void test_kept(void **state)
{
    gh_bytes_t request = world_request(ca, NULL, world_serial(1), NULL), first;
    apr_time_t now = apr_time_now();
    ocsp_answer_t kept;
    int signatures = 0, i;

    ask_at(request, now);
    first = answer.der;
    kept = answer;
    ask_at(request, now + SECOND);
    assert_int_equal(answer.origin, OCSP_FROM_CACHE);
    assert_int_equal(answer.der.length, first.length);
    assert_memory_equal(answer.der.data, first.data, first.length);
    assert_memory_equal(answer.sha256, kept.sha256, 32);
    assert_int_equal(answer.expires, kept.expires);
    assert_int_equal(answer.status, V_OCSP_CERTSTATUS_GOOD);
    /* SHA-256 is another one */
    ask_at(world_request(ca, EVP_sha256(), world_serial(1), NULL), now);
    assert_int_equal(answer.origin, OCSP_SIGNED);

    world_change(ca, world_serial(1), GH_KNOWN_REVOKED, 4);
    ask_at(request, now + SECOND);
    assert_int_equal(answer.origin, OCSP_SIGNED);
    assert_int_equal(said().status, V_OCSP_CERTSTATUS_REVOKED);
    ask_at(request, now + SECOND);
    assert_int_equal(answer.origin, OCSP_FROM_CACHE);
    assert_int_equal(said().reason, 4);
    world_change(ca, world_serial(1), GH_KNOWN_REVOKED, 5);
    ask_at(request, now + SECOND);
    assert_int_equal(said().reason, 5);

    /* A clock that is set back: what was made is from the future. */
    ask_at(request, now - 5 * SECOND);
    assert_int_equal(answer.origin, OCSP_SIGNED);
    ask_at(request, now - 5 * SECOND);
    assert_int_equal(answer.origin, OCSP_FROM_CACHE);

    /* It is made again once, after half of its life at the earliest. */
    {
        ocsp_policy_t policy = world_policy();

        policy.max_stale = 0;
        use_policy(&policy);
    }
    ask_at(request, now);
    for (i = 0; i < 3000; i += 10) {
        ask_at(request, now + i * SECOND);
        assert_int_equal(answer.ocsp, OCSP_SUCCESSFUL);
        assert_true(answer.next_update > now + i * SECOND);
        if (answer.origin == OCSP_SIGNED && i) {
            assert_true(i >= 1790);
            ++signatures;
        }
    }
    assert_true(signatures >= 1);
}

static void test_kept_without_next_update(void **state)
{
    apr_time_t now = apr_time_now() / SECOND * SECOND;
    gh_bytes_t request = world_request(ca, NULL, world_serial(1), NULL);
    ocsp_policy_t policy = world_policy();

    policy.next_update = 0;
    use_policy(&policy);
    options.second_level = &second;
    ask_at(request, now);
    assert_int_equal(said().next_update, 0);
    assert_int_equal(answer.authoritative, 0);
    assert_int_equal(answer.expires, 0);
    ask_at(request, now + SECOND / 2);
    assert_int_equal(answer.origin, OCSP_FROM_CACHE);
    assert_int_equal(answer.authoritative, 0);
    ask_at(request, now + SECOND);
    assert_int_equal(answer.origin, OCSP_SIGNED);
    assert_int_equal(second_puts, 0);
}

static void use_second(void)
{
    static unsigned char key[32] = "a key that all nodes have";

    make_engine(1);
    options.second_level = &second;
    options.second_level_key.data = key;
    options.second_level_key.length = sizeof(key);
    engine = ocsp_engine_create(&options, test_pool);
    assert_non_null(engine);
}

/* Of what nobody issued an answer lives shortly, wherever it comes from. */
static void test_unknown_ends_soon(void **state)
{
    static const ocsp_if_unknown_t kinds[] = { OCSP_UNKNOWN_UNKNOWN, OCSP_UNKNOWN_REVOKED };
    gh_bytes_t request = world_request(ca, NULL, world_serial(77777), NULL);
    apr_time_t now = apr_time_now();
    int i, late;

    for (i = 0; i < 2; ++i) {
        ocsp_policy_t policy = world_policy();

        policy.if_unknown = kinds[i];
        policy.unknown_next_update = 60 * SECOND;
        use_policy(&policy);
        use_second();
        ask_at(request, now);
        assert_int_equal(answer.origin, OCSP_SIGNED);
        assert_int_equal(answer.unknown, 1);
        assert_in_range(said().next_update, now + 59 * SECOND, now + 60 * SECOND);
        ask_at(request, now + SECOND);
        assert_int_equal(answer.origin, OCSP_FROM_CACHE);
        assert_int_equal(answer.unknown, 1);
        assert_in_range(answer.next_update, now + 59 * SECOND, now + 60 * SECOND);
        for (late = 60; late < 200; late += 20) {
            ask_at(request, now + late * SECOND);
            assert_true(said().next_update > now + late * SECOND);
            assert_true(said().next_update <= now + (late + 60) * SECOND);
        }
        /* and in a request with others, and with a nonce */
        ask_at(world_request(ca, NULL, world_serial(77777), "nonce"), now);
        assert_in_range(said().next_update, now + 59 * SECOND, now + 60 * SECOND);
        ask_at(world_request(ca, NULL, world_serial(1), NULL), now);
        assert_int_equal(answer.unknown, 0);
        assert_in_range(said().next_update, now + 3500 * SECOND, now + 3601 * SECOND);
    }
}

static void test_no_signer(void **state)
{
    gh_bytes_t request = world_request(ca, NULL, world_serial(1), NULL);
    const ocsp_signer_set_t *set;
    const apr_array_header_t *all;
    int i;

    ask_now(request);
    assert_success(ocsp_signers_acquire(ocsp_authority_signers(ca->authority), &set, &result));
    all = ocsp_signer_set_all(set);
    for (i = 0; i < all->nelts; ++i) {
        ocsp_signer_suspect(ocsp_authority_signers(ca->authority),
                            &APR_ARRAY_IDX(all, i, ocsp_signer_t));
    }
    ocsp_signers_release(set);
    ask_now(request);
    assert_int_equal(answer.origin, OCSP_FROM_CACHE);
    ask_now(world_request(ca, NULL, world_serial(1), "nonce"));
    assert_int_equal(answer.origin, OCSP_FROM_CACHE);
    ask_for(2);
    assert_error(OCSP_TRY_LATER);
    ocsp_authority_set_signers(ca->authority, NULL);
    ask_for(2);
    assert_error(OCSP_TRY_LATER);
}

static void test_cap(void **state)
{
    gh_bytes_t with_nonce = world_request(ca, NULL, world_serial(1), "0123456789");

    room[0] = room[1] = 0;
    ask_for(1);
    assert_error(OCSP_TRY_LATER);
    assert_true(answer.retry_after > 0);
    ask_now(with_nonce);
    assert_error(OCSP_TRY_LATER);
    room[0] = 1;
    ask_for(1);
    assert_int_equal(answer.origin, OCSP_SIGNED);
    ask_now(with_nonce);
    assert_int_equal(answer.origin, OCSP_FROM_CACHE);
    assert_null(nonce_of(world_read(answer.der, ca)).data);
    world_change(ca, world_serial(1), GH_KNOWN_REVOKED, 1);
    ask_now(with_nonce);
    assert_error(OCSP_TRY_LATER);
    room[1] = 1;
    ask_now(with_nonce);
    assert_int_equal(answer.origin, OCSP_SIGNED);
}

static void test_second_level(void **state)
{
    gh_bytes_t request = world_request(ca, NULL, world_serial(1), NULL), value;
    apr_size_t i;

    use_second();
    ask_now(request);
    assert_int_equal(answer.origin, OCSP_SIGNED);
    assert_int_equal(second_puts, 1);
    use_second();
    ask_now(request);
    assert_int_equal(answer.origin, OCSP_FROM_SECOND_LEVEL);
    assert_int_equal(said().status, V_OCSP_CERTSTATUS_GOOD);
    assert_int_equal(second_puts, 1);
    second_gets = 0;
    ask_now(request);
    assert_int_equal(answer.origin, OCSP_FROM_CACHE);
    assert_int_equal(second_gets, 0);

    /* Whatever is changed in it, it is not taken. */
    value = second_value;
    for (i = 0; i < value.length; i += 7) {
        unsigned char *spoilt = apr_pmemdup(test_pool, value.data, value.length);

        spoilt[i] ^= 1;
        use_second();
        second_value.data = spoilt;
        second_value.length = value.length;
        ask_now(request);
        assert_int_equal(answer.origin, OCSP_SIGNED);
    }
    second_value.data = value.data;
    second_value.length = 20;
    use_second();
    ask_now(request);
    assert_int_equal(answer.origin, OCSP_SIGNED);
}

static void test_second_level_ahead(void **state)
{
    gh_bytes_t request = world_request(ca, NULL, world_serial(1), NULL), older, newer;
    apr_int64_t change = ca->progress.change;
    gh_overlay_t *theirs;

    use_second();
    ask_now(request);
    older = second_value;

    /* Another node knows more than ours, which is modelled by taking its knowledge away again. */
    world_change(ca, world_serial(1), GH_KNOWN_REVOKED, 1);
    use_second();
    ask_now(request);
    newer = second_value;
    theirs = ca->overlay;
    ca->progress.change = change;
    world_index_default(ca);
    assert_ptr_not_equal(theirs, ca->overlay);
    ca->progress.change = change;
    use_second();
    second_value = newer;
    ask_now(request);
    assert_int_equal(answer.origin, OCSP_FROM_SECOND_LEVEL);
    assert_int_equal(said().status, V_OCSP_CERTSTATUS_REVOKED);
    ask_now(request);
    assert_int_equal(answer.origin, OCSP_FROM_CACHE);
    assert_int_equal(said().status, V_OCSP_CERTSTATUS_REVOKED);

    /* What a node that lags has put is dropped. */
    world_change(ca, world_serial(1), GH_KNOWN_REVOKED, 1);
    use_second();
    second_value = older;
    ask_now(request);
    assert_int_equal(answer.origin, OCSP_SIGNED);
    assert_int_equal(said().status, V_OCSP_CERTSTATUS_REVOKED);
}

/* How far another node has followed its sources does not tell what it knows of a certificate: of
 * two partitions it may have the newer one of the other. */
static void test_second_level_of_other_partitions(void **state)
{
    gh_bytes_t request = world_request(ca, NULL, world_serial(1), NULL), theirs;
    apr_time_t now = apr_time_now();
    gh_index_info_t info = { .change = 900, .synced_at = now, .complete = 1 };
    gh_known_certificate_t one;

    use_second();
    ca->progress.change = 1000;
    world_synced(ca, now);
    ask_now(request);
    theirs = second_value;
    assert_int_equal(said().status, V_OCSP_CERTSTATUS_GOOD);

    ca->progress.change = 0;
    memset(&one, 0, sizeof(one));
    one.serial = world_serial(1);
    one.known.state = GH_KNOWN_REVOKED;
    one.known.reason = 1;
    one.known.revoked_at = now - SECOND;
    one.known.version = 890;
    world_index(ca, &info, &one, 1);
    use_second();
    second_value = theirs;
    ask_now(request);
    assert_int_equal(answer.origin, OCSP_SIGNED);
    assert_int_equal(said().status, V_OCSP_CERTSTATUS_REVOKED);
    ask_now(request);
    assert_int_equal(answer.origin, OCSP_FROM_CACHE);
    assert_int_equal(said().status, V_OCSP_CERTSTATUS_REVOKED);
}

/* Strangers may ask about random numbers without end. */
static void test_of_nobody(void **state)
{
    use_second();
    room[0] = room[1] = 1;
    ask_for(777);
    assert_int_equal(said().status, V_OCSP_CERTSTATUS_UNKNOWN);
    ask_for(777);
    assert_int_equal(answer.origin, OCSP_FROM_CACHE);
    assert_int_equal(second_puts, 0);
    assert_int_equal(second_gets, 0);
    /* they have the share of answers that are of no use to others */
    room[1] = 0;
    ask_for(778);
    assert_error(OCSP_TRY_LATER);
    ask_for(1);
    assert_int_equal(answer.origin, OCSP_SIGNED);
    assert_int_equal(second_puts, 1);
}

static void test_produce(void **state)
{
    ocsp_engine_produce(engine, endpoint, ca->authority, NID_sha1, world_serial(2), apr_time_now(),
                        &answer, test_pool, &result);
    assert_int_equal(answer.origin, OCSP_SIGNED);
    assert_int_equal(said().status, V_OCSP_CERTSTATUS_REVOKED);
    ask_for(2);
    assert_int_equal(answer.origin, OCSP_FROM_CACHE);
    ocsp_engine_produce(engine, endpoint, ca->authority, NID_sha256, world_serial(2),
                        apr_time_now(), &answer, test_pool, &result);
    assert_int_equal(answer.origin, OCSP_SIGNED);
    ocsp_engine_produce(engine, endpoint, ca->authority, NID_md5, world_serial(2), apr_time_now(),
                        &answer, test_pool, &result);
    assert_error(OCSP_INTERNAL_ERROR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kept, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_kept_without_next_update, engine_setup,
                                        engine_teardown),
        cmocka_unit_test_setup_teardown(test_unknown_ends_soon, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_no_signer, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_cap, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_second_level, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_second_level_ahead, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_second_level_of_other_partitions, engine_setup,
                                        engine_teardown),
        cmocka_unit_test_setup_teardown(test_of_nobody, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_produce, engine_setup, engine_teardown)
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
