/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The parts of check that look at CAs, keys and SCEP paths. */

#include "ctl_verdict.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include <apr_strings.h>
#include <openssl/err.h>

#include "x509/crl_read.h"
#include "ctl_file.h"
#include "ctl_text.h"
#include "issuer/issuer.h"
#include "x509/ca.h"
#include "x509/key.h"

#define RULE "check"

#define SOON            apr_time_from_sec(30 * 86400)
#define CRL_FILE_MAX    ((apr_size_t)64 << 20)

/* 2031-01-01: until the end of 2030, keys of 112 bits of strength are good. */
#define END_OF_2030     apr_time_from_sec(1924992000)

static const char *name_of(const char *part, const ctl_issuer_t *issuer, apr_pool_t *p)
{
    return apr_pstrcat(p, part, ".", issuer->name, NULL);
}

static void check_certificate(ctl_check_t *check, const ctl_issuer_t *issuer)
{
    const char *name = name_of("certificate", issuer, check->p);
    apr_time_t now = apr_time_now();
    apr_time_t end;
    X509 *certificate;
    const char *kind;
    gh_result_t result;

    gh_result_clear(&result);
    if (gh_certificate_open(&certificate, issuer->certificate, issuer->passphrase, check->p,
                            &result) != APR_SUCCESS) {
        ctl_verdict(check, name, CTL_VERDICT_ERROR, &result);
        return;
    }
    apr_hash_set(check->certificates, issuer->name, APR_HASH_KEY_STRING, certificate);
    end = gh_certificate_not_after(certificate);
    kind = gh_key_kind(X509_get0_pubkey(certificate));
    if (end <= now) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_TIME, RULE,
                       "Replace the CA: what it has issued is not valid any more.",
                       GHNO(0396) "the CA certificate has expired at %s",
                       gh_time_text(check->p, end));
        ctl_verdict(check, name, CTL_VERDICT_ERROR, &result);
    }
    else if (end - now < SOON) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_TIME, RULE,
                       "Replace the CA now: certificates cannot live longer than it does.",
                       GHNO(0397) "the CA certificate expires at %s",
                       gh_time_text(check->p, end));
        ctl_verdict(check, name, CTL_VERDICT_WARNING, &result);
    }
    else if (kind != NULL && strcmp(kind, "RSA-2048") == 0 && end > END_OF_2030) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_ALGORITHM, RULE,
                       "Plan a CA with a stronger key: RSA-3072 or P-256 at least.",
                       GHNO(0398) "the CA has an RSA-2048 key and lives until %s, beyond 2030",
                       gh_time_text(check->p, end));
        ctl_verdict(check, name, CTL_VERDICT_WARNING, &result);
    }
    else {
        ctl_verdict_ok(check, name, "%s, valid until %s", kind != NULL ? kind : "another key",
                       gh_time_text(check->p, end));
    }
}

/* httpd -t has compared the key with the certificate; here is what it does not see. */
static void check_key_file(ctl_check_t *check, const ctl_issuer_t *issuer)
{
    const char *name = name_of("key", issuer, check->p);
    struct stat info;
    gh_result_t result;

    gh_result_clear(&result);
    if (stat(issuer->key, &info) != 0) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_UNAVAILABLE, RULE,
                       "Run this as root, or correct the path in IssuerKey.",
                       GHNO(0399) "%s cannot be looked at: %s", issuer->key, strerror(errno));
        ctl_verdict(check, name, CTL_VERDICT_ERROR, &result);
    }
    else if ((info.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_DENIED, RULE,
                       "Take the rights away (chmod 600), and consider who may have read it.",
                       GHNO(0400) "%s is accessible to group or others", issuer->key);
        ctl_verdict(check, name, CTL_VERDICT_ERROR, &result);
    }
    else {
        ctl_verdict_ok(check, name, "%s fits the certificate; only its owner may read it",
                       issuer->key);
    }
}

void ctl_check_files(ctl_check_t *check)
{
    const apr_array_header_t *issuers = check->ctl->config->issuers;
    int i;

    for (i = 0; i < issuers->nelts; i++) {
        const ctl_issuer_t *issuer = APR_ARRAY_IDX(issuers, i, const ctl_issuer_t *);

        if (issuer->certificate != NULL) {
            check_certificate(check, issuer);
        }
        if (issuer->key != NULL && !gh_key_is_token(issuer->key)) {
            check_key_file(check, issuer);
        }
    }
}

/* A token that only root can open works in the parent and fails in every child: so this is tried as
 * a child would, with a signature. */
static void check_token(ctl_check_t *check, const ctl_issuer_t *issuer)
{
    const char *name = name_of("key", issuer, check->p);
    X509 *certificate = apr_hash_get(check->certificates, issuer->name, APR_HASH_KEY_STRING);
    EVP_PKEY *key;
    gh_result_t result;

    gh_result_clear(&result);
    if (gh_key_open(&key, issuer->key, issuer->passphrase, check->p, &result) != APR_SUCCESS
        || gh_key_try(key, &result) != APR_SUCCESS) {
        ctl_verdict(check, name, CTL_VERDICT_ERROR, &result);
        return;
    }
    if (certificate != NULL && !gh_key_matches(key, certificate)) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_REQUEST, RULE,
                       "Name the key and the certificate of the same CA.",
                       GHNO(0418) "the key on the token does not belong to %s",
                       issuer->certificate);
        ctl_verdict(check, name, CTL_VERDICT_ERROR, &result);
        return;
    }
    ctl_verdict_ok(check, name, "the token opens and signs for %s",
                   check->ctl->config->user != NULL ? check->ctl->config->user : "this user");
}

