/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* <UEM NAME> and what stands in it. */

#include "mod_escrow/escrow_uem.h"

#include <stdlib.h>
#include <string.h>

#include <apr_file_io.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <apr_uri.h>
#include <http_core.h>

#include "fcgi/uem/uem_template.h"
#include "log.h"
#include "mod_escrow/escrow_config.h"

#define CONCURRENT 64
#define TIMEOUT apr_time_from_sec(60)
#define RETRY apr_time_from_sec(900)
#define PAUSE apr_time_from_sec(10)
#define LIFE apr_time_from_sec(14 * 86400)
#define POLL apr_time_from_sec(1)

#define HEADERS_MAX 50
#define UEMS_MAX 100

static const char default_body[] =
    "{\"profile\":\"{{document.base64}}\",\"type\":\"{{document.type}}\","
    "\"profile_uuid\":\"{{profile.uuid}}\",\"device_uuid\":\"{{device.uuid}}\","
    "\"user_uuid\":\"{{user.uuid}}\"}";
static const char default_notice[] =
    "{\"device_uuid\":\"{{device.uuid}}\",\"user_uuid\":\"{{user.uuid}}\"}";

/* Of one configuration; live in pconf. */
static struct {
    apr_array_header_t *all;        /* escrow_uem_t * */
    apr_array_header_t *wanted;     /* const char * */
    apr_hash_t *lives;              /* apr_interval_time_t * by name */
    apr_array_header_t *told;       /* const char * */
    escrow_uem_t *open;             /* whose section is being read */
    apr_interval_time_t poll;
} uems;

static apr_status_t forget(void *data)
{
    memset(&uems, 0, sizeof(uems));
    return APR_SUCCESS;
}

static void remember(apr_pool_t *pconf)
{
    if (!uems.all) {
        uems.all = apr_array_make(pconf, 2, sizeof(escrow_uem_t *));
        uems.wanted = apr_array_make(pconf, 2, sizeof(const char *));
        uems.lives = apr_hash_make(pconf);
        uems.told = apr_array_make(pconf, 2, sizeof(const char *));
        uems.poll = POLL;
        apr_pool_cleanup_register(pconf, NULL, forget, apr_pool_cleanup_null);
    }
}

const apr_array_header_t *escrow_uems(void)
{
    return uems.all;
}

const apr_array_header_t *escrow_uem_wanted(void)
{
    return uems.wanted;
}

apr_interval_time_t escrow_poll(void)
{
    return uems.poll ? uems.poll : POLL;
}

const escrow_uem_t *escrow_uem(const char *name)
{
    int i;

    for (i = 0; uems.all && i < uems.all->nelts; ++i) {
        const escrow_uem_t *one = APR_ARRAY_IDX(uems.all, i, const escrow_uem_t *);

        if (!strcmp(one->name, name)) {
            return one;
        }
    }
    return NULL;
}

apr_hash_t *escrow_uem_lives(void)
{
    return uems.lives;
}

const apr_array_header_t *escrow_uem_told(void)
{
    return uems.told;
}

const char *escrow_secret_source(apr_pool_t *p, const char *text)
{
    const char *path;

    if (strncmp(text, "file:", 5) && strncmp(text, "exec:", 5)) {
        return NULL;
    }
    path = text[5] ? ap_server_root_relative(p, text + 5) : NULL;
    return path ? apr_pstrcat(p, apr_pstrndup(p, text, 5), path, NULL) : NULL;
}

/* Values */

/** Templates are of paths and queries: where a call goes to is never anybody else's choice. A
 *  password may be in it, so it is not repeated. */
static int url_valid(const char *url, apr_pool_t *p)
{
    apr_uri_t uri;

    return !strncmp(url, "https://", 8) && apr_uri_parse(p, url, &uri) == APR_SUCCESS
        && uri.hostname && *uri.hostname && !strpbrk(uri.hostname, "{}") && !uri.user
        && !uri.password && !uri.fragment && !(uri.port_str && strpbrk(uri.port_str, "{}"));
}

static int proxy_valid(const char *url, apr_pool_t *p)
{
    apr_uri_t uri;

    return (!strncmp(url, "http://", 7) || !strncmp(url, "https://", 8))
        && apr_uri_parse(p, url, &uri) == APR_SUCCESS && uri.hostname && *uri.hostname
        && !uri.user && !uri.password && !uri.query && !uri.fragment;
}

