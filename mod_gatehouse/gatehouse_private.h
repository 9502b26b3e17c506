/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_private_h
#define gatehouse_private_h

#include <httpd.h>
#include <http_config.h>
#include <ap_expr.h>
#include <apr_hash.h>
#include <apr_tables.h>

#include "mod_gatehouse.h"
#include "issuer/issuer.h"
#include "x509/profile.h"

/* What the files of mod_gatehouse share; other modules see mod_gatehouse.h only. */

extern module AP_MODULE_DECLARE_DATA gatehouse_module;

/** Where a directive stands, for messages; file NULL: nowhere. */
typedef struct {
    const char *file;
    int line;
} gatehouse_place_t;

/** IssuerCMP: what is said of a CMP server. Strings are NULL where nothing was. */
typedef struct {
    gatehouse_place_t place;
    const char *reference;
    const char *source;                     /* of the secret: file:PATH or exec:PATH */
    const char *message;                    /* p10cr, ir or cr */
    const char *recipient;
    const char *sender;
    const char *trust;                      /* path */
    int implicit;                           /* 1: certificates need not be confirmed */
    int unprotected;                        /* 1: refusals count without protection */

    gh_bytes_t secret;                      /* once they were checked: what is in these */
    const char *trusted;                    /* PEM */
} gatehouse_cmp_t;

/** What is said of a CA behind a gateway or a CMP server. */
typedef struct {
    const char *url;                        /* IssuerBackend cagw URL ca=ID, cmp URL */
    const char *ca;                         /* NULL with cmp */
    gatehouse_cmp_t cmp;
    const char *credential;                 /* IssuerCredential: path */
    const char *passphrase;                 /* file:PATH or exec:PATH, or NULL */
    const char *alias;                      /* or NULL */
    int enrolled;                           /* IssuerCredential enrolled */
    const char *own_profile;                /* after which it is, or NULL */
    const char *own_subject;                /* of certificates that are enrolled */
    const char *own_kind;                   /* of their keys */
    const gh_profile_t *own;                /* once it was checked */
    gatehouse_place_t credential_place;
    const char *trust;                      /* IssuerTrust: path, "credential" or "system" */
    const char *trust_passphrase;           /* or NULL */
    gatehouse_place_t trust_place;
    const char *proxy;                      /* IssuerProxy */
    const char *proxy_user;                 /* or NULL; with the next */
    const char *proxy_password;             /* file:PATH or exec:PATH */
    gatehouse_place_t proxy_place;
    apr_interval_time_t wait;               /* IssuerWait; 0: nobody waits */
    int max_waiting;
    gatehouse_place_t wait_place;
    apr_table_t *profiles;                  /* IssuerGatewayProfile: theirs by ours, or NULL */
    apr_table_t *profile_options;           /* what is asked for besides, several by ours */
    gatehouse_place_t profiles_place;
    const char *spelling_validity;          /* IssuerGatewaySpelling; NULL: the default */
    const char *spelling_selector;
    const char *spelling_ca;
    const char *spelling_properties;
    gatehouse_place_t spelling_place;
    int search;                             /* IssuerSearch */
    apr_interval_time_t lag;
    gatehouse_place_t search_place;
    int concurrent;                         /* IssuerLimits */
    double rate;
    apr_interval_time_t timeout;
    gatehouse_place_t limits_place;
    gatehouse_place_t subject_place;        /* IssuerSubject */
    int events;                             /* IssuerEvents */
    apr_interval_time_t events_every;
    apr_time_t events_since;
    int events_serials;                     /* 1: certificates themselves are not stored */
    gatehouse_place_t events_place;

    gh_bytes_t pkcs12;                      /* once they were checked: what is in these */
    gh_bytes_t secret;
    gh_bytes_t proxy_secret;
    const char *trusted;                    /* PEM; NULL: those of the system */
    apr_time_t not_after;                   /* of the credential */
} gatehouse_remote_t;

/** An <Issuer> section. Directives that a message may have to name have their place. */
typedef struct {
    const char *name;
    gatehouse_place_t place;
    const char *backend;                    /* IssuerBackend, NULL: local */
    gatehouse_place_t backend_place;
    gatehouse_place_t certificate_place;
    gatehouse_place_t key_place;
    gatehouse_place_t chain_place;
    gatehouse_place_t crl_place;
    gatehouse_place_t next_place;
    gatehouse_place_t public_url_place;
    gh_issuer_config_t config;              /* what was said; times 0 where nothing was */
    gatehouse_remote_t remote;
    gh_issuer_t *issuer;                    /* made when the section ends */
} gatehouse_issuer_section_t;

