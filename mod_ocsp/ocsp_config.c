/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Directives of servers and locations. */

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <apr_fnmatch.h>
#include <apr_strings.h>
#include <httpd.h>
#include <http_core.h>

#include "log.h"
#include "mod_ocsp/ocsp_config.h"
#include "mod_ocsp/ocsp_requestors.h"
#include "text.h"

#define IDS_MAX 1000
#define BODY_MIN 64
#define SIGNING_MAX 1024
#define CACHE_MIN ((apr_size_t)1024 * 1024)
#define CACHE_MAX ((apr_size_t)64 * 1024 * 1024 * 1024)

/* Life of configuration */

void *ocsp_create_settings(apr_pool_t *p, char *path)
{
    ocsp_settings_t *settings = apr_pcalloc(p, sizeof(*settings));

    settings->nonce = settings->max_ids = settings->max_body = settings->signature
        = settings->mixed_refuse = settings->http_errors = -1;
    return settings;
}

#define MERGED(member) (add->member >= 0 ? add->member : base->member)

void *ocsp_merge_settings(apr_pool_t *p, void *base_data, void *add_data)
{
    const ocsp_settings_t *base = base_data, *add = add_data;
    ocsp_settings_t *merged = apr_palloc(p, sizeof(*merged));

    merged->serve = add->serve ? add->serve : base->serve;
    merged->nonce = MERGED(nonce);
    merged->max_ids = MERGED(max_ids);
    merged->max_body = MERGED(max_body);
    merged->signature = MERGED(signature);
    merged->requestors = add->signature >= 0 ? add->requestors : base->requestors;
    merged->mixed_refuse = MERGED(mixed_refuse);
    merged->http_errors = MERGED(http_errors);
    return merged;
}

void *ocsp_create_server(apr_pool_t *p, server_rec *s)
{
    ocsp_server_t *server = apr_pcalloc(p, sizeof(*server));

    if (!s->is_virtual) {
        server->sections = apr_array_make(p, 4, sizeof(ocsp_section_t *));
    }
    return server;
}

void *ocsp_merge_server(apr_pool_t *p, void *base_data, void *add_data)
{
    const ocsp_server_t *base = base_data, *add = add_data;
    ocsp_server_t *merged = apr_pcalloc(p, sizeof(*merged));

    merged->fast = add->fast ? add->fast : base->fast;
    return merged;
}

ocsp_server_t *ocsp_server(const server_rec *s)
{
    return ap_get_module_config(s->module_config, &ocsp_module);
}

const ocsp_settings_t *ocsp_server_settings(const server_rec *s)
{
    return ap_get_module_config(s->lookup_defaults, &ocsp_module);
}

/* What directives have in common */

ocsp_place_t ocsp_place_of(const cmd_parms *cmd)
{
    ocsp_place_t place = { cmd->directive->filename, cmd->directive->line_num };

    return place;
}

const char *ocsp_explain(const gh_result_t *result, apr_status_t status, apr_pool_t *p)
{
    char buffer[128];

    if (!result->number[0]) {
        return apr_psprintf(p, GHNO(0587) "it failed without a reason: %s",
                            apr_strerror(status, buffer, sizeof(buffer)));
    }
    return apr_pstrcat(p, result->number, ": ", result->message, result->action[0] ? ". " : "",
                       result->action, NULL);
}

const char *ocsp_secret_source(apr_pool_t *p, const char *text)
{
    const char *path;

    if (strncmp(text, "file:", 5) && strncmp(text, "exec:", 5)) {
        return NULL;
    }
    path = text[5] ? ap_server_root_relative(p, text + 5) : NULL;
    return path ? apr_pstrcat(p, apr_pstrndup(p, text, 5), path, NULL) : NULL;
}

const char *ocsp_take_path(cmd_parms *cmd, const char **path, const char *text)
{
    *path = *text ? ap_server_root_relative(cmd->pool, text) : NULL;
    return *path ? NULL : apr_psprintf(cmd->pool, GHNO(0595) "%s: \"%s\" is not a usable path",
                                       cmd->cmd->name, text);
}

apr_size_t ocsp_size_parse(const char *text, apr_size_t least, apr_size_t most)
{
    static const char units[] = "kmg";
    const char *unit;
    char *end;
    apr_uint64_t size;

    if (!isdigit((unsigned char)*text) || strlen(text) > 12) {
        return 0;
    }
    size = strtoull(text, &end, 10);
    if (*end) {
        unit = strchr(units, tolower((unsigned char)*end));
        if (!unit || !*unit || end[1]) {
            return 0;
        }
        size <<= 10 * (unit - units + 1);
    }
    return size >= least && size <= most ? (apr_size_t)size : 0;
}

