/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_ocsp/ocsp_signer.h"

#include <string.h>

#include <apr_atomic.h>
#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/provider.h>
#include <openssl/x509v3.h>

#include "log.h"
#include "mod_ocsp/ocsp_signer_private.h"
#include "pool.h"
#include "status.h"
#include "x509/ca.h"
#include "x509/key.h"
#include "x509/name.h"

/* Sets */

static apr_status_t make_empty_set(ocsp_signer_set_t **set)
{
    apr_pool_t *p;
    apr_status_t rv = gh_pool_create(&p, "ocsp-signers");

    if (rv == APR_SUCCESS) {
        *set = apr_pcalloc(p, sizeof(**set));
        (*set)->pool = p;
        (*set)->users = 1;
    }
    return rv;
}

static apr_status_t free_context(void *data)
{
    EVP_MD_CTX_free(data);
    return APR_SUCCESS;
}

/** A context that is copied for each signature; not for tokens, whose sessions are their own. */
static void prepare_context(ocsp_signer_t *signer, apr_pool_t *p)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();

    if (context && EVP_DigestSignInit(context, NULL, signer->digest, NULL, signer->key) == 1) {
        apr_pool_cleanup_register(p, context, free_context, apr_pool_cleanup_null);
        signer->prepared = context;
        return;
    }
    EVP_MD_CTX_free(context);
    ERR_clear_error();
}

static int is_of_default_provider(const EVP_PKEY *key)
{
    const OSSL_PROVIDER *provider = EVP_PKEY_get0_provider(key);

    return provider && strcmp(OSSL_PROVIDER_get0_name(provider), "default") == 0;
}

/** Fills what follows from certificate and key. */
static apr_status_t complete(ocsp_signer_t *signer, X509 *ca, apr_pool_t *p, gh_result_t *result)
{
    apr_time_t ca_end = gh_certificate_not_after(ca);
    int own = is_of_default_provider(signer->key);

    if (!signer->digest) {
        signer->digest = gh_key_digest(signer->key);
    }
    signer->kind = gh_key_kind(signer->key);
    if (!signer->kind || EVP_MD_get_size(signer->digest) < 32
        || !OBJ_find_sigid_by_algs(&signer->algorithm, EVP_MD_get_type(signer->digest),
                                   EVP_PKEY_get_base_id(signer->key))) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_ALGORITHM, "ocsp.signer.key",
                              "Use an RSA key of 2048, 3072 or 4096 bits, or P-256, P-384 or "
                              "P-521, with SHA-256 or better.",
                              GHNO(0563) "an OCSP signer cannot sign with its key");
    }
    if (X509_pubkey_digest(signer->certificate, EVP_sha1(), signer->key_hash, NULL) != 1) {
        ERR_clear_error();
        return APR_ENOMEM;
    }
    /* Extensions and key are parsed here, and not in the first request that needs them. */
    X509_check_purpose(signer->certificate, -1, 0);
    signer->is_ca = X509_cmp(signer->certificate, ca) == 0;
    signer->not_before = gh_certificate_not_before(signer->certificate);
    signer->not_after = gh_certificate_not_after(signer->certificate);
    if (signer->not_after > ca_end) {
        signer->not_after = ca_end;
    }
    signer->verified = !own || EVP_PKEY_get_base_id(signer->key) != EVP_PKEY_EC;
    if (own) {
        prepare_context(signer, p);
    }
    return APR_SUCCESS;
}

