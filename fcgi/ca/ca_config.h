/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_ca_ca_config_h
#define fcgi_ca_ca_config_h

#include <apr_hash.h>
#include <apr_tables.h>

#include "fcgi/ca/cagw_codec.h"
#include "fcgi/cmp/cmp_service.h"
#include "fcgi/framework.h"
#include "fcgi/http.h"
#include "issuer/issuer.h"
#include "x509/seal.h"

/* What mod_gatehouse/gatehouse_ca_worker.c tells the worker. */

#define CA_WORKER "gatehouse-ca-worker"

/** The worker of this process. */
typedef struct {
    framework_t *framework;
    const gh_sealer_t *sealer;      /* NULL: none is configured */
    apr_array_header_t *issuers;    /* ca_issuer_t * */
} ca_worker_t;

/** Whether what a CA tells of its certificates is taken up. */
typedef struct {
    int on;
    apr_interval_time_t wait;       /* between two looks, when there is nothing new */
    apr_time_t start;               /* of the first look */
    int serials_only;               /* certificates themselves are not stored */
} ca_events_t;

/** What is asked for with a profile beside its name. */
typedef struct {
    const char *duration;           /* ISO 8601; NULL: not asked for */
    int own_validity;               /* 1: that of our profile is */
    int usages;                     /* 1: the extended key usage is */
    apr_table_t *properties;        /* or NULL */
} ca_profile_options_t;

/** An issuer behind a gateway, or a CMP server. */
typedef struct {
    ca_worker_t *worker;
    const char *name;
    gh_issuer_t *issuer;            /* with certificate and chain, for gh_submission_check() */
    const char *ca;                 /* its id at the gateway */
    apr_hash_t *profiles;           /* of the gateway, by ours; "*" for all others */
    apr_hash_t *options;            /* ca_profile_options_t by ours */
    cagw_spelling_t spelling;
    const char *properties_prefix;  /* of names of properties; or NULL */
    int searchable;                 /* whether the CA can be searched for what became of a call */
    apr_interval_time_t lag;        /* so much later at most the search finds it */
    apr_interval_time_t timeout;    /* of a call */
    ca_events_t events;
    framework_queue_t *queue;       /* named as the issuer */
    framework_queue_t *tests;       /* gh_gateway_test_queue() */
    http_peer_config_t reach;       /* how the gateway is reached, without
                                       credential */
    http_peer_t *peer;              /* with the credential of the file */
    int enrolled;                   /* 1: that one is for the beginning only */
    cmp_service_t *cmp;             /* NULL: it is a gateway */
} ca_issuer_t;

/** Reads all, adds a queue for each issuer, and opens their credentials.
 *  @return APR_EINVAL with result */
apr_status_t ca_configure(ca_worker_t *worker, const json_t *configuration, apr_pool_t *p,
                          gh_result_t *result);

/** Another way to the same gateway, with another credential, which must live as long as p. */
apr_status_t ca_peer_create(http_peer_t **peer, const ca_issuer_t *issuer,
                            const gh_credential_t *identity, apr_pool_t *p, gh_result_t *result);

/** The gateway's name of a profile. */
const char *ca_profile(const ca_issuer_t *issuer, const char *profile);
/** The same, if one was said. @return NULL otherwise */
const char *ca_profile_said(const ca_issuer_t *issuer, const char *profile);

/** What is asked for with it besides. @return NULL: nothing */
const ca_profile_options_t *ca_profile_options(const ca_issuer_t *issuer, const char *profile);

#endif /* fcgi_ca_ca_config_h */
