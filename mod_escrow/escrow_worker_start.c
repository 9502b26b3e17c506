/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What gatehouse-uem-worker is told: fcgi/uem/uem_config.c reads it. */

#include "mod_escrow/escrow_worker_start.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "log.h"
#include "mod_escrow/escrow_config.h"
#include "mod_escrow/escrow_events.h"
#include "mod_escrow/escrow_json.h"
#include "mod_escrow/escrow_settings.h"
#include "mod_escrow/escrow_uem.h"
#include "mod_escrow/escrow_vault.h"
#include "x509/key.h"

APLOG_USE_MODULE(escrow);

#define WORKER "gatehouse-uem-worker"

/** A job whose worker has died is taken up by another after this. */
#define LEASE apr_time_from_sec(30)

static json_t *hex(gh_bytes_t bytes, apr_pool_t *p)
{
    char *text = bytes.data ? (char *)gh_hex(p, bytes.data, bytes.length) : NULL;
    json_t *string = text ? json_string(text) : NULL;

    if (text) {
        OPENSSL_cleanse(text, strlen(text));
    }
    return string;
}

static void overwrite(gh_bytes_t *secret)
{
    if (secret->data) {
        OPENSSL_cleanse((void *)secret->data, secret->length);
    }
    secret->data = NULL;
    secret->length = 0;
}

/** jansson overwrites nothing by itself. */
static void overwrite_strings(json_t *value)
{
    const char *key;
    json_t *member;
    size_t i;

    if (json_is_string(value)) {
        OPENSSL_cleanse((void *)json_string_value(value), json_string_length(value));
    }
    else if (json_is_array(value)) {
        json_array_foreach(value, i, member) {
            overwrite_strings(member);
        }
    }
    else if (json_is_object(value)) {
        json_object_foreach(value, key, member) {
            overwrite_strings(member);
        }
    }
}

/** @return the header as a secret, in p */
static gh_bytes_t basic(gh_bytes_t pair, apr_pool_t *p)
{
    char *encoded = apr_palloc(p, (pair.length + 2) / 3 * 4 + 1);
    gh_bytes_t value;

    EVP_EncodeBlock((unsigned char *)encoded, pair.data, (int)pair.length);
    value.data = (const unsigned char *)apr_pstrcat(p, "Basic ", encoded, NULL);
    value.length = strlen((const char *)value.data);
    OPENSSL_cleanse(encoded, strlen(encoded));
    return value;
}

static json_t *describe_headers(escrow_uem_t *uem, apr_pool_t *p)
{
    json_t *list = json_array();
    int i;

    for (i = 0; i < uem->headers->nelts; ++i) {
        escrow_uem_header_t *header = &APR_ARRAY_IDX(uem->headers, i, escrow_uem_header_t);

        json_array_append_new(list, json_pack("{s:s, s:s*, s:o*}", "name", header->name, "value",
                                              header->value, "secret", hex(header->secret, p)));
        overwrite(&header->secret);
    }
    if (uem->basic_secret.data) {
        gh_bytes_t value = basic(uem->basic_secret, p);

        json_array_append_new(list, json_pack("{s:s, s:o}", "name", "Authorization", "secret",
                                              hex(value, p)));
        overwrite(&value);
    }
    return list;
}

static json_t *describe_call(const escrow_uem_call_t *call)
{
    return call->url ? json_pack("{s:s, s:s, s:s*, s:s*}", "url", call->url, "method",
                                 call->method, "body", call->body, "type", call->type) : NULL;
}

static json_t *describe_uem(escrow_uem_t *uem, apr_pool_t *p)
{
    json_t *oauth2 = uem->token_url
        ? json_pack("{s:s, s:s, s:o, s:s*, s:b}", "url", uem->token_url, "client", uem->client,
                    "secret", hex(uem->oauth_secret, p), "scope", uem->scope, "in_form",
                    uem->in_form) : NULL;
    json_t *made = json_pack("{s:s, s:o, s:o*, s:o, s:o*, s:o*, s:o*, s:s*, s:s*, s:s*, s:s*, s:i,"
                             " s:f, s:I, s:I, s:I}", "name", uem->name, "deliver",
                             describe_call(&uem->deliver), "available",
                             describe_call(&uem->available), "headers", describe_headers(uem, p),
                             "oauth2", oauth2, "credential", hex(uem->pkcs12, p), "passphrase",
                             hex(uem->pkcs12_secret, p), "alias", uem->alias, "trust",
                             uem->trusted, "proxy", uem->proxy, "no_proxy", uem->no_proxy,
                             "concurrent", uem->concurrent, "rate", uem->rate, "timeout",
                             (json_int_t)uem->timeout, "retry", (json_int_t)uem->retry, "pause",
                             (json_int_t)uem->pause);

    overwrite(&uem->basic_secret);
    overwrite(&uem->oauth_secret);
    overwrite(&uem->pkcs12);
    overwrite(&uem->pkcs12_secret);
    return made;
}

