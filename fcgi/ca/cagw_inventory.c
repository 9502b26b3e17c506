/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What a CA gateway tells of its CAs and their profiles. */

#include "fcgi/ca/cagw_private.h"

#include <string.h>
#include <strings.h>

#include <apr_strings.h>

#include "x509/san.h"

#define ID_MAX 256
#define NAME_MAX_SHOWN 200

static const char *copy_id(const json_t *object, apr_pool_t *p)
{
    const char *text = cagw_text(object, CAGW_ID);

    return text && *text && strlen(text) <= ID_MAX ? apr_pstrdup(p, text) : NULL;
}

static const char *copy_name(const json_t *object, const char *name, apr_pool_t *p)
{
    const char *text = cagw_text(object, name);

    return text ? cagw_printable(text, NAME_MAX_SHOWN, p) : NULL;
}

/** @return 0 if it has no id */
static int read_ca(cagw_ca_t *ca, const json_t *object, apr_pool_t *p)
{
    const json_t *certificate = json_object_get(object, CAGW_CERTIFICATE);

    memset(ca, 0, sizeof(*ca));
    ca->id = copy_id(object, p);
    ca->name = copy_name(object, CAGW_NAME, p);
    ca->connector = copy_name(json_object_get(object, CAGW_PROPERTIES), CAGW_CA_CONNECTOR, p);
    ca->certificate = cagw_certificate(json_is_string(certificate)
                                       ? json_string_value(certificate)
                                       : cagw_text(certificate, CAGW_CERTIFICATE_DATA), p);
    ca->chain = cagw_chain(json_object_get(object, CAGW_CHAIN), p);
    return ca->id != NULL;
}

apr_status_t cagw_read_cas(apr_array_header_t **cas, const cagw_reply_t *reply, apr_pool_t *p,
                           gh_result_t *result)
{
    const json_t *list = json_object_get(reply->json, CAGW_CA_LIST);
    json_t *element;
    size_t i;

    *cas = apr_array_make(p, 4, sizeof(cagw_ca_t *));
    if (!json_is_array(list) || json_array_size(list) > CAGW_LIST_MAX) {
        return cagw_malformed(result, "list of CAs");
    }
    json_array_foreach(list, i, element) {
        cagw_ca_t *ca = apr_palloc(p, sizeof(*ca));

        if (read_ca(ca, element, p)) {
            APR_ARRAY_PUSH(*cas, cagw_ca_t *) = ca;
        }
    }
    return APR_SUCCESS;
}

apr_status_t cagw_read_ca(cagw_ca_t *ca, const cagw_reply_t *reply, apr_pool_t *p,
                          gh_result_t *result)
{
    return read_ca(ca, json_object_get(reply->json, CAGW_CA), p) ? APR_SUCCESS
        : cagw_malformed(result, "CA");
}

apr_status_t cagw_read_ca_status(int *up, const char **status, const cagw_reply_t *reply,
                                 apr_pool_t *p, gh_result_t *result)
{
    const char *text = cagw_text(reply->json, CAGW_STATUS);

    *up = text && !strcasecmp(text, CAGW_STATUS_UP);
    *status = text ? cagw_printable(text, NAME_MAX_SHOWN, p) : NULL;
    return text && *text ? APR_SUCCESS : cagw_malformed(result, "status of the CA");
}

static void add_text(apr_array_header_t *texts, const json_t *value, apr_pool_t *p)
{
    if (json_is_string(value) && texts->nelts < CAGW_LIST_MAX) {
        APR_ARRAY_PUSH(texts, const char *) = cagw_printable(json_string_value(value),
                                                             NAME_MAX_SHOWN, p);
    }
}

apr_status_t cagw_read_ca_property(apr_array_header_t **values, const cagw_reply_t *reply,
                                   const char *name, apr_pool_t *p, gh_result_t *result)
{
    const json_t *information = json_object_get(reply->json, CAGW_CA_PROPERTIES);
    const json_t *properties = json_object_get(information, CAGW_PROPERTIES);
    const json_t *value = json_object_get(properties, name);
    json_t *element;
    size_t i;

    *values = apr_array_make(p, 2, sizeof(const char *));
    if (!json_is_object(properties)) {
        return cagw_malformed(result, "properties of the CA");
    }
    add_text(*values, value, p);
    json_array_foreach(value, i, element) {
        add_text(*values, element, p);
    }
    return APR_SUCCESS;
}

/** One of an array: its name, or an object with it. @return -1 if it is another */
static int read_element(const json_t *element, const char *name)
{
    const char *text = json_is_string(element) ? json_string_value(element)
        : cagw_text(element, CAGW_NAME);
    const json_t *value = json_object_get(element, CAGW_VALUE);

    return !text || strcasecmp(text, name) ? -1 : json_is_boolean(value) ? json_is_true(value) : 1;
}

/*
 * The guides name the capabilities and not how they are written: an object of booleans, an array of
 * names, and an array of objects are understood. An array that is there and has it not says no.
 */
int cagw_read_capability(const cagw_reply_t *reply, const char *name)
{
    const json_t *capabilities = json_object_get(reply->json, CAGW_CAPABILITIES);
    json_t *value;
    const char *key;
    size_t i;

    json_object_foreach((json_t *)capabilities, key, value) {
        if (!strcasecmp(key, name) && json_is_boolean(value)) {
            return json_is_true(value);
        }
    }
    json_array_foreach(capabilities, i, value) {
        int can = read_element(value, name);

        if (can >= 0) {
            return can;
        }
    }
    return json_array_size(capabilities) > 0 ? 0 : -1;
}

