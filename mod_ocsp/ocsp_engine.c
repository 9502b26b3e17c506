/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_ocsp/ocsp_engine.h"

#include <string.h>

#include <openssl/err.h>

#include "log.h"
#include "mod_ocsp/ocsp_kept.h"
#include "mod_ocsp/ocsp_response.h"
#include "mod_ocsp/ocsp_seen.h"
#include "status.h"
#include "store/certificates.h"

#define RETRY apr_time_from_sec(1)      /* when others are done with signing */

struct ocsp_engine {
    ocsp_kept_t *kept;
    ocsp_seen_t *seen;
    const ocsp_signing_cap_t *cap;
};

/** One request on its way. */
typedef struct {
    ocsp_engine_t *engine;
    const ocsp_endpoint_t *endpoint;
    const ocsp_request_t *request;
    ocsp_authority_t *lead;             /* whose signer signs: of the first certificate that is of
                                           an authority */
    const ocsp_signer_set_t *set;
    const ocsp_signer_t *signer;        /* NULL: nobody can sign now */
    ocsp_single_t *singles;
    ocsp_verdict_t *verdicts;
    apr_time_t now;
    ocsp_answer_t *answer;
    apr_pool_t *p;
    gh_result_t *result;
    int claimed;                    /* it is this request's turn to make a kept answer again */
} asked_t;

ocsp_engine_t *ocsp_engine_create(const ocsp_engine_options_t *options, apr_pool_t *p)
{
    ocsp_engine_t *engine = apr_pcalloc(p, sizeof(*engine));

    engine->cap = options->cap;
    engine->kept = ocsp_kept_create(options, p);
    engine->seen = ocsp_seen_create(p);
    return engine->kept ? engine : NULL;
}

static void answer_error(ocsp_answer_t *answer, ocsp_status_t ocsp)
{
    answer->ocsp = ocsp;
    answer->der = ocsp_response_error(ocsp);
    answer->origin = OCSP_FROM_NOTHING;
    answer->authoritative = 0;
    answer->status = -1;
}

static void begin_answer(ocsp_answer_t *answer, gh_result_t *result)
{
    gh_result_clear(result);
    memset(answer, 0, sizeof(*answer));
    answer->reason = GH_REASON_NONE;
    answer_error(answer, OCSP_INTERNAL_ERROR);
}

static ocsp_status_t decide_all(asked_t *asked);

/* Signing */

static int enter(const asked_t *asked, int live)
{
    const ocsp_signing_cap_t *cap = asked->engine->cap;

    if (cap && !cap->enter(cap->baton, live)) {
        asked->answer->retry_after = RETRY;
        gh_result_fail(asked->result, GH_EBUSY, GH_FAILURE_UNAVAILABLE, "ocsp.busy",
                       "Nothing, if it passes; else more processors, or a higher OCSPMaxSigning.",
                       GHNO(0580) "as many answers as may be are being signed already");
        return 0;
    }
    return 1;
}

static void leave(const asked_t *asked, int live)
{
    const ocsp_signing_cap_t *cap = asked->engine->cap;

    if (cap) {
        cap->leave(cap->baton, live);
    }
}

/** Nothing outlives the certificate that it was signed with. */
static void limit_times(const asked_t *asked)
{
    apr_time_t end = asked->signer->not_after;
    int i;

    for (i = 0; i < asked->request->count; ++i) {
        if (asked->verdicts[i].next_update > end) {
            asked->verdicts[i].next_update = end;
        }
    }
}

/** Signs, with another signer if the key of the first one fails. */
static apr_status_t sign(asked_t *asked, gh_bytes_t *der, gh_bytes_t nonce)
{
    const ocsp_policy_t *policy = ocsp_authority_policy(asked->lead);
    apr_status_t rv = GH_EUNAVAILABLE;

    while (asked->signer) {
        limit_times(asked);
        rv = ocsp_response_sign(der, asked->singles, asked->request->count, nonce, asked->signer,
                                policy->by_name, asked->now, asked->p, asked->result);
        if (rv != GH_EUNAVAILABLE) {
            break;
        }
        ocsp_signer_suspect(ocsp_authority_signers(asked->lead), asked->signer);
        asked->signer = ocsp_signer_choose(asked->set, asked->request->preferred,
                                           asked->request->preferred_count, asked->now);
        /* What another authority says may be signed by one, and not by the other. */
        if (asked->signer && asked->request->count > 1
            && decide_all(asked) != OCSP_SUCCESSFUL) {
            break;
        }
    }
    if (rv == APR_SUCCESS && asked->result->number[0]) {
        gh_result_clear(asked->result);
    }
    return rv;
}

