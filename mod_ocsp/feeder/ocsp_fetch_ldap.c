/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <strings.h>

#include <apr_strings.h>
#include <ldap.h>

#include "log.h"
#include "mod_ocsp/feeder/ocsp_fetch.h"
#include "status.h"

#define ATTRIBUTE "certificateRevocationList;binary"
#define DELTA_ATTRIBUTE "deltaRevocationList;binary"

/** However steadily they come, bytes are not waited for longer than this many times the silence
 * that
 *  is borne. */
#define WHOLE 12

/* libldap has timeouts, but a server that says nothing in the middle of a TLS handshake is waited
 * for without end (and without rest, by that which uses GnuTLS). So reading and writing pass a
 * layer between TLS and the socket that waits itself, for as long as it may. */

typedef struct {
    ldap_conncb callbacks;
    apr_interval_time_t silence;
    apr_time_t end;
} watch_t;

static int layer_setup(Sockbuf_IO_Desc *layer, void *watch)
{
    layer->sbiod_pvt = watch;
    return 0;
}

static int layer_remove(Sockbuf_IO_Desc *layer)
{
    layer->sbiod_pvt = NULL;
    return 0;
}

static int layer_ctrl(Sockbuf_IO_Desc *layer, int option, void *value)
{
    return LBER_SBIOD_CTRL_NEXT(layer, option, value);
}

/* @return 0, or -1 with errno */
static int wait_for(Sockbuf_IO_Desc *layer, short events)
{
    const watch_t *watch = layer->sbiod_pvt;
    struct pollfd socket = { .events = events };
    apr_interval_time_t left = watch->end - apr_time_now();
    int ready = 0;

    left = left < watch->silence ? left : watch->silence;
    if (ber_sockbuf_ctrl(layer->sbiod_sb, LBER_SB_OPT_GET_FD, &socket.fd) == 1 && left > 0) {
        do {
            ready = poll(&socket, 1, (int)((left + 999) / 1000));
        } while (ready < 0 && errno == EINTR);
    }
    if (ready == 0) {
        errno = ETIMEDOUT;
    }
    return ready > 0 ? 0 : -1;
}

static ber_slen_t layer_read(Sockbuf_IO_Desc *layer, void *data, ber_len_t length)
{
    return wait_for(layer, POLLIN) ? -1 : LBER_SBIOD_READ_NEXT(layer, data, length);
}

static ber_slen_t layer_write(Sockbuf_IO_Desc *layer, void *data, ber_len_t length)
{
    return wait_for(layer, POLLOUT) ? -1 : LBER_SBIOD_WRITE_NEXT(layer, data, length);
}

static int layer_close(Sockbuf_IO_Desc *layer)
{
    return 0;
}

/* Called by libldap when TCP is there, before TLS begins. */
static int connected(LDAP *ldap, Sockbuf *socket, LDAPURLDesc *server, struct sockaddr *address,
                     struct ldap_conncb *callbacks)
{
    /* libldap does not change it, and has no const */
    static const Sockbuf_IO layer = {
        layer_setup, layer_remove, layer_ctrl, layer_read, layer_write, layer_close
    };

    return ber_sockbuf_add_io(socket, (Sockbuf_IO *)&layer,
                              (LBER_SBIOD_LEVEL_PROVIDER + LBER_SBIOD_LEVEL_TRANSPORT) / 2,
                              callbacks->lc_arg);
}

static void disconnected(LDAP *ldap, Sockbuf *socket, struct ldap_conncb *callbacks)
{
}

static apr_status_t failed(ocsp_fetch_t *fetch, LDAP *ldap, const char *what, int error)
{
    char *detail = NULL;

    if (ldap) {
        ldap_get_option(ldap, LDAP_OPT_DIAGNOSTIC_MESSAGE, &detail);
    }
    gh_result_fail(&fetch->result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "ocsp.source",
                   "See whether the server is up and its certificate trusted (ca-file=), and check "
                   "dn=, bind= and password=.", GHNO(0671) "%s: %s%s%s", what,
                   ldap_err2string(error), detail && *detail ? ": " : "", detail ? detail : "");
    ldap_memfree(detail);
    return GH_EUNAVAILABLE;
}

