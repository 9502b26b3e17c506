/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * SCEP load: sends prebuilt messages of a pack (POST), or the same GET again and again. Whether the
 * answers are what they should be is checked when all have come, so that little is done while a
 * server is measured.
 */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/load.h"
#include "bench/support.h"

#define HEADER_MAX 1024

typedef struct {
    unsigned char *body;
    size_t length;
    float seconds;
} answer_t;

static struct {
    const char *path;
    bench_pack_t pack;          /* empty: GET */
    size_t first;
    answer_t *answers;
    char (*headers)[HEADER_MAX];    /* one for each message, or one for all GETs */
    size_t same;                /* with GET: length that every answer must have */
} scep;

static void make_headers(const bench_load_t *load)
{
    size_t i;

    scep.headers = calloc(scep.pack.count ? load->count : 1, sizeof(*scep.headers));
    bench_need(scep.headers != NULL, "getting memory");
    if (!scep.pack.count) {
        snprintf(scep.headers[0], HEADER_MAX, "GET %s HTTP/1.1\r\nHost: %s:%s\r\n\r\n",
                 scep.path, load->host, load->port);
        return;
    }
    for (i = 0; i < load->count; ++i) {
        snprintf(scep.headers[i], HEADER_MAX,
                 "POST %s HTTP/1.1\r\nHost: %s:%s\r\nContent-Type: application/x-pki-message\r\n"
                 "Content-Length: %zu\r\n\r\n", scep.path, load->host, load->port,
                 scep.pack.messages[scep.first + i].length);
    }
}

/** SCEP repeats are answered with the same certificate, so what was not answered may come again. */
static int request(const bench_load_t *load, size_t n, struct iovec parts[LOAD_PARTS])
{
    const bench_message_t *message = scep.pack.count ? &scep.pack.messages[scep.first + n] : NULL;

    parts[0].iov_base = scep.headers[message ? n : 0];
    parts[0].iov_len = strlen(parts[0].iov_base);
    if (message) {
        parts[1].iov_base = (void *)message->data;
        parts[1].iov_len = message->length;
    }
    return message ? 2 : 1;
}

static void keep(bench_load_t *load, size_t n, const unsigned char *body, size_t length,
                 double due, double done)
{
    answer_t *answer = &scep.answers[n];

    answer->seconds = (float)(done - due);
    answer->length = length;
    if (scep.pack.count) {
        answer->body = malloc(length ? length : 1);
        bench_need(answer->body != NULL, "getting memory");
        memcpy(answer->body, body, length);
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
static size_t count_wrong(const bench_load_t *load, X509 *signer)
{
    X509_STORE *none = X509_STORE_new();
    STACK_OF(X509) *signers = sk_X509_new_null();
    size_t i, wrong = 0;

    bench_need(none && signers && sk_X509_push(signers, signer), "getting memory");
    for (i = 0; i < load->count; ++i) {
        const bench_message_t *message = &scep.pack.messages[scep.first + i];
        CMS_ContentInfo *request = parse(message->data, message->length);
        CMS_ContentInfo *reply = parse(scep.answers[i].body, scep.answers[i].length);
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

static size_t count_other_lengths(const bench_load_t *load)
{
    size_t i, wrong = 0;

    for (i = 0; i < load->count; ++i) {
        wrong += scep.answers[i].length != scep.same;
    }
    return wrong;
}

static int by_time(const void *one, const void *other)
{
    float a = ((const answer_t *)one)->seconds, b = ((const answer_t *)other)->seconds;

    return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
    bench_load_t load = { .connections = 8, .count = 1000, .request = request, .answer = keep };
    X509 *signer = NULL;
    size_t wrong;
    int option;

    while ((option = getopt(argc, argv, "c:f:n:m:s:l:")) != -1) {
        switch (option) {
        case 'c':
            load.connections = bench_number(optarg, "-c");
            break;
        case 'f':
            scep.first = bench_number(optarg, "-f");
            break;
        case 'n':
            load.count = bench_number(optarg, "-n");
            break;
        case 'm':
            bench_pack_open(&scep.pack, optarg);
            break;
        case 's':
            signer = bench_read_certificate(optarg);
            break;
        case 'l':
            scep.same = bench_number(optarg, "-l");
            break;
        default:
            return 2;
        }
    }
    if (argc - optind != 3 || !load.count || (scep.pack.count && !signer)) {
        bench_die("usage: scepload [-c CONNECTIONS] [-n COUNT] "
                  "{-m MESSAGES -s SIGNER.pem [-f FIRST] | -l LENGTH} HOST PORT PATH");
    }
    if (scep.pack.count && (scep.first > scep.pack.count
                            || load.count > scep.pack.count - scep.first)) {
        bench_die("there are only %zu messages", scep.pack.count);
    }
    load.host = argv[optind];
    load.port = argv[optind + 1];
    scep.path = argv[optind + 2];
    scep.answers = calloc(load.count, sizeof(*scep.answers));
    bench_need(scep.answers != NULL, "getting memory");

    make_headers(&load);

    bench_load_run(&load);
    wrong = scep.pack.count ? count_wrong(&load, signer) : count_other_lengths(&load);
    qsort(scep.answers, load.count, sizeof(*scep.answers), by_time);
    printf("{\"requests\": %zu, \"seconds\": %.6f, \"wrong\": %zu, \"reconnects\": %zu, "
           "\"p50_us\": %.0f, \"p99_us\": %.0f}\n", load.count, load.seconds, wrong,
           load.reconnects,
           (double)scep.answers[load.count / 2].seconds * 1e6,
           (double)scep.answers[load.count * 99 / 100].seconds * 1e6);
    return wrong ? 1 : 0;
}
