/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * The jobs "ask.webhook". A call has no effect but at the other side, which knows what it has been
 * asked by the transaction: what has become of one is not found out, it is made again.
 *
 *   read -> call -> yes, no -> stored
 *             `--> anything else -> again, until the deadline
 */

#include "fcgi/webhook/webhook.h"

#include <string.h>

#include <apr_strings.h>

#include "fcgi/webhook/webhook_codec.h"
#include "issuer/question.h"
#include "log.h"
#include "status.h"

#define RULE "challenge.webhook"

/** A store that does not answer is asked again; the lease goes on meanwhile. */
#define STORE_PAUSE apr_time_from_sec(1)
#define STORE_TRIES 60

/** What cannot be read here now is looked at again after this. */
#define READ_PAUSE apr_time_from_sec(60)

typedef struct {
    ca_worker_t *worker;
    const char *name;
    const char *path;               /* behind the peer's URL */
    const char *id_header;
    const char *authorization;      /* header, secret; or NULL */
    gh_bytes_t secret;              /* that bodies are signed with */
    framework_queue_t *queue;
    http_peer_t *peer;
} webhook_t;

typedef enum {
    ASK_AGAIN = 1,
    ASK_PERMITTED,
    ASK_REFUSED,
    ASK_OVER                        /* nothing is to be asked any more */
} ask_ending_t;

typedef struct {
    webhook_t *webhook;
    framework_job_t *job;
    apr_pool_t *pool;               /* of the job */
    gh_asked_t *asked;              /* NULL if it could not be read */
    gh_bytes_t body;
    gh_result_t why;

    ask_ending_t ending;
    const char *reason;
    apr_time_t due;
    apr_status_t rv;                /* of the store */
    gh_result_t stored;
    int tries;
} ask_t;

static framework_t *framework_of(const ask_t *ask)
{
    return ask->webhook->worker->framework;
}

static const char *id_of(const ask_t *ask)
{
    return framework_job_record(ask->job)->id;
}

/* Ends */

static apr_status_t let_go_work(gh_transaction_t *transaction, void *baton)
{
    const ask_t *ask = baton;

    return gh_job_again(transaction, id_of(ask), framework_job_holder(ask->job), ask->due, 0,
                        NULL, &ask->why);
}

static void end_work(void *baton)
{
    ask_t *ask = baton;
    gh_store_t *store = framework_store(framework_of(ask));
    const char *holder = framework_job_holder(ask->job);
    const char *node = framework_node(framework_of(ask));
    gh_audit_event_t event;

    memset(&event, 0, sizeof(event));
    gh_result_clear(&ask->stored);
    switch (ask->ending) {
    case ASK_PERMITTED:
        ask->rv = gh_question_permitted(ask->asked, store, holder, node,
                                        apr_pstrcat(ask->pool, "permitted by webhook ",
                                                    ask->webhook->name, NULL), &event, ask->pool,
                                        &ask->stored);
        break;
    case ASK_REFUSED:
        ask->rv = gh_question_refused(ask->asked, store, holder, node, ask->reason, &ask->why,
                                      &event, ask->pool, &ask->stored);
        break;
    case ASK_OVER:
        ask->rv = gh_question_over(id_of(ask), store, holder, &ask->stored);
        break;
    default:
        ask->rv = ask->asked
            ? gh_question_again(ask->asked, store, holder, ask->due,
                                ask->why.number[0] ? &ask->why : NULL, ask->pool, &ask->stored)
            : gh_store_write(store, let_go_work, ask, &ask->stored);
    }
}

static void end_done(void *baton);

static void end(void *baton)
{
    ask_t *ask = baton;

    framework_blocking(framework_of(ask), end_work, end_done, ask);
}

static void tell(const ask_t *ask)
{
    const gh_log_t *log = framework_log(framework_of(ask));
    const char *name = ask->webhook->name, *id = id_of(ask);
    const gh_result_t *why = &ask->why;

    if (ask->ending == ASK_PERMITTED) {
        gh_log(log, GH_LOG_INFO, APR_SUCCESS, GHNO(0913) "webhook %s has permitted enrolment %s",
               name, id);
    }
    else if (ask->ending == ASK_REFUSED) {
        gh_log(log, GH_LOG_NOTICE, APR_SUCCESS, GHNO(0914) "enrolment %s was not permitted by "
               "webhook %s: %s: %s", id, name, why->number, why->message);
    }
    else if (ask->ending == ASK_AGAIN && why->number[0]) {
        gh_log(log, GH_LOG_INFO, APR_SUCCESS, GHNO(0915) "webhook %s is asked about enrolment %s "
               "again later: %s: %s", name, id, why->number, why->message);
    }
}

static void end_done(void *baton)
{
    ask_t *ask = baton;

    if (ask->rv == APR_SUCCESS) {
        tell(ask);
    }
    else if (ask->rv != APR_NOTFOUND) {
        if (++ask->tries < STORE_TRIES) {
            framework_at(framework_of(ask), apr_time_now() + STORE_PAUSE, end, ask);
            return;
        }
        gh_log(framework_log(framework_of(ask)), GH_LOG_ERROR, APR_SUCCESS, GHNO(0916) "what "
               "webhook %s has said of enrolment %s cannot be stored; it will be asked again: %s: "
               "%s", ask->webhook->name, id_of(ask), ask->stored.number, ask->stored.message);
    }
    framework_job_over(ask->job);
}

static void finish(ask_t *ask, ask_ending_t ending)
{
    ask->ending = ending;
    end(ask);
}

static void finish_again(ask_t *ask, apr_time_t due)
{
    ask->due = due;
    finish(ask, ASK_AGAIN);
}

/* The call */

static void take_answer(ask_t *ask, const http_answer_t *http)
{
    webhook_answer_t answer;

    if (webhook_read(&answer, http->body, ask->pool, &ask->why) != APR_SUCCESS) {
        finish_again(ask, framework_job_next(ask->job, 0));
    }
    else if (answer.allow) {
        gh_result_clear(&ask->why);
        finish(ask, ASK_PERMITTED);
    }
    else {
        gh_result_fail(&ask->why, GH_EREFUSED, GH_FAILURE_DENIED, RULE,
                       "Give the device a challenge that the webhook takes.",
                       GHNO(0917) "the webhook does not permit it%s%s", answer.reason ? ": " : "",
                       answer.reason ? answer.reason : "");
        ask->reason = answer.reason ? answer.reason : "not permitted";
        finish(ask, ASK_REFUSED);
    }
}

static void called(void *baton, const http_answer_t *http)
{
    ask_t *ask = baton;
    int stopped = http->outcome == HTTP_STOPPED;
    int answered = http->outcome == HTTP_ANSWERED;

    framework_queue_note(ask->webhook->queue, stopped || (answered && http->status < 500),
                         answered && (http->status == 429 || http->status == 503)
                             ? http->retry_after : 0);
    if (answered && http->status >= 200 && http->status < 300) {
        take_answer(ask, http);
        return;
    }
    if (answered) {
        gh_result_fail(&ask->why, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, RULE,
                       "See the log of the webhook, and whether WebhookURL and "
                       "WebhookAuthorization are right.",
                       GHNO(0918) "the webhook has answered with HTTP status %ld", http->status);
    }
    else {
        ask->why = http->result;
    }
    finish_again(ask, stopped ? framework_job_time(ask->job)
                 : framework_job_next(ask->job, answered ? http->retry_after : 0));
}

static void call(void *baton)
{
    ask_t *ask = baton;
    const webhook_t *webhook = ask->webhook;
    const char *signature = webhook_sign(webhook->secret, ask->body, ask->pool);
    const char *headers[] = {
        webhook->id_header, apr_pstrcat(ask->pool, "X-Request-Id: ", id_of(ask), NULL),
        apr_pstrcat(ask->pool, "X-Smallstep-Signature: ", signature ? signature : "", NULL),
        "Accept: application/json", webhook->authorization, NULL
    };
    http_request_t request = {
        .method = "POST", .path = webhook->path, .headers = headers,
        .content_type = "application/json", .body = ask->body
    };

    if (!signature || http_call(webhook->peer, &request, called, ask, &ask->why) != APR_SUCCESS) {
        if (!ask->why.number[0]) {
            gh_result_fail(&ask->why, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, RULE,
                           "See whether the machine is short of memory.",
                           GHNO(0919) "the webhook cannot be called");
        }
        finish_again(ask, framework_job_next(ask->job, 0));
    }
}

static int is_late(const ask_t *ask)
{
    apr_time_t deadline = framework_job_record(ask->job)->deadline;

    return deadline && framework_job_time(ask->job) >= deadline;
}

static void decide(ask_t *ask)
{
    char reason[sizeof(ask->why.message)];

    if (is_late(ask)) {
        gh_result_cause(&ask->why, "%s: %s", ask->why.number, ask->why.message);
        gh_result_fail(&ask->why, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, RULE,
                       "See why the webhook could not be asked; let the device ask again.",
                       GHNO(0920) "there was no permission until the deadline");
    }
    else if (webhook_write(&ask->body, ask->asked, apr_time_now(), ask->pool, &ask->why)
             == APR_SUCCESS) {
        framework_job_begin_call(ask->job, call, ask);
        return;
    }
    apr_cpystrn(reason, ask->why.message, sizeof(reason));
    ask->reason = apr_pstrdup(ask->pool, reason);
    finish(ask, ASK_REFUSED);
}

static void read_work(void *baton)
{
    ask_t *ask = baton;

    gh_result_clear(&ask->stored);
    ask->rv = gh_question_read(&ask->asked, framework_store(framework_of(ask)),
                               ask->webhook->worker->sealer, framework_job_record(ask->job),
                               ask->pool, &ask->stored);
}

static void read_done(void *baton)
{
    ask_t *ask = baton;

    if (ask->rv == APR_SUCCESS) {
        decide(ask);
    }
    else if (ask->rv == APR_NOTFOUND) {
        finish(ask, ASK_OVER);
    }
    else {
        ask->why = ask->stored;
        finish_again(ask, framework_job_time(ask->job) + READ_PAUSE);
    }
}

static void begin(void *baton, framework_job_t *job)
{
    const gh_job_record_t *record = framework_job_record(job);
    ask_t *ask = apr_pcalloc(framework_job_pool(job), sizeof(*ask));

    ask->webhook = baton;
    ask->job = job;
    ask->pool = framework_job_pool(job);
    /* why it is not over yet is still what there is to say */
    apr_cpystrn(ask->why.number, record->number ? record->number : "", sizeof(ask->why.number));
    apr_cpystrn(ask->why.message, record->message ? record->message : "",
                sizeof(ask->why.message));
    framework_blocking(framework_of(ask), read_work, read_done, ask);
}

/* Configuration */

static apr_status_t not_understood(gh_result_t *result, const char *why)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, "webhook",
                          "Reinstall Gatehouse, so that modules and workers are of one version.",
                          GHNO(0921) "the worker does not understand what it is told of a "
                          "webhook: %s", why);
}

/** Scheme and host are the peer's, the rest is of each call. */
static void split_url(webhook_t *webhook, http_peer_config_t *config, const char *url,
                      apr_pool_t *p)
{
    const char *host = strstr(url, "://");
    const char *path = host ? host + 3 + strcspn(host + 3, "/?") : url + strlen(url);

    config->url = apr_pstrmemdup(p, url, (apr_size_t)(path - url));
    webhook->path = apr_pstrcat(p, *path == '?' ? "/" : "", path, NULL);
}

static apr_status_t read_webhook(webhook_t *webhook, const json_t *object, apr_pool_t *p,
                                 gh_result_t *result)
{
    const char *name, *url, *id, *secret, *authorization = NULL, *credential = NULL;
    const char *passphrase = NULL, *alias = NULL, *trust = NULL, *proxy = NULL;
    framework_t *framework = webhook->worker->framework;
    http_peer_config_t config;
    framework_limits_t limits;
    gh_bytes_t header;
    json_int_t timeout;
    json_error_t error;
    apr_status_t rv;

    memset(&limits, 0, sizeof(limits));
    memset(&config, 0, sizeof(config));
    if (json_unpack_ex((json_t *)object, &error, 0, "{s:s, s:s, s:s, s:s, s?s, s?s, s?s, s?s, s?s, "
                       "s?s, s:i, s:F, s:I}", "name", &name, "url", &url, "id", &id, "secret",
                       &secret, "authorization", &authorization, "credential", &credential,
                       "passphrase", &passphrase, "alias", &alias, "trust", &trust, "proxy",
                       &proxy, "concurrent", &limits.concurrent, "rate", &limits.rate, "timeout",
                       &timeout)) {
        return not_understood(result, error.text);
    }
    if (!gh_worker_secret(&webhook->secret, secret, p)
        || !gh_worker_secret(&header, authorization, p)
        || !gh_worker_secret(&config.credential, credential, p)
        || !gh_worker_secret(&config.passphrase, passphrase, p)) {
        return not_understood(result, "a secret is not hexadecimal");
    }
    webhook->name = apr_pstrdup(p, name);
    webhook->id_header = apr_pstrcat(p, "X-Smallstep-Webhook-ID: ", id, NULL);
    /* what the header says goes away with the worker, in any case */
    webhook->authorization = header.data
        ? apr_pstrmemdup(p, (const char *)header.data, header.length) : NULL;
    config.name = webhook->name;
    config.alias = alias;
    config.trust = trust;
    config.proxy = proxy;
    config.timeout = timeout;
    config.body_max = WEBHOOK_ANSWER_MAX;
    config.lenient = 1;             /* it keeps nothing but this webhook from its work */
    config.connections = limits.concurrent;
    split_url(webhook, &config, url, p);
    rv = framework_add_queue(&webhook->queue, framework,
                             apr_pstrcat(p, WEBHOOK_KIND ":", name, NULL), &limits, result);
    if (rv == APR_SUCCESS) {
        rv = http_peer_create(&webhook->peer, framework_http(framework), &config, p, result);
    }
    if (rv == APR_SUCCESS) {
        framework_handle(webhook->queue, GH_QUESTION_ASK WEBHOOK_KIND, begin, webhook);
    }
    return rv;
}

apr_status_t webhook_configure(ca_worker_t *worker, const json_t *list, apr_pool_t *p,
                               gh_result_t *result)
{
    apr_status_t rv = APR_SUCCESS;
    size_t i;

    for (i = 0; rv == APR_SUCCESS && i < json_array_size(list); ++i) {
        webhook_t *webhook = apr_pcalloc(p, sizeof(*webhook));

        webhook->worker = worker;
        rv = read_webhook(webhook, json_array_get(list, i), p, result);
    }
    return rv;
}
