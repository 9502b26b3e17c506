/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_escrow_escrow_configuration_h
#define mod_escrow_escrow_configuration_h

#include <apr_tables.h>

#include "audit.h"
#include "mod_escrow/escrow_endpoint.h"
#include "result.h"
#include "store/pins.h"

/* The configuration that changes while the server runs: pins, and TLS certificates. */

/** Largest body of a change, and most pins in it. */
#define ESCROW_CHANGE_MAX       (8 * 1024 * 1024)
#define ESCROW_CHANGE_PINS_MAX  50000

/** As it is in the store. */
typedef struct {
    const char *version;            /* another one after each change: the ETag */
    apr_array_header_t *pins;       /* gh_pin_record_t * */
    apr_array_header_t *endpoints;  /* gh_endpoint_record_t * */
} escrow_configuration_t;

apr_status_t escrow_configuration_read(escrow_configuration_t **configuration, gh_store_t *store,
                                       apr_pool_t *p, gh_result_t *result);

/** What clients get: never a key. @return a json_t *, NULL if there is no memory */
void *escrow_configuration_json(const escrow_configuration_t *configuration, apr_pool_t *p);

/** A change that is wished for. */
typedef struct {
    apr_array_header_t *pins;       /* gh_pin_record_t *; role NULL: those it has, or all that the
                                       store gives; NULL: no change */
    const char *name;               /* of the certificate, or NULL: the only one there is */
    gh_bytes_t pkcs12;              /* data NULL: no change */
    const char *password;           /* overwritten by p's cleanup; or NULL */
} escrow_change_t;

/**
 * Reads a body: {"client_certificate_thumbprints": [...], "server_certificate": {...}}. Strings may
 * have NULs in them, where thumbprints were pasted.
 * @return APR_EINVAL with result naming the member
 */
apr_status_t escrow_change_parse(escrow_change_t **change, gh_bytes_t body, apr_pool_t *p,
                                 gh_result_t *result);

/** How a change is made. */
typedef struct {
    const char *version;            /* it has to be that; NULL: any */
    int force;                      /* all pins may go */
    const char *who;
    apr_time_t now;
    const escrow_endpoint_t *endpoint;  /* NULL: no new certificate */
    const char *endpoint_name;
    const gh_vault_t *vault;
    gh_audit_event_t *event;        /* gets what has changed, and is stored */
} escrow_apply_t;

/**
 * Makes a change in one transaction.
 * @return GH_ECONFLICT with result if the version is another one; GH_EREFUSED with result if no pin
 *         would be left; errors of the store
 */
apr_status_t escrow_change_apply(const escrow_change_t *change, const escrow_apply_t *how,
                                 gh_store_t *store, apr_pool_t *p, gh_result_t *result);

#endif /* mod_escrow_escrow_configuration_h */
