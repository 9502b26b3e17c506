/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Directives of the pages that make challenges. httpd itself merges them for each request. */

#include <stdlib.h>
#include <string.h>

#include <apr_fnmatch.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>

#include "log.h"
#include "mod_scep/scep_web.h"
#include "x509/key.h"
#include "x509/name.h"

APLOG_USE_MODULE(scep);

scep_web_t *scep_merge_web(apr_pool_t *p, const scep_web_t *base, const scep_web_t *add)
{
    scep_web_t *web = apr_pmemdup(p, base, sizeof(*base));

    if (!add) {
        return web;
    }
    web->targets = add->targets ? add->targets : base->targets;
    web->permit = add->permit ? add->permit : base->permit;
    web->plain = add->plain >= 0 ? add->plain : base->plain;
    web->passwords = add->passwords ? add->passwords : base->passwords;
    web->subject = add->subject ? add->subject : base->subject;
    web->names = add->names ? add->names : base->names;
    web->organization = add->organization ? add->organization : base->organization;
    web->signer = add->signer ? add->signer : base->signer;
    return web;
}

/** @return an error, or NULL and the location's directives */
static const char *enter(scep_web_t **web, cmd_parms *cmd, void *dir)
{
    scep_section_t *section = dir;
    const ap_directive_t *parent = cmd->directive->parent;

    if (!parent || ap_cstr_casecmp(parent->directive, "<Location") != 0 || !cmd->path
        || parent->args[strspn(parent->args, " \t\"'")] == '~' || apr_fnmatch_test(cmd->path)) {
        return apr_psprintf(cmd->pool,
                            GHNO(0510) "%s belongs in a <Location> without pattern: that of the "
                                      "page that makes challenges",
                            cmd->cmd->name);
    }
    if (!section->web) {
        section->web = apr_pcalloc(cmd->pool, sizeof(*section->web));
        section->web->path = apr_pstrdup(cmd->pool, cmd->path);
        section->web->server = cmd->server;
        section->web->place = scep_place_of(cmd);
        section->web->plain = -1;
    }
    *web = section->web;
    return NULL;
}

static const char *twice(cmd_parms *cmd)
{
    return apr_psprintf(cmd->pool, GHNO(0511) "%s stands twice in this location",
                        cmd->cmd->name);
}

const char *scep_set_challenge_for(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    scep_web_target_t *target;
    scep_web_t *web;
    const char *error = enter(&web, cmd, dir);

    if (error) {
        return error;
    }
    if (argc < 3 || argc > 4) {
        return GHNO(0512) "SCEPChallengeFor takes a tenant, an issuer, a profile and perhaps a set "
                         "of challenges";
    }
    if (argc == 4 && !gh_name_valid(argv[3])) {
        return apr_psprintf(cmd->pool, GHNO(0513) "\"%s\" is not a valid name of a set of "
                            "challenges", argv[3]);
    }
    if (!web->targets) {
        web->targets = apr_array_make(cmd->pool, 2, sizeof(scep_web_target_t));
    }
    target = apr_array_push(web->targets);
    target->tenant = argv[0];
    target->issuer = argv[1];
    target->pattern = argv[2];
    target->set = argc == 4 ? argv[3] : "";
    target->place = scep_place_of(cmd);
    return NULL;
}

static const char *compile(const ap_expr_info_t **expression, cmd_parms *cmd, const char *text,
                           unsigned int flags)
{
    const char *error = NULL;

    *expression = ap_expr_parse_cmd(cmd, text, flags | AP_EXPR_FLAG_DONT_VARY, &error, NULL);
    return !error ? NULL : apr_psprintf(cmd->pool, GHNO(0514) "\"%s\" is not an expression: %s",
                                        text, error);
}

const char *scep_set_challenge_permit(cmd_parms *cmd, void *dir, const char *text)
{
    scep_web_t *web;
    const char *error = enter(&web, cmd, dir);

    if (error) {
        return error;
    }
    return web->permit ? twice(cmd) : compile(&web->permit, cmd, text, 0);
}

const char *scep_set_challenge_plain(cmd_parms *cmd, void *dir, int on)
{
    scep_web_t *web;
    const char *error = enter(&web, cmd, dir);

    if (!error) {
        web->plain = on;
    }
    return error;
}

const char *scep_set_ndes_passwords(cmd_parms *cmd, void *dir, const char *text)
{
    scep_web_t *web;
    const char *error = enter(&web, cmd, dir);
    char *rest;
    long number;

    if (error) {
        return error;
    }
    number = strtol(text, &rest, 10);
    if (*rest || rest == text || number < 1 || number > SCEP_WEB_PASSWORDS_MAX) {
        return apr_psprintf(cmd->pool, GHNO(0515) "SCEPNDESPasswords takes a number from 1 to %d",
                            SCEP_WEB_PASSWORDS_MAX);
    }
    web->passwords = (int)number;
    return NULL;
}

