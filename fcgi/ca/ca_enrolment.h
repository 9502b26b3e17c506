/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_ca_ca_enrolment_h
#define fcgi_ca_ca_enrolment_h

#include "fcgi/ca/ca_service.h"
#include "issuer/submission.h"

/* An enrolment at work: what is decided in the loop (ca_enrolment.c), and what the store is asked
 * and told on other threads (ca_enrolment_store.c). */

/** Number of a certificate that is not what was asked for, see gh_submission_check(). */
#define ENROLMENT_WRONG "GH0780"
/** Number of one that another enrolment has got, see gh_submission_issued(). */
#define ENROLMENT_TAKEN "GH0779"

/** Numbers of answers of the gateway itself that do not tell what it did, see cagw_reply.c and
 *  cagw_read.c: it is not at work on the call any more. */
#define ENROLMENT_UNTOLD "GH0826"
#define ENROLMENT_UNUSABLE "GH0829"

typedef enum {
    ENROLMENT_AGAIN = 1,
    ENROLMENT_ISSUED,               /* by the first of the candidates that passes */
    ENROLMENT_REJECTED,
    ENROLMENT_DOUBT,
    ENROLMENT_GONE,                 /* the row is over: so is the job */
    ENROLMENT_UNREADABLE            /* what is stored cannot be read here */
} enrolment_ending_t;

typedef struct {
    ca_service_t *service;
    framework_job_t *job;
    apr_pool_t *pool;               /* of the job */
    gh_submission_t *submission;    /* NULL if it could not be read */
    gh_bytes_t body;                /* of the call */
    const char *reference;          /* not NULL: the CA has accepted the call that was made */
    ca_wanted_t wanted;
    gh_result_t why;                /* it is not over yet, or what is the matter with it */

    enrolment_ending_t ending;
    apr_array_header_t *candidates; /* X509 * */
    apr_array_header_t *revoked;    /* X509 *: the CA has issued and revoked them; or NULL */
    int answered;                   /* they are what the call was answered with */
    const char *reason;             /* of a rejection, for the client */
    apr_time_t due;
    int unknown;

    apr_status_t rv;                /* of the store */
    gh_result_t stored;
    const char *serial;             /* of what was issued */
    int tries;
} enrolment_t;

/** Reads the submission, then calls enrolment_read() in the loop. */
void enrolment_begin(enrolment_t *enrolment);
void enrolment_read(enrolment_t *enrolment);

/** Stores what has become of it, and ends the job; if no candidate is what was asked for, calls
 *  enrolment_wrong() in the loop instead, and if all that were found are of other enrolments,
 *  enrolment_not_found(). */
void enrolment_end(enrolment_t *enrolment);
void enrolment_wrong(enrolment_t *enrolment);
void enrolment_not_found(enrolment_t *enrolment);

#endif /* fcgi_ca_ca_enrolment_h */
