/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * Makes OCSP requests for ocspload: whole HTTP requests, each about one certificate, taken at
 * random from a list of serial numbers. With the order a second file says which serial each is
 * about.
 */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/ocsp.h>
#include <openssl/rand.h>

#include "bench/support.h"

#define LINE_MAX_LENGTH 48
#define HEADER_MAX 8192

typedef struct {
    const EVP_MD *digest;
    X509 *issuer;
    const char *host;
    const char *path;
    int get;
    int nonce;
    int every;                  /* as many requests as serials, in their order */
} make_t;

typedef struct {
    char (*lines)[LINE_MAX_LENGTH];
    size_t count;
} serials_t;

static void read_serials(serials_t *serials, const char *path)
{
    FILE *file = fopen(path, "r");
    size_t size = 0;
    char line[LINE_MAX_LENGTH];

    bench_need(file != NULL, path);
    while (fgets(line, sizeof(line), file)) {
        line[strcspn(line, " \t\r\n")] = '\0';
        if (!*line) {
            continue;
        }
        if (serials->count == size) {
            size = size ? 2 * size : 1024;
            serials->lines = realloc(serials->lines, size * sizeof(*serials->lines));
            bench_need(serials->lines != NULL, "getting memory");
        }
        memcpy(serials->lines[serials->count++], line, sizeof(line));
    }
    fclose(file);
    bench_need(serials->count > 0, "finding a serial number");
}

static int make_der(const make_t *make, const char *serial, unsigned char **der)
{
    OCSP_REQUEST *request = OCSP_REQUEST_new();
    ASN1_INTEGER *number;
    BIGNUM *big = NULL;
    OCSP_CERTID *id;
    int length;

    *der = NULL;
    bench_need(BN_hex2bn(&big, serial) > 0, "reading a serial number");
    number = BN_to_ASN1_INTEGER(big, NULL);
    id = OCSP_cert_id_new(make->digest, X509_get_subject_name(make->issuer),
                          X509_get0_pubkey_bitstr(make->issuer), number);
    bench_need(request && id && OCSP_request_add0_id(request, id), "making a request");
    if (make->nonce) {
        bench_need(OCSP_request_add1_nonce(request, NULL, 32), "adding a nonce");
    }
    length = i2d_OCSP_REQUEST(request, der);
    bench_need(length > 0, "encoding a request");
    ASN1_INTEGER_free(number);
    BN_free(big);
    OCSP_REQUEST_free(request);
    return length;
}

/** Base64 in a path, with what a client escapes (RFC 9919 5). */
static size_t put_escaped(char *to, const unsigned char *der, int length)
{
    unsigned char text[HEADER_MAX];
    char *at = to;
    int i, count;

    bench_need(length < HEADER_MAX / 2, "fitting a request into a path");
    count = EVP_EncodeBlock(text, der, length);
    for (i = 0; i < count; ++i) {
        const char *escaped = text[i] == '/' ? "%2F" : text[i] == '+' ? "%2B"
                              : text[i] == '=' ? "%3D" : NULL;

        if (escaped) {
            memcpy(at, escaped, 3);
            at += 3;
        }
        else {
            *at++ = (char)text[i];
        }
    }
    return (size_t)(at - to);
}

static void put_request(FILE *pack, const make_t *make, const char *serial)
{
    unsigned char *der, buffer[2 * HEADER_MAX];
    char *text = (char *)buffer;
    int length = make_der(make, serial, &der);
    size_t used;

    if (make->get) {
        used = (size_t)snprintf(text, sizeof(buffer), "GET %s/", make->path);
        used += put_escaped(text + used, der, length);
        used += (size_t)snprintf(text + used, sizeof(buffer) - used,
                                 " HTTP/1.1\r\nHost: %s\r\n\r\n", make->host);
    }
    else {
        used = (size_t)snprintf(text, sizeof(buffer), "POST %s HTTP/1.1\r\nHost: %s\r\n"
                                "Content-Type: application/ocsp-request\r\n"
                                "Content-Length: %d\r\n\r\n", make->path, make->host, length);
        memcpy(buffer + used, der, (size_t)length);
        used += (size_t)length;
    }
    bench_pack_add(pack, buffer, used);
    OPENSSL_free(der);
}

static size_t any(size_t count)
{
    unsigned long long number;

    bench_need(RAND_bytes((unsigned char *)&number, sizeof(number)) == 1, "getting random bytes");
    return (size_t)(number % count);
}

int main(int argc, char **argv)
{
    make_t make = { .digest = EVP_sha1(), .host = "127.0.0.1", .path = "/ocsp" };
    const char *out = NULL, *order = NULL;
    FILE *pack, *names = NULL;
    serials_t serials = { NULL, 0 };
    size_t i, count = 1000;
    int option;

    while ((option = getopt(argc, argv, "n:d:H:p:o:O:gNa")) != -1) {
        switch (option) {
        case 'n':
            count = bench_number(optarg, "-n");
            break;
        case 'd':
            make.digest = EVP_get_digestbyname(optarg);
            break;
        case 'H':
            make.host = optarg;
            break;
        case 'p':
            make.path = optarg;
            break;
        case 'o':
            out = optarg;
            break;
        case 'O':
            order = optarg;
            break;
        case 'g':
            make.get = 1;
            break;
        case 'N':
            make.nonce = 1;
            break;
        case 'a':
            make.every = 1;
            break;
        default:
            return 2;
        }
    }
    if (argc - optind != 2 || !out || !make.digest) {
        bench_die("usage: ocspmake [-n COUNT | -a] [-d DIGEST] [-g] [-N] [-H HOST] [-p PATH] "
                  "[-O ORDER] -o PACK ISSUER.pem SERIALS");
    }
    make.issuer = bench_read_certificate(argv[optind]);
    read_serials(&serials, argv[optind + 1]);
    pack = fopen(out, "wb");
    names = order ? fopen(order, "w") : NULL;
    bench_need(pack && (names || !order), "making a file");
    if (make.every) {
        count = serials.count;
    }
    for (i = 0; i < count; ++i) {
        const char *serial = serials.lines[make.every ? i : any(serials.count)];

        put_request(pack, &make, serial);
        if (names) {
            fprintf(names, "%s\n", serial);
        }
    }
    bench_need(fclose(pack) == 0 && (!names || fclose(names) == 0), "writing a file");
    return 0;
}
