/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* <Webhook NAME>: a service that says whether challenges are good. */

#include <string.h>
#include <httpd.h>
#include <apr_strings.h>
#include <apr_uri.h>

#include "gatehouse_remote.h"
#include "log.h"
#include "text.h"

#define TIMEOUT apr_time_from_sec(10)
#define CONCURRENT 16
#define DEADLINE apr_time_from_sec(24 * 3600)
#define ID_MAX 255

/* A password may be in it, so it is not repeated. */
static int proxy_valid(const char *url, apr_pool_t *p)
{
    apr_uri_t uri;

    return (!strncmp(url, "http://", 7) || !strncmp(url, "https://", 8))
        && apr_uri_parse(p, url, &uri) == APR_SUCCESS && uri.hostname && *uri.hostname
        && !uri.user && !uri.password && !uri.query && !uri.fragment;
}

static int take_credential(gatehouse_remote_t *remote, apr_pool_t *p, int argc,
                           char *const argv[])
{
    int i;

    for (i = 1; i < argc; ++i) {
        if (!strncmp(argv[i], "alias=", 6) && argv[i][6] && !remote->alias) {
            remote->alias = argv[i] + 6;
        }
        else if (strncmp(argv[i], "passphrase=", 11) || !argv[i][11] || remote->passphrase
                 || !(remote->passphrase = gatehouse_secret_source(p, argv[i] + 11))) {
            return 0;
        }
    }
    return 1;
}

static const char *set_url(cmd_parms *cmd, gatehouse_webhook_section_t *section, int argc,
                           char *const argv[])
{
    apr_uri_t uri;

    if (argc != 1 || strncmp(argv[0], "https://", 8)
        || apr_uri_parse(cmd->temp_pool, argv[0], &uri) != APR_SUCCESS || !uri.hostname
        || !*uri.hostname || uri.user || uri.password || uri.fragment) {
        /* a password may be in it, so it is not repeated */
        return GHNO(0891) "WebhookURL takes a URL like https://hooks.example.com/scep, without "
               "user, password and fragment";
    }
    section->remote.url = argv[0];
    return NULL;
}

static const char *set_id(cmd_parms *cmd, gatehouse_webhook_section_t *section, int argc,
                          char *const argv[])
{
    const char *at;

    section->id = argc == 1 ? argv[0] : "";
    for (at = section->id; *at > ' ' && *at < 0x7f; ++at) {
    }
    return *section->id && !*at && at - section->id <= ID_MAX ? NULL
        : GHNO(0892) "WebhookID takes one word of at most 255 printable characters";
}

static const char *set_secret(cmd_parms *cmd, gatehouse_webhook_section_t *section, int argc,
                              char *const argv[])
{
    section->secret = argc == 1 ? gatehouse_secret_source(cmd->pool, argv[0]) : NULL;
    return section->secret ? NULL
        : GHNO(0893) "WebhookSecret takes file:PATH or exec:PATH; a secret never stands in the "
          "configuration";
}

static const char *set_authorization(cmd_parms *cmd, gatehouse_webhook_section_t *section,
                                     int argc, char *const argv[])
{
    section->basic = argc == 2 && !ap_cstr_casecmp(argv[0], "basic");
    section->authorization = argc == 2 ? gatehouse_secret_source(cmd->pool, argv[1]) : NULL;
    return section->authorization && (section->basic || !ap_cstr_casecmp(argv[0], "bearer")) ? NULL
        : GHNO(0894) "WebhookAuthorization takes \"bearer\" or \"basic\", and file:PATH or "
          "exec:PATH with the token, or with USER:PASSWORD";
}

static const char *set_credential(cmd_parms *cmd, gatehouse_webhook_section_t *section, int argc,
                                  char *const argv[])
{
    gatehouse_remote_t *remote = &section->remote;

    remote->credential = argc > 0 && *argv[0] ? ap_server_root_relative(cmd->pool, argv[0]) : NULL;
    return remote->credential && take_credential(remote, cmd->pool, argc, argv) ? NULL
        : GHNO(0895) "WebhookCredential takes the path of a PKCS#12 file, and perhaps "
          "passphrase=file:PATH, passphrase=exec:PATH and alias=NAME, once each";
}

static const char *set_trust(cmd_parms *cmd, gatehouse_webhook_section_t *section, int argc,
                             char *const argv[])
{
    section->remote.trust = argc != 1 || !*argv[0] ? NULL
        : strcmp(argv[0], "system") ? ap_server_root_relative(cmd->pool, argv[0]) : argv[0];
    return section->remote.trust ? NULL
        : GHNO(0896) "WebhookTrust takes the path of a PEM file, or \"system\"";
}

