/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>
#include <strings.h>

#include <apr_strings.h>

#include "directory/directory_private.h"

/** Most referrals of one answer that are looked at. */
#define REFERRALS_MAX 16

/** One search and what has come of it. */
typedef struct {
    gh_directory_t *directory;
    const gh_directory_query_t *query;
    int limit;
    apr_time_t end;
    apr_array_header_t *entries;    /* gh_directory_entry_t * */
    apr_array_header_t *referrals;  /* const char *: URLs to go on at */
    int hops;                       /* that were made */
    const char *why;                /* of the last failure */
    apr_pool_t *p;
} search_t;

/* Entries */

static void take_attribute(gh_directory_entry_t *entry, LDAP *ldap, LDAPMessage *message,
                           const char *name, apr_pool_t *p)
{
    struct berval **values = ldap_get_values_len(ldap, message, name);
    attribute_t *attribute;
    int i;

    if (!values) {
        return;
    }
    attribute = apr_array_push(entry->attributes);
    attribute->name = apr_pstrdup(p, name);
    attribute->values = apr_array_make(p, 2, sizeof(gh_bytes_t));
    for (i = 0; values[i] && i < GH_DIRECTORY_VALUES_MAX; ++i) {
        gh_bytes_t value = {
            (unsigned char *)apr_pstrmemdup(p, values[i]->bv_val, values[i]->bv_len),
            values[i]->bv_len
        };

        APR_ARRAY_PUSH(attribute->values, gh_bytes_t) = value;
    }
    ldap_value_free_len(values);
}

static void take_entry(search_t *search, LDAP *ldap, LDAPMessage *message)
{
    gh_directory_entry_t *entry = apr_palloc(search->p, sizeof(*entry));
    BerElement *position = NULL;
    char *dn = ldap_get_dn(ldap, message);
    char *name;

    entry->dn = apr_pstrdup(search->p, dn ? dn : "");
    entry->attributes = apr_array_make(search->p, 8, sizeof(attribute_t));
    for (name = ldap_first_attribute(ldap, message, &position); name;
         name = ldap_next_attribute(ldap, message, position)) {
        take_attribute(entry, ldap, message, name, search->p);
        ldap_memfree(name);
    }
    ber_free(position, 0);
    ldap_memfree(dn);
    APR_ARRAY_PUSH(search->entries, gh_directory_entry_t *) = entry;
}

static void take_referrals(search_t *search, char **referrals)
{
    int i;

    /* any of them does: the first that is there is gone to */
    for (i = 0; referrals && referrals[i] && search->referrals->nelts < REFERRALS_MAX; ++i) {
        APR_ARRAY_PUSH(search->referrals, const char *) = apr_pstrdup(search->p, referrals[i]);
    }
    ber_memvfree((void **)referrals);
}

static int take_answer(search_t *search, LDAP *ldap, LDAPMessage *answer, int error)
{
    LDAPMessage *message;
    char **referrals = NULL;

    for (message = ldap_first_message(ldap, answer); message;
         message = ldap_next_message(ldap, message)) {
        switch (ldap_msgtype(message)) {
        case LDAP_RES_SEARCH_ENTRY:
            if (search->entries->nelts <= search->limit) {
                take_entry(search, ldap, message);
            }
            break;
        case LDAP_RES_SEARCH_REFERENCE:
            if (ldap_parse_reference(ldap, message, &referrals, NULL, 0) == LDAP_SUCCESS) {
                take_referrals(search, referrals);
            }
            break;
        case LDAP_RES_SEARCH_RESULT:
            referrals = NULL;
            if (error == LDAP_REFERRAL
                && ldap_parse_result(ldap, message, NULL, NULL, NULL, &referrals, NULL, 0)
                       == LDAP_SUCCESS) {
                take_referrals(search, referrals);
            }
            break;
        default:
            break;
        }
    }
    return error == LDAP_REFERRAL || error == LDAP_SIZELIMIT_EXCEEDED ? LDAP_SUCCESS : error;
}

/** @return LDAP_SUCCESS also for an answer that names other servers only */
static int ask(search_t *search, LDAP *ldap, const char *base, int scope)
{
    apr_interval_time_t left = search->end - apr_time_now();
    struct timeval timeout = { .tv_sec = apr_time_sec(left), .tv_usec = apr_time_usec(left) };
    /* LDAP_SERVER_SD_FLAGS_OID with DACL_SECURITY_INFORMATION (MS-ADTS 3.1.1.3.4.1.11) */
    static char dacl[] = { 0x30, 0x03, 0x02, 0x01, 0x04 };
    LDAPControl control = { (char *)"1.2.840.113556.1.4.801", { sizeof(dacl), dacl }, 0 };
    LDAPControl *controls[] = { &control, NULL };
    LDAPMessage *answer = NULL;
    int error;

    if (left <= 0) {
        return LDAP_TIMEOUT;
    }
    ldap_set_option(ldap, LDAP_OPT_TIMEOUT, &timeout);
    error = ldap_search_ext_s(ldap, base, scope, search->query->filter,
                              (char **)search->query->attributes, 0,
                              search->query->descriptors ? controls : NULL, NULL, &timeout,
                              search->limit + 1, &answer);
    if (answer) {
        error = take_answer(search, ldap, answer, error);
    }
    ldap_msgfree(answer);
    if (error != LDAP_SUCCESS) {
        search->why = ldap_err2string(error);
    }
    return error;
}

