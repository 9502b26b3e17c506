/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* From a request to an answer: the rules of RFC 6960, RFC 9919 and RFC 9654 that an answer
 * shows. */

#include <apr_strings.h>
#include <openssl/err.h>

#include "ocsp_engine_support.h"
#include "store/certificates.h"

/* What is said */

static void test_good(void **state)
{
    apr_time_t before = apr_time_sec(apr_time_now()) * SECOND;
    unsigned char digest[32];
    OCSP_BASICRESP *basic;
    world_single_t one;

    ask_for(1);
    one = said();
    assert_int_equal(one.status, V_OCSP_CERTSTATUS_GOOD);
    assert_true(one.this_update >= before - SECOND && one.this_update <= apr_time_now());
    assert_int_equal(one.next_update, one.this_update + 3600 * SECOND);
    assert_int_equal(one.cutoff, 0);
    basic = world_read(answer.der, ca);
    assert_true(world_time(OCSP_resp_get0_produced_at(basic)) >= one.this_update);
    assert_int_equal(world_time(OCSP_resp_get0_produced_at(basic)), answer.produced_at);
    assert_int_equal(OCSP_BASICRESP_get_ext_count(basic), 0);
    assert_int_equal(answer.authoritative, 1);
    assert_int_equal(answer.this_update, one.this_update);
    assert_int_equal(answer.next_update, one.next_update);
    assert_true(answer.expires > answer.produced_at && answer.expires < answer.next_update);
    assert_int_equal(answer.origin, OCSP_SIGNED);
    assert_int_equal(answer.count, 1);
    assert_int_equal(answer.digest, NID_sha1);
    assert_ptr_equal(answer.authority, ca->authority);
    assert_int_equal(answer.serial.length, 1);
    EVP_Digest(answer.der.data, answer.der.length, digest, NULL, EVP_sha256(), NULL);
    assert_memory_equal(digest, answer.sha256, 32);
}

static void test_revoked(void **state)
{
    world_single_t one;

    ask_for(2);
    one = said();
    assert_int_equal(one.status, V_OCSP_CERTSTATUS_REVOKED);
    assert_int_equal(one.reason, OCSP_REVOKED_STATUS_KEYCOMPROMISE);
    assert_true(one.revoked_at < apr_time_now() - 3590 * SECOND);
    assert_int_equal(answer.status, V_OCSP_CERTSTATUS_REVOKED);
    assert_int_equal(answer.reason, OCSP_REVOKED_STATUS_KEYCOMPROMISE);
    ask_for(3);
    assert_int_equal(said().reason, OCSP_REVOKED_STATUS_CERTIFICATEHOLD);
    world_change(ca, world_serial(3), GH_KNOWN_GOOD, GH_REASON_NONE);
    ask_for(3);
    assert_int_equal(said().status, V_OCSP_CERTSTATUS_GOOD);
    world_change(ca, world_serial(3), GH_KNOWN_REVOKED, OCSP_REVOKED_STATUS_UNSPECIFIED);
    ask_for(3);
    assert_int_equal(said().reason, OCSP_REVOKED_STATUS_NOSTATUS);
}

