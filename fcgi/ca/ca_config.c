/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/ca/ca_config.h"

#include <string.h>

#include <apr_strings.h>

#include "fcgi/mdm/mdm_keys.h"
#include "fcgi/webhook/webhook.h"
#include "issuer/gateway_state.h"
#include "issuer/mdm_key.h"
#include "text.h"

#define ISSUERS_MAX 1024

/** As JSON has it. Members that are not there are NULL or 0. */
typedef struct {
    const char *name, *backend, *url, *ca, *certificate, *credential, *passphrase, *alias, *trust;
    const char *proxy, *subject;
    const json_t *chain, *profiles, *cmp;
    int search, concurrent;
    double rate;
    json_int_t lag, timeout, deadline;
} described_t;

static apr_status_t not_understood(gh_result_t *result, const char *what, const char *why)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, "ca.worker",
                          "Reinstall Gatehouse, so that modules and workers are of one version.",
                          GHNO(0808) "the worker for CAs does not understand its configuration: "
                          "%s: %s", what, why);
}

static apr_status_t make_issuer(ca_issuer_t *one, const described_t *said, apr_pool_t *p,
                                gh_result_t *result)
{
    apr_array_header_t *chain = apr_array_make(p, 4, sizeof(gh_bytes_t));
    gh_issuer_config_t *config;
    gh_bytes_t bytes;
    size_t i;

    const gh_issuer_backend_t *backend = said->cmp ? &gh_issuer_cmp : &gh_issuer_cagw;

    one->issuer = gh_issuer_create(said->name, backend, p);
    if (!one->issuer || strcmp(said->backend, backend->name)) {
        return not_understood(result, said->name, "its name or back end");
    }
    config = gh_issuer_config(one->issuer);
    config->any_subject = !strcmp(said->subject, "any");
    config->deadline = said->deadline ? said->deadline : config->deadline;
    for (i = 0; i < json_array_size(said->chain); ++i) {
        const char *hex = json_string_value(json_array_get(said->chain, i));

        if (!hex || gh_hex_parse(&bytes, hex, p) != APR_SUCCESS) {
            return not_understood(result, said->name, "its chain");
        }
        APR_ARRAY_PUSH(chain, gh_bytes_t) = bytes;
    }
    if (gh_hex_parse(&bytes, said->certificate, p) != APR_SUCCESS) {
        return not_understood(result, said->name, "its certificate");
    }
    return gh_issuer_take(one->issuer, bytes, chain, p, result);
}

static int describe_reach(ca_issuer_t *one, const described_t *said, const json_t *object,
                          apr_pool_t *p)
{
    http_peer_config_t *reach = &one->reach;

    memset(reach, 0, sizeof(*reach));
    reach->name = one->name;
    reach->url = said->cmp ? cmp_base_url(said->url, p) : apr_pstrdup(p, said->url);
    reach->plain = said->cmp != NULL;   /* its messages are protected themselves */
    reach->lenient = 1;                 /* it keeps nothing but this issuer from its work */
    reach->alias = apr_pstrdup(p, said->alias);
    reach->trust = apr_pstrdup(p, said->trust);
    reach->proxy = apr_pstrdup(p, said->proxy);
    reach->proxy_user = apr_pstrdup(p, json_string_value(json_object_get(object, "proxy_user")));
    reach->timeout = said->timeout;
    /* as many as a CMP issuer's threads: looks at the server wait for nothing that hangs */
    reach->connections = said->concurrent + (said->cmp ? 2 : 0);
    return gh_worker_secret(&reach->proxy_password,
                            json_string_value(json_object_get(object, "proxy_password")), p);
}

static apr_status_t make_cmp(ca_issuer_t *one, const described_t *said,
                             const http_peer_config_t *config, apr_pool_t *p,
                             gh_result_t *result)
{
    cmp_described_t described = {
        .url = said->url, .settings = said->cmp, .credential = config->credential,
        .passphrase = config->passphrase, .alias = said->alias, .threads = said->concurrent,
        .peer = one->peer
    };
    apr_status_t rv = cmp_service_create(&one->cmp, one->worker->framework, one->issuer,
                                         &described, p, result);

    one->searchable = 0;
    return rv;
}

