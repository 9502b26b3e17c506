/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_feeder_ocsp_feeder_h
#define mod_ocsp_feeder_ocsp_feeder_h

#include <apr_pools.h>

#include "result.h"
#include "worker.h"

/*
 * The feeder: the one process of a node that makes status indexes, from the store and from what it
 * fetches. Children of httpd take up what it makes, and follow the store by themselves meanwhile.
 *
 * One loop decides everything and waits for nothing but events: HTTP is fetched by it, all that
 * blocks or takes long is done on threads (lane.h), those of fetching apart from those of
 * computing and those of the store.
 */

/**
 * Runs until the worker is asked to end. Waits first for the end of a feeder of the former
 * generation that uses the same folder.
 * @return APR_SUCCESS; APR_EINVAL for a configuration that is not understood, errors of the
 *         operating system, with result
 */
apr_status_t ocsp_feeder_run(gh_worker_t *worker, apr_pool_t *p, gh_result_t *result);

#endif /* mod_ocsp_feeder_ocsp_feeder_h */
