/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What the URL of a service may be, and what time it has. */

#include <string.h>

#include "fcgi/http_private.h"

static int has_part(CURLU *url, CURLUPart part)
{
    char *text = NULL;
    int has = curl_url_get(url, part, &text, 0) == CURLUE_OK && *text;

    curl_free(text);
    return has;
}

apr_status_t http_check_url(const http_peer_config_t *config, gh_result_t *result)
{
    apr_size_t length = strlen(config->url);
    CURLU *url = curl_url();
    int good = url && length && config->url[length - 1] != '/'
        && (!strncmp(config->url, "https://", 8)
            || (config->plain && !strncmp(config->url, "http://", 7)))
        && curl_url_set(url, CURLUPART_URL, config->url, 0) == CURLUE_OK
        && has_part(url, CURLUPART_HOST) && !has_part(url, CURLUPART_USER)
        && !has_part(url, CURLUPART_PASSWORD) && !has_part(url, CURLUPART_QUERY)
        && !has_part(url, CURLUPART_FRAGMENT);

    curl_url_cleanup(url);
    return good ? APR_SUCCESS
        : gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "http.url",
                         "Write it like https://host:port/path.",
                         GHNO(0801) "%s: the URL of a service begins with https:// and a host, has "
                         "no user, query or fragment, and does not end with a slash",
                         config->name);
}

apr_time_t http_date(const http_call_t *call)
{
    struct curl_header *header;
    time_t date = curl_easy_header(call->easy, "Date", 0, CURLH_HEADER, -1, &header) == CURLHE_OK
        ? curl_getdate(header->value, NULL) : 0;

    return date > 0 ? apr_time_from_sec(date) : 0;
}
