/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * Makes SCEP PKCSReq messages (RFC 8894 3.3.1) for the load generator, so that none of a client's
 * work is done while a server is measured. Subject, names, transactionID and nonce are distinct;
 * keys come from a pool, because making one takes longer than a hundred enrolments. With the
 * certificates that earlier messages have brought (-R), it makes a RenewalReq for each, for the
 * next key of the pool. With the CA's certificate (-P) there is a CertPoll after each message, with
 * which the device asks again if it was told to wait (RFC 8894 3.3.3).
 */

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "bench/support.h"

/* values of messageType (RFC 8894 3.2.1.2) */
#define SCEP_RENEWAL_REQ "17"
#define SCEP_PKCS_REQ    "19"
#define SCEP_CERT_POLL   "20"

typedef struct {
    X509 *recipient;
    X509 *ca;                       /* NULL: no polls */
    const char *challenge;
    const char *name;
    EVP_PKEY **keys;
    size_t key_count;
    bench_pack_t old;               /* certificates to be renewed, in order; empty: enrolments */
} maker_t;

/** The name by which the subject and the subjectAltName of a request go. */
static void set_names(X509_REQ *request, const maker_t *maker, size_t number)
{
    char host[128], alternative[160];
    X509_NAME *subject = X509_NAME_new();
    STACK_OF(X509_EXTENSION) *extensions = sk_X509_EXTENSION_new_null();
    X509_EXTENSION *extension;

    snprintf(host, sizeof(host), "%s-%07zu.bench.example", maker->name, number);
    snprintf(alternative, sizeof(alternative), "DNS:%s", host);
    extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, alternative);
    bench_need(subject && extensions && extension
               && X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8,
                                             (const unsigned char *)"Bench", -1, -1, 0)
               && X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                             (const unsigned char *)host, -1, -1, 0)
               && X509_REQ_set_subject_name(request, subject)
               && sk_X509_EXTENSION_push(extensions, extension)
               && X509_REQ_add_extensions(request, extensions), "naming a request");
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    X509_NAME_free(subject);
}

static X509_REQ *make_request(const maker_t *maker, EVP_PKEY *key, size_t number)
{
    X509_REQ *request = X509_REQ_new();

    bench_need(request && X509_REQ_set_pubkey(request, key), "making a request");
    set_names(request, maker, number);
    if (maker->challenge) {
        bench_need(X509_REQ_add1_attr_by_NID(request, NID_pkcs9_challengePassword, MBSTRING_UTF8,
                                             (const unsigned char *)maker->challenge, -1),
                   "adding a challenge");
    }
    bench_need(X509_REQ_sign(request, key, EVP_sha256()) > 0, "signing a request");
    return request;
}

/** The certificate of somebody who has none (RFC 8894 2.3). */
static X509 *make_self_signed(X509_REQ *request, EVP_PKEY *key)
{
    X509 *certificate = X509_new();

    bench_need(certificate && X509_set_version(certificate, X509_VERSION_3)
               && ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1)
               && X509_gmtime_adj(X509_getm_notBefore(certificate), -3600)
               && X509_gmtime_adj(X509_getm_notAfter(certificate), 7 * 86400)
               && X509_set_subject_name(certificate, X509_REQ_get_subject_name(request))
               && X509_set_issuer_name(certificate, X509_REQ_get_subject_name(request))
               && X509_set_pubkey(certificate, key)
               && X509_sign(certificate, key, EVP_sha256()) > 0, "making a signer's certificate");
    return certificate;
}

static X509 *old_certificate(const maker_t *maker, size_t number)
{
    const unsigned char *der = maker->old.messages[number].data;
    X509 *certificate = d2i_X509(NULL, &der, (long)maker->old.messages[number].length);

    bench_need(certificate != NULL, "reading a certificate that is to be renewed");
    return certificate;
}

