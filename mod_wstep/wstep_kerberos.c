/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Kerberos by HTTP Negotiate. mod_auth_gssapi says whether a ticket is genuine and whose it is;
 * which encryption it has, is seen in the token before, since afterwards nothing tells. */

#include <string.h>

#include <apr_base64.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>

#include "log.h"
#include "mod_wstep/wstep_config.h"
#include "mod_wstep/wstep_negotiate.h"
#include "status.h"

#define SCHEME "Negotiate"

/** Of one request: a ticket was shown, whose encryption is good enough. */
typedef struct {
    int looked_at;
} shown_t;

void wstep_kerberos_challenge(request_rec *r)
{
    apr_table_setn(r->err_headers_out, "WWW-Authenticate", SCHEME);
}

static int refuse(request_rec *r, const wstep_entry_t *entry, const gh_result_t *result)
{
    gh_audit_event_t *event = wstep_audit_event(r);

    event->protocol = entry->policy ? "xcep" : "wstep";
    event->event = entry->policy ? "policies" : "enrol";
    event->tenant = entry->endpoint.tenant;
    event->issuer = entry->endpoint.issuer;
    gh_audit_take_result(event, result, r->pool);
    gh_log(wstep_request_log(r), GH_LOG_INFO, APR_SUCCESS, "%s: %s; %s", result->number,
           result->message, result->action);
    wstep_audit(event, r->pool);
    wstep_kerberos_challenge(r);
    return HTTP_UNAUTHORIZED;
}

/** Decoded as mod_auth_gssapi does it, so that both see the same. */
static gh_bytes_t decode(const char *header, apr_pool_t *p)
{
    const char *text = ap_getword_white(p, &header);
    gh_bytes_t token = { NULL, 0 };

    if (strlen(text) <= 2 * WSTEP_NEGOTIATE_SIZE_MAX) {
        unsigned char *data = apr_palloc(p, (apr_size_t)apr_base64_decode_len(text) + 1);

        token.data = data;
        token.length = (apr_size_t)apr_base64_decode_binary(data, text);
    }
    return token;
}

static apr_status_t look(request_rec *r, const wstep_entry_t *entry, const char *header,
                         gh_result_t *result)
{
    static const char *const types[] = { "ticket", "session key" };
    int weak = entry->section->weak_kerberos > 0;
    wstep_negotiate_t negotiate;
    shown_t *shown;
    int i;

    wstep_negotiate_read(&negotiate, decode(header, r->pool));
    switch (negotiate.kind) {
    case WSTEP_NEGOTIATE_KERBEROS:
        break;
    case WSTEP_NEGOTIATE_OTHER:
        return APR_SUCCESS;
    case WSTEP_NEGOTIATE_NTLM:
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "kerberos.ntlm",
                              "See why the client has got no ticket: whether it reaches a domain "
                              "controller, and knows the principal HTTP/NAME of this server.",
                              GHNO(1493) "the client offers NTLM, which is never taken");
    default:
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_MALFORMED, "kerberos.token",
                              "Send a token of SPNEGO with a ticket of Kerberos.",
                              GHNO(1494) "the token of Negotiate cannot be read");
    }
    for (i = 0; i < 2; ++i) {
        long type = i ? negotiate.session : negotiate.ticket;
        wstep_encryption_t encryption = wstep_negotiate_encryption(type);

        if (encryption == WSTEP_ENCRYPTION_REFUSED
            || (encryption == WSTEP_ENCRYPTION_OLD && !weak)) {
            return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "kerberos.encryption",
                                  "Give the account of this server's principal AES keys, and "
                                  "let clients use AES; 3DES and RC4 are for WSTEPWeakKerberos.",
                                  GHNO(1495) "the %s has encryption type %ld of Kerberos, which "
                                  "is not taken here", types[i], type);
        }
    }
    shown = apr_pcalloc(r->pool, sizeof(*shown));
    shown->looked_at = 1;
    ap_set_module_config(r->request_config, &wstep_module, shown);
    return APR_SUCCESS;
}

int wstep_kerberos_check(request_rec *r)
{
    const wstep_entry_t *entry = r->main ? NULL : wstep_find_entry(r);
    const char *header = apr_table_get(r->headers_in, "Authorization");
    gh_result_t result;
    apr_status_t rv;

    if (!entry || entry->endpoint.authentication != WSTEP_KERBEROS || !header) {
        return DECLINED;
    }
    gh_result_clear(&result);
    if (ap_cstr_casecmp(ap_getword_white(r->pool, &header), SCHEME)) {
        rv = gh_result_fail(&result, GH_EREFUSED, GH_FAILURE_DENIED, "kerberos.scheme",
                            "Use Negotiate with a ticket of Kerberos.",
                            GHNO(1496) "the client shows who it is in another way than by "
                            "Negotiate");
    }
    else {
        rv = look(r, entry, header, &result);
    }
    return rv == APR_SUCCESS ? DECLINED : refuse(r, entry, &result);
}

apr_status_t wstep_kerberos_shown(request_rec *r, gh_result_t *result)
{
    const shown_t *shown = ap_get_module_config(r->request_config, &wstep_module);

    if (!r->user || !r->ap_auth_type || ap_cstr_casecmp(r->ap_auth_type, SCHEME)) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "kerberos.nobody",
                              "Load mod_auth_gssapi, and have the location say AuthType GSSAPI "
                              "and Require valid-user.",
                              GHNO(1497) "httpd has not asked the caller for a ticket");
    }
    if (!strchr(r->user, '@')) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "kerberos.realm",
                              "Take GssapiLocalName off the location.",
                              GHNO(1503) "httpd names a caller without the realm");
    }
    if (!shown || !shown->looked_at) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "kerberos.session",
                              "Show the ticket with each request; take GssapiUseSessions and "
                              "GssapiConnectionBound off the location.",
                              GHNO(1498) "this request has brought no ticket");
    }
    return APR_SUCCESS;
}
