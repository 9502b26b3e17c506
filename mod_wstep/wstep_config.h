/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_config_h
#define mod_wstep_wstep_config_h

#include <httpd.h>
#include <http_config.h>
#include <http_core.h>
#include <apr_hash.h>
#include <apr_tables.h>
#include <mod_auth.h>

#include "directory/directory.h"
#include "issuer/renewal.h"
#include "limiter.h"
#include "mod_gatehouse/mod_gatehouse.h"
#include "mod_wstep/wstep_endpoint.h"
#include "mod_wstep/wstep_engine.h"
#include "mod_wstep/wstep_template.h"

/* What the files of the glue share: directives as read, and what they are compiled to. */

extern module AP_MODULE_DECLARE_DATA wstep_module;

#define WSTEP_HANDLER "gatehouse-wstep"

#define WSTEP_RA_PROFILE "scep-digital-signature-key-encipherment"
#define WSTEP_CONCURRENT 64
#define WSTEP_LOOKUPS 32
#define WSTEP_FAILURES 20
#define WSTEP_FAILURE_INTERVAL apr_time_from_sec(60)
#define WSTEP_VERDICT_LIFETIME apr_time_from_sec(60)
#define WSTEP_NEXT_UPDATE 8
#define WSTEP_PRIORITY 1

/** Where a directive stands, for messages. */
typedef struct {
    const char *file;
    int line;
} wstep_place_t;

typedef struct {
    const char *tenant;
    const char *issuer;
    wstep_place_t place;
} wstep_tenant_t;

typedef struct {
    const char *pattern;
    wstep_place_t place;
} wstep_pattern_t;

typedef struct {
    const char *name;
    const authn_provider *provider;     /* NULL until the configuration was read */
    wstep_place_t place;
} wstep_provider_t;

/** WSTEP directives of one <Location>, merged as httpd does it; what it does not have is NULL or
 *  -1. */
typedef struct {
    const char *path;
    wstep_place_t place;            /* of its first directive; file NULL: it has none */
    const apr_array_header_t *tenants;      /* wstep_tenant_t; added to those of wider ones */
    const apr_array_header_t *templates;    /* wstep_pattern_t */
    const apr_array_header_t *providers;    /* wstep_provider_t */
    const gh_renewal_policy_t *renewal;     /* NULL with renewal_said: off */
    int renewal_said;
    int renewal_only;
    const wstep_trust_t *trust;     /* NULL with trust_said: of nobody */
    int trust_said;
    int signatures;                 /* messages may be signed instead of TLS certificates */
    int weak_kerberos;
    int response;                   /* wstep_response_t */
    int priority;
    const char *parent_dn;
    const char *policy_id;
    const char *policy_name;
    int next_update;                /* hours */
    int used;                       /* some endpoint is at or below it */
} wstep_section_t;

/** A <CertificateTemplate> as read. */
typedef struct {
    wstep_template_t template;
    xcep_template_t policy;
    wstep_place_t place;
    const char *profile;            /* its name, or NULL */
    apr_array_header_t *usages;     /* wstep_usage_name_t */
    apr_array_header_t *said;       /* const char *: directives that stand in it */
    int complete;                   /* it was found to be right */
} wstep_template_section_t;

/** TemplateProfile NAME USAGE... */
typedef struct {
    const char *profile;
    unsigned int usage;
} wstep_usage_name_t;

/** An endpoint and what only the glue wants to know of it. */
typedef struct {
    wstep_endpoint_t endpoint;      /* of a policy endpoint issuer and ca are NULL */
    int policy;                     /* 1: of XCEP */
    const wstep_section_t *section; /* what holds there */
    apr_array_header_t *providers;  /* wstep_provider_t, looked up */
    apr_array_header_t *issuing;    /* wstep_entry_t *: with policy, those that it tells of */
    xcep_policy_t described;        /* with policy: id, name, hours, changed */
} wstep_entry_t;

/** How providers of passwords know users. */
typedef enum {
    WSTEP_NAME_PLAIN,               /* alice */
    WSTEP_NAME_PRINCIPAL,           /* alice@example.com */
    WSTEP_NAME_ACCOUNT              /* EXAMPLE\alice */
} wstep_name_form_t;

/** Of a server_rec; all but the last two members are the main server's. */
typedef struct {
    apr_hash_t *templates;          /* wstep_template_section_t by name; may be NULL */
    apr_array_header_t *ordered;    /* the same in the order of the configuration */
    wstep_template_section_t *template;     /* while its section is read */
    apr_array_header_t *domains;    /* wstep_domain_t; may be NULL */
    int name_form;                  /* wstep_name_form_t */
    gh_directory_config_t *directory;       /* NULL: there is none */
    wstep_place_t directory_place;
    int lookups;                    /* in the directory at once, of the node; 0: default */
    const char *ra_profile;
    wstep_place_t ra_profile_place;
    int concurrent;
    int failures;                   /* -1: off, 0: default */
    apr_interval_time_t failure_interval;
    apr_interval_time_t verdict_lifetime;   /* -1: default */
    const char *public_url;         /* of this server; NULL: from ServerName */
    apr_hash_t *entries;            /* wstep_entry_t by path */
    apr_array_header_t *listed;     /* wstep_entry_t * */
} wstep_server_t;

/* wstep_config.c */

