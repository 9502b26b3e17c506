/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * Load generator: HTTP/1.1 over a fixed number of kept connections, one request at a time on each.
 * Sends prebuilt messages of a pack (POST), or the same GET again and again. Whether the answers
 * are what they should be is checked when all have come, so that little is done while a server is
 * measured.
 */

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bench/support.h"

#define CONNECTIONS_MAX 1024
#define ANSWER_MAX 131072
#define ATTEMPTS_MAX 20
#define TIMEOUT_MS 30000

typedef struct {
    int fd;
    int busy;                   /* a request is under way */
    size_t number;              /* which one */
    int attempts;
    double started;
    char header[1024];
    size_t header_length;
    size_t sent;
    unsigned char answer[ANSWER_MAX];
    size_t received;
} connection_t;

typedef struct {
    unsigned char *body;
    size_t length;
    float seconds;
} answer_t;

static struct {
    struct sockaddr_in address;
    char host[64];
    const char *path;
    bench_pack_t pack;          /* empty: GET */
    size_t first;
    size_t count;
    size_t next;
    size_t done;
    size_t reconnects;
    answer_t *answers;
    size_t same;                /* with GET: length that every answer must have */
} load;

static void open_connection(connection_t *connection)
{
    const int on = 1;

    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0
        || connect(connection->fd, (struct sockaddr *)&load.address, sizeof(load.address)) != 0) {
        bench_die("cannot connect to %s: %s", load.host, strerror(errno));
    }
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    fcntl(connection->fd, F_SETFL, O_NONBLOCK);
}

static const bench_message_t *message_of(const connection_t *connection)
{
    return load.pack.count ? &load.pack.messages[load.first + connection->number] : NULL;
}

static void begin(connection_t *connection)
{
    const bench_message_t *message = message_of(connection);
    int length;

    if (message) {
        length = snprintf(connection->header, sizeof(connection->header),
                          "POST %s HTTP/1.1\r\nHost: %s\r\n"
                          "Content-Type: application/x-pki-message\r\n"
                          "Content-Length: %zu\r\n\r\n", load.path, load.host, message->length);
    }
    else {
        length = snprintf(connection->header, sizeof(connection->header),
                          "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", load.path, load.host);
    }
    connection->header_length = (size_t)length;
    connection->sent = 0;
    connection->received = 0;
    connection->busy = 1;
    connection->started = bench_now();
}

/** The server may close a kept connection while a request is on its way (RFC 9110 9.3.1); what it
 *  did not answer is sent again. SCEP repeats are answered with the same certificate. */
static void again(connection_t *connection)
{
    close(connection->fd);
    ++load.reconnects;
    if (++connection->attempts > ATTEMPTS_MAX) {
        bench_die("the server closed the connection %d times without an answer", ATTEMPTS_MAX);
    }
    open_connection(connection);
    begin(connection);
}

static void take_next(connection_t *connection)
{
    connection->busy = 0;
    connection->attempts = 0;
    if (load.next < load.count) {
        connection->number = load.next++;
        begin(connection);
    }
}

static void send_more(connection_t *connection)
{
    const bench_message_t *message = message_of(connection);
    size_t total = connection->header_length + (message ? message->length : 0);
    struct iovec parts[2];
    ssize_t written;
    int count = 0;

    if (connection->sent == total) {
        return;
    }
    if (connection->sent < connection->header_length) {
        parts[count].iov_base = connection->header + connection->sent;
        parts[count++].iov_len = connection->header_length - connection->sent;
    }
    if (message) {
        size_t skip = connection->sent > connection->header_length
                      ? connection->sent - connection->header_length : 0;
        parts[count].iov_base = (void *)(message->data + skip);
        parts[count++].iov_len = message->length - skip;
    }
    written = writev(connection->fd, parts, count);
    if (written > 0) {
        connection->sent += (size_t)written;
    }
    else if (errno != EAGAIN && errno != EINTR) {
        again(connection);
    }
}

#define CHUNKED ((size_t)-2)

/** @param length CHUNKED for a body that comes in chunks
 *  @return where the body begins, 0 if the header has not ended yet */
static size_t parse_header(const connection_t *connection, size_t *length, int *closes)
{
    const char *text = (const char *)connection->answer;
    const char *end = memmem(text, connection->received, "\r\n\r\n", 4);
    const char *line;

    if (!end) {
        return 0;
    }
    if (strncmp(text, "HTTP/1.1 200 ", 13) != 0) {
        bench_die("request %zu was answered: %.*s", load.first + connection->number,
                  (int)connection->received, text);
    }
    *length = (size_t)-1;
    *closes = 0;
    for (line = text; line < end; ++line) {
        line = memmem(line, (size_t)(end - line), "\r\n", 2);
        if (!line) {
            break;
        }
        line += 2;
        if (strncasecmp(line, "Content-Length:", 15) == 0) {
            *length = strtoul(line + 15, NULL, 10);
        }
        else if (strncasecmp(line, "Transfer-Encoding: chunked", 26) == 0) {
            *length = CHUNKED;
        }
        else if (strncasecmp(line, "Connection: close", 17) == 0) {
            *closes = 1;
        }
    }
    if (*length == (size_t)-1) {
        bench_die("an answer has neither Content-Length nor chunks");
    }
    return (size_t)(end + 4 - text);
}

