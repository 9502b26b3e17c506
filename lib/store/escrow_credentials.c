/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/escrow_credentials.h"

#include <string.h>

#include "escrow/needs.h"
#include "status.h"
#include "store/store_backend.h"

#define DESCRIPTION \
    "id, device, user_id, purpose, position, sha256, serial, subject, email, not_before," \
    " not_after, origin, enrolment, created, expires, consume"
#define COLUMNS DESCRIPTION ", certificate, chain, key_id, wrapped, sealed"

static const char *const purposes[GH_ESCROW_PURPOSES + 1] = {
    NULL, "signing", "encryption", "archived"
};

const char *gh_escrow_purpose_name(int purpose)
{
    return purpose >= GH_ESCROW_SIGNING && purpose <= GH_ESCROW_ARCHIVED ? purposes[purpose] : NULL;
}

int gh_escrow_purpose_parse(const char *name)
{
    int i;

    for (i = GH_ESCROW_SIGNING; i <= GH_ESCROW_ARCHIVED; ++i) {
        if (strcmp(name, purposes[i]) == 0) {
            return i;
        }
    }
    return 0;
}

apr_status_t gh_escrow_take_turn(gh_transaction_t *transaction, const char *user)
{
    const char *sql = transaction->backend->dialect->user_lock;
    gh_query_t *query;
    apr_status_t rv;

    if (sql == NULL) {
        return APR_SUCCESS;
    }
    query = gh_query(transaction, sql);
    gh_bind_text(query, user);
    rv = gh_step(query);
    gh_query_end(query);
    return rv;
}

apr_status_t gh_escrow_credential_insert(gh_transaction_t *transaction,
                                         const gh_escrow_credential_record_t *record)
{
    gh_query_t *query;

    query = gh_query(transaction, "INSERT INTO escrow_credential (" COLUMNS ") VALUES ($1, $2, $3,"
                     " $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,"
                     " $20, $21)");
    gh_bind_text(query, record->id);
    gh_bind_text(query, record->device);
    gh_bind_text(query, record->user);
    gh_bind_int64(query, record->purpose);
    gh_bind_int64(query, record->position);
    gh_bind_bytes(query, record->sha256);
    gh_bind_bytes(query, record->serial);
    gh_bind_text(query, record->subject);
    gh_bind_text(query, record->email);
    gh_bind_int64(query, record->not_before);
    gh_bind_int64(query, record->not_after);
    gh_bind_text(query, record->origin);
    gh_bind_text(query, record->enrolment);
    gh_bind_int64(query, record->created);
    gh_bind_int64(query, record->expires);
    gh_bind_int64(query, record->consume);
    gh_bind_bytes(query, record->certificate);
    gh_bind_bytes(query, record->chain);
    gh_bind_text(query, record->key_id);
    gh_bind_bytes(query, record->wrapped);
    gh_bind_bytes(query, record->sealed);
    return gh_execute(query);
}

static gh_escrow_credential_record_t *read_description(gh_query_t *query, apr_pool_t *p)
{
    gh_escrow_credential_record_t *record = apr_pcalloc(p, sizeof(*record));
    int column = 0;

    record->id = gh_column_text(query, column++, p);
    record->device = gh_column_text(query, column++, p);
    record->user = gh_column_text(query, column++, p);
    record->purpose = (gh_escrow_purpose_t)gh_column_int64(query, column++);
    record->position = (int)gh_column_int64(query, column++);
    record->sha256 = gh_column_bytes(query, column++, p);
    record->serial = gh_column_bytes(query, column++, p);
    record->subject = gh_column_text(query, column++, p);
    record->email = gh_column_text(query, column++, p);
    record->not_before = gh_column_int64(query, column++);
    record->not_after = gh_column_int64(query, column++);
    record->origin = gh_column_text(query, column++, p);
    record->enrolment = gh_column_text(query, column++, p);
    record->created = gh_column_int64(query, column++);
    record->expires = gh_column_int64(query, column++);
    record->consume = (int)gh_column_int64(query, column++);
    return record;
}

static gh_escrow_credential_record_t *read_whole(gh_query_t *query, apr_pool_t *p)
{
    gh_escrow_credential_record_t *record = read_description(query, p);
    int column = 16;

    record->certificate = gh_column_bytes(query, column++, p);
    record->chain = gh_column_bytes(query, column++, p);
    record->key_id = gh_column_text(query, column++, p);
    record->wrapped = gh_column_bytes(query, column++, p);
    record->sealed = gh_column_bytes(query, column++, p);
    return record;
}

