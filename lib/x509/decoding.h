/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_x509_decoding_h
#define gatehouse_x509_decoding_h

#include <apr_pools.h>
#include <openssl/core.h>
#include <openssl/types.h>

/*
 * A library context of OpenSSL that decodes the public keys of requests fast.
 *
 * OpenSSL 3.0 and 3.1 look at each decoder and each kind of key of all providers, under thousands
 * of locks, whenever a certificate or a request is parsed. In this context there is one provider:
 * the default one, seen through a filter that leaves the decoders of SubjectPublicKeyInfo for RSA
 * and EC, and these two kinds of key. Everything else of the default provider is there unchanged.
 * Keys of other kinds cannot be read in it; none is accepted in requests.
 *
 * Private keys of others, in PKCS#8, are slow for the same reason; a context can have their
 * decoders, too. Not for keys of our own: they live in the default context, with its configuration
 * and engines.
 */

typedef struct gh_decoding gh_decoding_t;

/**
 * Prepares the filter.
 * @return APR_SUCCESS; APR_ENOTIMPL if the default context is to be used: its decoders are fast, or
 *         its RSA is not that of the default provider (FIPS), which must not be gone round;
 *         APR_ENOMEM
 */
apr_status_t gh_decoding_create(gh_decoding_t **decoding, apr_pool_t *p);

/** The same, for a context that decodes private keys in PKCS#8 as well. */
apr_status_t gh_decoding_create_private(gh_decoding_t **decoding, apr_pool_t *p);

/**
 * Makes the context, once. OpenSSL calls a provider without anything of who loaded it, so the
 * caller keeps the filter where the two functions it lends find it.
 * @param init  calls gh_decoding_init()
 * @return the context, freed with the pool of gh_decoding_create(); all that was parsed in it must
 *         have gone by then. NULL if it cannot be made. Any thread may use it.
 */
OSSL_LIB_CTX *gh_decoding_start(gh_decoding_t *decoding, OSSL_provider_init_fn *init);

/** What the init function of a provider does; its parameters are what it got. */
int gh_decoding_init(const gh_decoding_t *decoding, const OSSL_DISPATCH *functions,
                     const OSSL_DISPATCH **out, void **provider_context);

/** What the OSSL_FUNC_provider_query_operation of the provider answers. */
const OSSL_ALGORITHM *gh_decoding_query(const gh_decoding_t *decoding, int operation,
                                        int *no_cache);

/**
 * Defines, at file level of who keeps it, the filter NAME that CREATE prepares, and
 * NAME_context(p): the context, or NULL for the default one. To be called once. It needs
 * <openssl/core_dispatch.h>.
 */
#define GH_DECODING_FILTER(name, create) \
    static gh_decoding_t *name; \
    static OSSL_FUNC_provider_query_operation_fn name##_query; \
    static const OSSL_ALGORITHM *name##_query(void *provider_context, int operation, \
                                              int *no_cache) \
    { \
        (void)provider_context; \
        return gh_decoding_query(name, operation, no_cache); \
    } \
    static OSSL_provider_init_fn name##_init; \
    static int name##_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, \
                           const OSSL_DISPATCH **out, void **provider_context) \
    { \
        static const OSSL_DISPATCH functions[] = { \
            { OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))name##_query }, \
            { 0, NULL } \
        }; \
        (void)handle; \
        (void)in; \
        return gh_decoding_init(name, functions, out, provider_context); \
    } \
    static OSSL_LIB_CTX *name##_context(apr_pool_t *p) \
    { \
        return create(&name, p) == APR_SUCCESS ? gh_decoding_start(name, name##_init) : NULL; \
    }

#endif /* gatehouse_x509_decoding_h */
