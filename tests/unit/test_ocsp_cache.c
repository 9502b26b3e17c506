/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The cache of answers that processes share: whatever happens to those who write, what is read is
 * what somebody has put. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "mod_ocsp/ocsp_cache.h"

#define SECOND apr_time_from_sec(1)
#define NOW apr_time_from_sec(1800000000)
#define WRITERS 4
#define READERS 2
#define KEYS 12

static apr_pool_t *pool;
static void *memory;
static apr_size_t size;
static ocsp_cache_t *cache;

static int setup(void **state)
{
    (void)state;
    apr_initialize();
    apr_pool_create(&pool, NULL);
    size = ocsp_cache_size(0);
    memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || ocsp_cache_prepare(memory, size) != APR_SUCCESS) {
        return -1;
    }
    return ocsp_cache_join(&cache, memory, size, pool) != APR_SUCCESS;
}

static int teardown(void **state)
{
    (void)state;
    apr_pool_destroy(pool);
    munmap(memory, size);
    apr_terminate();
    return 0;
}

static ocsp_cache_key_t key_of(apr_uint32_t number)
{
    ocsp_cache_key_t key;

    memset(&key, 0, sizeof(key));
    memcpy(key.serial, &number, sizeof(number));
    key.serial_length = sizeof(number);
    return key;
}

static ocsp_cache_entry_t entry_of(apr_int64_t change, apr_time_t produced_at, apr_size_t length)
{
    ocsp_cache_entry_t entry;

    memset(&entry, 0, sizeof(entry));
    entry.change = change;
    entry.produced_at = produced_at;
    entry.expiry = produced_at + 3600 * SECOND;
    entry.length = (apr_uint32_t)length;
    return entry;
}

static void put_text(int part, apr_uint32_t number, apr_int64_t change, apr_time_t produced_at,
                     const char *text)
{
    ocsp_cache_key_t key = key_of(number);
    ocsp_cache_entry_t entry = entry_of(change, produced_at, strlen(text));

    ocsp_cache_put(cache, part, &key, &entry,
                   (gh_bytes_t){ (const unsigned char *)text, strlen(text) }, produced_at);
}

/** @return the text, or NULL */
static const char *get_text(int part, apr_uint32_t number, apr_time_t now)
{
    ocsp_cache_key_t key = key_of(number);
    ocsp_cache_entry_t entry;
    gh_bytes_t value;

    if (!ocsp_cache_get(cache, part, &key, now, &entry, &value, pool)) {
        return NULL;
    }
    assert_int_equal(value.length, entry.length);
    return apr_pstrmemdup(pool, (const char *)value.data, value.length);
}

static void test_puts_and_gets(void **state)
{
    char large[OCSP_CACHE_VALUE_MAX + 2];

    assert_null(get_text(0, 1, NOW));
    put_text(0, 1, 1, NOW, "one");
    assert_string_equal(get_text(0, 1, NOW), "one");
    assert_null(get_text(1, 1, NOW));
    assert_null(get_text(0, 2, NOW));
    assert_string_equal(get_text(0, 1, NOW + 3600 * SECOND - 1), "one");
    assert_null(get_text(0, 1, NOW + 3600 * SECOND));
    put_text(1, 1, 1, NOW, "part one");
    assert_string_equal(get_text(1, 1, NOW), "part one");
    assert_string_equal(get_text(0, 1, NOW), "one");

    memset(large, 'x', sizeof(large));
    large[OCSP_CACHE_VALUE_MAX + 1] = '\0';
    put_text(0, 3, 1, NOW, large);
    assert_null(get_text(0, 3, NOW));
    large[OCSP_CACHE_VALUE_MAX] = '\0';
    put_text(0, 3, 1, NOW, large);
    assert_string_equal(get_text(0, 3, NOW), large);
}