static apr_status_t read_all(gh_query_t *query,
                             gh_escrow_credential_record_t *(*read)(gh_query_t *, apr_pool_t *),
                             apr_array_header_t **records, apr_pool_t *p)
{
    apr_status_t rv;

    *records = apr_array_make(p, 4, sizeof(gh_escrow_credential_record_t *));
    while ((rv = gh_step(query)) == APR_SUCCESS) {
        APR_ARRAY_PUSH(*records, gh_escrow_credential_record_t *) = read(query, p);
    }
    return rv == APR_EOF ? APR_SUCCESS : rv;
}

apr_status_t gh_escrow_credential_pair(gh_transaction_t *transaction, const char *device,
                                       const char *user, int purpose,
                                       apr_array_header_t **records, apr_pool_t *p)
{
    gh_query_t *query;
    apr_time_t now;
    apr_status_t rv;

    if ((rv = gh_store_now(transaction, &now)) != APR_SUCCESS) {
        return rv;
    }
    query = gh_query(transaction, "SELECT " COLUMNS " FROM escrow_credential"
                     " WHERE device = $1 AND user_id = $2 AND purpose BETWEEN $3 AND $4"
                     " AND expires > $5 ORDER BY purpose, position");
    gh_bind_text(query, device);
    gh_bind_text(query, user);
    gh_bind_int64(query, purpose ? purpose : GH_ESCROW_SIGNING);
    gh_bind_int64(query, purpose ? purpose : GH_ESCROW_ARCHIVED);
    gh_bind_int64(query, now);
    return read_all(query, read_whole, records, p);
}

apr_status_t gh_escrow_credential_describe(gh_transaction_t *transaction, const char *device,
                                           const char *user, apr_array_header_t **records,
                                           apr_pool_t *p)
{
    gh_query_t *query;
    apr_time_t now;
    apr_status_t rv;

    if ((rv = gh_store_now(transaction, &now)) != APR_SUCCESS) {
        return rv;
    }
    query = gh_query(transaction, "SELECT " DESCRIPTION " FROM escrow_credential"
                     " WHERE device = $1 AND user_id = $2 AND expires > $3"
                     " ORDER BY purpose, position");
    gh_bind_text(query, device);
    gh_bind_text(query, user);
    gh_bind_int64(query, now);
    return read_all(query, read_description, records, p);
}

apr_status_t gh_escrow_credential_of_user(gh_transaction_t *transaction, const char *user,
                                          gh_escrow_purpose_t purpose, int limit,
                                          apr_array_header_t **records, apr_pool_t *p)
{
    gh_query_t *query;
    apr_time_t now;
    apr_status_t rv;

    if ((rv = gh_store_now(transaction, &now)) != APR_SUCCESS) {
        return rv;
    }
    query = gh_query(transaction, "SELECT " COLUMNS " FROM escrow_credential"
                     " WHERE user_id = $1 AND purpose = $2 AND expires > $3"
                     " ORDER BY created DESC, id DESC LIMIT $4");
    gh_bind_text(query, user);
    gh_bind_int64(query, purpose);
    gh_bind_int64(query, now);
    gh_bind_int64(query, limit);
    return read_all(query, read_whole, records, p);
}

apr_status_t gh_escrow_credential_count(gh_transaction_t *transaction, const char *device,
                                        const char *user, int counts[GH_ESCROW_PURPOSES + 1])
{
    gh_query_t *query;
    apr_time_t now;
    apr_status_t rv;

    memset(counts, 0, sizeof(int) * (GH_ESCROW_PURPOSES + 1));
    if ((rv = gh_store_now(transaction, &now)) != APR_SUCCESS) {
        return rv;
    }
    query = gh_query(transaction, "SELECT purpose, count(*) FROM escrow_credential"
                     " WHERE device = $1 AND user_id = $2 AND expires > $3 GROUP BY purpose");
    gh_bind_text(query, device);
    gh_bind_text(query, user);
    gh_bind_int64(query, now);
    while ((rv = gh_step(query)) == APR_SUCCESS) {
        apr_int64_t purpose = gh_column_int64(query, 0);

        if (purpose >= GH_ESCROW_SIGNING && purpose <= GH_ESCROW_ARCHIVED) {
            counts[purpose] = (int)gh_column_int64(query, 1);
        }
    }
    return rv == APR_EOF ? APR_SUCCESS : rv;
}

apr_status_t gh_escrow_credential_remove(gh_transaction_t *transaction, const char *id)
{
    gh_query_t *query = gh_query(transaction, "DELETE FROM escrow_credential WHERE id = $1");

    gh_bind_text(query, id);
    return gh_execute(query);
}

