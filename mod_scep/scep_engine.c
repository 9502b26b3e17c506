/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_scep/scep_engine.h"

#include <string.h>

#include <apr_hash.h>
#include <apr_strings.h>

#include "issuer/own_keys.h"
#include "mod_scep/scep_exchange.h"
#include "status.h"

#define TYPE_TEXT       "text/plain"
#define TYPE_MESSAGE    "application/x-pki-message"
#define TYPE_CA_RA      "application/x-x509-ca-ra-cert"
#define TYPE_NEXT_CA    "application/x-x509-next-ca-cert"

#define RETRY_BUSY          1
#define RETRY_UNAVAILABLE   10

/** How long somebody who has waited for a CA waits for a place, and between two looks. */
#define ENTER_MAX   apr_time_from_sec(2)
#define ENTER_PAUSE apr_time_from_msec(10)

#define HTTP_STATUS_OK              200
#define HTTP_STATUS_BAD_REQUEST     400
#define HTTP_STATUS_NOT_FOUND       404
#define HTTP_STATUS_INTERNAL        500
#define HTTP_STATUS_UNAVAILABLE     503

struct scep_engine {
    const scep_services_t *services;
    apr_hash_t *ras;                /* scep_ra_t * by name of the issuer */
    gh_limiter_t *gate;
};

scep_engine_t *scep_engine_create(const scep_services_t *services, gh_limiter_t *gate,
                                  apr_pool_t *p)
{
    scep_engine_t *engine = apr_pcalloc(p, sizeof(*engine));

    engine->services = services;
    engine->ras = apr_hash_make(p);
    engine->gate = gate;
    return engine;
}

apr_status_t scep_engine_add_issuer(scep_engine_t *engine, gh_issuer_t *issuer,
                                    const gh_profile_t *profile, apr_pool_t *p)
{
    scep_ra_t *ra;

    if (apr_hash_get(engine->ras, gh_issuer_name(issuer), APR_HASH_KEY_STRING)) {
        return APR_SUCCESS;
    }
    ra = scep_ra_create(issuer, profile, engine->services, p);
    if (!ra) {
        return APR_ENOMEM;
    }
    apr_hash_set(engine->ras, gh_issuer_name(issuer), APR_HASH_KEY_STRING, ra);
    return APR_SUCCESS;
}

void scep_engine_prepare(scep_engine_t *engine)
{
    const scep_ra_keys_t *keys;
    apr_hash_index_t *hi;

    for (hi = apr_hash_first(NULL, engine->ras); hi; hi = apr_hash_next(hi)) {
        scep_ra_acquire(apr_hash_this_val(hi), &keys, NULL);
        scep_ra_release(keys);
    }
}

/* Responses */

static void set_body(scep_response_t *response, const char *type, gh_bytes_t body)
{
    response->status = HTTP_STATUS_OK;
    response->content_type = type;
    response->body = body;
}

static void set_text(scep_response_t *response, const char *text)
{
    gh_bytes_t body = { (const unsigned char *)text, strlen(text) };

    set_body(response, TYPE_TEXT, body);
}

static const char *describe(const gh_result_t *result, apr_pool_t *p)
{
    return apr_pstrcat(p, result->number, ": ", result->message,
                       *result->action ? ". " : "", result->action, NULL);
}

void scep_response_text(scep_response_t *response, int status, const gh_result_t *result,
                        apr_pool_t *p)
{
    set_text(response, apr_pstrcat(p, describe(result, p), "\n", NULL));
    response->status = status;
}

/**
 * What is our fault, or will pass, is said by HTTP: clients try again. The number is all that they
 * are told of it, since messages may name hosts and files of ours.
 */
static void unavailable(scep_response_t *response, gh_result_t *result, apr_pool_t *p)
{
    if (!*result->number) {
        gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "unavailable", NULL,
                       GHNO(0222) "the request cannot be answered now");
    }
    set_text(response, apr_pstrcat(p, result->number, ": the request cannot be answered now; the "
                                   "log of the server says why\n", NULL));
    if (result->failure == GH_FAILURE_INTERNAL) {
        response->status = HTTP_STATUS_INTERNAL;
        return;
    }
    response->status = HTTP_STATUS_UNAVAILABLE;
    response->retry_after = RETRY_UNAVAILABLE;
}

