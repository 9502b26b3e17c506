/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* A request as Windows makes it: PKCS#10, a renewal in CMS, or CMC. Read, verified, matched with
 * templates, and names made for it. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_pools.h>
#include <openssl/err.h>

#include "decoding_support.h"
#include "mod_wstep/wstep_template.h"
#include "mod_wstep/wstep_token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
    apr_pool_t *pool;
    OSSL_LIB_CTX *decoding;
    xcep_template_t policies[2];
    wstep_template_t templates[2];
    apr_array_header_t *offered;
} target;

static void require(int condition)
{
    if (!condition) {
        abort();
    }
}

static void tear_down(void)
{
    apr_pool_destroy(target.pool);
}

static void prepare(void)
{
    int i;

    apr_initialize();
    require(apr_pool_create(&target.pool, NULL) == APR_SUCCESS);
    atexit(tear_down);
    target.decoding = decoding_context(target.pool);
    target.offered = apr_array_make(target.pool, 2, sizeof(const wstep_template_t *));
    for (i = 0; i < 2; ++i) {
        xcep_template_t *policy = &target.policies[i];

        policy->name = i ? "Supplied" : "User";
        policy->oid = i ? "1.2.3" : "1.3.6.1.4.1.311.21.8.1234567.7654321.1.2.3";
        policy->schema = 2;
        policy->major = 100;
        policy->subject_flags = i ? XCEP_SUBJECT_SUPPLIED | XCEP_SUBJECT_SAN_SUPPLIED
                                  : XCEP_SUBJECT_CN;
        target.templates[i].policy = policy;
        target.templates[i].supply_subject = target.templates[i].supply_names = i;
        APR_ARRAY_PUSH(target.offered, const wstep_template_t *) = &target.templates[i];
    }
}

/** What was read is used as the engine uses it. */
static void use(const wstep_token_t *token, apr_pool_t *p)
{
    const wstep_user_t user = { .name = "alice", .written = "alice" };
    const gh_given_names_t *given;
    const wstep_template_t *template;
    wstep_fault_kind_t kind = WSTEP_FAULT_NONE;
    gh_result_t result;
    int i;

    require(token->csr != NULL);
    /* whoever renews has signed, and with that very certificate */
    require(token->kind != WSTEP_TOKEN_RENEWAL || token->signer);
    require(token->kind == WSTEP_TOKEN_PKCS10 || !token->renewed || token->signer);
    require(!token->signer || !token->renewed || X509_cmp(token->signer, token->renewed) == 0);
    gh_result_clear(&result);
    wstep_token_value(token, "requestername");
    wstep_template_find(&template, target.offered, token, NULL, &kind, &result);
    for (i = 0; i < 2; ++i) {
        gh_result_clear(&result);
        wstep_template_key(&target.templates[i], token, &result);
        wstep_template_names(&given, &target.templates[i], token, &user, NULL, NULL, &kind, p,
                             &result);
    }
    if (token->signer) {
        wstep_template_keep_names(&given, &target.templates[0], token->signer, p, &result);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gh_bytes_t der = { data, size };
    wstep_token_t *token;
    gh_result_t result;
    apr_pool_t *p;

    if (!target.pool) {
        prepare();
    }
    require(apr_pool_create(&p, target.pool) == APR_SUCCESS);
    gh_result_clear(&result);
    if (wstep_token_read(&token, der, target.decoding, p, &result) == APR_SUCCESS) {
        use(token, p);
    }
    else {
        require(*result.number != '\0');
    }
    apr_pool_destroy(p);
    require(ERR_peek_error() == 0);
    return 0;
}
