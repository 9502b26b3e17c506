/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/changes.h"

#include <string.h>

#include "status.h"
#include "store/certificates.h"
#include "store/store_backend.h"

/* How many rows of a walk share memory before it is used again. */
#define ROWS_PER_POOL 256

static gh_known_state_t state_of(apr_int64_t status)
{
    return status == GH_STATUS_GOOD ? GH_KNOWN_GOOD
           : status == GH_STATUS_HELD ? GH_KNOWN_HELD : GH_KNOWN_REVOKED;
}

/** Columns: serial, status, reason, revoked_at, invalid_from, change_seq, touched. What was good
 *  all along has version 0. */
static void read_row(gh_query_t *query, gh_known_certificate_t *certificate, apr_pool_t *p)
{
    memset(certificate, 0, sizeof(*certificate));
    certificate->serial = gh_column_bytes(query, 0, p);
    certificate->known.state = state_of(gh_column_int64(query, 1));
    certificate->known.reason = (int)gh_column_int64(query, 2);
    certificate->known.revoked_at = gh_column_int64(query, 3);
    certificate->known.invalid_from = gh_column_int64(query, 4);
    if (gh_column_int64(query, 6)) {
        certificate->known.version = gh_column_int64(query, 5);
    }
}

/** @param number set to the number of the last row, from column 7; NULL: there is none
 *  @param rows   set to how many there were */
static apr_status_t walk_rows(gh_query_t *query, gh_known_fn *each, void *baton,
                              apr_int64_t *number, int *rows)
{
    gh_known_certificate_t certificate;
    apr_pool_t *p;
    apr_status_t rv;

    *rows = 0;
    apr_pool_create(&p, NULL);
    while ((rv = gh_step(query)) == APR_SUCCESS) {
        if (++*rows % ROWS_PER_POOL == 0) {
            apr_pool_clear(p);
        }
        read_row(query, &certificate, p);
        if (number) {
            *number = gh_column_int64(query, 7);
        }
        if ((rv = each(baton, &certificate)) != APR_SUCCESS) {
            gh_query_end(query);
            break;
        }
    }
    apr_pool_destroy(p);
    return rv == APR_EOF ? APR_SUCCESS : rv;
}

static apr_status_t one_number(gh_transaction_t *transaction, gh_query_t *query,
                               apr_int64_t *number)
{
    apr_status_t rv = gh_step(query);

    if (rv == APR_SUCCESS) {
        *number = gh_column_int64(query, 0);
        gh_query_end(query);
    }
    return rv;
}

/** The highest number that is visible: of certificates, or of changes of an issuer's. */
static apr_status_t last_change(gh_transaction_t *transaction, const char *issuer,
                                apr_int64_t *change)
{
    apr_int64_t touched = 0;
    apr_status_t rv = one_number(transaction,
                                 gh_query(transaction, "SELECT max(id) FROM certificate_der"),
                                 change);

    if (rv == APR_SUCCESS) {
        rv = gh_certificate_last_change(transaction, issuer, &touched);
    }
    if (touched > *change) {
        *change = touched;
    }
    return rv;
}

apr_status_t gh_changes_walk(gh_transaction_t *transaction, const char *issuer, gh_known_fn *each,
                             void *baton, apr_int64_t *change)
{
    gh_query_t *query;
    apr_status_t rv;
    int rows;

    *change = 0;
    if ((rv = last_change(transaction, issuer, change)) != APR_SUCCESS) {
        return rv;
    }
    query = gh_query(transaction,
                     "SELECT serial, status, reason, revoked_at, invalid_from, change_seq, touched"
                     " FROM certificate_status WHERE issuer = (SELECT id FROM issuer"
                     " WHERE name = $1) ORDER BY serial");
    gh_bind_text(query, issuer);
    gh_query_walk(query);
    return walk_rows(query, each, baton, NULL, &rows);
}

apr_status_t gh_changes_count(gh_transaction_t *transaction, apr_int64_t *count)
{
    *count = 0;
    return one_number(transaction,
                      gh_query(transaction, "SELECT max(id) FROM certificate_der"), count);
}

/** Changes of status, by the index of those that were ever touched. */
static apr_status_t walk_touched(gh_transaction_t *transaction, const char *issuer, int limit,
                                 gh_known_fn *each, void *baton, apr_int64_t *number, int *rows)
{
    gh_query_t *query;

    query = gh_query(transaction,
                     "SELECT s.serial, s.status, s.reason, s.revoked_at, s.invalid_from,"
                     " s.change_seq, s.touched, s.change_seq FROM certificate_status s"
                     " WHERE s.issuer = (SELECT id FROM issuer WHERE name = $1)"
                     " AND s.touched = 1 AND s.change_seq > $2 ORDER BY s.change_seq LIMIT $3");
    gh_bind_text(query, issuer);
    gh_bind_int64(query, *number);
    gh_bind_int64(query, limit);
    return walk_rows(query, each, baton, number, rows);
}

/** New certificates up to a number. CROSS JOIN makes SQLite begin with their numbers, too. */
static apr_status_t walk_issued(gh_transaction_t *transaction, const char *issuer,
                                apr_int64_t last, int limit, gh_known_fn *each, void *baton,
                                apr_int64_t *number, int *rows)
{
    gh_query_t *query;

    query = gh_query(transaction,
                     "SELECT s.serial, s.status, s.reason, s.revoked_at, s.invalid_from,"
                     " s.change_seq, s.touched, d.id FROM certificate_der d"
                     " CROSS JOIN certificate_status s"
                     " WHERE s.issuer = d.issuer AND s.serial = d.serial"
                     " AND d.issuer = (SELECT id FROM issuer WHERE name = $1)"
                     " AND d.id > $2 AND d.id <= $3 ORDER BY d.id LIMIT $4");
    gh_bind_text(query, issuer);
    gh_bind_int64(query, *number);
    gh_bind_int64(query, last);
    gh_bind_int64(query, limit);
    return walk_rows(query, each, baton, number, rows);
}

apr_status_t gh_changes_since(gh_transaction_t *transaction, const char *issuer,
                              const gh_changes_place_t *after, int limit, gh_known_fn *each,
                              void *baton, gh_changes_place_t *reached, int *more)
{
    apr_int64_t last;
    apr_status_t rv;
    int rows;

    *reached = *after;
    *more = 0;
    rv = walk_touched(transaction, issuer, limit, each, baton, &reached->status, &rows);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    *more = rows >= limit;
    if ((rv = gh_changes_count(transaction, &last)) != APR_SUCCESS || last <= after->issued) {
        return rv;
    }
    rv = walk_issued(transaction, issuer, last, limit, each, baton, &reached->issued, &rows);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (rows >= limit) {
        *more = 1;
    }
    else {
        /* those of other issuers need not be looked at again */
        reached->issued = last;
    }
    return APR_SUCCESS;
}
