/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <apr_lib.h>
#include <apr_strings.h>

#include "directory/directory_private.h"

/* userAccountControl (MS-ADTS 2.2.16) */
#define ACCOUNT_DISABLED    0x0002
#define ACCOUNT_LOCKED      0x0010

#define SID_LENGTH_MAX (8 + 15 * 4)

static const char *const account_attributes[] = {
    "cn", "distinguishedName", "dNSHostName", "mail", "memberOf", "objectClass", "objectGUID",
    "objectSid", "primaryGroupID", "sAMAccountName", "servicePrincipalName", "userAccountControl",
    "userPrincipalName", NULL
};

/* Security identifiers */

const char *gh_directory_sid_text(gh_bytes_t sid, apr_pool_t *p)
{
    apr_uint64_t authority = 0;
    const char *text;
    int i, count;

    if (sid.length < 8 || sid.length > SID_LENGTH_MAX || sid.data[0] != 1) {
        return NULL;
    }
    count = sid.data[1];
    if (count > 15 || sid.length != 8 + (apr_size_t)count * 4) {
        return NULL;
    }
    for (i = 2; i < 8; ++i) {
        authority = authority << 8 | sid.data[i];
    }
    text = apr_psprintf(p, "S-1-%" APR_UINT64_T_FMT, authority);
    for (i = 0; i < count; ++i) {
        const unsigned char *part = sid.data + 8 + i * 4;

        text = apr_psprintf(p, "%s-%u", text,
                            (unsigned int)part[0] | (unsigned int)part[1] << 8
                            | (unsigned int)part[2] << 16 | (unsigned int)part[3] << 24);
    }
    return text;
}

/** The opposite. @return length 0 if it is none */
static gh_bytes_t sid_bytes(const char *text, apr_pool_t *p)
{
    unsigned char *data = apr_palloc(p, SID_LENGTH_MAX);
    gh_bytes_t bytes = { data, 8 };
    apr_int64_t authority, part;
    char *at;
    int i;

    if (strncmp(text, "S-1-", 4) || !apr_isdigit(text[4])) {
        return (gh_bytes_t){ NULL, 0 };
    }
    authority = apr_strtoi64(text + 4, &at, 10);
    data[0] = 1;
    data[1] = 0;
    for (i = 0; i < 6; ++i) {
        data[2 + i] = (unsigned char)(authority >> (8 * (5 - i)));
    }
    while (*at == '-' && apr_isdigit(at[1]) && data[1] < 15) {
        part = apr_strtoi64(at + 1, &at, 10);
        if (part > APR_UINT32_MAX) {
            return (gh_bytes_t){ NULL, 0 };
        }
        for (i = 0; i < 4; ++i) {
            data[bytes.length++] = (unsigned char)(part >> (8 * i));
        }
        ++data[1];
    }
    if (*at || authority >= (apr_int64_t)1 << 48) {
        return (gh_bytes_t){ NULL, 0 };
    }
    return bytes;
}

const char *gh_directory_escape_bytes(gh_bytes_t bytes, apr_pool_t *p)
{
    const char *hex = gh_hex(p, bytes.data, bytes.length);
    char *escaped = apr_palloc(p, bytes.length * 3 + 1), *at = escaped;
    apr_size_t i;

    for (i = 0; i < bytes.length; ++i) {
        *at++ = '\\';
        *at++ = hex[i * 2];
        *at++ = hex[i * 2 + 1];
    }
    *at = '\0';
    return escaped;
}

/* Names */

