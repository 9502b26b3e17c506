/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_store_pins_h
#define gatehouse_store_pins_h

#include "store/store.h"

/* Pins: thumbprints of clients that may come in, and what for; and TLS certificates of endpoints,
 * which change by the same API. Children of httpd keep both in memory, and look at the version for
 * whether anything has changed. */

/** Pins are looked at that often at least, so that a change holds everywhere after this time: who
 *  changes one tells of it then, and not before. */
#define GH_PINS_SETTLED apr_time_from_msec(1200)

typedef struct {
    const char *thumbprint;         /* as gh_thumbprint_text() writes it */
    const char *role;               /* "provider" or "uem" */
    const char *label;              /* or NULL */
    apr_time_t created;
    const char *created_by;
    apr_time_t expires;             /* 0: never */
    apr_time_t last_used;           /* 0: not yet; to a minute */
} gh_pin_record_t;

/** Adds a pin; one that is there gets the new label and expiry. */
apr_status_t gh_pin_put(gh_transaction_t *transaction, const gh_pin_record_t *record);

/** @param role NULL: all of them. @return APR_NOTFOUND */
apr_status_t gh_pin_remove(gh_transaction_t *transaction, const char *thumbprint,
                           const char *role);

/** All pins, by thumbprint and role. @param records set to gh_pin_record_t * elements in p */
apr_status_t gh_pin_list(gh_transaction_t *transaction, apr_array_header_t **records,
                         apr_pool_t *p);

/** Notes that somebody came with a thumbprint. That is no change of the pin. */
apr_status_t gh_pin_used(gh_transaction_t *transaction, const char *thumbprint, apr_time_t now);

/** Another one than before after each change; "" if there was none. */
apr_status_t gh_pins_version(gh_transaction_t *transaction, const char **version, apr_pool_t *p);

/** A TLS certificate that takes the place of one of httpd's files. */
typedef struct {
    const char *name;               /* of EscrowTLS */
    apr_int64_t generation;         /* from 1 */
    gh_bytes_t chain;               /* DER certificates, one behind the other, the server's first */
    const char *key_id;             /* of the vault, as are wrapped and sealed */
    gh_bytes_t wrapped;
    gh_bytes_t sealed;
    apr_time_t updated;
    const char *updated_by;
} gh_endpoint_record_t;

/** @return GH_ECONFLICT unless its generation is the one behind that which is stored */
apr_status_t gh_endpoint_put(gh_transaction_t *transaction, const gh_endpoint_record_t *record);

/** @return APR_NOTFOUND */
apr_status_t gh_endpoint_find(gh_transaction_t *transaction, const char *name,
                              gh_endpoint_record_t **record, apr_pool_t *p);

/** All of them. @param records set to gh_endpoint_record_t * elements in p */
apr_status_t gh_endpoint_list(gh_transaction_t *transaction, apr_array_header_t **records,
                              apr_pool_t *p);

#endif /* gatehouse_store_pins_h */
