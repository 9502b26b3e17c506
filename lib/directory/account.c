/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <apr_lib.h>
#include <apr_strings.h>

#include "directory/directory_private.h"

/* userAccountControl (MS-ADTS 2.2.16); whether an account is locked out stands in its computed
   form alone (MS-ADTS 3.1.1.4.5.17) */
#define ACCOUNT_DISABLED    0x0002
#define ACCOUNT_LOCKED      0x0010

/* Times of Windows: tenths of a microsecond since 1601; this one never comes */
#define WINDOWS_EPOCH       APR_INT64_C(11644473600000000)
#define WINDOWS_NEVER       APR_INT64_MAX

#define SID_LENGTH_MAX (8 + 15 * 4)

static const char *const account_attributes[] = {
    "accountExpires", "cn", "distinguishedName", "dNSHostName", "lockoutTime", "mail", "memberOf",
    "msDS-User-Account-Control-Computed", "objectClass", "objectGUID", "objectSid",
    "primaryGroupID", "sAMAccountName", "servicePrincipalName", "userAccountControl",
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

static apr_int64_t number_of(const gh_directory_entry_t *entry, const char *name)
{
    const char *text = gh_directory_entry_text(entry, name);

    return text ? apr_strtoi64(text, NULL, 10) : 0;
}

/** Disabled, locked out, or past its end. */
static int is_barred(const gh_directory_entry_t *entry, apr_time_t now)
{
    apr_int64_t control = number_of(entry, "userAccountControl");
    apr_int64_t expires = number_of(entry, "accountExpires");
    int locked = (control & ACCOUNT_LOCKED) != 0 || number_of(entry, "lockoutTime") > 0;

    /* a lock-out that is over leaves its time behind */
    if (gh_directory_entry_text(entry, "msDS-User-Account-Control-Computed")) {
        locked = (number_of(entry, "msDS-User-Account-Control-Computed") & ACCOUNT_LOCKED) != 0;
    }
    return (control & ACCOUNT_DISABLED) != 0 || locked
           || (expires > 0 && expires != WINDOWS_NEVER && expires / 10 - WINDOWS_EPOCH <= now);
}

static void take_account(gh_directory_account_t *account, const gh_directory_entry_t *entry,
                         apr_pool_t *p)
{
    const apr_array_header_t *sids = values_of(entry, "objectSid");
    const apr_array_header_t *guids = values_of(entry, "objectGUID");
    const char *dn = gh_directory_entry_text(entry, "distinguishedName");

    account->dn = dn ? dn : gh_directory_entry_dn(entry);
    account->cn = gh_directory_entry_text(entry, "cn");
    account->account = gh_directory_entry_text(entry, "sAMAccountName");
    account->host = gh_directory_entry_text(entry, "dNSHostName");
    account->mail = gh_directory_entry_text(entry, "mail");
    account->principal = gh_directory_entry_text(entry, "userPrincipalName");
    account->services = gh_directory_entry_texts(entry, "servicePrincipalName", p);
    account->machine = has_class(entry, "computer");
    if (sids) {
        account->sid = gh_directory_sid_text(APR_ARRAY_IDX(sids, 0, gh_bytes_t), p);
    }
    if (guids && APR_ARRAY_IDX(guids, 0, gh_bytes_t).length == 16) {
        account->guid = APR_ARRAY_IDX(guids, 0, gh_bytes_t);
    }
    account->disabled = is_barred(entry, apr_time_now());
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

        if (gh_directory_is_of_domain(one, query->base)) {
            APR_ARRAY_PUSH(found, gh_directory_entry_t *) = one;
        }
    }
    return rv == APR_SUCCESS
        ? gh_directory_only(entry, lookup->directory, query, found, lookup->result) : rv;
}

/** A directory may take letters with accents, or of another width, for the same: they are other
 *  names to whoever has checked the password. */
static int has_value(const gh_directory_entry_t *entry, const char *attribute, const char *value)
{
    const apr_array_header_t *values = values_of(entry, attribute);
    int i;

    for (i = 0; values && i < values->nelts; ++i) {
        gh_bytes_t one = APR_ARRAY_IDX(values, i, gh_bytes_t);

        if (one.length == strlen(value) && !strcasecmp((const char *)one.data, value)) {
            return 1;
        }
    }
    return 0;
}

