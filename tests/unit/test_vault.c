/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The vault: what is sealed opens for its owner alone, under keys that may change. */

#include "x509_support.h"

#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_strings.h>

#include "escrow/vault.h"

static gh_result_t result;

static void assert_failure(apr_status_t rv, apr_status_t expected, const char *number)
{
    assert_int_equal(rv, expected);
    assert_string_equal(result.number, number);
    gh_result_clear(&result);
}

static gh_vault_key_t key_of(const char *id, const char *digit)
{
    char *hex = apr_pcalloc(test_pool, 65);
    gh_vault_key_t key;
    const char *path;

    memset(hex, *digit, 64);
    path = scratch_file(apr_pstrcat(test_pool, id, digit, NULL), hex, 0600);
    assert_int_equal(gh_vault_key_open(&key, id, apr_pstrcat(test_pool, "file:", path, NULL),
                                       test_pool, &result), APR_SUCCESS);
    return key;
}

static gh_vault_t *vault_of(const gh_vault_key_t *keys, int count)
{
    gh_vault_t *vault;

    assert_int_equal(gh_vault_create(&vault, keys, count, test_pool, &result), APR_SUCCESS);
    return vault;
}

static gh_bytes_t secret(void)
{
    return (gh_bytes_t) { (const unsigned char *)"the key of somebody", 19 };
}

static gh_vaulted_t sealed_in(const gh_vault_t *vault, const char *identity)
{
    gh_vaulted_t row;

    assert_int_equal(gh_vault_seal(&row, vault, secret(), identity, test_pool, &result),
                     APR_SUCCESS);
    return row;
}

static void assert_opens(const gh_vault_t *vault, const gh_vaulted_t *row, const char *identity)
{
    gh_bytes_t plain;

    assert_int_equal(gh_vault_open(&plain, vault, row, identity, test_pool, &result), APR_SUCCESS);
    assert_int_equal(plain.length, secret().length);
    assert_memory_equal(plain.data, secret().data, plain.length);
    assert_true(gh_locked_holds(gh_vault_locked(vault), plain.data));
}

static void test_opens_what_it_sealed(void **state)
{
    gh_vault_key_t key = key_of("2026", "a");
    gh_vault_t *vault = vault_of(&key, 1);
    gh_vaulted_t one = sealed_in(vault, "escrow/d/u/1/00");
    gh_vaulted_t two = sealed_in(vault, "escrow/d/u/1/00");

    assert_string_equal(one.key_id, "2026");
    assert_string_equal(gh_vault_current(vault), "2026");
    assert_opens(vault, &one, "escrow/d/u/1/00");
    /* a data key and nonce of its own each time */
    assert_memory_not_equal(one.wrapped.data, two.wrapped.data, one.wrapped.length);
    assert_memory_not_equal(one.sealed.data, two.sealed.data, one.sealed.length);
}

static void test_belongs_to_its_identity(void **state)
{
    gh_vault_key_t key = key_of("k", "a");
    gh_vault_t *vault = vault_of(&key, 1);
    gh_vaulted_t one = sealed_in(vault, "escrow/d/u/1/00");
    gh_vaulted_t two = sealed_in(vault, "escrow/e/u/1/0");
    gh_vaulted_t mixed = { one.key_id, two.wrapped, one.sealed };
    gh_bytes_t plain;

    assert_failure(gh_vault_open(&plain, vault, &one, "escrow/d/u/2/00", test_pool, &result),
                   APR_EACCES, "GH1113");
    assert_failure(gh_vault_open(&plain, vault, &mixed, "escrow/d/u/1/00", test_pool, &result),
                   APR_EACCES, "GH1113");
    assert_null(plain.data);
}

static void test_every_bit_counts(void **state)
{
    gh_vault_key_t key = key_of("k", "a");
    gh_vault_t *vault = vault_of(&key, 1);
    gh_vaulted_t row = sealed_in(vault, "i");
    unsigned char *wrapped = (unsigned char *)row.wrapped.data;
    unsigned char *sealed = (unsigned char *)row.sealed.data;
    gh_bytes_t plain;
    apr_size_t i;

    for (i = 0; i < row.wrapped.length; i++) {
        wrapped[i] ^= 1;
        assert_failure(gh_vault_open(&plain, vault, &row, "i", test_pool, &result), APR_EACCES,
                       "GH1103");
        wrapped[i] ^= 1;
    }
    for (i = 0; i < row.sealed.length; i++) {
        sealed[i] ^= 1;
        assert_failure(gh_vault_open(&plain, vault, &row, "i", test_pool, &result), APR_EACCES,
                       "GH1113");
        sealed[i] ^= 1;
    }
    for (i = 0; i < row.sealed.length; i++) {
        gh_vaulted_t cut = { row.key_id, row.wrapped, { row.sealed.data, i } };

        assert_int_equal(gh_vault_open(&plain, vault, &cut, "i", test_pool, &result), APR_EACCES);
    }
    for (i = 0; i < row.wrapped.length; i++) {
        gh_vaulted_t cut = { row.key_id, { row.wrapped.data, i }, row.sealed };

        assert_int_equal(gh_vault_open(&plain, vault, &cut, "i", test_pool, &result), APR_EACCES);
    }
    assert_opens(vault, &row, "i");
}

