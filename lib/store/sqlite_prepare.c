/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_strings.h>

/* Makes an SQLite store ready. Where root does it for another user, a process of that user does the
 * work: nothing in a folder that others may write to is opened as root, and what the user could not
 * do later is found now. */

#define FILE_MODE 0640

static apr_status_t file_failure(const char *path, const char *what, int rc, gh_result_t *result)
{
    char buffer[120];

    return gh_result_fail(result, rc, GH_FAILURE_UNAVAILABLE, NULL,
                          "Give the folder and the files in it to the user httpd runs as (chown), "
                          "and let that user enter the folders above.",
                          GHNO(0074) "%s %s: %s", path, what,
                          apr_strerror(rc, buffer, sizeof(buffer)));
}

static const char *folder_of(const char *path, apr_pool_t *p)
{
    const char *slash = strrchr(path, '/');

    return slash == path ? "/" : apr_pstrmemdup(p, path, slash - path);
}

/** Makes the entries of a file's folder durable. */
static apr_status_t flush_folder(const char *path, apr_pool_t *p, gh_result_t *result)
{
    const char *folder = folder_of(path, p);
    int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = 0;

    if (descriptor < 0 || fsync(descriptor) != 0) {
        rc = errno;
    }
    if (descriptor >= 0) {
        close(descriptor);
    }
    return rc == 0 ? APR_SUCCESS : file_failure(folder, "cannot be flushed to disk", rc, result);
}

static apr_status_t check_folder(const char *path, apr_pool_t *p, gh_result_t *result)
{
    const char *folder = folder_of(path, p);

    return access(folder, R_OK | W_OK | X_OK) == 0
               ? APR_SUCCESS
               : file_failure(folder, "cannot be read and written", errno, result);
}

static apr_status_t check_regular(const char *path, const struct stat *info, gh_result_t *result)
{
    return S_ISREG(info->st_mode) ? APR_SUCCESS
                                  : file_failure(path, "is not a regular file", EINVAL, result);
}

/**
 * Makes the database file if there is none, for its owner and group only. An existing one is never
 * opened here: closing it would take away the locks of a store that this process has open.
 */
static apr_status_t make_file(const char *path, apr_pool_t *p, gh_result_t *result)
{
    struct stat info;
    apr_status_t rv;
    int descriptor;

    if ((rv = check_folder(path, p, result)) != APR_SUCCESS) {
        return rv;
    }
    descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
    if (descriptor >= 0) {
        close(descriptor);
        return APR_SUCCESS;
    }
    if (errno != EEXIST) {
        return file_failure(path, "cannot be made", errno, result);
    }
    if (lstat(path, &info) != 0) {
        return file_failure(path, "cannot be examined", errno, result);
    }
    if ((rv = check_regular(path, &info, result)) != APR_SUCCESS) {
        return rv;
    }
    if ((info.st_mode & 07777 & ~FILE_MODE) != 0
        && chmod(path, info.st_mode & FILE_MODE) != 0) {
        return file_failure(path, "is open to others, which cannot be changed", errno, result);
    }
    return APR_SUCCESS;
}

static apr_status_t set_wal(gh_sqlite_t *connection, gh_result_t *result)
{
    gh_transaction_t transaction;
    gh_query_t *query;
    apr_pool_t *p = NULL;
    apr_status_t rv;

    gh_transaction_begin(&transaction, &gh_store_sqlite, connection, 1);
    query = gh_query(&transaction, "PRAGMA journal_mode = WAL");
    rv = gh_step(query);
    if (rv == APR_SUCCESS) {
        apr_pool_create(&p, NULL);
        if (strcmp(gh_column_text(query, 0, p), "wal") != 0) {
            rv = gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, NULL,
                                "Keep the database on a local file system, and end other programs "
                                "that use it.",
                                GHNO(0075) "the database cannot be given a write-ahead log");
        }
        apr_pool_destroy(p);
        gh_query_end(query);
    }
    return gh_transaction_outcome(&transaction, rv, result);
}

static apr_status_t migrate(gh_sqlite_t *connection, const gh_migrations_t *migrations,
                            apr_pool_t *p, gh_result_t *result)
{
    gh_transaction_t transaction;
    gh_result_t error;
    apr_status_t rv;

    if ((rv = gh_sqlite_control(connection, "BEGIN IMMEDIATE", &error)) != APR_SUCCESS) {
        goto cleanup;
    }
    gh_transaction_begin(&transaction, &gh_store_sqlite, connection, 1);
    rv = gh_migrations_run(&transaction, migrations, apr_time_now(), p, &error);
    gh_sqlite_end_queries(connection);
    rv = gh_transaction_outcome(&transaction, rv, &error);
    if (rv == APR_SUCCESS) {
        rv = gh_sqlite_control(connection, "COMMIT", &error);
    }

cleanup:
    if (rv != APR_SUCCESS && result != NULL) {
        *result = error;
    }
    return rv;
}

