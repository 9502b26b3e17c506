/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_token_h
#define mod_wstep_wstep_token_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <openssl/x509.h>

#include "result.h"
#include "text.h"
#include "x509/csr.h"

/*
 * The request within a message, as Windows makes it: PKCS#10, a renewal in CMS around that, or a
 * full CMC request (RFC 5272 3.2). Which one is seen from its content, not from what it is called.
 */

typedef enum {
    WSTEP_TOKEN_PKCS10,
    WSTEP_TOKEN_RENEWAL,
    WSTEP_TOKEN_CMC
} wstep_token_kind_t;

/** A name and a value, from attributes or RegInfo. */
typedef struct {
    const char *name;
    const char *value;
} wstep_value_t;

#define WSTEP_VALUES_MAX 64
/** Bytes of a whole token. */
#define WSTEP_TOKEN_DER_MAX 65536

/** What was read and verified; all in p. Members that are not there are NULL. */
typedef struct {
    wstep_token_kind_t kind;
    gh_csr_t *csr;                  /* its signature was verified */
    const char *template_name;      /* of version 1, or by name/value */
    const char *template_oid;       /* of version 2 */
    int template_major;             /* -1: not said */
    int template_minor;
    const char *os_version;         /* for the log, as are the next three */
    const char *client_machine;
    const char *client_user;
    const char *client_process;
    const apr_array_header_t *values;   /* wstep_value_t */
    unsigned int key_usage;         /* GH_USAGE_* that is asked for; 0: none */
    X509 *renewed;                  /* the certificate that the PKCS#10 names as renewed */
    X509 *signer;                   /* whose signature stands beside that of the new key: of the
                                       old certificate, or of an enrolment agent */
    gh_bytes_t archived_key;        /* EnvelopedData with the new private key */
} wstep_token_t;

/**
 * Reads and verifies: proof of possession of the new key, and the signature of the old certificate
 * or agent, whose own validity is looked at by whom it may concern.
 * @param decoding as in gh_csr_parse()
 * @return APR_EINVAL (MALFORMED); GH_EREFUSED (INTEGRITY, ALGORITHM or REQUEST)
 */
apr_status_t wstep_token_read(wstep_token_t **token, gh_bytes_t der, OSSL_LIB_CTX *decoding,
                              apr_pool_t *p, gh_result_t *result);

/** A value by its name in any case; NULL if there is none, or several that differ. */
const char *wstep_token_value(const wstep_token_t *token, const char *name);

#endif /* mod_wstep_wstep_token_h */
