/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "decoding_support.h"
#include "scep_world.h"
#include "x509/ca.h"
#include "x509/seal.h"

apr_pool_t *pool;
char directory[] = "/tmp/gh-scep-XXXXXX";
gh_issuer_t *issuer;
gh_profile_t *automatic, *manual, *ra_profile;
const char *ra_validity = "30d";
scep_services_t services;
scep_engine_t *engine;
scep_endpoint_t endpoint, manual_endpoint;
EVP_PKEY *client_key, *other_key;
X509 *client, *other, *ca, *ra;
char logged[65536];
gh_audit_event_t event;

static void remember(void *baton, int level, apr_status_t status, const char *message)
{
    apr_size_t used = strlen(logged);

    apr_cpystrn(logged + used, message, sizeof(logged) - used);
}

const gh_log_t everything = { remember, NULL, GH_LOG_DEBUG };

/* Set-up */

static void set(gh_profile_t *target, const char *directive, int argc, const char *a, const char *b)
{
    const char *argv[] = { a, b };
    gh_result_t result;

    if (gh_profile_set(target, directive, argc, argv, pool, &result) != APR_SUCCESS) {
        fail_msg("%s: %s", directive, result.message);
    }
}

static gh_profile_t *make_profile(const char *name, const char *approval, const char *validity)
{
    gh_profile_t *made = gh_profile_create(name, NULL, pool);
    gh_result_t result;

    set(made, "ProfileKeyUsage", 2, "digitalSignature", "keyEncipherment");
    set(made, "ProfileExtendedKeyUsage", 1, "clientAuth", NULL);
    set(made, "ProfileValidity", 1, validity, NULL);
    set(made, "ProfileApproval", 1, approval, NULL);
    assert_int_equal(gh_profile_complete(made, pool, &result), APR_SUCCESS);
    return made;
}

const char *write_private(const char *name, const char *text)
{
    const char *path = apr_pstrcat(pool, directory, "/", name, NULL);
    FILE *file = fopen(path, "w");

    fputs(text, file);
    fclose(file);
    chmod(path, 0600);
    return path;
}

