/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The key of each device. */

#include <string.h>

#include "status.h"
#include "store/escrow_profiles.h"

apr_status_t gh_escrow_recipient_find(gh_transaction_t *transaction, const char *device,
                                      gh_escrow_recipient_record_t **record, apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT device, spki_sha256, sha256, bound, bound_by"
                                 " FROM escrow_recipient WHERE device = $1");
    apr_status_t rv;

    *record = NULL;
    gh_bind_text(query, device);
    if ((rv = gh_step(query)) == APR_SUCCESS) {
        gh_escrow_recipient_record_t *found = apr_pcalloc(p, sizeof(*found));

        found->device = gh_column_text(query, 0, p);
        found->spki_sha256 = gh_column_bytes(query, 1, p);
        found->sha256 = gh_column_bytes(query, 2, p);
        found->bound = gh_column_int64(query, 3);
        found->bound_by = gh_column_text(query, 4, p);
        gh_query_end(query);
        *record = found;
    }
    return rv == APR_EOF ? APR_NOTFOUND : rv;
}

/* A device that renews its certificate keeps its key, or comes with another one, which an operator
 * has to permit: who could bind it anew could read the user's keys. */
apr_status_t gh_escrow_recipient_bind(gh_transaction_t *transaction,
                                      const gh_escrow_recipient_record_t *record)
{
    gh_query_t *query;
    apr_status_t rv;

    query = gh_query(transaction, "INSERT INTO escrow_recipient (device, spki_sha256, sha256,"
                     " bound, bound_by) VALUES ($1, $2, $3, $4, $5)"
                     " ON CONFLICT (device) DO UPDATE SET sha256 = excluded.sha256"
                     " WHERE escrow_recipient.spki_sha256 = excluded.spki_sha256");
    gh_bind_text(query, record->device);
    gh_bind_bytes(query, record->spki_sha256);
    gh_bind_bytes(query, record->sha256);
    gh_bind_int64(query, record->bound);
    gh_bind_text(query, record->bound_by);
    rv = gh_execute(query);
    return rv != APR_SUCCESS ? rv
        : gh_rows_changed(transaction) == 1 ? APR_SUCCESS : GH_EREFUSED;
}

apr_status_t gh_escrow_recipient_remove(gh_transaction_t *transaction, const char *device)
{
    gh_query_t *query = gh_query(transaction, "DELETE FROM escrow_recipient WHERE device = $1");
    apr_status_t rv;

    gh_bind_text(query, device);
    rv = gh_execute(query);
    return rv != APR_SUCCESS ? rv
        : gh_rows_changed(transaction) > 0 ? APR_SUCCESS : APR_NOTFOUND;
}
