/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_scep_scep_engine_h
#define mod_scep_scep_engine_h

#include <apr_pools.h>

#include "audit.h"
#include "log.h"
#include "mod_scep/scep_endpoint.h"
#include "limiter.h"
#include "mod_scep/scep_ra.h"
#include "result.h"
#include "text.h"

/*
 * The operations of SCEP: takes a message for an endpoint, asks authorisation and ledger, makes the
 * answer. One engine per process, used by all threads.
 */

typedef struct scep_engine scep_engine_t;

/** What comes with a message. */
typedef struct {
    const char *client;             /* address */
    const char *user;               /* authenticated by the server, or NULL */
    const char *id;                 /* of the request */
    gh_expand_fn *expand;
    void *expand_baton;
    const gh_log_t *log;
    gh_audit_event_t *event;        /* begun by the caller, who writes it afterwards */
    /** Waits, for a bounded time, until something has come of an enrolment that was handed to a
     *  worker, as a job of a queue. NULL: nobody waits. */
    void (*await)(void *baton, const char *queue, const char *enrolment);
    void *await_baton;
    /** Writes another event to the audit log. */
    void (*audit)(const gh_audit_event_t *event, apr_pool_t *p);
} scep_request_t;

/** What goes back. */
typedef struct {
    int status;                     /* of HTTP */
    const char *content_type;
    gh_bytes_t body;
    int retry_after;                /* seconds, or 0 */
} scep_response_t;

/** @param gate who passes it is worked for; others are answered with 503 */
scep_engine_t *scep_engine_create(const scep_services_t *services, gh_limiter_t *gate,
                                  apr_pool_t *p);

/** Makes the RA of an issuer known. @param profile of the RA's certificate */
apr_status_t scep_engine_add_issuer(scep_engine_t *engine, gh_issuer_t *issuer,
                                    const gh_profile_t *profile, apr_pool_t *p);

/** Provides all RAs with their keys; what fails is logged, and tried again when it is needed. */
void scep_engine_prepare(scep_engine_t *engine);

/** GetCACaps: what this endpoint can do, and nothing else. */
void scep_engine_caps(const scep_endpoint_t *endpoint, scep_response_t *response, apr_pool_t *p);

/** GetCACert: RA first, then the issuer and what is above it. */
void scep_engine_certificates(scep_engine_t *engine, const scep_endpoint_t *endpoint,
                              const gh_log_t *log, scep_response_t *response, apr_pool_t *p);

/** GetNextCACert: the same of the issuer that takes over, signed by the RA of now; 404 if none is
 *  announced (RFC 8894 4.7). */
void scep_engine_next_certificates(scep_engine_t *engine, const scep_endpoint_t *endpoint,
                                   const gh_log_t *log, scep_response_t *response, apr_pool_t *p);

/** PKIOperation. */
void scep_engine_operate(scep_engine_t *engine, const scep_endpoint_t *endpoint,
                         gh_bytes_t message, const scep_request_t *request,
                         scep_response_t *response, apr_pool_t *p);

/** An answer of one line of text, for what has no SCEP answer. */
void scep_response_text(scep_response_t *response, int status, const gh_result_t *result,
                        apr_pool_t *p);

#endif /* mod_scep_scep_engine_h */
