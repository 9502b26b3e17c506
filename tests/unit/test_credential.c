/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Credentials in PKCS#12 and PEM: which key, which certificate, what is wrong with it. */

#include "tls_server.h"

#include <sys/stat.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>

#include "x509/credential.h"
#include "x509/key.h"

static const gh_ca_t *ca;
static EVP_PKEY *ca_key;

static int setup(void **state)
{
    (void)state;
    ca_key = fixture_key("rsa2048-01");
    ca = make_root(ca_key, "cn=Root", apr_time_now());
    return 0;
}

/* What goes into a file. */
typedef struct {
    STACK_OF(PKCS12_SAFEBAG) *bags;
    const char *passphrase;
} builder_t;

static void add_key(builder_t *builder, const char *name, const char *alias)
{
    PKCS12_SAFEBAG *bag = PKCS12_add_key(&builder->bags, fixture_key(name), 0, 2048,
                                         NID_aes_256_cbc, builder->passphrase);

    assert_non_null(bag);
    if (alias) {
        PKCS12_add_friendlyname_utf8(bag, alias, -1);
    }
}

static void add_certificate(builder_t *builder, X509 *certificate, const char *alias)
{
    PKCS12_SAFEBAG *bag = PKCS12_add_cert(&builder->bags, certificate);

    assert_non_null(bag);
    if (alias) {
        PKCS12_add_friendlyname_utf8(bag, alias, -1);
    }
}

static X509 *certificate_for(const char *key, const char *name)
{
    return tls_certificate(ca, ca_key, fixture_key(key), name, NULL);
}

static gh_bytes_t build(builder_t *builder)
{
    STACK_OF(PKCS7) *safes = NULL;
    unsigned char *der = NULL;
    PKCS12 *pkcs12;
    gh_bytes_t bytes;
    int length;

    PKCS12_add_safe(&safes, builder->bags, -1, 0, builder->passphrase);
    pkcs12 = PKCS12_add_safes(safes, 0);
    assert_int_equal(PKCS12_set_mac(pkcs12, builder->passphrase, -1, NULL, 0, 2048, NULL), 1);
    length = i2d_PKCS12(pkcs12, &der);
    bytes.data = apr_pmemdup(test_pool, der, (apr_size_t)length);
    bytes.length = (apr_size_t)length;
    OPENSSL_free(der);
    PKCS12_free(pkcs12);
    sk_PKCS12_SAFEBAG_pop_free(builder->bags, PKCS12_SAFEBAG_free);
    while (sk_PKCS7_num(safes)) {
        PKCS7_free(sk_PKCS7_pop(safes));
    }
    sk_PKCS7_free(safes);
    ERR_clear_error();
    return bytes;
}

static gh_credential_t *credential;

static const char *parse(gh_bytes_t bytes, const char *passphrase, const char *alias)
{
    gh_bytes_t secret = { (const unsigned char *)passphrase, passphrase ? strlen(passphrase) : 0 };
    gh_result_t result;
    apr_status_t rv;

    gh_result_clear(&result);
    rv = gh_credential_parse(&credential, bytes, secret, alias, test_pool, &result);
    assert_int_equal(rv, *result.number ? APR_EINVAL : APR_SUCCESS);
    /* what has only ended, or not begun, is there all the same */
    assert_int_equal(credential == NULL, rv != APR_SUCCESS && result.failure != GH_FAILURE_TIME);
    return apr_pstrdup(test_pool, result.number);
}

static int certificates_in(gh_bytes_t pem)
{
    const char *text = (const char *)pem.data;
    int count = 0;

    while ((text = strstr(text, "-----BEGIN CERTIFICATE-----")) != NULL) {
        ++count;
        ++text;
    }
    return count;
}

static void test_one_key(void **state)
{
    builder_t builder = { NULL, "secret" };
    gh_bytes_t bytes;

    (void)state;
    add_certificate(&builder, gh_ca_certificate(ca), NULL);
    add_certificate(&builder, certificate_for("p256-01", "client"), "name");
    add_key(&builder, "p256-01", NULL);
    bytes = build(&builder);
    assert_string_equal(parse(bytes, "secret", NULL), "");
    assert_non_null(strstr((const char *)credential->key.data, "BEGIN PRIVATE KEY"));
    /* the root is left out of the chain, and is what is trusted */
    assert_int_equal(certificates_in(credential->certificate), 1);
    assert_int_equal(gh_trust_count(credential->trust), 1);
    assert_non_null(strstr(credential->subject, "client"));
    assert_true(credential->not_after > apr_time_now());
    /* an alias of the certificate names its key too */
    assert_string_equal(parse(bytes, "secret", "NAME"), "");
    assert_string_equal(parse(bytes, "secret", "other"), "GH0793");
    assert_string_equal(parse(bytes, "wrong", NULL), "GH0799");
    assert_string_equal(parse(bytes, NULL, NULL), "GH0799");
    --bytes.length;
    assert_string_equal(parse(bytes, "secret", NULL), "GH0798");
}

/** PEM of a certificate, and of a key that is encrypted unless no passphrase is given. */
static void print(BIO *bio, X509 *certificate, const char *key, const char *passphrase)
{
    if (certificate) {
        assert_int_equal(PEM_write_bio_X509(bio, certificate), 1);
    }
    if (key) {
        assert_int_equal(PEM_write_bio_PKCS8PrivateKey(
                             bio, fixture_key(key), passphrase ? EVP_aes_256_cbc() : NULL,
                             passphrase, passphrase ? (int)strlen(passphrase) : 0, NULL, NULL), 1);
    }
}

