/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_ocsp_engine_h
#define mod_ocsp_ocsp_engine_h

#include <apr_pools.h>
#include <apr_time.h>
#include <openssl/x509.h>

#include "mod_ocsp/ocsp_authority.h"
#include "mod_ocsp/ocsp_cache.h"
#include "mod_ocsp/ocsp_request.h"
#include "result.h"
#include "text.h"

/*
 * From the DER of a request to the DER of an answer, without httpd.
 *
 * Answers about one certificate without a nonce are kept. One that was kept is served only
 * - before its expiry, and if ocsp_decide() says nothing against answering at all;
 * - if it says what ocsp_decide() says now: status, reason, time and version; or if it was made by
 *   who had followed the source further than we have (entry.change), and knows better;
 * - without nextUpdate, which tells clients that there is always something newer: for at most a
 *   second, and only as long as thisUpdate would be the same second. Such answers are not put into
 *   the second level, and are not authoritative.
 * After refresh_at one of those who ask for it signs it anew, while the others are still given what
 * is there. A nonce is left out (RFC 9654 2.1, RFC 9919 4.1.1 allow that) where there is an answer
 * that was kept and no other one can be given: rather that than tryLater.
 */

typedef struct ocsp_engine ocsp_engine_t;

/** What an endpoint (a location, or the fast path of a server) says. */
typedef struct {
    const ocsp_authorities_t *authorities;
    int nonce;                      /* 1: nonces are echoed, answers signed for each; 0: they are
                                       left out (RFC 9654 2.1), and answers come from the cache */
    int max_ids;                    /* certificates in one request; default 100 */
    enum { OCSP_SIGNATURE_IGNORE, OCSP_SIGNATURE_VERIFY, OCSP_SIGNATURE_REQUIRE } signature;
    X509_STORE *requestors;         /* whose signatures count; NULL with OCSP_SIGNATURE_IGNORE */
    int mixed_refuse;               /* CAs of other signers in one request: 1 unauthorized, 0 their
                                       certificates are unknown */
} ocsp_endpoint_t;

/** Shared second-level cache, given by the glue; any may be slow, none is trusted: values come with
 *  a MAC that the engine makes and checks. */
typedef struct {
    void *baton;
    /** @return APR_SUCCESS with value in p, APR_NOTFOUND, or a failure */
    apr_status_t (*get)(void *baton, const unsigned char key[32], gh_bytes_t *value,
                        apr_pool_t *p);
    void (*put)(void *baton, const unsigned char key[32], gh_bytes_t value, apr_time_t expiry,
                apr_pool_t *p);
} ocsp_second_level_t;

/** A cap on signing that the processes of a node share, given by the glue. */
typedef struct {
    void *baton;
    /** @param live 1: for a nonce, which takes a smaller share. @return 1 if it may go on */
    int (*enter)(void *baton, int live);
    void (*leave)(void *baton, int live);
} ocsp_signing_cap_t;

typedef struct {
    ocsp_cache_t *cache;            /* NULL: nothing is kept */
    const ocsp_second_level_t *second_level;    /* or NULL */
    gh_bytes_t second_level_key;    /* 32 bytes, the same on all nodes */
    const ocsp_signing_cap_t *cap;  /* or NULL */
} ocsp_engine_options_t;

/** Options and what they point to outlive p. */
ocsp_engine_t *ocsp_engine_create(const ocsp_engine_options_t *options, apr_pool_t *p);

/** What became of a request. */
typedef struct {
    ocsp_status_t ocsp;
    gh_bytes_t der;                 /* OCSPResponse, in p or static */
    int authoritative;              /* 1: may be cached by others until expires (RFC 9919 7.2) */
    apr_time_t produced_at;         /* of answers that are OCSP_SUCCESSFUL */
    apr_time_t this_update;
    apr_time_t next_update;         /* 0: none */
    int unknown;                    /* unknown, or revoked because nobody issued it */
    apr_time_t expires;             /* before next_update: when a newer answer is surely there */
    unsigned char sha256[32];       /* of der; for authoritative answers */
    enum { OCSP_FROM_CACHE, OCSP_FROM_SECOND_LEVEL, OCSP_SIGNED, OCSP_FROM_NOTHING } origin;

    /* for logs: of the first certificate asked for */
    const ocsp_authority_t *authority;      /* NULL if there is none */
    gh_bytes_t serial;
    int digest;
    int status;                     /* V_OCSP_CERTSTATUS_*, -1 with an error */
    int reason;
    int count;                      /* certificates asked for */
    int nonce;                      /* the request had one */
    const char *requestor;          /* or NULL */
    apr_time_t retry_after;         /* with OCSP_TRY_LATER: how long to wait, 0 unknown */
} ocsp_answer_t;

/**
 * Answers a request. Never fails: what goes wrong is an answer, with result saying what and why,
 * for the log. Thread-safe. Does no I/O but for the second level.
 * @param der a request; longer than OCSP_REQUEST_MAX is malformed
 */
void ocsp_engine_answer(ocsp_engine_t *engine, const ocsp_endpoint_t *endpoint, gh_bytes_t der,
                        apr_time_t now, ocsp_answer_t *answer, apr_pool_t *p,
                        gh_result_t *result);

/** Makes the answer about one certificate as a GET of a SHA-1 or SHA-256 CertID would get it, for
 *  pre-production. Errors as an answer. */
void ocsp_engine_produce(ocsp_engine_t *engine, const ocsp_endpoint_t *endpoint,
                         ocsp_authority_t *authority, int digest, gh_bytes_t serial,
                         apr_time_t now, ocsp_answer_t *answer, apr_pool_t *p,
                         gh_result_t *result);

#endif /* mod_ocsp_ocsp_engine_h */
