/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Users by httpd's authentication: its providers for user names in messages, its modules for
 * Kerberos. */

#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>
#include <http_request.h>

#include "log.h"
#include "mod_wstep/wstep_peer.h"
#include "mod_wstep/wstep_signature.h"
#include "mod_wstep/wstep_user.h"
#include "mod_wstep/wstep_verdicts.h"
#include "status.h"

/** One text for whatever is wrong with name or password. */
static apr_status_t refuse(wstep_fault_kind_t *kind, gh_result_t *result)
{
    *kind = WSTEP_FAULT_AUTHENTICATION;
    return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "user.password",
                          "Look at user name and password.",
                          GHNO(1402) "the user name or the password is not right");
}

static const char *name_for_providers(const wstep_server_t *server, const wstep_user_t *user,
                                      apr_pool_t *p)
{
    if (!user->domain || server->name_form == WSTEP_NAME_PLAIN) {
        return user->name;
    }
    if (server->name_form == WSTEP_NAME_PRINCIPAL) {
        return apr_pstrcat(p, user->name, "@", user->domain->name, NULL);
    }
    return apr_pstrcat(p, user->domain->alias ? user->domain->alias : user->domain->name, "\\",
                       user->name, NULL);
}

/** As mod_auth_basic asks them: the first that knows the user decides. */
static authn_status ask(request_rec *r, const wstep_entry_t *entry, const char *name,
                        const char *password)
{
    authn_status status = AUTH_USER_NOT_FOUND;
    int i;

    for (i = 0; i < entry->providers->nelts && status == AUTH_USER_NOT_FOUND; ++i) {
        const wstep_provider_t *one = &APR_ARRAY_IDX(entry->providers, i, wstep_provider_t);

        apr_table_setn(r->notes, AUTHN_PROVIDER_NAME_NOTE, one->name);
        status = one->provider->check_password(r, name, password);
        apr_table_unset(r->notes, AUTHN_PROVIDER_NAME_NOTE);
    }
    return status;
}

static apr_status_t check_password(request_rec *r, const wstep_entry_t *entry, const char *name,
                                   const char *password, wstep_fault_kind_t *kind,
                                   gh_result_t *result)
{
    wstep_verdicts_t *verdicts = wstep_child_verdicts();
    const char *scope = apr_psprintf(r->pool, "%pp", (const void *)entry->providers);
    wstep_verdict_t verdict = wstep_verdicts_find(verdicts, scope, name, password,
                                                  apr_time_now());

    if (verdict == WSTEP_VERDICT_NONE) {
        authn_status status = ask(r, entry, name, password);

        if (status != AUTH_GRANTED && status != AUTH_DENIED && status != AUTH_USER_NOT_FOUND) {
            *kind = WSTEP_FAULT_UNAVAILABLE;
            return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE,
                                  "user.provider", "Try again later, or at another URL.",
                                  GHNO(1403) "users cannot be asked for now");
        }
        verdict = status == AUTH_GRANTED ? WSTEP_VERDICT_GOOD : WSTEP_VERDICT_BAD;
        wstep_verdicts_keep(verdicts, scope, name, password, verdict, apr_time_now());
    }
    if (verdict == WSTEP_VERDICT_GOOD) {
        return APR_SUCCESS;
    }
    gh_limiter_note_failure(wstep_child_gate(), r->useragent_ip, apr_time_now());
    return refuse(kind, result);
}

static apr_status_t by_token(wstep_caller_t *caller, request_rec *r, const wstep_entry_t *entry,
                             const wstep_user_token_t *token, wstep_fault_kind_t *kind,
                             gh_result_t *result)
{
    const char *name;
    apr_status_t rv;

    if (!token->name) {
        return refuse(kind, result);
    }
    rv = wstep_user_parse(&caller->user, token->name, NULL, entry->endpoint.domains, r->pool,
                          result);
    if (rv != APR_SUCCESS) {
        *kind = WSTEP_FAULT_AUTHENTICATION;
        return rv;
    }
    /* a provider that is asked for alice@example.com checks the password of whoever has that as his
       user principal name */
    caller->user.principal |= wstep_server(r->server)->name_form == WSTEP_NAME_PRINCIPAL;
    name = name_for_providers(wstep_server(r->server), &caller->user, r->pool);
    rv = check_password(r, entry, name, token->password, kind, result);
    if (rv == APR_SUCCESS) {
        r->user = apr_pstrdup(r->pool, name);
        r->ap_auth_type = (char *)"UsernameToken";
    }
    return rv;
}

