/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_escrow/escrow_vault.h"

#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>
#include <openssl/core_dispatch.h>

#include "log.h"
#include "mod_escrow/escrow_config.h"
#include "x509/decoding.h"
#include "x509/key.h"

APLOG_USE_MODULE(escrow);

GH_DECODING_FILTER(decoding, gh_decoding_create_private)

static struct {
    gh_vault_t *vault;
    escrow_opener_t *opener;
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

void escrow_vault_child_init(apr_pool_t *pchild, server_rec *s)
{
    const escrow_global_t *global = escrow_global_now();
    gh_vault_t *vault = NULL;
    gh_result_t result;
    apr_status_t rv;

    child.vault = NULL;
    child.opener = NULL;
    if (!global || !global->vault_keys->nelts) {
        return;
    }
    gh_process_protect();
    gh_result_clear(&result);
    rv = escrow_vault_make(&vault, pchild, &result);
    if (parent) {
        gh_locked_wipe(parent);
    }
    if (rv != APR_SUCCESS
        || escrow_opener_create(&child.opener, gh_vault_locked(vault), decoding_context(pchild),
                                pchild, &result) != APR_SUCCESS) {
        child.opener = NULL;
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, s, GHNO(1172) "this process has no vault: %s: %s",
                     result.number, result.message);
        return;
    }
    child.vault = vault;
}

const gh_vault_t *escrow_vault(void)
{
    return child.vault;
}

const escrow_opener_t *escrow_opener(void)
{
    return child.opener;
}
