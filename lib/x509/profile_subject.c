/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>
#include <strings.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/x509.h>

#include "status.h"
#include "x509/name.h"
#include "x509/name_attributes.h"
#include "x509/profile_rules.h"
#include "x509/template.h"
#include "x509/usages.h"

#define TEMPLATE_MAX    1024

apr_status_t gh_profile_expand(const char **value, const char *expression, const char *what,
                               const gh_profile_context_t *context, apr_pool_t *p,
                               gh_result_t *result)
{
    *value = NULL;
    if (context != NULL && context->expand != NULL
        && context->expand(context->expand_baton, expression, p, value) == APR_SUCCESS
        && *value != NULL && **value != '\0')
        return APR_SUCCESS;
    return GH_REFUSE(result, "profile.expression",
                     "check the expression of the profile, and whether the client is authenticated",
                     GHNO(0150) "the profile's expression for %s gives no value for this request",
                     what);
}

/** Takes the attributes that the profile lists. */
static int take_attributes(X509_NAME *subject, const X509_NAME *requested,
                           const gh_subject_rules_t *rules)
{
    int i, last_set = -1;

    for (i = 0; i < X509_NAME_entry_count(requested); i++) {
        X509_NAME_ENTRY *entry = X509_NAME_get_entry(requested, i);
        char oid[GH_OID_SIZE];
        int set = X509_NAME_ENTRY_set(entry);

        if (!gh_oid_copy(oid, X509_NAME_ENTRY_get_object(entry)))
            return 0;
        if (!rules->take_all && !gh_texts_contain(rules->take, oid))
            continue;
        if (!X509_NAME_add_entry(subject, entry, -1, set == last_set ? -1 : 0))
            return 0;
        last_set = set;
    }
    return 1;
}

/** Where an attribute goes that the subject does not have yet: before what is more specific. */
static int place_by_rank(const X509_NAME *subject, const char *oid)
{
    const gh_attribute_t *attribute = gh_attribute_by_alias(oid);
    int rank = attribute != NULL ? attribute->rank : GH_ATTRIBUTE_RANK_OTHER;
    int i;

    for (i = 0; i < X509_NAME_entry_count(subject); i++) {
        X509_NAME_ENTRY *entry = X509_NAME_get_entry(subject, i);

        attribute = gh_attribute_by_object(X509_NAME_ENTRY_get_object(entry));
        if ((attribute != NULL ? attribute->rank : GH_ATTRIBUTE_RANK_OTHER) > rank)
            break;
    }
    return i;
}

/** Replaces all values of an attribute by one. */
static int set_attribute(X509_NAME *subject, const char *oid, const char *value)
{
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    ASN1_STRING *string = gh_attribute_value(gh_attribute_by_alias(oid), value, strlen(value));
    int place = -1, at, done = 0;

    if (object == NULL || string == NULL)
        goto cleanup;
    while ((at = X509_NAME_get_index_by_OBJ(subject, object, -1)) >= 0) {
        if (place < 0)
            place = at;
        X509_NAME_ENTRY_free(X509_NAME_delete_entry(subject, at));
    }
    if (place < 0)
        place = place_by_rank(subject, oid);
    /* Never into the middle of a multi-valued RDN. */
    while (place > 0 && place < X509_NAME_entry_count(subject)
           && X509_NAME_ENTRY_set(X509_NAME_get_entry(subject, place - 1))
           == X509_NAME_ENTRY_set(X509_NAME_get_entry(subject, place)))
        place--;
    done = X509_NAME_add_entry_by_OBJ(subject, object, ASN1_STRING_type(string),
                                      ASN1_STRING_get0_data(string), ASN1_STRING_length(string),
                                      place, 0);

cleanup:
    ASN1_STRING_free(string);
    ASN1_OBJECT_free(object);
    return done;
}

static apr_status_t set_attributes(X509_NAME *subject, const gh_subject_rules_t *rules,
                                   const gh_profile_context_t *context, apr_pool_t *p,
                                   gh_result_t *result)
{
    int i;

    for (i = 0; i < rules->set->nelts; i++) {
        const gh_set_rule_t *rule = &APR_ARRAY_IDX(rules->set, i, gh_set_rule_t);
        const char *value;
        apr_status_t rv = gh_profile_expand(&value, rule->expression, rule->oid, context, p,
                                            result);

        if (rv != APR_SUCCESS)
            return rv;
        if (!set_attribute(subject, rule->oid, value))
            return GH_REFUSE(result, "profile.subject", "check the expression of the profile",
                             GHNO(0151) "what the profile's expression gives cannot be a value of "
                             "subject attribute %s", rule->oid);
    }
    return APR_SUCCESS;
}

/* Templates: RFC 4514 text with <attribute> or <attribute.N> in it */

