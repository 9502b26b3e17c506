/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_ocsp/ocsp_signers.h"

#include <string.h>

#include <apr_shm.h>
#include <apr_strings.h>

#include "log.h"
#include "mod_ocsp/ocsp_signers_private.h"
#include "pool.h"
#include "status.h"
#include "x509/ca.h"
#include "x509/key.h"

/** Between two attempts with a key that has failed: doubled after each. */
#define PAUSE_MIN apr_time_from_sec(1)

/** Who has signed for so long begins again with the shortest pause. */
#define STEADY apr_time_from_sec(60)

/** How many generations are told apart in the keys of caches, and by how many signers. */
#define NUMBERS     4096
#define SIGNERS_MAX 16

/* Sources */

apr_pool_t *ocsp_source_pool(void)
{
    apr_pool_t *p;

    return gh_pool_create(&p, "ocsp-signer") == APR_SUCCESS ? p : NULL;
}

int ocsp_source_is_token(const ocsp_source_t *source)
{
    return source->config->source == OCSP_SIGNER_FILES && gh_key_is_token(source->config->key);
}

void ocsp_source_drop(ocsp_source_t *source, int i)
{
    apr_array_header_t *opened = source->opened;
    apr_pool_t *pool = APR_ARRAY_IDX(opened, i, ocsp_opened_t).pool;

    for (; i + 1 < opened->nelts; ++i) {
        APR_ARRAY_IDX(opened, i, ocsp_opened_t) = APR_ARRAY_IDX(opened, i + 1, ocsp_opened_t);
    }
    apr_array_pop(opened);
    if (pool) {
        apr_pool_destroy(pool);
    }
}

int ocsp_source_is_time(apr_time_t at, apr_interval_time_t pause, apr_time_t now)
{
    return now >= at || at - now > pause;
}

void ocsp_source_postpone(ocsp_source_t *source, apr_time_t now)
{
    source->pause = source->pause ? source->pause * 2 : PAUSE_MIN;
    if (source->pause > OCSP_SOURCE_PAUSE_MAX) {
        source->pause = OCSP_SOURCE_PAUSE_MAX;
    }
    source->retry_at = now + source->pause;
}

static ocsp_source_t *source_at(const ocsp_signers_t *signers, int i)
{
    return &APR_ARRAY_IDX(signers->sources->sources, i, ocsp_source_t);
}

static int source_count(const ocsp_signers_t *signers)
{
    return signers->sources->sources->nelts;
}

static void close_all(ocsp_signers_t *signers)
{
    int i;

    for (i = 0; i < source_count(signers); ++i) {
        ocsp_source_t *source = source_at(signers, i);

        while (source->opened->nelts) {
            ocsp_source_drop(source, source->opened->nelts - 1);
        }
    }
}

void ocsp_signers_close(ocsp_signers_t *signers)
{
    close_all(signers);
    ocsp_signers_replace(signers, NULL);
}

static apr_status_t close_cleanup(void *data)
{
    close_all(data);
    return APR_SUCCESS;
}

/** One word per source: what a token has said to one process, all shall know. */
static volatile apr_uint32_t *make_shared(int count, apr_pool_t *p)
{
    apr_size_t size = (apr_size_t)(count ? count : 1) * sizeof(apr_uint32_t);
    apr_shm_t *memory;

    if (apr_shm_create(&memory, size, NULL, p) != APR_SUCCESS) {
        return NULL;
    }
    memset(apr_shm_baseaddr_get(memory), 0, size);
    return apr_shm_baseaddr_get(memory);
}

ocsp_signers_t *ocsp_signers_create(const char *authority, X509 *ca, gh_issuer_t *issuer,
                                    const apr_array_header_t *configs, apr_pool_t *p)
{
    ocsp_signers_t *signers = ocsp_signers_make(authority, ca, p);
    volatile apr_uint32_t *shared = make_shared(configs->nelts, p);
    int i;

    if (!signers || !shared) {
        return NULL;
    }
    signers->sources = apr_pcalloc(p, sizeof(*signers->sources));
    signers->sources->issuer = issuer;
    signers->sources->sources = apr_array_make(p, configs->nelts, sizeof(ocsp_source_t));
    for (i = 0; i < configs->nelts; ++i) {
        ocsp_source_t *source = apr_array_push(signers->sources->sources);

        memset(source, 0, sizeof(*source));
        source->config = &APR_ARRAY_IDX(configs, i, ocsp_signer_config_t);
        source->authority = authority;
        source->name = source->config->source == OCSP_SIGNER_AUTO ? source->config->kind
                                                                  : source->config->certificate;
        source->number = i;
        source->opened = apr_array_make(p, 2, sizeof(ocsp_opened_t));
        source->pin_refused = &shared[i];
    }
    apr_pool_cleanup_register(p, signers, close_cleanup, apr_pool_cleanup_null);
    return signers;
}

/* Sets */

/** Answers of a signer that was withdrawn are not taken from caches any more: those that came after
 *  it have another number. */
