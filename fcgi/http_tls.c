/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Client certificates, trust and proxies of calls. */

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <openssl/ssl.h>

#include "fcgi/http_private.h"

static struct curl_blob blob(gh_bytes_t bytes)
{
    /* the peer outlives its calls and what is left of their connections */
    struct curl_blob made = { (void *)bytes.data, bytes.length, CURL_BLOB_NOCOPY };

    return made;
}

apr_status_t http_tls_load(http_peer_t *peer, apr_pool_t *p, gh_result_t *result)
{
    http_peer_config_t *config = &peer->config;
    gh_credential_t *parsed;
    apr_status_t rv = APR_SUCCESS;

    if (config->trust) {
        gh_bytes_t text = { (const unsigned char *)config->trust, strlen(config->trust) };

        if (!gh_trust_count(config->trust)) {
            return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "http.trust",
                                  "Give the certificate of the CA that has issued the server's.",
                                  GHNO(0802) "%s: there is no CA certificate to trust",
                                  config->name);
        }
        peer->trust = blob(text);
    }
    peer->credential = config->identity;
    if (!config->identity && config->credential.data) {
        rv = gh_credential_parse(&parsed, config->credential, config->passphrase, config->alias,
                                 p, result);
        peer->credential = rv == APR_SUCCESS || result->failure == GH_FAILURE_TIME ? parsed : NULL;
    }
    if (rv != APR_SUCCESS && config->lenient) {
        peer->fault = *result;
        gh_result_clear(result);
        rv = APR_SUCCESS;
    }
    if (rv == APR_SUCCESS && peer->credential) {
        peer->certificate = blob(peer->credential->certificate);
        peer->key = blob(peer->credential->key);
    }
    return rv;
}

/* Called by OpenSSL for each message of TLS, for as long as the connection lives, which may be
 * longer than the call that has opened it. */
static void see_message(int is_written, int version, int type, const void *data, size_t length,
                        SSL *ssl, void *baton)
{
    http_watched_t *watched = baton;
    const unsigned char *bytes = data;

    if (!is_written && type == SSL3_RT_ALERT && length == 2) {
        watched->alert = bytes[1];
    }
}

static void let_go(http_watched_t *watched)
{
    if (watched && --watched->users == 0) {
        OPENSSL_free(watched);
    }
}

static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT;
static int place = -1;              /* of a http_watched_t in a context */

static void context_freed(void *context, void *watched, CRYPTO_EX_DATA *data, int at, long number,
                          void *pointer)
{
    let_go(watched);
}

static void make_place(void)
{
    place = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, context_freed);
}

void http_tls_forget(http_call_t *call)
{
    let_go(call->watched);
}

/* libcurl has a context for each connection. */
static CURLcode prepare_context(CURL *easy, void *context, void *baton)
{
    http_call_t *call = baton;

    if (CRYPTO_THREAD_run_once(&once, make_place) != 1 || place < 0
        || SSL_CTX_set_ex_data(context, place, call->watched) != 1) {
        return CURLE_OUT_OF_MEMORY;
    }
    ++call->watched->users;
    SSL_CTX_set_msg_callback(context, see_message);
    SSL_CTX_set_msg_callback_arg(context, call->watched);
    return CURLE_OK;
}

int http_tls_refused(const http_call_t *call)
{
    long connects = 0, headers = 0;

    curl_easy_getinfo(call->easy, CURLINFO_NUM_CONNECTS, &connects);
    curl_easy_getinfo(call->easy, CURLINFO_HEADER_SIZE, &headers);
    if (connects != 1 || headers) {
        return 0;
    }
    switch (call->watched->alert) {
    case SSL_AD_HANDSHAKE_FAILURE:
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_ACCESS_DENIED:
    case SSL_AD_DECRYPT_ERROR:
    case SSL_AD_CERTIFICATE_REQUIRED:
        return 1;
    default:
        return 0;
    }
}

void http_tls_prepare(http_call_t *call)
{
    const http_peer_t *peer = call->peer;
    CURL *easy = call->easy;

#if CURL_AT_LEAST_VERSION(7, 85, 0)
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR,
                     call->peer->config.plain ? "http,https" : "https");
#else
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS,
                     (long)(CURLPROTO_HTTPS | (call->peer->config.plain ? CURLPROTO_HTTP : 0)));
#endif
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_PROXY_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    /* all that tells connections apart is given as options: libcurl compares these before it uses a
     * connection or session again, and cannot look into an SSL_CTX */
    if (peer->trust.data) {
        curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &peer->trust);
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    }
    if (peer->certificate.data) {
        curl_easy_setopt(easy, CURLOPT_SSLCERTTYPE, "PEM");
        curl_easy_setopt(easy, CURLOPT_SSLCERT_BLOB, &peer->certificate);
        curl_easy_setopt(easy, CURLOPT_SSLKEYTYPE, "PEM");
        curl_easy_setopt(easy, CURLOPT_SSLKEY_BLOB, &peer->key);
    }
    call->watched = OPENSSL_zalloc(sizeof(*call->watched));
    if (!call->watched) {
        abort();                    /* as APR does when a pool gets no memory */
    }
    call->watched->users = 1;
    curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, prepare_context);
    curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, call);
    /* an empty one is none, and keeps those of the environment out */
    curl_easy_setopt(easy, CURLOPT_PROXY, peer->config.proxy ? peer->config.proxy : "");
    curl_easy_setopt(easy, CURLOPT_NOPROXY, peer->config.no_proxy ? peer->config.no_proxy : "");
    if (peer->config.proxy_user) {
        curl_easy_setopt(easy, CURLOPT_PROXYUSERNAME, peer->config.proxy_user);
        curl_easy_setopt(easy, CURLOPT_PROXYPASSWORD, peer->proxy_password);
    }
}
