/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "issuer/gateway_state.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <jansson.h>

#include "status.h"
#include "store/housekeeping.h"

static const char *setting_of(const char *issuer, apr_pool_t *p)
{
    return apr_pstrcat(p, "gateway.", issuer, NULL);
}

apr_status_t gh_gateway_state_put(gh_transaction_t *transaction, const gh_gateway_state_t *state,
                                  apr_pool_t *p)
{
    json_t *json = json_pack("{s:s, s:I, s:b, s:s*, s:s, s:s, s:s, s:I}", "node", state->node,
                             "time", (json_int_t)state->time, "up", state->up,
                             "status", state->status, "number", state->number,
                             "message", state->message, "action", state->action,
                             "credential_end", (json_int_t)state->credential_end);
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    apr_status_t rv = text
        ? gh_setting_put(transaction, setting_of(state->issuer, p), apr_pstrdup(p, text))
        : APR_EINVAL;

    free(text);
    json_decref(json);
    return rv;
}

apr_status_t gh_gateway_state_get(gh_transaction_t *transaction, const char *issuer,
                                  gh_gateway_state_t *state, apr_pool_t *p)
{
    const char *text, *node, *status = NULL, *number, *message, *action;
    json_int_t time, end;
    json_t *json;
    apr_status_t rv = gh_setting_get(transaction, setting_of(issuer, p), &text, p);

    memset(state, 0, sizeof(*state));
    if (rv != APR_SUCCESS) {
        return rv;
    }
    json = json_loads(text, 0, NULL);
    if (json_unpack(json, "{s:s, s:I, s:b, s?s, s:s, s:s, s:s, s:I}", "node", &node, "time", &time,
                    "up", &state->up, "status", &status, "number", &number, "message", &message,
                    "action", &action, "credential_end", &end)) {
        json_decref(json);
        return GH_ECORRUPT;
    }
    state->issuer = apr_pstrdup(p, issuer);
    state->node = apr_pstrdup(p, node);
    state->time = time;
    state->status = apr_pstrdup(p, status);
    state->number = apr_pstrdup(p, number);
    state->message = apr_pstrdup(p, message);
    state->action = apr_pstrdup(p, action);
    state->credential_end = end;
    json_decref(json);
    return APR_SUCCESS;
}
