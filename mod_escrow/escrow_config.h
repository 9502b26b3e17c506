/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_escrow_escrow_config_h
#define mod_escrow_escrow_config_h

#include <httpd.h>
#include <http_config.h>
#include <apr_tables.h>

#include "mod_gatehouse/mod_gatehouse.h"

/* Directives of mod_escrow, and what they say. */

extern module escrow_module;

/** Where the certificate of a client comes from: ThumbprintSource. */
typedef enum {
    ESCROW_SOURCE_UNSET = 0,
    ESCROW_SOURCE_TLS,
    ESCROW_SOURCE_HEADER
} escrow_source_t;

/** EscrowEventHMAC, see escrow_events.h. */
typedef struct {
    const char *header;             /* NULL: not configured */
    gh_bytes_t secret;              /* overwritten with pconf */
} escrow_hmac_t;

/** EscrowRoles: what a client needs, once httpd has let him in. */
typedef enum {
    ESCROW_ROLES_UNSET = 0,
    ESCROW_ROLES_PINNED,            /* the role of what he asks for */
    ESCROW_ROLES_NONE_NEEDED        /* nothing more */
} escrow_roles_t;

/** Of a directory, a location, or, by its defaults, of a server. */
typedef struct {
    escrow_source_t source;
    const char *header;             /* of ESCROW_SOURCE_HEADER */
    int format;                     /* escrow_header_format_t */
    const char *deliver;            /* EscrowDeliver: name of the <UEM> that profiles go to */
    escrow_hmac_t hmac;             /* EscrowEventHMAC */
    escrow_roles_t roles;           /* EscrowRoles */
} escrow_section_t;

/** ThumbprintTrustedProxy: one of those whose headers are believed. */
typedef struct {
    apr_array_header_t *networks;   /* apr_ipsubnet_t * */
    const struct escrow_pins *thumbprints;  /* of the proxy itself; NULL: any */
} escrow_proxy_t;

/** Of a server; what a virtual host does not say is what the main server says. */
typedef struct {
    apr_array_header_t *proxies;    /* escrow_proxy_t */
    const char *tls;                /* EscrowTLS; not of the main server's for others */
} escrow_server_t;

/** Of the whole process, for as long as a configuration is; emptied with pconf. */
typedef struct {
    apr_array_header_t *pin_files;  /* escrow_file_t *, see thumbprint.h */
    apr_array_header_t *vault_keys; /* escrow_vault_key_t *, see escrow_vault.h; first seals */
    apr_array_header_t *tls_names;  /* const char *: each EscrowTLS once */
    apr_array_header_t *headers;    /* const char *: names of headers with certificates */
    int pinned;                     /* somewhere is "Require thumbprint pinned" */
    int required;                   /* somewhere is "Require thumbprint" */
    int bare;                       /* so many thumbprints have SHA-1 without saying so */
} escrow_global_t;

extern const command_rec escrow_directives[];

void *escrow_create_server(apr_pool_t *p, server_rec *s);
void *escrow_merge_servers(apr_pool_t *p, void *base, void *add);
void *escrow_create_section(apr_pool_t *p, char *path);
void *escrow_merge_sections(apr_pool_t *p, void *base, void *add);

const char *escrow_set_roles(cmd_parms *cmd, void *dir, const char *arg);

/** The <UEM> that profiles of a request go to; NULL: none. */
const char *escrow_section_uem(const request_rec *r);

escrow_server_t *escrow_server(const server_rec *s);
/** Made on first use in a configuration. */
escrow_global_t *escrow_global(apr_pool_t *pconf);
/** NULL if there is none. */
const escrow_global_t *escrow_global_now(void);

/** What mod_gatehouse offers; to be looked at once escrow_find_gatehouse() was successful. */
typedef struct {
    APR_OPTIONAL_FN_TYPE(gatehouse_config) *config;
    APR_OPTIONAL_FN_TYPE(gatehouse_service) *service;
    APR_OPTIONAL_FN_TYPE(gatehouse_request_id) *request_id;
    APR_OPTIONAL_FN_TYPE(gatehouse_audit_event) *audit_event;
    APR_OPTIONAL_FN_TYPE(gatehouse_audit) *audit;
    APR_OPTIONAL_FN_TYPE(gatehouse_request_log) *request_log;
    APR_OPTIONAL_FN_TYPE(gatehouse_begin_work) *begin_work;
    APR_OPTIONAL_FN_TYPE(gatehouse_end_work) *end_work;
    APR_OPTIONAL_FN_TYPE(gatehouse_begin_work_in) *begin_work_in;
    APR_OPTIONAL_FN_TYPE(gatehouse_dump_problem) *dump_problem;
    APR_OPTIONAL_FN_TYPE(gatehouse_register_dump) *register_dump;
    APR_OPTIONAL_FN_TYPE(gatehouse_register_worker) *register_worker;
    APR_OPTIONAL_FN_TYPE(gatehouse_register_round) *register_round;
} escrow_gatehouse_t;

/** @return 0 if mod_gatehouse is not loaded */
int escrow_find_gatehouse(void);
const escrow_gatehouse_t *escrow_gatehouse(void);

#endif /* mod_escrow_escrow_config_h */
