/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What the directives of issuers behind a gateway mean together. */

#include <string.h>
#include <httpd.h>
#include <http_config.h>
#include <apr_strings.h>
#include <openssl/crypto.h>

#include "gatehouse_remote.h"
#include "log.h"
#include "text.h"
#include "x509/credential.h"

/** A credential that ends so soon is worth a warning. */
#define ENDS_SOON apr_time_from_sec(30 * 86400)

int gatehouse_is_remote(const gatehouse_issuer_section_t *section)
{
    return gh_issuer_backend(section->issuer)->by_worker;
}

/* Logs a problem, or takes it down for the dump. @return how many are logged */
static int problem(const gatehouse_issuer_section_t *section, gatehouse_place_t place,
                   const char *what, const gh_result_t *result, apr_status_t rv, server_rec *s,
                   apr_pool_t *p)
{
    if (gatehouse_dump_problem(p, section->name, what, place.file, place.line, result)) {
        return 0;
    }
    gatehouse_log_problem(s, place, what, gatehouse_explain(result, rv, p));
    return 1;
}

/* What certificates that take the place of the file's are asked for with. */
static int check_enrolled(const gatehouse_settings_t *settings,
                          gatehouse_issuer_section_t *section, const gh_credential_t *credential,
                          server_rec *s, apr_pool_t *p)
{
    gatehouse_remote_t *remote = &section->remote;
    int problems = 0;

    remote->own = apr_hash_get(settings->shared.profiles, remote->own_profile,
                               APR_HASH_KEY_STRING);
    remote->own_kind = remote->own_kind ? remote->own_kind : "P-256";
    if (!remote->own_subject) {
        remote->own_subject = apr_pstrdup(p, credential->subject);
    }
    if (!remote->own || !gh_profile_allows_key(remote->own, remote->own_kind)) {
        gatehouse_log_problem(s, remote->credential_place, "IssuerCredential",
                              apr_psprintf(p, GHNO(1066) "issuer %s: %s %s for our own credential "
                                           "with a key %s; name another profile=, or key=",
                                           section->name, remote->own
                                           ? "no certificate can be had by profile"
                                           : "there is no profile", remote->own_profile,
                                           remote->own_kind));
        ++problems;
    }
    if (!settings->sealer) {
        gatehouse_log_problem(s, remote->credential_place, "IssuerCredential", GHNO(1067) "a "
                              "credential that is enrolled lies sealed in the store, and there is "
                              "no sealing key; add GatehouseSealingKey file:PATH");
        ++problems;
    }
    return problems;
}

static int check_credential(gatehouse_settings_t *settings, gatehouse_issuer_section_t *section,
                            gh_credential_t **credential, server_rec *s, apr_pool_t *p)
{
    gatehouse_remote_t *remote = &section->remote;
    gh_result_t result;
    apr_status_t rv = APR_SUCCESS;

    gh_result_clear(&result);
    if (remote->passphrase) {
        rv = gh_secret_load(&remote->secret, remote->passphrase, p, &result);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_credential_load(credential, &remote->pkcs12, remote->credential, remote->secret,
                                remote->alias, p, &result);
    }
    if (*credential) {
        /* the worker reads it itself */
        OPENSSL_cleanse((void *)(*credential)->key.data, (*credential)->key.length);
    }
    if (rv != APR_SUCCESS && (result.failure != GH_FAILURE_TIME || !*credential)) {
        return problem(section, remote->credential_place, "IssuerCredential", &result, rv, s, p);
    }
    if (remote->enrolled) {
        /* that the file's has ended does not matter once another one is there: the worker looks */
        return check_enrolled(settings, section, *credential, s, p);
    }
    remote->not_after = (*credential)->not_after;
    if (rv != APR_SUCCESS) {
        /* what others do is not in need of it: requests to this CA wait, see fcgi/http.h */
        gatehouse_note_error(settings, remote->credential_place, "IssuerCredential",
                             gatehouse_explain(&result, rv, p));
        return 0;
    }
    if (remote->not_after - apr_time_now() < ENDS_SOON) {
        gatehouse_warn(settings, remote->credential_place, "IssuerCredential",
                       apr_psprintf(p, GHNO(0872) "the certificate %s ends at %s; have it renewed "
                                    "before, and restart httpd gracefully", (*credential)->subject,
                                    gh_time_text(p, remote->not_after)));
    }
    return 0;
}

