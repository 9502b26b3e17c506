/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Check values: a wrong or missing key is found at start. */

#include <string.h>

#include <apr_strings.h>

#include "escrow/vault_keys.h"
#include "log.h"
#include "status.h"
#include "store/housekeeping.h"
#include "store/vaulted.h"

/** What is sealed as the check value of a key. */
static const char known[] = "gatehouse vault";

/** Everything that a look at the store gives, for all keys. */
typedef struct {
    const gh_vault_t *vault;
    const char *values[GH_VAULT_KEYS_MAX];  /* by key; NULL: not there */
    const char *made[GH_VAULT_KEYS_MAX];    /* to be stored where there is none */
    apr_array_header_t *used;               /* const char * */
    apr_pool_t *p;
} look_t;

static const char *setting_of(const char *id, apr_pool_t *p)
{
    return apr_pstrcat(p, "vault.check.", id, NULL);
}

/* "wrapped:sealed", hexadecimal. */
static apr_status_t make_value(const char **value, gh_vault_t *vault, const vault_key_t *key,
                               apr_pool_t *p, gh_result_t *result)
{
    gh_bytes_t plain = { (const unsigned char *)known, sizeof(known) };
    gh_vaulted_t made;
    apr_status_t rv = vault_seal_with(&made, vault, key, plain, setting_of(key->id, p), p, result);

    if (rv == APR_SUCCESS)
        *value = apr_pstrcat(p, gh_hex(p, made.wrapped.data, made.wrapped.length), ":",
                             gh_hex(p, made.sealed.data, made.sealed.length), NULL);
    return rv;
}

static int value_is_right(const gh_vault_t *vault, const vault_key_t *key, const char *value,
                          apr_pool_t *p)
{
    const char *colon = strchr(value, ':');
    gh_vaulted_t row = { key->id, { NULL, 0 }, { NULL, 0 } };
    gh_bytes_t plain;

    return colon != NULL
        && gh_hex_parse(&row.wrapped, apr_pstrmemdup(p, value, (apr_size_t)(colon - value)), p)
           == APR_SUCCESS
        && gh_hex_parse(&row.sealed, colon + 1, p) == APR_SUCCESS
        && gh_vault_open(&plain, vault, &row, setting_of(key->id, p), p, NULL) == APR_SUCCESS
        && plain.length == sizeof(known) && memcmp(plain.data, known, sizeof(known)) == 0;
}

static apr_status_t look_work(gh_transaction_t *transaction, void *data)
{
    look_t *look = data;
    apr_status_t rv;
    int i;

    for (i = 0; i < look->vault->count; i++) {
        look->values[i] = NULL;
        rv = gh_setting_get(transaction, setting_of(look->vault->keys[i].id, look->p),
                            &look->values[i], look->p);
        if (rv != APR_SUCCESS && rv != APR_NOTFOUND)
            return rv;
    }
    return gh_vaulted_keys(transaction, &look->used, look->p);
}

/* Another process may have been faster: its value stays, and is looked at afterwards. */
static apr_status_t store_work(gh_transaction_t *transaction, void *data)
{
    look_t *look = data;
    const char *value;
    apr_status_t rv;
    int i;

    for (i = 0; i < look->vault->count; i++) {
        const char *setting = setting_of(look->vault->keys[i].id, look->p);

        rv = gh_setting_get(transaction, setting, &value, look->p);
        if (rv == APR_NOTFOUND && look->made[i] != NULL)
            rv = gh_setting_put(transaction, setting, look->made[i]);
        if (rv != APR_SUCCESS && rv != APR_NOTFOUND)
            return rv;
    }
    return look_work(transaction, data);
}

static apr_status_t add_missing(look_t *look, gh_store_t *store, gh_result_t *result)
{
    apr_status_t rv;
    int i, missing = 0;

    for (i = 0; i < look->vault->count; i++) {
        if (look->values[i] != NULL)
            continue;
        missing = 1;
        rv = make_value(&look->made[i], (gh_vault_t *)look->vault, &look->vault->keys[i], look->p,
                        result);
        if (rv != APR_SUCCESS)
            return rv;
    }
    return missing ? gh_store_write(store, store_work, look, result) : APR_SUCCESS;
}

