/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "directory/directory.h"

#include <string.h>
#include <strings.h>

#include <apr_strings.h>

#include "directory/directory_private.h"

#define CONNECT_DEFAULT     apr_time_from_sec(5)
#define DEADLINE_DEFAULT    apr_time_from_sec(10)
#define CONNECTIONS_DEFAULT 8
#define CONNECTIONS_MAX     256
#define SERVERS_MAX         16
#define REFERRALS_MAX       10

static apr_status_t misconfigured(const gh_directory_config_t *config, const char *what,
                                  gh_result_t *result)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "directory.config",
                          "Correct what is configured of the directory.",
                          GHNO(1404) "directory %s: %s", config->name, what);
}

static const char *check_url(const gh_directory_config_t *config, const char *text)
{
    LDAPURLDesc *url = NULL;
    const char *wrong = NULL;
    int ldaps;

    if (ldap_url_parse(text, &url) != LDAP_URL_SUCCESS) {
        return "a URL is not ldap://HOST:PORT or ldaps://HOST:PORT";
    }
    ldaps = !strcasecmp(url->lud_scheme, "ldaps");
    if ((!ldaps && strcasecmp(url->lud_scheme, "ldap")) || !url->lud_host || !*url->lud_host
        || (url->lud_dn && *url->lud_dn) || url->lud_attrs || url->lud_filter || url->lud_exts) {
        wrong = "a URL is not ldap://HOST:PORT or ldaps://HOST:PORT and nothing more";
    }
    else if (ldaps != !strncasecmp(APR_ARRAY_IDX(config->urls, 0, const char *), "ldaps:", 6)) {
        wrong = "some URLs are ldap and some ldaps";
    }
    else if (ldaps && config->starttls) {
        wrong = "StartTLS is for ldap, not for ldaps";
    }
    else if (!ldaps && !config->starttls && config->bind) {
        wrong = "it would send a password in clear; use ldaps or StartTLS";
    }
    ldap_free_urldesc(url);
    return wrong;
}

static int is_dn(const char *text)
{
    LDAPDN dn = NULL;
    int good = ldap_str2dn(text, &dn, LDAP_DN_FORMAT_LDAPV3) == LDAP_SUCCESS;

    ldap_dnfree(dn);
    return good;
}

apr_status_t gh_directory_check(const gh_directory_config_t *config, apr_pool_t *p,
                                gh_result_t *result)
{
    int i;

    if (!config->urls || config->urls->nelts < 1 || config->urls->nelts > SERVERS_MAX) {
        return misconfigured(config, "it has no URL, or more than 16", result);
    }
    for (i = 0; i < config->urls->nelts; ++i) {
        const char *wrong = check_url(config, APR_ARRAY_IDX(config->urls, i, const char *));

        if (wrong) {
            return misconfigured(config, wrong, result);
        }
    }
    if (!config->base || !is_dn(config->base)) {
        return misconfigured(config, "its search base is not a distinguished name", result);
    }
    for (i = 0; config->domains && i < config->domains->nelts; ++i) {
        const gh_directory_domain_t *domain = &APR_ARRAY_IDX(config->domains, i,
                                                             gh_directory_domain_t);

        if (!domain->dns || !*domain->dns || (domain->base && !is_dn(domain->base))) {
            return misconfigured(config, "a domain has no name, or its base is not a "
                                         "distinguished name", result);
        }
    }
    if (config->bind && !config->password.length) {
        return misconfigured(config, "its bind has no password", result);
    }
    if (config->referrals < 0 || config->referrals > REFERRALS_MAX || config->connections < 0
        || config->connections > CONNECTIONS_MAX || config->connect < 0 || config->deadline < 0
        || config->keep < 0) {
        return misconfigured(config, "referrals are 0 to 10, connections 1 to 256, times not "
                                     "negative", result);
    }
    return APR_SUCCESS;
}

static apr_status_t close_all(void *data)
{
    gh_directory_t *directory = data;
    int i;

    for (i = 0; i < directory->place_count; ++i) {
        gh_directory_close(directory->places[i].ldap);
        directory->places[i].ldap = NULL;
    }
    for (i = 0; i < 2; ++i) {
        if (directory->generations[i].pool) {
            apr_pool_destroy(directory->generations[i].pool);
            directory->generations[i].pool = NULL;
        }
    }
    return APR_SUCCESS;
}

apr_status_t gh_directory_create(gh_directory_t **directory, const gh_directory_config_t *config,
                                 gh_limiter_t *cap, apr_pool_t *p)
{
    gh_directory_t *made = apr_pcalloc(p, sizeof(*made));
    apr_status_t rv;
    int i;

    *directory = NULL;
    made->config = config;
    made->cap = cap;
    made->connect = config->connect ? config->connect : CONNECT_DEFAULT;
    made->deadline = config->deadline ? config->deadline : DEADLINE_DEFAULT;
    made->server_count = config->urls->nelts;
    made->servers = apr_pcalloc(p, (apr_size_t)made->server_count * sizeof(server_t));
    for (i = 0; i < made->server_count; ++i) {
        made->servers[i].url = APR_ARRAY_IDX(config->urls, i, const char *);
    }
    made->place_count = config->connections ? config->connections : CONNECTIONS_DEFAULT;
    made->places = apr_pcalloc(p, (apr_size_t)made->place_count * sizeof(place_t));
    rv = apr_thread_mutex_create(&made->mutex, APR_THREAD_MUTEX_DEFAULT, p);
    if (rv == APR_SUCCESS) {
        rv = apr_thread_cond_create(&made->freed, p);
    }
    if (rv == APR_SUCCESS) {
        apr_pool_cleanup_register(p, made, close_all, apr_pool_cleanup_null);
        *directory = made;
    }
    return rv;
}