static void test_unknown(void **state)
{
    ocsp_policy_t policy = world_policy();
    OCSP_BASICRESP *basic;
    X509_EXTENSION *extension;
    world_single_t one;
    gh_bytes_t der;

    ask_for(99);
    assert_int_equal(said().status, V_OCSP_CERTSTATUS_UNKNOWN);
    policy.if_unknown = OCSP_UNKNOWN_GOOD;
    use_policy(&policy);
    ask_for(99);
    assert_int_equal(said().status, V_OCSP_CERTSTATUS_GOOD);
    policy.if_unknown = OCSP_UNKNOWN_UNAUTHORIZED;
    use_policy(&policy);
    ask_for(99);
    assert_error(OCSP_UNAUTHORIZED);

    policy.if_unknown = OCSP_UNKNOWN_REVOKED;
    use_policy(&policy);
    ask_for(99);
    one = said();
    assert_int_equal(one.status, V_OCSP_CERTSTATUS_REVOKED);
    assert_int_equal(one.reason, OCSP_REVOKED_STATUS_CERTIFICATEHOLD);
    assert_int_equal(one.revoked_at, 0);
    basic = world_read(answer.der, ca);
    assert_int_equal(OCSP_BASICRESP_get_ext_count(basic), 1);
    extension = OCSP_BASICRESP_get_ext(basic, 0);
    assert_int_equal(X509_EXTENSION_get_critical(extension), 0);
    assert_int_equal(OBJ_obj2nid(X509_EXTENSION_get_object(extension)),
                     OBJ_txt2nid("1.3.6.1.5.5.7.48.1.9"));
    der.data = ASN1_STRING_get0_data(X509_EXTENSION_get_data(extension));
    assert_int_equal(ASN1_STRING_length(X509_EXTENSION_get_data(extension)), 2);
    assert_memory_equal(der.data, "\x05\x00", 2);
    assert_int_equal(OCSP_SINGLERESP_get_ext_count(OCSP_resp_get0(basic, 0)), 0);
    ask_for(1);
    assert_int_equal(OCSP_BASICRESP_get_ext_count(world_read(answer.der, ca)), 0);
}

static void test_certids_are_echoed(void **state)
{
    const EVP_MD *digests[] = { EVP_sha1(), EVP_sha224(), EVP_sha256(), EVP_sha384(),
                                EVP_sha512() };
    size_t i, without;

    for (i = 0; i < 5; ++i) {
        for (without = 0; without < 2; ++without) {
            gh_bytes_t der = world_request(ca, digests[i], world_serial(1), NULL);
            const unsigned char *at = der.data;
            OCSP_ASKING *asking = d2i_OCSP_ASKING(NULL, &at, (long)der.length);
            OCSP_ID *id = sk_OCSP_ASKED_value(asking->tbs->list, 0)->id;
            unsigned char *sent = NULL, *got = NULL, *changed = NULL;
            OCSP_BASICRESP *basic;
            int length;

            if (without) {
                ASN1_TYPE_free(id->algorithm->parameter);
                id->algorithm->parameter = NULL;
                der.length = (apr_size_t)i2d_OCSP_ASKING(asking, &changed);
                der.data = apr_pmemdup(test_pool, changed, der.length);
                OPENSSL_free(changed);
            }
            length = i2d_OCSP_ID(id, &sent);
            ask_now(der);
            basic = world_read(answer.der, ca);
            assert_int_equal(i2d_OCSP_CERTID(OCSP_SINGLERESP_get0_id(OCSP_resp_get0(basic, 0)),
                                             &got), length);
            assert_memory_equal(sent, got, length);
            OPENSSL_free(sent);
            OPENSSL_free(got);
            OCSP_ASKING_free(asking);
        }
    }
}

static void test_several(void **state)
{
    static const int expected[] = { V_OCSP_CERTSTATUS_REVOKED, V_OCSP_CERTSTATUS_GOOD,
                                    V_OCSP_CERTSTATUS_UNKNOWN, V_OCSP_CERTSTATUS_GOOD };
    static const apr_uint64_t serials[] = { 2, 1, 77, 1 };
    world_request_t asking = world_asking();
    OCSP_BASICRESP *basic;
    int i;

    for (i = 0; i < 4; ++i) {
        world_ask(&asking, ca, world_serial(serials[i]));
    }
    ask_now(world_asked(&asking));
    basic = world_read(answer.der, ca);
    assert_int_equal(OCSP_resp_count(basic), 4);
    for (i = 0; i < 4; ++i) {
        ASN1_INTEGER *serial;

        OCSP_id_get0_info(NULL, NULL, NULL, &serial,
                          (OCSP_CERTID *)OCSP_SINGLERESP_get0_id(OCSP_resp_get0(basic, i)));
        assert_int_equal(ASN1_INTEGER_get(serial), serials[i]);
        assert_int_equal(world_single(basic, i).status, expected[i]);
    }
    assert_int_equal(answer.count, 4);
}