/** Why a template will not do, or NULL. */
static const char *template_fault(cmd_parms *cmd, const char *text, uem_place_t place,
                                  int documents)
{
    uem_template_t *one;
    gh_result_t result;

    gh_result_clear(&result);
    return uem_template_parse(&one, text, place, documents, cmd->temp_pool, &result)
        == APR_SUCCESS ? NULL
        : apr_psprintf(cmd->pool, "%s: %s: %s; %s", result.number, cmd->cmd->name, result.message,
                       result.action);
}

static int take_time(apr_interval_time_t *time, const char *text, apr_interval_time_t least,
                     apr_interval_time_t most)
{
    return gh_duration_parse(time, text) == APR_SUCCESS && *time >= least && *time <= most;
}

static int is_type(const char *text)
{
    const char *slash = strchr(text, '/');

    return slash && slash != text && slash[1]
        && text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                             "/.+-_;= ")] == '\0';
}

/** RFC 9110 5.6.2; not those that are said in another way. */
static int is_field_name(const char *name)
{
    static const char *const ours[] = {
        "Authorization", "Connection", "Content-Length", "Content-Type", "Expect", "Host",
        "Idempotency-Key", "Proxy-Authorization", "Transfer-Encoding", "Upgrade"
    };
    apr_size_t i;

    for (i = 0; i < sizeof(ours) / sizeof(ours[0]); ++i) {
        if (!ap_cstr_casecmp(name, ours[i])) {
            return 0;
        }
    }
    return *name && !name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                       "0123456789!#$%&'*+-.^_`|~")];
}

static const char *read_file(const char *path, apr_pool_t *p, apr_pool_t *ptemp)
{
    char *text = NULL;
    apr_file_t *file;
    apr_size_t length = UEM_TEMPLATE_MAX + 1;

    if (!path || apr_file_open(&file, path, APR_READ, 0, ptemp) != APR_SUCCESS) {
        return NULL;
    }
    text = apr_palloc(p, length + 1);
    if (apr_file_read_full(file, text, length, &length) != APR_EOF
        || memchr(text, '\0', length)) {
        text = NULL;
    }
    else {
        text[length] = '\0';
    }
    apr_file_close(file);
    return text;
}

/** BODY|file:PATH [TYPE] */
static const char *take_body(cmd_parms *cmd, escrow_uem_call_t *call, int argc,
                             char *const argv[], int documents)
{
    const char *body = argc > 0 ? argv[0] : NULL;

    if (!body || argc > 2 || (argc > 1 && !is_type(argv[1]))) {
        return apr_psprintf(cmd->pool, GHNO(1264) "%s: a body is a template or file:PATH, followed "
                            "by its media type, such as application/json, or by nothing",
                            cmd->cmd->name);
    }
    if (!strncmp(body, "file:", 5)) {
        body = read_file(ap_server_root_relative(cmd->temp_pool, body + 5), cmd->pool,
                         cmd->temp_pool);
        if (!body) {
            return apr_psprintf(cmd->pool, GHNO(1281) "%s: \"%s\" cannot be read, or is no text "
                                "of at most 64 KiB", cmd->cmd->name, argv[0] + 5);
        }
    }
    call->body = body;
    call->type = argc > 1 ? argv[1] : "application/json";
    if (documents && !strcmp(body, "{{document}}")) {
        call->type = argc > 1 ? argv[1] : NULL;
    }
    return template_fault(cmd, body, call->type ? uem_place_of_type(call->type) : UEM_IN_TEXT,
                          documents);
}

/* Directives */

static const char *set_url(cmd_parms *cmd, escrow_uem_t *uem, int argc, char *const argv[])
{
    if (argc != 1 || !url_valid(argv[0], cmd->temp_pool)) {
        return GHNO(1260) "UEMURL takes a URL like https://uem.example.com/api/devices/"
               "{{device.uuid}}, without user, password and fragment, and without tokens in the "
               "name of the host";
    }
    uem->deliver.url = argv[0];
    return template_fault(cmd, argv[0], UEM_IN_URL, 0);
}

static const char *set_method(cmd_parms *cmd, escrow_uem_t *uem, int argc, char *const argv[])
{
    uem->deliver.method = argc == 1 ? argv[0] : "";
    return !strcmp(uem->deliver.method, "POST") || !strcmp(uem->deliver.method, "PUT")
        || !strcmp(uem->deliver.method, "PATCH") ? NULL
        : GHNO(1261) "UEMMethod takes POST, PUT or PATCH";
}

