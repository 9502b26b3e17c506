/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Messages to and from OpenSSL's CMP client, and what an exchange that has failed means. */

#include "fcgi/cmp/cmp_exchange.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/err.h>

#include "log.h"
#include "status.h"

/** What a CA says is cut after so much. */
#define WORDS_MAX 300

#define BIT(name) OSSL_CMP_CTX_FAILINFO_##name

/** The CA does not accept us, or our clock: no request is to blame. */
#define NOT_US (BIT(badMessageCheck) | BIT(badTime) | BIT(wrongAuthority) | BIT(wrongIntegrity) \
                | BIT(signerNotTrusted) | BIT(unsupportedVersion) | BIT(notAuthorized))

/** Not now, and nothing was done. */
#define NOT_NOW (BIT(systemUnavail) | BIT(timeNotAvailable))

/* Messages */

static OSSL_CMP_MSG *read_message(gh_bytes_t bytes)
{
    const unsigned char *place = bytes.data;

    return bytes.length > 0 && bytes.length <= CMP_ANSWER_MAX
        ? d2i_OSSL_CMP_MSG(NULL, &place, (long)bytes.length) : NULL;
}

/** An answer of before: it belongs to the message that was sent then. */
static OSSL_CMP_MSG *replay_answer(cmp_exchange_t *exchange)
{
    OSSL_CMP_MSG *message = read_message(exchange->replay[exchange->replayed++]);
    const OSSL_CMP_PKIHEADER *header = message ? OSSL_CMP_MSG_get0_header(message) : NULL;

    if (header
        && (OSSL_CMP_CTX_set1_transactionID(exchange->context,
                                            OSSL_CMP_HDR_get0_transactionID(header)) != 1
            || OSSL_CMP_CTX_set1_senderNonce(exchange->context,
                                             OSSL_CMP_HDR_get0_recipNonce(header)) != 1)) {
        OSSL_CMP_MSG_free(message);
        message = NULL;
    }
    return message;
}

/**
 * The answer that ends waiting has the nonce of the request that had to wait (RFC 9483 4.4), that
 * of some servers the nonce of the last message. Both are ours.
 */
static void accept_nonce(cmp_exchange_t *exchange, const OSSL_CMP_MSG *message)
{
    OSSL_CMP_MSG *first = read_message(exchange->first);
    const ASN1_OCTET_STRING *theirs
        = OSSL_CMP_HDR_get0_recipNonce(OSSL_CMP_MSG_get0_header(message));
    const ASN1_OCTET_STRING *ours = first
        ? OSSL_CMP_HDR_get0_recipNonce(OSSL_CMP_MSG_get0_header(first)) : NULL;

    if (theirs && ours && ASN1_OCTET_STRING_cmp(theirs, ours) == 0) {
        OSSL_CMP_CTX_set1_senderNonce(exchange->context, ours);
    }
    OSSL_CMP_MSG_free(first);
}

/** OpenSSL waits where it is told to poll while a certificate is confirmed, or revoked. */
static int may_send(const cmp_exchange_t *exchange, int body)
{
    return body != CMP_BODY_POLL_REQ || (exchange->request && !exchange->confirming);
}

static OSSL_CMP_MSG *transfer(OSSL_CMP_CTX *context, const OSSL_CMP_MSG *message)
{
    cmp_exchange_t *exchange = OSSL_CMP_CTX_get_transfer_cb_arg(context);
    int body = OSSL_CMP_MSG_get_bodytype(message);
    OSSL_CMP_MSG *answer = NULL;
    unsigned char *der = NULL;
    gh_bytes_t bytes;
    int length;

    if (exchange->replayed < exchange->replays) {
        return replay_answer(exchange);
    }
    exchange->asked = body;
    exchange->replied = 0;
    memset(&exchange->answer, 0, sizeof(exchange->answer));
    gh_result_clear(&exchange->answer.result);
    length = may_send(exchange, body) ? i2d_OSSL_CMP_MSG(message, &der) : -1;
    if (length <= 0) {
        return NULL;
    }
    bytes.data = der;
    bytes.length = (apr_size_t)length;
    ++exchange->calls;
    exchange->transport->send(exchange->transport->baton, bytes, &exchange->answer,
                              exchange->pool);
    OPENSSL_free(der);
    if (exchange->answer.answered) {
        answer = read_message(exchange->answer.body);
    }
    if (answer) {
        exchange->replied = OSSL_CMP_MSG_get_bodytype(answer);
        if (!exchange->first.data) {
            exchange->first = exchange->answer.body;
        }
        exchange->last = exchange->answer.body;
        if (body == CMP_BODY_POLL_REQ && exchange->replied != CMP_BODY_POLL_REP) {
            accept_nonce(exchange, answer);
        }
    }
    return answer;
}