/** What of a list of requirements is required, by a member of each. */
static apr_array_header_t *read_required(const json_t *list, const char *name, apr_pool_t *p)
{
    apr_array_header_t *required = apr_array_make(p, 2, sizeof(const char *));
    json_t *element;
    size_t i;

    json_array_foreach(list, i, element) {
        if (json_is_true(json_object_get(element, CAGW_REQUIRED))) {
            add_text(required, json_object_get(element, name), p);
        }
    }
    return required;
}

static int read_profile(cagw_profile_t *profile, const json_t *object, apr_pool_t *p)
{
    profile->id = copy_id(object, p);
    profile->name = copy_name(object, CAGW_NAME, p);
    profile->variables = read_required(json_object_get(object, CAGW_PROFILE_VARIABLES), CAGW_NAME,
                                       p);
    profile->sans = read_required(json_object_get(object, CAGW_PROFILE_SANS), CAGW_TYPE, p);
    profile->properties = read_required(json_object_get(object, CAGW_PROFILE_PROPERTIES),
                                        CAGW_NAME, p);
    return profile->id != NULL;
}

apr_status_t cagw_read_profiles(apr_array_header_t **profiles, const cagw_reply_t *reply,
                                apr_pool_t *p, gh_result_t *result)
{
    const json_t *list = json_object_get(reply->json, CAGW_PROFILES);
    json_t *element;
    size_t i;

    *profiles = apr_array_make(p, 8, sizeof(cagw_profile_t *));
    if (!json_is_array(list) || json_array_size(list) > CAGW_LIST_MAX) {
        return cagw_malformed(result, "list of profiles");
    }
    json_array_foreach(list, i, element) {
        cagw_profile_t *profile = apr_palloc(p, sizeof(*profile));

        if (read_profile(profile, element, p)) {
            APR_ARRAY_PUSH(*profiles, cagw_profile_t *) = profile;
        }
    }
    return APR_SUCCESS;
}

apr_status_t cagw_read_profile(cagw_profile_t *profile, const cagw_reply_t *reply, apr_pool_t *p,
                               gh_result_t *result)
{
    return read_profile(profile, json_object_get(reply->json, CAGW_PROFILE), p) ? APR_SUCCESS
        : cagw_malformed(result, "profile");
}

/** By its name on the wire, and the one that older gateways misspell. */
static gh_san_type_t san_type(const char *name)
{
    static const struct {
        const char *name;
        gh_san_type_t type;
    } known[] = {
        { CAGW_SAN_DNS, GH_SAN_DNS }, { CAGW_SAN_EMAIL, GH_SAN_EMAIL }, { CAGW_SAN_IP, GH_SAN_IP },
        { CAGW_SAN_URI, GH_SAN_URI }, { CAGW_SAN_DIRECTORY, GH_SAN_DIRNAME },
        { CAGW_SAN_RID, GH_SAN_RID }, { CAGW_SAN_UPN, GH_SAN_UPN },
        { CAGW_SAN_UPN_MISSPELLED, GH_SAN_UPN }
    };
    apr_size_t i;

    for (i = 0; i < sizeof(known) / sizeof(known[0]); ++i) {
        if (!strcasecmp(name, known[i].name)) {
            return known[i].type;
        }
    }
    return GH_SAN_TYPES;
}

static int has_san(const GENERAL_NAMES *names, gh_san_type_t type)
{
    int i;

    for (i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
        if (gh_san_type(sk_GENERAL_NAME_value(names, i)) == type) {
            return 1;
        }
    }
    return 0;
}

static apr_status_t lacking(gh_result_t *result, const cagw_profile_t *profile, const char *kind,
                            const char *name)
{
    return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, "cagw.profile",
                          "Use another profile of the gateway, or have the request say it.",
                          GHNO(0830) "the gateway's profile %s requires the %s \"%s\"", profile->id,
                          kind, name);
}

static const char *missing_key(const apr_array_header_t *names, const apr_table_t *table)
{
    int i;

    for (i = 0; i < names->nelts; ++i) {
        const char *name = APR_ARRAY_IDX(names, i, const char *);

        if (!table || !apr_table_get(table, name)) {
            return name;
        }
    }
    return NULL;
}

apr_status_t cagw_check_profile(const cagw_profile_t *profile, const cagw_enrolment_t *enrolment,
                                apr_pool_t *p, gh_result_t *result)
{
    const char *missing = missing_key(profile->variables, enrolment->variables);
    int i;

    if (missing) {
        return lacking(result, profile, "subject variable", missing);
    }
    missing = missing_key(profile->properties, enrolment->properties);
    if (missing) {
        return lacking(result, profile, "property", missing);
    }
    for (i = 0; i < profile->sans->nelts && !enrolment->sans_from_csr; ++i) {
        const char *name = APR_ARRAY_IDX(profile->sans, i, const char *);
        gh_san_type_t type = san_type(name);

        /* what we do not know is left to the gateway */
        if (type < GH_SAN_TYPES && !has_san(enrolment->sans, type)) {
            return lacking(result, profile, "alternative name", name);
        }
    }
    return APR_SUCCESS;
}
