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

#include "bench/support.h"
#include "decoding_support.h"

#define LIFETIME (365 * 86400L)
#define BACKDATE 300

typedef struct {
    OSSL_LIB_CTX *decoding;             /* NULL: the default one */
    X509 *ca;
    EVP_PKEY *ca_key;
    X509 *ra;
    EVP_PKEY *ra_key;
    STACK_OF(X509_EXTENSION) *fixed;    /* what does not change from one certificate to the next */
} server_t;

/* The extensions of an issued certificate that depend on nothing but CA and profile. */
static void add_fixed(server_t *server, const char *name, const char *value)
{
    X509_EXTENSION *extension;
    X509V3_CTX context;

    X509V3_set_ctx(&context, server->ca, NULL, NULL, NULL, 0);
    extension = X509V3_EXT_conf(NULL, &context, name, value);
    bench_need(extension && sk_X509_EXTENSION_push(server->fixed, extension), name);
}

static void prepare(server_t *server)
{
    server->fixed = sk_X509_EXTENSION_new_null();
    bench_need(server->fixed != NULL, "getting memory");
    add_fixed(server, "authorityKeyIdentifier", "keyid:always");
    add_fixed(server, "keyUsage", "critical,digitalSignature,keyEncipherment");
    add_fixed(server, "extendedKeyUsage", "clientAuth");
    add_fixed(server, "crlDistributionPoints", "URI:http://127.0.0.1:8080/crl/devices.crl");
    add_fixed(server, "authorityInfoAccess", "caIssuers;URI:http://127.0.0.1:8080/ca/devices.cer");
}

/** The key as the request has it: X509_set_pubkey() would encode it and decode it again. */
static void copy_key(X509 *certificate, X509_REQ *request)
{
    X509_ALGOR *algorithm;
    ASN1_OBJECT *object;
    const unsigned char *data;
    unsigned char *copy;
    int length;

    bench_need(X509_PUBKEY_get0_param(NULL, &data, &length, &algorithm,
                                      X509_REQ_get_X509_PUBKEY(request)),
               "X509_PUBKEY_get0_param");
    object = OBJ_dup(algorithm->algorithm);
    copy = OPENSSL_memdup(data, (size_t)length);
    bench_need(object && copy
               && X509_PUBKEY_set0_param(X509_get_X509_PUBKEY(certificate), object, V_ASN1_NULL,
                                         NULL, copy, length), "X509_PUBKEY_set0_param");
}

static void add_key_identifier(X509 *certificate)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    ASN1_OCTET_STRING *identifier = ASN1_OCTET_STRING_new();
    ASN1_BIT_STRING *key = X509_get0_pubkey_bitstr(certificate);

    bench_need(identifier && key
               && EVP_Digest(ASN1_STRING_get0_data(key), (size_t)ASN1_STRING_length(key), digest,
                             NULL, EVP_sha256(), NULL)
               && ASN1_OCTET_STRING_set(identifier, digest, 20)
               && X509_add1_ext_i2d(certificate, NID_subject_key_identifier, identifier, 0,
                                    X509V3_ADD_DEFAULT), "subjectKeyIdentifier");
    ASN1_OCTET_STRING_free(identifier);
}

static void add_extensions(const server_t *server, X509 *certificate, X509_REQ *request)
{
    STACK_OF(X509_EXTENSION) *requested = X509_REQ_get_extensions(request);
    int i;

    add_key_identifier(certificate);
    for (i = 0; i < sk_X509_EXTENSION_num(server->fixed); ++i) {
        bench_need(X509_add_ext(certificate, sk_X509_EXTENSION_value(server->fixed, i), -1),
                   "X509_add_ext");
    }
    for (i = 0; i < sk_X509_EXTENSION_num(requested); ++i) {
        bench_need(X509_add_ext(certificate, sk_X509_EXTENSION_value(requested, i), -1),
                   "X509_add_ext");
    }
    sk_X509_EXTENSION_pop_free(requested, X509_EXTENSION_free);
}

static X509 *issue(const server_t *server, X509_REQ *request)
{
    X509 *certificate = X509_new();
    BIGNUM *serial = BN_new();

    bench_need(certificate && serial && BN_rand(serial, 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY)
               && BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(certificate))
               && X509_set_version(certificate, X509_VERSION_3)
               && X509_set_issuer_name(certificate, X509_get_subject_name(server->ca))
               && X509_set_subject_name(certificate, X509_REQ_get_subject_name(request))
               && X509_gmtime_adj(X509_getm_notBefore(certificate), -BACKDATE)
               && X509_gmtime_adj(X509_getm_notAfter(certificate), LIFETIME), "X509_new");
    copy_key(certificate, request);
    add_extensions(server, certificate, request);
    bench_need(X509_sign(certificate, server->ca_key, EVP_sha256()) > 0, "X509_sign");
    BN_free(serial);
    return certificate;
}

/** A full PKI response (RFC 5272 3.2.2) of fixed content, with the certificate and the CA's. */
static size_t reply(const server_t *server, X509 *certificate)
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

static size_t enrol(const server_t *server, const bench_message_t *message)
{
    const unsigned char *at = message->data;
    X509_REQ *request = (X509_REQ *)ASN1_item_d2i_ex(NULL, &at, (long)message->length,
                                                     ASN1_ITEM_rptr(X509_REQ), server->decoding,
                                                     NULL);
    X509 *certificate;
    size_t length;

    bench_need(request && X509_REQ_verify_ex(request, X509_REQ_get0_pubkey(request),
                                             server->decoding, NULL) == 1, "X509_REQ_verify");
    certificate = issue(server, request);
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
    server_t server;
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
    prepare(&server);
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