static void make_issuer(void)
{
    EVP_PKEY *ca_key = scep_test_key("rsa2048-03", pool);
    gh_issuer_config_t *config;
    gh_result_t result;
    FILE *file;

    ca = scep_test_certificate(ca_key, "Test CA", NULL, NULL, 1, pool);
    issuer = gh_issuer_create("devices", &gh_issuer_local, pool);
    config = gh_issuer_config(issuer);
    config->certificate = write_private("ca.pem", "");
    config->key = write_private("ca.key", "");
    config->public_url = "http://pki.example.com";
    file = fopen(config->certificate, "w");
    PEM_write_X509(file, ca);
    fclose(file);
    file = fopen(config->key, "w");
    PEM_write_PrivateKey(file, ca_key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
    if (gh_issuer_load(issuer, pool, &result) != APR_SUCCESS) {
        fail_msg("%s", result.message);
    }
    assert_int_equal(gh_issuer_child_init(issuer, pool, &result), APR_SUCCESS);
}

static apr_status_t register_work(gh_transaction_t *transaction, void *baton)
{
    return gh_issuer_register(transaction, "devices", gh_issuer_key_sha256(issuer),
                              gh_issuer_certificate_der(issuer));
}

static void make_services(void)
{
    const char *uri = apr_pstrcat(pool, "sqlite3:", directory, "/store.db", NULL);
    const char *sealing = write_private("sealing", apr_psprintf(pool, "%064d\n", 7));
    gh_store_options_t options = { NULL, 0, 0, 0 };
    apr_hash_t *issuers = apr_hash_make(pool);
    gh_result_t result;
    gh_sealer_t *sealer;

    apr_hash_set(issuers, "devices", APR_HASH_KEY_STRING, issuer);
    assert_int_equal(gh_store_prepare(uri, (apr_uid_t)-1, (apr_gid_t)-1, &options, pool, &result),
                     APR_SUCCESS);
    assert_int_equal(gh_store_open(&services.store, uri, &options, pool, &result), APR_SUCCESS);
    assert_int_equal(gh_store_write(services.store, register_work, NULL, &result), APR_SUCCESS);
    assert_int_equal(
        gh_sealer_open(&sealer, apr_pstrcat(pool, "file:", sealing, NULL), pool, &result),
        APR_SUCCESS);
    services.ledger = gh_ledger_create(services.store, issuers, "node1", NULL, pool);
    services.publisher = gh_publisher_create(services.store, issuers, "node1", NULL, pool);
    assert_int_equal(gh_publisher_run(services.publisher, &result), APR_SUCCESS);
    services.sealer = sealer;
    services.node = "node1";
    services.log = &everything;
}

gh_limiter_t *gate_for(int concurrent)
{
    gh_limiter_limits_t limits = { concurrent, 0, 0 };

    return gh_limiter_join(NULL, 0, &limits, pool);
}

void make_endpoint(scep_endpoint_t *made, const gh_profile_t *profile,
                          gh_authoriser_t *authoriser)
{
    apr_array_header_t *authorisers = apr_array_make(pool, 1, sizeof(gh_authoriser_t *));

    if (authoriser) {
        APR_ARRAY_PUSH(authorisers, gh_authoriser_t *) = authoriser;
    }
    memset(made, 0, sizeof(*made));
    made->path = apr_psprintf(pool, "/scep/acme/devices/%s", gh_profile_name(profile));
    made->tenant = "acme";
    made->issuer = "devices";
    made->ca = issuer;
    made->profile = profile;
    made->authorisers = authorisers;
}

static X509 *first_certificate(gh_bytes_t certs_only)
{
    apr_array_header_t *certificates = scep_test_certificates(certs_only, pool);

    assert_true(certificates->nelts > 0);
    return gh_certificate_parse(APR_ARRAY_IDX(certificates, 0, gh_bytes_t), pool);
}

int scep_world_setup(void **state)
{
    gh_bytes_t secret = { (const unsigned char *)CHALLENGE, strlen(CHALLENGE) };
    scep_response_t response;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    if (!mkdtemp(directory)) {
        return 1;
    }
    services.decoding = decoding_context(pool);
    client_key = scep_test_key("rsa2048-01", pool);
    other_key = scep_test_key("rsa2048-02", pool);
    client = scep_test_certificate(client_key, "client", NULL, NULL, 0, pool);
    other = scep_test_certificate(other_key, "other", NULL, NULL, 0, pool);
    make_issuer();
    automatic = make_profile("test-automatic", "automatic", "30d");
    manual = make_profile("test-manual", "manual", "30d");
    ra_profile = make_profile("test-ra", "automatic", ra_validity);
    make_services();
    make_endpoint(&endpoint, automatic, gh_authoriser_static(secret, pool));
    make_endpoint(&manual_endpoint, manual, gh_authoriser_static(secret, pool));
    engine = scep_engine_create(&services, gate_for(32), pool);
    if (scep_engine_add_issuer(engine, issuer, ra_profile, pool) != APR_SUCCESS) {
        return 1;
    }
    scep_engine_prepare(engine);
    scep_engine_certificates(engine, &endpoint, &everything, &response, pool);
    if (response.status != 200) {
        print_error("%s", logged);
        return 1;
    }
    ra = first_certificate(response.body);
    return 0;
}

int scep_world_teardown(void **state)
{
    char *command = apr_pstrcat(pool, "rm -rf ", directory, NULL);
    int status = system(command);

    apr_pool_destroy(pool);
    apr_terminate();
    return status;
}

/* The store */

static apr_status_t count_certificates(gh_transaction_t *transaction, void *baton)
{
    gh_query_t *query = gh_query(transaction, "SELECT count(*) FROM certificate_status");
    apr_status_t rv = gh_step(query);

    if (rv == APR_SUCCESS) {
        *(apr_int64_t *)baton = gh_column_int64(query, 0);
    }
    gh_query_end(query);
    return rv;
}

apr_int64_t certificates_stored(void)
{
    apr_int64_t count = 0;
    gh_result_t result;

    assert_int_equal(gh_store_read(services.store, count_certificates, &count, &result),
                     APR_SUCCESS);
    return count;
}

/* Exchanges */

void send_to(scep_engine_t *to, const scep_endpoint_t *at, gh_bytes_t message,
                    scep_response_t *response)
{
    scep_request_t request = {
        .client = "192.0.2.1", .id = "0123", .log = &everything, .event = &event
    };

    memset(&event, 0, sizeof(event));
    scep_engine_operate(to, at, message, &request, response, pool);
    assert_int_equal(ERR_peek_error(), 0);
}

/** Sends and reads the CertRep, of which every one has to be proper. */
void exchange(const scep_endpoint_t *at, const scep_test_spec_t *spec, gh_bytes_t content,
                     scep_test_reply_t *reply)
{
    gh_bytes_t message = scep_test_message(spec, content, client_key, client, ra, pool);
    scep_response_t response;

    send_to(engine, at, message, &response);
    assert_int_equal(response.status, 200);
    assert_string_equal(response.content_type, "application/x-pki-message");
    assert_true(scep_test_reply(reply, response.body, client_key, client, pool));
    assert_true(reply->verified);
    assert_int_equal(reply->type, SCEP_CERT_REP);
    assert_int_equal(X509_cmp(reply->signer, ra), 0);
    assert_int_equal(reply->has_content, reply->status == SCEP_SUCCESS);
    if (reply->status == SCEP_FAILURE) {
        assert_non_null(reply->fail_text);
        assert_memory_equal(reply->fail_text, "GH", 2);
        assert_null(strstr(reply->fail_text, CHALLENGE));
        assert_string_equal(event.result, "refused");
        assert_non_null(event.gh);
    }
}

gh_bytes_t request(const char *challenge)
{
    return scep_test_csr(client_key, "client", challenge, NULL, pool);
}

void refused(const scep_endpoint_t *at, const scep_test_spec_t *spec, gh_bytes_t content,
                    int fail_info, const char *rule)
{
    scep_test_reply_t reply;

    exchange(at, spec, content, &reply);
    assert_int_equal(reply.status, SCEP_FAILURE);
    if (reply.fail_info != fail_info || (rule && strcmp(event.rule, rule))) {
        fail_msg("failInfo %d, %s: %s", reply.fail_info, event.rule, reply.fail_text);
    }
}

gh_bytes_t enrolled(const scep_endpoint_t *at, const scep_test_spec_t *spec)
{
    scep_test_reply_t reply;

    exchange(at, spec, request(CHALLENGE), &reply);
    if (reply.status != SCEP_SUCCESS) {
        fail_msg("%s", reply.fail_text);
    }
    assert_string_equal(event.result, "issued");
    return APR_ARRAY_IDX(reply.certificates, 0, gh_bytes_t);
}

void same(gh_bytes_t a, gh_bytes_t b)
{
    assert_int_equal(a.length, b.length);
    assert_memory_equal(a.data, b.data, a.length);
}
