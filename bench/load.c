/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "bench/load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench/support.h"

#define CONNECTIONS_MAX 1024
#define ANSWER_MAX 131072
#define ATTEMPTS_MAX 20
#define TIMEOUT_SECONDS 30
#define CHUNKED ((size_t)-2)

typedef struct {
    int fd;
    int busy;                   /* a request is under way */
    size_t number;              /* which one */
    int attempts;
    double due;
    struct iovec parts[LOAD_PARTS];
    int count;
    size_t length;
    size_t sent;
    unsigned char answer[ANSWER_MAX];
    size_t received;
} connection_t;

typedef struct {
    bench_load_t *load;
    struct sockaddr_in address;
    connection_t *connections;
    struct pollfd *polled;
    size_t next;                /* request to be sent */
    size_t done;
} run_t;

static void open_connection(const run_t *run, connection_t *connection)
{
    const int on = 1;

    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0
        || connect(connection->fd, (const struct sockaddr *)&run->address,
                   sizeof(run->address)) != 0) {
        bench_die("cannot connect to %s port %s: %s", run->load->host, run->load->port,
                  strerror(errno));
    }
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    fcntl(connection->fd, F_SETFL, O_NONBLOCK);
}

static void send_more(run_t *run, connection_t *connection);

static void begin(run_t *run, connection_t *connection)
{
    int i;

    connection->count = run->load->request(run->load, connection->number, connection->parts);
    connection->length = 0;
    for (i = 0; i < connection->count; ++i) {
        connection->length += connection->parts[i].iov_len;
    }
    connection->sent = 0;
    connection->received = 0;
    connection->busy = 1;
    send_more(run, connection);
}

/** The server may close a kept connection while a request is on its way (RFC 9110 9.3.1); what it
 *  did not answer is sent again. */
static void again(run_t *run, connection_t *connection)
{
    close(connection->fd);
    ++run->load->reconnects;
    if (++connection->attempts > ATTEMPTS_MAX) {
        bench_die("the server closed the connection %d times without an answer", ATTEMPTS_MAX);
    }
    open_connection(run, connection);
    begin(run, connection);
}

/** When the next request is due, which there is; now: as soon as can be. */
static double next_due(const run_t *run, double now)
{
    const bench_load_t *load = run->load;

    return load->due ? load->due(load, run->next)
        : load->rate > 0 ? load->started + (double)run->next / load->rate : now;
}

/** @return seconds until the next request is due; 0: now; less than 0: there is none */
static double wait_for_next(const run_t *run, double now)
{
    double due;

    if (run->next == run->load->count) {
        return -1;
    }
    due = next_due(run, now);
    return due > now ? due - now : 0;
}

static void take_next(run_t *run, connection_t *connection)
{
    double now = bench_now();

    connection->busy = 0;
    if (wait_for_next(run, now) == 0) {
        connection->attempts = 0;
        connection->due = next_due(run, now);
        connection->number = run->next++;
        begin(run, connection);
    }
}

static void send_more(run_t *run, connection_t *connection)
{
    struct iovec parts[LOAD_PARTS];
    size_t skip = connection->sent;
    ssize_t written;
    int i, count = 0;

    for (i = 0; i < connection->count; ++i) {
        if (skip >= connection->parts[i].iov_len) {
            skip -= connection->parts[i].iov_len;
            continue;
        }
        parts[count].iov_base = (char *)connection->parts[i].iov_base + skip;
        parts[count++].iov_len = connection->parts[i].iov_len - skip;
        skip = 0;
    }
    if (!count) {
        return;
    }
    written = writev(connection->fd, parts, count);
    if (written > 0) {
        connection->sent += (size_t)written;
    }
    else if (errno != EAGAIN && errno != EINTR) {
        again(run, connection);
    }
}

typedef struct {
    int status;
    size_t start;               /* of the body */
    size_t length;              /* CHUNKED for a body that comes in chunks */
    int closes;
} header_t;