/** Copies what an earlier run left in the write-ahead log into the database, and flushes both. */
static apr_status_t copy_log(gh_store_t *store, gh_sqlite_t *connection, gh_gate_t *gate,
                             gh_result_t *result)
{
    gh_result_t error;
    apr_status_t rv = APR_SUCCESS;
    int rc = sqlite3_wal_checkpoint_v2(connection->db, "main", SQLITE_CHECKPOINT_TRUNCATE, NULL,
                                       NULL);

    if (rc != SQLITE_OK) {
        rv = gh_sqlite_failure(connection, rc, &error);
    }
    if (rv == GH_EBUSY && !gh_gate_stopped(gate)) {
        return APR_SUCCESS;         /* readers; the log is copied by the next writer */
    }
    if (rv != APR_SUCCESS) {
        return gh_result_fail(result, rv, GH_FAILURE_UNAVAILABLE, NULL,
                              "Check the disk and the system's log; writes stay stopped until a "
                              "start succeeds.",
                              GHNO(0076) "the write-ahead log cannot be copied into %s: %s",
                              store->name, error.message);
    }
    return APR_SUCCESS;
}

static apr_status_t lift_stop(gh_store_t *store, gh_gate_t *gate, gh_result_t *result)
{
    int stopped = gh_gate_stopped(gate);
    apr_status_t rv = gh_gate_mark(gate, 0);

    if (rv != APR_SUCCESS) {
        return file_failure(store->name, "has a gate file that cannot be written", rv, result);
    }
    if (stopped) {
        gh_log(store->options.log, GH_LOG_NOTICE, APR_SUCCESS,
               GHNO(0077) "the write-ahead log of %s was copied and flushed: writes are accepted "
               "again", store->name);
    }
    return APR_SUCCESS;
}

static apr_status_t prepare_here(gh_store_t *store, const gh_migrations_t *migrations,
                                 apr_pool_t *p, gh_result_t *result)
{
    apr_time_t deadline = gh_monotonic_now() + store->options.deadline;
    gh_sqlite_t *connection = apr_pcalloc(p, sizeof(*connection));
    gh_gate_t *gate = NULL;
    gh_result_t error;
    const char *path;
    apr_status_t rv;

    if ((rv = gh_sqlite_path(&path, store->location, p, result)) != APR_SUCCESS
        || (rv = make_file(path, p, result)) != APR_SUCCESS
        || (rv = gh_gate_open(&gate, path, p, result)) != APR_SUCCESS
        || (rv = gh_gate_lock_until(gate, deadline, result)) != APR_SUCCESS) {
        return rv;
    }
    rv = gh_sqlite_open(connection, path, GH_SQLITE_WRITER, &error);
    if (rv != APR_SUCCESS && result != NULL) {
        *result = error;
    }
    if (rv == APR_SUCCESS && (rv = set_wal(connection, result)) == APR_SUCCESS
        && (rv = migrate(connection, migrations, p, result)) == APR_SUCCESS
        && (rv = copy_log(store, connection, gate, result)) == APR_SUCCESS
        && (rv = flush_folder(path, p, result)) == APR_SUCCESS) {
        rv = lift_stop(store, gate, result);
    }
    gh_sqlite_close(connection, 0);
    gh_gate_unlock(gate);
    return rv;
}

/** Gives one file to the user, if it exists and nobody could have put another one in its place. */
static apr_status_t give_file(const char *path, apr_uid_t uid, apr_gid_t gid, gh_result_t *result)
{
    struct stat info;
    int descriptor = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    int rc = 0;

    if (descriptor < 0) {
        return errno == ENOENT ? APR_SUCCESS
                               : file_failure(path, "cannot be opened", errno, result);
    }
    if (fstat(descriptor, &info) != 0) {
        rc = errno;
    }
    else if (!S_ISREG(info.st_mode) || info.st_nlink != 1) {
        rc = EINVAL;
    }
    else if ((info.st_uid != uid || info.st_gid != gid)
             && fchownat(descriptor, "", uid, gid, AT_EMPTY_PATH) != 0) {
        rc = errno;
    }
    close(descriptor);
    return rc == 0 ? APR_SUCCESS
                   : file_failure(path, "cannot be given to the user httpd runs as", rc, result);
}