static int number_of(const ocsp_source_t *source)
{
    return source->number + SIGNERS_MAX * (int)(source->withdrawn % NUMBERS);
}

static apr_status_t make_set(ocsp_signers_t *signers, apr_time_t now, apr_pool_t *ptemp,
                             gh_result_t *result)
{
    apr_array_header_t *wanted = apr_array_make(ptemp, 4, sizeof(ocsp_signer_t));
    ocsp_signer_set_t *set = NULL;
    apr_status_t rv = APR_SUCCESS;
    int i, j;

    for (i = 0; i < source_count(signers); ++i) {
        const ocsp_source_t *source = source_at(signers, i);

        for (j = 0; j < source->opened->nelts; ++j) {
            const ocsp_opened_t *opened = &APR_ARRAY_IDX(source->opened, j, ocsp_opened_t);

            if (opened->not_after > now) {
                ocsp_signer_t *signer = apr_array_push(wanted);

                memset(signer, 0, sizeof(*signer));
                signer->certificate = opened->certificate;
                signer->key = opened->key;
                signer->number = number_of(source);
            }
        }
    }
    if (wanted->nelts) {
        rv = ocsp_signer_set_make(&set, signers->ca, wanted, result);
    }
    if (rv == APR_SUCCESS) {
        ocsp_signers_replace(signers, set);
        signers->sources->changed = 0;
    }
    return rv;
}

static apr_status_t check_count(const ocsp_signers_t *signers, gh_result_t *result)
{
    int i, j;

    if (source_count(signers) > SIGNERS_MAX) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "ocsp.signer",
                              "Take some of them out.",
                              GHNO(0642) "authority %s has more than %d signers",
                              signers->authority, SIGNERS_MAX);
    }
    for (i = 0; i < source_count(signers); ++i) {
        for (j = 0; j < i; ++j) {
            const ocsp_signer_config_t *one = source_at(signers, i)->config;
            const ocsp_signer_config_t *other = source_at(signers, j)->config;

            if (one->source == OCSP_SIGNER_AUTO && other->source == OCSP_SIGNER_AUTO
                && !strcmp(one->kind, other->kind)) {
                return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "ocsp.signer",
                                      "Name each kind once.",
                                      GHNO(0643) "authority %s: OCSPSigner auto has %s twice",
                                      signers->authority, one->kind);
            }
        }
    }
    return APR_SUCCESS;
}

apr_status_t ocsp_signers_load(ocsp_signers_t *signers, apr_time_t now,
                               apr_array_header_t *warnings, apr_pool_t *p, gh_result_t *result)
{
    apr_status_t rv = check_count(signers, result);
    int i;

    for (i = 0; rv == APR_SUCCESS && i < source_count(signers); ++i) {
        ocsp_source_t *source = source_at(signers, i);

        rv = source->config->source == OCSP_SIGNER_AUTO
             ? ocsp_auto_load(source, signers->sources->issuer, p, result)
             : ocsp_files_load(source, signers->ca, now, warnings, p, result);
    }
    return rv == APR_SUCCESS ? make_set(signers, now, p, result) : rv;
}

/* Following */

static const gh_log_t *log_of(const ocsp_round_t *round)
{
    return round->services ? round->services->log : NULL;
}

static ocsp_source_t *find_source(ocsp_signers_t *signers, const ocsp_signer_t *signer, int *at)
{
    int i, j;

    for (i = 0; i < source_count(signers); ++i) {
        ocsp_source_t *source = source_at(signers, i);

        for (j = 0; j < source->opened->nelts; ++j) {
            if (APR_ARRAY_IDX(source->opened, j, ocsp_opened_t).key == signer->key) {
                *at = j;
                return source;
            }
        }
    }
    return NULL;
}

static void note_suspect(ocsp_source_t *source, const ocsp_round_t *round)
{
    gh_log(log_of(round), GH_LOG_ERROR, APR_SUCCESS,
           GHNO(0644) "authority %s: the key of OCSP signer %s has failed to sign; this process "
           "tries it again. If that is in vain, check the token, then restart httpd gracefully, "
           "since some PKCS#11 modules begin anew only in a new process", source->authority,
           source->name);
    apr_cpystrn(source->logged, "?", sizeof(source->logged));
}

/** The set lets go of a token's key before it is opened again, since some modules look at the token
 *  anew only when all have let go. The first attempt after a long time of work is made at once. */
static void close_token(ocsp_source_t *source, int at, const ocsp_round_t *round)
{
    note_suspect(source, round);
    ocsp_source_drop(source, at);
    if (round->now - source->since >= STEADY) {
        source->pause = 0;
    }
    source->retry_at = round->now + source->pause;
    round->signers->sources->changed = 1;
}

static void try_key(ocsp_source_t *source, const ocsp_signer_t *signer, const ocsp_round_t *round)
{
    if (!*source->logged) {
        note_suspect(source, round);
    }
    else if (!ocsp_source_is_time(source->retry_at, OCSP_SOURCE_PAUSE_MAX, round->now)) {
        return;
    }
    gh_result_clear(&source->failure);
    source->status = gh_key_try(signer->key, &source->failure);
    if (source->status == APR_SUCCESS) {
        source->pause = 0;
        __atomic_store_n(signer->suspect, 0, __ATOMIC_RELAXED);
    }
    else {
        ocsp_source_postpone(source, round->now);
    }
}

