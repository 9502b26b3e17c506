/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/challenges.h"

#include "status.h"
#include "store/store_backend.h"

apr_status_t gh_challenge_insert(gh_transaction_t *transaction,
                                 const gh_challenge_record_t *record)
{
    gh_query_t *query;

    query = gh_query(transaction,
                     "INSERT INTO challenge (id, sha256, challenge_set, tenant, issuer, profile,"
                     " subject, sans, holder, created, expires)"
                     " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)");
    gh_bind_text(query, record->id);
    gh_bind_bytes(query, record->sha256);
    gh_bind_text(query, record->set ? record->set : "");
    gh_bind_text(query, record->tenant);
    gh_bind_text(query, record->issuer);
    gh_bind_text(query, record->profile);
    gh_bind_text(query, record->subject);
    gh_bind_text(query, record->sans);
    gh_bind_text(query, record->holder);
    gh_bind_int64(query, record->created);
    gh_bind_int64(query, record->expires);
    return gh_execute(query);
}

apr_status_t gh_challenge_find(gh_transaction_t *transaction, gh_bytes_t sha256,
                               gh_challenge_record_t **record, apr_pool_t *p)
{
    gh_challenge_record_t *found;
    gh_query_t *query;
    apr_status_t rv;

    query = gh_query(transaction,
                     "SELECT id, sha256, challenge_set, tenant, issuer, profile, subject, sans,"
                     " holder, created, expires, used_at, used_by FROM challenge"
                     " WHERE sha256 = $1");
    gh_bind_bytes(query, sha256);
    if ((rv = gh_step(query)) != APR_SUCCESS) {
        return rv == APR_EOF ? APR_NOTFOUND : rv;
    }
    found = apr_pcalloc(p, sizeof(*found));
    found->id = gh_column_text(query, 0, p);
    found->sha256 = gh_column_bytes(query, 1, p);
    found->set = gh_column_text(query, 2, p);
    found->tenant = gh_column_text(query, 3, p);
    found->issuer = gh_column_text(query, 4, p);
    found->profile = gh_column_text(query, 5, p);
    found->subject = gh_column_text(query, 6, p);
    found->sans = gh_column_text(query, 7, p);
    found->holder = gh_column_text(query, 8, p);
    found->created = gh_column_int64(query, 9);
    found->expires = gh_column_int64(query, 10);
    found->used_at = gh_column_int64(query, 11);
    found->used_by = gh_column_text(query, 12, p);
    gh_query_end(query);
    *record = found;
    return APR_SUCCESS;
}

apr_status_t gh_challenge_count(gh_transaction_t *transaction,
                                const gh_challenge_record_t *record, apr_time_t now,
                                apr_int64_t *count)
{
    gh_query_t *query;
    apr_status_t rv;

    if ((rv = gh_take_challenge_turn(transaction)) != APR_SUCCESS) {
        return rv;
    }
    query = gh_query(transaction,
                     "SELECT count(*) FROM challenge WHERE holder = $1 AND challenge_set = $2"
                     " AND tenant = $3 AND issuer = $4 AND profile = $5 AND used_at = 0"
                     " AND expires > $6");
    gh_bind_text(query, record->holder);
    gh_bind_text(query, record->set ? record->set : "");
    gh_bind_text(query, record->tenant);
    gh_bind_text(query, record->issuer);
    gh_bind_text(query, record->profile);
    gh_bind_int64(query, now);
    rv = gh_step(query);
    if (rv == APR_SUCCESS) {
        *count = gh_column_int64(query, 0);
        gh_query_end(query);
    }
    return rv;
}

/* One statement finds, checks and uses, so that nothing can come between. */
apr_status_t gh_challenge_consume(gh_transaction_t *transaction, const char *id,
                                  const char *enrolment, apr_time_t now)
{
    gh_query_t *query;
    apr_status_t rv;

    query = gh_query(transaction,
                     "UPDATE challenge SET used_at = $1, used_by = $2"
                     " WHERE id = $3 AND used_at = 0 AND expires > $1");
    gh_bind_int64(query, now);
    gh_bind_text(query, enrolment);
    gh_bind_text(query, id);
    if ((rv = gh_execute(query)) != APR_SUCCESS) {
        return rv;
    }
    return gh_rows_changed(transaction) == 1 ? APR_SUCCESS : GH_EREFUSED;
}

apr_status_t gh_challenge_purge(gh_transaction_t *transaction, apr_time_t before,
                                apr_int64_t *count)
{
    gh_query_t *query = gh_query(transaction, "DELETE FROM challenge WHERE expires < $1");
    apr_status_t rv;

    gh_bind_int64(query, before);
    rv = gh_execute(query);
    if (rv == APR_SUCCESS && count != NULL) {
        *count = gh_rows_changed(transaction);
    }
    return rv;
}
