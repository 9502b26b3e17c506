/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* PKCS#12 as the world makes it, and as devices take it. */

#include "escrow_support.h"

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pkcs12.h>
#include <openssl/provider.h>

#include "mod_escrow/escrow_gate.h"
#include "status.h"
#include "x509/key.h"

#define DAY apr_time_from_sec(24 * 3600)

static apr_status_t open_as(const char *name, const char *password, escrow_use_t use,
                            apr_time_t now, escrow_credential_t **credential)
{
    gh_bytes_t der = fixture_file(apr_pstrcat(test_pool, "pkcs12/", name, ".p12", NULL));

    gh_result_clear(&result);
    return escrow_pkcs12_open(credential, opener, der, password, use, now, test_pool, &result);
}

static void assert_opens(const char *name, const char *password)
{
    escrow_credential_t *credential;
    EVP_PKEY *key;

    if (open_as(name, password, ESCROW_SIGNING, apr_time_now(), &credential) != APR_SUCCESS)
        fail_msg("%s: %s %s", name, result.number, result.message);
    assert_int_equal(gh_key_decode(&key, credential->key, test_pool, &result), APR_SUCCESS);
    assert_true(EVP_PKEY_eq(key, fixture_key("rsa2048-01")) == 1);
    assert_string_equal(credential->subject, "CN=alice");
    assert_string_equal(credential->email, "alice@example.com");
    assert_true(gh_locked_holds(locked, credential->key.data));
}

static void test_opens_what_the_world_makes(void **state)
{
    static const char *const files[] = {
        "pbes2", "rc2", "3des", "rc2-128", "nomac", "plain"
    };
    apr_size_t i;

    for (i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        assert_opens(files[i], "secret");
    assert_opens("utf8", "gr\303\274n");
}

static void test_opens_without_password(void **state)
{
    static const char *const files[] = { "empty", "rc2-empty", "bare" };
    apr_size_t i;

    for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        assert_opens(files[i], "");
        assert_opens(files[i], NULL);
    }
}

/* A file that was made with no password at all: the MAC is that of no bytes, not of a NUL. */
static void test_opens_missing_password(void **state)
{
    escrow_credential_t *alice = fixture_credential("pbes2", ESCROW_SIGNING), *credential;
    const unsigned char *at = alice->certificate.data;
    X509 *certificate = d2i_X509(NULL, &at, (long)alice->certificate.length);
    PKCS12 *made = PKCS12_create(NULL, NULL, fixture_key("rsa2048-01"), certificate, NULL, 0, 0,
                                 2048, 2048, 0);
    unsigned char *der = NULL;
    gh_bytes_t bytes;

    assert_non_null(made);
    bytes.length = (apr_size_t)i2d_PKCS12(made, &der);
    bytes.data = der;
    assert_int_equal(escrow_pkcs12_open(&credential, opener, bytes, NULL, ESCROW_SIGNING,
                                        apr_time_now(), test_pool, &result), APR_SUCCESS);
    assert_int_equal(escrow_pkcs12_open(&credential, opener, bytes, "", ESCROW_SIGNING,
                                        apr_time_now(), test_pool, &result), APR_SUCCESS);
    assert_failure(escrow_pkcs12_open(&credential, opener, bytes, "x", ESCROW_SIGNING,
                                      apr_time_now(), test_pool, &result), "GH1119", "password");
    OPENSSL_free(der);
    PKCS12_free(made);
    X509_free(certificate);
}

static void test_wrong_passwords(void **state)
{
    static const char *const files[] = {
        "pbes2", "rc2", "3des", "nomac", "empty", "rc2-empty", "plain"
    };
    escrow_credential_t *credential;
    apr_size_t i;

    for (i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        assert_failure(open_as(files[i], "other", ESCROW_SIGNING, apr_time_now(), &credential),
                       "GH1119", "does not open");
    assert_failure(open_as("pbes2", NULL, ESCROW_SIGNING, apr_time_now(), &credential), "GH1119",
                   "does not open");
}

static void test_what_is_refused(void **state)
{
    static const struct {
        const char *file, *number, *part;
    } cases[] = {
        { "iterations", "GH1116", "iterations" },
        { "rc4", "GH1117", "not known" },
        { "no-key", "GH1120", "0 private keys" },
        { "rsa1024", "GH1122", "1024" },
        { "ed25519", "GH1122", "not accepted" }
    };
    escrow_credential_t *credential;
    apr_size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_failure(open_as(cases[i].file, "secret", ESCROW_SIGNING, apr_time_now(),
                               &credential), cases[i].number, cases[i].part);
        assert_null(credential);
    }
}

