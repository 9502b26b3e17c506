/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_uem_uem_call_h
#define fcgi_uem_uem_call_h

#include "fcgi/uem/uem_config.h"

/* A call to a UEM, with what it wants to be shown, and what its answer means. */

typedef enum {
    UEM_TAKEN = 1,                  /* 2xx */
    UEM_REFUSED,                    /* 4xx that another try will not change */
    UEM_LATER                       /* anything else */
} uem_verdict_t;

typedef struct {
    uem_verdict_t verdict;
    int status;                     /* of HTTP; 0: no answer */
    int alive;                      /* for the breaker */
    int stopped;                    /* the worker ends */
    apr_time_t retry_after;         /* 0: not said */
    gh_result_t result;             /* but for UEM_TAKEN */
} uem_outcome_t;

typedef void uem_done_fn(void *baton, const uem_outcome_t *outcome);

typedef struct uem_call uem_call_t;

/**
 * Writes what is to be said.
 * @param values values->delivery is sent as Idempotency-Key
 * @return APR_EINVAL with result: a template lacks a value
 */
apr_status_t uem_call_prepare(uem_call_t **call, uem_t *uem, const uem_endpoint_t *endpoint,
                              const uem_values_t *values, apr_pool_t *p, gh_result_t *result);

/** Makes the call; done is called in the loop, perhaps before this returns. */
void uem_call_make(uem_call_t *call, uem_done_fn *done, void *baton);

#endif /* fcgi_uem_uem_call_h */
