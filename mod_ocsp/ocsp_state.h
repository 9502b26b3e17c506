/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_ocsp_state_h
#define mod_ocsp_ocsp_state_h

#include <apr_pools.h>
#include <apr_time.h>

#include "result.h"
#include "text.h"

/*
 * What the feeder says of an authority's sources: the file NAME.state in OCSPDirectory, replaced by
 * rename after each attempt, at most once a second. One JSON object, times as RFC 3339 in UTC or
 * null:
 *
 *   version      1
 *   authority    NAME
 *   digest       hex of ocsp_authority_digest(); with another one the file is of another time
 *   pid          of the feeder
 *   written      when this file was written; at least once a minute, so that an old
 *                one tells of a feeder that is gone
 *   generation   of the newest index that the feeder has made or found; 0: none
 *   built        when that was
 *   built_whole  when one was last made from the whole of the store, or null
 *   made_from    hex SHA-256 over what that index was made from, or null; the next feeder does not
 *                make the same once more
 *   build_error  null, or { "since", "last", "gh", "message", "action" }: no index can be made
 *   sources      array, in the order of the configuration, the delta of a CRL behind it:
 *     kind           "store", "crl", "delta", "serials", "index"
 *     url            without credentials; null for "store"
 *     last_attempt, last_success
 *     failures       in a row; 0: all is well
 *     error          null, or { "since", "last", "gh", "message", "action" }
 *     number         cRLNumber in hex, or null
 *     this_update, next_update
 *     entries        integer
 *     warn           1: a CRL ends within the time of warn=, or has ended; 0 otherwise
 *     bytes          size of what was last fetched
 *     sha256         of the same, hex, or null
 *     etag, modified validators of HTTP for the same, or null
 */

/** One source, as the file has it. */
typedef struct {
    const char *kind;
    const char *url;
    apr_time_t last_attempt;
    apr_time_t last_success;
    int failures;
    const char *gh;                 /* of the error, NULL if there is none */
    const char *message;
    const char *action;
    const char *number;
    apr_time_t this_update;
    apr_time_t next_update;
    apr_int64_t entries;
    int warn;
    apr_int64_t bytes;
    gh_bytes_t sha256;              /* 32 bytes, or none */
    const char *etag;
    const char *modified;
} ocsp_source_state_t;

typedef struct {
    apr_time_t written;
    apr_int64_t generation;
    apr_time_t built;
    apr_time_t built_whole;         /* 0: not known */
    gh_bytes_t made_from;           /* 32 bytes, or none */
    const char *gh;                 /* of build_error, NULL if there is none */
    const char *message;
    const char *action;
    int count;
    const ocsp_source_state_t *sources;
} ocsp_state_t;

/** Path of the file, in p. */
const char *ocsp_state_path(const char *folder, const char *name, apr_pool_t *p);

/**
 * Reads the file. Thread-safe.
 * @param digest 32 bytes
 * @return APR_ENOENT if there is none, or one of another configuration; APR_EINVAL if it is not
 *         understood
 */
apr_status_t ocsp_state_read(ocsp_state_t **state, const char *folder, const char *name,
                             const unsigned char *digest, apr_pool_t *p);

#endif /* mod_ocsp_ocsp_state_h */
