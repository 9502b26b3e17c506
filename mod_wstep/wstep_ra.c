/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_wstep/wstep_ra.h"

#include <string.h>

#include <apr_thread_mutex.h>

#include "issuer/own_keys.h"
#include "mod_wstep/wstep_ra_store.h"
#include "pool.h"
#include "status.h"
#include "x509/ca.h"
#include "x509/key.h"

#define KEY_KIND    "RSA-2048"

/** Between two looks at what others have made or revoked. */
#define LOOK_INTERVAL apr_time_from_sec(60)
/** The first key takes a moment, in whichever process. */
#define PENDING_PAUSE apr_time_from_msec(50)
#define PENDING_TRIES 60

struct wstep_ra {
    gh_issuer_t *issuer;
    const gh_profile_t *profile;
    const wstep_services_t *services;
    apr_thread_mutex_t *mutex;      /* of all below; held while a key is made, too */
    X509 *certificate;              /* NULL: there is none yet */
    EVP_PKEY *key;
    apr_time_t look_at;
    gh_own_attempt_t attempt;
};

static apr_status_t forget(void *data)
{
    wstep_ra_t *ra = data;

    X509_free(ra->certificate);
    EVP_PKEY_free(ra->key);
    ra->certificate = NULL;
    ra->key = NULL;
    return APR_SUCCESS;
}

wstep_ra_t *wstep_ra_create(gh_issuer_t *issuer, const gh_profile_t *profile,
                            const wstep_services_t *services, apr_pool_t *p)
{
    wstep_ra_t *ra = apr_pcalloc(p, sizeof(*ra));

    ra->issuer = issuer;
    ra->profile = profile;
    ra->services = services;
    if (apr_thread_mutex_create(&ra->mutex, APR_THREAD_MUTEX_DEFAULT, p) != APR_SUCCESS) {
        return NULL;
    }
    apr_pool_cleanup_register(p, ra, forget, apr_pool_cleanup_null);
    return ra;
}

static apr_status_t none(const wstep_ra_t *ra, gh_result_t *result)
{
    return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "ra.none",
                          "Try again in a second; see the errors of other processes if it stays.",
                          GHNO(1431) "the key that signs responses of issuer %s is being made, or "
                          "has expired", gh_issuer_name(ra->issuer));
}

/** The newest that may be used takes the place of the present one. */
static apr_status_t take(wstep_ra_t *ra, const apr_array_header_t *generations, apr_pool_t *p,
                         gh_result_t *result)
{
    apr_time_t now = apr_time_now();
    X509 *certificate = NULL;
    EVP_PKEY *key = NULL;
    apr_status_t rv;
    int i;

    for (i = 0; i < generations->nelts; ++i) {
        const gh_generation_t *one = gh_generation_at(generations, i);

        if (!one->usable || one->record->not_after <= now) {
            continue;
        }
        rv = gh_generation_open(&key, &certificate, one->record, ra->services->sealer, p, result);
        if (rv != APR_SUCCESS) {
            return rv;
        }
        if (!X509_up_ref(certificate) || !EVP_PKEY_up_ref(key)) {
            return APR_ENOMEM;
        }
        forget(ra);
        ra->certificate = certificate;
        ra->key = key;
        return APR_SUCCESS;
    }
    forget(ra);
    return none(ra, result);
}

/** With the mutex. @return GH_EPENDING while another process makes the first key */
static apr_status_t refresh(wstep_ra_t *ra, gh_result_t *result)
{
    const wstep_services_t *has = ra->services;
    gh_own_services_t services = { has->store, has->ledger, has->sealer, has->node, has->audit };
    gh_own_keys_t keys = { WSTEP_RA_PURPOSE, KEY_KIND, NULL, ra->issuer, ra->profile };
    apr_array_header_t *generations = NULL;
    apr_pool_t *p;
    apr_status_t rv = gh_pool_create(&p, WSTEP_RA_PURPOSE);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    keys.subject = gh_issuer_ra_subject(ra->issuer, p);
    rv = gh_own_keys_provide(&generations, &keys, &services, &ra->attempt, apr_time_now(), p,
                             result);
    if (rv == APR_SUCCESS) {
        rv = take(ra, generations, p, result);
    }
    else if (rv == GH_EPENDING && *result->number) {
        rv = GH_EUNAVAILABLE;
    }
    apr_pool_destroy(p);
    return rv;
}

static apr_status_t try_to_acquire(wstep_ra_t *ra, wstep_signer_t *signer, apr_pool_t *p,
                                   gh_result_t *result)
{
    apr_time_t now = apr_time_now();
    apr_status_t rv = APR_SUCCESS;

    memset(signer, 0, sizeof(*signer));
    apr_thread_mutex_lock(ra->mutex);
    if (ra->certificate && gh_certificate_not_after(ra->certificate) <= now) {
        forget(ra);
    }
    if (!ra->certificate || now >= ra->look_at || ra->look_at - now > LOOK_INTERVAL) {
        gh_result_t failure;

        gh_result_clear(&failure);
        rv = refresh(ra, &failure);
        ra->look_at = now + LOOK_INTERVAL;
        /* the store may be away for a while: the key in hand does until it ends */
        if (rv != APR_SUCCESS && ra->certificate) {
            rv = APR_SUCCESS;
        }
        else if (rv != APR_SUCCESS && result) {
            *result = failure;
        }
    }
    if (rv == APR_SUCCESS) {
        X509_up_ref(ra->certificate);
        EVP_PKEY_up_ref(ra->key);
        signer->certificate = gh_own_certificate(p, ra->certificate);
        signer->key = gh_own_key(p, ra->key);
    }
    apr_thread_mutex_unlock(ra->mutex);
    return rv;
}

apr_status_t wstep_ra_acquire(wstep_ra_t *ra, wstep_signer_t *signer, apr_pool_t *p,
                              gh_result_t *result)
{
    apr_status_t rv;
    int tries;

    for (tries = 0; (rv = try_to_acquire(ra, signer, p, result)) == GH_EPENDING
                    && tries < PENDING_TRIES; ++tries) {
        apr_sleep(PENDING_PAUSE);
    }
    return rv == GH_EPENDING ? none(ra, result) : rv;
}
