/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What an account is a member of, directly or through other groups. */

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <apr_strings.h>

#include "directory/directory_private.h"

/** Of Active Directory: follows membership through groups (MS-ADTS 3.1.1.3.4.4.3). */
#define IN_CHAIN ":1.2.840.113556.1.4.1941:"

/** Capability by which Active Directory says what it is (MS-ADTS 3.1.1.3.4.3.1). */
#define IS_ACTIVE_DIRECTORY "1.2.840.113556.1.4.800"

/** Groups of groups that are looked at one by one, where the server does not follow them. */
#define GROUPS_MAX 100

/* Names */

/** A DN in one way of writing it, in p; as it is if it is none. */
static const char *normal_dn(const char *text, apr_pool_t *p)
{
    const char *normal = text;
    LDAPDN dn = NULL;
    char *written = NULL;

    if (ldap_str2dn(text, &dn, LDAP_DN_FORMAT_LDAPV3) == LDAP_SUCCESS && dn
        && ldap_dn2str(dn, &written, LDAP_DN_FORMAT_LDAPV3) == LDAP_SUCCESS) {
        normal = apr_pstrdup(p, written);
    }
    ldap_memfree(written);
    ldap_dnfree(dn);
    return normal;
}

static int has_dn(const apr_array_header_t *names, const char *dn)
{
    int i;

    for (i = 0; i < names->nelts; ++i) {
        if (!strcasecmp(APR_ARRAY_IDX(names, i, const char *), dn)) {
            return 1;
        }
    }
    return 0;
}

static void add_dn(apr_array_header_t *names, const char *text, apr_pool_t *p)
{
    const char *dn = normal_dn(text, p);

    if (!has_dn(names, dn)) {
        APR_ARRAY_PUSH(names, const char *) = dn;
    }
}

int gh_directory_is_member(const gh_directory_account_t *account, const char *group,
                           apr_pool_t *p)
{
    return has_dn(account->groups, normal_dn(group, p));
}

/* Groups */

static const apr_array_header_t *values_of(const gh_directory_entry_t *entry, const char *name)
{
    return entry ? gh_directory_entry_values(entry, name) : NULL;
}

static void add_groups(apr_array_header_t *groups, const gh_directory_entry_t *entry,
                       apr_pool_t *p)
{
    const apr_array_header_t *values = values_of(entry, "memberOf");
    int i;

    for (i = 0; values && i < values->nelts; ++i) {
        gh_bytes_t value = APR_ARRAY_IDX(values, i, gh_bytes_t);

        if (!memchr(value.data, '\0', value.length)) {
            add_dn(groups, (const char *)value.data, p);
        }
    }
}

/** memberOf leaves out the primary group, which "Domain Computers" is of every computer. */
static apr_status_t add_primary_group(apr_array_header_t *groups, gh_directory_lookup_t *lookup,
                                      const gh_directory_entry_t *account)
{
    static const char *const attributes[] = { "memberOf", NULL };
    const char *relative = gh_directory_entry_text(account, "primaryGroupID");
    const apr_array_header_t *sids = values_of(account, "objectSid");
    gh_directory_query_t query = { .attributes = attributes };
    apr_array_header_t *entries;
    unsigned char *group;
    apr_uint64_t id;
    gh_bytes_t sid;
    char *end;
    apr_status_t rv;

    if (!relative || !sids) {
        return APR_SUCCESS;
    }
    sid = APR_ARRAY_IDX(sids, 0, gh_bytes_t);
    id = strtoul(relative, &end, 10);
    if (*end || id > APR_UINT32_MAX || !gh_directory_sid_text(sid, lookup->p) || !sid.data[1]) {
        return APR_SUCCESS;
    }
    group = apr_pmemdup(lookup->p, sid.data, sid.length);
    group[sid.length - 4] = (unsigned char)id;
    group[sid.length - 3] = (unsigned char)(id >> 8);
    group[sid.length - 2] = (unsigned char)(id >> 16);
    group[sid.length - 1] = (unsigned char)(id >> 24);
    sid.data = group;
    query.filter = apr_psprintf(lookup->p, "(objectSid=%s)",
                                gh_directory_escape_bytes(sid, lookup->p));
    rv = gh_directory_search(&entries, lookup->directory, &query, 1, lookup->end, lookup->p,
                             lookup->result);
    if (rv == APR_SUCCESS && entries->nelts == 1) {
        const gh_directory_entry_t *entry = APR_ARRAY_IDX(entries, 0, gh_directory_entry_t *);

        add_dn(groups, entry->dn, lookup->p);
        add_groups(groups, entry, lookup->p);
    }
    return rv;
}

static apr_status_t is_active_directory(int *is, gh_directory_lookup_t *lookup)
{
    static const char *const attributes[] = { "supportedCapabilities", NULL };
    const gh_directory_query_t query = {
        .base = "", .one = 1, .filter = "(objectClass=*)", .attributes = attributes
    };
    const apr_array_header_t *values = NULL;
    apr_array_header_t *entries;
    apr_status_t rv;
    int i;

    *is = 0;
    rv = gh_directory_search(&entries, lookup->directory, &query, 1, lookup->end, lookup->p,
                             lookup->result);
    if (rv == APR_SUCCESS && entries->nelts == 1) {
        values = values_of(APR_ARRAY_IDX(entries, 0, gh_directory_entry_t *),
                           "supportedCapabilities");
    }
    for (i = 0; values && i < values->nelts; ++i) {
        *is |= !strcmp((const char *)APR_ARRAY_IDX(values, i, gh_bytes_t).data,
                       IS_ACTIVE_DIRECTORY);
    }
    return rv;
}

