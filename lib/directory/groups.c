/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What an account is a member of, directly or through other groups. */

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <apr_lib.h>
#include <apr_strings.h>

#include "directory/directory_private.h"

/** Capability by which Active Directory says what it is (MS-ADTS 3.1.1.3.4.3.1). */
#define IS_ACTIVE_DIRECTORY "1.2.840.113556.1.4.800"

/** Identifiers of groups whose names are asked for at once. */
#define SIDS_MAX 100

/** Groups of groups that are looked at one by one, where the server does not follow them. */
#define GROUPS_MAX 100

/* Names */

/** Names of groups, each once. */
typedef struct {
    apr_array_header_t *names;      /* const char * */
    apr_hash_t *known;              /* by the name in lower case */
    apr_pool_t *p;
} groups_t;

static void add_dn(groups_t *groups, const char *text)
{
    const char *dn = gh_directory_normal_dn(text, groups->p);
    char *key = apr_pstrdup(groups->p, dn), *at;

    for (at = key; *at; ++at) {
        *at = (char)apr_tolower(*at);
    }
    if (!apr_hash_get(groups->known, key, APR_HASH_KEY_STRING)) {
        apr_hash_set(groups->known, key, APR_HASH_KEY_STRING, dn);
        APR_ARRAY_PUSH(groups->names, const char *) = dn;
    }
}

int gh_directory_is_member(const gh_directory_account_t *account, const char *group,
                           apr_pool_t *p)
{
    const char *dn = gh_directory_normal_dn(group, p);
    int i;

    for (i = 0; i < account->groups->nelts; ++i) {
        if (!strcasecmp(APR_ARRAY_IDX(account->groups, i, const char *), dn)) {
            return 1;
        }
    }
    return 0;
}

/** Where groups of an account are: in its domain at least, whatever part of that has accounts. */
static const char *groups_base(const gh_directory_lookup_t *lookup,
                               const gh_directory_entry_t *account)
{
    const char *base = lookup->directory->config->base;
    const char *domain = gh_directory_domain_of(account->dn, lookup->p);

    return !domain || gh_directory_is_below(domain, base, lookup->p) ? base : domain;
}

/* Groups */

static const apr_array_header_t *values_of(const gh_directory_entry_t *entry, const char *name)
{
    return entry ? gh_directory_entry_values(entry, name) : NULL;
}

static void add_groups(groups_t *groups, const gh_directory_entry_t *entry)
{
    const apr_array_header_t *values = values_of(entry, "memberOf");
    int i;

    for (i = 0; values && i < values->nelts; ++i) {
        gh_bytes_t value = APR_ARRAY_IDX(values, i, gh_bytes_t);

        if (!memchr(value.data, '\0', value.length)) {
            add_dn(groups, (const char *)value.data);
        }
    }
}

/** memberOf leaves out the primary group, which "Domain Computers" is of every computer. */
static apr_status_t add_primary_group(groups_t *groups, gh_directory_lookup_t *lookup,
                                      const gh_directory_entry_t *account)
{
    static const char *const attributes[] = { "memberOf", NULL };
    const char *relative = gh_directory_entry_text(account, "primaryGroupID");
    const apr_array_header_t *sids = values_of(account, "objectSid");
    gh_directory_query_t query = {
        .base = groups_base(lookup, account), .attributes = attributes
    };
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

        add_dn(groups, entry->dn);
        add_groups(groups, entry);
    }
    return rv;
}