static const char *set_header(cmd_parms *cmd, escrow_uem_t *uem, int argc, char *const argv[])
{
    escrow_uem_header_t *header;

    if (argc != 2 || !is_field_name(argv[0]) || uem->headers->nelts >= HEADERS_MAX) {
        return GHNO(1262) "UEMHeader takes the name of a header and a template; those of "
               "authorisation, of the body and Idempotency-Key are made of other directives";
    }
    header = apr_array_push(uem->headers);
    memset(header, 0, sizeof(*header));
    header->name = argv[0];
    header->value = argv[1];
    return template_fault(cmd, argv[1], UEM_IN_HEADER, 0);
}

static const char *set_header_secret(cmd_parms *cmd, escrow_uem_t *uem, int argc,
                                     char *const argv[])
{
    const char *source = argc == 2 ? escrow_secret_source(cmd->pool, argv[1]) : NULL;
    escrow_uem_header_t *header;

    if (!source || uem->headers->nelts >= HEADERS_MAX
        || (!is_field_name(argv[0]) && ap_cstr_casecmp(argv[0], "Authorization"))) {
        return GHNO(1263) "UEMHeaderSecret takes the name of a header, and file:PATH or exec:PATH "
               "with its value; a secret never stands in the configuration";
    }
    header = apr_array_push(uem->headers);
    memset(header, 0, sizeof(*header));
    header->name = argv[0];
    header->source = source;
    return NULL;
}

static const char *set_body(cmd_parms *cmd, escrow_uem_t *uem, int argc, char *const argv[])
{
    return take_body(cmd, &uem->deliver, argc, argv, 1);
}

static int take_oauth(cmd_parms *cmd, escrow_uem_t *uem, int argc, char *const argv[])
{
    int i;

    if (uem->basic || uem->token_url || argc < 2 || !url_valid(argv[1], cmd->temp_pool)
        || strstr(argv[1], "{{")) {
        return 0;
    }
    uem->token_url = argv[1];
    for (i = 2; i < argc; ++i) {
        if (!strncmp(argv[i], "client=", 7) && argv[i][7]) {
            uem->client = argv[i] + 7;
        }
        else if (!strncmp(argv[i], "secret=", 7)) {
            uem->client_secret = escrow_secret_source(cmd->pool, argv[i] + 7);
        }
        else if (!strncmp(argv[i], "scope=", 6) && argv[i][6]) {
            uem->scope = argv[i] + 6;
        }
        else if (!strcmp(argv[i], "auth=form")) {
            uem->in_form = 1;
        }
        else if (strcmp(argv[i], "auth=header")) {
            return 0;
        }
    }
    return uem->client && uem->client_secret;
}

static int take_mtls(cmd_parms *cmd, escrow_uem_t *uem, int argc, char *const argv[])
{
    int i;

    if (uem->credential || argc < 2 || !*argv[1]) {
        return 0;
    }
    uem->credential = ap_server_root_relative(cmd->pool, argv[1]);
    for (i = 2; i < argc; ++i) {
        if (!strncmp(argv[i], "alias=", 6) && argv[i][6] && !uem->alias) {
            uem->alias = argv[i] + 6;
        }
        else if (strncmp(argv[i], "passphrase=", 11) || uem->passphrase
                 || !(uem->passphrase = escrow_secret_source(cmd->pool, argv[i] + 11))) {
            return 0;
        }
    }
    return uem->credential != NULL;
}

static const char *set_credential(cmd_parms *cmd, escrow_uem_t *uem, int argc, char *const argv[])
{
    int taken = 0;

    if (argc == 2 && !ap_cstr_casecmp(argv[0], "basic") && !uem->basic && !uem->token_url) {
        uem->basic = escrow_secret_source(cmd->pool, argv[1]);
        taken = uem->basic != NULL;
    }
    else if (argc > 1 && !ap_cstr_casecmp(argv[0], "oauth2")) {
        taken = take_oauth(cmd, uem, argc, argv);
    }
    else if (argc > 1 && !ap_cstr_casecmp(argv[0], "mtls")) {
        taken = take_mtls(cmd, uem, argc, argv);
    }
    return taken ? NULL
        : GHNO(1265) "UEMCredential takes \"basic SOURCE\" with USER:PASSWORD, \"oauth2 URL "
          "client=ID secret=SOURCE [scope=SCOPE] [auth=header|form]\", or \"mtls FILE "
          "[passphrase=SOURCE] [alias=NAME]\" with a PKCS#12 or PEM file; a SOURCE is file:PATH "
          "or exec:PATH; one of the first two, and one of the last";
}