/** The server follows groups of groups itself. */
static apr_status_t add_chain(apr_array_header_t *groups, gh_directory_lookup_t *lookup)
{
    static const char *const attributes[] = { "1.1", NULL };
    gh_directory_query_t query = { .attributes = attributes };
    const char *members = "";
    apr_array_header_t *entries;
    apr_status_t rv;
    int i;

    for (i = 0; i < groups->nelts; ++i) {
        members = apr_pstrcat(lookup->p, members, "(member" IN_CHAIN "=",
                              gh_directory_escape(APR_ARRAY_IDX(groups, i, const char *),
                                                  lookup->p), ")", NULL);
    }
    query.filter = apr_pstrcat(lookup->p, "(|", members, ")", NULL);
    rv = gh_directory_search(&entries, lookup->directory, &query, ENTRIES_MAX, lookup->end,
                             lookup->p, lookup->result);
    for (i = 0; rv == APR_SUCCESS && i < entries->nelts; ++i) {
        add_dn(groups, APR_ARRAY_IDX(entries, i, gh_directory_entry_t *)->dn, lookup->p);
    }
    return rv;
}

static void add_sids(apr_array_header_t *sids, const gh_directory_entry_t *entry,
                     const char *attribute, apr_pool_t *p)
{
    const apr_array_header_t *values = values_of(entry, attribute);
    int i;

    for (i = 0; sids && values && i < values->nelts; ++i) {
        gh_bytes_t value = APR_ARRAY_IDX(values, i, gh_bytes_t);

        if (gh_directory_sid_text(value, p)) {
            APR_ARRAY_PUSH(sids, gh_bytes_t) = value;
        }
    }
}

/** What the server itself counts with, groups of other domains included (MS-ADTS 3.1.1.4.5.19). */
static apr_status_t add_token(apr_array_header_t *sids, gh_directory_lookup_t *lookup,
                              const char *dn)
{
    static const char *const attributes[] = { "tokenGroups", NULL };
    const gh_directory_query_t query = {
        .base = dn, .one = 1, .filter = "(objectClass=*)", .attributes = attributes
    };
    apr_array_header_t *entries;
    apr_status_t rv = gh_directory_search(&entries, lookup->directory, &query, 1, lookup->end,
                                          lookup->p, lookup->result);

    if (rv == APR_SUCCESS && entries->nelts == 1) {
        add_sids(sids, APR_ARRAY_IDX(entries, 0, gh_directory_entry_t *), "tokenGroups",
                 lookup->p);
    }
    return rv;
}

/** One by one, where the server does not. */
static apr_status_t add_groups_of_groups(apr_array_header_t *groups, apr_array_header_t *sids,
                                         gh_directory_lookup_t *lookup)
{
    static const char *const attributes[] = { "memberOf", "objectSid", NULL };
    apr_array_header_t *entries;
    apr_status_t rv = APR_SUCCESS;
    int i;

    for (i = 0; i < groups->nelts && i < GROUPS_MAX && rv == APR_SUCCESS; ++i) {
        const gh_directory_query_t query = {
            .base = APR_ARRAY_IDX(groups, i, const char *), .one = 1,
            .filter = "(objectClass=*)", .attributes = attributes
        };

        rv = gh_directory_search(&entries, lookup->directory, &query, 1, lookup->end, lookup->p,
                                 lookup->result);
        if (rv == APR_SUCCESS && entries->nelts == 1) {
            add_groups(groups, APR_ARRAY_IDX(entries, 0, gh_directory_entry_t *), lookup->p);
            add_sids(sids, APR_ARRAY_IDX(entries, 0, gh_directory_entry_t *), "objectSid",
                     lookup->p);
        }
    }
    return rv;
}

apr_status_t gh_directory_groups(gh_directory_account_t *account, gh_directory_lookup_t *lookup,
                                 const gh_directory_entry_t *entry)
{
    apr_array_header_t *groups = apr_array_make(lookup->p, 8, sizeof(const char *));
    apr_array_header_t *sids = lookup->directory->config->sids
        ? apr_array_make(lookup->p, 16, sizeof(gh_bytes_t)) : NULL;
    apr_status_t rv;
    int chain = 0;

    account->groups = groups;
    account->sids = sids;
    add_sids(sids, entry, "objectSid", lookup->p);
    add_groups(groups, entry, lookup->p);
    rv = add_primary_group(groups, lookup, entry);
    if (rv != APR_SUCCESS || groups->nelts == 0) {
        return rv;
    }
    rv = is_active_directory(&chain, lookup);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (!chain) {
        return add_groups_of_groups(groups, sids, lookup);
    }
    rv = add_chain(groups, lookup);
    return rv == APR_SUCCESS && sids ? add_token(sids, lookup, entry->dn) : rv;
}