/* The context */

static apr_status_t free_context(void *data)
{
    OSSL_CMP_CTX_free(data);
    return APR_SUCCESS;
}

/** What it has to say, it says in the queue of errors too. */
static int silent(const char *function, const char *file, int line, OSSL_CMP_severity level,
                  const char *message)
{
    return 1;
}

static int set_protection(OSSL_CMP_CTX *context, const cmp_party_t *party)
{
    if (party->secret.data) {
        return OSSL_CMP_CTX_set1_referenceValue(context, party->reference.data,
                                                (int)party->reference.length)
            && OSSL_CMP_CTX_set1_secretValue(context, party->secret.data,
                                             (int)party->secret.length)
            && OSSL_CMP_CTX_set_option(context, OSSL_CMP_OPT_OWF_ALGNID, NID_sha256)
            && OSSL_CMP_CTX_set_option(context, OSSL_CMP_OPT_MAC_ALGNID, NID_hmacWithSHA256);
    }
    return OSSL_CMP_CTX_set1_cert(context, party->certificate)
        && OSSL_CMP_CTX_set1_pkey(context, party->key)
        && OSSL_CMP_CTX_set1_extraCertsOut(context, party->chain);
}

static int set_trust(OSSL_CMP_CTX *context, const cmp_party_t *party)
{
    if (!party->trust) {
        return 1;
    }
    if (!X509_STORE_up_ref(party->trust)) {
        return 0;
    }
    if (!OSSL_CMP_CTX_set0_trustedStore(context, party->trust)) {
        X509_STORE_free(party->trust);
        return 0;
    }
    return OSSL_CMP_CTX_set1_untrusted(context, party->known);
}

apr_status_t cmp_exchange_begin(cmp_exchange_t *exchange, const cmp_party_t *party,
                                const cmp_transport_t *transport, apr_pool_t *p,
                                gh_result_t *result)
{
    OSSL_CMP_CTX *context = OSSL_CMP_CTX_new(NULL, NULL);

    memset(exchange, 0, sizeof(*exchange));
    gh_result_clear(&exchange->why);
    exchange->context = context;
    exchange->party = party;
    exchange->transport = transport;
    exchange->pool = p;
    if (context) {
        apr_pool_cleanup_register(p, context, free_context, apr_pool_cleanup_null);
    }
    if (!context || !OSSL_CMP_CTX_set_log_cb(context, silent)
        || !OSSL_CMP_CTX_set_option(context, OSSL_CMP_OPT_DIGEST_ALGNID, NID_sha256)
        || !OSSL_CMP_CTX_set_option(context, OSSL_CMP_OPT_UNPROTECTED_ERRORS,
                                    party->unprotected_errors)
        || !OSSL_CMP_CTX_set_transfer_cb(context, transfer)
        || !OSSL_CMP_CTX_set_transfer_cb_arg(context, exchange)
        || !OSSL_CMP_CTX_set1_recipient(context, party->recipient ? party->recipient
                                        : X509_get_subject_name(party->ca))
        || (party->sender && !OSSL_CMP_CTX_set1_expected_sender(context, party->sender))
        || !set_protection(context, party) || !set_trust(context, party)) {
        return gh_result_openssl(result, APR_EGENERAL, GH_FAILURE_INTERNAL, CMP_RULE,
                                 "See whether memory is short.",
                                 GHNO(1031) "issuer %s: OpenSSL's CMP client cannot be set up",
                                 party->name);
    }
    return APR_SUCCESS;
}

/* Judgement */

const char *cmp_openssl_words(apr_pool_t *p)
{
    const char *text = "", *data, *reason;
    unsigned long error;
    int flags;

    while ((error = ERR_get_error_all(NULL, NULL, NULL, &data, &flags)) != 0) {
        reason = ERR_reason_error_string(error);
        if (strlen(text) < WORDS_MAX) {
            text = apr_pstrcat(p, text, *text ? ", " : "", reason ? reason : "error",
                               (flags & ERR_TXT_STRING) && *data ? ": " : "",
                               (flags & ERR_TXT_STRING) ? data : "", NULL);
        }
    }
    return *text ? text : "no reason given";
}