apr_status_t gh_escrow_credential_remove_pair(gh_transaction_t *transaction, const char *device,
                                              const char *user, apr_int64_t *count)
{
    gh_query_t *query = gh_query(transaction, "DELETE FROM escrow_credential WHERE device = $1"
                                 " AND user_id = $2");
    apr_status_t rv;

    gh_bind_text(query, device);
    gh_bind_text(query, user);
    rv = gh_execute(query);
    *count = rv == APR_SUCCESS ? gh_rows_changed(transaction) : 0;
    return rv;
}

apr_status_t gh_escrow_credential_purge_pair(gh_transaction_t *transaction, const char *device,
                                             const char *user)
{
    gh_query_t *query;
    apr_time_t now;
    apr_status_t rv;

    if ((rv = gh_store_now(transaction, &now)) != APR_SUCCESS) {
        return rv;
    }
    query = gh_query(transaction, "DELETE FROM escrow_credential WHERE device = $1"
                     " AND user_id = $2 AND expires <= $3");
    gh_bind_text(query, device);
    gh_bind_text(query, user);
    gh_bind_int64(query, now);
    return gh_execute(query);
}

#define NEWEST_END \
    "(SELECT max(n.expires) FROM escrow_credential n WHERE n.device = $1 AND n.user_id = $2" \
    " AND n.purpose < 3)"

apr_status_t gh_escrow_credential_extend(gh_transaction_t *transaction, const char *device,
                                         const char *user)
{
    gh_query_t *query = gh_query(transaction, "UPDATE escrow_credential SET expires = " NEWEST_END
                                 " WHERE device = $1 AND user_id = $2 AND purpose = 3"
                                 " AND expires < " NEWEST_END);

    gh_bind_text(query, device);
    gh_bind_text(query, user);
    return gh_execute(query);
}

/* Names of purposes in needs are not part of one another. */
#define NEEDS(purpose_name) \
    "o.needs LIKE '%' || CAST(" purpose_name " AS TEXT) || '%'"

static apr_status_t consume_one(gh_transaction_t *transaction, const char *device,
                                const char *user, int purpose, const char *profile,
                                apr_time_t stored)
{
    gh_query_t *query = gh_query(transaction, "DELETE FROM escrow_credential WHERE device = $1"
                                 " AND user_id = $2 AND purpose = $3 AND consume = 1"
                                 " AND NOT EXISTS (SELECT 1 FROM escrow_profile o"
                                 " WHERE o.device = $1 AND o.user_id = $2 AND o.state < 3"
                                 " AND o.id <> $4 AND (" NEEDS("$5") " OR ($3 = 3 AND "
                                 NEEDS("$6") "))) AND created <= $7");

    gh_bind_text(query, device);
    gh_bind_text(query, user);
    gh_bind_int64(query, purpose);
    gh_bind_text(query, profile);
    gh_bind_text(query, gh_escrow_purpose_name(purpose));
    gh_bind_text(query, gh_escrow_purpose_name(GH_ESCROW_ENCRYPTION));
    gh_bind_int64(query, stored);
    return gh_execute(query);
}

/* Who delivers has the user's turn. Archived ones may stand in a profile that does not say that it
 * needs them, as with the position "*". */
apr_status_t gh_escrow_credential_consume(gh_transaction_t *transaction, const char *device,
                                          const char *user, const char *needs,
                                          const char *profile, apr_time_t stored)
{
    int archived = gh_escrow_needs_purpose(needs, GH_ESCROW_ENCRYPTION);
    apr_status_t rv = APR_SUCCESS;
    int purpose;

    for (purpose = GH_ESCROW_SIGNING; rv == APR_SUCCESS && purpose <= GH_ESCROW_ARCHIVED;
         ++purpose) {
        if (gh_escrow_needs_purpose(needs, purpose)
            || (purpose == GH_ESCROW_ARCHIVED && archived)) {
            rv = consume_one(transaction, device, user, purpose, profile, stored);
        }
    }
    return rv;
}

apr_status_t gh_escrow_credential_purge(gh_transaction_t *transaction, apr_time_t now, int limit,
                                        apr_int64_t *count)
{
    gh_query_t *query = gh_query(transaction, "DELETE FROM escrow_credential WHERE id IN"
                                 " (SELECT id FROM escrow_credential WHERE expires <= $1"
                                 " LIMIT $2)");
    apr_status_t rv;

    gh_bind_int64(query, now);
    gh_bind_int64(query, limit);
    rv = gh_execute(query);
    *count = rv == APR_SUCCESS ? gh_rows_changed(transaction) : 0;
    return rv;
}