static int check_trust(gatehouse_issuer_section_t *section, const gh_credential_t *credential,
                       server_rec *s, apr_pool_t *p)
{
    gatehouse_remote_t *remote = &section->remote;
    gh_result_t result;
    apr_status_t rv;

    if (!remote->trust || !strcmp(remote->trust, "system")) {
        return 0;
    }
    gh_result_clear(&result);
    if (strcmp(remote->trust, "credential")) {
        gh_bytes_t secret = { NULL, 0 };

        rv = remote->trust_passphrase
            ? gh_secret_load(&secret, remote->trust_passphrase, p, &result) : APR_SUCCESS;
        if (rv == APR_SUCCESS) {
            rv = gh_trust_load(&remote->trusted, remote->trust, secret, p, &result);
        }
        return rv == APR_SUCCESS ? 0
            : problem(section, remote->trust_place, "IssuerTrust", &result, rv, s, p);
    }
    remote->trusted = credential ? credential->trust : NULL;
    if (credential && !remote->trusted) {
        gatehouse_log_problem(s, remote->trust_place, "IssuerTrust", GHNO(0873) "the PKCS#12 of "
                              "IssuerCredential has no CA certificate; name a PEM file with that "
                              "of the CA that has issued the gateway's");
        return 1;
    }
    return 0;
}

static int check_proxy(gatehouse_issuer_section_t *section, server_rec *s, apr_pool_t *p)
{
    gatehouse_remote_t *remote = &section->remote;
    gh_result_t result;
    apr_status_t rv;

    if (!remote->proxy_password) {
        return 0;
    }
    gh_result_clear(&result);
    rv = gh_secret_load(&remote->proxy_secret, remote->proxy_password, p, &result);
    return rv == APR_SUCCESS ? 0
        : problem(section, remote->proxy_place, "IssuerProxy", &result, rv, s, p);
}

static int check_profiles(const gatehouse_settings_t *settings,
                          const gatehouse_issuer_section_t *section, server_rec *s, apr_pool_t *p)
{
    const apr_array_header_t *all;
    int problems = 0, i;

    if (!section->remote.profiles) {
        return 0;
    }
    all = apr_table_elts(section->remote.profiles);
    for (i = 0; i < all->nelts; ++i) {
        const char *ours = APR_ARRAY_IDX(all, i, apr_table_entry_t).key;

        if (strcmp(ours, "*")
            && !apr_hash_get(settings->shared.profiles, ours, APR_HASH_KEY_STRING)) {
            gatehouse_log_problem(s, section->remote.profiles_place, "IssuerGatewayProfile",
                                  apr_psprintf(p, GHNO(0874) "issuer %s: there is no profile %s; "
                                               "write one, or correct the name", section->name,
                                               ours));
            ++problems;
        }
    }
    return problems;
}

/* Directives that would be without effect. */
static int check_local(const gatehouse_issuer_section_t *section, server_rec *s, apr_pool_t *p)
{
    const gatehouse_remote_t *remote = &section->remote;
    const struct {
        const char *name;
        gatehouse_place_t place;
    } said[] = {
        { "IssuerCredential", remote->credential_place }, { "IssuerTrust", remote->trust_place },
        { "IssuerProxy", remote->proxy_place }, { "IssuerWait", remote->wait_place },
        { "IssuerGatewayProfile", remote->profiles_place },
        { "IssuerGatewaySpelling", remote->spelling_place },
        { "IssuerSearch", remote->search_place }, { "IssuerLimits", remote->limits_place },
        { "IssuerSubject", remote->subject_place }, { "IssuerEvents", remote->events_place },
        { "IssuerCMP", remote->cmp.place },
    };
    int problems = 0;
    apr_size_t i;

    for (i = 0; i < sizeof(said) / sizeof(said[0]); ++i) {
        if (said[i].place.file) {
            gatehouse_log_problem(s, said[i].place, said[i].name,
                                  apr_psprintf(p, GHNO(0875) "issuer %s signs here, so that this "
                                               "has no effect; leave it out, or say IssuerBackend "
                                               "cagw", section->name));
            ++problems;
        }
    }
    return problems;
}

