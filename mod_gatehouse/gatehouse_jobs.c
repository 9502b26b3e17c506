/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What waits for CAs elsewhere, and what workers have last seen of their gateways, for health and
 * metrics: one child looks from time to time, and tells the others of this node. */

#include <stdlib.h>
#include <string.h>
#include <httpd.h>
#include <apr_atomic.h>
#include <apr_shm.h>
#include <apr_strings.h>

#include "gatehouse_remote.h"
#include "issuer/gateway_state.h"
#include "store/jobs.h"

/** Between two counts. */
#define INTERVAL apr_time_from_sec(5)

/** Of a queue; in memory that children share. */
typedef struct {
    const char *queue;
    volatile apr_uint32_t open;
    volatile apr_uint32_t overdue;
    volatile apr_uint32_t doubt;
    volatile apr_uint32_t seen;     /* 1 once a worker has looked at the gateway */
    volatile apr_uint32_t up;
    volatile apr_uint32_t paused;
    volatile apr_uint32_t lacking;  /* of what the issuer needs */
    volatile apr_uint32_t number;   /* of what is the matter, 803 for "GH0803" */
    volatile apr_uint32_t end;      /* of the credential, seconds since 1970; 0: none */
} counted_t;

/** What children share. */
typedef struct {
    apr_time_t next;                    /* when somebody counts; who puts it off does */
    volatile apr_uint32_t known;        /* 1 once they were counted */
    counted_t queues[];
} shared_t;

static shared_t *counted;               /* NULL: there is nothing to count */
static int queues;

static apr_status_t forget(void *data)
{
    counted = NULL;
    return APR_SUCCESS;
}

typedef struct {
    const char *queue;
    gh_job_counts_t counts;
    int seen;
    gh_gateway_state_t state;
    apr_pool_t *p;
} count_t;

static apr_status_t count_work(gh_transaction_t *transaction, void *baton)
{
    count_t *count = baton;
    apr_status_t rv = gh_job_counts(transaction, count->queue, &count->counts);

    if (rv == APR_SUCCESS) {
        rv = gh_gateway_state_get(transaction, count->queue, &count->state, count->p);
        count->seen = rv == APR_SUCCESS;
    }
    return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
}

static void keep(counted_t *one, const count_t *count)
{
    const gh_gateway_state_t *state = &count->state;

    apr_atomic_set32(&one->open, (apr_uint32_t)count->counts.open);
    apr_atomic_set32(&one->overdue, (apr_uint32_t)count->counts.overdue);
    apr_atomic_set32(&one->doubt, (apr_uint32_t)count->counts.doubt);
    if (!count->seen) {
        return;
    }
    apr_atomic_set32(&one->up, state->up);
    apr_atomic_set32(&one->paused, state->paused);
    apr_atomic_set32(&one->lacking, (apr_uint32_t)state->findings->nelts);
    apr_atomic_set32(&one->number, strncmp(state->number, "GH", 2) == 0
                     ? (apr_uint32_t)strtoul(state->number + 2, NULL, 10) : 0);
    apr_atomic_set32(&one->end, (apr_uint32_t)apr_time_sec(state->credential_end));
    apr_atomic_set32(&one->seen, 1);
}

/** @return 1 if it is this process's turn to count; one that dies in the middle of it leaves that
 *  to the next turn */
