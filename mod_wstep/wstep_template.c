/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_wstep/wstep_template.h"

#include <string.h>
#include <strings.h>

#include <apr_strings.h>
#include <openssl/evp.h>

#include "directory/descriptor.h"
#include "log.h"
#include "status.h"
#include "x509/key.h"
#include "x509/usages.h"

/** Alternative names that are made of the account. */
#define SAN_BUILT (XCEP_SUBJECT_SAN_DNS | XCEP_SUBJECT_SAN_UPN | XCEP_SUBJECT_SAN_MAIL \
                   | XCEP_SUBJECT_SAN_SPN | XCEP_SUBJECT_SAN_GUID | XCEP_SUBJECT_SAN_DOMAIN_DNS)

#define REFUSE(result, failure, rule, action, ...) \
    gh_result_fail(result, GH_EREFUSED, failure, rule, action, __VA_ARGS__)

static apr_status_t misconfigured(const wstep_template_t *template, const char *what,
                                  gh_result_t *result)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "template.config",
                          "Correct what is configured of the template.",
                          GHNO(1427) "template %s: %s", template->policy->name, what);
}

apr_status_t wstep_template_check(const wstep_template_t *template, apr_pool_t *p,
                                  gh_result_t *result)
{
    const xcep_template_t *policy = template->policy;
    unsigned int built = XCEP_SUBJECT_CN | XCEP_SUBJECT_CN_DNS | XCEP_SUBJECT_DN;
    unsigned int chosen = policy->subject_flags & built;

    if (!template->profile && (!template->usages || template->usages->nelts == 0)) {
        return misconfigured(template, "it has no profile, and none for a key usage", result);
    }
    if (policy->oid && !xcep_oid_valid(policy->oid)) {
        return misconfigured(template, "its OID is none that Windows reads", result);
    }
    if (chosen & (chosen - 1)) {
        return misconfigured(template, "its subject is made in more than one way", result);
    }
    if (policy->subject_flags & XCEP_SUBJECT_SUPPLIED && chosen) {
        return misconfigured(template, "its subject is both supplied and made here", result);
    }
    if (policy->subject_flags & XCEP_SUBJECT_SUPPLIED && !template->supply_subject) {
        return misconfigured(template, "clients are told to supply the subject, which is not "
                                       "allowed here", result);
    }
    if (policy->subject_flags & XCEP_SUBJECT_SAN_SUPPLIED && !template->supply_names) {
        return misconfigured(template, "clients are told to supply names, which is not allowed "
                                       "here", result);
    }
    if (policy->renewal && policy->renewal >= policy->validity) {
        return misconfigured(template, "certificates would be renewed as soon as they are issued",
                             result);
    }
    if (policy->subject_flags & XCEP_SUBJECT_SAN_SUPPLIED
        && !(policy->subject_flags & XCEP_SUBJECT_SUPPLIED)) {
        return misconfigured(template, "names are supplied where the subject is not: supply both",
                             result);
    }
    if (policy->subject_flags & XCEP_SUBJECT_SUPPLIED && policy->subject_flags & SAN_BUILT) {
        return misconfigured(template, "names are made here where the subject is supplied: make "
                                       "both, or have both supplied", result);
    }
    if (policy->private_key_flags & XCEP_KEY_ARCHIVE) {
        return misconfigured(template, "archived keys are not served", result);
    }
    return APR_SUCCESS;
}

/* Which template */

static const wstep_template_t *named(const apr_array_header_t *templates, const char *name)
{
    int i;

    for (i = 0; i < templates->nelts; ++i) {
        const wstep_template_t *one = APR_ARRAY_IDX(templates, i, const wstep_template_t *);

        if (!strcasecmp(one->policy->name, name)
            || (one->policy->oid && !strcmp(one->policy->oid, name))) {
            return one;
        }
    }
    return NULL;
}

static apr_status_t check_version(const wstep_template_t *template, const wstep_token_t *token,
                                  wstep_fault_kind_t *kind, gh_result_t *result)
{
    if (!token->template_oid || token->template_major < 0
        || token->template_major == template->policy->major) {
        return APR_SUCCESS;
    }
    *kind = WSTEP_FAULT_TEMPLATE_VERSION;
    return REFUSE(result, GH_FAILURE_REQUEST, "template.version",
                  "Let the client ask for the policies again.",
                  GHNO(1421) "the request is for version %d of template %s, which is at version "
                  "%d", token->template_major, template->policy->name, template->policy->major);
}

