/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "signers_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "issuer/own_keys.h"
#include "store/certificates.h"
#include "x509/key.h"

gh_issuer_t *issuer;
const gh_ca_t *authority;
char logged[65536];
int audited;
const ocsp_signer_config_t no_more = { 0 };

static ocsp_signer_services_t *services;

static void remember(void *baton, int level, apr_status_t status, const char *message)
{
    apr_size_t used = strlen(logged);

    apr_snprintf(logged + used, sizeof(logged) - used, "%s\n", message);
}

static const gh_log_t everything = { remember, NULL, GH_LOG_DEBUG };

static void count_audited(const gh_audit_event_t *event, apr_pool_t *p)
{
    ++audited;
}

static const char *write_certificate(const char *name, X509 *certificate)
{
    const char *path = scratch_path(name);
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    PEM_write_X509(file, certificate);
    fclose(file);
    return path;
}

static const char *store_uri(void)
{
    return apr_pstrcat(test_pool, "sqlite3:", scratch_path("store.db"), NULL);
}

static apr_status_t register_work(gh_transaction_t *transaction, void *baton)
{
    return gh_issuer_register(transaction, "devices", gh_issuer_key_sha256(issuer),
                              gh_issuer_certificate_der(issuer));
}

void signers_world(apr_time_t ca_made)
{
    EVP_PKEY *key = fixture_key("p384-01");
    gh_store_options_t options = { NULL, 0, 0, 0 };
    gh_issuer_config_t *config;
    gh_result_t result;

    *logged = '\0';
    audited = 0;
    authority = make_root(key, "cn=Devices CA", ca_made);
    issuer = gh_issuer_create("devices", &gh_issuer_local, test_pool);
    config = gh_issuer_config(issuer);
    config->certificate = write_certificate("ca.pem", gh_ca_certificate(authority));
    config->key = scratch_path("ca.key");
    config->public_url = "http://pki.example.com";
    config->ocsp_url = "http://pki.example.com/ocsp";
    write_key(config->key, key, 0, NULL);
    assert_success(gh_issuer_load(issuer, test_pool, &result));
    assert_success(gh_issuer_child_init(issuer, test_pool, &result));
    scratch_file("sealing", apr_psprintf(test_pool, "%064d\n", 7), 0600);
    assert_success(gh_store_prepare(store_uri(), (apr_uid_t)-1, (apr_gid_t)-1, &options, test_pool,
                                    &result));
    services = process_services(0);
    assert_success(gh_store_write(services->store, register_work, NULL, &result));
}

void signers_world_end(void)
{
    services = NULL;
}

ocsp_signer_services_t *process_services(int without_issuer)
{
    ocsp_signer_services_t *made = apr_pcalloc(test_pool, sizeof(*made));
    gh_store_options_t options = { NULL, 0, 0, 0 };
    apr_hash_t *issuers = apr_hash_make(test_pool);
    gh_sealer_t *sealer;
    gh_result_t result;

    if (!without_issuer) {
        apr_hash_set(issuers, "devices", APR_HASH_KEY_STRING, issuer);
    }
    assert_success(gh_store_open(&made->store, store_uri(), &options, test_pool, &result));
    assert_success(gh_sealer_open(&sealer, apr_pstrcat(test_pool, "file:", scratch_path("sealing"),
                                                       NULL), test_pool, &result));
    made->ledger = gh_ledger_create(made->store, issuers, "node1", NULL, test_pool);
    made->sealer = sealer;
    made->node = "node1";
    made->log = &everything;
    made->audit = count_audited;
    return made;
}

/* Signers */

ocsp_signer_config_t enrolled(const char *kind, const gh_profile_t *profile)
{
    ocsp_signer_config_t config = { .source = OCSP_SIGNER_AUTO, .kind = kind, .profile = profile };

    return config;
}

ocsp_signer_config_t from_files(const char *certificate, const char *key, const char *passphrase)
{
    ocsp_signer_config_t config = { .source = OCSP_SIGNER_FILES, .certificate = certificate,
                                    .key = key, .passphrase = passphrase };

    return config;
}

apr_status_t load_signers(ocsp_signers_t **signers, apr_array_header_t *configs,
                          apr_array_header_t **warnings, apr_time_t now, gh_result_t *result)
{
    apr_array_header_t *said = apr_array_make(test_pool, 2, sizeof(const char *));

    gh_result_clear(result);
    *signers = ocsp_signers_create("devices", gh_ca_certificate(authority), issuer, configs,
                                   test_pool);
    assert_non_null(*signers);
    if (warnings) {
        *warnings = said;
    }
    return ocsp_signers_load(*signers, now, said, test_pool, result);
}

ocsp_signers_t *signers_of(ocsp_signer_config_t first, ...)
{
    apr_array_header_t *configs = apr_array_make(test_pool, 2, sizeof(ocsp_signer_config_t));
    ocsp_signers_t *signers;
    gh_result_t result;
    va_list more;

    va_start(more, first);
    while (first.kind || first.certificate) {
        APR_ARRAY_PUSH(configs, ocsp_signer_config_t) = first;
        first = va_arg(more, ocsp_signer_config_t);
    }
    va_end(more);
    if (load_signers(&signers, configs, NULL, apr_time_now(), &result) != APR_SUCCESS) {
        fail_msg("%s: %s", result.number, result.message);
    }
    return signers;
}

