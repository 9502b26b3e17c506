/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>

#include <apr_errno.h>
#include <openssl/core_dispatch.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/provider.h>

#include "x509/decoding.h"

#define PROVIDER_NAME "gatehouse"

/** Decoders remember the way through them from here on. */
#define FAST_VERSION 0x30200000UL

struct gh_decoding {
    OSSL_LIB_CTX *base;                 /* has the default provider alone */
    OSSL_PROVIDER *provider;
    OSSL_LIB_CTX *context;              /* has the filter alone */
    OSSL_PROVIDER *filter;
    OSSL_ALGORITHM *decoders;
    OSSL_ALGORITHM *key_managers;
};

/** Whether the first name, as in "RSA:rsaEncryption:1.2.840.113549.1.1.1", is that of a kind of key
 *  that requests may have. */
static int is_wanted_key(const OSSL_ALGORITHM *algorithm)
{
    apr_size_t length = strcspn(algorithm->algorithm_names, ":");

    return (length == 3 && !strncmp(algorithm->algorithm_names, "RSA", 3))
        || (length == 2 && !strncmp(algorithm->algorithm_names, "EC", 2));
}

static int has_property(const OSSL_ALGORITHM *algorithm, const char *property)
{
    const char *at = strstr(algorithm->property_definition, property);

    return at && (at[strlen(property)] == ',' || at[strlen(property)] == '\0');
}

static int is_public_decoder(const OSSL_ALGORITHM *algorithm)
{
    return is_wanted_key(algorithm) && has_property(algorithm, "input=der")
        && has_property(algorithm, "structure=SubjectPublicKeyInfo");
}

static int is_private_decoder(const OSSL_ALGORITHM *algorithm)
{
    return is_public_decoder(algorithm)
        || (is_wanted_key(algorithm) && has_property(algorithm, "input=der")
            && has_property(algorithm, "structure=PrivateKeyInfo"));
}

/** @return those that are wanted, ended by an empty one; NULL if there are none */
static OSSL_ALGORITHM *filter(OSSL_PROVIDER *provider, int operation,
                              int (*is_wanted)(const OSSL_ALGORITHM *), apr_pool_t *p)
{
    int no_cache = 0, count = 0, i;
    const OSSL_ALGORITHM *all = OSSL_PROVIDER_query_operation(provider, operation, &no_cache);
    OSSL_ALGORITHM *wanted;

    if (!all || no_cache)
        return NULL;
    while (all[count].algorithm_names)
        count++;
    wanted = apr_pcalloc(p, (apr_size_t)(count + 1) * sizeof(*wanted));
    for (i = 0, count = 0; all[i].algorithm_names; i++) {
        if (is_wanted(&all[i]))
            wanted[count++] = all[i];
    }
    return count ? wanted : NULL;
}

static apr_status_t decoding_cleanup(void *data)
{
    gh_decoding_t *decoding = data;

    if (decoding->filter)
        OSSL_PROVIDER_unload(decoding->filter);
    OSSL_LIB_CTX_free(decoding->context);
    if (decoding->provider)
        OSSL_PROVIDER_unload(decoding->provider);
    OSSL_LIB_CTX_free(decoding->base);
    return APR_SUCCESS;
}

/** Whether RSA is, in the default context, what it is in ours. */
static int uses_default_provider(void)
{
    EVP_KEYMGMT *manager = EVP_KEYMGMT_fetch(NULL, "RSA", NULL);
    const OSSL_PROVIDER *provider = manager ? EVP_KEYMGMT_get0_provider(manager) : NULL;
    int same = provider && !strcmp(OSSL_PROVIDER_get0_name(provider), "default")
        && !EVP_default_properties_is_fips_enabled(NULL);

    EVP_KEYMGMT_free(manager);
    return same;
}

static apr_status_t create(gh_decoding_t **decoding,
                           int (*is_wanted_decoder)(const OSSL_ALGORITHM *), apr_pool_t *p)
{
    gh_decoding_t *made;
    apr_status_t rv = APR_ENOTIMPL;

    *decoding = NULL;
    ERR_set_mark();
    if (OpenSSL_version_num() >= FAST_VERSION || !uses_default_provider())
        goto cleanup;
    rv = APR_ENOMEM;
    made = apr_pcalloc(p, sizeof(*made));
    apr_pool_cleanup_register(p, made, decoding_cleanup, apr_pool_cleanup_null);
    made->base = OSSL_LIB_CTX_new();
    if (made->base)
        made->provider = OSSL_PROVIDER_load(made->base, "default");
    if (!made->provider)
        goto cleanup;
    made->decoders = filter(made->provider, OSSL_OP_DECODER, is_wanted_decoder, p);
    made->key_managers = filter(made->provider, OSSL_OP_KEYMGMT, is_wanted_key, p);
    if (!made->decoders || !made->key_managers)
        goto cleanup;
    *decoding = made;
    rv = APR_SUCCESS;

cleanup:
    ERR_pop_to_mark();
    return rv;
}

apr_status_t gh_decoding_create(gh_decoding_t **decoding, apr_pool_t *p)
{
    return create(decoding, is_public_decoder, p);
}

apr_status_t gh_decoding_create_private(gh_decoding_t **decoding, apr_pool_t *p)
{
    return create(decoding, is_private_decoder, p);
}

OSSL_LIB_CTX *gh_decoding_start(gh_decoding_t *decoding, OSSL_provider_init_fn *init)
{
    if (decoding->context)
        return decoding->filter ? decoding->context : NULL;
    ERR_set_mark();
    decoding->context = OSSL_LIB_CTX_new();
    if (decoding->context
        && OSSL_PROVIDER_add_builtin(decoding->context, PROVIDER_NAME, init) == 1)
        decoding->filter = OSSL_PROVIDER_load(decoding->context, PROVIDER_NAME);
    ERR_pop_to_mark();
    return decoding->filter ? decoding->context : NULL;
}

int gh_decoding_init(const gh_decoding_t *decoding, const OSSL_DISPATCH *functions,
                     const OSSL_DISPATCH **out, void **provider_context)
{
    *out = functions;
    *provider_context = OSSL_PROVIDER_get0_provider_ctx(decoding->provider);
    return 1;
}

const OSSL_ALGORITHM *gh_decoding_query(const gh_decoding_t *decoding, int operation,
                                        int *no_cache)
{
    *no_cache = 0;
    switch (operation) {
    case OSSL_OP_DECODER:
        return decoding->decoders;
    case OSSL_OP_KEYMGMT:
        return decoding->key_managers;
    default:
        return OSSL_PROVIDER_query_operation(decoding->provider, operation, no_cache);
    }
}
