/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_scep_scep_exchange_h
#define mod_scep_scep_exchange_h

#include "issuer/ledger.h"
#include "mod_scep/scep_engine.h"
#include "mod_scep/scep_message.h"
#include "mod_scep/scep_reply.h"

/* One message and what is decided about it; within the engine. */

typedef struct {
    const scep_services_t *services;
    const scep_endpoint_t *endpoint;
    const scep_request_t *request;
    const scep_ra_keys_t *keys;
    scep_message_t *message;
    const scep_recipient_t *recipient;
    scep_reply_t reply;             /* what to answer if the result is a success */
    const char *cause;              /* for the log: what the uniform failure does not tell */
    gh_result_t result;
    apr_pool_t *p;
} scep_exchange_t;

/** PKCSReq. @return APR_SUCCESS with the reply, or a failure with the result */
apr_status_t scep_exchange_enrol(scep_exchange_t *exchange);

/** CertPoll. */
apr_status_t scep_exchange_poll(scep_exchange_t *exchange);

#endif /* mod_scep_scep_exchange_h */
