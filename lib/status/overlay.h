/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_status_overlay_h
#define gatehouse_status_overlay_h

#include <apr_pools.h>

#include "result.h"
#include "status/index.h"
#include "status/known.h"

/*
 * The overlay of an index: what has changed since the index was made, in a file that all processes
 * of a node map and write. Each child follows the store by itself and adds what is not there yet,
 * so that nothing hangs on one of them; whichever is first is seen by all.
 *
 * An overlay belongs to one generation of an index and is replaced with it. Entries are added and
 * replaced, never removed. Readers take no lock. Writers take a mutex that a killed process gives
 * back (robust). The file survives its processes, not the machine: after a boot, or if it is
 * damaged, it is empty, and so is its synced_at.
 */

typedef struct gh_overlay gh_overlay_t;

/** Entries that fit; the feeder makes a new index long before. */
#define GH_OVERLAY_CAPACITY 131072
#define GH_OVERLAY_PLENTY (GH_OVERLAY_CAPACITY / 4)

/**
 * Opens the overlay of a generation, making it if there is none. Unmapped by a cleanup of p.
 * @param path  beside the index
 */
apr_status_t gh_overlay_open(gh_overlay_t **overlay, const char *path,
                             const unsigned char authority[32], apr_int64_t generation,
                             apr_pool_t *p, gh_result_t *result);

/** Finds a serial. Thread-safe, lock-free, allocates nothing.
 *  @return 1 if the overlay has it, with known filled; 0 if the index decides; -1 if what is there
 *          is damaged: then nothing is known, since it may be a revocation that is lost */
int gh_overlay_find(const gh_overlay_t *overlay, gh_bytes_t serial, gh_known_t *known);

/** Adds or replaces; does nothing if what is there has the same or a higher version (a version of 0
 *  replaces nothing). Thread-safe, also across processes.
 *  @return GH_EBUSY if it is full */
apr_status_t gh_overlay_put(gh_overlay_t *overlay, gh_bytes_t serial, const gh_known_t *known,
                            gh_result_t *result);

/** How far this node has followed the source, by whichever process is ahead. */
typedef struct {
    apr_int64_t change;             /* all changes up to here are in index or overlay */
    apr_time_t synced_at;           /* when the source last said that there is nothing newer */
} gh_overlay_progress_t;

void gh_overlay_progress(const gh_overlay_t *overlay, gh_overlay_progress_t *progress);

/** Notes progress; what is behind what others have noted changes nothing. Thread-safe, also across
 *  processes. A time later than now by more than a second is not noted. */
void gh_overlay_advance(gh_overlay_t *overlay, const gh_overlay_progress_t *progress);

/** Whether some process has verified that very file of the index since the machine was started, so
 *  that a restart of httpd need not read all of it again. Thread-safe, also across processes. */
int gh_overlay_is_verified(gh_overlay_t *overlay, const gh_index_file_t *file);
void gh_overlay_set_verified(gh_overlay_t *overlay, const gh_index_file_t *file);

/** How many entries there are. */
apr_uint32_t gh_overlay_count(const gh_overlay_t *overlay);

/** Calls for each entry, in no order; for the feeder. */
typedef apr_status_t gh_overlay_each_fn(void *baton, gh_bytes_t serial, const gh_known_t *known);
apr_status_t gh_overlay_each(const gh_overlay_t *overlay, gh_overlay_each_fn *each, void *baton);

#endif /* gatehouse_status_overlay_h */
