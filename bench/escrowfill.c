/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * Fills a new store with devices whose users have a signing and an encryption credential: what the
 * server does for an upload, once its PKCS#12 files are open. Keys and certificates are those of
 * the two files; thumbprints and serial numbers are random.
 */

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <openssl/rand.h>

#include "bench/escrownames.h"
#include "bench/support.h"
#include "escrow/vault.h"
#include "mod_escrow/escrow_keep.h"

#define THREADS 32
#define PROVIDER "sha256:0000000000000000000000000000000000000000000000000000000000000000"

static struct {
    escrow_keep_t keep;
    escrow_credential_t *credentials[ESCROW_USES + 1];
    size_t series, count;
    size_t next;                    /* atomic */
} fill;

static const escrow_credential_t *another(escrow_use_t use, apr_pool_t *p)
{
    escrow_credential_t *copy = apr_pmemdup(p, fill.credentials[use], sizeof(*copy));
    unsigned char *serial = apr_palloc(p, 16);

    bench_need(RAND_bytes(copy->sha256, sizeof(copy->sha256)) == 1 && RAND_bytes(serial, 16) == 1,
               "getting random bytes");
    serial[0] = serial[0] % 127 + 1;
    copy->serial.data = serial;
    copy->serial.length = 16;
    return copy;
}

static void store_one(size_t number, apr_pool_t *p)
{
    escrow_upload_options_t options = { .archive = 1, .provider = PROVIDER, .origin = "upload" };
    gh_audit_event_t event = {
        .time = apr_time_now(), .id = gh_random_id(p), .node = "bench", .client = "127.0.0.1",
        .user = PROVIDER
    };
    char device[ESCROW_UUID_SIZE], user[ESCROW_UUID_SIZE];
    escrow_upload_t *upload;
    escrow_stored_t stored;
    gh_result_t result;

    gh_result_clear(&result);
    escrow_name_pair(device, user, fill.series, number);
    upload = escrow_upload_create(device, user, p);
    escrow_upload_add(upload, ESCROW_SIGNING, another(ESCROW_SIGNING, p), NULL, NULL);
    escrow_upload_add(upload, ESCROW_ENCRYPTION, another(ESCROW_ENCRYPTION, p), NULL, NULL);
    if (escrow_keep_upload(&stored, &fill.keep, upload, &options, &event, p, &result)
        != APR_SUCCESS) {
        bench_die("device %zu: %s %s", number, result.number, result.message);
    }
}

static void *run(void *baton)
{
    apr_pool_t *p;
    size_t number;

    (void)baton;
    bench_need(apr_pool_create(&p, NULL) == APR_SUCCESS, "getting memory");
    while ((number = __atomic_fetch_add(&fill.next, 1, __ATOMIC_RELAXED)) < fill.count) {
        store_one(number, p);
        apr_pool_clear(p);
    }
    apr_pool_destroy(p);
    return NULL;
}

static void open_file(escrow_use_t use, const escrow_opener_t *opener, const char *path,
                      apr_pool_t *p)
{
    unsigned char *data = apr_palloc(p, ESCROW_PKCS12_MAX);
    FILE *file = fopen(path, "rb");
    gh_bytes_t der = { data, 0 };
    gh_result_t result;

    bench_need(file != NULL, path);
    der.length = fread(data, 1, ESCROW_PKCS12_MAX, file);
    fclose(file);
    gh_result_clear(&result);
    if (escrow_pkcs12_open(&fill.credentials[use], opener, der, ESCROW_PASSWORD, use,
                           apr_time_now(), p, &result) != APR_SUCCESS) {
        bench_die("%s: %s", path, result.message);
    }
}

static void fill_store(void)
{
    pthread_t threads[THREADS];
    size_t i;

    for (i = 0; i < THREADS; ++i) {
        bench_need(pthread_create(&threads[i], NULL, run, NULL) == 0, "a thread");
    }
    for (i = 0; i < THREADS; ++i) {
        pthread_join(threads[i], NULL);
    }
}

int main(int argc, char **argv)
{
    const gh_store_options_t options = { .deadline = apr_time_from_sec(600) };
    gh_vault_key_t key;
    gh_vault_t *vault;
    escrow_opener_t *opener;
    gh_result_t result;
    apr_pool_t *p;
    int option;

    fill.count = 1000;
    while ((option = getopt(argc, argv, "n:s:")) != -1) {
        switch (option) {
        case 'n':
            fill.count = bench_number(optarg, "-n");
            break;
        case 's':
            fill.series = bench_number(optarg, "-s");
            break;
        default:
            return 2;
        }
    }
    if (argc - optind != 5) {
        bench_die("usage: escrowfill [-n COUNT] [-s SERIES] STORE KEYNAME KEYSOURCE SIGNING.p12 "
                  "ENCRYPTION.p12");
    }
    argv += optind;
    apr_initialize();
    apr_pool_create(&p, NULL);
    gh_result_clear(&result);
    if (gh_vault_key_open(&key, argv[1], argv[2], p, &result) != APR_SUCCESS
        || gh_vault_create(&vault, &key, 1, p, &result) != APR_SUCCESS
        || escrow_opener_create(&opener, gh_vault_locked(vault), NULL, p, &result) != APR_SUCCESS
        || gh_store_prepare(argv[0], (apr_uid_t)-1, (apr_gid_t)-1, &options, p, &result)
            != APR_SUCCESS
        || gh_store_open(&fill.keep.store, argv[0], &options, p, &result) != APR_SUCCESS) {
        bench_die("%s", result.message);
    }
    fill.keep.vault = vault;
    open_file(ESCROW_SIGNING, opener, argv[3], p);
    open_file(ESCROW_ENCRYPTION, opener, argv[4], p);
    fill_store();
    apr_pool_destroy(p);
    return 0;
}
