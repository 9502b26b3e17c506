/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_issuer_issued_h
#define gatehouse_issuer_issued_h

#include <apr_pools.h>
#include <apr_time.h>
#include <openssl/x509.h>

#include "result.h"
#include "store/certificates.h"
#include "store/enrolments.h"
#include "store/renewals.h"
#include "store/store.h"

/* What the store knows of a certificate that somebody shows. */

typedef struct {
    gh_certificate_record_t *certificate;
    gh_enrolment_record_t *enrolment;   /* NULL: it was imported, or is our own */
    gh_renewal_record_t *renewal;       /* NULL: it was not renewed yet */
} gh_issued_t;

/**
 * Finds the very certificate, not only one of its number.
 * @param issuer of whose certificates
 * @param tenant for whom; what was imported belongs to every tenant
 * @return APR_NOTFOUND, without result; GH_EUNAVAILABLE
 */
apr_status_t gh_issued_find(gh_issued_t *issued, const X509 *certificate, const char *issuer,
                            const char *tenant, apr_time_t now, gh_store_t *store, apr_pool_t *p,
                            gh_result_t *result);

/**
 * Whether who shows a certificate holds a valid one of this issuer and tenant.
 * @return GH_EREFUSED (failure DENIED or TIME); GH_EUNAVAILABLE
 */
apr_status_t gh_issued_check_holder(const X509 *certificate, const char *issuer,
                                    const char *tenant, gh_store_t *store, apr_pool_t *p,
                                    gh_result_t *result);

#endif /* gatehouse_issuer_issued_h */
