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

const char *gh_gateway_test_queue(const char *issuer, apr_pool_t *p)
{
    return apr_pstrcat(p, issuer, "/test", NULL);
}

static json_t *write_findings(const apr_array_header_t *findings)
{
    json_t *list = json_array();
    int i;

    for (i = 0; findings && i < findings->nelts; ++i) {
        const gh_gateway_finding_t *one = APR_ARRAY_IDX(findings, i, const gh_gateway_finding_t *);

        json_array_append_new(list, json_pack("[s, s, s]", one->number, one->message,
                                              one->action));
    }
    return list;
}

static apr_array_header_t *read_findings(const json_t *list, apr_pool_t *p)
{
    apr_array_header_t *findings = apr_array_make(p, 2, sizeof(gh_gateway_finding_t *));
    const char *number, *message, *action;
    json_t *element;
    size_t i;

    json_array_foreach(list, i, element) {
        if (!json_unpack(element, "[s, s, s]", &number, &message, &action)) {
            gh_gateway_finding_t *one = apr_palloc(p, sizeof(*one));

            one->number = apr_pstrdup(p, number);
            one->message = apr_pstrdup(p, message);
            one->action = apr_pstrdup(p, action);
            APR_ARRAY_PUSH(findings, gh_gateway_finding_t *) = one;
        }
    }
    return findings;
}

apr_status_t gh_gateway_state_put(gh_transaction_t *transaction, const gh_gateway_state_t *state,
                                  apr_pool_t *p)
{
    json_t *json = json_pack("{s:s, s:I, s:b, s:b, s:s*, s:s, s:s, s:s, s:I, s:o}",
                             "node", state->node,
                             "time", (json_int_t)state->time, "up", state->up,
                             "paused", state->paused,
                             "status", state->status, "number", state->number,
                             "message", state->message, "action", state->action,
                             "credential_end", (json_int_t)state->credential_end,
                             "findings", write_findings(state->findings));
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
    if (json_unpack(json, "{s:s, s:I, s:b, s?b, s?s, s:s, s:s, s:s, s:I}",
                    "node", &node, "time", &time, "up", &state->up, "paused", &state->paused,
                    "status", &status, "number", &number,
                    "message", &message, "action", &action, "credential_end", &end)) {
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
    state->findings = read_findings(json_object_get(json, "findings"), p);
    json_decref(json);
    return APR_SUCCESS;
}
