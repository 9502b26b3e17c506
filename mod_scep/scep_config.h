/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_scep_scep_config_h
#define mod_scep_scep_config_h

#include <httpd.h>
#include <http_config.h>
#include <http_core.h>
#include <apr_hash.h>
#include <apr_tables.h>

#include "mod_gatehouse/mod_gatehouse.h"
#include "mod_scep/scep_digital.h"
#include "mod_scep/scep_endpoint.h"
#include "mod_scep/scep_engine.h"

/* What the files of the glue share: directives as read, and what they are compiled to. */

extern module AP_MODULE_DECLARE_DATA scep_module;

#define SCEP_HANDLER "gatehouse-scep"

/** Where a directive stands, for messages. */
typedef struct {
    const char *file;
    int line;
} scep_place_t;

typedef struct {
    const char *tenant;
    const char *issuer;
    scep_place_t place;
} scep_tenant_t;

typedef struct {
    const char *pattern;
    scep_place_t place;
} scep_pattern_t;

typedef struct {
    const char *name;               /* "static", "onetime", "onetime:set", "device", ... */
    gh_authoriser_t *authoriser;
    const apr_array_header_t *managers;     /* X509 *; NULL for all but "manager" */
    const char *webhook;            /* its name; NULL for all but "webhook" */
    scep_place_t place;
} scep_challenge_t;

/** A directive that stands in a <Location>, however often. */
typedef struct {
    const char *directive;
    scep_place_t place;             /* of the first one */
    int adds;                       /* to what wider locations say; others replace that */
} scep_said_t;

/** Directives of pages that make challenges: scep_web.h. */
typedef struct scep_web scep_web_t;

/** A connection to Intune: scep_intune.h. */
typedef struct scep_intune scep_intune_t;

/** SCEP directives of one <Location>; what it does not have is NULL or -1. */
typedef struct {
    const char *path;
    const server_rec *server;       /* in which it was written */
    scep_place_t place;             /* of its first SCEP directive */
    apr_array_header_t *said;       /* scep_said_t, each directive once */
    apr_array_header_t *tenants;    /* scep_tenant_t; added to those of wider locations */
    apr_array_header_t *patterns;   /* scep_pattern_t; these and what follows replace wider ones' */
    apr_array_header_t *challenges; /* scep_challenge_t */
    const gh_renewal_policy_t *renewal;     /* NULL: off, if renewal_place says something */
    scep_place_t renewal_place;     /* file NULL: not said here */
    const char *intune;             /* name of a connection, or "off"; NULL: not said */
    scep_place_t intune_place;
    int allow;
    int reply_chain;
    int used;                       /* some endpoint is at or below it */
    scep_web_t *web;                /* the only ones that httpd merges; these may be anywhere */
} scep_section_t;

/** An endpoint and what only the glue wants to know of it. */
typedef struct {
    scep_endpoint_t endpoint;
    const apr_array_header_t *challenges;   /* scep_challenge_t, may be NULL */
} scep_entry_t;

/** A <DigitalID>, and where it stands. */
typedef struct {
    scep_digital_t digital;
    scep_place_t place;
    apr_array_header_t *said;       /* const char *: directives that stand in it */
    int served;                     /* it has an endpoint */
} scep_digital_section_t;

/** Of a server_rec. */
typedef struct {
    apr_array_header_t *digitals;   /* scep_digital_section_t *, of the main server; may be NULL */
    scep_digital_section_t *digital;        /* while its section is read */
    const char *ra_profile;         /* SCEPRAProfile, of the main server */
    scep_place_t ra_profile_place;
    int concurrent;                 /* SCEPMaxConcurrent, of the main server; 0: default */
    int failures;                   /* SCEPFailureLimit; -1: off, 0: default */
    apr_interval_time_t failure_interval;
    apr_hash_t *intunes;            /* scep_intune_t * by name, of the main server; or NULL */
    scep_intune_t *intune;          /* whose section is being read */
    apr_hash_t *entries;            /* scep_entry_t by path */
    apr_array_header_t *listed;     /* scep_entry_t *, by path */
} scep_server_t;

