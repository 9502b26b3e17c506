/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_intune_intune_codec_h
#define fcgi_intune_intune_codec_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <jansson.h>

#include "result.h"
#include "text.h"

/* What is said to Entra ID, Graph and Intune, and what they answer. Bodies that hold a request hold
 * its challenge, a secret: they are overwritten with their pool. */

#define INTUNE_RULE "intune"

/** Largest answer that is looked at. */
#define INTUNE_ANSWER_MAX ((apr_size_t)1024 * 1024)

/** Most requests for revocation at a time. */
#define INTUNE_REVOCATIONS_MAX 500

typedef enum {
    INTUNE_DONE = 1,
    INTUNE_REFUSED,                 /* for good */
    INTUNE_UNAVAILABLE,             /* later */
    INTUNE_TOKEN,                   /* the token is not accepted: with another one */
    INTUNE_MOVED,                   /* nothing is there: discover anew */
    INTUNE_CREDENTIAL,              /* of Entra ID: with another credential */
    INTUNE_SCOPE,                   /* of Entra ID: the scope is not known as it is written */
    INTUNE_MISCONFIGURED            /* only an operator can mend it */
} intune_verdict_t;

/** What an answer of Intune amounts to. */
typedef struct {
    intune_verdict_t verdict;
    const char *code;               /* of ScepActions, printable; or NULL */
    const char *reason;             /* of a refusal, for device and operator; or NULL */
    const json_t *json;             /* the object; lives as long as the pool; or NULL */
} intune_answer_t;

typedef struct {
    const char *token;              /* a secret, overwritten with the pool */
    apr_interval_time_t lifetime;
} intune_token_t;

typedef struct {
    const char *scep;               /* URL without final slash; NULL: there is none */
    const char *revocation;         /* likewise */
} intune_services_t;

/** A request for revocation. */
typedef struct {
    const char *context;
    const char *serial;
    const char *issuer;             /* or NULL */
} intune_revocation_t;

/** What was issued, for a success notification. */
typedef struct {
    const char *thumbprint;
    const char *serial;
    const char *expires;
    const char *issuer;
} intune_issued_t;

/** Error classes of revocations. */
typedef enum {
    INTUNE_REVOKED = 0,
    INTUNE_ERROR_GENERAL = 4000,
    INTUNE_ERROR_DATA = 4001,
    INTUNE_ERROR_PARAMETER = 4002,
    INTUNE_ERROR_CRYPTOGRAPHY = 4003,
    INTUNE_ERROR_NOT_FOUND = 4004,
    INTUNE_ERROR_CONFLICT = 4005,
    INTUNE_ERROR_NOT_SUPPORTED = 4006,
    INTUNE_ERROR_TOO_LARGE = 4007,
    INTUNE_ERROR_RETRY = 4100,
    INTUNE_ERROR_UNAVAILABLE = 4101,
    INTUNE_ERROR_BUSY = 4102,
    INTUNE_ERROR_AUTHENTICATION = 4103
} intune_error_t;

typedef struct {
    const char *context;
    intune_error_t error;
    const char *message;            /* NULL of INTUNE_REVOKED */
} intune_result_t;

/* Writing. @return APR_EINVAL if something is not UTF-8, APR_EGENERAL */

apr_status_t intune_write_validation(gh_bytes_t *body, const char *transaction, gh_bytes_t request,
                                     apr_pool_t *p);
apr_status_t intune_write_success(gh_bytes_t *body, const char *transaction, gh_bytes_t request,
                                  const intune_issued_t *issued, apr_pool_t *p);
/** @param description cut to 255 characters */
apr_status_t intune_write_failure(gh_bytes_t *body, const char *transaction, gh_bytes_t request,
                                  apr_int64_t hresult, const char *description, apr_pool_t *p);
/** @param issuer NULL: of all */
apr_status_t intune_write_download(gh_bytes_t *body, int most, const char *issuer, apr_pool_t *p);
/** @param results intune_result_t */
apr_status_t intune_write_upload(gh_bytes_t *body, const apr_array_header_t *results,
                                 apr_pool_t *p);

/** The name of an error class. */
const char *intune_error_name(intune_error_t error);

/* Reading. All say in result what is the matter unless it is INTUNE_DONE. */

/** Entra ID's answer. @param token filled if INTUNE_DONE */
intune_verdict_t intune_read_token(intune_token_t *token, long status, gh_bytes_t body,
                                   apr_pool_t *p, gh_result_t *result);

/** Graph's answer. */
intune_verdict_t intune_read_services(intune_services_t *services, long status, gh_bytes_t body,
                                      apr_pool_t *p, gh_result_t *result);

/** The answer to validateRequest and to notifications. */
void intune_read_scep(intune_answer_t *answer, long status, gh_bytes_t body, apr_pool_t *p,
                      gh_result_t *result);

/** The answer to downloadRevocationRequests. @param list intune_revocation_t, at most
 *  INTUNE_REVOCATIONS_MAX; what cannot be answered is left out, and counted */
intune_verdict_t intune_read_revocations(apr_array_header_t **list, int *skipped, long status,
                                         gh_bytes_t body, apr_pool_t *p, gh_result_t *result);

/** The answer to uploadRevocationResults. */
intune_verdict_t intune_read_recorded(long status, gh_bytes_t body, apr_pool_t *p,
                                      gh_result_t *result);

/** Base64 in one line; overwritten with the pool. @return NULL without memory */
const char *intune_base64(gh_bytes_t bytes, int url, apr_pool_t *p);

/** Text that is overwritten with the pool. */
const char *intune_secret_text(const char *text, apr_size_t length, apr_pool_t *p);

#endif /* fcgi_intune_intune_codec_h */