static const char *set_proxy(cmd_parms *cmd, gatehouse_webhook_section_t *section, int argc,
                             char *const argv[])
{
    section->remote.proxy = argc == 1 && proxy_valid(argv[0], cmd->temp_pool)
        ? argv[0] : NULL;
    return section->remote.proxy ? NULL
        : GHNO(0897) "WebhookProxy takes a URL like http://proxy.example.com:3128, without user "
          "and password";
}

static const char *set_wait(cmd_parms *cmd, gatehouse_webhook_section_t *section, int argc,
                            char *const argv[])
{
    return (argc == 1 || argc == 2)
        && gatehouse_take_wait(&section->remote, argv[0], argc == 2 ? argv[1] : NULL) ? NULL
        : GHNO(0898) "WebhookWait takes a time of at most 60s, and perhaps max-waiting=NUMBER";
}

static const char *set_limits(cmd_parms *cmd, gatehouse_webhook_section_t *section, int argc,
                              char *const argv[])
{
    int i;

    for (i = 0; i < argc; ++i) {
        if (!gatehouse_take_limit(&section->remote, &section->deadline, argv[i])) {
            return apr_psprintf(cmd->pool, GHNO(0899) "WebhookLimits takes concurrent=1..1000, "
                                "rate=0.01..10000 per second, timeout=1s..600s and "
                                "deadline=60s..30d; not \"%s\"", argv[i]);
        }
    }
    return NULL;
}

static const struct {
    const char *name;
    const char *(*set)(cmd_parms *cmd, gatehouse_webhook_section_t *section, int argc,
                       char *const argv[]);
} directives[] = {
    { "WebhookURL", set_url }, { "WebhookID", set_id }, { "WebhookSecret", set_secret },
    { "WebhookAuthorization", set_authorization }, { "WebhookCredential", set_credential },
    { "WebhookTrust", set_trust }, { "WebhookProxy", set_proxy }, { "WebhookWait", set_wait },
    { "WebhookLimits", set_limits }
};

const char *gatehouse_set_webhook(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    gatehouse_webhook_section_t *section = gatehouse_settings_of(cmd->server)->webhook;
    const char *err = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    apr_size_t i;

    if (err) {
        return err;
    }
    if (!section) {
        return apr_psprintf(cmd->pool, GHNO(0900) "%s belongs inside <Webhook NAME>",
                            cmd->cmd->name);
    }
    if (apr_table_get(section->said, cmd->cmd->name)) {
        return apr_psprintf(cmd->pool, GHNO(0901) "%s was given before for webhook %s; leave one "
                            "of them", cmd->cmd->name, section->name);
    }
    apr_table_setn(section->said, cmd->cmd->name, "1");
    for (i = 0; strcmp(directives[i].name, cmd->cmd->name); ++i) {
    }
    return directives[i].set(cmd, section, argc, argv);
}

const char *gatehouse_webhook_section(cmd_parms *cmd, void *dir, const char *text)
{
    gatehouse_settings_t *settings = gatehouse_settings_of(cmd->server);
    const char *err = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    gatehouse_webhook_section_t *section = apr_pcalloc(cmd->pool, sizeof(*section));
    const apr_array_header_t *words;
    int i;

    if (err || (err = gatehouse_section_words(cmd, text, &words))) {
        return err;
    }
    if (words->nelts != 1 || !gh_name_valid(APR_ARRAY_IDX(words, 0, const char *))) {
        return GHNO(0902) "<Webhook NAME> takes one name of 1 to 64 letters, digits, '_', '~' "
               "and '-'";
    }
    section->name = APR_ARRAY_IDX(words, 0, const char *);
    section->place = gatehouse_place(cmd);
    section->said = apr_table_make(cmd->pool, 8);
    section->id = section->name;
    section->deadline = DEADLINE;
    gatehouse_remote_init(&section->remote);
    section->remote.timeout = TIMEOUT;
    section->remote.concurrent = CONCURRENT;
    section->remote.rate = 0;
    for (i = 0; i < settings->webhooks->nelts; ++i) {
        const gatehouse_webhook_section_t *seen
            = APR_ARRAY_IDX(settings->webhooks, i, gatehouse_webhook_section_t *);

        if (!strcmp(seen->name, section->name)) {
            return apr_psprintf(cmd->pool, GHNO(0903) "webhook %s is there already, at %s:%d; give "
                                "one of them another name", seen->name, seen->place.file,
                                seen->place.line);
        }
    }
    settings->webhook = section;
    err = gatehouse_section_walk(cmd, "Webhook", NULL);
    settings->webhook = NULL;
    APR_ARRAY_PUSH(settings->webhooks, gatehouse_webhook_section_t *) = section;
    return err;
}
