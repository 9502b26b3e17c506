/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store_support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_strings.h>

#define TOOL TEST_SRCDIR "/tests/fixtures/postgres"

/* Of the whole program: folders to remove, clusters to stop. */
static char folders[64][64];
static int folders_count;
static const char *shared_uri;      /* of the cluster for tests that do not stop it */
static char *cluster_folder;
static int databases;

const char *new_folder(apr_pool_t *p)
{
    char *folder = folders[folders_count++];

    assert_in_range(folders_count, 1, 63);
    strcpy(folder, "/tmp/gatehouse-store-XXXXXX");
    assert_non_null(mkdtemp(folder));
    return apr_pstrdup(p, folder);
}

const char *new_sqlite_uri(const char **folder, apr_pool_t *p)
{
    *folder = new_folder(p);
    return apr_psprintf(p, "sqlite3:%s/store.db", *folder);
}

/** Runs a command of the shell. @return the first line that it writes */
static const char *shell_line(const char *command, apr_pool_t *p)
{
    char line[512] = "";
    FILE *output = popen(command, "r");

    assert_non_null(output);
    if (fgets(line, sizeof(line), output) == NULL) {
        line[0] = '\0';
    }
    if (pclose(output) != 0) {
        fail_msg("failed: %s", command);
    }
    line[strcspn(line, "\n")] = '\0';
    return apr_pstrdup(p, line);
}

const char *own_cluster(const char *command, apr_pool_t *p)
{
    if (cluster_folder == NULL) {
        cluster_folder = strdup(new_folder(p));
    }
    return shell_line(apr_psprintf(p, TOOL " %s %s", command, cluster_folder), p);
}

const char *new_pgsql_uri(apr_pool_t *p)
{
    const char *given = getenv("GH_TEST_PGSQL");
    const char *name = apr_psprintf(p, "test_%d_%d", (int)getpid(), ++databases);

    if (shared_uri == NULL) {
        shared_uri = strdup(given && *given ? given : own_cluster("start", p));
    }
    shell_line(apr_psprintf(p, "psql -qX -d '%s' -c 'CREATE DATABASE %s ENCODING UTF8 TEMPLATE"
                            " template0'", shared_uri + strlen("pgsql:"), name), p);
    return apr_psprintf(p, "%s dbname=%s", shared_uri, name);
}

void stop_fixtures(void)
{
    char command[8192];
    int i;

    if (cluster_folder != NULL) {
        snprintf(command, sizeof(command), TOOL " remove %s", cluster_folder);
        if (system(command) != 0) {
            fprintf(stderr, "failed: %s\n", command);
        }
    }
    for (i = 0; i < folders_count; i++) {
        snprintf(command, sizeof(command), "rm -rf %s", folders[i]);
        if (system(command) != 0) {
            fprintf(stderr, "failed: %s\n", command);
        }
    }
}

void prepare_store(const char *uri, apr_pool_t *p)
{
    gh_result_t result;
    apr_status_t rv;

    gh_result_clear(&result);
    rv = gh_store_prepare(uri, (apr_uid_t)-1, (apr_gid_t)-1, NULL, p, &result);
    if (rv != APR_SUCCESS) {
        fail_msg("prepare: %d %s %s", rv, result.number, result.message);
    }
}

gh_store_t *open_store(const char *uri, const gh_store_options_t *options, apr_pool_t *p)
{
    gh_store_t *store = NULL;
    gh_result_t result;
    apr_status_t rv;

    gh_result_clear(&result);
    rv = gh_store_open(&store, uri, options, p, &result);
    if (rv != APR_SUCCESS) {
        fail_msg("open: %d %s %s", rv, result.number, result.message);
    }
    return store;
}

static int open_backend(void **state, int sqlite)
{
    store_test_t *test;
    apr_pool_t *p;

    apr_pool_create(&p, NULL);
    test = apr_pcalloc(p, sizeof(*test));
    test->p = p;
    test->uri = sqlite ? new_sqlite_uri(&test->folder, p) : new_pgsql_uri(p);
    prepare_store(test->uri, p);
    test->store = open_store(test->uri, NULL, p);
    *state = test;
    return 0;
}

int open_sqlite(void **state)
{
    return open_backend(state, 1);
}

int open_pgsql(void **state)
{
    return open_backend(state, 0);
}

int close_store(void **state)
{
    store_test_t *test = *state;

    apr_pool_destroy(test->p);
    return 0;
}

pid_t run_self(char *const arguments[], char *const environment[], int *output)
{
    int ends[2], i;
    pid_t pid;

    assert_int_equal(pipe(ends), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        for (i = 0; environment != NULL && environment[i] != NULL; i++) {
            putenv(environment[i]);
        }
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execv("/proc/self/exe", arguments);
        _exit(127);
    }
    close(ends[1]);
    *output = ends[0];
    return pid;
}

