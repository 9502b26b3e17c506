/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What waits for CAs elsewhere, for health and metrics: each child counts it from time to time. */

#include <httpd.h>
#include <apr_atomic.h>
#include <apr_strings.h>

#include "gatehouse_remote.h"
#include "store/jobs.h"

/** Between two counts. */
#define INTERVAL apr_time_from_sec(5)

/** Of an issuer; lives in pconf, and is of each process by itself. */
typedef struct {
    const char *issuer;
    volatile apr_uint32_t open;
    volatile apr_uint32_t overdue;
    volatile apr_uint32_t doubt;
} counted_t;

static apr_array_header_t *counted;     /* counted_t elements, or NULL */
static volatile apr_uint32_t known;     /* 1 once they were counted */
static apr_time_t next;                 /* of the follower's thread */

static apr_status_t forget(void *data)
{
    counted = NULL;
    return APR_SUCCESS;
}

typedef struct {
    const char *issuer;
    gh_job_counts_t counts;
} count_t;

static apr_status_t count_work(gh_transaction_t *transaction, void *baton)
{
    count_t *count = baton;

    return gh_job_counts(transaction, count->issuer, &count->counts);
}

apr_status_t gatehouse_jobs_count(gh_store_t *store, gh_result_t *result)
{
    apr_time_t now = apr_time_now();
    apr_status_t rv = APR_SUCCESS;
    int i;

    if (!counted || (now < next && next - now <= INTERVAL)) {
        return APR_SUCCESS;
    }
    next = now + INTERVAL;
    for (i = 0; rv == APR_SUCCESS && i < counted->nelts; ++i) {
        counted_t *one = &APR_ARRAY_IDX(counted, i, counted_t);
        count_t count = { .issuer = one->issuer };

        rv = gh_store_read(store, count_work, &count, result);
        if (rv == APR_SUCCESS) {
            apr_atomic_set32(&one->open, (apr_uint32_t)count.counts.open);
            apr_atomic_set32(&one->overdue, (apr_uint32_t)count.counts.overdue);
            apr_atomic_set32(&one->doubt, (apr_uint32_t)count.counts.doubt);
        }
    }
    if (rv == APR_SUCCESS) {
        apr_atomic_set32(&known, 1);
    }
    return rv;
}

/* A CA that does not answer is no reason to send requests to another node, which has the same one:
 * this tells of it, and is never bad. */
static void tell_health(gatehouse_health_t *health, apr_pool_t *p)
{
    int i;

    for (i = 0; counted && apr_atomic_read32(&known) && i < counted->nelts; ++i) {
        counted_t *one = &APR_ARRAY_IDX(counted, i, counted_t);

        gatehouse_add_health(health, apr_pstrcat(p, "jobs.", one->issuer, NULL), 1,
                             apr_psprintf(p, "%u wait, %u of them overdue; %u in doubt",
                                          apr_atomic_read32(&one->open),
                                          apr_atomic_read32(&one->overdue),
                                          apr_atomic_read32(&one->doubt)));
    }
}

static void tell_metric(gatehouse_metrics_t *metrics, const char *name, const char *help,
                        apr_size_t offset)
{
    int i;

    gatehouse_begin_metric(metrics, name, GATEHOUSE_GAUGE, help);
    for (i = 0; i < counted->nelts; ++i) {
        counted_t *one = &APR_ARRAY_IDX(counted, i, counted_t);

        gatehouse_add_metric(metrics, "issuer", one->issuer,
                             apr_atomic_read32((volatile apr_uint32_t *)((char *)one + offset)));
    }
}

static void tell_metrics(gatehouse_metrics_t *metrics, apr_pool_t *p)
{
    if (!counted || !apr_atomic_read32(&known)) {
        return;
    }
    tell_metric(metrics, "gatehouse_jobs_open", "Jobs that wait for a CA elsewhere, or their time",
                APR_OFFSETOF(counted_t, open));
    tell_metric(metrics, "gatehouse_jobs_overdue", "Jobs that have been due for over a minute",
                APR_OFFSETOF(counted_t, overdue));
    tell_metric(metrics, "gatehouse_jobs_in_doubt", "Jobs that an operator has to decide about",
                APR_OFFSETOF(counted_t, doubt));
}

void gatehouse_jobs_create(const gatehouse_settings_t *settings, apr_pool_t *pconf)
{
    int i;

    if (!settings->remote) {
        return;
    }
    counted = apr_array_make(pconf, 4, sizeof(counted_t));
    apr_pool_cleanup_register(pconf, NULL, forget, apr_pool_cleanup_null);
    for (i = 0; i < settings->issuers->nelts; ++i) {
        const gatehouse_issuer_section_t *section
            = APR_ARRAY_IDX(settings->issuers, i, gatehouse_issuer_section_t *);

        if (gatehouse_is_remote(section)) {
            counted_t *one = apr_array_push(counted);

            one->issuer = section->name;
        }
    }
    gatehouse_register_health(tell_health, pconf);
    gatehouse_register_metrics(tell_metrics, pconf);
}
