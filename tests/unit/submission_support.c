/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "submission_support.h"

#include <apr_strings.h>

#include "issuer/remote.h"
#include "status.h"
#include "x509/key.h"
#include "x509/name.h"

submission_world_t world;

static apr_status_t register_work(gh_transaction_t *transaction, void *baton)
{
    apr_status_t rv = gh_issuer_register(transaction, "slow", gh_issuer_key_sha256(world.issuer),
                                         gh_issuer_certificate_der(world.issuer));

    return rv == APR_SUCCESS ? gh_issuer_note_worker(transaction, "slow", 1) : rv;
}

static void open_world_store(void)
{
    gh_store_options_t options = {0};
    const char *uri = apr_pstrcat(test_pool, "sqlite3:", scratch_path("store.db"), NULL);

    assert_success(gh_store_prepare(uri, (apr_uid_t)-1, (apr_gid_t)-1, &options, test_pool,
                                    &world.result));
    assert_success(gh_store_open(&world.store, uri, &options, test_pool, &world.result));
    assert_success(gh_store_write(world.store, register_work, NULL, &world.result));
}

int submission_setup(void **state)
{
    static const unsigned char sealing[32] = "0123456789abcdef0123456789abcde";
    gh_bytes_t sealing_key = { sealing, sizeof(sealing) };
    apr_array_header_t *chain = apr_array_make(test_pool, 1, sizeof(gh_bytes_t));
    apr_hash_t *issuers = apr_hash_make(test_pool);

    memset(&world, 0, sizeof(world));
    gh_result_clear(&world.result);
    world.ca_key = fixture_key("rsa3072-01");
    world.ca = gh_ca_certificate(make_root(world.ca_key, "CN=Slow CA,O=Elsewhere",
                                           apr_time_now()));
    world.key = fixture_key("rsa2048-01");
    world.issuer = gh_issuer_create("slow", &gh_issuer_cagw, test_pool);
    assert_success(gh_issuer_take(world.issuer, gh_certificate_der(world.ca, test_pool), chain,
                                  test_pool, &world.result));
    assert_success(gh_issuer_child_init(world.issuer, test_pool, &world.result));
    assert_success(gh_sealer_create(&world.sealer, sealing_key, test_pool, &world.result));
    world.profile = make_profile("test-slow", NULL,
                                 "ProfileKeyUsage digitalSignature keyEncipherment",
                                 "ProfileExtendedKeyUsage clientAuth emailProtection",
                                 "ProfileSubjectAltName take dns email", "ProfileValidity 30d",
                                 NULL);
    world.manual = make_profile("test-manual", NULL, "ProfileKeyUsage digitalSignature",
                                "ProfileExtendedKeyUsage clientAuth",
                                "ProfileSubjectAltName take dns email", "ProfileValidity 30d",
                                "ProfileApproval manual", NULL);
    open_world_store();
    apr_hash_set(issuers, "slow", APR_HASH_KEY_STRING, world.issuer);
    world.ledger = gh_ledger_create(world.store, issuers, "node1", NULL, test_pool);
    return 0;
}

static gh_enrolment_request_t request_of(const char *transaction, const gh_profile_t *profile)
{
    request_t content = request_for(world.key, "cn=device,o=Example");
    gh_enrolment_request_t request = {0};

    ask(&content, "subjectAltName", "DNS:device.example.com,email:device@example.com");
    content.challenge = "seeded-challenge";
    world.csr = make_csr(&content);
    request.protocol = "scep";
    request.location = "/scep/acme/slow/test";
    request.tenant = "acme";
    request.issuer = "slow";
    request.profile = profile;
    request.transaction = transaction;
    request.csr = world.csr;
    request.signer_sha256 = gh_csr_key_sha256(world.csr);
    request.challenge = gh_csr_challenge(world.csr);
    request.sealer = world.sealer;
    request.client = "192.0.2.1";
    return request;
}

static apr_status_t grant_asking(const gh_authoriser_t *authoriser, gh_store_t *store,
                                 const gh_enrolment_request_t *request, gh_grant_t *grant,
                                 apr_pool_t *p, gh_result_t *result)
{
    grant->rule = "challenge.asked";
    grant->question = world.question;
    return APR_SUCCESS;
}

static gh_authoriser_t asking = { "asked", NULL, grant_asking };

apr_status_t ask_slow(const char *transaction, const gh_profile_t *profile,
                      gh_enrolment_outcome_t *outcome)
{
    gh_enrolment_request_t request = request_of(transaction, profile);
    apr_array_header_t *authorisers = apr_array_make(test_pool, 1, sizeof(gh_authoriser_t *));
    gh_bytes_t secret = { (const unsigned char *)"seeded-challenge", 16 };
    gh_authorisation_t *authorisation;
    apr_status_t rv;

    gh_result_clear(&world.result);
    memset(&world.event, 0, sizeof(world.event));
    world.event.time = apr_time_now();
    world.event.event = "enrol";
    APR_ARRAY_PUSH(authorisers, gh_authoriser_t *)
        = world.question.kind ? &asking : gh_authoriser_static(secret, test_pool);
    rv = gh_ledger_repeat(world.ledger, &request, outcome, test_pool, &world.result);
    if (rv != APR_NOTFOUND) {
        return rv;
    }
    rv = gh_authorise(&authorisation, &request, authorisers, world.store, test_pool,
                      &world.result);
    if (rv == APR_SUCCESS) {
        rv = gh_ledger_enrol(world.ledger, authorisation, &request, &world.event, outcome,
                             test_pool, &world.result);
    }
    if (rv != APR_SUCCESS) {
        fail_msg("%s %s", world.result.number, world.result.message);
    }
    return rv;
}

