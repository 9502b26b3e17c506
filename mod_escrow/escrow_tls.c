/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* EscrowTLS: a virtual host whose certificate changes while httpd runs. mod_ssl gives the SSL_CTX
 * of each virtual host; OpenSSL calls back in every full handshake, once SNI has chosen. */

#include "mod_escrow/escrow_tls.h"

#include <string.h>

#include <apr_hash.h>
#include <apr_strings.h>
#include <apr_thread_rwlock.h>
#include <http_log.h>
#include <mod_ssl_openssl.h>

#include "log.h"
#include "mod_escrow/escrow_config.h"
#include "mod_escrow/escrow_endpoint.h"
#include "mod_escrow/escrow_vault.h"
#include "mod_escrow/thumbprint.h"

APLOG_USE_MODULE(escrow);

static struct {
    server_rec *server;
    apr_thread_rwlock_t *lock;      /* for what follows; NULL: not in use */
    apr_pool_t *pool;
    apr_hash_t *endpoints;          /* escrow_endpoint_t by name */
} child;

/** SSL_CTX by name, of the first virtual host that has it; of the configuration. */
static apr_hash_t *contexts;

const char *escrow_set_tls(cmd_parms *cmd, void *dir, const char *name)
{
    escrow_server_t *server = escrow_server(cmd->server);
    apr_array_header_t *names;
    int i;

    if (!gh_name_valid(name)) {
        return apr_psprintf(cmd->pool, GHNO(1178) "EscrowTLS takes the name of a certificate, of "
                            "1 to 64 characters of A-Z a-z 0-9 _ ~ -, not \"%s\"", name);
    }
    server->tls = name;
    names = escrow_global(cmd->pool)->tls_names;
    for (i = 0; i < names->nelts; ++i) {
        if (!strcmp(APR_ARRAY_IDX(names, i, const char *), name)) {
            return NULL;
        }
    }
    APR_ARRAY_PUSH(names, const char *) = name;
    return NULL;
}

int escrow_tls_check(server_rec *s)
{
    const escrow_global_t *global = escrow_global_now();

    if (!global || !global->tls_names->nelts || global->vault_keys->nelts) {
        return 0;
    }
    ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, 0, s, GHNO(1340) "EscrowTLS %s needs "
                 "EscrowVaultKey, under which the key of the certificate lies sealed",
                 APR_ARRAY_IDX(global->tls_names, 0, const char *));
    return 1;
}

int escrow_tls_used(void)
{
    const escrow_global_t *global = escrow_global_now();

    return global && global->tls_names->nelts && global->vault_keys->nelts;
}

void escrow_tls_child_init(apr_pool_t *pchild, server_rec *s)
{
    child.lock = NULL;
    child.endpoints = NULL;
    child.pool = NULL;
    child.server = s;
    if (escrow_tls_used() && apr_thread_rwlock_create(&child.lock, pchild) != APR_SUCCESS) {
        child.lock = NULL;
    }
}

void escrow_tls_publish(const apr_array_header_t *records)
{
    apr_hash_t *endpoints;
    apr_pool_t *pool, *former;
    int i;

    if (!child.lock || !escrow_vault() || apr_pool_create(&pool, NULL) != APR_SUCCESS) {
        return;
    }
    endpoints = apr_hash_make(pool);
    for (i = 0; i < records->nelts; ++i) {
        const gh_endpoint_record_t *record
            = APR_ARRAY_IDX(records, i, const gh_endpoint_record_t *);
        escrow_endpoint_t *endpoint;
        gh_result_t result;

        gh_result_clear(&result);
        if (escrow_endpoint_open(&endpoint, record, escrow_vault(), pool, &result)
            != APR_SUCCESS) {
            ap_log_error(APLOG_MARK, APLOG_ERR, 0, child.server, GHNO(1179) "the TLS certificate "
                         "%s of the store cannot be used, that of httpd's files is: %s: %s",
                         record->name, result.number, result.message);
            continue;
        }
        apr_hash_set(endpoints, apr_pstrdup(pool, record->name), APR_HASH_KEY_STRING, endpoint);
    }
    apr_thread_rwlock_wrlock(child.lock);
    former = child.pool;
    child.pool = pool;
    child.endpoints = endpoints;
    apr_thread_rwlock_unlock(child.lock);
    if (former) {
        apr_pool_destroy(former);
    }
}

/** A handshake goes on with what there is, whatever happens. */
static int choose(SSL *ssl, void *data)
{
    const server_rec *s = data;
    const escrow_server_t *server = escrow_server(s);
    const escrow_endpoint_t *endpoint;
    apr_pool_t *pool;

    if (!server->tls || !child.lock) {
        return 1;
    }
    if (apr_pool_create(&pool, NULL) != APR_SUCCESS) {
        return 1;
    }
    escrow_gatehouse()->begin_work_in(pool);
    /* opens it if it was away */
    (void)escrow_vault();
    thumbprint_refresh();
    apr_thread_rwlock_rdlock(child.lock);
    endpoint = child.endpoints ? apr_hash_get(child.endpoints, server->tls, APR_HASH_KEY_STRING)
                               : NULL;
    if (endpoint && !escrow_endpoint_use(endpoint, ssl)) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, child.server, GHNO(1180) "OpenSSL does not take the "
                     "TLS certificate %s of the store", server->tls);
    }
    apr_thread_rwlock_unlock(child.lock);
    escrow_gatehouse()->end_work();
    apr_pool_destroy(pool);
    return 1;
}

static apr_status_t forget_contexts(void *data)
{
    contexts = NULL;
    return APR_SUCCESS;
}

static int init_server(server_rec *s, apr_pool_t *p, int is_proxy, SSL_CTX *context)
{
    const char *name = is_proxy || !escrow_tls_used() ? NULL : escrow_server(s)->tls;

    if (!name) {
        return 0;
    }
    SSL_CTX_set_cert_cb(context, choose, s);
    if (!contexts) {
        contexts = apr_hash_make(p);
        apr_pool_cleanup_register(p, NULL, forget_contexts, apr_pool_cleanup_null);
    }
    if (!apr_hash_get(contexts, name, APR_HASH_KEY_STRING)) {
        apr_hash_set(contexts, name, APR_HASH_KEY_STRING, context);
    }
    return 0;
}

static int is_known(const apr_array_header_t *records, const char *name)
{
    int i;

    for (i = 0; i < records->nelts; ++i) {
        if (!strcmp(APR_ARRAY_IDX(records, i, const gh_endpoint_record_t *)->name, name)) {
            return 1;
        }
    }
    return 0;
}

void escrow_tls_add_files(apr_array_header_t *records, apr_pool_t *p)
{
    const apr_array_header_t *names = escrow_global_now()->tls_names;
    int i;

    for (i = 0; contexts && i < names->nelts; ++i) {
        const char *name = APR_ARRAY_IDX(names, i, const char *);
        SSL_CTX *context = apr_hash_get(contexts, name, APR_HASH_KEY_STRING);
        gh_endpoint_record_t *record;

        if (!context || is_known(records, name)) {
            continue;
        }
        record = apr_pcalloc(p, sizeof(*record));
        record->name = name;
        if (escrow_endpoint_of_context(&record->chain, context, p) == APR_SUCCESS) {
            APR_ARRAY_PUSH(records, gh_endpoint_record_t *) = record;
        }
    }
}

void escrow_tls_hooks(apr_pool_t *p)
{
    APR_OPTIONAL_HOOK(ssl, init_server, init_server, NULL, NULL, APR_HOOK_MIDDLE);
}