apr_status_t ocsp_signer_set_make(ocsp_signer_set_t **set, X509 *ca,
                                  const apr_array_header_t *signers, gh_result_t *result)
{
    ocsp_signer_set_t *made;
    apr_status_t rv;
    int i;

    *set = NULL;
    rv = make_empty_set(&made);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    made->signers = apr_array_make(made->pool, signers->nelts, sizeof(ocsp_signer_t));
    for (i = 0; rv == APR_SUCCESS && i < signers->nelts; ++i) {
        ocsp_signer_t *signer = apr_array_push(made->signers);

        *signer = APR_ARRAY_IDX(signers, i, ocsp_signer_t);
        /* Read anew: of a certificate made for its bytes OpenSSL does not have the key. */
        signer->certificate_der = gh_certificate_der(signer->certificate, made->pool);
        signer->certificate = gh_certificate_parse(signer->certificate_der, made->pool);
        EVP_PKEY_up_ref(signer->key);
        gh_own_key(made->pool, signer->key);
        signer->prepared = NULL;
        if (!signer->suspect) {
            signer->suspect = apr_pcalloc(made->pool, sizeof(*signer->suspect));
        }
        rv = signer->certificate ? complete(signer, ca, made->pool, result) : APR_ENOMEM;
    }
    if (rv != APR_SUCCESS) {
        ocsp_signers_release(made);
        return rv;
    }
    *set = made;
    return APR_SUCCESS;
}

void ocsp_signers_release(const ocsp_signer_set_t *set)
{
    ocsp_signer_set_t *counted = (ocsp_signer_set_t *)set;

    if (counted && apr_atomic_dec32(&counted->users) == 0) {
        apr_pool_destroy(counted->pool);
    }
}

static apr_status_t forget_set(void *data)
{
    ocsp_signers_t *signers = data;

    ocsp_signers_release(signers->current);
    signers->current = NULL;
    return APR_SUCCESS;
}

ocsp_signers_t *ocsp_signers_make(const char *authority, X509 *ca, apr_pool_t *p)
{
    ocsp_signers_t *signers = apr_pcalloc(p, sizeof(*signers));

    signers->authority = authority;
    signers->ca = ca;
    if (apr_thread_mutex_create(&signers->mutex, APR_THREAD_MUTEX_DEFAULT, p) != APR_SUCCESS) {
        return NULL;
    }
    apr_pool_cleanup_register(p, signers, forget_set, apr_pool_cleanup_null);
    return signers;
}

void ocsp_signers_replace(ocsp_signers_t *signers, ocsp_signer_set_t *set)
{
    ocsp_signer_set_t *old;

    apr_thread_mutex_lock(signers->mutex);
    old = signers->current;
    signers->current = set;
    apr_thread_mutex_unlock(signers->mutex);
    ocsp_signers_release(old);
}

ocsp_signers_t *ocsp_signers_fixed(X509 *ca, const apr_array_header_t *signers, apr_pool_t *p,
                                   gh_result_t *result)
{
    ocsp_signers_t *made = ocsp_signers_make("fixed", ca, p);
    ocsp_signer_set_t *set;

    if (!made || ocsp_signer_set_make(&set, ca, signers, result) != APR_SUCCESS) {
        return NULL;
    }
    ocsp_signers_replace(made, set);
    return made;
}

apr_status_t ocsp_signers_acquire(ocsp_signers_t *signers, const ocsp_signer_set_t **set,
                                  gh_result_t *result)
{
    ocsp_signer_set_t *current;

    apr_thread_mutex_lock(signers->mutex);
    current = signers->current;
    if (current) {
        apr_atomic_inc32(&current->users);
    }
    apr_thread_mutex_unlock(signers->mutex);
    *set = current;
    if (!current) {
        return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "ocsp.signer.none",
                              "See what was logged about the signers of this authority before.",
                              GHNO(0564) "authority %s has no OCSP signer yet", signers->authority);
    }
    return APR_SUCCESS;
}

const apr_array_header_t *ocsp_signer_set_all(const ocsp_signer_set_t *set)
{
    return set->signers;
}

/* Choosing */

static int may_sign(const ocsp_signer_t *signer, apr_time_t now)
{
    return now >= signer->not_before && now < signer->not_after
           && !__atomic_load_n(signer->suspect, __ATOMIC_RELAXED);
}

const ocsp_signer_t *ocsp_signer_choose(const ocsp_signer_set_t *set, const int *preferred,
                                        int preferred_count, apr_time_t now)
{
    const ocsp_signer_t *first = NULL;
    int i, j;

    for (j = 0; j < set->signers->nelts && !first; ++j) {
        const ocsp_signer_t *signer = &APR_ARRAY_IDX(set->signers, j, ocsp_signer_t);

        if (may_sign(signer, now)) {
            first = signer;
        }
    }
    for (i = 0; i < preferred_count; ++i) {
        for (j = 0; j < set->signers->nelts; ++j) {
            const ocsp_signer_t *signer = &APR_ARRAY_IDX(set->signers, j, ocsp_signer_t);

            if (signer->algorithm == preferred[i] && may_sign(signer, now)) {
                return signer;
            }
        }
    }
    return first;
}