gh_enrolment_outcome_t poll_slow(const char *transaction, const gh_profile_t *profile)
{
    gh_enrolment_outcome_t outcome;

    assert_success(gh_ledger_poll(world.ledger, "scep", "acme", "slow", gh_profile_name(profile),
                                  transaction, gh_key_sha256(world.key, test_pool), &outcome,
                                  test_pool, &world.result));
    return outcome;
}

static X509_NAME *name_of(const char *text)
{
    X509_NAME *name = NULL;

    assert_success(gh_name_parse(&name, text, test_pool, &world.result));
    return name;
}

static void add(X509 *certificate, const char *name, const char *value)
{
    X509_EXTENSION *extension;

    if (!*value) {
        return;
    }
    extension = X509V3_EXT_nconf(NULL, NULL, name, value);
    assert_non_null(extension);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
}

#define OR(value, usual) ((value) ? (value) : (usual))

X509 *give(const given_t *given)
{
    X509 *made = X509_new();
    unsigned char *der = NULL;
    gh_bytes_t bytes;
    X509 *parsed;
    int length;

    X509_set_version(made, OR(given->version, 3) - 1);
    ASN1_INTEGER_set(X509_get_serialNumber(made), OR(given->serial, 4711));
    X509_set_issuer_name(made, given->issuer ? name_of(given->issuer)
                                             : X509_get_subject_name(world.ca));
    X509_set_subject_name(made, name_of(OR(given->subject, "CN=device,O=Example")));
    X509_gmtime_adj(X509_getm_notBefore(made), OR(given->begin, -60));
    X509_gmtime_adj(X509_getm_notAfter(made), OR(given->end, 3600));
    X509_set_pubkey(made, OR(given->key, world.key));
    add(made, "keyUsage", OR(given->usage, "digitalSignature,keyEncipherment"));
    add(made, "extendedKeyUsage", OR(given->purposes, "clientAuth,emailProtection"));
    add(made, "subjectAltName", OR(given->names, "DNS:device.example.com"));
    if (given->more[0]) {
        add(made, given->more[0], given->more[1]);
    }
    assert_true(X509_sign(made, OR(given->signer, world.ca_key), EVP_sha256()) > 0);
    length = i2d_X509(made, &der);
    bytes.data = der;
    bytes.length = (apr_size_t)length;
    parsed = gh_certificate_parse(bytes, test_pool);
    OPENSSL_free(der);
    X509_free(made);
    assert_non_null(parsed);
    return parsed;
}

typedef struct {
    const char *text;
    const char *holder;
    gh_enrolment_record_t *row;
    gh_job_record_t *job;
    apr_array_header_t *jobs;
    apr_int64_t number;
} look_t;

static apr_status_t claim_work(gh_transaction_t *transaction, void *baton)
{
    look_t *look = baton;

    return gh_job_claim(transaction, look->text, look->holder, apr_time_from_sec(60), &look->job,
                        test_pool);
}

static apr_status_t row_work(gh_transaction_t *transaction, void *baton)
{
    look_t *look = baton;

    return gh_enrolment_find(transaction, look->text, &look->row, test_pool);
}

static apr_status_t job_work(gh_transaction_t *transaction, void *baton)
{
    look_t *look = baton;

    return gh_job_find(transaction, look->text, &look->job, test_pool);
}

static apr_status_t jobs_work(gh_transaction_t *transaction, void *baton)
{
    look_t *look = baton;

    return gh_job_list(transaction, look->text, 0, &look->jobs, test_pool);
}

static apr_status_t number_work(gh_transaction_t *transaction, void *baton)
{
    look_t *look = baton;
    gh_query_t *query = gh_query(transaction, look->text);
    apr_status_t rv = gh_step(query);

    look->number = gh_column_int64(query, 0);
    gh_query_end(query);
    return rv;
}

gh_submission_t *take_submission(const char *id, const char *holder)
{
    look_t look = { .text = id, .holder = holder };
    gh_submission_t *submission;

    assert_success(gh_submission_read(&submission, world.store, world.sealer, id, test_pool,
                                      &world.result));
    assert_success(gh_store_write(world.store, claim_work, &look, &world.result));
    return submission;
}

gh_enrolment_record_t *row_of(const char *id)
{
    look_t look = { .text = id };

    return gh_store_read(world.store, row_work, &look, NULL) == APR_SUCCESS ? look.row : NULL;
}

gh_job_record_t *job_of(const char *id)
{
    look_t look = { .text = id };

    return gh_store_read(world.store, job_work, &look, NULL) == APR_SUCCESS ? look.job : NULL;
}

apr_array_header_t *jobs_of(const char *queue)
{
    look_t look = { .text = queue };

    assert_success(gh_store_read(world.store, jobs_work, &look, &world.result));
    return look.jobs;
}

apr_int64_t number_of(const char *sql)
{
    look_t look = { .text = sql };

    assert_success(gh_store_read(world.store, number_work, &look, &world.result));
    return look.number;
}
