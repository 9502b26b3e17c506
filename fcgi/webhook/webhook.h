/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_webhook_webhook_h
#define fcgi_webhook_webhook_h

#include "fcgi/ca/ca_config.h"

/* Webhooks: whether a challenge is good is asked of others over HTTPS. */

/** Kind of the questions. */
#define WEBHOOK_KIND "webhook"

/**
 * Reads the webhooks of a configuration, and has their jobs worked on.
 * @param list what mod_gatehouse/gatehouse_webhook_check.c says; NULL: none
 * @return APR_EINVAL with result
 */
apr_status_t webhook_configure(ca_worker_t *worker, const json_t *list, apr_pool_t *p,
                               gh_result_t *result);

#endif /* fcgi_webhook_webhook_h */
