/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>
#include <strings.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "status.h"
#include "x509/name.h"
#include "x509/profile_rules.h"

static int push_name(GENERAL_NAMES *names, GENERAL_NAME *name)
{
    if (name == NULL || sk_GENERAL_NAME_push(names, name) <= 0) {
        GENERAL_NAME_free(name);
        return 0;
    }
    return 1;
}

static apr_status_t take_names(GENERAL_NAMES *names, const GENERAL_NAMES *requested,
                               const gh_san_rules_t *rules)
{
    int i, count = requested != NULL ? sk_GENERAL_NAME_num(requested) : 0;

    for (i = 0; i < count; i++) {
        GENERAL_NAME *name = sk_GENERAL_NAME_value(requested, i);

        if ((rules->take & (1u << gh_san_type(name))) == 0)
            continue;
        if (!push_name(names, GENERAL_NAME_dup(name)))
            return APR_ENOMEM;
    }
    return APR_SUCCESS;
}

static apr_status_t set_names(GENERAL_NAMES *names, const gh_san_rules_t *rules,
                              const gh_profile_context_t *context, apr_pool_t *p,
                              gh_result_t *result)
{
    int i, j;

    for (i = 0; i < rules->set->nelts; i++) {
        const gh_set_rule_t *rule = &APR_ARRAY_IDX(rules->set, i, gh_set_rule_t);
        GENERAL_NAME *name = NULL;
        const char *value;
        apr_status_t rv = gh_profile_expand(&value, rule->expression, gh_san_type_name(rule->type),
                                            context, p, result);

        if (rv != APR_SUCCESS)
            return rv;
        if (gh_san_make(&name, gh_san_type_name(rule->type), value, NULL) != APR_SUCCESS)
            return GH_REFUSE(result, "profile.san", "check the expression of the profile",
                             GHNO(0156) "what the profile's expression gives cannot be a name of "
                             "type %s", gh_san_type_name(rule->type));
        for (j = sk_GENERAL_NAME_num(names) - 1; j >= 0; j--) {
            if (gh_san_type(sk_GENERAL_NAME_value(names, j)) == rule->type)
                GENERAL_NAME_free(sk_GENERAL_NAME_delete(names, j));
        }
        if (!push_name(names, name))
            return APR_ENOMEM;
    }
    return APR_SUCCESS;
}

/** @return 1 if a DNS name or an address with that text is there already */
static int has_host(const GENERAL_NAMES *names, const char *host, apr_pool_t *p)
{
    apr_array_header_t *texts = gh_san_texts(names, p);
    int i;

    for (i = 0; i < texts->nelts; i++) {
        const char *text = APR_ARRAY_IDX(texts, i, const char *);

        if ((strncmp(text, "DNS:", 4) == 0 && strcasecmp(text + 4, host) == 0)
            || (strncmp(text, "IP:", 3) == 0 && strcasecmp(text + 3, host) == 0))
            return 1;
    }
    return 0;
}

/** Adds each common name of the subject that is not there yet as a DNS name. */
static apr_status_t add_common_names(GENERAL_NAMES *names, const X509_NAME *subject, apr_pool_t *p,
                                     gh_result_t *result)
{
    int at = -1;

    while ((at = X509_NAME_get_index_by_NID((X509_NAME *)subject, NID_commonName, at)) >= 0) {
        ASN1_STRING *data = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
        unsigned char *utf8 = NULL;
        int length = ASN1_STRING_to_UTF8(&utf8, data);
        const char *host = length > 0 ? apr_pstrmemdup(p, (char *)utf8, (apr_size_t)length) : "";
        GENERAL_NAME *name = NULL;

        OPENSSL_free(utf8);
        if (has_host(names, host, p))
            continue;
        if (gh_san_make(&name, "dns", host, NULL) != APR_SUCCESS)
            return GH_REFUSE(result, "profile.san", "ask for a common name that is a DNS name",
                             GHNO(0157) "the profile makes a DNS name of each common name, and "
                             "\"%.100s\" is none", host);
        if (!push_name(names, name))
            return APR_ENOMEM;
    }
    return APR_SUCCESS;
}

static apr_status_t check_required(const GENERAL_NAMES *names, const gh_san_rules_t *rules,
                                   gh_result_t *result)
{
    unsigned int missing = rules->require;
    int i;

    for (i = 0; i < sk_GENERAL_NAME_num(names); i++)
        missing &= ~(1u << gh_san_type(sk_GENERAL_NAME_value(names, i)));
    for (i = 0; i < GH_SAN_TYPES; i++) {
        if (missing & (1u << i))
            return GH_REFUSE(result, "profile.san", "ask for a name of that type",
                             GHNO(0158) "the profile requires an alternative name of type %s",
                             gh_san_type_name((gh_san_type_t)i));
    }
    return APR_SUCCESS;
}

apr_status_t gh_profile_make_san(GENERAL_NAMES **names, const gh_profile_t *profile,
                                 const GENERAL_NAMES *requested, const X509_NAME *subject,
                                 const gh_profile_context_t *context, apr_pool_t *p,
                                 gh_result_t *result)
{
    const gh_san_rules_t *rules = &profile->san;
    GENERAL_NAMES *made = gh_own_general_names(p, GENERAL_NAMES_new());
    apr_status_t rv = made != NULL ? take_names(made, requested, rules) : APR_ENOMEM;

    *names = NULL;
    if (rv == APR_SUCCESS)
        rv = set_names(made, rules, context, p, result);
    if (rv == APR_SUCCESS && rules->from_cn)
        rv = add_common_names(made, subject, p, result);
    if (rv == APR_SUCCESS)
        rv = check_required(made, rules, result);
    if (rv == APR_SUCCESS && sk_GENERAL_NAME_num(made) > GH_SAN_MAX)
        rv = GH_REFUSE(result, "profile.san", "ask for fewer names",
                       GHNO(0159) "there would be more than %d subject alternative names",
                       GH_SAN_MAX);
    if (rv == APR_SUCCESS && sk_GENERAL_NAME_num(made) > 0)
        *names = made;
    ERR_clear_error();
    return rv;
}
