/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_child_h
#define gatehouse_child_h

#include "gatehouse_private.h"

/* What lives in a child. Made by the child's first thread, then changed by the follower only. */

/** An issuer in this process. */
typedef struct {
    gh_issuer_t *issuer;
    int slot;                       /* on the board */
    enum {
        GATEHOUSE_ISSUER_NEW,       /* the store has not confirmed its name yet */
        GATEHOUSE_ISSUER_WAITING,   /* to be made usable at "next" */
        GATEHOUSE_ISSUER_WORKING,
        GATEHOUSE_ISSUER_STOPPED    /* for good: a person has to see to it */
    } state;
    apr_interval_time_t pause;      /* after the last failure */
    apr_time_t next;
    apr_time_t since;               /* when it began to work */
    char logged[8];                 /* number of the failure that was logged last, or empty */
} gatehouse_child_issuer_t;

typedef struct {
    gatehouse_settings_t *settings;
    server_rec *server;
    apr_pool_t *pool;               /* of the thread that may change this */
    gatehouse_service_t service;
    volatile apr_uint32_t open;     /* 1 once service is complete */
    int prepared;                   /* the store is known to be ready */
    apr_array_header_t *issuers;    /* gatehouse_child_issuer_t elements */
    apr_array_header_t *credentials;    /* gatehouse_credentials.c; NULL before the first look */
    apr_time_t credentials_next;        /* look */
    apr_status_t credentials_status;    /* of the last one */
    const gh_result_t *credentials_failure; /* what that was, or NULL */
} gatehouse_child_t;

/** Does what the parent could not: makes the store ready. */
apr_status_t gatehouse_child_prepare(gatehouse_child_t *child, apr_pool_t *ptemp,
                                     gh_result_t *result);

/** Opens the store and what stands on it. */
apr_status_t gatehouse_child_open(gatehouse_child_t *child, gh_result_t *result);

/* gatehouse_child_issuers.c */

apr_array_header_t *gatehouse_child_issuers_make(const gatehouse_settings_t *settings,
                                                 apr_pool_t *p);
/** Makes issuers usable, each once the store has confirmed that its name belongs to its key, and
 *  again those that have failed. */
apr_status_t gatehouse_child_issuers(gatehouse_child_t *child, gh_result_t *result);

/* gatehouse_credentials.c */

/** Has credentials for CA gateways enrolled, and again after two thirds of their life; looks every
 *  few seconds. For the thread that follows the store. */
apr_status_t gatehouse_credentials_renew(gatehouse_child_t *child, apr_pool_t *ptemp,
                                         gh_result_t *result);

/* gatehouse_decoding.c */

/** The context in which this child parses what clients send, made once.
 *  @param p of the child: all that was parsed goes before it
 *  @return NULL: the default one */
OSSL_LIB_CTX *gatehouse_decoding_context(apr_pool_t *p);

/** Starts the thread that follows the store. It ends before child->pool is destroyed. */
apr_status_t gatehouse_follower_start(gatehouse_child_t *child);

#endif /* gatehouse_child_h */
