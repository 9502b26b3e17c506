/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "status.h"
#include "x509/key.h"
#include "x509/name.h"
#include "x509/profile_rules.h"
#include "x509/usages.h"

static apr_status_t check_key(const gh_profile_t *profile, const char *kind, int *ec,
                              gh_result_t *result)
{
    *ec = kind != NULL && kind[0] == 'P';
    if (!gh_profile_allows_key(profile, kind))
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_ALGORITHM, "profile.key",
                              "use a key that the profile lists: RSA with 2048, 3072 or 4096 bits, "
                              "P-256, P-384 or P-521",
                              GHNO(0160) "profile %s does not accept a key of kind %s",
                              profile->name, kind != NULL ? kind : "other");
    if (!(*ec ? profile->usage_ec_fits : profile->usage_rsa_fits))
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_ALGORITHM, "profile.key-usage",
                              "use a key of another kind, or ProfileKeyUsageMapping lenient",
                              GHNO(0161) "the key usage of profile %s does not fit a %s key",
                              profile->name, kind);
    return APR_SUCCESS;
}

/** What a request asks for counts in one way only: ProfileRequestedKeyUsage match. Otherwise the
 *  audit log says what it has not got. */
static apr_status_t check_usage(gh_plan_t *plan, const gh_profile_t *profile,
                                const gh_requested_t *requested, int ec, apr_pool_t *p,
                                gh_result_t *result)
{
    unsigned int given = gh_profile_map_usage(profile->key_usage, ec);

    if (!requested->key_usage_given || requested->key_usage == given)
        return APR_SUCCESS;
    if (profile->match_usage)
        return GH_REFUSE(result, "profile.key-usage",
                         "ask for the key usage of the profile or for none, or use another profile",
                         GHNO(0551) "the request asks for key usage %s, profile %s gives %s",
                         gh_usage_names(requested->key_usage, p), profile->name,
                         gh_usage_names(given, p));
    gh_plan_set_note(plan, apr_psprintf(p, "asked for key usage %s, got %s",
                                        gh_usage_names(requested->key_usage, p),
                                        gh_usage_names(given, p)));
    return APR_SUCCESS;
}

/** Copies an extension of the request bit by bit, not critical. */
static apr_status_t copy_extension(gh_plan_t *plan, const X509_EXTENSION *extension)
{
    X509_EXTENSION *copy = X509_EXTENSION_dup(extension);
    apr_status_t rv = APR_ENOMEM;

    if (copy != NULL && X509_EXTENSION_set_critical(copy, 0))
        rv = gh_plan_add_extension(plan, copy);
    X509_EXTENSION_free(copy);
    return rv;
}

static apr_status_t add_optional(gh_plan_t *plan, const X509_EXTENSION *extension)
{
    return extension != NULL ? gh_plan_add_extension(plan, extension) : APR_SUCCESS;
}

/** Adds the extensions that the profile decides. */
static apr_status_t add_fixed(gh_plan_t *plan, const gh_profile_t *profile, int ec)
{
    apr_status_t rv = gh_plan_add_extension(plan, profile->basic_constraints);

    if (rv == APR_SUCCESS)
        rv = add_optional(plan, ec ? profile->usage_ec : profile->usage_rsa);
    if (rv == APR_SUCCESS)
        rv = add_optional(plan, profile->eku_extension);
    if (rv == APR_SUCCESS)
        rv = add_optional(plan, profile->policies_extension);
    if (rv == APR_SUCCESS)
        rv = add_optional(plan, profile->no_check_extension);
    gh_plan_set_validity(plan, profile->validity);
    gh_plan_set_locations(plan, !profile->no_locations);
    return rv;
}

static apr_status_t add_names(gh_plan_t *plan, const gh_profile_t *profile, const gh_csr_t *csr,
                              const gh_requested_t *requested, const gh_profile_context_t *context,
                              apr_pool_t *p, gh_result_t *result)
{
    const gh_given_names_t *given = context != NULL ? context->given : NULL;
    GENERAL_NAMES *names = NULL;
    X509_NAME *subject = NULL;
    apr_status_t rv;

    rv = gh_profile_make_subject(&subject, profile,
                                 given != NULL ? given->subject : gh_csr_subject(csr), context, p,
                                 result);
    if (rv == APR_SUCCESS)
        rv = gh_profile_make_san(&names, profile, given != NULL ? given->names : requested->san,
                                 subject, context, p, result);
    if (rv != APR_SUCCESS)
        return rv;
    if (X509_NAME_entry_count(subject) == 0 && (names == NULL || profile->ca))
        return GH_REFUSE(result, "profile.subject",
                         "ask for a subject or a subject alternative name",
                         GHNO(0162) "the certificate would have neither subject nor subject "
                         "alternative name");
    rv = gh_plan_set_subject(plan, subject);
    /* RFC 5280 4.2.1.6: critical where the subject is empty. */
    if (rv == APR_SUCCESS && names != NULL)
        rv = gh_plan_add_value(plan, NID_subject_alt_name, X509_NAME_entry_count(subject) == 0,
                               names);
    return rv;
}

