/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>
#include <strings.h>

#include <apr_strings.h>

#include "directory/directory_private.h"

/** Most referrals of one search that are looked at. */
#define REFERRALS_MAX 16

/** A server that was given less time than this is not blamed for not answering. */
#define FAIR_TIME apr_time_from_sec(1)

/** Where to go on. */
typedef struct {
    const char *url;
    int depth;                      /* 1: named by a server that is configured */
} referral_t;

/** One search and what has come of it. */
typedef struct {
    gh_directory_t *directory;
    const gh_directory_query_t *query;
    int limit;
    apr_time_t end;
    apr_array_header_t *entries;    /* gh_directory_entry_t * */
    apr_size_t bytes;               /* of them */
    apr_array_header_t *referrals;  /* referral_t, in the order in which they came */
    int depth;                      /* of referrals of the server that is asked */
    const char *why;                /* of the last failure */
    apr_pool_t *p;
} search_t;

/* Entries */

/** @return its size */
static apr_size_t take_attribute(gh_directory_entry_t *entry, LDAP *ldap, LDAPMessage *message,
                                 const char *name, apr_pool_t *p)
{
    struct berval **values = ldap_get_values_len(ldap, message, name);
    apr_size_t size = strlen(name);
    attribute_t *attribute;
    int i;

    if (!values) {
        return size;
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
        size += value.length + sizeof(value);
    }
    ldap_value_free_len(values);
    return size;
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
        search->bytes += take_attribute(entry, ldap, message, name, search->p);
        ldap_memfree(name);
    }
    ber_free(position, 0);
    ldap_memfree(dn);
    search->bytes += strlen(entry->dn);
    APR_ARRAY_PUSH(search->entries, gh_directory_entry_t *) = entry;
}

/** Parts of a forest that have no accounts and no groups, of which every search at the root of a
 *  domain of Active Directory is told. */
static int is_aside(const char *referral)
{
    static const char *const names[] = {
        "cn=configuration,", "cn=schema,", "dc=domaindnszones,", "dc=forestdnszones,"
    };
    LDAPURLDesc *url = NULL;
    apr_size_t i;
    int aside = 0;

    if (ldap_url_parse(referral, &url) == LDAP_URL_SUCCESS) {
        for (i = 0; url->lud_dn && i < sizeof(names) / sizeof(names[0]); ++i) {
            aside |= !strncasecmp(url->lud_dn, names[i], strlen(names[i]));
        }
    }
    ldap_free_urldesc(url);
    return aside;
}

static void take_referrals(search_t *search, char **referrals)
{
    int i;

    for (i = 0; referrals && referrals[i]; ++i) {
        if (search->referrals->nelts <= REFERRALS_MAX && !is_aside(referrals[i])) {
            referral_t *one = apr_array_push(search->referrals);

            one->url = apr_pstrdup(search->p, referrals[i]);
            one->depth = search->depth + 1;
        }
    }
    ber_memvfree((void **)referrals);
}

/** @return LDAP_SUCCESS also for an answer that names other servers only */
static int take_end(search_t *search, LDAP *ldap, LDAPMessage *message)
{
    char **referrals = NULL;
    int code = LDAP_OTHER;
    int error = ldap_parse_result(ldap, message, &code, NULL, NULL, &referrals, NULL, 0);

    if (error != LDAP_SUCCESS) {
        return error;
    }
    if (code == LDAP_REFERRAL) {
        take_referrals(search, referrals);
    }
    else {
        ber_memvfree((void **)referrals);
    }
    return code == LDAP_REFERRAL || code == LDAP_SIZELIMIT_EXCEEDED ? LDAP_SUCCESS : code;
}

/** Takes messages one by one, so that none is kept that is too much.
 *  @param end of the time that the server has */
