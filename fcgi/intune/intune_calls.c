/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/intune/intune_calls.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/crypto.h>

#include "config.h"
#include "fcgi/intune/intune_private.h"
#include "status.h"

/** Of Microsoft's library. */
#define SCEP_VERSION "2018-02-20"
#define REVOCATION_VERSION "5019-05-05"

static void wait_for_session(intune_call_t *call)
{
    call->next = call->session->waiting;
    call->session->waiting = call;
    intune_session_prepare(call->session);
}

/** Whether the same call may do with what is fetched anew. What is kept is dropped in any case. */
static int is_worth_another(intune_call_t *call, const http_answer_t *answer)
{
    intune_session_t *session = call->session;

    if (answer->outcome == HTTP_STOPPED) {
        return 0;
    }
    if (answer->outcome == HTTP_ANSWERED && (answer->status == 401 || answer->status == 403)) {
        intune_session_drop_token(session, AUDIENCE_INTUNE, call->token);
        return 1;
    }
    if (answer->outcome != HTTP_ANSWERED || answer->status == 404 || answer->status == 410
        || answer->status >= 500) {
        const char *now = call->service == INTUNE_SCEP ? session->services.scep
            : session->services.revocation;

        if (now && !strcmp(now, call->url)) {
            intune_session_drop_services(session);
        }
        /* one that answers with 5xx is there, and is asked later */
        return answer->outcome == HTTP_NOT_SENT
            || (answer->outcome == HTTP_ANSWERED && answer->status < 500);
    }
    return 0;
}

static void answered(void *baton, const http_answer_t *answer)
{
    intune_call_t *call = baton;
    intune_outcome_t outcome;

    if (is_worth_another(call, answer) && !call->again) {
        call->again = 1;
        wait_for_session(call);
        return;
    }
    memset(&outcome, 0, sizeof(outcome));
    outcome.retry_after = answer->retry_after;
    outcome.stopped = answer->outcome == HTTP_STOPPED;
    if (answer->outcome == HTTP_ANSWERED) {
        outcome.status = answer->status;
        outcome.body = answer->body;
        outcome.alive = answer->status < 500 && answer->status != 429;
    }
    else {
        outcome.verdict = INTUNE_UNAVAILABLE;
        outcome.result = answer->result;
    }
    call->done(call->baton, &outcome);
}

void intune_call_failed(intune_call_t *call, const intune_outcome_t *outcome)
{
    call->done(call->baton, outcome);
}

static void fail(intune_call_t *call, intune_verdict_t verdict, const gh_result_t *result)
{
    intune_outcome_t outcome;

    memset(&outcome, 0, sizeof(outcome));
    outcome.verdict = verdict;
    outcome.result = *result;
    call->done(call->baton, &outcome);
}

void intune_call_ready(intune_call_t *call)
{
    intune_session_t *session = call->session;
    apr_pool_t *p = call->pool;
    const char *service = call->service == INTUNE_SCEP ? session->services.scep
        : session->services.revocation;
    const char *id = intune_uuid(p);
    const char *headers[] = {
        NULL, "Accept: application/json",
        apr_pstrcat(p, "client-request-id: ", id, NULL),
        call->service == INTUNE_SCEP ? "api-version: " SCEP_VERSION
                                     : "api-version: " REVOCATION_VERSION,
        "User-Agent: Gatehouse/" PACKAGE_VERSION, NULL
    };
    http_request_t request = {
        .method = "POST", .headers = headers, .content_type = "application/json",
        .body = call->body, .has_effect = 1
    };
    gh_result_t result;
    apr_status_t rv;

    gh_result_clear(&result);
    if (!service || !id) {
        gh_result_fail(&result, APR_ENOENT, GH_FAILURE_UNAVAILABLE, INTUNE_RULE,
                       "Give the application the permission scep_challenge_provider of Intune.",
                       GHNO(0941) "Microsoft Graph does not name the service for revocations");
        fail(call, INTUNE_MISCONFIGURED, &result);
        return;
    }
    call->token = intune_secret_text(session->tokens[AUDIENCE_INTUNE].token,
                                     strlen(session->tokens[AUDIENCE_INTUNE].token), p);
    call->url = apr_pstrdup(p, service);
    headers[0] = apr_pstrcat(p, "Authorization: Bearer ", call->token, NULL);
    gh_log(session->log, GH_LOG_DEBUG, APR_SUCCESS, "IntuneConnection %s: %s, client-request-id %s",
           session->connection->name, call->path, id);
    rv = intune_session_http(session, apr_pstrcat(p, service, "/", call->path, NULL), &request,
                             answered, call, p, &result);
    OPENSSL_cleanse((void *)headers[0], strlen(headers[0]));
    if (rv != APR_SUCCESS) {
        fail(call, INTUNE_UNAVAILABLE, &result);
    }
}

void intune_call(intune_session_t *session, intune_api_t service, const char *path,
                 gh_bytes_t body, intune_done_fn *done, void *baton, apr_pool_t *p)
{
    intune_call_t *call = apr_pcalloc(p, sizeof(*call));

    call->session = session;
    call->service = service;
    call->path = path;
    call->body = body;
    call->done = done;
    call->baton = baton;
    call->pool = p;
    if (intune_session_is_ready(session)) {
        intune_call_ready(call);
    }
    else {
        wait_for_session(call);
    }
}
