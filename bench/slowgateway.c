/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * A CA gateway that takes its time: mutual TLS, enrolments only. Each is answered after the latency
 * with a certificate that it signs; a thread for each connection. SIGUSR1: from now on nothing is
 * answered; SIGUSR2: all is, at once; SIGHUP: after the latency, as in the beginning. With SIGTERM
 * it ends and prints what it has done.
 */

#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "bench/support.h"

#define MESSAGE_MAX 65536
#define STACK_SIZE 262144
#define ENROLMENTS "/enrollments"

static struct {
    SSL_CTX *context;
    X509 *ca;
    EVP_PKEY *key;
    double latency;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int hangs;
    int hurries;
    size_t issued, connections, running, most;
} gateway = { .mutex = PTHREAD_MUTEX_INITIALIZER };

typedef struct {
    SSL *ssl;
    char data[MESSAGE_MAX + 1];
    size_t length;
} connection_t;

/* Certificates */

static void add_extension(X509 *certificate, int nid, const char *value)
{
    X509_EXTENSION *extension;
    X509V3_CTX context;

    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, gateway.ca, certificate, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bench_need(extension && X509_add_ext(certificate, extension, -1), "adding an extension");
    X509_EXTENSION_free(extension);
}

static void copy_names(X509 *certificate, X509_REQ *request)
{
    STACK_OF(X509_EXTENSION) *asked = X509_REQ_get_extensions(request);
    int at = X509v3_get_ext_by_NID(asked, NID_subject_alt_name, -1);

    bench_need(at < 0 || X509_add_ext(certificate, X509v3_get_ext(asked, at), -1),
               "copying names");
    sk_X509_EXTENSION_pop_free(asked, X509_EXTENSION_free);
}

static X509 *issue(X509_REQ *request)
{
    X509 *certificate = X509_new();
    uint64_t serial;

    bench_need(RAND_bytes((unsigned char *)&serial, sizeof(serial)) == 1, "getting random bytes");
    serial |= 1;
    bench_need(certificate && X509_set_version(certificate, X509_VERSION_3)
               && ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial)
               && X509_gmtime_adj(X509_getm_notBefore(certificate), -3600)
               && X509_gmtime_adj(X509_getm_notAfter(certificate), 300 * 86400L)
               && X509_set_subject_name(certificate, X509_REQ_get_subject_name(request))
               && X509_set_issuer_name(certificate, X509_get_subject_name(gateway.ca))
               && X509_set_pubkey(certificate, X509_REQ_get0_pubkey(request)),
               "making a certificate");
    add_extension(certificate, NID_basic_constraints, "critical,CA:FALSE");
    add_extension(certificate, NID_key_usage, "critical,digitalSignature,keyEncipherment");
    add_extension(certificate, NID_subject_key_identifier, "hash");
    add_extension(certificate, NID_authority_key_identifier, "keyid");
    copy_names(certificate, request);
    bench_need(X509_sign(certificate, gateway.key, EVP_sha256()) > 0, "signing a certificate");
    return certificate;
}

/** @return what is to be freed, NULL if there is no request */
static X509_REQ *read_request(json_t *json)
{
    const char *text = json_string_value(json_object_get(json, "csr"));
    size_t length = text ? strlen(text) : 0;
    unsigned char *der = malloc(length + 1);
    const unsigned char *at = der;
    X509_REQ *request = NULL;
    int got;

    bench_need(der != NULL, "getting memory");
    got = length ? EVP_DecodeBlock(der, (const unsigned char *)text, (int)length) : 0;
    if (got > 0) {
        request = d2i_X509_REQ(NULL, &at, got);
    }
    free(der);
    return request;
}

/** @return JSON, to be freed */
static char *answer_enrolment(X509_REQ *request)
{
    X509 *certificate = issue(request);
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
    char *serial = BN_bn2hex(number), *body, *text;
    unsigned char *der = NULL;
    int length = i2d_X509(certificate, &der);
    json_t *json;

    body = malloc(4 * ((size_t)length + 2) / 3 + 5);
    bench_need(length > 0 && serial && body, "encoding a certificate");
    EVP_EncodeBlock((unsigned char *)body, der, length);
    json = json_pack("{s:s, s:{s:s, s:s, s:s, s:s}}", "type", "EnrollmentResponse", "enrollment",
                     "id", serial, "status", "ACCEPTED", "serialNumber", serial, "body", body);
    text = json_dumps(json, JSON_COMPACT);
    bench_need(text != NULL, "writing an answer");
    json_decref(json);
    free(body);
    OPENSSL_free(der);
    OPENSSL_free(serial);
    BN_free(number);
    X509_free(certificate);
    return text;
}

/* Time */

/** Until the latency has passed, and as long as nothing is answered. */
static void take_time(void)
{
    double end = bench_now(), left;
    struct timespec pause;

    pthread_mutex_lock(&gateway.mutex);
    if (++gateway.running > gateway.most) {
        gateway.most = gateway.running;
    }
    while (gateway.hangs) {
        pthread_cond_wait(&gateway.changed, &gateway.mutex);
    }
    end += gateway.hurries ? 0 : gateway.latency;
    pthread_mutex_unlock(&gateway.mutex);
    left = end - bench_now();
    if (left > 0) {
        pause.tv_sec = (time_t)left;
        pause.tv_nsec = (long)((left - (double)pause.tv_sec) * 1e9);
        nanosleep(&pause, NULL);
    }
}

static void note_end(int issued)
{
    pthread_mutex_lock(&gateway.mutex);
    --gateway.running;
    gateway.issued += issued ? 1 : 0;
    pthread_mutex_unlock(&gateway.mutex);
}