static void test_nonce(void **state)
{
    world_request_t raw = world_asking();
    gh_bytes_t nonce;

    ask_now(world_request(ca, NULL, world_serial(1), "0123456789abcdef"));
    assert_int_equal(answer.authoritative, 0);
    assert_int_equal(answer.nonce, 1);
    nonce = nonce_of(world_read(answer.der, ca));
    assert_int_equal(nonce.length, 18);
    assert_memory_equal(nonce.data, "\x04\x10" "0123456789abcdef", 18);

    world_ask(&raw, ca, world_serial(1));
    world_ask_extension(&raw, "1.3.6.1.5.5.7.48.1.2", 0, "aabbccdd");
    ask_now(world_asked(&raw));
    nonce = nonce_of(world_read(answer.der, ca));
    assert_int_equal(nonce.length, 4);
    assert_memory_equal(nonce.data, "\xaa\xbb\xcc\xdd", 4);

    endpoint->nonce = 0;
    ask_now(world_request(ca, NULL, world_serial(1), "0123456789abcdef"));
    assert_null(nonce_of(world_read(answer.der, ca)).data);
    assert_int_equal(answer.authoritative, 1);
}

static void test_issuers(void **state)
{
    world_ca_t *stranger = world_ca("Stranger", "rsa2048-01");
    world_ca_t *namesake = world_ca("Engine", "rsa2048-01");

    ask_now(world_request(stranger, NULL, world_serial(1), NULL));
    assert_error(OCSP_UNAUTHORIZED);
    ask_now(world_request(namesake, NULL, world_serial(1), NULL));
    assert_error(OCSP_UNAUTHORIZED);
    ask_now(world_request(ca, EVP_md5(), world_serial(1), NULL));
    assert_error(OCSP_UNAUTHORIZED);
    ask_now((gh_bytes_t){ (const unsigned char *)"hello", 5 });
    assert_error(OCSP_MALFORMED_REQUEST);
}

static void test_mixed(void **state)
{
    world_ca_t *other = world_ca("Other", "rsa2048-01"), *third = world_ca("Third", "rsa2048-04");
    world_request_t asking = world_asking(), again = world_asking();
    OCSP_BASICRESP *basic;
    gh_bytes_t der;

    world_index_default(other);
    world_authority(other, NULL);
    endpoint = world_endpoint(ca, other, NULL);
    world_ask(&asking, third, world_serial(1));
    world_ask(&asking, other, world_serial(1));
    world_ask(&asking, ca, world_serial(1));
    world_ask(&asking, other, world_serial(2));
    der = world_asked(&asking);
    ask_now(der);
    basic = world_read_with(answer.der, other, OCSP_NOCHECKS);
    assert_int_equal(OCSP_resp_count(basic), 4);
    assert_int_equal(world_single(basic, 0).status, V_OCSP_CERTSTATUS_UNKNOWN);
    assert_int_equal(world_single(basic, 1).status, V_OCSP_CERTSTATUS_GOOD);
    assert_int_equal(world_single(basic, 2).status, V_OCSP_CERTSTATUS_UNKNOWN);
    assert_int_equal(world_single(basic, 3).status, V_OCSP_CERTSTATUS_REVOKED);
    endpoint->mixed_refuse = 1;
    ask_now(der);
    assert_error(OCSP_UNAUTHORIZED);

    /* the same signer for both: in one set, and in two */
    ocsp_authority_set_signers(ca->authority, ocsp_authority_signers(other->authority));
    world_ask(&again, other, world_serial(1));
    world_ask(&again, ca, world_serial(2));
    der = world_asked(&again);
    ask_now(der);
    basic = world_read_with(answer.der, other, OCSP_NOCHECKS);
    assert_int_equal(world_single(basic, 0).status, V_OCSP_CERTSTATUS_GOOD);
    assert_int_equal(world_single(basic, 1).status, V_OCSP_CERTSTATUS_REVOKED);
    {
        EVP_PKEY *key = fixture_key("p256-01");
        X509 *signer = world_signer(other, key, NULL);

        ocsp_authority_set_signers(ca->authority, world_signers(ca, signer, key, NULL));
        ocsp_authority_set_signers(other->authority, world_signers(other, signer, key, NULL));
    }
    ask_now(der);
    basic = world_read_with(answer.der, other, OCSP_NOCHECKS);
    assert_int_equal(world_single(basic, 1).status, V_OCSP_CERTSTATUS_REVOKED);
}