static void test_newer_stays(void **state)
{
    put_text(0, 1, 5, NOW, "five");
    put_text(0, 1, 4, NOW + SECOND, "four");
    assert_string_equal(get_text(0, 1, NOW), "five");
    put_text(0, 1, 5, NOW - SECOND, "five, earlier");
    assert_string_equal(get_text(0, 1, NOW), "five");
    put_text(0, 1, 5, NOW + SECOND, "five, later");
    assert_string_equal(get_text(0, 1, NOW), "five, later");
    put_text(0, 1, 6, NOW, "six");
    assert_string_equal(get_text(0, 1, NOW), "six");
    /* what has expired is nothing, nor is what a clock made that was set back since */
    put_text(0, 1, 6, NOW + 10 * SECOND, "from the future");
    put_text(0, 1, 6, NOW, "six again");
    assert_string_equal(get_text(0, 1, NOW), "six again");
    put_text(0, 1, 1, NOW + 3600 * SECOND, "one");
    assert_string_equal(get_text(0, 1, NOW + 3600 * SECOND), "one");
}

static void test_those_used_stay(void **state)
{
    int i, kept = 0;

    put_text(0, 0, 1, NOW, "asked for");
    for (i = 1; i < 100000; ++i) {
        apr_time_t now = NOW + i * (SECOND / 100);

        if (get_text(0, 0, now) == NULL) {
            break;
        }
        put_text(0, (apr_uint32_t)i, 1, now, "asked for once");
        kept = i;
        if (i % 1000 == 0) {
            apr_pool_clear(pool);
            assert_int_equal(ocsp_cache_join(&cache, memory, size, pool), APR_SUCCESS);
        }
    }
    assert_int_equal(kept, 99999);
}

static void test_claims(void **state)
{
    ocsp_cache_key_t key = key_of(1);

    put_text(0, 1, 1, NOW, "one");
    assert_int_equal(ocsp_cache_claim(cache, 0, &key, NOW), 1);
    assert_int_equal(ocsp_cache_claim(cache, 0, &key, NOW), 0);
    assert_int_equal(ocsp_cache_claim(cache, 0, &key, NOW + 4 * SECOND), 0);
    assert_int_equal(ocsp_cache_claim(cache, 0, &key, NOW + 6 * SECOND), 1);
    put_text(0, 1, 2, NOW + 7 * SECOND, "two");
    assert_int_equal(ocsp_cache_claim(cache, 0, &key, NOW + 7 * SECOND), 1);
    /* and when the clock went back */
    assert_int_equal(ocsp_cache_claim(cache, 0, &key, NOW - 100 * SECOND), 1);
}

static void test_joins_what_is_its_own(void **state)
{
    ocsp_cache_t *other;

    assert_int_equal(ocsp_cache_join(&other, memory, size - 1, pool), APR_EINVAL);
    assert_int_equal(ocsp_cache_prepare(memory, 1000), APR_EINVAL);
    memset(memory, 0, 64);
    assert_int_equal(ocsp_cache_join(&other, memory, size, pool), APR_EINVAL);
}

/* Each byte of what is there, changed, makes it nothing. */
static void test_damage(void **state)
{
    static const char text[] = "an answer that is long enough to be damaged somewhere";
    unsigned char *bytes = memory, *at;
    apr_size_t i, found = 0;

    put_text(0, 1, 1, NOW, text);
    for (at = bytes; at + sizeof(text) < bytes + size && memcmp(at, text, sizeof(text) - 1); ++at) {
    }
    assert_true(at + sizeof(text) < bytes + size);
    /* from the key, which is before the entry and the checksum, to the end of the value */
    for (i = 0; i < sizeof(text) - 1 + 176; ++i) {
        at[sizeof(text) - 2 - i] ^= 0x40;
        found += get_text(0, 1, NOW) != NULL;
        at[sizeof(text) - 2 - i] ^= 0x40;
    }
    /* nothing but the padding behind the key's 44 bytes can change unseen */
    assert_true(found <= 4);
    assert_string_equal(get_text(0, 1, NOW), text);
}

/* Processes that are killed and paused */

/** Time goes fifty times as fast, so that whoever is paused for a moment is taken for dead. */
static apr_time_t fast_now(void)
{
    return NOW + (apr_time_now() % APR_INT64_C(100000000000)) * 50;
}