static void test_usage_and_time(void **state)
{
    apr_time_t late = apr_time_now() + 200 * 365 * DAY;
    escrow_credential_t *credential;

    assert_int_equal(open_as("signing", "secret", ESCROW_SIGNING, apr_time_now(), &credential),
                     APR_SUCCESS);
    assert_failure(open_as("signing", "secret", ESCROW_ENCRYPTION, apr_time_now(), &credential),
                   "GH1123", "encryption");
    assert_int_equal(open_as("encryption", "secret", ESCROW_ENCRYPTION, apr_time_now(),
                             &credential), APR_SUCCESS);
    assert_failure(open_as("encryption", "secret", ESCROW_SIGNING, apr_time_now(), &credential),
                   "GH1123", "signing");
    assert_int_equal(open_as("p256", "secret", ESCROW_ENCRYPTION, apr_time_now(), &credential),
                     APR_SUCCESS);
    assert_int_equal(open_as("p384", "secret", ESCROW_ENCRYPTION, apr_time_now(), &credential),
                     APR_SUCCESS);
    assert_failure(open_as("encryption", "secret", ESCROW_ENCRYPTION, late, &credential), "GH1124",
                   "good from");
    assert_failure(open_as("encryption", "secret", ESCROW_ENCRYPTION, DAY, &credential), "GH1124",
                   "good from");
    assert_int_equal(open_as("encryption", "secret", ESCROW_ARCHIVED, late, &credential),
                     APR_SUCCESS);
    assert_int_equal(open_as("signing", "secret", ESCROW_ARCHIVED, late, &credential),
                     APR_SUCCESS);
}

/* The chain goes along in order, the root does not. */
static void test_chain_and_mail_address(void **state)
{
    escrow_credential_t *credential = fixture_credential("chain", ESCROW_SIGNING);
    const unsigned char *at = credential->chain.data;
    X509 *above = d2i_X509(NULL, &at, (long)credential->chain.length);

    assert_string_equal(credential->email, "carol@example.com");
    assert_non_null(above);
    assert_ptr_equal(at, credential->chain.data + credential->chain.length);
    assert_int_equal(X509_NAME_get_index_by_NID(X509_get_subject_name(above), NID_commonName, -1),
                     0);
    X509_free(above);
}

static gh_bytes_t of_bags(STACK_OF(PKCS12_SAFEBAG) *bags)
{
    STACK_OF(PKCS7) *safes = NULL;
    unsigned char *der = NULL;
    gh_bytes_t bytes;
    PKCS12 *made;

    assert_true(PKCS12_add_safe(&safes, bags, -1, 0, NULL));
    made = PKCS12_add_safes(safes, 0);
    assert_true(PKCS12_set_mac(made, "secret", -1, NULL, 0, 1, EVP_sha256()));
    bytes.length = (apr_size_t)i2d_PKCS12(made, &der);
    bytes.data = apr_pmemdup(test_pool, der, bytes.length);
    OPENSSL_free(der);
    PKCS12_free(made);
    sk_PKCS12_SAFEBAG_pop_free(bags, PKCS12_SAFEBAG_free);
    while (sk_PKCS7_num(safes) > 0)
        ASN1_item_free((ASN1_VALUE *)sk_PKCS7_pop(safes), ASN1_ITEM_rptr(PKCS7));
    sk_PKCS7_free(safes);
    return bytes;
}

static apr_status_t open_bags(STACK_OF(PKCS12_SAFEBAG) *bags)
{
    escrow_credential_t *credential;

    return escrow_pkcs12_open(&credential, opener, of_bags(bags), "secret", ESCROW_SIGNING,
                              apr_time_now(), test_pool, &result);
}

