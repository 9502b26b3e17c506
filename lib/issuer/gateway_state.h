/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_issuer_gateway_state_h
#define gatehouse_issuer_gateway_state_h

#include "store/store.h"

/* What a worker has last seen of the gateway of an issuer, in the store, for gatehousectl. */

/** Kind of a job by which a worker is asked to look now; it is gone once it has. */
#define GH_GATEWAY_TEST "test"

/** The queue of such jobs, apart from the issuer's, whose calls may hang. */
const char *gh_gateway_test_queue(const char *issuer, apr_pool_t *p);

/** Purpose of keys by which a gateway knows us, see own_keys.h. */
#define GH_GATEWAY_PURPOSE "gateway-client"

/** Something that an issuer needs and does not find at its CA or gateway. */
typedef struct {
    const char *number;             /* "GH0123" */
    const char *message;
    const char *action;
} gh_gateway_finding_t;

typedef struct {
    const char *issuer;
    const char *node;               /* whose worker */
    apr_time_t time;                /* when it looked */
    int up;                         /* 1: the gateway knows us, and its CA is up */
    int paused;                     /* 1: it was left alone, since it had not answered */
    const char *status;             /* the gateway's own word; or NULL */
    const char *number;             /* what is the matter, "GH0123"; or empty */
    const char *message;
    const char *action;
    apr_time_t credential_end;      /* 0: there is none */
    apr_array_header_t *findings;   /* gh_gateway_finding_t *; NULL or empty: none */
} gh_gateway_state_t;

apr_status_t gh_gateway_state_put(gh_transaction_t *transaction, const gh_gateway_state_t *state,
                                  apr_pool_t *p);

/** @param state in p @return APR_NOTFOUND if nobody has looked yet */
apr_status_t gh_gateway_state_get(gh_transaction_t *transaction, const char *issuer,
                                  gh_gateway_state_t *state, apr_pool_t *p);

#endif /* gatehouse_issuer_gateway_state_h */