static void test_policies(void **state)
{
    apr_time_t now = apr_time_now(), date = (now / SECOND - 500) * SECOND;
    ocsp_policy_t policy = world_policy();

    policy.cutoff = OCSP_CUTOFF_CA;
    use_policy(&policy);
    ask_for(1);
    assert_int_equal(said().cutoff, gh_certificate_not_before(ca->certificate));
    policy.cutoff = OCSP_CUTOFF_DATE;
    policy.cutoff_date = date;
    use_policy(&policy);
    ask_for(1);
    assert_int_equal(said().cutoff, date);
    policy.cutoff = OCSP_CUTOFF_RETENTION;
    policy.cutoff_retention = 1000 * SECOND;
    use_policy(&policy);
    ask_for(1);
    assert_int_equal(said().cutoff, answer.produced_at - 1000 * SECOND);
    policy.cutoff = OCSP_CUTOFF_CRL;
    use_policy(&policy);
    ask_for(1);
    assert_int_equal(said().cutoff, 0);
    policy.by_name = 1;
    use_policy(&policy);
    ask_for(2);
    {
        const ASN1_OCTET_STRING *key_hash;
        const X509_NAME *name;

        assert_int_equal(OCSP_resp_get0_id(world_read(answer.der, ca), &key_hash, &name), 1);
        assert_null(key_hash);
        assert_non_null(name);
    }
}

static void test_named_policies(void **state)
{
    ocsp_policy_t policy = world_policy();
    int crl, serials;

    assert_int_equal(ocsp_policy_named("basic", &policy, &crl, &serials), 1);
    assert_int_equal(policy.if_unknown, OCSP_UNKNOWN_REVOKED);
    assert_int_equal(policy.next_update, 0);
    assert_int_equal(policy.cutoff, OCSP_CUTOFF_NONE);
    assert_int_equal(crl + serials, 0);
    assert_int_equal(ocsp_policy_named("archiveCutOffWithNextUpdate", &policy, &crl, &serials), 1);
    assert_int_equal(policy.next_update, 8 * 3600 * SECOND);
    assert_int_equal(policy.cutoff, OCSP_CUTOFF_CA);
    assert_int_equal(ocsp_policy_named("nextUpdate", &policy, &crl, &serials), 1);
    assert_int_equal(policy.cutoff, OCSP_CUTOFF_NONE);
    assert_int_equal(ocsp_policy_named("archiveCutOff", &policy, &crl, &serials), 1);
    assert_int_equal(policy.next_update, 0);
    assert_int_equal(ocsp_policy_named("CRLProfileWithArchiveCutOff", &policy, &crl, &serials), 1);
    assert_int_equal(policy.if_unknown, OCSP_UNKNOWN_GOOD);
    assert_int_equal(policy.cutoff, OCSP_CUTOFF_CA);
    assert_true(crl && !serials);
    assert_int_equal(ocsp_policy_named("SNListProfile", &policy, &crl, &serials), 1);
    assert_int_equal(policy.if_unknown, OCSP_UNKNOWN_UNKNOWN);
    assert_true(crl && serials);
    assert_int_equal(ocsp_policy_named("Basic", &policy, &crl, &serials), 0);
}