/** The content of a CertPoll: IssuerAndSubject, a SEQUENCE of both names. */
static void write_names(BIO *out, const maker_t *maker, X509_REQ *request)
{
    const X509_NAME *names[] = {
        X509_get_subject_name(maker->ca), X509_REQ_get_subject_name(request)
    };
    unsigned char header[16], *at = header, *der[2] = { NULL, NULL };
    int length[2];

    length[0] = i2d_X509_NAME(names[0], &der[0]);
    length[1] = i2d_X509_NAME(names[1], &der[1]);
    bench_need(length[0] > 0 && length[1] > 0, "encoding names");
    ASN1_put_object(&at, 1, length[0] + length[1], V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL);
    bench_need(BIO_write(out, header, (int)(at - header)) == at - header
               && BIO_write(out, der[0], length[0]) == length[0]
               && BIO_write(out, der[1], length[1]) == length[1], "encoding names");
    OPENSSL_free(der[0]);
    OPENSSL_free(der[1]);
}

static BIO *encrypt(const maker_t *maker, X509_REQ *request, int polls)
{
    STACK_OF(X509) *recipients = sk_X509_new_null();
    BIO *in = BIO_new(BIO_s_mem());
    BIO *out = BIO_new(BIO_s_mem());
    CMS_ContentInfo *cms;

    bench_need(recipients && in && out && sk_X509_push(recipients, maker->recipient),
               "getting memory");
    if (polls) {
        write_names(in, maker, request);
    }
    else {
        bench_need(i2d_X509_REQ_bio(in, request), "encoding a request");
    }
    cms = CMS_encrypt(recipients, in, EVP_aes_128_cbc(), CMS_BINARY);
    bench_need(cms && i2d_CMS_bio(out, cms), "encrypting a request");
    CMS_ContentInfo_free(cms);
    BIO_free(in);
    sk_X509_free(recipients);
    return out;
}

static void add_attribute(CMS_SignerInfo *si, const char *oid, int type, const void *data,
                          int length)
{
    bench_need(CMS_signed_add1_attr_by_txt(si, oid, type, data, length), "adding an attribute");
}

/** @param transaction 40 hexadecimal digits */
static void add_attributes(CMS_SignerInfo *si, const char *type, const char *transaction)
{
    unsigned char nonce[16];

    bench_need(RAND_bytes(nonce, sizeof(nonce)) == 1, "getting random bytes");
    add_attribute(si, SCEP_OID_MESSAGE_TYPE, V_ASN1_PRINTABLESTRING, type, 2);
    add_attribute(si, SCEP_OID_TRANSACTION_ID, V_ASN1_PRINTABLESTRING, transaction, 40);
    add_attribute(si, SCEP_OID_SENDER_NONCE, V_ASN1_OCTET_STRING, nonce, sizeof(nonce));
}

static void choose_transaction(char transaction[41])
{
    unsigned char random[20];
    size_t i;

    bench_need(RAND_bytes(random, sizeof(random)) == 1, "getting random bytes");
    for (i = 0; i < sizeof(random); ++i) {
        snprintf(transaction + 2 * i, 3, "%02X", random[i]);
    }
}

static void write_message(FILE *file, const char *type, const char *transaction, BIO *content,
                          X509 *signer, EVP_PKEY *key)
{
    const unsigned flags = CMS_BINARY | CMS_NOSMIMECAP | CMS_PARTIAL;
    CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL, flags);
    CMS_SignerInfo *si;
    unsigned char *der = NULL;
    int length;

    si = cms ? CMS_add1_signer(cms, signer, key, EVP_sha256(), flags) : NULL;
    bench_need(si != NULL, "making a message");
    add_attributes(si, type, transaction);
    bench_need(CMS_final(cms, content, NULL, flags), "signing a message");
    length = i2d_CMS_ContentInfo(cms, &der);
    bench_need(length > 0, "encoding a message");
    bench_pack_add(file, der, (size_t)length);
    OPENSSL_free(der);
    CMS_ContentInfo_free(cms);
    BIO_free(content);
}

static void make_message(const maker_t *maker, size_t number, FILE *file)
{
    int renews = maker->old.count > 0;
    EVP_PKEY *key = maker->keys[number % maker->key_count];
    EVP_PKEY *next = maker->keys[(number + 1) % maker->key_count];
    X509_REQ *request = make_request(maker, renews ? next : key, number);
    X509 *signer = renews ? old_certificate(maker, number) : make_self_signed(request, key);
    char transaction[41];

    choose_transaction(transaction);
    write_message(file, renews ? SCEP_RENEWAL_REQ : SCEP_PKCS_REQ, transaction,
                  encrypt(maker, request, 0), signer, key);
    if (maker->ca) {
        write_message(file, SCEP_CERT_POLL, transaction, encrypt(maker, request, 1), signer, key);
    }
    X509_free(signer);
    X509_REQ_free(request);
}