static apr_uint64_t next_number(apr_uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/** A value says how all of it has to look. */
static apr_size_t fill(unsigned char *value, apr_uint64_t seed)
{
    apr_size_t length = 1000 + seed % (OCSP_CACHE_VALUE_MAX - 1000), i;

    memcpy(value, &seed, sizeof(seed));
    for (i = sizeof(seed); i < length; ++i) {
        value[i] = (unsigned char)(next_number(&seed) >> 11);
    }
    return length;
}

static void write_on(apr_uint64_t seed)
{
    unsigned char value[OCSP_CACHE_VALUE_MAX];

    for (;;) {
        ocsp_cache_key_t key = key_of((apr_uint32_t)(next_number(&seed) % KEYS));
        apr_time_t now = fast_now();
        ocsp_cache_entry_t entry = entry_of((apr_int64_t)seed, now, fill(value, seed));

        entry.version = (apr_int64_t)seed ^ key.serial[0];
        entry.change = now;
        ocsp_cache_put(cache, 0, &key, &entry, (gh_bytes_t){ value, entry.length }, now);
    }
}

/** @return -1 for what nobody has put */
static int read_one(apr_uint32_t number, apr_pool_t *p)
{
    ocsp_cache_key_t key = key_of(number);
    unsigned char expected[OCSP_CACHE_VALUE_MAX];
    ocsp_cache_entry_t entry;
    gh_bytes_t value;
    apr_uint64_t seed;

    if (!ocsp_cache_get(cache, 0, &key, fast_now(), &entry, &value, p)) {
        return 0;
    }
    memcpy(&seed, value.data, sizeof(seed));
    return entry.version == ((apr_int64_t)seed ^ key.serial[0])
           && fill(expected, seed) == value.length
           && memcmp(expected, value.data, value.length) == 0 ? 1 : -1;
}

static void read_on(int *hits)
{
    apr_pool_t *p;
    int i, got;

    apr_pool_create(&p, pool);
    for (;;) {
        for (i = 0; i < KEYS; ++i) {
            got = read_one((apr_uint32_t)i, p);
            if (got < 0) {
                _exit(1);
            }
            *hits += got;
        }
        apr_pool_clear(p);
    }
}

static pid_t start(int *hits, apr_uint64_t seed)
{
    pid_t pid = fork();

    if (pid == 0) {
        alarm(120);
        if (hits) {
            read_on(hits);
        }
        write_on(seed);
    }
    assert_true(pid > 0);
    return pid;
}

static void end(pid_t pid, int expected_signal)
{
    int status;

    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == expected_signal);
}

/* A writer that stops in the middle of a value, where a page begins that it may not write to */

static unsigned char *page;

static void stop_here(int number)
{
    raise(SIGSTOP);
    mprotect(page, 4096, PROT_READ | PROT_WRITE);
}

/** Puts a value of one character. */
static void put_filled(apr_uint32_t number, apr_int64_t change, apr_time_t now, char c)
{
    char text[OCSP_CACHE_VALUE_MAX + 1];

    memset(text, c, OCSP_CACHE_VALUE_MAX);
    text[OCSP_CACHE_VALUE_MAX] = '\0';
    put_text(0, number, change, now, text);
}

/** @return the character that all of it is, '\0' for nothing, '?' if there are several */
static char get_filled(apr_uint32_t number, apr_time_t now)
{
    const char *text = get_text(0, number, now);

    return !text ? '\0' : strspn(text, (char[]){ text[0], '\0' }) == strlen(text) ? text[0] : '?';
}

/** Finds a key whose value has the beginning of a page in it, which becomes page. */
static apr_uint32_t find_crossing(void)
{
    unsigned char *bytes = memory;
    apr_uint32_t number;

    for (number = 0; number < 100; ++number) {
        char mark[40];
        unsigned char *at;

        apr_snprintf(mark, sizeof(mark), "the value of key %u is here", number);
        put_text(0, number, 1, NOW, mark);
        for (at = bytes; memcmp(at, mark, strlen(mark)); ++at) {
        }
        page = bytes + ((apr_size_t)(at - bytes) + 4095) / 4096 * 4096;
        if (page - at > 300 && page - at < 2000) {
            return number;
        }
    }
    fail_msg("no value has a page in it");
    return 0;
}