static void test_crl_times(void **state)
{
    apr_time_t now = apr_time_now() / SECOND * SECOND;
    gh_index_info_t info = { .synced_at = now, .this_update = now - 1000 * SECOND,
                             .next_update = now + 2000 * SECOND,
                             .expired_on_crl = now - 5000 * SECOND };
    gh_known_certificate_t one = { world_serial(2), { GH_KNOWN_REVOKED, 1, now - 77 * SECOND,
                                                      now - 99 * SECOND, 3 } };
    ocsp_policy_t policy = world_policy();
    world_single_t single;

    world_index(ca, &info, &one, 1);
    policy.cutoff = OCSP_CUTOFF_CRL;
    policy.max_stale = 0;
    policy.if_unknown = OCSP_UNKNOWN_GOOD;
    use_policy(&policy);
    ask_at(world_request(ca, NULL, world_serial(2), NULL), now);
    single = said();
    assert_int_equal(single.this_update, info.this_update);
    assert_int_equal(single.next_update, info.next_update);
    assert_int_equal(single.cutoff, info.expired_on_crl);
    assert_int_equal(single.invalid_from, now - 99 * SECOND);
    assert_int_equal(single.revoked_at, now - 77 * SECOND);

    policy.next_update = 500 * SECOND;
    use_policy(&policy);
    ask_at(world_request(ca, NULL, world_serial(5), NULL), now);
    single = said();
    assert_int_equal(single.status, V_OCSP_CERTSTATUS_GOOD);
    assert_int_equal(single.next_update, now + 500 * SECOND);
    policy.next_update = OCSP_NEXT_UPDATE_OF_CRL;
    use_policy(&policy);
    ask_at(world_request(ca, NULL, world_serial(5), NULL), now);
    assert_int_equal(said().next_update, info.next_update);
    ask_at(world_request(ca, NULL, world_serial(5), NULL), info.next_update - SECOND);
    assert_int_equal(answer.ocsp, OCSP_SUCCESSFUL);
    ask_at(world_request(ca, NULL, world_serial(5), NULL), info.next_update);
    assert_error(OCSP_TRY_LATER);
    policy.serve_expired = 1;
    use_policy(&policy);
    ask_at(world_request(ca, NULL, world_serial(5), NULL), info.next_update);
    assert_int_equal(said().next_update, 0);
    assert_int_equal(answer.authoritative, 0);
}

static void test_stale(void **state)
{
    apr_time_t now = apr_time_now();
    gh_bytes_t request = world_request(ca, NULL, world_serial(1), NULL);

    ask_at(request, now);
    assert_int_equal(answer.ocsp, OCSP_SUCCESSFUL);
    ask_at(request, now + 599 * SECOND);
    assert_int_equal(answer.origin, OCSP_FROM_CACHE);
    ask_at(request, now + 601 * SECOND);
    assert_error(OCSP_TRY_LATER);
    /* a clock that goes back makes nothing later than now */
    ask_at(request, now - 100 * SECOND);
    assert_true(answer.this_update <= now - 100 * SECOND || answer.origin == OCSP_FROM_CACHE);
    ask_at(world_request(ca, NULL, world_serial(1), "nonce"), now - 100 * SECOND);
    assert_true(said().this_update <= now - 100 * SECOND);
    assert_int_equal(answer.produced_at, (now / SECOND - 100) * SECOND);
    ocsp_authority_set_view(ca->authority, NULL);
    ask_at(request, now);
    assert_error(OCSP_TRY_LATER);
}

/* Signers */

static void test_preferred(void **state)
{
    static const char *const rsa = "3011300f300d06092a864886f70d01010b0500";
    static const char *const weak = "3011300f300d06092a864886f70d0101050500";
    static const char *const oid = "1.3.6.1.5.5.7.48.1.8";
    const char *preferred[] = { NULL, rsa, weak };
    int i;

    for (i = 0; i < 3; ++i) {
        world_request_t asking = world_asking();
        const X509_ALGOR *algorithm;

        world_ask(&asking, ca, world_serial(1));
        if (preferred[i]) {
            world_ask_extension(&asking, oid, 0, preferred[i]);
        }
        ask_now(world_asked(&asking));
        algorithm = OCSP_resp_get0_tbs_sigalg(world_read(answer.der, ca));
        assert_int_equal(OBJ_obj2nid(algorithm->algorithm),
                         i == 1 ? NID_sha256WithRSAEncryption : NID_ecdsa_with_SHA256);
    }
}

