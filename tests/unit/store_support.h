/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_tests_store_support_h
#define gatehouse_tests_store_support_h

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <apr_pools.h>

#include "status.h"
#include "store/certificates.h"
#include "store/challenges.h"
#include "store/crls.h"
#include "store/enrolments.h"
#include "store/housekeeping.h"
#include "store/store.h"
#include "store/store_backend.h"

/** What the tests of one back end share. */
typedef struct {
    apr_pool_t *p;
    const char *uri;
    gh_store_t *store;
    const char *folder;             /* SQLite: of the database */
} store_test_t;

/* cmocka group fixtures: an empty store, prepared and open. */
int open_sqlite(void **state);
int open_pgsql(void **state);
int close_store(void **state);

/** A new folder, removed when the test program ends. */
const char *new_folder(apr_pool_t *p);

/** URI of an empty SQLite database (in *folder) that is not prepared yet. */
const char *new_sqlite_uri(const char **folder, apr_pool_t *p);

/** URI of an empty PostgreSQL database in the cluster for tests. */
const char *new_pgsql_uri(apr_pool_t *p);

/** A cluster that a test may stop and start. @param command start, stop, stop --immediate, crash */
const char *own_cluster(const char *command, apr_pool_t *p);

/** Ends what the functions above have started. */
void stop_fixtures(void);

gh_store_t *open_store(const char *uri, const gh_store_options_t *options, apr_pool_t *p);
void prepare_store(const char *uri, apr_pool_t *p);

/** Runs this program again with arguments (NULL at the end) and a pipe as its standard output. */
pid_t run_self(char *const arguments[], char *const environment[], int *output);

/** Waits for a process. @return its exit status, or 1000 and the signal that ended it */
int wait_for(pid_t pid);

/** Runs a write and fails the test unless it succeeds. */
void must_write(gh_store_t *store, gh_store_work_fn *work, void *baton);
void must_read(gh_store_t *store, gh_store_work_fn *work, void *baton);

/** 32 bytes that depend on a number only. */
gh_bytes_t digest_of(apr_int64_t number, apr_pool_t *p);
gh_bytes_t bytes_of(const char *text);

/** Registers the issuer "devices"; baton unused. */
apr_status_t register_devices(gh_transaction_t *transaction, void *baton);

/** A good certificate of "devices" whose serial number is number, in p. */
gh_certificate_record_t *certificate_of(apr_int64_t number, apr_pool_t *p);

/** A waiting enrolment whose key depends on number, with a random id, in p. */
gh_enrolment_record_t *enrolment_of(apr_int64_t number, apr_pool_t *p);

/** Work that inserts the enrolment that baton is. */
apr_status_t insert_enrolment(gh_transaction_t *transaction, void *baton);

/** Work that counts the rows of enrolment into the apr_int64_t that baton is. */
apr_status_t count_enrolments(gh_transaction_t *transaction, void *baton);

/** @return 1 if there is an enrolment with that id */
int has_enrolment(gh_store_t *store, const char *id);

/* What this program does when it is run again by a test: write enrolments, one line with the id for
 * each that was acknowledged; see test_store_load.c and test_store_flush.c. */
int child_writer(int argc, char **argv);
int child_flush(int argc, char **argv);
int child_prepare(int argc, char **argv);

/* The groups. @return number of failed tests */
int run_record_tests(void);
int run_device_tests(void);
int run_ledger_tests(void);
int run_job_tests(void);
int run_asking_tests(void);
int run_delivery_tests(void);
int run_credential_tests(void);
int run_escrow_tests(void);
int run_pin_tests(void);
int run_remote_tests(void);
int run_load_tests(void);
int run_migration_tests(void);
int run_sqlite_tests(void);
int run_flush_tests(void);
int run_pgsql_tests(void);

#endif /* gatehouse_tests_store_support_h */
