/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_escrow/escrow_vault.h"

#include <string.h>

#include <apr_atomic.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>
#include <openssl/core_dispatch.h>

#include "log.h"
#include "mod_escrow/escrow_config.h"
#include "mod_escrow/thumbprint.h"
#include "pool.h"
#include "status.h"
#include "x509/decoding.h"
#include "x509/key.h"

APLOG_USE_MODULE(escrow);

GH_DECODING_FILTER(decoding, gh_decoding_create_private)

/** A vault that could not be opened is tried again at most that often. */
#define TRY_INTERVAL apr_time_from_sec(10)

static struct {
    server_rec *server;
    gh_vault_t *vault;              /* set last */
    escrow_opener_t *opener;
    apr_pool_t *pool;               /* above those of attempts */
    int again;                      /* it may be there another time */
    apr_time_t tried;               /* by the monotonic clock */
    volatile apr_uint32_t trying;
} child;

/** Where the parent has its keys; a page is enough for GH_VAULT_KEYS_MAX of them. */
#define PARENT_SIZE 4096

static gh_locked_t *parent;

const char *escrow_set_vault_key(cmd_parms *cmd, void *dir, const char *id, const char *source)
{
    escrow_global_t *global = escrow_global(cmd->pool);
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    escrow_vault_key_t *key;
    int i;

    if (error) {
        return error;
    }
    if (!gh_vault_id_valid(id)) {
        return apr_psprintf(cmd->pool, GHNO(1167) "\"%s\" cannot be the name of a key: 1 to %d of "
                            "A-Z a-z 0-9 _ . -", id, GH_VAULT_ID_MAX);
    }
    for (i = 0; i < global->vault_keys->nelts; ++i) {
        if (!strcmp(APR_ARRAY_IDX(global->vault_keys, i, escrow_vault_key_t *)->id, id)) {
            return apr_psprintf(cmd->pool, GHNO(1168) "there are two EscrowVaultKey %s: give each "
                                "a name of its own", id);
        }
    }
    if (global->vault_keys->nelts >= GH_VAULT_KEYS_MAX) {
        return apr_psprintf(cmd->pool, GHNO(1169) "there may be %d EscrowVaultKey; remove those "
                            "that gatehousectl vault status does not name", GH_VAULT_KEYS_MAX);
    }
    key = apr_pcalloc(cmd->pool, sizeof(*key));
    key->id = id;
    key->source = source;
    key->token = gh_key_is_token(source);
    key->file = cmd->directive->filename;
    key->line = cmd->directive->line_num;
    APR_ARRAY_PUSH(global->vault_keys, escrow_vault_key_t *) = key;
    return NULL;
}

static void complain(server_rec *s, const gh_result_t *result)
{
    ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, 0, s, "%s: %s. %s", result->number,
                 result->message, result->action);
}

static apr_status_t forget_parent(void *data)
{
    parent = NULL;
    return APR_SUCCESS;
}

/** Keys lie in locked memory in the parent, too, which nobody can dump any more. Children get it
 *  with the fork, and empty it when they have a vault of their own. */
