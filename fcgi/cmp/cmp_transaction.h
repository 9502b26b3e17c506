/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_cmp_cmp_transaction_h
#define fcgi_cmp_cmp_transaction_h

#include <apr_pools.h>
#include <apr_time.h>
#include <openssl/x509.h>

#include "result.h"
#include "text.h"
#include "x509/plan.h"

/*
 * CMP (RFC 9810, RFC 9483) as a client: transactions with a CA, by OpenSSL. How messages get there
 * is the caller's: a transport, which may block. So all of this is for threads that may.
 *
 * A request that the CA lets wait is not waited for here: what is needed to ask again is a piece of
 * bytes, with which any process can go on later.
 */

/** Largest answer, and largest state of a request that waits. */
#define CMP_ANSWER_MAX ((apr_size_t)1024 * 1024)
#define CMP_WAITING_MAX ((apr_size_t)128 * 1024)

/** Who we are for a CA, and by what we know it. Shared by threads, changed by none. */
typedef struct {
    const char *name;               /* of the issuer, for messages */
    gh_bytes_t reference;           /* of the secret: senderKID */
    gh_bytes_t secret;              /* protects messages; data NULL: the key does */
    X509 *certificate;              /* with the key; NULL with a secret */
    EVP_PKEY *key;
    STACK_OF(X509) *chain;          /* above the certificate; or NULL */
    X509_STORE *trust;              /* who may have issued the certificate that signs answers */
    STACK_OF(X509) *known;          /* certificates that may have signed them */
    const X509_NAME *recipient;     /* NULL: by the issuer's certificate */
    const X509_NAME *sender;        /* who has to have signed answers; NULL: not looked at */
    X509 *ca;                       /* the CA's certificate */
    int message;                    /* OSSL_CMP_P10CR, OSSL_CMP_IR, OSSL_CMP_CR */
    int implicit_confirm;           /* 1: the CA may do without a confirmation */
    int unprotected_errors;         /* 1: a refusal counts without protection */
} cmp_party_t;

/** What has become of a message. */
typedef struct {
    int answered;                   /* 1: body is the answer of some server */
    int sent;                       /* 0: provably nothing was sent */
    int stopped;                    /* 1: given up because the worker ends */
    long status;                    /* of HTTP */
    gh_bytes_t body;
    apr_time_t retry_after;         /* 0: not said */
    gh_result_t result;             /* unless answered */
} cmp_answer_t;

/** Takes a message there and brings the answer. @param answer empty; to be filled, in p */
typedef struct {
    void (*send)(void *baton, gh_bytes_t message, cmp_answer_t *answer, apr_pool_t *p);
    void *baton;
} cmp_transport_t;

typedef enum {
    CMP_DONE = 1,
    CMP_WAITING,                    /* the CA has taken the request, and wants to be asked again */
    CMP_REFUSED,                    /* the CA has said no, for good */
    CMP_MISCONFIGURED,              /* nothing was done, and an operator has to do something */
    CMP_BUSY,                       /* nothing was done, later it may be */
    CMP_NOT_SENT,                   /* the CA has got nothing of it */
    CMP_UNKNOWN,                    /* nobody here knows what was done */
    CMP_WRONG                       /* there is a certificate, and it will not do: the CA was told,
                                       if it wanted to know */
} cmp_verdict_t;

typedef struct {
    cmp_verdict_t verdict;
    X509 *certificate;              /* of the pool: with CMP_DONE and CMP_WRONG; or NULL */
    int unconfirmed;                /* 1: CMP_DONE, but whether the CA knows that is not known */
    gh_bytes_t waiting;             /* with CMP_WAITING: for the next cmp_enrol() */
    apr_interval_time_t check_after;    /* with CMP_WAITING; 0: not said */
    const char *words;              /* the CA's own; or NULL */
    int revoked;                    /* 1: it says that the certificate is revoked already */
    int waited;                     /* 1: the CA had let the request wait */
    int alive;                      /* 1: a CMP server has answered */
    int stopped;
    apr_time_t retry_after;
    gh_result_t result;             /* unless CMP_DONE; with CMP_WAITING only if asking failed */
} cmp_reply_t;

/** What a CA is asked for. */
typedef struct {
    gh_bytes_t request;             /* PKCS#10 DER: sent as it is with OSSL_CMP_P10CR */
    const gh_plan_t *plan;          /* asked for with others; the proof of possession was checked
                                       here then */
    const char *profile;            /* the CA's name of it, for certProfile (RFC 9483 4.1.1); or
                                       NULL */
    gh_bytes_t waiting;             /* of cmp_reply_t; length 0: a new transaction */
    apr_status_t (*check)(void *baton, X509 *certificate, gh_result_t *result);
    void *baton;
} cmp_request_t;

/** Asks for a certificate, or for what has become of one, and confirms it if check says so. */
void cmp_enrol(cmp_reply_t *reply, const cmp_party_t *party, const cmp_request_t *request,
               const cmp_transport_t *transport, apr_pool_t *p);

/** @param reason CRLReason: certificateHold holds, removeFromCRL releases; -1: none */
void cmp_revoke(cmp_reply_t *reply, const cmp_party_t *party, gh_bytes_t serial, int reason,
                const cmp_transport_t *transport, apr_pool_t *p);

/** Asks nothing in particular (genm): CMP_DONE if a server that we know has answered, and knows
 *  us. */
void cmp_probe(cmp_reply_t *reply, const cmp_party_t *party, const cmp_transport_t *transport,
               apr_pool_t *p);

#endif /* fcgi_cmp_cmp_transaction_h */
