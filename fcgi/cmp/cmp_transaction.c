/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/cmp/cmp_transaction.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/crmf.h>
#include <openssl/err.h>

#include "fcgi/cmp/cmp_exchange.h"
#include "log.h"
#include "status.h"
#include "x509/key.h"
#include "x509/own.h"

/** id-it-certProfile (RFC 9480): OpenSSL 3.0 has no name for it. */
#define CERT_PROFILE "1.3.6.1.5.5.7.4.21"

/* The certificate */

static apr_status_t keep(cmp_exchange_t *exchange, X509 *certificate)
{
    if (!certificate || X509_up_ref(certificate) != 1) {
        return APR_EGENERAL;
    }
    exchange->certificate = gh_own_certificate(exchange->pool, certificate);
    return APR_SUCCESS;
}

/** Called when a certificate has come. @return bits of PKIFailureInfo: it is not accepted */
static int look_at_certificate(OSSL_CMP_CTX *context, X509 *certificate, int failure,
                               const char **text)
{
    cmp_exchange_t *exchange = OSSL_CMP_CTX_get_certConf_cb_arg(context);
    const cmp_request_t *request = exchange->request;

    exchange->confirming = 1;
    if (keep(exchange, certificate) != APR_SUCCESS
        || request->check(request->baton, certificate, &exchange->why) != APR_SUCCESS) {
        exchange->wrong = 1;
        *text = "not the certificate that was asked for";
        return failure ? failure : 1 << OSSL_CMP_PKIFAILUREINFO_incorrectData;
    }
    exchange->wrong = failure != 0;
    return failure;
}

/* The request */

static int add_profile(OSSL_CMP_CTX *context, const char *name)
{
    ASN1_OBJECT *type = OBJ_txt2obj(CERT_PROFILE, 1);
    ASN1_UTF8STRING *text = ASN1_UTF8STRING_new();
    ASN1_SEQUENCE_ANY *names = sk_ASN1_TYPE_new_null();
    ASN1_TYPE *one = ASN1_TYPE_new(), *value = ASN1_TYPE_new();
    ASN1_STRING *packed = ASN1_STRING_new();
    OSSL_CMP_ITAV *item = NULL;
    unsigned char *der = NULL;
    int length, added = 0;

    if (!type || !text || !names || !one || !value || !packed
        || !ASN1_STRING_set(text, name, -1)) {
        goto cleanup;
    }
    ASN1_TYPE_set(one, V_ASN1_UTF8STRING, text);
    text = NULL;
    if (!sk_ASN1_TYPE_push(names, one)) {
        goto cleanup;
    }
    one = NULL;
    length = i2d_ASN1_SEQUENCE_ANY(names, &der);
    if (length <= 0) {
        goto cleanup;
    }
    ASN1_STRING_set0(packed, der, length);
    ASN1_TYPE_set(value, V_ASN1_SEQUENCE, packed);
    packed = NULL;
    item = OSSL_CMP_ITAV_create(type, value);
    if (item) {
        type = NULL;
        value = NULL;
        added = OSSL_CMP_CTX_push0_geninfo_ITAV(context, item);
        if (!added) {
            OSSL_CMP_ITAV_free(item);
        }
    }

cleanup:
    ASN1_OBJECT_free(type);
    ASN1_UTF8STRING_free(text);
    ASN1_TYPE_free(one);
    ASN1_TYPE_free(value);
    ASN1_STRING_free(packed);
    sk_ASN1_TYPE_pop_free(names, ASN1_TYPE_free);
    return added;
}

/** PKCS#10 as it came: its signature is the proof of possession. */
static int set_request(OSSL_CMP_CTX *context, gh_bytes_t request)
{
    const unsigned char *place = request.data;
    X509_REQ *csr = d2i_X509_REQ(NULL, &place, (long)request.length);
    int set = csr && OSSL_CMP_CTX_set1_p10CSR(context, csr);

    X509_REQ_free(csr);
    return set;
}

/** A template of what was authorised. That the device has the key was checked here (raVerified). */
static int set_template(OSSL_CMP_CTX *context, const gh_plan_t *plan)
{
    EVP_PKEY *key = gh_plan_key(plan);
    STACK_OF(X509_EXTENSION) *extensions
        = sk_X509_EXTENSION_deep_copy(gh_plan_extensions(plan), X509_EXTENSION_dup,
                                      X509_EXTENSION_free);

    if (!EVP_PKEY_up_ref(key)) {
        key = NULL;
    }
    if (!extensions || !OSSL_CMP_CTX_set0_reqExtensions(context, extensions)) {
        sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
        EVP_PKEY_free(key);
        return 0;
    }
    if (!key || !OSSL_CMP_CTX_set0_newPkey(context, 0, key)) {
        EVP_PKEY_free(key);
        return 0;
    }
    return OSSL_CMP_CTX_set1_subjectName(context, gh_plan_subject(plan))
        && OSSL_CMP_CTX_set_option(context, OSSL_CMP_OPT_SUBJECTALTNAME_NODEFAULT, 1)
        && OSSL_CMP_CTX_set_option(context, OSSL_CMP_OPT_POPO_METHOD, OSSL_CRMF_POPO_RAVERIFIED);
}

