/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_x509_profile_rules_h
#define gatehouse_x509_profile_rules_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>
#include <openssl/x509v3.h>

#include "x509/own.h"
#include "x509/profile.h"
#include "x509/san.h"

/* What a profile consists of; for the profile_*.c files only. */

typedef enum {
    GH_EKU_NONE = 0,
    GH_EKU_FIXED,
    GH_EKU_REQUEST
} gh_eku_mode_t;

/** A value that an expression gives. */
typedef struct {
    const char *oid;            /* subject: the attribute */
    gh_san_type_t type;         /* SAN: the type */
    const char *expression;
} gh_set_rule_t;

typedef struct {
    int take_all;
    apr_array_header_t *take;       /* const char * OIDs, unless take_all */
    apr_array_header_t *require;    /* const char * OIDs */
    apr_array_header_t *set;        /* gh_set_rule_t */
    const char *template;           /* or NULL */
} gh_subject_rules_t;

typedef struct {
    unsigned int take;              /* bit per gh_san_type_t */
    unsigned int require;
    apr_array_header_t *set;        /* gh_set_rule_t */
    int from_cn;
} gh_san_rules_t;

#define GH_MODE_CSR (1u << 0)
#define GH_MODE_P12 (1u << 1)

struct gh_profile {
    const char *name;
    apr_array_header_t *aliases;            /* const char * */
    int key_usage_given;
    unsigned int key_usage;                 /* GH_USAGE_*; 0 with key_usage_given: no extension */
    int strict;                             /* ProfileKeyUsageMapping strict */
    int match_usage;                        /* ProfileRequestedKeyUsage match */
    gh_eku_mode_t eku_mode;
    apr_array_header_t *eku;                /* const char * OIDs */
    int eku_critical;
    apr_array_header_t *request_extensions; /* const char * OIDs */
    int strip_unlisted;
    unsigned int keys;                      /* bit per entry of gh_profile_key_kinds */
    apr_interval_time_t validity;
    int ca;
    int path_length;                        /* -1: none */
    apr_array_header_t *policies;           /* const char * OIDs */
    int ocsp_no_check;
    int no_locations;                       /* ProfileLocations off */
    gh_subject_rules_t subject;
    gh_san_rules_t san;
    int approval;
    unsigned int modes;
    int internal;
    int complete;

    /* Made once by gh_profile_complete(). */
    apr_array_header_t *expressions;
    X509_EXTENSION *basic_constraints;
    X509_EXTENSION *usage_rsa;              /* NULL: none, see usage_rsa_fits */
    X509_EXTENSION *usage_ec;
    int usage_rsa_fits;
    int usage_ec_fits;
    X509_EXTENSION *eku_extension;
    X509_EXTENSION *policies_extension;
    X509_EXTENSION *no_check_extension;
};

/** The six kinds, ended by NULL. */
extern const char *const gh_profile_key_kinds[];

/** What was understood of a request's extensions. */
typedef struct {
    GENERAL_NAMES *san;                     /* or NULL; owned by a pool */
    int key_usage_given;
    unsigned int key_usage;                 /* GH_USAGE_* */
    apr_array_header_t *eku;                /* const char * OIDs, or NULL */
    X509_EXTENSION *eku_extension;          /* as made from it, not critical */
    apr_array_header_t *copied;             /* X509_EXTENSION *, owned by the request */
} gh_requested_t;

/** The usage that fits a kind of key (RFC 5480 3, RFC 3279 2.3.1). */
unsigned int gh_profile_map_usage(unsigned int usage, int ec);

/** Rules as they are when nothing is configured: everything is taken, nothing required or set. */
void gh_profile_reset_subject(gh_profile_t *profile, apr_pool_t *p);
void gh_profile_reset_san(gh_profile_t *profile, apr_pool_t *p);

/** Refuses a request: GH_EREFUSED. */
#define GH_REFUSE(result, rule, action, ...) \
    gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, rule, action, __VA_ARGS__)

/** Looks at everything that a request asks for in extensions. */
apr_status_t gh_profile_read_request(gh_requested_t *requested, const gh_profile_t *profile,
                                     const gh_csr_t *csr, const gh_profile_context_t *context,
                                     apr_pool_t *p, gh_result_t *result);

/** Decides the subject. @param subject owned by p */
apr_status_t gh_profile_make_subject(X509_NAME **subject, const gh_profile_t *profile,
                                     const X509_NAME *requested,
                                     const gh_profile_context_t *context, apr_pool_t *p,
                                     gh_result_t *result);

/** Checks a template when it is configured. @return what is wrong with it, or NULL */
const char *gh_profile_check_template(const char *template, apr_pool_t *p);

/** Decides the names. @param names owned by p; NULL: none */
apr_status_t gh_profile_make_san(GENERAL_NAMES **names, const gh_profile_t *profile,
                                 const GENERAL_NAMES *requested, const X509_NAME *subject,
                                 const gh_profile_context_t *context, apr_pool_t *p,
                                 gh_result_t *result);

/** The extension for a list of OIDs, owned by the caller. */
X509_EXTENSION *gh_profile_make_eku(const apr_array_header_t *oids, int critical);

/** Evaluates an expression; an error and an empty value refuse the request. */
apr_status_t gh_profile_expand(const char **value, const char *expression, const char *what,
                               const gh_profile_context_t *context, apr_pool_t *p,
                               gh_result_t *result);

/* The "never" list (profile_never.c) */

/** @return the item that names an extended key usage on the list, or NULL if it is not on it */
const char *gh_never_eku(const char *oid);
/** @return 1 if a location has lifted it */
int gh_never_is_lifted(const gh_allowances_t *allowances, const char *oid);
/** Checks an EKU or application policy that a request asks for. */
apr_status_t gh_never_check_usage(const char *oid, const char *rule,
                                  const gh_allowances_t *allowances, gh_result_t *result);
/** Checks the attributes of a subject or directory name. */
apr_status_t gh_never_check_subject(const X509_NAME *name, const gh_allowances_t *allowances,
                                    apr_pool_t *p, gh_result_t *result);
/** Checks a subject alternative name. */
apr_status_t gh_never_check_name(const GENERAL_NAME *name, const gh_allowances_t *allowances,
                                 apr_pool_t *p, gh_result_t *result);

#endif /* gatehouse_x509_profile_rules_h */
