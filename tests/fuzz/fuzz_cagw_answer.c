/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * An answer of a CA gateway: the first byte chooses what was asked, the second the status of HTTP.
 * What is read has to keep what its readers promise.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <openssl/err.h>

#include "fcgi/ca/cagw_codec.h"
#include "store/certificates.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static apr_pool_t *pool;

static void require(int condition)
{
    if (!condition) {
        abort();
    }
}

static long status_of(uint8_t byte)
{
    static const long statuses[] = { 200, 201, 202, 400, 401, 403, 404, 429, 500, 501, 503, 204 };

    return statuses[byte % (sizeof(statuses) / sizeof(statuses[0]))];
}

static void read_enrolled(const cagw_reply_t *reply, cagw_format_t format, apr_pool_t *p)
{
    cagw_enrolled_t enrolled;
    gh_result_t result;

    gh_result_clear(&result);
    if (cagw_read_enrolled(&enrolled, reply, format, p, &result) == APR_SUCCESS) {
        require(enrolled.certificate || enrolled.pkcs12.length || enrolled.id || enrolled.serial
                || enrolled.refused);
        require(!enrolled.certificate || X509_get0_pubkey(enrolled.certificate));
    }
    else {
        require(result.number[0] != '\0');
    }
}

static void read_lists(const cagw_reply_t *reply, apr_pool_t *p)
{
    apr_array_header_t *list;
    gh_result_t result;
    cagw_ca_t ca;
    cagw_profile_t profile;
    cagw_enrolment_t enrolment;
    const char *status;
    int up, i;

    gh_result_clear(&result);
    memset(&enrolment, 0, sizeof(enrolment));
    cagw_read_ca(&ca, reply, p, &result);
    cagw_read_ca_status(&up, &status, reply, p, &result);
    cagw_read_ca_property(&list, reply, "defaultPolicyOIDs", p, &result);
    cagw_read_capability(reply, "RevokeAction");
    if (cagw_read_cas(&list, reply, p, &result) == APR_SUCCESS) {
        for (i = 0; i < list->nelts; ++i) {
            require(*APR_ARRAY_IDX(list, i, cagw_ca_t *)->id != '\0');
        }
    }
    if (cagw_read_profiles(&list, reply, p, &result) == APR_SUCCESS) {
        for (i = 0; i < list->nelts; ++i) {
            cagw_check_profile(APR_ARRAY_IDX(list, i, cagw_profile_t *), &enrolment, p, &result);
        }
    }
    if (cagw_read_profile(&profile, reply, p, &result) == APR_SUCCESS) {
        require(*profile.id != '\0');
    }
}

static void read_others(const cagw_reply_t *reply, apr_pool_t *p)
{
    cagw_certificate_t certificate;
    cagw_events_t events;
    gh_result_t result;
    int rejected, i;

    gh_result_clear(&result);
    if (cagw_read_certificate(&certificate, reply, p, &result) == APR_SUCCESS) {
        require(certificate.reason >= GH_REASON_NONE && certificate.reason <= 10);
    }
    cagw_read_action(&rejected, reply, &result);
    if (cagw_read_events(&events, reply, p, &result) == APR_SUCCESS) {
        require(!events.more || events.cursor);
        for (i = 0; i < events.events->nelts; ++i) {
            require(APR_ARRAY_IDX(events.events, i, cagw_event_t *)->certificate != NULL);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cagw_reply_t reply;
    gh_result_t result;
    gh_bytes_t body;
    apr_pool_t *p;

    if (!pool) {
        require(apr_initialize() == APR_SUCCESS && apr_pool_create(&pool, NULL) == APR_SUCCESS);
    }
    if (size < 2) {
        return 0;
    }
    apr_pool_create(&p, pool);
    gh_result_clear(&result);
    body.data = data + 2;
    body.length = size - 2;
    cagw_read_reply(&reply, status_of(data[1]), body, data[0] & 0x80, p, &result);
    require((reply.verdict == CAGW_DONE) == (result.number[0] == '\0'));
    require(reply.verdict != CAGW_DONE || reply.json);
    if (reply.verdict == CAGW_DONE) {
        switch (data[0] % 3) {
        case 0:
            read_enrolled(&reply, (cagw_format_t)(data[0] / 3 % 3), p);
            break;
        case 1:
            read_lists(&reply, p);
            break;
        default:
            read_others(&reply, p);
        }
    }
    require(ERR_peek_error() == 0);
    apr_pool_destroy(p);
    return 0;
}