/** "dc=example,dc=com" of example.com; NULL if that is no name of a domain. */
static const char *base_of(const char *domain, apr_pool_t *p)
{
    char *copy = apr_pstrdup(p, domain), *last = NULL, *part;
    const char *base = "";

    if (strspn(domain, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
        != strlen(domain)) {
        return NULL;
    }
    for (part = apr_strtok(copy, ".", &last); part; part = apr_strtok(NULL, ".", &last)) {
        base = apr_pstrcat(p, base, *base ? ",dc=" : "dc=", part, NULL);
    }
    return *base ? base : NULL;
}

/** Where the accounts of a domain are. @return NULL if it is not one of those configured */
static const char *domain_base(const gh_directory_config_t *config, const char *domain,
                               apr_pool_t *p)
{
    int i;

    for (i = 0; config->domains && i < config->domains->nelts; ++i) {
        const gh_directory_domain_t *one = &APR_ARRAY_IDX(config->domains, i,
                                                          gh_directory_domain_t);

        if (!strcasecmp(one->dns, domain)
            || (one->netbios && !strcasecmp(one->netbios, domain))) {
            return one->base ? one->base : base_of(one->dns, p);
        }
    }
    return NULL;
}

/* Accounts */

static const apr_array_header_t *values_of(const gh_directory_entry_t *entry, const char *name)
{
    return entry ? gh_directory_entry_values(entry, name) : NULL;
}

static int has_class(const gh_directory_entry_t *entry, const char *name)
{
    const apr_array_header_t *values = values_of(entry, "objectClass");
    int i;

    for (i = 0; values && i < values->nelts; ++i) {
        if (!strcasecmp((const char *)APR_ARRAY_IDX(values, i, gh_bytes_t).data, name)) {
            return 1;
        }
    }
    return 0;
}

static const apr_array_header_t *texts_of(const gh_directory_entry_t *entry, const char *name,
                                          apr_pool_t *p)
{
    const apr_array_header_t *values = values_of(entry, name);
    apr_array_header_t *texts = apr_array_make(p, 4, sizeof(const char *));
    int i;

    for (i = 0; values && i < values->nelts; ++i) {
        gh_bytes_t value = APR_ARRAY_IDX(values, i, gh_bytes_t);

        if (!memchr(value.data, '\0', value.length)) {
            APR_ARRAY_PUSH(texts, const char *) = (const char *)value.data;
        }
    }
    return texts->nelts ? texts : NULL;
}

static void take_account(gh_directory_account_t *account, const gh_directory_entry_t *entry,
                         apr_pool_t *p)
{
    const apr_array_header_t *sids = values_of(entry, "objectSid");
    const apr_array_header_t *guids = values_of(entry, "objectGUID");
    const char *control = gh_directory_entry_text(entry, "userAccountControl");
    const char *dn = gh_directory_entry_text(entry, "distinguishedName");

    account->dn = dn ? dn : gh_directory_entry_dn(entry);
    account->cn = gh_directory_entry_text(entry, "cn");
    account->account = gh_directory_entry_text(entry, "sAMAccountName");
    account->host = gh_directory_entry_text(entry, "dNSHostName");
    account->mail = gh_directory_entry_text(entry, "mail");
    account->principal = gh_directory_entry_text(entry, "userPrincipalName");
    account->services = texts_of(entry, "servicePrincipalName", p);
    account->machine = has_class(entry, "computer");
    if (sids) {
        account->sid = gh_directory_sid_text(APR_ARRAY_IDX(sids, 0, gh_bytes_t), p);
    }
    if (guids && APR_ARRAY_IDX(guids, 0, gh_bytes_t).length == 16) {
        account->guid = APR_ARRAY_IDX(guids, 0, gh_bytes_t);
    }
    if (control) {
        account->disabled = (strtoul(control, NULL, 10) & (ACCOUNT_DISABLED | ACCOUNT_LOCKED))
                            != 0;
    }
}

/** A Global Catalog has the accounts of domains below a domain as well, which are others'.
 *  @return 1 if no domain lies between base and entry */
static int is_of_domain(const gh_directory_entry_t *entry, const char *base)
{
    LDAPDN dn = NULL, above = NULL;
    int good = ldap_str2dn(entry->dn, &dn, LDAP_DN_FORMAT_LDAPV3) == LDAP_SUCCESS && dn
        && ldap_str2dn(base, &above, LDAP_DN_FORMAT_LDAPV3) == LDAP_SUCCESS && above;
    int i, names = 0, below = 0;

    while (good && dn[names]) {
        ++names;
    }
    while (good && above[below]) {
        ++below;
    }
    for (i = 0; good && i < names - below; ++i) {
        good = !dn[i][0] || dn[i][0]->la_attr.bv_len != 2
            || strncasecmp(dn[i][0]->la_attr.bv_val, "dc", 2) != 0;
    }
    ldap_dnfree(dn);
    ldap_dnfree(above);
    return good;
}

/** As gh_directory_single(), among the accounts of one domain. */
static apr_status_t find_in_domain(const gh_directory_entry_t **entry,
                                   gh_directory_lookup_t *lookup,
                                   const gh_directory_query_t *query)
{
    apr_array_header_t *entries, *found = apr_array_make(lookup->p, 2, sizeof(*entry));
    apr_status_t rv = gh_directory_search(&entries, lookup->directory, query, DOMAINS_MAX,
                                          lookup->end, lookup->p, lookup->result);
    int i;

    for (i = 0; rv == APR_SUCCESS && i < entries->nelts; ++i) {
        gh_directory_entry_t *one = APR_ARRAY_IDX(entries, i, gh_directory_entry_t *);

        if (is_of_domain(one, query->base)) {
            APR_ARRAY_PUSH(found, gh_directory_entry_t *) = one;
        }
    }
    return rv == APR_SUCCESS
        ? gh_directory_only(entry, lookup->directory, query, found, lookup->result) : rv;
}

static apr_status_t find_by(const gh_directory_entry_t **entry, gh_directory_lookup_t *lookup,
                            const char *base, const char *attribute, const char *value)
{
    const gh_directory_query_t query = {
        .base = base, .attributes = account_attributes,
        .filter = apr_pstrcat(lookup->p, "(", attribute, "=",
                              gh_directory_escape(value, lookup->p), ")", NULL)
    };

    if (base && lookup->directory->config->domains) {
        return find_in_domain(entry, lookup, &query);
    }
    return gh_directory_single(entry, lookup->directory, &query, lookup->end, lookup->p,
                               lookup->result);
}

/** An account's own name counts before a user principal name, which need not be of its domain: or
 *  who may write the latter could be taken for whomever he likes. */
static apr_status_t find_account(const gh_directory_entry_t **entry, gh_directory_lookup_t *lookup,
                                 const char *user, const char *domain)
{
    const gh_directory_config_t *config = lookup->directory->config;
    const char *at = strrchr(user, '@');
    const char *principal = NULL, *base;
    apr_status_t rv = APR_NOTFOUND;

    if (!domain && at) {
        principal = user;
        domain = at + 1;
        user = apr_pstrmemdup(lookup->p, user, (apr_size_t)(at - user));
    }
    base = domain && config->domains ? domain_base(config, domain, lookup->p) : config->base;
    if (!base && domain && strchr(domain, '.') && !principal) {
        principal = apr_pstrcat(lookup->p, user, "@", domain, NULL);
    }
    if (base) {
        rv = find_by(entry, lookup, base,
                     strchr(user, '/') ? "servicePrincipalName" : "sAMAccountName", user);
    }
    if (rv == APR_NOTFOUND && principal) {
        gh_result_clear(lookup->result);
        return find_by(entry, lookup, NULL, "userPrincipalName", principal);
    }
    if (!base) {
        return gh_result_fail(lookup->result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND,
                              "directory.domain", "Configure the domain, with both its names.",
                              GHNO(1411) "directory %s has no domain %.100s", config->name,
                              domain);
    }
    return rv;
}

/** Finds the entry of an account. */
typedef apr_status_t find_fn(const gh_directory_entry_t **entry, gh_directory_lookup_t *lookup,
                             const char *user, const char *domain);

static apr_status_t look_up(const gh_directory_account_t **account, gh_directory_t *directory,
                            find_fn *find, const char *user, const char *domain, apr_pool_t *p,
                            gh_result_t *result)
{
    gh_directory_account_t *made = apr_pcalloc(p, sizeof(*made));
    gh_directory_lookup_t lookup = {
        .directory = directory, .end = apr_time_now() + directory->deadline, .p = p,
        .result = result
    };
    const gh_directory_entry_t *entry;
    apr_status_t rv;

    *account = NULL;
    rv = gh_directory_enter(directory, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = find(&entry, &lookup, user, domain);
    if (rv == APR_SUCCESS) {
        take_account(made, entry, p);
        rv = gh_directory_groups(made, &lookup, entry);
    }
    gh_directory_leave(directory);
    if (rv == APR_SUCCESS) {
        *account = made;
    }
    return rv;
}

apr_status_t gh_directory_account(const gh_directory_account_t **account,
                                  gh_directory_t *directory, const char *user, const char *domain,
                                  apr_pool_t *p, gh_result_t *result)
{
    return look_up(account, directory, find_account, user, domain, p, result);
}

static apr_status_t find_sid(const gh_directory_entry_t **entry, gh_directory_lookup_t *lookup,
                             const char *filter, const char *unused)
{
    const gh_directory_query_t query = { .attributes = account_attributes, .filter = filter };

    return gh_directory_single(entry, lookup->directory, &query, lookup->end, lookup->p,
                               lookup->result);
}

apr_status_t gh_directory_account_by_sid(const gh_directory_account_t **account,
                                         gh_directory_t *directory, const char *sid,
                                         apr_pool_t *p, gh_result_t *result)
{
    gh_bytes_t bytes = sid_bytes(sid, p);

    *account = NULL;
    if (!bytes.length) {
        return gh_result_fail(result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, "directory.sid",
                              "Look where the certificate has it from.",
                              GHNO(1500) "what should be a security identifier is none");
    }
    return look_up(account, directory, find_sid,
                   apr_pstrcat(p, "(objectSid=", gh_directory_escape_bytes(bytes, p), ")", NULL),
                   NULL, p,
                   result);
}

static apr_status_t find_principal(const gh_directory_entry_t **entry,
                                   gh_directory_lookup_t *lookup,
                                   const char *principal, const char *unused)
{
    return find_by(entry, lookup, NULL, "userPrincipalName", principal);
}

apr_status_t gh_directory_account_by_principal(const gh_directory_account_t **account,
                                               gh_directory_t *directory, const char *principal,
                                               apr_pool_t *p, gh_result_t *result)
{
    return look_up(account, directory, find_principal, principal, NULL, p, result);
}