/**
 * Splits "CN=%{REMOTE_USER},O=Example" before its expressions are evaluated, so that no user can
 * bring attributes along in his name. A comma within braces belongs to an expression, one behind a
 * backslash to the value.
 * @return what is behind the attribute
 */
static const char *split(const char *text, const char **type, const char **value, apr_pool_t *p)
{
    const char *equals = strchr(text, '=');
    char *out;
    int depth = 0;

    *type = NULL;
    if (!equals) {
        return text;
    }
    *type = apr_pstrmemdup(p, text, (apr_size_t)(equals - text));
    *value = out = apr_palloc(p, strlen(equals));
    for (text = equals + 1; *text && (depth > 0 || *text != ','); ++text) {
        depth += *text == '{' ? 1 : *text == '}' ? -1 : 0;
        if (*text == '\\' && text[1] == ',') {
            ++text;
        }
        *out++ = *text;
    }
    *out = '\0';
    if (*text) {
        ++text;
        while (*text == ' ') {
            ++text;
        }
    }
    return text;
}

static const char *add_value(apr_array_header_t *values, cmd_parms *cmd, const char *type,
                             const char *text)
{
    scep_web_value_t value;
    const char *error = compile(&value.expression, cmd, text, AP_EXPR_FLAG_STRING_RESULT);

    value.type = type;
    if (!error) {
        APR_ARRAY_PUSH(values, scep_web_value_t) = value;
    }
    return error;
}

const char *scep_set_profile_subject(cmd_parms *cmd, void *dir, const char *text)
{
    const char *rest = text;
    const char *type, *value;
    scep_web_t *web;
    const char *error = enter(&web, cmd, dir);

    if (error) {
        return error;
    }
    if (web->subject) {
        return twice(cmd);
    }
    web->subject = apr_array_make(cmd->pool, 4, sizeof(scep_web_value_t));
    do {
        rest = split(rest, &type, &value, cmd->pool);
        if (!type || gh_name_attribute(type) == 0 || !*value) {
            return apr_psprintf(cmd->pool,
                                GHNO(0516) "SCEPProfileSubject takes attributes and expressions "
                                          "such as \"CN=%%{REMOTE_USER},O=Example\", not \"%s\"",
                                text);
        }
        error = add_value(web->subject, cmd, type, value);
    } while (!error && *rest);
    return error;
}

const char *scep_set_profile_alt_name(cmd_parms *cmd, void *dir, const char *type,
                                      const char *text)
{
    static const char *const types[] = { "email", "dns", "uri", "upn" };
    scep_web_t *web;
    const char *error = enter(&web, cmd, dir);
    apr_size_t i;

    if (error) {
        return error;
    }
    for (i = 0; i < sizeof(types) / sizeof(types[0]); ++i) {
        if (!ap_cstr_casecmp(type, types[i])) {
            if (!web->names) {
                web->names = apr_array_make(cmd->pool, 2, sizeof(scep_web_value_t));
            }
            return add_value(web->names, cmd, types[i], text);
        }
    }
    return apr_psprintf(cmd->pool, GHNO(0517) "SCEPProfileAltName takes email, dns, uri or upn, "
                        "and an expression; profiles cannot ask for \"%s\"", type);
}

const char *scep_set_profile_organization(cmd_parms *cmd, void *dir, const char *text)
{
    scep_web_t *web;
    const char *error = enter(&web, cmd, dir);

    if (!error) {
        web->organization = text;
    }
    return error;
}

const char *scep_set_profile_signer(cmd_parms *cmd, void *dir, const char *certificate,
                                    const char *key)
{
    scep_profile_signer_t *signer = NULL;
    scep_web_t *web;
    const char *error = enter(&web, cmd, dir);
    gh_result_t result;

    if (error) {
        return error;
    }
    certificate = ap_server_root_relative(cmd->pool, certificate);
    key = gh_key_is_token(key) ? key : ap_server_root_relative(cmd->pool, key);
    if (!certificate || !key) {
        return GHNO(0518) "SCEPProfileSigner takes the path of a certificate and the path of its "
                         "key";
    }
    gh_result_clear(&result);
    if (scep_profile_signer_open(&signer, certificate, key, cmd->pool, &result) != APR_SUCCESS
        && !scep_dump_problem(cmd, &result)) {
        return apr_psprintf(cmd->pool, "%s: %s. %s", result.number, result.message, result.action);
    }
    web->signer = signer;
    return NULL;
}
