/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_scep/scep_exchange.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/err.h>

#include "issuer/intune.h"
#include "status.h"
#include "x509/csr.h"

/** Least strength of a secret that a reply is encrypted with. */
#define SECRET_BITS 128

/** Most jobs of one enrolment that follow each other: asked, enrolled, confirmed. */
#define AWAIT_JOBS 3

/**
 * Whatever is wrong between decryption and a verified request looks the same from outside, or our
 * key could be used to decrypt what others have sent (Bleichenbacher, Vaudenay).
 */
apr_status_t scep_exchange_not_opened(scep_exchange_t *x, const char *cause)
{
    ERR_clear_error();
    x->cause = cause;
    gh_result_clear(&x->result);
    return gh_result_fail(&x->result, GH_EREFUSED, GH_FAILURE_INTEGRITY, SCEP_RULE_OPEN,
                          "Encrypt to the RA certificate that GetCACert gives now, and sign "
                          "message and request with the same key.",
                          GHNO(0218) "the message cannot be opened and verified");
}

/* Each way through opens an envelope, parses one request to its end and verifies one: where the
 * client's is not there or not to be verified, the decoy is. */

static void parse_decoy(const scep_exchange_t *x)
{
    gh_csr_t *csr;

    gh_csr_parse(&csr, x->keys->decoy.data, x->keys->decoy.length, x->services->decoding, x->p,
                 NULL);
}

static void verify_decoy(const scep_exchange_t *x)
{
    gh_csr_verify(x->keys->parsed_decoy, 0, NULL);
}

static int is_self_issued(const X509 *certificate)
{
    return X509_NAME_cmp(X509_get_subject_name(certificate), X509_get_issuer_name(certificate))
           == 0;
}

static int is_manager(const scep_exchange_t *x)
{
    const apr_array_header_t *managers = x->endpoint->managers;
    int i;

    for (i = 0; managers && i < managers->nelts; ++i) {
        if (X509_cmp(APR_ARRAY_IDX(managers, i, X509 *), x->message->signer) == 0) {
            return 1;
        }
    }
    return 0;
}

/** Who signs with another key than the request's must be a manager, or hold a certificate that is
 *  to be renewed (RFC 8894 2.3); which of them, and whether that is so, is decided later. */
static int may_speak_for_other(const scep_exchange_t *x)
{
    return is_manager(x) || !is_self_issued(x->message->signer);
}

/**
 * A renewal: a RenewalReq; a PKCSReq for another key, signed under an earlier certificate, as
 * older clients do; one for the same key, if that is permitted and there is no challenge.
 */
static int is_renewal(const scep_exchange_t *x, const gh_csr_t *csr)
{
    const char *challenge = gh_csr_challenge(csr);

    if (x->message->type == SCEP_RENEWAL_REQ) {
        return 1;
    }
    if (is_self_issued(x->message->signer) || is_manager(x)) {
        return 0;
    }
    return EVP_PKEY_eq(gh_csr_key(csr), x->message->signer_key) != 1
           || (x->endpoint->renewal && x->endpoint->renewal->same_key
               && (!challenge || !*challenge));
}

static apr_status_t check_renewal(scep_exchange_t *x)
{
    if (is_self_issued(x->message->signer)) {
        return gh_result_fail(&x->result, GH_EREFUSED, GH_FAILURE_REQUEST, "renewal.self-signed",
                              "Sign it with the certificate that is to be renewed, or send a "
                              "PKCSReq.",
                              GHNO(0461) "a RenewalReq cannot be signed by a self-signed "
                                         "certificate");
    }
    if (!x->endpoint->renewal) {
        return gh_result_fail(&x->result, GH_EREFUSED, GH_FAILURE_DENIED, "renewal.off",
                              "Enrol anew with a challenge, or let the administrator configure "
                              "SCEPRenewal.",
                              GHNO(0462) "renewal by certificate is not configured here");
    }
    return APR_SUCCESS;
}

