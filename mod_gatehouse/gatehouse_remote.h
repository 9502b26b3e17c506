/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_remote_h
#define gatehouse_remote_h

#include <httpd.h>
#include <http_config.h>
#include <jansson.h>

#include "gatehouse_private.h"
#include "secret_json.h"

/* Issuers whose CA is elsewhere: what a worker is told of them, how requests wait for it. */

#define GATEHOUSE_CA_WORKER "gatehouse-ca-worker"

/** Where the worker's socket is mapped to. */
#define GATEHOUSE_WORKER_PATH "/-/worker/"

/** Longest id of a CA or profile at a gateway. */
#define GATEHOUSE_GATEWAY_NAME_MAX 255

/* gatehouse_remote_config.c, gatehouse_remote_profile.c, gatehouse_remote_limits.c: directives of
 * <Issuer> */

const char *gatehouse_set_issuer_backend(cmd_parms *cmd, void *dir, int argc, char *const argv[]);
const char *gatehouse_set_issuer_credential(cmd_parms *cmd, void *dir, int argc,
                                            char *const argv[]);
const char *gatehouse_set_issuer_trust(cmd_parms *cmd, void *dir, const char *source,
                                       const char *option);
const char *gatehouse_set_issuer_proxy(cmd_parms *cmd, void *dir, int argc, char *const argv[]);
const char *gatehouse_set_issuer_wait(cmd_parms *cmd, void *dir, const char *time,
                                      const char *option);
const char *gatehouse_set_issuer_gateway_profile(cmd_parms *cmd, void *dir, int argc,
                                                 char *const argv[]);
const char *gatehouse_set_issuer_spelling(cmd_parms *cmd, void *dir, int argc, char *const argv[]);
const char *gatehouse_set_issuer_events(cmd_parms *cmd, void *dir, int argc, char *const argv[]);
const char *gatehouse_set_issuer_search(cmd_parms *cmd, void *dir, const char *word,
                                        const char *option);
const char *gatehouse_set_issuer_limits(cmd_parms *cmd, void *dir, int argc, char *const argv[]);
const char *gatehouse_set_issuer_subject(cmd_parms *cmd, void *dir, const char *word);

/* The same for others that a worker talks to. @return 0 if it cannot be taken */
int gatehouse_take_limit(gatehouse_remote_t *remote, apr_interval_time_t *deadline,
                         const char *text);
int gatehouse_take_wait(gatehouse_remote_t *remote, const char *time, const char *option);

/** Defaults of what was not said. */
void gatehouse_remote_init(gatehouse_remote_t *remote);

/* gatehouse_remote_check.c */

/** Opens what the directives name. @return how many problems were logged */
int gatehouse_check_remote(gatehouse_settings_t *settings, gatehouse_issuer_section_t *section,
                           server_rec *s, apr_pool_t *p, apr_pool_t *ptemp);
/** Whether requests reach the worker. */
int gatehouse_check_mapping(gatehouse_settings_t *settings, server_rec *s, apr_pool_t *p);
/** @return 1 if a worker works for this issuer */
int gatehouse_is_remote(const gatehouse_issuer_section_t *section);

/* gatehouse_remote_cmp.c */

const char *gatehouse_set_issuer_cmp(cmd_parms *cmd, void *dir, int argc, char *const argv[]);
/** What is wrong with the URL of a CMP server, or NULL. */
const char *gatehouse_cmp_url_fault(const char *url, apr_pool_t *p);
/** As gatehouse_check_remote(), for what a CMP server alone has. */
int gatehouse_check_cmp(gatehouse_issuer_section_t *section, server_rec *s, apr_pool_t *p,
                        apr_pool_t *ptemp);
/** What the worker is told of it: see fcgi/cmp/cmp_config.c. @return NULL for other back ends */
struct json_t *gatehouse_describe_cmp(const gatehouse_issuer_section_t *section,
                                      gh_secret_json_t *secrets);

/* gatehouse_ca_worker.c */

const char *gatehouse_set_runtime_directory(cmd_parms *cmd, void *dir, const char *path);
/** Path of the worker's socket, in p. */
const char *gatehouse_ca_socket(const gatehouse_settings_t *settings, apr_pool_t *p);
/** Has the worker for CAs started if there is an issuer that needs it. @return an HTTP status */
int gatehouse_register_ca_worker(gatehouse_settings_t *settings, server_rec *s,
                                 apr_pool_t *pconf);

/* gatehouse_webhook_config.c: <Webhook> */

/** A <Webhook> section. */
typedef struct gatehouse_webhook_section {
    const char *name;
    gatehouse_place_t place;
    apr_table_t *said;                      /* directives in it */
    gatehouse_remote_t remote;              /* where it is, as with gateways */
    const char *id;                         /* WebhookID */
    const char *secret;                     /* WebhookSecret: file:PATH or exec:PATH */
    const char *authorization;              /* WebhookAuthorization: likewise, or NULL */
    int basic;                              /* 1: basic, 0: bearer */
    apr_interval_time_t deadline;
} gatehouse_webhook_section_t;

const char *gatehouse_webhook_section(cmd_parms *cmd, void *dir, const char *text);
const char *gatehouse_set_webhook(cmd_parms *cmd, void *dir, int argc, char *const argv[]);

/* gatehouse_webhook_check.c */

/** Opens what the sections name, and has the worker told of them. @return how many problems were
 *  logged */
int gatehouse_check_webhooks(gatehouse_settings_t *settings, server_rec *s, apr_pool_t *p,
                             apr_pool_t *ptemp);
const gatehouse_webhook_t *gatehouse_webhook(const char *name);

/* gatehouse_worker_sections.c */

void gatehouse_add_worker_section(const gatehouse_worker_section_t *section, apr_pool_t *pconf);
int gatehouse_worker_section_count(void);
const gatehouse_worker_section_t *gatehouse_worker_section(int i);
/** Adds all to the worker's configuration, and overwrites them. @param text a JSON object
 *  @return in p, and overwritten with it; NULL if one is no JSON */
const char *gatehouse_describe_sections(const char *text, apr_pool_t *p);

/* gatehouse_dispatch.c */

void gatehouse_register_dispatch(apr_pool_t *p);
/** Makes the memory in which children count who waits. */
apr_status_t gatehouse_dispatch_create(gatehouse_settings_t *settings, apr_pool_t *pconf);
void gatehouse_dispatch_child_init(apr_pool_t *p, server_rec *s);
void gatehouse_await(request_rec *r, const char *queue, const char *enrolment);

/* gatehouse_jobs.c */

/** Has jobs told of by health and metrics. */
void gatehouse_jobs_create(const gatehouse_settings_t *settings, apr_pool_t *pconf);
/** Counts them and looks what is known of gateways, at most every few seconds; for the thread that
 *  follows the store. */
apr_status_t gatehouse_jobs_count(gh_store_t *store, apr_pool_t *ptemp, gh_result_t *result);

#endif /* gatehouse_remote_h */