/** @return failInfo, or -1 for a failure that is not the client's */
static int fail_info(gh_failure_t failure)
{
    switch (failure) {
    case GH_FAILURE_MALFORMED:
    case GH_FAILURE_REQUEST:
    case GH_FAILURE_DENIED:
    case GH_FAILURE_CONFLICT:
        return SCEP_BAD_REQUEST;
    case GH_FAILURE_ALGORITHM:
        return SCEP_BAD_ALG;
    case GH_FAILURE_INTEGRITY:
        return SCEP_BAD_MESSAGE_CHECK;
    case GH_FAILURE_TIME:
        return SCEP_BAD_TIME;
    case GH_FAILURE_NOT_FOUND:
        return SCEP_BAD_CERT_ID;
    default:
        return -1;
    }
}

/* GetCACaps and GetCACert */

/** Who issues at an endpoint now: the issuer in its path, or one that has taken over from it. */
static gh_issuer_t *issuer_now(const scep_endpoint_t *endpoint)
{
    return gh_issuer_at(endpoint->ca, apr_time_now());
}

void scep_engine_caps(const scep_endpoint_t *endpoint, scep_response_t *response, apr_pool_t *p)
{
    memset(response, 0, sizeof(*response));
    set_text(response, apr_pstrcat(p, "AES\nPOSTPKIOperation\nSHA-256\nSHA-512\nSCEPStandard\n",
                                   endpoint->renewal ? "Renewal\n" : "",
                                   gh_issuer_next(issuer_now(endpoint)) ? "GetNextCACert\n" : "",
                                   endpoint->allow & SCEP_ALLOW_3DES ? "DES3\n" : "",
                                   endpoint->allow & SCEP_ALLOW_SHA1 ? "SHA-1\n" : "", NULL));
}

/** @param keys to be released
 *  @return APR_SUCCESS; GH_EUNAVAILABLE (UNAVAILABLE) whatever the reason: no client is to blame */
static apr_status_t find_keys(scep_engine_t *engine, const char *issuer, scep_ra_t **found,
                              const scep_ra_keys_t **keys, gh_result_t *result)
{
    scep_ra_t *ra = apr_hash_get(engine->ras, issuer, APR_HASH_KEY_STRING);

    *found = ra;
    *keys = NULL;
    if (!ra) {
        return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "ra.none",
                              "Look at the errors of the start of this process.",
                              GHNO(0223) "issuer %s has no RA in this process", issuer);
    }
    if (scep_ra_acquire(ra, keys, result) != APR_SUCCESS) {
        result->status = GH_EUNAVAILABLE;
        result->failure = GH_FAILURE_UNAVAILABLE;
        return GH_EUNAVAILABLE;
    }
    return APR_SUCCESS;
}

/** @return how serious it is that something cannot be had */
static int level_of(const gh_result_t *result)
{
    return result->rule && !strcmp(result->rule, GH_RULE_OWN_ASKED) ? GH_LOG_WARNING
                                                                    : GH_LOG_ERROR;
}

static void log_unavailable(const gh_log_t *log, const gh_result_t *result)
{
    gh_log(log, level_of(result), result->status, "%s: %s", result->number, result->message);
}

void scep_engine_certificates(scep_engine_t *engine, const scep_endpoint_t *endpoint,
                              const gh_log_t *log, scep_response_t *response, apr_pool_t *p)
{
    const scep_ra_keys_t *keys;
    scep_ra_t *ra;
    gh_bytes_t body;
    gh_result_t result;

    memset(response, 0, sizeof(*response));
    gh_result_clear(&result);
    if (find_keys(engine, gh_issuer_name(issuer_now(endpoint)), &ra, &keys, &result)
        != APR_SUCCESS) {
        unavailable(response, &result, p);
        log_unavailable(log, &result);
        return;
    }
    body.data = apr_pmemdup(p, keys->ca_certificates.data, keys->ca_certificates.length);
    body.length = keys->ca_certificates.length;
    set_body(response, TYPE_CA_RA, body);
    scep_ra_release(keys);
}

