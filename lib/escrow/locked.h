/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_locked_h
#define gatehouse_escrow_locked_h

#include <apr_pools.h>

#include "result.h"
#include "text.h"

/*
 * Memory for keys of others: locked, so that it is never swapped out, kept out of core dumps, and
 * overwritten when it is given back. Locks are not inherited by a fork: each process makes its own.
 */

typedef struct gh_locked gh_locked_t;

/** What a process has by default: some hundred keys. */
#define GH_LOCKED_SIZE (256 * 1024)

/**
 * @param size wished for; less is taken where the system's limit (RLIMIT_MEMLOCK) allows no more
 * @return APR_EACCES with result if not even one page can be locked
 */
apr_status_t gh_locked_create(gh_locked_t **locked, apr_size_t size, apr_pool_t *p,
                              gh_result_t *result);

/**
 * Memory that a cleanup of p overwrites and gives back. Any thread may call this, also for pools of
 * different threads. When all that is locked is in use, it comes from elsewhere, and is overwritten
 * all the same.
 * @return NULL if there is no memory
 */
void *gh_locked_alloc(gh_locked_t *locked, apr_size_t size, apr_pool_t *p);

/** A copy there, with a NUL behind it. @return data NULL if there is no memory */
gh_bytes_t gh_locked_copy(gh_locked_t *locked, const void *data, apr_size_t length,
                          apr_pool_t *p);

/** Lets processes that are forked from here on have what is there, in memory that is not dumped
 *  either; without it they find zeros. */
void gh_locked_inherit(gh_locked_t *locked);

/** For memory that was inherited and is to stay: locks it in this process too, if that can be. */
void gh_locked_again(gh_locked_t *locked);

/** Overwrites all that is there, in this process alone. */
void gh_locked_wipe(gh_locked_t *locked);

/** How many bytes are locked. */
apr_size_t gh_locked_size(const gh_locked_t *locked);

/** @return 1 if memory lies there */
int gh_locked_holds(const gh_locked_t *locked, const void *memory);

/**
 * Makes the calling process one that nobody can trace or dump: no core file is written of it, and
 * /proc shows its memory to root alone. A change of user undoes that: call it afterwards.
 */
apr_status_t gh_process_protect(void);

#endif /* gatehouse_escrow_locked_h */