/** Keys stay with httpd too: its children open the vault. */
static json_t *describe_vault(apr_pool_t *p)
{
    const escrow_global_t *global = escrow_global_now();
    json_t *list = json_array();
    int i;

    for (i = 0; global && i < global->vault_keys->nelts; ++i) {
        const escrow_vault_key_t *key = APR_ARRAY_IDX(global->vault_keys, i,
                                                      const escrow_vault_key_t *);

        json_array_append_new(list, key->token
                              ? json_pack("{s:s, s:s}", "id", key->id, "source", key->source)
                              : json_pack("{s:s, s:o}", "id", key->id, "secret",
                                          hex(key->key.secret, p)));
    }
    return list;
}

/** @return NULL with result */
static json_t *describe_output(apr_pool_t *p, gh_result_t *result)
{
    const escrow_settings_t *settings = escrow_settings_now();
    escrow_signer_t *signer;
    gh_bytes_t pem = { NULL, 0 };
    int token;

    if (settings && settings->signer_certificate
        && (escrow_signer_open(&signer, settings->signer_certificate, settings->signer_key,
                               settings->signer_passphrase, apr_time_now(), p, result)
                != APR_SUCCESS
            || escrow_signer_print(&pem, signer, p, result) != APR_SUCCESS)) {
        return NULL;
    }
    token = settings && settings->signer_certificate && gh_key_is_token(settings->signer_key);
    return json_pack("{s:b, s:b, s:o*, s:s*, s:s*}", "modern",
                     settings && settings->pkcs12 == ESCROW_PKCS12_MODERN, "oaep",
                     settings && settings->transport == ESCROW_TRANSPORT_OAEP, "signer",
                     hex(pem, p), "signer_token", token ? settings->signer_key : NULL,
                     "signer_passphrase", token ? settings->signer_passphrase : NULL);
}

/** Whose certificates profiles are encrypted to is looked at once more by who completes them. */
static json_t *describe_trust(apr_pool_t *p)
{
    const escrow_settings_t *settings = escrow_settings_now();
    const apr_array_header_t *ders = settings && settings->trust.cas
        ? escrow_device_cas_certificates(settings->trust.cas) : NULL;
    json_t *cas = json_array();
    int i;

    for (i = 0; ders && i < ders->nelts; ++i) {
        json_array_append_new(cas, hex(APR_ARRAY_IDX(ders, i, gh_bytes_t), p));
    }
    return json_pack("{s:o, s:o, s:b}", "cas", cas, "issuers",
                     settings ? escrow_dump_issuers(settings->device_issuers) : json_array(),
                     "insecure", settings && settings->trust.insecure);
}

static json_t *describe(const gatehouse_config_t *config, json_t *output, apr_pool_t *p)
{
    const apr_array_header_t *all = escrow_uems();
    const char *sizes = escrow_events_sizes(p);
    json_t *list = json_array();
    int i;

    for (i = 0; all && i < all->nelts; ++i) {
        if (json_array_append_new(list, describe_uem(APR_ARRAY_IDX(all, i, escrow_uem_t *), p))) {
            json_decref(list);
            json_decref(output);
            return NULL;            /* something that is not UTF-8 */
        }
    }
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o*}", "store", config->store,
                     "node", config->node, "lease", (json_int_t)LEASE, "poll",
                     (json_int_t)escrow_poll(), "patience",
                     (json_int_t)(escrow_settings_now() ? escrow_settings_now()->patience : 0),
                     "vault", describe_vault(p), "trust", describe_trust(p), "output", output,
                     "uems", list, "provide",
                     sizes ? json_loads(sizes, 0, NULL) : NULL);
}

static int start_worker(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    const gatehouse_config_t *config = escrow_gatehouse()->config();
    gatehouse_worker_t worker = { .name = WORKER, .program = WORKER, .input = -1 };
    json_t *document, *output;
    gh_result_t result;
    char *text;

    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG
        || (!(escrow_uems() && escrow_uems()->nelts) && !escrow_events_sizes(ptemp))) {
        return OK;
    }
    gh_result_clear(&result);
    /* whatever is made of secrets in between */
    escrow_json_protect();
    output = describe_output(ptemp, &result);
    if (!output) {
        ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, 0, s, "%s: %s. %s", result.number,
                     result.message, result.action);
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    document = describe(config, output, ptemp);
    text = document ? json_dumps(document, JSON_COMPACT) : NULL;
    overwrite_strings(document);
    json_decref(document);
    if (!text) {
        ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, 0, s, GHNO(1279) "what is said of "
                     "<UEM> cannot be written as JSON; use UTF-8");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    worker.configuration = text;
    /* that there is no such program is told when workers are started */
    escrow_gatehouse()->register_worker(&worker, pconf);
    OPENSSL_cleanse(text, strlen(text));
    free(text);
    return OK;
}

void escrow_worker_hooks(apr_pool_t *p)
{
    ap_hook_post_config(start_worker, NULL, NULL, APR_HOOK_MIDDLE);
}
