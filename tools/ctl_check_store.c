/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The parts of check that ask the store: the store itself, the clock, CRLs. */

#include "ctl_verdict.h"

#include <string.h>
#include <unistd.h>

#include <apr_strings.h>

#include "status.h"
#include "store/crls.h"
#include "store/housekeeping.h"

#define RULE "check"

#define CLOCK_WARNING   apr_time_from_sec(5)
#define CLOCK_ERROR     apr_time_from_sec(300)

/* No clock of a machine that runs this shows a time outside these: 2025-01-01, 2100-01-01. */
#define TIME_LEAST      apr_time_from_sec(1735689600)
#define TIME_MOST       apr_time_from_sec(4102444800)

/* A CRL that is made on schedule may be this late before it is worth a word. */
#define CRL_LATE        apr_time_from_sec(3600)

typedef struct {
    const char *holder;
    const char *issuer;
    apr_time_t now;
    gh_crl_record_t *crl;
    const char *fsync;
    const char *full_page_writes;
    const char *commit;
    const char *standby_names;
    apr_int64_t standbys;
    apr_pool_t *p;
} baton_t;

static apr_status_t write_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;
    apr_status_t rv;

    rv = gh_lease_take(transaction, baton->holder, baton->holder, apr_time_from_sec(1));
    return rv == APR_SUCCESS ? gh_lease_release(transaction, baton->holder, baton->holder) : rv;
}

static apr_status_t now_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;

    return gh_store_now(transaction, &baton->now);
}

static apr_status_t crl_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;

    return gh_crl_newest(transaction, baton->issuer, 0, &baton->crl, baton->p);
}

static void take_setting(baton_t *baton, const char *name, const char *value)
{
    if (strcmp(name, "fsync") == 0) {
        baton->fsync = value;
    }
    else if (strcmp(name, "full_page_writes") == 0) {
        baton->full_page_writes = value;
    }
    else if (strcmp(name, "synchronous_commit") == 0) {
        baton->commit = value;
    }
    else if (strcmp(name, "synchronous_standby_names") == 0) {
        baton->standby_names = value;
    }
}

static apr_status_t durability_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;
    gh_query_t *query;
    apr_status_t rv;

    query = gh_query(transaction,
                     "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', "
                     "'full_page_writes', 'synchronous_commit', 'synchronous_standby_names')");
    while ((rv = gh_step(query)) == APR_SUCCESS) {
        take_setting(baton, gh_column_text(query, 0, baton->p),
                     gh_column_text(query, 1, baton->p));
    }
    if (rv != APR_EOF) {
        return rv;
    }
    query = gh_query(transaction, "SELECT count(*) FROM pg_stat_replication");
    rv = gh_step(query);
    if (rv == APR_SUCCESS) {
        baton->standbys = gh_column_int64(query, 0);
        gh_query_end(query);
    }
    return rv == APR_EOF ? APR_SUCCESS : rv;
}

static int is_off(const char *value)
{
    return value != NULL && strcmp(value, "off") == 0;
}

/* What PostgreSQL acknowledges must be on disk, and on a standby if one may be promoted. */
static void check_durability(ctl_check_t *check)
{
    baton_t baton;
    gh_result_t result;

    memset(&baton, 0, sizeof(baton));
    baton.p = check->p;
    gh_result_clear(&result);
    if (gh_store_read(check->ctl->store, durability_work, &baton, &result) != APR_SUCCESS) {
        ctl_verdict(check, "store.durability", CTL_VERDICT_ERROR, &result);
    }
    else if (is_off(baton.fsync) || is_off(baton.full_page_writes) || is_off(baton.commit)) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_REQUEST, RULE,
                       "Switch it on in postgresql.conf: certificates could be lost in a crash.",
                       GHNO(0407) "PostgreSQL runs with %s = off",
                       is_off(baton.fsync) ? "fsync"
                       : is_off(baton.full_page_writes) ? "full_page_writes"
                       : "synchronous_commit");
        ctl_verdict(check, "store.durability", CTL_VERDICT_WARNING, &result);
    }
    else if (baton.standbys > 0
             && (baton.standby_names == NULL || *baton.standby_names == '\0'
                 || (baton.commit != NULL && strcmp(baton.commit, "local") == 0))) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_REQUEST, RULE,
                       "Set synchronous_standby_names, and synchronous_commit to on: otherwise a "
                       "promoted standby may lack certificates.",
                       GHNO(0408) "PostgreSQL has %d standbys, but replication is not synchronous",
                       (int)baton.standbys);
        ctl_verdict(check, "store.durability", CTL_VERDICT_WARNING, &result);
    }
    else {
        ctl_verdict_ok(check, "store.durability", baton.standbys > 0
                       ? "commits wait for the disk and for a standby"
                       : "commits wait for the disk; there is no standby");
    }
}

