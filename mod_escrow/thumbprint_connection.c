/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Certificates of connections: what has to be known of one is computed once. */

#include "mod_escrow/thumbprint.h"

#include <apr_atomic.h>
#include <apr_thread_mutex.h>
#include <http_connection.h>
#include <mod_ssl_openssl.h>

typedef struct {
    apr_sockaddr_t *peer;
    SSL *ssl;
    volatile apr_uint32_t kept;     /* client is that of certificate */
    X509 *certificate;              /* a reference, so that no other one gets its address */
    escrow_client_t client;
} connection_t;

/* Requests of one HTTP/2 connection run at the same time. */
static apr_thread_mutex_t *filling;

static conn_rec *real_connection(conn_rec *c)
{
    return c->master ? c->master : c;
}

static connection_t *connection_of(conn_rec *c)
{
    return ap_get_module_config(real_connection(c)->conn_config, &escrow_module);
}

static int pre_connection(conn_rec *c, void *socket)
{
    connection_t *connection;

    if (!c->master && !connection_of(c)) {
        connection = apr_pcalloc(c->pool, sizeof(*connection));
        connection->peer = c->client_addr;
        ap_set_module_config(c->conn_config, &escrow_module, connection);
    }
    return DECLINED;
}

static apr_status_t drop(void *data)
{
    connection_t *connection = data;

    X509_free(connection->certificate);
    connection->certificate = NULL;
    connection->ssl = NULL;
    return APR_SUCCESS;
}

static int pre_handshake(conn_rec *c, SSL *ssl, int is_proxy)
{
    connection_t *connection = is_proxy ? NULL : connection_of(c);

    if (connection && !connection->ssl) {
        connection->ssl = ssl;
        /* mod_ssl frees the SSL with the connection's pool, too */
        apr_pool_pre_cleanup_register(c->pool, connection, drop);
    }
    return 0;
}

apr_sockaddr_t *thumbprint_peer(conn_rec *c)
{
    const connection_t *connection = connection_of(c);

    return connection ? connection->peer : real_connection(c)->client_addr;
}

static const escrow_client_t *keep(connection_t *connection, X509 *certificate)
{
    apr_thread_mutex_lock(filling);
    if (!connection->kept && escrow_client_of(&connection->client, certificate)
        && X509_up_ref(certificate)) {
        connection->certificate = certificate;
        apr_atomic_set32(&connection->kept, 1);
    }
    apr_thread_mutex_unlock(filling);
    return connection->kept && connection->certificate == certificate ? &connection->client : NULL;
}

const escrow_client_t *thumbprint_of_connection(conn_rec *c, apr_pool_t *p)
{
    connection_t *connection = connection_of(c);
    const escrow_client_t *client = NULL;
    escrow_client_t *other;
    X509 *certificate;

    if (!connection || !connection->ssl) {
        return NULL;
    }
    certificate = SSL_get1_peer_certificate(connection->ssl);
    if (!certificate) {
        return NULL;
    }
    if (!apr_atomic_read32(&connection->kept)) {
        client = keep(connection, certificate);
    }
    else if (connection->certificate == certificate) {
        client = &connection->client;
    }
    if (!client) {
        /* a renegotiation has brought another certificate: that is not kept */
        other = apr_palloc(p, sizeof(*other));
        client = escrow_client_of(other, certificate) ? other : NULL;
    }
    X509_free(certificate);
    return client;
}

X509 *thumbprint_peer_certificate(conn_rec *c)
{
    connection_t *connection = connection_of(c);

    return connection && connection->ssl ? SSL_get1_peer_certificate(connection->ssl) : NULL;
}

static void child_init(apr_pool_t *pchild, server_rec *s)
{
    apr_thread_mutex_create(&filling, APR_THREAD_MUTEX_DEFAULT, pchild);
}

void thumbprint_connection_hooks(apr_pool_t *p)
{
    /* before mod_remoteip says that the peer is somebody else */
    ap_hook_pre_connection(pre_connection, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_child_init(child_init, NULL, NULL, APR_HOOK_FIRST);
    APR_OPTIONAL_HOOK(ssl, pre_handshake, pre_handshake, NULL, NULL, APR_HOOK_MIDDLE);
}