static apr_status_t load_key(escrow_vault_key_t *key, apr_pool_t *pconf, gh_result_t *result)
{
    gh_vault_key_t opened;
    apr_pool_t *ptemp;
    apr_status_t rv = APR_SUCCESS;

    gh_process_protect();
    if (!parent && (rv = gh_locked_create(&parent, PARENT_SIZE, pconf, result)) == APR_SUCCESS) {
        gh_locked_inherit(parent);
        apr_pool_cleanup_register(pconf, NULL, forget_parent, apr_pool_cleanup_null);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    apr_pool_create(&ptemp, pconf);
    rv = gh_vault_key_open(&opened, key->id, key->source, ptemp, result);
    if (rv == APR_SUCCESS) {
        key->key.secret = gh_locked_copy(parent, opened.secret.data, opened.secret.length, pconf);
        key->key.id = key->key.secret.data ? key->id : NULL;
        rv = key->key.id ? APR_SUCCESS : APR_ENOMEM;
    }
    apr_pool_destroy(ptemp);
    return rv;
}

int escrow_vault_load(server_rec *s, apr_pool_t *pconf)
{
    const escrow_global_t *global = escrow_global_now();
    int problems = 0, i;

    for (i = 0; global && i < global->vault_keys->nelts; ++i) {
        escrow_vault_key_t *key = APR_ARRAY_IDX(global->vault_keys, i, escrow_vault_key_t *);
        gh_result_t result;

        gh_result_clear(&result);
        if (!key->token && !key->key.id
            && load_key(key, pconf, &result) != APR_SUCCESS
            && !escrow_gatehouse()->dump_problem(pconf, NULL, "EscrowVaultKey", key->file,
                                                 key->line, &result)) {
            complain(s, &result);
            ++problems;
        }
    }
    return problems;
}

apr_status_t escrow_vault_make(gh_vault_t **vault, apr_pool_t *p, gh_result_t *result)
{
    const escrow_global_t *global = escrow_global_now();
    gh_vault_key_t keys[GH_VAULT_KEYS_MAX];
    apr_status_t rv = APR_SUCCESS;
    int i;

    for (i = 0; rv == APR_SUCCESS && i < global->vault_keys->nelts; ++i) {
        const escrow_vault_key_t *key
            = APR_ARRAY_IDX(global->vault_keys, i, const escrow_vault_key_t *);

        keys[i] = key->key;
        if (key->token) {
            rv = gh_vault_key_open(&keys[i], key->id, key->source, p, result);
        }
    }
    return rv == APR_SUCCESS ? gh_vault_create(vault, keys, i, p, result) : rv;
}

/* A child */

static apr_status_t open_vault(gh_result_t *result)
{
    gh_vault_t *vault = NULL;
    escrow_opener_t *opener;
    apr_pool_t *p;              /* of this attempt: what was opened goes with it */
    apr_status_t rv = apr_pool_create(&p, child.pool);

    gh_result_clear(result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = escrow_vault_make(&vault, p, result);
    if (rv == APR_SUCCESS) {
        rv = escrow_opener_create(&opener, gh_vault_locked(vault), decoding_context(p), p, result);
    }
    if (rv != APR_SUCCESS) {
        apr_pool_destroy(p);
        return rv;
    }
    if (parent) {
        gh_locked_wipe(parent);
    }
    child.opener = opener;
    __atomic_store_n(&child.vault, vault, __ATOMIC_RELEASE);
    return APR_SUCCESS;
}

/** What may be there another time; a PIN that was refused is never sent twice, for that locks
 *  tokens. */
static int may_come_back(apr_status_t rv)
{
    return rv == GH_EUNAVAILABLE;
}

void escrow_vault_child_init(apr_pool_t *pchild, server_rec *s)
{
    const escrow_global_t *global = escrow_global_now();
    gh_result_t result;
    apr_status_t rv;

    memset(&child, 0, sizeof(child));
    if (!global || !global->vault_keys->nelts) {
        return;
    }
    gh_process_protect();
    child.server = s;
    gh_result_clear(&result);
    rv = gh_pool_create_below(&child.pool, pchild, "escrow_vault");
    if (rv == APR_SUCCESS) {
        rv = open_vault(&result);
    }
    if (rv == APR_SUCCESS) {
        return;
    }
    child.again = may_come_back(rv);
    child.tried = thumbprint_clock();
    if (parent && child.again) {
        gh_locked_again(parent);
    }
    else if (parent) {
        gh_locked_wipe(parent);
    }
    ap_log_error(APLOG_MARK, APLOG_ERR, 0, s, GHNO(1172) "this process has no vault: %s: %s%s",
                 result.number, result.message,
                 child.again ? "; it looks again when it is asked for" : "");
}

/** One thread tries it, and the others go on without. */
static void try_again(void)
{
    gh_result_t result;
    apr_status_t rv;

    if (thumbprint_clock() - __atomic_load_n(&child.tried, __ATOMIC_ACQUIRE) < TRY_INTERVAL
        || apr_atomic_cas32(&child.trying, 1, 0) != 0) {
        return;
    }
    /* another one may have been at it in between */
    if (!child.vault && child.again && thumbprint_clock() - child.tried >= TRY_INTERVAL) {
        rv = open_vault(&result);
        __atomic_store_n(&child.tried, thumbprint_clock(), __ATOMIC_RELEASE);
        if (rv == APR_SUCCESS) {
            ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, child.server, GHNO(1517) "this process has "
                         "opened the vault, which it could not when it began");
            /* TLS certificates of the store, too, can be had from now on */
            thumbprint_pins_look_again();
        }
        else {
            ap_log_error(APLOG_MARK, may_come_back(rv) ? APLOG_INFO : APLOG_ERR, 0, child.server,
                         GHNO(1518) "this process still has no vault: %s: %s", result.number,
                         result.message);
            child.again = may_come_back(rv);
        }
    }
    apr_atomic_set32(&child.trying, 0);
}

const gh_vault_t *escrow_vault(void)
{
    const gh_vault_t *vault = __atomic_load_n(&child.vault, __ATOMIC_ACQUIRE);

    if (!vault && child.again) {
        try_again();
        vault = __atomic_load_n(&child.vault, __ATOMIC_ACQUIRE);
    }
    return vault;
}

const escrow_opener_t *escrow_opener(void)
{
    return escrow_vault() ? child.opener : NULL;
}
