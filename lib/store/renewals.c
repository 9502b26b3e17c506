/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/renewals.h"

#include "status.h"
#include "store/store_backend.h"

/* The successor's certificate is found through its enrolment, which has issuer and serial. */
#define RECORD_COLUMNS \
    "r.issuer, r.serial, r.enrolment, r.created, r.revoke_after, e.state, e.serial, s.status," \
    " s.not_after, e.issuer"
#define RECORD_TABLES \
    " FROM renewal r LEFT JOIN enrolment e ON e.id = r.enrolment" \
    " LEFT JOIN issuer i ON i.name = e.issuer" \
    " LEFT JOIN certificate_status s ON s.issuer = i.id AND s.serial = e.serial"

static int is_live(gh_enrolment_state_t state, gh_status_t status, apr_time_t not_after,
                   apr_time_t now)
{
    switch (state) {
    case GH_ENROLMENT_WAITING:
    case GH_ENROLMENT_APPROVED:
    case GH_ENROLMENT_SUBMITTED:
    case GH_ENROLMENT_RETRY:
    case GH_ENROLMENT_IN_DOUBT:
        return 1;
    case GH_ENROLMENT_ISSUED:
    case GH_ENROLMENT_CONFIRMING:
        return status != GH_STATUS_REVOKED && not_after > now;
    default:
        return 0;
    }
}

static gh_renewal_record_t *read_record(gh_query_t *query, apr_time_t now, apr_pool_t *p)
{
    gh_renewal_record_t *record = apr_pcalloc(p, sizeof(*record));

    record->issuer = gh_column_text(query, 0, p);
    record->serial = gh_column_bytes(query, 1, p);
    record->enrolment = gh_column_text(query, 2, p);
    record->created = gh_column_int64(query, 3);
    record->revoke_after = gh_column_int64(query, 4);
    record->state = (gh_enrolment_state_t)gh_column_int64(query, 5);
    record->successor = gh_column_bytes(query, 6, p);
    record->status = (gh_status_t)gh_column_int64(query, 7);
    record->live = is_live(record->state, record->status, gh_column_int64(query, 8), now);
    record->successor_issuer = gh_column_text(query, 9, p);
    return record;
}

apr_status_t gh_renewal_find(gh_transaction_t *transaction, const char *issuer, gh_bytes_t serial,
                             apr_time_t now, gh_renewal_record_t **record, apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT " RECORD_COLUMNS RECORD_TABLES
                                 " WHERE r.issuer = $1 AND r.serial = $2");
    apr_status_t rv;

    *record = NULL;
    gh_bind_text(query, issuer);
    gh_bind_bytes(query, serial);
    rv = gh_step(query);
    if (rv == APR_SUCCESS) {
        *record = read_record(query, now, p);
        gh_query_end(query);
    }
    return rv == APR_EOF ? APR_NOTFOUND : rv;
}

static void bind_successor(gh_query_t *query, const gh_renewal_record_t *record)
{
    gh_bind_text(query, record->enrolment);
    gh_bind_int64(query, record->created);
    gh_bind_int64(query, record->revoke_after);
}

apr_status_t gh_renewal_put(gh_transaction_t *transaction, const gh_renewal_record_t *record,
                            apr_pool_t *p)
{
    gh_renewal_record_t *before;
    gh_query_t *query;
    apr_status_t rv;

    query = gh_query(transaction,
                     "INSERT INTO renewal (issuer, serial, enrolment, created, revoke_after)"
                     " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (issuer, serial) DO NOTHING");
    gh_bind_text(query, record->issuer);
    gh_bind_bytes(query, record->serial);
    bind_successor(query, record);
    rv = gh_execute(query);
    if (rv != APR_SUCCESS || gh_rows_changed(transaction) == 1) {
        return rv;
    }
    rv = gh_renewal_find(transaction, record->issuer, record->serial, record->created, &before, p);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (before->live) {
        return GH_ECONFLICT;
    }
    /* only from what was seen: beside this, another may have put its own there */
    query = gh_query(transaction,
                     "UPDATE renewal SET enrolment = $1, created = $2, revoke_after = $3"
                     " WHERE issuer = $4 AND serial = $5 AND enrolment = $6");
    bind_successor(query, record);
    gh_bind_text(query, record->issuer);
    gh_bind_bytes(query, record->serial);
    gh_bind_text(query, before->enrolment);
    rv = gh_execute(query);
    if (rv == APR_SUCCESS && gh_rows_changed(transaction) != 1) {
        rv = GH_ECONFLICT;
    }
    return rv;
}

apr_status_t gh_renewal_predecessor(gh_transaction_t *transaction, const char *enrolment,
                                    gh_status_t *status)
{
    gh_query_t *query = gh_query(transaction,
                                 "SELECT s.status FROM renewal r JOIN issuer i ON i.name = r.issuer"
                                 " JOIN certificate_status s ON s.issuer = i.id"
                                 " AND s.serial = r.serial WHERE r.enrolment = $1");
    apr_status_t rv;

    gh_bind_text(query, enrolment);
    rv = gh_step(query);
    if (rv == APR_SUCCESS) {
        *status = (gh_status_t)gh_column_int64(query, 0);
        gh_query_end(query);
    }
    return rv == APR_EOF ? APR_NOTFOUND : rv;
}

apr_status_t gh_renewal_of(gh_transaction_t *transaction, const char *enrolment,
                           const char **issuer, gh_bytes_t *serial, apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction,
                                 "SELECT issuer, serial FROM renewal WHERE enrolment = $1");
    apr_status_t rv;

    gh_bind_text(query, enrolment);
    if ((rv = gh_step(query)) == APR_SUCCESS) {
        *issuer = gh_column_text(query, 0, p);
        *serial = gh_column_bytes(query, 1, p);
        gh_query_end(query);
    }
    return rv == APR_EOF ? APR_NOTFOUND : rv;
}

apr_status_t gh_renewal_issued(gh_transaction_t *transaction, const char *enrolment,
                               apr_time_t now)
{
    gh_query_t *query = gh_query(transaction,
                                 "UPDATE renewal SET revoke_after = revoke_after + ($1 - created),"
                                 " created = $1 WHERE enrolment = $2 AND revoke_after > 0");

    gh_bind_int64(query, now);
    gh_bind_text(query, enrolment);
    return gh_execute(query);
}

/* Those whose successor is still being decided are not due. */
apr_status_t gh_renewal_due(gh_transaction_t *transaction, apr_time_t now, int limit,
                            apr_array_header_t **records, apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT " RECORD_COLUMNS RECORD_TABLES
                                 " WHERE r.revoke_after > 0 AND r.revoke_after <= $1"
                                 " AND (e.state IS NULL OR e.state IN (3, 5, 6))"
                                 " ORDER BY r.revoke_after LIMIT $2");
    apr_status_t rv;

    *records = apr_array_make(p, 8, sizeof(gh_renewal_record_t *));
    gh_bind_int64(query, now);
    gh_bind_int64(query, limit);
    while ((rv = gh_step(query)) == APR_SUCCESS) {
        APR_ARRAY_PUSH(*records, gh_renewal_record_t *) = read_record(query, now, p);
    }
    return rv == APR_EOF ? APR_SUCCESS : rv;
}

apr_status_t gh_renewal_settle(gh_transaction_t *transaction, const char *issuer,
                               gh_bytes_t serial)
{
    gh_query_t *query = gh_query(transaction, "UPDATE renewal SET revoke_after = 0"
                                 " WHERE issuer = $1 AND serial = $2");

    gh_bind_text(query, issuer);
    gh_bind_bytes(query, serial);
    return gh_execute(query);
}
