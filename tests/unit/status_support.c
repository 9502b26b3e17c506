/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "status_support.h"

#include <signal.h>

#include <apr_general.h>

/* What followers of the store see, and views of it, on SQLite and on a real PostgreSQL. */

typedef struct {
    const char *issuer;
    apr_int64_t number;
    int count;
    gh_status_t status;
    int reason;
    apr_pool_t *p;
} support_work_t;

apr_status_t register_others(gh_transaction_t *transaction, void *baton)
{
    static const unsigned char key[32] = { 7, 7 };
    gh_bytes_t key_sha256 = { key, sizeof(key) };

    return gh_issuer_register(transaction, "others", key_sha256, bytes_of("certificate"));
}

static apr_status_t insert_them(gh_transaction_t *transaction, void *baton)
{
    support_work_t *work = baton;
    apr_status_t rv = APR_SUCCESS;
    int i;

    for (i = 0; rv == APR_SUCCESS && i < work->count; i++) {
        gh_certificate_record_t *record = certificate_of(work->number + i, work->p);

        record->issuer = work->issuer;
        rv = gh_certificate_insert(transaction, record);
    }
    return rv;
}

void issue(store_test_t *test, const char *issuer, apr_int64_t first, int count)
{
    support_work_t work = { .issuer = issuer, .number = first, .count = count, .p = test->p };

    must_write(test->store, insert_them, &work);
}

static apr_status_t change_it(gh_transaction_t *transaction, void *baton)
{
    support_work_t *work = baton;
    int changed = 0;
    apr_status_t rv;

    rv = gh_certificate_set_status(transaction, "devices",
                                   certificate_of(work->number, work->p)->serial, work->status,
                                   work->reason, 0, REVOKED_AT, &changed);
    return rv == APR_SUCCESS && !changed ? APR_EGENERAL : rv;
}

void set_status(store_test_t *test, apr_int64_t number, gh_status_t status, int reason)
{
    support_work_t work = { .number = number, .status = status, .reason = reason, .p = test->p };

    must_write(test->store, change_it, &work);
}

int main(void)
{
    int failed;

    apr_initialize();
    signal(SIGPIPE, SIG_IGN);
    failed = run_changes_tests() + run_view_tests() + run_late_tests();
    stop_fixtures();
    apr_terminate();
    return failed != 0;
}
