/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_worker_h
#define gatehouse_worker_h

#include <apr_pools.h>
#include <apr_time.h>
#include <jansson.h>

#include "log.h"
#include "result.h"
#include "text.h"

/*
 * The inside of a worker: a process that mod_gatehouse starts and keeps alive for work that may not
 * be done on httpd's threads. mod_gatehouse/gatehouse_worker.c is the outside.
 *
 * A worker gets its configuration on a descriptor, becomes the user whom httpd's children run as,
 * cannot be looked into by other processes of that user, and ends with its parent.
 */

/** Where a worker finds its configuration; closed once it was read. */
#define GH_WORKER_DESCRIPTOR 3
/** The first of the descriptors that were given to it besides. */
#define GH_WORKER_DESCRIPTORS 4

/** Exit statuses. A worker that was told to end exits with 0; any other is a failure, and a new one
 *  is started. */
#define GH_WORKER_EXIT_USAGE 64     /* was not started by mod_gatehouse */
#define GH_WORKER_EXIT_FAILED 70

/** What a worker has from SIGINT to its end: httpd sends that when it stops, and kills what is
 *  there still after this. */
#define GH_WORKER_HURRY apr_time_from_sec(3)

/** Longest configuration, in bytes. */
#define GH_WORKER_CONFIGURATION_MAX (16 * 1024 * 1024)

typedef struct gh_worker gh_worker_t;

/**
 * To be called first of all in main(), once, before there are threads: reads the configuration,
 * gives up root's rights, and starts a thread that waits for signals and for the end of the parent.
 * SIGTERM asks the worker to end, SIGINT to do so within GH_WORKER_HURRY; others do nothing.
 * @param patience when it has not ended so long after it was asked to by SIGTERM, the process ends
 *                 all the same; 0: 10 s
 * @return APR_EINVAL if there is no configuration that is understood; APR_EACCES if it cannot
 *         become the user; with result
 */
apr_status_t gh_worker_start(gh_worker_t **worker, apr_interval_time_t patience, apr_pool_t *p,
                             gh_result_t *result);

/** Writes why a worker cannot start to standard error, in the form of httpd's error log.
 *  @return the exit status */
int gh_worker_refuse(const char *program, const gh_result_t *result);

/** What the module has configured; an object; borrowed. */
const json_t *gh_worker_configuration(const gh_worker_t *worker);
/**
 * A secret of the configuration, which has it in hexadecimal.
 * @param bytes in p, and overwritten with it; data NULL if there is nothing
 * @param hex may be NULL or empty
 * @return 0 if it is not hexadecimal
 */
int gh_worker_secret(gh_bytes_t *bytes, const char *hex, apr_pool_t *p);
const char *gh_worker_name(const gh_worker_t *worker);
/** A folder of the user for files that last as long as the machine runs; NULL: there is none. */
const char *gh_worker_folder(const gh_worker_t *worker);

/** Writes lines in the form of httpd's error log to standard error, or to syslog where httpd has no
 *  other log. Thread-safe. */
const gh_log_t *gh_worker_log(const gh_worker_t *worker);

/** @return 1 once the worker was asked to end. Thread-safe */
int gh_worker_stopping(const gh_worker_t *worker);

/** What it has begun may take so long: it gives itself that time to end, if that is more than it
 *  was started with. */
void gh_worker_need(gh_worker_t *worker, apr_interval_time_t patience);

/** How long the process has to its end, once it was asked to end. Thread-safe.
 *  @param hurried 1: by SIGINT */
apr_interval_time_t gh_worker_left(const gh_worker_t *worker, int *hurried);

/** A descriptor that becomes readable when the worker is asked to end, and stays so. */
int gh_worker_stop_descriptor(const gh_worker_t *worker);

/**
 * Waits until no other worker has the lock, and takes it for the life of the process. After a
 * restart of httpd the former generation's worker may still be at work.
 * @param path a file that is made if it is not there; its contents do not count
 * @return APR_EINTR if the worker was asked to end meanwhile; errors of the operating system with
 *         result
 */
apr_status_t gh_worker_lock(gh_worker_t *worker, const char *path, gh_result_t *result);

/** Sleeps, or returns early because the worker is asked to end. */
void gh_worker_sleep(const gh_worker_t *worker, apr_interval_time_t time);

#endif /* gatehouse_worker_h */