/** Opens a message that carries a request for a certificate. */
static apr_status_t open_request(scep_exchange_t *x, gh_csr_t **csr)
{
    gh_bytes_t content;
    gh_result_t result;

    if (scep_message_open(x->message, x->recipient, &content, x->p) != APR_SUCCESS) {
        parse_decoy(x);
        verify_decoy(x);
        return scep_exchange_not_opened(x, "it does not decrypt");
    }
    if (gh_csr_parse(csr, content.data, content.length, x->services->decoding, x->p, NULL)
        != APR_SUCCESS) {
        /* garbage, as a bad padding that goes unnoticed leaves it, ends at its first bytes */
        parse_decoy(x);
        verify_decoy(x);
        return scep_exchange_not_opened(x, "the content is not an acceptable PKCS#10 request");
    }
    if (EVP_PKEY_eq(gh_csr_key(*csr), x->message->signer_key) != 1 && !may_speak_for_other(x)) {
        verify_decoy(x);
        return scep_exchange_not_opened(x, "the request has another key than the signer of the "
                                           "message, which is self-signed");
    }
    gh_result_clear(&result);
    if (gh_csr_verify(*csr, x->endpoint->allow & SCEP_ALLOW_SHA1, &result) != APR_SUCCESS) {
        /* refused for its algorithm, before any work with the key */
        if (result.failure == GH_FAILURE_ALGORITHM) {
            verify_decoy(x);
        }
        return scep_exchange_not_opened(x, "the signature of the request is not valid or its "
                                           "digest not "
                             "accepted");
    }
    return APR_SUCCESS;
}

static const apr_array_header_t *reply_certificates(const scep_exchange_t *x, gh_bytes_t issued)
{
    apr_array_header_t *certificates = apr_array_make(x->p, 4, sizeof(gh_bytes_t));

    APR_ARRAY_PUSH(certificates, gh_bytes_t) = issued;
    if (x->endpoint->reply_chain != SCEP_REPLY_LEAF) {
        APR_ARRAY_PUSH(certificates, gh_bytes_t) = x->keys->issuer_certificate;
    }
    if (x->endpoint->reply_chain == SCEP_REPLY_FULL) {
        apr_array_cat(certificates, x->keys->chain);
    }
    return certificates;
}

/** From where an enrolment stands to the answer. */
static apr_status_t reply_outcome(scep_exchange_t *x, const gh_enrolment_outcome_t *outcome)
{
    gh_audit_event_t *event = x->request->event;

    if (outcome->serial.length) {
        event->serial = gh_hex(x->p, outcome->serial.data, outcome->serial.length);
    }
    switch (outcome->state) {
    case GH_ENROLMENT_ISSUED:
        x->reply.status = SCEP_SUCCESS;
        x->reply.certificates = reply_certificates(x, outcome->certificate);
        event->result = "issued";
        return APR_SUCCESS;
    case GH_ENROLMENT_WAITING:
    case GH_ENROLMENT_APPROVED:
    case GH_ENROLMENT_SUBMITTED:
    case GH_ENROLMENT_RETRY:
    case GH_ENROLMENT_IN_DOUBT:
    case GH_ENROLMENT_CONFIRMING:
        x->reply.status = SCEP_PENDING;
        event->result = "pending";
        return APR_SUCCESS;
    case GH_ENROLMENT_DENIED:
        return gh_result_fail(&x->result, GH_EREFUSED, GH_FAILURE_DENIED, "enrolment.denied",
                              "Ask the operator, then begin anew with another transactionID.",
                              GHNO(0219) "an operator has denied the enrolment%s%s",
                              outcome->message ? ": " : "",
                              outcome->message ? outcome->message : "");
    default:
        return gh_result_fail(&x->result, GH_EREFUSED, x->endpoint->intune
                              ? gh_intune_failure(outcome->message) : GH_FAILURE_REQUEST,
                              "enrolment.rejected",
                              "Change the request, or ask the operator of the CA.",
                              GHNO(0220) "the enrolment was rejected%s%s",
                              outcome->message ? ": " : "",
                              outcome->message ? outcome->message : "");
    }
}

static void fill_request(gh_enrolment_request_t *enrolment, const scep_exchange_t *x,
                         const gh_csr_t *csr)
{
    memset(enrolment, 0, sizeof(*enrolment));
    enrolment->protocol = "scep";
    enrolment->location = x->endpoint->path;
    enrolment->tenant = x->endpoint->tenant;
    enrolment->issuer = x->issuer;
    enrolment->profile = x->endpoint->profile;
    enrolment->transaction = x->message->transaction;
    enrolment->signer_sha256 = x->message->signer_sha256;
    enrolment->signer = x->message->signer;
    enrolment->csr = csr;
    enrolment->challenge = gh_csr_challenge(csr);
    enrolment->sealer = x->services->sealer;
    enrolment->client = x->request->client;
    enrolment->user = x->request->user;
    enrolment->request_id = x->request->id;
    enrolment->context.allowances = x->endpoint->allowances;
    enrolment->context.expand = x->request->expand;
    enrolment->context.expand_baton = x->request->expand_baton;
}

