/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* OCSP signers that are enrolled from an issuer, renewed and replaced while others sign. */

#include "signers_world.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_atomic.h>
#include <apr_strings.h>
#include <apr_thread_proc.h>

#include "issuer/submission.h"

static ocsp_signers_t *both(void)
{
    return signers_of(enrolled("P-256", shipped("basic-ocsp")),
                      enrolled("RSA-2048", shipped("basic-ocsp")), no_more);
}

static ocsp_signers_t *one(const gh_profile_t *profile)
{
    return signers_of(enrolled("P-256", profile), no_more);
}

static int times_logged(const char *number)
{
    const char *at = logged;
    int times = 0;

    while ((at = strstr(at, number)) != NULL) {
        ++times;
        ++at;
    }
    return times;
}

/** RFC 6960 4.2.2.2: what a delegated signer has, and nothing that clients have to look up. */
static void check_certificate(X509 *certificate, const char *subject)
{
    char name[256];

    assert_int_equal(X509_verify(certificate, X509_get0_pubkey(gh_ca_certificate(authority))), 1);
    assert_int_equal(X509_get_extended_key_usage(certificate), XKU_OCSP_SIGN);
    assert_int_equal(X509_get_key_usage(certificate), KU_DIGITAL_SIGNATURE);
    assert_true(X509_get_ext_by_NID(certificate, NID_id_pkix_OCSP_noCheck, -1) >= 0);
    assert_int_equal(X509_get_ext_by_NID(certificate, NID_info_access, -1), -1);
    assert_int_equal(X509_get_ext_by_NID(certificate, NID_crl_distribution_points, -1), -1);
    assert_true(gh_certificate_not_after(certificate) - gh_certificate_not_before(certificate)
                == 30 * DAY);
    X509_NAME_oneline(X509_get_subject_name(certificate), name, sizeof(name));
    assert_string_equal(name, subject);
}

/** The first process makes them, the next one takes the same. */
static void test_enrolled(void **state)
{
    apr_time_t now;
    ocsp_signer_services_t *services;
    ocsp_signers_t *first, *second;
    X509 *ec, *rsa;

    signers_world(apr_time_now() - 100 * DAY);
    services = process_services(0);
    first = both();
    now = apr_time_now();
    assert_null(signing(first, 0, now));
    assert_success(follow(first, services, now));
    now = apr_time_now();
    ec = signing(first, 0, now);
    rsa = signing(first, NID_sha256WithRSAEncryption, now);
    check_certificate(ec, "/CN=devices OCSP P-256");
    check_certificate(rsa, "/CN=devices OCSP RSA-2048");
    assert_int_equal(X509_cmp(signing(first, NID_ecdsa_with_SHA256, now), ec), 0);
    assert_int_equal(X509_cmp(signing(first, NID_ecdsa_with_SHA384, now), ec), 0);
    assert_int_equal(audited, 2);

    second = both();
    assert_success(follow(second, process_services(1), now));
    assert_int_equal(X509_cmp(signing(second, 0, now), ec), 0);
    assert_int_equal(X509_cmp(signing(second, NID_sha256WithRSAEncryption, now), rsa), 0);
    assert_true(sign_something(first, now) && sign_something(second, now));
    assert_int_equal(audited, 2);
    assert_int_equal(generations("P-256"), 1);
    assert_string_equal(logged, "");
}

/** After two thirds of its life, once. The old one stays beside it. */
static void test_renewed(void **state)
{
    ocsp_signer_services_t *services;
    ocsp_signers_t *signers;
    apr_time_t now = apr_time_now();
    X509 *old, *next;

    signers_world(now - 100 * DAY);
    services = process_services(0);
    signers = one(shipped("basic-ocsp"));
    assert_success(follow(signers, services, now));
    old = signing(signers, 0, now + SECOND);
    assert_success(follow(signers, services, now + 19 * DAY));
    assert_int_equal(generations("P-256"), 1);
    assert_success(follow(signers, services, now + 20 * DAY + HOUR));
    assert_int_equal(generations("P-256"), 2);
    next = signing(signers, 0, now + 20 * DAY + HOUR);
    assert_int_not_equal(X509_cmp(old, next), 0);
    assert_int_equal(number_of(signers, now + 20 * DAY + HOUR), 0);
    /* a clock of the CA's that is behind does not make one after the other */
    assert_success(follow(signers, services, now + 20 * DAY + HOUR + 2 * SECOND));
    assert_int_equal(generations("P-256"), 2);
    assert_string_equal(logged, "");
}

/** From a CA elsewhere, which takes its time. */

