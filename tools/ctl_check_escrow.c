/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The part of check about the escrow: its vault, pins, profiles, and the UEMs they go to. */

#include "ctl_verdict.h"

#include <string.h>

#include <apr_strings.h>

#include "ctl_commands.h"
#include "escrow/flow.h"
#include "escrow/vault.h"
#include "issuer/gateway_state.h"
#include "status.h"
#include "store/escrow_profiles.h"
#include "store/jobs.h"
#include "store/pins.h"

#define RULE "check"

/** A worker says every minute what it sees of a UEM. */
#define LOOKED_LONG_AGO apr_time_from_sec(180)

/** A pin that ends so soon is worth a word. */
#define ENDS_SOON apr_time_from_sec(14 * 86400)

typedef struct {
    const char *queue;
    gh_escrow_counts_t profiles;
    apr_array_header_t *pins;
    gh_job_counts_t jobs;
    int seen;
    gh_gateway_state_t state;
    apr_pool_t *p;
} baton_t;

static apr_status_t all_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;
    apr_status_t rv = gh_escrow_count(transaction, &baton->profiles);

    return rv == APR_SUCCESS ? gh_pin_list(transaction, &baton->pins, baton->p) : rv;
}

static apr_status_t uem_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;
    apr_status_t rv = gh_job_counts(transaction, baton->queue, &baton->jobs);

    if (rv == APR_SUCCESS) {
        rv = gh_gateway_state_get(transaction, baton->queue, &baton->state, baton->p);
        baton->seen = rv == APR_SUCCESS;
    }
    return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
}

/* The vault */

void ctl_check_vault_keys(ctl_check_t *check)
{
    gh_result_t result;

    if (check->ctl->config->vault_keys->nelts == 0) {
        return;
    }
    gh_result_clear(&result);
    if (ctl_vault_load(check->ctl, &check->vault, &result) != APR_SUCCESS) {
        check->vault = NULL;
        ctl_verdict(check, "escrow.vault", CTL_VERDICT_ERROR, &result);
    }
}

/** What is told of keys that are in use, in the order of the configuration. */
static const char *say_keys(const apr_array_header_t *keys, apr_pool_t *p)
{
    const char *text = "";
    int i;

    for (i = 0; i < keys->nelts; i++) {
        const gh_vault_status_t *key = &APR_ARRAY_IDX(keys, i, gh_vault_status_t);

        text = apr_psprintf(p, "%s%s%" APR_INT64_T_FMT " secrets under the key %s%s", text,
                            *text != '\0' ? ", " : "", key->rows, key->id,
                            key->configured == 2 ? ", which seals" : "");
    }
    return text;
}

static void check_vault(ctl_check_t *check)
{
    apr_array_header_t *keys;
    gh_result_t result;

    gh_result_clear(&result);
    if (check->vault == NULL) {
        return;
    }
    gh_process_protect();
    if (gh_vault_check(check->vault, check->ctl->store, check->p, &result) != APR_SUCCESS
        || gh_vault_status(check->vault, check->ctl->store, &keys, check->p, &result)
            != APR_SUCCESS) {
        ctl_verdict(check, "escrow.vault", CTL_VERDICT_ERROR, &result);
        return;
    }
    ctl_verdict_ok(check, "escrow.vault", "%s", say_keys(keys, check->p));
}

/* Pins and profiles */

static void check_pins(ctl_check_t *check, const apr_array_header_t *pins)
{
    apr_time_t now = apr_time_now();
    gh_result_t result;
    int ended = 0, soon = 0, i;

    gh_result_clear(&result);
    for (i = 0; i < pins->nelts; i++) {
        const gh_pin_record_t *pin = APR_ARRAY_IDX(pins, i, const gh_pin_record_t *);

        if (pin->expires != 0 && pin->expires <= now) {
            ended++;
        }
        else if (pin->expires != 0 && pin->expires - now < ENDS_SOON) {
            soon++;
            gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_TIME, RULE,
                           "Pin the client's next certificate, or give pin add another --expires.",
                           GHNO(1334) "the pin %.71s (%s%s%s) ends at %s", pin->thumbprint,
                           pin->role, pin->label != NULL ? ", " : "",
                           pin->label != NULL ? pin->label : "",
                           gh_time_text(check->p, pin->expires));
            ctl_verdict(check, "escrow.pins", CTL_VERDICT_WARNING, &result);
        }
    }
    if (soon == 0) {
        ctl_verdict_ok(check, "escrow.pins", "%d pins in the store, %d of them have ended",
                       pins->nelts, ended);
    }
}