static void check_writes(ctl_check_t *check)
{
    baton_t baton;
    gh_result_t result;

    memset(&baton, 0, sizeof(baton));
    gh_result_clear(&result);
    if (gh_store_stopped(check->ctl->store)) {
        gh_result_fail(&result, GH_ESTOPPED, GH_FAILURE_UNAVAILABLE, RULE,
                       "Find out why the disk failed, then stop and start httpd.",
                       GHNO(0409) "writes to the store were stopped after a failed flush");
        ctl_verdict(check, "store.writes", CTL_VERDICT_ERROR, &result);
        return;
    }
    baton.holder = apr_psprintf(check->p, "check/%s/%ld",
                                check->ctl->config->node != NULL ? check->ctl->config->node : "",
                                (long)getpid());
    if (gh_store_write(check->ctl->store, write_work, &baton, &result) != APR_SUCCESS) {
        ctl_verdict(check, "store.writes", CTL_VERDICT_ERROR, &result);
        return;
    }
    ctl_verdict_ok(check, "store.writes", "a trial write was durable");
}

static void verdict_clock(ctl_check_t *check, apr_interval_time_t off, gh_result_t *result)
{
    apr_interval_time_t apart = off < 0 ? -off : off;

    if (apart > CLOCK_WARNING) {
        gh_result_fail(result, APR_EGENERAL, GH_FAILURE_TIME, RULE,
                       "Let all machines follow the same time, by NTP.",
                       GHNO(0410) "the clocks of this machine and of the database are %d seconds "
                       "apart", (int)apr_time_sec(apart));
        ctl_verdict(check, "clock", apart > CLOCK_ERROR ? CTL_VERDICT_ERROR : CTL_VERDICT_WARNING,
                    result);
        return;
    }
    ctl_verdict_ok(check, "clock", "%s", gh_time_text(check->p, apr_time_now()));
}

/* @param newest thisUpdate of the newest CRL, 0 if there is none */
static void check_clock(ctl_check_t *check, apr_time_t newest)
{
    apr_time_t begin = apr_time_now();
    baton_t baton;
    gh_result_t result;

    memset(&baton, 0, sizeof(baton));
    gh_result_clear(&result);
    if (begin < TIME_LEAST || begin > TIME_MOST) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_TIME, RULE, "Set the clock, by NTP.",
                       GHNO(0411) "the clock of this machine is wrong: %s",
                       gh_time_text(check->p, begin));
        ctl_verdict(check, "clock", CTL_VERDICT_ERROR, &result);
        return;
    }
    if (newest > begin + CLOCK_ERROR) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_TIME, RULE,
                       "Set the clock, by NTP; if it is right, it was wrong when the CRL was made.",
                       GHNO(0412) "the newest CRL is from %s, which is in the future",
                       gh_time_text(check->p, newest));
        ctl_verdict(check, "clock", CTL_VERDICT_ERROR, &result);
        return;
    }
    if (gh_store_read(check->ctl->store, now_work, &baton, &result) != APR_SUCCESS) {
        ctl_verdict(check, "clock", CTL_VERDICT_ERROR, &result);
        return;
    }
    verdict_clock(check, baton.now - (begin + (apr_time_now() - begin) / 2), &result);
}