/** PKIFreeText of the CA, or the names of its failure bits. */
static const char *words_of(const cmp_exchange_t *exchange)
{
    const OSSL_CMP_PKIFREETEXT *texts = OSSL_CMP_CTX_get0_statusString(exchange->context);
    const char *text = "";
    char buffer[OSSL_CMP_PKISI_BUFLEN];
    int i;

    for (i = 0; texts && i < sk_ASN1_UTF8STRING_num(texts) && strlen(text) < WORDS_MAX; ++i) {
        const ASN1_UTF8STRING *one = sk_ASN1_UTF8STRING_value(texts, i);

        text = apr_pstrcat(exchange->pool, text, *text ? ", " : "",
                           apr_pstrmemdup(exchange->pool, (const char *)ASN1_STRING_get0_data(one),
                                          (apr_size_t)ASN1_STRING_length(one)), NULL);
    }
    if (!*text && OSSL_CMP_CTX_snprint_PKIStatus(exchange->context, buffer, sizeof(buffer))) {
        text = apr_pstrdup(exchange->pool, buffer);
    }
    return *text ? text : "no reason given";
}

/** The CA has said no. Of one that was waiting only an answer to the request itself counts: a
 *  server that does not know of it any more may have issued. */
static void judge_refusal(cmp_reply_t *reply, const cmp_exchange_t *exchange)
{
    int bits = OSSL_CMP_CTX_get_failInfoCode(exchange->context);
    const char *name = exchange->party->name;

    reply->words = words_of(exchange);
    reply->revoked = bits > 0 && (bits & BIT(certRevoked)) != 0;
    bits = bits < 0 ? 0 : bits;
    if (exchange->asked == CMP_BODY_POLL_REQ && exchange->replied == CMP_BODY_ERROR) {
        reply->verdict = bits & (NOT_NOW | BIT(systemFailure)) ? CMP_WAITING : CMP_UNKNOWN;
        gh_result_fail(&reply->result, GH_EUNKNOWN, GH_FAILURE_UNAVAILABLE, CMP_RULE,
                       "Look at the CA what has become of the request; then gatehousectl "
                       "enrolment retry or cancel.",
                       GHNO(1032) "the CMP server of issuer %s, which had let the request wait, "
                       "now says: %s", name, reply->words);
    }
    else if (bits & BIT(systemFailure) && exchange->request) {
        /* it may have signed before it failed */
        reply->verdict = CMP_UNKNOWN;
        gh_result_fail(&reply->result, GH_EUNKNOWN, GH_FAILURE_UNAVAILABLE, CMP_RULE,
                       "Look at the CA what has become of the request; then gatehousectl "
                       "enrolment retry or cancel.",
                       GHNO(1457) "the CA of issuer %s has failed amid the request, and does not "
                       "tell what it did: %s", name, reply->words);
    }
    else if (bits & (NOT_NOW | BIT(systemFailure)) && exchange->asked != CMP_BODY_POLL_REQ) {
        reply->verdict = CMP_BUSY;
        gh_result_fail(&reply->result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, CMP_RULE,
                       "Nothing, if it passes; otherwise ask the operator of the CA.",
                       GHNO(1033) "the CMP server of issuer %s is not ready: %s", name,
                       reply->words);
    }
    else if (bits & NOT_US && exchange->asked != CMP_BODY_POLL_REQ) {
        reply->verdict = CMP_MISCONFIGURED;
        gh_result_fail(&reply->result, APR_EACCES, GH_FAILURE_UNAVAILABLE, CMP_RULE,
                       "See that the CA knows reference and secret of IssuerCMP, or the "
                       "certificate of IssuerCredential, and permits us what we ask for; and the "
                       "clocks.",
                       GHNO(1034) "the CMP server of issuer %s does not accept us: %s", name,
                       reply->words);
    }
    else {
        reply->verdict = CMP_REFUSED;
        gh_result_fail(&reply->result, GH_EREFUSED, GH_FAILURE_REQUEST, CMP_RULE,
                       "Ask the operator of the CA.",
                       GHNO(1035) "the CA refuses: %s", reply->words);
    }
}