apr_status_t wstep_template_find(const wstep_template_t **template,
                                 const apr_array_header_t *templates, const wstep_token_t *token,
                                 const char *item, wstep_fault_kind_t *kind, gh_result_t *result)
{
    const char *names[] = {
        token->template_oid, token->template_name,
        wstep_token_value(token, "CertificateTemplate"), item
    };
    const wstep_template_t *found = NULL;
    size_t i;

    *template = NULL;
    for (i = 0; i < sizeof(names) / sizeof(*names); ++i) {
        const wstep_template_t *one;

        if (!names[i]) {
            continue;
        }
        one = named(templates, names[i]);
        if (!one) {
            *kind = WSTEP_FAULT_TEMPLATE_UNKNOWN;
            return REFUSE(result, GH_FAILURE_REQUEST, "template.unknown",
                          "Let the client ask for the policies again, or offer the template here.",
                          GHNO(1419) "template %.100s is not offered here", names[i]);
        }
        if (found && found != one) {
            *kind = WSTEP_FAULT_TEMPLATE_CONFLICT;
            return REFUSE(result, GH_FAILURE_REQUEST, "template.conflict", "Name one template.",
                          GHNO(1420) "the request names the templates %s and %s",
                          found->policy->name, one->policy->name);
        }
        found = one;
    }
    if (!found) {
        *kind = WSTEP_FAULT_TEMPLATE_MISSING;
        return REFUSE(result, GH_FAILURE_REQUEST, "template.missing",
                      "Name one: in an extension of the request, or as CertificateTemplate.",
                      GHNO(1418) "the request names no template");
    }
    *template = found;
    return check_version(found, token, kind, result);
}

/* Who may */

static int is_text(const char *text, const char *begin, size_t length)
{
    return text && strlen(text) == length && !strncasecmp(text, begin, length);
}

static int is_domain(const wstep_domain_t *domain, const char *begin, size_t length)
{
    return domain && (is_text(domain->name, begin, length)
                      || is_text(domain->alias, begin, length));
}

/** @param entry "DOMAIN\\user", "user@domain", or "user" where there are no domains */
static int is_user(const char *entry, const wstep_user_t *user)
{
    const char *slash = strchr(entry, '\\'), *at = strrchr(entry, '@');

    if (slash) {
        return !strcasecmp(slash + 1, user->name)
               && is_domain(user->domain, entry, (size_t)(slash - entry));
    }
    if (at) {
        return is_text(user->name, entry, (size_t)(at - entry))
               && is_domain(user->domain, at + 1, strlen(at + 1));
    }
    return !strcasecmp(entry, user->name);
}

int wstep_template_permits(const wstep_template_t *template, const wstep_user_t *user,
                           const gh_directory_account_t *account, apr_pool_t *p)
{
    int i;

    if (!user->name || (account && account->disabled)) {
        return 0;
    }
    if (template->in_directory) {
        if (!account || !gh_directory_grants(template->descriptor, account->sids,
                                             GH_DIRECTORY_ENROLL)) {
            return 0;
        }
        if (!template->users && !template->groups) {
            return 1;
        }
    }
    if (template->everybody) {
        return 1;
    }
    for (i = 0; template->users && i < template->users->nelts; ++i) {
        if (is_user(APR_ARRAY_IDX(template->users, i, const char *), user)) {
            return 1;
        }
    }
    for (i = 0; account && template->groups && i < template->groups->nelts; ++i) {
        if (gh_directory_is_member(account, APR_ARRAY_IDX(template->groups, i, const char *), p)) {
            return 1;
        }
    }
    return 0;
}

int wstep_template_auto(const wstep_template_t *template, const gh_directory_account_t *account)
{
    return template->auto_enroll
           && (!template->in_directory
               || (account && gh_directory_grants(template->descriptor, account->sids,
                                                  GH_DIRECTORY_AUTOENROLL)));
}

/* What comes out */

apr_status_t wstep_template_profile(const gh_profile_t **profile, const wstep_template_t *template,
                                    const wstep_token_t *token, apr_pool_t *p,
                                    gh_result_t *result)
{
    int i;

    *profile = template->profile;
    for (i = 0; !*profile && i < template->usages->nelts; ++i) {
        const wstep_usage_t *one = &APR_ARRAY_IDX(template->usages, i, wstep_usage_t);

        if (one->usage == token->key_usage) {
            *profile = one->profile;
        }
    }
    if (*profile) {
        return APR_SUCCESS;
    }
    return REFUSE(result, GH_FAILURE_REQUEST, "template.usage",
                  "Ask for a key usage that has a profile, or configure one.",
                  GHNO(1422) "template %s has no profile for key usage %s",
                  template->policy->name, gh_usage_names(token->key_usage, p));
}

apr_status_t wstep_template_key(const wstep_template_t *template, const wstep_token_t *token,
                                gh_result_t *result)
{
    int bits = EVP_PKEY_get_bits(gh_csr_key(token->csr));

    if (bits >= template->policy->minimal_key) {
        return APR_SUCCESS;
    }
    return REFUSE(result, GH_FAILURE_ALGORITHM, "template.key",
                  "Make a longer key, of the kind that the template says.",
                  GHNO(1423) "the key has %d bits, template %s wants %d", bits,
                  template->policy->name, template->policy->minimal_key);
}
