/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* lib/worker.h from outside: what mod_gatehouse does to start one, and what becomes of it. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include <apr_file_io.h>
#include <apr_general.h>
#include <apr_strings.h>
#include <jansson.h>

#include "mod_gatehouse/gatehouse_worker_run.h"
#include "text.h"
#include "worker.h"
#include "worker_log.h"

static apr_pool_t *pool;
static const char *folder;

static const char *path_of(const char *name)
{
    return apr_pstrcat(pool, folder, "/", name, NULL);
}

static const char *contents(const char *name)
{
    static char text[65536];
    FILE *file = fopen(path_of(name), "r");
    size_t length = file ? fread(text, 1, sizeof(text) - 1, file) : 0;

    text[length] = '\0';
    if (file) {
        fclose(file);
    }
    return text;
}

static void wait_for(const char *name, const char *text)
{
    int tries;

    for (tries = 0; tries < 500 && !strstr(contents(name), text); ++tries) {
        apr_sleep(apr_time_from_msec(10));
    }
    if (!strstr(contents(name), text)) {
        fail_msg("%s: \"%s\" does not have \"%s\"", name, contents(name), text);
    }
}

/* What mod_gatehouse writes. */
static const char *document(pid_t parent, const char *configuration)
{
    return apr_psprintf(pool, "{\"worker\":\"test\",\"user\":\"\",\"uid\":%ld,\"gid\":%ld,"
                        "\"parent\":%ld,\"level\":7,\"syslog\":false,\"configuration\":%s}",
                        (long)getuid(), (long)getgid(), (long)parent, configuration);
}

static pid_t start(const char *text, int delay, const int *descriptors, int count)
{
    gatehouse_run_t run = {
        .path = TEST_BUILDDIR "/gatehouse-test-worker", .input = -1, .delay = delay,
        .configuration = gatehouse_worker_file(text), .descriptors = descriptors, .count = count
    };
    pid_t pid;

    assert_true(run.configuration >= 0);
    pid = fork();
    if (pid == 0) {
        int errors = open(path_of("errors"), O_WRONLY | O_CREAT | O_APPEND, 0600);

        dup2(errors, STDERR_FILENO);
        gatehouse_worker_run(&run);
    }
    close(run.configuration);
    assert_true(pid > 0);
    return pid;
}

static const char *report(const char *more)
{
    return apr_psprintf(pool, "{\"report\":\"%s\"%s}", path_of("report"), more);
}

