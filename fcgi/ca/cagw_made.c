/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/ca/cagw_made.h"

#include <apr_strings.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "issuer/submission.h"
#include "log.h"
#include "status.h"

#define RULE "cagw.made"

/** Weaker keys are nobody's, NIST SP 800-57. */
#define SECURITY_BITS_MIN 112

#define PASSWORD_BYTES 24

typedef struct {
    gh_issuer_t *issuer;
    const gh_plan_t *plan;
    cagw_made_fn *done;
    void *baton;
    apr_pool_t *pool;
    char password[PASSWORD_BYTES / 3 * 4 + 1];
} call_t;

static apr_status_t overwrite(void *data)
{
    call_t *call = data;

    OPENSSL_cleanse(call->password, sizeof(call->password));
    return APR_SUCCESS;
}

static apr_status_t make_password(call_t *call, gh_result_t *result)
{
    unsigned char random[PASSWORD_BYTES];

    if (RAND_bytes(random, sizeof(random)) != 1) {
        return gh_result_fail(result, APR_EGENERAL, GH_FAILURE_INTERNAL, RULE,
                              "See whether the machine has a source of random numbers.",
                              GHNO(1092) "no password can be made for a PKCS#12");
    }
    EVP_EncodeBlock((unsigned char *)call->password, random, sizeof(random));
    OPENSSL_cleanse(random, sizeof(random));
    return APR_SUCCESS;
}

/** The key is that of the certificate: cagw_open_pkcs12() takes no other. */
static apr_status_t take(cagw_made_t *made, const call_t *call, cagw_outcome_t *outcome)
{
    cagw_enrolled_t enrolled;
    gh_result_t *result = &outcome->result;
    apr_status_t rv = cagw_read_enrolled(&enrolled, &outcome->reply, CAGW_AS_PKCS12, call->pool,
                                         result);

    if (rv == APR_SUCCESS && enrolled.refused) {
        outcome->verdict = CAGW_REFUSED;
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, RULE,
                              "Ask the operator of the CA.",
                              GHNO(1093) "the CA has rejected the request for a key and "
                              "certificate");
    }
    if (rv == APR_SUCCESS && !enrolled.pkcs12.length) {
        rv = gh_result_fail(result, GH_EUNKNOWN, GH_FAILURE_UNAVAILABLE, RULE,
                            "Use a profile of the gateway that issues at once.",
                            GHNO(1094) "the CA has accepted a request for a key and certificate, "
                            "and gives a key only in its answer");
    }
    if (rv == APR_SUCCESS) {
        rv = cagw_open_pkcs12(&made->key, &made->certificate, &made->chain, enrolled.pkcs12,
                              call->password, call->pool, result);
    }
    if (rv == APR_SUCCESS && EVP_PKEY_get_security_bits(made->key) < SECURITY_BITS_MIN) {
        rv = gh_result_fail(result, GH_EREFUSED, GH_FAILURE_INTEGRITY, RULE,
                            "Have the gateway's profile make keys of RSA with 2048 bits or more.",
                            GHNO(1095) "the CA has made a key of %d bits",
                            EVP_PKEY_get_bits(made->key));
    }
    if (rv == APR_SUCCESS) {
        rv = gh_submission_check_made(call->plan, call->issuer, made->key, made->certificate,
                                      result);
    }
    if (rv != APR_SUCCESS) {
        outcome->verdict = CAGW_UNTOLD;
    }
    return rv;
}

static void called(void *baton, cagw_outcome_t *outcome)
{
    call_t *call = baton;
    cagw_made_t *made = apr_pcalloc(call->pool, sizeof(*made));
    int usable = outcome->verdict == CAGW_DONE && take(made, call, outcome) == APR_SUCCESS;

    overwrite(call);
    call->done(call->baton, outcome, usable ? made : NULL);
}

void cagw_call_enrol_made(const cagw_gateway_t *gateway, gh_issuer_t *issuer,
                          const cagw_enrolment_t *asked, const gh_plan_t *plan,
                          cagw_made_fn *done, void *baton, apr_pool_t *p)
{
    call_t *call = apr_pcalloc(p, sizeof(*call));
    cagw_outcome_t *outcome = apr_pcalloc(p, sizeof(*outcome));
    cagw_enrolment_t complete = *asked;
    gh_bytes_t body;

    call->issuer = issuer;
    call->plan = plan;
    call->done = done;
    call->baton = baton;
    call->pool = p;
    apr_pool_cleanup_register(p, call, overwrite, apr_pool_cleanup_null);
    complete.request.data = NULL;
    complete.request.length = 0;
    complete.format = CAGW_AS_PKCS12;
    complete.password = call->password;
    if (make_password(call, &outcome->result) != APR_SUCCESS
        || cagw_write_enrolment(&body, &complete, &gateway->spelling, p, &outcome->result)
        != APR_SUCCESS) {
        outcome->verdict = CAGW_NOT_SENT;
        done(baton, outcome, NULL);
        return;
    }
    cagw_call_enrol(gateway, body, called, call, p);
}
