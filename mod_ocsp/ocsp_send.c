/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* An answer with its header fields (RFC 9919 7). */

#include <apr_strings.h>
#include <httpd.h>
#include <http_core.h>
#include <http_protocol.h>
#include <http_request.h>

#include "mod_gatehouse/gatehouse_send.h"
#include "mod_ocsp/ocsp_child.h"

#define RETRY_AFTER 10              /* seconds, where nothing better is known */

/** For how many seconds others may keep that a serial is unknown: it may be issued at any time. */
#define UNKNOWN_AGE 5

/** Room for all texts of one answer. */
typedef struct {
    char etag[2 + 2 * 32 + 1];
    char modified[APR_RFC822_DATE_LEN];
    char expires[APR_RFC822_DATE_LEN];
    char control[64];
} fields_t;

static void write_etag(char *etag, const unsigned char sha256[32])
{
    static const char digits[] = "0123456789abcdef";
    int i;

    *etag++ = '"';
    for (i = 0; i < 32; ++i) {
        *etag++ = digits[sha256[i] >> 4];
        *etag++ = digits[sha256[i] & 15];
    }
    *etag++ = '"';
    *etag = '\0';
}

static void write_control(char *control, apr_int64_t seconds)
{
    static const char before[] = "max-age=", after[] = ", public, no-transform, must-revalidate";
    char digits[24];
    int length = 0;

    memcpy(control, before, sizeof(before) - 1);
    control += sizeof(before) - 1;
    do {
        digits[length++] = (char)('0' + seconds % 10);
        seconds /= 10;
    } while (seconds > 0 && length < 20);
    while (length > 0) {
        *control++ = digits[--length];
    }
    memcpy(control, after, sizeof(after));
}

/** What caches may do with it. */
static void set_fields(request_rec *r, const ocsp_answer_t *answer)
{
    fields_t *fields = apr_palloc(r->pool, sizeof(*fields));
    apr_int64_t left = apr_time_sec(answer->expires) - apr_time_sec(r->request_time);
    apr_time_t expires = answer->next_update;

    if (answer->unknown && left > UNKNOWN_AGE) {
        left = UNKNOWN_AGE;
        expires = r->request_time + apr_time_from_sec(UNKNOWN_AGE);
    }
    write_etag(fields->etag, answer->sha256);
    apr_rfc822_date(fields->modified, answer->this_update);
    apr_rfc822_date(fields->expires, expires);
    write_control(fields->control, left > 0 ? left : 0);
    apr_table_setn(r->headers_out, "Cache-Control", fields->control);
    apr_table_setn(r->headers_out, "Expires", fields->expires);
    apr_table_setn(r->headers_out, "Last-Modified", fields->modified);
    apr_table_setn(r->headers_out, "ETag", fields->etag);
}

/**
 * A date alone is that of what is known, which several answers may have, one after the other, of
 * which the first ends before the last: it counts only for one that was made in that second. And
 * only for good: what has become revoked within it has the date of the good answer before it.
 * @return OK, or HTTP_NOT_MODIFIED or another status
 */
static int check_conditions(request_rec *r, const ocsp_answer_t *answer)
{
    int by_date = answer->status == V_OCSP_CERTSTATUS_GOOD && answer->count == 1
        && answer->produced_at - answer->this_update <= apr_time_from_sec(1);

    if (r->method_number != M_GET
        || (!by_date && !apr_table_get(r->headers_in, "If-None-Match"))) {
        return OK;
    }
    return ap_meets_conditions(r);
}

static void set_error(request_rec *r, const ocsp_answer_t *answer, int http_errors)
{
    apr_int64_t seconds = apr_time_sec(answer->retry_after + apr_time_from_sec(1) - 1);

    if (http_errors) {
        r->status = answer->ocsp == OCSP_MALFORMED_REQUEST ? HTTP_BAD_REQUEST : HTTP_NOT_FOUND;
    }
    if (answer->ocsp == OCSP_TRY_LATER) {
        apr_table_setn(r->headers_out, "Retry-After",
                       apr_psprintf(r->pool, "%" APR_INT64_T_FMT,
                                    seconds > 0 ? seconds : RETRY_AFTER));
    }
}

int ocsp_http_send(request_rec *r, const ocsp_answer_t *answer, int http_errors)
{
    int status;

    ap_set_content_type(r, OCSP_RESPONSE_TYPE);
    if (answer->ocsp == OCSP_SUCCESSFUL && answer->authoritative) {
        set_fields(r, answer);
        status = check_conditions(r, answer);
        if (status != OK) {
            return status;
        }
    }
    else {
        apr_table_setn(r->headers_out, "Cache-Control", "no-store");
        if (answer->ocsp != OCSP_SUCCESSFUL) {
            set_error(r, answer, http_errors);
        }
    }
    ap_set_content_length(r, (apr_off_t)answer->der.length);
    return gatehouse_send_bytes(r, answer->der);
}