static void test_keys_and_certificates_that_do_not_fit(void **state)
{
    escrow_credential_t *alice = fixture_credential("pbes2", ESCROW_SIGNING);
    const unsigned char *at = alice->certificate.data;
    X509 *certificate = d2i_X509(NULL, &at, (long)alice->certificate.length);
    STACK_OF(PKCS12_SAFEBAG) *bags = NULL;
    int i;

    PKCS12_add_key(&bags, fixture_key("rsa2048-01"), 0, 1, -1, NULL);
    PKCS12_add_key(&bags, fixture_key("rsa2048-02"), 0, 1, -1, NULL);
    PKCS12_add_cert(&bags, certificate);
    assert_failure(open_bags(bags), "GH1120", "2 private keys");
    bags = NULL;
    PKCS12_add_key(&bags, fixture_key("rsa2048-02"), 0, 1, -1, NULL);
    PKCS12_add_cert(&bags, certificate);
    assert_failure(open_bags(bags), "GH1127", "no certificate");
    bags = NULL;
    for (i = 0; i < 100; i++)
        PKCS12_add_cert(&bags, certificate);
    assert_failure(open_bags(bags), "GH1118", "bags");
    X509_free(certificate);
}

static void test_garbage(void **state)
{
    gh_bytes_t der = fixture_file("pkcs12/pbes2.p12");
    unsigned char *broken = apr_pmemdup(test_pool, der.data, der.length + 1);
    escrow_credential_t *credential;
    apr_size_t i;

    assert_failure(escrow_pkcs12_open(&credential, opener, bytes_of("no PKCS#12"), NULL,
                                      ESCROW_SIGNING, 0, test_pool, &result), "GH1121", "no PKCS");
    assert_failure(escrow_pkcs12_open(&credential, opener, (gh_bytes_t) { broken, der.length + 1 },
                                      "secret", ESCROW_SIGNING, 0, test_pool, &result), "GH1121",
                   "no PKCS");
    assert_failure(escrow_pkcs12_open(&credential, opener, (gh_bytes_t) { NULL, 0 }, NULL,
                                      ESCROW_SIGNING, 0, test_pool, &result), "GH1121", "no PKCS");
    for (i = 0; i < der.length; i += 101) {
        broken[i] ^= 0x55;
        escrow_pkcs12_open(&credential, opener, (gh_bytes_t) { broken, der.length }, "secret",
                           ESCROW_SIGNING, apr_time_now(), test_pool, &result);
        assert_true(credential == NULL || i < 40);
        broken[i] ^= 0x55;
    }
}

/* The process keeps what it had: old ciphers are there for old files alone. */
static void test_process_has_no_old_ciphers(void **state)
{
    assert_opens("rc2", "secret");
    assert_null(EVP_CIPHER_fetch(NULL, "RC2-40-CBC", NULL));
    ERR_clear_error();
    assert_false(OSSL_PROVIDER_available(NULL, "legacy"));
}

static void check_made(escrow_pkcs12_t form, const char *name, int mac)
{
    escrow_credential_t *made, *from = fixture_credential(name, ESCROW_SIGNING);
    const char *password = escrow_password(locked, test_pool);
    const X509_ALGOR *algorithm;
    const ASN1_OBJECT *digest;
    const unsigned char *at;
    PKCS12 *parsed;
    gh_bytes_t der;

    assert_true(strlen(password) * 5 >= 128);
    assert_string_not_equal(password, escrow_password(locked, test_pool));
    assert_int_equal(escrow_pkcs12_make(&der, opener, from, password, form, test_pool, &result),
                     APR_SUCCESS);
    at = der.data;
    parsed = d2i_PKCS12(NULL, &at, (long)der.length);
    PKCS12_get0_mac(NULL, &algorithm, NULL, NULL, parsed);
    X509_ALGOR_get0(&digest, NULL, NULL, algorithm);
    assert_int_equal(OBJ_obj2nid(digest), mac);
    PKCS12_free(parsed);
    assert_int_equal(escrow_pkcs12_open(&made, opener, der, password, ESCROW_SIGNING,
                                        apr_time_now(), test_pool, &result), APR_SUCCESS);
    assert_memory_equal(made->sha256, from->sha256, 32);
    assert_int_equal(made->chain.length, from->chain.length);
    assert_memory_equal(made->chain.data, from->chain.data, from->chain.length);
    assert_failure(escrow_pkcs12_open(&made, opener, der, "", ESCROW_SIGNING, apr_time_now(),
                                      test_pool, &result), "GH1119", "password");
}