static gh_bytes_t printed(BIO *bio)
{
    gh_bytes_t bytes;
    char *data;

    bytes.length = (apr_size_t)BIO_get_mem_data(bio, &data);
    bytes.data = apr_pmemdup(test_pool, data, bytes.length);
    BIO_free(bio);
    return bytes;
}

/* As httpd has them in files: certificate and key in either order, text before them. */
static void test_pem(void **state)
{
    X509 *certificate = certificate_for("p256-01", "client");
    BIO *bio = BIO_new(BIO_s_mem());
    gh_bytes_t bytes;

    (void)state;
    BIO_puts(bio, "Subject: CN=client\n");
    print(bio, certificate, NULL, NULL);
    print(bio, gh_ca_certificate(ca), "p256-01", NULL);
    bytes = printed(bio);
    assert_string_equal(parse(bytes, NULL, NULL), "");
    assert_int_equal(certificates_in(credential->certificate), 1);
    assert_int_equal(gh_trust_count(credential->trust), 1);
    assert_non_null(strstr((const char *)credential->key.data, "PRIVATE KEY-----"));
    assert_string_equal(parse(bytes, "not needed", NULL), "");
    assert_string_equal(parse(bytes, NULL, "name"), "GH0793");

    bio = BIO_new(BIO_s_mem());
    print(bio, NULL, "p256-01", "secret");
    print(bio, certificate, NULL, NULL);
    bytes = printed(bio);
    assert_string_equal(parse(bytes, "secret", NULL), "");
    assert_string_equal(parse(bytes, "wrong", NULL), "GH1343");
    assert_string_equal(parse(bytes, NULL, NULL), "GH1343");

    bio = BIO_new(BIO_s_mem());
    print(bio, certificate, NULL, NULL);
    assert_string_equal(parse(printed(bio), NULL, NULL), "GH0792");
    bio = BIO_new(BIO_s_mem());
    print(bio, certificate, "rsa2048-02", NULL);
    assert_string_equal(parse(printed(bio), NULL, NULL), "GH0795");
    bio = BIO_new(BIO_s_mem());
    print(bio, certificate, "rsa2048-02", NULL);
    print(bio, NULL, "p256-01", NULL);
    assert_string_equal(parse(printed(bio), NULL, NULL), "GH0794");
}

static void test_chain(void **state)
{
    const gh_ca_t *issuing = make_issuing(ca, fixture_key("rsa2048-02"), "cn=Issuing",
                                          apr_time_now());
    builder_t builder = { NULL, "" };

    (void)state;
    add_certificate(&builder, gh_ca_certificate(issuing), NULL);
    add_certificate(&builder, gh_ca_certificate(ca), NULL);
    add_certificate(&builder, tls_certificate(issuing, fixture_key("rsa2048-02"),
                                              fixture_key("p256-01"), "client", NULL), NULL);
    add_key(&builder, "p256-01", "x");
    assert_string_equal(parse(build(&builder), "", NULL), "");
    assert_int_equal(certificates_in(credential->certificate), 2);
    assert_int_equal(gh_trust_count(credential->trust), 2);
}

static void test_several_keys(void **state)
{
    builder_t builder = { NULL, "secret" };
    gh_bytes_t bytes;

    (void)state;
    add_key(&builder, "p256-01", "one");
    add_key(&builder, "p384-01", "two");
    add_key(&builder, "rsa2048-03", "bare");
    add_certificate(&builder, certificate_for("p256-01", "first"), "one");
    add_certificate(&builder, certificate_for("p384-01", "second"), "two");
    bytes = build(&builder);
    assert_string_equal(parse(bytes, "secret", NULL), "GH0794");
    assert_string_equal(parse(bytes, "secret", "two"), "");
    assert_non_null(strstr(credential->subject, "second"));
    assert_null(credential->trust);
    assert_string_equal(parse(bytes, "secret", "bare"), "GH0795");
}

static void test_no_key(void **state)
{
    builder_t builder = { NULL, "secret" };

    (void)state;
    add_certificate(&builder, certificate_for("p256-01", "client"), NULL);
    assert_string_equal(parse(build(&builder), "secret", NULL), "GH0792");
}

static void test_expired(void **state)
{
    builder_t builder = { NULL, "secret" };
    X509 *certificate = certificate_for("p256-01", "client");

    (void)state;
    X509_gmtime_adj(X509_getm_notAfter(certificate), -60);
    assert_true(X509_sign(certificate, ca_key, EVP_sha256()) > 0);
    add_certificate(&builder, certificate, NULL);
    add_key(&builder, "p256-01", NULL);
    assert_string_equal(parse(build(&builder), "secret", NULL), "GH0796");
}

static void test_files(void **state)
{
    gh_bytes_t none = { NULL, 0 };
    const char *path = scratch_file("some.p12", "no pkcs12", 0644);
    gh_result_t result;
    const char *pem;

    (void)state;
    assert_int_equal(gh_credential_load(&credential, NULL, path, none, NULL, test_pool, &result),
                     APR_EACCES);
    assert_string_equal(result.number, "GH0800");
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(gh_credential_load(&credential, NULL, path, none, NULL, test_pool, &result),
                     APR_EINVAL);
    assert_string_equal(result.number, "GH0798");
    assert_int_equal(gh_trust_load(&pem, path, none, test_pool, &result), APR_EINVAL);
    assert_string_equal(result.number, "GH0880");
    assert_null(pem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_key, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_pem, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_chain, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_several_keys, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_no_key, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_expired, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_files, setup, x509_test_teardown),
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
