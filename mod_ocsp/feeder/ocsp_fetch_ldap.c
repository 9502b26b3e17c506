/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>
#include <strings.h>

#include <apr_strings.h>
#include <ldap.h>

#include "log.h"
#include "mod_ocsp/feeder/ocsp_fetch.h"
#include "status.h"

#define ATTRIBUTE "certificateRevocationList;binary"
#define DELTA_ATTRIBUTE "deltaRevocationList;binary"

static apr_status_t failed(ocsp_fetch_t *fetch, LDAP *ldap, const char *what, int error)
{
    char *detail = NULL;

    if (ldap) {
        ldap_get_option(ldap, LDAP_OPT_DIAGNOSTIC_MESSAGE, &detail);
    }
    gh_result_fail(&fetch->result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "ocsp.source",
                   "See whether the server is up and its certificate trusted (ca-file=), and check "
                   "dn=, bind= and password=.", GHNO(0836) "%s: %s%s%s", what,
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

static int open_ldap(ocsp_fetch_t *fetch, LDAP **ldap)
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
                            GHNO(0837) "the entry has %d values of the attribute, instead of one",
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
    const char *what = "the server cannot be reached";
    int error;

    error = open_ldap(fetch, &ldap);
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