static void test_made_for_devices(void **state)
{
    check_made(ESCROW_PKCS12_LEGACY, "rc2", NID_sha1);
    check_made(ESCROW_PKCS12_MODERN, "rc2", NID_sha256);
    check_made(ESCROW_PKCS12_LEGACY, "chain", NID_sha1);
    check_made(ESCROW_PKCS12_LEGACY, "p256", NID_sha1);
}

/* Another program opens it. */
static void test_openssl_opens_what_is_made(void **state)
{
    escrow_credential_t *from = fixture_credential("pbes2", ESCROW_SIGNING);
    gh_bytes_t der;
    FILE *file;

    assert_int_equal(escrow_pkcs12_make(&der, opener, from, "abc", ESCROW_PKCS12_LEGACY, test_pool,
                                        &result), APR_SUCCESS);
    file = fopen(scratch_path("made.p12"), "w");
    fwrite(der.data, 1, der.length, file);
    fclose(file);
    run("openssl pkcs12 -in %s -passin pass:abc -nodes -out %s", scratch_path("made.p12"),
        scratch_path("made.pem"));
    run("grep -q 'BEGIN PRIVATE KEY' %s", scratch_path("made.pem"));
    run("openssl pkcs12 -in %s -passin pass:abc -info -noout 2>&1 | grep -q "
        "'pbeWithSHA1And3-KeyTripleDES-CBC, Iteration 1024'", scratch_path("made.p12"));
}

/** What one upload costs is bounded as a whole, however many files it has. */
static void test_sum_of_iterations(void **state)
{
    gh_bytes_t der = fixture_file("pkcs12/pbes2.p12");
    apr_int64_t iterations = ESCROW_ITERATIONS_SUM - 1;
    escrow_credential_t *credential;

    assert_int_equal(escrow_pkcs12_open_next(&credential, &iterations, opener, der, "secret",
                                             ESCROW_SIGNING, apr_time_now(), test_pool, &result),
                     APR_EINVAL);
    assert_string_equal(result.number, "GH1116");
    iterations = 1000;
    assert_success(escrow_pkcs12_open_next(&credential, &iterations, opener, der, "secret",
                                           ESCROW_SIGNING, apr_time_now(), test_pool, &result));
    assert_true(iterations > 1000 + 2048);
}

static void test_gate(void **state)
{
    escrow_gate_t *gate = escrow_gate_join(NULL, 0, test_pool);
    int i;

    for (i = 0; i < ESCROW_OPENINGS; i++)
        assert_success(escrow_gate_enter(gate, &result));
    assert_int_equal(escrow_gate_enter(gate, &result), GH_EBUSY);
    assert_string_equal(result.number, "GH1449");
    escrow_gate_leave(gate);
    assert_success(escrow_gate_enter(gate, &result));
}

static void test_uses(void **state)
{
    assert_string_equal(escrow_use_name(ESCROW_ARCHIVED), "archived");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_opens_what_the_world_makes, x509_test_teardown),
        cmocka_unit_test_teardown(test_opens_without_password, x509_test_teardown),
        cmocka_unit_test_teardown(test_opens_missing_password, x509_test_teardown),
        cmocka_unit_test_teardown(test_wrong_passwords, x509_test_teardown),
        cmocka_unit_test_teardown(test_what_is_refused, x509_test_teardown),
        cmocka_unit_test_teardown(test_usage_and_time, x509_test_teardown),
        cmocka_unit_test_teardown(test_chain_and_mail_address, x509_test_teardown),
        cmocka_unit_test_teardown(test_keys_and_certificates_that_do_not_fit, x509_test_teardown),
        cmocka_unit_test_teardown(test_garbage, x509_test_teardown),
        cmocka_unit_test_teardown(test_process_has_no_old_ciphers, x509_test_teardown),
        cmocka_unit_test_teardown(test_made_for_devices, x509_test_teardown),
        cmocka_unit_test_teardown(test_openssl_opens_what_is_made, x509_test_teardown),
        cmocka_unit_test_teardown(test_sum_of_iterations, x509_test_teardown),
        cmocka_unit_test_teardown(test_gate, x509_test_teardown),
        cmocka_unit_test(test_uses)
    };

    return cmocka_run_group_tests(tests, escrow_group_setup, escrow_group_teardown);
}
