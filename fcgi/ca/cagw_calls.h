/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_ca_cagw_calls_h
#define fcgi_ca_cagw_calls_h

#include "fcgi/ca/cagw_codec.h"
#include "fcgi/http.h"

/*
 * Calls to a CA gateway. All are for the thread that runs the loop. Each ends in exactly one call
 * of its function done, which may come before the call returns.
 */

/** A CA behind a gateway. */
typedef struct {
    const char *name;               /* of the issuer, for logs */
    http_peer_t *peer;
    const char *ca;                 /* its id there */
    cagw_spelling_t spelling;
    const gh_log_t *log;
} cagw_gateway_t;

/** How a call has ended. */
typedef struct {
    cagw_verdict_t verdict;         /* that of the reply, or CAGW_NOT_SENT */
    cagw_reply_t reply;             /* to be read if CAGW_DONE; lives as long as the pool */
    gh_bytes_t body;                /* of an answer; lives until done returns */
    apr_time_t retry_after;         /* 0: not said */
    apr_time_t date;                /* by the clock of who has answered; 0: not said */
    int alive;                      /* 1: the gateway itself has answered */
    int stopped;                    /* 1: given up because the worker ends */
    int unwelcome;                  /* 1: the gateway does not take us for who may do this */
    gh_result_t result;             /* filled unless CAGW_DONE */
} cagw_outcome_t;

/** @param outcome of the pool that the call was given */
typedef void cagw_done_fn(void *baton, cagw_outcome_t *outcome);

/** Enrols: has an effect, and is not repeated. @param body cagw_write_enrolment() */
void cagw_call_enrol(const cagw_gateway_t *gateway, gh_bytes_t body, cagw_done_fn *done,
                     void *baton, apr_pool_t *p);

/** @param serial as the gateway spells it */
void cagw_call_certificate(const cagw_gateway_t *gateway, const char *serial, cagw_done_fn *done,
                           void *baton, apr_pool_t *p);

/** Done twice it does the same as once. @param body cagw_write_action() */
void cagw_call_action(const cagw_gateway_t *gateway, const char *serial, gh_bytes_t body,
                      cagw_done_fn *done, void *baton, apr_pool_t *p);

/**
 * A page of events.
 * @param start  first time; 0: what the cursor says
 * @param cursor of the page; NULL: the first one
 */
void cagw_call_events(const cagw_gateway_t *gateway, apr_time_t start, const char *cursor, int size,
                      apr_interval_time_t timeout, cagw_done_fn *done, void *baton, apr_pool_t *p);

/** The CA with its certificate and chain. */
void cagw_call_ca(const cagw_gateway_t *gateway, cagw_done_fn *done, void *baton, apr_pool_t *p);

/** What a CA tells of itself: CAGW_PATH_STATUS, CAGW_PATH_CAPABILITIES, CAGW_PATH_PROFILES.
 *  @param name of one of these; NULL: the list */
void cagw_call_about(const cagw_gateway_t *gateway, const char *what, const char *name,
                     apr_interval_time_t timeout, cagw_done_fn *done, void *baton, apr_pool_t *p);

/** A segment of a path, escaped (RFC 3986 3.3): '~' stays, '/' does not. */
const char *cagw_segment(const char *text, apr_pool_t *p);

#endif /* fcgi_ca_cagw_calls_h */
