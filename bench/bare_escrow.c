/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * The floor for an upload: the calls into OpenSSL that opening, checking and sealing its PKCS#12
 * files take, one after the other, without httpd, JSON, store or network. With -o the same work is
 * done by our own functions.
 *
 *     bare_escrow [-o] [-n COUNT] PASSWORD FILE...      prints CPU microseconds for all files once
 */

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <apr_general.h>
#include <openssl/core_dispatch.h>
#include <openssl/pkcs12.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include "bench/support.h"
#include "escrow/vault.h"
#include "mod_escrow/escrow_pkcs12.h"
#include "x509/decoding.h"

#define FILES_MAX 64

GH_DECODING_FILTER(decoding, gh_decoding_create_private)

typedef struct {
    unsigned char data[65536];
    size_t length;
} file_t;

typedef struct {
    OSSL_LIB_CTX *context;
    const char *password;
    unsigned char key[32];
} server_t;

static void read_file(file_t *file, const char *path)
{
    FILE *in = fopen(path, "rb");

    if (in == NULL)
        bench_die("%s cannot be opened", path);
    file->length = fread(file->data, 1, sizeof(file->data), in);
    fclose(in);
}

/** AES-256-GCM with a nonce of its own. */
static void seal(const unsigned char *key, const unsigned char *in, int length)
{
    unsigned char out[8192], nonce[12], tag[16];
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    int n;

    bench_need(length <= (int)sizeof(out) && RAND_bytes(nonce, sizeof(nonce)) == 1, "RAND_bytes");
    bench_need(EVP_EncryptInit_ex2(cipher, EVP_aes_256_gcm(), key, nonce, NULL)
               && EVP_EncryptUpdate(cipher, NULL, &n, (const unsigned char *)"identity", 8)
               && EVP_EncryptUpdate(cipher, out, &n, in, length)
               && EVP_EncryptFinal_ex(cipher, out + n, &n)
               && EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, 16, tag), "sealing");
    EVP_CIPHER_CTX_free(cipher);
}

static void take_bags(const server_t *server, STACK_OF(PKCS12_SAFEBAG) *bags,
                      PKCS8_PRIV_KEY_INFO **key, X509 **certificate)
{
    int length = (int)strlen(server->password), i;

    for (i = 0; i < sk_PKCS12_SAFEBAG_num(bags); i++) {
        PKCS12_SAFEBAG *bag = sk_PKCS12_SAFEBAG_value(bags, i);

        if (PKCS12_SAFEBAG_get_nid(bag) == NID_pkcs8ShroudedKeyBag)
            *key = PKCS12_decrypt_skey_ex(bag, server->password, length, server->context, NULL);
        else if (PKCS12_SAFEBAG_get_nid(bag) == NID_certBag)
            *certificate = PKCS12_SAFEBAG_get1_cert(bag);
    }
}

static void open_parts(const server_t *server, PKCS12 *pkcs12, PKCS8_PRIV_KEY_INFO **key,
                       X509 **certificate)
{
    STACK_OF(PKCS7) *parts = PKCS12_unpack_authsafes(pkcs12);
    int length = (int)strlen(server->password);
    PKCS7 *part;

    while ((part = sk_PKCS7_pop(parts)) != NULL) {
        STACK_OF(PKCS12_SAFEBAG) *bags = OBJ_obj2nid(part->type) == NID_pkcs7_data
            ? PKCS12_unpack_p7data(part)
            : PKCS12_unpack_p7encdata(part, server->password, length);

        take_bags(server, bags, key, certificate);
        sk_PKCS12_SAFEBAG_pop_free(bags, PKCS12_SAFEBAG_free);
        ASN1_item_free((ASN1_VALUE *)part, ASN1_ITEM_rptr(PKCS7));
    }
    sk_PKCS7_free(parts);
}

static void seal_key(const server_t *server, PKCS8_PRIV_KEY_INFO *key)
{
    unsigned char data_key[32];
    unsigned char *der = NULL;
    int length = i2d_PKCS8_PRIV_KEY_INFO(key, &der);

    bench_need(length > 0 && RAND_priv_bytes(data_key, sizeof(data_key)) == 1, "a data key");
    seal(data_key, der, length);
    seal(server->key, data_key, sizeof(data_key));
    OPENSSL_clear_free(der, (size_t)length);
    OPENSSL_cleanse(data_key, sizeof(data_key));
}