/** A directive of a <CertificateProfile> section, applied once all profiles are known. */
typedef struct {
    const char *name;
    int argc;
    const char *const *argv;
    gatehouse_place_t place;
} gatehouse_profile_line_t;

typedef struct {
    const char *name;
    const char *base;                       /* base=, or NULL */
    gatehouse_place_t place;
    apr_array_header_t *lines;              /* gatehouse_profile_line_t elements */
    gh_profile_t *profile;                  /* NULL until it was made */
    enum { GATEHOUSE_PROFILE_NEW, GATEHOUSE_PROFILE_OPEN, GATEHOUSE_PROFILE_DONE } state;
} gatehouse_profile_section_t;

/** What gatehouse-ca serves of an issuer. */
typedef struct {
    gh_bytes_t der;
    gh_bytes_t pem;                         /* the CA's certificate and its chain */
    const char *etag;
    int slot;                               /* of the issuer on the board */
} gatehouse_authority_t;

/** A plain <Location> with GatehouseAllowRequest. */
typedef struct {
    const char *path;
    const server_rec *server;               /* in which it was written */
    gatehouse_place_t place;
    const gh_allowances_t *allowances;
} gatehouse_allowed_location_t;

/** Found by the check_config hook, which in a start has nowhere to write to. */
typedef struct {
    int level;                      /* APLOG_WARNING, APLOG_ERR */
    gatehouse_place_t place;
    const char *what;
    const char *text;
} gatehouse_warning_t;

/** The server's configuration; belongs to the main server_rec and lives in pconf. */
typedef struct {
    gatehouse_config_t shared;              /* filled by the check_config hook */
    const char *store;
    gatehouse_place_t store_place;
    const char *public_url;
    const char *sealing_key;
    gatehouse_place_t sealing_key_place;
    const char *audit_log;                  /* absolute path, or "|program" */
    gatehouse_place_t audit_log_place;
    const char *node;
    apr_array_header_t *issuers;            /* gatehouse_issuer_section_t * */
    apr_array_header_t *profiles;           /* gatehouse_profile_section_t * */
    gatehouse_issuer_section_t *issuer;     /* section being read, or NULL */
    gatehouse_profile_section_t *profile;   /* section being read, or NULL */
    apr_array_header_t *webhooks;           /* gatehouse_webhook_section_t * */
    struct gatehouse_webhook_section *webhook;  /* section being read, or NULL */
    apr_hash_t *authorities;                /* gatehouse_authority_t * by issuer */
    apr_hash_t *expressions;                /* ap_expr_info_t * by text */
    apr_hash_t *locations;                  /* lists of gatehouse_allowed_location_t by server */
    apr_array_header_t *warnings;           /* gatehouse_warning_t elements */
    gh_sealer_t *sealer;
    const char *runtime;                    /* GatehouseRuntimeDirectory, or NULL */
    gatehouse_place_t runtime_place;
    int remote;                             /* 1: there is an issuer behind a gateway */
    int store_prepared;                     /* by this parent, so that children need not */
} gatehouse_settings_t;

/** Per-directory configuration. */
typedef struct {
    apr_array_header_t *items;              /* const char *, NULL if there is no such directive */
    gh_allowances_t *allowances;
    const server_rec *server;               /* in which the directive stands */
    gatehouse_place_t place;                /* of the first one */
} gatehouse_dir_t;

/* gatehouse_config.c: directives of the server */

void *gatehouse_create_server_config(apr_pool_t *p, server_rec *s);
/** Of the main server, while it is read. */
gatehouse_settings_t *gatehouse_settings_of(server_rec *s);
gatehouse_place_t gatehouse_place(const cmd_parms *cmd);
/** "GH0123: what was wrong (what to do)" in p; the status in words if the result says nothing. */
const char *gatehouse_explain(const gh_result_t *result, apr_status_t status, apr_pool_t *p);
/** "file:PATH" or "exec:PATH" with an absolute path; NULL for any other form. */
const char *gatehouse_secret_source(apr_pool_t *p, const char *text);
const char *gatehouse_set_store(cmd_parms *cmd, void *dir, const char *uri);
const char *gatehouse_set_public_url(cmd_parms *cmd, void *dir, const char *url);
const char *gatehouse_set_sealing_key(cmd_parms *cmd, void *dir, const char *source);
const char *gatehouse_set_audit_log(cmd_parms *cmd, void *dir, const char *target);
const char *gatehouse_set_node(cmd_parms *cmd, void *dir, const char *name);

/* gatehouse_section.c: what both kinds of section have in common */

