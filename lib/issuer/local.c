/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The back end that signs in this process. */

#include <string.h>

#include "issuer/authorisation.h"
#include "issuer/issuer.h"
#include "log.h"
#include "status.h"
#include "x509/key.h"

typedef struct {
    gh_ca_t *ca;            /* replaced in a child once it has opened a token */
    EVP_PKEY *key;
    int usable;             /* the key has made a trial signature in this process */
} local_t;

static apr_status_t open_ca(gh_issuer_t *issuer, local_t *local, int with_key, apr_pool_t *p,
                            gh_result_t *result)
{
    const gh_issuer_config_t *config = gh_issuer_config(issuer);
    gh_ca_urls_t urls = gh_issuer_urls(issuer, p);
    EVP_PKEY *key = NULL;
    apr_status_t rv;

    if (with_key) {
        rv = gh_key_open(&key, config->key, config->passphrase, p, result);
        if (rv != APR_SUCCESS) {
            return rv;
        }
        if (!gh_key_matches(key, gh_issuer_certificate(issuer))) {
            return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "issuer.key",
                                  "Name the key and the certificate of the same CA.",
                                  GHNO(0020) "issuer %s: the key %s does not belong to the "
                                  "certificate %s", gh_issuer_name(issuer), config->key,
                                  config->certificate);
        }
    }
    local->key = key;
    return gh_ca_create(&local->ca, gh_issuer_certificate(issuer), key, &urls, p, result);
}

static apr_status_t local_load(gh_issuer_t *issuer, apr_pool_t *p, gh_result_t *result)
{
    const gh_issuer_config_t *config = gh_issuer_config(issuer);
    local_t *local = apr_pcalloc(p, sizeof(*local));

    if (!config->key) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "issuer.key",
                              "Add IssuerKey with a path or a pkcs11: URI, or say IssuerBackend "
                              "offline.",
                              GHNO(0021) "issuer %s has no IssuerKey", gh_issuer_name(issuer));
    }
    gh_issuer_set_data(issuer, local);
    return open_ca(issuer, local, !gh_key_is_token(config->key), p, result);
}

static apr_status_t local_child_init(gh_issuer_t *issuer, apr_pool_t *p, gh_result_t *result)
{
    local_t *local = gh_issuer_data(issuer);
    const gh_issuer_config_t *config = gh_issuer_config(issuer);
    apr_status_t rv = APR_SUCCESS;

    local->usable = 0;
    if (gh_key_is_token(config->key)) {
        rv = open_ca(issuer, local, 1, p, result);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_key_try(local->key, result);
    }
    local->usable = rv == APR_SUCCESS;
    return rv;
}

static apr_status_t local_enrol(gh_issuer_t *issuer, const gh_authorisation_t *authorisation,
                                X509 **certificate, apr_pool_t *p, gh_result_t *result)
{
    const local_t *local = gh_issuer_data(issuer);

    *certificate = NULL;
    if (strcmp(gh_authorisation_issuer(authorisation), gh_issuer_name(issuer))) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_INTERNAL, "authorisation.issuer",
                              NULL, GHNO(0022) "an authorisation for issuer %s was shown to %s",
                              gh_authorisation_issuer(authorisation), gh_issuer_name(issuer));
    }
    if (!local->usable) {
        return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "issuer.key",
                              "See the error log of the start of this process for the reason.",
                              GHNO(0023) "the key of issuer %s is not usable in this process",
                              gh_issuer_name(issuer));
    }
    return gh_ca_issue(certificate, local->ca, gh_authorisation_plan(authorisation),
                       apr_time_now(), p, result);
}

static const gh_ca_t *local_crl_signer(gh_issuer_t *issuer)
{
    const local_t *local = gh_issuer_data(issuer);

    return local && local->usable ? local->ca : NULL;
}

static X509 *local_next_certificate(gh_issuer_t *issuer)
{
    return NULL;
}

const gh_issuer_backend_t gh_issuer_local = {
    .name = "local",
    .load = local_load,
    .child_init = local_child_init,
    .enrol = local_enrol,
    .set_status = NULL,
    .crl_signer = local_crl_signer,
    .crl = NULL,
    .next_certificate = local_next_certificate,
};
