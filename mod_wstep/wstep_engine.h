/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_engine_h
#define mod_wstep_wstep_engine_h

#include <apr_pools.h>

#include "audit.h"
#include "directory/directory.h"
#include "issuer/ledger.h"
#include "limiter.h"
#include "log.h"
#include "mod_wstep/wstep_answer.h"
#include "mod_wstep/wstep_catalogue.h"
#include "mod_wstep/wstep_endpoint.h"
#include "mod_wstep/wstep_fault.h"
#include "mod_wstep/wstep_request.h"
#include "mod_wstep/wstep_template.h"
#include "store/store.h"
#include "x509/seal.h"

/*
 * The operations of MS-WSTEP: from a request that was read and a caller who was authenticated to
 * authorisation, ledger and answer. One engine per process, used by all threads.
 */

typedef struct wstep_engine wstep_engine_t;

/** What a process has. */
typedef struct {
    gh_store_t *store;
    gh_ledger_t *ledger;
    const gh_sealer_t *sealer;
    OSSL_LIB_CTX *decoding;         /* in which requests are parsed; NULL: the default */
    gh_directory_t *directory;      /* NULL: there is none */
    const char *node;
    const gh_log_t *log;            /* for work without a request */
    void (*audit)(const gh_audit_event_t *event, apr_pool_t *p);    /* may be NULL */
} wstep_services_t;

/** What comes with a message. */
typedef struct {
    const char *client;             /* address */
    const char *id;                 /* of the request */
    gh_expand_fn *expand;
    void *expand_baton;
    const gh_log_t *log;
    gh_audit_event_t *event;        /* begun by the caller, who writes it afterwards */
    /** Waits, for a bounded time, until something has come of an enrolment that was handed to a
     *  worker, as a job of a queue. NULL: nobody waits. */
    void (*await)(void *baton, const char *queue, const char *enrolment);
    void *await_baton;
} wstep_message_t;

/** @param services borrowed */
wstep_engine_t *wstep_engine_create(const wstep_services_t *services, apr_pool_t *p);

/** Makes known an issuer that signs its responses by a registration authority.
 *  @param profile of the latter's certificate, for which gh_profile_fits_ra() holds */
apr_status_t wstep_engine_add_issuer(wstep_engine_t *engine, gh_issuer_t *issuer,
                                     const gh_profile_t *profile, apr_pool_t *p);

/** Provides all of those with their keys; what fails is logged, and tried again when needed. */
void wstep_engine_prepare(wstep_engine_t *engine);

/**
 * Carries out what was asked for.
 * @param answer filled with success
 * @param fault  filled otherwise; result has the words
 * @return APR_SUCCESS; APR_EINVAL, GH_EREFUSED, GH_EUNAVAILABLE and others with fault and result
 */
apr_status_t wstep_engine_operate(wstep_engine_t *engine, const wstep_endpoint_t *endpoint,
                                  const wstep_caller_t *caller, const wstep_request_t *request,
                                  const wstep_message_t *message, wstep_answer_t *answer,
                                  wstep_fault_t *fault, apr_pool_t *p, gh_result_t *result);

/** Finds out who has shown a certificate; see wstep_holder_find(). */
apr_status_t wstep_engine_holder(wstep_engine_t *engine, const wstep_endpoint_t *endpoint,
                                 wstep_caller_t *caller, X509 *certificate, apr_pool_t *p,
                                 gh_result_t *result);

/**
 * Who a caller is to the directory, for the policy that he is shown.
 * @param account NULL if there is no directory, or nobody has shown who he is
 * @return as gh_directory_account(); GH_EREFUSED for an account that is disabled
 */
apr_status_t wstep_engine_account(wstep_engine_t *engine, const wstep_caller_t *caller,
                                  const gh_directory_account_t **account, apr_pool_t *p,
                                  gh_result_t *result);

/** Templates of the directory, for one request. @param log of the request */
wstep_catalogue_t *wstep_engine_catalogue(wstep_engine_t *engine, const gh_log_t *log,
                                          apr_pool_t *p);

#endif /* mod_wstep_wstep_engine_h */
