/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_ca_ca_service_h
#define fcgi_ca_ca_service_h

#include "fcgi/ca/ca_config.h"
#include "fcgi/ca/cagw_calls.h"

/* What is done for an issuer behind a gateway: jobs, and what is looked after between them. All of
 * it in the thread that runs the loop. */

typedef struct ca_search ca_search_t;
typedef struct ca_probe ca_probe_t;
typedef struct ca_credentials ca_credentials_t;

typedef struct {
    ca_issuer_t *issuer;
    cagw_gateway_t gateway;
    ca_search_t *search;
    ca_probe_t *probe;
    ca_credentials_t *credentials;  /* NULL: that of the file alone */
    int unwelcome;                  /* the gateway has not taken the last call as one of ours */
    apr_interval_time_t ends_soon;  /* before the end of the credential that is worth a warning */
    apr_interval_time_t clock;      /* of the gateway, ahead of ours; as far as that is known */
    int clock_told;                 /* 1: that they differ */
    int actions;                    /* jobs that change a status and have not called yet */
    char problem[GH_NUMBER_LENGTH + 2]; /* number of what an operator has to mend; or empty */
} ca_service_t;

/** Handlers for the jobs of an issuer, and what is done besides. */
void ca_service_start(ca_issuer_t *issuer, apr_pool_t *p);

/** Tells operators once of what only they can mend, and that it is over. */
void ca_service_note(ca_service_t *service, const cagw_outcome_t *outcome);

/** Takes up the CA's events, if the issuer is told to. */
void ca_events_start(ca_service_t *service, apr_pool_t *p);

/** Has the credential that was enrolled used instead of that of the file. */
void ca_credentials_start(ca_service_t *service, apr_pool_t *p);

/** Looks at the gateway now and then. */
void ca_probe_start(ca_service_t *service, apr_pool_t *p);

/** Handler of GH_GATEWAY_TEST: looks at once. */
void ca_test(void *baton, framework_job_t *job);

/** Handler of GH_GATEWAY_SYNC: takes up all events. */
void ca_sync(void *baton, framework_job_t *job);

/** Handler of GH_EVENTS_LOOKUP: asks for the status of all that may have another one. */
void ca_lookup(void *baton, framework_job_t *job);

/** What an issuer needs of its CA and the gateway, and does not find there. */
typedef struct {
    ca_service_t *service;
    apr_pool_t *pool;
    apr_array_header_t *findings;   /* gh_gateway_finding_t *; NULL: it could not be asked */
    void (*done)(void *baton);
    void *baton;
} ca_survey_t;

/** Asks for capabilities and profiles; then calls done. */
void ca_survey(ca_survey_t *survey);

/** Handler of GH_SUBMISSION_KIND; the baton is the service. */
void ca_enrol(void *baton, framework_job_t *job);
/** The same for an issuer behind a CMP server, see fcgi/cmp/cmp_enrolment.c. */
void ca_enrol_cmp(void *baton, framework_job_t *job);

/** Handlers of GH_REMOTE_REVOKE, GH_REMOTE_HOLD and GH_REMOTE_RELEASE. */
void ca_revoke(void *baton, framework_job_t *job);
void ca_hold(void *baton, framework_job_t *job);
void ca_release(void *baton, framework_job_t *job);

/* Search: what a CA has issued for a key. The CA's events are read, once for all that search at the
 * same time. */

typedef struct ca_wanted ca_wanted_t;

/** Memory of who searches, until done is called. */
struct ca_wanted {
    gh_bytes_t key_sha256;          /* of the SubjectPublicKeyInfo */
    apr_time_t from;                /* when it may have been issued, by our clock */
    apr_time_t until;               /* and until when; 0: that is open */
    apr_pool_t *pool;
    void (*done)(ca_wanted_t *wanted);
    void *baton;

    apr_array_header_t *found;      /* X509 *, in pool, without those that were revoked since */
    apr_array_header_t *revoked;    /* these */
    int unread;                     /* 1: there are events that may be of it, and cannot be read */
    cagw_verdict_t verdict;         /* CAGW_DONE: the search was complete */
    gh_result_t result;             /* unless it was */

    ca_wanted_t *next;              /* of the search */
};

ca_search_t *ca_search_create(ca_service_t *service, apr_pool_t *p);

/** Begins a search, or joins the next one. done is called later, never from here. */
void ca_search_add(ca_search_t *search, ca_wanted_t *wanted);

#endif /* fcgi_ca_ca_service_h */
