/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_escrow_escrow_vault_h
#define mod_escrow_escrow_vault_h

#include <httpd.h>
#include <http_config.h>

#include "escrow/vault.h"
#include "mod_escrow/escrow_pkcs12.h"

/* EscrowVaultKey, and the vault of a child. */

/** As configured; for the dump, and for the worker. */
typedef struct {
    const char *id;
    const char *source;             /* "file:PATH", "exec:PATH" or "pkcs11:..." */
    gh_vault_key_t key;             /* id NULL: not loaded, see token */
    int token;                      /* is opened by the process that uses it */
    const char *file;               /* where the directive stands */
    int line;
} escrow_vault_key_t;

const char *escrow_set_vault_key(cmd_parms *cmd, void *dir, const char *id, const char *source);

/** In check_config: loads keys. @return number of problems */
int escrow_vault_load(server_rec *s, apr_pool_t *pconf);
/** The vault of a process that was started after the configuration was read. */
apr_status_t escrow_vault_make(gh_vault_t **vault, apr_pool_t *p, gh_result_t *result);
/** In post_config: compares keys with what the store has been sealed under, as the user of the
 *  children. @return number of problems */
int escrow_vault_check(server_rec *s, apr_pool_t *ptemp);
/** Makes the vault of a child, which nobody can dump from then on. */
void escrow_vault_child_init(apr_pool_t *pchild, server_rec *s);

/** In a child; NULL if there is no EscrowVaultKey, or it cannot be had. A token that was away when
 *  the child began is tried again, by one thread at a time and every ten seconds at most. */
const gh_vault_t *escrow_vault(void);
/** What opens and makes PKCS#12; NULL without a vault. */
const escrow_opener_t *escrow_opener(void);

#endif /* mod_escrow_escrow_vault_h */
