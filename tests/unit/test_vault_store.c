/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The vault with the store: check values, rotation, verification. */

#include "store_support.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#include "escrow/provide_private.h"
#include "escrow/vault.h"
#include "store/escrow_credentials.h"
#include "store/vaulted.h"

#define ROWS 450

static gh_result_t result;

static gh_vault_t *vault_of(store_test_t *test, const char *ids, const char *digits)
{
    gh_vault_key_t keys[4];
    gh_vault_t *vault;
    char *last, *list = apr_pstrdup(test->p, ids), *id;
    int count = 0;

    for (id = apr_strtok(list, " ", &last); id != NULL; id = apr_strtok(NULL, " ", &last)) {
        unsigned char *secret = apr_palloc(test->p, GH_VAULT_KEY_SIZE);

        memset(secret, digits[count], GH_VAULT_KEY_SIZE);
        keys[count++] = (gh_vault_key_t) { id, { secret, GH_VAULT_KEY_SIZE }, NULL };
    }
    assert_int_equal(gh_vault_create(&vault, keys, count, test->p, &result), APR_SUCCESS);
    return vault;
}

typedef struct {
    gh_vault_t *vault;
    const char *sql;
    int from, count;
    apr_pool_t *p;
} baton_t;

static apr_status_t insert_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;
    apr_status_t rv = APR_SUCCESS;
    gh_vaulted_t row;
    int i;

    for (i = baton->from; rv == APR_SUCCESS && i < baton->from + baton->count; i++) {
        gh_bytes_t sha256 = digest_of(i, baton->p);
        gh_escrow_credential_record_t record = {
            .id = apr_psprintf(baton->p, "%032d", i), .device = "d", .user = "u",
            .purpose = GH_ESCROW_ARCHIVED, .position = i, .sha256 = sha256,
            .serial = bytes_of("1"), .subject = "CN=x", .certificate = bytes_of("c"),
            .origin = "upload"
        };

        assert_int_equal(gh_vault_seal(&row, baton->vault, bytes_of("secret"),
                                       gh_vault_identity("d", "u", GH_ESCROW_ARCHIVED, sha256.data,
                                                         baton->p), baton->p, &result),
                         APR_SUCCESS);
        record.key_id = row.key_id;
        record.wrapped = row.wrapped;
        record.sealed = row.sealed;
        rv = gh_escrow_credential_insert(transaction, &record);
    }
    return rv;
}

static apr_status_t endpoint_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;
    gh_query_t *query = gh_query(transaction, "INSERT INTO escrow_endpoint (name, generation,"
                                 " chain, key_id, wrapped, sealed, updated, updated_by)"
                                 " VALUES ($1, 1, $2, $3, $4, $5, 1, 'x')");
    gh_vaulted_t row;

    assert_int_equal(gh_vault_seal(&row, baton->vault, bytes_of("secret"),
                                   gh_vault_endpoint_identity("api", 1, baton->p), baton->p,
                                   &result), APR_SUCCESS);
    gh_bind_text(query, "api");
    gh_bind_bytes(query, bytes_of("chain"));
    gh_bind_text(query, row.key_id);
    gh_bind_bytes(query, row.wrapped);
    gh_bind_bytes(query, row.sealed);
    return gh_execute(query);
}

static apr_status_t event_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;
    gh_query_t *query;
    gh_vaulted_t row;
    apr_status_t rv;

    assert_int_equal(gh_vault_seal(&row, baton->vault, bytes_of("secret"),
                                   gh_provide_identity("00000000000000000000000000000009",
                                                       GH_ESCROW_SIGNING, baton->p), baton->p,
                                   &result), APR_SUCCESS);
    rv = gh_execute(gh_query(transaction, "INSERT INTO escrow_event (id, event_key, device,"
                             " user_id, email, rule, provider, state, created, updated) VALUES"
                             " ('00000000000000000000000000000009', 'e', 'd', 'u', 'm', 'r', 'p',"
                             " 2, 1, 1)"));
    if (rv != APR_SUCCESS)
        return rv;
    query = gh_query(transaction, "INSERT INTO escrow_event_key (event, purpose, request, key_id,"
                     " wrapped, sealed) VALUES ('00000000000000000000000000000009', 1, $1, $2, $3,"
                     " $4)");
    gh_bind_bytes(query, bytes_of("request"));
    gh_bind_text(query, row.key_id);
    gh_bind_bytes(query, row.wrapped);
    gh_bind_bytes(query, row.sealed);
    return gh_execute(query);
}

static apr_status_t swap_work(gh_transaction_t *transaction, void *data)
{
    /* 0 gets what 1 has */
    return gh_execute(gh_query(transaction, "UPDATE escrow_credential SET"
                               " wrapped = (SELECT wrapped FROM escrow_credential"
                               "  WHERE id = '00000000000000000000000000000001'),"
                               " sealed = (SELECT sealed FROM escrow_credential"
                               "  WHERE id = '00000000000000000000000000000001')"
                               " WHERE id = '00000000000000000000000000000000'"));
}

static apr_status_t empty_work(gh_transaction_t *transaction, void *data)
{
    apr_status_t rv = gh_execute(gh_query(transaction, "DELETE FROM escrow_credential"));

    if (rv == APR_SUCCESS)
        rv = gh_execute(gh_query(transaction, "DELETE FROM escrow_endpoint"));
    if (rv == APR_SUCCESS)
        rv = gh_execute(gh_query(transaction, "DELETE FROM escrow_event_key"));
    if (rv == APR_SUCCESS)
        rv = gh_execute(gh_query(transaction, "DELETE FROM escrow_event"));
    return rv == APR_SUCCESS
        ? gh_execute(gh_query(transaction, "DELETE FROM setting WHERE name LIKE 'vault.%'")) : rv;
}

