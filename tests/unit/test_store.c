/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store_support.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>

/* The store, on SQLite and on a real PostgreSQL. With an argument, only the group of that name. */

static void test_uri(void **state)
{
    const struct { const char *uri; const char *number; } refused[] = {
        { "", "GH0048" },
        { "mysql:x", "GH0048" },
        { "sqlite:/tmp/x", "GH0048" },
        { "sqlite3:", "GH0071" },
        { "sqlite3:gatehouse.db", "GH0071" },
        { "sqlite3:./gatehouse.db", "GH0071" },
        { "sqlite3:/tmp/", "GH0071" },
        { "pgsql:host", "GH0085" },
        { "pgsql:hots=pg1", "GH0085" },
        { "pgsql:password=seed-3f8a hu nter2", "GH0085" },
        { "pgsql:host=pg1 password=seed-3f8a dbname=gatehouse", "GH0441" },
        { "pgsql:postgresql://user:seed-3f8a@host/gatehouse", "GH0441" },
        { "pgsql:host=pg1 sslpassword=seed-3f8a", "GH0441" }
    };
    const char *accepted[] = {
        "sqlite3:/var/lib/gatehouse/gatehouse.db",
        "pgsql:host=pg1,pg2 dbname=gatehouse target_session_attrs=read-write",
        "pgsql:postgresql://user@host/gatehouse",
        "pgsql:host=pg1 passfile=/etc/gatehouse/pgpass dbname=gatehouse"
    };
    gh_result_t result;
    apr_pool_t *p;
    apr_size_t i;

    apr_pool_create(&p, NULL);
    for (i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        gh_result_clear(&result);
        assert_int_equal(gh_store_uri_check(refused[i].uri, p, &result), APR_EINVAL);
        assert_string_equal(result.number, refused[i].number);
        assert_null(strstr(result.message, "hunter2"));
        assert_null(strstr(result.message, "seed-3f8a"));
    }
    for (i = 0; i < sizeof(accepted) / sizeof(accepted[0]); i++) {
        assert_int_equal(gh_store_uri_check(accepted[i], p, &result), APR_SUCCESS);
    }
    apr_pool_destroy(p);
}

static void test_name_has_no_password(void **state)
{
    gh_store_t *store;
    apr_pool_t *p;

    apr_pool_create(&p, NULL);
    store = open_store("pgsql:host=pg1 user=me password=seed-3f8a dbname=gatehouse", NULL, p);
    assert_string_equal(gh_store_kind(store), "pgsql");
    assert_string_equal(gh_store_name(store, p), "pgsql:user=me dbname=gatehouse host=pg1");
    apr_pool_destroy(p);
}

static void test_dialect(void **state)
{
    apr_pool_t *p;

    apr_pool_create(&p, NULL);
    assert_string_equal(gh_dialect_expand(&gh_dialect_sqlite, "a {bytes}, b {integer}", p),
                        "a BLOB, b INTEGER");
    assert_string_equal(gh_dialect_expand(&gh_dialect_pgsql, "a {bytes}, b {integer}", p),
                        "a BYTEA, b BIGINT");
    assert_null(gh_dialect_expand(&gh_dialect_pgsql, "a {byte}", p));
    assert_null(gh_dialect_expand(&gh_dialect_pgsql, "a {bytes", p));
    apr_pool_destroy(p);
}

static int run_front_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uri),
        cmocka_unit_test(test_name_has_no_password),
        cmocka_unit_test(test_dialect)
    };

    return cmocka_run_group_tests_name("front", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    const struct { const char *name; int (*run)(void); } groups[] = {
        { "front", run_front_tests },
        { "pgsql", run_pgsql_tests },       /* first: recovery takes longer with each database */
        { "records", run_record_tests },
        { "devices", run_device_tests },
        { "ledger", run_ledger_tests },
        { "jobs", run_job_tests },
        { "asking", run_asking_tests },
        { "deliveries", run_delivery_tests },
        { "credentials", run_credential_tests },
        { "escrow", run_escrow_tests },
        { "pins", run_pin_tests },
        { "remote", run_remote_tests },
        { "migrations", run_migration_tests },
        { "load", run_load_tests },
        { "sqlite", run_sqlite_tests },
        { "flush", run_flush_tests }
    };
    const struct { const char *name; int (*run)(int, char **); } children[] = {
        { "child-writer", child_writer },
        { "child-flush", child_flush },
        { "child-prepare", child_prepare }
    };
    int failed = 0;
    apr_size_t i;

    apr_initialize();
    signal(SIGPIPE, SIG_IGN);
    for (i = 0; argc > 1 && i < sizeof(children) / sizeof(children[0]); i++) {
        if (strcmp(argv[1], children[i].name) == 0) {
            return children[i].run(argc, argv);
        }
    }
    for (i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        if (argc == 1 || strcmp(argv[1], groups[i].name) == 0) {
            failed += groups[i].run();
        }
    }
    stop_fixtures();
    apr_terminate();
    return failed != 0;
}