static void test_keys_change(void **state)
{
    gh_vault_key_t old[] = { key_of("old", "a") };
    gh_vault_key_t both[] = { key_of("new", "b"), key_of("old", "a") };
    gh_vault_key_t new[] = { key_of("new", "b") };
    gh_vault_t *first = vault_of(old, 1), *second = vault_of(both, 2), *third = vault_of(new, 1);
    gh_vaulted_t row = sealed_in(first, "i"), made;
    gh_bytes_t plain;

    assert_opens(second, &row, "i");
    assert_failure(gh_vault_open(&plain, third, &row, "i", test_pool, &result), APR_NOTFOUND,
                   "GH1112");
    assert_failure(gh_vault_rewrap(&made, third, &row, test_pool, &result), APR_NOTFOUND,
                   "GH1112");
    assert_int_equal(gh_vault_rewrap(&made, second, &row, test_pool, &result), APR_SUCCESS);
    assert_string_equal(made.key_id, "new");
    assert_memory_equal(made.sealed.data, row.sealed.data, row.sealed.length);
    assert_opens(third, &made, "i");
    assert_failure(gh_vault_open(&plain, first, &made, "i", test_pool, &result), APR_NOTFOUND,
                   "GH1112");
    assert_true(gh_vault_has(second, "old"));
    assert_false(gh_vault_has(third, "old"));
}

static void test_another_key_of_that_name(void **state)
{
    gh_vault_key_t one = key_of("k", "a"), other = key_of("k", "b");
    gh_vaulted_t row = sealed_in(vault_of(&one, 1), "i");
    gh_bytes_t plain;

    assert_failure(gh_vault_open(&plain, vault_of(&other, 1), &row, "i", test_pool, &result),
                   APR_EACCES, "GH1103");
}

/* The public half wraps, the token's half unwraps: here a key in memory stands for the token. */
static void test_pair_of_keys(void **state)
{
    gh_vault_key_t pair = { .id = "token", .pair = fixture_key("rsa2048-01") };
    gh_vault_key_t other = { .id = "token", .pair = fixture_key("rsa2048-02") };
    gh_vault_key_t both[] = { key_of("file", "a"), pair };
    gh_vault_t *vault = vault_of(&pair, 1);
    gh_vaulted_t row = sealed_in(vault, "i"), made;
    gh_bytes_t plain;

    assert_opens(vault, &row, "i");
    assert_failure(gh_vault_open(&plain, vault_of(&other, 1), &row, "i", test_pool, &result),
                   APR_EACCES, "GH1103");
    assert_int_equal(gh_vault_rewrap(&made, vault_of(both, 2), &row, test_pool, &result),
                     APR_SUCCESS);
    assert_opens(vault_of(both, 1), &made, "i");
}

static void test_what_keys_must_be(void **state)
{
    const char *path = scratch_file("short", "0011", 0600);
    gh_vault_key_t keys[2] = { key_of("k", "a"), key_of("k", "b") };
    gh_vault_key_t key;
    gh_vault_t *vault;

    assert_failure(gh_vault_key_open(&key, "k", apr_pstrcat(test_pool, "file:", path, NULL),
                                     test_pool, &result), APR_EINVAL, "GH1106");
    assert_failure(gh_vault_key_open(&key, "a b", "file:/none", test_pool, &result), APR_EINVAL,
                   "GH1105");
    assert_failure(gh_vault_key_open(&key, "", "file:/none", test_pool, &result), APR_EINVAL,
                   "GH1105");
    assert_failure(gh_vault_create(&vault, keys, 2, test_pool, &result), APR_EINVAL, "GH1108");
    assert_failure(gh_vault_create(&vault, keys, 0, test_pool, &result), APR_EINVAL, "GH1109");
    keys[0].secret.length = 16;
    assert_failure(gh_vault_create(&vault, keys, 1, test_pool, &result), APR_EINVAL, "GH1107");
    assert_null(vault);
}

static void test_what_is_sealed(void **state)
{
    gh_vault_key_t key = key_of("k", "a");
    gh_vault_t *vault = vault_of(&key, 1);
    gh_bytes_t large = { apr_pcalloc(test_pool, GH_VAULT_MAX + 1), GH_VAULT_MAX + 1 };
    gh_vaulted_t row;

    assert_failure(gh_vault_seal(&row, vault, large, "i", test_pool, &result), APR_EINVAL,
                   "GH1110");
    large.length = 0;
    assert_failure(gh_vault_seal(&row, vault, large, "i", test_pool, &result), APR_EINVAL,
                   "GH1110");
}

