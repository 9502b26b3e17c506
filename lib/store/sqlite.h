/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_store_sqlite_h
#define gatehouse_store_sqlite_h

#include "store/slots.h"
#include "store/sqlite_connection.h"

/* What the files of the SQLite back end share. */

typedef struct gh_gate gh_gate_t;
typedef struct gh_writer gh_writer_t;

/* sqlite_gate.c: the gate file beside the database. Writers of all processes take turns at it, in
 * the kernel's order; the lock goes when its holder dies. It also says if writes are stopped. */

/** @param path of the database; the file is made if it is missing */
apr_status_t gh_gate_open(gh_gate_t **gate, const char *path, apr_pool_t *p, gh_result_t *result);

/** Waits. */
apr_status_t gh_gate_lock(gh_gate_t *gate, gh_result_t *result);

/** Waits until a deadline by gh_monotonic_now(). @return GH_EBUSY */
apr_status_t gh_gate_lock_until(gh_gate_t *gate, apr_time_t deadline, gh_result_t *result);

void gh_gate_unlock(gh_gate_t *gate);

/** @return 1 if a failed flush was noted. Costs one system call, needs no lock */
int gh_gate_stopped(gh_gate_t *gate);

/** Notes that writes are stopped, or may go on; with the lock only. */
apr_status_t gh_gate_mark(gh_gate_t *gate, int stopped);

/** Records in result that writes are stopped. @return GH_ESTOPPED */
apr_status_t gh_gate_refuse(gh_result_t *result);

/* sqlite_writer.c: the one thread of a process that writes. */

/** @param path of the database */
apr_status_t gh_writer_start(gh_writer_t **writer, const char *path, gh_store_t *store,
                             gh_result_t *result);

apr_status_t gh_writer_run(gh_writer_t *writer, gh_store_work_fn *work, void *baton,
                           gh_result_t *result);

/** Finishes what is queued and ends the thread. */
void gh_writer_stop(gh_writer_t *writer);

int gh_writer_stopped(gh_writer_t *writer);

/* sqlite_prepare.c */
apr_status_t gh_sqlite_prepare(gh_store_t *store, apr_uid_t uid, apr_gid_t gid,
                               const gh_migrations_t *migrations, apr_pool_t *p,
                               gh_result_t *result);

apr_status_t gh_sqlite_examine(gh_store_t *store, apr_uid_t uid, apr_gid_t gid, apr_pool_t *p,
                               gh_result_t *result);

/** The path with its folder's symbolic links resolved. */
apr_status_t gh_sqlite_path(const char **path, const char *location, apr_pool_t *p,
                            gh_result_t *result);

#endif /* gatehouse_store_sqlite_h */
