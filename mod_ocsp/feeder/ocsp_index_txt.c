/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * index.txt of "openssl ca": lines of six fields between tabs, status (V, R, E), expiry, revocation
 * ("time[,reason[,more]]"), serial, file, subject. A file without an end of its last line is
 * half written and not taken.
 */

#include "mod_ocsp/feeder/ocsp_document.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/asn1.h>
#include <openssl/err.h>

#include "log.h"
#include "status.h"
#include "store/certificates.h"
#include "x509/ca.h"
#include "x509/crl_read.h"

#define FIELDS 6
enum { FIELD_STATUS, FIELD_EXPIRY, FIELD_REVOCATION, FIELD_SERIAL };

#define REASON_KEY_COMPROMISE   1
#define REASON_CA_COMPROMISE    2
#define REASON_HOLD             6

/** "20261129120000Z", or "261129120000Z". @return 0 if it is neither */
static apr_time_t parse_time(const char *text)
{
    ASN1_TIME *time = ASN1_TIME_new();
    apr_time_t value = 0;

    if (time && ASN1_TIME_set_string(time, text) == 1) {
        value = gh_asn1_time(time);
    }
    ASN1_TIME_free(time);
    ERR_clear_error();
    return value;
}

/** What "openssl ca" writes: reasons by their names, and three forms with something behind. */
static apr_status_t parse_revocation(ocsp_entry_t *entry, char *text)
{
    char *reason, *more = NULL;

    reason = strchr(text, ',');
    if (reason) {
        *reason++ = '\0';
        more = strchr(reason, ',');
        if (more) {
            *more++ = '\0';
        }
    }
    entry->revoked_at = parse_time(text);
    entry->state = GH_KNOWN_REVOKED;
    entry->reason = GH_REASON_NONE;
    if (!entry->revoked_at) {
        return APR_EINVAL;
    }
    if (!reason) {
        return APR_SUCCESS;
    }
    if (more && (!strcmp(reason, "keyTime") || !strcmp(reason, "CAkeyTime"))) {
        entry->reason = reason[0] == 'k' ? REASON_KEY_COMPROMISE : REASON_CA_COMPROMISE;
        entry->invalid_from = parse_time(more);
        return entry->invalid_from ? APR_SUCCESS : APR_EINVAL;
    }
    entry->reason = (signed char)(!strcmp(reason, "holdInstruction") ? REASON_HOLD
                                                                     : gh_reason_parse(reason));
    if (entry->reason < 0) {
        return APR_EINVAL;
    }
    if (entry->reason == REASON_HOLD) {
        entry->state = GH_KNOWN_HELD;
    }
    return APR_SUCCESS;
}

/** @return APR_EINVAL for a line that is not of this form */
static apr_status_t read_entry(ocsp_document_t *document, char *text, apr_pool_t *p)
{
    char *fields[FIELDS], *at = text;
    ocsp_entry_t *entry;
    gh_bytes_t serial;
    int i;

    for (i = 0; i < FIELDS; ++i) {
        if (!at) {
            return APR_EINVAL;
        }
        fields[i] = at;
        at = i < FIELDS - 1 ? strchr(at, '\t') : NULL;
        if (at) {
            *at++ = '\0';
        }
    }
    if (strlen(fields[FIELD_STATUS]) != 1 || !strchr("VRE", *fields[FIELD_STATUS])
        || !parse_time(fields[FIELD_EXPIRY])
        || gh_serial_parse(&serial, fields[FIELD_SERIAL], p) != APR_SUCCESS) {
        return APR_EINVAL;
    }
    entry = ocsp_document_add(document, serial);
    if (!entry) {
        return APR_ENOMEM;
    }
    if (*fields[FIELD_STATUS] == 'R') {
        return parse_revocation(entry, fields[FIELD_REVOCATION]);
    }
    /* an expired certificate may have been revoked before */
    if (*fields[FIELD_REVOCATION]) {
        return *fields[FIELD_STATUS] == 'E' ? parse_revocation(entry, fields[FIELD_REVOCATION])
                                            : APR_EINVAL;
    }
    entry->state = GH_KNOWN_GOOD;
    entry->reason = GH_REASON_NONE;
    return APR_SUCCESS;
}

apr_status_t ocsp_read_index_txt(ocsp_document_t *document, const ocsp_fetched_t *fetched,
                                 apr_pool_t *p, gh_result_t *result)
{
    const unsigned char *at = fetched->bytes.data, *end = at + fetched->bytes.length;
    int ended = !fetched->bytes.length || end[-1] == '\n';
    apr_status_t rv = ended ? APR_SUCCESS : APR_EINVAL;
    apr_pool_t *ptemp;
    gh_bytes_t line;
    int number = 0, more;

    apr_pool_create(&ptemp, p);
    while (rv == APR_SUCCESS && (more = ocsp_read_line(&line, &at, end)) != 0) {
        ++number;
        if (more < 0) {
            rv = APR_EINVAL;
        }
        else if (line.length && line.data[0] != '#') {
            rv = read_entry(document,
                            apr_pstrmemdup(ptemp, (const char *)line.data, line.length), ptemp);
        }
        apr_pool_clear(ptemp);
    }
    apr_pool_destroy(ptemp);
    if (rv != APR_SUCCESS) {
        return gh_result_fail(result, rv, GH_FAILURE_REQUEST, RULE_SOURCE,
                              "Look whether the file was being written; the next attempt may do.",
                              GHNO(0690) "line %d of %s is not as \"openssl ca\" writes it%s",
                              number, fetched->url,
                              ended ? "" : ", or the last line has no end");
    }
    if (!document->count && fetched->former && fetched->former->entries) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_CONFLICT, RULE_SOURCE,
                              "Look who has emptied it. For a CA that begins anew, stop httpd and "
                              "remove the authority's .state file from OCSPDirectory.",
                              GHNO(0770) "%s has no certificate any more, and had %"
                              APR_UINT64_T_FMT, fetched->url, fetched->former->entries);
    }
    return APR_SUCCESS;
}
