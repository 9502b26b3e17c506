/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Looking at certificates: cert list, cert show. */

#include "ctl_cert.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/pem.h>

#include "ctl_commands.h"
#include "ctl_output.h"
#include "ctl_text.h"
#include "status.h"
#include "x509/ca.h"
#include "x509/key.h"

#define RULE "certificate"

/* Certificates read in one transaction of a list. */
#define PAGE 500

const ctl_option_t ctl_cert_list_options[] = {
    { "issuer", 0, "NAME", "only those of that issuer" },
    { "profile", 0, "NAME", "only those with that profile" },
    { "subject", 0, "TEXT", "only those with that text in the subject" },
    { "status", 0, "STATUS", "only good, held, revoked or expired ones" },
    { "limit", 0, "NUMBER", "at most that many (all)" },
    { NULL, 0, NULL, NULL }
};

const ctl_option_t ctl_cert_show_options[] = {
    { "issuer", 0, "NAME", "whose serial it is, if several issuers have it" },
    { "pem", 0, NULL, "print the certificate itself" },
    { NULL, 0, NULL, NULL }
};

int ctl_serial(gh_bytes_t *serial, const char *text, apr_pool_t *p)
{
    gh_result_t result;

    if (gh_serial_parse(serial, text, p) == APR_SUCCESS) {
        return CTL_OK;
    }
    gh_result_clear(&result);
    gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                   "Give hexadecimal digits, at most 20 bytes, with or without colons.",
                   GHNO(0347) "the operand is not a serial number");
    return ctl_fail_usage(&result);
}

typedef struct {
    const char *issuer;
    gh_bytes_t serial;
    gh_certificate_filter_t filter;
    apr_array_header_t *records;
    apr_pool_t *p;
} baton_t;

static apr_status_t find_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;

    return gh_certificate_find(transaction, baton->issuer, baton->serial, &baton->records,
                               baton->p);
}

static apr_status_t list_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;

    return gh_certificate_list(transaction, &baton->filter, &baton->records, baton->p);
}

static const char *issuers_of(const apr_array_header_t *records, apr_pool_t *p)
{
    const char *names = NULL;
    int i;

    for (i = 0; i < records->nelts; i++) {
        const gh_certificate_record_t *record = APR_ARRAY_IDX(records, i,
                                                              const gh_certificate_record_t *);

        names = names == NULL ? record->issuer : apr_pstrcat(p, names, ", ", record->issuer, NULL);
    }
    return names;
}

apr_status_t ctl_certificate_find(ctl_t *ctl, const char *issuer, gh_bytes_t serial,
                                  gh_certificate_record_t **record, apr_pool_t *p,
                                  gh_result_t *result)
{
    baton_t baton;
    apr_status_t rv;

    memset(&baton, 0, sizeof(baton));
    baton.issuer = issuer;
    baton.serial = serial;
    baton.p = p;
    rv = gh_store_read(ctl->store, find_work, &baton, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (baton.records->nelts == 0) {
        return gh_result_fail(result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, RULE,
                              "gatehousectl cert list shows the certificates of the store.",
                              GHNO(0348) "there is no certificate with serial %s%s%s",
                              gh_hex(p, serial.data, serial.length),
                              issuer != NULL ? " of issuer " : "", issuer != NULL ? issuer : "");
    }
    if (baton.records->nelts > 1) {
        return gh_result_fail(result, APR_EGENERAL, GH_FAILURE_REQUEST, RULE,
                              "Say which with --issuer.",
                              GHNO(0349) "serial %s exists under several issuers: %s",
                              gh_hex(p, serial.data, serial.length),
                              issuers_of(baton.records, p));
    }
    *record = APR_ARRAY_IDX(baton.records, 0, gh_certificate_record_t *);
    return APR_SUCCESS;
}

static int list_filter(gh_certificate_filter_t *filter, apr_int64_t *limit,
                       const ctl_arguments_t *arguments)
{
    const char *text = ctl_option(arguments, "limit");
    gh_result_t result;
    char *end;

    gh_result_clear(&result);
    memset(filter, 0, sizeof(*filter));
    filter->issuer = ctl_option(arguments, "issuer");
    filter->profile = ctl_option(arguments, "profile");
    filter->subject = ctl_option(arguments, "subject");
    filter->status = ctl_option(arguments, "status");
    filter->now = apr_time_now();
    if (filter->status != NULL && strcmp(filter->status, "good") != 0
        && strcmp(filter->status, "held") != 0 && strcmp(filter->status, "revoked") != 0
        && strcmp(filter->status, "expired") != 0) {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Give good, held, revoked or expired.",
                       GHNO(0350) "\"%s\" is not a status of a certificate", filter->status);
        return ctl_fail_usage(&result);
    }
    if (text != NULL) {
        *limit = apr_strtoi64(text, &end, 10);
        if (*text == '\0' || *end != '\0' || *limit < 1) {
            gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                           "Give a number of 1 or more.",
                           GHNO(0351) "--limit %s is not a number of certificates", text);
            return ctl_fail_usage(&result);
        }
    }
    return CTL_OK;
}

static void print_listed(ctl_t *ctl, ctl_table_t *table, const gh_certificate_record_t *record,
                         apr_time_t now, apr_pool_t *p)
{
    const char *const row[] = {
        gh_hex(p, record->serial.data, record->serial.length), record->issuer,
        ctl_certificate_status(record, now), gh_time_text(p, record->not_after), record->profile,
        record->subject
    };

    if (ctl->json) {
        ctl_json_print(stdout, ctl_certificate_json(record, now, p));
    }
    else {
        ctl_table_row(table, row);
    }
}

