/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * Fills a new store with certificates of one issuer: as many rows as wanted, with random serial
 * numbers, and no certificates in them. Writes the serials of good ones to a file, in the order of
 * the store.
 */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apr_general.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include "bench/support.h"
#include "status.h"
#include "store/certificates.h"
#include "store/store.h"
#include "x509/ca.h"
#include "x509/key.h"

#define SERIAL_SIZE 16
#define BATCH 20000
#define EVERY_REVOKED 100

typedef unsigned char fill_serial_t[SERIAL_SIZE];

typedef struct {
    const char *issuer;
    X509 *ca;
    const fill_serial_t *serials;
    size_t first, end;
    apr_pool_t *p;
} fill_t;

static int by_bytes(const void *one, const void *other)
{
    return memcmp(one, other, SERIAL_SIZE);
}

static apr_status_t register_issuer(gh_transaction_t *transaction, void *baton)
{
    const fill_t *fill = baton;

    return gh_issuer_register(transaction, fill->issuer,
                              gh_key_sha256(X509_get0_pubkey(fill->ca), fill->p),
                              gh_certificate_der(fill->ca, fill->p));
}

static int is_revoked(size_t number)
{
    return number % EVERY_REVOKED == EVERY_REVOKED / 2;
}

static apr_status_t insert(gh_transaction_t *transaction, void *baton)
{
    static const unsigned char digest[32] = "no certificate";
    const fill_t *fill = baton;
    gh_certificate_record_t record;
    apr_status_t rv = APR_SUCCESS;
    size_t i;

    memset(&record, 0, sizeof(record));
    record.issuer = fill->issuer;
    record.subject = "CN=x";
    record.sans = "[]";
    record.profile = "x";
    record.not_before = apr_time_now();
    record.not_after = record.not_before + apr_time_from_sec(3600LL * 24 * 365);
    record.sha256.data = record.key_sha256.data = digest;
    record.sha256.length = record.key_sha256.length = sizeof(digest);
    record.der.data = digest;
    record.der.length = 1;
    for (i = fill->first; rv == APR_SUCCESS && i < fill->end; ++i) {
        record.serial.data = fill->serials[i];
        record.serial.length = SERIAL_SIZE;
        record.status = is_revoked(i) ? GH_STATUS_REVOKED : GH_STATUS_GOOD;
        record.reason = is_revoked(i) ? 4 : GH_REASON_NONE;
        record.revoked_at = is_revoked(i) ? record.not_before : 0;
        rv = gh_certificate_insert(transaction, &record);
    }
    return rv;
}

static void fill_store(gh_store_t *store, fill_t *fill, size_t count)
{
    gh_result_t result;

    gh_result_clear(&result);
    if (gh_store_write(store, register_issuer, fill, &result) != APR_SUCCESS) {
        bench_die("registering the issuer: %s", result.message);
    }
    for (fill->first = 0; fill->first < count; fill->first = fill->end) {
        fill->end = fill->first + BATCH < count ? fill->first + BATCH : count;
        if (gh_store_write(store, insert, fill, &result) != APR_SUCCESS) {
            bench_die("inserting certificates: %s", result.message);
        }
    }
}

/** In the order of their numbers: a tree grows at one end then, and this takes seconds. */
static const fill_serial_t *make_serials(size_t count)
{
    fill_serial_t *serials = malloc(count * sizeof(*serials));
    size_t i;

    bench_need(serials != NULL, "getting memory");
    for (i = 0; i < count; ++i) {
        bench_need(RAND_bytes(serials[i], SERIAL_SIZE) == 1, "getting random bytes");
        serials[i][0] = (unsigned char)(serials[i][0] % 127 + 1);
    }
    qsort(serials, count, sizeof(*serials), by_bytes);
    return (const fill_serial_t *)serials;
}

static void write_serials(const char *path, const fill_serial_t *serials, size_t count)
{
    static const char digits[] = "0123456789abcdef";
    char line[2 * SERIAL_SIZE + 1];
    FILE *file = fopen(path, "w");
    size_t i, j;

    bench_need(file != NULL, path);
    line[2 * SERIAL_SIZE] = '\n';
    for (i = 0; i < count; ++i) {
        for (j = 0; j < SERIAL_SIZE; ++j) {
            line[2 * j] = digits[serials[i][j] >> 4];
            line[2 * j + 1] = digits[serials[i][j] & 15];
        }
        if (!is_revoked(i)) {
            bench_need(fwrite(line, sizeof(line), 1, file) == 1, path);
        }
    }
    bench_need(fclose(file) == 0, path);
}

int main(int argc, char **argv)
{
    const gh_store_options_t options = { .deadline = apr_time_from_sec(600) };
    const char *out = NULL, *uri;
    fill_t fill = { 0 };
    gh_result_t result;
    gh_store_t *store;
    size_t count = 1000;
    int option;

    while ((option = getopt(argc, argv, "n:o:")) != -1) {
        switch (option) {
        case 'n':
            count = bench_number(optarg, "-n");
            break;
        case 'o':
            out = optarg;
            break;
        default:
            return 2;
        }
    }
    if (argc - optind != 3 || !out) {
        bench_die("usage: ocspfill [-n COUNT] -o SERIALS STORE ISSUER CA.pem");
    }
    uri = argv[optind];
    fill.issuer = argv[optind + 1];
    fill.ca = bench_read_certificate(argv[optind + 2]);
    apr_initialize();
    apr_pool_create(&fill.p, NULL);
    gh_result_clear(&result);
    fill.serials = make_serials(count);
    if (gh_store_prepare(uri, (apr_uid_t)-1, (apr_gid_t)-1, &options, fill.p, &result)
            != APR_SUCCESS
        || gh_store_open(&store, uri, &options, fill.p, &result) != APR_SUCCESS) {
        bench_die("%s: %s", uri, result.message);
    }
    fill_store(store, &fill, count);
    apr_pool_destroy(fill.p);
    write_serials(out, fill.serials, count);
    return 0;
}
