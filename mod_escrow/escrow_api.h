/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_escrow_escrow_api_h
#define mod_escrow_escrow_api_h

#include <httpd.h>

#include "mod_escrow/escrow_gate.h"
#include "mod_escrow/escrow_keep.h"
#include "mod_escrow/escrow_settings.h"
#include "result.h"

/* SetHandler gatehouse-escrow: the API for providers and UEMs. */

#define ESCROW_HANDLER "gatehouse-escrow"

/** A request of the API, and what it needs. */
typedef struct {
    request_rec *r;
    const escrow_settings_t *settings;
    escrow_keep_t keep;
    const char *provider;               /* who asks, as httpd has authenticated him */
    const char *rest;                   /* of the path, behind that of the route */
    gh_bytes_t body;                    /* of a POST */
} escrow_call_t;

/** Answers one. @return DONE; APR_SUCCESS goes with an answer that was sent */
typedef apr_status_t escrow_call_fn(escrow_call_t *call, gh_result_t *result);

int escrow_api_handler(request_rec *r);

/** In a child, after its vault was made, before threads are started. */
void escrow_api_child_init(server_rec *s);

/* escrow_node.c: how many uploads are opened at once */
void escrow_node_prepare(apr_pool_t *pconf);
void escrow_node_child_init(apr_pool_t *pchild);
escrow_gate_t *escrow_gate(void);

/** escrow_dump.c: a gatehouse_dump_fn */
void escrow_dump(void *json, server_rec *s, apr_pool_t *p);

/** Sends JSON. */
void escrow_api_send(request_rec *r, int status, const char *json);

/** Reads the body, which is overwritten when the request is over. @return OK or a status */
int escrow_api_read_body(request_rec *r, apr_size_t most, gh_bytes_t *body);

/** device_uuid and user_uuid of the query. @return APR_EINVAL with result */
apr_status_t escrow_api_pair(request_rec *r, const char **device, const char **user,
                             gh_result_t *result);

/* escrow_api_credentials.c */
apr_status_t escrow_api_upload(escrow_call_t *call, gh_result_t *result);
apr_status_t escrow_api_list(escrow_call_t *call, gh_result_t *result);
apr_status_t escrow_api_status(escrow_call_t *call, gh_result_t *result);
apr_status_t escrow_api_remove(escrow_call_t *call, gh_result_t *result);

/* escrow_api_profiles.c */
apr_status_t escrow_api_skeleton(escrow_call_t *call, gh_result_t *result);
apr_status_t escrow_api_profile(escrow_call_t *call, gh_result_t *result);
apr_status_t escrow_api_cancel(escrow_call_t *call, gh_result_t *result);

/* escrow_events_post.c */
apr_status_t escrow_api_event(escrow_call_t *call, gh_result_t *result);

/* escrow_api_document.c */
apr_status_t escrow_api_document(escrow_call_t *call, gh_result_t *result);
apr_status_t escrow_api_hc(escrow_call_t *call, gh_result_t *result);

#endif /* mod_escrow_escrow_api_h */
