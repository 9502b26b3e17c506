/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_store_renewals_h
#define gatehouse_store_renewals_h

#include "store/certificates.h"
#include "store/enrolments.h"
#include "store/store.h"

/* Which certificate took the place of which. A certificate has one live successor. */

typedef struct gh_renewal_record gh_renewal_record_t;

struct gh_renewal_record {
    const char *issuer;             /* of the old certificate */
    gh_bytes_t serial;
    const char *enrolment;          /* that was granted for it */
    apr_time_t created;
    apr_time_t revoke_after;        /* when the old certificate is to be revoked; 0: not by us */
    int replace;                    /* not stored: a successor that is good makes room */

    /* of the successor; set by the functions that read */
    gh_enrolment_state_t state;
    const char *successor_issuer;
    gh_bytes_t successor;           /* its serial, once it is issued */
    gh_status_t status;             /* once it is issued */
    int live;                       /* it waits for a decision or a CA, or is valid */
};

/** @return APR_NOTFOUND if the certificate was not renewed yet */
apr_status_t gh_renewal_find(gh_transaction_t *transaction, const char *issuer, gh_bytes_t serial,
                             apr_time_t now, gh_renewal_record_t **record, apr_pool_t *p);

/** Notes a successor, in the place of one that is no longer live.
 *  @return GH_ECONFLICT if there is a live one; the transaction can go on */
apr_status_t gh_renewal_put(gh_transaction_t *transaction, const gh_renewal_record_t *record,
                            apr_pool_t *p);

/** What became of the certificate that an enrolment renews.
 *  @return APR_NOTFOUND if it renews none, or none that is known here */
apr_status_t gh_renewal_predecessor(gh_transaction_t *transaction, const char *enrolment,
                                    gh_status_t *status);

/** The certificate that an enrolment renews. @param issuer, serial in p
 *  @return APR_NOTFOUND if it renews none */
apr_status_t gh_renewal_of(gh_transaction_t *transaction, const char *enrolment,
                           const char **issuer, gh_bytes_t *serial, apr_pool_t *p);

/** The successor that waited was issued now: from here on counts the time after which the old
 *  certificate is revoked. Does nothing for an enrolment that renews nothing. */
apr_status_t gh_renewal_issued(gh_transaction_t *transaction, const char *enrolment,
                               apr_time_t now);

/** Old certificates that are to be revoked by now, at most limit, longest due first. */
apr_status_t gh_renewal_due(gh_transaction_t *transaction, apr_time_t now, int limit,
                            apr_array_header_t **records, apr_pool_t *p);

/** Nothing is to be done with the old certificate any more. */
apr_status_t gh_renewal_settle(gh_transaction_t *transaction, const char *issuer,
                               gh_bytes_t serial);

#endif /* gatehouse_store_renewals_h */