static apr_status_t claim_work(gh_transaction_t *transaction, void *baton)
{
    apr_array_header_t *jobs;
    gh_job_record_t **job = baton;
    apr_status_t rv = gh_job_list(transaction, "devices", 0, &jobs, test_pool);

    assert_int_equal(jobs->nelts, 1);
    return rv != APR_SUCCESS ? rv
        : gh_job_claim(transaction, APR_ARRAY_IDX(jobs, 0, gh_job_record_t *)->id, "worker", HOUR,
                       job, test_pool);
}

static void answer_job(const ocsp_signer_services_t *services)
{
    gh_submission_t *submission;
    gh_audit_event_t event = { 0 };
    gh_job_record_t *job;
    X509 *certificate;
    gh_result_t result;

    assert_success(gh_store_write(services->store, claim_work, &job, &result));
    assert_success(gh_submission_read(&submission, services->store, services->sealer, job->id,
                                      test_pool, &result));
    certificate = issue(authority, submission->plan);
    assert_success(gh_submission_check(submission, issuer, certificate, &result));
    assert_success(gh_submission_issued(submission, services->store, "worker", "node2",
                                        certificate, &event, test_pool, &result));
}

static void test_from_elsewhere(void **state)
{
    ocsp_signer_services_t *services;
    ocsp_signers_t *signers;
    apr_time_t now = apr_time_now();
    gh_result_t result;

    signers_world(now - 100 * DAY);
    issuer = gh_issuer_create("devices", &gh_issuer_cagw, test_pool);
    assert_success(gh_issuer_take(issuer, gh_certificate_der(gh_ca_certificate(authority),
                                                             test_pool),
                                  apr_array_make(test_pool, 1, sizeof(gh_bytes_t)), test_pool,
                                  &result));
    assert_success(gh_issuer_child_init(issuer, test_pool, &result));
    services = process_services(0);
    signers = one(shipped("basic-ocsp"));
    follow(signers, services, now);
    follow(signers, services, now + 2 * SECOND);
    assert_null(signing(signers, 0, now + 2 * SECOND));
    answer_job(services);
    assert_success(follow(signers, services, now + 4 * SECOND));
    check_certificate(signing(signers, 0, now + 4 * SECOND), "/CN=devices OCSP P-256");
    assert_true(sign_something(signers, now + 4 * SECOND));
}

/** A new certificate signs from its notBefore on, without any further work. */
static void test_activated(void **state)
{
    ocsp_signer_services_t *services;
    ocsp_signers_t *signers;
    apr_time_t now = apr_time_now();
    X509 *old, *next;

    signers_world(now - 100 * DAY);
    services = process_services(1);
    store_generation("P-256", 1, now - 21 * DAY);
    store_generation("P-256", 2, now + HOUR);
    signers = one(shipped("basic-ocsp"));
    assert_success(follow(signers, services, now));
    old = signing(signers, 0, now);
    assert_true(gh_certificate_not_after(old) < now + 10 * DAY);
    assert_int_equal(X509_cmp(signing(signers, 0, now + HOUR - 301 * SECOND), old), 0);
    next = signing(signers, 0, now + HOUR - 299 * SECOND);
    assert_true(gh_certificate_not_before(next) > now);
    /* and back, if a clock is set back */
    assert_int_equal(X509_cmp(signing(signers, 0, now), old), 0);
    assert_string_equal(logged, "");
}

/** A clock that was ahead has made the only key there is: nobody waits until its time comes. */
static void test_clock_was_ahead(void **state)
{
    ocsp_signer_services_t *services;
    ocsp_signers_t *signers;
    apr_time_t now = apr_time_now();
    X509 *made;

    signers_world(now - 100 * DAY);
    services = process_services(0);
    store_generation("P-256", 1, now + 400 * DAY);
    signers = one(shipped("basic-ocsp"));
    assert_success(follow(signers, services, now));
    made = signing(signers, 0, now + SECOND);
    assert_non_null(made);
    assert_true(gh_certificate_not_before(made) < now);
    assert_int_equal(generations("P-256"), 2);
    /* the store is looked at again, although it was looked at "later" */
    assert_success(follow(signers, services, now + DAY));
    set_status(made, GH_STATUS_REVOKED);
    assert_success(follow(signers, services, now + 2 * SECOND));
    assert_int_not_equal(X509_cmp(signing(signers, 0, now + 2 * SECOND), made), 0);
}

/** If it cannot be renewed, the old one serves until its end; then there is none, until one can be
 *  had again. */