static apr_status_t make_peer(ca_issuer_t *one, const described_t *said, apr_pool_t *p,
                              gh_result_t *result)
{
    http_client_t *http = framework_http(one->worker->framework);
    http_peer_config_t config = one->reach;
    apr_pool_t *ptemp;
    apr_status_t rv;

    apr_pool_create(&ptemp, p);
    if (gh_worker_secret(&config.credential, said->credential, ptemp)
        && gh_worker_secret(&config.passphrase, said->passphrase, ptemp)) {
        rv = http_peer_create(&one->peer, http, &config, p, result);
        if (rv == APR_SUCCESS && one->enrolled && http_peer_fault(one->peer)) {
            /* one that was enrolled since may be good */
            config.credential.data = NULL;
            rv = http_peer_create(&one->peer, http, &config, p, result);
        }
        if (rv == APR_SUCCESS && said->cmp) {
            rv = make_cmp(one, said, &config, p, result);
        }
    }
    else {
        rv = not_understood(result, said->name, "its credential");
    }
    apr_pool_destroy(ptemp);
    return rv;
}

apr_status_t ca_peer_create(http_peer_t **peer, const ca_issuer_t *issuer,
                            const gh_credential_t *identity, apr_pool_t *p, gh_result_t *result)
{
    http_peer_config_t config = issuer->reach;

    config.identity = identity;
    return http_peer_create(peer, framework_http(issuer->worker->framework), &config, p, result);
}

static void read_profiles(ca_issuer_t *one, const json_t *profiles, apr_pool_t *p)
{
    const char *ours;
    json_t *theirs;

    one->profiles = apr_hash_make(p);
    json_object_foreach((json_t *)profiles, ours, theirs) {
        if (json_is_string(theirs)) {
            apr_hash_set(one->profiles, apr_pstrdup(p, ours), APR_HASH_KEY_STRING,
                         apr_pstrdup(p, json_string_value(theirs)));
        }
    }
}

static void read_option(ca_profile_options_t *options, const char *text, apr_pool_t *p)
{
    const char *value;

    if (!strcmp(text, "validity=profile")) {
        options->own_validity = 1;
    }
    else if (!strncmp(text, "validity=", 9)) {
        options->duration = cagw_duration(apr_time_from_sec(apr_strtoi64(text + 9, NULL, 10)),
                                          p);
    }
    else if (!strcmp(text, "extensions=eku")) {
        options->usages = 1;
    }
    else if (!strncmp(text, "property=", 9) && (value = strchr(text + 9, '=')) != NULL) {
        if (!options->properties) {
            options->properties = apr_table_make(p, 4);
        }
        apr_table_set(options->properties,
                      apr_pstrmemdup(p, text + 9, (apr_size_t)(value - text - 9)), value + 1);
    }
}

static void read_options(ca_issuer_t *one, const json_t *object, apr_pool_t *p)
{
    const char *ours;
    json_t *list, *text;
    size_t i;

    one->options = apr_hash_make(p);
    json_object_foreach(json_object_get(object, "options"), ours, list) {
        ca_profile_options_t *options = apr_pcalloc(p, sizeof(*options));

        json_array_foreach(list, i, text) {
            read_option(options, json_is_string(text) ? json_string_value(text) : "", p);
        }
        apr_hash_set(one->options, apr_pstrdup(p, ours), APR_HASH_KEY_STRING, options);
    }
}

static void read_spelling(ca_issuer_t *one, const json_t *spelling, apr_pool_t *p)
{
    const struct {
        const char *name;
        const char **word;
    } words[] = {
        { "validity", &one->spelling.validity }, { "selector", &one->spelling.selector },
        { "ca", &one->spelling.ca }, { "properties", &one->properties_prefix },
    };
    apr_size_t i;

    cagw_spelling_default(&one->spelling);
    for (i = 0; i < sizeof(words) / sizeof(words[0]); ++i) {
        const char *text = json_string_value(json_object_get(spelling, words[i].name));

        if (text) {
            *words[i].word = apr_pstrdup(p, text);
        }
    }
}

/** @return 0 if it is not understood; without it none are taken up */
static int read_events(ca_events_t *events, const json_t *object)
{
    json_int_t wait, start;

    if (!object) {
        return 1;
    }
    if (json_unpack((json_t *)object, "{s:I, s:I, s:b}", "wait", &wait, "start", &start, "serials",
                    &events->serials_only)) {
        return 0;
    }
    events->on = 1;
    events->wait = wait;
    events->start = start;
    return 1;
}

