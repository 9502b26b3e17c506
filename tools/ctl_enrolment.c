/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Enrolments: what waits for an operator, and what became of the others. */

#include "ctl_enrolment.h"

#include <string.h>

#include <apr_hash.h>
#include <apr_strings.h>
#include <openssl/bio.h>
#include <openssl/x509v3.h>

#include "ctl_commands.h"
#include "ctl_output.h"
#include "ctl_text.h"
#include "issuer/ledger.h"
#include "status.h"
#include "x509/key.h"

#define RULE "enrolment"

/* A reason goes to the device and into every line about the enrolment. */
#define REASON_MAX 200

const ctl_option_t ctl_enrolment_list_options[] = {
    { "state", 0, "STATE", "only those in that state, such as waiting" },
    { "limit", 0, "NUMBER", "at most that many, newest first (1000)" },
    { NULL, 0, NULL, NULL }
};

const ctl_option_t ctl_enrolment_deny_options[] = {
    { "reason", 0, "TEXT", "why, for the requester" },
    { NULL, 0, NULL, NULL }
};

typedef struct {
    int state;
    int limit;
    const char *id;
    apr_array_header_t *records;
    gh_enrolment_record_t *record;
    gh_job_record_t *job;           /* of record; NULL: none */
    apr_hash_t *jobs;               /* gh_job_record_t * of records, by id */
    apr_pool_t *p;
} baton_t;

/* Others have no job. */
static int waits_for_ca(const gh_enrolment_record_t *record)
{
    return record->state == GH_ENROLMENT_SUBMITTED || record->state == GH_ENROLMENT_RETRY
        || record->state == GH_ENROLMENT_IN_DOUBT || record->state == GH_ENROLMENT_CONFIRMING;
}

static apr_status_t find_job(gh_transaction_t *transaction, const gh_enrolment_record_t *record,
                             gh_job_record_t **job, apr_pool_t *p)
{
    apr_status_t rv;

    *job = NULL;
    if (!waits_for_ca(record)) {
        return APR_SUCCESS;
    }
    rv = gh_job_find(transaction, record->id, job, p);
    return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
}

static apr_status_t list_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;
    apr_status_t rv;
    int i;

    rv = gh_enrolment_list(transaction, baton->state, baton->limit, &baton->records, baton->p);
    baton->jobs = apr_hash_make(baton->p);
    for (i = 0; rv == APR_SUCCESS && i < baton->records->nelts; i++) {
        const gh_enrolment_record_t *record = APR_ARRAY_IDX(baton->records, i,
                                                            const gh_enrolment_record_t *);
        gh_job_record_t *job;

        rv = find_job(transaction, record, &job, baton->p);
        if (rv == APR_SUCCESS && job != NULL) {
            apr_hash_set(baton->jobs, record->id, APR_HASH_KEY_STRING, job);
        }
    }
    return rv;
}

static apr_status_t find_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;
    apr_status_t rv = gh_enrolment_find(transaction, baton->id, &baton->record, baton->p);

    return rv == APR_SUCCESS
        ? find_job(transaction, baton->record, &baton->job, baton->p) : rv;
}

/* Reads options and so can fail by usage. */
static int list_filter(baton_t *baton, const ctl_arguments_t *arguments)
{
    const char *state = ctl_option(arguments, "state");
    const char *limit = ctl_option(arguments, "limit");
    gh_enrolment_state_t parsed;
    gh_result_t result;
    char *end;

    gh_result_clear(&result);
    if (state != NULL) {
        if (gh_enrolment_state_parse(&parsed, state) != APR_SUCCESS) {
            gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                           "States are waiting, approved, denied, submitted, issued, rejected, "
                           "retry, in-doubt and confirming.",
                           GHNO(0338) "\"%s\" is not a state of an enrolment", state);
            return ctl_fail_usage(&result);
        }
        baton->state = (int)parsed;
    }
    if (limit != NULL) {
        baton->limit = (int)apr_strtoi64(limit, &end, 10);
        if (*limit == '\0' || *end != '\0' || baton->limit < 1 || baton->limit > 1000000) {
            gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                           "Give a number from 1 to 1000000.",
                           GHNO(0339) "--limit %s is not a number of enrolments", limit);
            return ctl_fail_usage(&result);
        }
    }
    return CTL_OK;
}