static void choose_signer(asked_t *asked)
{
    ocsp_signers_t *signers = ocsp_authority_signers(asked->lead);

    if (!signers) {
        gh_result_fail(asked->result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "ocsp.signer.none",
                       "Give the authority an OCSPSigner.",
                       GHNO(0581) "authority %s has no OCSP signer",
                       ocsp_authority_name(asked->lead));
        return;
    }
    if (ocsp_signers_acquire(signers, &asked->set, asked->result) != APR_SUCCESS) {
        return;
    }
    asked->signer = ocsp_signer_choose(asked->set, asked->request->preferred,
                                       asked->request->preferred_count, asked->now);
    if (!asked->signer) {
        gh_result_fail(asked->result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "ocsp.signer.none",
                       "See what was logged about the signers of this authority before.",
                       GHNO(0582) "authority %s has no OCSP signer that is valid now and works",
                       ocsp_authority_name(asked->lead));
    }
}

/* Answers that are kept */

static ocsp_kept_about_t about_first(const asked_t *asked)
{
    ocsp_kept_about_t about = { asked->lead, &asked->request->ids[0], &asked->verdicts[0],
                                asked->signer, asked->set };

    return about;
}

/** A revocation at the epoch is one of what nobody issued (RFC 6960 2.2). */
static int is_unknown(int status, apr_time_t revoked_at)
{
    return status == V_OCSP_CERTSTATUS_UNKNOWN
           || (status == V_OCSP_CERTSTATUS_REVOKED && !revoked_at);
}

static void answer_entry(const asked_t *asked, const ocsp_cache_entry_t *entry, gh_bytes_t der)
{
    ocsp_answer_t *answer = asked->answer;

    answer->ocsp = OCSP_SUCCESSFUL;
    answer->der = der;
    answer->status = entry->status;
    answer->reason = entry->reason;
    answer->produced_at = entry->produced_at;
    answer->this_update = entry->this_update;
    answer->next_update = entry->next_update;
    answer->unknown = is_unknown(entry->status, entry->revoked_at);
    answer->expires = entry->expires;
    answer->authoritative = entry->next_update != 0;
    memcpy(answer->sha256, entry->sha256, sizeof(answer->sha256));
    /* What went wrong before did no harm. As a rule nothing has been said, and it is large. */
    if (asked->result->number[0]) {
        gh_result_clear(asked->result);
    }
}

/** @param near 1: only the node's own cache is asked
 *  @param due  set to 1 if the caller is to make the answer again
 *  @return 1 if there is an answer, which was given */
static int answer_kept(const asked_t *asked, int near, int *due)
{
    ocsp_kept_about_t about = about_first(asked);
    ocsp_kept_t *kept = asked->engine->kept;
    ocsp_cache_entry_t entry;
    gh_bytes_t der;

    *due = 0;
    if (!ocsp_kept_possible(kept, about.id)) {
        return 0;
    }
    if (ocsp_kept_find(kept, &about, asked->now, &entry, &der, asked->p)) {
        asked->answer->origin = OCSP_FROM_CACHE;
        *due = asked->claimed || (about.signer && asked->now >= entry.refresh_at
                                  && ocsp_kept_claim(kept, &about, asked->now));
    }
    else if (!near && ocsp_kept_fetch(kept, &about, asked->now, &entry, &der, asked->p)) {
        asked->answer->origin = OCSP_FROM_SECOND_LEVEL;
    }
    else {
        return 0;
    }
    answer_entry(asked, &entry, der);
    return 1;
}

/** Signs an answer about one certificate that is kept, unless one may not sign now.
 *  @return 0 if there is none */
