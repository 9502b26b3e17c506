/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/uem/uem_config.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/crypto.h>

#include "escrow/flow.h"
#include "fcgi/uem/uem_provide.h"
#include "log.h"

/** Threads that make documents: it is CPU work, beside httpd's. */
#define COMPLETING 4

/** UEMs of one configuration. */
#define UEMS_MAX 100

static apr_status_t not_understood(gh_result_t *result, const char *what, const char *why)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, "worker",
                          "Reinstall Gatehouse, so that modules and workers are of one version.",
                          GHNO(1259) "the worker does not understand what it is told of %s: %s",
                          what, why);
}

/* The vault */

static apr_status_t read_key(gh_vault_key_t *key, const json_t *object, apr_pool_t *p,
                             gh_result_t *result)
{
    const char *id, *secret = NULL, *source = NULL;
    json_error_t error;

    if (json_unpack_ex((json_t *)object, &error, 0, "{s:s, s?s, s?s}", "id", &id, "secret",
                       &secret, "source", &source)) {
        return not_understood(result, "the vault", error.text);
    }
    if (source) {
        return gh_vault_key_open(key, apr_pstrdup(p, id), source, p, result);
    }
    memset(key, 0, sizeof(*key));
    key->id = apr_pstrdup(p, id);
    return gh_worker_secret(&key->secret, secret, p) && key->secret.length == GH_VAULT_KEY_SIZE
        ? APR_SUCCESS : not_understood(result, "the vault", "a key");
}

static apr_status_t read_vault(uem_worker_t *worker, const json_t *list, apr_pool_t *p,
                               gh_result_t *result)
{
    gh_vault_key_t keys[GH_VAULT_KEYS_MAX];
    size_t count = json_array_size(list), i;
    apr_pool_t *ptemp;
    apr_status_t rv = APR_SUCCESS;

    if (!count || count > GH_VAULT_KEYS_MAX) {
        return not_understood(result, "the vault", "how many keys there are");
    }
    /* the vault has copies, in locked memory */
    apr_pool_create(&ptemp, p);
    for (i = 0; rv == APR_SUCCESS && i < count; ++i) {
        const json_t *object = json_array_get(list, i);

        rv = read_key(&keys[i], object, json_object_get(object, "source") ? p : ptemp, result);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_vault_create(&worker->vault, keys, (int)count, p, result);
    }
    apr_pool_destroy(ptemp);
    return rv;
}

/* Devices */

static escrow_device_issuer_t *read_issuer(const json_t *object, apr_pool_t *p)
{
    escrow_device_issuer_t *issuer = apr_pcalloc(p, sizeof(*issuer));
    apr_array_header_t *profiles = apr_array_make(p, 2, sizeof(const char *));
    const char *name;
    json_t *list;
    size_t i;

    if (json_unpack((json_t *)object, "{s:s, s:o, s:b}", "issuer", &name, "profiles", &list,
                    "challenges_trusted", &issuer->challenges)) {
        return NULL;
    }
    for (i = 0; i < json_array_size(list); ++i) {
        const char *profile = json_string_value(json_array_get(list, i));

        if (!profile) {
            return NULL;
        }
        APR_ARRAY_PUSH(profiles, const char *) = apr_pstrdup(p, profile);
    }
    issuer->issuer = apr_pstrdup(p, name);
    issuer->profiles = profiles;
    return issuer;
}

