/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What the directives of webhooks mean together, and what the worker is told of them. */

#include <stdlib.h>
#include <string.h>
#include <httpd.h>
#include <http_config.h>
#include <apr_base64.h>
#include <apr_strings.h>
#include <jansson.h>
#include <openssl/crypto.h>

#include "gatehouse_remote.h"
#include "log.h"
#include "secret_json.h"
#include "text.h"
#include "x509/credential.h"

/** Least length of a signing secret, in bytes. */
#define SECRET_MIN 16

/** What is in the files that a section names. */
typedef struct {
    gh_bytes_t secret;
    gh_bytes_t authorization;       /* value of the header; data NULL: none */
} opened_t;

static apr_hash_t *webhooks;        /* gatehouse_webhook_t * by name, or NULL; lives in pconf */

static apr_status_t forget(void *data)
{
    webhooks = NULL;
    return APR_SUCCESS;
}

const gatehouse_webhook_t *gatehouse_webhook(const char *name)
{
    return webhooks ? apr_hash_get(webhooks, name, APR_HASH_KEY_STRING) : NULL;
}

static apr_status_t open_secret(const gatehouse_webhook_section_t *section, opened_t *opened,
                                apr_pool_t *p, gh_result_t *result)
{
    gh_bytes_t text;
    apr_status_t rv = gh_secret_load(&text, section->secret, p, result);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    opened->secret = gh_base64_decode(apr_pstrmemdup(p, (const char *)text.data, text.length), p);
    if (opened->secret.length < SECRET_MIN) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "webhook.secret",
                              "Store the secret as the webhook has it, in Base64, of at least 16 "
                              "bytes.",
                              GHNO(0904) "what WebhookSecret names is not Base64, or too short");
    }
    return APR_SUCCESS;
}

/* It stands in a line of HTTP. */
static int is_plain(gh_bytes_t text, int basic)
{
    apr_size_t i;

    for (i = 0; i < text.length; ++i) {
        if (text.data[i] < (basic ? ' ' : '!') || text.data[i] == 0x7f) {
            return 0;
        }
    }
    return !basic || memchr(text.data, ':', text.length) != NULL;
}

static apr_status_t open_authorization(const gatehouse_webhook_section_t *section,
                                       opened_t *opened, apr_pool_t *p, gh_result_t *result)
{
    gh_bytes_t text;
    char *value, *encoded;
    apr_status_t rv;

    if (!section->authorization) {
        return APR_SUCCESS;
    }
    rv = gh_secret_load(&text, section->authorization, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (!is_plain(text, section->basic)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "webhook.authorization",
                              "Store one line: the token, or USER:PASSWORD.",
                              GHNO(0905) "what WebhookAuthorization names cannot stand in a "
                              "header");
    }
    if (section->basic) {
        encoded = apr_palloc(p, (apr_size_t)apr_base64_encode_len((int)text.length));
        apr_base64_encode_binary(encoded, text.data, (int)text.length);
        value = apr_pstrcat(p, "Authorization: Basic ", encoded, NULL);
        OPENSSL_cleanse(encoded, strlen(encoded));
    }
    else {
        value = apr_psprintf(p, "Authorization: Bearer %.*s", (int)text.length,
                             (const char *)text.data);
    }
    opened->authorization.data = (const unsigned char *)value;
    opened->authorization.length = strlen(value);
    return APR_SUCCESS;
}

/* One that has ended keeps nothing else from its work: the worker says so with each request. */
static apr_status_t open_credential(gatehouse_settings_t *settings,
                                    gatehouse_webhook_section_t *section, apr_pool_t *p,
                                    gh_result_t *result)
{
    gatehouse_remote_t *remote = &section->remote;
    gh_credential_t *credential = NULL;
    apr_status_t rv = gh_credential_load(&credential, &remote->pkcs12, remote->credential,
                                         remote->secret, remote->alias, p, result);

    if (credential) {
        /* the worker reads it itself */
        OPENSSL_cleanse((void *)credential->key.data, credential->key.length);
    }
    if (rv != APR_SUCCESS && result->failure == GH_FAILURE_TIME) {
        gatehouse_note_error(settings, section->place, "WebhookCredential",
                             gatehouse_explain(result, rv, p));
        rv = APR_SUCCESS;
    }
    return rv;
}

static apr_status_t open_all(gatehouse_settings_t *settings, gatehouse_webhook_section_t *section,
                             opened_t *opened, apr_pool_t *p, gh_result_t *result)
{
    gatehouse_remote_t *remote = &section->remote;
    gh_bytes_t none = { NULL, 0 };
    apr_status_t rv = open_secret(section, opened, p, result);

    if (rv == APR_SUCCESS) {
        rv = open_authorization(section, opened, p, result);
    }
    if (rv == APR_SUCCESS && remote->passphrase) {
        rv = gh_secret_load(&remote->secret, remote->passphrase, p, result);
    }
    if (rv == APR_SUCCESS && remote->credential) {
        rv = open_credential(settings, section, p, result);
    }
    if (rv == APR_SUCCESS && remote->trust && strcmp(remote->trust, "system")) {
        rv = gh_trust_load(&remote->trusted, remote->trust, none, p, result);
    }
    return rv;
}

