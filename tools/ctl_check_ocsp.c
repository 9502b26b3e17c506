/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The parts of check that look at OCSP signers: from files, on tokens, enrolled. */

#include "ctl_verdict.h"

#include <string.h>

#include <apr_strings.h>

#include "issuer/own_keys.h"
#include "mod_ocsp/ocsp_signers.h"
#include "status.h"
#include "x509/ca.h"
#include "x509/key.h"

#define RULE "check"

/** Nobody renews those from files but an administrator. */
#define SOON apr_time_from_sec(14 * 86400)

typedef void signer_fn(ctl_check_t *check, const ctl_authority_t *authority,
                       const ctl_signer_t *signer);

static void for_each_signer(ctl_check_t *check, signer_fn *fn)
{
    const apr_array_header_t *authorities = check->ctl->config->authorities;
    int i, j;

    for (i = 0; i < authorities->nelts; i++) {
        const ctl_authority_t *authority = APR_ARRAY_IDX(authorities, i, const ctl_authority_t *);

        for (j = 0; j < authority->signers->nelts; j++) {
            fn(check, authority, APR_ARRAY_IDX(authority->signers, j, const ctl_signer_t *));
        }
    }
}

static const char *name_of(const ctl_authority_t *authority, const ctl_signer_t *signer,
                           apr_pool_t *p)
{
    const char *slash = signer->certificate != NULL ? strrchr(signer->certificate, '/') : NULL;
    const char *file = slash != NULL ? slash + 1 : signer->certificate;

    return apr_psprintf(p, "ocsp.%s.%s", authority->name,
                        signer->kind != NULL ? signer->kind : file != NULL ? file : "?");
}

static const char *days_left(apr_time_t end, apr_pool_t *p)
{
    apr_interval_time_t left = end - apr_time_now();

    return apr_psprintf(p, "valid until %s, %d days left", gh_time_text(p, end),
                        left > 0 ? (int)(apr_time_sec(left) / 86400) : 0);
}

/* Files and tokens */

static void verdict_signer(ctl_check_t *check, const char *name, X509 *certificate,
                           const char *what, const char *warning)
{
    apr_time_t end = gh_certificate_not_after(certificate);
    gh_result_t result;

    gh_result_clear(&result);
    if (warning != NULL) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_REQUEST, RULE,
                       "Consider a certificate without that.", GHNO(0650) "%s", warning);
        ctl_verdict(check, name, CTL_VERDICT_WARNING, &result);
    }
    else if (end - apr_time_now() < SOON) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_TIME, RULE,
                       "Put a new certificate there and restart httpd gracefully; OCSPSigner auto "
                       "renews by itself.",
                       GHNO(0651) "the OCSP signer is %s", days_left(end, check->p));
        ctl_verdict(check, name, CTL_VERDICT_WARNING, &result);
    }
    else {
        ctl_verdict_ok(check, name, "%s; %s", what, days_left(end, check->p));
    }
}

/* @param key NULL: it lies on a token, or cannot be had */
static void check_pair(ctl_check_t *check, const ctl_authority_t *authority,
                       const ctl_signer_t *signer, EVP_PKEY *key, const char *what)
{
    const char *name = name_of(authority, signer, check->p);
    X509 *ca, *certificate;
    const char *warning;
    gh_result_t result;

    gh_result_clear(&result);
    if (gh_certificate_open(&ca, authority->certificate, NULL, check->p, &result) != APR_SUCCESS
        || gh_certificate_open(&certificate, signer->certificate, signer->passphrase, check->p,
                               &result) != APR_SUCCESS
        || ocsp_signer_check(ca, certificate, key, apr_time_now(), &warning, check->p, &result)
           != APR_SUCCESS) {
        ctl_verdict(check, name, CTL_VERDICT_ERROR, &result);
        return;
    }
    verdict_signer(check, name, certificate, what, warning);
}

/* @return 0 after a verdict that it cannot be had */
static int open_key(ctl_check_t *check, const ctl_authority_t *authority,
                    const ctl_signer_t *signer, EVP_PKEY **key)
{
    gh_result_t result;

    gh_result_clear(&result);
    if (gh_key_open(key, signer->key, signer->passphrase, check->p, &result) == APR_SUCCESS
        && gh_key_try(*key, &result) == APR_SUCCESS) {
        return 1;
    }
    ctl_verdict(check, name_of(authority, signer, check->p), CTL_VERDICT_ERROR, &result);
    return 0;
}

static int has_files(const ctl_authority_t *authority, const ctl_signer_t *signer)
{
    return authority->certificate != NULL && signer->certificate != NULL && signer->key != NULL;
}

static void check_file(ctl_check_t *check, const ctl_authority_t *authority,
                       const ctl_signer_t *signer)
{
    EVP_PKEY *key;

    if (has_files(authority, signer) && !gh_key_is_token(signer->key)
        && open_key(check, authority, signer, &key)) {
        check_pair(check, authority, signer, key, "certificate and key fit the CA");
    }
}