static void test_signer_ends(void **state)
{
    apr_time_t now = apr_time_now() / SECOND * SECOND;
    world_signer_t how = { NULL, NULL, 0, now - 100 * SECOND, now + 50 * SECOND };
    EVP_PKEY *key = fixture_key("p256-01");

    ocsp_authority_set_signers(ca->authority,
                               world_signers(ca, world_signer(ca, key, &how), key, NULL));
    ask_at(world_request(ca, NULL, world_serial(1), NULL), now);
    assert_int_equal(said().next_update, how.not_after);
    ask_at(world_request(ca, NULL, world_serial(1), NULL), how.not_after);
    assert_error(OCSP_TRY_LATER);
}

static void test_ca_signs(void **state)
{
    ocsp_authority_set_signers(ca->authority, world_signers(ca, ca->certificate, ca->key, NULL));
    ask_for(2);
    assert_int_equal(said().status, V_OCSP_CERTSTATUS_REVOKED);
    assert_null(OCSP_resp_get0_certs(world_read(answer.der, ca)));
    assert_true(answer.der.length < 320);
}

static void test_signatures(void **state)
{
    gh_bytes_t request = world_request(ca, NULL, world_serial(1), NULL);

    endpoint->signature = OCSP_SIGNATURE_REQUIRE;
    endpoint->requestors = X509_STORE_new();
    ask_now(request);
    assert_error(OCSP_SIG_REQUIRED);
    endpoint->signature = OCSP_SIGNATURE_VERIFY;
    ask_now(request);
    assert_int_equal(answer.ocsp, OCSP_SUCCESSFUL);
    X509_STORE_free(endpoint->requestors);
}

static void test_strange_serials(void **state)
{
    static const unsigned char bytes[21] = { 1 };
    gh_bytes_t der = world_request(ca, NULL, (gh_bytes_t){ bytes, 21 }, NULL);

    ask_now(der);
    assert_int_equal(said().status, V_OCSP_CERTSTATUS_UNKNOWN);
    ask_now(der);
    assert_int_equal(answer.origin, OCSP_SIGNED);
}

/* A CRL may have revoked them: nothing is known of such serials, whatever the policy. */
static void test_strange_serials_are_never_good(void **state)
{
    static const unsigned char bytes[21] = { 1 };
    ocsp_policy_t policy = world_policy();
    world_request_t asking = world_asking();
    ASN1_INTEGER *negative = ASN1_INTEGER_new();

    policy.if_unknown = OCSP_UNKNOWN_GOOD;
    use_policy(&policy);
    assert_true(ASN1_INTEGER_set(negative, -5));
    OCSP_request_add0_id(asking.request,
                         OCSP_cert_id_new(EVP_sha1(), X509_get_subject_name(ca->certificate),
                                          X509_get0_pubkey_bitstr(ca->certificate), negative));
    ASN1_INTEGER_free(negative);
    ask_now(world_asked(&asking));
    assert_int_equal(said().status, V_OCSP_CERTSTATUS_UNKNOWN);
    ask_now(world_request(ca, NULL, (gh_bytes_t){ bytes, 21 }, NULL));
    assert_int_equal(said().status, V_OCSP_CERTSTATUS_UNKNOWN);
    ask_for(777);
    assert_int_equal(said().status, V_OCSP_CERTSTATUS_GOOD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_good, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_revoked, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_unknown, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_certids_are_echoed, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_several, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_nonce, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_issuers, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_mixed, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_policies, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_named_policies, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_crl_times, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_stale, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_preferred, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_signer_ends, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_ca_signs, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_signatures, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_strange_serials, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_strange_serials_are_never_good, engine_setup,
                                        engine_teardown)
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
