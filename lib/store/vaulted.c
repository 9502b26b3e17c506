/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/vaulted.h"

#include <string.h>

#include <apr_strings.h>

#include "escrow/provide_private.h"
#include "escrow/sealed_profile.h"
#include "escrow/vault.h"
#include "status.h"

typedef struct {
    const char *next_key;           /* the key behind another one, in order */
    const char *count;
    const char *list;
    const char *rewrap;
} statements_t;

static const statements_t statements[GH_VAULTED_TABLES] = {
    [GH_VAULTED_CREDENTIAL] = {
        "SELECT key_id FROM escrow_credential WHERE key_id > $1 ORDER BY key_id LIMIT 1",
        "SELECT count(*) FROM escrow_credential WHERE key_id = $1",
        "SELECT id, wrapped, sealed, device, user_id, purpose, sha256"
        " FROM escrow_credential WHERE key_id = $1 AND id > $2"
        " ORDER BY id LIMIT $3",
        "UPDATE escrow_credential SET key_id = $1, wrapped = $2"
        " WHERE id = $3 AND key_id = $4 AND wrapped = $5"
    },
    [GH_VAULTED_ENDPOINT] = {
        "SELECT key_id FROM escrow_endpoint WHERE key_id > $1 ORDER BY key_id LIMIT 1",
        "SELECT count(*) FROM escrow_endpoint WHERE key_id = $1",
        "SELECT name, wrapped, sealed, generation"
        " FROM escrow_endpoint WHERE key_id = $1 AND name > $2"
        " ORDER BY name LIMIT $3",
        "UPDATE escrow_endpoint SET key_id = $1, wrapped = $2"
        " WHERE name = $3 AND key_id = $4 AND wrapped = $5"
    },
    [GH_VAULTED_EVENT_KEY] = {
        "SELECT key_id FROM escrow_event_key WHERE key_id > $1 ORDER BY key_id LIMIT 1",
        "SELECT count(*) FROM escrow_event_key WHERE key_id = $1",
        "SELECT event || '/' || purpose, wrapped, sealed, event, purpose"
        " FROM escrow_event_key WHERE key_id = $1 AND event || '/' || purpose > $2"
        " ORDER BY 1 LIMIT $3",
        "UPDATE escrow_event_key SET key_id = $1, wrapped = $2"
        " WHERE event || '/' || purpose = $3 AND key_id = $4 AND wrapped = $5"
    },
    [GH_VAULTED_PROFILE] = {
        "SELECT key_id FROM escrow_profile WHERE key_id > $1 ORDER BY key_id LIMIT 1",
        "SELECT count(*) FROM escrow_profile WHERE key_id = $1",
        "SELECT id, wrapped, sealed, device, user_id, profile"
        " FROM escrow_profile WHERE key_id = $1 AND id > $2"
        " ORDER BY id LIMIT $3",
        "UPDATE escrow_profile SET key_id = $1, wrapped = $2"
        " WHERE id = $3 AND key_id = $4 AND wrapped = $5"
    }
};

static int has(const apr_array_header_t *keys, const char *key)
{
    int i;

    for (i = 0; i < keys->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(keys, i, const char *), key) == 0)
            return 1;
    }
    return 0;
}

/* From one to the next by the index: rows are not looked through. */
static apr_status_t add_keys(gh_transaction_t *transaction, const char *next_key,
                             apr_array_header_t *keys, apr_pool_t *p)
{
    const char *key = "";
    gh_query_t *query;
    apr_status_t rv;

    for (;;) {
        query = gh_query(transaction, next_key);
        gh_bind_text(query, key);
        if ((rv = gh_step(query)) != APR_SUCCESS)
            return rv == APR_EOF ? APR_SUCCESS : rv;
        key = gh_column_text(query, 0, p);
        gh_query_end(query);
        if (!has(keys, key))
            APR_ARRAY_PUSH(keys, const char *) = key;
    }
}

apr_status_t gh_vaulted_keys(gh_transaction_t *transaction, apr_array_header_t **keys,
                             apr_pool_t *p)
{
    apr_status_t rv = APR_SUCCESS;
    int table;

    *keys = apr_array_make(p, 4, sizeof(const char *));
    for (table = 0; rv == APR_SUCCESS && table < GH_VAULTED_TABLES; table++)
        rv = add_keys(transaction, statements[table].next_key, *keys, p);
    return rv;
}

