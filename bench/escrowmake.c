/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * Makes uploads for the escrow: JSON with two RSA-2048 PKCS#12 each, for a pair of device and user
 * of its own, as OpenSSL 3 writes such files (PBES2 with AES-256-CBC, MAC with SHA-256, 2048
 * iterations). With -d each is followed by the skeleton that it completes. The two files of the
 * first upload are kept, for the bare loop.
 */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>
#include <openssl/pkcs12.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "bench/escrownames.h"
#include "bench/support.h"

#define KEYS_MAX 64

typedef struct {
    EVP_PKEY *keys[KEYS_MAX];
    size_t key_count;
    X509 *ca;                       /* of devices; NULL: no skeletons */
    EVP_PKEY *ca_key;
    X509 *mail_ca;                  /* of users */
    EVP_PKEY *mail_key;
    const char *out;
    size_t series;
} maker_t;

typedef struct {
    unsigned char *data;
    int length;
} der_t;

static void add_extension(X509 *certificate, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

    bench_need(extension && X509_add_ext(certificate, extension, -1), "adding an extension");
    X509_EXTENSION_free(extension);
}

static X509 *make_certificate(const char *name, EVP_PKEY *key, X509 *ca, EVP_PKEY *ca_key,
                              const char *usage, const char *mail)
{
    X509 *certificate = X509_new();
    X509_NAME *subject = X509_NAME_new();
    uint64_t serial;

    bench_need(RAND_bytes((unsigned char *)&serial, sizeof(serial)) == 1, "getting random bytes");
    bench_need(certificate && X509_set_version(certificate, X509_VERSION_3)
               && ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial | 1)
               && X509_gmtime_adj(X509_getm_notBefore(certificate), -3600)
               && X509_gmtime_adj(X509_getm_notAfter(certificate), 365 * 86400)
               && X509_set_issuer_name(certificate, X509_get_subject_name(ca))
               && X509_set_pubkey(certificate, key)
               && X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                             (const unsigned char *)name, -1, -1, 0)
               && X509_set_subject_name(certificate, subject), "making a certificate");
    add_extension(certificate, NID_key_usage, usage);
    if (mail) {
        add_extension(certificate, NID_subject_alt_name, mail);
    }
    bench_need(X509_sign(certificate, ca_key, EVP_sha256()) > 0, "signing a certificate");
    X509_NAME_free(subject);
    return certificate;
}

static json_t *base64(der_t der)
{
    char *text = malloc((size_t)(der.length + 2) / 3 * 4 + 1);
    json_t *string;

    bench_need(text != NULL, "getting memory");
    EVP_EncodeBlock((unsigned char *)text, der.data, der.length);
    string = json_string(text);
    free(text);
    return string;
}

/** One credential, with a key from the pool and a certificate of its own. */
static der_t make_pkcs12(const maker_t *maker, size_t number, const char *usage)
{
    EVP_PKEY *key = maker->keys[number % maker->key_count];
    char mail[64];
    der_t der = { NULL, 0 };
    X509 *certificate;
    PKCS12 *pkcs12;

    snprintf(mail, sizeof(mail), "email:user-%zu@example.com", number / 2);
    certificate = make_certificate("Mail User", key, maker->mail_ca, maker->mail_key, usage, mail);
    pkcs12 = PKCS12_create(ESCROW_PASSWORD, "mail", key, certificate, NULL, 0, 0, 0, 0, 0);
    der.length = pkcs12 ? i2d_PKCS12(pkcs12, &der.data) : 0;
    bench_need(der.length > 0, "making a PKCS#12");
    PKCS12_free(pkcs12);
    X509_free(certificate);
    return der;
}

/** The bare loop opens the same files. */
static void keep_file(const maker_t *maker, const char *name, der_t der)
{
    char path[4096];
    FILE *file;

    snprintf(path, sizeof(path), "%s-%s.p12", maker->out, name);
    file = fopen(path, "wb");
    bench_need(file && fwrite(der.data, (size_t)der.length, 1, file) == 1 && fclose(file) == 0,
               path);
}

static void write_json(FILE *file, json_t *object)
{
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

    bench_need(text != NULL, "writing JSON");
    bench_pack_add(file, (const unsigned char *)text, strlen(text));
    free(text);
    json_decref(object);
}

static json_t *element(der_t der)
{
    return json_pack("{s:o, s:s}", "pkcs12", base64(der), "password", ESCROW_PASSWORD);
}

static void make_upload(const maker_t *maker, size_t number, FILE *file)
{
    der_t signing = make_pkcs12(maker, 2 * number, "critical,digitalSignature");
    der_t encryption = make_pkcs12(maker, 2 * number + 1, "critical,keyEncipherment");
    char device[ESCROW_UUID_SIZE], user[ESCROW_UUID_SIZE];

    if (number == 0) {
        keep_file(maker, "signing", signing);
        keep_file(maker, "encryption", encryption);
    }
    escrow_name_pair(device, user, maker->series, number);
    write_json(file, json_pack("{s:s, s:s, s:{s:[o], s:[o]}}", "device_uuid", device, "user_uuid",
                               user, "smime_certificates", "signing", element(signing),
                               "encryption", element(encryption)));
    OPENSSL_free(signing.data);
    OPENSSL_free(encryption.data);
}