static apr_status_t add_requested(gh_plan_t *plan, const gh_requested_t *requested)
{
    apr_status_t rv = add_optional(plan, requested->eku_extension);
    int i;

    for (i = 0; rv == APR_SUCCESS && i < requested->copied->nelts; i++)
        rv = copy_extension(plan, APR_ARRAY_IDX(requested->copied, i, X509_EXTENSION *));
    return rv;
}

/** What somebody else than the request says, unless the profile has said it already. */
static apr_status_t add_given(gh_plan_t *plan, const gh_given_names_t *given)
{
    int i, count = given != NULL && given->extensions != NULL
        ? sk_X509_EXTENSION_num(given->extensions) : 0;
    apr_status_t rv = APR_SUCCESS;

    for (i = 0; rv == APR_SUCCESS && i < count; i++) {
        X509_EXTENSION *extension = sk_X509_EXTENSION_value(given->extensions, i);

        if (X509v3_get_ext_by_OBJ(gh_plan_extensions(plan), X509_EXTENSION_get_object(extension),
                                  -1) < 0)
            rv = gh_plan_add_extension(plan, extension);
    }
    return rv;
}

static apr_status_t internal_error(apr_status_t rv, gh_result_t *result)
{
    /* What was refused has said so; what remains is memory. */
    if (rv == APR_SUCCESS || rv == GH_EREFUSED)
        return rv;
    return gh_result_openssl(result, rv, GH_FAILURE_INTERNAL, "profile", NULL,
                             GHNO(0163) "the plan of a certificate cannot be made");
}

apr_status_t gh_profile_apply(gh_plan_t **plan, const gh_profile_t *profile, const gh_csr_t *csr,
                              const gh_profile_context_t *context, apr_pool_t *p,
                              gh_result_t *result)
{
    gh_plan_t *made = gh_plan_create(p);
    gh_requested_t requested;
    apr_status_t rv;
    int ec = 0;

    *plan = NULL;
    if (profile->internal || !profile->complete)
        return GH_REFUSE(result, "profile.internal", "use another profile",
                         GHNO(0164) "profile %s is for the CA's own use", profile->name);
    rv = check_key(profile, gh_csr_key_kind(csr), &ec, result);
    if (rv == APR_SUCCESS)
        rv = gh_profile_read_request(&requested, profile, csr, context, p, result);
    if (rv == APR_SUCCESS)
        rv = check_usage(made, profile, &requested, ec, p, result);
    if (rv == APR_SUCCESS)
        rv = gh_plan_set_public_key(made, gh_csr_public_key(csr));
    if (rv == APR_SUCCESS)
        rv = add_fixed(made, profile, ec);
    if (rv == APR_SUCCESS)
        rv = add_names(made, profile, csr, &requested, context, p, result);
    if (rv == APR_SUCCESS)
        rv = add_requested(made, &requested);
    if (rv == APR_SUCCESS)
        rv = add_given(made, context != NULL ? context->given : NULL);
    rv = internal_error(rv, result);
    if (rv == APR_SUCCESS)
        *plan = made;
    ERR_clear_error();
    return rv;
}

apr_status_t gh_profile_apply_own(gh_plan_t **plan, const gh_profile_t *profile, EVP_PKEY *key,
                                  const char *subject, apr_pool_t *p, gh_result_t *result)
{
    gh_plan_t *made = gh_plan_create(p);
    X509_NAME *name = NULL;
    apr_status_t rv;
    int ec = 0;

    *plan = NULL;
    if (!profile->complete)
        return internal_error(APR_EINVAL, result);
    rv = gh_name_parse(&name, subject, p, result);
    if (rv != APR_SUCCESS)
        return rv;
    if (X509_NAME_entry_count(name) == 0)
        return GH_REFUSE(result, "profile.subject", "give a subject",
                         GHNO(0165) "a certificate of our own needs a subject");
    rv = check_key(profile, gh_key_kind(key), &ec, result);
    if (rv == APR_SUCCESS)
        rv = gh_plan_set_key(made, key);
    if (rv == APR_SUCCESS)
        rv = gh_plan_set_subject(made, name);
    if (rv == APR_SUCCESS)
        rv = add_fixed(made, profile, ec);
    rv = internal_error(rv, result);
    if (rv == APR_SUCCESS)
        *plan = made;
    ERR_clear_error();
    return rv;
}
