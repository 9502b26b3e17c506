/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_scep_scep_url_h
#define mod_scep_scep_url_h

#include <apr_pools.h>

#include "result.h"
#include "text.h"

/* Where a SCEP request goes and what its query says (RFC 8894 4.1). */

#define SCEP_URL_ROOT "/scep"

/** The three names of an endpoint. */
typedef struct {
    const char *tenant;
    const char *issuer;
    const char *profile;
    int intune;                     /* 1: "intune" follows, for another endpoint of these names */
} scep_url_t;

/**
 * Splits a decoded path: /scep/<tenant>/<issuer>/<profile>, a final slash or not, and one of the
 * tails that clients append: nop, pkiclient.exe, cgi-bin/pkiclient.exe, mscep.dll/pkiclient.exe,
 * the latter also behind nop. "intune" may stand before these.
 * @return APR_NOTFOUND for everything else, also for "intune" and "mdm" as names
 */
apr_status_t scep_url_parse(scep_url_t *url, const char *path, apr_pool_t *p);

/** What ends the paths of managed devices. */
#define SCEP_URL_MDM "mdm"

/** The path of a digital ID. */
typedef struct {
    const char *tenant;
    const char *digital_id;
} scep_url_mdm_t;

/** As scep_url_parse(), for /scep/<tenant>/<digital ID>/mdm; whether there is such a digital ID is
 *  not looked at. */
apr_status_t scep_url_parse_mdm(scep_url_mdm_t *url, const char *path, apr_pool_t *p);

/** @return 1 for "intune" and "mdm", which no tenant and no profile may be called */
int scep_url_reserved(const char *name);

/** /scep/<tenant>/<issuer>/<profile>, perhaps with /intune, in p. */
const char *scep_url_path(const scep_url_t *url, apr_pool_t *p);

typedef enum {
    SCEP_GET_CA_CAPS,
    SCEP_GET_CA_CERT,
    SCEP_GET_NEXT_CA_CERT,
    SCEP_PKI_OPERATION
} scep_operation_t;

typedef struct {
    scep_operation_t operation;
    const char *message;            /* undecoded, or NULL */
} scep_query_t;

/**
 * Reads the query string as it came. Names and values are case-sensitive, in any order; parameters
 * that are not SCEP's are ignored.
 * @param args may be NULL
 * @return APR_EINVAL (MALFORMED)
 */
apr_status_t scep_query_parse(scep_query_t *query, const char *args, apr_pool_t *p,
                              gh_result_t *result);

/**
 * Decodes base64 from a query, in every state of escaping that clients leave it in: a plus sign is
 * a plus sign, and so is a blank; line ends and other white space are dropped; padding may be
 * missing.
 * @return APR_EINVAL (MALFORMED)
 */
apr_status_t scep_query_message(gh_bytes_t *message, const scep_query_t *query, apr_pool_t *p,
                                gh_result_t *result);

#endif /* mod_scep_scep_url_h */