/** Whether the certificate is there at once, rather than after a CA elsewhere has made it. */
static int issues_at_once(const scep_exchange_t *x)
{
    const gh_issuer_t *ca = x->endpoint->ca;

    while (ca && strcmp(gh_issuer_name(ca), x->issuer) != 0) {
        ca = gh_issuer_next(ca);
    }
    return ca && !gh_issuer_backend(ca)->by_worker;
}

/** Nothing is issued that its owner could not read. */
static apr_status_t check_password(scep_exchange_t *x, const gh_authorisation_t *authorisation)
{
    if (!x->message->needs_password
        || (x->reply.password && gh_authorisation_secret_bits(authorisation) >= SECRET_BITS
            && !gh_authorisation_needs_approval(authorisation)
            && !gh_authorisation_question(authorisation) && issues_at_once(x))) {
        return APR_SUCCESS;
    }
    return gh_result_fail(&x->result, GH_EREFUSED, GH_FAILURE_ALGORITHM, "message.password",
                          "Use an RSA key, or a one-time challenge at an endpoint that issues at "
                          "once.",
                          GHNO(0544) "the reply to an EC key (%s) is encrypted with the challenge, "
                          "which has to be a one-time or device secret of at least %d bits, and "
                          "the certificate given at once", x->message->signer_kind, SECRET_BITS);
}

