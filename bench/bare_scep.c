/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * The floor for a SCEP enrolment: the calls into OpenSSL that a PKCSReq takes, one after the other,
 * without httpd, policy, ledger, store or network. CA and RA are read once; nothing of a message is
 * kept for the next one. What clients send is parsed in the context of x509/decoding.h, as the
 * server does it, or with -d in the default one, as any program does it.
 */

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <apr_general.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "bench/bare_issue.h"
#include "bench/support.h"
#include "decoding_support.h"

static CMS_ContentInfo *parse(const unsigned char *data, size_t length, OSSL_LIB_CTX *context)
{
    CMS_ContentInfo *cms = CMS_ContentInfo_new_ex(context, NULL);

    bench_need(cms && d2i_CMS_ContentInfo(&cms, &data, (long)length), "d2i_CMS_ContentInfo");
    return cms;
}

/** Verifies and decrypts. */
static X509_REQ *open_request(const bare_server_t *server, CMS_ContentInfo *outer)
{
    ASN1_OCTET_STRING **content = CMS_get0_content(outer);
    BIO *out = BIO_new(BIO_s_mem());
    CMS_ContentInfo *envelope;
    const unsigned char *at;
    X509_REQ *request;
    long length;

    bench_need(content && *content && out, "CMS_get0_content");
    envelope = parse(ASN1_STRING_get0_data(*content), (size_t)ASN1_STRING_length(*content),
                     NULL);
    bench_need(CMS_verify(outer, NULL, NULL, NULL, NULL, CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY),
               "CMS_verify");
    bench_need(CMS_decrypt(envelope, server->ra_key, server->ra, NULL, out, CMS_BINARY),
               "CMS_decrypt");
    length = BIO_get_mem_data(out, (char **)&at);
    request = (X509_REQ *)ASN1_item_d2i_ex(NULL, &at, length, ASN1_ITEM_rptr(X509_REQ),
                                           server->decoding, NULL);
    bench_need(request && X509_REQ_verify_ex(request, X509_REQ_get0_pubkey(request),
                                             server->decoding, NULL) == 1, "X509_REQ_verify");
    CMS_ContentInfo_free(envelope);
    BIO_free(out);
    return request;
}

/** The certificate alone in a degenerate message, encrypted to who sent the request. */
static BIO *encrypt(X509 *certificate, X509 *client, OSSL_LIB_CTX *context)
{
    STACK_OF(X509) *recipients = sk_X509_new_null();
    CMS_ContentInfo *certs_only = CMS_sign(NULL, NULL, NULL, NULL, CMS_PARTIAL | CMS_DETACHED);
    BIO *in = BIO_new(BIO_s_mem());
    BIO *out = BIO_new(BIO_s_mem());
    CMS_ContentInfo *envelope;

    bench_need(recipients && certs_only && in && out && sk_X509_push(recipients, client)
               && CMS_add1_cert(certs_only, certificate) && i2d_CMS_bio(in, certs_only),
               "certs-only");
    envelope = CMS_encrypt_ex(recipients, in, EVP_aes_128_cbc(), CMS_BINARY, context, NULL);
    bench_need(envelope && i2d_CMS_bio(out, envelope), "CMS_encrypt");
    CMS_ContentInfo_free(envelope);
    CMS_ContentInfo_free(certs_only);
    BIO_free(in);
    sk_X509_free(recipients);
    return out;
}

static void add_attribute(CMS_SignerInfo *si, const char *oid, int type, const void *data,
                          int length)
{
    bench_need(CMS_signed_add1_attr_by_txt(si, oid, type, data, length), "adding an attribute");
}

static void copy_attribute(CMS_SignerInfo *to, const char *name, CMS_SignerInfo *from,
                           const char *oid, int type)
{
    ASN1_STRING *value = bench_attribute(from, oid, type);

    bench_need(value != NULL, oid);
    add_attribute(to, name, type, ASN1_STRING_get0_data(value), ASN1_STRING_length(value));
}

static size_t reply(const bare_server_t *server, CMS_SignerInfo *asked, BIO *content)
{
    const unsigned flags = CMS_BINARY | CMS_NOSMIMECAP | CMS_PARTIAL;
    CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL, flags);
    CMS_SignerInfo *si = cms ? CMS_add1_signer(cms, server->ra, server->ra_key, EVP_sha256(), flags)
                             : NULL;
    unsigned char nonce[16];
    unsigned char *der = NULL;
    int length;

    bench_need(si && RAND_bytes(nonce, sizeof(nonce)) == 1, "CMS_add1_signer");
    add_attribute(si, SCEP_OID_MESSAGE_TYPE, V_ASN1_PRINTABLESTRING, "3", 1);
    add_attribute(si, SCEP_OID_PKI_STATUS, V_ASN1_PRINTABLESTRING, "0", 1);
    add_attribute(si, SCEP_OID_SENDER_NONCE, V_ASN1_OCTET_STRING, nonce, sizeof(nonce));
    copy_attribute(si, SCEP_OID_TRANSACTION_ID, asked, SCEP_OID_TRANSACTION_ID,
                   V_ASN1_PRINTABLESTRING);
    copy_attribute(si, SCEP_OID_RECIPIENT_NONCE, asked, SCEP_OID_SENDER_NONCE,
                   V_ASN1_OCTET_STRING);
    bench_need(CMS_final(cms, content, NULL, flags), "CMS_final");
    length = i2d_CMS_ContentInfo(cms, &der);
    bench_need(length > 0, "i2d_CMS_ContentInfo");
    OPENSSL_free(der);
    CMS_ContentInfo_free(cms);
    return (size_t)length;
}

static size_t enrol(const bare_server_t *server, const bench_message_t *message)
{
    CMS_ContentInfo *outer = parse(message->data, message->length, server->decoding);
    CMS_SignerInfo *si = bench_signer(outer);
    X509_REQ *request = open_request(server, outer);
    X509 *client = NULL, *certificate;
    BIO *envelope;
    size_t length;

    CMS_SignerInfo_get0_algs(si, NULL, &client, NULL, NULL);
    bench_need(client && X509_get0_pubkey(client), "finding the signer");
    certificate = bare_issue(server, request);
    envelope = encrypt(certificate, client, server->decoding);
    length = reply(server, si, envelope);
    BIO_free(envelope);
    X509_free(certificate);
    X509_REQ_free(request);
    CMS_ContentInfo_free(outer);
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
        bench_die("usage: bare_scep [-d] [-f FIRST] [-n COUNT] CA.pem CA-KEY.pem RA.pem RA-KEY.pem "
                  "MESSAGES");
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
        bench_die("there are only %zu messages", pack.count);
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