void ocsp_signer_suspect(ocsp_signers_t *signers, const ocsp_signer_t *signer)
{
    __atomic_store_n(signer->suspect, 1, __ATOMIC_RELAXED);
}

/* Checking */

/** @return a text that says why the certificate may not sign answers of the CA, or NULL */
static const char *objection(X509 *ca, X509 *certificate)
{
    apr_uint32_t usage = X509_get_key_usage(certificate);

    if (X509_NAME_cmp(X509_get_issuer_name(certificate), X509_get_subject_name(ca)) != 0) {
        return "was not issued by the CA itself";
    }
    if (X509_verify(certificate, X509_get0_pubkey(ca)) != 1) {
        return "has a signature that is not the CA's";
    }
    if (!(X509_get_extension_flags(certificate) & EXFLAG_XKUSAGE)
        || !(X509_get_extended_key_usage(certificate) & XKU_OCSP_SIGN)) {
        return "has no extended key usage OCSPSigning";
    }
    if (usage != UINT32_MAX && !(usage & KU_DIGITAL_SIGNATURE)) {
        return "has a key usage without digitalSignature";
    }
    return NULL;
}

static const char *find_warning(X509 *certificate, int is_ca, apr_time_t now)
{
    if (now < gh_certificate_not_before(certificate)) {
        return "is not valid yet; it will sign once it is";
    }
    if (!is_ca && X509_get_ext_by_NID(certificate, NID_id_pkix_OCSP_noCheck, -1) < 0) {
        return "has no id-pkix-ocsp-nocheck (RFC 6960 4.2.2.2.1): clients may ask for its status, "
               "too";
    }
    if (is_ca && !(X509_get_key_usage(certificate) & KU_DIGITAL_SIGNATURE)) {
        return "is the CA's own, which has a key usage without digitalSignature: some clients "
               "refuse its answers";
    }
    return NULL;
}

apr_status_t ocsp_signer_check(X509 *ca, X509 *certificate, EVP_PKEY *key, apr_time_t now,
                               const char **warning, apr_pool_t *p, gh_result_t *result)
{
    const char *subject = gh_name_text(X509_get_subject_name(certificate), p);
    int is_ca = X509_cmp(certificate, ca) == 0;
    apr_time_t end = gh_certificate_not_after(certificate);
    const char *why = NULL;

    *warning = NULL;
    if (X509_get_extension_flags(certificate) & EXFLAG_INVALID) {
        why = "has extensions that cannot be read";
    }
    else if (!is_ca) {
        why = objection(ca, certificate);
    }
    ERR_clear_error();
    if (why) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "ocsp.signer.certificate",
                              "Issue an OCSP signing certificate by this CA (RFC 6960 4.2.2.2), "
                              "or name the right one.",
                              GHNO(0565) "the OCSP signing certificate of %s %s", subject, why);
    }
    if (now >= end || now >= gh_certificate_not_after(ca)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_TIME, "ocsp.signer.expired",
                              "Renew it.",
                              GHNO(0566) "the OCSP signing certificate of %s (until %s), or its "
                              "CA's, has ended", subject, gh_time_text(p, end));
    }
    if (key && (!gh_key_kind(key) || !gh_key_matches(key, certificate))) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "ocsp.signer.key",
                              "Name the key that belongs to the certificate: RSA of 2048, 3072 or "
                              "4096 bits, P-256, P-384 or P-521.",
                              GHNO(0567) "the key does not belong to the OCSP signing certificate "
                              "of %s, or is of no kind that signs", subject);
    }
    why = find_warning(certificate, is_ca, now);
    if (why) {
        *warning = apr_psprintf(p, "the OCSP signing certificate of %s %s", subject, why);
    }
    return APR_SUCCESS;
}
