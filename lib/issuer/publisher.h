/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_issuer_publisher_h
#define gatehouse_issuer_publisher_h

#include <apr_hash.h>
#include <apr_pools.h>

#include "issuer/issuer.h"
#include "log.h"
#include "result.h"
#include "store/store.h"

/*
 * Publishes CRLs: on schedule, at once after the first revocation, then at most once per
 * crl_delay. Any process that has the key may do it; a lease lets one.
 */

typedef struct gh_publisher gh_publisher_t;

/** An immutable published CRL. */
typedef struct {
    const char *issuer;
    apr_int64_t number;
    apr_time_t this_update;
    apr_time_t next_update;
    gh_bytes_t der;
    gh_bytes_t pem;
    const char *etag;               /* quoted */
} gh_crl_t;

/** Call it in the process that will use it.
 *  @param issuers gh_issuer_t * by name; @param node names this node */
gh_publisher_t *gh_publisher_create(gh_store_t *store, apr_hash_t *issuers, const char *node,
                                    const gh_log_t *log, apr_pool_t *p);

/**
 * One round: makes what is due, and takes up what other processes have published. Called about
 * every 200 ms by one thread; costs one small read when there is nothing to do.
 */
apr_status_t gh_publisher_run(gh_publisher_t *publisher, gh_result_t *result);

/**
 * The newest CRL of an issuer; any thread. The CRL stays valid until p is cleared, even if a newer
 * one replaces it meanwhile.
 * @return APR_NOTFOUND if none was published yet or there is no such issuer
 */
apr_status_t gh_publisher_crl(gh_publisher_t *publisher, const char *issuer, const gh_crl_t **crl,
                              apr_pool_t *p);

#endif /* gatehouse_issuer_publisher_h */
