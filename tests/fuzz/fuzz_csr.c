/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* A certification request: parsed, verified, put through profiles, and issued if one permits it. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_pools.h>
#include <apr_time.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "decoding_support.h"
#include "x509/ca.h"
#include "x509/csr.h"
#include "x509/key.h"
#include "x509/name.h"
#include "x509/profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PROFILES 4

static struct {
    apr_pool_t *pool;
    gh_profile_t *profiles[PROFILES];
    gh_allowances_t *allowances;
    gh_ca_t *ca;
    OSSL_LIB_CTX *decoding;
} target;

static void require(int condition)
{
    if (!condition)
        abort();
}

static void directive(gh_profile_t *profile, const char *name, int argc, const char *const *argv)
{
    require(gh_profile_set(profile, name, argc, argv, target.pool, NULL) == APR_SUCCESS);
}

#define SET(profile, name, ...)                                                         \
    directive(profile, name,                                                            \
              (int)(sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(const char *)),    \
              (const char *[]){ __VA_ARGS__ })

/** One that takes what it can, one that strips what it does not know, two with rules for names. */
static void make_profiles(void)
{
    gh_profile_t *open = gh_profile_create("open", NULL, target.pool);
    gh_profile_t *strip, *rules, *names;
    int i;

    SET(open, "ProfileKeyUsage", "digitalSignature", "keyEncipherment");
    SET(open, "ProfileExtendedKeyUsage", "request");
    SET(open, "ProfileRequestExtensions", "certificatePolicies", "applicationPolicies",
        "smimeCapabilities", "certificateTemplate", "certificateTemplateName", "sid", "pivInterim");
    strip = gh_profile_create("strip", open, target.pool);
    SET(strip, "ProfileUnlistedExtensions", "strip");
    SET(strip, "ProfileExtendedKeyUsage", "clientAuth");
    rules = gh_profile_create("rules", open, target.pool);
    SET(rules, "ProfileSubject", "template", "cn=<cn>+uid=<cn>,o=Example");
    SET(rules, "ProfileSubjectAltName", "from-cn");
    target.profiles[0] = open;
    target.profiles[1] = strip;
    target.profiles[2] = rules;
    names = gh_profile_create("names", open, target.pool);
    SET(names, "ProfileSubject", "take", "CN", "O", "OU", "emailAddress");
    SET(names, "ProfileSubject", "require", "CN");
    SET(names, "ProfileSubject", "set", "UID", "user");
    SET(names, "ProfileSubjectAltName", "take", "DNS", "email", "IP");
    SET(names, "ProfileSubjectAltName", "require", "DNS");
    SET(names, "ProfileSubjectAltName", "set", "email", "mail");
    target.profiles[3] = names;
    for (i = 0; i < PROFILES; i++)
        require(gh_profile_complete(target.profiles[i], target.pool, NULL) == APR_SUCCESS);
}

static void make_allowances(void)
{
    static const char *const items[] = { "UPN", "SID", "codeSigning", "smartcardLogon" };
    apr_array_header_t *list = apr_array_make(target.pool, 4, sizeof(const char *));
    size_t i;

    for (i = 0; i < sizeof(items) / sizeof(items[0]); i++)
        APR_ARRAY_PUSH(list, const char *) = items[i];
    require(gh_allowances_make(&target.allowances, list, target.pool, NULL) == APR_SUCCESS);
}

static void make_ca(void)
{
    gh_profile_t *root = gh_profile_create("root", NULL, target.pool);
    gh_plan_t *plan;
    EVP_PKEY *key;
    X509 *certificate;

    SET(root, "ProfileKeyUsage", "keyCertSign");
    SET(root, "ProfileBasicConstraints", "ca");
    require(gh_profile_complete(root, target.pool, NULL) == APR_SUCCESS
            && gh_key_generate(&key, "P-256", target.pool, NULL) == APR_SUCCESS
            && gh_profile_apply_own(&plan, root, key, "cn=Root", target.pool, NULL) == APR_SUCCESS
            && gh_ca_self_sign(&certificate, plan, key, 0, apr_time_now(), target.pool, NULL)
            == APR_SUCCESS
            && gh_ca_create(&target.ca, certificate, key, NULL, target.pool, NULL) == APR_SUCCESS);
}

static void tear_down(void)
{
    apr_pool_destroy(target.pool);
}

static void set_up(void)
{
    if (target.pool != NULL)
        return;
    apr_initialize();
    require(apr_pool_create(&target.pool, NULL) == APR_SUCCESS);
    atexit(tear_down);
    target.decoding = decoding_context(target.pool);
    make_profiles();
    make_allowances();
    make_ca();
}