int gatehouse_check_remote(gatehouse_settings_t *settings, gatehouse_issuer_section_t *section,
                           server_rec *s, apr_pool_t *p, apr_pool_t *ptemp)
{
    gh_credential_t *credential = NULL;
    int problems = 0, is_cmp = gh_issuer_backend(section->issuer) == &gh_issuer_cmp;

    if (!gatehouse_is_remote(section)) {
        return check_local(section, s, ptemp);
    }
    settings->remote = 1;
    if (section->remote.credential) {
        problems += check_credential(settings, section, &credential, s, p);
    }
    else if (!is_cmp) {
        gatehouse_log_problem(s, section->backend_place, "IssuerBackend",
                              apr_psprintf(ptemp, GHNO(0876) "issuer %s: a gateway knows us by a "
                                           "certificate; add IssuerCredential with the PKCS#12 of "
                                           "it", section->name));
        ++problems;
    }
    problems += check_trust(section, credential, s, p);
    problems += check_proxy(section, s, p);
    if (is_cmp) {
        problems += gatehouse_check_cmp(section, s, p, ptemp);
    }
    else if (section->remote.cmp.place.file) {
        gatehouse_log_problem(s, section->remote.cmp.place, "IssuerCMP",
                              apr_psprintf(ptemp, GHNO(1062) "issuer %s is behind a gateway, so "
                                           "that this has no effect; leave it out, or say "
                                           "IssuerBackend cmp", section->name));
        ++problems;
    }
    return problems + check_profiles(settings, section, s, ptemp);
}

/* The ProxyPass that leads to the socket, in any server. */
static const ap_directive_t *find_mapping(const ap_directive_t *directive, const char *socket)
{
    for (; directive; directive = directive->next) {
        const ap_directive_t *inside = directive->first_child
            ? find_mapping(directive->first_child, socket) : NULL;

        if (inside) {
            return inside;
        }
        if (!ap_cstr_casecmp(directive->directive, "ProxyPass") && directive->args
            && strstr(directive->args, socket)) {
            return directive;
        }
    }
    return NULL;
}

int gatehouse_check_mapping(gatehouse_settings_t *settings, server_rec *s, apr_pool_t *p)
{
    const char *path = gatehouse_ca_socket(settings, p);
    const ap_directive_t *mapping;
    gatehouse_place_t place = settings->runtime_place;

    if (!settings->remote) {
        return 0;
    }
    if (!path) {
        gatehouse_log_problem(s, place, "GatehouseRuntimeDirectory", GHNO(0877) "the path of a "
                              "socket in it would be too long, or it cannot be used; name a "
                              "folder with a short path");
        return 1;
    }
    mapping = find_mapping(ap_conftree, apr_pstrcat(p, "unix:", path, "|fcgi:", NULL));
    if (!mapping || !ap_find_linked_module("mod_proxy_fcgi.c")) {
        gatehouse_warn(settings, place, "worker",
                       apr_psprintf(p, GHNO(0878) "requests do not reach the worker, which "
                                    "therefore looks for work once a second: load mod_proxy and "
                                    "mod_proxy_fcgi, and map ProxyPass \"%s\" "
                                    "\"unix:%s|fcgi://localhost/\" as conf.d/workers.conf does",
                                    GATEHOUSE_WORKER_PATH, path));
    }
    else if (!strstr(mapping->args, "timeout=")) {
        place.file = apr_pstrdup(p, mapping->filename);
        place.line = mapping->line_num;
        gatehouse_warn(settings, place, "ProxyPass", GHNO(0879) "without timeout= a request "
                       "waits as long as Timeout says for a worker that hangs; add timeout=, a "
                       "little more than the longest IssuerWait");
    }
    return 0;
}
