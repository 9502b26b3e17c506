/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "issuer/gateway_sync.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <jansson.h>

#include "status.h"
#include "store/housekeeping.h"

static const char *setting_of(const char *issuer, apr_pool_t *p)
{
    return apr_pstrcat(p, "sync.", issuer, NULL);
}

apr_status_t gh_gateway_sync_put(gh_transaction_t *transaction, const gh_gateway_sync_t *sync,
                                 apr_pool_t *p)
{
    json_t *json = json_pack("{s:s, s:I, s:b, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:s, s:s}",
                             "job", sync->job, "begun", (json_int_t)sync->begun,
                             "over", sync->over, "pages", sync->pages, "events", sync->events,
                             "added", sync->added, "changed", sync->changed,
                             "unchanged", sync->unchanged, "skipped", sync->skipped,
                             "number", sync->failure.number, "message", sync->failure.message,
                             "action", sync->failure.action);
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    apr_status_t rv = text
        ? gh_setting_put(transaction, setting_of(sync->issuer, p), apr_pstrdup(p, text))
        : APR_EINVAL;

    free(text);
    json_decref(json);
    return rv;
}

apr_status_t gh_gateway_sync_get(gh_transaction_t *transaction, const char *issuer,
                                 gh_gateway_sync_t *sync, apr_pool_t *p)
{
    const char *text, *job, *number, *message, *action;
    json_int_t begun;
    json_t *json;
    apr_status_t rv = gh_setting_get(transaction, setting_of(issuer, p), &text, p);

    memset(sync, 0, sizeof(*sync));
    gh_result_clear(&sync->failure);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    json = json_loads(text, 0, NULL);
    if (json_unpack(json, "{s:s, s:I, s:b, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:s, s:s}",
                    "job", &job, "begun", &begun, "over", &sync->over, "pages", &sync->pages,
                    "events", &sync->events, "added", &sync->added, "changed", &sync->changed,
                    "unchanged", &sync->unchanged, "skipped", &sync->skipped, "number", &number,
                    "message", &message, "action", &action)) {
        json_decref(json);
        return GH_ECORRUPT;
    }
    sync->issuer = apr_pstrdup(p, issuer);
    sync->job = apr_pstrdup(p, job);
    sync->begun = begun;
    apr_cpystrn(sync->failure.number, number, sizeof(sync->failure.number));
    apr_cpystrn(sync->failure.message, message, sizeof(sync->failure.message));
    apr_cpystrn(sync->failure.action, action, sizeof(sync->failure.action));
    json_decref(json);
    return APR_SUCCESS;
}