static apr_status_t read_trust(escrow_trust_t *trust, const json_t *object, apr_pool_t *p,
                               gh_result_t *result)
{
    apr_array_header_t *issuers = apr_array_make(p, 2, sizeof(escrow_device_issuer_t *));
    apr_array_header_t *ders = apr_array_make(p, 2, sizeof(gh_bytes_t));
    escrow_device_cas_t *cas = NULL;
    json_t *list, *names;
    json_error_t error;
    size_t i;

    if (json_unpack_ex((json_t *)object, &error, 0, "{s:o, s:o, s:b}", "cas", &list, "issuers",
                       &names, "insecure", &trust->insecure)) {
        return not_understood(result, "devices", error.text);
    }
    for (i = 0; i < json_array_size(list); ++i) {
        if (!gh_worker_secret(apr_array_push(ders), json_string_value(json_array_get(list, i)),
                              p)) {
            return not_understood(result, "devices", "a CA");
        }
    }
    if (ders->nelts && escrow_device_cas_make(&cas, ders, p, result) != APR_SUCCESS) {
        return not_understood(result, "devices", "a CA");
    }
    for (i = 0; i < json_array_size(names); ++i) {
        escrow_device_issuer_t *issuer = read_issuer(json_array_get(names, i), p);

        if (!issuer) {
            return not_understood(result, "devices", "an issuer");
        }
        APR_ARRAY_PUSH(issuers, escrow_device_issuer_t *) = issuer;
    }
    trust->cas = cas;
    trust->issuers = issuers;
    return APR_SUCCESS;
}

static apr_status_t read_output(uem_worker_t *worker, const json_t *object, apr_pool_t *p,
                                gh_result_t *result)
{
    const char *pem = NULL, *token = NULL, *passphrase = NULL;
    gh_bytes_t signer;
    json_error_t error;
    int modern, oaep;

    if (json_unpack_ex((json_t *)object, &error, 0, "{s:b, s:b, s?s, s?s, s?s}", "modern", &modern,
                       "oaep", &oaep, "signer", &pem, "signer_token", &token, "signer_passphrase",
                       &passphrase)
        || !gh_worker_secret(&signer, pem, p)) {
        return not_understood(result, "documents", error.text);
    }
    worker->pkcs12 = modern ? ESCROW_PKCS12_MODERN : ESCROW_PKCS12_LEGACY;
    worker->transport = oaep ? ESCROW_TRANSPORT_OAEP : ESCROW_TRANSPORT_PKCS1;
    return signer.data
        ? escrow_signer_parse(&worker->signer, signer, token, passphrase, p, result) : APR_SUCCESS;
}

/* UEMs */

typedef struct {
    http_peer_config_t peer;
    uem_t *uem;
    http_client_t *client;
} reach_t;

/** Scheme and host are the peer's, the rest is of each call. */
static apr_status_t make_peer(http_peer_t **peer, const char **path, reach_t *reach,
                              const char *url, apr_pool_t *p, gh_result_t *result)
{
    const char *host = strstr(url, "://");
    const char *rest = host ? host + 3 + strcspn(host + 3, "/?") : url + strlen(url);

    reach->peer.url = apr_pstrmemdup(p, url, (apr_size_t)(rest - url));
    *path = apr_pstrcat(p, *rest == '/' ? "" : "/", rest, NULL);
    return http_peer_create(peer, reach->client, &reach->peer, p, result);
}

static apr_status_t read_endpoint(uem_endpoint_t *endpoint, const json_t *object, reach_t *reach,
                                  int documents, apr_pool_t *p, gh_result_t *result)
{
    const char *url, *method, *body = NULL, *type = NULL, *path;
    json_error_t error;
    apr_status_t rv;

    if (json_unpack_ex((json_t *)object, &error, 0, "{s:s, s:s, s?s, s?s}", "url", &url, "method",
                       &method, "body", &body, "type", &type)) {
        return not_understood(result, reach->uem->name, error.text);
    }
    endpoint->method = apr_pstrdup(p, method);
    endpoint->type = apr_pstrdup(p, type);
    rv = make_peer(&endpoint->peer, &path, reach, url, p, result);
    if (rv == APR_SUCCESS) {
        rv = uem_template_parse(&endpoint->path, path, UEM_IN_URL, documents, p, result);
    }
    if (rv == APR_SUCCESS && body) {
        rv = uem_template_parse(&endpoint->body, body,
                                type ? uem_place_of_type(type) : UEM_IN_TEXT, documents, p,
                                result);
    }
    return rv;
}

