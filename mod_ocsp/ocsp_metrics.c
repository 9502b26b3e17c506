/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Counts of requests, and how each authority is, for gatehouse-metrics. */

#include <apr_strings.h>

#include "mod_ocsp/ocsp_child.h"
#include "mod_ocsp/ocsp_state.h"
#include "status/view.h"

/** What is known of an authority now. */
typedef struct {
    const ocsp_section_t *section;
    gh_view_state_t view;
    const ocsp_state_t *feeder;     /* NULL: the feeder has said nothing */
    apr_time_t now;
    apr_pool_t *p;
} look_t;

static double index_there(const look_t *look)
{
    return look->view.there;
}

static double age(const look_t *look)
{
    apr_interval_time_t passed = look->now - look->view.progress.synced_at;

    return look->view.there && passed > 0 ? (double)passed / APR_USEC_PER_SEC : 0;
}

static double issued(const look_t *look)
{
    return look->view.there ? (double)look->view.info.issued : 0;
}

static double revoked(const look_t *look)
{
    return look->view.there ? (double)look->view.info.revoked : 0;
}

static double generation(const look_t *look)
{
    return look->view.there ? (double)look->view.info.generation : 0;
}

static double crl_warning(const look_t *look)
{
    int i;

    for (i = 0; look->feeder && i < look->feeder->count; ++i) {
        if (look->feeder->sources[i].warn) {
            return 1;
        }
    }
    return look->view.there && look->view.info.next_update
        && look->now >= look->view.info.next_update;
}

static double source_failures(const look_t *look)
{
    double failures = 0;
    int i;

    for (i = 0; look->feeder && i < look->feeder->count; ++i) {
        failures += look->feeder->sources[i].failures;
    }
    return failures;
}

static double signer_days(const look_t *look)
{
    const ocsp_signer_set_t *set;
    const ocsp_signer_t *signer;
    double days = 0;

    if (ocsp_signers_acquire(look->section->set, &set, NULL) != APR_SUCCESS) {
        return 0;
    }
    signer = ocsp_signer_choose(set, NULL, 0, look->now);
    if (signer) {
        days = (double)(signer->not_after - look->now) / APR_USEC_PER_SEC / 86400;
    }
    ocsp_signers_release(set);
    return days;
}

static const struct {
    const char *name;
    const char *help;
    double (*value)(const look_t *look);
} metrics_of_authority[] = {
    { "gatehouse_ocsp_index", "Whether there is a status index of the authority.", index_there },
    { "gatehouse_ocsp_index_generation", "Generation of the status index in use.", generation },
    { "gatehouse_ocsp_index_issued", "Certificates in the status index.", issued },
    { "gatehouse_ocsp_index_revoked", "Revoked and held certificates in the status index.",
      revoked },
    { "gatehouse_ocsp_age_seconds", "Seconds since the source was last heard of.", age },
    { "gatehouse_ocsp_crl_expiration_warning", "1: a CRL ends soon, or has ended.", crl_warning },
    { "gatehouse_ocsp_source_failures", "Failed attempts in a row to fetch from the sources.",
      source_failures },
    { "gatehouse_ocsp_signer_days", "Days for which the signer in use is still valid; 0: none.",
      signer_days },
};

static look_t *look_at(const ocsp_child_t *child, apr_pool_t *p)
{
    int count = child->config->sections->nelts, i;
    look_t *looks = apr_pcalloc(p, (apr_size_t)count * sizeof(*looks));

    for (i = 0; i < count; ++i) {
        const ocsp_section_t *section = APR_ARRAY_IDX(child->config->sections, i,
                                                      ocsp_section_t *);
        ocsp_state_t *state = NULL;

        looks[i].section = section;
        looks[i].now = apr_time_now();
        looks[i].p = p;
        gh_view_state(ocsp_authority_view(section->authority), &looks[i].view);
        if (ocsp_state_read(&state, child->config->directory, section->name, section->digest, p)
            == APR_SUCCESS) {
            looks[i].feeder = state;
        }
    }
    return looks;
}

static void add_counts(gatehouse_metrics_t *metrics, const ocsp_child_t *child)
{
    const ocsp_gatehouse_t *gatehouse = ocsp_gatehouse();
    ocsp_sums_t sums;
    int i, k;

    ocsp_counts_sum(child->counts, &sums);
    gatehouse->begin_metric(metrics, "gatehouse_ocsp_requests_total", GATEHOUSE_COUNTER,
                            "Requests by what was answered.");
    for (i = 0; i < OCSP_COUNT_STATUSES; ++i) {
        double sum = 0;

        for (k = 0; k < OCSP_COUNT_ORIGINS; ++k) {
            sum += (double)sums.requests[i][k];
        }
        gatehouse->add_metric(metrics, "status", ocsp_counts_name(i), sum);
    }
    gatehouse->begin_metric(metrics, "gatehouse_ocsp_answers_total", GATEHOUSE_COUNTER,
                            "Answers by where they came from; \"none\" are errors.");
    for (k = 0; k < OCSP_COUNT_ORIGINS; ++k) {
        double sum = 0;

        for (i = 0; i < OCSP_COUNT_STATUSES; ++i) {
            sum += (double)sums.requests[i][k];
        }
        gatehouse->add_metric(metrics, "origin", ocsp_counts_origin(k), sum);
    }
    gatehouse->begin_metric(metrics, "gatehouse_ocsp_signatures_total", GATEHOUSE_COUNTER,
                            "Answers that were signed, or failed to be.");
    gatehouse->add_metric(metrics, NULL, NULL, (double)sums.signatures);
    gatehouse->begin_metric(metrics, "gatehouse_ocsp_busy_total", GATEHOUSE_COUNTER,
                            "Answers that were not signed since OCSPMaxSigning was reached.");
    gatehouse->add_metric(metrics, NULL, NULL, (double)sums.busy);
}

void ocsp_metrics(gatehouse_metrics_t *metrics, apr_pool_t *p)
{
    const ocsp_child_t *child = ocsp_child();
    const look_t *looks;
    apr_size_t i;
    int k;

    if (!child) {
        return;
    }
    add_counts(metrics, child);
    looks = look_at(child, p);
    for (i = 0; i < sizeof(metrics_of_authority) / sizeof(metrics_of_authority[0]); ++i) {
        ocsp_gatehouse()->begin_metric(metrics, metrics_of_authority[i].name, GATEHOUSE_GAUGE,
                                       metrics_of_authority[i].help);
        for (k = 0; k < child->config->sections->nelts; ++k) {
            ocsp_gatehouse()->add_metric(metrics, "authority", looks[k].section->name,
                                         metrics_of_authority[i].value(&looks[k]));
        }
    }
}
