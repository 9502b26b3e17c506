/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Rotation: data keys of all rows get under the current key while they are in use. */

#include <string.h>

#include <apr_strings.h>
#include <openssl/crypto.h>

#include "escrow/vault_keys.h"
#include "log.h"
#include "status.h"
#include "store/vaulted.h"

/** Rows of one transaction: others write meanwhile. */
#define BATCH 200

typedef struct {
    const gh_vault_t *vault;
    gh_store_t *store;
    int verify;                         /* nothing is changed */
    gh_vault_progress_t *progress;
    gh_result_t *result;
    gh_vaulted_table_t table;
    const char *key_id;
    const char *after;
    apr_array_header_t *rows;           /* gh_vaulted_row_t */
    apr_array_header_t *made;           /* gh_vaulted_t of the same; key_id NULL: failed */
    apr_array_header_t *keys;           /* const char * */
    apr_pool_t *p;                      /* of a batch */
} work_t;

static apr_status_t keys_work(gh_transaction_t *transaction, void *data)
{
    work_t *work = data;

    return gh_vaulted_keys(transaction, &work->keys, work->p);
}

static apr_status_t list_work(gh_transaction_t *transaction, void *data)
{
    work_t *work = data;

    return gh_vaulted_list(transaction, work->table, work->key_id, work->after, BATCH,
                           &work->rows, work->p);
}

static apr_status_t rewrap_work(gh_transaction_t *transaction, void *data)
{
    work_t *work = data;
    apr_status_t rv = APR_SUCCESS;
    int i;

    for (i = 0; rv == APR_SUCCESS && i < work->rows->nelts; i++) {
        const gh_vaulted_t *made = &APR_ARRAY_IDX(work->made, i, gh_vaulted_t);

        if (made->key_id != NULL)
            rv = gh_vaulted_rewrap(transaction, &APR_ARRAY_IDX(work->rows, i, gh_vaulted_row_t),
                                   made->key_id, made->wrapped);
    }
    return rv;
}

static apr_status_t wrap_or_open(gh_vaulted_t *made, work_t *work, const gh_vaulted_row_t *row,
                                 gh_result_t *result)
{
    gh_vaulted_t from = { row->key_id, row->wrapped, row->sealed };
    gh_bytes_t plain;
    apr_pool_t *p;
    apr_status_t rv;

    if (!work->verify)
        return gh_vault_rewrap(made, work->vault, &from, work->p, result);
    apr_pool_create(&p, work->p);
    rv = gh_vault_open(&plain, work->vault, &from, row->identity, p, result);
    apr_pool_destroy(p);
    return rv;
}

/* Outside of the transaction, since a token may be slow. */
static void wrap_batch(work_t *work)
{
    int i;

    work->made = apr_array_make(work->p, BATCH, sizeof(gh_vaulted_t));
    for (i = 0; i < work->rows->nelts; i++) {
        const gh_vaulted_row_t *row = &APR_ARRAY_IDX(work->rows, i, gh_vaulted_row_t);
        gh_vaulted_t *made = apr_array_push(work->made);
        /* the first failure is the one that is told of */
        gh_result_t *result = work->progress->failed == 0 ? work->result : NULL;

        if (wrap_or_open(made, work, row, result) == APR_SUCCESS) {
            work->progress->done++;
        }
        else {
            made->key_id = NULL;
            work->progress->failed++;
        }
    }
}

/* All rows of a table under a key. */
static apr_status_t one_table(work_t *work, apr_pool_t *p)
{
    char after[64] = "";
    apr_status_t rv;
    int count;

    do {
        apr_pool_create(&work->p, p);
        work->after = after;
        rv = gh_store_read(work->store, list_work, work, work->result);
        count = rv == APR_SUCCESS ? work->rows->nelts : 0;
        if (count > 0) {
            wrap_batch(work);
            if (!work->verify)
                rv = gh_store_write(work->store, rewrap_work, work, work->result);
            apr_cpystrn(after, APR_ARRAY_IDX(work->rows, count - 1, gh_vaulted_row_t).id,
                        sizeof(after));
        }
        apr_pool_destroy(work->p);
    } while (rv == APR_SUCCESS && count == BATCH);
    return rv;
}

static apr_status_t all_rows(work_t *work, apr_pool_t *p)
{
    const char *current = gh_vault_current(work->vault);
    apr_array_header_t *keys;
    apr_status_t rv;
    int i, table;

    memset(work->progress, 0, sizeof(*work->progress));
    work->p = p;
    if ((rv = gh_store_read(work->store, keys_work, work, work->result)) != APR_SUCCESS)
        return rv;
    keys = work->keys;
    for (i = 0; i < keys->nelts; i++) {
        work->key_id = APR_ARRAY_IDX(keys, i, const char *);
        if (!work->verify && strcmp(work->key_id, current) == 0)
            continue;
        for (table = 0; table < GH_VAULTED_TABLES; table++) {
            work->table = (gh_vaulted_table_t)table;
            if ((rv = one_table(work, p)) != APR_SUCCESS)
                return rv;
        }
    }
    return work->progress->failed > 0 ? APR_EACCES : APR_SUCCESS;
}

static apr_status_t forget_work(gh_transaction_t *transaction, void *data)
{
    work_t *work = data;
    apr_int64_t count;
    apr_status_t rv;
    int i;

    rv = gh_vaulted_settings(transaction, "vault.check.", &work->keys, work->p);
    for (i = 0; rv == APR_SUCCESS && i < work->keys->nelts; i++) {
        const char *id = APR_ARRAY_IDX(work->keys, i, const char *);

        if (gh_vault_has(work->vault, id))
            continue;
        if ((rv = gh_vaulted_count(transaction, id, &count)) == APR_SUCCESS && count == 0)
            rv = gh_vaulted_forget(transaction, apr_pstrcat(work->p, "vault.check.", id, NULL));
    }
    return rv;
}

apr_status_t gh_vault_rotate(const gh_vault_t *vault, gh_store_t *store,
                             gh_vault_progress_t *progress, apr_pool_t *p, gh_result_t *result)
{
    work_t work = { .vault = vault, .store = store, .progress = progress, .result = result };
    apr_status_t rv = all_rows(&work, p);

    work.p = p;
    return rv == APR_SUCCESS ? gh_store_write(store, forget_work, &work, result) : rv;
}

apr_status_t gh_vault_verify(const gh_vault_t *vault, gh_store_t *store,
                             gh_vault_progress_t *progress, apr_pool_t *p, gh_result_t *result)
{
    work_t work = { .vault = vault, .store = store, .progress = progress, .result = result,
                    .verify = 1 };

    return all_rows(&work, p);
}