/** Those of the successor, signed by the RA of now (RFC 8894 4.7.1). */
static apr_status_t sign_next(gh_bytes_t *body, scep_engine_t *engine, const char *now,
                              const char *next, apr_pool_t *p, gh_result_t *result)
{
    const scep_ra_keys_t *keys = NULL, *next_keys = NULL;
    scep_ra_t *ra;
    apr_status_t rv = find_keys(engine, now, &ra, &keys, result);

    if (rv == APR_SUCCESS) {
        rv = find_keys(engine, next, &ra, &next_keys, result);
    }
    if (rv == APR_SUCCESS
        && scep_reply_sign(body, next_keys->ca_certificates, keys->current, p) != APR_SUCCESS) {
        rv = gh_result_openssl(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "ra.sign",
                               "See the errors before this one, and report it.",
                               GHNO(0543) "the answer to GetNextCACert cannot be made");
    }
    scep_ra_release(next_keys);
    scep_ra_release(keys);
    return rv;
}

void scep_engine_next_certificates(scep_engine_t *engine, const scep_endpoint_t *endpoint,
                                   const gh_log_t *log, scep_response_t *response, apr_pool_t *p)
{
    const gh_issuer_t *now = issuer_now(endpoint);
    const gh_issuer_t *next = gh_issuer_next(now);
    gh_result_t result;
    gh_bytes_t body;

    memset(response, 0, sizeof(*response));
    gh_result_clear(&result);
    if (!next) {
        gh_result_fail(&result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, "next.none",
                       "Ask for it only if GetCACaps offers it.",
                       GHNO(0439) "issuer %s has no successor yet", gh_issuer_name(now));
        scep_response_text(response, HTTP_STATUS_NOT_FOUND, &result, p);
        return;
    }
    if (sign_next(&body, engine, gh_issuer_name(now), gh_issuer_name(next), p, &result)
        != APR_SUCCESS) {
        unavailable(response, &result, p);
        log_unavailable(log, &result);
        return;
    }
    set_body(response, TYPE_NEXT_CA, body);
}

/* PKIOperation */

static const char *event_name(int type)
{
    switch (type) {
    case SCEP_PKCS_REQ:
        return "enrol";
    case SCEP_RENEWAL_REQ:
        return "renew";
    case SCEP_GET_CERT:
    case SCEP_GET_CRL:
        return "query";
    case SCEP_CERT_POLL:
        return "poll";
    default:
        return "message";
    }
}

static apr_status_t find_recipient(scep_exchange_t *x)
{
    return scep_message_admit(x->message, scep_ra_recipients(x->keys, x->p), x->keys->authorities,
                              &x->recipient, &x->result);
}

/** A client that asked GetCACert before another issuer took over is served by the one that it
 *  knows, whose certificate it trusts. @return 1 if that is another one */
static int go_back(scep_exchange_t *x)
{
    const scep_ra_keys_t *keys;
    gh_result_t ignored;
    scep_ra_t *ra;

    gh_result_clear(&ignored);
    if (!strcmp(x->issuer, x->endpoint->issuer)
        || find_keys(x->engine, x->endpoint->issuer, &ra, &keys, &ignored) != APR_SUCCESS) {
        return 0;
    }
    scep_ra_release(x->keys);
    x->keys = keys;
    x->ra = ra;
    x->issuer = x->endpoint->issuer;
    x->request->event->issuer = x->issuer;
    return 1;
}

/** A client may know a newer RA than this process, from another one that has just made it. */
static apr_status_t admit(scep_exchange_t *x)
{
    gh_result_t first;
    apr_status_t rv = find_recipient(x);

    if (rv != APR_SUCCESS && !strcmp(x->result.rule, SCEP_RULE_RECIPIENT)
        && scep_ra_renew(x->ra, &x->keys)) {
        gh_result_clear(&x->result);
        rv = find_recipient(x);
    }
    first = x->result;
    if (rv != APR_SUCCESS && !strcmp(x->result.rule, SCEP_RULE_RECIPIENT) && go_back(x)) {
        gh_result_clear(&x->result);
        rv = find_recipient(x);
        if (rv != APR_SUCCESS) {
            x->result = first;
        }
    }
    return rv;
}