static void verdict_crl(ctl_check_t *check, const char *name, const ctl_issuer_t *issuer,
                        const gh_crl_record_t *crl)
{
    apr_time_t now = apr_time_now();
    gh_result_t result;

    gh_result_clear(&result);
    if (crl->next_update <= now) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_TIME, RULE,
                       "Start httpd; if it runs, its error log says why no CRL is made.",
                       GHNO(0413) "the CRL is out of date since %s",
                       gh_time_text(check->p, crl->next_update));
        ctl_verdict(check, name, CTL_VERDICT_ERROR, &result);
    }
    else if (now > crl->this_update + issuer->crl_publish + CRL_LATE) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_TIME, RULE,
                       "Start httpd; if it runs, its error log says why no CRL is made.",
                       GHNO(0414) "the CRL was to be renewed; it is from %s",
                       gh_time_text(check->p, crl->this_update));
        ctl_verdict(check, name, CTL_VERDICT_WARNING, &result);
    }
    else {
        ctl_verdict_ok(check, name, "number %" APR_INT64_T_FMT ", %" APR_INT64_T_FMT
                       " revoked, good until %s", crl->number, crl->entries,
                       gh_time_text(check->p, crl->next_update));
    }
}

/* @return thisUpdate of the newest */
static apr_time_t check_crls(ctl_check_t *check)
{
    const apr_array_header_t *issuers = check->ctl->config->issuers;
    apr_time_t newest = 0;
    gh_result_t result;
    apr_status_t rv;
    int i;

    for (i = 0; i < issuers->nelts; i++) {
        const ctl_issuer_t *issuer = APR_ARRAY_IDX(issuers, i, const ctl_issuer_t *);
        const char *name = apr_pstrcat(check->p, "crl.", issuer->name, NULL);
        baton_t baton;

        if (strcmp(issuer->backend, "local") != 0) {
            continue;
        }
        memset(&baton, 0, sizeof(baton));
        baton.issuer = issuer->name;
        baton.p = check->p;
        gh_result_clear(&result);
        rv = gh_store_read(check->ctl->store, crl_work, &baton, &result);
        if (rv == APR_NOTFOUND) {
            gh_result_fail(&result, rv, GH_FAILURE_NOT_FOUND, RULE,
                           "Start httpd: it makes the first CRL at once.",
                           GHNO(0415) "no CRL was published yet");
            ctl_verdict(check, name, CTL_VERDICT_WARNING, &result);
        }
        else if (rv != APR_SUCCESS) {
            ctl_verdict(check, name, CTL_VERDICT_ERROR, &result);
        }
        else {
            verdict_crl(check, name, issuer, baton.crl);
            newest = baton.crl->this_update > newest ? baton.crl->this_update : newest;
        }
    }
    return newest;
}

void ctl_check_store(ctl_check_t *check)
{
    baton_t baton;
    gh_result_t result;

    memset(&baton, 0, sizeof(baton));
    gh_result_clear(&result);
    if (ctl_open_store(check->ctl, &result) != APR_SUCCESS
        || gh_store_read(check->ctl->store, now_work, &baton, &result) != APR_SUCCESS) {
        check->ctl->store = NULL;
        ctl_verdict(check, "store", CTL_VERDICT_ERROR, &result);
        ctl_check_ra(check);
        return;
    }
    ctl_verdict_ok(check, "store", "%s can be reached and has the schema of this version",
                   gh_store_name(check->ctl->store, check->p));
    check_writes(check);
    if (strcmp(gh_store_kind(check->ctl->store), "pgsql") == 0) {
        check_durability(check);
    }
    check_clock(check, check_crls(check));
    ctl_check_jobs(check);
    ctl_check_escrow(check);
    ctl_check_ra(check);
}
