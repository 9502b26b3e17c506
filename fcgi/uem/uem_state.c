/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What the worker sees of a UEM, stored for health, metrics and gatehousectl. */

#include <string.h>

#include <apr_strings.h>

#include "escrow/flow.h"
#include "fcgi/uem/uem_config.h"
#include "issuer/gateway_state.h"

/** How often it is looked whether something has changed, and how often it is said anyway. */
#define EVERY       apr_time_from_sec(2)
#define SAID_AGAIN  apr_time_from_sec(60)

struct uem_state {
    uem_t *uem;
    int alive;                      /* the last call was answered, or there was none */
    gh_result_t last;               /* why not */
    gh_gateway_state_t said;
    apr_pool_t *pool;               /* of said */
    apr_status_t rv;
};

void uem_state_note(uem_t *uem, int alive, const gh_result_t *result)
{
    struct uem_state *state = uem->state;

    state->alive = alive;
    if (!alive) {
        state->last = *result;
    }
}

static apr_status_t put_work(gh_transaction_t *transaction, void *baton)
{
    struct uem_state *state = baton;

    return gh_gateway_state_put(transaction, &state->said, state->pool);
}

static void put(void *baton)
{
    struct uem_state *state = baton;

    state->rv = gh_store_write(framework_store(state->uem->worker->framework), put_work, state,
                               NULL);
}

static void look(void *baton);

static void done(void *baton)
{
    struct uem_state *state = baton;

    if (state->rv != APR_SUCCESS) {
        state->said.time = 0;           /* the next time, then */
    }
    framework_at(state->uem->worker->framework, apr_time_now() + EVERY, look, state);
}

static void look(void *baton)
{
    struct uem_state *state = baton;
    framework_t *framework = state->uem->worker->framework;
    int paused = framework_queue_paused(state->uem->queue);
    apr_time_t now = apr_time_now();

    if (state->said.up == state->alive && state->said.paused == paused && state->said.time <= now
        && now - state->said.time < SAID_AGAIN) {
        framework_at(framework, now + EVERY, look, state);
        return;
    }
    apr_pool_clear(state->pool);
    memset(&state->said, 0, sizeof(state->said));
    state->said.issuer = gh_escrow_queue(state->uem->name, state->pool);
    state->said.node = framework_node(framework);
    state->said.time = now;
    state->said.up = state->alive;
    state->said.paused = paused;
    state->said.number = apr_pstrdup(state->pool, state->alive ? "" : state->last.number);
    state->said.message = apr_pstrdup(state->pool, state->alive ? "" : state->last.message);
    state->said.action = apr_pstrdup(state->pool, state->alive ? "" : state->last.action);
    framework_blocking(framework, put, done, state);
}

void uem_state_start(uem_t *uem, apr_pool_t *p)
{
    struct uem_state *state = apr_pcalloc(p, sizeof(*state));

    state->uem = uem;
    state->alive = 1;
    apr_pool_create(&state->pool, p);
    uem->state = state;
    framework_at(uem->worker->framework, apr_time_now(), look, state);
}
