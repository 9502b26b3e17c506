/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_ocsp_source_h
#define mod_ocsp_ocsp_source_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>
#include <openssl/types.h>

#include "result.h"
#include "status/view.h"
#include "text.h"

/* Where the status of an authority's certificates comes from: what OCSPSource says, and what the
 * feeder is told of it. */

typedef enum {
    OCSP_SOURCE_STORE,
    OCSP_SOURCE_CRL,
    OCSP_SOURCE_SERIALS,
    OCSP_SOURCE_INDEX
} ocsp_source_kind_t;

/** An OCSPSource line. Times are 0 where nothing was said and the default is to be used. */
typedef struct {
    ocsp_source_kind_t kind;
    const char *url;                /* file:, http:, https:, ldap:, ldaps:, without credentials; of
                                       an index.txt "file:" and its path */
    const char *delta;              /* URL of a delta CRL, or NULL */
    apr_interval_time_t interval;   /* between two fetches; 5m, of an index 5s */
    apr_interval_time_t timeout;    /* of connecting and of silence; 5s */
    apr_interval_time_t retry;      /* after a failure; 5s */
    apr_interval_time_t warn;       /* before nextUpdate; 4h */
    int serve_expired;              /* expired=serve */
    int whole;                      /* partition=whole: its distribution point is the only one */
    int shrink;                     /* percent a list of serials may lose; 0: 10 */
    apr_size_t max_size;            /* of what is fetched, in bytes; 64 MB */
    const char *ca_file;            /* trust for TLS, PEM; NULL: the system's */
    const char *proxy;              /* URL of an HTTP proxy; NULL: none */
    const char *dn;                 /* LDAP */
    const char *attribute;          /* certificateRevocationList;binary */
    const char *bind;               /* DN; NULL: anonymous */
    const char *password;           /* file:PATH, exec:PATH; read by the parent */
    int starttls;
} ocsp_source_config_t;

/**
 * The digest that indexes, overlays and state files of an authority carry: SHA-256 over its
 * SubjectPublicKeyInfo, its name, and the kind of its source (store or not, and whether all issued
 * serials are listed). One that was made for other settings is of another authority.
 * @param sources ocsp_source_config_t elements
 * @return APR_EINVAL if the key cannot be encoded
 */
apr_status_t ocsp_authority_digest(unsigned char digest[32], X509 *certificate, const char *name,
                                   const apr_array_header_t *sources);

/** Whether the sources are the store, or else. @param sources ocsp_source_config_t elements */
gh_source_t ocsp_sources_kind(const apr_array_header_t *sources);

/** Whether they list all that was issued, so that an absent serial was never issued: the store, an
 *  index.txt, a list of serials. */
int ocsp_sources_complete(const apr_array_header_t *sources);

/**
 * Checks a line: a URL of a scheme that goes with its kind, no user or password in it, options that
 * belong together, ranges. Opens nothing.
 * @return APR_EINVAL with result
 */
apr_status_t ocsp_source_check(const ocsp_source_config_t *source, apr_pool_t *p,
                               gh_result_t *result);

#endif /* mod_ocsp_ocsp_source_h */