static int empty_store(void **state)
{
    must_write(((store_test_t *)*state)->store, empty_work, NULL);
    return 0;
}

static void fill(store_test_t *test, gh_vault_t *vault, int from, int count)
{
    baton_t baton = { .vault = vault, .from = from, .count = count, .p = test->p };

    must_write(test->store, insert_work, &baton);
    if (from == 0)
        must_write(test->store, endpoint_work, &baton);
    if (from == 0)
        must_write(test->store, event_work, &baton);
}

static void assert_check(store_test_t *test, const char *ids, const char *digits,
                         const char *number)
{
    gh_result_clear(&result);
    gh_vault_check(vault_of(test, ids, digits), test->store, test->p, &result);
    assert_string_equal(result.number, number);
}

static void test_check(void **state)
{
    store_test_t *test = *state;

    assert_check(test, "old", "a", "");
    assert_check(test, "old", "a", "");
    assert_check(test, "old", "b", "GH1145");
    assert_check(test, "new old", "ba", "");
    assert_check(test, "new old", "bb", "GH1145");
    /* without rows a key may go, with some it may not */
    assert_check(test, "new", "b", "");
    fill(test, vault_of(test, "old", "a"), 0, 1);
    assert_check(test, "new", "b", "GH1144");
    assert_non_null(strstr(result.message, "key old,"));
    assert_check(test, "new old", "ba", "");
}

static void test_rotation(void **state)
{
    store_test_t *test = *state;
    gh_vault_t *both = vault_of(test, "new old", "ba"), *new = vault_of(test, "new", "b");
    apr_array_header_t *keys;
    gh_vault_progress_t progress;
    gh_vault_status_t *status;

    assert_check(test, "old", "a", "");
    fill(test, vault_of(test, "old", "a"), 0, ROWS);
    fill(test, both, ROWS, 3);
    assert_int_equal(gh_vault_status(both, test->store, &keys, test->p, &result), APR_SUCCESS);
    assert_int_equal(keys->nelts, 2);
    status = &APR_ARRAY_IDX(keys, 0, gh_vault_status_t);
    assert_string_equal(status->id, "new");
    assert_int_equal(status->configured, 2);
    assert_int_equal(status->checked, 0);
    assert_int_equal(status->rows, 3);
    assert_string_equal(status[1].id, "old");
    assert_int_equal(status[1].configured, 1);
    assert_int_equal(status[1].checked, 1);
    assert_int_equal(status[1].rows, ROWS + 2);
    assert_int_equal(gh_vault_verify(both, test->store, &progress, test->p, &result), APR_SUCCESS);
    assert_int_equal(progress.done, ROWS + 5);
    /* half of the keys are not enough */
    assert_int_equal(gh_vault_verify(new, test->store, &progress, test->p, &result), APR_EACCES);
    assert_int_equal(progress.failed, ROWS + 2);
    assert_string_equal(result.number, "GH1112");
    assert_int_equal(gh_vault_rotate(both, test->store, &progress, test->p, &result), APR_SUCCESS);
    assert_int_equal(progress.done, ROWS + 2);
    assert_int_equal(gh_vault_rotate(both, test->store, &progress, test->p, &result), APR_SUCCESS);
    assert_int_equal(progress.done, 0);
    assert_int_equal(gh_vault_verify(new, test->store, &progress, test->p, &result), APR_SUCCESS);
    assert_int_equal(progress.done, ROWS + 5);
    assert_check(test, "new", "b", "");
    /* a key that nothing needs is forgotten, and may come back as another one */
    assert_int_equal(gh_vault_rotate(new, test->store, &progress, test->p, &result), APR_SUCCESS);
    assert_check(test, "old new", "cb", "");
}

static void test_rotation_goes_on(void **state)
{
    store_test_t *test = *state;
    gh_vault_t *both = vault_of(test, "new old", "ba");
    gh_vault_progress_t progress;

    fill(test, vault_of(test, "old", "a"), 0, 2);
    fill(test, vault_of(test, "old", "x"), 2, 1);
    gh_result_clear(&result);
    assert_int_equal(gh_vault_rotate(both, test->store, &progress, test->p, &result), APR_EACCES);
    assert_string_equal(result.number, "GH1103");
    assert_int_equal(progress.done, 4);
    assert_int_equal(progress.failed, 1);
}

static void test_swapped_rows(void **state)
{
    store_test_t *test = *state;
    gh_vault_t *vault = vault_of(test, "old", "a");
    gh_vault_progress_t progress;

    fill(test, vault, 0, 3);
    assert_int_equal(gh_vault_verify(vault, test->store, &progress, test->p, &result),
                     APR_SUCCESS);
    must_write(test->store, swap_work, NULL);
    gh_result_clear(&result);
    assert_int_equal(gh_vault_verify(vault, test->store, &progress, test->p, &result), APR_EACCES);
    assert_string_equal(result.number, "GH1113");
    assert_int_equal(progress.failed, 1);
    assert_int_equal(progress.done, 4);
}

static int run_all(const char *name, CMFixtureFunction open)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_check, empty_store),
        cmocka_unit_test_setup(test_rotation, empty_store),
        cmocka_unit_test_setup(test_rotation_goes_on, empty_store),
        cmocka_unit_test_setup(test_swapped_rows, empty_store)
    };

    return _cmocka_run_group_tests(name, tests, sizeof(tests) / sizeof(tests[0]), open,
                                   close_store);
}

int main(void)
{
    int failed;

    apr_initialize();
    atexit(stop_fixtures);
    failed = run_all("vault, SQLite", open_sqlite);
    return failed + run_all("vault, PostgreSQL", open_pgsql);
}