/* Referrals */

static int is_within(const char *host, const char *domain)
{
    size_t length = strlen(host), tail = strlen(domain);

    return length >= tail && !strcasecmp(host + length - tail, domain)
           && (length == tail || host[length - tail - 1] == '.');
}

/** Whether the credentials may be shown to a host that a server has named. */
static int may_bind_at(const gh_directory_config_t *config, const char *host, int tls)
{
    int i;

    if (!tls) {
        return 0;
    }
    for (i = 0; config->domains && i < config->domains->nelts; ++i) {
        if (is_within(host, APR_ARRAY_IDX(config->domains, i, gh_directory_domain_t).dns)) {
            return 1;
        }
    }
    return config->trust && !config->domains;
}

static int uses_ldaps(const gh_directory_config_t *config)
{
    return !strncasecmp(APR_ARRAY_IDX(config->urls, 0, const char *), "ldaps:", 6);
}

/** Where a referral leads, protected as what is configured is: servers name ldap:// to everybody.
 *  @return NULL if it is none that is followed */
static const char *referral_server(const gh_directory_config_t *config, const LDAPURLDesc *url,
                                   apr_pool_t *p)
{
    int ldaps = uses_ldaps(config);
    int port = url->lud_port;

    if (!url->lud_host || !*url->lud_host || strlen(url->lud_host) > 253
        || (strcasecmp(url->lud_scheme, "ldap") && strcasecmp(url->lud_scheme, "ldaps"))) {
        return NULL;
    }
    if (ldaps && !strcasecmp(url->lud_scheme, "ldap")) {
        port = port == 0 || port == LDAP_PORT ? LDAPS_PORT : port == 3268 ? 3269 : port;
    }
    if (!strcasecmp(url->lud_scheme, "ldaps")) {
        ldaps = 1;
    }
    return apr_psprintf(p, strchr(url->lud_host, ':') ? "%s://[%s]:%d" : "%s://%s:%d",
                        ldaps ? "ldaps" : "ldap", url->lud_host,
                        port ? port : ldaps ? LDAPS_PORT : LDAP_PORT);
}

/** @return LDAP_SUCCESS if that server has answered */
static int follow(search_t *search, const char *referral)
{
    const gh_directory_config_t *config = search->directory->config;
    gh_ldap_deadline_t deadline = { .end = search->end };
    LDAPURLDesc *url = NULL;
    LDAP *ldap = NULL;
    const char *server;
    int error = LDAP_PARAM_ERROR, tls;

    if (ldap_url_parse(referral, &url) != LDAP_URL_SUCCESS) {
        return LDAP_PARAM_ERROR;
    }
    server = referral_server(config, url, search->p);
    if (server) {
        tls = config->starttls || !strncasecmp(server, "ldaps:", 6);
        error = gh_directory_open(&ldap, config, server, search->directory->connect,
                                  !may_bind_at(config, url->lud_host, tls), &deadline,
                                  &search->why, search->p);
    }
    if (error == LDAP_SUCCESS) {
        const char *base = url->lud_dn && *url->lud_dn ? url->lud_dn : search->query->base;

        error = ask(search, ldap, base ? base : config->base,
                    search->query->one ? LDAP_SCOPE_BASE : LDAP_SCOPE_SUBTREE);
        gh_directory_close(ldap);
    }
    ldap_free_urldesc(url);
    return error;
}

