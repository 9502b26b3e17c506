/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehousectl_ctl_config_h
#define gatehousectl_ctl_config_h

#include <apr_hash.h>
#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>

#include <jansson.h>

#include "mod_ocsp/ocsp_authority.h"
#include "result.h"

/* The configuration of Gatehouse as httpd has read it. This program parses no httpd syntax. */

typedef struct {
    const char *name;
    const char *backend;        /* "local", "offline" */
    const char *certificate;
    const char *key;
    const char *passphrase;
    const char *chain;
    const char *public_url;
    const char *crl_file;
    apr_interval_time_t crl_validity;
    apr_interval_time_t crl_publish;
    apr_interval_time_t crl_delay;
} ctl_issuer_t;

typedef struct {
    const char *name;
    apr_array_header_t *aliases;    /* const char * */
    const char *approval;           /* "automatic", "manual" */
    int privileged;
    int internal;
} ctl_profile_t;

/** One SCEP URL. */
typedef struct {
    const char *server;             /* "name:port" */
    const char *path;
    const char *tenant;
    const char *issuer;
    const char *profile;
    apr_array_header_t *challenges; /* const char *: "static", "onetime", "onetime:set", "none" */
    apr_array_header_t *algorithms; /* const char *: "3des", "sha1" */
} ctl_endpoint_t;

/** A page that makes challenges, for one endpoint: there is one of these for each. */
typedef struct {
    const char *server;             /* "name:port" */
    const char *path;
    const char *kind;               /* "challenge", "ndes", "profile" */
    int plain;                      /* also without TLS */
    const char *tenant;
    const char *issuer;
    const char *profile;
    const char *challenge;          /* "onetime", "onetime:set" */
} ctl_page_t;

/** An OCSPSigner. */
typedef struct {
    const char *kind;               /* enrolled ones: "P-256", "RSA-2048"; else NULL */
    const char *certificate;        /* files; else NULL, as are the next two */
    const char *key;
    const char *passphrase;
} ctl_signer_t;

/** A CA that OCSP answers for. */
typedef struct {
    const char *name;
    const char *certificate;        /* path */
    const char *issuer;             /* NULL if it is no <Issuer> */
    const char *digest;             /* ocsp_authority_digest() in hex */
    int store;                      /* 1: its source is the store */
    apr_array_header_t *signers;    /* ctl_signer_t * */
    ocsp_policy_t policy;
} ctl_authority_t;

/** A path at which OCSP is answered. */
typedef struct {
    const char *server;             /* "name:port" */
    const char *path;
} ctl_responder_t;

/** A key or secret that httpd cannot have, for which it would not start. */
typedef struct {
    const char *name;               /* "key.devices", "sealing", as check names it */
    const char *place;              /* "file:line: directive" */
    const char *number;             /* "GH0091" */
    const char *message;
    const char *action;
} ctl_problem_t;

/** An EscrowVaultKey. */
typedef struct {
    const char *id;
    const char *source;         /* gh_vault_key_open() form */
} ctl_vault_key_t;

typedef struct {
    const char *version;
    const char *store;
    const char *public_url;
    int sealing;
    const char *sealing_key;        /* gh_secret_load() form */
    const char *node;
    const char *audit_log;
    const char *user;               /* whom httpd's children run as */
    apr_int64_t uid;                /* -1 if not known */
    apr_int64_t gid;
    const char *server_root;
    apr_array_header_t *listen;     /* const char * */
    apr_array_header_t *issuers;    /* ctl_issuer_t * */
    apr_array_header_t *queues;     /* const char *: of jobs, but for those of issuers */
    apr_array_header_t *profiles;   /* ctl_profile_t * */
    apr_array_header_t *endpoints;  /* ctl_endpoint_t * */
    apr_array_header_t *pages;      /* ctl_page_t * */
    const char *ocsp_directory;
    apr_array_header_t *authorities;    /* ctl_authority_t * */
    apr_array_header_t *responders; /* ctl_responder_t * */
    apr_array_header_t *uems;       /* const char *: names of <UEM> */
    apr_hash_t *uem_lives;          /* apr_interval_time_t * by their names */
    apr_array_header_t *vault_keys; /* ctl_vault_key_t; the first one wraps */
    apr_array_header_t *problems;   /* ctl_problem_t * */
    const json_t *wstep;            /* array: endpoints of mod_wstep, as it dumps them */
    const json_t *templates;        /* array: its <CertificateTemplate>s, likewise */
} ctl_config_t;

/** Reads the JSON of "httpd -t -D DUMP_GATEHOUSE". Unknown members are ignored.
 *  @return APR_EINVAL with result */
apr_status_t ctl_config_parse(ctl_config_t **config, const char *text, apr_size_t length,
                              apr_pool_t *p, gh_result_t *result);

/**
 * Asks httpd for its configuration.
 * @param errors set to what httpd wrote on standard error, "" if nothing
 * @return APR_EGENERAL if httpd refuses its configuration; the error of the operating system if it
 *         cannot be run; APR_EINVAL if what it says is not understood
 */
apr_status_t ctl_config_load(ctl_config_t **config, const char *httpd, const char *conf,
                             const char **errors, apr_pool_t *p, gh_result_t *result);

/** The issuer by that name, or NULL. */
const ctl_issuer_t *ctl_config_issuer(const ctl_config_t *config, const char *name);

/** The URL under which an issuer is reached: its own, that of all issuers, or what httpd listens
 *  on; without final slash, in p. @param issuer NULL: that of all */
const char *ctl_config_public_url(const ctl_config_t *config, const char *issuer, apr_pool_t *p);

/** How many SCEP paths there are; virtual hosts may have the same. */
int ctl_config_paths(const ctl_config_t *config);

/** The profile by that name or alias, or NULL. */
const ctl_profile_t *ctl_config_profile(const ctl_config_t *config, const char *name);

#endif /* gatehousectl_ctl_config_h */
