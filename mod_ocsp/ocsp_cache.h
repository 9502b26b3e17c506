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
 * The cache never decides: whoever reads compares version and change of an entry with what is known
 * now, see ocsp_engine.c.
 */

typedef struct ocsp_cache ocsp_cache_t;

/** Longest answer that is kept. */
#define OCSP_CACHE_VALUE_MAX 2560

/** What an answer is for: plain memory, compared as a whole; padding is zero. */
typedef struct {
    apr_uint32_t authority;         /* ocsp_authority_number() */
    apr_uint16_t digest;            /* of the CertID: NID */
    apr_uint16_t signer;            /* ocsp_signer_t.number */
    apr_uint16_t flags;             /* what else of an endpoint changes the answer */
    apr_uint16_t serial_length;
    unsigned char serial[20];
} ocsp_cache_key_t;

/** What goes with an answer. */
typedef struct {
    apr_int64_t version;            /* of the verdict it was made from */
    apr_int64_t change;
    apr_int32_t status;             /* V_OCSP_CERTSTATUS_*; extended revoke differs by version 0 */
    apr_time_t produced_at;
    apr_time_t this_update;
    apr_time_t next_update;         /* never served from here on */
    apr_time_t refresh_at;          /* to be made again from here on, while it is still served */
    unsigned char sha256[32];       /* of the answer, for ETag */
    apr_uint32_t length;
} ocsp_cache_entry_t;

/** How much memory to give for about so many bytes. */
apr_size_t ocsp_cache_size(apr_size_t wanted);

/** Makes memory a cache, once, in the parent. @return APR_EINVAL if size is too small */
apr_status_t ocsp_cache_prepare(void *memory, apr_size_t size);

/** Attaches to a cache, in each process. */
apr_status_t ocsp_cache_join(ocsp_cache_t **cache, void *memory, apr_size_t size, apr_pool_t *p);

/** @param part 1: the small partition of its own for answers about serials that nobody issued
 *  @param value set to a copy of the answer in p
 *  @return 1 if there is an entry that is not past next_update */
int ocsp_cache_get(ocsp_cache_t *cache, int part, const ocsp_cache_key_t *key, apr_time_t now,
                   ocsp_cache_entry_t *entry, gh_bytes_t *value, apr_pool_t *p);

/** Keeps an answer; replaces one of the same key unless that has a higher change or was produced
 *  later. */
void ocsp_cache_put(ocsp_cache_t *cache, int part, const ocsp_cache_key_t *key,
                    const ocsp_cache_entry_t *entry, gh_bytes_t value);

/** Claims the work of making an entry again, so that one of many does it.
 *  @return 1 if the caller is to do it */
int ocsp_cache_claim(ocsp_cache_t *cache, int part, const ocsp_cache_key_t *key, apr_time_t now);

#endif /* mod_ocsp_ocsp_cache_h */