/** Goes on elsewhere as long as nothing was found: each hop counts, so that a circle ends. */
static apr_status_t follow_all(search_t *search, gh_result_t *result)
{
    const gh_directory_config_t *config = search->directory->config;
    int error = LDAP_SUCCESS, answered = 1;

    while (search->entries->nelts == 0 && search->referrals->nelts > 0 && config->referrals) {
        const char *referral = APR_ARRAY_IDX(search->referrals, 0, const char *);

        if (search->hops >= config->referrals) {
            return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE,
                                  "directory.referrals",
                                  "Name the server that has the entry, or permit more referrals.",
                                  GHNO(1412) "directory %s: an entry was not found after %d "
                                  "referrals, the next one is to %.200s", config->name,
                                  search->hops, referral);
        }
        ++search->hops;
        memmove(search->referrals->elts, search->referrals->elts + sizeof(const char *),
                (size_t)(search->referrals->nelts - 1) * sizeof(const char *));
        --search->referrals->nelts;
        error = follow(search, referral);
        answered = error == LDAP_SUCCESS || error == LDAP_NO_SUCH_OBJECT ? answered : 0;
    }
    if (search->entries->nelts == 0 && !answered) {
        return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE,
                              "directory.referrals",
                              "See whether that server is up and its certificate trusted.",
                              GHNO(1410) "directory %s: a server that was referred to does not "
                              "answer: %s", config->name, search->why);
    }
    return APR_SUCCESS;
}

/* Servers */

/** Opens the place's connection, to the first server that may be tried. */
static int open_place(search_t *search, place_t *place, apr_uint64_t *tried)
{
    gh_directory_t *directory = search->directory;
    int server, error = LDAP_SERVER_DOWN;

    while ((server = gh_directory_server(directory, *tried, apr_time_now())) >= 0) {
        *tried |= (apr_uint64_t)1 << server;
        place->server = server;
        place->deadline.end = search->end;
        error = gh_directory_open(&place->ldap, directory->config,
                                  directory->servers[server].url, directory->connect, 0,
                                  &place->deadline, &search->why, search->p);
        if (error == LDAP_SUCCESS) {
            return error;
        }
        gh_directory_note(directory, server, 0, apr_time_now());
    }
    return error;
}

/** Each server is tried once; one whose kept connection has ended meanwhile, again. */
static int ask_servers(search_t *search, place_t *place)
{
    gh_directory_t *directory = search->directory;
    const char *base = search->query->base ? search->query->base : directory->config->base;
    apr_uint64_t tried = 0;
    int error;

    for (;;) {
        int kept = place->ldap != NULL;

        if (!kept && (error = open_place(search, place, &tried)) != LDAP_SUCCESS) {
            return error;
        }
        place->deadline.end = search->end;
        error = ask(search, place->ldap, base,
                    search->query->one ? LDAP_SCOPE_BASE : LDAP_SCOPE_SUBTREE);
        if (!gh_directory_broken(error)) {
            gh_directory_note(directory, place->server, 1, apr_time_now());
            return error;
        }
        gh_directory_close(place->ldap);
        place->ldap = NULL;
        apr_array_clear(search->entries);
        apr_array_clear(search->referrals);
        if (!kept || error == LDAP_TIMEOUT) {
            tried |= (apr_uint64_t)1 << place->server;
            gh_directory_note(directory, place->server, 0, apr_time_now());
        }
    }
}

static apr_status_t unavailable(const search_t *search, gh_result_t *result)
{
    return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE,
                          "directory.unavailable",
                          "See whether a server is up, its certificate trusted, and the bind "
                          "right; it is tried again after a while.",
                          GHNO(1406) "directory %s cannot be asked: %s",
                          search->directory->config->name,
                          search->why ? search->why : "its servers have failed a moment ago");
}

static apr_status_t refused(const search_t *search, gh_result_t *result)
{
    return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "directory.refused",
                          "Look at the search base, and at what the account that binds may read.",
                          GHNO(1413) "directory %s refuses a search: %s",
                          search->directory->config->name, search->why);
}

apr_status_t gh_directory_search(apr_array_header_t **entries, gh_directory_t *directory,
                                 const gh_directory_query_t *query, int limit, apr_time_t end,
                                 apr_pool_t *p, gh_result_t *result)
{
    const char *key = gh_directory_key(query, p);
    search_t search = {
        .directory = directory, .query = query, .limit = limit, .end = end, .p = p
    };
    place_t *place;
    apr_status_t rv;
    int error;

    *entries = gh_directory_kept(directory, key, apr_time_now(), p);
    if (*entries) {
        return APR_SUCCESS;
    }
    rv = gh_directory_take(&place, directory, end, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    search.entries = apr_array_make(p, 2, sizeof(gh_directory_entry_t *));
    search.referrals = apr_array_make(p, 2, sizeof(const char *));
    error = ask_servers(&search, place);
    gh_directory_give(directory, place);
    if (error == LDAP_SUCCESS) {
        rv = follow_all(&search, result);
    }
    else if (gh_directory_broken(error) || error < 0 || error == LDAP_INVALID_CREDENTIALS) {
        rv = unavailable(&search, result);
    }
    else if (error != LDAP_NO_SUCH_OBJECT) {
        rv = refused(&search, result);
    }
    *entries = search.entries;
    if (rv == APR_SUCCESS && search.entries->nelts > 0) {
        gh_directory_keep(directory, key, search.entries, apr_time_now());
    }
    return rv;
}