apr_status_t gh_vault_check(const gh_vault_t *vault, gh_store_t *store, apr_pool_t *p,
                            gh_result_t *result)
{
    look_t look = { .vault = vault, .p = p };
    apr_status_t rv;
    int i;

    if ((rv = gh_store_read(store, look_work, &look, result)) != APR_SUCCESS)
        return rv;
    for (i = 0; i < look.used->nelts; i++) {
        const char *id = APR_ARRAY_IDX(look.used, i, const char *);

        if (!gh_vault_has(vault, id))
            return gh_result_fail(result, APR_NOTFOUND, GH_FAILURE_UNAVAILABLE, "vault.key",
                                  "Configure it again behind the current one; gatehousectl vault "
                                  "rotate makes it unnecessary.",
                                  GHNO(1144) "credentials are sealed under the vault's key %.64s, "
                                  "which is not configured", id);
    }
    if ((rv = add_missing(&look, store, result)) != APR_SUCCESS)
        return rv;
    for (i = 0; i < vault->count; i++) {
        if (look.values[i] != NULL && !value_is_right(vault, &vault->keys[i], look.values[i], p))
            return gh_result_fail(result, APR_EACCES, GH_FAILURE_INTEGRITY, "vault.key",
                                  "Restore the key that had this name; give another key another "
                                  "name.",
                                  GHNO(1145) "the vault's key %s is not the one that was used "
                                  "under this name before", vault->keys[i].id);
    }
    return APR_SUCCESS;
}

/* For people: all keys, with what is wrapped under them. */

typedef struct {
    look_t look;
    apr_array_header_t *settings;       /* const char *: keys with check values */
    apr_array_header_t *keys;           /* gh_vault_status_t */
} status_t;

static int has(const apr_array_header_t *names, const char *name)
{
    int i;

    for (i = 0; i < names->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(names, i, const char *), name) == 0)
            return 1;
    }
    return 0;
}

static apr_status_t add_status(gh_transaction_t *transaction, status_t *status, const char *id)
{
    gh_vault_status_t *one;
    int i;

    for (i = 0; i < status->keys->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(status->keys, i, gh_vault_status_t).id, id) == 0)
            return APR_SUCCESS;
    }
    one = apr_array_push(status->keys);
    one->id = id;
    one->configured = gh_vault_has(status->look.vault, id);
    one->checked = has(status->settings, id);
    one->wrong = 0;
    return gh_vaulted_count(transaction, id, &one->rows);
}

static apr_status_t status_work(gh_transaction_t *transaction, void *data)
{
    status_t *status = data;
    const gh_vault_t *vault = status->look.vault;
    apr_status_t rv = look_work(transaction, &status->look);
    int i;

    if (rv == APR_SUCCESS)
        rv = gh_vaulted_settings(transaction, "vault.check.", &status->settings, status->look.p);
    status->keys = apr_array_make(status->look.p, 4, sizeof(gh_vault_status_t));
    for (i = 0; rv == APR_SUCCESS && i < vault->count; i++)
        rv = add_status(transaction, status, vault->keys[i].id);
    for (i = 0; rv == APR_SUCCESS && i < status->look.used->nelts; i++)
        rv = add_status(transaction, status, APR_ARRAY_IDX(status->look.used, i, const char *));
    for (i = 0; rv == APR_SUCCESS && i < status->settings->nelts; i++)
        rv = add_status(transaction, status, APR_ARRAY_IDX(status->settings, i, const char *));
    return rv;
}

apr_status_t gh_vault_status(const gh_vault_t *vault, gh_store_t *store,
                             apr_array_header_t **keys, apr_pool_t *p, gh_result_t *result)
{
    status_t status = { .look = { .vault = vault, .p = p } };
    apr_status_t rv = gh_store_read(store, status_work, &status, result);
    int i;

    if (rv != APR_SUCCESS)
        return rv;
    for (i = 0; i < vault->count; i++) {
        const char *value = status.look.values[i];

        APR_ARRAY_IDX(status.keys, i, gh_vault_status_t).wrong
            = value != NULL && !value_is_right(vault, &vault->keys[i], value, p);
    }
    APR_ARRAY_IDX(status.keys, 0, gh_vault_status_t).configured = 2;
    *keys = status.keys;
    return APR_SUCCESS;
}
