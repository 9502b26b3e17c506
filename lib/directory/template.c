/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "directory/template.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#include "directory/directory_private.h"

#define CONTAINER "CN=Certificate Templates,CN=Public Key Services,CN=Services,"

static const char *const template_attributes[] = {
    "cn", "displayName", "flags", "msPKI-Cert-Template-OID", "msPKI-Certificate-Name-Flag",
    "msPKI-Enrollment-Flag", "msPKI-Minimal-Key-Size", "msPKI-Private-Key-Flag",
    "msPKI-RA-Signature", "msPKI-Template-Minor-Revision", "msPKI-Template-Schema-Version",
    "nTSecurityDescriptor", "pKIDefaultCSPs", "pKIDefaultKeySpec", "pKIExpirationPeriod",
    "pKIExtendedKeyUsage", "pKIOverlapPeriod", "revision", NULL
};

/** Numbers of the directory have 32 bits and a sign, also where they are flags. */
static apr_int64_t number_of(const gh_directory_entry_t *entry, const char *name)
{
    const char *text = gh_directory_entry_text(entry, name);
    char *end = NULL;
    long long number = text ? strtoll(text, &end, 10) : 0;

    return !text || end == text || *end || number < APR_INT32_MIN || number > APR_UINT32_MAX
        ? 0 : number;
}

static int count_of(const gh_directory_entry_t *entry, const char *name)
{
    apr_int64_t number = number_of(entry, name);

    return number < 0 || number > APR_INT32_MAX ? 0 : (int)number;
}

static unsigned int flags_of(const gh_directory_entry_t *entry, const char *name)
{
    return (unsigned int)(number_of(entry, name) & 0xffffffff);
}

/** Eight bytes, the last one first: how many 100 nanoseconds ago (MS-CRTD 2.14). */
static apr_int64_t period_of(const gh_directory_entry_t *entry, const char *name)
{
    const apr_array_header_t *values = gh_directory_entry_values(entry, name);
    apr_uint64_t number = 0;
    gh_bytes_t value;
    int i;

    if (!values) {
        return 0;
    }
    value = APR_ARRAY_IDX(values, 0, gh_bytes_t);
    for (i = 7; value.length == 8 && i >= 0; --i) {
        number = number << 8 | value.data[i];
    }
    /* of a negative number */
    return number >> 63 ? (apr_int64_t)((~number + 1) / 10000000) : 0;
}

static int by_number(const void *a, const void *b)
{
    long first = strtol(*(const char *const *)a, NULL, 10);
    long second = strtol(*(const char *const *)b, NULL, 10);

    return (first > second) - (first < second);
}

/** "1,Microsoft Software Key Storage Provider": values of the directory have no order. */
static const apr_array_header_t *providers_of(const gh_directory_entry_t *entry, apr_pool_t *p)
{
    const apr_array_header_t *numbered = gh_directory_entry_texts(entry, "pKIDefaultCSPs", p);
    apr_array_header_t *names;
    int i;

    if (!numbered) {
        return NULL;
    }
    qsort(numbered->elts, (size_t)numbered->nelts, sizeof(const char *), by_number);
    names = apr_array_make(p, numbered->nelts, sizeof(const char *));
    for (i = 0; i < numbered->nelts; ++i) {
        const char *comma = strchr(APR_ARRAY_IDX(numbered, i, const char *), ',');

        if (comma && comma[1]) {
            APR_ARRAY_PUSH(names, const char *) = comma + 1;
        }
    }
    return names->nelts ? names : NULL;
}

static void take_template(gh_directory_template_t *template, const gh_directory_entry_t *entry,
                          apr_pool_t *p)
{
    const apr_array_header_t *descriptors = gh_directory_entry_values(entry,
                                                                      "nTSecurityDescriptor");

    memset(template, 0, sizeof(*template));
    template->name = gh_directory_entry_text(entry, "cn");
    template->display_name = gh_directory_entry_text(entry, "displayName");
    template->oid = gh_directory_entry_text(entry, "msPKI-Cert-Template-OID");
    template->schema = count_of(entry, "msPKI-Template-Schema-Version");
    template->schema = template->schema ? template->schema : 1;
    template->major = count_of(entry, "revision");
    template->minor = count_of(entry, "msPKI-Template-Minor-Revision");
    template->validity = period_of(entry, "pKIExpirationPeriod");
    template->renewal = period_of(entry, "pKIOverlapPeriod");
    template->minimal_key = count_of(entry, "msPKI-Minimal-Key-Size");
    template->key_spec = count_of(entry, "pKIDefaultKeySpec");
    template->general_flags = flags_of(entry, "flags");
    template->subject_flags = flags_of(entry, "msPKI-Certificate-Name-Flag");
    template->enrolment_flags = flags_of(entry, "msPKI-Enrollment-Flag");
    template->private_key_flags = flags_of(entry, "msPKI-Private-Key-Flag");
    template->ra_signatures = count_of(entry, "msPKI-RA-Signature");
    template->usages = gh_directory_entry_texts(entry, "pKIExtendedKeyUsage", p);
    template->providers = providers_of(entry, p);
    if (descriptors) {
        template->descriptor = APR_ARRAY_IDX(descriptors, 0, gh_bytes_t);
    }
}

/** Where the forest keeps what is of all its domains. */
static apr_status_t find_configuration(const char **dn, gh_directory_t *directory, apr_time_t end,
                                       apr_pool_t *p, gh_result_t *result)
{
    static const char *const attributes[] = { "configurationNamingContext", NULL };
    const gh_directory_query_t query = {
        .base = "", .one = 1, .filter = "(objectClass=*)", .attributes = attributes
    };
    apr_array_header_t *entries;
    apr_status_t rv = gh_directory_search(&entries, directory, &query, 1, end, p, result);

    *dn = rv == APR_SUCCESS && entries->nelts == 1
        ? gh_directory_entry_text(APR_ARRAY_IDX(entries, 0, gh_directory_entry_t *),
                                  "configurationNamingContext") : NULL;
    if (!*dn) {
        *dn = apr_pstrcat(p, "CN=Configuration,", directory->config->base, NULL);
    }
    return rv;
}

apr_status_t gh_directory_templates(const apr_array_header_t **templates,
                                    gh_directory_t *directory, apr_pool_t *p, gh_result_t *result)
{
    apr_array_header_t *found = apr_array_make(p, 16, sizeof(gh_directory_template_t));
    apr_time_t end = apr_time_now() + directory->deadline;
    gh_directory_query_t query = {
        .filter = "(objectClass=pKICertificateTemplate)", .attributes = template_attributes,
        .descriptors = 1
    };
    apr_array_header_t *entries = NULL;
    const char *configuration;
    apr_status_t rv = gh_directory_enter(directory, result);
    int i;

    *templates = found;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = find_configuration(&configuration, directory, end, p, result);
    if (rv == APR_SUCCESS) {
        query.base = apr_pstrcat(p, CONTAINER, configuration, NULL);
        rv = gh_directory_search(&entries, directory, &query, ENTRIES_MAX, end, p, result);
    }
    gh_directory_leave(directory);
    for (i = 0; rv == APR_SUCCESS && i < entries->nelts; ++i) {
        gh_directory_template_t one;

        take_template(&one, APR_ARRAY_IDX(entries, i, gh_directory_entry_t *), p);
        if (one.name) {
            APR_ARRAY_PUSH(found, gh_directory_template_t) = one;
        }
    }
    return rv;
}