/* HTTP */

static int put(connection_t *connection, int status, const char *json)
{
    char header[256];
    int length = snprintf(header, sizeof(header), "HTTP/1.1 %d -\r\nContent-Type: "
                          "application/json\r\nContent-Length: %zu\r\n\r\n", status, strlen(json));

    return SSL_write(connection->ssl, header, length) == length
        && SSL_write(connection->ssl, json, (int)strlen(json)) == (int)strlen(json);
}

/** @return where the body of a whole message begins, 0: the connection has ended */
static size_t receive(connection_t *connection, size_t *length)
{
    char *end, *line;
    int got;

    for (;;) {
        connection->data[connection->length] = '\0';
        end = strstr(connection->data, "\r\n\r\n");
        if (end) {
            line = strcasestr(connection->data, "\r\nContent-Length:");
            *length = line && line < end ? strtoul(line + 17, NULL, 10) : 0;
            if (connection->length >= (size_t)(end + 4 - connection->data) + *length) {
                return (size_t)(end + 4 - connection->data);
            }
        }
        if (connection->length == MESSAGE_MAX) {
            return 0;
        }
        got = SSL_read(connection->ssl, connection->data + connection->length,
                       (int)(MESSAGE_MAX - connection->length));
        if (got <= 0) {
            return 0;
        }
        connection->length += (size_t)got;
    }
}

static int answer(connection_t *connection, const char *body, size_t length)
{
    const char *line_end = strstr(connection->data, "\r\n");
    const char *path = strstr(connection->data, ENROLMENTS);
    X509_REQ *request = NULL;
    json_t *json;
    char *text;
    int ok;

    if (!strncmp(connection->data, "POST ", 5) && path && path < line_end) {
        json = json_loadb(body, length, 0, NULL);
        request = read_request(json);
        json_decref(json);
    }
    if (!request) {
        return put(connection, 404, "{\"type\":\"ErrorResponse\",\"error\":{\"code\":\"bench-404\","
                   "\"message\":\"only enrolments are served\"}}");
    }
    take_time();
    text = answer_enrolment(request);
    ok = put(connection, 200, text);
    note_end(ok);
    free(text);
    X509_REQ_free(request);
    return ok;
}

static void *serve(void *baton)
{
    connection_t *connection = calloc(1, sizeof(*connection));
    int fd = (int)(intptr_t)baton;
    size_t start, length;

    bench_need(connection != NULL, "getting memory");
    connection->ssl = SSL_new(gateway.context);
    bench_need(connection->ssl && SSL_set_fd(connection->ssl, fd), "getting memory");
    if (SSL_accept(connection->ssl) == 1) {
        while ((start = receive(connection, &length)) > 0
               && answer(connection, connection->data + start, length)) {
            connection->length -= start + length;
            memmove(connection->data, connection->data + start + length, connection->length);
        }
        SSL_shutdown(connection->ssl);
    }
    SSL_free(connection->ssl);
    close(fd);
    free(connection);
    return NULL;
}

static void *listen_at(void *baton)
{
    int listener = (int)(intptr_t)baton, fd;
    pthread_attr_t attributes;
    pthread_t thread;

    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    while ((fd = accept(listener, NULL, NULL)) >= 0) {
        ++gateway.connections;
        bench_need(pthread_create(&thread, &attributes, serve, (void *)(intptr_t)fd) == 0,
                   "starting a thread");
    }
    bench_die("no connection can be accepted");
}

static int open_port(const char *port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((unsigned short)bench_number(port, "port")),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
    };
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    bench_need(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0
               && listen(fd, 1024) == 0, "listening");
    return fd;
}

/** Signals are for this thread alone. */
static void obey(const sigset_t *signals)
{
    int received;

    while (sigwait(signals, &received) == 0 && received != SIGTERM) {
        pthread_mutex_lock(&gateway.mutex);
        gateway.hangs = received == SIGUSR1;
        gateway.hurries = received == SIGUSR2;
        pthread_cond_broadcast(&gateway.changed);
        pthread_mutex_unlock(&gateway.mutex);
    }
    printf("{\"issued\": %zu, \"connections\": %zu, \"most\": %zu}\n", gateway.issued,
           gateway.connections, gateway.most);
    fflush(stdout);
    _exit(0);
}

int main(int argc, char **argv)
{
    pthread_t thread;
    sigset_t signals;

    if (argc != 8) {
        bench_die("usage: slowgateway PORT LATENCY_MS SERVER.pem SERVER-KEY.pem CLIENTS.pem CA.pem "
                  "CA-KEY.pem");
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    sigaddset(&signals, SIGUSR2);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    gateway.latency = (double)bench_number(argv[2], "latency") / 1000;
    gateway.context = SSL_CTX_new(TLS_server_method());
    bench_need(gateway.context && SSL_CTX_use_certificate_chain_file(gateway.context, argv[3]) == 1
               && SSL_CTX_use_PrivateKey_file(gateway.context, argv[4], SSL_FILETYPE_PEM) == 1
               && SSL_CTX_load_verify_file(gateway.context, argv[5]) == 1, "TLS");
    SSL_CTX_set_verify(gateway.context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_session_id_context(gateway.context, (const unsigned char *)"bench", 5);
    gateway.ca = bench_read_certificate(argv[6]);
    gateway.key = bench_read_key(argv[7]);
    pthread_cond_init(&gateway.changed, NULL);
    bench_need(pthread_create(&thread, NULL, listen_at,
                              (void *)(intptr_t)open_port(argv[1])) == 0, "starting a thread");
    obey(&signals);
    return 0;
}
