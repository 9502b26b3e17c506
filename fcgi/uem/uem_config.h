/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_uem_uem_config_h
#define fcgi_uem_uem_config_h

#include "escrow/vault.h"
#include "fcgi/framework.h"
#include "fcgi/uem/uem_template.h"
#include "fcgi/uem/uem_token.h"
#include "mod_escrow/escrow_complete.h"
#include "mod_escrow/escrow_identity.h"

/* What gatehouse-uem-worker is told, and has of it. */

/** Name and program. */
#define UEM_WORKER "gatehouse-uem-worker"

typedef struct {
    framework_t *framework;
    framework_lane_t *completing;   /* threads that make documents */
    gh_vault_t *vault;
    escrow_trust_t trust;           /* whose certificates are those of devices */
    escrow_opener_t *opener;
    escrow_pkcs12_t pkcs12;
    escrow_transport_t transport;
    escrow_signer_t *signer;        /* NULL: profiles are not signed */
    apr_interval_time_t patience;   /* how long a profile waits for credentials */
    apr_array_header_t *uems;       /* uem_t * */
} uem_worker_t;

/** One kind of call. */
typedef struct {
    http_peer_t *peer;
    const char *method;
    uem_template_t *path;           /* behind the peer's URL */
    uem_template_t *body;           /* NULL: none */
    const char *type;               /* media type; NULL: that of the document */
} uem_endpoint_t;

typedef struct {
    const char *name;
    uem_template_t *value;
} uem_header_t;

typedef struct uem {
    uem_worker_t *worker;
    const char *name;
    framework_queue_t *queue;
    uem_endpoint_t deliver;
    uem_endpoint_t available;       /* peer NULL: nothing is told */
    apr_array_header_t *headers;    /* uem_header_t */
    apr_array_header_t *secrets;    /* const char *: whole headers, overwritten with the worker */
    uem_session_t *session;         /* OAuth; or NULL */
    struct uem_state *state;
} uem_t;

/**
 * Reads the configuration, see mod_escrow/escrow_worker_start.c, and has jobs worked on.
 * @return APR_EINVAL with result
 */
apr_status_t uem_configure(uem_worker_t *worker, const json_t *configuration, apr_pool_t *p,
                           gh_result_t *result);

/** Has profiles delivered, and notices sent. */
void uem_deliver_start(uem_t *uem);
void uem_available_start(uem_t *uem);

/** Has what the worker sees of it stored. */
void uem_state_start(uem_t *uem, apr_pool_t *p);
/** How a delivery went. @param result why, if the UEM did not answer */
void uem_state_note(uem_t *uem, int alive, const gh_result_t *result);

/** For escrow_opener_create(), once. @return NULL: the default context */
OSSL_LIB_CTX *uem_decoding_context(apr_pool_t *p);

#endif /* fcgi_uem_uem_config_h */
