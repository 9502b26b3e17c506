/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_result_h
#define gatehouse_result_h

#include <apr_errno.h>

/*
 * What went wrong, once, for everybody: the protocol's error form, the error log, the audit log and
 * the person who has to do something about it.
 */

/** What kind of failure; protocols map it to their own codes (SCEP failInfo, HTTP status, ...). */
typedef enum {
    GH_FAILURE_NONE = 0,
    GH_FAILURE_MALFORMED,       /* cannot be parsed */
    GH_FAILURE_REQUEST,         /* understood, not permitted by profile or protocol */
    GH_FAILURE_ALGORITHM,       /* key, digest or cipher that is not accepted here */
    GH_FAILURE_INTEGRITY,       /* signature, decryption or proof of possession */
    GH_FAILURE_TIME,            /* too early or too late */
    GH_FAILURE_DENIED,          /* not authorised */
    GH_FAILURE_NOT_FOUND,       /* no such certificate, enrolment, issuer, ... */
    GH_FAILURE_CONFLICT,        /* contradicts what is stored */
    GH_FAILURE_UNAVAILABLE,     /* store, key or peer cannot be reached: try later */
    GH_FAILURE_INTERNAL         /* our fault */
} gh_failure_t;

typedef struct gh_result gh_result_t;

/** Plain memory, no pool: may live on the stack, be copied, and outlive what it speaks of. */
struct gh_result {
    apr_status_t status;
    gh_failure_t failure;
    char number[8];             /* "GH0123", or empty */
    const char *rule;           /* static text naming the rule that refused, or NULL */
    char message[512];          /* what was wrong, without the number; no secrets */
    char action[256];           /* what to do about it; may be empty */
    char cause[512];            /* for logs alone: what the requester is not told; may be empty */
};

/** Empties a result: success, nothing to say. */
void gh_result_clear(gh_result_t *result);

/**
 * Records a failure and returns its status, so that a function can end with it.
 * A message longer than the buffer is cut. Bytes that are not printable are replaced by '?', since
 * messages may quote what a client sent.
 *
 * @param result  may be NULL
 * @param status  what to return; never APR_SUCCESS
 * @param failure the kind
 * @param rule    static text such as "challenge" or "profile.eku", or NULL
 * @param action  static text, what to do, or NULL
 * @param format  begins with GHNO(nnnn)
 * @return status
 */
apr_status_t gh_result_fail(gh_result_t *result, apr_status_t status, gh_failure_t failure,
                            const char *rule, const char *action, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

/** Adds the cause to a failure: what operators should know and a requester should not. Cut and made
 *  printable like a message. @param result may be NULL */
void gh_result_cause(gh_result_t *result, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/**
 * As gh_result_fail(), with the first error of OpenSSL's queue of this thread appended to the
 * message; the queue is emptied.
 */
apr_status_t gh_result_openssl(gh_result_t *result, apr_status_t status, gh_failure_t failure,
                               const char *rule, const char *action, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

/**
 * Empties OpenSSL's queue of errors of this thread.
 * @return 1 if memory was lacking for something: then a failure says nothing of what was examined
 */
int gh_openssl_lacked_memory(void);

#endif /* gatehouse_result_h */
