/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_ocsp_cache_h
#define mod_ocsp_ocsp_cache_h

#include <apr_pools.h>
#include <apr_time.h>

#include "result.h"
#include "text.h"

/*
 * Signed answers that all processes of a node share: fixed memory, given by the caller (shared
 * anonymous memory made by the parent), divided into sets of a few slots. Readers take no lock; a
 * process that is killed while it writes leaves a slot that others take over. Each slot has a keyed
 * checksum of its contents, so that nothing half written is ever served.
 *
 * The cache never decides: whoever reads compares an entry with what is known now, see
 * ocsp_engine.h.
 */

typedef struct ocsp_cache ocsp_cache_t;

/** Longest answer that is kept. */
#define OCSP_CACHE_VALUE_MAX 2560

/** What an answer is for: plain memory, compared as a whole; padding is zero. */
typedef struct {
    unsigned char authority[16];    /* beginning of ocsp_authority_identity() */
    apr_uint32_t digest;            /* of the CertID: NID */
    apr_uint16_t signer;            /* ocsp_signer_t.number */
    unsigned char flags;            /* what else changes the answer */
    unsigned char serial_length;
    unsigned char serial[20];
} ocsp_cache_key_t;

/** What goes with an answer; plain memory, padding is zero. */
typedef struct {
    apr_int64_t version;            /* of the verdict it was made from */
    apr_int64_t change;
    apr_int32_t status;             /* V_OCSP_CERTSTATUS_* */
    apr_int32_t reason;
    apr_time_t revoked_at;
    apr_time_t produced_at;
    apr_time_t this_update;
    apr_time_t next_update;         /* in the answer; 0: none */
    apr_time_t expiry;              /* never served from here on; at most next_update */
    apr_time_t refresh_at;          /* to be made again from here on, while it is still served */
    apr_time_t expires;             /* for caches of others; 0 without next_update */
    unsigned char sha256[32];       /* of the answer, for ETag */
    apr_uint32_t length;
    apr_uint32_t zero;
} ocsp_cache_entry_t;

/** What clocks of nodes may differ by: an answer that was produced later than that is of a clock
 *  that was set back since. */
#define OCSP_CACHE_AHEAD apr_time_from_sec(1)

/** How much memory to give for about so many bytes. */
apr_size_t ocsp_cache_size(apr_size_t wanted);

/** Makes memory a cache, once, in the parent. @return APR_EINVAL if size is too small */
apr_status_t ocsp_cache_prepare(void *memory, apr_size_t size);

/** Attaches to a cache, in each process. @return APR_EINVAL if it is none of that size */
apr_status_t ocsp_cache_join(ocsp_cache_t **cache, void *memory, apr_size_t size, apr_pool_t *p);

/** Thread-safe, takes no lock; waits a few microseconds at most, for a writer of that entry.
 *  @param part 1: the small partition of its own for answers about serials that nobody issued
 *  @param value set to a copy of the answer in p
 *  @return 1 if there is an entry that is not past its expiry */
int ocsp_cache_get(ocsp_cache_t *cache, int part, const ocsp_cache_key_t *key, apr_time_t now,
                   ocsp_cache_entry_t *entry, gh_bytes_t *value, apr_pool_t *p);

/** Keeps an answer; replaces one of the same key unless that has a higher change, or the same and
 *  was produced later, but not in the future. Does nothing with one that is too long.
 *  Thread-safe. */
void ocsp_cache_put(ocsp_cache_t *cache, int part, const ocsp_cache_key_t *key,
                    const ocsp_cache_entry_t *entry, gh_bytes_t value, apr_time_t now);

/** Claims the work of making an entry again, so that one of many does it; whoever claimed it and
 *  has not put it within seconds is no longer waited for. Thread-safe.
 *  @return 1 if the caller is to do it */
int ocsp_cache_claim(ocsp_cache_t *cache, int part, const ocsp_cache_key_t *key, apr_time_t now);

#endif /* mod_ocsp_ocsp_cache_h */
