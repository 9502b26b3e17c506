/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_store_crls_h
#define gatehouse_store_crls_h

#include "store/store.h"

/* Published CRLs: the newest of each issuer and a few before it. */

typedef struct {
    const char *issuer;
    apr_int64_t number;             /* cRLNumber, from 1, one more each time */
    apr_time_t this_update;
    apr_time_t next_update;
    apr_int64_t change;             /* change_seq that it contains everything up to */
    apr_int64_t entries;
    gh_bytes_t der;
} gh_crl_record_t;

/** @return GH_ECONFLICT if another process published that number meanwhile */
apr_status_t gh_crl_insert(gh_transaction_t *transaction, const gh_crl_record_t *record);

/** The newest CRL. @param with_der 0 leaves der empty, which is cheap. @return APR_NOTFOUND */
apr_status_t gh_crl_newest(gh_transaction_t *transaction, const char *issuer, int with_der,
                           gh_crl_record_t **record, apr_pool_t *p);

/** Keeps the newest count of an issuer. */
apr_status_t gh_crl_purge(gh_transaction_t *transaction, const char *issuer, int count);

#endif /* gatehouse_store_crls_h */