/** Splits "cn.2" into attribute and index. @return NULL for an unknown attribute */
static ASN1_OBJECT *split_placeholder(const char *name, int *index, apr_pool_t *p)
{
    const char *dot = strrchr(name, '.');

    *index = 1;
    if (dot != NULL && apr_isalpha(name[0])) {
        if (strlen(dot) != 2 || dot[1] < '1' || dot[1] > '9')
            return NULL;
        *index = dot[1] - '0';
        name = apr_pstrmemdup(p, name, (apr_size_t)(dot - name));
    }
    /* What people call them */
    if (strcasecmp(name, "firstname") == 0)
        name = "givenName";
    else if (strcasecmp(name, "lastname") == 0)
        name = "surName";
    return gh_attribute_object(name);
}

static const char *value_from_name(void *baton, const char *name, apr_pool_t *p)
{
    X509_NAME *subject = baton;
    unsigned char *utf8 = NULL;
    const char *value = NULL;
    int index, at = -1, length;
    ASN1_OBJECT *object = split_placeholder(name, &index, p);

    if (object == NULL)
        return NULL;
    while (index-- > 0) {
        at = X509_NAME_get_index_by_OBJ(subject, object, at);
        if (at < 0)
            break;
    }
    if (at >= 0) {
        length = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(
                                         X509_NAME_get_entry(subject, at)));
        if (length > 0)
            value = apr_pstrmemdup(p, (const char *)utf8, (apr_size_t)length);
        OPENSSL_free(utf8);
    }
    ASN1_OBJECT_free(object);
    return value;
}

/** Stands for any value while a template is checked. */
static const char *any_value(void *baton, const char *name, apr_pool_t *p)
{
    int index;
    ASN1_OBJECT *object = split_placeholder(name, &index, p);
    const char *value = object != NULL ? "XX" : NULL;

    ASN1_OBJECT_free(object);
    return value;
}

const char *gh_profile_check_template(const char *template, apr_pool_t *p)
{
    const char *failed, *filled;
    X509_NAME *name;

    if (strlen(template) > TEMPLATE_MAX)
        return "the template is longer than 1024 bytes";
    filled = gh_template_fill(template, any_value, NULL, 1, &failed, p);
    if (filled == NULL && failed != NULL)
        return apr_psprintf(p, "the template has the placeholder <%s>, which is no subject "
                            "attribute", failed);
    if (filled == NULL || gh_name_parse(&name, filled, p, NULL) != APR_SUCCESS
        || X509_NAME_entry_count(name) == 0)
        return "the template is not a name like \"cn=<cn>,o=Example\" (RFC 4514)";
    return NULL;
}

static apr_status_t apply_template(X509_NAME **subject, const char *template, apr_pool_t *p,
                                   gh_result_t *result)
{
    const char *failed;
    const char *filled = gh_template_fill(template, value_from_name, *subject, 1, &failed,
                                          p);

    if (filled == NULL)
        return GH_REFUSE(result, "profile.subject", "ask for a subject that has it",
                         GHNO(0152) "the profile's subject template needs <%s>, which the request "
                         "does not give", failed != NULL ? failed : "?");
    if (gh_name_parse(subject, filled, p, result) != APR_SUCCESS)
        return GH_REFUSE(result, "profile.subject", "ask for a shorter subject",
                         GHNO(0153) "the profile's subject template gives no valid name");
    return APR_SUCCESS;
}

static apr_status_t check_required(X509_NAME *subject, const gh_subject_rules_t *rules,
                                   gh_result_t *result)
{
    int i;

    for (i = 0; i < rules->require->nelts; i++) {
        const char *oid = APR_ARRAY_IDX(rules->require, i, const char *);
        ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
        int found = object != NULL && X509_NAME_get_index_by_OBJ(subject, object, -1) >= 0;

        ASN1_OBJECT_free(object);
        if (!found) {
            const gh_attribute_t *attribute = gh_attribute_by_alias(oid);

            return GH_REFUSE(result, "profile.subject", "ask for a subject that has it",
                             GHNO(0154) "the profile requires subject attribute %s",
                             attribute != NULL ? attribute->aliases[0] : oid);
        }
    }
    return APR_SUCCESS;
}

apr_status_t gh_profile_make_subject(X509_NAME **subject, const gh_profile_t *profile,
                                     const X509_NAME *requested,
                                     const gh_profile_context_t *context, apr_pool_t *p,
                                     gh_result_t *result)
{
    const gh_subject_rules_t *rules = &profile->subject;
    X509_NAME *conforming, *made = gh_own_name(p, X509_NAME_new());
    apr_status_t rv;

    *subject = NULL;
    rv = gh_never_check_subject(requested, context != NULL ? context->allowances : NULL, p, result);
    if (rv != APR_SUCCESS)
        return rv;
    conforming = gh_own_name(p, gh_name_conform(requested, result));
    if (conforming == NULL)
        return GH_EREFUSED;
    if (made == NULL || !take_attributes(made, conforming, rules)) {
        ERR_clear_error();
        return GH_REFUSE(result, "profile.subject", "correct the subject",
                         GHNO(0155) "the subject of the request cannot be taken");
    }
    rv = set_attributes(made, rules, context, p, result);
    if (rv == APR_SUCCESS && rules->template != NULL)
        rv = apply_template(&made, rules->template, p, result);
    if (rv == APR_SUCCESS)
        rv = check_required(made, rules, result);
    if (rv == APR_SUCCESS)
        *subject = made;
    return rv;
}