static apr_status_t other_spelling(const gh_directory_entry_t **entry,
                                   gh_directory_lookup_t *lookup, const char *name)
{
    *entry = NULL;
    return gh_result_fail(lookup->result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND,
                          "directory.spelling", "Write the name as the directory has it.",
                          GHNO(1523) "directory %s has no account %.100s, only one that is spelt "
                          "otherwise", lookup->directory->config->name, name);
}

static apr_status_t find_by(const gh_directory_entry_t **entry, gh_directory_lookup_t *lookup,
                            const char *base, const char *attribute, const char *value)
{
    const gh_directory_query_t query = {
        .base = base, .attributes = account_attributes,
        .filter = apr_pstrcat(lookup->p, "(", attribute, "=",
                              gh_directory_escape(value, lookup->p), ")", NULL)
    };

    apr_status_t rv = base && lookup->directory->config->domains
        ? find_in_domain(entry, lookup, &query)
        : gh_directory_single(entry, lookup->directory, &query, lookup->end, lookup->p,
                              lookup->result);

    if (rv == APR_SUCCESS && !has_value(*entry, attribute, value)) {
        return other_spelling(entry, lookup, value);
    }
    return rv;
}

/** Where accounts of a domain are looked for: the search base may be a part of it.
 *  @return NULL if the domain is not one of those configured */
