/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Require thumbprint VALUE ... | file:PATH | pinned [role=...], and AuthType gatehouse-cert. */

#include "mod_escrow/thumbprint.h"

#include <string.h>

#include <ap_provider.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_request.h>
#include <mod_auth.h>

#include "log.h"
#include "status.h"

/** One Require. */
typedef struct {
    const char *line;
    escrow_pins_t *pins;            /* those that stand there */
    apr_array_header_t *files;      /* int: indexes */
    int pinned;                     /* and those that are pinned with one of the roles */
    unsigned roles;                 /* 0: not said */
} rule_t;

static const char *parse(cmd_parms *cmd, const char *line, const void **parsed)
{
    rule_t *rule = apr_pcalloc(cmd->pool, sizeof(*rule));
    escrow_global_t *global = escrow_global(cmd->pool);
    const char *rest = line;
    const char *word;
    gh_result_t result;

    rule->line = apr_pstrcat(cmd->pool, "Require thumbprint ", line, NULL);
    rule->pins = escrow_pins_make(cmd->pool);
    rule->files = apr_array_make(cmd->pool, 1, sizeof(int));
    while (*(word = ap_getword_conf(cmd->pool, &rest))) {
        gh_thumbprint_t thumbprint;
        int bare, index;

        gh_result_clear(&result);
        if (!strcmp(word, "pinned")) {
            rule->pinned = 1;
        }
        else if (!strncmp(word, "role=", 5) && escrow_role(word + 5)) {
            rule->roles |= escrow_role(word + 5);
        }
        else if (!strncmp(word, "file:", 5)) {
            const char *error = thumbprint_add_file(cmd, word + 5, 0, &index);

            if (error) {
                return error;
            }
            APR_ARRAY_PUSH(rule->files, int) = index;
        }
        else if (gh_thumbprint_parse(&thumbprint, word, strlen(word), &bare, &result)
                 == APR_SUCCESS) {
            escrow_pins_add(rule->pins, &thumbprint, ESCROW_ROLE_ANY, 0);
            global->bare += bare && thumbprint.length == GH_SHA1_LENGTH;
        }
        else {
            return apr_psprintf(cmd->pool, GHNO(1154) "Require thumbprint takes thumbprints, "
                                "file:PATH, pinned, and role=provider, role=uem or role=admin, "
                                "not \"%s\"", word);
        }
    }
    if (!rule->pinned && !rule->files->nelts && !escrow_pins_count(rule->pins)) {
        return GHNO(1165) "Require thumbprint without a thumbprint lets nobody in: give "
                          "thumbprints, file:PATH, or pinned";
    }
    global->required = 1;
    global->pinned |= rule->pinned;
    *parsed = rule;
    return NULL;
}

/** What stands in Require has the roles that stand there; what is pinned has those of its pin. */
static thumbprint_verdict_t judge(request_rec *r, const rule_t *rule,
                                  thumbprint_request_t *request)
{
    const escrow_client_t *client = request->client;
    apr_time_t now = r->request_time;
    apr_status_t rv;
    int i;

    if (request->bad) {
        return THUMBPRINT_BAD_HEADER;
    }
    if (!client) {
        return THUMBPRINT_NO_CERTIFICATE;
    }
    if (escrow_client_time(client, now)) {
        return THUMBPRINT_NOT_IN_TIME;
    }
    if (escrow_pins_find(rule->pins, client, ESCROW_ROLE_ANY, now)) {
        request->roles |= rule->roles;
        return THUMBPRINT_GRANTED;
    }
    for (i = 0; i < rule->files->nelts; ++i) {
        if (thumbprint_in_file(r, APR_ARRAY_IDX(rule->files, i, int), client, ESCROW_ROLE_ANY,
                               now)) {
            request->roles |= rule->roles;
            return THUMBPRINT_GRANTED;
        }
    }
    if (rule->pinned) {
        rv = thumbprint_pinned(r, client, rule->roles ? rule->roles : ESCROW_ROLE_ANY, now);
        if (rv != GH_EREFUSED) {
            return rv == APR_SUCCESS ? THUMBPRINT_GRANTED : THUMBPRINT_UNAVAILABLE;
        }
    }
    return THUMBPRINT_UNKNOWN;
}

apr_status_t thumbprint_role(request_rec *r, unsigned roles)
{
    const thumbprint_request_t *request = thumbprint_look(r);

    if (!request->client || escrow_client_time(request->client, r->request_time)) {
        return GH_EREFUSED;
    }
    return request->roles & roles ? APR_SUCCESS
        : thumbprint_pinned(r, request->client, roles, r->request_time);
}

static int is_ours(request_rec *r)
{
    const char *type = ap_auth_type(r);

    return type && !ap_cstr_casecmp(type, THUMBPRINT_AUTH_TYPE);
}

/* httpd asks before there is a user, and a second time when somebody has refused and an AuthType
 * may change that. With our own, check_authn() below then says 401 or 403: mod_authz_core alone
 * knows 403 only. */
static authz_status check(request_rec *r, const char *line, const void *parsed)
{
    const rule_t *rule = parsed;
    thumbprint_request_t *request = thumbprint_request(r);
    thumbprint_verdict_t verdict;

    thumbprint_look(r);
    verdict = judge(r, rule, request);

    if (verdict == THUMBPRINT_GRANTED) {
        if (is_ours(r)) {
            r->user = (char *)request->name;
            r->ap_auth_type = (char *)THUMBPRINT_AUTH_TYPE;
        }
        return AUTHZ_GRANTED;
    }
    if (!request->judged || request->verdict < verdict) {
        request->verdict = verdict;
        request->rule = rule->line;
    }
    request->judged = 1;
    return !r->user && is_ours(r) ? AUTHZ_DENIED_NO_USER : AUTHZ_DENIED;
}

static const authz_provider provider = { check, parse };

static int check_authn(request_rec *r)
{
    thumbprint_request_t *request;

    if (!is_ours(r)) {
        return DECLINED;
    }
    request = thumbprint_request(r);
    if (!request->judged) {
        /* Require valid-user and the like */
        if (thumbprint_look(r)->bad) {
            request->verdict = THUMBPRINT_BAD_HEADER;
        }
        else if (!request->client) {
            request->verdict = THUMBPRINT_NO_CERTIFICATE;
        }
        else if (escrow_client_time(request->client, r->request_time)) {
            request->verdict = THUMBPRINT_NOT_IN_TIME;
        }
        request->rule = "AuthType " THUMBPRINT_AUTH_TYPE;
        request->judged = request->verdict != THUMBPRINT_GRANTED;
    }
    if (request->judged) {
        return request->verdict == THUMBPRINT_NO_CERTIFICATE ? HTTP_UNAUTHORIZED
               : request->verdict == THUMBPRINT_UNAVAILABLE ? HTTP_SERVICE_UNAVAILABLE
                                                            : HTTP_FORBIDDEN;
    }
    r->user = (char *)request->name;
    r->ap_auth_type = (char *)THUMBPRINT_AUTH_TYPE;
    return OK;
}

void thumbprint_require_hooks(apr_pool_t *p)
{
    ap_register_auth_provider(p, AUTHZ_PROVIDER_GROUP, "thumbprint", AUTHZ_PROVIDER_VERSION,
                              &provider, AP_AUTH_INTERNAL_PER_CONF);
    ap_hook_check_authn(check_authn, NULL, NULL, APR_HOOK_MIDDLE, AP_AUTH_INTERNAL_PER_CONF);
}