static void check_token(ctl_check_t *check, const ctl_authority_t *authority,
                        const ctl_signer_t *signer)
{
    EVP_PKEY *key;

    if (has_files(authority, signer) && gh_key_is_token(signer->key)
        && open_key(check, authority, signer, &key)) {
        check_pair(check, authority, signer, key, "the token opens and signs");
    }
}

void ctl_check_ocsp_files(ctl_check_t *check)
{
    for_each_signer(check, check_file);
}

void ctl_check_ocsp_tokens(ctl_check_t *check)
{
    for_each_signer(check, check_token);
}

/* Enrolled ones */

static const char *serial_of(const gh_sealed_key_record_t *record, apr_pool_t *p)
{
    X509 *certificate = gh_certificate_parse(record->certificate, p);
    gh_bytes_t serial;

    if (certificate == NULL) {
        return "?";
    }
    serial = gh_certificate_serial(certificate, p);
    return gh_hex(p, serial.data, serial.length);
}

static const gh_generation_t *newest_usable(const apr_array_header_t *generations)
{
    int i;

    for (i = 0; i < generations->nelts; i++) {
        if (gh_generation_at(generations, i)->usable) {
            return gh_generation_at(generations, i);
        }
    }
    return NULL;
}

/* A server that runs makes the next one within a second or two. */
static int is_overdue(ctl_check_t *check, const ctl_authority_t *authority,
                      const gh_sealed_key_record_t *record)
{
    X509 *ca = apr_hash_get(check->certificates, authority->name, APR_HASH_KEY_STRING);

    return apr_time_now() > gh_generation_renewal(record)
                            + (record->not_after - record->not_before) / 30
        && (ca == NULL || gh_certificate_not_after(ca) > record->not_after);
}

static void verdict_enrolled(ctl_check_t *check, const ctl_authority_t *authority,
                             const char *name, const gh_generation_t *usable)
{
    const gh_sealed_key_record_t *record;
    gh_result_t result;

    gh_result_clear(&result);
    if (usable == NULL) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_TIME, RULE,
                       "Start httpd: it makes one; its error log says why if it cannot.",
                       GHNO(0652) "the store has no valid OCSP signer of that kind");
        ctl_verdict(check, name, CTL_VERDICT_WARNING, &result);
        return;
    }
    record = usable->record;
    if (is_overdue(check, authority, record)) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_TIME, RULE,
                       "Start httpd: it renews it; its error log says why if it cannot.",
                       GHNO(0653) "the OCSP signer %s was to be renewed at %s; it is %s",
                       serial_of(record, check->p),
                       gh_time_text(check->p, gh_generation_renewal(record)),
                       days_left(record->not_after, check->p));
        ctl_verdict(check, name, CTL_VERDICT_WARNING, &result);
        return;
    }
    ctl_verdict_ok(check, name, "certificate %s, generation %" APR_INT64_T_FMT ", %s; to be "
                   "renewed at %s", serial_of(record, check->p), record->generation,
                   days_left(record->not_after, check->p),
                   gh_time_text(check->p, gh_generation_renewal(record)));
}

static void check_enrolled(ctl_check_t *check, const ctl_authority_t *authority,
                           const ctl_signer_t *signer)
{
    const char *name = name_of(authority, signer, check->p);
    const gh_generation_t *usable;
    apr_array_header_t *generations;
    gh_bytes_t key;
    gh_result_t result;

    if (signer->kind == NULL) {
        return;
    }
    gh_result_clear(&result);
    if (gh_generations_list(&generations, check->ctl->store,
                            ocsp_signer_purpose(signer->kind, check->p), authority->name,
                            apr_time_now(), check->p, &result) != APR_SUCCESS) {
        ctl_verdict(check, name, CTL_VERDICT_ERROR, &result);
        return;
    }
    usable = newest_usable(generations);
    if (usable != NULL && check->sealer != NULL
        && gh_generation_unseal(&key, usable->record, check->sealer, check->p, &result)
           != APR_SUCCESS) {
        gh_result_fail(&result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, RULE,
                       "Give GatehouseSealingKey the key of before, the same on every node. If it "
                       "is lost, revoke that certificate: a new one is made.",
                       GHNO(0654) "the key of OCSP signer %s was sealed with another sealing key",
                       serial_of(usable->record, check->p));
        ctl_verdict(check, name, CTL_VERDICT_ERROR, &result);
        check->sealed_otherwise = 1;
        return;
    }
    verdict_enrolled(check, authority, name, usable);
}

void ctl_check_ocsp_store(ctl_check_t *check)
{
    if (check->ctl->store != NULL) {
        for_each_signer(check, check_enrolled);
    }
}
