/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * The bare loop of OCSP: for each request of a pack (ocspmake) the calls into OpenSSL that it takes
 * to parse it and to make and sign the answer, with nothing around: no httpd, no look-up, no
 * network.
 */

#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <openssl/ocsp.h>

#include "bench/support.h"

typedef struct {
    X509 *signer;
    EVP_PKEY *key;
    ASN1_TIME *this_update;
    ASN1_TIME *next_update;
} loop_t;

static double cpu_seconds(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
           + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void answer(const loop_t *loop, const unsigned char *data, size_t length)
{
    OCSP_REQUEST *request = d2i_OCSP_REQUEST(NULL, &data, (long)length);
    OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
    OCSP_RESPONSE *response;
    unsigned char *der = NULL;
    OCSP_CERTID *id;

    bench_need(request && basic, "reading a request");
    id = OCSP_onereq_get0_id(OCSP_request_onereq_get0(request, 0));
    bench_need(OCSP_basic_add1_status(basic, id, V_OCSP_CERTSTATUS_GOOD, 0, NULL,
                                      loop->this_update, loop->next_update) != NULL
               && OCSP_copy_nonce(basic, request) > 0
               && OCSP_basic_sign(basic, loop->signer, loop->key, EVP_sha256(), NULL,
                                  OCSP_RESPID_KEY) == 1, "signing");
    response = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
    bench_need(response && i2d_OCSP_RESPONSE(response, &der) > 0, "encoding an answer");
    OPENSSL_free(der);
    OCSP_RESPONSE_free(response);
    OCSP_BASICRESP_free(basic);
    OCSP_REQUEST_free(request);
}

int main(int argc, char **argv)
{
    bench_pack_t pack;
    double started, cpu;
    size_t i, count = 1000;
    loop_t loop;
    int option;

    while ((option = getopt(argc, argv, "n:")) != -1) {
        if (option != 'n') {
            return 2;
        }
        count = bench_number(optarg, "-n");
    }
    if (argc - optind != 3 || !count) {
        bench_die("usage: bare_ocsp [-n COUNT] SIGNER.pem KEY.pem PACK");
    }
    loop.signer = bench_read_certificate(argv[optind]);
    loop.key = bench_read_key(argv[optind + 1]);
    loop.this_update = X509_gmtime_adj(NULL, 0);
    loop.next_update = X509_gmtime_adj(NULL, 3600);
    bench_pack_open(&pack, argv[optind + 2]);
    cpu = cpu_seconds();
    started = bench_now();
    for (i = 0; i < count; ++i) {
        const bench_message_t *message = &pack.messages[i % pack.count];
        const unsigned char *body = memmem(message->data, message->length, "\r\n\r\n", 4);

        bench_need(body != NULL, "finding the body of a request");
        body += 4;
        answer(&loop, body, (size_t)(message->data + message->length - body));
    }
    printf("{\"requests\": %zu, \"seconds\": %.6f, \"cpu_us\": %.3f}\n", count,
           bench_now() - started, (cpu_seconds() - cpu) * 1e6 / (double)count);
    return 0;
}
