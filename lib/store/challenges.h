/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_store_challenges_h
#define gatehouse_store_challenges_h

#include "store/store.h"

/* One-time challenges. Only the SHA-256 of a challenge is stored; challenges are random, of at
 * least 128 bits, so that the digest cannot be searched. */

typedef struct {
    const char *id;                 /* 32 hex digits; names it in logs */
    gh_bytes_t sha256;
    const char *set;                /* "SCEPChallenge onetime SET"; empty string without one */
    const char *tenant;
    const char *issuer;
    const char *profile;
    const char *subject;            /* RFC 4514 that the request must have, NULL for any */
    const char *sans;               /* gh_san_normal() that the request must have, NULL for any */
    const char *holder;             /* for whom it counts in gh_challenge_count(), or NULL */
    apr_time_t created;
    apr_time_t expires;
    apr_time_t used_at;             /* 0 if unused */
    const char *used_by;            /* enrolment id */
} gh_challenge_record_t;

/** @return GH_ECONFLICT if id or digest exist */
apr_status_t gh_challenge_insert(gh_transaction_t *transaction,
                                 const gh_challenge_record_t *record);

/** @return APR_NOTFOUND */
apr_status_t gh_challenge_find(gh_transaction_t *transaction, gh_bytes_t sha256,
                               gh_challenge_record_t **record, apr_pool_t *p);

/** Counts challenges for the set, tenant, issuer, profile and holder of a record that are unused
 *  and have not expired; others that count wait for the end of the transaction. */
apr_status_t gh_challenge_count(gh_transaction_t *transaction,
                                const gh_challenge_record_t *record, apr_time_t now,
                                apr_int64_t *count);

/** Uses a challenge up for an enrolment: succeeds once, whatever runs beside it.
 *  @return GH_EREFUSED if it is unknown, used or expired */
apr_status_t gh_challenge_consume(gh_transaction_t *transaction, const char *id,
                                  const char *enrolment, apr_time_t now);

/** Removes challenges that expired, used or not, before a time. @param count may be NULL */
apr_status_t gh_challenge_purge(gh_transaction_t *transaction, apr_time_t before,
                                apr_int64_t *count);

#endif /* gatehouse_store_challenges_h */