static pid_t start_stopping(apr_uint32_t number)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        alarm(60);
        signal(SIGSEGV, stop_here);
        mprotect(page, 4096, PROT_READ);
        put_filled(number, 2, NOW, 'a');
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    return pid;
}

static void test_stopped_within(void **state)
{
    apr_uint32_t number = find_crossing();
    pid_t pid = start_stopping(number);
    int status;

    /* Nobody waits for it, and another place is used meanwhile. */
    assert_int_equal(get_filled(number, NOW), '\0');
    put_filled(number, 3, NOW + SECOND, 'b');
    assert_int_equal(get_filled(number, NOW + SECOND), 'b');
    /* Its place is taken over, and then it goes on. */
    put_filled(number, 4, NOW + 10 * SECOND, 'c');
    assert_int_equal(get_filled(number, NOW + 10 * SECOND), 'c');
    kill(pid, SIGCONT);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(memcmp(page, "aaaa", 4), 0);
    assert_true(get_filled(number, NOW + 10 * SECOND) != '?');
    assert_true(get_filled(number, NOW + 10 * SECOND) != 'a');
    put_filled(number, 5, NOW + 11 * SECOND, 'd');
    assert_int_equal(get_filled(number, NOW + 11 * SECOND), 'd');
}

static void test_killed_within(void **state)
{
    apr_uint32_t number = find_crossing();

    end(start_stopping(number), SIGKILL);
    assert_int_equal(get_filled(number, NOW), '\0');
    put_filled(number, 3, NOW + 10 * SECOND, 'b');
    assert_int_equal(get_filled(number, NOW + 10 * SECOND), 'b');
}

static void test_killed_and_paused(void **state)
{
    int rounds = getenv("GH_FULL") ? 3000 : 300, i;
    pid_t writers[WRITERS], readers[READERS];
    int *hits = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    apr_uint64_t seed = 88172645463325252u;
    int found = 0;

    for (i = 0; i < WRITERS; ++i) {
        writers[i] = start(NULL, next_number(&seed));
    }
    for (i = 0; i < READERS; ++i) {
        readers[i] = start(&hits[i], 0);
    }
    for (i = 0; i < rounds; ++i) {
        int one = (int)(next_number(&seed) % WRITERS), other = (one + 1) % WRITERS;

        usleep(1000 + (useconds_t)(next_number(&seed) % 2000));
        kill(writers[other], SIGSTOP);
        end(writers[one], SIGKILL);
        writers[one] = start(NULL, next_number(&seed));
        if (i % 10 == 0) {
            usleep(150000);         /* longer than anybody waits for it */
        }
        kill(writers[other], SIGCONT);
    }
    for (i = 0; i < READERS; ++i) {
        end(readers[i], SIGKILL);
        assert_true(hits[i] > 1000);
    }
    for (i = 0; i < WRITERS; ++i) {
        end(writers[i], SIGKILL);
    }
    /* and all can be written again after what they left */
    for (i = 0; i < KEYS; ++i) {
        put_text(0, (apr_uint32_t)i, APR_INT64_MAX, fast_now() + 20 * SECOND, "afterwards");
        found += get_text(0, (apr_uint32_t)i, fast_now() + 20 * SECOND) != NULL;
    }
    assert_int_equal(found, KEYS);
    munmap(hits, 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_puts_and_gets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_newer_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(test_those_used_stay, setup, teardown),
        cmocka_unit_test_setup_teardown(test_claims, setup, teardown),
        cmocka_unit_test_setup_teardown(test_joins_what_is_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stopped_within, setup, teardown),
        cmocka_unit_test_setup_teardown(test_killed_within, setup, teardown),
        cmocka_unit_test_setup_teardown(test_killed_and_paused, setup, teardown)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
