/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>
#include <strings.h>

#include <apr_strings.h>

#include "directory/directory_private.h"

/** How long a server that has failed is left alone: first, and at most. */
#define PAUSE_FIRST apr_time_from_sec(1)
#define PAUSE_LONGEST apr_time_from_sec(60)

static struct timeval span(apr_interval_time_t time)
{
    struct timeval value = { .tv_sec = apr_time_sec(time), .tv_usec = apr_time_usec(time) };

    return value;
}

/** What files and variables say for other programs does not count where it would weaken this. */
static int set_tls(LDAP *ldap, const gh_directory_config_t *config)
{
    int demand = LDAP_OPT_X_TLS_DEMAND, client = 0;
    int least = LDAP_OPT_X_TLS_PROTOCOL_TLS1_2;
    int error = ldap_set_option(ldap, LDAP_OPT_X_TLS_REQUIRE_CERT, &demand);

    if (error == LDAP_OPT_SUCCESS) {
        error = ldap_set_option(ldap, LDAP_OPT_X_TLS_PROTOCOL_MIN, &least);
    }
    if (error == LDAP_OPT_SUCCESS && config->trust) {
        error = ldap_set_option(ldap, LDAP_OPT_X_TLS_CACERTDIR, NULL);
        if (error == LDAP_OPT_SUCCESS) {
            error = ldap_set_option(ldap, LDAP_OPT_X_TLS_CACERTFILE, config->trust);
        }
    }
    if (error == LDAP_OPT_SUCCESS) {
        error = ldap_set_option(ldap, LDAP_OPT_X_TLS_NEWCTX, &client);
    }
    return error;
}

static int set_options(LDAP *ldap, apr_interval_time_t connect, gh_ldap_deadline_t *deadline)
{
    struct timeval network = span(connect);
    struct timeval whole = span(deadline->end - apr_time_now());
    ber_len_t most = GH_DIRECTORY_BYTES_MAX;
    Sockbuf *socket = NULL;
    int version = LDAP_VERSION3;

    ldap_set_option(ldap, LDAP_OPT_PROTOCOL_VERSION, &version);
    ldap_set_option(ldap, LDAP_OPT_REFERRALS, LDAP_OPT_OFF);
    ldap_set_option(ldap, LDAP_OPT_NETWORK_TIMEOUT, &network);
    ldap_set_option(ldap, LDAP_OPT_TIMEOUT, &whole);
    if (ldap_get_option(ldap, LDAP_OPT_SOCKBUF, &socket) == LDAP_OPT_SUCCESS && socket) {
        ber_sockbuf_ctrl(socket, LBER_SB_OPT_SET_MAX_INCOMING, &most);
    }
    return gh_ldap_deadline_set(ldap, deadline);
}

static int bind_as(LDAP *ldap, const gh_directory_config_t *config)
{
    struct berval password = {
        (ber_len_t)config->password.length, (char *)config->password.data
    };

    /* a name without a password would be taken for anonymous, and look like a success */
    if (!password.bv_len) {
        return LDAP_INVALID_CREDENTIALS;
    }
    return ldap_sasl_bind_s(ldap, config->bind, LDAP_SASL_SIMPLE, &password, NULL, NULL, NULL);
}

/** What the library or the server says of an error, in p. */
static const char *describe(LDAP *ldap, const char *url, const char *what, int error,
                            apr_pool_t *p)
{
    char *detail = NULL;
    const char *text;

    if (ldap) {
        ldap_get_option(ldap, LDAP_OPT_DIAGNOSTIC_MESSAGE, &detail);
    }
    text = apr_psprintf(p, "%.200s: %s: %s%s%.200s", url, what, ldap_err2string(error),
                        detail && *detail ? ": " : "", detail ? detail : "");
    ldap_memfree(detail);
    return text;
}

int gh_directory_open(LDAP **ldap, const gh_directory_config_t *config, const char *url,
                      apr_interval_time_t connect, int anonymous, gh_ldap_deadline_t *deadline,
                      const char **why, apr_pool_t *p)
{
    apr_interval_time_t left = deadline->end - apr_time_now();
    int ldaps = !strncasecmp(url, "ldaps:", 6);
    const char *what = "it cannot be reached";
    int error;

    *ldap = NULL;
    if (left <= 0) {
        *why = describe(NULL, url, what, LDAP_TIMEOUT, p);
        return LDAP_TIMEOUT;
    }
    error = ldap_initialize(ldap, url);
    if (error == LDAP_SUCCESS) {
        error = set_options(*ldap, connect < left ? connect : left, deadline);
    }
    if (error == LDAP_SUCCESS && (ldaps || config->starttls)) {
        what = "TLS";
        error = set_tls(*ldap, config);
    }
    if (error == LDAP_SUCCESS && config->starttls && !ldaps) {
        error = ldap_start_tls_s(*ldap, NULL, NULL);
    }
    if (error == LDAP_SUCCESS && config->bind && !anonymous) {
        what = "the bind";
        error = bind_as(*ldap, config);
    }
    if (error != LDAP_SUCCESS) {
        *why = describe(*ldap, url, what, error, p);
        gh_directory_close(*ldap);
        *ldap = NULL;
    }
    return error;
}

