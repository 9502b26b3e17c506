/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * Which credential a gateway is shown, where it is one that was enrolled there: the newest that
 * lies sealed in the store and is accepted, or that of the file it began with. httpd's processes
 * make the keys and ask for certificates; here they are taken up while calls go on. A new one is
 * tried with a call that has no effect first, so that none is refused because of it.
 */

#include <string.h>

#include <apr_strings.h>

#include "fcgi/ca/ca_service.h"
#include "fcgi/ca/cagw_names.h"
#include "issuer/gateway_state.h"
#include "issuer/own_keys.h"
#include "log.h"

#define ROUND_EVERY apr_time_from_sec(5)
#define TRY_TIMEOUT apr_time_from_sec(10)

/** A credential that was refused is not tried again for so long. */
#define REFUSED_PAUSE apr_time_from_sec(600)

/** Renewed after two thirds of its life: when half of the rest is over, somebody has to look. */
#define LIFE_SHARE 6

#define FILE_GENERATION 0

/** The file's is for the beginning, and is not renewed. */
#define FILE_ENDS_SOON apr_time_from_sec(86400)

typedef struct {
    apr_int64_t generation;         /* FILE_GENERATION: that of the file */
    const gh_credential_t *opened;  /* NULL: that of the file */
    http_peer_t *peer;
    apr_time_t not_before;
    apr_time_t not_after;
    int withdrawn;                  /* revoked since, or removed */
    apr_time_t refused;             /* when the gateway has not accepted it; 0: it has not said */
} credential_t;

struct ca_credentials {
    ca_service_t *service;
    apr_array_header_t *all;        /* credential_t *, the newest first, that of the file last */
    credential_t *current;          /* NULL: none */
    apr_pool_t *pool;               /* of the process */
};

/** One look at the store, and one trial. */
typedef struct {
    ca_credentials_t *credentials;
    apr_pool_t *pool;
    apr_array_header_t *usable;     /* apr_int64_t */
    apr_array_header_t *found;      /* credential_t *: those that are new */
    apr_status_t rv;
    gh_result_t result;
    credential_t *tried;
    cagw_gateway_t gateway;         /* with that one */
} round_t;

static void begin(void *baton);

static framework_t *framework_of(const ca_credentials_t *credentials)
{
    return credentials->service->issuer->worker->framework;
}

static const gh_log_t *log_of(const ca_credentials_t *credentials)
{
    return credentials->service->gateway.log;
}

static const char *name_of(const ca_credentials_t *credentials)
{
    return credentials->service->issuer->name;
}

/* The store */

static credential_t *find(const apr_array_header_t *all, apr_int64_t generation)
{
    int i;

    for (i = 0; i < all->nelts; ++i) {
        credential_t *one = APR_ARRAY_IDX(all, i, credential_t *);

        if (one->generation == generation) {
            return one;
        }
    }
    return NULL;
}