/* Prints page after page, so that memory does not grow with the number of certificates. */
static int list_pages(ctl_t *ctl, baton_t *baton, apr_int64_t limit)
{
    static const char *const headings[] = {
        "SERIAL", "ISSUER", "STATUS", "NOT AFTER", "PROFILE", "SUBJECT", NULL
    };
    ctl_table_t *table = ctl_table_create(headings, ctl->p);
    apr_pool_t *pages[2];
    gh_result_t result;
    apr_int64_t left = limit;
    int number = 0;
    int i;

    apr_pool_create(&pages[0], ctl->p);
    apr_pool_create(&pages[1], ctl->p);
    gh_result_clear(&result);
    do {
        /* the page before has the place to go on from */
        baton->p = pages[number++ % 2];
        apr_pool_clear(baton->p);
        baton->filter.limit = left >= 0 && left < PAGE ? (int)left : PAGE;
        if (gh_store_read(ctl->store, list_work, baton, &result) != APR_SUCCESS) {
            return ctl_fail(&result);
        }
        for (i = 0; i < baton->records->nelts; i++) {
            const gh_certificate_record_t *record = APR_ARRAY_IDX(
                baton->records, i, const gh_certificate_record_t *);

            print_listed(ctl, table, record, baton->filter.now, baton->p);
            baton->filter.after_serial = record->serial;
            baton->filter.after_issuer = record->issuer;
        }
        ctl_table_print(table, stdout);
        left -= left >= 0 ? baton->records->nelts : 0;
    } while (baton->records->nelts == baton->filter.limit && left != 0);
    return CTL_OK;
}

int ctl_cert_list(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    baton_t baton;
    apr_int64_t limit = -1;
    int code;

    memset(&baton, 0, sizeof(baton));
    code = list_filter(&baton.filter, &limit, arguments);
    if (code == CTL_OK) {
        code = ctl_open(ctl);
    }
    return code == CTL_OK ? list_pages(ctl, &baton, limit) : code;
}

static void print_certificate(const gh_certificate_record_t *record, apr_pool_t *p)
{
    X509 *certificate = record->der.length > 0 ? gh_certificate_parse(record->der, p) : NULL;
    const char *kind = certificate != NULL ? gh_key_kind(X509_get0_pubkey(certificate)) : NULL;

    ctl_field_print(stdout, "serial", gh_hex(p, record->serial.data, record->serial.length), p);
    ctl_field_print(stdout, "issuer", record->issuer, p);
    ctl_field_print(stdout, "subject", record->subject, p);
    ctl_field_print(stdout, "names", ctl_sans_text(record->sans, p), p);
    ctl_field_print(stdout, "profile", record->profile, p);
    ctl_field_print(stdout, "status", ctl_certificate_status(record, apr_time_now()), p);
    ctl_field_print(stdout, "reason", gh_reason_name(record->reason), p);
    ctl_field_print(stdout, "revoked at", gh_time_text(p, record->revoked_at), p);
    ctl_field_print(stdout, "invalid from", gh_time_text(p, record->invalid_from), p);
    ctl_field_print(stdout, "not before", gh_time_text(p, record->not_before), p);
    ctl_field_print(stdout, "not after", gh_time_text(p, record->not_after), p);
    ctl_field_print(stdout, "key", kind, p);
    ctl_field_print(stdout, "key sha256", record->key_sha256.length == 0 ? NULL
                    : gh_hex(p, record->key_sha256.data, record->key_sha256.length), p);
    ctl_field_print(stdout, "sha256", record->sha256.length == 0 ? NULL
                    : gh_hex(p, record->sha256.data, record->sha256.length), p);
    ctl_field_print(stdout, "enrolment", record->enrolment, p);
}

static int print_pem(const gh_certificate_record_t *record, apr_pool_t *p)
{
    X509 *certificate = record->der.length > 0 ? gh_certificate_parse(record->der, p) : NULL;
    gh_result_t result;

    if (certificate != NULL && PEM_write_X509(stdout, certificate) == 1) {
        return CTL_OK;
    }
    gh_result_clear(&result);
    gh_result_fail(&result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, RULE,
                   "Import the certificate itself with gatehousectl cert import.",
                   GHNO(0352) "the store has the status of %s, but not the certificate",
                   gh_hex(p, record->serial.data, record->serial.length));
    return ctl_fail(&result);
}

int ctl_cert_show(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    gh_certificate_record_t *record;
    gh_bytes_t serial;
    gh_result_t result;
    int code;

    code = ctl_serial(&serial, ctl_operand(arguments, 0), ctl->p);
    if (code == CTL_OK) {
        code = ctl_open(ctl);
    }
    if (code != CTL_OK) {
        return code;
    }
    gh_result_clear(&result);
    if (ctl_certificate_find(ctl, ctl_option(arguments, "issuer"), serial, &record, ctl->p,
                             &result) != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    if (ctl_option(arguments, "pem") != NULL) {
        return print_pem(record, ctl->p);
    }
    if (ctl->json) {
        ctl_json_print(stdout, ctl_certificate_json(record, apr_time_now(), ctl->p));
    }
    else {
        print_certificate(record, ctl->p);
    }
    return CTL_OK;
}