/** There was a message, and no answer of a CMP server to it. */
static void judge_transport(cmp_reply_t *reply, const cmp_exchange_t *exchange)
{
    const cmp_answer_t *answer = &exchange->answer;
    long status = answer->status;

    if (!answer->answered) {
        reply->verdict = answer->sent ? CMP_UNKNOWN : CMP_NOT_SENT;
        reply->result = answer->result;
    }
    else if (status == 429 || (status == 503 && answer->retry_after)) {
        reply->verdict = CMP_BUSY;
        gh_result_fail(&reply->result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, CMP_RULE,
                       "Nothing, if it passes; otherwise lower the issuer's rate.",
                       GHNO(1036) "the CMP server of issuer %s wants to be asked later (HTTP %ld)",
                       exchange->party->name, status);
    }
    else if (status >= 300 && status < 500 && status != 408) {
        reply->verdict = CMP_MISCONFIGURED;
        gh_result_fail(&reply->result, APR_EACCES, GH_FAILURE_UNAVAILABLE, CMP_RULE,
                       "See that the URL of IssuerBackend is that of a CMP server, and that it "
                       "accepts us.",
                       GHNO(1037) "no CMP server answers for issuer %s (HTTP %ld)",
                       exchange->party->name, status);
    }
    else {
        reply->verdict = CMP_UNKNOWN;
        gh_result_fail(&reply->result, GH_EUNKNOWN, GH_FAILURE_UNAVAILABLE, CMP_RULE,
                       "Look into the log of the CMP server.",
                       GHNO(1038) "the answer of the CMP server of issuer %s does not tell what it "
                       "did (HTTP %ld, no CMP message)", exchange->party->name, status);
    }
}

/** A certificate had come, and the exchange has failed after that. */
static void judge_confirmation(cmp_reply_t *reply, const cmp_exchange_t *exchange)
{
    if (exchange->wrong) {
        reply->verdict = CMP_WRONG;
        reply->result = exchange->why;
    }
    else if (exchange->asked == CMP_BODY_CERT_CONF && !exchange->replied
             && exchange->answer.sent) {
        reply->verdict = CMP_DONE;
        reply->unconfirmed = 1;
    }
    else {
        reply->verdict = CMP_WRONG;
        gh_result_fail(&reply->result, GH_EREFUSED, GH_FAILURE_UNAVAILABLE, CMP_RULE,
                       "Look at the CA whether the certificate is valid; then gatehousectl "
                       "enrolment retry or cancel.",
                       GHNO(1039) "the CA of issuer %s has not taken the confirmation of its "
                       "certificate: %s", exchange->party->name, reply->words);
    }
}

void cmp_exchange_judge(cmp_reply_t *reply, const cmp_exchange_t *exchange)
{
    const char *words = cmp_openssl_words(exchange->pool);

    reply->waited = exchange->asked == CMP_BODY_POLL_REQ;
    reply->alive = exchange->replied != 0;
    reply->stopped = exchange->answer.stopped;
    reply->retry_after = exchange->answer.retry_after;
    reply->certificate = exchange->certificate;
    reply->words = words;
    if (exchange->confirming) {
        judge_confirmation(reply, exchange);
    }
    else if (!exchange->calls) {
        reply->verdict = CMP_MISCONFIGURED;
        gh_result_fail(&reply->result, APR_EGENERAL, GH_FAILURE_INTERNAL, CMP_RULE,
                       "See that key and secret of the issuer suit CMP.",
                       GHNO(1040) "issuer %s: a CMP message cannot be made: %s",
                       exchange->party->name, words);
    }
    else if (!exchange->replied) {
        judge_transport(reply, exchange);
    }
    else if (OSSL_CMP_CTX_get_status(exchange->context) == OSSL_CMP_PKISTATUS_rejection) {
        judge_refusal(reply, exchange);
    }
    else {
        reply->verdict = CMP_UNKNOWN;
        gh_result_fail(&reply->result, GH_EUNKNOWN, GH_FAILURE_UNAVAILABLE, CMP_RULE,
                       "See that both sides have the same secret, or that IssuerCMP trusts who "
                       "signs there; unprotected errors can be permitted.",
                       GHNO(1041) "the answer of the CMP server of issuer %s cannot be trusted: %s",
                       exchange->party->name, words);
    }
}