/** @return 0 if the header has not ended yet */
static int parse_header(const connection_t *connection, header_t *header)
{
    const char *text = (const char *)connection->answer;
    const char *end = memmem(text, connection->received, "\r\n\r\n", 4);
    const char *line;

    if (!end) {
        return 0;
    }
    if (strncmp(text, "HTTP/1.", 7) != 0 || (header->status = atoi(text + 9)) < 200) {
        bench_die("request %zu was answered: %.*s", connection->number,
                  (int)connection->received, text);
    }
    header->length = (size_t)-1;
    header->closes = text[7] == '0';
    for (line = text; line < end; ++line) {
        line = memmem(line, (size_t)(end - line), "\r\n", 2);
        if (!line) {
            break;
        }
        line += 2;
        if (strncasecmp(line, "Content-Length:", 15) == 0) {
            header->length = strtoul(line + 15, NULL, 10);
        }
        else if (strncasecmp(line, "Transfer-Encoding: chunked", 26) == 0) {
            header->length = CHUNKED;
        }
        else if (strncasecmp(line, "Connection: close", 17) == 0) {
            header->closes = 1;
        }
    }
    if (header->length == (size_t)-1) {
        bench_die("an answer has neither Content-Length nor chunks");
    }
    header->start = (size_t)(end + 4 - text);
    return 1;
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

static void finish(run_t *run, connection_t *connection, const header_t *header)
{
    bench_load_t *load = run->load;
    double now = bench_now();

    if (header->status == 200) {
        load->answer(load, connection->number, connection->answer + header->start,
                     header->length, connection->due, now);
    }
    else if (!load->other
             || !load->other(load, connection->number, header->status, connection->due, now)) {
        bench_die("request %zu was answered: %.*s", connection->number, (int)header->start,
                  (const char *)connection->answer);
    }
    ++run->done;
    if (header->closes) {
        close(connection->fd);
        ++load->reconnects;
        open_connection(run, connection);
    }
    take_next(run, connection);
}

static void receive_more(run_t *run, connection_t *connection)
{
    header_t header;
    ssize_t got = recv(connection->fd, connection->answer + connection->received,
                       sizeof(connection->answer) - 1 - connection->received, 0);

    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0) {
        again(run, connection);
        return;
    }
    connection->received += (size_t)got;
    connection->answer[connection->received] = '\0';
    if (!parse_header(connection, &header)) {
        return;
    }
    if (header.length == CHUNKED) {
        header.length = join_chunks(connection, header.start);
        if (header.length == CHUNKED) {
            return;
        }
    }
    else if (header.length > sizeof(connection->answer) - 1 - header.start) {
        bench_die("an answer of %zu bytes is too long", header.length);
    }
    else if (connection->received < header.start + header.length) {
        return;
    }
    finish(run, connection, &header);
}

/** Waits for answers, or until the next request is due while a connection is free. */
static void wait_for_answers(run_t *run)
{
    struct timespec timeout = { TIMEOUT_SECONDS, 0 };
    double pause = wait_for_next(run, bench_now());
    int idle = 0, ready;
    size_t i;

    for (i = 0; i < run->load->connections; ++i) {
        const connection_t *connection = &run->connections[i];

        idle |= !connection->busy;
        run->polled[i].fd = connection->busy ? connection->fd : -1;
        run->polled[i].events = connection->sent < connection->length ? POLLIN | POLLOUT : POLLIN;
    }
    if (idle && pause >= 0) {
        timeout.tv_sec = (time_t)pause;
        timeout.tv_nsec = (long)((pause - (double)timeout.tv_sec) * 1e9);
    }
    ready = ppoll(run->polled, run->load->connections, &timeout, NULL);
    if (ready < 0 || (ready == 0 && !(idle && pause >= 0))) {
        bench_die("no answer in %d seconds", TIMEOUT_SECONDS);
    }
}

static void go_on(run_t *run)
{
    size_t i;

    for (i = 0; i < run->load->connections; ++i) {
        connection_t *connection = &run->connections[i];
        const struct pollfd *polled = &run->polled[i];

        if (!connection->busy) {
            take_next(run, connection);
            continue;
        }
        if (polled->fd >= 0 && polled->revents & (POLLIN | POLLHUP | POLLERR)) {
            receive_more(run, connection);
        }
        if (polled->fd >= 0 && polled->revents & POLLOUT && connection->busy) {
            send_more(run, connection);
        }
    }
}

void bench_load_run(bench_load_t *load)
{
    run_t run = { .load = load };
    size_t i;

    if (!load->connections || load->connections > CONNECTIONS_MAX) {
        bench_die("there have to be 1 to %d connections", CONNECTIONS_MAX);
    }
    run.address.sin_family = AF_INET;
    run.address.sin_port = htons((unsigned short)bench_number(load->port, "port"));
    if (inet_pton(AF_INET, load->host, &run.address.sin_addr) != 1) {
        bench_die("not an IPv4 address: %s", load->host);
    }
    run.connections = calloc(load->connections, sizeof(*run.connections));
    run.polled = calloc(load->connections, sizeof(*run.polled));
    bench_need(run.connections && run.polled, "getting memory");
    load->reconnects = 0;
    load->started = bench_now();
    for (i = 0; i < load->connections; ++i) {
        open_connection(&run, &run.connections[i]);
        take_next(&run, &run.connections[i]);
    }
    while (run.done < load->count) {
        wait_for_answers(&run);
        go_on(&run);
    }
    load->seconds = bench_now() - load->started;
    for (i = 0; i < load->connections; ++i) {
        close(run.connections[i].fd);
    }
    free(run.connections);
    free(run.polled);
}