/** What no request may bring about, whatever is in it. */
static void check_certificate(X509 *certificate, int allowed)
{
    int critical, i;
    EXTENDED_KEY_USAGE *ekus;

    require(X509_check_ca(certificate) == 0);
    require((X509_get_key_usage(certificate) & (KU_KEY_CERT_SIGN | KU_CRL_SIGN)) == 0);
    require((X509_get_extension_flags(certificate) & EXFLAG_INVALID) == 0);
    require((X509_get_extension_flags(certificate) & EXFLAG_CRITICAL) == 0);
    ekus = X509_get_ext_d2i(certificate, NID_ext_key_usage, &critical, NULL);
    require(ekus != NULL || critical == -1);
    require(ekus == NULL || sk_ASN1_OBJECT_num(ekus) > 0);
    for (i = 0; i < (ekus != NULL ? sk_ASN1_OBJECT_num(ekus) : 0); i++) {
        switch (OBJ_obj2nid(sk_ASN1_OBJECT_value(ekus, i))) {
        case NID_OCSP_sign:
        case NID_time_stamp:
        case NID_anyExtendedKeyUsage:
            abort();
            break;
        case NID_code_sign:
        case NID_ms_smartcard_login:
            require(allowed);
            break;
        default:
            break;
        }
    }
    EXTENDED_KEY_USAGE_free(ekus);
}

static void issue(const gh_plan_t *plan, int allowed, apr_pool_t *p)
{
    gh_plan_t *again;
    gh_bytes_t bytes;
    X509 *certificate;

    require(gh_plan_encode(&bytes, plan, p, NULL) == APR_SUCCESS
            && gh_plan_decode(&again, bytes, p, NULL) == APR_SUCCESS);
    require(strcmp(gh_plan_subject_text(plan), gh_plan_subject_text(again)) == 0
            && strcmp(gh_plan_sans(plan), gh_plan_sans(again)) == 0);
    require(gh_ca_issue(&certificate, target.ca, again, apr_time_now(), p, NULL) == APR_SUCCESS);
    certificate = gh_certificate_parse(gh_certificate_der(certificate, p), p);
    require(certificate != NULL);
    check_certificate(certificate, allowed);
}

/** What the context that decodes fast reads, the default one reads too, and no less strictly. */
static void read_fast(const uint8_t *data, size_t size, apr_pool_t *p)
{
    gh_csr_t *csr = NULL, *usual = NULL;
    gh_result_t result;

    if (gh_csr_parse(&csr, data, size, target.decoding, p, &result) != APR_SUCCESS)
        return;
    require(gh_csr_parse(&usual, data, size, NULL, p, &result) == APR_SUCCESS);
    require(gh_csr_key_kind(csr) == gh_csr_key_kind(usual));
    require(gh_csr_verify(csr, 1, &result) == gh_csr_verify(usual, 1, &result));
}

/** What httpd makes of expressions: here themselves. */
static apr_status_t expand(void *baton, const char *expression, apr_pool_t *p, const char **value)
{
    *value = strcmp(expression, "mail") == 0 ? "user@example.com" : expression;
    return APR_SUCCESS;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gh_profile_context_t lifted;
    gh_result_t result;
    gh_csr_t *csr = NULL;
    gh_plan_t *plan;
    apr_pool_t *p = NULL;
    int i;

    set_up();
    memset(&lifted, 0, sizeof(lifted));
    lifted.allowances = target.allowances;
    lifted.expand = expand;
    require(apr_pool_create(&p, target.pool) == APR_SUCCESS);
    read_fast(data, size, p);
    if (gh_csr_parse(&csr, data, size, NULL, p, &result) == APR_SUCCESS) {
        gh_csr_verify(csr, 0, &result);
        gh_csr_verify(csr, 1, &result);
        require(gh_csr_subject_text(csr) != NULL && gh_csr_signature_algorithm(csr) != NULL);
        for (i = 0; i < PROFILES; i++) {
            if (gh_profile_apply(&plan, target.profiles[i], csr, NULL, p, &result) == APR_SUCCESS)
                issue(plan, 0, p);
            if (gh_profile_apply(&plan, target.profiles[i], csr, &lifted, p, &result)
                == APR_SUCCESS)
                issue(plan, 1, p);
        }
    }
    apr_pool_destroy(p);
    /* Whatever the library does, it leaves no error behind. */
    require(ERR_peek_error() == 0);
    return 0;
}
