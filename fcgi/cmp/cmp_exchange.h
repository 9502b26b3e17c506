/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_cmp_cmp_exchange_h
#define fcgi_cmp_cmp_exchange_h

#include <openssl/cmp.h>

#include "fcgi/cmp/cmp_transaction.h"

/* What the files of CMP share: one exchange of messages, within OpenSSL's client. */

#define CMP_RULE "cmp.answer"

/** PKIBody (RFC 9810 5.1.2); OpenSSL 3.0 has names for some only. */
enum {
    CMP_BODY_ERROR = 23, CMP_BODY_CERT_CONF = 24, CMP_BODY_POLL_REQ = 25, CMP_BODY_POLL_REP = 26
};

typedef struct {
    OSSL_CMP_CTX *context;
    const cmp_party_t *party;
    const cmp_request_t *request;   /* NULL: no certificate is asked for */
    const cmp_transport_t *transport;
    apr_pool_t *pool;

    gh_bytes_t replay[2];           /* answers of before, that are given once more */
    int replays;
    int replayed;

    gh_bytes_t first;               /* answer: that lets the request wait */
    gh_bytes_t last;
    int calls;
    int asked;                      /* body of the last message */
    int replied;                    /* body of the last answer; 0: there was none */
    cmp_answer_t answer;            /* to the last message */

    X509 *certificate;              /* that has come */
    int confirming;                 /* 1: it was looked at */
    int wrong;                      /* 1: and will not do */
    gh_result_t why;
} cmp_exchange_t;

/** Makes the context of an exchange, freed with the pool. @return APR_EGENERAL with result */
apr_status_t cmp_exchange_begin(cmp_exchange_t *exchange, const cmp_party_t *party,
                                const cmp_transport_t *transport, apr_pool_t *p,
                                gh_result_t *result);

/** Judges an exchange that OpenSSL says has failed. */
void cmp_exchange_judge(cmp_reply_t *reply, const cmp_exchange_t *exchange);

/** What OpenSSL has to say of the failure in this thread; its queue is emptied. */
const char *cmp_openssl_words(apr_pool_t *p);

#endif /* fcgi_cmp_cmp_exchange_h */