static apr_status_t authorise_and_enrol(scep_exchange_t *x, const gh_enrolment_request_t *enrolment,
                                        gh_enrolment_outcome_t *outcome)
{
    gh_authorisation_t *authorisation;
    apr_status_t rv;

    rv = x->renews
        ? gh_authorise_renewal(&authorisation, enrolment, x->endpoint->renewal,
                               x->endpoint->authorisers, x->services->store, x->p, &x->result)
        : gh_authorise(&authorisation, enrolment, x->endpoint->authorisers, x->services->store,
                       x->p, &x->result);
    if (rv == APR_SUCCESS) {
        rv = check_password(x, authorisation);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    return gh_ledger_enrol(x->services->ledger, authorisation, enrolment, x->request->event,
                           outcome, x->p, &x->result);
}

/** What was permitted meanwhile is issued here and now, rather than by who looks for it. */
static void issue_permitted(scep_exchange_t *x, const gh_enrolment_outcome_t *outcome)
{
    gh_audit_event_t *event;
    gh_result_t result;

    gh_result_clear(&result);
    if (gh_ledger_issue_one(x->services->ledger, outcome->id, &event, x->p, &result)
        != APR_SUCCESS) {
        gh_log(x->request->log, GH_LOG_INFO, APR_SUCCESS, GHNO(0890) "enrolment %s was permitted "
               "and is issued later: %s: %s", outcome->id, result.number, result.message);
    }
    else if (event && x->request->audit) {
        x->request->audit(event, x->p);
    }
}

static int is_at_worker(const gh_enrolment_outcome_t *outcome)
{
    return outcome->queue && (outcome->state == GH_ENROLMENT_SUBMITTED
                              || outcome->state == GH_ENROLMENT_CONFIRMING);
}

/**
 * One that a worker has just been given, or has had for a while, may be done in a moment. What is
 * to be tried again later is not waited for. Each job on the way is waited for once: who is asked
 * first, the CA, who is told.
 */
static apr_status_t await_outcome(scep_exchange_t *x, const gh_enrolment_request_t *enrolment,
                                  gh_enrolment_outcome_t *outcome)
{
    gh_enrolment_outcome_t now;
    const char *waited = "";
    int round;

    for (round = 0; round < AWAIT_JOBS && is_at_worker(outcome) && x->request->await; ++round) {
        apr_status_t rv = scep_exchange_await(x, outcome->queue, outcome->id);

        if (rv != APR_SUCCESS) {
            return rv;
        }
        waited = outcome->queue;
        memset(&now, 0, sizeof(now));
        rv = gh_ledger_repeat(x->services->ledger, enrolment, &now, x->p, NULL);
        if (rv == APR_SUCCESS && now.state == GH_ENROLMENT_APPROVED && now.id) {
            issue_permitted(x, &now);
            memset(&now, 0, sizeof(now));
            rv = gh_ledger_repeat(x->services->ledger, enrolment, &now, x->p, NULL);
        }
        if (rv != APR_SUCCESS) {
            return APR_SUCCESS;
        }
        if (now.state == outcome->state && now.queue && !strcmp(now.queue, waited)) {
            break;                      /* the time is over */
        }
        *outcome = now;
    }
    if (*waited && outcome->state == GH_ENROLMENT_ISSUED) {
        x->request->event->message = apr_pstrcat(x->p, "enrolment ", outcome->id,
                                                 ", by a worker", NULL);
    }
    return APR_SUCCESS;
}

apr_status_t scep_exchange_enrol(scep_exchange_t *x)
{
    gh_enrolment_request_t enrolment;
    gh_enrolment_outcome_t outcome;
    gh_csr_t *csr;
    apr_status_t rv;

    rv = open_request(x, &csr);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    x->request->event->subject = gh_csr_subject_text(csr);
    x->renews = is_renewal(x, csr);
    if (x->renews) {
        x->request->event->event = "renew";
        rv = check_renewal(x);
        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    fill_request(&enrolment, x, csr);
    x->reply.password = x->message->needs_password ? gh_csr_challenge(csr) : NULL;
    memset(&outcome, 0, sizeof(outcome));
    rv = gh_ledger_repeat(x->services->ledger, &enrolment, &outcome, x->p, &x->result);
    if (rv == APR_SUCCESS) {
        x->request->event->rule = "repeat";
    }
    else if (rv == APR_NOTFOUND) {
        gh_result_clear(&x->result);
        rv = authorise_and_enrol(x, &enrolment, &outcome);
        /* the same request may have been granted on another connection meanwhile, and its one-time
           challenge with it */
        if (rv == GH_EREFUSED
            && gh_ledger_repeat(x->services->ledger, &enrolment, &outcome, x->p, NULL)
                   == APR_SUCCESS) {
            x->request->event->rule = "repeat";
            rv = APR_SUCCESS;
        }
    }
    if (rv == APR_SUCCESS) {
        rv = await_outcome(x, &enrolment, &outcome);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    gh_result_clear(&x->result);
    return reply_outcome(x, &outcome);
}

/* CertPoll */

int scep_exchange_names_issuer(const scep_exchange_t *x, const X509_NAME *name)
{
    const X509 *ra = x->recipient->certificate;

    return X509_NAME_cmp(name, X509_get_issuer_name(ra)) == 0
           || X509_NAME_cmp(name, X509_get_subject_name(ra)) == 0;
}

apr_status_t scep_exchange_open(scep_exchange_t *x, gh_bytes_t *content)
{
    apr_status_t rv = scep_message_open(x->message, x->recipient, content, x->p);

    /* it carries no request; whether something else does must not be seen from the time */
    parse_decoy(x);
    verify_decoy(x);
    return rv == APR_SUCCESS ? rv : scep_exchange_not_opened(x, "it does not decrypt");
}

apr_status_t scep_exchange_poll(scep_exchange_t *x)
{
    SCEP_ISSUER_AND_SUBJECT *names = NULL;
    gh_enrolment_outcome_t outcome;
    const unsigned char *at;
    gh_bytes_t content;
    apr_status_t rv;

    rv = scep_exchange_open(x, &content);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    at = content.data;
    names = d2i_SCEP_ISSUER_AND_SUBJECT(NULL, &at, (long)content.length);
    if (!names || at != content.data + content.length) {
        rv = scep_exchange_not_opened(x, "the content is not an IssuerAndSubject");
        goto cleanup;
    }
    if (!scep_exchange_names_issuer(x, names->issuer)) {
        rv = gh_result_fail(&x->result, GH_EREFUSED, GH_FAILURE_NOT_FOUND, "poll.issuer",
                            "Name the CA whose certificate GetCACert gives after the RA's.",
                            GHNO(0221) "the poll names another issuer");
        goto cleanup;
    }
    memset(&outcome, 0, sizeof(outcome));
    rv = gh_ledger_poll(x->services->ledger, "scep", x->endpoint->tenant, x->issuer,
                        gh_profile_name(x->endpoint->profile), x->message->transaction,
                        x->message->signer_sha256, &outcome, x->p, &x->result);
    if (rv == APR_SUCCESS) {
        x->request->event->rule = "poll";
        rv = reply_outcome(x, &outcome);
    }

cleanup:
    SCEP_ISSUER_AND_SUBJECT_free(names);
    return rv;
}