static void check_profiles(ctl_check_t *check, const gh_escrow_counts_t *counts)
{
    gh_result_t result;

    if (counts->states[GH_ESCROW_FAILED] > 0) {
        gh_result_clear(&result);
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_REQUEST, RULE,
                       "See gatehousectl escrow list --state failed for why; then give escrow "
                       "retry for each.",
                       GHNO(1335) "%" APR_INT64_T_FMT " profiles have failed, and nobody tries "
                       "them again", counts->states[GH_ESCROW_FAILED]);
        ctl_verdict(check, "escrow.profiles", CTL_VERDICT_WARNING, &result);
        return;
    }
    ctl_verdict_ok(check, "escrow.profiles", "%" APR_INT64_T_FMT " wait for credentials, %"
                   APR_INT64_T_FMT " on their way, %" APR_INT64_T_FMT " delivered; %"
                   APR_INT64_T_FMT " credentials", counts->states[GH_ESCROW_WAITING],
                   counts->states[GH_ESCROW_COMPLETING] + counts->states[GH_ESCROW_QUEUED],
                   counts->states[GH_ESCROW_DELIVERED], counts->credentials);
}

/* UEMs */

static void nobody_looks(ctl_check_t *check, const char *name, const baton_t *baton)
{
    gh_result_t result;

    gh_result_clear(&result);
    gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_UNAVAILABLE, RULE,
                   "See in the error log what has become of gatehouse-uem-worker; httpd starts it "
                   "and keeps it running.",
                   GHNO(1336) "no worker has told of the UEM%s%s; %" APR_INT64_T_FMT " deliveries "
                   "wait", baton->seen ? " since " : " yet",
                   baton->seen ? gh_time_text(check->p, baton->state.time) : "",
                   baton->jobs.open);
    ctl_verdict(check, name, CTL_VERDICT_WARNING, &result);
}

static void is_away(ctl_check_t *check, const char *name, const baton_t *baton)
{
    gh_result_t result;

    gh_result_clear(&result);
    gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_UNAVAILABLE, RULE, baton->state.action,
                   GHNO(1337) "the UEM does not take deliveries: %s: %s; seen by %s%s; %"
                   APR_INT64_T_FMT " wait, the oldest since %s", baton->state.number,
                   baton->state.message, baton->state.node,
                   baton->state.paused ? ", which leaves it alone for a while" : "",
                   baton->jobs.open, gh_time_text(check->p, baton->jobs.oldest));
    ctl_verdict(check, name, CTL_VERDICT_WARNING, &result);
}

static void check_uem(ctl_check_t *check, const char *uem)
{
    const char *name = apr_pstrcat(check->p, "uem.", uem, NULL);
    baton_t baton = { .queue = gh_escrow_queue(uem, check->p), .p = check->p };
    apr_time_t now = apr_time_now();
    gh_result_t result;

    gh_result_clear(&result);
    if (gh_store_read(check->ctl->store, uem_work, &baton, &result) != APR_SUCCESS) {
        ctl_verdict(check, name, CTL_VERDICT_ERROR, &result);
    }
    else if (!baton.seen || now - baton.state.time >= LOOKED_LONG_AGO) {
        nobody_looks(check, name, &baton);
    }
    else if (!baton.state.up) {
        is_away(check, name, &baton);
    }
    else if (baton.jobs.overdue > 0) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_UNAVAILABLE, RULE,
                       "Look in the error log whether the worker keeps up; UEMLimits says how much "
                       "it may do at a time.",
                       GHNO(1338) "%" APR_INT64_T_FMT " deliveries have been due for more than a "
                       "minute; the oldest is of %s", baton.jobs.overdue,
                       gh_time_text(check->p, baton.jobs.oldest));
        ctl_verdict(check, name, CTL_VERDICT_WARNING, &result);
    }
    else {
        ctl_verdict_ok(check, name, "%" APR_INT64_T_FMT " deliveries wait for it or their time",
                       baton.jobs.open);
    }
}

void ctl_check_escrow(ctl_check_t *check)
{
    const ctl_config_t *config = check->ctl->config;
    baton_t baton = { .p = check->p };
    gh_result_t result;
    int i;

    if (config->vault_keys->nelts == 0) {
        return;
    }
    check_vault(check);
    gh_result_clear(&result);
    if (gh_store_read(check->ctl->store, all_work, &baton, &result) != APR_SUCCESS) {
        ctl_verdict(check, "escrow.profiles", CTL_VERDICT_ERROR, &result);
        return;
    }
    check_pins(check, baton.pins);
    check_profiles(check, &baton.profiles);
    for (i = 0; i < config->uems->nelts; i++) {
        check_uem(check, APR_ARRAY_IDX(config->uems, i, const char *));
    }
}