int wait_for(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0) {
        assert_int_equal(errno, EINTR);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

void must_write(gh_store_t *store, gh_store_work_fn *work, void *baton)
{
    gh_result_t result;
    apr_status_t rv;

    gh_result_clear(&result);
    if ((rv = gh_store_write(store, work, baton, &result)) != APR_SUCCESS) {
        fail_msg("write: %d %s %s", rv, result.number, result.message);
    }
}

void must_read(gh_store_t *store, gh_store_work_fn *work, void *baton)
{
    gh_result_t result;
    apr_status_t rv;

    gh_result_clear(&result);
    if ((rv = gh_store_read(store, work, baton, &result)) != APR_SUCCESS) {
        fail_msg("read: %d %s %s", rv, result.number, result.message);
    }
}

gh_bytes_t digest_of(apr_int64_t number, apr_pool_t *p)
{
    unsigned char *data = apr_palloc(p, 32);
    gh_bytes_t digest = { data, 32 };
    int i;

    for (i = 0; i < 32; i++) {
        data[i] = (unsigned char)((number >> (i % 8 * 8)) ^ (i * 37));
    }
    return digest;
}

gh_bytes_t bytes_of(const char *text)
{
    gh_bytes_t bytes = { (const unsigned char *)text, strlen(text) };

    return bytes;
}

apr_status_t register_devices(gh_transaction_t *transaction, void *baton)
{
    static const unsigned char key[32] = { 1, 2, 3 };
    gh_bytes_t key_sha256 = { key, sizeof(key) };

    return gh_issuer_register(transaction, "devices", key_sha256, bytes_of("certificate"));
}

gh_certificate_record_t *certificate_of(apr_int64_t number, apr_pool_t *p)
{
    gh_certificate_record_t *record = apr_pcalloc(p, sizeof(*record));
    const char *serial = apr_psprintf(p, "1%015" APR_INT64_T_FMT, number);

    record->issuer = "devices";
    assert_int_equal(gh_serial_parse(&record->serial, serial, p), APR_SUCCESS);
    record->status = GH_STATUS_GOOD;
    record->reason = GH_REASON_NONE;
    record->not_before = apr_time_from_sec(1000);
    record->not_after = apr_time_from_sec(2000000);
    record->subject = apr_psprintf(p, "CN=device %" APR_INT64_T_FMT ",O=Acme_100%%", number);
    record->sans = "[\"DNS:device.example\"]";
    record->profile = "scep-digital-signature";
    record->sha256 = digest_of(number, p);
    record->key_sha256 = digest_of(number + 1, p);
    record->der = bytes_of("certificate");
    return record;
}

gh_enrolment_record_t *enrolment_of(apr_int64_t number, apr_pool_t *p)
{
    gh_enrolment_record_t *record = apr_pcalloc(p, sizeof(*record));

    record->id = gh_ordered_id(apr_time_now(), p);
    record->key = digest_of(number, p);
    record->state = GH_ENROLMENT_WAITING;
    record->protocol = "scep";
    record->tenant = "acme";
    record->issuer = "devices";
    record->profile = "scep-digital-signature";
    record->transaction = apr_psprintf(p, "transaction %" APR_INT64_T_FMT, number);
    record->signer_sha256 = digest_of(number + 2, p);
    record->subject = "CN=device";
    record->request_sha256 = digest_of(number + 3, p);
    record->request = bytes_of("request");
    record->plan = bytes_of("plan");
    record->location = "/scep/acme/devices/p";
    record->client = "192.0.2.1";
    record->rule = "onetime";
    record->created = apr_time_now();
    record->updated = record->created;
    return record;
}

apr_status_t insert_enrolment(gh_transaction_t *transaction, void *baton)
{
    return gh_enrolment_insert(transaction, baton);
}

apr_status_t count_enrolments(gh_transaction_t *transaction, void *baton)
{
    gh_query_t *query = gh_query(transaction, "SELECT count(*) FROM enrolment");
    apr_status_t rv = gh_step(query);

    if (rv == APR_SUCCESS) {
        *(apr_int64_t *)baton = gh_column_int64(query, 0);
        gh_query_end(query);
    }
    return rv;
}

static apr_status_t find_enrolment(gh_transaction_t *transaction, void *baton)
{
    gh_enrolment_record_t *record;
    apr_pool_t *p;
    apr_status_t rv;

    apr_pool_create(&p, NULL);
    rv = gh_enrolment_find(transaction, baton, &record, p);
    apr_pool_destroy(p);
    return rv;
}

int has_enrolment(gh_store_t *store, const char *id)
{
    gh_result_t result;
    apr_status_t rv;

    gh_result_clear(&result);
    rv = gh_store_read(store, find_enrolment, (void *)id, &result);
    if (rv != APR_SUCCESS && rv != APR_NOTFOUND) {
        fail_msg("find: %d %s %s", rv, result.number, result.message);
    }
    return rv == APR_SUCCESS;
}
