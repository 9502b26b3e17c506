/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_scep_scep_exchange_h
#define mod_scep_scep_exchange_h

#include "issuer/ledger.h"
#include "mod_scep/scep_engine.h"
#include "mod_scep/scep_message.h"
#include "mod_scep/scep_reply.h"

/* One message and what is decided about it; within the engine. */

typedef struct {
    scep_engine_t *engine;
    const scep_services_t *services;
    const scep_endpoint_t *endpoint;
    const scep_request_t *request;
    const char *issuer;             /* whose RA the message is for */
    scep_ra_t *ra;
    const scep_ra_keys_t *keys;
    scep_message_t *message;
    const scep_recipient_t *recipient;
    int outside;                    /* it has no place in the gate */
    int renews;                     /* the signer's certificate vouches for the request */
    scep_reply_t reply;             /* what to answer if the result is a success */
    const char *cause;              /* for the log: what the uniform failure does not tell */
    gh_result_t result;
    apr_pool_t *p;
} scep_exchange_t;

/** PKCSReq and RenewalReq. @return APR_SUCCESS with the reply, or a failure with the result */
apr_status_t scep_exchange_enrol(scep_exchange_t *exchange);

/** CertPoll. */
apr_status_t scep_exchange_poll(scep_exchange_t *exchange);

/** GetCert and GetCRL, for holders of a certificate of this issuer. */
apr_status_t scep_exchange_query(scep_exchange_t *exchange);

/* For the files of the exchange. */

/** The one failure for whatever is wrong between decryption and a verified request. */
apr_status_t scep_exchange_not_opened(scep_exchange_t *exchange, const char *cause);

/**
 * Waits for what comes of an enrolment that a worker carries out, without a place in the gate.
 * @return GH_EBUSY with result if there is none left afterwards
 */
apr_status_t scep_exchange_await(scep_exchange_t *exchange, const char *queue,
                                 const char *enrolment);

/** Opens a message that carries no request, with the work of one that does. */
apr_status_t scep_exchange_open(scep_exchange_t *exchange, gh_bytes_t *content);

/** @return 1 if a name is that of the issuer or of its RA, which some clients take for it */
int scep_exchange_names_issuer(const scep_exchange_t *exchange, const X509_NAME *name);

#endif /* mod_scep_scep_exchange_h */
