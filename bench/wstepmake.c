/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * Makes messages of MS-WSTEP (Issue with a UsernameToken) for the load generator, so that none of a
 * client's work is done while a server is measured; or one of MS-XCEP (-x). Subjects are distinct;
 * keys come from a pool, because making one takes longer than a hundred enrolments. With -b it is
 * the requests alone, PKCS#10 in DER, for the bare loop.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "bench/support.h"

#define WSS "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
#define TRUST "http://docs.oasis-open.org/ws-sx/ws-trust/200512"
#define MICROSOFT "http://schemas.microsoft.com/windows/pki/2009/01/"
#define ENROLMENT MICROSOFT "enrollment"
#define POLICY MICROSOFT "enrollmentpolicy"

/** Name of a template, in a BMPString (MS-WCCE 2.2.2.7.7.1). */
#define TEMPLATE_NAME_OID "1.3.6.1.4.1.311.20.2"

#define MESSAGE_MAX 16384
#define LINE 64
#define LIFETIME 86400

typedef struct {
    const char *url;
    const char *template;
    const char *user;               /* of which there are several: a number is appended */
    size_t users;
    const char *password;
    EVP_PKEY **keys;
    size_t key_count;
} maker_t;

static void add_extension(STACK_OF(X509_EXTENSION) *extensions, const char *name,
                          const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf(NULL, NULL, name, value);

    bench_need(extension && sk_X509_EXTENSION_push(extensions, extension), name);
}

static X509_REQ *make_request(const maker_t *maker, size_t number)
{
    EVP_PKEY *key = maker->keys[number % maker->key_count];
    STACK_OF(X509_EXTENSION) *extensions = sk_X509_EXTENSION_new_null();
    X509_REQ *request = X509_REQ_new();
    X509_NAME *subject = X509_NAME_new();
    char host[128], template[128];

    snprintf(host, sizeof(host), "host-%07zu.bench.example", number);
    snprintf(template, sizeof(template), "ASN1:BMPSTRING:%s", maker->template);
    bench_need(extensions && request && subject
               && X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                             (const unsigned char *)host, -1, -1, 0)
               && X509_REQ_set_subject_name(request, subject)
               && X509_REQ_set_pubkey(request, key), "making a request");
    add_extension(extensions, TEMPLATE_NAME_OID, template);
    add_extension(extensions, "keyUsage", "critical,digitalSignature,keyEncipherment");
    bench_need(X509_REQ_add_extensions(request, extensions)
               && X509_REQ_sign(request, key, EVP_sha256()) > 0, "signing a request");
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    X509_NAME_free(subject);
    return request;
}

static void make_uuid(char uuid[37])
{
    unsigned char r[16];

    bench_need(RAND_bytes(r, sizeof(r)) == 1, "getting random bytes");
    snprintf(uuid, 37, "%02x%02x%02x%02x-%02x%02x-4%01x%02x-8%01x%02x-%02x%02x%02x%02x%02x%02x",
             r[0], r[1], r[2], r[3], r[4], r[5], r[6] & 15, r[7], r[8] & 15, r[9], r[10], r[11],
             r[12], r[13], r[14], r[15]);
}

static void make_time(char text[32], time_t when)
{
    struct tm parts;

    gmtime_r(&when, &parts);
    strftime(text, 32, "%Y-%m-%dT%H:%M:%S.000Z", &parts);
}

/** As Windows sends it: lines of 64 characters, each ended by a character reference. */
static size_t encode_lines(char *to, const unsigned char *der, int length)
{
    char *begin = to;
    int i, part;

    for (i = 0; i < length; i += LINE / 4 * 3) {
        part = length - i < LINE / 4 * 3 ? length - i : LINE / 4 * 3;
        to += EVP_EncodeBlock((unsigned char *)to, der + i, part);
        to = stpcpy(to, "&#xD;\n");
    }
    return (size_t)(to - begin);
}