static const char *accounts_base(gh_directory_lookup_t *lookup, const char *domain)
{
    const gh_directory_config_t *config = lookup->directory->config;
    const char *base = gh_directory_domain_base(config, domain, lookup->p);

    return base && gh_directory_is_below(config->base, base, lookup->p) ? config->base : base;
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
    base = domain && config->domains ? accounts_base(lookup, domain) : config->base;
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

/* Accounts of who has logged on */

/** Adds those whom a name may mean, each once. */
static void add_meant(apr_array_header_t *meant, const apr_array_header_t *entries,
                      const char *base, const char *user, const char *principal)
{
    int i, j;

    for (i = 0; i < entries->nelts; ++i) {
        gh_directory_entry_t *one = APR_ARRAY_IDX(entries, i, gh_directory_entry_t *);
        int known = 0;

        /* the account of a domain below that has the same name is another's */
        if (base && !gh_directory_is_of_domain(one, base)
            && has_value(one, "sAMAccountName", user)
            && !has_value(one, "userPrincipalName", principal)
            && !has_value(one, "userPrincipalName", user)) {
            continue;
        }
        for (j = 0; j < meant->nelts && !known; ++j) {
            known = !strcasecmp(one->dn, APR_ARRAY_IDX(meant, j, gh_directory_entry_t *)->dn);
        }
        if (!known) {
            APR_ARRAY_PUSH(meant, gh_directory_entry_t *) = one;
        }
    }
}

/** Everybody whom user@domain may mean: by his own name, or by a user principal name, which need
 *  not be of his domain and may lack one. */
static apr_status_t find_meant(apr_array_header_t **meant, gh_directory_lookup_t *lookup,
                               const char *user, const char *principal, const char *base)
{
    const gh_directory_config_t *config = lookup->directory->config;
    const char *name = gh_directory_escape(user, lookup->p);
    const char *principals = apr_pstrcat(lookup->p, "(userPrincipalName=", name,
                                         ")(userPrincipalName=",
                                         gh_directory_escape(principal, lookup->p), ")", NULL);
    gh_directory_query_t query = {
        .base = base, .attributes = account_attributes,
        .filter = apr_pstrcat(lookup->p, "(|(sAMAccountName=", name, ")", principals, ")", NULL)
    };
    apr_array_header_t *entries;
    apr_status_t rv = gh_directory_search(&entries, lookup->directory, &query, DOMAINS_MAX,
                                          lookup->end, lookup->p, lookup->result);

    *meant = apr_array_make(lookup->p, 2, sizeof(gh_directory_entry_t *));
    if (rv == APR_SUCCESS) {
        add_meant(*meant, entries, base, user, principal);
    }
    if (rv == APR_SUCCESS && !gh_directory_is_below(config->base, base, lookup->p)) {
        query.base = NULL;
        query.filter = apr_pstrcat(lookup->p, "(|", principals, ")", NULL);
        rv = gh_directory_search(&entries, lookup->directory, &query, DOMAINS_MAX, lookup->end,
                                 lookup->p, lookup->result);
        if (rv == APR_SUCCESS) {
            add_meant(*meant, entries, NULL, user, principal);
        }
    }
    return rv;
}

static apr_status_t ambiguous(gh_directory_lookup_t *lookup, const char *principal,
                              const apr_array_header_t *meant)
{
    apr_status_t rv = gh_result_fail(
        lookup->result, GH_ECONFLICT, GH_FAILURE_CONFLICT, "directory.ambiguous",
        "Let no account have the name of another as its user principal name.",
        GHNO(1522) "%.100s is the name of one account of directory %s, and the user principal "
        "name of another", principal, lookup->directory->config->name);

    gh_result_cause(lookup->result, "%.200s, %.200s",
                    APR_ARRAY_IDX(meant, 0, gh_directory_entry_t *)->dn,
                    APR_ARRAY_IDX(meant, 1, gh_directory_entry_t *)->dn);
    return rv;
}

/** Whoever has checked the password, or the KDC, may have gone by either name. */
static apr_status_t find_logon(const gh_directory_entry_t **entry, gh_directory_lookup_t *lookup,
                               const char *user, const char *domain)
{
    const gh_directory_config_t *config = lookup->directory->config;
    const char *base = domain ? gh_directory_domain_base(config, domain, lookup->p) : NULL;
    const char *principal = apr_pstrcat(lookup->p, user, "@", domain, NULL);
    gh_directory_query_t query = { .filter = principal };
    apr_array_header_t *meant;
    apr_status_t rv;

    if (!base) {
        return find_account(entry, lookup, user, domain);
    }
    rv = find_meant(&meant, lookup, user, principal, base);
    if (rv == APR_SUCCESS && meant->nelts > 1) {
        return ambiguous(lookup, principal, meant);
    }
    if (rv == APR_SUCCESS && meant->nelts == 1
        && gh_directory_is_below(config->base, base, lookup->p)
        && !gh_directory_is_below(APR_ARRAY_IDX(meant, 0, gh_directory_entry_t *)->dn,
                                  config->base, lookup->p)) {
        apr_array_clear(meant);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_directory_only(entry, lookup->directory, &query, meant, lookup->result);
    }
    if (rv == APR_SUCCESS && !has_value(*entry, "sAMAccountName", user)
        && !has_value(*entry, "userPrincipalName", principal)
        && !has_value(*entry, "userPrincipalName", user)) {
        return other_spelling(entry, lookup, principal);
    }
    return rv;
}

/* Look-ups */

/** What Active Directory has of every account is not readable to who binds: then nobody can say
 *  whether it is disabled, or whose it is. */
static apr_status_t check_readable(gh_directory_lookup_t *lookup,
                                   const gh_directory_entry_t *entry)
{
    const char *missing = !values_of(entry, "objectSid") ? "objectSid"
        : !values_of(entry, "userAccountControl") ? "userAccountControl" : NULL;

    if (!lookup->active || !missing) {
        return APR_SUCCESS;
    }
    return gh_result_fail(lookup->result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE,
                          "directory.unreadable",
                          "Let the account that binds read the attributes of accounts.",
                          GHNO(1525) "directory %s does not show %s of an account",
                          lookup->directory->config->name, missing);
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
        rv = gh_directory_learn_kind(&lookup);
    }
    if (rv == APR_SUCCESS) {
        rv = check_readable(&lookup, entry);
    }
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

apr_status_t gh_directory_account_of_logon(const gh_directory_account_t **account,
                                           gh_directory_t *directory, const char *user,
                                           const char *domain, apr_pool_t *p,
                                           gh_result_t *result)
{
    return look_up(account, directory, find_logon, user, domain, p, result);
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
                              GHNO(1477) "what should be a security identifier is none");
    }
    return look_up(account, directory, find_sid,
                   apr_pstrcat(p, "(objectSid=", gh_directory_escape_bytes(bytes, p), ")", NULL),
                   NULL, p, result);
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