static apr_status_t overwrite(void *text)
{
    OPENSSL_cleanse(text, strlen(text));
    return APR_SUCCESS;
}

static apr_status_t read_headers(uem_t *uem, const json_t *list, apr_pool_t *p,
                                 gh_result_t *result)
{
    const json_t *object;
    size_t i;

    uem->headers = apr_array_make(p, 4, sizeof(uem_header_t));
    uem->secrets = apr_array_make(p, 2, sizeof(const char *));
    json_array_foreach(list, i, object) {
        const char *name, *value = NULL, *secret = NULL;
        json_error_t error;
        gh_bytes_t text;

        if (json_unpack_ex((json_t *)object, &error, 0, "{s:s, s?s, s?s}", "name", &name, "value",
                           &value, "secret", &secret)
            || !gh_worker_secret(&text, secret, p)) {
            return not_understood(result, uem->name, "a header");
        }
        if (text.data) {
            char *line = apr_psprintf(p, "%s: %.*s", name, (int)text.length,
                                      (const char *)text.data);

            apr_pool_cleanup_register(p, line, overwrite, apr_pool_cleanup_null);
            APR_ARRAY_PUSH(uem->secrets, const char *) = line;
        }
        else {
            uem_header_t *header = apr_array_push(uem->headers);
            apr_status_t rv = uem_template_parse(&header->value, value ? value : "",
                                                 UEM_IN_HEADER, 0, p, result);

            header->name = apr_pstrdup(p, name);
            if (rv != APR_SUCCESS) {
                return rv;
            }
        }
    }
    return APR_SUCCESS;
}

static apr_status_t read_session(uem_t *uem, const json_t *object, reach_t *reach, apr_pool_t *p,
                                 gh_result_t *result)
{
    uem_session_config_t *config = apr_pcalloc(p, sizeof(*config));
    const char *url, *client, *secret, *scope = NULL;
    json_error_t error;
    apr_status_t rv;

    if (!object) {
        return APR_SUCCESS;
    }
    if (json_unpack_ex((json_t *)object, &error, 0, "{s:s, s:s, s:s, s?s, s:b}", "url", &url,
                       "client", &client, "secret", &secret, "scope", &scope, "in_form",
                       &config->in_form)
        || !gh_worker_secret(&config->secret, secret, p)) {
        return not_understood(result, uem->name, "OAuth");
    }
    config->name = uem->name;
    config->client = apr_pstrdup(p, client);
    config->scope = apr_pstrdup(p, scope);
    rv = make_peer(&config->peer, &config->path, reach, url, p, result);
    uem->session = rv == APR_SUCCESS ? uem_session_create(config, p) : NULL;
    return rv;
}

static apr_status_t read_reach(reach_t *reach, framework_limits_t *limits, const json_t *object,
                               apr_pool_t *p, gh_result_t *result)
{
    http_peer_config_t *peer = &reach->peer;
    const char *credential = NULL, *passphrase = NULL;
    json_int_t timeout, retry, pause;
    json_error_t error;

    if (json_unpack_ex((json_t *)object, &error, 0, "{s?s, s?s, s?s, s?s, s?s, s?s, s:i, s:F, s:I,"
                       " s:I, s:I}", "credential", &credential, "passphrase", &passphrase,
                       "alias", &peer->alias, "trust", &peer->trust, "proxy", &peer->proxy,
                       "no_proxy", &peer->no_proxy, "concurrent", &limits->concurrent, "rate",
                       &limits->rate, "timeout", &timeout, "retry", &retry, "pause", &pause)
        || !gh_worker_secret(&peer->credential, credential, p)
        || !gh_worker_secret(&peer->passphrase, passphrase, p)) {
        return not_understood(result, reach->uem->name, error.text);
    }
    limits->backoff = apr_time_from_sec(1);
    limits->backoff_max = retry;
    limits->breaker_pause = pause;
    peer->name = apr_pstrcat(p, "UEM ", reach->uem->name, NULL);
    peer->timeout = timeout;
    peer->body_max = UEM_TOKEN_MAX;
    peer->connections = limits->concurrent;
    return APR_SUCCESS;
}