static const char *parse_number(cmd_parms *cmd, int *number, const char *text, int least, int most)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (*end || end == text || value < least || value > most) {
        return apr_psprintf(cmd->pool, GHNO(0588) "%s takes a number from %d to %d, not \"%s\"",
                            cmd->cmd->name, least, most, text);
    }
    *number = (int)value;
    return NULL;
}

/** Settings of a server or location, which have no place in an <OCSPAuthority>. Others than plain
 *  locations are refused, since the check would not find them. */
static const char *check_outside(const cmd_parms *cmd)
{
    const ap_directive_t *parent = cmd->directive->parent;

    if (ocsp_server(cmd->server)->section) {
        return apr_psprintf(cmd->pool, GHNO(0589) "%s does not belong inside <OCSPAuthority>: put "
                            "it outside, or into a <Location>", cmd->cmd->name);
    }
    if (cmd->path && (!parent || ap_cstr_casecmp(parent->directive, "<Location")
                      || parent->args[strspn(parent->args, " \t\"'")] == '~'
                      || apr_fnmatch_test(cmd->path))) {
        return apr_psprintf(cmd->pool, GHNO(0600) "%s belongs in a server, a virtual host or a "
                            "<Location> without pattern, such as <Location \"/ocsp\">",
                            cmd->cmd->name);
    }
    return NULL;
}

static const char *check_main(cmd_parms *cmd)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    return error ? error : check_outside(cmd);
}

/* Endpoints */

static const char *set_serve(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    ocsp_settings_t *settings = dir;
    const char *error = check_outside(cmd);
    int i;

    if (error) {
        return error;
    }
    if (settings->serve) {
        return apr_psprintf(cmd->pool, GHNO(0590) "OCSPServe stands here already, in line %d of "
                            "%s; put all names behind one of them", settings->serve->place.line,
                            settings->serve->place.file);
    }
    if (!argc) {
        return GHNO(0591) "OCSPServe takes the names of the authorities that are answered for";
    }
    settings->serve = apr_pcalloc(cmd->pool, sizeof(*settings->serve));
    settings->serve->names = apr_array_make(cmd->pool, argc, sizeof(const char *));
    settings->serve->place = ocsp_place_of(cmd);
    for (i = 0; i < argc; ++i) {
        APR_ARRAY_PUSH(settings->serve->names, const char *) = argv[i];
    }
    return NULL;
}

static const char *set_nonce(cmd_parms *cmd, void *dir, int on)
{
    ((ocsp_settings_t *)dir)->nonce = on;
    return check_outside(cmd);
}

static const char *set_max_ids(cmd_parms *cmd, void *dir, const char *text)
{
    const char *error = check_outside(cmd);

    return error ? error
                 : parse_number(cmd, &((ocsp_settings_t *)dir)->max_ids, text, 1, IDS_MAX);
}

static const char *set_max_body(cmd_parms *cmd, void *dir, const char *text)
{
    const char *error = check_outside(cmd);

    return error ? error
                 : parse_number(cmd, &((ocsp_settings_t *)dir)->max_body, text, BODY_MIN,
                                OCSP_REQUEST_MAX);
}

static const char *set_request_signature(cmd_parms *cmd, void *dir, const char *what,
                                         const char *file)
{
    ocsp_settings_t *settings = dir;
    const char *error = check_outside(cmd);
    const char *path;
    gh_result_t result;
    apr_status_t rv;

    if (error) {
        return error;
    }
    settings->requestors = NULL;
    if (!ap_cstr_casecmp(what, "ignore") && !file) {
        settings->signature = OCSP_SIGNATURE_IGNORE;
        return NULL;
    }
    if ((ap_cstr_casecmp(what, "verify") && ap_cstr_casecmp(what, "require")) || !file) {
        return GHNO(0592) "OCSPRequestSignature takes ignore, \"verify FILE\" or \"require FILE\" "
                          "with the certificates of the CAs whose requestors count";
    }
    settings->signature = ap_cstr_casecmp(what, "verify") ? OCSP_SIGNATURE_REQUIRE
                                                          : OCSP_SIGNATURE_VERIFY;
    error = ocsp_take_path(cmd, &path, file);
    if (error) {
        return error;
    }
    gh_result_clear(&result);
    rv = ocsp_requestors_load(&settings->requestors, path, cmd->pool, &result);
    return rv == APR_SUCCESS ? NULL : ocsp_explain(&result, rv, cmd->pool);
}