apr_status_t follow(ocsp_signers_t *signers, const ocsp_signer_services_t *with, apr_time_t now)
{
    gh_result_t result;
    apr_pool_t *p;
    apr_status_t rv;

    gh_result_clear(&result);
    apr_pool_create(&p, test_pool);
    rv = ocsp_signers_follow(signers, with, now, p, &result);
    apr_pool_destroy(p);
    assert_int_equal(ERR_peek_error(), 0);
    if (rv != APR_SUCCESS) {
        assert_memory_equal(result.number, "GH", 2);
    }
    return rv;
}

static const ocsp_signer_t *choose(ocsp_signers_t *signers, const ocsp_signer_set_t **set,
                                   int algorithm, apr_time_t now)
{
    if (ocsp_signers_acquire(signers, set, NULL) != APR_SUCCESS) {
        return NULL;
    }
    return ocsp_signer_choose(*set, &algorithm, algorithm != 0, now);
}

X509 *signing(ocsp_signers_t *signers, int algorithm, apr_time_t now)
{
    const ocsp_signer_set_t *set;
    const ocsp_signer_t *signer = choose(signers, &set, algorithm, now);
    X509 *certificate = signer ? gh_certificate_parse(signer->certificate_der, test_pool) : NULL;
    X509 *copy = certificate ? gh_own_certificate(test_pool, X509_dup(certificate)) : NULL;

    ocsp_signers_release(set);
    return copy;
}

int number_of(ocsp_signers_t *signers, apr_time_t now)
{
    const ocsp_signer_set_t *set;
    const ocsp_signer_t *signer = choose(signers, &set, 0, now);
    int number = signer ? signer->number : -1;

    ocsp_signers_release(set);
    return number;
}

int sign_something(ocsp_signers_t *signers, apr_time_t now)
{
    const ocsp_signer_set_t *set;
    const ocsp_signer_t *signer = choose(signers, &set, 0, now);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    unsigned char signature[1024];
    size_t length = sizeof(signature);
    int done = 0;

    if (signer) {
        done = EVP_DigestSignInit(context, NULL, signer->digest, NULL, signer->key) == 1
            && EVP_DigestSign(context, signature, &length, (const unsigned char *)"x", 1) == 1;
        EVP_MD_CTX_reset(context);
        done = done && EVP_DigestVerifyInit(context, NULL, signer->digest, NULL,
                                            X509_get0_pubkey(signer->certificate)) == 1
            && EVP_DigestVerify(context, signature, length, (const unsigned char *)"x", 1) == 1;
        if (!done) {
            ocsp_signer_suspect(signers, signer);
        }
    }
    EVP_MD_CTX_free(context);
    ERR_clear_error();
    ocsp_signers_release(set);
    return done;
}

static X509 *make_certificate(EVP_PKEY *key, const char *eku, apr_time_t made)
{
    const gh_profile_t *profile = eku
        ? make_profile("own", NULL, "ProfileKeyUsage digitalSignature", "ProfileValidity 30d",
                       apr_pstrcat(test_pool, "ProfileExtendedKeyUsage ", eku, NULL), NULL)
        : shipped("basic-ocsp");
    gh_plan_t *plan;

    assert_success(gh_profile_apply_own(&plan, profile, key, "cn=Responder", test_pool, NULL));
    return issue_at(authority, plan, made);
}

const char *signer_file(const char *name, EVP_PKEY *key, const char *eku, apr_time_t made)
{
    return write_certificate(name, make_certificate(key, eku, made));
}

/* The store */

int generations(const char *kind)
{
    apr_array_header_t *found;
    gh_result_t result;

    assert_success(gh_generations_list(&found, services->store,
                                       ocsp_signer_purpose(kind, test_pool), "devices",
                                       apr_time_now(), test_pool, &result));
    return found->nelts;
}

static apr_status_t insert_work(gh_transaction_t *transaction, void *baton)
{
    return gh_sealed_key_insert(transaction, baton);
}

void store_generation(const char *kind, apr_int64_t number, apr_time_t made)
{
    const char *purpose = ocsp_signer_purpose(kind, test_pool);
    gh_sealed_key_record_t record = { .purpose = purpose, .issuer = "devices",
                                      .generation = number };
    X509 *certificate;
    gh_bytes_t der;
    EVP_PKEY *key;
    gh_result_t result;

    assert_success(gh_key_generate(&key, kind, test_pool, &result));
    certificate = make_certificate(key, NULL, made);
    assert_success(gh_key_encode(&der, key, test_pool, &result));
    assert_success(gh_seal(&record.sealed, services->sealer, der,
                           apr_psprintf(test_pool, "%s/devices/%d", purpose, (int)number),
                           test_pool, &result));
    record.id = gh_random_id(test_pool);
    record.certificate = gh_certificate_der(certificate, test_pool);
    record.not_before = gh_certificate_not_before(certificate);
    record.not_after = gh_certificate_not_after(certificate);
    assert_success(gh_store_write(services->store, insert_work, &record, &result));
}

void set_status(X509 *certificate, gh_status_t status)
{
    gh_audit_event_t change;
    gh_result_t result;

    memset(&change, 0, sizeof(change));
    change.id = gh_random_id(test_pool);
    if (gh_revocation_set(services->store, "devices",
                          gh_certificate_serial(certificate, test_pool), status,
                          status == GH_STATUS_REVOKED ? 1 : GH_REASON_NONE, 0, &change, 1,
                          test_pool, &result) != APR_SUCCESS) {
        fail_msg("%s", result.message);
    }
}
