/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef tests_unit_ca_world_h
#define tests_unit_ca_world_h

#include "submission_support.h"

#include "fcgi/ca/ca_service.h"

/* The worker for CAs with real store and ledger; the gateway, searches and the loop are played, one
 * thing after another. */

#define CA_HOLDER "worker"
#define CA_CALLS_MAX 4

#define ERROR "{\"type\":\"ErrorResponse\",\"error\":{\"code\":\"cagw-4027\"," \
              "\"message\":\"no such life\"}}"

/** An answer of the gateway. */
typedef struct {
    long status;                    /* 0: there is none */
    const char *body;               /* JSON, or the name of a certificate, see ca_certificate();
                                       where one is looked up, perhaps "NAME:status" */
    int unsent;                     /* without an answer: provably nothing was sent */
    int retry_after;
    int stopped;
} ca_answer_t;

#define SAYS(code, text) { .status = code, .body = text }
#define SAYS_LATER(code, text) { .status = code, .body = text, .retry_after = 1 }

/** What a search tells. */
typedef enum {
    NOT_SEARCHED = 0,
    NOTHING_FOUND,
    GOOD_FOUND,
    WRONG_FOUND,
    REVOKED_FOUND,
    UNREAD,
    NOT_NOW,
    NEVER
} ca_search_told_t;

struct framework_job {
    gh_job_record_t *record;
};

typedef struct {
    ca_worker_t worker;
    ca_issuer_t issuer;
    ca_service_t service;
    ca_answer_t answers[CA_CALLS_MAX];
    int calls;
    const char *serials[CA_CALLS_MAX];  /* in the paths of the calls */
    gh_bytes_t body;                /* of the last enrolment that was asked for */
    ca_search_told_t search;
    int searches;
    int distrusted;
    int over;
    int paused;                     /* 1: the gateway is left alone */
    int notes;                      /* how calls went, told so often */
    apr_interval_time_t clock;      /* of the store, ahead of ours */
    struct framework_job job;
    gh_log_t log;
} ca_play_t;

extern ca_play_t play;

/** cmocka fixture of each test; it can be used again within one, after x509_test_teardown(). */
int ca_setup(void **state);

/** In one line. */
const char *ca_base64(gh_bytes_t bytes);

/** How the body of an answer is made; the usual one knows names of certificates. */
extern const char *(*ca_make_body)(const char *body, int looked_up);

/** "GOOD", "ANOTHER" (good, too), "OTHER KEY" or "WRONG". */
X509 *ca_certificate(const char *name);

/** Takes a job, and gives it to its handler, which ends it. */
void ca_carry_out(const char *id);

/** Says in the store that a call is about to be made. */
void ca_begin_call(const char *id);

#endif /* tests_unit_ca_world_h */
