/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_exchange_h
#define mod_wstep_wstep_exchange_h

#include "mod_wstep/wstep_engine.h"
#include "mod_wstep/wstep_ra.h"

/* One request and what is decided about it; within the engine. */

/** Who vouches for a request, beside the caller. */
typedef enum {
    WSTEP_NEW,
    WSTEP_RENEWS,                   /* the certificate that is renewed */
    WSTEP_ON_BEHALF                 /* an enrolment agent */
} wstep_way_t;

typedef struct {
    wstep_engine_t *engine;
    const wstep_services_t *services;
    const wstep_endpoint_t *endpoint;
    const wstep_caller_t *caller;
    const wstep_request_t *request;
    const wstep_message_t *message;
    const char *issuer;             /* who issues now */
    gh_issuer_t *ca;
    wstep_signer_t signer;          /* of the response; certificate NULL: certificates alone */
    wstep_token_t *token;
    wstep_way_t way;
    const wstep_template_t *template;
    const gh_profile_t *profile;
    const gh_directory_account_t *account;  /* of the caller; NULL: there is no directory */
    wstep_user_t subject_user;      /* whom the certificate is for */
    const gh_directory_account_t *subject;
    const gh_given_names_t *given;
    const char *id;                 /* RequestID */
    gh_bytes_t owner;               /* SHA-256 of whose request it is */
    wstep_fault_kind_t kind;        /* of the fault; WSTEP_FAULT_NONE: as the result says */
    apr_pool_t *p;
    gh_result_t *result;
} wstep_exchange_t;

/** Issue, whatever way. @param outcome where it stands */
apr_status_t wstep_exchange_issue(wstep_exchange_t *x, gh_enrolment_outcome_t *outcome);

/** QueryTokenStatus. Sets issuer and ca to those that the request was made to. */
apr_status_t wstep_exchange_query(wstep_exchange_t *x, gh_enrolment_outcome_t *outcome);

/* wstep_decide.c */

/** Finds out who calls, which way it goes and by which template, whether that is permitted, and
 *  whose names are given. */
apr_status_t wstep_exchange_decide(wstep_exchange_t *x);

/** Whose request it is: so that another caller finds nothing under its number. */
apr_status_t wstep_exchange_owner(wstep_exchange_t *x);

/** The caller's account, if there are a directory and a name. */
apr_status_t wstep_exchange_account(const wstep_services_t *services, const wstep_user_t *user,
                                    const gh_directory_account_t **account, apr_pool_t *p,
                                    gh_result_t *result);

/** The same of the caller himself, whose certificate may have named it. */
apr_status_t wstep_exchange_caller(const wstep_services_t *services, const wstep_caller_t *caller,
                                   const gh_directory_account_t **account, apr_pool_t *p,
                                   gh_result_t *result);

#endif /* mod_wstep_wstep_exchange_h */