static int take_answer(search_t *search, LDAP *ldap, int id, apr_time_t end)
{
    for (;;) {
        apr_interval_time_t left = end - apr_time_now();
        struct timeval timeout = { .tv_sec = apr_time_sec(left), .tv_usec = apr_time_usec(left) };
        LDAPMessage *message = NULL;
        char **referrals = NULL;
        int type = left > 0 ? ldap_result(ldap, id, LDAP_MSG_ONE, &timeout, &message) : 0;
        int error = LDAP_SUCCESS;

        if (type < 0) {
            ldap_get_option(ldap, LDAP_OPT_RESULT_CODE, &error);
            return error == LDAP_SUCCESS ? LDAP_SERVER_DOWN : error;
        }
        if (type == 0) {
            ldap_abandon_ext(ldap, id, NULL, NULL);
            return LDAP_TIMEOUT;
        }
        if (type == LDAP_RES_SEARCH_ENTRY) {
            take_entry(search, ldap, message);
        }
        else if (type == LDAP_RES_SEARCH_REFERENCE
                 && ldap_parse_reference(ldap, message, &referrals, NULL, 0) == LDAP_SUCCESS) {
            take_referrals(search, referrals);
        }
        else if (type == LDAP_RES_SEARCH_RESULT) {
            error = take_end(search, ldap, message);
        }
        ldap_msgfree(message);
        if (type == LDAP_RES_SEARCH_RESULT) {
            return error;
        }
        if (search->bytes > GH_DIRECTORY_ANSWER_MAX || search->entries->nelts > search->limit) {
            ldap_abandon_ext(ldap, id, NULL, NULL);
            return search->bytes > GH_DIRECTORY_ANSWER_MAX ? LDAP_RESULTS_TOO_LARGE
                                                           : LDAP_SUCCESS;
        }
    }
}

/** @param end of the time that the server has
 *  @return LDAP_SUCCESS also for an answer that names other servers only */
static int ask(search_t *search, LDAP *ldap, const char *base, apr_time_t end)
{
    apr_interval_time_t left = end - apr_time_now();
    struct timeval timeout = { .tv_sec = apr_time_sec(left), .tv_usec = apr_time_usec(left) };
    /* LDAP_SERVER_SD_FLAGS_OID with DACL_SECURITY_INFORMATION (MS-ADTS 3.1.1.3.4.1.11) */
    static char dacl[] = { 0x30, 0x03, 0x02, 0x01, 0x04 };
    LDAPControl control = { (char *)"1.2.840.113556.1.4.801", { sizeof(dacl), dacl }, 0 };
    LDAPControl *controls[] = { &control, NULL };
    int error, id;

    if (left <= 0) {
        return LDAP_TIMEOUT;
    }
    ldap_set_option(ldap, LDAP_OPT_TIMEOUT, &timeout);
    error = ldap_search_ext(ldap, base,
                            search->query->one ? LDAP_SCOPE_BASE : LDAP_SCOPE_SUBTREE,
                            search->query->filter, (char **)search->query->attributes, 0,
                            search->query->descriptors ? controls : NULL, NULL, &timeout,
                            search->limit + 1, &id);
    if (error == LDAP_SUCCESS) {
        error = take_answer(search, ldap, id, end);
    }
    if (error != LDAP_SUCCESS) {
        char *url = NULL;

        ldap_get_option(ldap, LDAP_OPT_URI, &url);
        search->why = apr_psprintf(search->p, "%.200s: %s", url ? url : "",
                                   error == LDAP_RESULTS_TOO_LARGE ? "the answer is too large"
                                                                   : ldap_err2string(error));
        ldap_memfree(url);
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

        error = ask(search, ldap, base ? base : config->base, search->end);
        gh_directory_close(ldap);
    }
    ldap_free_urldesc(url);
    return error;
}

static apr_status_t too_many_referrals(const search_t *search, const char *next,
                                       gh_result_t *result)
{
    apr_status_t rv = gh_result_fail(
        result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "directory.referrals",
        "Name the server that has the entry, or permit more referrals.",
        GHNO(1412) "directory %s: an entry was not found where referrals are followed to",
        search->directory->config->name);

    gh_result_cause(result, "the next one is to %.200s", next);
    return rv;
}

/** Goes on elsewhere as long as nothing was found: a referral counts one more than the server that
 *  it came from, so that a circle ends. What no server has that was referred to is not there. */
static apr_status_t follow_all(search_t *search, gh_result_t *result)
{
    const gh_directory_config_t *config = search->directory->config;
    const char *silent = NULL;
    int i;

    for (i = 0; search->entries->nelts == 0 && i < search->referrals->nelts && config->referrals;
         ++i) {
        referral_t referral = APR_ARRAY_IDX(search->referrals, i, referral_t);
        int error;

        if (referral.depth > config->referrals || i == REFERRALS_MAX) {
            return too_many_referrals(search, referral.url, result);
        }
        search->depth = referral.depth;
        error = follow(search, referral.url);
        if (error != LDAP_SUCCESS && error != LDAP_NO_SUCH_OBJECT) {
            silent = search->why ? search->why : "it cannot be followed";
        }
    }
    if (search->entries->nelts == 0 && silent) {
        apr_status_t rv = gh_result_fail(
            result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "directory.referrals",
            "See whether that server is up and its certificate trusted.",
            GHNO(1410) "directory %s: a server that was referred to does not answer",
            config->name);

        gh_result_cause(result, "%s", silent);
        return rv;
    }
    return APR_SUCCESS;
}

