/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_ca_cagw_codec_h
#define fcgi_ca_cagw_codec_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>
#include <jansson.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "result.h"
#include "text.h"

/*
 * The language of a CA gateway: from our terms to JSON and back. Pure functions, without network
 * and store; names are in cagw_names.h. What an answer has besides is ignored: gateways grow.
 * Everything lives in the pool that a function is given. Thread-safe.
 */

/** Longest answer that is read, and most elements of a list in it. */
#define CAGW_ANSWER_MAX ((apr_size_t)8 * 1024 * 1024)
#define CAGW_LIST_MAX 1000

/** What gateways spell differently. */
typedef struct {
    const char *selector;           /* name of the parameter that selects fields */
    const char *ca;                 /* its value for a CA with certificate and chain */
    const char *validity;           /* name of the member for the validity */
} cagw_spelling_t;

void cagw_spelling_default(cagw_spelling_t *spelling);

/* Requests */

typedef enum {
    CAGW_AS_X509 = 0,
    CAGW_AS_PEM,
    CAGW_AS_PKCS12
} cagw_format_t;

/** What is asked for; members that are NULL or 0 are not sent. */
typedef struct {
    const char *profile;            /* the gateway's id; required */
    gh_bytes_t request;             /* PKCS#10, DER or PEM; none with CAGW_AS_PKCS12, where the CA
                                       makes the key */
    cagw_format_t format;
    const char *password;           /* of a PKCS#12; only with CAGW_AS_PKCS12, then required */
    int include_ca;                 /* the chain in the answer, please */
    const char *subject;            /* RFC 4514, whole */
    const char *previous_subject;
    const GENERAL_NAMES *sans;
    int sans_from_csr;              /* 1: those of the CSR, please */
    const STACK_OF(X509_EXTENSION) *extensions; /* without those that a CA does not take from
                                                   requests, and without the alternative names */
    apr_time_t not_before;          /* both, or none */
    apr_time_t not_after;
    const char *duration;           /* instead of them: ISO 8601, "P30D" */
    const apr_table_t *variables;   /* of the subject builder, in this order */
    const apr_table_t *properties;
    const char *properties_prefix;  /* of the names of properties, "tracking." */
} cagw_enrolment_t;

/**
 * @param body without final NUL; overwritten with the pool, since it has what the CSR has
 * @return APR_EINVAL: a request that is no PKCS#10, a name that has no spelling, a PKCS#12 without
 *         password
 */
apr_status_t cagw_write_enrolment(gh_bytes_t *body, const cagw_enrolment_t *enrolment,
                                  const cagw_spelling_t *spelling, apr_pool_t *p,
                                  gh_result_t *result);

typedef enum {
    CAGW_REVOKE = 1,
    CAGW_HOLD,
    CAGW_RELEASE
} cagw_action_t;

/**
 * @param reason CRLReason or GH_REASON_NONE; not sent with a release
 * @param crl    1: a CRL at once, please; for the last of many
 */
apr_status_t cagw_write_action(gh_bytes_t *body, cagw_action_t action, int reason,
                               const char *comment, int crl, apr_pool_t *p, gh_result_t *result);

/** ISO 8601 of a time of at least a second: "P30D" if it is whole days, "PT90S" otherwise. */
const char *cagw_duration(apr_interval_time_t time, apr_pool_t *p);

/** Name of a reason on the wire; NULL: there is none. */
const char *cagw_reason_name(int reason);
/** The other way, in any case; GH_REASON_NONE for what is no reason. */
int cagw_reason_parse(const char *name);

/** Both spellings of a serial number that gateways take: hexadecimal, lower case with an even
 *  number of digits, then upper case without leading zero. const char * elements. */
apr_array_header_t *cagw_serial_spellings(gh_bytes_t serial, apr_pool_t *p);

/* Answers */

typedef enum {
    CAGW_DONE,                      /* 2xx with JSON that is no error: to be read */
    CAGW_REFUSED,                   /* the gateway has said no, for good */
    CAGW_MISSING,                   /* the gateway says that there is no such thing */
    CAGW_UNSUPPORTED,               /* the gateway or its CA cannot do that at all */
    CAGW_MISCONFIGURED,             /* nothing was done, and an operator has to do something */
    CAGW_BUSY,                      /* nothing was done, later it may be */
    CAGW_UNTOLD,                    /* the gateway does not tell what was done; it is not at work on
                                       it any more */
    CAGW_BROKEN,                    /* somebody does not tell what was done: what stands before the
                                       gateway, or the gateway of its CA. It may be done yet */
    CAGW_NOT_SENT                   /* of a call: the gateway has got nothing of it */
} cagw_verdict_t;

typedef struct {
    cagw_verdict_t verdict;
    const json_t *json;             /* an object; borrowed, released with the pool; or NULL */
    const char *code;               /* of an error, "cagw-4027"; or NULL */
    const char *message;            /* of an error, cut and printable; or NULL */
    const char *details;            /* of an error, for debugging: may show what is behind the
                                       gateway, and goes to no device; or NULL */
} cagw_reply_t;

/**
 * Reads the envelope of an answer.
 * @param status     of HTTP
 * @param retry_after 1 if the answer said when to come again
 * @param result     filled unless the verdict is CAGW_DONE; names the gateway's code and message,
 *                   never its details
 */
void cagw_read_reply(cagw_reply_t *reply, long status, gh_bytes_t body, int retry_after,
                     apr_pool_t *p, gh_result_t *result);