void gh_directory_close(LDAP *ldap)
{
    if (ldap) {
        ldap_unbind_ext_s(ldap, NULL, NULL);
    }
}

int gh_directory_broken(int error)
{
    switch (error) {
    case LDAP_SERVER_DOWN:
    case LDAP_TIMEOUT:
    case LDAP_CONNECT_ERROR:
    case LDAP_LOCAL_ERROR:
    case LDAP_DECODING_ERROR:
    case LDAP_ENCODING_ERROR:
    case LDAP_UNAVAILABLE:
    case LDAP_BUSY:
    case LDAP_TIMELIMIT_EXCEEDED:
    case LDAP_OPERATIONS_ERROR:
    case LDAP_PROTOCOL_ERROR:
        return 1;
    default:
        return 0;
    }
}

/* Places */

/** With the mutex. */
static place_t *find_place(gh_directory_t *directory)
{
    place_t *place = NULL;
    int i;

    for (i = 0; i < directory->place_count; ++i) {
        place_t *one = &directory->places[i];

        if (one->taken) {
            continue;
        }
        /* the server that is named first is gone back to as soon as it may be tried */
        if (one->ldap && (!place || !place->ldap || one->server < place->server)) {
            place = one;
        }
        else if (!place) {
            place = one;
        }
    }
    return place;
}

apr_status_t gh_directory_take(place_t **place, gh_directory_t *directory, apr_time_t end,
                               gh_result_t *result)
{
    apr_interval_time_t left = end - apr_time_now();

    apr_thread_mutex_lock(directory->mutex);
    *place = find_place(directory);
    while (!*place && left > 0) {
        apr_thread_cond_timedwait(directory->freed, directory->mutex, left);
        *place = find_place(directory);
        left = end - apr_time_now();
    }
    if (*place) {
        (*place)->taken = 1;
    }
    apr_thread_mutex_unlock(directory->mutex);
    if (*place) {
        return APR_SUCCESS;
    }
    return gh_result_fail(result, GH_EBUSY, GH_FAILURE_UNAVAILABLE, "directory.busy",
                          "Try again later; see whether the directory is slow, or permit more "
                          "connections.",
                          GHNO(1407) "as many look-ups as are permitted wait for directory %s",
                          directory->config->name);
}

void gh_directory_give(gh_directory_t *directory, place_t *place)
{
    apr_thread_mutex_lock(directory->mutex);
    place->taken = 0;
    apr_thread_cond_signal(directory->freed);
    apr_thread_mutex_unlock(directory->mutex);
}

/* Servers */

int gh_directory_server(gh_directory_t *directory, apr_uint64_t tried, apr_time_t now)
{
    int i, found = -1;

    apr_thread_mutex_lock(directory->mutex);
    for (i = 0; i < directory->server_count && found < 0; ++i) {
        server_t *server = &directory->servers[i];

        if (tried & ((apr_uint64_t)1 << i)) {
            continue;
        }
        if (!server->pause) {
            found = i;
        }
        else if (now >= server->until) {
            /* one tries; the others go on without it */
            server->until = now + directory->deadline;
            server->probed = 1;
            found = i;
        }
    }
    apr_thread_mutex_unlock(directory->mutex);
    return found;
}

int gh_directory_has_other(gh_directory_t *directory, apr_uint64_t tried, apr_time_t now)
{
    int i, found = 0;

    apr_thread_mutex_lock(directory->mutex);
    for (i = 0; i < directory->server_count && !found; ++i) {
        const server_t *server = &directory->servers[i];

        found = !(tried & ((apr_uint64_t)1 << i)) && (!server->pause || now >= server->until);
    }
    apr_thread_mutex_unlock(directory->mutex);
    return found;
}

void gh_directory_note(gh_directory_t *directory, int index, int alive, apr_time_t now)
{
    server_t *server = &directory->servers[index];

    apr_thread_mutex_lock(directory->mutex);
    if (alive) {
        server->pause = 0;
        server->probed = 0;
    }
    else if (!server->pause || server->probed) {
        /* not for each of those who were waiting for it when it failed */
        server->pause = server->pause ? server->pause * 2 : PAUSE_FIRST;
        if (server->pause > PAUSE_LONGEST) {
            server->pause = PAUSE_LONGEST;
        }
        server->until = now + server->pause;
        server->probed = 0;
    }
    apr_thread_mutex_unlock(directory->mutex);
}
