/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_ocsp_child_h
#define mod_ocsp_ocsp_child_h

#include "mod_gatehouse/mod_gatehouse.h"
#include "mod_ocsp/ocsp_config.h"
#include "mod_ocsp/ocsp_counts.h"
#include "mod_ocsp/ocsp_engine.h"

/* What lives while httpd runs: in the parent, in each child, and for one request. */

/* ocsp_gatehouse.c: what mod_gatehouse offers */

typedef struct {
    APR_OPTIONAL_FN_TYPE(gatehouse_config) *config;
    APR_OPTIONAL_FN_TYPE(gatehouse_service) *service;
    APR_OPTIONAL_FN_TYPE(gatehouse_request_id) *request_id;
    APR_OPTIONAL_FN_TYPE(gatehouse_audit) *audit;
    APR_OPTIONAL_FN_TYPE(gatehouse_turn_need) *turn_need;
    APR_OPTIONAL_FN_TYPE(gatehouse_turn_begin) *turn_begin;
    APR_OPTIONAL_FN_TYPE(gatehouse_turn_end) *turn_end;
    APR_OPTIONAL_FN_TYPE(gatehouse_begin_work) *begin_work;
    APR_OPTIONAL_FN_TYPE(gatehouse_end_work) *end_work;
    APR_OPTIONAL_FN_TYPE(gatehouse_register_dump) *register_dump;
    APR_OPTIONAL_FN_TYPE(gatehouse_register_health) *register_health;
    APR_OPTIONAL_FN_TYPE(gatehouse_add_health) *add_health;
    APR_OPTIONAL_FN_TYPE(gatehouse_register_metrics) *register_metrics;
    APR_OPTIONAL_FN_TYPE(gatehouse_begin_metric) *begin_metric;
    APR_OPTIONAL_FN_TYPE(gatehouse_add_metric) *add_metric;
} ocsp_gatehouse_t;

/** @return 0 if mod_gatehouse is not loaded, or is of another version */
int ocsp_find_gatehouse(void);
/** Once it was found. */
const ocsp_gatehouse_t *ocsp_gatehouse(void);

/* ocsp_node.c: memory of all processes of the node */

/** Makes it, in the parent. @return how many problems were logged */
int ocsp_node_prepare(server_rec *s, apr_pool_t *pconf);
/** Joins, in a child: counts, cache and cap.
 *  @param options cache and cap are set */
ocsp_counts_t *ocsp_node_join(server_rec *s, ocsp_engine_options_t *options, apr_pool_t *p);

/* ocsp_second.c, ocsp_second_ask.c: the second level */

void ocsp_second_register(apr_pool_t *pconf);
/** @return how many problems were logged */
int ocsp_second_create(server_rec *s, apr_pool_t *p, apr_pool_t *ptemp);
int ocsp_second_prepare(server_rec *s, apr_pool_t *pconf);
/** In a child. @param options second_level and its key are set, if there is one */
void ocsp_second_join(server_rec *s, ocsp_engine_options_t *options, apr_pool_t *p);

/* ocsp_parent.c: folder and feeder */

/** @return OK, or an HTTP status after a problem was logged */
int ocsp_parent_start(server_rec *s, apr_pool_t *pconf, apr_pool_t *ptemp);

/* ocsp_child.c, ocsp_follower.c */

typedef struct {
    server_rec *server;             /* the main one */
    const ocsp_server_t *config;
    apr_pool_t *pool;               /* of the thread that follows, once it runs */
    ocsp_counts_t *counts;
    ocsp_engine_t *engine;          /* NULL: nothing can be answered */
} ocsp_child_t;

void ocsp_child_init(apr_pool_t *p, server_rec *s);
/** @return NULL if this process has no authorities */
const ocsp_child_t *ocsp_child(void);
/** One round for an authority: its view and its signers. The store is left alone in the first. */
apr_status_t ocsp_follow_view(const ocsp_child_t *child, const ocsp_section_t *section,
                              int with_store, apr_pool_t *ptemp, gh_result_t *result);
apr_status_t ocsp_follow_signers(const ocsp_child_t *child, const ocsp_section_t *section,
                                 apr_pool_t *ptemp, gh_result_t *result);
/** Starts the thread that does it. It ends before child->pool is destroyed. */
apr_status_t ocsp_follower_start(ocsp_child_t *child);

/* ocsp_http.c, ocsp_send.c */

/**
 * Answers a request.
 * @param rest what stands behind the path of the endpoint, as it came
 * @return OK, DONE, or an HTTP status
 */
int ocsp_http_answer(request_rec *r, const ocsp_settings_t *settings, const char *rest);
/** Sends an answer. @return OK, or an HTTP status */
int ocsp_http_send(request_rec *r, const ocsp_answer_t *answer, int http_errors);

/* ocsp_handler.c, ocsp_fast.c */

int ocsp_handler(request_rec *r);
/** Keeps files and directories below the document root out of it. */
int ocsp_map_to_storage(request_rec *r);
int ocsp_quick_handler(request_rec *r, int lookup);

/* ocsp_log.c */

/** Logs what became of a request: each at level info, failures at warn, but not all of many. */
void ocsp_log_answer(request_rec *r, const ocsp_child_t *child, const ocsp_answer_t *answer,
                     const gh_result_t *result);
/** Logs a request that was refused before it was looked into. */
void ocsp_log_refused(request_rec *r, int status, const char *why);

/* ocsp_health.c, ocsp_metrics.c */

void ocsp_health(gatehouse_health_t *health, apr_pool_t *p);
void ocsp_metrics(gatehouse_metrics_t *metrics, apr_pool_t *p);

#endif /* mod_ocsp_ocsp_child_h */
