/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* One child counts from time to time, and tells the others of its node. */

#include "mod_escrow/escrow_health.h"

#include <stdlib.h>
#include <string.h>

#include <apr_atomic.h>
#include <apr_shm.h>
#include <apr_strings.h>

#include "escrow/flow.h"
#include "issuer/gateway_state.h"
#include "mod_escrow/escrow_config.h"
#include "mod_escrow/escrow_uem.h"
#include "mod_escrow/escrow_vault.h"
#include "store/escrow_profiles.h"
#include "store/jobs.h"

/** Between two counts; what takes long is done less often. */
#define INTERVAL    apr_time_from_sec(5)
#define SHARE       100

/** Of a UEM; in memory that children share. */
typedef struct {
    const char *name;
    volatile apr_uint32_t open;
    volatile apr_uint32_t overdue;
    volatile apr_uint32_t oldest;   /* seconds since 1970; 0: none */
    volatile apr_uint32_t seen;     /* 1 once a worker has told of it */
    volatile apr_uint32_t up;
    volatile apr_uint32_t paused;
    volatile apr_uint32_t number;   /* of what is the matter, 817 for "GH0817" */
} uem_count_t;

typedef struct {
    apr_time_t next;                /* when somebody counts; who puts it off does */
    volatile apr_uint32_t known;    /* 1 once they were counted */
    volatile apr_uint32_t states[GH_ESCROW_STATES + 1];
    volatile apr_uint32_t credentials;
    volatile apr_uint32_t pairs;
    uem_count_t uems[];
} shared_t;

static shared_t *counted;           /* NULL: there is nothing to count */
static int uem_count;

static struct {
    APR_OPTIONAL_FN_TYPE(gatehouse_register_health) *register_health;
    APR_OPTIONAL_FN_TYPE(gatehouse_register_metrics) *register_metrics;
    APR_OPTIONAL_FN_TYPE(gatehouse_add_health) *add_health;
    APR_OPTIONAL_FN_TYPE(gatehouse_add_degraded) *add_degraded;
    APR_OPTIONAL_FN_TYPE(gatehouse_begin_metric) *begin_metric;
    APR_OPTIONAL_FN_TYPE(gatehouse_add_metric) *add_metric;
} gatehouse;

static apr_status_t forget(void *data)
{
    counted = NULL;
    return APR_SUCCESS;
}

/* Counting */

typedef struct {
    const char *queue;
    gh_job_counts_t jobs;
    int seen;
    gh_gateway_state_t state;
    apr_pool_t *p;
} uem_work_t;

static apr_status_t uem_work(gh_transaction_t *transaction, void *baton)
{
    uem_work_t *work = baton;
    apr_status_t rv = gh_job_counts(transaction, work->queue, &work->jobs);

    if (rv == APR_SUCCESS) {
        rv = gh_gateway_state_get(transaction, work->queue, &work->state, work->p);
        work->seen = rv == APR_SUCCESS;
    }
    return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
}

static apr_status_t count_uem(uem_count_t *one, gh_store_t *store, apr_pool_t *p,
                              gh_result_t *result)
{
    uem_work_t work = { .queue = gh_escrow_queue(one->name, p), .p = p };
    apr_status_t rv = gh_store_read(store, uem_work, &work, result);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    apr_atomic_set32(&one->open, (apr_uint32_t)work.jobs.open);
    apr_atomic_set32(&one->overdue, (apr_uint32_t)work.jobs.overdue);
    apr_atomic_set32(&one->oldest, (apr_uint32_t)apr_time_sec(work.jobs.oldest));
    if (work.seen) {
        apr_atomic_set32(&one->up, work.state.up);
        apr_atomic_set32(&one->paused, work.state.paused);
        apr_atomic_set32(&one->number, strncmp(work.state.number, "GH", 2) == 0
                         ? (apr_uint32_t)strtoul(work.state.number + 2, NULL, 10) : 0);
        apr_atomic_set32(&one->seen, 1);
    }
    return rv;
}

static apr_status_t all_work(gh_transaction_t *transaction, void *baton)
{
    return gh_escrow_count(transaction, baton);
}