static void test_renewal_fails(void **state)
{
    ocsp_signer_services_t *able, *unable;
    ocsp_signers_t *signers;
    apr_time_t now = apr_time_now(), end;
    X509 *old;
    int i;

    signers_world(now - 100 * DAY);
    able = process_services(0);
    unable = process_services(1);
    store_generation("P-256", 1, now - 21 * DAY);
    signers = one(shipped("basic-ocsp"));
    for (i = 0; i < 5; ++i) {
        assert_int_not_equal(follow(signers, unable, now + 2 * i * SECOND), APR_SUCCESS);
    }
    old = signing(signers, 0, now);
    assert_non_null(old);
    assert_int_equal(times_logged("GH0645"), 1);
    assert_non_null(strstr(logged, "goes on with the certificate it has"));
    assert_int_equal(times_logged("GH0647"), 0);

    end = gh_certificate_not_after(old);
    assert_int_equal(X509_cmp(signing(signers, 0, end - SECOND), old), 0);
    assert_null(signing(signers, 0, end));
    assert_int_not_equal(follow(signers, unable, end), APR_SUCCESS);
    assert_int_not_equal(follow(signers, unable, end + 2 * SECOND), APR_SUCCESS);
    assert_null(signing(signers, 0, end));
    assert_int_equal(times_logged("GH0647"), 1);
    assert_false(sign_something(signers, end));

    assert_success(follow(signers, able, end + 4 * SECOND));
    assert_non_null(signing(signers, 0, end + 4 * SECOND));
    assert_int_equal(times_logged("GH0646"), 1);
    assert_int_equal(times_logged("GH0648"), 1);
    assert_int_equal(times_logged("GH0645"), 1);
}

/** A revoked or held one is replaced at once, and its answers are not taken from caches. */
static void test_withdrawn(void **state)
{
    static const gh_status_t statuses[] = { GH_STATUS_REVOKED, GH_STATUS_HELD };
    ocsp_signer_services_t *services, *reading;
    ocsp_signers_t *signers, *beside;
    const ocsp_signer_set_t *set;
    apr_time_t now = apr_time_now();
    X509 *old;
    int i, number = 0;

    signers_world(now - 100 * DAY);
    services = process_services(0);
    reading = process_services(1);
    signers = one(shipped("basic-ocsp"));
    beside = one(shipped("basic-ocsp"));
    assert_success(follow(signers, services, now));
    assert_success(follow(beside, reading, now));
    for (i = 0; i < 2; ++i) {
        old = signing(signers, 0, now + SECOND);
        set_status(old, statuses[i]);
        now += 1100 * 1000;
        assert_success(follow(signers, services, now));
        assert_success(follow(beside, reading, now));
        assert_int_not_equal(X509_cmp(signing(signers, 0, now), old), 0);
        assert_int_equal(X509_cmp(signing(signers, 0, now), signing(beside, 0, now)), 0);
        assert_success(ocsp_signers_acquire(signers, &set, NULL));
        assert_int_equal(ocsp_signer_set_all(set)->nelts, 1);
        ocsp_signers_release(set);
        assert_int_not_equal(number_of(signers, now), number);
        number = number_of(signers, now);
        assert_int_equal(number_of(beside, now), number);
    }
    assert_int_equal(generations("P-256"), 3);
    assert_string_equal(logged, "");
}

/** A CA that is about to end certifies nothing that would live longer. */
static void test_ca_about_to_end(void **state)
{
    apr_time_t now = apr_time_now(), end;
    ocsp_signer_services_t *services;
    ocsp_signers_t *signers;

    /* it lives for 7300 days */
    signers_world(now - 7300 * DAY + HOUR);
    services = process_services(0);
    signers = one(shipped("basic-ocsp"));
    end = gh_certificate_not_after(gh_ca_certificate(authority));
    assert_success(follow(signers, services, now));
    assert_true(gh_certificate_not_after(signing(signers, 0, now + SECOND)) == end);
    assert_success(follow(signers, services, end - 60 * SECOND));
    assert_int_equal(generations("P-256"), 1);
    assert_non_null(signing(signers, 0, end - SECOND));
    assert_null(signing(signers, 0, end));
    assert_int_not_equal(follow(signers, services, end), APR_SUCCESS);
    assert_null(signing(signers, 0, end));
    assert_int_equal(times_logged("GH0647"), 1);
}