#define SCEP_RA_PROFILE "scep-digital-signature-key-encipherment"
#define SCEP_CONCURRENT 64
#define SCEP_FAILURES 100
#define SCEP_FAILURE_INTERVAL apr_time_from_sec(60)

/* scep_config.c */

extern const command_rec scep_directives[];
void *scep_create_server(apr_pool_t *p, server_rec *s);
void *scep_create_section(apr_pool_t *p, char *path);
/** What httpd merges for a request: the directives of pages that make challenges. All others are
 *  merged by scep_compile(), by names. */
void *scep_merge_sections(apr_pool_t *p, void *base, void *add);
scep_server_t *scep_server(const server_rec *s);
scep_place_t scep_place_of(const cmd_parms *cmd);
/** To be called first by each directive of a <Location>: settings belong to names, not to spellings
 *  of a path, so that only plain locations can have them.
 *  @return an error, or NULL */
const char *scep_enter_section(cmd_parms *cmd, scep_section_t *section);

/* scep_config_challenge.c */

/** SCEPChallenge manager. @return an error, or NULL */
const char *scep_make_manager(cmd_parms *cmd, scep_challenge_t *challenge, int argc,
                              char *const argv[]);
const char *scep_make_webhook(cmd_parms *cmd, scep_challenge_t *challenge, int argc,
                              char *const argv[]);
/** Adds one to those of a location, where it belongs. @return an error, or NULL */
const char *scep_add_challenge(cmd_parms *cmd, apr_array_header_t *challenges,
                               const scep_challenge_t *challenge);
/** The managers among the challenges of a location; NULL: none. @param challenges may be NULL */
const apr_array_header_t *scep_managers(const apr_array_header_t *challenges);
/** Warns of managers' certificates that are not valid, or not for long. */
void scep_warn_managers(server_rec *main_server, apr_pool_t *ptemp);

/* scep_config_renewal.c */

const char *scep_set_renewal(cmd_parms *cmd, void *dir, int argc, char *const argv[]);

/** The policy for one endpoint: certificates of the issuer in its path, and of those that take over
 *  from it, are renewed by whoever issues there now. @param said may be NULL */
const gh_renewal_policy_t *scep_renewal_at(const gh_renewal_policy_t *said,
                                           const gh_issuer_t *issuer, apr_pool_t *p);

/* scep_config_web.c: directives of pages that make challenges */

const char *scep_set_challenge_for(cmd_parms *cmd, void *dir, int argc, char *const argv[]);
const char *scep_set_challenge_permit(cmd_parms *cmd, void *dir, const char *text);
const char *scep_set_challenge_plain(cmd_parms *cmd, void *dir, int on);
const char *scep_set_ndes_passwords(cmd_parms *cmd, void *dir, const char *text);
const char *scep_set_profile_subject(cmd_parms *cmd, void *dir, const char *text);
const char *scep_set_profile_alt_name(cmd_parms *cmd, void *dir, const char *type,
                                      const char *text);
const char *scep_set_profile_organization(cmd_parms *cmd, void *dir, const char *text);
const char *scep_set_profile_signer(cmd_parms *cmd, void *dir, const char *certificate,
                                    const char *key);
/** @param add may be NULL */
scep_web_t *scep_merge_web(apr_pool_t *p, const scep_web_t *base, const scep_web_t *add);

/* scep_config_digital.c: <DigitalID NAME> and what stands in it */

const char *scep_digital_section(cmd_parms *cmd, void *dir, const char *text);
const char *scep_set_digital_text(cmd_parms *cmd, void *dir, const char *text);
const char *scep_set_digital_name(cmd_parms *cmd, void *dir, const char *type, const char *text);
const char *scep_set_digital_list(cmd_parms *cmd, void *dir, int argc, char *const argv[]);
/** Digital IDs of a configuration, scep_digital_section_t *; may be NULL. */
const apr_array_header_t *scep_digitals(server_rec *main_server);
/** @return NULL if there is none */
const scep_digital_t *scep_digital_find(server_rec *main_server, const char *tenant,
                                        const char *name);
