/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/intune/intune_service.h"

#include <string.h>

#include <apr_strings.h>

#include "issuer/intune.h"
#include "issuer/question.h"
#include "log.h"
#include "x509/key.h"
#include "x509/ca.h"

#define CONNECTIONS_MAX 256

/** How often the ends of credentials are looked at. */
#define LOOK_EVERY apr_time_from_sec(3600)

static apr_status_t not_understood(gh_result_t *result, const char *what, const char *why)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, "ca.worker",
                          "Reinstall Gatehouse, so that modules and workers are of one version.",
                          GHNO(0942) "the worker does not understand its configuration of a "
                          "connection to Intune: %s: %s", what, why);
}

static void handle_all(intune_service_t *service)
{
    framework_handle(service->queue, GH_QUESTION_ASK GH_INTUNE, intune_question, service);
    framework_handle(service->queue, GH_QUESTION_CONFIRM GH_INTUNE, intune_question, service);
    framework_handle(service->queue, GH_QUESTION_FAILED GH_INTUNE, intune_question, service);
    framework_handle(service->queue, INTUNE_JOB_TELL, intune_tell, service);
    framework_handle(service->queue, INTUNE_JOB_POLL, intune_poll, service);
    framework_handle(service->queue, INTUNE_JOB_REVOKE, intune_revoke, service);
    framework_handle(service->queue, INTUNE_JOB_UPLOAD, intune_upload, service);
}

/** Which of the days before an end has been reached; 0 if none has. */
static int reached(apr_time_t end, apr_time_t now)
{
    static const int days[] = { 1, 7, 14, 30 };
    apr_size_t i;

    for (i = 0; i < sizeof(days) / sizeof(days[0]); ++i) {
        if (end - now <= apr_time_from_sec((apr_int64_t)days[i] * 86400)) {
            return days[i];
        }
    }
    return 0;
}

/** Each warning once, and every day once it is over. */
static void look_at_ends(void *baton)
{
    intune_service_t *service = baton;
    apr_time_t now = apr_time_now();
    char when[APR_RFC822_DATE_LEN];
    int i, due;

    for (i = 0; i < INTUNE_ENDS_MAX; ++i) {
        due = service->ends[i] ? reached(service->ends[i], now) : 0;
        if (due && (!service->told[i] || due < service->told[i])) {
            service->told[i] = due;
            apr_rfc822_date(when, service->ends[i]);
            gh_log(service->log, GH_LOG_WARNING, APR_SUCCESS, GHNO(0943) "IntuneConnection %s: "
                   "%s %d ends at %s; nothing is issued without one: make another for the "
                   "application, configure it beside this one, and restart gracefully",
                   service->connection.name, i < INTUNE_SECRETS_MAX ? "IntuneSecret"
                   : "IntuneCredential", i < INTUNE_SECRETS_MAX ? i + 1 : 1, when);
        }
    }
    framework_at(service->framework, now + LOOK_EVERY, look_at_ends, service);
}

void intune_service_note(intune_service_t *service, const intune_outcome_t *outcome,
                         intune_verdict_t verdict, const gh_result_t *result)
{
    int ours = verdict == INTUNE_CREDENTIAL || verdict == INTUNE_SCOPE
        || verdict == INTUNE_MISCONFIGURED || verdict == INTUNE_TOKEN;

    framework_queue_note(service->queue, outcome->alive || outcome->stopped,
                         verdict == INTUNE_UNAVAILABLE ? outcome->retry_after : 0);
    if (outcome->stopped) {
        return;
    }
    if ((ours || verdict == INTUNE_UNAVAILABLE) && strcmp(service->problem, result->number)) {
        apr_cpystrn(service->problem, result->number, sizeof(service->problem));
        gh_log(service->log, GH_LOG_WARNING, APR_SUCCESS, GHNO(0944) "IntuneConnection %s cannot "
               "be used: %s: %s%s%s", service->connection.name, result->number, result->message,
               *result->action ? "; " : "", result->action);
    }
    else if (service->problem[0] && (verdict == INTUNE_DONE || verdict == INTUNE_REFUSED)) {
        service->problem[0] = '\0';
        gh_log(service->log, GH_LOG_NOTICE, APR_SUCCESS, GHNO(0945) "IntuneConnection %s can be "
               "used again", service->connection.name);
    }
}

/* Configuration */

