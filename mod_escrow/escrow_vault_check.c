/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* A wrong key of the vault is found at the start, and not with the first credential. */

#include "mod_escrow/escrow_vault.h"

#include <unistd.h>

#include <apr_thread_proc.h>
#include <http_log.h>
#include <mod_unixd.h>
#include <unixd.h>

#include "log.h"
#include "mod_escrow/escrow_config.h"
#include "status.h"

APLOG_USE_MODULE(escrow);

/** @return exit status of the process that looks: 1: they are wrong; 2: it is not known */
static int look(apr_pool_t *parent, gh_result_t *result)
{
    const gatehouse_config_t *config = escrow_gatehouse()->config();
    gh_store_options_t options = { NULL, 1, 0, 0 };
    gh_store_t *store;
    gh_vault_t *vault;
    apr_pool_t *p;
    apr_status_t rv = apr_pool_create(&p, parent);

    if (rv == APR_SUCCESS) {
        rv = escrow_vault_make(&vault, p, result);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_store_open(&store, config->store, &options, p, result);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_vault_check(vault, store, p, result);
    }
    /* closes the store in its order */
    apr_pool_destroy(p);
    return rv == APR_SUCCESS ? 0 : rv == GH_EUNAVAILABLE || rv == GH_EBUSY ? 2 : 1;
}

/* The files of SQLite belong to the user of the children, and a token may be open to that user
 * alone. */
int escrow_vault_check(server_rec *s, apr_pool_t *ptemp)
{
    const escrow_global_t *global = escrow_global_now();
    int ends[2], code = 1;
    apr_exit_why_e why;
    gh_result_t result;
    apr_proc_t process;
    apr_status_t rv;

    if (!global || !global->vault_keys->nelts || !escrow_gatehouse()->config()->store) {
        return 0;
    }
    if (pipe(ends) != 0) {
        return 1;
    }
    gh_result_clear(&result);
    rv = apr_proc_fork(&process, ptemp);
    if (rv == APR_INCHILD) {
        close(ends[0]);
        code = geteuid() == 0 && ap_unixd_setup_child() != 0 ? 1 : look(ptemp, &result);
        if (code && write(ends[1], &result, sizeof(result)) != (ssize_t)sizeof(result)) {
            code = 1;
        }
        _exit(code);
    }
    close(ends[1]);
    if (rv == APR_INPARENT) {
        if (read(ends[0], &result, sizeof(result)) != (ssize_t)sizeof(result)) {
            gh_result_clear(&result);
        }
        apr_proc_wait(&process, &code, &why, APR_WAIT);
    }
    close(ends[0]);
    if (!code) {
        return 0;
    }
    if (code == 2) {
        ap_log_error(APLOG_MARK, APLOG_WARNING | APLOG_STARTUP, 0, s, GHNO(1170) "whether the keys "
                     "of the vault are those that were used before is not known: %s",
                     result.message);
        return 0;
    }
    ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, 0, s, GHNO(1171) "the vault cannot be "
                 "opened with these EscrowVaultKey: %s%s%s. %s", result.number,
                 *result.number ? ": " : "", result.message, result.action);
    return 1;
}