/** Looks for issuers and profiles. @return how many problems were logged */
int scep_digital_check(server_rec *main_server, const gatehouse_config_t *config, apr_pool_t *p,
                       apr_pool_t *ptemp);

/* scep_locations.c */

/** A <Location> without pattern that holds in a server. */
typedef struct {
    const char *path;
    const char *handler;            /* SetHandler, or NULL */
    scep_place_t handler_place;
    int own;                        /* written in this server, not taken over from the main one */
    scep_section_t *scep;           /* NULL without SCEP directives */
    const scep_web_t *web;          /* NULL without directives of pages that make challenges */
} scep_location_t;

/** As httpd matches a plain <Location>. */
int scep_location_covers(const char *location, const char *path);
/** @return 1 if some path that SCEP may serve is at or below this location */
int scep_location_serves(const char *location);
/** scep_location_t of a server, in the order in which httpd merges them. */
apr_array_header_t *scep_locations(server_rec *main_server, server_rec *s, apr_hash_t *handlers,
                                   apr_pool_t *p);
/** No two may be ambiguous. @return how many problems were logged */
int scep_check_locations(server_rec *s, const apr_array_header_t *locations, apr_pool_t *ptemp);

/* scep_compile.c */

/** Makes the table of every server; all problems are logged. @return how many */
int scep_compile(server_rec *s, const gatehouse_config_t *config, apr_hash_t *handlers,
                 const gh_allowances_t *(*allowances)(server_rec *s, const char *path),
                 apr_pool_t *p, apr_pool_t *ptemp);

/* scep_check.c */

/** All SetHandler directives, by place. */
apr_hash_t *scep_handlers(apr_pool_t *p);
/** What SetHandler says in a section, and where: NULL if it does not stand there. */
const char *scep_handler_of(apr_hash_t *handlers, const core_dir_config *core, scep_place_t *place,
                            apr_pool_t *p);
/** Checks what the tables rest on. @return how many problems were logged */
int scep_check(server_rec *s, const gatehouse_config_t *config, apr_hash_t *handlers,
               apr_pool_t *ptemp);
/** Logs a problem with the place of its directive: "GH0123: file:line: text". */
void scep_log_problem(const server_rec *s, int level, scep_place_t place, const char *text,
                      apr_pool_t *ptemp);
/** @return 1 in the pass that leads to a running server, and with "httpd -t" */
int scep_final_pass(void);

/* scep_node.c */

/** Makes what the processes of this node share; in the parent.
 *  @return how many problems were logged */
int scep_node_prepare(server_rec *s, apr_pool_t *pconf);
/** Joins, in a child. */
gh_limiter_t *scep_node_join(const scep_server_t *server, apr_pool_t *p);
const char *scep_set_failure_limit(cmd_parms *cmd, void *dir, const char *number,
                                   const char *interval);

/* scep_handler.c */

int scep_handler(request_rec *r);
/** Keeps files and directories below the document root out of it: no redirect, no file access. */
int scep_map_to_storage(request_rec *r);
void scep_child_init(apr_pool_t *p, server_rec *s);
/** @return OK, or an HTTP status: 413 beyond the most bytes that a body may have */
int scep_read_body(request_rec *r, apr_size_t most, gh_bytes_t *body);
/** Finds mod_gatehouse's functions. @return 0 if it is not loaded */
int scep_find_gatehouse(void);
const gatehouse_config_t *scep_gatehouse_config(void);
const gh_allowances_t *scep_gatehouse_allowances(server_rec *s, const char *path);
/** @return NULL if there is no <Webhook> of that name */
const gatehouse_webhook_t *scep_gatehouse_webhook(const char *name);
void scep_register_dump(gatehouse_dump_fn *fn, apr_pool_t *pconf);

/* scep_dump.c */

void scep_dump(void *json, server_rec *s, apr_pool_t *p);
/** Takes down for the dump that a secret cannot be had, see gatehouse_dump_problem().
 *  @return 0 if it is an error */
int scep_dump_problem(const cmd_parms *cmd, const gh_result_t *result);

#endif /* mod_scep_scep_config_h */
