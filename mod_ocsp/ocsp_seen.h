/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_ocsp_seen_h
#define mod_ocsp_ocsp_seen_h

#include <apr_pools.h>

#include "mod_ocsp/ocsp_request.h"

/*
 * Requests that this process has parsed before: what was found in them, by their very bytes. Most
 * clients ask again and again for the same certificates with the same bytes, and to parse those
 * takes longer than to find the answer.
 *
 * Only what a request asks is remembered, never what was answered. A slot is for whoever needs it
 * last: random requests do no more than to have others parsed again.
 */

typedef struct ocsp_seen ocsp_seen_t;

/** In the process that will use it. */
ocsp_seen_t *ocsp_seen_create(apr_pool_t *p);

/** Remembers a parsed request, if it is a plain one (see ocsp_request_t) about one certificate with
 *  a CertID of SHA-1 or SHA-256. Thread-safe, waits for nobody. */
void ocsp_seen_put(ocsp_seen_t *seen, const ocsp_request_t *request);

/**
 * Finds a request of the same bytes. Thread-safe, waits for nobody.
 * @param request as ocsp_request_parse() gives it, in p, but with a CertID that has no id: it is
 *                enough to find an answer, and not to sign one
 * @return 0 if there is none
 */
int ocsp_seen_find(ocsp_seen_t *seen, gh_bytes_t der, const ocsp_request_t **request,
                   apr_pool_t *p);

#endif /* mod_ocsp_ocsp_seen_h */
