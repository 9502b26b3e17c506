/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_issuer_gateway_sync_h
#define gatehouse_issuer_gateway_sync_h

#include "result.h"
#include "store/store.h"

/*
 * Reading all that a CA elsewhere tells of its certificates, from the beginning: a worker does it
 * for a job, and says in the store how far it is.
 */

/** Kind of the job, which is gone once it is over. Its payload is the time to begin with, seconds
 *  since 1970 in decimal. */
#define GH_GATEWAY_SYNC "sync"

typedef struct {
    const char *issuer;
    const char *job;                /* id */
    apr_time_t begun;
    int over;                       /* 1: to the end, or as far as it went */
    int pages;
    int events;
    int added;                      /* certificates */
    int changed;
    int unchanged;                  /* events that said nothing new */
    int skipped;                    /* events */
    gh_result_t failure;            /* number empty: none */
} gh_gateway_sync_t;

apr_status_t gh_gateway_sync_put(gh_transaction_t *transaction, const gh_gateway_sync_t *sync,
                                 apr_pool_t *p);

/** @param sync in p @return APR_NOTFOUND if there was none yet */
apr_status_t gh_gateway_sync_get(gh_transaction_t *transaction, const char *issuer,
                                 gh_gateway_sync_t *sync, apr_pool_t *p);

#endif /* gatehouse_issuer_gateway_sync_h */