/** Puts chunks together (RFC 9112 7.1) once all have come.
 *  @return length of the body, CHUNKED if some is missing */
static size_t join_chunks(connection_t *connection, size_t start)
{
    unsigned char *to = connection->answer + start;
    const unsigned char *at = to, *end = connection->answer + connection->received, *line;
    unsigned long size;

    do {
        line = memmem(at, (size_t)(end - at), "\r\n", 2);
        size = line ? strtoul((const char *)at, NULL, 16) : 0;
        if (!line || (unsigned long)(end - line) < size + 4) {
            return CHUNKED;
        }
        at = line + 2 + size + 2;
    } while (size);
    at = connection->answer + start;
    while ((size = strtoul((const char *)at, NULL, 16)) > 0) {
        at = memmem(at, (size_t)(end - at), "\r\n", 2);
        memmove(to, at + 2, size);
        to += size;
        at += 2 + size + 2;
    }
    return (size_t)(to - (connection->answer + start));
}

static void finish(connection_t *connection, size_t start, size_t length, int closes)
{
    answer_t *answer = &load.answers[connection->number];

    answer->seconds = (float)(bench_now() - connection->started);
    answer->length = length;
    if (load.pack.count) {
        answer->body = malloc(length ? length : 1);
        if (!answer->body) {
            bench_die("out of memory");
        }
        memcpy(answer->body, connection->answer + start, length);
    }
    ++load.done;
    if (closes) {
        close(connection->fd);
        ++load.reconnects;
        open_connection(connection);
    }
    take_next(connection);
}

static void receive_more(connection_t *connection)
{
    size_t start, length;
    int closes;
    ssize_t got = recv(connection->fd, connection->answer + connection->received,
                       sizeof(connection->answer) - 1 - connection->received, 0);

    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0) {
        again(connection);
        return;
    }
    connection->received += (size_t)got;
    connection->answer[connection->received] = '\0';
    start = parse_header(connection, &length, &closes);
    if (start && length == CHUNKED) {
        length = join_chunks(connection, start);
        if (length != CHUNKED) {
            finish(connection, start, length, closes);
        }
        return;
    }
    if (start && length > sizeof(connection->answer) - 1 - start) {
        bench_die("an answer of %zu bytes is too long", length);
    }
    if (start && connection->received >= start + length) {
        finish(connection, start, length, closes);
    }
}

static void run(size_t connections)
{
    connection_t *all = calloc(connections, sizeof(*all));
    struct pollfd *polled = calloc(connections, sizeof(*polled));
    size_t i;

    bench_need(all && polled, "getting memory");
    for (i = 0; i < connections; ++i) {
        open_connection(&all[i]);
        take_next(&all[i]);
        if (all[i].busy) {
            send_more(&all[i]);
        }
    }
    while (load.done < load.count) {
        for (i = 0; i < connections; ++i) {
            const bench_message_t *message = message_of(&all[i]);
            size_t total = all[i].header_length + (message ? message->length : 0);
            polled[i].fd = all[i].busy ? all[i].fd : -1;
            polled[i].events = all[i].sent < total ? POLLIN | POLLOUT : POLLIN;
        }
        if (poll(polled, connections, TIMEOUT_MS) <= 0) {
            bench_die("no answer in %d seconds", TIMEOUT_MS / 1000);
        }
        for (i = 0; i < connections; ++i) {
            if (polled[i].fd >= 0 && polled[i].revents & (POLLIN | POLLHUP | POLLERR)) {
                receive_more(&all[i]);
            }
            if (polled[i].fd >= 0 && polled[i].revents && all[i].busy) {
                send_more(&all[i]);
            }
        }
    }
}

/* Afterwards */

static CMS_ContentInfo *parse(const unsigned char *data, size_t length)
{
    CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &data, (long)length);

    bench_need(cms != NULL, "reading a message");
    return cms;
}

static int same(const ASN1_STRING *one, const ASN1_STRING *other)
{
    return one && other && ASN1_STRING_cmp(one, other) == 0;
}

static int is_text(const ASN1_STRING *string, const char *text)
{
    return string && (size_t)ASN1_STRING_length(string) == strlen(text)
           && memcmp(ASN1_STRING_get0_data(string), text, strlen(text)) == 0;
}

