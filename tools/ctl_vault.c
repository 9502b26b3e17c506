/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The vault: which keys there are and what needs them, rotation, verification. */

#include <string.h>

#include <apr_strings.h>

#include "audit.h"
#include "ctl_commands.h"
#include "ctl_output.h"
#include "ctl_verdict.h"
#include "escrow/vault.h"
#include "log.h"
#include "status.h"
#include "store/housekeeping.h"

#define RULE "vault"

/* Keys are read as the user that starts httpd, before this process becomes its children's. */
apr_status_t ctl_vault_load(const ctl_t *ctl, gh_vault_t **vault, gh_result_t *result)
{
    const apr_array_header_t *configured = ctl->config->vault_keys;
    gh_vault_key_t keys[GH_VAULT_KEYS_MAX];
    apr_status_t rv;
    int i;

    if (configured->nelts < 1 || configured->nelts > GH_VAULT_KEYS_MAX)
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                              "Name a key with EscrowVaultKey ID file:PATH.",
                              GHNO(1146) "no vault is configured");
    for (i = 0; i < configured->nelts; i++) {
        const ctl_vault_key_t *key = &APR_ARRAY_IDX(configured, i, ctl_vault_key_t);

        rv = gh_vault_key_open(&keys[i], key->id, key->source, ctl->p, result);
        if (rv != APR_SUCCESS)
            return rv;
    }
    return gh_vault_create(vault, keys, i, ctl->p, result);
}

static int open_vault(ctl_t *ctl, gh_vault_t **vault)
{
    gh_result_t result;
    int code = ctl_configure(ctl);

    if (code != CTL_OK)
        return code;
    gh_result_clear(&result);
    if (ctl_vault_load(ctl, vault, &result) != APR_SUCCESS) {
        ctl_fail(&result);
        return CTL_UNAVAILABLE;
    }
    if ((code = ctl_drop_privileges(ctl)) != CTL_OK)
        return code;
    gh_process_protect();
    if (ctl_open_store(ctl, &result) != APR_SUCCESS) {
        ctl_fail(&result);
        return CTL_UNAVAILABLE;
    }
    return CTL_OK;
}

static const char *state_of(const gh_vault_status_t *key)
{
    if (key->wrong)
        return "wrong";
    if (key->configured == 0)
        return key->rows > 0 ? "missing" : "gone";
    return key->configured == 2 ? "current" : "kept";
}

int ctl_vault_status(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    static const char *const headings[] = { "KEY", "STATE", "SECRETS", NULL };
    ctl_table_t *table = ctl_table_create(headings, ctl->p);
    apr_array_header_t *keys;
    gh_vault_t *vault;
    gh_result_t result;
    int code = open_vault(ctl, &vault), i;

    if (code != CTL_OK)
        return code;
    gh_result_clear(&result);
    if (gh_vault_status(vault, ctl->store, &keys, ctl->p, &result) != APR_SUCCESS)
        return ctl_fail(&result);
    for (i = 0; i < keys->nelts; i++) {
        const gh_vault_status_t *key = &APR_ARRAY_IDX(keys, i, gh_vault_status_t);
        const char *state = state_of(key);

        if (strcmp(state, "wrong") == 0 || strcmp(state, "missing") == 0)
            code = CTL_FAILED;
        if (ctl->json)
            ctl_json_print(stdout, json_pack("{s:s, s:s, s:I}", "key", key->id, "state", state,
                                             "secrets", (json_int_t)key->rows));
        else
            ctl_table_row(table, (const char *const []) {
                key->id, state, apr_psprintf(ctl->p, "%" APR_INT64_T_FMT, key->rows)
            });
    }
    if (!ctl->json)
        ctl_table_print(table, stdout);
    return code;
}

static void print_progress(const ctl_t *ctl, const char *done,
                           const gh_vault_progress_t *progress)
{
    if (ctl->json)
        ctl_json_print(stdout, json_pack("{s:I, s:I}", done, (json_int_t)progress->done, "failed",
                                         (json_int_t)progress->failed));
    else
        printf("%s: %" APR_INT64_T_FMT ", failed: %" APR_INT64_T_FMT "\n", done, progress->done,
               progress->failed);
}

typedef struct {
    const gh_audit_event_t *event;
    const char *line;
} audit_t;

static apr_status_t audit_work(gh_transaction_t *transaction, void *data)
{
    const audit_t *audit = data;

    return gh_audit_insert(transaction, audit->event, audit->line, 0);
}

static apr_status_t audit_rotation(ctl_t *ctl, const gh_vault_t *vault,
                                   const gh_vault_progress_t *progress, gh_result_t *result)
{
    gh_audit_event_t *event = ctl_event(ctl, "vault-rotate", ctl->p);
    audit_t audit = { event, NULL };

    event->message = apr_psprintf(ctl->p, "%" APR_INT64_T_FMT " secrets are under the key %s now, "
                                  "%" APR_INT64_T_FMT " failed", progress->done,
                                  gh_vault_current(vault), progress->failed);
    event->result = progress->failed > 0 ? "failed" : "done";
    audit.line = gh_audit_line(event, ctl->p);
    return gh_store_write(ctl->store, audit_work, &audit, result);
}

int ctl_vault_rotate(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    gh_vault_progress_t progress;
    gh_vault_t *vault;
    gh_result_t result;
    apr_status_t rv;
    int code = open_vault(ctl, &vault);

    if (code != CTL_OK)
        return code;
    gh_result_clear(&result);
    /* a wrong key must not wrap anything */
    if (gh_vault_check(vault, ctl->store, ctl->p, &result) != APR_SUCCESS)
        return ctl_fail(&result);
    rv = gh_vault_rotate(vault, ctl->store, &progress, ctl->p, &result);
    print_progress(ctl, "rotated", &progress);
    if (progress.done > 0 || progress.failed > 0) {
        gh_result_t other;

        gh_result_clear(&other);
        if (audit_rotation(ctl, vault, &progress, &other) != APR_SUCCESS)
            return ctl_fail(rv == APR_SUCCESS ? &other : &result);
    }
    return rv == APR_SUCCESS ? CTL_OK : ctl_fail(&result);
}

int ctl_vault_verify(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    gh_vault_progress_t progress;
    gh_vault_t *vault;
    gh_result_t result;
    apr_status_t rv;
    int code = open_vault(ctl, &vault);

    if (code != CTL_OK)
        return code;
    gh_result_clear(&result);
    rv = gh_vault_verify(vault, ctl->store, &progress, ctl->p, &result);
    print_progress(ctl, "good", &progress);
    if (rv == APR_SUCCESS)
        return CTL_OK;
    code = ctl_fail(&result);
    return progress.failed > 0 ? CTL_FAILED : code;
}