/** Another sealing key opens nothing, and says so. */
static void test_sealing_key(void **state)
{
    ocsp_signer_services_t *services;
    ocsp_signers_t *signers, *other;
    apr_time_t now = apr_time_now();
    gh_sealer_t *sealer;
    gh_result_t result;

    signers_world(now - 100 * DAY);
    services = process_services(0);
    signers = one(shipped("basic-ocsp"));
    assert_success(follow(signers, services, now));
    scratch_file("other", apr_psprintf(test_pool, "%064d\n", 8), 0600);
    assert_success(gh_sealer_open(&sealer, apr_pstrcat(test_pool, "file:", scratch_path("other"),
                                                       NULL), test_pool, &result));
    services->sealer = sealer;
    other = one(shipped("basic-ocsp"));
    assert_int_equal(follow(other, services, now), APR_EACCES);
    assert_null(signing(other, 0, now));
    assert_int_equal(times_logged("GH0645"), 1);
    assert_int_equal(times_logged("GH0647"), 1);
    /* who has it open goes on */
    assert_success(follow(signers, services, now + 2 * SECOND));
    assert_true(sign_something(signers, now + 2 * SECOND));
    services->sealer = NULL;
    assert_int_equal(follow(other, services, now + 2 * SECOND), APR_EINVAL);
    assert_non_null(strstr(logged, "GH0639"));
    assert_int_equal(generations("P-256"), 1);
}

/** While the store cannot be asked, what is there goes on. */
static void test_without_store(void **state)
{
    ocsp_signer_services_t *services, closed;
    ocsp_signers_t *signers;
    apr_time_t now = apr_time_now();

    signers_world(now - 100 * DAY);
    services = process_services(0);
    closed = *services;
    closed.store = NULL;
    signers = one(shipped("basic-ocsp"));
    assert_int_equal(follow(signers, NULL, now), GH_EUNAVAILABLE);
    assert_int_equal(follow(signers, &closed, now), GH_EUNAVAILABLE);
    /* who has opened no store yet has said why */
    assert_string_equal(logged, "");
    assert_success(follow(signers, services, now));
    assert_success(follow(signers, &closed, now + 25 * DAY));
    assert_true(sign_something(signers, now + 25 * DAY));
    assert_int_equal(follow(signers, &closed, now + 31 * DAY), GH_EUNAVAILABLE);
    assert_int_equal(times_logged("GH0647"), 1);
}

static void refused(ocsp_signer_config_t first, ocsp_signer_config_t second, const char *number)
{
    apr_array_header_t *configs = apr_array_make(test_pool, 2, sizeof(ocsp_signer_config_t));
    ocsp_signers_t *signers;
    gh_result_t result;

    APR_ARRAY_PUSH(configs, ocsp_signer_config_t) = first;
    if (second.kind) {
        APR_ARRAY_PUSH(configs, ocsp_signer_config_t) = second;
    }
    assert_int_equal(load_signers(&signers, configs, NULL, apr_time_now(), &result), APR_EINVAL);
    assert_string_equal(result.number, number);
    assert_true(*result.action);
}

static void test_refused_when_loaded(void **state)
{
    const gh_profile_t *fit = shipped("basic-ocsp");

    signers_world(apr_time_now() - 100 * DAY);
    refused(enrolled("P-256", shipped("scep-digital-signature")), no_more, "GH0638");
    refused(enrolled("P-256", shipped("basic-ca-root")), no_more, "GH0638");
    refused(enrolled("P-256", make_profile("rsa", "basic-ocsp", "ProfileKeys RSA-2048", NULL)),
            no_more, "GH0638");
    refused(enrolled("P-256", NULL), no_more, "GH0638");
    refused(enrolled("P-256", fit), enrolled("P-256", fit), "GH0643");
    issuer = NULL;
    refused(enrolled("P-256", fit), no_more, "GH0637");
    issuer = gh_issuer_create("devices", &gh_issuer_offline, test_pool);
    refused(enrolled("P-256", fit), no_more, "GH0637");
}

/* Processes that are at it at once */

enum { PROCESSES = 4 };

/** Follows until the store has so many generations. @return the low byte of the signer's
 *  serial number, 0 after a failure */
static int follow_alone(apr_time_t start, int wanted)
{
    ocsp_signer_services_t *services = process_services(0);
    ocsp_signers_t *signers = one(shipped("basic-ocsp"));
    apr_time_t end = apr_time_now() + 10 * SECOND;
    gh_bytes_t serial;
    X509 *certificate;

    while (apr_time_now() < start) {
        apr_sleep(1000);
    }
    do {
        if (follow(signers, services, apr_time_now()) == APR_SUCCESS
            && generations("P-256") == wanted) {
            apr_sleep(apr_time_from_msec(1100));
            follow(signers, services, apr_time_now());
            certificate = signing(signers, 0, apr_time_now());
            serial = gh_certificate_serial(certificate, test_pool);
            return serial.data[serial.length - 1] | 1;
        }
        apr_sleep(20000);
    } while (apr_time_now() < end);
    return 0;
}

