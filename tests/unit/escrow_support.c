/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "escrow_support.h"

#include <stdio.h>
#include <stdlib.h>

#include <apr_strings.h>
#include <openssl/core_dispatch.h>
#include <openssl/pem.h>

#include "x509/decoding.h"
#include "x509/own.h"

GH_DECODING_FILTER(decoding, gh_decoding_create_private)

gh_locked_t *locked;
escrow_opener_t *opener;
gh_result_t result;

static apr_pool_t *group_pool;

int escrow_group_setup(void **state)
{
    if (x509_group_setup(state) != 0 || apr_pool_create(&group_pool, NULL) != APR_SUCCESS
        || gh_locked_create(&locked, GH_LOCKED_SIZE, group_pool, &result) != APR_SUCCESS
        || escrow_opener_create(&opener, locked, decoding_context(group_pool), group_pool,
                                &result) != APR_SUCCESS)
        return -1;
    return 0;
}

int escrow_group_teardown(void **state)
{
    apr_pool_destroy(group_pool);
    return x509_group_teardown(state);
}

gh_bytes_t fixture_file(const char *path)
{
    gh_file_t file;

    path = apr_pstrcat(test_pool, TEST_SRCDIR "/tests/fixtures/", path, NULL);
    assert_int_equal(gh_file_read(&file, path, test_pool, NULL), APR_SUCCESS);
    return file.bytes;
}

escrow_credential_t *fixture_credential(const char *name, escrow_use_t use)
{
    escrow_credential_t *credential;
    gh_bytes_t der = fixture_file(apr_pstrcat(test_pool, "pkcs12/", name, ".p12", NULL));

    assert_int_equal(escrow_pkcs12_open(&credential, opener, der, "secret", use, apr_time_now(),
                                        test_pool, &result), APR_SUCCESS);
    return credential;
}

gh_bytes_t bytes_of(const char *text)
{
    return (gh_bytes_t) { (const unsigned char *)text, strlen(text) };
}

void assert_failure(apr_status_t rv, const char *number, const char *part)
{
    assert_int_not_equal(rv, APR_SUCCESS);
    assert_string_equal(result.number, number);
    if (strstr(result.message, part) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", part, result.message);
}

static void add_extension(X509 *certificate, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

    assert_non_null(extension);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
}

static X509 *new_certificate(EVP_PKEY *key, const char *subject, const char *issuer)
{
    X509 *made = X509_new();

    X509_set_version(made, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(made), 4711);
    X509_gmtime_adj(X509_getm_notBefore(made), -3600);
    X509_gmtime_adj(X509_getm_notAfter(made), 24 * 3600);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(made), "CN", MBSTRING_UTF8,
                               (const unsigned char *)subject, -1, -1, 0);
    X509_NAME_add_entry_by_txt(X509_get_issuer_name(made), "CN", MBSTRING_UTF8,
                               (const unsigned char *)issuer, -1, -1, 0);
    X509_set_pubkey(made, key);
    return made;
}

gh_bytes_t device_certificate(const char *key, const char *common_name, const char *names,
                              const char *usage, const char *ca_key)
{
    X509 *made = new_certificate(fixture_key(key), common_name, "Device CA");
    unsigned char *der = NULL;
    gh_bytes_t bytes;

    if (names != NULL)
        add_extension(made, NID_subject_alt_name, names);
    if (usage != NULL)
        add_extension(made, NID_key_usage, usage);
    X509_sign(made, fixture_key(ca_key), EVP_sha256());
    bytes.length = (apr_size_t)i2d_X509(made, &der);
    bytes.data = apr_pmemdup(test_pool, der, bytes.length);
    OPENSSL_free(der);
    X509_free(made);
    return bytes;
}

const char *device_ca(const char *ca_key)
{
    X509 *made = new_certificate(fixture_key(ca_key), "Device CA", "Device CA");
    const char *path = scratch_path(apr_pstrcat(test_pool, "ca-", ca_key, ".pem", NULL));
    FILE *file = fopen(path, "w");

    add_extension(made, NID_basic_constraints, "critical,CA:TRUE");
    add_extension(made, NID_key_usage, "critical,keyCertSign");
    X509_sign(made, fixture_key(ca_key), EVP_sha256());
    assert_non_null(file);
    PEM_write_X509(file, made);
    fclose(file);
    X509_free(made);
    return path;
}