static int answer_signed(asked_t *asked)
{
    static const gh_bytes_t no_nonce = { NULL, 0 };
    ocsp_kept_about_t about;
    int of_nobody = ocsp_kept_of_nobody(&asked->verdicts[0]);
    ocsp_cache_entry_t entry;
    gh_bytes_t der;
    apr_status_t rv;

    if (!enter(asked, of_nobody)) {
        return 0;
    }
    rv = sign(asked, &der, no_nonce);
    leave(asked, of_nobody);
    if (rv != APR_SUCCESS) {
        return 0;
    }
    about = about_first(asked);
    asked->answer->origin = OCSP_SIGNED;
    ocsp_kept_put(asked->engine->kept, &about, asked->verdicts[0].next_update, der, asked->now,
                  &entry, asked->p);
    answer_entry(asked, &entry, der);
    return 1;
}

static void answer_one(asked_t *asked)
{
    int due = 0;
    int given = answer_kept(asked, 0, &due);

    if (given && !due) {
        return;
    }
    if (asked->signer && answer_signed(asked)) {
        return;
    }
    if (given) {
        /* An old answer that is still good, since a new one cannot be had now. */
        gh_result_clear(asked->result);
        return;
    }
    answer_error(asked->answer, OCSP_TRY_LATER);
}

/* Answers that are made for one request */

static void answer_live(asked_t *asked)
{
    static const gh_bytes_t no_nonce = { NULL, 0 };
    const ocsp_request_t *request = asked->request;
    int has_nonce = request->has_nonce && asked->endpoint->nonce, due, i;
    ocsp_answer_t *answer = asked->answer;
    apr_status_t rv = GH_EUNAVAILABLE;
    gh_bytes_t der;

    if (asked->signer && enter(asked, 1)) {
        rv = sign(asked, &der, has_nonce ? request->nonce : no_nonce);
        leave(asked, 1);
    }
    if (rv != APR_SUCCESS) {
        if (request->count > 1 || !answer_kept(asked, 0, &due)) {
            answer_error(answer, OCSP_TRY_LATER);
        }
        return;
    }
    answer->ocsp = OCSP_SUCCESSFUL;
    answer->der = der;
    answer->origin = OCSP_SIGNED;
    answer->status = asked->verdicts[0].status;
    answer->reason = asked->verdicts[0].reason;
    answer->produced_at = asked->now - asked->now % APR_USEC_PER_SEC;
    answer->this_update = asked->verdicts[0].this_update;
    answer->next_update = asked->verdicts[0].next_update;
    answer->authoritative = !has_nonce;
    for (i = 0; i < request->count; ++i) {
        const ocsp_verdict_t *verdict = &asked->verdicts[i];

        answer->unknown |= is_unknown(verdict->status, verdict->revoked_at);
        if (verdict->this_update < answer->this_update) {
            answer->this_update = verdict->this_update;
        }
        if (verdict->next_update < answer->next_update) {
            answer->next_update = verdict->next_update;
        }
    }
    if (!answer->next_update) {
        answer->authoritative = 0;
    }
    if (answer->authoritative) {
        answer->expires = answer->next_update - (answer->next_update - asked->now) / 8;
        ocsp_kept_sha256(asked->engine->kept, der, answer->sha256);
    }
}

/* What is said of each certificate */

/** Whether an authority's answers are signed by the same certificate. */
static int has_signer(const ocsp_authority_t *authority, const ocsp_signer_t *signer)
{
    ocsp_signers_t *signers = ocsp_authority_signers(authority);
    const ocsp_signer_set_t *set;
    const apr_array_header_t *all;
    int found = 0, i;

    if (!signer || !signers || ocsp_signers_acquire(signers, &set, NULL) != APR_SUCCESS) {
        return 0;
    }
    all = ocsp_signer_set_all(set);
    for (i = 0; i < all->nelts && !found; ++i) {
        gh_bytes_t der = APR_ARRAY_IDX(all, i, ocsp_signer_t).certificate_der;

        found = der.length == signer->certificate_der.length
            && memcmp(der.data, signer->certificate_der.data, der.length) == 0;
    }
    ocsp_signers_release(set);
    return found;
}