extern const command_rec wstep_directives[];
void *wstep_create_server(apr_pool_t *p, server_rec *s);
void *wstep_merge_servers(apr_pool_t *p, void *base, void *add);
void *wstep_create_section(apr_pool_t *p, char *path);
void *wstep_merge_sections(apr_pool_t *p, void *base, void *add);
wstep_server_t *wstep_server(const server_rec *s);
wstep_place_t wstep_place_of(const cmd_parms *cmd);
/** @return 1 for a path at, above or below where something is served */
int wstep_location_serves(const char *path);
/** As httpd matches a plain <Location>. */
int wstep_location_covers(const char *location, const char *path);

/* wstep_config_server.c: directives that stand outside of sections */

const char *wstep_set_domain(cmd_parms *cmd, void *dir, const char *name, const char *alias);
const char *wstep_set_user_name(cmd_parms *cmd, void *dir, const char *form);
const char *wstep_set_ra_profile(cmd_parms *cmd, void *dir, const char *name);
const char *wstep_set_concurrent(cmd_parms *cmd, void *dir, const char *text);
const char *wstep_set_failure_limit(cmd_parms *cmd, void *dir, const char *number,
                                    const char *interval);
const char *wstep_set_verdict_lifetime(cmd_parms *cmd, void *dir, const char *text);
const char *wstep_set_public_url(cmd_parms *cmd, void *dir, const char *url);

/* wstep_config_directory.c */

const char *wstep_set_directory(cmd_parms *cmd, void *dir, int argc, char *const argv[]);
const char *wstep_set_directory_bind(cmd_parms *cmd, void *dir, const char *name,
                                     const char *source);
/** @return how many problems were logged */
int wstep_directory_check(server_rec *main_server, apr_pool_t *p, apr_pool_t *ptemp);

/* wstep_config_template.c: <CertificateTemplate NAME> and what stands in it */

const char *wstep_template_section(cmd_parms *cmd, void *dir, const char *text);
const char *wstep_set_template_text(cmd_parms *cmd, void *dir, const char *text);
const char *wstep_set_template_list(cmd_parms *cmd, void *dir, int argc, char *const argv[]);
const char *wstep_set_template_flag(cmd_parms *cmd, void *dir, int on);
/** Looks for profiles, and completes each template. @return how many problems were logged */
int wstep_templates_check(server_rec *main_server, const gatehouse_config_t *config,
                          apr_pool_t *p, apr_pool_t *ptemp);

/* wstep_compile.c */

/** Makes the table of every server; all problems are logged. @return how many */
int wstep_compile(server_rec *main_server, const gatehouse_config_t *config, apr_pool_t *p,
                  apr_pool_t *ptemp);
/** Logs a problem with the place of its directive: "GH0123: file:line: text". */
void wstep_log_problem(const server_rec *s, int level, wstep_place_t place, const char *text,
                       apr_pool_t *ptemp);
/** Takes part in "httpd -t -D DUMP_GATEHOUSE". */
void wstep_dump(void *json, server_rec *main_server, apr_pool_t *p);

/* wstep_dump.c */

/** Adds the templates. */
void wstep_dump_templates(void *json, const server_rec *main_server, apr_pool_t *p);

/* wstep_gatehouse.c: what mod_gatehouse offers, and what a child has */

int wstep_find_gatehouse(void);
const gatehouse_config_t *wstep_gatehouse_config(void);
const gh_allowances_t *wstep_gatehouse_allowances(server_rec *s, const char *path);
void wstep_register_dump(gatehouse_dump_fn *fn, apr_pool_t *pconf);
const char *wstep_request_id(request_rec *r);
const gh_log_t *wstep_request_log(request_rec *r);
gh_audit_event_t *wstep_audit_event(request_rec *r);
void wstep_audit(const gh_audit_event_t *event, apr_pool_t *p);
void wstep_begin_work(request_rec *r);
void wstep_end_work(void);
/** A request that is worked on, and whether it has a place in the node's limit. */
typedef struct {
    request_rec *r;
    gh_audit_event_t *event;
    int inside;
} wstep_visit_t;

/** Fills what comes with a message. */
void wstep_fill_message(wstep_message_t *message, wstep_visit_t *visit);
int wstep_node_prepare(server_rec *s, apr_pool_t *pconf);
void wstep_child_init(apr_pool_t *p, server_rec *s);
/** @return NULL as long as mod_gatehouse has no store */
wstep_engine_t *wstep_child_engine(void);
gh_limiter_t *wstep_child_gate(void);
struct wstep_verdicts *wstep_child_verdicts(void);

/* wstep_handler.c */

/** @return NULL if nothing is served at the request's path */
const wstep_entry_t *wstep_find_entry(const request_rec *r);
int wstep_handler(request_rec *r);
int wstep_map_to_storage(request_rec *r);

/* wstep_kerberos.c */

/** Looks at a token of Negotiate before the module that knows whether it is genuine does. */
int wstep_kerberos_check(request_rec *r);
/** @return APR_SUCCESS if this request has shown a ticket that was looked at, and whose user httpd
 *          knows; GH_EREFUSED with result */
apr_status_t wstep_kerberos_shown(request_rec *r, gh_result_t *result);
/** Names the only scheme that is taken, for an answer with 401. */
void wstep_kerberos_challenge(request_rec *r);

#endif /* mod_wstep_wstep_config_h */