/** Only this thread replaces sets, so that the one of now stays while it is looked at. */
static void see_to_suspects(const ocsp_round_t *round)
{
    const ocsp_signer_set_t *set = round->signers->current;
    int i, at;

    for (i = 0; set && i < set->signers->nelts; ++i) {
        const ocsp_signer_t *signer = &APR_ARRAY_IDX(set->signers, i, ocsp_signer_t);
        ocsp_source_t *source;

        if (!__atomic_load_n(signer->suspect, __ATOMIC_RELAXED)) {
            continue;
        }
        source = find_source(round->signers, signer, &at);
        if (source && ocsp_source_is_token(source)) {
            close_token(source, at, round);
        }
        else if (source) {
            try_key(source, signer, round);
        }
    }
}

static const char *before_action(const gh_result_t *result)
{
    return *result->action ? ". " : "";
}

/** Once when it begins and once when it ends. */
static void report(ocsp_source_t *source, const ocsp_round_t *round)
{
    const gh_result_t *failure = &source->failure;

    if (!log_of(round)) {
        return;
    }
    if (source->status != APR_SUCCESS && strcmp(source->logged, failure->number)) {
        gh_log(log_of(round), GH_LOG_ERROR, source->status,
               GHNO(0645) "authority %s: OCSP signer %s %s: %s: %s%s%s", source->authority,
               source->name, source->opened->nelts ? "goes on with the certificate it has, until "
               "that expires, since it cannot be renewed or compared with the store"
               : "does not work in this process", failure->number, failure->message,
               before_action(failure), failure->action);
        apr_cpystrn(source->logged, *failure->number ? failure->number : "?",
                    sizeof(source->logged));
    }
    else if (source->status == APR_SUCCESS && *source->logged && source->opened->nelts) {
        gh_log(log_of(round), GH_LOG_NOTICE, APR_SUCCESS,
               GHNO(0646) "authority %s: OCSP signer %s works again", source->authority,
               source->name);
        source->logged[0] = '\0';
    }
}

static void report_all(const ocsp_round_t *round, int valid, int pending)
{
    struct ocsp_signers_sources *sources = round->signers->sources;

    if (!log_of(round)) {
        return;
    }
    if (!valid && !pending && !sources->lost) {
        gh_log(log_of(round), GH_LOG_ERROR, APR_SUCCESS,
               GHNO(0647) "authority %s has no valid OCSP signer: requests are answered tryLater",
               round->signers->authority);
    }
    else if (valid && sources->lost) {
        gh_log(log_of(round), GH_LOG_NOTICE, APR_SUCCESS,
               GHNO(0648) "authority %s has a valid OCSP signer again", round->signers->authority);
    }
    sources->lost = !valid && (!pending || sources->lost);
}

static apr_status_t outcome(const ocsp_round_t *round, gh_result_t *result)
{
    ocsp_signers_t *signers = round->signers;
    const ocsp_signer_set_t *set = signers->current;
    int valid = set && ocsp_signer_choose(set, NULL, 0, round->now), pending = 0, i;
    const ocsp_source_t *failed = NULL;

    for (i = source_count(signers) - 1; i >= 0; --i) {
        const ocsp_source_t *source = source_at(signers, i);

        failed = source->status != APR_SUCCESS ? source : failed;
        pending |= source->pending;
    }
    report_all(round, valid, pending);
    if (failed) {
        if (result) {
            *result = failed->failure;
        }
        return failed->status;
    }
    return valid ? APR_SUCCESS
        : gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "ocsp.signer.none",
                         "See whether the certificates of its signers have expired, and the clock.",
                         GHNO(0649) "authority %s has no valid OCSP signer", signers->authority);
}

apr_status_t ocsp_signers_follow(ocsp_signers_t *signers, const ocsp_signer_services_t *services,
                                 apr_time_t now, apr_pool_t *ptemp, gh_result_t *result)
{
    ocsp_round_t round = { signers, services, now, ptemp };
    struct ocsp_signers_sources *sources = signers->sources;
    int store = services && services->store;
    apr_status_t rv = APR_SUCCESS;
    int i;

    see_to_suspects(&round);
    if (sources->changed) {
        rv = make_set(signers, now, ptemp, result);
    }
    for (i = 0; rv == APR_SUCCESS && i < source_count(signers); ++i) {
        ocsp_source_t *source = source_at(signers, i);

        if (source->config->source == OCSP_SIGNER_FILES) {
            sources->changed |= ocsp_files_follow(source, &round);
        }
        else if (store) {
            sources->changed |= ocsp_auto_follow(source, &round);
        }
        report(source, &round);
    }
    if (rv == APR_SUCCESS && sources->changed) {
        rv = make_set(signers, now, ptemp, result);
    }
    return rv == APR_SUCCESS ? outcome(&round, result) : rv;
}
