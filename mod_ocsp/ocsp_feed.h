/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_ocsp_feed_h
#define mod_ocsp_ocsp_feed_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <openssl/x509.h>

#include "mod_ocsp/ocsp_source.h"
#include "result.h"

/* What the feeder is told, as JSON: written in httpd's parent, read in the feeder. */

/** File name of the feeder's program. */
#define OCSP_FEEDER_PROGRAM "gatehouse-ocsp-feeder"

/** An authority whose status the feeder keeps. */
typedef struct {
    const char *name;
    const char *issuer;                 /* name of the <Issuer>, for the store; else NULL */
    X509 *certificate;                  /* the CA's */
    apr_interval_time_t retention;      /* OCSPRetention; 0: off */
    apr_interval_time_t max_stale;      /* OCSPMaxStale; 0: off */
    const apr_array_header_t *sources;  /* ocsp_source_config_t elements */
} ocsp_feed_authority_t;

/**
 * Writes the configuration of the feeder. Reads passwords of LDAP servers, as root.
 * @param json        in p, overwritten by a cleanup, since passwords may be in it
 * @param folder      OCSPDirectory
 * @param store       GatehouseStore; NULL if no authority needs it
 * @param authorities ocsp_feed_authority_t elements
 * @return errors of gh_secret_load() with result; APR_EINVAL for a certificate that cannot be
 *         encoded
 */
apr_status_t ocsp_feed_write(const char **json, const char *folder, const char *store,
                             const apr_array_header_t *authorities, apr_pool_t *p,
                             gh_result_t *result);

#endif /* mod_ocsp_ocsp_feed_h */