const char *gh_directory_escape(const char *value, apr_pool_t *p)
{
    static const char digits[] = "0123456789abcdef";
    char *escaped = apr_palloc(p, strlen(value) * 3 + 1), *at = escaped;

    for (; *value; ++value) {
        unsigned char byte = (unsigned char)*value;

        /* RFC 4515 3 wants this of ( ) * \ only; bytes that are no text cannot hurt so either */
        if (strchr("()*\\", byte) || byte < 0x20 || byte > 0x7e) {
            *at++ = '\\';
            *at++ = digits[byte >> 4];
            *at++ = digits[byte & 15];
        }
        else {
            *at++ = (char)byte;
        }
    }
    *at = '\0';
    return escaped;
}

apr_status_t gh_directory_enter(gh_directory_t *directory, gh_result_t *result)
{
    if (!directory->cap || gh_limiter_enter(directory->cap)) {
        return APR_SUCCESS;
    }
    return gh_result_fail(result, GH_EBUSY, GH_FAILURE_UNAVAILABLE, "directory.busy",
                          "Try again later; see whether the directory is slow.",
                          GHNO(1405) "as many look-ups as this node permits wait for directory %s",
                          directory->config->name);
}

void gh_directory_leave(gh_directory_t *directory)
{
    if (directory->cap) {
        gh_limiter_leave(directory->cap);
    }
}

apr_status_t gh_directory_only(const gh_directory_entry_t **entry,
                               const gh_directory_t *directory, const gh_directory_query_t *query,
                               const apr_array_header_t *entries, gh_result_t *result)
{
    apr_status_t rv;

    *entry = NULL;
    if (entries->nelts == 0) {
        rv = gh_result_fail(result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, "directory.unknown",
                            "See whether the entry is there, below the search base, and may be "
                            "read.",
                            GHNO(1408) "directory %s has no such entry", directory->config->name);
        gh_result_cause(result, "%.400s", query->filter);
        return rv;
    }
    if (entries->nelts > 1) {
        rv = gh_result_fail(result, GH_ECONFLICT, GH_FAILURE_CONFLICT, "directory.several",
                            "Name the domain, or search below a base that has one of them only.",
                            GHNO(1409) "directory %s has more than one such entry",
                            directory->config->name);
        gh_result_cause(result, "%.400s", query->filter);
        return rv;
    }
    *entry = APR_ARRAY_IDX(entries, 0, gh_directory_entry_t *);
    return APR_SUCCESS;
}

apr_status_t gh_directory_single(const gh_directory_entry_t **entry, gh_directory_t *directory,
                                 const gh_directory_query_t *query, apr_time_t end, apr_pool_t *p,
                                 gh_result_t *result)
{
    apr_array_header_t *entries;
    apr_status_t rv = gh_directory_search(&entries, directory, query, 1, end, p, result);

    *entry = NULL;
    return rv == APR_SUCCESS ? gh_directory_only(entry, directory, query, entries, result) : rv;
}

apr_status_t gh_directory_find(const gh_directory_entry_t **entry, gh_directory_t *directory,
                               const gh_directory_query_t *query, apr_pool_t *p,
                               gh_result_t *result)
{
    apr_time_t end = apr_time_now() + directory->deadline;
    apr_status_t rv = gh_directory_enter(directory, result);

    *entry = NULL;
    if (rv == APR_SUCCESS) {
        rv = gh_directory_single(entry, directory, query, end, p, result);
        gh_directory_leave(directory);
    }
    return rv;
}

const char *gh_directory_entry_dn(const gh_directory_entry_t *entry)
{
    return entry->dn;
}

const apr_array_header_t *gh_directory_entry_values(const gh_directory_entry_t *entry,
                                                    const char *name)
{
    int i;

    for (i = 0; i < entry->attributes->nelts; ++i) {
        const attribute_t *attribute = &APR_ARRAY_IDX(entry->attributes, i, attribute_t);

        if (!strcasecmp(attribute->name, name)) {
            return attribute->values->nelts ? attribute->values : NULL;
        }
    }
    return NULL;
}

const apr_array_header_t *gh_directory_entry_texts(const gh_directory_entry_t *entry,
                                                   const char *name, apr_pool_t *p)
{
    const apr_array_header_t *values = entry ? gh_directory_entry_values(entry, name)
                                             : NULL;
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

const char *gh_directory_entry_text(const gh_directory_entry_t *entry, const char *name)
{
    const apr_array_header_t *values = gh_directory_entry_values(entry, name);
    gh_bytes_t value;

    if (!values) {
        return NULL;
    }
    value = APR_ARRAY_IDX(values, 0, gh_bytes_t);
    return memchr(value.data, '\0', value.length) ? NULL : (const char *)value.data;
}
