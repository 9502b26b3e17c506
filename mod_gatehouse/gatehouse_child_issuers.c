/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Issuers in a child: they begin to work when the store has confirmed their names and their keys
 * have made a trial signature, and again after a token was away. */

#include <string.h>
#include <httpd.h>
#include <http_log.h>
#include <apr_strings.h>

#include "gatehouse_child.h"
#include "log.h"
#include "status.h"
#include "store/certificates.h"
#include "x509/key.h"

APLOG_USE_MODULE(gatehouse);

/** Attempts that are made at once, how long a further one is begun, and the time between two. */
#define AGAIN_MAX   5
#define AGAIN_TIME  apr_time_from_sec(10)
#define AGAIN_PAUSE apr_time_from_msec(100)

/** Between two attempts later: doubled after each that fails. */
#define PAUSE_MIN apr_time_from_sec(1)
#define PAUSE_MAX apr_time_from_sec(30)

/** Who has worked for so long begins again with the shortest pause. */
#define STEADY apr_time_from_sec(60)

apr_array_header_t *gatehouse_child_issuers_make(const gatehouse_settings_t *settings,
                                                 apr_pool_t *p)
{
    apr_array_header_t *issuers = apr_array_make(p, 4, sizeof(gatehouse_child_issuer_t));
    int i;

    for (i = 0; i < settings->issuers->nelts; ++i) {
        gatehouse_child_issuer_t *entry = apr_array_push(issuers);
        const gatehouse_authority_t *authority;

        memset(entry, 0, sizeof(*entry));
        entry->issuer = APR_ARRAY_IDX(settings->issuers, i, gatehouse_issuer_section_t *)->issuer;
        authority = apr_hash_get(settings->authorities, gh_issuer_name(entry->issuer),
                                 APR_HASH_KEY_STRING);
        entry->slot = authority->slot;
    }
    return issuers;
}

static apr_status_t register_work(gh_transaction_t *transaction, void *baton)
{
    const gh_issuer_t *issuer = baton;

    apr_status_t rv = gh_issuer_register(transaction, gh_issuer_name(issuer),
                                         gh_issuer_key_sha256(issuer),
                                         gh_issuer_certificate_der(issuer));

    return rv == APR_SUCCESS
        ? gh_issuer_note_worker(transaction, gh_issuer_name(issuer),
                                gh_issuer_backend(issuer)->by_worker) : rv;
}

/* Without its child_init an issuer refuses to sign, so one whose name belongs to another key stays
 * unusable. */
static apr_status_t register_issuer(gatehouse_child_t *child, gatehouse_child_issuer_t *entry,
                                    gh_result_t *result)
{
    apr_status_t rv = gh_store_write(child->service.store, register_work, entry->issuer, result);

    if (rv == APR_SUCCESS) {
        entry->state = GATEHOUSE_ISSUER_WAITING;
    }
    else if (rv == GH_ECONFLICT) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, child->server, GHNO(0314) "issuer %s issues "
                     "nothing: in the store this name belongs to another CA key. Give a new CA "
                     "a name of its own in <Issuer>, or restore the certificate and the key",
                     gh_issuer_name(entry->issuer));
        entry->state = GATEHOUSE_ISSUER_STOPPED;
        rv = APR_SUCCESS;
    }
    return rv;
}

static void log_failure(gatehouse_child_t *child, gatehouse_child_issuer_t *entry, apr_status_t rv,
                        const gh_result_t *result, apr_pool_t *ptemp)
{
    static const gatehouse_place_t nowhere = { NULL, 0 };

    if (*entry->logged && !strcmp(entry->logged, result->number)) {
        return;
    }
    gatehouse_log_problem(child->server, nowhere,
                          apr_pstrcat(ptemp, "<Issuer ", gh_issuer_name(entry->issuer), "> does "
                                      "not work in this process and answers that it is "
                                      "unavailable", NULL),
                          gatehouse_explain(result, rv, ptemp));
    apr_cpystrn(entry->logged, *result->number ? result->number : "?", sizeof(entry->logged));
}

static int is_on_token(const gatehouse_child_issuer_t *entry)
{
    const char *key = gh_issuer_config(entry->issuer)->key;

    return key && gh_key_is_token(key);
}