/* Files and variables that say how LDAP is to be done for other programs do not count here, see
 * LDAPNOINIT: only what is set on the handle does. */
static int set_tls(LDAP *ldap, const char *ca_file)
{
    int demand = LDAP_OPT_X_TLS_DEMAND, client = 0;
    int least = LDAP_OPT_X_TLS_PROTOCOL_TLS1_2;
    int error = ldap_set_option(ldap, LDAP_OPT_X_TLS_REQUIRE_CERT, &demand);

    if (error == LDAP_OPT_SUCCESS) {
        error = ldap_set_option(ldap, LDAP_OPT_X_TLS_PROTOCOL_MIN, &least);
    }
    if (error == LDAP_OPT_SUCCESS && ca_file) {
        error = ldap_set_option(ldap, LDAP_OPT_X_TLS_CACERTFILE, ca_file);
    }
    if (error == LDAP_OPT_SUCCESS) {
        error = ldap_set_option(ldap, LDAP_OPT_X_TLS_NEWCTX, &client);
    }
    return error;
}

/* Where the system keeps whom it trusts, as curl was told when it was built. */
static const char *system_trust(void)
{
    CURL *easy = curl_easy_init();
    char *path = NULL;

#if CURL_AT_LEAST_VERSION(7, 84, 0)
    if (easy) {
        curl_easy_getinfo(easy, CURLINFO_CAINFO, &path);
    }
#endif
    curl_easy_cleanup(easy);
    return path;
}

static int open_ldap(ocsp_fetch_t *fetch, watch_t *watch, LDAP **ldap)
{
    const ocsp_source_config_t *config = fetch->config;
    struct timeval timeout = {
        .tv_sec = apr_time_sec(config->timeout), .tv_usec = apr_time_usec(config->timeout)
    };
    /* the server's part of the URL, since the rest says what to look for */
    const char *host = strstr(fetch->url, "://");
    size_t length = host ? (size_t)(host + 3 - fetch->url) + strcspn(host + 3, "/?") : 0;
    char server[512];
    ber_len_t most = fetch->bytes.limit + 65536;
    Sockbuf *socket = NULL;
    int version = LDAP_VERSION3;
    int error;

    if (!length || length >= sizeof(server)) {
        return LDAP_PARAM_ERROR;
    }
    memcpy(server, fetch->url, length);
    server[length] = '\0';
    error = ldap_initialize(ldap, server);
    if (error != LDAP_SUCCESS) {
        return error;
    }
    ldap_set_option(*ldap, LDAP_OPT_PROTOCOL_VERSION, &version);
    ldap_set_option(*ldap, LDAP_OPT_REFERRALS, LDAP_OPT_OFF);
    ldap_set_option(*ldap, LDAP_OPT_NETWORK_TIMEOUT, &timeout);
    ldap_set_option(*ldap, LDAP_OPT_TIMEOUT, &timeout);
    watch->callbacks.lc_add = connected;
    watch->callbacks.lc_del = disconnected;
    watch->callbacks.lc_arg = watch;
    watch->silence = config->timeout;
    watch->end = apr_time_now() + WHOLE * config->timeout;
    error = ldap_set_option(*ldap, LDAP_OPT_CONNECT_CB, &watch->callbacks);
    if (error != LDAP_OPT_SUCCESS) {
        return error;
    }
    if (ldap_get_option(*ldap, LDAP_OPT_SOCKBUF, &socket) == LDAP_OPT_SUCCESS && socket) {
        ber_sockbuf_ctrl(socket, LBER_SB_OPT_SET_MAX_INCOMING, &most);
    }
    if (config->starttls || !strncasecmp(server, "ldaps:", 6)) {
        error = set_tls(*ldap, config->ca_file ? config->ca_file : system_trust());
    }
    if (error == LDAP_SUCCESS && config->starttls) {
        error = ldap_start_tls_s(*ldap, NULL, NULL);
    }
    return error;
}

