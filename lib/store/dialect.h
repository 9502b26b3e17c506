/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_store_dialect_h
#define gatehouse_store_dialect_h

#include <apr_pools.h>

/* Where the SQL of the two back ends differs; everything else is written once. */

typedef struct {
    const char *integer;            /* 64 bits */
    const char *identity;           /* a column that numbers its rows */
    const char *text;               /* compared byte by byte */
    const char *bytes;
    const char *clustered;          /* after a table whose rows stand in its primary key */
    const char *change_sequence;    /* makes what next_change takes numbers from */
    const char *certificate_numbers;    /* lets ids of certificates be such numbers */

    const char *migration_lock;     /* NULL where a transaction locks all others out */
    const char *other_tables;       /* counts tables where there is no table "migration" */
    const char *count_change;       /* run before next_change; NULL if that counts itself */
    const char *next_change;
    const char *status_lock;        /* makes transactions that change a status take turns; NULL
                                       where all that write do */
    const char *challenge_lock;     /* the same for those that count challenges to make one more */
    const char *user_lock;          /* the same for those that change what a user ($1) has in
                                       escrow */
    int row_locks;                  /* rows can be locked, and locked ones skipped; otherwise a
                                       transaction that writes has all of them */
    const char *now;                /* NULL: the clock of this machine is the database's */
} gh_dialect_t;

extern const gh_dialect_t gh_dialect_sqlite;
extern const gh_dialect_t gh_dialect_pgsql;

/**
 * Replaces {integer}, {identity}, {text}, {bytes}, {clustered}, {change_sequence} and
 * {certificate_numbers} in the text of a migration.
 * @return NULL for another word in braces
 */
const char *gh_dialect_expand(const gh_dialect_t *dialect, const char *text, apr_pool_t *p);

#endif /* gatehouse_store_dialect_h */