static apr_status_t read_uem(uem_worker_t *worker, const json_t *object, apr_pool_t *p,
                             gh_result_t *result)
{
    uem_t *uem = apr_pcalloc(p, sizeof(*uem));
    reach_t reach = { .uem = uem, .client = framework_http(worker->framework) };
    const char *name = json_string_value(json_object_get(object, "name"));
    const json_t *available = json_object_get(object, "available");
    framework_limits_t limits;
    apr_status_t rv;

    memset(&limits, 0, sizeof(limits));
    if (!name) {
        return not_understood(result, "a UEM", "it has no name");
    }
    uem->worker = worker;
    uem->name = apr_pstrdup(p, name);
    rv = read_reach(&reach, &limits, object, p, result);
    if (rv == APR_SUCCESS) {
        rv = framework_add_queue(&uem->queue, worker->framework,
                                 gh_escrow_queue(name, p), &limits, result);
    }
    if (rv == APR_SUCCESS) {
        rv = read_endpoint(&uem->deliver, json_object_get(object, "deliver"), &reach, 1, p,
                           result);
    }
    if (rv == APR_SUCCESS && available) {
        rv = read_endpoint(&uem->available, available, &reach, 0, p, result);
    }
    if (rv == APR_SUCCESS) {
        rv = read_headers(uem, json_object_get(object, "headers"), p, result);
    }
    if (rv == APR_SUCCESS) {
        rv = read_session(uem, json_object_get(object, "oauth2"), &reach, p, result);
    }
    if (rv == APR_SUCCESS) {
        uem_deliver_start(uem);
        uem_available_start(uem);
        uem_state_start(uem, p);
        APR_ARRAY_PUSH(worker->uems, uem_t *) = uem;
    }
    return rv;
}

apr_status_t uem_configure(uem_worker_t *worker, const json_t *configuration, apr_pool_t *p,
                           gh_result_t *result)
{
    const json_t *list = json_object_get(configuration, "uems");
    apr_status_t rv = read_vault(worker, json_object_get(configuration, "vault"), p, result);
    size_t i;

    worker->uems = apr_array_make(p, 4, sizeof(uem_t *));
    worker->patience = json_integer_value(json_object_get(configuration, "patience"));
    if (worker->patience <= 0) {
        worker->patience = GH_ESCROW_LIFE;
    }
    if (rv == APR_SUCCESS && json_array_size(list) > UEMS_MAX) {
        rv = not_understood(result, "UEMs", "how many there are");
    }
    if (rv == APR_SUCCESS) {
        rv = escrow_opener_create(&worker->opener, gh_vault_locked(worker->vault),
                                  uem_decoding_context(p), p, result);
    }
    if (rv == APR_SUCCESS) {
        rv = read_output(worker, json_object_get(configuration, "output"), p, result);
    }
    if (rv == APR_SUCCESS) {
        rv = read_trust(&worker->trust, json_object_get(configuration, "trust"), p, result);
    }
    if (rv == APR_SUCCESS) {
        rv = framework_add_lane(&worker->completing, worker->framework, COMPLETING, result);
    }
    for (i = 0; rv == APR_SUCCESS && i < json_array_size(list); ++i) {
        rv = read_uem(worker, json_array_get(list, i), p, result);
    }
    if (rv == APR_SUCCESS) {
        rv = uem_provide_configure(worker->framework, worker->vault,
                                   json_object_get(configuration, "provide"), p, result);
    }
    return rv;
}