static void tell_worker(const gatehouse_webhook_section_t *section, const opened_t *opened,
                        apr_pool_t *p)
{
    const gatehouse_remote_t *remote = &section->remote;
    gh_secret_json_t *secrets = gh_secret_json_create(p);
    json_t *json = !secrets ? NULL
        : json_pack("{s:s, s:s, s:s, s:o, s:o*, s:o*, s:o*, s:s*, s:s*, s:s*, s:i, s:f, s:I}",
                    "name", section->name, "url", remote->url, "id", section->id,
                    "secret", gh_secret_json_add(secrets, opened->secret),
                    "authorization", gh_secret_json_add(secrets, opened->authorization),
                    "credential", gh_secret_json_add(secrets, remote->pkcs12),
                    "passphrase", gh_secret_json_add(secrets, remote->secret),
                    "alias", remote->alias, "trust", remote->trusted, "proxy", remote->proxy,
                    "concurrent", remote->concurrent, "rate", remote->rate,
                    "timeout", (json_int_t)remote->timeout);
    const char *text = secrets ? gh_secret_json_write(secrets, json, p) : NULL;
    gatehouse_worker_section_t told = {
        .section = "webhooks", .json = text ? text : "",
        .queue = apr_pstrcat(p, "webhook:", section->name, NULL), .wait = remote->wait,
        .max_waiting = remote->max_waiting
    };
    const gh_bytes_t known[] = {
        opened->secret, opened->authorization, remote->pkcs12, remote->secret
    };
    apr_size_t i;

    /* what is not UTF-8 is refused when the worker's configuration is written */
    gatehouse_add_worker_section(&told, p);
    for (i = 0; i < sizeof(known) / sizeof(known[0]); ++i) {
        OPENSSL_cleanse((void *)known[i].data, known[i].data ? known[i].length : 0);
    }
    if (text) {
        OPENSSL_cleanse((void *)text, strlen(text));
    }
    json_decref(json);
}

/* Logs a problem, or takes it down for the dump. @return how many are logged */
static int check_one(gatehouse_settings_t *settings, gatehouse_webhook_section_t *section,
                     server_rec *s, apr_pool_t *p)
{
    static const char what[] = "<Webhook>";
    opened_t opened = { { NULL, 0 }, { NULL, 0 } };
    gh_result_t result;
    apr_status_t rv;

    gh_result_clear(&result);
    if (!section->remote.url || !section->secret) {
        gatehouse_log_problem(s, section->place, what,
                              apr_psprintf(p, GHNO(0906) "webhook %s lacks %s", section->name,
                                           section->remote.url ? "WebhookSecret" : "WebhookURL"));
        return 1;
    }
    if (!settings->shared.sealing_configured) {
        gatehouse_log_problem(s, section->place, what,
                              apr_psprintf(p, GHNO(0907) "webhook %s: requests wait for it in the "
                                           "store, and have secrets in them; add "
                                           "GatehouseSealingKey", section->name));
        return 1;
    }
    rv = open_all(settings, section, &opened, p, &result);
    if (rv == APR_SUCCESS) {
        tell_worker(section, &opened, p);
        return 0;
    }
    if (gatehouse_dump_problem(p, section->name, what, section->place.file, section->place.line,
                               &result)) {
        return 0;
    }
    gatehouse_log_problem(s, section->place, what, gatehouse_explain(&result, rv, p));
    return 1;
}

int gatehouse_check_webhooks(gatehouse_settings_t *settings, server_rec *s, apr_pool_t *p,
                             apr_pool_t *ptemp)
{
    int problems = 0, i;

    if (!settings->webhooks->nelts) {
        return 0;
    }
    webhooks = apr_hash_make(p);
    apr_pool_cleanup_register(p, NULL, forget, apr_pool_cleanup_null);
    settings->remote = 1;
    for (i = 0; i < settings->webhooks->nelts; ++i) {
        gatehouse_webhook_section_t *section = APR_ARRAY_IDX(settings->webhooks, i,
                                                             gatehouse_webhook_section_t *);
        gatehouse_webhook_t *known = apr_pcalloc(p, sizeof(*known));

        known->name = section->name;
        known->deadline = section->deadline;
        apr_hash_set(webhooks, known->name, APR_HASH_KEY_STRING, known);
        problems += check_one(settings, section, s, p);
    }
    return problems;
}
