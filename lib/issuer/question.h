/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_issuer_question_h
#define gatehouse_issuer_question_h

#include <apr_pools.h>

#include "audit.h"
#include "issuer/authorisation.h"
#include "store/enrolments.h"
#include "store/jobs.h"
#include "store/store.h"
#include "x509/plan.h"
#include "x509/seal.h"

/*
 * Enrolments that somebody outside has to permit first, from the worker's side. An authoriser
 * grants subject to a question (gh_grant_t); row, job and what is used up are one transaction then,
 * whatever issues. What comes of the job ends here, in one transaction with its end.
 *
 *   submitted, "ask.KIND" --> permitted --> "enrol" (a CA elsewhere), approved, or waiting
 *        |                                       |
 *        `--> rejected                 issued, or confirming with "confirm.KIND"
 *                                                                 |--> issued
 *                                                                 `--> rejected, and revoked
 *
 * Where the outcome has to be told (question.confirm), a job "failed.KIND" goes with each rejection
 * that comes after the permission; the row is over then.
 *
 * All jobs of an enrolment have its id, one after the other, and the queue of the question, but for
 * "enrol". All may be asked and told more than once, as a worker may die at any instant: the other
 * side knows them by their transaction.
 */

/** What kinds of jobs begin with; behind it is the kind of the question. */
#define GH_QUESTION_ASK     "ask."
#define GH_QUESTION_CONFIRM "confirm."
#define GH_QUESTION_FAILED  "failed."

typedef enum {
    GH_STAGE_ASK = 1,               /* may it be issued? */
    GH_STAGE_CONFIRM,               /* it is issued: may it be handed out? */
    GH_STAGE_FAILED                 /* nothing was issued */
} gh_stage_t;

/** A job of these kinds with all that it is about. */
typedef struct {
    gh_stage_t stage;
    const char *id;                 /* of enrolment and job */
    gh_enrolment_record_t *record;
    gh_question_t question;
    gh_plan_t *plan;                /* what was authorised; NULL of GH_STAGE_FAILED */
    gh_bytes_t request;             /* PKCS#10 DER as the client sent it, unsealed: with its
                                       challenge, a secret, which is overwritten with the pool */
    gh_bytes_t certificate;         /* DER, of GH_STAGE_CONFIRM */
    const char *reason;             /* of GH_STAGE_FAILED */
} gh_asked_t;

/**
 * Reads what a job is about.
 * @param sealer the one that httpd seals with; NULL: none is configured
 * @return APR_NOTFOUND if nothing is to be asked or told any more: then gh_question_over();
 *         APR_EACCES, APR_EINVAL with result if what is stored cannot be read; GH_EUNAVAILABLE
 */
apr_status_t gh_question_read(gh_asked_t **asked, gh_store_t *store, const gh_sealer_t *sealer,
                              const gh_job_record_t *job, apr_pool_t *p, gh_result_t *result);

/* All below return APR_NOTFOUND if the holder has lost the job, and nothing was changed then;
 * errors of gh_store_write(). Events are empty, or with what the worker adds; they are filled and
 * written as rows. */

/** GH_STAGE_ASK: yes. @param word for the audit log, in the outsider's words; or NULL */
apr_status_t gh_question_permitted(const gh_asked_t *asked, gh_store_t *store, const char *holder,
                                   const char *node, const char *word, gh_audit_event_t *event,
                                   apr_pool_t *p, gh_result_t *result);

/**
 * GH_STAGE_ASK: no; the row is rejected.
 * @param reason for the client and the operator: use gh_question_words() on what comes from outside
 * @param why    what an operator is to know, with its number; rule and message of the audit log
 */
apr_status_t gh_question_refused(const gh_asked_t *asked, gh_store_t *store, const char *holder,
                                 const char *node, const char *reason, const gh_result_t *why,
                                 gh_audit_event_t *event, apr_pool_t *p, gh_result_t *result);

/** GH_STAGE_CONFIRM: it may be handed out. If it was revoked meanwhile the row is "rejected". */
apr_status_t gh_question_confirmed(const gh_asked_t *asked, gh_store_t *store, const char *holder,
                                   const char *node, gh_audit_event_t *event, apr_pool_t *p,
                                   gh_result_t *result);

/** GH_STAGE_CONFIRM: it may not: the certificate is revoked (cessationOfOperation), here and at a
 *  CA elsewhere, and the row is rejected. */
apr_status_t gh_question_not_confirmed(const gh_asked_t *asked, gh_store_t *store,
                                       const char *holder, const char *node, const char *reason,
                                       const gh_result_t *why, gh_audit_event_t *event,
                                       apr_pool_t *p, gh_result_t *result);

/** Any stage: later. The row's state says so while it is asked ("retry").
 *  @param due see framework_job_next(); @param why NULL: nothing is the matter */
apr_status_t gh_question_again(const gh_asked_t *asked, gh_store_t *store, const char *holder,
                               apr_time_t due, const gh_result_t *why, apr_pool_t *p,
                               gh_result_t *result);

/** Ends a job about which nothing is left to do: GH_STAGE_FAILED was told, or gave up; or
 *  gh_question_read() has found nothing. */
apr_status_t gh_question_over(const char *id, gh_store_t *store, const char *holder,
                              gh_result_t *result);

/** Words from outside as they may stand in a reason: printable, and at most 200 bytes of UTF-8.
 *  @param text NULL, or anything */
const char *gh_question_words(const char *text, apr_pool_t *p);

/** @return 1 if an enrolment was subject to a question of that queue */
int gh_question_was_of(const gh_enrolment_record_t *record, const char *queue, apr_pool_t *p);

#endif /* gatehouse_issuer_question_h */