/** @param authority NULL: none of ours */
static ocsp_status_t decide_one(const asked_t *asked, ocsp_authority_t *authority,
                                const ocsp_certid_t *id, ocsp_verdict_t *verdict)
{
    if (authority
        && (authority == asked->lead
            || ocsp_authority_signers(authority) == ocsp_authority_signers(asked->lead)
            || has_signer(authority, asked->signer))) {
        ocsp_decide(authority, id->serial, asked->now, verdict, asked->result);
        return verdict->ocsp;
    }
    if (asked->endpoint->mixed_refuse) {
        gh_result_fail(asked->result, GH_EREFUSED, GH_FAILURE_DENIED, "ocsp.mixed",
                       "Let the client ask for the certificates of each CA by themselves, or set "
                       "OCSPMixed unknown.",
                       GHNO(0583) "a request names certificates of CAs that are answered for by "
                       "different signers, or by nobody");
        return OCSP_UNAUTHORIZED;
    }
    memset(verdict, 0, sizeof(*verdict));
    verdict->status = V_OCSP_CERTSTATUS_UNKNOWN;
    verdict->reason = GH_REASON_NONE;
    verdict->this_update = asked->now - asked->now % APR_USEC_PER_SEC;
    return OCSP_SUCCESSFUL;
}

static ocsp_status_t decide_all(asked_t *asked)
{
    const ocsp_request_t *request = asked->request;
    int i;

    asked->verdicts = apr_palloc(asked->p, (apr_size_t)request->count * sizeof(*asked->verdicts));
    asked->singles = apr_palloc(asked->p, (apr_size_t)request->count * sizeof(*asked->singles));
    for (i = 0; i < request->count; ++i) {
        const ocsp_certid_t *id = &request->ids[i];
        ocsp_authority_t *authority = request->count == 1 ? asked->lead
            : ocsp_authorities_find(asked->endpoint->authorities, id);
        ocsp_status_t ocsp = decide_one(asked, authority, id, &asked->verdicts[i]);

        if (ocsp != OCSP_SUCCESSFUL) {
            return ocsp;
        }
        asked->singles[i].id = id->id;
        asked->singles[i].verdict = &asked->verdicts[i];
    }
    return OCSP_SUCCESSFUL;
}

/** Answers what was asked of an authority. */
static void answer_asked(asked_t *asked)
{
    const ocsp_request_t *request = asked->request;
    ocsp_status_t ocsp;

    choose_signer(asked);
    ocsp = decide_all(asked);
    if (ocsp != OCSP_SUCCESSFUL) {
        answer_error(asked->answer, ocsp);
    }
    else if (request->count == 1 && !(request->has_nonce && asked->endpoint->nonce)
             && ocsp_kept_possible(asked->engine->kept, &request->ids[0])) {
        answer_one(asked);
    }
    else {
        answer_live(asked);
    }
    ocsp_signers_release(asked->set);
}

/* The request */

static ocsp_status_t check_signature(const ocsp_endpoint_t *endpoint,
                                     const ocsp_request_t *request, apr_pool_t *p,
                                     gh_result_t *result)
{
    ocsp_status_t ocsp = OCSP_SUCCESSFUL;

    if (endpoint->signature == OCSP_SIGNATURE_IGNORE) {
        return ocsp;
    }
    if (request->is_signed) {
        ocsp_request_verify(request, endpoint->requestors, &ocsp, p, result);
    }
    else if (endpoint->signature == OCSP_SIGNATURE_REQUIRE) {
        ocsp = OCSP_SIG_REQUIRED;
        gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "ocsp.request.unsigned",
                       "Let the client sign its requests, or set OCSPRequestSignature verify.",
                       GHNO(0584) "the request is not signed");
    }
    return ocsp;
}

/** The authority of the first certificate that is of one. */
static ocsp_authority_t *find_lead(const ocsp_endpoint_t *endpoint, const ocsp_request_t *request)
{
    ocsp_authority_t *lead = NULL;
    int i;

    for (i = 0; i < request->count && !lead; ++i) {
        lead = ocsp_authorities_find(endpoint->authorities, &request->ids[i]);
    }
    return lead;
}

/* A digest or a copy that could not be made is done without; others that look at the errors of this
 * thread, as TLS does, must not find it there. */
static void forget_errors(void)
{
    if (ERR_peek_error()) {
        ERR_clear_error();
    }
}

static void tell_request(ocsp_answer_t *answer, const ocsp_request_t *request)
{
    answer->serial = request->ids[0].serial;
    answer->digest = request->ids[0].digest;
    answer->count = request->count;
    answer->nonce = request->has_nonce;
    answer->requestor = request->requestor;
}