static apr_status_t prepare(cmp_exchange_t *exchange, const cmp_request_t *request,
                            gh_result_t *result)
{
    OSSL_CMP_CTX *context = exchange->context;
    const cmp_party_t *party = exchange->party;

    exchange->request = request;
    if (!OSSL_CMP_CTX_set_certConf_cb(context, look_at_certificate)
        || !OSSL_CMP_CTX_set_certConf_cb_arg(context, exchange)
        || !OSSL_CMP_CTX_set_option(context, OSSL_CMP_OPT_IMPLICIT_CONFIRM,
                                    party->implicit_confirm)
        || !(party->message == OSSL_CMP_P10CR ? set_request(context, request->request)
             : set_template(context, request->plan))
        || (request->profile && !add_profile(context, request->profile))) {
        return gh_result_openssl(result, APR_EINVAL, GH_FAILURE_INTERNAL, CMP_RULE,
                                 "See whether memory is short.",
                                 GHNO(1042) "issuer %s: the request cannot be put into a CMP "
                                 "message", party->name);
    }
    return APR_SUCCESS;
}

/* Waiting: the answer that says so, and the last one since. Given to OpenSSL once more, they bring
 * its client to where it was. */

static apr_status_t split(cmp_exchange_t *exchange, gh_bytes_t waiting)
{
    const unsigned char *place = waiting.data, *end = waiting.data + waiting.length;

    while (place < end && exchange->replays < 2) {
        const unsigned char *begin = place;
        OSSL_CMP_MSG *message = d2i_OSSL_CMP_MSG(NULL, &place, (long)(end - place));

        if (!message) {
            return APR_EINVAL;
        }
        OSSL_CMP_MSG_free(message);
        exchange->replay[exchange->replays].data = begin;
        exchange->replay[exchange->replays++].length = (apr_size_t)(place - begin);
    }
    exchange->first = exchange->replay[0];
    return place == end ? APR_SUCCESS : APR_EINVAL;
}

static void join(cmp_reply_t *reply, const cmp_exchange_t *exchange)
{
    gh_bytes_t first = exchange->first, last = exchange->last;
    unsigned char *bytes;

    if (last.data == first.data) {
        last.length = 0;
    }
    bytes = apr_palloc(exchange->pool, first.length + last.length);
    memcpy(bytes, first.data, first.length);
    if (last.length) {
        memcpy(bytes + first.length, last.data, last.length);
    }
    reply->waiting.data = bytes;
    reply->waiting.length = first.length + last.length;
}

static void let_wait(cmp_reply_t *reply, const cmp_exchange_t *exchange, int check_after)
{
    reply->verdict = CMP_WAITING;
    reply->alive = 1;
    reply->check_after = check_after > 0 ? apr_time_from_sec(check_after) : 0;
    join(reply, exchange);
    if (reply->waiting.length > CMP_WAITING_MAX) {
        reply->verdict = CMP_UNKNOWN;
        gh_result_fail(&reply->result, GH_EUNKNOWN, GH_FAILURE_UNAVAILABLE, CMP_RULE,
                       "Ask the operator of the CA why its messages are so large.",
                       GHNO(1043) "the CMP server of issuer %s lets the request wait with more "
                       "than %lu bytes", exchange->party->name, (unsigned long)CMP_WAITING_MAX);
    }
}

/** Whether it waits there still, for all that is known. */
static int goes_on(const cmp_reply_t *reply, const cmp_exchange_t *exchange)
{
    return !exchange->confirming && exchange->asked == CMP_BODY_POLL_REQ
        && reply->verdict != CMP_REFUSED
        && !(reply->verdict == CMP_UNKNOWN && exchange->replied == CMP_BODY_ERROR);
}

static void run(cmp_reply_t *reply, cmp_exchange_t *exchange)
{
    int type = exchange->party->message, check_after = 0, rv;

    do {
        rv = OSSL_CMP_try_certreq(exchange->context, type, NULL, &check_after);
    } while (rv == -1 && !exchange->calls);
    if (rv == -1) {
        let_wait(reply, exchange, check_after);
    }
    else if (rv == 1 && exchange->certificate && !exchange->wrong) {
        reply->verdict = CMP_DONE;
        reply->alive = 1;
        reply->certificate = exchange->certificate;
    }
    else {
        cmp_exchange_judge(reply, exchange);
        if (goes_on(reply, exchange)) {
            gh_result_t result = reply->result;

            exchange->last = exchange->replays == 2 ? exchange->replay[1] : exchange->first;
            let_wait(reply, exchange, 0);
            reply->alive = exchange->replied != 0;
            reply->result = result;
        }
    }
    ERR_clear_error();
}