static void upload_one(const server_t *server, const file_t *file)
{
    const unsigned char *at = file->data;
    PKCS12 *pkcs12 = PKCS12_init_ex(NID_pkcs7_data, server->context, NULL);
    PKCS8_PRIV_KEY_INFO *key = NULL;
    unsigned char digest[SHA256_DIGEST_LENGTH];
    unsigned char *der = NULL;
    X509 *certificate = NULL;
    EVP_PKEY *pkey;
    int length;

    bench_need(d2i_PKCS12(&pkcs12, &at, (long)file->length) != NULL
               && PKCS12_verify_mac(pkcs12, server->password, -1), "PKCS12_verify_mac");
    open_parts(server, pkcs12, &key, &certificate);
    bench_need(key != NULL && certificate != NULL, "opening");
    pkey = EVP_PKCS82PKEY(key);
    bench_need(pkey != NULL && EVP_PKEY_eq(X509_get0_pubkey(certificate), pkey) == 1,
               "comparing keys");
    bench_need(X509_get_key_usage(certificate) != 0, "X509_get_key_usage");
    length = i2d_X509(certificate, &der);
    SHA256(der, (size_t)length, digest);
    seal_key(server, key);
    OPENSSL_free(der);
    EVP_PKEY_free(pkey);
    PKCS8_PRIV_KEY_INFO_free(key);
    X509_free(certificate);
    PKCS12_free(pkcs12);
}

static void upload_own(const escrow_opener_t *opener, const gh_vault_t *vault,
                       const char *password, const file_t *file, apr_pool_t *pool)
{
    gh_bytes_t der = { file->data, file->length };
    escrow_credential_t *credential;
    gh_vaulted_t row;
    gh_result_t result;
    apr_pool_t *p;

    apr_pool_create(&p, pool);
    gh_result_clear(&result);
    if (escrow_pkcs12_open(&credential, opener, der, password, ESCROW_ARCHIVED, apr_time_now(), p,
                           &result) != APR_SUCCESS
        || gh_vault_seal(&row, vault, credential->key,
                         gh_vault_identity("d", "u", ESCROW_ARCHIVED, credential->sha256, p), p,
                         &result) != APR_SUCCESS)
        bench_die("%s: %s", result.number, result.message);
    apr_pool_destroy(p);
}

static double cpu_seconds(void)
{
    struct timespec used;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

static double run(const server_t *server, const file_t *files, int number, size_t count, int own)
{
    unsigned char secret[32] = { 1 };
    gh_vault_key_t key = { "k", { secret, sizeof(secret) }, NULL };
    escrow_opener_t *opener;
    gh_vault_t *vault;
    gh_result_t result;
    apr_pool_t *pool;
    double started;
    size_t i;
    int j;

    apr_pool_create(&pool, NULL);
    if (gh_vault_create(&vault, &key, 1, pool, &result) != APR_SUCCESS
        || escrow_opener_create(&opener, gh_vault_locked(vault), decoding_context(pool),
                                pool, &result) != APR_SUCCESS)
        bench_die("%s: %s", result.number, result.message);
    started = cpu_seconds();
    for (i = 0; i < count; i++) {
        for (j = 0; j < number; j++) {
            if (own)
                upload_own(opener, vault, server->password, &files[j], pool);
            else
                upload_one(server, &files[j]);
        }
    }
    return (cpu_seconds() - started) * 1e6 / (double)count;
}

int main(int argc, char **argv)
{
    server_t server = { .key = { 1 } };
    size_t count = 300;
    file_t *files;
    int option, own = 0, i;

    while ((option = getopt(argc, argv, "on:")) != -1) {
        switch (option) {
        case 'o':
            own = 1;
            break;
        case 'n':
            count = bench_number(optarg, "-n");
            break;
        default:
            return 2;
        }
    }
    if (argc - optind < 2 || argc - optind > FILES_MAX || count == 0)
        bench_die("usage: bare_escrow [-o] [-n COUNT] PASSWORD FILE...");
    apr_initialize();
    server.password = argv[optind++];
    server.context = OSSL_LIB_CTX_new();
    bench_need(OSSL_PROVIDER_load(server.context, "default") != NULL
               && OSSL_PROVIDER_load(server.context, "legacy") != NULL, "legacy provider");
    files = calloc((size_t)(argc - optind), sizeof(*files));
    bench_need(files != NULL, "memory");
    for (i = optind; i < argc; i++)
        read_file(&files[i - optind], argv[i]);
    printf("%.1f\n", run(&server, files, argc - optind, count, own));
    free(files);
    return 0;
}
