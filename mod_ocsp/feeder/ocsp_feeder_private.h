/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_feeder_ocsp_feeder_private_h
#define mod_ocsp_feeder_ocsp_feeder_private_h

#include <apr_file_info.h>
#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>
#include <curl/curl.h>

#include "lane.h"
#include "log.h"
#include "mod_ocsp/feeder/ocsp_fetch.h"
#include "mod_ocsp/feeder/ocsp_reader.h"
#include "mod_ocsp/ocsp_source.h"
#include "result.h"
#include "status/view.h"
#include "worker.h"

/* What the files of the feeder share. */

typedef struct ocsp_feeder ocsp_feeder_t;
typedef struct feeder_authority feeder_authority_t;

/** A failure that may last: logged at once, then once a minute. */
typedef struct {
    int count;                      /* in a row */
    apr_time_t since;
    apr_time_t last;
    apr_time_t logged;
    gh_result_t result;
} feeder_failure_t;

/** One URL of an authority: a line of its configuration, or the delta CRL of one. */
typedef struct {
    feeder_authority_t *authority;
    const ocsp_source_config_t *config;
    const char *url;
    ocsp_document_kind_t kind;
    int number;                     /* of the line */

    apr_time_t due;                 /* of the next fetch */
    int fetching;
    ocsp_fetch_t fetch;
    int fetched;                    /* there are bytes that wait to be read */
    apr_time_t began;               /* when the fetch began whose bytes wait or were read last */

    ocsp_document_t *document;      /* the last good one */
    apr_pool_t *document_pool;
    ocsp_document_t *next;          /* being read */
    apr_pool_t *next_pool;

    ocsp_document_info_t info;      /* also from before a restart */
    int has_info;
    int taken_up;                   /* the index has it from before a restart: without the document
                                       it is asked whether there is another one */
    apr_size_t size;                /* of what was last fetched */
    apr_time_t last_attempt;
    apr_time_t last_success;
    apr_time_t warned;
    feeder_failure_t failure;
} feeder_source_t;

struct feeder_authority {
    ocsp_feeder_t *feeder;
    const char *name;
    const char *issuer;             /* for the store; else NULL */
    ocsp_reader_authority_t reader;
    gh_source_t kind;
    int source_count;
    feeder_source_t *sources;

    apr_pool_t *pool;               /* of index and overlay; made anew with each */
    gh_index_t *index;              /* the newest that is there, or NULL */
    gh_overlay_t *overlay;
    apr_finfo_t file;               /* of the index when it was opened */
    int lost;                       /* it is not that one any more, and is made again */
    apr_time_t looked;              /* when it was last looked whether it is still that one */
    apr_time_t built;               /* when it was made, as far as is known */
    apr_time_t built_whole;         /* from the whole of the store */
    unsigned char made_from[32];    /* what tells of which documents it was made */
    int has_made_from;
    unsigned char making_from[32];  /* the same of the one being made */
    int has_making_from;

    int busy;                       /* a job is at work on it */
    int changed;                    /* documents are not in the index yet */
    gh_lane_job_t job;
    feeder_source_t *reading;       /* what the job reads, NULL: it builds */
    apr_status_t status;            /* of the job */
    gh_result_t result;
    int whole;
    gh_index_info_t next;           /* of the index being built */
    apr_time_t due;                 /* when a build is tried (again) */
    feeder_failure_t failure;       /* of building */

    int state_changed;
    int state_unsafe;               /* it has to be on disk before what it tells of is used */
    apr_time_t state_written;
    feeder_failure_t state_failure;
};

struct ocsp_feeder {
    gh_worker_t *worker;
    const gh_log_t *log;
    apr_pool_t *pool;
    const char *folder;
    const char *store_uri;
    gh_store_t *store;              /* opened on first use, on the store's lane */
    apr_pool_t *store_pool;
    CURLM *multi;
    gh_lane_t *fetching;
    gh_lane_t *computing;
    gh_lane_t *storing;
    apr_array_header_t *authorities;    /* feeder_authority_t * */
};

/* ocsp_feeder_config.c */

/** Reads the configuration that ocsp_feed_write() has made. @return APR_EINVAL with result */
apr_status_t feeder_configure(ocsp_feeder_t *feeder, const json_t *configuration,
                              gh_result_t *result);

/* ocsp_feeder.c */

/** Notes a failure and logs it unless that was done within the last minute.
 *  @param what the URL, or what else cannot be had */
void feeder_fail(feeder_authority_t *authority, feeder_failure_t *failure, const char *what,
                 const gh_result_t *result);
/** Notes that it is over. */
void feeder_recover(feeder_authority_t *authority, feeder_failure_t *failure, const char *what);
/** Says that the system gives no thread. */
void feeder_no_thread(apr_status_t status, gh_result_t *result);
/** Gives a job to a lane. If that is impossible, notes so and sets when it is tried again.
 *  @param what its index, for messages */
void feeder_submit(feeder_authority_t *authority, gh_lane_t *lane, void (*work)(void *),
                   void (*done)(void *), const char *what, apr_interval_time_t retry);
/** After a job that has made an index, or failed: takes it up, and tells of either.
 *  @return 1 if there is a new index */
int feeder_take_index(feeder_authority_t *authority, const char *what, apr_interval_time_t retry);
/** Opens index and overlay that are in the folder now. Errors as gh_index_open(). */
apr_status_t feeder_open_index(feeder_authority_t *authority, int verify, gh_result_t *result);
/** Looks once a second whether the index was removed, replaced or written to by somebody else, and
 *  says so in the log. @return 1 if it has to be made again */
int feeder_index_lost(feeder_authority_t *authority, apr_time_t now);

/* ocsp_feeder_store.c, ocsp_feeder_files.c: what is due. @return when to be called again at the
 * latest */

apr_time_t feeder_store_step(feeder_authority_t *authority, apr_time_t now);
apr_time_t feeder_files_step(feeder_authority_t *authority, apr_time_t now);

/* ocsp_feeder_files.c */

/** Hashes what an index of the documents that are known is made from: these, and how it is done.
 *  @return 0 if that is impossible, or not all are known */
int feeder_hash_documents(const feeder_authority_t *authority, unsigned char sha256[32]);

/* ocsp_feeder_state.c */

/** Takes up what a former feeder knew of the documents. */
void feeder_state_read(feeder_authority_t *authority);
/** Writes the file if it is due. @return when it is due next */
apr_time_t feeder_state_step(feeder_authority_t *authority, apr_time_t now);
/** Writes the file at once, flushed to disk, if it tells of another CRL than the one on disk. */
void feeder_state_save(feeder_authority_t *authority, apr_time_t now);

#endif /* mod_ocsp_feeder_ocsp_feeder_private_h */