/** Every answer is a CertRep SUCCESS to its own request; one signature in eight is verified. */
static size_t count_wrong(X509 *signer)
{
    X509_STORE *none = X509_STORE_new();
    STACK_OF(X509) *signers = sk_X509_new_null();
    size_t i, wrong = 0;

    bench_need(none && signers && sk_X509_push(signers, signer), "getting memory");
    for (i = 0; i < load.count; ++i) {
        const bench_message_t *message = &load.pack.messages[load.first + i];
        CMS_ContentInfo *request = parse(message->data, message->length);
        CMS_ContentInfo *reply = parse(load.answers[i].body, load.answers[i].length);
        CMS_SignerInfo *asked = bench_signer(request), *said = bench_signer(reply);

        if (!is_text(bench_attribute(said, SCEP_OID_MESSAGE_TYPE, V_ASN1_PRINTABLESTRING), "3")
            || !is_text(bench_attribute(said, SCEP_OID_PKI_STATUS, V_ASN1_PRINTABLESTRING), "0")
            || !same(bench_attribute(said, SCEP_OID_TRANSACTION_ID, V_ASN1_PRINTABLESTRING),
                     bench_attribute(asked, SCEP_OID_TRANSACTION_ID, V_ASN1_PRINTABLESTRING))
            || !same(bench_attribute(said, SCEP_OID_RECIPIENT_NONCE, V_ASN1_OCTET_STRING),
                     bench_attribute(asked, SCEP_OID_SENDER_NONCE, V_ASN1_OCTET_STRING))
            || (i % 8 == 0 && CMS_verify(reply, signers, none, NULL, NULL,
                                         CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY) != 1)) {
            ++wrong;
        }
        CMS_ContentInfo_free(reply);
        CMS_ContentInfo_free(request);
    }
    return wrong;
}

static size_t count_other_lengths(void)
{
    size_t i, wrong = 0;

    for (i = 0; i < load.count; ++i) {
        wrong += load.answers[i].length != load.same;
    }
    return wrong;
}

static int by_time(const void *one, const void *other)
{
    float a = ((const answer_t *)one)->seconds, b = ((const answer_t *)other)->seconds;

    return (a > b) - (a < b);
}

static void set_address(const char *host, const char *port)
{
    load.address.sin_family = AF_INET;
    load.address.sin_port = htons((unsigned short)bench_number(port, "port"));
    if (inet_pton(AF_INET, host, &load.address.sin_addr) != 1) {
        bench_die("not an IPv4 address: %s", host);
    }
    snprintf(load.host, sizeof(load.host), "%s:%s", host, port);
}

int main(int argc, char **argv)
{
    size_t connections = 8, wrong;
    X509 *signer = NULL;
    double started, seconds;
    int option;

    load.count = 1000;
    while ((option = getopt(argc, argv, "c:f:n:m:s:l:")) != -1) {
        switch (option) {
        case 'c':
            connections = bench_number(optarg, "-c");
            break;
        case 'f':
            load.first = bench_number(optarg, "-f");
            break;
        case 'n':
            load.count = bench_number(optarg, "-n");
            break;
        case 'm':
            bench_pack_open(&load.pack, optarg);
            break;
        case 's':
            signer = bench_read_certificate(optarg);
            break;
        case 'l':
            load.same = bench_number(optarg, "-l");
            break;
        default:
            return 2;
        }
    }
    if (argc - optind != 3 || !load.count || !connections || connections > CONNECTIONS_MAX
        || (load.pack.count && !signer)) {
        bench_die("usage: scepload [-c CONNECTIONS] [-n COUNT] "
                  "{-m MESSAGES -s SIGNER.pem [-f FIRST] | -l LENGTH} HOST PORT PATH");
    }
    if (load.pack.count && (load.first > load.pack.count
                            || load.count > load.pack.count - load.first)) {
        bench_die("there are only %zu messages", load.pack.count);
    }
    set_address(argv[optind], argv[optind + 1]);
    load.path = argv[optind + 2];
    load.answers = calloc(load.count, sizeof(*load.answers));
    bench_need(load.answers != NULL, "getting memory");

    started = bench_now();
    run(connections);
    seconds = bench_now() - started;
    wrong = load.pack.count ? count_wrong(signer) : count_other_lengths();
    qsort(load.answers, load.count, sizeof(*load.answers), by_time);
    printf("{\"requests\": %zu, \"seconds\": %.6f, \"wrong\": %zu, \"reconnects\": %zu, "
           "\"p50_us\": %.0f, \"p99_us\": %.0f}\n", load.count, seconds, wrong, load.reconnects,
           (double)load.answers[load.count / 2].seconds * 1e6,
           (double)load.answers[load.count * 99 / 100].seconds * 1e6);
    return wrong ? 1 : 0;
}
