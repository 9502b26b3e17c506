/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_upload_h
#define gatehouse_escrow_upload_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>

#include "escrow_gate.h"
#include "escrow_pkcs12.h"
#include "result.h"
#include "text.h"

/* The body of POST /v2/certificates: credentials of a user for a device. */

/** How one is kept that another device of the user has already: as it is there. */
typedef struct {
    const char *origin;
    apr_time_t expires;
    int consume;
} escrow_kept_t;

/** One of them. */
typedef struct {
    escrow_use_t use;
    int index;                          /* within the array of its use */
    gh_bytes_t pkcs12;                  /* locked */
    const char *password;               /* locked; NULL: none was given */
    const escrow_credential_t *credential;      /* once it was opened */
    const char *enrolment;              /* by which it was issued, if Gatehouse knows; or NULL */
    const escrow_kept_t *kept;          /* NULL: as is said of the upload */
} escrow_element_t;

typedef struct {
    const char *device;                 /* UUID, lower case */
    const char *user;
    int given[ESCROW_USES + 1];         /* there is an array for this use, perhaps an empty one */
    apr_array_header_t *elements;       /* escrow_element_t, by use and index */
} escrow_upload_t;

/** Largest EscrowMaxCredentials. */
#define ESCROW_ELEMENTS_MAX 200

/** For uploads that are not read from JSON. */
escrow_upload_t *escrow_upload_create(const char *device, const char *user, apr_pool_t *p);
void escrow_upload_add(escrow_upload_t *upload, escrow_use_t use,
                       const escrow_credential_t *credential, const char *enrolment,
                       const escrow_kept_t *kept);

/**
 * Reads one.
 * @param most elements
 * @return APR_EINVAL with result, which names the element that is wrong:
 *         "smime_certificates.encryption[1]: ..."
 */
apr_status_t escrow_upload_read(escrow_upload_t **upload, gh_bytes_t body, int most,
                                gh_locked_t *locked, apr_pool_t *p, gh_result_t *result);

/** Opens and checks all elements; no two of one use may have the same certificate.
 *  @param gate may be NULL. @return as above; GH_EBUSY with result */
apr_status_t escrow_upload_open(escrow_upload_t *upload, const escrow_opener_t *opener,
                                escrow_gate_t *gate, apr_time_t now, apr_pool_t *p,
                                gh_result_t *result);

/** SHA-256 over what is uploaded: pair, uses, and thumbprints in their order. */
apr_status_t escrow_upload_digest(gh_bytes_t *digest, const escrow_upload_t *upload,
                                  apr_pool_t *p, gh_result_t *result);

#endif /* gatehouse_escrow_upload_h */
