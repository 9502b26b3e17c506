/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_answer_h
#define mod_wstep_wstep_answer_h

#include <apr_pools.h>
#include <apr_time.h>

#include "text.h"

/* The answer of MS-WSTEP: a collection with one response. */

typedef struct {
    int pending;                    /* 1: taken under submission */
    int key_exchange;               /* 1: the answer to KET */
    const char *message;            /* DispositionMessage: "Issued" */
    const char *language;           /* of the message: "en-US" */
    gh_bytes_t response;            /* CMC full PKI response, or certs-only: a ContentInfo */
    gh_bytes_t certificate;         /* DER; empty while it is pending */
    const char *request_id;         /* decimal digits; of KET NULL */
    const char *reference;          /* URL at which is asked for a pending one */
} wstep_answer_t;

/** @param relates_to message id of the request, or NULL
 *  @param now 0: without a Timestamp
 *  @return APR_ENOMEM */
apr_status_t wstep_answer_write(gh_bytes_t *xml, const wstep_answer_t *answer,
                                const char *relates_to, apr_time_t now, apr_pool_t *p);

#endif /* mod_wstep_wstep_answer_h */