static int take_turn(apr_time_t now)
{
    apr_time_t next = __atomic_load_n(&counted->next, __ATOMIC_ACQUIRE);

    return (now >= next || next - now > INTERVAL)
        && __atomic_compare_exchange_n(&counted->next, &next, now + INTERVAL, 0, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
}

apr_status_t gatehouse_jobs_count(gh_store_t *store, apr_pool_t *ptemp, gh_result_t *result)
{
    apr_status_t rv = APR_SUCCESS;
    int i;

    if (!counted || !take_turn(apr_time_now())) {
        return APR_SUCCESS;
    }
    for (i = 0; rv == APR_SUCCESS && i < queues; ++i) {
        counted_t *one = &counted->queues[i];
        count_t count = { .queue = one->queue, .p = ptemp };

        rv = gh_store_read(store, count_work, &count, result);
        if (rv == APR_SUCCESS) {
            keep(one, &count);
        }
    }
    if (rv == APR_SUCCESS) {
        apr_atomic_set32(&counted->known, 1);
    }
    return rv;
}

static void tell_gateway(gatehouse_health_t *health, counted_t *one, apr_pool_t *p)
{
    const char *name = apr_pstrcat(p, "gateway.", one->queue, NULL);
    apr_uint32_t lacking = apr_atomic_read32(&one->lacking);

    if (!apr_atomic_read32(&one->seen)) {
        return;
    }
    if (!apr_atomic_read32(&one->up)) {
        gatehouse_add_degraded(health, name,
                               apr_psprintf(p, "it is not usable: GH%04u; see gatehousectl issuer "
                                            "list", apr_atomic_read32(&one->number)));
    }
    else if (lacking) {
        gatehouse_add_degraded(health, name,
                               apr_psprintf(p, "it answers, and lacks %u things; see gatehousectl "
                                            "issuer test %s", lacking, one->queue));
    }
    else {
        gatehouse_add_health(health, name, 1, "it answers, and its CA is up");
    }
}

/* A CA that does not answer is no reason to send requests to another node, which has the same one:
 * this tells of it, and is never worse than degraded. */
static void tell_health(gatehouse_health_t *health, apr_pool_t *p)
{
    int i;

    for (i = 0; counted && apr_atomic_read32(&counted->known) && i < queues; ++i) {
        counted_t *one = &counted->queues[i];

        gatehouse_add_health(health, apr_pstrcat(p, "jobs.", one->queue, NULL), 1,
                             apr_psprintf(p, "%u wait, %u of them overdue; %u in doubt",
                                          apr_atomic_read32(&one->open),
                                          apr_atomic_read32(&one->overdue),
                                          apr_atomic_read32(&one->doubt)));
        tell_gateway(health, one, p);
    }
}

static void tell_metric(gatehouse_metrics_t *metrics, const char *name, const char *help,
                        apr_size_t offset)
{
    int i;

    gatehouse_begin_metric(metrics, name, GATEHOUSE_GAUGE, help);
    for (i = 0; i < queues; ++i) {
        counted_t *one = &counted->queues[i];

        gatehouse_add_metric(metrics, "issuer", one->queue,
                             apr_atomic_read32((volatile apr_uint32_t *)((char *)one + offset)));
    }
}

/* Those of gateways that somebody has looked at. */
static void tell_gateways(gatehouse_metrics_t *metrics, const char *name, const char *help,
                          double (*value)(counted_t *one))
{
    int i;

    gatehouse_begin_metric(metrics, name, GATEHOUSE_GAUGE, help);
    for (i = 0; i < queues; ++i) {
        counted_t *one = &counted->queues[i];

        if (apr_atomic_read32(&one->seen)) {
            gatehouse_add_metric(metrics, "issuer", one->queue, value(one));
        }
    }
}

static double up_of(counted_t *one)
{
    return apr_atomic_read32(&one->up);
}

static double paused_of(counted_t *one)
{
    return apr_atomic_read32(&one->paused);
}

static double lacking_of(counted_t *one)
{
    return apr_atomic_read32(&one->lacking);
}

static double left_of(counted_t *one)
{
    return (double)apr_atomic_read32(&one->end) - (double)apr_time_sec(apr_time_now());
}

static void tell_metrics(gatehouse_metrics_t *metrics, apr_pool_t *p)
{
    if (!counted || !apr_atomic_read32(&counted->known)) {
        return;
    }
    tell_metric(metrics, "gatehouse_jobs_open", "Jobs that wait for a CA elsewhere, or their time",
                APR_OFFSETOF(counted_t, open));
    tell_metric(metrics, "gatehouse_jobs_overdue", "Jobs that have been due for over a minute",
                APR_OFFSETOF(counted_t, overdue));
    tell_metric(metrics, "gatehouse_jobs_in_doubt", "Jobs that an operator has to decide about",
                APR_OFFSETOF(counted_t, doubt));
    tell_gateways(metrics, "gatehouse_gateway_up",
                  "1 if the CA gateway answers and its CA is up", up_of);
    tell_gateways(metrics, "gatehouse_gateway_paused",
                  "1 if a worker leaves the CA gateway alone since it has not answered", paused_of);
    tell_gateways(metrics, "gatehouse_gateway_lacking",
                  "What an issuer needs and does not find at its CA", lacking_of);
    tell_gateways(metrics, "gatehouse_gateway_credential_seconds",
                  "Until our credential for the CA gateway ends", left_of);
}

void gatehouse_jobs_create(const gatehouse_settings_t *settings, apr_pool_t *pconf)
{
    apr_shm_t *memory;
    apr_size_t size;
    int i;

    if (!settings->remote) {
        return;
    }
    size = sizeof(*counted) + sizeof(counted_t)
        * (apr_size_t)(settings->issuers->nelts + gatehouse_worker_section_count());
    /* without such memory each child counts for itself */
    counted = apr_shm_create(&memory, size, NULL, pconf) == APR_SUCCESS
        ? apr_shm_baseaddr_get(memory) : apr_palloc(pconf, size);
    memset(counted, 0, size);
    queues = 0;
    apr_pool_cleanup_register(pconf, NULL, forget, apr_pool_cleanup_null);
    for (i = 0; i < settings->issuers->nelts; ++i) {
        const gatehouse_issuer_section_t *section
            = APR_ARRAY_IDX(settings->issuers, i, gatehouse_issuer_section_t *);

        if (gatehouse_is_remote(section)) {
            counted->queues[queues++].queue = section->name;
        }
    }
    for (i = 0; i < gatehouse_worker_section_count(); ++i) {
        counted->queues[queues++].queue = gatehouse_worker_section(i)->queue;
    }
    gatehouse_register_health(tell_health, pconf);
    gatehouse_register_metrics(tell_metrics, pconf);
}
