/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The back end that signs in this process. */

#include <string.h>

#include <apr_thread_mutex.h>
#include <openssl/x509v3.h>

#include "issuer/authorisation.h"
#include "issuer/issuer.h"
#include "log.h"
#include "status.h"
#include "x509/key.h"

/* A CA with its key. Requests may still sign with one that was replaced: it is freed by whoever
 * lets go last, and only then does a PKCS#11 module let go of the token. */
typedef struct {
    gh_ca_t *ca;
    EVP_PKEY *key;
    apr_pool_t *pool;
    int references;             /* under the mutex */
} signer_t;

typedef struct {
    apr_thread_mutex_t *mutex;
    signer_t *loaded;           /* of a key file: opened by the parent, for all children */
    signer_t *current;          /* replaced by child_init() only */
    int usable;                 /* its key has made a trial signature and has not failed since */
} local_t;

static void let_go(local_t *local, signer_t *signer)
{
    int last;

    if (!signer) {
        return;
    }
    apr_thread_mutex_lock(local->mutex);
    last = --signer->references == 0;
    apr_thread_mutex_unlock(local->mutex);
    if (last) {
        apr_pool_destroy(signer->pool);
    }
}

/* @return NULL while nothing can be signed */
static signer_t *take(local_t *local)
{
    signer_t *signer = NULL;

    apr_thread_mutex_lock(local->mutex);
    if (local->usable) {
        signer = local->current;
        ++signer->references;
    }
    apr_thread_mutex_unlock(local->mutex);
    return signer;
}

/* @return the one before */
static signer_t *publish(local_t *local, signer_t *signer, int usable)
{
    signer_t *before;

    apr_thread_mutex_lock(local->mutex);
    before = local->current;
    local->current = signer;
    local->usable = usable;
    apr_thread_mutex_unlock(local->mutex);
    return before;
}

static apr_status_t check_key(gh_issuer_t *issuer, EVP_PKEY *key, gh_result_t *result)
{
    const gh_issuer_config_t *config = gh_issuer_config(issuer);

    if (gh_key_matches(key, gh_issuer_certificate(issuer))) {
        return APR_SUCCESS;
    }
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "issuer.key",
                          "Name the key and the certificate of the same CA.",
                          GHNO(0011) "issuer %s: the key %s does not belong to the "
                          "certificate %s", gh_issuer_name(issuer), config->key,
                          config->certificate);
}

/* Without a key, only what the certificate says is checked. */
static apr_status_t make_signer(signer_t **signer, gh_issuer_t *issuer, int with_key,
                                apr_pool_t *parent, gh_result_t *result)
{
    const gh_issuer_config_t *config = gh_issuer_config(issuer);
    gh_ca_urls_t urls;
    signer_t *made;
    apr_pool_t *p;
    apr_status_t rv = apr_pool_create(&p, parent);

    *signer = NULL;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    made = apr_pcalloc(p, sizeof(*made));
    made->pool = p;
    made->references = 1;
    urls = gh_issuer_urls(issuer, p);
    if (with_key) {
        rv = gh_key_open(&made->key, config->key, config->passphrase, p, result);
        if (rv == APR_SUCCESS) {
            rv = check_key(issuer, made->key, result);
        }
    }
    if (rv == APR_SUCCESS) {
        rv = gh_ca_create(&made->ca, gh_issuer_certificate(issuer), made->key, &urls, p, result);
    }
    if (rv != APR_SUCCESS) {
        apr_pool_destroy(p);
        return rv;
    }
    *signer = made;
    return APR_SUCCESS;
}

/* Without a CRL nobody would learn what was revoked. Without the extension every usage is permitted
 * (RFC 5280 6.1.4 (n), 6.3.3 (f)). */
static apr_status_t check_crl_usage(gh_issuer_t *issuer, gh_result_t *result)
{
    if (X509_get_key_usage(gh_issuer_certificate(issuer)) & KU_CRL_SIGN) {
        return APR_SUCCESS;
    }
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "issuer.certificate",
                          "Use a CA certificate with key usages keyCertSign and cRLSign: an issuer "
                          "that signs here makes CRLs, too.",
                          GHNO(0440) "issuer %s: %s lacks key usage cRLSign",
                          gh_issuer_name(issuer), gh_issuer_config(issuer)->certificate);
}

