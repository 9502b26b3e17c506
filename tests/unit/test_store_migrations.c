/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store_support.h"

#include <string.h>
#include <unistd.h>

#include <apr_strings.h>

#include "store/escrow_profiles.h"

/* The schema's steps, on both back ends. Each test begins with an empty database. */

static int empty_store(void **state, int sqlite)
{
    store_test_t *test;
    apr_pool_t *p;

    apr_pool_create(&p, NULL);
    test = apr_pcalloc(p, sizeof(*test));
    test->p = p;
    test->uri = sqlite ? new_sqlite_uri(&test->folder, p) : new_pgsql_uri(p);
    *state = test;
    return 0;
}

static int empty_sqlite(void **state)
{
    return empty_store(state, 1);
}

static int empty_pgsql(void **state)
{
    return empty_store(state, 0);
}

static apr_status_t migrate(store_test_t *test, const gh_migrations_t *migrations,
                            gh_result_t *result)
{
    gh_result_clear(result);
    return gh_store_migrate(test->uri, (apr_uid_t)-1, (apr_gid_t)-1, NULL, migrations, test->p,
                            result);
}

typedef struct {
    apr_pool_t *p;
    apr_int64_t number;
    const char *text;
} work_t;

static apr_status_t insert_device(gh_transaction_t *transaction, void *baton)
{
    return gh_execute(gh_query(transaction,
                               "INSERT INTO device (id, tenant, fqdn, created)"
                               " VALUES ('0123456789abcdef0123456789abcdef', 'acme', 'a.example',"
                               " 5)"));
}

static apr_status_t read_migrated(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;
    gh_query_t *query = gh_query(transaction, "SELECT fqdn, model FROM device");
    apr_status_t rv = gh_step(query);

    if (rv == APR_SUCCESS) {
        w->text = apr_pstrcat(w->p, gh_column_text(query, 0, w->p), " ",
                              gh_column_text(query, 1, w->p), NULL);
        gh_query_end(query);
    }
    return rv;
}

static apr_status_t count_migrations(gh_transaction_t *transaction, void *baton)
{
    gh_query_t *query = gh_query(transaction, "SELECT count(*), max(number) FROM migration");
    apr_status_t rv = gh_step(query);

    if (rv == APR_SUCCESS) {
        ((work_t *)baton)->number = gh_column_int64(query, 0) * 100 + gh_column_int64(query, 1);
        gh_query_end(query);
    }
    return rv;
}

/* The first step, data, then further steps: the data is kept, statements that were prepared before
 * still work, and a step that fails leaves nothing behind. */
static void test_steps(void **state)
{
    store_test_t *test = *state;
    const int known = gh_migrations.count;
    const gh_migration_t more[] = {
        { "models", "ALTER TABLE device ADD COLUMN model {text} NOT NULL DEFAULT 'none';\n"
                    "CREATE INDEX device_model ON device (model);\n" },
        { "wrong", "CREATE TABLE half (id {integer});\nCREATE TABLE half (id {integer});\n" }
    };
    gh_migration_t *steps = apr_pcalloc(test->p, (apr_size_t)(known + 2) * sizeof(*steps));
    const gh_migrations_t first = { steps, known }, second = { steps, known + 1 },
                          wrong = { steps, known + 2 };
    work_t w = { .p = test->p };
    gh_result_t result;
    gh_store_t *store;

    memcpy(steps, gh_migrations.steps, (size_t)known * sizeof(*steps));
    memcpy(steps + known, more, sizeof(more));
    assert_int_equal(migrate(test, &first, &result), APR_SUCCESS);
    store = open_store(test->uri, NULL, test->p);
    must_write(store, insert_device, NULL);
    must_read(store, count_migrations, &w);
    assert_int_equal(w.number, 101 * known);

    assert_int_equal(migrate(test, &second, &result), APR_SUCCESS);
    must_read(store, count_migrations, &w);
    assert_int_equal(w.number, 101 * (known + 1));
    must_read(store, read_migrated, &w);
    assert_string_equal(w.text, "a.example none");
    assert_int_equal(gh_store_write(store, insert_device, NULL, NULL), GH_ECONFLICT);

    assert_int_equal(migrate(test, &wrong, &result), GH_ECORRUPT);
    must_read(store, count_migrations, &w);
    assert_int_equal(w.number, 101 * (known + 1));
    assert_int_equal(migrate(test, &second, &result), APR_SUCCESS);

    assert_int_equal(migrate(test, &first, &result), GH_ECORRUPT);
    assert_string_equal(result.number, "GH0044");
    must_read(store, read_migrated, &w);
    assert_string_equal(w.text, "a.example none");
}

static apr_status_t read_upgraded(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;
    gh_query_t *query = gh_query(transaction, "SELECT fqdn, secret_bits FROM device");
    apr_status_t rv = gh_step(query);

    if (rv == APR_SUCCESS) {
        w->text = gh_column_text(query, 0, w->p);
        w->number = gh_column_int64(query, 1);
        gh_query_end(query);
    }
    return rv;
}