static apr_status_t give_files(gh_store_t *store, apr_uid_t uid, apr_gid_t gid, apr_pool_t *p,
                               gh_result_t *result)
{
    const char *suffixes[] = { "", "-wal", "-shm", ".gate" };
    const char *path;
    apr_status_t rv;
    apr_size_t i;

    if ((rv = gh_sqlite_path(&path, store->location, p, result)) != APR_SUCCESS) {
        return rv;
    }
    for (i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]) && rv == APR_SUCCESS; i++) {
        rv = give_file(apr_pstrcat(p, path, suffixes[i], NULL), uid, gid, result);
    }
    return rv;
}

/** What prepare_here() needs, as far as that can be seen without making or changing anything. */
static apr_status_t examine_here(gh_store_t *store, const gh_migrations_t *migrations,
                                 apr_pool_t *p, gh_result_t *result)
{
    struct stat info;
    const char *path;
    apr_status_t rv;

    if ((rv = gh_sqlite_path(&path, store->location, p, result)) != APR_SUCCESS
        || (rv = check_folder(path, p, result)) != APR_SUCCESS) {
        return rv;
    }
    if (lstat(path, &info) != 0) {
        return APR_SUCCESS;
    }
    rv = check_regular(path, &info, result);
    /* one that belongs to somebody else may be given to this user first */
    if (rv == APR_SUCCESS && info.st_uid == geteuid() && access(path, R_OK | W_OK) != 0) {
        rv = file_failure(path, "cannot be read and written", errno, result);
    }
    return rv;
}

typedef apr_status_t sqlite_work_fn(gh_store_t *store, const gh_migrations_t *migrations,
                                    apr_pool_t *p, gh_result_t *result);

/** What the process of the user reports; rule and action texts are the same in both. */
typedef struct {
    apr_status_t status;
    gh_result_t result;
} report_t;

static void __attribute__((noreturn))
work_as_user(sqlite_work_fn *work, gh_store_t *store, const gh_migrations_t *migrations,
             apr_uid_t uid, apr_gid_t gid, int output, apr_pool_t *p)
{
    const struct passwd *user = getpwuid(uid);
    report_t report;

    gh_result_clear(&report.result);
    if ((user ? initgroups(user->pw_name, gid) : setgroups(1, &gid)) != 0
        || setgid(gid) != 0 || setuid(uid) != 0) {
        report.status = file_failure(store->name, "cannot be opened as the user httpd runs as",
                                     errno, &report.result);
    }
    else {
        report.status = work(store, migrations, p, &report.result);
    }
    _exit(write(output, &report, sizeof(report)) == (ssize_t)sizeof(report) ? 0 : 1);
}

static apr_status_t work_in_process_of_user(sqlite_work_fn *work, gh_store_t *store, apr_uid_t uid,
                                            apr_gid_t gid, const gh_migrations_t *migrations,
                                            apr_pool_t *p, gh_result_t *result)
{
    report_t report;
    int ends[2], status;
    ssize_t length;
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) != 0) {
        return file_failure(store->name, "cannot be prepared in another process", errno, result);
    }
    if ((pid = fork()) == 0) {
        work_as_user(work, store, migrations, uid, gid, ends[1], p);
    }
    close(ends[1]);
    do {
        length = pid < 0 ? -1 : read(ends[0], &report, sizeof(report));
    } while (length < 0 && pid > 0 && errno == EINTR);
    close(ends[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        continue;
    }
    if (length != (ssize_t)sizeof(report)) {
        return file_failure(store->name, "cannot be prepared in another process", ECHILD, result);
    }
    if (report.status != APR_SUCCESS && result != NULL) {
        *result = report.result;
    }
    return report.status;
}

static int is_for_another_user(apr_uid_t uid)
{
    return geteuid() == 0 && uid != (apr_uid_t)-1 && uid != 0;
}

apr_status_t gh_sqlite_prepare(gh_store_t *store, apr_uid_t uid, apr_gid_t gid,
                               const gh_migrations_t *migrations, apr_pool_t *p,
                               gh_result_t *result)
{
    apr_status_t rv;

    if (!is_for_another_user(uid)) {
        return prepare_here(store, migrations, p, result);
    }
    if (gid == (apr_gid_t)-1) {
        gid = getegid();
    }
    if ((rv = give_files(store, uid, gid, p, result)) != APR_SUCCESS) {
        return rv;
    }
    return work_in_process_of_user(prepare_here, store, uid, gid, migrations, p, result);
}

apr_status_t gh_sqlite_examine(gh_store_t *store, apr_uid_t uid, apr_gid_t gid, apr_pool_t *p,
                               gh_result_t *result)
{
    if (!is_for_another_user(uid)) {
        return examine_here(store, NULL, p, result);
    }
    return work_in_process_of_user(examine_here, store, uid, gid == (apr_gid_t)-1 ? getegid() : gid,
                                   NULL, p, result);
}