static void make_part(const maker_t *maker, size_t first, size_t end, const char *path)
{
    FILE *file = fopen(path, "w");

    if (!file) {
        bench_die("%s: %s", path, strerror(errno));
    }
    for (; first < end; ++first) {
        make_message(maker, first, file);
    }
    if (fclose(file) != 0) {
        bench_die("%s: %s", path, strerror(errno));
    }
}

static void append(FILE *to, const char *path)
{
    char buffer[65536];
    size_t length;
    FILE *from = fopen(path, "r");

    if (!from) {
        bench_die("%s: %s", path, strerror(errno));
    }
    while ((length = fread(buffer, 1, sizeof(buffer), from)) > 0) {
        if (fwrite(buffer, length, 1, to) != 1) {
            bench_die("cannot write: %s", strerror(errno));
        }
    }
    fclose(from);
    unlink(path);
}

/** One process for each core; their parts are joined in order. */
static void make_all(const maker_t *maker, size_t first, size_t end, size_t processes,
                     const char *path)
{
    char part[4096];
    size_t i;
    int status;
    FILE *file;

    for (i = 0; i < processes; ++i) {
        snprintf(part, sizeof(part), "%s.%zu", path, i);
        switch (fork()) {
        case -1:
            bench_die("fork: %s", strerror(errno));
        case 0:
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            make_part(maker, first + (end - first) * i / processes,
                      first + (end - first) * (i + 1) / processes, part);
            _exit(0);
        default:
            break;
        }
    }
    for (i = 0; i < processes; ++i) {
        if (wait(&status) < 0 || status != 0) {
            bench_die("a process that makes messages has failed");
        }
    }
    file = fopen(path, "w");
    if (!file) {
        bench_die("%s: %s", path, strerror(errno));
    }
    for (i = 0; i < processes; ++i) {
        snprintf(part, sizeof(part), "%s.%zu", path, i);
        append(file, part);
    }
    if (fclose(file) != 0) {
        bench_die("%s: %s", path, strerror(errno));
    }
}

int main(int argc, char **argv)
{
    maker_t maker = { .name = "device" };
    const char *output = NULL;
    size_t first = 0, count = 1000, processes = 1, i;
    int option;

    while ((option = getopt(argc, argv, "r:c:f:n:p:s:o:P:R:")) != -1) {
        switch (option) {
        case 'r':
            maker.recipient = bench_read_certificate(optarg);
            break;
        case 'c':
            maker.challenge = optarg;
            break;
        case 'f':
            first = bench_number(optarg, "-f");
            break;
        case 'n':
            count = bench_number(optarg, "-n");
            break;
        case 'p':
            processes = bench_number(optarg, "-p");
            break;
        case 's':
            maker.name = optarg;
            break;
        case 'P':
            maker.ca = bench_read_certificate(optarg);
            break;
        case 'R':
            bench_pack_open(&maker.old, optarg);
            break;
        case 'o':
            output = optarg;
            break;
        default:
            return 2;
        }
    }
    maker.key_count = (size_t)(argc - optind);
    if (!maker.recipient || !output || maker.key_count == 0 || processes == 0) {
        bench_die("usage: scepmake -r RECIPIENT.pem -o FILE [-c CHALLENGE] [-f FIRST] [-n END] "
                  "[-p PROCESSES] [-s NAME] [-P CA.pem] [-R CERTIFICATES] KEY.pem...");
    }
    if (maker.old.count > 0 && maker.old.count < count) {
        bench_die("there are only %zu certificates", maker.old.count);
    }
    maker.keys = calloc(maker.key_count, sizeof(*maker.keys));
    bench_need(maker.keys != NULL, "getting memory");
    for (i = 0; i < maker.key_count; ++i) {
        maker.keys[i] = bench_read_key(argv[optind + (int)i]);
    }
    make_all(&maker, first, count, processes, output);
    return 0;
}