/** Who has waited for a CA is not to be sent away at once when all places are taken. */
static int enter_again(scep_exchange_t *x)
{
    apr_time_t begin = apr_time_now(), passed;

    for (;;) {
        if (gh_limiter_enter(x->engine->gate)) {
            return 1;
        }
        passed = apr_time_now() - begin;
        if (passed < 0 || passed >= ENTER_MAX) {
            return 0;
        }
        apr_sleep(ENTER_PAUSE);
    }
}

apr_status_t scep_exchange_await(scep_exchange_t *x, const char *queue, const char *enrolment)
{
    gh_limiter_leave(x->engine->gate);
    x->outside = 1;
    x->request->await(x->request->await_baton, queue, enrolment);
    if (!enter_again(x)) {
        return gh_result_fail(&x->result, GH_EBUSY, GH_FAILURE_UNAVAILABLE, "busy",
                              "Send the request again, or raise SCEPMaxConcurrent.",
                              GHNO(0781) "as many messages as this node works on at once were "
                              "being worked on when the CA had answered");
    }
    x->outside = 0;
    return APR_SUCCESS;
}

/** Every type that is not handled is refused; no branch can do without an authorisation object. */
static apr_status_t dispatch(scep_exchange_t *x)
{
    apr_status_t rv;

    switch (x->message->type) {
    case SCEP_PKCS_REQ:
    case SCEP_RENEWAL_REQ:
        rv = admit(x);
        return rv == APR_SUCCESS ? scep_exchange_enrol(x) : rv;
    case SCEP_CERT_POLL:
        rv = admit(x);
        return rv == APR_SUCCESS ? scep_exchange_poll(x) : rv;
    case SCEP_GET_CERT:
    case SCEP_GET_CRL:
        rv = admit(x);
        return rv == APR_SUCCESS ? scep_exchange_query(x) : rv;
    default:
        return scep_message_refuse_type(x->message, &x->result);
    }
}

static void log_refusal(const scep_exchange_t *x)
{
    const scep_message_t *message = x->message;
    const char *cause = x->cause ? x->cause : x->result.cause;
    int ours = fail_info(x->result.failure) < 0;

    gh_log(x->request->log, ours ? level_of(&x->result) : GH_LOG_INFO,
           ours ? x->result.status : APR_SUCCESS,
           "%s: %s%s%s; %s; rule %s, transaction %s, algorithms %s, attributes %s%s%s",
           *x->result.number ? x->result.number : "-", x->result.message, *cause ? ": " : "",
           cause, x->endpoint->path, x->result.rule ? x->result.rule : "-",
           message && message->transaction ? message->transaction : "-",
           message ? message->algorithms : "-",
           message && message->attributes ? message->attributes : "-",
           *x->result.action ? "; " : "", x->result.action);
}

/** Answers a failure: by CertRep if the client is to blame, by HTTP otherwise. */
static void respond_failure(scep_exchange_t *x, apr_status_t status, scep_response_t *response)
{
    int info = fail_info(x->result.failure);

    if (x->result.status == APR_SUCCESS) {
        x->result.status = status;
    }
    log_refusal(x);
    if (info < 0) {
        unavailable(response, &x->result, x->p);
    }
    gh_audit_take_result(x->request->event, &x->result, x->p);
    if (info < 0) {
        return;
    }
    x->reply.status = SCEP_FAILURE;
    x->reply.fail_info = info;
    x->reply.fail_text = describe(&x->result, x->p);
    x->reply.certificates = NULL;
}

static void respond(scep_exchange_t *x, scep_response_t *response)
{
    gh_bytes_t der;
    apr_status_t rv;

    /* a client that asked GetCACert before the RA was replaced knows the one it has encrypted to */
    rv = scep_reply_make(&der, &x->reply, x->message,
                         x->recipient ? x->recipient : x->keys->current, x->p, &x->result);
    if (rv == APR_SUCCESS) {
        set_body(response, TYPE_MESSAGE, der);
        return;
    }
    log_refusal(x);
    unavailable(response, &x->result, x->p);
}