static apr_status_t read_secrets(intune_service_t *service, const json_t *object, apr_pool_t *p,
                                 gh_result_t *result)
{
    intune_connection_t *connection = &service->connection;
    const char *credential = json_string_value(json_object_get(object, "credential"));
    const char *passphrase = json_string_value(json_object_get(object, "passphrase"));
    const json_t *secrets = json_object_get(object, "secrets");
    gh_bytes_t pkcs12, secret;
    apr_status_t rv = APR_SUCCESS;
    apr_pool_t *ptemp;
    size_t i;

    if (json_array_size(secrets) > INTUNE_SECRETS_MAX) {
        return not_understood(result, connection->name, "secrets");
    }
    for (i = 0; i < json_array_size(secrets); ++i) {
        const json_t *one = json_array_get(secrets, i);

        if (!gh_worker_secret(&connection->secrets[i],
                              json_string_value(json_object_get(one, "secret")), p)
            || !connection->secrets[i].length) {
            return not_understood(result, connection->name, "a secret");
        }
        service->ends[i] = json_integer_value(json_object_get(one, "expires"));
        ++connection->secret_count;
    }
    if (!credential) {
        return APR_SUCCESS;
    }
    apr_pool_create(&ptemp, p);
    rv = gh_worker_secret(&pkcs12, credential, ptemp)
            && gh_worker_secret(&secret, passphrase, ptemp)
        ? intune_credential_open(&connection->credential, pkcs12, secret, p, result)
        : not_understood(result, connection->name, "credential");
    apr_pool_destroy(ptemp);
    if (rv == APR_SUCCESS) {
        service->ends[INTUNE_SECRETS_MAX]
            = gh_certificate_not_after(connection->credential.certificate);
    }
    return rv;
}

static apr_status_t read_service(intune_service_t *service, const json_t *object, apr_pool_t *p,
                                 gh_result_t *result)
{
    intune_connection_t *connection = &service->connection;
    framework_limits_t limits;
    json_error_t error;
    const char *cron = NULL;
    json_int_t timeout;
    apr_status_t rv;

    memset(&limits, 0, sizeof(limits));
    if (json_unpack_ex((json_t *)object, &error, 0,
                       "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s?s, s?s, s?s, s?s, s:i, s:b, "
                       "s:i, s:F, s:I}",
                       "name", &connection->name, "tenant", &connection->tenant,
                       "application", &connection->application,
                       "authority", &connection->authority, "graph", &connection->graph,
                       "graph_version", &connection->graph_version,
                       "intune", &connection->intune, "resource", &connection->resource,
                       "trust", &connection->trust, "proxy", &connection->proxy, "cron", &cron,
                       "issuer_name", &service->issuer_name, "most", &service->most,
                       "lenient", &service->lenient, "concurrent", &limits.concurrent,
                       "rate", &limits.rate, "timeout", &timeout)) {
        return not_understood(result, "one of them", error.text);
    }
    connection->timeout = timeout;
    connection->connections = limits.concurrent;
    service->polls = cron != NULL;
    if (cron && gh_cron_parse(&service->cron, cron)) {
        return not_understood(result, connection->name, "cron");
    }
    rv = read_secrets(service, object, p, result);
    if (rv == APR_SUCCESS && !connection->secret_count && !connection->credential.key) {
        rv = not_understood(result, connection->name, "it has no credential");
    }
    if (rv == APR_SUCCESS) {
        rv = framework_add_queue(&service->queue, service->framework,
                                 apr_pstrcat(p, GH_INTUNE_QUEUE, connection->name, NULL), &limits,
                                 result);
    }
    return rv;
}

static apr_status_t forget(void *data)
{
    json_decref(data);
    return APR_SUCCESS;
}

apr_status_t intune_start(const json_t *list, framework_t *framework, const gh_sealer_t *sealer,
                          apr_pool_t *p, gh_result_t *result)
{
    apr_status_t rv = APR_SUCCESS;
    size_t i;

    if (json_array_size(list) > CONNECTIONS_MAX) {
        return not_understood(result, "the whole", "there are too many");
    }
    if (list) {
        /* texts are used as they are there */
        apr_pool_cleanup_register(p, json_incref((json_t *)list), forget, apr_pool_cleanup_null);
    }
    for (i = 0; rv == APR_SUCCESS && i < json_array_size(list); ++i) {
        intune_service_t *service = apr_pcalloc(p, sizeof(*service));

        service->framework = framework;
        service->sealer = sealer;
        service->log = framework_log(framework);
        rv = read_service(service, json_array_get(list, i), p, result);
        if (rv == APR_SUCCESS) {
            service->session = intune_session_create(&service->connection,
                                                     framework_http(framework), service->log, p);
            handle_all(service);
            look_at_ends(service);
            intune_revocation_start(service);
        }
    }
    return rv;
}