static void test_identities(void **state)
{
    unsigned char sha256[32] = { 0xab };

    assert_string_equal(gh_vault_identity("D", "U", 2, sha256, test_pool),
                        "escrow/D/U/2/ab00000000000000000000000000000000000000000000000000000000"
                        "000000");
    assert_string_equal(gh_vault_endpoint_identity("api", 7, test_pool), "escrow-endpoint/api/7");
}

/** VmLck of this process, in kB. */
static long locked_kilobytes(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long found = -1;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        (void)sscanf(line, "VmLck: %ld kB", &found);
    fclose(file);
    return found;
}

/* AddressSanitizer locks nothing. */
#ifdef __SANITIZE_ADDRESS__
#define LOCKS 0
#else
#define LOCKS 1
#endif

static void test_memory_is_locked(void **state)
{
    long before = locked_kilobytes();
    gh_locked_t *locked;
    unsigned char *memory;
    apr_pool_t *p, *inner;

    apr_pool_create(&p, NULL);
    assert_int_equal(gh_locked_create(&locked, 64 * 1024, p, &result), APR_SUCCESS);
    assert_int_equal(locked_kilobytes() - before, LOCKS * 64);
    assert_int_equal(gh_locked_size(locked), 64 * 1024);
    apr_pool_create(&inner, p);
    memory = gh_locked_alloc(locked, 1000, inner);
    assert_true(gh_locked_holds(locked, memory));
    memset(memory, 'x', 1000);
    apr_pool_destroy(inner);
    /* what was given back is overwritten, and still ours to look at */
    assert_int_equal(memory[0], 0);
    assert_int_equal(memory[999], 0);
    apr_pool_destroy(p);
    assert_int_equal(locked_kilobytes(), before);
}

static void test_memory_is_used_again(void **state)
{
    gh_locked_t *locked;
    apr_pool_t *p;
    void *memory;
    int i;

    assert_int_equal(gh_locked_create(&locked, 8192, test_pool, &result), APR_SUCCESS);
    for (i = 0; i < 1000; i++) {
        apr_pool_create(&p, test_pool);
        assert_true(gh_locked_holds(locked, gh_locked_alloc(locked, 5000, p)));
        memory = gh_locked_alloc(locked, 5000, p);
        assert_non_null(memory);
        assert_false(gh_locked_holds(locked, memory));
        assert_true(gh_locked_holds(locked, gh_locked_alloc(locked, 3000, p)));
        apr_pool_destroy(p);
    }
}

/* In a process of its own: limits of resources stay. */
static void test_limits(void **state)
{
    struct rlimit limit = { 20 * 1024, 20 * 1024 };
    gh_locked_t *locked;
    pid_t pid = fork();
    int status;

    if (pid == 0 && !LOCKS)
        _exit(0);
    if (pid == 0) {
        if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0 || (geteuid() == 0 && setuid(65534) != 0))
            _exit(10);
        if (gh_locked_create(&locked, GH_LOCKED_SIZE, test_pool, &result) != APR_SUCCESS
            || gh_locked_size(locked) != 16 * 1024)
            _exit(11);
        if (gh_locked_create(&locked, GH_LOCKED_SIZE, test_pool, &result) != APR_SUCCESS
            || gh_locked_size(locked) != 4096)
            _exit(12);
        if (gh_locked_create(&locked, GH_LOCKED_SIZE, test_pool, &result) != APR_EACCES
            || strcmp(result.number, "GH1101") != 0)
            _exit(13);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_opens_what_it_sealed, x509_test_teardown),
        cmocka_unit_test_teardown(test_belongs_to_its_identity, x509_test_teardown),
        cmocka_unit_test_teardown(test_every_bit_counts, x509_test_teardown),
        cmocka_unit_test_teardown(test_keys_change, x509_test_teardown),
        cmocka_unit_test_teardown(test_another_key_of_that_name, x509_test_teardown),
        cmocka_unit_test_teardown(test_pair_of_keys, x509_test_teardown),
        cmocka_unit_test_teardown(test_what_keys_must_be, x509_test_teardown),
        cmocka_unit_test_teardown(test_what_is_sealed, x509_test_teardown),
        cmocka_unit_test_teardown(test_identities, x509_test_teardown),
        cmocka_unit_test_teardown(test_memory_is_locked, x509_test_teardown),
        cmocka_unit_test_teardown(test_memory_is_used_again, x509_test_teardown),
        cmocka_unit_test_teardown(test_limits, x509_test_teardown)
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
