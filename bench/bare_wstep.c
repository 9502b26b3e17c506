/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * The floor for an enrolment by WSTEP: the calls into OpenSSL that a PKCS#10 request takes, one
 * after the other, without httpd, XML, policy, ledger, store or network. CA and RA are read once;
 * nothing of a request is kept for the next one. What clients send is parsed in the context of
 * x509/decoding.h, as the server does it, or with -d in the default one, as any program does it.
 */

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <apr_general.h>
#include <openssl/x509v3.h>

#include "bench/bare_issue.h"
#include "bench/support.h"
#include "decoding_support.h"

/** A full PKI response (RFC 5272 3.2.2) of fixed content, with the certificate and the CA's. */
static size_t reply(const bare_server_t *server, X509 *certificate)
{
    /* PKIResponse with CMCStatusInfo and the digest of the certificate, as long as the server's */
    static unsigned char content[128];
    const unsigned flags = CMS_BINARY | CMS_NOSMIMECAP | CMS_PARTIAL;
    ASN1_OBJECT *type = OBJ_txt2obj("1.3.6.1.5.5.7.12.3", 1);
    CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL, flags);
    BIO *in = BIO_new_mem_buf(content, sizeof(content));
    unsigned char *der = NULL, *text;
    unsigned int size;
    int length;

    bench_need(type && cms && in && X509_digest(certificate, EVP_sha1(), content, &size)
               && CMS_set1_eContentType(cms, type)
               && CMS_add1_signer(cms, server->ra, server->ra_key, EVP_sha256(), flags)
               && CMS_add1_cert(cms, certificate) && CMS_add1_cert(cms, server->ca)
               && CMS_final(cms, in, NULL, flags), "CMS_final");
    length = i2d_CMS_ContentInfo(cms, &der);
    text = length > 0 ? OPENSSL_malloc((size_t)length * 2) : NULL;
    bench_need(text && EVP_EncodeBlock(text, der, length) > 0, "i2d_CMS_ContentInfo");
    OPENSSL_free(text);
    OPENSSL_free(der);
    CMS_ContentInfo_free(cms);
    BIO_free(in);
    ASN1_OBJECT_free(type);
    return (size_t)length;
}

static size_t enrol(const bare_server_t *server, const bench_message_t *message)
{
    const unsigned char *at = message->data;
    X509_REQ *request = (X509_REQ *)ASN1_item_d2i_ex(NULL, &at, (long)message->length,
                                                     ASN1_ITEM_rptr(X509_REQ), server->decoding,
                                                     NULL);
    X509 *certificate;
    size_t length;

    bench_need(request && X509_REQ_verify_ex(request, X509_REQ_get0_pubkey(request),
                                             server->decoding, NULL) == 1, "X509_REQ_verify");
    certificate = bare_issue(server, request);
    length = reply(server, certificate);
    X509_free(certificate);
    X509_REQ_free(request);
    return length;
}

static double cpu_seconds(void)
{
    struct timespec used;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    bare_server_t server;
    bench_pack_t pack;
    size_t first = 0, count = 1000, i, bytes = 0;
    double cpu, started;
    apr_pool_t *pool;
    int option, lean = 1;

    while ((option = getopt(argc, argv, "df:n:")) != -1) {
        switch (option) {
        case 'd':
            lean = 0;
            break;
        case 'f':
            first = bench_number(optarg, "-f");
            break;
        case 'n':
            count = bench_number(optarg, "-n");
            break;
        default:
            return 2;
        }
    }
    if (argc - optind != 5 || count == 0) {
        bench_die("usage: bare_wstep [-d] [-f FIRST] [-n COUNT] CA.pem CA-KEY.pem RA.pem "
                  "RA-KEY.pem REQUESTS");
    }
    apr_initialize();
    apr_pool_create(&pool, NULL);
    memset(&server, 0, sizeof(server));
    server.decoding = lean ? decoding_context(pool) : NULL;
    server.ca = bench_read_certificate(argv[optind]);
    server.ca_key = bench_read_key(argv[optind + 1]);
    server.ra = bench_read_certificate(argv[optind + 2]);
    server.ra_key = bench_read_key(argv[optind + 3]);
    bench_pack_open(&pack, argv[optind + 4]);
    if (first > pack.count || count > pack.count - first) {
        bench_die("there are only %zu requests", pack.count);
    }
    bare_prepare(&server);
    for (i = 0; i < 20 && i < count; ++i) {
        bytes += enrol(&server, &pack.messages[first + i]);
    }
    cpu = cpu_seconds();
    started = bench_now();
    for (i = 0; i < count; ++i) {
        bytes += enrol(&server, &pack.messages[first + i]);
    }
    printf("{\"requests\": %zu, \"seconds\": %.6f, \"cpu_us\": %.2f, \"bytes\": %zu}\n", count,
           bench_now() - started, (cpu_seconds() - cpu) * 1e6 / (double)count, bytes);
    return 0;
}