static const char skeleton[] =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
    "<plist version=\"1.0\"><dict>\n"
    "<key>PayloadType</key><string>Configuration</string>\n"
    "<key>PayloadVersion</key><integer>1</integer>\n"
    "<key>PayloadIdentifier</key><string>com.example.mail</string>\n"
    "<key>PayloadUUID</key><string>8F2E0C5B-51B8-4A0C-9C5F-0D8B6B1B7A01</string>\n"
    "<key>PayloadContent</key><array>\n"
    "<dict><key>PayloadType</key><string>com.apple.security.pkcs12</string>\n"
    "<key>PayloadVersion</key><integer>1</integer>\n"
    "<key>PayloadIdentifier</key><string>com.example.mail.signing</string>\n"
    "<key>PayloadUUID</key><string>0E0F4D6E-0A40-4C9F-8DF4-86A7D7F2D3A1</string>\n"
    "<key>PayloadContent</key><string>{{escrow.signing[0].pkcs12}}</string>\n"
    "<key>Password</key><string>{{escrow.signing[0].password}}</string></dict>\n"
    "<dict><key>PayloadType</key><string>com.apple.security.pkcs12</string>\n"
    "<key>PayloadVersion</key><integer>1</integer>\n"
    "<key>PayloadIdentifier</key><string>com.example.mail.encryption</string>\n"
    "<key>PayloadUUID</key><string>0E0F4D6E-0A40-4C9F-8DF4-86A7D7F2D3A2</string>\n"
    "<key>PayloadContent</key><string>{{escrow.encryption[0].pkcs12}}</string>\n"
    "<key>Password</key><string>{{escrow.encryption[0].password}}</string></dict>\n"
    "</array></dict></plist>\n";

static void make_skeleton(const maker_t *maker, size_t number, FILE *file)
{
    der_t text = { (unsigned char *)skeleton, sizeof(skeleton) - 1 };
    char device[ESCROW_UUID_SIZE], user[ESCROW_UUID_SIZE], profile[ESCROW_UUID_SIZE];
    X509 *certificate;
    der_t der = { NULL, 0 };

    escrow_name_pair(device, user, maker->series, number);
    escrow_name_profile(profile, maker->series, number);
    certificate = make_certificate(device, maker->keys[number % maker->key_count], maker->ca,
                                   maker->ca_key, "critical,digitalSignature,keyEncipherment",
                                   NULL);
    der.length = i2d_X509(certificate, &der.data);
    bench_need(der.length > 0, "encoding a certificate");
    write_json(file, json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "profile_uuid", profile,
                               "device_uuid", device, "user_uuid", user, "format", "mobileconfig",
                               "skeleton", base64(text), "recipient_certificate", base64(der)));
    OPENSSL_free(der.data);
    X509_free(certificate);
}

int main(int argc, char **argv)
{
    maker_t maker = { .series = 1 };
    size_t count = 100, i;
    char path[4096];
    int option;
    FILE *file;

    while ((option = getopt(argc, argv, "d:k:m:n:o:s:x:")) != -1) {
        switch (option) {
        case 'd':
            maker.ca = bench_read_certificate(optarg);
            break;
        case 'k':
            maker.ca_key = bench_read_key(optarg);
            break;
        case 'm':
            maker.mail_ca = bench_read_certificate(optarg);
            break;
        case 'x':
            maker.mail_key = bench_read_key(optarg);
            break;
        case 'n':
            count = bench_number(optarg, "-n");
            break;
        case 'o':
            maker.out = optarg;
            break;
        case 's':
            maker.series = bench_number(optarg, "-s");
            break;
        default:
            return 2;
        }
    }
    if (!maker.out || !maker.mail_ca || !maker.mail_key || !maker.ca != !maker.ca_key
        || argc == optind || argc - optind > KEYS_MAX) {
        bench_die("usage: escrowmake -m CA.pem -x CA.key [-d CA.pem -k CA.key] [-n COUNT] "
                  "[-s SERIES] -o PREFIX KEY...");
    }
    for (; optind < argc; ++optind) {
        maker.keys[maker.key_count++] = bench_read_key(argv[optind]);
    }
    snprintf(path, sizeof(path), "%s.pack", maker.out);
    file = fopen(path, "wb");
    bench_need(file != NULL, path);
    for (i = 0; i < count; ++i) {
        make_upload(&maker, i, file);
        if (maker.ca) {
            make_skeleton(&maker, i, file);
        }
    }
    bench_need(fclose(file) == 0, path);
    return 0;
}
