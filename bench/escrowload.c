/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * HTTPS with a client certificate: a thread for each connection, one request at a time. Connections
 * are kept, or are new for each request (-N), always with a whole handshake; with -H there is no
 * request at all. Bodies are POSTed from a pack (-m), from number -f on, in turns to all paths that
 * are given; or the pairs of a series are asked for at random (-d SERIES:COUNT). Ends with a
 * message if an answer has another status than those of -s.
 */

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/rand.h>
#include <openssl/ssl.h>

#include "bench/escrownames.h"
#include "bench/support.h"

#define PATHS_MAX 2
#define CONNECTIONS_MAX 256
#define HEADER_MAX 2048
#define ANSWER_MAX 131072
#define STACK_SIZE 524288
#define TIMEOUT_SECONDS 30
#define AGAIN_MAX 100
#define AGAIN_MICROSECONDS 300000

static struct {
    SSL_CTX *context;
    struct sockaddr_in address;
    const char *host, *paths[PATHS_MAX];
    size_t path_count;
    bench_pack_t pack;
    size_t first, count, series, devices;
    size_t next;                    /* atomic */
    size_t again;                   /* atomic: answers 503 */
    int renews, silent;
    int status[PATHS_MAX];
    double *times;
} load = { .status = { 200, 200 } };

typedef struct {
    SSL *ssl;
    unsigned short random[3];
    char header[HEADER_MAX];
    char answer[ANSWER_MAX + 1];
} connection_t;

static void open_connection(connection_t *connection)
{
    const struct timeval patience = { TIMEOUT_SECONDS, 0 };
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    bench_need(fd >= 0 && connect(fd, (const struct sockaddr *)&load.address,
                                  sizeof(load.address)) == 0, "connecting");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    connection->ssl = SSL_new(load.context);
    bench_need(connection->ssl && SSL_set_fd(connection->ssl, fd)
               && SSL_set_tlsext_host_name(connection->ssl, "localhost")
               && SSL_connect(connection->ssl) == 1, "a TLS handshake");
}

/** Until the server has closed it, too: what that costs belongs to the connection. */
static void close_connection(connection_t *connection)
{
    int fd = SSL_get_fd(connection->ssl);
    char rest[256];

    SSL_shutdown(connection->ssl);
    shutdown(fd, SHUT_WR);
    while (recv(fd, rest, sizeof(rest), 0) > 0) {
        continue;
    }
    SSL_free(connection->ssl);
    close(fd);
    connection->ssl = NULL;
}

/** @return length of the header */
static int make_header(connection_t *connection, size_t number, const char *path)
{
    char device[ESCROW_UUID_SIZE], user[ESCROW_UUID_SIZE];

    if (load.pack.count) {
        return snprintf(connection->header, HEADER_MAX, "POST %s HTTP/1.1\r\nHost: localhost\r\n"
                        "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n", path,
                        load.pack.messages[number].length);
    }
    if (load.devices) {
        escrow_name_pair(device, user, load.series,
                         (size_t)nrand48(connection->random) % load.devices);
        return snprintf(connection->header, HEADER_MAX, "GET %s?device_uuid=%s&user_uuid=%s "
                        "HTTP/1.1\r\nHost: localhost\r\n\r\n", path, device, user);
    }
    return snprintf(connection->header, HEADER_MAX, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n",
                    path);
}

static void send_request(connection_t *connection, size_t number, const char *path)
{
    int length = make_header(connection, number, path);

    bench_need(SSL_write(connection->ssl, connection->header, length) == length, "sending");
    if (load.pack.count) {
        bench_need(SSL_write(connection->ssl, load.pack.messages[number].data,
                             (int)load.pack.messages[number].length) > 0, "sending a body");
    }
}

/** @return what Content-Length says */
static size_t body_length(const char *header, const char *end)
{
    const char *line;

    for (line = strstr(header, "\r\n"); line && line < end; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, "Content-Length:", 15) == 0) {
            return strtoul(line + 17, NULL, 10);
        }
    }
    bench_die("an answer has no Content-Length: %s", header);
}

/** @return 0 if it is 503: to come again */
static int receive_answer(connection_t *connection, int status)
{
    size_t received = 0, whole = 0;
    const char *end;
    int got;

    while (whole == 0 || received < whole) {
        got = SSL_read(connection->ssl, connection->answer + received,
                       (int)(ANSWER_MAX - received));
        if (got <= 0) {
            bench_die("the connection has ended without an answer, after %zu bytes", received);
        }
        received += (size_t)got;
        connection->answer[received] = '\0';
        end = whole ? NULL : strstr(connection->answer, "\r\n\r\n");
        if (end) {
            whole = (size_t)(end + 4 - connection->answer) + body_length(connection->answer, end);
        }
        if (whole > ANSWER_MAX) {
            bench_die("an answer is too long");
        }
    }
    if (strncmp(connection->answer, "HTTP/1.1 503 ", 13) == 0) {
        return 0;
    }
    if (strncmp(connection->answer, "HTTP/1.1 ", 9) || atoi(connection->answer + 9) != status) {
        bench_die("not answered with %d: %s", status, connection->answer);
    }
    return 1;
}

/** As clients do, on a connection of its own: a machine with other work is late with the pins. */
static void come_again(connection_t *connection)
{
    if (__atomic_add_fetch(&load.again, 1, __ATOMIC_RELAXED) > AGAIN_MAX) {
        bench_die("answered with 503 again and again: %s", connection->answer);
    }
    close_connection(connection);
    usleep(AGAIN_MICROSECONDS);
    open_connection(connection);
}