static apr_status_t count_all(gh_store_t *store, gh_result_t *result)
{
    gh_escrow_counts_t counts;
    apr_status_t rv = gh_store_read(store, all_work, &counts, result);
    int i;

    for (i = GH_ESCROW_WAITING; rv == APR_SUCCESS && i <= GH_ESCROW_STATES; ++i) {
        apr_atomic_set32(&counted->states[i], (apr_uint32_t)counts.states[i]);
    }
    if (rv == APR_SUCCESS) {
        apr_atomic_set32(&counted->credentials, (apr_uint32_t)counts.credentials);
        apr_atomic_set32(&counted->pairs, (apr_uint32_t)counts.pairs);
    }
    return rv;
}

/** @return 1 if it is this process's turn to count */
static int take_turn(apr_time_t now)
{
    apr_time_t next = __atomic_load_n(&counted->next, __ATOMIC_ACQUIRE);

    return (now >= next || next - now > SHARE * INTERVAL)
        && __atomic_compare_exchange_n(&counted->next, &next, now + INTERVAL, 0, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
}

static apr_status_t count(const gatehouse_service_t *service, apr_pool_t *ptemp,
                          gh_result_t *result)
{
    apr_time_t begin = apr_time_now(), took;
    apr_status_t rv = APR_SUCCESS;
    int i;

    if (!counted || !take_turn(begin)) {
        return APR_SUCCESS;
    }
    for (i = 0; rv == APR_SUCCESS && i < uem_count; ++i) {
        rv = count_uem(&counted->uems[i], service->store, ptemp, result);
    }
    if (rv == APR_SUCCESS) {
        rv = count_all(service->store, result);
    }
    took = apr_time_now() - begin;
    if (rv == APR_SUCCESS) {
        apr_atomic_set32(&counted->known, 1);
    }
    if (took > INTERVAL / SHARE) {
        took = took < INTERVAL ? took : INTERVAL;
        __atomic_store_n(&counted->next, begin + took * SHARE, __ATOMIC_RELEASE);
    }
    return rv;
}

/* Telling */

static void tell_uem(gatehouse_health_t *health, uem_count_t *one, apr_pool_t *p)
{
    const char *name = apr_pstrcat(p, "uem.", one->name, NULL);
    const char *waiting = apr_psprintf(p, "%u profiles and notices wait, %u of them overdue",
                                       apr_atomic_read32(&one->open),
                                       apr_atomic_read32(&one->overdue));

    if (apr_atomic_read32(&one->seen) && !apr_atomic_read32(&one->up)) {
        gatehouse.add_degraded(health, name,
                               apr_psprintf(p, "it does not take what is delivered: GH%04u; %s%s; "
                                            "see gatehousectl check",
                                            apr_atomic_read32(&one->number), waiting,
                                            apr_atomic_read32(&one->paused)
                                            ? "; it is left alone for a while" : ""));
    }
    else {
        gatehouse.add_health(health, name, 1, waiting);
    }
}

/* A process without its vault answers 503 to uploads; another node may have it. A UEM that is away
 * is away for all of them. */
static void tell_health(gatehouse_health_t *health, apr_pool_t *p)
{
    int i;

    if (escrow_global_now() && escrow_global_now()->vault_keys->nelts) {
        gatehouse.add_health(health, "vault", escrow_vault() != NULL,
                             escrow_vault() ? "it is open"
                             : "this process cannot open it yet; see GH1172 in the error log");
    }
    for (i = 0; counted && apr_atomic_read32(&counted->known) && i < uem_count; ++i) {
        tell_uem(health, &counted->uems[i], p);
    }
}

static void tell_number(gatehouse_metrics_t *metrics, const char *name, const char *help,
                        apr_uint32_t number)
{
    gatehouse.begin_metric(metrics, name, GATEHOUSE_GAUGE, help);
    gatehouse.add_metric(metrics, NULL, NULL, number);
}

static double open_of(uem_count_t *one)
{
    return apr_atomic_read32(&one->open);
}

static double overdue_of(uem_count_t *one)
{
    return apr_atomic_read32(&one->overdue);
}

static double age_of(uem_count_t *one)
{
    apr_uint32_t oldest = apr_atomic_read32(&one->oldest);
    double age = oldest ? (double)apr_time_sec(apr_time_now()) - oldest : 0;

    return age > 0 ? age : 0;
}

static double up_of(uem_count_t *one)
{
    return apr_atomic_read32(&one->seen) ? apr_atomic_read32(&one->up) : 1;
}

static double paused_of(uem_count_t *one)
{
    return apr_atomic_read32(&one->paused);
}

static void tell_uems(gatehouse_metrics_t *metrics, const char *name, const char *help,
                      double (*value)(uem_count_t *one))
{
    int i;

    gatehouse.begin_metric(metrics, name, GATEHOUSE_GAUGE, help);
    for (i = 0; i < uem_count; ++i) {
        gatehouse.add_metric(metrics, "uem", counted->uems[i].name, value(&counted->uems[i]));
    }
}

static void tell_metrics(gatehouse_metrics_t *metrics, apr_pool_t *p)
{
    int i;

    if (!counted || !apr_atomic_read32(&counted->known)) {
        return;
    }
    gatehouse.begin_metric(metrics, "gatehouse_escrow_profiles", GATEHOUSE_GAUGE,
                           "Profiles for devices, by state");
    for (i = GH_ESCROW_WAITING; i <= GH_ESCROW_STATES; ++i) {
        gatehouse.add_metric(metrics, "state", gh_escrow_state_name(i),
                             apr_atomic_read32(&counted->states[i]));
    }
    tell_number(metrics, "gatehouse_escrow_credentials", "Credentials in escrow",
                apr_atomic_read32(&counted->credentials));
    tell_number(metrics, "gatehouse_escrow_uploads",
                "Devices and users for whom somebody has uploaded credentials",
                apr_atomic_read32(&counted->pairs));
    if (uem_count) {
        tell_uems(metrics, "gatehouse_uem_jobs_open",
                  "Profiles and notices that wait to be delivered", open_of);
        tell_uems(metrics, "gatehouse_uem_jobs_overdue",
                  "Those that have been due for over a minute", overdue_of);
        tell_uems(metrics, "gatehouse_uem_oldest_seconds", "Age of the oldest of them", age_of);
        tell_uems(metrics, "gatehouse_uem_up", "1 if the UEM answers, as far as it was asked",
                  up_of);
        tell_uems(metrics, "gatehouse_uem_paused",
                  "1 if the worker leaves the UEM alone since it has not answered", paused_of);
    }
}

static int find_gatehouse(void)
{
    gatehouse.register_health = APR_RETRIEVE_OPTIONAL_FN(gatehouse_register_health);
    gatehouse.register_metrics = APR_RETRIEVE_OPTIONAL_FN(gatehouse_register_metrics);
    gatehouse.add_health = APR_RETRIEVE_OPTIONAL_FN(gatehouse_add_health);
    gatehouse.add_degraded = APR_RETRIEVE_OPTIONAL_FN(gatehouse_add_degraded);
    gatehouse.begin_metric = APR_RETRIEVE_OPTIONAL_FN(gatehouse_begin_metric);
    gatehouse.add_metric = APR_RETRIEVE_OPTIONAL_FN(gatehouse_add_metric);
    return gatehouse.register_health && gatehouse.register_metrics && gatehouse.add_health
        && gatehouse.add_degraded && gatehouse.begin_metric && gatehouse.add_metric
        && escrow_gatehouse()->register_round;
}

void escrow_health_register(apr_pool_t *pconf)
{
    const apr_array_header_t *uems = escrow_uems();
    apr_shm_t *memory;
    apr_size_t size;
    int i;

    if (!find_gatehouse() || !escrow_global_now() || !escrow_global_now()->vault_keys->nelts) {
        return;
    }
    uem_count = uems ? uems->nelts : 0;
    size = sizeof(*counted) + sizeof(uem_count_t) * (apr_size_t)uem_count;
    /* without such memory each child counts for itself */
    counted = apr_shm_create(&memory, size, NULL, pconf) == APR_SUCCESS
        ? apr_shm_baseaddr_get(memory) : apr_palloc(pconf, size);
    memset(counted, 0, size);
    apr_pool_cleanup_register(pconf, NULL, forget, apr_pool_cleanup_null);
    for (i = 0; i < uem_count; ++i) {
        counted->uems[i].name = APR_ARRAY_IDX(uems, i, const escrow_uem_t *)->name;
    }
    escrow_gatehouse()->register_round("counting what is in escrow", count, pconf);
    gatehouse.register_health(tell_health, pconf);
    gatehouse.register_metrics(tell_metrics, pconf);
}