/* @return exit status, or -1 times the signal */
static int end_of(pid_t pid)
{
    int status, tries;

    for (tries = 0; tries < 1000; ++tries) {
        if (waitpid(pid, &status, WNOHANG) == pid) {
            return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
        }
        apr_sleep(apr_time_from_msec(10));
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    fail_msg("a worker does not end");
    return -1000;
}

static void test_configuration(void **state)
{
    pid_t pid = start(document(getpid(), report(",\"secret\":\"hidden \u00e4\"")), 0, NULL, 0);
    json_t *found;

    wait_for("report", "\n");
    found = json_loads(contents("report"), JSON_DISABLE_EOF_CHECK, NULL);
    assert_non_null(found);
    assert_string_equal(json_string_value(json_object_get(json_object_get(found, "configuration"),
                                                          "secret")), "hidden \xc3\xa4");
    assert_int_equal(json_integer_value(json_object_get(found, "dumpable")), 0);
    /* standard input, output and errors, and the pipe that tells of the end */
    assert_int_equal(json_array_size(json_object_get(found, "descriptors")), 5);
    assert_non_null(strstr(json_string_value(json_array_get(json_object_get(found, "descriptors"),
                                                            0)), "/dev/null"));
    json_decref(found);
    kill(pid, SIGTERM);
    assert_int_equal(end_of(pid), 0);
    wait_for("report", "\"end\"");
}

static void test_descriptors(void **state)
{
    int files[3], i;
    pid_t pid;

    /* where the others have to go, and in the wrong order */
    files[0] = open(path_of("a"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    files[1] = open(path_of("b"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    files[2] = files[0];
    pid = start(document(getpid(), report("")), 0, files, 3);
    wait_for("report", "\n");
    assert_non_null(strstr(contents("report"), apr_pstrcat(pool, "4 ", path_of("a"), NULL)));
    assert_non_null(strstr(contents("report"), apr_pstrcat(pool, "5 ", path_of("b"), NULL)));
    assert_non_null(strstr(contents("report"), apr_pstrcat(pool, "6 ", path_of("a"), NULL)));
    for (i = 0; i < 2; ++i) {
        close(files[i]);
    }
    kill(pid, SIGINT);
    assert_int_equal(end_of(pid), 0);
}

static void test_without_configuration(void **state)
{
    static const struct {
        const char *text;
        int status;
        const char *number;
    } cases[] = {
        { "", GH_WORKER_EXIT_USAGE, "GH0655: " },
        { "{", GH_WORKER_EXIT_FAILED, "GH0656: " },
        { "{\"worker\":\"x\"}", GH_WORKER_EXIT_FAILED, "GH0656: " },
        { "{\"worker\":\"x\",\"worker\":\"y\"}", GH_WORKER_EXIT_FAILED, "GH0656: " },
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        remove(path_of("errors"));
        assert_int_equal(end_of(start(cases[i].text, 0, NULL, 0)), cases[i].status);
        wait_for("errors", cases[i].number);
        assert_non_null(strstr(contents("errors"), "] [test-worker:error] [pid "));
    }
}

static void test_configuration_is_an_object(void **state)
{
    assert_int_equal(end_of(start(document(getpid(), "[]"), 0, NULL, 0)), GH_WORKER_EXIT_FAILED);
    wait_for("errors", "GH0656: ");
}

/* The parent that is named has ended, or was another. */
static void test_parent_is_gone(void **state)
{
    pid_t pid = start(document(1, report("")), 0, NULL, 0);

    assert_int_equal(end_of(pid), 0);
    wait_for("errors", "[test:notice]");
    wait_for("errors", "GH0658: ");
}

/* A parent that is killed: its worker ends at once. */
static void test_parent_is_killed(void **state)
{
    pid_t parent = fork();
    long worker;

    if (parent == 0) {
        start(document(getpid(), report("")), 0, NULL, 0);
        pause();
        _exit(0);
    }
    wait_for("report", "\n");
    assert_int_equal(sscanf(strstr(contents("report"), "\"pid\":"), "\"pid\":%ld", &worker), 1);
    kill(parent, SIGKILL);
    waitpid(parent, NULL, 0);
    wait_for("report", "\"end\"");
}

static void test_delay_ends_with_a_signal(void **state)
{
    pid_t pid = start(document(getpid(), report("")), 30, NULL, 0);

    apr_sleep(apr_time_from_msec(100));
    kill(pid, SIGTERM);
    assert_int_equal(end_of(pid), -SIGTERM);
    assert_string_equal(contents("report"), "");
}

static void test_patience(void **state)
{
    pid_t pid = start(document(getpid(), report(",\"deaf\":1")), 0, NULL, 0);
    apr_time_t begin;

    wait_for("report", "\n");
    begin = apr_time_now();
    kill(pid, SIGTERM);
    assert_int_equal(end_of(pid), 0);
    assert_true(apr_time_now() - begin >= apr_time_from_msec(400));
}

static void test_signals_that_do_nothing(void **state)
{
    static const int harmless[] = { SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH, SIGPIPE, SIGALRM };
    pid_t pid = start(document(getpid(), report("")), 0, NULL, 0);
    size_t i;

    wait_for("report", "\n");
    for (i = 0; i < sizeof(harmless) / sizeof(harmless[0]); ++i) {
        kill(pid, harmless[i]);
    }
    apr_sleep(apr_time_from_msec(200));
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
    kill(pid, SIGTERM);
    assert_int_equal(end_of(pid), 0);
}

static void test_lock(void **state)
{
    const char *lock = apr_psprintf(pool, ",\"lock\":\"%s\"", path_of("lock"));
    pid_t first = start(document(getpid(), report(lock)), 0, NULL, 0);
    pid_t second, third;

    wait_for("report", "\n");
    second = start(document(getpid(), report(lock)), 0, NULL, 0);
    third = start(document(getpid(), report(lock)), 0, NULL, 0);
    wait_for("errors", "GH0660: ");
    /* one that waits can be told to end */
    kill(third, SIGTERM);
    assert_int_equal(end_of(third), 0);
    assert_null(strstr(contents("report"), apr_psprintf(pool, "\"pid\":%ld", (long)second)));
    kill(first, SIGKILL);
    assert_int_equal(end_of(first), -SIGKILL);
    wait_for("report", apr_psprintf(pool, "\"pid\":%ld", (long)second));
    kill(second, SIGTERM);
    assert_int_equal(end_of(second), 0);
}

static void test_lock_that_cannot_be(void **state)
{
    const char *lock = apr_psprintf(pool, ",\"lock\":\"%s\"", path_of("none/lock"));
    pid_t pid = start(document(getpid(), report(lock)), 0, NULL, 0);

    assert_int_equal(end_of(pid), GH_WORKER_EXIT_FAILED);
    wait_for("errors", "GH0661: ");
}

static void test_log(void **state)
{
    char *long_text = apr_palloc(pool, 6000);
    pid_t pid;

    memset(long_text, 'x', 5999);
    long_text[5999] = '\0';
    pid = start(document(getpid(), report(apr_psprintf(pool, ",\"say\":\"%s\"", long_text))), 0,
                NULL, 0);
    wait_for("errors", "xxxx");
    kill(pid, SIGTERM);
    end_of(pid);
    assert_non_null(strstr(contents("errors"), "[test:notice] [pid "));
    assert_int_equal(contents("errors")[strlen(contents("errors")) - 1], '\n');
    assert_true(strlen(contents("errors")) <= 4096);
}

static int set_up(void **state)
{
    char template[] = "/tmp/gatehouse-test-XXXXXX";

    apr_pool_create(&pool, NULL);
    folder = apr_pstrdup(pool, mkdtemp(template));
    return folder ? 0 : -1;
}

static int tear_down(void **state)
{
    static const char *const names[] = { "report", "errors", "lock", "a", "b" };
    size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); ++i) {
        remove(path_of(names[i]));
    }
    rmdir(folder);
    apr_pool_destroy(pool);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_configuration, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_descriptors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_without_configuration, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_configuration_is_an_object, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_parent_is_gone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_parent_is_killed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_delay_ends_with_a_signal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_patience, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_signals_that_do_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lock, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lock_that_cannot_be, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_log, set_up, tear_down),
    };

    apr_initialize();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