/* A store of the first schema, with something in it. */
static void test_upgrade(void **state)
{
    store_test_t *test = *state;
    const gh_migration_t old = {
        "first schema",
        apr_pstrcat(test->p, gh_migrations.steps[0].text,
                    "INSERT INTO device (id, tenant, fqdn, created)"
                    " VALUES ('0123456789abcdef0123456789abcdef', 'acme', 'old.example', 5);\n",
                    NULL)
    };
    const gh_migrations_t before = { &old, 1 };
    work_t w = { .p = test->p, .number = -1 };
    gh_result_t result;

    assert_int_equal(migrate(test, &before, &result), APR_SUCCESS);
    assert_int_equal(migrate(test, &gh_migrations, &result), APR_SUCCESS);
    must_read(open_store(test->uri, NULL, test->p), read_upgraded, &w);
    assert_string_equal(w.text, "old.example");
    assert_int_equal(w.number, 0);
}

/* What a store of the first schema holds: certificates that were numbered by themselves, further
 * than changes were. */
static const char first_data[] =
    "INSERT INTO issuer (name, key_sha256, certificate, created)"
    " SELECT 'devices', sha256, der, 5 FROM sample;\n"
    "INSERT INTO certificate_der (subject, sans, profile, sha256, key_sha256, not_before, der)"
    " SELECT 'CN=first', '[]', 'p', sha256, sha256, 5, der FROM sample;\n"
    "INSERT INTO certificate_der (subject, sans, profile, sha256, key_sha256, not_before, der)"
    " SELECT 'CN=second', '[]', 'p', sha256, sha256, 5, der FROM sample;\n"
    "INSERT INTO certificate_status (issuer, serial, status, reason, revoked_at, invalid_from,"
    " not_after, change_seq, touched, certificate)"
    " SELECT i.id, s.der, 0, -1, 0, 0, 9, 1, 0, d.id FROM issuer i, sample s, certificate_der d"
    " WHERE d.subject = 'CN=second';\n";

static const char sample_sqlite[] =
    "CREATE TABLE sample (sha256 {bytes}, der {bytes});\n"
    "INSERT INTO sample VALUES (zeroblob(32), X'0123');\n";
static const char sample_pgsql[] =
    "CREATE TABLE sample (sha256 {bytes}, der {bytes});\n"
    "INSERT INTO sample VALUES (decode(repeat('00', 32), 'hex'), decode('0123', 'hex'));\n";

static apr_status_t find_serial(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;
    gh_bytes_t serial = { (const unsigned char *)w->text, 2 };
    apr_array_header_t *found;
    apr_status_t rv = gh_certificate_find(transaction, NULL, serial, &found, w->p);

    w->number = rv == APR_SUCCESS ? found->nelts : -1;
    if (w->number == 1) {
        w->text = APR_ARRAY_IDX(found, 0, gh_certificate_record_t *)->subject;
    }
    return rv;
}

static apr_status_t insert_third(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;
    gh_certificate_record_t record = {
        .issuer = "devices", .serial = { (const unsigned char *)"\1\2", 2 },
        .reason = GH_REASON_NONE, .not_before = 5, .not_after = 9, .subject = "CN=third",
        .sha256 = digest_of(1, w->p), .key_sha256 = digest_of(2, w->p), .der = bytes_of("der")
    };

    return gh_certificate_insert(transaction, &record);
}

/* Such a store goes on: certificates are found by their serial number alone, and the next one gets
 * a number that none has. */
static void test_numbers(void **state)
{
    store_test_t *test = *state;
    const char *sample = strncmp(test->uri, "sqlite3:", 8) == 0 ? sample_sqlite : sample_pgsql;
    const gh_migration_t step = {
        gh_migrations.steps[0].name,
        apr_pstrcat(test->p, gh_migrations.steps[0].text, sample, first_data, NULL)
    };
    const gh_migrations_t first = { &step, 1 };
    work_t w = { .p = test->p, .text = "\1\43" };
    gh_result_t result;
    gh_store_t *store;

    assert_int_equal(migrate(test, &first, &result), APR_SUCCESS);
    assert_int_equal(migrate(test, &gh_migrations, &result), APR_SUCCESS);
    store = open_store(test->uri, NULL, test->p);
    must_read(store, find_serial, &w);
    assert_int_equal(w.number, 1);
    assert_string_equal(w.text, "CN=second");
    must_write(store, insert_third, &w);
    w.text = "\1\2";
    must_read(store, find_serial, &w);
    assert_int_equal(w.number, 1);
    assert_string_equal(w.text, "CN=third");
}

#define OLD_PROFILE "0123456789abcdef0123456789abcdef"

static const char profile_data[] =
    "INSERT INTO escrow_profile (id, profile, device, user_id, format, needs, skeleton, recipient,"
    " provider, state, history, created, updated, expires)"
    " SELECT '" OLD_PROFILE "', 'p', 'd', 'u', 'text', 'encryption:1', der, der, 'a uem', 1, '[]',"
    " 5, 5, 9 FROM sample;\n";