/* @return GH_EREFUSED after a refused PIN, also one that another child has tried */
static apr_status_t try_issuer(gatehouse_child_t *child, gatehouse_child_issuer_t *entry,
                                gh_result_t *result)
{
    apr_status_t rv;

    if (!is_on_token(entry)) {
        return gh_issuer_child_init(entry->issuer, child->pool, result);
    }
    gatehouse_turn_begin();
    if (gatehouse_board_pin_refused(entry->slot)) {
        rv = gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "key.pin",
                            "see the failure that the other process has logged, then restart",
                            GHNO(0318) "the token refused the PIN when another process tried it");
    }
    else {
        rv = gh_issuer_child_init(entry->issuer, child->pool, result);
        if (rv == GH_EREFUSED) {
            gatehouse_board_refuse_pin(entry->slot);
        }
    }
    gatehouse_turn_end();
    return rv;
}

/* A token may be busy for a moment while another process of httpd opens or leaves it: that is no
 * reason to refuse requests for a second and to alarm somebody. */
static apr_status_t open_issuer(gatehouse_child_t *child, gatehouse_child_issuer_t *entry,
                                gh_result_t *result)
{
    apr_time_t begin = apr_time_now();
    apr_status_t rv = try_issuer(child, entry, result);
    int again;

    for (again = 0; again < AGAIN_MAX && rv == GH_EUNAVAILABLE
         && apr_time_now() - begin < AGAIN_TIME; ++again) {
        apr_sleep(AGAIN_PAUSE);
        rv = try_issuer(child, entry, result);
    }
    return rv;
}

static void start_issuer(gatehouse_child_t *child, gatehouse_child_issuer_t *entry)
{
    apr_pool_t *ptemp;
    gh_result_t result;
    apr_status_t rv;

    gh_result_clear(&result);
    rv = open_issuer(child, entry, &result);
    if (rv == APR_SUCCESS) {
        if (*entry->logged) {
            ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, child->server, GHNO(0319) "issuer %s works "
                         "again in this process", gh_issuer_name(entry->issuer));
        }
        else if (is_on_token(entry)) {
            ap_log_error(APLOG_MARK, APLOG_INFO, 0, child->server, GHNO(0419) "issuer %s: this "
                         "process has opened its key on the token",
                         gh_issuer_name(entry->issuer));
        }
        entry->logged[0] = '\0';
        entry->state = GATEHOUSE_ISSUER_WORKING;
        entry->since = apr_time_now();
        return;
    }
    apr_pool_create(&ptemp, child->pool);
    log_failure(child, entry, rv, &result, ptemp);
    apr_pool_destroy(ptemp);
    entry->state = rv == GH_EREFUSED ? GATEHOUSE_ISSUER_STOPPED : GATEHOUSE_ISSUER_WAITING;
    entry->pause = entry->pause ? entry->pause * 2 : PAUSE_MIN;
    if (entry->pause > PAUSE_MAX) {
        entry->pause = PAUSE_MAX;
    }
    entry->next = apr_time_now() + entry->pause;
}

/* The first attempt after a long time of work is made at once. */
static void note_failed_key(gatehouse_child_t *child, gatehouse_child_issuer_t *entry)
{
    apr_time_t now = apr_time_now();

    if (gh_issuer_usable(entry->issuer)) {
        return;
    }
    ap_log_error(APLOG_MARK, APLOG_ERR, 0, child->server,
                 GHNO(0320) "issuer %s: its key has failed to sign; this process opens it "
                 "again. If that is in vain, check the token, then restart httpd gracefully, "
                 "since some PKCS#11 modules begin anew only in a new process",
                 gh_issuer_name(entry->issuer));
    apr_cpystrn(entry->logged, "?", sizeof(entry->logged));
    entry->state = GATEHOUSE_ISSUER_WAITING;
    if (now - entry->since >= STEADY) {
        entry->pause = 0;
    }
    entry->next = now + entry->pause;
}

apr_status_t gatehouse_child_issuers(gatehouse_child_t *child, gh_result_t *result)
{
    apr_status_t rv;
    int i;

    for (i = 0; i < child->issuers->nelts; ++i) {
        gatehouse_child_issuer_t *entry
            = &APR_ARRAY_IDX(child->issuers, i, gatehouse_child_issuer_t);
        apr_time_t now = apr_time_now();

        if (entry->state == GATEHOUSE_ISSUER_NEW) {
            rv = register_issuer(child, entry, result);
            if (rv != APR_SUCCESS) {
                return rv;
            }
        }
        if (entry->state == GATEHOUSE_ISSUER_WORKING) {
            note_failed_key(child, entry);
        }
        /* a clock that was set back must not stop this */
        if (entry->state == GATEHOUSE_ISSUER_WAITING
            && (now >= entry->next || entry->next - now > PAUSE_MAX)) {
            start_issuer(child, entry);
        }
    }
    return APR_SUCCESS;
}