static apr_status_t local_load(gh_issuer_t *issuer, apr_pool_t *p, gh_result_t *result)
{
    const gh_issuer_config_t *config = gh_issuer_config(issuer);
    local_t *local = apr_pcalloc(p, sizeof(*local));
    apr_status_t rv;

    if (!config->key) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "issuer.key",
                              "Add IssuerKey with a path or a pkcs11: URI, or say IssuerBackend "
                              "offline.",
                              GHNO(0012) "issuer %s has no IssuerKey", gh_issuer_name(issuer));
    }
    rv = check_crl_usage(issuer, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = apr_thread_mutex_create(&local->mutex, APR_THREAD_MUTEX_DEFAULT, p);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    gh_issuer_set_data(issuer, local);
    return make_signer(&local->loaded, issuer, !gh_key_is_token(config->key), p, result);
}

static apr_status_t local_child_init(gh_issuer_t *issuer, apr_pool_t *p, gh_result_t *result)
{
    local_t *local = gh_issuer_data(issuer);
    signer_t *signer = local->loaded;
    apr_status_t rv = APR_SUCCESS;

    /* Before a token is opened again, since some modules look at it anew only when all let go. */
    let_go(local, publish(local, NULL, 0));
    if (gh_key_is_token(gh_issuer_config(issuer)->key)) {
        rv = make_signer(&signer, issuer, 1, p, result);
    }
    else {
        apr_thread_mutex_lock(local->mutex);
        ++signer->references;
        apr_thread_mutex_unlock(local->mutex);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = gh_key_try(signer->key, result);
    if (rv != APR_SUCCESS) {
        let_go(local, signer);
        return rv;
    }
    publish(local, signer, 1);
    return APR_SUCCESS;
}

static int local_usable(gh_issuer_t *issuer)
{
    local_t *local = gh_issuer_data(issuer);
    int usable;

    apr_thread_mutex_lock(local->mutex);
    usable = local->usable;
    apr_thread_mutex_unlock(local->mutex);
    return usable;
}

/* The signer stays until child_init(): see crl_signer() in issuer.h. */
static void local_suspect(gh_issuer_t *issuer)
{
    local_t *local = gh_issuer_data(issuer);

    apr_thread_mutex_lock(local->mutex);
    local->usable = 0;
    apr_thread_mutex_unlock(local->mutex);
}

/* A request that fails with a signer which was replaced meanwhile says nothing of the new one. */
static void suspect(local_t *local, const signer_t *signer)
{
    apr_thread_mutex_lock(local->mutex);
    if (local->current == signer) {
        local->usable = 0;
    }
    apr_thread_mutex_unlock(local->mutex);
}

static apr_status_t local_enrol(gh_issuer_t *issuer, const gh_authorisation_t *authorisation,
                                X509 **certificate, apr_pool_t *p, gh_result_t *result)
{
    local_t *local = gh_issuer_data(issuer);
    signer_t *signer;
    apr_status_t rv;

    *certificate = NULL;
    if (strcmp(gh_authorisation_issuer(authorisation), gh_issuer_name(issuer))) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_INTERNAL, "authorisation.issuer",
                              NULL, GHNO(0013) "an authorisation for issuer %s was shown to %s",
                              gh_authorisation_issuer(authorisation), gh_issuer_name(issuer));
    }
    signer = take(local);
    if (!signer) {
        return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "issuer.key",
                              "See the error log for the reason.",
                              GHNO(0014) "the key of issuer %s is not usable in this process",
                              gh_issuer_name(issuer));
    }
    rv = gh_ca_issue(certificate, signer->ca, gh_authorisation_plan(authorisation),
                     apr_time_now(), p, result);
    if (rv == GH_EUNAVAILABLE) {
        suspect(local, signer);
    }
    let_go(local, signer);
    return rv;
}

/* Also while the key is under suspicion: what is here must not vanish while a CRL is made. */
static const gh_ca_t *local_crl_signer(gh_issuer_t *issuer)
{
    local_t *local = gh_issuer_data(issuer);
    const gh_ca_t *ca = NULL;

    if (local) {
        apr_thread_mutex_lock(local->mutex);
        ca = local->current ? local->current->ca : NULL;
        apr_thread_mutex_unlock(local->mutex);
    }
    return ca;
}

static X509 *local_next_certificate(gh_issuer_t *issuer)
{
    gh_issuer_t *next = gh_issuer_next(issuer);

    return next ? gh_issuer_certificate(next) : NULL;
}

const gh_issuer_backend_t gh_issuer_local = {
    .name = "local",
    .load = local_load,
    .child_init = local_child_init,
    .enrol = local_enrol,
    .usable = local_usable,
    .suspect = local_suspect,
    .crl_signer = local_crl_signer,
    .crl = NULL,
    .next_certificate = local_next_certificate,
};