static apr_status_t find_profile(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;
    gh_escrow_profile_record_t *record;
    apr_status_t rv = gh_escrow_profile_find(transaction, OLD_PROFILE, &record, w->p);

    if (rv == APR_SUCCESS) {
        w->number = record->key_id == NULL && record->sealed.length == 0
            && record->skeleton.length == 2;
        w->text = record->provider;
    }
    return rv;
}

/* Profiles that were sent before they were sealed are kept, and are none that the vault has sealed:
 * gh_escrow_profile_verify() refuses those. */
static void test_profiles(void **state)
{
    store_test_t *test = *state;
    const char *sample = strncmp(test->uri, "sqlite3:", 8) == 0 ? sample_sqlite : sample_pgsql;
    gh_migration_t steps[8];
    const gh_migrations_t before = { steps, 8 };
    work_t w = { .p = test->p };
    gh_result_t result;

    memcpy(steps, gh_migrations.steps, sizeof(steps));
    assert_string_equal(steps[7].name, "escrow");
    steps[7].text = apr_pstrcat(test->p, steps[7].text, sample, profile_data, NULL);
    assert_int_equal(migrate(test, &before, &result), APR_SUCCESS);
    assert_int_equal(migrate(test, &gh_migrations, &result), APR_SUCCESS);
    must_read(open_store(test->uri, NULL, test->p), find_profile, &w);
    assert_int_equal(w.number, 1);
    assert_string_equal(w.text, "a uem");
}

/* Several processes that start at once. */
static void test_at_once(void **state)
{
    store_test_t *test = *state;
    char *const arguments[] = {
        (char *)"test_store", (char *)"child-prepare", (char *)test->uri, NULL
    };
    work_t w = { .p = test->p };
    pid_t children[4];
    int outputs[4], i;

    for (i = 0; i < 4; i++) {
        children[i] = run_self(arguments, NULL, &outputs[i]);
    }
    for (i = 0; i < 4; i++) {
        assert_int_equal(wait_for(children[i]), 0);
        close(outputs[i]);
    }
    must_read(open_store(test->uri, NULL, test->p), count_migrations, &w);
    assert_int_equal(w.number, 101 * gh_migrations.count);
}

static const char other_step[] =
    "DROP TABLE migration;\nCREATE TABLE setting (id {integer});\n"
    "CREATE TABLE migration (number {integer}, name {text}, applied {integer});\n";

static apr_status_t drop_migrations(gh_transaction_t *transaction, void *baton)
{
    return transaction->backend->script(transaction, "DROP TABLE migration");
}

static void test_other_database(void **state)
{
    store_test_t *test = *state;
    gh_migration_t steps[16] = { { NULL, NULL } };
    const gh_migrations_t other = { steps, gh_migrations.count };
    int i;
    gh_store_options_t options = { 0 };
    gh_result_t result;
    apr_pool_t *p;

    /* as many as this version knows, or it would not be opened */
    assert_in_range(other.count, 1, 16);
    for (i = 0; i < other.count; i++) {
        steps[i].name = "somebody else's";
        steps[i].text = i + 1 < other.count ? apr_psprintf(test->p, "CREATE TABLE other%d"
                                                           " (id {integer});\n", i) : other_step;
    }
    assert_int_equal(migrate(test, &other, &result), APR_SUCCESS);
    apr_pool_create(&p, test->p);
    must_write(open_store(test->uri, &options, p), drop_migrations, NULL);
    apr_pool_destroy(p);
    assert_int_equal(migrate(test, &gh_migrations, &result), GH_ECORRUPT);
    assert_string_equal(result.number, "GH0046");
}

int run_migration_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_steps, empty_sqlite, close_store),
        cmocka_unit_test_setup_teardown(test_steps, empty_pgsql, close_store),
        cmocka_unit_test_setup_teardown(test_upgrade, empty_sqlite, close_store),
        cmocka_unit_test_setup_teardown(test_upgrade, empty_pgsql, close_store),
        cmocka_unit_test_setup_teardown(test_numbers, empty_sqlite, close_store),
        cmocka_unit_test_setup_teardown(test_numbers, empty_pgsql, close_store),
        cmocka_unit_test_setup_teardown(test_profiles, empty_sqlite, close_store),
        cmocka_unit_test_setup_teardown(test_profiles, empty_pgsql, close_store),
        cmocka_unit_test_setup_teardown(test_at_once, empty_sqlite, close_store),
        cmocka_unit_test_setup_teardown(test_at_once, empty_pgsql, close_store),
        cmocka_unit_test_setup_teardown(test_other_database, empty_sqlite, close_store),
        cmocka_unit_test_setup_teardown(test_other_database, empty_pgsql, close_store)
    };

    return cmocka_run_group_tests_name("migrations", tests, NULL, NULL);
}
