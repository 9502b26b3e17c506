/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_intune_intune_service_h
#define fcgi_intune_intune_service_h

#include "cron.h"
#include "fcgi/framework.h"
#include "fcgi/intune/intune_calls.h"
#include "x509/seal.h"

/* What the worker does for each connection to Intune: jobs of enrolments, and requests for
 * revocation. */

/** Kinds of jobs beside those of question.h. */
#define INTUNE_JOB_TELL   "tell." "intune"      /* a success that was handed out already */
#define INTUNE_JOB_POLL   "poll." "intune"      /* asks for requests for revocation */
#define INTUNE_JOB_REVOKE "revoke." "intune"    /* a batch of them */
#define INTUNE_JOB_UPLOAD "upload." "intune"    /* what has become of one */

/** Dates after which a credential is of no use. */
#define INTUNE_ENDS_MAX (INTUNE_SECRETS_MAX + 1)

typedef struct {
    intune_connection_t connection;
    intune_session_t *session;
    framework_t *framework;
    framework_queue_t *queue;       /* GH_INTUNE_QUEUE and the name */
    const gh_sealer_t *sealer;      /* or NULL */
    const gh_log_t *log;
    int lenient;                    /* what Intune was not told of is handed out all the same */
    int polls;                      /* requests for revocation are asked for */
    int failures;                   /* of asking, one after the other */
    gh_cron_t cron;
    int most;                       /* of them at a time */
    const char *issuer_name;        /* only of this one; or NULL */
    apr_time_t ends[INTUNE_ENDS_MAX];   /* of credentials; 0: not said */
    int told[INTUNE_ENDS_MAX];      /* days that were left when that was told last */
    char problem[GH_NUMBER_LENGTH + 2]; /* number of what an operator has to mend; or empty */
} intune_service_t;

/**
 * Reads the member "intune" of the worker's configuration, and begins to work for all connections.
 * @param list may be NULL
 * @return APR_EINVAL with result
 */
apr_status_t intune_start(const json_t *list, framework_t *framework, const gh_sealer_t *sealer,
                          apr_pool_t *p, gh_result_t *result);

/** Tells operators once of what only they can mend, and that it is over; and the breaker. */
void intune_service_note(intune_service_t *service, const intune_outcome_t *outcome,
                         intune_verdict_t verdict, const gh_result_t *result);

/** Handlers of the jobs of enrolments; the baton is the service. */
void intune_question(void *baton, framework_job_t *job);
void intune_tell(void *baton, framework_job_t *job);

/** Handlers of requests for revocation. */
void intune_poll(void *baton, framework_job_t *job);
void intune_revoke(void *baton, framework_job_t *job);
void intune_upload(void *baton, framework_job_t *job);

/** Sees that there is the job that polls, if there is to be one. */
void intune_revocation_start(intune_service_t *service);

#endif /* fcgi_intune_intune_service_h */