static void fail(cmp_reply_t *reply)
{
    reply->verdict = CMP_MISCONFIGURED;
    ERR_clear_error();
}

static void clear(cmp_reply_t *reply)
{
    memset(reply, 0, sizeof(*reply));
    gh_result_clear(&reply->result);
    ERR_clear_error();
}

void cmp_enrol(cmp_reply_t *reply, const cmp_party_t *party, const cmp_request_t *request,
               const cmp_transport_t *transport, apr_pool_t *p)
{
    cmp_exchange_t exchange;

    clear(reply);
    if (cmp_exchange_begin(&exchange, party, transport, p, &reply->result) != APR_SUCCESS
        || prepare(&exchange, request, &reply->result) != APR_SUCCESS) {
        fail(reply);
    }
    else if (split(&exchange, request->waiting) != APR_SUCCESS) {
        reply->verdict = CMP_UNKNOWN;
        gh_result_fail(&reply->result, GH_ECORRUPT, GH_FAILURE_INTERNAL, CMP_RULE,
                       "Look at the CA what has become of the request; then gatehousectl "
                       "enrolment retry or cancel.",
                       GHNO(1044) "issuer %s: what is stored of a request that waits at the CMP "
                       "server cannot be read", party->name);
        ERR_clear_error();
    }
    else {
        run(reply, &exchange);
    }
}

/* Other messages */

/** A certificate that OpenSSL can take issuer and serial number from, which is all that a
 *  revocation names: whose it is does not matter. */
static X509 *make_reference(const cmp_party_t *party, gh_bytes_t serial)
{
    X509 *certificate = X509_dup(party->ca);
    BIGNUM *number = BN_bin2bn(serial.data, (int)serial.length, NULL);

    if (!certificate || !number
        || !BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate))
        || !X509_set_issuer_name(certificate, X509_get_subject_name(party->ca))) {
        X509_free(certificate);
        certificate = NULL;
    }
    BN_free(number);
    return certificate;
}

void cmp_revoke(cmp_reply_t *reply, const cmp_party_t *party, gh_bytes_t serial, int reason,
                const cmp_transport_t *transport, apr_pool_t *p)
{
    X509 *certificate = make_reference(party, serial);
    cmp_exchange_t exchange;

    clear(reply);
    if (cmp_exchange_begin(&exchange, party, transport, p, &reply->result) != APR_SUCCESS) {
        fail(reply);
    }
    else if (!certificate || !OSSL_CMP_CTX_set1_oldCert(exchange.context, certificate)
             || !OSSL_CMP_CTX_set_option(exchange.context, OSSL_CMP_OPT_REVOCATION_REASON,
                                         reason)) {
        gh_result_openssl(&reply->result, APR_EGENERAL, GH_FAILURE_INTERNAL, CMP_RULE,
                          "See whether memory is short.",
                          GHNO(1045) "issuer %s: a revocation cannot be put into a CMP message",
                          party->name);
        fail(reply);
    }
    else if (OSSL_CMP_exec_RR_ses(exchange.context)) {
        reply->verdict = CMP_DONE;
        reply->alive = 1;
    }
    else {
        cmp_exchange_judge(reply, &exchange);
    }
    X509_free(certificate);
    ERR_clear_error();
}

void cmp_probe(cmp_reply_t *reply, const cmp_party_t *party, const cmp_transport_t *transport,
               apr_pool_t *p)
{
    STACK_OF(OSSL_CMP_ITAV) *items;
    cmp_exchange_t exchange;

    clear(reply);
    if (cmp_exchange_begin(&exchange, party, transport, p, &reply->result) != APR_SUCCESS) {
        fail(reply);
        return;
    }
    items = OSSL_CMP_exec_GENM_ses(exchange.context);
    if (items) {
        reply->verdict = CMP_DONE;
        reply->alive = 1;
    }
    else {
        cmp_exchange_judge(reply, &exchange);
        /* a server that knows us, and has nothing to say */
        if (reply->verdict == CMP_REFUSED) {
            reply->verdict = CMP_DONE;
            gh_result_clear(&reply->result);
        }
    }
    sk_OSSL_CMP_ITAV_pop_free(items, OSSL_CMP_ITAV_free);
    ERR_clear_error();
}