/* Without bind= there is nothing to be done: who has not bound is anonymous (RFC 4513 5.1.1). */
static int bind_ldap(const ocsp_source_config_t *config, LDAP *ldap)
{
    struct berval password = { 0, NULL };

    if (!config->bind) {
        return LDAP_SUCCESS;
    }
    /* a name without a password would be taken for anonymous, and look like a success */
    if (!config->password || !*config->password) {
        return LDAP_INVALID_CREDENTIALS;
    }
    password.bv_val = (char *)config->password;
    password.bv_len = strlen(config->password);
    return ldap_sasl_bind_s(ldap, config->bind, LDAP_SASL_SIMPLE, &password, NULL, NULL, NULL);
}

/* The one value of the first attribute of the entry, whatever options its name has come with. */
static apr_status_t take_value(ocsp_fetch_t *fetch, LDAP *ldap, LDAPMessage *answer)
{
    LDAPMessage *entry = ldap_first_entry(ldap, answer);
    BerElement *position = NULL;
    char *name = entry ? ldap_first_attribute(ldap, entry, &position) : NULL;
    struct berval **values = name ? ldap_get_values_len(ldap, entry, name) : NULL;
    int count = values ? ldap_count_values_len(values) : 0;
    apr_status_t rv;

    if (count != 1) {
        rv = gh_result_fail(&fetch->result, GH_EUNAVAILABLE, GH_FAILURE_NOT_FOUND, "ocsp.source",
                            "Look at the entry with ldapsearch, and correct dn= or attribute=.",
                            GHNO(0672) "the entry has %d values of the attribute, instead of one",
                            count);
    }
    else {
        rv = ocsp_buffer_add(&fetch->bytes, values[0]->bv_val, values[0]->bv_len);
        if (rv != APR_SUCCESS) {
            ocsp_fetch_too_large(fetch);
        }
    }
    ldap_value_free_len(values);
    ldap_memfree(name);
    ber_free(position, 0);
    return rv;
}

void ocsp_fetch_ldap(void *baton)
{
    ocsp_fetch_t *fetch = baton;
    const ocsp_source_config_t *config = fetch->config;
    int delta = config->delta && !strcmp(fetch->url, config->delta);
    const char *attribute = config->attribute && !delta ? config->attribute
        : delta ? DELTA_ATTRIBUTE : ATTRIBUTE;
    char *attributes[] = { (char *)attribute, NULL };
    struct timeval timeout = {
        .tv_sec = apr_time_sec(config->timeout), .tv_usec = apr_time_usec(config->timeout)
    };
    LDAPURLDesc *url = NULL;
    LDAPMessage *answer = NULL;
    LDAP *ldap = NULL;
    watch_t watch;
    const char *what = "the server cannot be reached";
    int error;

    error = open_ldap(fetch, &watch, &ldap);
    if (error == LDAP_SUCCESS) {
        what = "the bind was refused";
        error = bind_ldap(config, ldap);
    }
    if (error == LDAP_SUCCESS && ldap_url_parse(fetch->url, &url) == LDAP_URL_SUCCESS) {
        const char *dn = url->lud_dn && *url->lud_dn ? url->lud_dn : config->dn;

        if (url->lud_attrs && url->lud_attrs[0]) {
            attributes[0] = url->lud_attrs[0];
        }
        what = "the entry cannot be read";
        error = ldap_search_ext_s(ldap, dn ? dn : "", LDAP_SCOPE_BASE, "(objectClass=*)",
                                  attributes, 0, NULL, NULL, &timeout, 1, &answer);
    }
    if (error == LDAP_SUCCESS && answer) {
        fetch->status = take_value(fetch, ldap, answer);
    }
    else {
        fetch->status = failed(fetch, ldap, what, error);
    }
    ldap_msgfree(answer);
    ldap_free_urldesc(url);
    if (ldap) {
        ldap_unbind_ext_s(ldap, NULL, NULL);
    }
}
