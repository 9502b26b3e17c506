/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_feeder_ocsp_fetch_h
#define mod_ocsp_feeder_ocsp_fetch_h

#include <apr_pools.h>
#include <curl/curl.h>

#include "lane.h"
#include "mod_ocsp/feeder/ocsp_buffer.h"
#include "mod_ocsp/ocsp_source.h"
#include "result.h"

/* Getting the bytes of a URL, one time. */

/** Sizes and times where nothing was said. */
#define OCSP_FETCH_SIZE (64 * 1024 * 1024)
#define OCSP_FETCH_TIMEOUT apr_time_from_sec(5)

/** Longest validator of HTTP that is kept. */
#define OCSP_VALIDATOR_MAX 256

typedef struct ocsp_fetch ocsp_fetch_t;

/** One URL, kept from one fetch to the next. */
struct ocsp_fetch {
    const ocsp_source_config_t *config;
    const char *url;
    void (*done)(void *baton);      /* called by the loop */
    void *baton;

    /* of the last one */
    apr_status_t status;            /* APR_SUCCESS, or a failure with result */
    gh_result_t result;
    int unchanged;                  /* 1: as the one before; there are no bytes */
    ocsp_buffer_t bytes;            /* to be freed by the caller */

    /* what tells whether it is unchanged; emptied by ocsp_fetch_forget() */
    char etag[OCSP_VALIDATOR_MAX];
    char modified[OCSP_VALIDATOR_MAX];
    apr_int64_t file[4];            /* device, inode, size, time of a file */

    /* while it goes on */
    char new_etag[OCSP_VALIDATOR_MAX];
    char new_modified[OCSP_VALIDATOR_MAX];
    CURL *easy;
    struct curl_slist *headers;
    char error[CURL_ERROR_SIZE];
    int too_large;
    gh_lane_job_t job;
};

/**
 * Begins to fetch; done is called in any case, later, in the loop.
 * HTTP goes on in multi; files and LDAP on a thread of the lane.
 */
void ocsp_fetch_begin(ocsp_fetch_t *fetch, CURLM *multi, gh_lane_t *lane);

/** What was fetched was not accepted: the next one is not compared with it. */
void ocsp_fetch_forget(ocsp_fetch_t *fetch);

/** Calls done() of what has come by HTTP; in the loop. */
void ocsp_fetch_finish(CURLM *multi);

/* By scheme; only for the files that fetch */

/** Sets status and result. */
void ocsp_fetch_too_large(ocsp_fetch_t *fetch);
void ocsp_fetch_http(ocsp_fetch_t *fetch, CURLM *multi);
/** These block, and set status, result and bytes. */
void ocsp_fetch_file(void *fetch);
void ocsp_fetch_ldap(void *fetch);

#endif /* mod_ocsp_feeder_ocsp_fetch_h */
