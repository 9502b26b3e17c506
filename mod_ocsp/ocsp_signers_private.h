/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_ocsp_signers_private_h
#define mod_ocsp_ocsp_signers_private_h

#include "issuer/own_keys.h"
#include "mod_ocsp/ocsp_signer_private.h"
#include "mod_ocsp/ocsp_signers.h"

/* What the parts of ocsp_signers*.c share: a source is an OCSPSigner with what it has opened. */

/** A certificate with its key that may sign. */
typedef struct {
    X509 *certificate;
    EVP_PKEY *key;
    apr_int64_t generation;         /* enrolled ones */
    apr_time_t not_after;
    apr_pool_t *pool;               /* what they live in; NULL: as long as the configuration */
} ocsp_opened_t;

typedef struct {
    const ocsp_signer_config_t *config;
    const char *authority;          /* for messages, as is the next */
    const char *name;               /* kind of key, or path of the certificate */
    int number;
    apr_array_header_t *opened;     /* ocsp_opened_t, newest first */
    apr_time_t retry_at;            /* not before that is a key tried again that has failed */
    apr_interval_time_t pause;      /* before that */
    apr_time_t since;               /* when it began to sign */
    apr_status_t status;            /* of the last attempt, with its failure */
    gh_result_t failure;
    char logged[GH_NUMBER_LENGTH + 2];  /* the failure that was logged last; empty: none */

    /* files */
    X509 *certificate;
    EVP_PKEY *key;                  /* of a file */
    volatile apr_uint32_t *pin_refused;     /* tokens: shared by all processes */
    int stopped;                    /* for good: a person has to see to it */

    /* what is enrolled */
    gh_own_keys_t keys;
    gh_own_attempt_t attempt;
    apr_time_t look_at;
    int pending;                    /* was not looked for yet, or another process makes it, or: */
    int asked;                      /* a CA elsewhere has been asked, and takes its time */
    apr_int64_t withdrawn;          /* the newest generation that was revoked or held; 0: none */
} ocsp_source_t;

/** What one round of following works with. */
typedef struct {
    ocsp_signers_t *signers;
    const ocsp_signer_services_t *services;     /* or NULL */
    apr_time_t now;
    apr_pool_t *ptemp;
} ocsp_round_t;

struct ocsp_signers_sources {
    gh_issuer_t *issuer;            /* or NULL */
    apr_array_header_t *sources;    /* ocsp_source_t */
    int changed;                    /* since the set of now was made */
    int lost;                       /* it was logged that no signer is valid */
};

/** A pool of its own, which no other thread touches. @return NULL without memory */
apr_pool_t *ocsp_source_pool(void);
int ocsp_source_is_token(const ocsp_source_t *source);
/** Forgets one of what was opened. */
void ocsp_source_drop(ocsp_source_t *source, int i);
/** Whether it is time; also when a clock was set back. */
int ocsp_source_is_time(apr_time_t at, apr_interval_time_t pause, apr_time_t now);
/** After a failure: doubles the pause before the next attempt. */
void ocsp_source_postpone(ocsp_source_t *source, apr_time_t now);
/** The longest pause. */
#define OCSP_SOURCE_PAUSE_MAX apr_time_from_sec(30)

/* ocsp_signers_files.c */

apr_status_t ocsp_files_load(ocsp_source_t *source, X509 *ca, apr_time_t now,
                             apr_array_header_t *warnings, apr_pool_t *p, gh_result_t *result);
/** Opens a token, if it is time. @return 1 if something has changed */
int ocsp_files_follow(ocsp_source_t *source, const ocsp_round_t *round);

/* ocsp_signers_auto.c */

apr_status_t ocsp_auto_load(ocsp_source_t *source, gh_issuer_t *issuer, apr_pool_t *p,
                            gh_result_t *result);
/** Looks at the store, if it is time. @return 1 if something has changed */
int ocsp_auto_follow(ocsp_source_t *source, const ocsp_round_t *round);

#endif /* mod_ocsp_ocsp_signers_private_h */
