/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_status_view_h
#define gatehouse_status_view_h

#include <apr_pools.h>

#include "log.h"
#include "result.h"
#include "status/index.h"
#include "status/known.h"
#include "status/overlay.h"
#include "store/store.h"

/*
 * What a process knows of an authority's certificates: the newest index with its overlay, taken up
 * and kept current by one thread, asked by all others.
 *
 * Files in a folder: NAME.index is the newest index, NAME.GENERATION.overlay its overlay.
 */

typedef struct gh_view gh_view_t;

/** Where what is known comes from. */
typedef enum {
    GH_SOURCE_STORE,                /* an <Issuer> of ours: followed by every process */
    GH_SOURCE_FILES                 /* CRLs, serial lists, index.txt: the index has it all; its
                                       feeder advances the overlay's progress */
} gh_source_t;

/** How old and how complete it is. */
typedef struct {
    int there;                      /* 0: no index was taken up yet, and nothing is known */
    gh_index_info_t info;           /* of the index in use */
    gh_overlay_progress_t progress; /* never behind info */
} gh_view_state_t;

/**
 * @param folder    where the feeder puts the indexes
 * @param name      of the authority
 * @param authority as in gh_index_info_t
 * @param issuer    name of the <Issuer>, for GH_SOURCE_STORE; else NULL
 */
gh_view_t *gh_view_create(const char *folder, const char *name,
                          const unsigned char authority[32], gh_source_t source,
                          const char *issuer, apr_pool_t *p);

/**
 * One round, by one thread at a time, about every 200 ms: maps a newer index, which all processes
 * use from one instant on (see index.h; of a store only once its overlay has caught up), reads
 * changes from the store into the overlay, and notes progress.
 * The first round of a process maps what is there, whether the store answers or not, and waits for
 * its instant, since the one before is gone.
 * @param store NULL if it is not open
 * @return APR_SUCCESS if what is known is current now; else the store's failure, or GH_ECORRUPT
 */
apr_status_t gh_view_follow(gh_view_t *view, gh_store_t *store, apr_pool_t *ptemp,
                            gh_result_t *result);

/** What is known of a serial; that of two indexes is asked which is in use at this moment, whether
 *  a round noticed or not. Thread-safe beside gh_view_follow(), never waits for I/O of the
 *  store. @param state how current that is, at the same moment; may be NULL */
void gh_view_find(gh_view_t *view, gh_bytes_t serial, gh_known_t *known, gh_view_state_t *state);

/** Thread-safe. */
void gh_view_state(gh_view_t *view, gh_view_state_t *state);

/* For the feeder. */

/** @return the paths, in p */
const char *gh_view_index_path(const char *folder, const char *name, apr_pool_t *p);
const char *gh_view_overlay_path(const char *folder, const char *name, apr_int64_t generation,
                                 apr_pool_t *p);

/** How far an index and its overlay have followed their source, together. A time that is still to
 *  come is of a clock that was set back since; it says nothing, and counts as 0. */
void gh_view_progress(const gh_index_t *index, const gh_overlay_t *overlay,
                      gh_overlay_progress_t *progress);

/** Removes the overlays of generations below one: no process needs them once all have taken up that
 *  of the generation after. */
void gh_view_remove_overlays(const char *folder, const char *name, apr_int64_t before,
                             apr_pool_t *ptemp);

/** Builds and publishes the next index of a store's issuer: from its whole, or from the index and
 *  overlay that are there (@param whole 0). Removes overlays that no process can need any more.
 *  @return GH_EUNAVAILABLE and others of the store */
apr_status_t gh_view_build_from_store(const char *folder, const char *name,
                                      const unsigned char authority[32], gh_store_t *store,
                                      const char *issuer, int whole, apr_pool_t *ptemp,
                                      gh_result_t *result);

/** Verifies an index that was opened without, unless its overlay says that somebody has done so
 *  since the machine was started. @return GH_ECORRUPT */
apr_status_t gh_view_verify(const gh_index_t *index, gh_overlay_t *overlay, const char *path,
                            gh_result_t *result);

#endif /* gatehouse_status_view_h */
