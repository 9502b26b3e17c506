/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_pool_h
#define gatehouse_pool_h

#include <apr_allocator.h>
#include <apr_pools.h>

/* Pools that share their memory with no other, so that another thread than their parent's may work
 * on them. */

/**
 * A pool without a parent, which any thread may destroy. One thread at a time allocates from it.
 * @param tag literal, for debugging
 */
apr_status_t gh_pool_create(apr_pool_t **pool, const char *tag);

/**
 * The same with a parent, which destroys it. Several threads may make pools below it at a time.
 */
apr_status_t gh_pool_create_below(apr_pool_t **pool, apr_pool_t *parent, const char *tag);

/**
 * An allocator for many short-lived pools (apr_pool_create_unmanaged_ex()), each of any thread:
 * what one gives back the next one takes. An allocator of its own for each would get pages of the
 * system and give them back, while all threads of the process stop for that.
 * @param keep bytes that are kept while no pool has them
 * @param p    its life; pools must have gone by then
 */
apr_status_t gh_pool_create_allocator(apr_allocator_t **allocator, apr_size_t keep,
                                      apr_pool_t *p);

#endif /* gatehouse_pool_h */