apr_status_t gh_vaulted_count(gh_transaction_t *transaction, const char *key_id,
                              apr_int64_t *count)
{
    gh_query_t *query;
    apr_status_t rv;
    int table;

    *count = 0;
    for (table = 0; table < GH_VAULTED_TABLES; table++) {
        query = gh_query(transaction, statements[table].count);
        gh_bind_text(query, key_id);
        if ((rv = gh_step(query)) != APR_SUCCESS)
            return rv;
        *count += gh_column_int64(query, 0);
        gh_query_end(query);
    }
    return APR_SUCCESS;
}

static const char *identity_of(gh_query_t *query, const gh_vaulted_row_t *row, apr_pool_t *p)
{
    gh_bytes_t sha256;

    if (row->table == GH_VAULTED_ENDPOINT)
        return gh_vault_endpoint_identity(row->id, gh_column_int64(query, 3), p);
    if (row->table == GH_VAULTED_EVENT_KEY)
        return gh_provide_identity(gh_column_text(query, 3, p),
                                   (gh_escrow_purpose_t)gh_column_int64(query, 4), p);
    if (row->table == GH_VAULTED_PROFILE)
        return gh_escrow_profile_identity(gh_column_text(query, 3, p), gh_column_text(query, 4, p),
                                          gh_column_text(query, 5, p), p);
    sha256 = gh_column_bytes(query, 6, p);
    return sha256.length == 32
        ? gh_vault_identity(gh_column_text(query, 3, p), gh_column_text(query, 4, p),
                            (int)gh_column_int64(query, 5), sha256.data, p)
        : "";
}

apr_status_t gh_vaulted_list(gh_transaction_t *transaction, gh_vaulted_table_t table,
                             const char *key_id, const char *after, int limit,
                             apr_array_header_t **rows, apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, statements[table].list);
    apr_status_t rv;

    *rows = apr_array_make(p, limit, sizeof(gh_vaulted_row_t));
    gh_bind_text(query, key_id);
    gh_bind_text(query, after);
    gh_bind_int64(query, limit);
    while ((rv = gh_step(query)) == APR_SUCCESS) {
        gh_vaulted_row_t *row = apr_array_push(*rows);

        row->table = table;
        row->id = gh_column_text(query, 0, p);
        row->key_id = key_id;
        row->wrapped = gh_column_bytes(query, 1, p);
        row->sealed = gh_column_bytes(query, 2, p);
        row->identity = identity_of(query, row, p);
    }
    return rv == APR_EOF ? APR_SUCCESS : rv;
}

apr_status_t gh_vaulted_rewrap(gh_transaction_t *transaction, const gh_vaulted_row_t *row,
                               const char *key_id, gh_bytes_t wrapped)
{
    gh_query_t *query = gh_query(transaction, statements[row->table].rewrap);

    gh_bind_text(query, key_id);
    gh_bind_bytes(query, wrapped);
    gh_bind_text(query, row->id);
    gh_bind_text(query, row->key_id);
    gh_bind_bytes(query, row->wrapped);
    return gh_execute(query);
}

apr_status_t gh_vaulted_forget(gh_transaction_t *transaction, const char *setting)
{
    gh_query_t *query = gh_query(transaction, "DELETE FROM setting WHERE name = $1");

    gh_bind_text(query, setting);
    return gh_execute(query);
}

apr_status_t gh_vaulted_settings(gh_transaction_t *transaction, const char *prefix,
                                 apr_array_header_t **names, apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT name FROM setting ORDER BY name");
    apr_status_t rv;

    *names = apr_array_make(p, 4, sizeof(const char *));
    while ((rv = gh_step(query)) == APR_SUCCESS) {
        const char *name = gh_column_text(query, 0, p);

        if (strncmp(name, prefix, strlen(prefix)) == 0)
            APR_ARRAY_PUSH(*names, const char *) = name + strlen(prefix);
    }
    return rv == APR_EOF ? APR_SUCCESS : rv;
}