apr_status_t gh_directory_learn_kind(gh_directory_lookup_t *lookup)
{
    static const char *const attributes[] = { "supportedCapabilities", NULL };
    const gh_directory_query_t query = {
        .base = "", .one = 1, .filter = "(objectClass=*)", .attributes = attributes
    };
    const apr_array_header_t *values = NULL;
    apr_array_header_t *entries;
    apr_status_t rv;
    int i;

    lookup->active = 0;
    rv = gh_directory_search(&entries, lookup->directory, &query, 1, lookup->end, lookup->p,
                             lookup->result);
    if (rv == APR_SUCCESS && entries->nelts == 1) {
        values = values_of(APR_ARRAY_IDX(entries, 0, gh_directory_entry_t *),
                           "supportedCapabilities");
    }
    for (i = 0; values && i < values->nelts; ++i) {
        lookup->active |= !strcmp((const char *)APR_ARRAY_IDX(values, i, gh_bytes_t).data,
                                  IS_ACTIVE_DIRECTORY);
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

/** What the server itself counts with: the primary group, groups of groups, and those of other
 *  domains are among it (MS-ADTS 3.1.1.4.5.19). */
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

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (entries->nelts == 1) {
        add_sids(sids, APR_ARRAY_IDX(entries, 0, gh_directory_entry_t *), "tokenGroups",
                 lookup->p);
    }
    if (sids->nelts > 0) {
        return APR_SUCCESS;
    }
    /* every account has a primary group at least */
    return gh_result_fail(lookup->result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE,
                          "directory.token", "Let the account that binds read tokenGroups.",
                          GHNO(1524) "directory %s does not show the groups of an account",
                          lookup->directory->config->name);
}

/** The names of groups that are known by their identifiers. */
static apr_status_t add_names(groups_t *groups, gh_directory_lookup_t *lookup, const char *base,
                              const apr_array_header_t *sids)
{
    static const char *const attributes[] = { "1.1", NULL };
    apr_status_t rv = APR_SUCCESS;
    int i, j;

    for (i = 0; i < sids->nelts && rv == APR_SUCCESS; i += SIDS_MAX) {
        apr_array_header_t *parts = apr_array_make(lookup->p, SIDS_MAX, sizeof(const char *));
        gh_directory_query_t query = { .base = base, .attributes = attributes };
        apr_array_header_t *entries;

        for (j = i; j < sids->nelts && j < i + SIDS_MAX; ++j) {
            APR_ARRAY_PUSH(parts, const char *) = apr_pstrcat(
                lookup->p, "(objectSid=",
                gh_directory_escape_bytes(APR_ARRAY_IDX(sids, j, gh_bytes_t), lookup->p), ")",
                NULL);
        }
        query.filter = apr_pstrcat(lookup->p, "(|", apr_array_pstrcat(lookup->p, parts, '\0'), ")",
                                   NULL);
        rv = gh_directory_search(&entries, lookup->directory, &query, ENTRIES_MAX, lookup->end,
                                 lookup->p, lookup->result);
        for (j = 0; rv == APR_SUCCESS && j < entries->nelts; ++j) {
            add_dn(groups, APR_ARRAY_IDX(entries, j, gh_directory_entry_t *)->dn);
        }
    }
    return rv;
}

/** One by one, where the server does not. */
static apr_status_t add_groups_of_groups(groups_t *groups, apr_array_header_t *sids,
                                         gh_directory_lookup_t *lookup)
{
    static const char *const attributes[] = { "memberOf", "objectSid", NULL };
    apr_array_header_t *entries;
    apr_status_t rv = APR_SUCCESS;
    int i;

    for (i = 0; i < groups->names->nelts && i < GROUPS_MAX && rv == APR_SUCCESS; ++i) {
        const gh_directory_query_t query = {
            .base = APR_ARRAY_IDX(groups->names, i, const char *), .one = 1,
            .filter = "(objectClass=*)", .attributes = attributes
        };

        rv = gh_directory_search(&entries, lookup->directory, &query, 1, lookup->end, lookup->p,
                                 lookup->result);
        if (rv == APR_SUCCESS && entries->nelts == 1) {
            add_groups(groups, APR_ARRAY_IDX(entries, 0, gh_directory_entry_t *));
            add_sids(sids, APR_ARRAY_IDX(entries, 0, gh_directory_entry_t *), "objectSid",
                     lookup->p);
        }
    }
    return rv;
}

apr_status_t gh_directory_groups(gh_directory_account_t *account, gh_directory_lookup_t *lookup,
                                 const gh_directory_entry_t *entry)
{
    groups_t groups = {
        apr_array_make(lookup->p, 8, sizeof(const char *)), apr_hash_make(lookup->p), lookup->p
    };
    apr_array_header_t *token = apr_array_make(lookup->p, 16, sizeof(gh_bytes_t));
    apr_array_header_t *sids = lookup->directory->config->sids
        ? apr_array_make(lookup->p, 16, sizeof(gh_bytes_t)) : NULL;
    apr_status_t rv;

    account->groups = groups.names;
    account->sids = sids;
    add_sids(sids, entry, "objectSid", lookup->p);
    if (!lookup->active) {
        add_groups(&groups, entry);
        rv = add_primary_group(&groups, lookup, entry);
        return rv == APR_SUCCESS ? add_groups_of_groups(&groups, sids, lookup) : rv;
    }
    rv = add_token(token, lookup, entry->dn);
    if (rv == APR_SUCCESS && sids) {
        apr_array_cat(sids, token);
    }
    return rv == APR_SUCCESS ? add_names(&groups, lookup, groups_base(lookup, entry), token) : rv;
}