static void print_list(ctl_t *ctl, const baton_t *baton)
{
    static const char *const headings[] = {
        "ID", "STATE", "CREATED", "TENANT", "ISSUER", "PROFILE", "SUBJECT", NULL
    };
    static const char *const job_headings[] = {
        "ID", "STATE", "CREATED", "CALLS", "NEXT", "TENANT", "ISSUER", "PROFILE", "SUBJECT", NULL
    };
    int jobs = apr_hash_count(baton->jobs) > 0;
    ctl_table_t *table = ctl_table_create(jobs ? job_headings : headings, ctl->p);
    int i;

    for (i = 0; i < baton->records->nelts; i++) {
        const gh_enrolment_record_t *record = APR_ARRAY_IDX(baton->records, i,
                                                            const gh_enrolment_record_t *);
        const gh_job_record_t *job = apr_hash_get(baton->jobs, record->id, APR_HASH_KEY_STRING);
        const char *row[9];
        int n = 0;

        row[n++] = record->id;
        row[n++] = gh_enrolment_state_name(record->state);
        row[n++] = gh_time_text(ctl->p, record->created);
        if (jobs) {
            row[n++] = job != NULL ? apr_itoa(ctl->p, job->attempts) : "";
            row[n++] = job != NULL && job->state == GH_JOB_OPEN ? gh_time_text(ctl->p, job->due)
                                                                : "";
        }
        row[n++] = record->tenant;
        row[n++] = record->issuer;
        row[n++] = record->profile;
        row[n] = record->subject;
        ctl_table_row(table, row);
    }
    ctl_table_print(table, stdout);
}