/** Splits what stands behind "<Issuer": words up to the closing '>'. */
const char *gatehouse_section_words(cmd_parms *cmd, const char *text,
                                    const apr_array_header_t **words);
/** Runs the directives of a section, whose names must all begin with prefix or equal other. */
const char *gatehouse_section_walk(cmd_parms *cmd, const char *prefix, const char *other);

/* gatehouse_issuer_config.c: <Issuer> */

void gatehouse_register_backends(apr_pool_t *p);
const char *gatehouse_issuer_section(cmd_parms *cmd, void *dir, const char *text);
/** The section being read; a directive may stand in it once, which its place tells. */
const char *gatehouse_issuer_section_of(cmd_parms *cmd, gatehouse_issuer_section_t **section,
                                        apr_size_t place_offset);
#define GATEHOUSE_SECTION_OF(cmd, section, place) \
    gatehouse_issuer_section_of(cmd, section, APR_OFFSETOF(gatehouse_issuer_section_t, place))
const char *gatehouse_set_issuer_certificate(cmd_parms *cmd, void *dir, const char *path);
const char *gatehouse_set_issuer_key(cmd_parms *cmd, void *dir, const char *source,
                                     const char *option);
const char *gatehouse_set_issuer_chain(cmd_parms *cmd, void *dir, const char *path);
const char *gatehouse_set_issuer_crl(cmd_parms *cmd, void *dir, int argc, char *const argv[]);
const char *gatehouse_set_issuer_next(cmd_parms *cmd, void *dir, const char *name,
                                      const char *option);

/* gatehouse_profile_config.c: <CertificateProfile> */

const char *gatehouse_profile_section(cmd_parms *cmd, void *dir, const char *text);
const char *gatehouse_set_profile(cmd_parms *cmd, void *dir, int argc, char *const argv[]);
/** Makes all profiles, in whatever order they stand. @return how many problems were logged */
int gatehouse_check_profiles(gatehouse_settings_t *settings, server_rec *s, apr_pool_t *p,
                             apr_pool_t *ptemp);

/* gatehouse_dir_config.c: GatehouseAllowRequest */

void *gatehouse_create_dir_config(apr_pool_t *p, char *path);
void *gatehouse_merge_dir_config(apr_pool_t *p, void *base, void *add);
const char *gatehouse_allow_request(cmd_parms *cmd, void *dir, int argc, char *const argv[]);
/** Finds them in all servers. @return how many problems were logged */
int gatehouse_collect_locations(gatehouse_settings_t *settings, server_rec *s, apr_pool_t *p);
const gh_allowances_t *gatehouse_allowances(server_rec *s, const char *path);

/* gatehouse_check.c: what a configuration means as a whole */

int gatehouse_check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s);
/** The settings that gatehouse_check_config() accepted; NULL before. */
gatehouse_settings_t *gatehouse_settings(void);
const gatehouse_config_t *gatehouse_config(void);
/** @return 1 in the first of the two passes of a cold start, and with "httpd -t" */
int gatehouse_first_pass(void);
/** Logs a failure, number first, with the place of its directive if there is one. */
void gatehouse_log_problem(server_rec *s, gatehouse_place_t place, const char *what,
                           const char *explanation);
/** Notes something that does not prevent a start. The texts live as long as the settings. */
void gatehouse_warn(gatehouse_settings_t *settings, gatehouse_place_t place, const char *what,
                    const char *text);
/** The same for what keeps a part of the service from its work. */
void gatehouse_note_error(gatehouse_settings_t *settings, gatehouse_place_t place, const char *what,
                          const char *text);
/** Logs what gatehouse_check_config() has found worth a warning: once there is an error log. */
void gatehouse_log_warnings(const gatehouse_settings_t *settings, server_rec *s);

/* gatehouse_addresses.c: whether what certificates say of CRLs and CA certificates is true */

void gatehouse_check_addresses(gatehouse_settings_t *settings, apr_pool_t *p);

/* gatehouse_child.c, gatehouse_follower.c: what lives in a child */

int gatehouse_prepare_store(gatehouse_settings_t *settings, server_rec *s, apr_pool_t *ptemp);
void gatehouse_child_init(apr_pool_t *p, server_rec *s);
const gatehouse_service_t *gatehouse_service(void);

/** Ends the pause of the thread that follows the store. */
void gatehouse_follower_wake(void);
/** @return 1 if it was able to read and publish CRLs in its last round */
int gatehouse_follower_keeps_up(void);

/* gatehouse_board.c: newest CRL numbers and refused PINs, shared by all children */