static void operate(scep_exchange_t *x, scep_engine_t *engine, gh_bytes_t der,
                    scep_response_t *response)
{
    gh_audit_event_t *event = x->request->event;
    apr_status_t rv;

    rv = scep_message_read(&x->message, der, x->endpoint->allow,
                           x->services->decoding, x->p, &x->result);
    if (rv != APR_SUCCESS && fail_info(x->result.failure) < 0) {
        respond_failure(x, rv, response);
        return;
    }
    if (rv != APR_SUCCESS) {
        log_refusal(x);
        gh_audit_take_result(event, &x->result, x->p);
        scep_response_text(response, HTTP_STATUS_BAD_REQUEST, &x->result, x->p);
        return;
    }
    event->transaction = x->message->transaction;
    event->algorithms = x->message->algorithms;
    event->event = event_name(x->message->type);
    x->engine = engine;
    x->issuer = gh_issuer_name(issuer_now(x->endpoint));
    event->issuer = x->issuer;
    rv = find_keys(engine, x->issuer, &x->ra, &x->keys, &x->result);
    if (rv == APR_SUCCESS) {
        rv = scep_message_verify(x->message, &x->result);
    }
    if (rv == APR_SUCCESS) {
        rv = dispatch(x);
    }
    if (rv != APR_SUCCESS) {
        respond_failure(x, rv, response);
    }
    if (response->status == 0) {
        respond(x, response);
    }
}

/** Before any work with a key. */
static void turn_away(scep_exchange_t *x, int retry_after, scep_response_t *response)
{
    gh_audit_take_result(x->request->event, &x->result, x->p);
    scep_response_text(response, HTTP_STATUS_UNAVAILABLE, &x->result, x->p);
    response->retry_after = retry_after;
}

/** Of one kind of challenge, or "challenge" where several have refused. */
static int is_about_challenges(const char *rule)
{
    return !strncmp(rule, "challenge", 9) && (!rule[9] || rule[9] == '.');
}

/** What a guesser or a prober fails with is counted: challenges, and what cannot be opened. */
static void note_failure(const scep_exchange_t *x)
{
    const char *rule = x->result.rule;

    if (x->result.status == GH_EREFUSED && rule
        && (is_about_challenges(rule) || !strcmp(rule, SCEP_RULE_OPEN))) {
        gh_limiter_note_failure(x->engine->gate, x->request->client, apr_time_now());
    }
}

void scep_engine_operate(scep_engine_t *engine, const scep_endpoint_t *endpoint,
                         gh_bytes_t message, const scep_request_t *request,
                         scep_response_t *response, apr_pool_t *p)
{
    scep_exchange_t exchange;
    int blocked;

    memset(response, 0, sizeof(*response));
    memset(&exchange, 0, sizeof(exchange));
    exchange.services = engine->services;
    exchange.endpoint = endpoint;
    exchange.request = request;
    exchange.p = p;
    gh_result_clear(&exchange.result);
    request->event->event = "message";
    request->event->protocol = "scep";
    request->event->tenant = endpoint->tenant;
    request->event->issuer = endpoint->issuer;
    request->event->profile = gh_profile_name(endpoint->profile);
    blocked = gh_limiter_blocked(engine->gate, request->client, apr_time_now());
    if (blocked) {
        gh_result_fail(&exchange.result, GH_EREFUSED, GH_FAILURE_UNAVAILABLE, "failures",
                       "Send what is right, later.",
                       GHNO(0545) "this client has failed too often lately");
        turn_away(&exchange, blocked, response);
        return;
    }
    if (!gh_limiter_enter(engine->gate)) {
        gh_result_fail(&exchange.result, GH_EBUSY, GH_FAILURE_UNAVAILABLE, "busy",
                       "Try again in a second, or raise SCEPMaxConcurrent.",
                       GHNO(0226) "as many messages as this node works on at once are being worked "
                                  "on already");
        turn_away(&exchange, RETRY_BUSY, response);
        return;
    }
    operate(&exchange, engine, message, response);
    if (!exchange.outside) {
        gh_limiter_leave(engine->gate);
    }
    scep_ra_release(exchange.keys);
    note_failure(&exchange);
}
