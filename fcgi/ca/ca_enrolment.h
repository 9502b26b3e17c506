/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_ca_ca_enrolment_h
#define fcgi_ca_ca_enrolment_h

#include "fcgi/ca/ca_service.h"
#include "issuer/submission.h"

/* An enrolment at work: what is decided in the loop (ca_enrolment.c), what the store is asked and
 * told on other threads (ca_enrolment_store.c), and how the CA is spoken to (ca_enrolment_cagw.c).
 * No decision depends on the number or the words of a failure. */

typedef struct enrolment enrolment_t;

/** How a CA is spoken to. */
typedef struct {
    /** Makes what will be sent. @return an error with enrolment->why: it cannot be said at all */
    apr_status_t (*prepare)(enrolment_t *enrolment);
    /** Makes the call, which ends in one enrolment_called(). @param baton the enrolment */
    void (*call)(void *baton);
    /** Asks what has become of a call; ends in one enrolment_found(). */
    void (*find)(enrolment_t *enrolment);
    /** An answer was not what was asked for. */
    void (*distrust)(enrolment_t *enrolment);
} enrolment_language_t;

/** How a call has ended. */
typedef enum {
    ENROLMENT_CALL_ISSUED = 1,      /* with certificate */
    ENROLMENT_CALL_ACCEPTED,        /* the CA will see to it; reference says how it is asked for */
    ENROLMENT_CALL_REFUSED,         /* for good; reason */
    ENROLMENT_CALL_UNDONE,          /* it surely had no effect; due */
    ENROLMENT_CALL_UNTOLD,          /* whether it had one is not known; it has none any more */
    ENROLMENT_CALL_LOST,            /* whether it had one, or will have, is not known */
    ENROLMENT_CALL_STOPPED          /* as the one before: another worker finds out */
} enrolment_call_t;

/** What a search has told. */
typedef enum {
    ENROLMENT_SEARCHED = 1,         /* candidates and revoked are all there is, perhaps nothing */
    ENROLMENT_SEARCH_LATER,         /* it told nothing yet; with why, if that is a failure */
    ENROLMENT_SEARCH_IMPOSSIBLE,    /* it never will */
    ENROLMENT_SEARCH_ENDED          /* it never will, by why */
} enrolment_search_t;

/** What is known of the call that was made. */
typedef enum {
    ENROLMENT_OPEN = 0,             /* nothing */
    ENROLMENT_OVER,                 /* nothing can come of it any more that has not come yet */
    ENROLMENT_WRONG,                /* the answer was a certificate that was not asked for */
    ENROLMENT_ACCEPTED              /* the CA has taken it, and is asked by the reference */
} enrolment_known_t;

/** Why none of the candidates was taken. */
typedef enum {
    ENROLMENT_FIT = 0,
    ENROLMENT_UNFIT,                /* gh_submission_check() */
    ENROLMENT_TAKEN,                /* another enrolment has got it, see gh_submission_issued() */
    ENROLMENT_REVOKED               /* the CA has issued and revoked it */
} enrolment_fitness_t;

typedef enum {
    ENROLMENT_AGAIN = 1,
    ENROLMENT_ISSUED,               /* by the first of the candidates that passes */
    ENROLMENT_REJECTED,
    ENROLMENT_DOUBT,
    ENROLMENT_GONE,                 /* the row is over: so is the job */
    ENROLMENT_UNREADABLE            /* what is stored cannot be read here */
} enrolment_ending_t;

struct enrolment {
    ca_service_t *service;
    const enrolment_language_t *language;
    void *baton;                    /* of the language */
    framework_job_t *job;
    apr_pool_t *pool;               /* of the job */
    gh_submission_t *submission;    /* NULL if it could not be read */
    enrolment_known_t known;
    const char *reference;          /* with ENROLMENT_ACCEPTED; has a colon */
    apr_time_t over;                /* with ENROLMENT_OVER and _WRONG, since when; 0: not known */
    gh_result_t why;                /* it is not over yet, or what is the matter with it */

    enrolment_ending_t ending;
    apr_array_header_t *candidates; /* X509 * */
    apr_array_header_t *revoked;    /* X509 *: the CA has issued and revoked them; or NULL */
    int answered;                   /* they are what the call was answered with */
    const char *reason;             /* of a rejection, for the client */
    apr_time_t due;                 /* 0: by and by */
    int unknown;

    apr_status_t rv;                /* of the store */
    gh_result_t stored;
    enrolment_fitness_t fitness;
    const char *serial;             /* of what was issued */
    int tries;
};

/** What a handler of GH_SUBMISSION_KIND does: carries the job's enrolment out. */
void enrolment_carry_out(ca_service_t *service, const enrolment_language_t *language,
                         void *baton, framework_job_t *job);

/** @param certificate with ENROLMENT_CALL_ISSUED; enrolment->why, reference, reason and due are set
 *         before, as the end of the call wants them */
void enrolment_called(enrolment_t *enrolment, enrolment_call_t call, X509 *certificate);

/** With ENROLMENT_SEARCHED enrolment->candidates and revoked are set before, with
 *  ENROLMENT_SEARCH_LATER perhaps due. */
void enrolment_found(enrolment_t *enrolment, enrolment_search_t search);

/** Until when a call may still have an effect that a search finds. */
apr_time_t enrolment_settled(const enrolment_t *enrolment);

/* ca_enrolment_store.c */

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
