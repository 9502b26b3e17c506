/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * WSTEP load: sends prebuilt messages of a pack (POST), the first one of a pack again and again, or
 * the same GET. Whether the answers are what they should be is checked when all have come, so that
 * little is done while a server is measured.
 */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/load.h"
#include "bench/support.h"

#define HEADER_MAX 1024
#define VERIFIED 8              /* one of so many signatures is verified */

typedef struct {
    unsigned char *body;
    size_t length;
    float seconds;
} answer_t;

static struct {
    const char *path;
    bench_pack_t pack;          /* empty: GET */
    size_t first;
    int repeat;                 /* 1: the first message alone */
    answer_t *answers;
    char (*headers)[HEADER_MAX];
    size_t same;                /* GET or repeat: length that every answer must have */
} wstep;

static const bench_message_t *message_of(size_t n)
{
    return &wstep.pack.messages[wstep.repeat ? 0 : wstep.first + n];
}

static int has_one_header(void)
{
    return wstep.repeat || !wstep.pack.count;
}

static void make_headers(const bench_load_t *load)
{
    size_t i, count = has_one_header() ? 1 : load->count;

    wstep.headers = calloc(count, sizeof(*wstep.headers));
    bench_need(wstep.headers != NULL, "getting memory");
    for (i = 0; wstep.pack.count && i < count; ++i) {
        snprintf(wstep.headers[i], HEADER_MAX,
                 "POST %s HTTP/1.1\r\nHost: %s:%s\r\n"
                 "Content-Type: application/soap+xml; charset=utf-8\r\nContent-Length: %zu\r\n\r\n",
                 wstep.path, load->host, load->port, message_of(i)->length);
    }
    if (!wstep.pack.count) {
        snprintf(wstep.headers[0], HEADER_MAX, "GET %s HTTP/1.1\r\nHost: %s:%s\r\n\r\n",
                 wstep.path, load->host, load->port);
    }
}

static int request(const bench_load_t *load, size_t n, struct iovec parts[LOAD_PARTS])
{
    parts[0].iov_base = wstep.headers[has_one_header() ? 0 : n];
    parts[0].iov_len = strlen(parts[0].iov_base);
    if (!wstep.pack.count) {
        return 1;
    }
    parts[1].iov_base = (void *)message_of(n)->data;
    parts[1].iov_len = message_of(n)->length;
    return 2;
}

static void keep(bench_load_t *load, size_t n, const unsigned char *body, size_t length,
                 double due, double done)
{
    answer_t *answer = &wstep.answers[n];

    answer->seconds = (float)(done - due);
    answer->length = length;
    if (!has_one_header()) {
        answer->body = malloc(length + 1);
        bench_need(answer->body != NULL, "getting memory");
        memcpy(answer->body, body, length);
        answer->body[length] = '\0';
    }
}

/* Afterwards */

/** The last token of an answer: the certificate. */
static X509 *certificate_of(const answer_t *answer)
{
    static const char end[] = "</BinarySecurityToken>";
    unsigned char *der, *at, *text = answer->body, *next, *stop = NULL;
    const unsigned char *start;
    X509 *certificate;
    int length;

    while ((next = (unsigned char *)strstr((char *)text, end)) != NULL) {
        stop = next;
        text = next + sizeof(end) - 1;
    }
    if (!stop) {
        return NULL;
    }
    for (at = stop; at > answer->body && at[-1] != '>'; --at) {
    }
    *stop = '\0';
    der = malloc((size_t)(stop - at));
    bench_need(der != NULL, "getting memory");
    length = EVP_DecodeBlock(der, at, (int)(stop - at));
    start = der;
    certificate = length > 0 ? d2i_X509(NULL, &start, length) : NULL;
    free(der);
    return certificate;
}

/** Every answer is a certificate for its own subject; of some the signature is verified. */
static size_t count_wrong(const bench_load_t *load, X509 *ca)
{
    char host[128], name[128];
    size_t i, wrong = 0;

    for (i = 0; i < load->count; ++i) {
        X509 *certificate = certificate_of(&wstep.answers[i]);

        snprintf(host, sizeof(host), "host-%07zu.bench.example", wstep.first + i);
        if (!certificate
            || X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name,
                                         sizeof(name)) <= 0
            || strcmp(name, host) != 0
            || (i % VERIFIED == 0 && X509_verify(certificate, X509_get0_pubkey(ca)) != 1)) {
            ++wrong;
        }
        X509_free(certificate);
    }
    return wrong;
}

static int by_seconds(const void *one, const void *other)
{
    float a = ((const answer_t *)one)->seconds, b = ((const answer_t *)other)->seconds;

    return (a > b) - (a < b);
}

static void check(const bench_load_t *load, X509 *ca)
{
    size_t i;

    if (!has_one_header()) {
        i = count_wrong(load, ca);
        if (i) {
            bench_die("%zu of %zu answers are not certificates for their requests", i,
                      load->count);
        }
        return;
    }
    for (i = 0; i < load->count; ++i) {
        if (wstep.answers[i].length != wstep.same) {
            bench_die("an answer has %zu bytes instead of %zu", wstep.answers[i].length,
                      wstep.same);
        }
    }
}

int main(int argc, char **argv)
{
    bench_load_t load = { .connections = 8, .count = 1000, .request = request, .answer = keep };
    X509 *ca = NULL;
    int option;

    while ((option = getopt(argc, argv, "c:n:f:m:rs:l:")) != -1) {
        switch (option) {
        case 'c': load.connections = bench_number(optarg, "-c"); break;
        case 'n': load.count = bench_number(optarg, "-n"); break;
        case 'f': wstep.first = bench_number(optarg, "-f"); break;
        case 'm': bench_pack_open(&wstep.pack, optarg); break;
        case 'r': wstep.repeat = 1; break;
        case 's': ca = bench_read_certificate(optarg); break;
        case 'l': wstep.same = bench_number(optarg, "-l"); break;
        default: return 2;
        }
    }
    if (argc - optind != 3 || (!has_one_header() && !ca)) {
        bench_die("usage: wstepload [-c CONNECTIONS] [-n COUNT] [-m PACK [-f FIRST] -s CA.pem | "
                  "[-m PACK -r] -l LENGTH] HOST PORT PATH");
    }
    load.host = argv[optind];
    load.port = argv[optind + 1];
    wstep.path = argv[optind + 2];
    if (!has_one_header() && wstep.first + load.count > wstep.pack.count) {
        bench_die("there are only %zu messages", wstep.pack.count);
    }
    wstep.answers = calloc(load.count, sizeof(*wstep.answers));
    bench_need(wstep.answers != NULL, "getting memory");
    make_headers(&load);
    bench_load_run(&load);
    check(&load, ca);
    qsort(wstep.answers, load.count, sizeof(*wstep.answers), by_seconds);
    printf("{\"requests\": %zu, \"seconds\": %.6f, \"p99_us\": %.1f, \"reconnects\": %zu}\n",
           load.count, load.seconds,
           (double)wstep.answers[load.count * 99 / 100].seconds * 1e6, load.reconnects);
    return 0;
}