static const char *set_mixed(cmd_parms *cmd, void *dir, const char *what)
{
    ocsp_settings_t *settings = dir;

    settings->mixed_refuse = !ap_cstr_casecmp(what, "unauthorized");
    if (!settings->mixed_refuse && ap_cstr_casecmp(what, "unknown")) {
        return apr_psprintf(cmd->pool, GHNO(0593) "OCSPMixed takes unknown or unauthorized, not "
                            "\"%s\"", what);
    }
    return check_outside(cmd);
}

static const char *set_http_errors(cmd_parms *cmd, void *dir, int on)
{
    ((ocsp_settings_t *)dir)->http_errors = on;
    return check_outside(cmd);
}

/* Servers */

static const char *set_fast_path(cmd_parms *cmd, void *dir, const char *path)
{
    ocsp_server_t *server = ocsp_server(cmd->server);
    const char *error = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT);
    apr_size_t length = strlen(path);
    ocsp_path_t *one;

    error = error ? error : check_outside(cmd);
    if (error) {
        return error;
    }
    if (*path != '/' || (length > 1 && path[length - 1] == '/') || strpbrk(path, "%?#*")) {
        return apr_psprintf(cmd->pool, GHNO(0594) "OCSPFastPath takes paths as they stand in "
                            "requests, without a final slash, such as /ocsp; not \"%s\"", path);
    }
    if (!server->fast) {
        server->fast = apr_array_make(cmd->pool, 2, sizeof(ocsp_path_t));
    }
    one = apr_array_push(server->fast);
    one->length = length > 1 ? length : 0;
    one->path = one->length ? path : "";
    one->place = ocsp_place_of(cmd);
    return NULL;
}

static const char *set_directory(cmd_parms *cmd, void *dir, const char *path)
{
    ocsp_server_t *server = ocsp_server(cmd->server);
    const char *error = check_main(cmd);

    if (error) {
        return error;
    }
    server->directory_place = ocsp_place_of(cmd);
    return ocsp_take_path(cmd, &server->directory, path);
}

static const char *set_cache(cmd_parms *cmd, void *dir, const char *text)
{
    ocsp_server_t *server = ocsp_server(cmd->server);
    const char *error = check_main(cmd);

    if (error) {
        return error;
    }
    server->cache_size = ocsp_size_parse(text, CACHE_MIN, CACHE_MAX);
    return server->cache_size ? NULL : GHNO(0596) "OCSPCache takes a size of at least 1m, such "
                                                  "as 32m or 1g";
}

static const char *set_second_level(cmd_parms *cmd, void *dir, const char *text)
{
    ocsp_server_t *server = ocsp_server(cmd->server);
    const char *error = check_main(cmd);
    const char *colon = ap_strchr_c(text, ':');

    if (error) {
        return error;
    }
    server->second_level = colon ? apr_pstrmemdup(cmd->pool, text, colon - text) : text;
    server->second_level_args = colon ? colon + 1 : NULL;
    server->second_level_place = ocsp_place_of(cmd);
    return NULL;
}

static const char *set_second_level_key(cmd_parms *cmd, void *dir, const char *source)
{
    ocsp_server_t *server = ocsp_server(cmd->server);
    const char *error = check_main(cmd);

    if (error) {
        return error;
    }
    server->second_level_key = ocsp_secret_source(cmd->pool, source);
    server->second_level_key_place = ocsp_place_of(cmd);
    return server->second_level_key ? NULL : GHNO(0597) "OCSPSecondLevelKey takes file:PATH or "
                                                        "exec:PATH, never the key itself";
}

static const char *set_max_signing(cmd_parms *cmd, void *dir, const char *number,
                                   const char *option)
{
    ocsp_server_t *server = ocsp_server(cmd->server);
    const char *error = check_main(cmd);

    error = error ? error : parse_number(cmd, &server->signing, number, 1, SIGNING_MAX);
    if (error || !option) {
        return error;
    }
    if (strncmp(option, "live=", 5)) {
        return GHNO(0598) "OCSPMaxSigning takes a number, and perhaps live= with another one";
    }
    return parse_number(cmd, &server->live, option + 5, 1, server->signing);
}