/**
 * Answers what was parsed before with what is kept, as all would be done with a parsed request.
 * @return 0 if there is more to do: then nothing was done yet
 */
static int answer_seen(asked_t *asked, gh_bytes_t der)
{
    int given = 0, due = 0;

    if (asked->endpoint->signature == OCSP_SIGNATURE_REQUIRE
        || !ocsp_seen_find(asked->engine->seen, der, &asked->request, asked->p)) {
        return 0;
    }
    asked->lead = ocsp_authorities_find(asked->endpoint->authorities, asked->request->ids);
    if (asked->lead) {
        choose_signer(asked);
        given = decide_all(asked) == OCSP_SUCCESSFUL && asked->signer
            && answer_kept(asked, 1, &due) && !due;
        ocsp_signers_release(asked->set);
    }
    if (given) {
        tell_request(asked->answer, asked->request);
        asked->answer->authority = asked->lead;
        return 1;
    }
    asked->request = NULL;
    asked->lead = NULL;
    asked->set = NULL;
    asked->signer = NULL;
    asked->claimed = due;
    begin_answer(asked->answer, asked->result);
    return 0;
}

static void answer_request(ocsp_engine_t *engine, const ocsp_endpoint_t *endpoint, gh_bytes_t der,
                           apr_time_t now, ocsp_answer_t *answer, apr_pool_t *p,
                           gh_result_t *result)
{
    asked_t asked = { engine, endpoint, NULL, NULL, NULL, NULL, NULL, NULL, now, answer, p,
                      result, 0 };
    ocsp_request_t *request;
    ocsp_status_t ocsp;

    begin_answer(answer, result);
    if (answer_seen(&asked, der)) {
        return;
    }
    if (ocsp_request_parse(&request, der, endpoint->max_ids, &ocsp, p, result) != APR_SUCCESS) {
        answer_error(answer, ocsp);
        return;
    }
    tell_request(answer, request);
    ocsp_seen_put(engine->seen, request);
    ocsp = check_signature(endpoint, request, p, result);
    if (ocsp != OCSP_SUCCESSFUL) {
        answer_error(answer, ocsp);
        return;
    }
    asked.request = request;
    asked.lead = find_lead(endpoint, request);
    answer->authority = asked.lead;
    if (!asked.lead) {
        answer_error(answer, OCSP_UNAUTHORIZED);
        gh_result_fail(result, GH_EREFUSED, GH_FAILURE_NOT_FOUND, "ocsp.issuer",
                       "Nothing, if the client is wrong; else add an <OCSPAuthority> for the CA, "
                       "or its name to OCSPServe.",
                       GHNO(0585) "no certificate that was asked for is of a CA that is answered "
                       "for here");
        return;
    }
    answer_asked(&asked);
}

void ocsp_engine_answer(ocsp_engine_t *engine, const ocsp_endpoint_t *endpoint, gh_bytes_t der,
                        apr_time_t now, ocsp_answer_t *answer, apr_pool_t *p,
                        gh_result_t *result)
{
    answer_request(engine, endpoint, der, now, answer, p, result);
    forget_errors();
}

void ocsp_engine_produce(ocsp_engine_t *engine, const ocsp_endpoint_t *endpoint,
                         ocsp_authority_t *authority, int digest, gh_bytes_t serial,
                         apr_time_t now, ocsp_answer_t *answer, apr_pool_t *p,
                         gh_result_t *result)
{
    asked_t asked = { engine, endpoint, NULL, authority, NULL, NULL, NULL, NULL, now, answer, p,
                      result, 0 };
    ocsp_request_t request;
    ocsp_certid_t id;

    begin_answer(answer, result);
    memset(&request, 0, sizeof(request));
    if (ocsp_authority_certid(authority, digest, serial, &id, p) != APR_SUCCESS) {
        gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, "ocsp.produce", NULL,
                       GHNO(0586) "no CertID can be made for a certificate");
        return;
    }
    request.ids = &id;
    request.count = 1;
    answer->authority = authority;
    answer->serial = serial;
    answer->digest = digest;
    answer->count = 1;
    asked.request = &request;
    answer_asked(&asked);
    forget_errors();
}