apr_status_t gatehouse_board_create(int count, apr_pool_t *pconf);
/** Tells the other children that there is a CRL with this number. */
void gatehouse_board_note(int slot, apr_int64_t number);
/** @return 1 if another child has just got a newer CRL than this one */
int gatehouse_board_ahead(int slot, apr_int64_t number);
/** Tells the other children that a token has refused the PIN of this issuer. */
void gatehouse_board_refuse_pin(int slot);
int gatehouse_board_pin_refused(int slot);

/* gatehouse_turn.c: one child after the other */

apr_status_t gatehouse_turn_create(const gatehouse_settings_t *settings, server_rec *s);
/** Somebody else than issuers has keys on tokens; to be called before gatehouse_turn_create(). */
void gatehouse_turn_need(void);
void gatehouse_turn_begin(void);
void gatehouse_turn_end(void);
/** @return 1 while this process opens a token; for any thread */
int gatehouse_turn_is_on(void);

/* gatehouse_signals.c: see mod_gatehouse.h */

/** In a child, before its first request. */
void gatehouse_signals_init(void);
void gatehouse_begin_work(request_rec *r);
void gatehouse_end_work(void);
void gatehouse_begin_work_in(apr_pool_t *p);

/* gatehouse_log.c */

/** A log that writes to the error log of a server. */
const gh_log_t *gatehouse_server_log(server_rec *s, apr_pool_t *p);
const gh_log_t *gatehouse_request_log(request_rec *r);

/* gatehouse_request.c */

const char *gatehouse_request_id(request_rec *r);
gh_audit_event_t *gatehouse_audit_event(request_rec *r);
apr_status_t gatehouse_expand(void *request, const char *expression, apr_pool_t *p,
                              const char **value);

/* gatehouse_audit.c */

apr_status_t gatehouse_audit_open(gatehouse_settings_t *settings, server_rec *s,
                                  apr_pool_t *pconf);
/** @return 1 if there is an audit log */
int gatehouse_audit_is_open(void);
void gatehouse_audit(const gh_audit_event_t *event, apr_pool_t *p);
/** Writes a line that ends with a newline. */
void gatehouse_audit_write(const char *line);

/* gatehouse_crl.c, gatehouse_ca.c, gatehouse_content.c: handlers */

int gatehouse_crl_handler(request_rec *r);
int gatehouse_ca_handler(request_rec *r);
apr_status_t gatehouse_make_authority(gatehouse_authority_t **authority,
                                      const gh_issuer_t *issuer, apr_pool_t *p);

/** Something to be sent that lives at least as long as the request. */
typedef struct {
    gh_bytes_t bytes;
    const char *type;
    const char *etag;
    apr_time_t modified;                    /* 0: unknown */
    long max_age;
} gatehouse_content_t;

/**
 * Finds out what a request for NAME.EXTENSION wants.
 * @return OK, DECLINED for another handler, or an HTTP status
 */
int gatehouse_content_request(request_rec *r, const char *handler, const char **name,
                              const char **extension);
/** Answers with validators and caching headers, or 304. */
int gatehouse_content_send(request_rec *r, const gatehouse_content_t *content);

/* gatehouse_dump.c */

void gatehouse_dump(apr_pool_t *pconf, server_rec *s);
void gatehouse_register_dump(gatehouse_dump_fn *fn, apr_pool_t *pconf);
int gatehouse_dump_problem(apr_pool_t *pconf, const char *issuer, const char *directive,
                           const char *file, int line, const gh_result_t *result);

/* gatehouse_version.c */

const char *gatehouse_version(void);
/** When this was compiled, to the day; 0 if that is not known. */
apr_time_t gatehouse_built(void);

/* gatehouse_health.c: what is asked by balancers */

int gatehouse_health_handler(request_rec *r);
void gatehouse_add_health(gatehouse_health_t *health, const char *name, int ok,
                          const char *message);
/** Something does not work, and no other node would do better: the answer stays 200. */
void gatehouse_add_degraded(gatehouse_health_t *health, const char *name, const char *message);
void gatehouse_register_round(const char *what, gatehouse_round_fn *fn, apr_pool_t *pconf);
void gatehouse_register_health(gatehouse_health_fn *fn, apr_pool_t *pconf);

/* gatehouse_metrics.c */

int gatehouse_metrics_handler(request_rec *r);
void gatehouse_begin_metric(gatehouse_metrics_t *metrics, const char *name,
                            gatehouse_metric_kind_t kind, const char *help);
void gatehouse_add_metric(gatehouse_metrics_t *metrics, const char *label, const char *value,
                          double number);
void gatehouse_register_metrics(gatehouse_metrics_fn *fn, apr_pool_t *pconf);

#endif /* gatehouse_private_h */
