/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_tests_status_support_h
#define gatehouse_tests_status_support_h

#include "status/view.h"
#include "store/changes.h"
#include "store_support.h"

/* Certificates in a store whose status is followed. */

/** When certificates of these tests were revoked. */
#define REVOKED_AT apr_time_from_sec(5000)

/** Work that registers the issuer "others"; baton unused. */
apr_status_t register_others(gh_transaction_t *transaction, void *baton);

/** Adds good certificates with the serial numbers from first on, in one transaction. */
void issue(store_test_t *test, const char *issuer, apr_int64_t first, int count);

/** Changes the status of one of "devices". */
void set_status(store_test_t *test, apr_int64_t number, gh_status_t status, int reason);

int run_changes_tests(void);
int run_view_tests(void);
int run_late_tests(void);

#endif /* gatehouse_tests_status_support_h */