void ctl_check_tokens(ctl_check_t *check)
{
    const apr_array_header_t *issuers = check->ctl->config->issuers;
    int i;

    for (i = 0; i < issuers->nelts; i++) {
        const ctl_issuer_t *issuer = APR_ARRAY_IDX(issuers, i, const ctl_issuer_t *);

        if (issuer->key != NULL && gh_key_is_token(issuer->key)) {
            check_token(check, issuer);
        }
    }
}

/* Children read the file themselves, so it is read here with their rights. */
static void check_crl_file(ctl_check_t *check, const ctl_issuer_t *issuer)
{
    const char *name = name_of("crl", issuer, check->p);
    apr_time_t now = apr_time_now();
    apr_time_t end = 0;
    gh_bytes_t bytes;
    X509_CRL *crl;
    gh_result_t result;
    apr_status_t rv;

    gh_result_clear(&result);
    rv = ctl_file_read(&bytes, issuer->crl_file, CRL_FILE_MAX, check->p);
    crl = rv == APR_SUCCESS ? gh_crl_parse(bytes, check->p) : NULL;
    ERR_clear_error();
    if (crl != NULL) {
        end = gh_asn1_time(X509_CRL_get0_nextUpdate(crl));
    }
    if (rv != APR_SUCCESS || crl == NULL) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_UNAVAILABLE, RULE,
                       "Put a CRL there that httpd's user may read, in folders it may enter.",
                       GHNO(0401) "%s cannot be read by httpd's children: %s", issuer->crl_file,
                       rv != APR_SUCCESS ? ctl_error_text(rv, check->p) : "it is no CRL");
        ctl_verdict(check, name, CTL_VERDICT_ERROR, &result);
    }
    else if (end <= now) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_TIME, RULE,
                       "Renew it with gatehousectl ca crl, where the CA's key is.",
                       GHNO(0402) "the CRL is out of date since %s",
                       gh_time_text(check->p, end));
        ctl_verdict(check, name, CTL_VERDICT_ERROR, &result);
    }
    else if (end - now < SOON) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_TIME, RULE,
                       "Renew it with gatehousectl ca crl, where the CA's key is.",
                       GHNO(0403) "the CRL ends at %s", gh_time_text(check->p, end));
        ctl_verdict(check, name, CTL_VERDICT_WARNING, &result);
    }
    else {
        ctl_verdict_ok(check, name, "number %" APR_INT64_T_FMT ", good until %s",
                       gh_crl_number(crl), gh_time_text(check->p, end));
    }
}

void ctl_check_crl_files(ctl_check_t *check)
{
    const apr_array_header_t *issuers = check->ctl->config->issuers;
    int i;

    for (i = 0; i < issuers->nelts; i++) {
        const ctl_issuer_t *issuer = APR_ARRAY_IDX(issuers, i, const ctl_issuer_t *);

        if (issuer->crl_file != NULL) {
            check_crl_file(check, issuer);
        }
    }
}

/* Paths that have a property, each once: virtual hosts may have the same. */
typedef struct {
    apr_hash_t *paths;
    const char *one;
} paths_t;

static void add_path(paths_t *paths, const char *path)
{
    apr_hash_set(paths->paths, path, APR_HASH_KEY_STRING, path);
    paths->one = paths->one != NULL ? paths->one : path;
}

static int is_open(const ctl_endpoint_t *endpoint)
{
    int i;

    for (i = 0; i < endpoint->challenges->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(endpoint->challenges, i, const char *), "none") == 0) {
            return 1;
        }
    }
    return 0;
}

void ctl_check_scep(ctl_check_t *check)
{
    const apr_array_header_t *endpoints = check->ctl->config->endpoints;
    paths_t opened = { apr_hash_make(check->p), NULL };
    paths_t closed = { apr_hash_make(check->p), NULL };
    gh_result_t result;
    int i;

    for (i = 0; i < endpoints->nelts; i++) {
        const ctl_endpoint_t *endpoint = APR_ARRAY_IDX(endpoints, i, const ctl_endpoint_t *);

        if (endpoint->challenges->nelts == 0) {
            add_path(&closed, endpoint->path);
        }
        else if (is_open(endpoint)) {
            add_path(&opened, endpoint->path);
        }
    }
    gh_result_clear(&result);
    if (opened.one != NULL) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_DENIED, RULE,
                       "Use SCEPChallenge static or onetime wherever this is not a test.",
                       GHNO(0405) "%d SCEP paths give certificates to everybody, such as %s",
                       (int)apr_hash_count(opened.paths), opened.one);
        ctl_verdict(check, "challenges.none", CTL_VERDICT_WARNING, &result);
    }
    if (closed.one != NULL) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_REQUEST, RULE,
                       "Add SCEPChallenge to the location, or take the path away.",
                       GHNO(0406) "%d SCEP paths refuse every enrolment for want of a challenge, "
                       "such as %s", (int)apr_hash_count(closed.paths), closed.one);
        ctl_verdict(check, "challenges.missing", CTL_VERDICT_WARNING, &result);
    }
    if (opened.one == NULL && closed.one == NULL && endpoints->nelts > 0) {
        ctl_verdict_ok(check, "challenges", "all %d SCEP paths ask for a challenge",
                       ctl_config_paths(check->ctl->config));
    }
}