static apr_status_t read_issuer(ca_worker_t *worker, const json_t *object, apr_pool_t *p,
                                gh_result_t *result)
{
    ca_issuer_t *one = apr_pcalloc(p, sizeof(*one));
    framework_limits_t limits, tests = { .concurrent = 1 };
    described_t said;
    json_error_t error;
    apr_status_t rv;

    memset(&said, 0, sizeof(said));
    memset(&limits, 0, sizeof(limits));
    if (json_unpack_ex((json_t *)object, &error, 0,
                       "{s:s, s:s, s:s, s:s, s:s, s:o, s?s, s?s, s?s, s?s, s?s, s:o, s:b, s:I, "
                       "s:i, s:F, s:I, s:I, s:s, s?o}",
                       "name", &said.name, "backend", &said.backend, "url", &said.url,
                       "ca", &said.ca, "certificate", &said.certificate, "chain", &said.chain,
                       "credential", &said.credential, "passphrase", &said.passphrase,
                       "alias", &said.alias, "trust", &said.trust, "proxy", &said.proxy,
                       "profiles", &said.profiles, "search", &said.search, "lag", &said.lag,
                       "concurrent", &said.concurrent, "rate", &said.rate,
                       "timeout", &said.timeout, "deadline", &said.deadline,
                       "subject", &said.subject, "cmp", &said.cmp)) {
        return not_understood(result, "an issuer", error.text);
    }
    one->worker = worker;
    one->name = apr_pstrdup(p, said.name);
    one->ca = apr_pstrdup(p, said.ca);
    one->searchable = said.search;
    one->lag = said.lag;
    one->timeout = said.timeout;
    one->enrolled = json_is_true(json_object_get(object, "enrolled"));
    read_profiles(one, said.profiles, p);
    read_options(one, object, p);
    read_spelling(one, json_object_get(object, "spelling"), p);
    if (!describe_reach(one, &said, object, p)) {
        return not_understood(result, one->name, "its proxy");
    }
    if (!read_events(&one->events, json_object_get(object, "events"))) {
        return not_understood(result, one->name, "its events");
    }
    limits.concurrent = said.concurrent;
    limits.rate = said.rate;
    rv = framework_add_queue(&one->queue, worker->framework, one->name, &limits, result);
    if (rv == APR_SUCCESS) {
        rv = framework_add_queue(&one->tests, worker->framework,
                                 gh_gateway_test_queue(one->name, p), &tests, result);
    }
    if (rv == APR_SUCCESS) {
        rv = make_issuer(one, &said, p, result);
    }
    if (rv == APR_SUCCESS) {
        rv = make_peer(one, &said, p, result);
    }
    APR_ARRAY_PUSH(worker->issuers, ca_issuer_t *) = one;
    return rv;
}

static apr_status_t read_sealer(ca_worker_t *worker, const char *hex, apr_pool_t *p,
                                gh_result_t *result)
{
    gh_sealer_t *sealer;
    apr_pool_t *ptemp;
    gh_bytes_t key;
    apr_status_t rv;

    if (!hex) {
        return APR_SUCCESS;
    }
    apr_pool_create(&ptemp, p);
    rv = gh_worker_secret(&key, hex, ptemp) ? gh_sealer_create(&sealer, key, p, result)
        : not_understood(result, "the whole", "the sealing key");
    apr_pool_destroy(ptemp);
    worker->sealer = rv == APR_SUCCESS ? sealer : NULL;
    return rv;
}

apr_status_t ca_configure(ca_worker_t *worker, const json_t *configuration, apr_pool_t *p,
                          gh_result_t *result)
{
    const char *sealing = NULL;
    const json_t *issuers;
    json_error_t error;
    apr_status_t rv;
    size_t i;

    if (json_unpack_ex((json_t *)configuration, &error, 0, "{s?s, s:o}", "sealing", &sealing,
                       "issuers", &issuers)
        || json_array_size(issuers) > ISSUERS_MAX) {
        return not_understood(result, "the whole", error.text);
    }
    worker->issuers = apr_array_make(p, 8, sizeof(ca_issuer_t *));
    rv = read_sealer(worker, sealing, p, result);
    for (i = 0; rv == APR_SUCCESS && i < json_array_size(issuers); ++i) {
        rv = read_issuer(worker, json_array_get(issuers, i), p, result);
    }
    if (rv == APR_SUCCESS) {
        rv = webhook_configure(worker, json_object_get(configuration, "webhooks"), p, result);
    }
    if (rv == APR_SUCCESS) {
        rv = mdm_keys_configure(worker, json_object_get(configuration, GH_MDM_KEY_SECTION), p,
                                result);
    }
    return rv;
}

const char *ca_profile_said(const ca_issuer_t *issuer, const char *profile)
{
    const char *theirs = apr_hash_get(issuer->profiles, profile, APR_HASH_KEY_STRING);

    return theirs ? theirs : apr_hash_get(issuer->profiles, "*", APR_HASH_KEY_STRING);
}

const char *ca_profile(const ca_issuer_t *issuer, const char *profile)
{
    const char *theirs = ca_profile_said(issuer, profile);

    return theirs ? theirs : profile;
}

const ca_profile_options_t *ca_profile_options(const ca_issuer_t *issuer, const char *profile)
{
    int named = apr_hash_get(issuer->profiles, profile, APR_HASH_KEY_STRING) != NULL;

    return apr_hash_get(issuer->options, named ? profile : "*", APR_HASH_KEY_STRING);
}
