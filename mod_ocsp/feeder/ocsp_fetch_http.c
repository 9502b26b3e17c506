/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>
#include <strings.h>

#include <apr_strings.h>

#include "log.h"
#include "mod_ocsp/feeder/ocsp_fetch.h"
#include "status.h"

/** Less than so many bytes in a second, for the time of timeout=, is silence. */
#define SLOW_BYTES 64L

/** However steadily they come, bytes are not waited for any longer. */
#define WHOLE_TIMEOUT 600L

#define REDIRECTS_MAX 3L

static size_t take_body(char *data, size_t size, size_t count, void *baton)
{
    ocsp_fetch_t *fetch = baton;
    long code = 0;

    curl_easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &code);
    if (code != 200) {
        return size * count;        /* the page that goes with an error */
    }
    if (ocsp_buffer_add(&fetch->bytes, data, size * count) != APR_SUCCESS) {
        fetch->too_large = 1;
        return 0;
    }
    return size * count;
}

/* The value of a header, without blanks around it; what is too long is no validator. */
static void take_value(const char *data, size_t length, const char *name, char *value)
{
    size_t skip = strlen(name);

    if (length <= skip || strncasecmp(data, name, skip)) {
        return;
    }
    data += skip;
    length -= skip;
    while (length && (*data == ' ' || *data == '\t')) {
        ++data;
        --length;
    }
    while (length && strchr("\r\n\t ", data[length - 1])) {
        --length;
    }
    value[0] = '\0';
    if (length < OCSP_VALIDATOR_MAX && !memchr(data, '\0', length)) {
        memcpy(value, data, length);
        value[length] = '\0';
    }
}

static size_t take_header(char *data, size_t size, size_t count, void *baton)
{
    ocsp_fetch_t *fetch = baton;

    if (size * count > 5 && !strncmp(data, "HTTP/", 5)) {
        fetch->new_etag[0] = '\0';  /* another answer begins: that after a redirection */
        fetch->new_modified[0] = '\0';
    }
    take_value(data, size * count, "ETag:", fetch->new_etag);
    take_value(data, size * count, "Last-Modified:", fetch->new_modified);
    return size * count;
}

static void add_header(ocsp_fetch_t *fetch, const char *name, const char *value)
{
    char line[OCSP_VALIDATOR_MAX + 32];

    apr_snprintf(line, sizeof(line), "%s: %s", name, value);
    fetch->headers = curl_slist_append(fetch->headers, line);
}

static void set_security(ocsp_fetch_t *fetch)
{
    CURL *easy = fetch->easy;
    int tls = !strncasecmp(fetch->url, "https:", 6);

    /* what was to be protected by TLS does not come without */
#if CURL_AT_LEAST_VERSION(7, 85, 0)
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, tls ? "https" : "http,https");
#else
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
    curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS,
                     (long)(tls ? CURLPROTO_HTTPS : CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (fetch->config->ca_file) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, fetch->config->ca_file);
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    }
    /* an empty one is none, and keeps those of the environment out */
    curl_easy_setopt(easy, CURLOPT_PROXY, fetch->config->proxy ? fetch->config->proxy : "");
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
}

static void set_limits(ocsp_fetch_t *fetch)
{
    CURL *easy = fetch->easy;
    long timeout = (long)(fetch->config->timeout / 1000);

    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, timeout);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, SLOW_BYTES);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (timeout + 999) / 1000);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT, WHOLE_TIMEOUT);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(easy, CURLOPT_MAXREDIRS, REDIRECTS_MAX);
    curl_easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)fetch->bytes.limit);
}

void ocsp_fetch_http(ocsp_fetch_t *fetch, CURLM *multi)
{
    CURL *easy = curl_easy_init();

    fetch->too_large = 0;
    fetch->error[0] = '\0';
    fetch->new_etag[0] = '\0';
    fetch->new_modified[0] = '\0';
    fetch->headers = NULL;
    fetch->easy = easy;
    if (!easy) {
        fetch->status = APR_ENOMEM;
        fetch->done(fetch->baton);
        return;
    }
    curl_easy_setopt(easy, CURLOPT_URL, fetch->url);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, fetch);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, fetch->error);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, fetch);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, fetch);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "Gatehouse");
    set_security(fetch);
    set_limits(fetch);
    if (fetch->etag[0]) {
        add_header(fetch, "If-None-Match", fetch->etag);
    }
    if (fetch->modified[0]) {
        add_header(fetch, "If-Modified-Since", fetch->modified);
    }
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, fetch->headers);
    if (curl_multi_add_handle(multi, easy) != CURLM_OK) {
        curl_slist_free_all(fetch->headers);
        curl_easy_cleanup(easy);
        fetch->easy = NULL;
        fetch->status = APR_ENOMEM;
        fetch->done(fetch->baton);
    }
}

static void judge(ocsp_fetch_t *fetch, CURLcode code)
{
    long http = 0;

    curl_easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &http);
    if (fetch->too_large || code == CURLE_FILESIZE_EXCEEDED) {
        ocsp_fetch_too_large(fetch);
    }
    else if (code != CURLE_OK) {
        fetch->status = gh_result_fail(&fetch->result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE,
                                       "ocsp.source", "See whether the server is up, reachable "
                                       "from here, and has a certificate that is trusted "
                                       "(ca-file=).",
                                       GHNO(0668) "it cannot be fetched: %s",
                                       fetch->error[0] ? fetch->error : curl_easy_strerror(code));
    }
    else if (http == 304 && (fetch->etag[0] || fetch->modified[0])) {
        fetch->unchanged = 1;
    }
    else if (http != 200) {
        fetch->status = gh_result_fail(&fetch->result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE,
                                       "ocsp.source", "Correct the URL, or see to the server.",
                                       GHNO(0669) "the server answers with HTTP status %ld", http);
    }
    else {
        apr_cpystrn(fetch->etag, fetch->new_etag, sizeof(fetch->etag));
        apr_cpystrn(fetch->modified, fetch->new_modified, sizeof(fetch->modified));
    }
}

void ocsp_fetch_finish(CURLM *multi)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(multi, &left)) != NULL) {
        CURLcode code = message->data.result;
        ocsp_fetch_t *fetch = NULL;

        if (message->msg != CURLMSG_DONE) {
            continue;
        }
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&fetch);
        judge(fetch, code);
        curl_multi_remove_handle(multi, fetch->easy);
        curl_easy_cleanup(fetch->easy);
        curl_slist_free_all(fetch->headers);
        fetch->easy = NULL;
        fetch->headers = NULL;
        fetch->done(fetch->baton);
    }
}