/** What is opened lives until the process ends: calls and connections may refer to it. */
static apr_status_t open_one(round_t *round, const gh_sealed_key_record_t *record)
{
    const ca_issuer_t *issuer = round->credentials->service->issuer;
    gh_credential_t *opened;
    X509 *certificate;
    EVP_PKEY *key;
    apr_array_header_t *above = apr_array_copy(round->pool, gh_issuer_chain(issuer->issuer));
    credential_t *one;
    apr_pool_t *p;
    apr_status_t rv;

    rv = gh_generation_open(&key, &certificate, record, issuer->worker->sealer, round->pool,
                            &round->result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    apr_pool_create_unmanaged_ex(&p, NULL, NULL);
    APR_ARRAY_PUSH(above, X509 *) = gh_issuer_certificate(issuer->issuer);
    rv = gh_credential_make(&opened, key, certificate, above, p, &round->result);
    if (rv != APR_SUCCESS) {
        apr_pool_destroy(p);
        return rv;
    }
    one = apr_pcalloc(p, sizeof(*one));
    one->generation = record->generation;
    one->opened = opened;
    one->not_before = opened->not_before;
    one->not_after = opened->not_after;
    APR_ARRAY_PUSH(round->found, credential_t *) = one;
    return APR_SUCCESS;
}

/** On a thread that may wait; what is known already is not changed meanwhile. */
static void look(void *baton)
{
    round_t *round = baton;
    const ca_issuer_t *issuer = round->credentials->service->issuer;
    apr_array_header_t *generations;
    apr_status_t rv;
    int i;

    round->usable = NULL;
    round->rv = gh_generations_list(&generations, framework_store(framework_of(round->credentials)),
                                    GH_GATEWAY_PURPOSE, issuer->name, apr_time_now(), round->pool,
                                    &round->result);
    if (round->rv != APR_SUCCESS) {
        return;
    }
    round->usable = apr_array_make(round->pool, 4, sizeof(apr_int64_t));
    for (i = 0; i < generations->nelts; ++i) {
        const gh_generation_t *one = gh_generation_at(generations, i);

        if (!one->usable || !issuer->worker->sealer) {
            continue;
        }
        APR_ARRAY_PUSH(round->usable, apr_int64_t) = one->record->generation;
        if (!find(round->credentials->all, one->record->generation)) {
            rv = open_one(round, one->record);
            round->rv = rv != APR_SUCCESS ? rv : round->rv;
        }
    }
}

/* What there is */

static void insert(ca_credentials_t *credentials, credential_t *one)
{
    apr_array_header_t *all = credentials->all;
    int i;

    apr_array_push(all);
    for (i = all->nelts - 1;
         i > 0 && APR_ARRAY_IDX(all, i - 1, credential_t *)->generation < one->generation; --i) {
        APR_ARRAY_IDX(all, i, credential_t *) = APR_ARRAY_IDX(all, i - 1, credential_t *);
    }
    APR_ARRAY_IDX(all, i, credential_t *) = one;
}

static int is_listed(const apr_array_header_t *numbers, apr_int64_t number)
{
    int i;

    for (i = 0; i < numbers->nelts; ++i) {
        if (APR_ARRAY_IDX(numbers, i, apr_int64_t) == number) {
            return 1;
        }
    }
    return 0;
}

static void take_up(round_t *round)
{
    ca_credentials_t *credentials = round->credentials;
    int i;

    for (i = 0; round->usable && i < credentials->all->nelts; ++i) {
        credential_t *one = APR_ARRAY_IDX(credentials->all, i, credential_t *);

        one->withdrawn = one->generation != FILE_GENERATION
            && !is_listed(round->usable, one->generation);
    }
    for (i = 0; i < round->found->nelts; ++i) {
        credential_t *one = APR_ARRAY_IDX(round->found, i, credential_t *);

        if (ca_peer_create(&one->peer, credentials->service->issuer, one->opened,
                           credentials->pool, &round->result) == APR_SUCCESS) {
            insert(credentials, one);
        }
    }
}

static int is_good(const credential_t *one, apr_time_t now)
{
    return !one->withdrawn && one->not_before <= now && now < one->not_after;
}

static int was_refused(const credential_t *one, apr_time_t now)
{
    return one->refused && now >= one->refused && now - one->refused < REFUSED_PAUSE;
}

/** The one to be used, or to be tried if it is not the current one. */
static credential_t *choose(const ca_credentials_t *credentials, apr_time_t now)
{
    int i;

    for (i = 0; i < credentials->all->nelts; ++i) {
        credential_t *one = APR_ARRAY_IDX(credentials->all, i, credential_t *);

        if (is_good(one, now)
            && (one == credentials->current ? !credentials->service->unwelcome
                                            : !was_refused(one, now))) {
            return one;
        }
    }
    return credentials->current;
}

static const char *describe(const credential_t *one, apr_pool_t *p)
{
    return one->generation == FILE_GENERATION ? "that of IssuerCredential's file"
        : apr_psprintf(p, "number %" APR_INT64_T_FMT " of those enrolled", one->generation);
}

static void use(ca_credentials_t *credentials, credential_t *one, apr_pool_t *p)
{
    ca_service_t *service = credentials->service;

    credentials->current = one;
    service->gateway.peer = one->peer;
    service->unwelcome = 0;
    service->ends_soon = one->generation == FILE_GENERATION
        ? FILE_ENDS_SOON : (one->not_after - one->not_before) / LIFE_SHARE;
    gh_log(log_of(credentials), GH_LOG_NOTICE, APR_SUCCESS, GHNO(1069) "issuer %s: the CA gateway "
           "knows us by a credential that is good until %s: %s", name_of(credentials),
           gh_time_text(p, one->not_after), describe(one, p));
}

/* Rounds */

static void finish(round_t *round)
{
    ca_credentials_t *credentials = round->credentials;

    apr_pool_destroy(round->pool);
    framework_at(framework_of(credentials), apr_time_now() + ROUND_EVERY, begin, credentials);
}

static void tried(void *baton, cagw_outcome_t *outcome)
{
    round_t *round = baton;
    ca_credentials_t *credentials = round->credentials;
    credential_t *one = round->tried, *before = credentials->current;

    if (outcome->unwelcome) {
        if (!one->refused) {
            gh_log(log_of(credentials), GH_LOG_WARNING, APR_SUCCESS, GHNO(1068) "issuer %s: the CA "
                   "gateway does not accept our credential %s: %s: %s; register its subject there, "
                   "and see that the gateway trusts who has issued it. The one before stays in use",
                   name_of(credentials), describe(one, round->pool), outcome->result.number,
                   outcome->result.message);
        }
        one->refused = apr_time_now();
    }
    else if (outcome->alive) {
        if (before && credentials->service->unwelcome) {
            before->refused = apr_time_now();
        }
        one->refused = 0;
        use(credentials, one, round->pool);
    }
    finish(round);
}

static void looked(void *baton)
{
    round_t *round = baton;
    ca_credentials_t *credentials = round->credentials;

    take_up(round);
    round->tried = choose(credentials, apr_time_now());
    if (round->tried == credentials->current) {
        finish(round);
        return;
    }
    round->gateway = credentials->service->gateway;
    round->gateway.peer = round->tried->peer;
    cagw_call_about(&round->gateway, CAGW_PATH_STATUS, NULL, TRY_TIMEOUT, tried, round,
                    round->pool);
}

static round_t *make_round(ca_credentials_t *credentials)
{
    apr_pool_t *p;
    round_t *round;

    apr_pool_create_unmanaged_ex(&p, NULL, NULL);
    round = apr_pcalloc(p, sizeof(*round));
    round->credentials = credentials;
    round->pool = p;
    round->found = apr_array_make(p, 2, sizeof(credential_t *));
    gh_result_clear(&round->result);
    return round;
}

static void begin(void *baton)
{
    ca_credentials_t *credentials = baton;

    framework_blocking(framework_of(credentials), look, looked, make_round(credentials));
}

static void add_file(ca_credentials_t *credentials)
{
    const ca_issuer_t *issuer = credentials->service->issuer;
    credential_t *one = apr_pcalloc(credentials->pool, sizeof(*one));

    one->generation = FILE_GENERATION;
    one->peer = issuer->peer;
    one->not_after = http_peer_not_after(issuer->peer);
    if (one->not_after) {
        insert(credentials, one);
        credentials->current = one;
        credentials->service->ends_soon = FILE_ENDS_SOON;
    }
}

/** Before the first call: one that was in use before is used at once. */
static void begin_with_store(ca_credentials_t *credentials)
{
    round_t *round = make_round(credentials);
    credential_t *one;

    look(round);
    take_up(round);
    one = choose(credentials, apr_time_now());
    if (one && one != credentials->current) {
        use(credentials, one, round->pool);
    }
    if (!one) {
        gh_log(log_of(credentials), GH_LOG_ERROR, APR_SUCCESS, GHNO(1071) "issuer %s: there is no "
               "credential for the CA gateway: that of the file has ended, and the store has none "
               "that is good%s%s; put a new one into the file, then restart gracefully",
               name_of(credentials), round->result.number[0] ? ": " : "", round->result.message);
    }
    apr_pool_destroy(round->pool);
}

void ca_credentials_start(ca_service_t *service, apr_pool_t *p)
{
    ca_credentials_t *credentials;

    if (!service->issuer->enrolled) {
        return;
    }
    credentials = apr_pcalloc(p, sizeof(*credentials));
    credentials->service = service;
    credentials->pool = p;
    credentials->all = apr_array_make(p, 4, sizeof(credential_t *));
    service->credentials = credentials;
    add_file(credentials);
    begin_with_store(credentials);
    framework_at(framework_of(credentials), apr_time_now() + ROUND_EVERY, begin, credentials);
}
