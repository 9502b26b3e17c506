/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_escrow_escrow_uem_h
#define mod_escrow_escrow_uem_h

#include <httpd.h>
#include <http_config.h>
#include <apr_hash.h>

#include "text.h"

/* <UEM NAME>: what profiles are delivered to; EscrowDeliver: which of them a location's go to. */

/** What a call says: templates as text. */
typedef struct {
    const char *url;                /* NULL: there is no such call */
    const char *method;
    const char *body;
    const char *type;               /* of the body; NULL: that of the document */
} escrow_uem_call_t;

typedef struct {
    const char *name;
    const char *value;              /* a template; or NULL */
    const char *source;             /* of a secret; or NULL */
    gh_bytes_t secret;
} escrow_uem_header_t;

/** A section. */
typedef struct {
    const char *name;
    const char *file;               /* where it begins */
    int line;
    apr_table_t *said;              /* directives in it */
    escrow_uem_call_t deliver;
    escrow_uem_call_t available;
    apr_array_header_t *headers;    /* escrow_uem_header_t */
    const char *basic;              /* source of USER:PASSWORD; or NULL */
    const char *token_url;          /* OAuth; or NULL */
    const char *client;
    const char *scope;
    const char *client_secret;      /* source */
    int in_form;
    const char *credential;         /* PKCS#12 file; or NULL */
    const char *passphrase;         /* source; or NULL */
    const char *alias;
    const char *trust;              /* PEM file; NULL: that of the system */
    const char *proxy;              /* URL, "env"; or NULL */
    const char *no_proxy;
    int concurrent;
    double rate;
    apr_interval_time_t timeout;
    apr_interval_time_t retry;      /* longest pause between two tries */
    apr_interval_time_t pause;      /* first one of the breaker */
    apr_interval_time_t life;

    /* opened, until the worker was told */
    gh_bytes_t basic_secret;
    gh_bytes_t oauth_secret;
    gh_bytes_t pkcs12;
    gh_bytes_t pkcs12_secret;
    const char *trusted;
} escrow_uem_t;

/* escrow_uem.c: directives */

const char *escrow_uem_section(cmd_parms *cmd, void *dir, const char *text);
const char *escrow_set_uem(cmd_parms *cmd, void *dir, int argc, char *const argv[]);
const char *escrow_set_deliver(cmd_parms *cmd, void *dir, const char *name);
const char *escrow_set_poll(cmd_parms *cmd, void *dir, const char *time);

/** escrow_uem_t *, in their order; may be NULL. */
const apr_array_header_t *escrow_uems(void);
const escrow_uem_t *escrow_uem(const char *name);
/** How often the worker looks for work. */
apr_interval_time_t escrow_poll(void);

/** For jobs: how long deliveries to each are tried, apr_interval_time_t * by name; and names,
 *  const char *, of those that are told when there are credentials. Both may be NULL. */
apr_hash_t *escrow_uem_lives(void);
const apr_array_header_t *escrow_uem_told(void);

/** "file:PATH" or "exec:PATH" with an absolute path; NULL for another form. */
const char *escrow_secret_source(apr_pool_t *p, const char *text);

/* escrow_uem_check.c */

/** In check_config: opens what the sections name. @return how many problems were logged */
int escrow_uem_check(server_rec *s, apr_pool_t *pconf);

/** Names in EscrowDeliver, as they stand. */
const apr_array_header_t *escrow_uem_wanted(void);

#endif /* mod_escrow_escrow_uem_h */
