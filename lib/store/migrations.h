/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_store_migrations_h
#define gatehouse_store_migrations_h

#include "store/store.h"

/*
 * The schema as numbered steps. A step that was released is never changed: what is wrong with it
 * is put right by a later one. Every step keeps the data that it finds.
 */

typedef struct {
    const char *name;               /* what it does, for the table "migration" */
    const char *text;               /* statements, with the words of gh_dialect_expand() */
} gh_migration_t;

/** Steps 1 to count. */
typedef struct {
    const gh_migration_t *steps;
    int count;
} gh_migrations_t;

/** The schema of this version. */
extern const gh_migrations_t gh_migrations;

/**
 * Runs the steps that are missing, in the given transaction: all of them or none.
 * @param now when
 * @return GH_ECORRUPT if the store has more steps than are known, or is not Gatehouse's
 */
apr_status_t gh_migrations_run(gh_transaction_t *transaction, const gh_migrations_t *migrations,
                               apr_time_t now, apr_pool_t *p, gh_result_t *result);

/** @param number of the last step that the store has
 *  @return GH_ECORRUPT if it is not the last one that is known, with result saying what to do */
apr_status_t gh_migrations_check(gh_transaction_t *transaction, const gh_migrations_t *migrations,
                                 gh_result_t *result);

#endif /* gatehouse_store_migrations_h */