/* Servers */

/** How long a server may take while there are others: half of what is left, so that one that hangs
 *  leaves some of it to the next. */
static apr_time_t share_of(const search_t *search, apr_uint64_t tried, apr_time_t now)
{
    return gh_directory_has_other(search->directory, tried, now)
        ? now + (search->end - now) / 2 : search->end;
}

/** Who was hardly given the time to answer has not failed. */
static void note_failure(search_t *search, int server, int error, apr_time_t begun)
{
    apr_interval_time_t fair = search->directory->deadline / 4;
    apr_time_t now = apr_time_now();

    if (error != LDAP_TIMEOUT || now - begun >= (fair < FAIR_TIME ? fair : FAIR_TIME)) {
        gh_directory_note(search->directory, server, 0, now);
    }
}

/** Opens the place's connection, to the first server that may be tried. */
static int open_place(search_t *search, place_t *place, apr_uint64_t *tried)
{
    gh_directory_t *directory = search->directory;
    int server, error = LDAP_SERVER_DOWN;
    apr_time_t now = apr_time_now();

    while (now < search->end && (server = gh_directory_server(directory, *tried, now)) >= 0) {
        *tried |= (apr_uint64_t)1 << server;
        place->server = server;
        place->deadline.end = share_of(search, *tried, now);
        error = gh_directory_open(&place->ldap, directory->config,
                                  directory->servers[server].url, directory->connect, 0,
                                  &place->deadline, &search->why, search->p);
        if (error == LDAP_SUCCESS) {
            return error;
        }
        /* libldap says that the server is down when its time is over */
        error = apr_time_now() >= place->deadline.end ? LDAP_TIMEOUT : error;
        note_failure(search, server, error, now);
        now = apr_time_now();
    }
    return now >= search->end ? LDAP_TIMEOUT : error;
}

/** Each server is tried once; one whose kept connection has ended meanwhile, again. */
static int ask_servers(search_t *search, place_t *place)
{
    gh_directory_t *directory = search->directory;
    const char *base = search->query->base ? search->query->base : directory->config->base;
    apr_uint64_t tried = 0;
    apr_time_t begun;
    int error;

    while ((begun = apr_time_now()) < search->end) {
        int kept = place->ldap != NULL;

        if (!kept && (error = open_place(search, place, &tried)) != LDAP_SUCCESS) {
            return error;
        }
        place->deadline.end = share_of(search, tried | (apr_uint64_t)1 << place->server,
                                       apr_time_now());
        error = ask(search, place->ldap, base, place->deadline.end);
        if (!gh_directory_broken(error)) {
            gh_directory_note(directory, place->server, 1, apr_time_now());
            return error;
        }
        if (apr_time_now() >= place->deadline.end) {
            error = LDAP_TIMEOUT;
        }
        gh_directory_close(place->ldap);
        place->ldap = NULL;
        apr_array_clear(search->entries);
        apr_array_clear(search->referrals);
        search->bytes = 0;
        if (!kept || error == LDAP_TIMEOUT) {
            tried |= (apr_uint64_t)1 << place->server;
            note_failure(search, place->server, error, begun);
        }
    }
    search->why = search->why ? search->why : "the time of the look-up was over before";
    return LDAP_TIMEOUT;
}

static apr_status_t unavailable(const search_t *search, gh_result_t *result)
{
    apr_status_t rv = gh_result_fail(
        result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "directory.unavailable",
        "See whether a server is up, its certificate trusted, and the bind right; it is tried "
        "again after a while.",
        GHNO(1406) "directory %s cannot be asked", search->directory->config->name);

    gh_result_cause(result, "%s",
                    search->why ? search->why : "its servers have failed a moment ago");
    return rv;
}

static apr_status_t refused(const search_t *search, gh_result_t *result)
{
    apr_status_t rv = gh_result_fail(
        result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "directory.refused",
        "Look at the search base, and at what the account that binds may read.",
        GHNO(1413) "directory %s refuses a search", search->directory->config->name);

    gh_result_cause(result, "%s", search->why);
    return rv;
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
    search.referrals = apr_array_make(p, 2, sizeof(referral_t));
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
