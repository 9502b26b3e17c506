/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "tls_server.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <apr_strings.h>
#include <openssl/ssl.h>

#include "x509/key.h"

#define REQUEST_MAX 65536

struct tls_server {
    SSL_CTX *context;
    int listener;
    int stop[2];
    char url[64];
    const char *script;
    pthread_t thread;
    pthread_mutex_t mutex;
    int requests;
    int connections;
    int open;
    char last[REQUEST_MAX];
    char client[256];
};

X509 *tls_certificate(const gh_ca_t *ca, EVP_PKEY *ca_key, EVP_PKEY *key, const char *name,
                      const char *san)
{
    X509 *certificate = X509_new();
    X509_NAME *subject = X509_NAME_new();
    X509_EXTENSION *extension = san ? X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, san)
                                    : NULL;

    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), rand());
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_subject_name(certificate, subject);
    X509_set_issuer_name(certificate, X509_get_subject_name(gh_ca_certificate(ca)));
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    X509_set_pubkey(certificate, key);
    if (extension) {
        X509_add_ext(certificate, extension, -1);
    }
    assert_true(X509_sign(certificate, ca_key, EVP_sha256()) > 0);
    X509_NAME_free(subject);
    X509_EXTENSION_free(extension);
    return gh_own_certificate(test_pool, certificate);
}

/* Reads one request. @return 0 at the end of the connection */
static int read_request(SSL *ssl, char *text)
{
    size_t length = 0, body = 0;
    const char *end = NULL, *field;

    while (length < REQUEST_MAX - 1) {
        int count = SSL_read(ssl, text + length, (int)(REQUEST_MAX - 1 - length));

        if (count <= 0) {
            return 0;
        }
        length += (size_t)count;
        text[length] = '\0';
        end = strstr(text, "\r\n\r\n");
        if (end) {
            field = strstr(text, "Content-Length: ");
            body = field ? (size_t)strtoul(field + 16, NULL, 10) : 0;
            if (length >= (size_t)(end + 4 - text) + body) {
                return 1;
            }
        }
    }
    return 0;
}

static void send_text(SSL *ssl, const char *text)
{
    SSL_write(ssl, text, (int)strlen(text));
}

static void send_date(SSL *ssl)
{
    char date[APR_RFC822_DATE_LEN], text[256];

    apr_rfc822_date(date, apr_time_now() + apr_time_from_sec(60));
    apr_snprintf(text, sizeof(text), "HTTP/1.1 503 Busy\r\nRetry-After: %s\r\n"
                 "Content-Length: 0\r\n\r\n", date);
    send_text(ssl, text);
}

static void send_long(SSL *ssl)
{
    char piece[1024];
    int i;

    memset(piece, 'x', sizeof(piece));
    send_text(ssl, "HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n");
    for (i = 0; i < 64; ++i) {
        SSL_write(ssl, piece, (int)sizeof(piece));
    }
}

/* @return 0 if the connection is to be closed */
static int answer(tls_server_t *server, SSL *ssl, char letter)
{
    struct pollfd stop = { .fd = server->stop[0], .events = POLLIN };

    switch (letter) {
    case 'a':
    case 'q':
        send_text(ssl, "HTTP/1.1 200 OK\r\nContent-Type: text/x\r\nContent-Length: 2\r\n\r\nok");
        return letter == 'a';
    case 't':
        send_text(ssl, "HTTP/1.1 200 OK\r\nContent-Type: text/x\r\nContent-Length: 2\r\n\r\nok");
        send_text(ssl, "HTTP/1.1 404 Surplus\r\nContent-Length: 0\r\n\r\n");
        return 1;
    case 'r':
        send_text(ssl, "HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n");
        return 1;
    case 'd':
        send_date(ssl);
        return 1;
    case 'l':
        send_long(ssl);
        return 1;
    case 'p':
        send_text(ssl, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"half\"");
        return 0;
    case 'm':
        send_text(ssl, "HTTP/1.1 302 Moved\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n");
        return 1;
    case 'h':
        poll(&stop, 1, -1);
        return 0;
    default:
        return 0;
    }
}

static void note_client(tls_server_t *server, SSL *ssl)
{
    X509 *certificate = SSL_get1_peer_certificate(ssl);

    server->client[0] = '\0';
    if (certificate) {
        X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName,
                                  server->client, (int)sizeof(server->client));
    }
    X509_free(certificate);
}

typedef struct {
    tls_server_t *server;
    int connection;
} connection_t;