static void write_message(FILE *file, const maker_t *maker, size_t number, const char *action,
                          const char *body)
{
    static char message[MESSAGE_MAX];
    char id[37], token[37], created[32], expires[32];
    time_t now = time(NULL);
    int length;

    make_uuid(id);
    make_uuid(token);
    make_time(created, now);
    make_time(expires, now + LIFETIME);
    length = snprintf(message, sizeof(message),
        "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" "
        "xmlns:a=\"http://www.w3.org/2005/08/addressing\" xmlns:u=\"" WSS
        "wssecurity-utility-1.0.xsd\"><s:Header><a:Action s:mustUnderstand=\"1\">%s</a:Action>"
        "<a:MessageID>urn:uuid:%s</a:MessageID><a:ReplyTo><a:Address>"
        "http://www.w3.org/2005/08/addressing/anonymous</a:Address></a:ReplyTo>"
        "<a:To s:mustUnderstand=\"1\">%s</a:To><o:Security s:mustUnderstand=\"1\" xmlns:o=\"" WSS
        "wssecurity-secext-1.0.xsd\"><u:Timestamp u:Id=\"_0\"><u:Created>%s</u:Created>"
        "<u:Expires>%s</u:Expires></u:Timestamp><o:UsernameToken u:Id=\"uuid-%s-1\">"
        "<o:Username>%s%zu</o:Username><o:Password Type=\"" WSS
        "username-token-profile-1.0#PasswordText\">%s</o:Password></o:UsernameToken>"
        "</o:Security></s:Header><s:Body xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" "
        "xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\">%s</s:Body></s:Envelope>",
        action, id, maker->url, created, expires, token, maker->user, number % maker->users,
        maker->password, body);
    bench_need(length > 0 && length < MESSAGE_MAX, "writing a message");
    bench_pack_add(file, (const unsigned char *)message, (size_t)length);
}

static void write_request(FILE *file, const maker_t *maker, size_t number, int bare)
{
    static const char before[] =
        "<RequestSecurityToken xmlns=\"" TRUST "\"><TokenType>" WSS
        "x509-token-profile-1.0#X509v3</TokenType><RequestType>" TRUST "/Issue</RequestType>"
        "<BinarySecurityToken ValueType=\"" ENROLMENT "#PKCS10\" EncodingType=\"" WSS
        "wssecurity-secext-1.0.xsd#base64binary\" a:Id=\"\" xmlns:a=\"" WSS
        "wssecurity-utility-1.0.xsd\" xmlns=\"" WSS "wssecurity-secext-1.0.xsd\">";
    static const char after[] =
        "</BinarySecurityToken><RequestID xsi:nil=\"true\" xmlns=\"" ENROLMENT
        "\"/></RequestSecurityToken>";
    static char body[MESSAGE_MAX];
    X509_REQ *request = make_request(maker, number);
    unsigned char *der = NULL;
    int length = i2d_X509_REQ(request, &der);
    char *at = stpcpy(body, before);

    bench_need(length > 0 && (size_t)length * 2 < sizeof(body) - sizeof(before) - sizeof(after),
               "encoding a request");
    if (bare) {
        bench_pack_add(file, der, (size_t)length);
    }
    else {
        at += encode_lines(at, der, length);
        memcpy(at, after, sizeof(after));
        write_message(file, maker, number, ENROLMENT "/RST/wstep", body);
    }
    OPENSSL_free(der);
    X509_REQ_free(request);
}

int main(int argc, char **argv)
{
    maker_t maker = { .url = "https://localhost/", .template = "Bench", .user = "user",
                      .users = 1, .password = "" };
    size_t first = 0, end = 1000, i;
    int option, bare = 0, policies = 0;
    const char *output = NULL;
    FILE *file;

    while ((option = getopt(argc, argv, "bxf:n:o:u:U:w:t:")) != -1) {
        switch (option) {
        case 'b': bare = 1; break;
        case 'x': policies = 1; break;
        case 'f': first = bench_number(optarg, "-f"); break;
        case 'n': end = bench_number(optarg, "-n"); break;
        case 'o': output = optarg; break;
        case 't': maker.template = optarg; break;
        case 'u': maker.users = bench_number(optarg, "-u"); break;
        case 'U': maker.url = optarg; break;
        case 'w': maker.password = optarg; break;
        default: return 2;
        }
    }
    maker.key_count = (size_t)(argc - optind);
    if (!output || maker.users == 0 || (!policies && maker.key_count == 0)) {
        bench_die("usage: wstepmake -o FILE [-b|-x] [-f FIRST] [-n END] [-u USERS] [-U URL] "
                  "[-w PASSWORD] [-t TEMPLATE] KEY.pem...");
    }
    maker.keys = calloc(maker.key_count + 1, sizeof(*maker.keys));
    file = fopen(output, "w");
    bench_need(maker.keys && file, output);
    for (i = 0; i < maker.key_count; ++i) {
        maker.keys[i] = bench_read_key(argv[optind + (int)i]);
    }
    if (policies) {
        write_message(file, &maker, 0, POLICY "/IPolicy/GetPolicies",
                      "<GetPolicies xmlns=\"" POLICY "\"><client><lastUpdate>0001-01-01T00:00:00"
                      "</lastUpdate><preferredLanguage xsi:nil=\"true\"/></client><requestFilter "
                      "xsi:nil=\"true\"/></GetPolicies>");
    }
    for (i = first; !policies && i < end; ++i) {
        write_request(file, &maker, i, bare);
    }
    if (fclose(file) != 0) {
        bench_die("%s: %s", output, strerror(errno));
    }
    return 0;
}
