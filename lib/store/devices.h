/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_store_devices_h
#define gatehouse_store_devices_h

#include "store/store.h"

/* Registered devices: who may enrol under which host name. A tenant has each name once. */

typedef struct {
    const char *id;                 /* 32 hex digits; names it in logs */
    const char *tenant;
    const char *fqdn;               /* lower case */
    const char *issuer;             /* NULL: any */
    const char *profile;            /* NULL: any */
    gh_bytes_t secret_mac;          /* keyed digest of its password; data NULL: it has none */
    int secret_bits;                /* strength of the password if we made it, else 0 */
    int single_use;                 /* one enrolment only */
    const char *address;            /* IP address that the request must name, or NULL */
    const char *serial_number;      /* serial number that the request must name, or NULL */
    apr_time_t created;
    apr_time_t used_at;             /* of the last enrolment; 0: none yet */
    const char *used_by;            /* its id */
} gh_device_record_t;

/** @return GH_ECONFLICT if the tenant has a device of that name already */
apr_status_t gh_device_insert(gh_transaction_t *transaction, const gh_device_record_t *record);

/** @param fqdn in lower case. @return APR_NOTFOUND */
apr_status_t gh_device_find(gh_transaction_t *transaction, const char *tenant, const char *fqdn,
                            gh_device_record_t **record, apr_pool_t *p);

/**
 * Lists registrations by tenant and name.
 * @param tenant, fqdn NULL: any; @param id NULL, or the only one to list; @param limit 0: 1000
 * @param records set to gh_device_record_t * elements in p
 */
apr_status_t gh_device_list(gh_transaction_t *transaction, const char *tenant, const char *fqdn,
                            const char *id, int limit, apr_array_header_t **records,
                            apr_pool_t *p);

/** Notes an enrolment of a device: for one of single use it succeeds once, whatever runs beside it.
 *  @return GH_EREFUSED if it is used up or was removed */
apr_status_t gh_device_use(gh_transaction_t *transaction, const char *id, const char *enrolment,
                           apr_time_t now);

/** @return APR_NOTFOUND */
apr_status_t gh_device_remove(gh_transaction_t *transaction, const char *id);

#endif /* gatehouse_store_devices_h */
