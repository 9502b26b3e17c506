/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_scep_scep_config_h
#define mod_scep_scep_config_h

#include <httpd.h>
#include <http_config.h>
#include <http_core.h>
#include <apr_hash.h>
#include <apr_tables.h>

#include "mod_gatehouse/mod_gatehouse.h"
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
    const char *name;               /* "static", "onetime", "onetime:set", "none" */
    gh_authoriser_t *authoriser;
    scep_place_t place;
} scep_challenge_t;

/** SCEP directives of one <Location>; what it does not have is NULL or -1. */
typedef struct {
    const char *path;
    const server_rec *server;       /* in which it was written */
    scep_place_t place;             /* of its first SCEP directive */
    apr_array_header_t *tenants;    /* scep_tenant_t; added to those of wider locations */
    apr_array_header_t *patterns;   /* scep_pattern_t; these and what follows replace wider ones' */
    apr_array_header_t *challenges; /* scep_challenge_t */
    int allow;
    int reply_chain;
    int used;                       /* some endpoint is at or below it */
} scep_section_t;

/** An endpoint and what only the glue wants to know of it. */
typedef struct {
    scep_endpoint_t endpoint;
    const apr_array_header_t *challenges;   /* scep_challenge_t, may be NULL */
} scep_entry_t;

/** Of a server_rec. */
typedef struct {
    const char *ra_profile;         /* SCEPRAProfile, of the main server */
    scep_place_t ra_profile_place;
    int concurrent;                 /* SCEPMaxConcurrent, of the main server; 0: default */
    apr_hash_t *entries;            /* scep_entry_t by path */
    apr_array_header_t *listed;     /* scep_entry_t *, by path */
} scep_server_t;

#define SCEP_RA_PROFILE "scep-digital-signature-key-encipherment"
#define SCEP_CONCURRENT 32

/* scep_config.c */

extern const command_rec scep_directives[];
void *scep_create_server(apr_pool_t *p, server_rec *s);
void *scep_create_section(apr_pool_t *p, char *path);
scep_server_t *scep_server(const server_rec *s);

/* scep_compile.c */

/** Makes the table of every server; all problems are logged. @return how many */
int scep_compile(server_rec *s, const gatehouse_config_t *config, apr_hash_t *handlers,
                 const gh_allowances_t *(*allowances)(server_rec *s, const char *path),
                 apr_pool_t *p, apr_pool_t *ptemp);

/* scep_check.c */

/** All SetHandler directives, by place. */
apr_hash_t *scep_handlers(apr_pool_t *p);
/** What SetHandler says in a section: NULL if it does not stand there. */
const char *scep_handler_of(apr_hash_t *handlers, const core_dir_config *core, apr_pool_t *p);
/** Checks what the tables rest on. @return how many problems were logged */
int scep_check(server_rec *s, const gatehouse_config_t *config, apr_hash_t *handlers,
               apr_pool_t *ptemp);
/** Logs a problem with the place of its directive: "GH0123: file:line: text". */
void scep_log_problem(const server_rec *s, int level, scep_place_t place, const char *text,
                      apr_pool_t *ptemp);
/** @return 1 in the pass that leads to a running server, and with "httpd -t" */
int scep_final_pass(void);

/* scep_handler.c */

int scep_handler(request_rec *r);
/** Keeps files and directories below the document root out of it: no redirect, no file access. */
int scep_map_to_storage(request_rec *r);
void scep_child_init(apr_pool_t *p, server_rec *s);
/** Finds mod_gatehouse's functions. @return 0 if it is not loaded */
int scep_find_gatehouse(void);
const gatehouse_config_t *scep_gatehouse_config(void);
const gh_allowances_t *scep_gatehouse_allowances(server_rec *s, const char *path);
void scep_register_dump(gatehouse_dump_fn *fn, apr_pool_t *pconf);

/* scep_dump.c */

void scep_dump(void *json, server_rec *s, apr_pool_t *p);

#endif /* mod_scep_scep_config_h */