static const char *set_trust(cmd_parms *cmd, escrow_uem_t *uem, int argc, char *const argv[])
{
    if (argc != 1 || !*argv[0]) {
        return GHNO(1266) "UEMTrust takes the path of a PEM file, or \"system\"";
    }
    uem->trust = strcmp(argv[0], "system") ? ap_server_root_relative(cmd->pool, argv[0]) : NULL;
    return NULL;
}

static const char *set_proxy(cmd_parms *cmd, escrow_uem_t *uem, int argc, char *const argv[])
{
    if (argc != 1 || (strcmp(argv[0], "env") && strcmp(argv[0], "none")
                      && !proxy_valid(argv[0], cmd->temp_pool))) {
        /* a password may be in it, so it is not repeated */
        return GHNO(1267) "UEMProxy takes \"none\", \"env\", or a URL like "
               "http://proxy.example.com:3128, without user and password";
    }
    uem->proxy = strcmp(argv[0], "none") ? argv[0] : NULL;
    return NULL;
}

static int take_limit(escrow_uem_t *uem, const char *text)
{
    char *end;

    if (!strncmp(text, "concurrent=", 11)) {
        long number = strtol(text + 11, &end, 10);

        uem->concurrent = (int)number;
        return apr_isdigit(text[11]) && !*end && number >= 1 && number <= 1000;
    }
    if (!strncmp(text, "rate=", 5)) {
        uem->rate = strtod(text + 5, &end);
        return apr_isdigit(text[5]) && !*end && uem->rate >= 0.01 && uem->rate <= 10000;
    }
    if (!strncmp(text, "timeout=", 8)) {
        return take_time(&uem->timeout, text + 8, apr_time_from_sec(1), apr_time_from_sec(600));
    }
    if (!strncmp(text, "retry=", 6)) {
        return take_time(&uem->retry, text + 6, apr_time_from_sec(1), apr_time_from_sec(3600));
    }
    return !strncmp(text, "pause=", 6)
        && take_time(&uem->pause, text + 6, apr_time_from_sec(1), apr_time_from_sec(300));
}

static const char *set_limits(cmd_parms *cmd, escrow_uem_t *uem, int argc, char *const argv[])
{
    int i;

    for (i = 0; i < argc; ++i) {
        if (!take_limit(uem, argv[i])) {
            return apr_psprintf(cmd->pool, GHNO(1268) "UEMLimits takes concurrent=1..1000, "
                                "rate=0.01..10000 per second, timeout=1s..600s, retry=1s..1h and "
                                "pause=1s..300s; not \"%s\"", argv[i]);
        }
    }
    return NULL;
}

static const char *set_life(cmd_parms *cmd, escrow_uem_t *uem, int argc, char *const argv[])
{
    return argc == 1 && take_time(&uem->life, argv[0], apr_time_from_sec(1),
                                  apr_time_from_sec(90 * 86400)) ? NULL
        : GHNO(1269) "UEMLife takes a time from 1s to 90d";
}

static const char *set_available(cmd_parms *cmd, escrow_uem_t *uem, int argc, char *const argv[])
{
    const char *err;

    if (argc < 1 || argc > 3 || !url_valid(argv[0], cmd->temp_pool)) {
        return GHNO(1270) "UEMAvailable takes a URL as UEMURL does, and perhaps a template of a "
               "body with its media type";
    }
    uem->available.url = argv[0];
    err = template_fault(cmd, argv[0], UEM_IN_URL, 0);
    return err || argc < 2 ? err : take_body(cmd, &uem->available, argc - 1, argv + 1, 0);
}

static const struct {
    const char *name;
    const char *(*set)(cmd_parms *cmd, escrow_uem_t *uem, int argc, char *const argv[]);
    int often;                      /* 1: more than once */
} directives[] = {
    { "UEMURL", set_url, 0 }, { "UEMMethod", set_method, 0 }, { "UEMHeader", set_header, 1 },
    { "UEMHeaderSecret", set_header_secret, 1 }, { "UEMBody", set_body, 0 },
    { "UEMCredential", set_credential, 1 }, { "UEMTrust", set_trust, 0 },
    { "UEMProxy", set_proxy, 0 }, { "UEMLimits", set_limits, 0 }, { "UEMLife", set_life, 0 },
    { "UEMAvailable", set_available, 0 }
};