/** What has become of an enrolment. */
typedef struct {
    const char *id;                 /* or NULL */
    const char *serial;             /* as the gateway spells it, or NULL */
    int refused;                    /* 1: says that it was rejected */
    X509 *certificate;              /* NULL: not issued yet, or within the PKCS#12 */
    gh_bytes_t pkcs12;              /* data NULL: none */
    apr_array_header_t *chain;      /* X509 *; empty if it has none, or one cannot be read */
} cagw_enrolled_t;

/** @return APR_EINVAL for what is no answer to an enrolment, as CAGW_UNTOLD */
apr_status_t cagw_read_enrolled(cagw_enrolled_t *enrolled, const cagw_reply_t *reply,
                                cagw_format_t format, apr_pool_t *p, gh_result_t *result);

/** Opens a PKCS#12. @param key owned by p @return APR_EINVAL also if it asks for more work than is
 *  reasonable */
apr_status_t cagw_open_pkcs12(EVP_PKEY **key, X509 **certificate, apr_array_header_t **chain,
                              gh_bytes_t pkcs12, const char *password, apr_pool_t *p,
                              gh_result_t *result);

typedef enum {
    CAGW_STATUS_UNKNOWN = 0,        /* not said, or not understood */
    CAGW_STATUS_IS_NORMAL,
    CAGW_STATUS_IS_HELD,
    CAGW_STATUS_IS_REVOKED,
    CAGW_STATUS_IS_EXPIRED
} cagw_status_t;

typedef struct {
    X509 *certificate;              /* or NULL */
    const char *serial;             /* as the gateway spells it, or NULL */
    cagw_status_t status;
    int reason;                     /* of a revocation, or GH_REASON_NONE */
    apr_time_t revoked_at;          /* 0: not said, or not understood */
} cagw_certificate_t;

apr_status_t cagw_read_certificate(cagw_certificate_t *certificate, const cagw_reply_t *reply,
                                   apr_pool_t *p, gh_result_t *result);

/** @param rejected 1: the CA does not do it; COMPLETED and ACCEPTED are success */
apr_status_t cagw_read_action(int *rejected, const cagw_reply_t *reply, gh_result_t *result);

/** An event that has a certificate. What it says of its status is for lib/issuer/events.h. */
typedef struct {
    X509 *certificate;
    apr_time_t time;                /* 0: not said */
    int revoked;
} cagw_event_t;

typedef struct {
    apr_array_header_t *events;     /* cagw_event_t * */
    int skipped;                    /* malformed ones, and those without certificate */
    apr_time_t skipped_from;        /* the first of these; 0: one does not say when it was */
    apr_time_t skipped_until;       /* and the last; then this is latest */
    apr_time_t latest;              /* of all that say when they were; 0: none does */
    const char *cursor;             /* of the next page, or NULL */
    int more;                       /* and it is there now */
} cagw_events_t;

/** A page of events: one bad event costs no other. @return APR_EINVAL for what is no page */
apr_status_t cagw_read_events(cagw_events_t *page, const cagw_reply_t *reply, apr_pool_t *p,
                              gh_result_t *result);

typedef struct {
    const char *id;
    const char *name;               /* or NULL */
    const char *connector;          /* or NULL */
    X509 *certificate;              /* or NULL */
    apr_array_header_t *chain;      /* X509 *, perhaps empty */
} cagw_ca_t;

/** @param cas cagw_ca_t * elements; what has no id is left out */
apr_status_t cagw_read_cas(apr_array_header_t **cas, const cagw_reply_t *reply, apr_pool_t *p,
                           gh_result_t *result);
/** One CA, with certificate and chain if they were selected. */
apr_status_t cagw_read_ca(cagw_ca_t *ca, const cagw_reply_t *reply, apr_pool_t *p,
                          gh_result_t *result);
/** @param status the CA's own word, cut and printable @return in *up 1 for "UP" */
apr_status_t cagw_read_ca_status(int *up, const char **status, const cagw_reply_t *reply,
                                 apr_pool_t *p, gh_result_t *result);
/** Texts of one property of a CA, const char * elements; empty if it has none. */
apr_status_t cagw_read_ca_property(apr_array_header_t **values, const cagw_reply_t *reply,
                                   const char *name, apr_pool_t *p, gh_result_t *result);
/** @return 1 if it can, 0 if it says that it cannot, -1 if it does not say */
int cagw_read_capability(const cagw_reply_t *reply, const char *name);

typedef struct {
    const char *id;
    const char *name;               /* or NULL */
    apr_array_header_t *variables;  /* const char *: what the subject builder requires */
    apr_array_header_t *sans;       /* const char *: types of alternative names that are required */
    apr_array_header_t *properties; /* const char *: names of properties that are required */
} cagw_profile_t;

/** @param profiles cagw_profile_t * elements */
apr_status_t cagw_read_profiles(apr_array_header_t **profiles, const cagw_reply_t *reply,
                                apr_pool_t *p, gh_result_t *result);
apr_status_t cagw_read_profile(cagw_profile_t *profile, const cagw_reply_t *reply, apr_pool_t *p,
                               gh_result_t *result);

/** Whether an enrolment has what a profile requires. @return GH_EREFUSED naming what it lacks */
apr_status_t cagw_check_profile(const cagw_profile_t *profile, const cagw_enrolment_t *enrolment,
                                apr_pool_t *p, gh_result_t *result);

/** An ISO 8601 interval "start/end"; times may lack seconds.
 *  @return APR_EINVAL, also for an end that is not behind the start */
apr_status_t cagw_interval_parse(apr_time_t *start, apr_time_t *end, const char *text);

#endif /* fcgi_ca_cagw_codec_h */
