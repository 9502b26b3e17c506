/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_scep_scep_intune_h
#define mod_scep_scep_intune_h

#include "mod_scep/scep_config.h"

/* Connections to Microsoft Intune: <IntuneConnection NAME> and what is in it. */

/** A client secret. */
typedef struct {
    const char *source;             /* gh_secret_load() form */
    apr_time_t expires;             /* 0: not said */
    scep_place_t place;
    gh_bytes_t secret;
} scep_intune_secret_t;

struct scep_intune {
    const char *name;
    scep_place_t place;
    const char *tenant;
    const char *application;
    apr_array_header_t *secrets;    /* scep_intune_secret_t */
    const char *credential;         /* path of a PKCS#12 */
    const char *passphrase;         /* gh_secret_load() form */
    scep_place_t credential_place;
    gh_bytes_t pkcs12;
    gh_bytes_t pkcs12_secret;
    const char *authority;
    const char *graph;
    const char *graph_version;
    const char *intune;
    const char *resource;
    const char *cron;               /* NULL: off */
    const char *issuer_name;
    int most;
    int lenient;
    const char *trust;              /* path; NULL: of the system */
    scep_place_t trust_place;
    const char *trusted;            /* PEM */
    const char *proxy;
    int concurrent;
    double rate;
    apr_interval_time_t timeout;
    apr_interval_time_t deadline;
    apr_interval_time_t wait;
    int max_waiting;
    apr_array_header_t *said;       /* const char *: directives that stand once */
    gh_authoriser_t *authoriser;    /* of locations that name it */
    int used;
};

/* scep_config_intune.c */

const char *scep_intune_section(cmd_parms *cmd, void *dir, const char *text);
const char *scep_set_intune(cmd_parms *cmd, void *dir, const char *name);
const char *scep_set_intune_tenant(cmd_parms *cmd, void *dir, const char *text);
const char *scep_set_intune_application(cmd_parms *cmd, void *dir, const char *text);
const char *scep_set_intune_secret(cmd_parms *cmd, void *dir, const char *source,
                                   const char *option);
const char *scep_set_intune_credential(cmd_parms *cmd, void *dir, const char *path,
                                       const char *option);
const char *scep_set_intune_endpoints(cmd_parms *cmd, void *dir, int argc, char *const argv[]);
const char *scep_set_intune_revocation(cmd_parms *cmd, void *dir, int argc, char *const argv[]);
const char *scep_set_intune_notify(cmd_parms *cmd, void *dir, const char *word);
const char *scep_set_intune_trust(cmd_parms *cmd, void *dir, const char *path);
const char *scep_set_intune_proxy(cmd_parms *cmd, void *dir, const char *url);
const char *scep_set_intune_limits(cmd_parms *cmd, void *dir, int argc, char *const argv[]);

/* scep_intune.c */

/** Opens what the sections name, and tells the worker of them. Before scep_compile().
 *  @return how many problems were logged */
int scep_intune_check(server_rec *s, const gatehouse_config_t *config, apr_pool_t *pconf,
                      apr_pool_t *ptemp);
/** Intune is asked by connections that there are, and by nothing beside it.
 *  @return how many problems were logged */
int scep_intune_check_section(const server_rec *s, const scep_server_t *server,
                              const scep_section_t *section, apr_pool_t *ptemp);
/** Intune alone decides, whatever challenges a wider location has. @param name may be NULL
 *  @return NULL if there is no such connection */
const apr_array_header_t *scep_intune_challenges(const scep_server_t *server, const char *name,
                                                 apr_pool_t *p);
/** Warns of connections that no location uses. After scep_compile(). */
void scep_intune_warn_unused(server_rec *s, apr_pool_t *ptemp);

#endif /* mod_scep_scep_intune_h */
