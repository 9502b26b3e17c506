/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "bench/support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>

void bench_die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

void bench_need(int value, const char *what)
{
    if (!value) {
        ERR_print_errors_fp(stderr);
        bench_die("failed: %s", what);
    }
}

size_t bench_number(const char *text, const char *what)
{
    char *end;
    unsigned long long number;

    errno = 0;
    number = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-') {
        bench_die("%s: not a number: %s", what, text);
    }
    return (size_t)number;
}

double bench_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint32_t read_length(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

void bench_pack_open(bench_pack_t *pack, const char *path)
{
    struct stat status;
    const unsigned char *data, *at, *end;
    size_t size = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    memset(pack, 0, sizeof(*pack));
    if (fd < 0 || fstat(fd, &status) != 0) {
        bench_die("%s: %s", path, strerror(errno));
    }
    if (status.st_size == 0) {
        bench_die("%s is empty", path);
    }
    data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (data == MAP_FAILED) {
        bench_die("%s: %s", path, strerror(errno));
    }
    close(fd);
    end = data + status.st_size;
    for (at = data; at < end; at += 4 + read_length(at)) {
        if (end - at < 4 || (size_t)(end - at) - 4 < read_length(at)) {
            bench_die("%s ends within a message", path);
        }
        if (pack->count == size) {
            size = size ? 2 * size : 1024;
            pack->messages = realloc(pack->messages, size * sizeof(*pack->messages));
            if (!pack->messages) {
                bench_die("out of memory");
            }
        }
        pack->messages[pack->count].data = at + 4;
        pack->messages[pack->count].length = read_length(at);
        ++pack->count;
    }
}

void bench_pack_add(FILE *file, const unsigned char *data, size_t length)
{
    unsigned char header[4] = {
        (unsigned char)(length >> 24), (unsigned char)(length >> 16),
        (unsigned char)(length >> 8), (unsigned char)length
    };

    if (fwrite(header, sizeof(header), 1, file) != 1 || fwrite(data, length, 1, file) != 1) {
        bench_die("cannot write: %s", strerror(errno));
    }
}

X509 *bench_read_certificate(const char *path)
{
    BIO *bio = BIO_new_file(path, "r");
    X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

    if (!certificate) {
        ERR_print_errors_fp(stderr);
        bench_die("%s: no certificate can be read", path);
    }
    BIO_free(bio);
    return certificate;
}

EVP_PKEY *bench_read_key(const char *path)
{
    BIO *bio = BIO_new_file(path, "r");
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;

    if (!key) {
        ERR_print_errors_fp(stderr);
        bench_die("%s: no key can be read", path);
    }
    BIO_free(bio);
    return key;
}

CMS_SignerInfo *bench_signer(CMS_ContentInfo *cms)
{
    STACK_OF(CMS_SignerInfo) *infos = CMS_get0_SignerInfos(cms);

    bench_need(infos && sk_CMS_SignerInfo_num(infos) == 1, "finding one signature");
    return sk_CMS_SignerInfo_value(infos, 0);
}

ASN1_STRING *bench_attribute(CMS_SignerInfo *si, const char *oid, int type)
{
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    ASN1_STRING *value;

    bench_need(object != NULL, "OBJ_txt2obj");
    value = CMS_signed_get0_data_by_OBJ(si, object, -3, type);
    ASN1_OBJECT_free(object);
    return value;
}