const command_rec ocsp_directives[] = {
    AP_INIT_RAW_ARGS("<OCSPAuthority", ocsp_authority_section, NULL, RSRC_CONF,
                     "container of a CA that is answered for: <OCSPAuthority NAME>"),
    AP_INIT_TAKE1("OCSPCertificate", ocsp_set_certificate, NULL, RSRC_CONF,
                  "the CA's certificate; needless for an <Issuer>"),
    AP_INIT_TAKE_ARGV("OCSPSource", ocsp_set_source, NULL, RSRC_CONF,
                      "where status comes from: store, crl URL, serials URL or index PATH"),
    AP_INIT_TAKE1("OCSPStatus", ocsp_set_status, NULL, RSRC_CONF,
                  "name of a status profile"),
    AP_INIT_TAKE1("OCSPUnknown", ocsp_set_unknown, NULL, RSRC_CONF,
                  "what is said of unknown serials: unknown, revoked, good or unauthorized"),
    AP_INIT_TAKE1("OCSPNextUpdate", ocsp_set_next_update, NULL, RSRC_CONF,
                  "for how long answers are good, or off"),
    AP_INIT_TAKE1("OCSPUnknownNextUpdate", ocsp_set_unknown_next_update, NULL, RSRC_CONF,
                  "for how long answers about unknown serials are good, or off: as all others"),
    AP_INIT_TAKE1("OCSPArchiveCutoff", ocsp_set_cutoff, NULL, RSRC_CONF,
                  "off, ca, crl, a time, or retention=TIME"),
    AP_INIT_TAKE1("OCSPMaxStale", ocsp_set_max_stale, NULL, RSRC_CONF,
                  "how old what is known may be, or off"),
    AP_INIT_TAKE1("OCSPResponderID", ocsp_set_responder_id, NULL, RSRC_CONF,
                  "how answers name their signer: key or name"),
    AP_INIT_TAKE1("OCSPRetention", ocsp_set_retention, NULL, RSRC_CONF,
                  "for how long a revocation is known that a later CRL lacks, or off"),
    AP_INIT_TAKE_ARGV("OCSPSigner", ocsp_set_signer, NULL, RSRC_CONF,
                      "auto with kinds of keys, or a certificate and its key"),

    AP_INIT_TAKE_ARGV("OCSPServe", set_serve, NULL, RSRC_CONF | ACCESS_CONF,
                      "authorities that are answered for here; default: all"),
    AP_INIT_FLAG("OCSPNonce", set_nonce, NULL, RSRC_CONF | ACCESS_CONF,
                 "whether nonces are echoed"),
    AP_INIT_TAKE1("OCSPMaxCertificates", set_max_ids, NULL, RSRC_CONF | ACCESS_CONF,
                  "certificates that one request may ask for"),
    AP_INIT_TAKE1("OCSPMaxBody", set_max_body, NULL, RSRC_CONF | ACCESS_CONF,
                  "longest request in bytes"),
    AP_INIT_TAKE12("OCSPRequestSignature", set_request_signature, NULL, RSRC_CONF | ACCESS_CONF,
                   "ignore, verify FILE or require FILE"),
    AP_INIT_TAKE1("OCSPMixed", set_mixed, NULL, RSRC_CONF | ACCESS_CONF,
                  "requests for CAs of other signers: unknown or unauthorized"),
    AP_INIT_FLAG("OCSPHTTPErrors", set_http_errors, NULL, RSRC_CONF | ACCESS_CONF,
                 "whether OCSP errors have the HTTP status 400 or 404"),

    AP_INIT_ITERATE("OCSPFastPath", set_fast_path, NULL, RSRC_CONF,
                    "paths that are answered before anything else, for everybody"),
    AP_INIT_TAKE1("OCSPDirectory", set_directory, NULL, RSRC_CONF,
                  "folder of the status indexes"),
    AP_INIT_TAKE1("OCSPCache", set_cache, NULL, RSRC_CONF,
                  "memory for signed answers"),
    AP_INIT_TAKE1("OCSPSecondLevel", set_second_level, NULL, RSRC_CONF,
                  "shared cache of answers: a provider of httpd and its arguments"),
    AP_INIT_TAKE1("OCSPSecondLevelKey", set_second_level_key, NULL, RSRC_CONF,
                  "key that authenticates answers there: file:PATH or exec:PATH"),
    AP_INIT_TAKE12("OCSPMaxSigning", set_max_signing, NULL, RSRC_CONF,
                   "how many answers are signed at once, and of these live= for nonces"),
    { NULL, { NULL }, NULL, 0, RAW_ARGS, NULL }
};
