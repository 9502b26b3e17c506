/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* SetHandler gatehouse-metrics: figures for Prometheus, in its text format 0.0.4. */

#include <string.h>
#include <httpd.h>
#include <http_protocol.h>
#include <http_request.h>
#include <apr_strings.h>

#include "gatehouse_private.h"

struct gatehouse_metrics {
    request_rec *r;
    const char *name;               /* of the metric that was begun last */
};

static apr_array_header_t *others;      /* gatehouse_metrics_fn *; lives in pconf */

static apr_status_t forget_others(void *data)
{
    others = NULL;
    return APR_SUCCESS;
}

void gatehouse_register_metrics(gatehouse_metrics_fn *fn, apr_pool_t *pconf)
{
    if (!others) {
        others = apr_array_make(pconf, 4, sizeof(gatehouse_metrics_fn *));
        apr_pool_cleanup_register(pconf, NULL, forget_others, apr_pool_cleanup_null);
    }
    APR_ARRAY_PUSH(others, gatehouse_metrics_fn *) = fn;
}

void gatehouse_begin_metric(gatehouse_metrics_t *metrics, const char *name,
                            gatehouse_metric_kind_t kind, const char *help)
{
    metrics->name = name;
    ap_rprintf(metrics->r, "# HELP %s %s\n# TYPE %s %s\n", name, help, name,
               kind == GATEHOUSE_COUNTER ? "counter" : "gauge");
}

/** Backslash, quote and line end are escaped. */
static const char *escape(apr_pool_t *p, const char *value)
{
    char *escaped = apr_palloc(p, 2 * strlen(value) + 1), *to = escaped;

    for (; *value; ++value) {
        if (*value == '\\' || *value == '"' || *value == '\n') {
            *to++ = '\\';
        }
        *to++ = *value == '\n' ? 'n' : *value;
    }
    *to = '\0';
    return escaped;
}

void gatehouse_add_metric(gatehouse_metrics_t *metrics, const char *label, const char *value,
                          double number)
{
    if (label) {
        ap_rprintf(metrics->r, "%s{%s=\"%s\"} %.15g\n", metrics->name, label,
                   escape(metrics->r->pool, value), number);
    }
    else {
        ap_rprintf(metrics->r, "%s %.15g\n", metrics->name, number);
    }
}

int gatehouse_metrics_handler(request_rec *r)
{
    gatehouse_metrics_t metrics = { r, NULL };
    const gatehouse_service_t *service;
    int i;

    if (!r->handler || strcmp(r->handler, "gatehouse-metrics")) {
        return DECLINED;
    }
    ap_allow_standard_methods(r, MERGE_ALLOW, M_GET, -1);
    if (r->method_number != M_GET) {
        return HTTP_METHOD_NOT_ALLOWED;
    }
    ap_set_content_type(r, "text/plain; version=0.0.4");
    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    service = gatehouse_service();
    gatehouse_begin_metric(&metrics, "gatehouse_store_up", GATEHOUSE_GAUGE,
                           "1 if the store answers this process");
    gatehouse_add_metric(&metrics, NULL, NULL, service && gatehouse_follower_keeps_up());
    for (i = 0; others && i < others->nelts; ++i) {
        APR_ARRAY_IDX(others, i, gatehouse_metrics_fn *)(&metrics, r->pool);
    }
    return OK;
}