static void *serve(void *baton)
{
    tls_server_t *server = ((connection_t *)baton)->server;
    int connection = ((connection_t *)baton)->connection;
    char *text = malloc(REQUEST_MAX);
    SSL *ssl = SSL_new(server->context);
    char letter = 'a';
    int goes_on = 1;

    SSL_set_fd(ssl, connection);
    if (SSL_accept(ssl) == 1) {
        pthread_mutex_lock(&server->mutex);
        ++server->connections;
        pthread_mutex_unlock(&server->mutex);
        while (goes_on && read_request(ssl, text)) {
            pthread_mutex_lock(&server->mutex);
            apr_cpystrn(server->last, text, sizeof(server->last));
            note_client(server, ssl);
            letter = server->requests < (int)strlen(server->script)
                ? server->script[server->requests] : 'a';
            ++server->requests;
            pthread_mutex_unlock(&server->mutex);
            goes_on = answer(server, ssl, letter);
        }
    }
    SSL_free(ssl);
    close(connection);
    free(text);
    free(baton);
    pthread_mutex_lock(&server->mutex);
    --server->open;
    pthread_mutex_unlock(&server->mutex);
    return NULL;
}

static void *run_server(void *baton)
{
    tls_server_t *server = baton;
    struct pollfd both[2] = {
        { .fd = server->listener, .events = POLLIN }, { .fd = server->stop[0], .events = POLLIN }
    };

    while (poll(both, 2, -1) > 0 && !both[1].revents) {
        connection_t *one = malloc(sizeof(*one));
        struct timeval patience = { .tv_usec = 300000 };
        pthread_t thread;

        one->server = server;
        one->connection = accept(server->listener, NULL, NULL);
        setsockopt(one->connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        pthread_mutex_lock(&server->mutex);
        ++server->open;
        pthread_mutex_unlock(&server->mutex);
        pthread_create(&thread, NULL, serve, one);
        pthread_detach(thread);
    }
    return NULL;
}

/* Lets the client go ahead, who is done with the handshake of TLS 1.3 before the server is. */
static void be_slow(const SSL *ssl, int where, int status)
{
    if (where == SSL_CB_ACCEPT_LOOP && SSL_get_state(ssl) == TLS_ST_SW_FINISHED) {
        apr_sleep(apr_time_from_msec(100));
    }
}

tls_server_t *tls_server_start(const char *script, int demand, const gh_ca_t *ca)
{
    tls_server_t *server = apr_pcalloc(test_pool, sizeof(*server));
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t length = sizeof(address);
    EVP_PKEY *key = fixture_key("p256-01");

    server->script = script;
    server->context = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_PrivateKey(server->context, key), 1);
    assert_int_equal(SSL_CTX_use_certificate(server->context, tls_certificate(
                         ca, fixture_key("rsa2048-01"), key, "server", "IP:127.0.0.1")), 1);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(server->context), gh_ca_certificate(ca));
    SSL_CTX_set_verify(server->context, SSL_VERIFY_PEER
                       | (demand ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), NULL);
    if (demand) {
        SSL_CTX_set_info_callback(server->context, be_slow);
    }
    SSL_CTX_set_session_id_context(server->context, (const unsigned char *)"test", 4);
    server->listener = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(server->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(server->listener, 16), 0);
    getsockname(server->listener, (struct sockaddr *)&address, &length);
    apr_snprintf(server->url, sizeof(server->url), "https://127.0.0.1:%d",
                 (int)ntohs(address.sin_port));
    assert_int_equal(pipe(server->stop), 0);
    pthread_mutex_init(&server->mutex, NULL);
    assert_int_equal(pthread_create(&server->thread, NULL, run_server, server), 0);
    return server;
}

void tls_server_stop(tls_server_t *server)
{
    close(server->stop[1]);
    pthread_join(server->thread, NULL);
    for (;;) {
        int open;

        pthread_mutex_lock(&server->mutex);
        open = server->open;
        pthread_mutex_unlock(&server->mutex);
        if (!open) {
            break;
        }
        apr_sleep(apr_time_from_msec(5));
    }
    close(server->stop[0]);
    close(server->listener);
    SSL_CTX_free(server->context);
}

const char *tls_server_url(const tls_server_t *server)
{
    return server->url;
}

int tls_server_requests(tls_server_t *server)
{
    int count;

    pthread_mutex_lock(&server->mutex);
    count = server->requests;
    pthread_mutex_unlock(&server->mutex);
    return count;
}

int tls_server_connections(tls_server_t *server)
{
    int count;

    pthread_mutex_lock(&server->mutex);
    count = server->connections;
    pthread_mutex_unlock(&server->mutex);
    return count;
}

const char *tls_server_last(tls_server_t *server)
{
    return server->last;
}

const char *tls_server_client(tls_server_t *server)
{
    return server->client;
}