/** All of them have to agree. */
static void race(int wanted)
{
    apr_time_t start = apr_time_now() + apr_time_from_msec(300);
    pid_t pids[PROCESSES];
    int i, status, agreed = 0;

    for (i = 0; i < PROCESSES; ++i) {
        pids[i] = fork();
        if (pids[i] == 0) {
            _exit(follow_alone(start, wanted));
        }
    }
    for (i = 0; i < PROCESSES; ++i) {
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status));
        assert_int_not_equal(WEXITSTATUS(status), 0);
        assert_true(i == 0 || WEXITSTATUS(status) == agreed);
        agreed = WEXITSTATUS(status);
    }
}

static void test_race(void **state)
{
    signers_world(apr_time_now() - 100 * DAY);
    race(1);
    assert_int_equal(generations("P-256"), 1);
}

static void test_race_to_renew(void **state)
{
    signers_world(apr_time_now() - 100 * DAY);
    store_generation("P-256", 1, apr_time_now() - 21 * DAY);
    race(2);
    assert_int_equal(generations("P-256"), 2);
}

/* Threads that sign while signers are replaced */

typedef struct {
    ocsp_signers_t *signers;
    volatile apr_uint32_t signatures;
    volatile apr_uint32_t failures;
    volatile int stop;
} load_t;

static void *APR_THREAD_FUNC keep_signing(apr_thread_t *thread, void *data)
{
    load_t *load = data;

    while (!load->stop) {
        if (sign_something(load->signers, apr_time_now())) {
            apr_atomic_inc32(&load->signatures);
        }
        else {
            apr_atomic_inc32(&load->failures);
        }
    }
    return NULL;
}

/** Certificates that live for six seconds, of which three lie ahead, and that are revoked, too. */
static void test_swapped_under_load(void **state)
{
    enum { THREADS = 3 };
    apr_time_t begin = apr_time_now(), revoke_at = begin + 4 * SECOND;
    ocsp_signer_services_t *services;
    apr_thread_t *threads[THREADS];
    load_t load = { NULL, 0, 0, 0 };
    apr_status_t rv;
    int i;

    signers_world(begin - 100 * DAY);
    services = process_services(0);
    load.signers = one(make_profile("short", "basic-ocsp", "ProfileValidity 6s", NULL));
    assert_success(follow(load.signers, services, apr_time_now()));
    for (i = 0; i < THREADS; ++i) {
        assert_success(apr_thread_create(&threads[i], NULL, keep_signing, &load, test_pool));
    }
    while (apr_time_now() < begin + 8 * SECOND) {
        follow(load.signers, services, apr_time_now());
        if (apr_time_now() >= revoke_at) {
            set_status(signing(load.signers, 0, apr_time_now()), GH_STATUS_REVOKED);
            revoke_at = begin + 100 * SECOND;
        }
        apr_sleep(50000);
    }
    load.stop = 1;
    for (i = 0; i < THREADS; ++i) {
        apr_thread_join(&rv, threads[i]);
    }
    assert_int_equal(load.failures, 0);
    assert_true(load.signatures > 1000);
    assert_true(generations("P-256") >= 4);
    assert_string_equal(logged, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_enrolled, x509_test_teardown),
        cmocka_unit_test_teardown(test_renewed, x509_test_teardown),
        cmocka_unit_test_teardown(test_from_elsewhere, x509_test_teardown),
        cmocka_unit_test_teardown(test_activated, x509_test_teardown),
        cmocka_unit_test_teardown(test_clock_was_ahead, x509_test_teardown),
        cmocka_unit_test_teardown(test_renewal_fails, x509_test_teardown),
        cmocka_unit_test_teardown(test_withdrawn, x509_test_teardown),
        cmocka_unit_test_teardown(test_ca_about_to_end, x509_test_teardown),
        cmocka_unit_test_teardown(test_sealing_key, x509_test_teardown),
        cmocka_unit_test_teardown(test_without_store, x509_test_teardown),
        cmocka_unit_test_teardown(test_refused_when_loaded, x509_test_teardown),
        cmocka_unit_test_teardown(test_race, x509_test_teardown),
        cmocka_unit_test_teardown(test_race_to_renew, x509_test_teardown),
        cmocka_unit_test_teardown(test_swapped_under_load, x509_test_teardown),
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