static void ask(connection_t *connection, size_t number)
{
    size_t i;

    for (i = 0; i < load.path_count; ++i) {
        for (;;) {
            send_request(connection, load.first + number * load.path_count + i, load.paths[i]);
            if (receive_answer(connection, load.status[i])) {
                break;
            }
            come_again(connection);
        }
    }
}

static void *run(void *baton)
{
    connection_t *connection = calloc(1, sizeof(*connection));
    size_t number;

    (void)baton;
    bench_need(connection && RAND_bytes((unsigned char *)connection->random,
                                        sizeof(connection->random)) == 1, "getting memory");
    while ((number = __atomic_fetch_add(&load.next, 1, __ATOMIC_RELAXED)) < load.count) {
        double begun = bench_now();

        if (!connection->ssl) {
            open_connection(connection);
        }
        if (!load.silent) {
            ask(connection, number);
        }
        if (load.renews) {
            close_connection(connection);
        }
        load.times[number] = bench_now() - begun;
    }
    if (connection->ssl) {
        close_connection(connection);
    }
    free(connection);
    return NULL;
}

static int by_time(const void *one, const void *other)
{
    double a = *(const double *)one, b = *(const double *)other;

    return a < b ? -1 : a > b;
}

static void run_all(size_t connections)
{
    pthread_t threads[CONNECTIONS_MAX];
    pthread_attr_t attributes;
    double begun, seconds;
    size_t i;

    load.times = calloc(load.count, sizeof(*load.times));
    bench_need(load.times != NULL && pthread_attr_init(&attributes) == 0
               && pthread_attr_setstacksize(&attributes, STACK_SIZE) == 0, "getting memory");
    begun = bench_now();
    for (i = 0; i < connections; ++i) {
        bench_need(pthread_create(&threads[i], &attributes, run, NULL) == 0, "a thread");
    }
    for (i = 0; i < connections; ++i) {
        pthread_join(threads[i], NULL);
    }
    seconds = bench_now() - begun;
    qsort(load.times, load.count, sizeof(*load.times), by_time);
    printf("{\"requests\": %zu, \"seconds\": %.6f, \"p50_us\": %.1f, \"p99_us\": %.1f, "
           "\"again\": %zu}\n", load.count, seconds, load.times[load.count / 2] * 1e6,
           load.times[load.count * 99 / 100] * 1e6, load.again);
}

static void read_series(char *text)
{
    char *count = strchr(text, ':');

    if (!count) {
        bench_die("-d takes SERIES:COUNT");
    }
    *count++ = '\0';
    load.series = bench_number(text, "-d");
    load.devices = bench_number(count, "-d");
}

static void read_status(char *text)
{
    char *second = strchr(text, ',');

    load.status[0] = atoi(text);
    load.status[1] = second ? atoi(second + 1) : load.status[0];
}

static void use_certificate(const char *certificate, const char *key, const char *ca)
{
    load.context = SSL_CTX_new(TLS_client_method());
    bench_need(load.context && SSL_CTX_load_verify_locations(load.context, ca, NULL)
               && SSL_CTX_use_certificate_file(load.context, certificate, SSL_FILETYPE_PEM)
               && SSL_CTX_use_PrivateKey_file(load.context, key, SSL_FILETYPE_PEM),
               "reading certificates");
    SSL_CTX_set_verify(load.context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_session_cache_mode(load.context, SSL_SESS_CACHE_OFF);
}

static void connect_to(const char *host, const char *port)
{
    load.host = host;
    load.address.sin_family = AF_INET;
    load.address.sin_port = htons((unsigned short)bench_number(port, "port"));
    if (inet_pton(AF_INET, host, &load.address.sin_addr) != 1) {
        bench_die("not an IPv4 address: %s", host);
    }
}

int main(int argc, char **argv)
{
    const char *certificate = NULL, *key = NULL, *ca = NULL;
    size_t connections = 8;
    int option;

    load.count = 1000;
    while ((option = getopt(argc, argv, "a:c:d:f:Hk:m:Nn:s:x:")) != -1) {
        switch (option) {
        case 'a':
            ca = optarg;
            break;
        case 'c':
            connections = bench_number(optarg, "-c");
            break;
        case 'd':
            read_series(optarg);
            break;
        case 'f':
            load.first = bench_number(optarg, "-f");
            break;
        case 'H':
            load.silent = load.renews = 1;
            break;
        case 'k':
            key = optarg;
            break;
        case 'm':
            bench_pack_open(&load.pack, optarg);
            break;
        case 'N':
            load.renews = 1;
            break;
        case 'n':
            load.count = bench_number(optarg, "-n");
            break;
        case 's':
            read_status(optarg);
            break;
        case 'x':
            certificate = optarg;
            break;
        default:
            return 2;
        }
    }
    if (!certificate || !key || !ca || argc - optind < 3 || argc - optind > 2 + PATHS_MAX
        || !connections || connections > CONNECTIONS_MAX || !load.count) {
        bench_die("usage: escrowload -a CA -x CERTIFICATE -k KEY [-c CONNECTIONS] [-n COUNT] "
                  "[-N|-H] [-m PACK [-f FIRST]] [-d SERIES:COUNT] [-s STATUS[,STATUS]] HOST PORT "
                  "PATH [PATH]");
    }
    use_certificate(certificate, key, ca);
    connect_to(argv[optind], argv[optind + 1]);
    for (optind += 2; optind < argc; ++optind) {
        load.paths[load.path_count++] = argv[optind];
    }
    if (load.pack.count && load.first + load.count * load.path_count > load.pack.count) {
        bench_die("the pack has %zu messages only", load.pack.count);
    }
    run_all(connections);
    return 0;
}
