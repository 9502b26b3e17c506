/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_status_index_h
#define gatehouse_status_index_h

#include <apr_pools.h>

#include "result.h"
#include "status/known.h"

/*
 * The status index of one authority: an immutable file, mapped by every process, replaced by
 * rename.
 *
 * Certificates are 8 bytes each: a keyed hash (SipHash-2-4 under a random key of the file) of the
 * serial number, in order. Those that are revoked or held, or were until they were released, are in
 * a second table too, with their whole serial, time, reason and version. The lowest bit of a hash
 * tells the ones from the others; where both have the same hash, the second table is looked at
 * first: no collision can hide a revocation. A serial that has no hash is not known.
 *
 * header | hashes, sorted, 8 bytes each | entries, sorted by serial, fixed size | end
 *
 * The header has magic and format version, the authority, generation, counts, times, the key of the
 * hashes and a SHA-256 over everything else. A file that is short, damaged, of another format or of
 * another authority never answers. The digest is verified by whoever says so when opening, which
 * takes a processor about seven milliseconds for a million certificates: every process does so when
 * it first maps a generation.
 *
 * All processes of a node have to take an index up at the same instant: else a client may hear from
 * one of them what changed, and then from another what was before. So an index that follows another
 * one says from when on it is to be used, which is when all have had the time to map it.
 *
 * Integers are of the machine's byte order, which the magic tells; an index is made again
 * elsewhere.
 */

typedef struct gh_index gh_index_t;
typedef struct gh_index_builder gh_index_builder_t;

/** What an index says of itself. */
typedef struct {
    unsigned char authority[32];    /* SHA-256 of the CA's SubjectPublicKeyInfo and source, see
                                       gh_authority_digest of the feeder; opaque here */
    apr_int64_t generation;         /* grows with each index of the authority */
    apr_int64_t change;             /* change_seq up to which the store was read; 0: no store */
    apr_time_t synced_at;           /* when the source was known to say this */
    apr_time_t this_update;         /* of the CRL; 0: none */
    apr_time_t next_update;         /* earliest of the CRLs; 0: none */
    apr_time_t expired_on_crl;      /* expiredCertsOnCRL of the CRL; 0: none */
    apr_time_t from;                /* by gh_index_clock(), when all take it up; 0: at once */
    int complete;                   /* 1: lists all that was issued, so that an absent serial was
                                       never issued; 0: revocations only (a CRL) */
    apr_uint64_t issued;            /* number of hashes of those that never were revoked */
    apr_uint64_t revoked;           /* number of revoked, held and released */
} gh_index_info_t;

/**
 * Begins an index. Memory is proportional to the number of certificates (8 bytes each) until
 * gh_index_finish().
 * @param path  the final name; a temporary file beside it is used meanwhile
 * @param info  issued and revoked are counted, not taken from here
 * @param expected about how many certificates will come; a hint
 */
apr_status_t gh_index_begin(gh_index_builder_t **builder, const char *path,
                            const gh_index_info_t *info, apr_uint64_t expected, apr_pool_t *p,
                            gh_result_t *result);

/** Takes up all of another index, so that only changes have to be added; the key of its hashes is
 *  kept. To be called before anything is added. */
apr_status_t gh_index_add_index(gh_index_builder_t *builder, const gh_index_t *index,
                                gh_result_t *result);

/** Adds a certificate, in any order. What is added later about the same serial replaces what was
 *  there (unless its version is lower). @param known state must not be GH_KNOWN_NOT */
apr_status_t gh_index_add(gh_index_builder_t *builder, gh_bytes_t serial, const gh_known_t *known,
                          gh_result_t *result);

/** Lets all processes take the index up together; for one that follows another one. */
void gh_index_together(gh_index_builder_t *builder);

/** Changes what gh_index_begin() was told of change and times, once it is known. */
gh_index_info_t *gh_index_builder_info(gh_index_builder_t *builder);

/** Sorts, writes, flushes to disk, renames. Whoever has the old file open keeps it. */
apr_status_t gh_index_finish(gh_index_builder_t *builder, gh_result_t *result);

/**
 * Maps an index read-only; unmapped by a cleanup of p.
 * @param authority which it has to be of, 32 bytes
 * @param verify    1: the SHA-256 is verified (reads the whole file)
 * @return APR_ENOENT if there is none; GH_ECORRUPT for what is no index of this authority
 */
apr_status_t gh_index_open(gh_index_t **index, const char *path,
                           const unsigned char authority[32], int verify, apr_pool_t *p,
                           gh_result_t *result);

/** Verifies the SHA-256 of one that was opened without. @return GH_ECORRUPT */
apr_status_t gh_index_verify(const gh_index_t *index, const char *path, gh_result_t *result);

/** Which file it is, so that one that was verified is known again. */
typedef struct {
    apr_int64_t device;
    apr_int64_t inode;
    apr_int64_t size;
    apr_int64_t modified;           /* nanoseconds since 1970 */
} gh_index_file_t;

const gh_index_file_t *gh_index_file(const gh_index_t *index);

const gh_index_info_t *gh_index_info(const gh_index_t *index);

/** The clock by which instants are told: all processes of the machine have the same, and nobody
 *  sets it, so that an instant comes when it should whatever becomes of the time of day. */
apr_time_t gh_index_clock(void);

/** For how long an index is not to be used yet while there is another one: seconds at most, also
 *  for a file from before a boot. */
apr_interval_time_t gh_index_wait(const gh_index_t *index);

/** Thread-safe, allocates nothing, well below a microsecond. @param known filled in any case */
void gh_index_find(const gh_index_t *index, gh_bytes_t serial, gh_known_t *known);

/** Called for revoked and held certificates in order of their serials. */
typedef apr_status_t gh_index_each_fn(void *baton, gh_bytes_t serial, const gh_known_t *known);
apr_status_t gh_index_each_revoked(const gh_index_t *index, gh_index_each_fn *each, void *baton);

#endif /* gatehouse_status_index_h */