/** What httpd has found out before, from a ticket that was looked at. */
static apr_status_t by_httpd(wstep_caller_t *caller, request_rec *r, const wstep_entry_t *entry,
                             wstep_fault_kind_t *kind, gh_result_t *result)
{
    apr_status_t rv = wstep_kerberos_shown(r, result);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = wstep_user_parse(&caller->user, r->user, NULL, entry->endpoint.domains, r->pool, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    /* a realm may have the name that is a NetBIOS name here */
    if (!caller->user.domain
        || ap_cstr_casecmp(strrchr(r->user, '@') + 1, caller->user.domain->name)) {
        return refuse(kind, result);
    }
    return APR_SUCCESS;
}

static apr_status_t by_certificate(wstep_caller_t *caller, request_rec *r,
                                   const wstep_entry_t *entry, wstep_engine_t *engine,
                                   const wstep_soap_t *soap, const wstep_user_token_t *token,
                                   wstep_fault_kind_t *kind, gh_result_t *result)
{
    X509 *certificate;
    apr_status_t rv;

    if (token->is_signed && entry->section->signatures > 0) {
        /* whoever signs is who sends, whatever else he shows */
        rv = wstep_signature_verify(&certificate, soap, token, r->pool, result);
    }
    else if (token->is_signed) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "caller.signature",
                              "Show the certificate by TLS, or let WSTEPSignatures be on here.",
                              GHNO(1488) "signed messages are not taken here");
    }
    else {
        rv = wstep_peer_certificate(&certificate, r, result);
    }
    if (rv == APR_NOTFOUND) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "caller.certificate",
                              "Show one by TLS; the server asks for it where SSLVerifyClient is "
                              "optional_no_ca.",
                              GHNO(1484) "the caller has shown no certificate");
    }
    if (rv == APR_SUCCESS) {
        rv = wstep_engine_holder(engine, &entry->endpoint, caller, certificate, r->pool, result);
    }
    if (rv == APR_SUCCESS && caller->user.name) {
        r->user = apr_pstrdup(r->pool, caller->user.name);
        r->ap_auth_type = (char *)"Certificate";
    }
    if (result->failure == GH_FAILURE_UNAVAILABLE) {
        *kind = WSTEP_FAULT_UNAVAILABLE;
    }
    return rv;
}

apr_status_t wstep_authenticate(wstep_caller_t *caller, request_rec *r, const wstep_entry_t *entry,
                                wstep_engine_t *engine, const wstep_soap_t *soap,
                                wstep_fault_kind_t *kind, gh_result_t *result)
{
    wstep_user_token_t token;
    apr_status_t rv;

    memset(caller, 0, sizeof(*caller));
    caller->authentication = entry->endpoint.authentication;
    *kind = WSTEP_FAULT_AUTHENTICATION;
    rv = wstep_security_read(&token, soap->security, r->request_time, WSTEP_SKEW_DEFAULT, r->pool,
                             result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    switch (caller->authentication) {
    case WSTEP_USERTOKEN:
        return by_token(caller, r, entry, &token, kind, result);
    case WSTEP_KERBEROS:
        return by_httpd(caller, r, entry, kind, result);
    case WSTEP_CERTIFICATE:
        return by_certificate(caller, r, entry, engine, soap, &token, kind, result);
    case WSTEP_ANONYMOUS:
        return APR_SUCCESS;
    default:
        return refuse(kind, result);
    }
}
