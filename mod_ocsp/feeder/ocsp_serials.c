/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * A list of all serial numbers that a CA has issued: hexadecimal, one a line. Upper or lower case,
 * "0x" before it and colons within make no difference, nor do empty lines and what stands behind
 * '#'. Numbers are compared as integers: leading zeros mean nothing.
 */

#include "mod_ocsp/feeder/ocsp_document.h"

#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>

#include "log.h"
#include "status.h"

/** More than any notation of 20 bytes takes. */
#define SERIAL_TEXT 128

/** @return the text of a line without comment, prefix and blanks around it; in buffer */
static const char *strip(char buffer[SERIAL_TEXT], gh_bytes_t line)
{
    const char *text = (const char *)line.data, *end;
    const char *comment = memchr(text, '#', line.length);

    end = comment ? comment : text + line.length;
    while (text < end && apr_isspace(*text)) {
        ++text;
    }
    while (end > text && apr_isspace(end[-1])) {
        --end;
    }
    if (end - text > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        text += 2;
    }
    if (end - text >= SERIAL_TEXT) {
        return NULL;
    }
    memcpy(buffer, text, (apr_size_t)(end - text));
    buffer[end - text] = '\0';
    return buffer;
}

static apr_status_t add_line(ocsp_document_t *document, const char *text, apr_pool_t *p)
{
    gh_bytes_t serial;
    ocsp_entry_t *entry;
    apr_status_t rv;

    /* an odd number of digits: a number all the same */
    rv = gh_serial_parse(&serial, strlen(text) % 2 && !strchr(text, ':')
                         ? apr_pstrcat(p, "0", text, NULL) : text, p);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    entry = ocsp_document_add(document, serial);
    if (!entry) {
        return APR_ENOMEM;
    }
    entry->state = GH_KNOWN_GOOD;
    entry->reason = -1;
    return APR_SUCCESS;
}

static apr_status_t check_size(const ocsp_document_t *document, const ocsp_fetched_t *fetched,
                               gh_result_t *result)
{
    const ocsp_document_info_t *former = fetched->former;

    if (!document->count) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE_SOURCE,
                              "Look what is published there.",
                              GHNO(0687) "%s lists no serial number", fetched->url);
    }
    if (former && document->count * 100 < former->entries * (apr_uint64_t)(100 - fetched->shrink)) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_CONFLICT, RULE_SOURCE,
                              "If that is right, raise shrink= of this OCSPSource for once.",
                              GHNO(0688) "%s lists %" APR_UINT64_T_FMT " serial numbers and had %"
                              APR_UINT64_T_FMT ": more than %d percent are gone", fetched->url,
                              document->count, former->entries, fetched->shrink);
    }
    return APR_SUCCESS;
}

apr_status_t ocsp_read_serials(ocsp_document_t *document, const ocsp_fetched_t *fetched,
                               apr_pool_t *p, gh_result_t *result)
{
    const unsigned char *at = fetched->bytes.data, *end = at + fetched->bytes.length;
    char buffer[SERIAL_TEXT];
    apr_status_t rv = APR_SUCCESS;
    const char *text;
    apr_pool_t *ptemp;
    gh_bytes_t line;
    int number = 0, more;

    apr_pool_create(&ptemp, p);
    while ((more = ocsp_read_line(&line, &at, end)) != 0) {
        ++number;
        text = more > 0 ? strip(buffer, line) : NULL;
        rv = !text ? APR_EINVAL : *text ? add_line(document, text, ptemp) : APR_SUCCESS;
        if (rv != APR_SUCCESS) {
            break;
        }
        if (number % 1024 == 0) {
            apr_pool_clear(ptemp);
        }
    }
    apr_pool_destroy(ptemp);
    if (rv != APR_SUCCESS) {
        return gh_result_fail(result, rv, GH_FAILURE_REQUEST, RULE_SOURCE,
                              "Each line is one serial number in hexadecimal, of at most 20 bytes.",
                              GHNO(0689) "line %d of %s is no serial number", number,
                              fetched->url);
    }
    return check_size(document, fetched, result);
}
