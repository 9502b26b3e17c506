/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_cmp_cmp_service_h
#define fcgi_cmp_cmp_service_h

#include <jansson.h>

#include "fcgi/cmp/cmp_transaction.h"
#include "fcgi/framework.h"
#include "fcgi/http.h"
#include "issuer/issuer.h"

/*
 * A CMP server over HTTP (RFC 9811). OpenSSL's client waits for answers, so it runs on threads of
 * the issuer's own; messages go through the worker's loop like all other calls. A request that the
 * CA lets wait has no thread.
 */

typedef struct cmp_service cmp_service_t;

/** Memory of whoever reads it. */
typedef struct {
    const char *url;
    const json_t *settings;         /* see mod_gatehouse/gatehouse_remote_cmp.c */
    gh_bytes_t credential;          /* PKCS#12, or data NULL */
    gh_bytes_t passphrase;
    const char *alias;
    int threads;                    /* at most */
    http_peer_t *peer;              /* made with the same credential */
} cmp_described_t;

/** @param issuer with certificate and chain @return APR_EINVAL with result */
apr_status_t cmp_service_create(cmp_service_t **service, framework_t *framework,
                                gh_issuer_t *issuer, const cmp_described_t *said, apr_pool_t *p,
                                gh_result_t *result);

/** The URL without its path, for the peer; in p. */
const char *cmp_base_url(const char *url, apr_pool_t *p);

/* Calls. All are for the thread that runs the loop; each ends in one call of done there, which may
 * come before the call returns. What they are given lives until then. */

typedef void cmp_done_fn(void *baton, cmp_reply_t *reply);

void cmp_call_enrol(cmp_service_t *service, const cmp_request_t *request, cmp_done_fn *done,
                    void *baton, apr_pool_t *p);
void cmp_call_revoke(cmp_service_t *service, gh_bytes_t serial, int reason, cmp_done_fn *done,
                     void *baton, apr_pool_t *p);
void cmp_call_probe(cmp_service_t *service, apr_interval_time_t timeout, cmp_done_fn *done,
                    void *baton, apr_pool_t *p);

#endif /* fcgi_cmp_cmp_service_h */