const char *escrow_set_uem(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    const char *err = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    apr_size_t i;

    if (err) {
        return err;
    }
    if (!uems.open) {
        return apr_psprintf(cmd->pool, GHNO(1271) "%s belongs inside <UEM NAME>", cmd->cmd->name);
    }
    for (i = 0; strcmp(directives[i].name, cmd->cmd->name); ++i) {
    }
    if (!directives[i].often && apr_table_get(uems.open->said, cmd->cmd->name)) {
        return apr_psprintf(cmd->pool, GHNO(1272) "%s was given before for UEM %s; leave one of "
                            "them", cmd->cmd->name, uems.open->name);
    }
    apr_table_setn(uems.open->said, cmd->cmd->name, "1");
    return directives[i].set(cmd, uems.open, argc, argv);
}

static escrow_uem_t *make_section(cmd_parms *cmd, const char *name)
{
    escrow_uem_t *uem = apr_pcalloc(cmd->pool, sizeof(*uem));

    uem->name = name;
    uem->file = cmd->directive->filename;
    uem->line = cmd->directive->line_num;
    uem->said = apr_table_make(cmd->pool, 8);
    uem->headers = apr_array_make(cmd->pool, 4, sizeof(escrow_uem_header_t));
    uem->deliver.method = uem->available.method = "POST";
    uem->deliver.body = default_body;
    uem->available.body = default_notice;
    uem->deliver.type = uem->available.type = "application/json";
    uem->concurrent = CONCURRENT;
    uem->timeout = TIMEOUT;
    uem->retry = RETRY;
    uem->pause = PAUSE;
    uem->life = LIFE;
    return uem;
}

static const char *walk(cmd_parms *cmd)
{
    ap_directive_t *section = cmd->directive, *child;
    const command_rec *rec = cmd->cmd;
    const char *err = NULL;

    for (child = section->first_child; child; child = child->next) {
        if (ap_cstr_casecmpn(child->directive, "UEM", 3)) {
            cmd->err_directive = child;
            return apr_psprintf(cmd->pool, GHNO(1282) "%s does not belong in <UEM ...>: only "
                                "UEM... directives do", child->directive);
        }
    }
    if (section->first_child) {
        err = ap_walk_config(section->first_child, cmd, cmd->context);
        cmd->directive = section;
        cmd->cmd = rec;
    }
    return err;
}

const char *escrow_uem_section(cmd_parms *cmd, void *dir, const char *text)
{
    const char *err = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    const char *end = ap_strrchr_c(text, '>'), *name;
    const escrow_uem_t *seen;

    if (err) {
        return err;
    }
    remember(cmd->pool);
    text = end ? apr_pstrmemdup(cmd->pool, text, (apr_size_t)(end - text)) : "";
    name = ap_getword_conf(cmd->pool, &text);
    if (!gh_name_valid(name) || *text || uems.all->nelts >= UEMS_MAX) {
        return GHNO(1273) "<UEM NAME> takes one name of 1 to 64 letters, digits, '_', '~' and "
               "'-'; there may be 100 sections";
    }
    seen = escrow_uem(name);
    if (seen) {
        return apr_psprintf(cmd->pool, GHNO(1274) "UEM %s is there already, at %s:%d; give one of "
                            "them another name", name, seen->file, seen->line);
    }
    uems.open = make_section(cmd, name);
    APR_ARRAY_PUSH(uems.all, escrow_uem_t *) = uems.open;
    apr_hash_set(uems.lives, name, APR_HASH_KEY_STRING, &uems.open->life);
    err = walk(cmd);
    if (uems.open->available.url) {
        APR_ARRAY_PUSH(uems.told, const char *) = name;
    }
    uems.open = NULL;
    return err;
}

const char *escrow_set_deliver(cmd_parms *cmd, void *dir, const char *name)
{
    escrow_section_t *section = dir;

    remember(cmd->pool);
    APR_ARRAY_PUSH(uems.wanted, const char *) = name;
    section->deliver = name;
    return NULL;
}

const char *escrow_set_poll(cmd_parms *cmd, void *dir, const char *time)
{
    const char *err = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    remember(cmd->pool);
    return err ? err : take_time(&uems.poll, time, apr_time_from_msec(100), apr_time_from_sec(60))
        ? NULL : GHNO(1280) "EscrowPoll takes a time from 100ms to 60s";
}
