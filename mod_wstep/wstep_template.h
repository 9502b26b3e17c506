/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_template_h
#define mod_wstep_wstep_template_h

#include <apr_pools.h>
#include <apr_tables.h>

#include "directory/directory.h"
#include "mod_wstep/wstep_endpoint.h"
#include "mod_wstep/wstep_fault.h"
#include "mod_wstep/wstep_token.h"
#include "mod_wstep/xcep_policy.h"
#include "x509/profile.h"

/* A certificate template: what clients are told of it, who may have it, what comes out. */

/** A profile for requests with exactly these key usages. */
typedef struct {
    unsigned int usage;             /* GH_USAGE_* */
    const gh_profile_t *profile;
} wstep_usage_t;

struct wstep_template {
    const xcep_template_t *policy;  /* name, OID, version, minimal key, subject_flags, ... */
    const gh_profile_t *profile;    /* NULL: by the key usage of the request */
    const apr_array_header_t *usages;   /* wstep_usage_t, with profile NULL */
    int supply_subject;             /* 1: the request's subject counts, if subject_flags say so */
    int supply_names;               /* 1: its alternative names, likewise */
    int everybody;                  /* 1: whoever is authenticated may enrol */
    const apr_array_header_t *users;    /* const char *: "DOMAIN\user", "user@domain", or "user"
                                           where there are no domains; NULL: none */
    const apr_array_header_t *groups;   /* const char *: DNs in the directory; NULL: none */
    int in_directory;               /* 1: it is Active Directory's, see wstep_catalogue.h */
    gh_bytes_t descriptor;          /* with in_directory: who may, besides users and groups */
    int auto_enroll;                /* 1: clients may do it by themselves */
    int on_behalf;                  /* 1: enrolment agents may ask for others */
    const apr_array_header_t *agents;   /* const char *: DNs of groups that agents have to be in;
                                           NULL: the agent's certificate is enough */
};

/** Checks a template once it is complete. @return APR_EINVAL with result */
apr_status_t wstep_template_check(const wstep_template_t *template, apr_pool_t *p,
                                  gh_result_t *result);

/**
 * The template that a request names, of those offered.
 * @param kind of the fault
 * @return GH_EREFUSED with result: none is named, one that is not offered, an older version, two
 *         that contradict each other
 */
apr_status_t wstep_template_find(const wstep_template_t **template,
                                 const apr_array_header_t *templates, const wstep_token_t *token,
                                 const char *item, wstep_fault_kind_t *kind, gh_result_t *result);

/** @param account of the caller, or NULL: there is no directory
 *  @return 1 if a caller may have certificates by a template */
int wstep_template_permits(const wstep_template_t *template, const wstep_user_t *user,
                           const gh_directory_account_t *account, apr_pool_t *p);

/** @return 1 if the clients of somebody who may have them are to ask for them by themselves */
int wstep_template_auto(const wstep_template_t *template, const gh_directory_account_t *account);

/** The profile for a request. @return GH_EREFUSED if no profile is for its key usage */
apr_status_t wstep_template_profile(const gh_profile_t **profile, const wstep_template_t *template,
                                    const wstep_token_t *token, apr_pool_t *p,
                                    gh_result_t *result);

/** @return GH_EREFUSED (ALGORITHM) if the key is shorter than the template wants */
apr_status_t wstep_template_key(const wstep_template_t *template, const wstep_token_t *token,
                                gh_result_t *result);

/**
 * Whose certificate it is: subject, alternative names and the extensions that are stamped in
 * (template, security identifier), of the directory's account, or of the request where the template
 * has it supplied and that is allowed.
 * @param account whom the certificate is for; NULL: there is no directory, and what the caller is
 *        called is all that is known
 * @param parent appended to a subject that is made here; or NULL
 * @param given in p
 * @return GH_EREFUSED with result and kind: an attribute is missing
 */
apr_status_t wstep_template_names(const gh_given_names_t **given, const wstep_template_t *template,
                                  const wstep_token_t *token, const wstep_user_t *user,
                                  const gh_directory_account_t *account, const char *parent,
                                  wstep_fault_kind_t *kind, apr_pool_t *p, gh_result_t *result);

/** @return 1 if a certificate says that it was issued by a template, of whatever version */
int wstep_template_has_issued(const wstep_template_t *template, X509 *certificate, apr_pool_t *p);

/** As they are in the certificate that is renewed. */
apr_status_t wstep_template_keep_names(const gh_given_names_t **given,
                                       const wstep_template_t *template, X509 *old, apr_pool_t *p,
                                       gh_result_t *result);

#endif /* mod_wstep_wstep_template_h */
