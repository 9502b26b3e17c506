/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef tests_unit_submission_support_h
#define tests_unit_submission_support_h

#include "x509_support.h"

#include "issuer/ledger.h"
#include "issuer/submission.h"
#include "store/jobs.h"
#include "x509/seal.h"

/* A CA elsewhere ("slow"), and a store and a ledger that hand enrolments over to it. Made anew for
 * each test, in test_pool. */

typedef struct {
    gh_store_t *store;
    gh_ledger_t *ledger;
    gh_issuer_t *issuer;
    gh_sealer_t *sealer;
    EVP_PKEY *ca_key;
    X509 *ca;
    EVP_PKEY *key;                  /* of the device */
    gh_profile_t *profile;
    gh_profile_t *manual;           /* the same, with approval */
    gh_csr_t *csr;                  /* of the last request */
    gh_question_t question;         /* whom ask_slow() has asked first; kind NULL: nobody */
    gh_result_t result;
    gh_audit_event_t event;
} submission_world_t;

extern submission_world_t world;

/** cmocka fixture of each test. */
int submission_setup(void **state);

/** Asks for "cn=device,o=Example" with DNS:device.example.com and a challenge. */
apr_status_t ask_slow(const char *transaction, const gh_profile_t *profile,
                      gh_enrolment_outcome_t *outcome);

/** Where that stands. */
gh_enrolment_outcome_t poll_slow(const char *transaction, const gh_profile_t *profile);

/** What a CA gives. Members that are NULL or 0 are as they were asked for. */
typedef struct {
    EVP_PKEY *key;
    EVP_PKEY *signer;
    const char *issuer;             /* RFC 4514 */
    const char *subject;
    const char *usage;              /* in the notation of OpenSSL's configuration; "": none */
    const char *purposes;
    const char *names;
    const char *more[2];            /* another extension and its value */
    long begin;                     /* seconds from now */
    long end;
    long serial;                    /* 4711 */
    int version;                    /* 3 */
} given_t;

X509 *give(const given_t *given);

/** Reads what is to be carried out, and takes its job. */
gh_submission_t *take_submission(const char *id, const char *holder);

/** A row or a job, NULL: there is none. */
gh_enrolment_record_t *row_of(const char *id);
gh_job_record_t *job_of(const char *id);

/** All jobs, newest first. */
apr_array_header_t *jobs_of(const char *queue);

/** The number that a statement gives. */
apr_int64_t number_of(const char *sql);

#endif /* tests_unit_submission_support_h */