int ctl_enrolment_list(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    baton_t baton = { .p = ctl->p };
    gh_result_t result;
    int code;
    int i;

    code = list_filter(&baton, arguments);
    if (code == CTL_OK) {
        code = ctl_open(ctl);
    }
    if (code != CTL_OK) {
        return code;
    }
    gh_result_clear(&result);
    if (gh_store_read(ctl->store, list_work, &baton, &result) != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    for (i = 0; ctl->json && i < baton.records->nelts; i++) {
        const gh_enrolment_record_t *record = APR_ARRAY_IDX(baton.records, i,
                                                            const gh_enrolment_record_t *);

        ctl_json_print(stdout, ctl_enrolment_json(record, apr_hash_get(baton.jobs, record->id,
                                                                       APR_HASH_KEY_STRING),
                                                  ctl->p));
    }
    if (!ctl->json) {
        print_list(ctl, &baton);
    }
    return CTL_OK;
}

static apr_status_t find(ctl_t *ctl, const char *id, gh_enrolment_record_t **record,
                         gh_job_record_t **job, gh_result_t *result)
{
    baton_t baton = { .id = id, .p = ctl->p };
    apr_status_t rv;

    rv = gh_store_read(ctl->store, find_work, &baton, result);
    *record = baton.record;
    *job = baton.job;
    if (rv == APR_NOTFOUND) {
        gh_result_fail(result, rv, GH_FAILURE_NOT_FOUND, RULE,
                       "gatehousectl enrolment list shows their ids.",
                       GHNO(0340) "there is no enrolment %s", id);
    }
    return rv;
}

static void print_extensions(const gh_plan_t *plan)
{
    const STACK_OF(X509_EXTENSION) *extensions = gh_plan_extensions(plan);
    BIO *bio;
    char *text;
    long length;
    int i;

    bio = BIO_new(BIO_s_mem());
    if (bio == NULL) {
        return;
    }
    for (i = 0; i < sk_X509_EXTENSION_num(extensions); i++) {
        X509_EXTENSION *extension = sk_X509_EXTENSION_value(extensions, i);

        BIO_puts(bio, "  ");
        i2a_ASN1_OBJECT(bio, X509_EXTENSION_get_object(extension));
        BIO_puts(bio, X509_EXTENSION_get_critical(extension) ? " (critical)\n" : "\n");
        if (!X509V3_EXT_print(bio, extension, X509V3_EXT_PARSE_UNKNOWN, 4)) {
            BIO_puts(bio, "    (not readable)");
        }
        BIO_puts(bio, "\n");
    }
    length = BIO_get_mem_data(bio, &text);
    if (length > 0) {
        apr_pool_t *p;
        char *line;
        char *last;

        apr_pool_create(&p, NULL);
        for (line = apr_strtok(apr_pstrmemdup(p, text, (apr_size_t)length), "\n", &last);
             line != NULL; line = apr_strtok(NULL, "\n", &last)) {
            puts(ctl_text_printable(line, p));
        }
        apr_pool_destroy(p);
    }
    BIO_free(bio);
}

/* What an operator needs to know for a decision: who asked, from where, for what. */
static void print_enrolment(ctl_t *ctl, const gh_enrolment_record_t *record,
                            const gh_job_record_t *job)
{
    apr_pool_t *p = ctl->p;
    gh_plan_t *plan = NULL;

    ctl_field_print(stdout, "id", record->id, p);
    ctl_field_print(stdout, "state", gh_enrolment_state_name(record->state), p);
    ctl_field_print(stdout, "created", gh_time_text(p, record->created), p);
    ctl_field_print(stdout, "updated", gh_time_text(p, record->updated), p);
    ctl_field_print(stdout, "protocol", record->protocol, p);
    ctl_field_print(stdout, "tenant", record->tenant, p);
    ctl_field_print(stdout, "issuer", record->issuer, p);
    ctl_field_print(stdout, "profile", record->profile, p);
    ctl_field_print(stdout, "transaction", record->transaction, p);
    ctl_field_print(stdout, "subject", record->subject, p);
    ctl_field_print(stdout, "signer", record->signer_sha256.length == 0 ? NULL
                    : gh_hex(p, record->signer_sha256.data, record->signer_sha256.length), p);
    ctl_field_print(stdout, "location", record->location, p);
    ctl_field_print(stdout, "client", record->client, p);
    ctl_field_print(stdout, "user", record->user, p);
    ctl_field_print(stdout, "granted by", record->rule, p);
    ctl_field_print(stdout, "decided by", record->decided_by, p);
    ctl_field_print(stdout, "message", record->message, p);
    ctl_field_print(stdout, "serial", record->serial.length == 0 ? NULL
                    : gh_hex(p, record->serial.data, record->serial.length), p);
    if (job != NULL) {
        ctl_job_print(job, p);
    }
    if (record->plan.length > 0
        && gh_plan_decode(&plan, record->plan, p, NULL) == APR_SUCCESS) {
        const char *kind = gh_key_kind(gh_plan_key(plan));
        gh_bytes_t digest = gh_plan_key_sha256(plan);

        puts("\nThe certificate would have:");
        ctl_field_print(stdout, "  subject", gh_plan_subject_text(plan), p);
        ctl_field_print(stdout, "  names", ctl_sans_text(gh_plan_sans(plan), p), p);
        ctl_field_print(stdout, "  key", kind != NULL ? kind : "another kind", p);
        ctl_field_print(stdout, "  key sha256", gh_hex(p, digest.data, digest.length), p);
        ctl_field_print(stdout, "  valid for at most",
                        apr_psprintf(p, "%" APR_INT64_T_FMT " days",
                                     apr_time_sec(gh_plan_validity(plan)) / 86400), p);
        print_extensions(plan);
    }
}

int ctl_enrolment_print(ctl_t *ctl, const char *id)
{
    gh_enrolment_record_t *record;
    gh_job_record_t *job;
    gh_result_t result;

    gh_result_clear(&result);
    if (find(ctl, id, &record, &job, &result) != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    if (ctl->json) {
        ctl_json_print(stdout, ctl_enrolment_json(record, job, ctl->p));
    }
    else {
        print_enrolment(ctl, record, job);
    }
    return CTL_OK;
}

int ctl_enrolment_show(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    int code = ctl_open(ctl);

    return code == CTL_OK ? ctl_enrolment_print(ctl, ctl_operand(arguments, 0)) : code;
}

static int decide(ctl_t *ctl, const char *id, int approve, const char *reason)
{
    gh_enrolment_record_t *record;
    gh_job_record_t *job;
    gh_audit_event_t *event;
    gh_result_t result;
    int code;

    code = ctl_open(ctl);
    if (code != CTL_OK) {
        return code;
    }
    gh_result_clear(&result);
    if (find(ctl, id, &record, &job, &result) != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    event = ctl_event(ctl, approve ? "approve" : "deny", ctl->p);
    event->tenant = record->tenant;
    event->issuer = record->issuer;
    event->profile = record->profile;
    event->subject = record->subject;
    event->transaction = record->transaction;
    event->message = reason;
    if (gh_ledger_decide(ctl->store, id, approve, ctl->actor, reason, event, ctl->p, &result)
        != APR_SUCCESS
        || find(ctl, id, &record, &job, &result) != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    if (ctl->json) {
        ctl_json_print(stdout, ctl_enrolment_json(record, job, ctl->p));
    }
    else if (approve) {
        printf("approved %s: %s\nA running server issues the certificate within a second.\n", id,
               ctl_text_printable(record->subject != NULL ? record->subject : "", ctl->p));
    }
    else {
        printf("denied %s: %s\n", id,
               ctl_text_printable(record->subject != NULL ? record->subject : "", ctl->p));
    }
    return CTL_OK;
}

int ctl_enrolment_approve(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    return decide(ctl, ctl_operand(arguments, 0), 1, NULL);
}

int ctl_enrolment_reason(ctl_t *ctl, const ctl_arguments_t *arguments, const char **reason)
{
    gh_result_t result;

    *reason = ctl_option(arguments, "reason");
    if (*reason != NULL
        && (strlen(*reason) > REASON_MAX
            || strcmp(*reason, ctl_text_printable(*reason, ctl->p)) != 0)) {
        gh_result_clear(&result);
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Give one line of UTF-8 text.",
                       GHNO(0341) "the reason is longer than %d bytes or not plain text",
                       REASON_MAX);
        return ctl_fail_usage(&result);
    }
    return CTL_OK;
}

int ctl_enrolment_deny(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    const char *reason;
    int code = ctl_enrolment_reason(ctl, arguments, &reason);

    return code == CTL_OK ? decide(ctl, ctl_operand(arguments, 0), 0, reason) : code;
}
