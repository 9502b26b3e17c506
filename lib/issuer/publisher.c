/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>
#include <unistd.h>

#include <apr_strings.h>
#include <apr_thread_mutex.h>

#include "issuer/crl_made.h"
#include "issuer/publisher.h"
#include "status.h"
#include "store/certificates.h"
#include "store/crls.h"
#include "store/housekeeping.h"

#define LEASE_INTERVAL      apr_time_from_sec(15)
#define OFFLINE_INTERVAL    apr_time_from_sec(5)
#define CRLS_KEPT           5

/* A published CRL with the pool it lives in; freed by whoever lets go last. */
typedef struct {
    gh_crl_t crl;
    apr_pool_t *pool;
    int references;                 /* under the publisher's mutex */
    gh_publisher_t *publisher;
} held_crl_t;

typedef struct {
    gh_issuer_t *issuer;
    const char *name;
    const char *lease;
    const char *setting;            /* when the last CRL with a change was published */
    held_crl_t *current;
    apr_time_t offline_next;        /* when to look at an offline CA's file again */
} published_t;

struct gh_publisher {
    gh_store_t *store;
    const char *holder;             /* this process, in leases */
    const gh_log_t *log;
    apr_thread_mutex_t *mutex;
    apr_array_header_t *issuers;    /* published_t */
};

/* Called with the mutex held. */
static void let_go(held_crl_t *held)
{
    if (held && --held->references == 0) {
        apr_pool_destroy(held->pool);
    }
}

static apr_status_t publisher_cleanup(void *data)
{
    gh_publisher_t *publisher = data;
    int i;

    apr_thread_mutex_lock(publisher->mutex);
    for (i = 0; i < publisher->issuers->nelts; ++i) {
        published_t *published = &APR_ARRAY_IDX(publisher->issuers, i, published_t);

        let_go(published->current);
        published->current = NULL;
    }
    apr_thread_mutex_unlock(publisher->mutex);
    return APR_SUCCESS;
}

gh_publisher_t *gh_publisher_create(gh_store_t *store, apr_hash_t *issuers, const char *node,
                                    const gh_log_t *log, apr_pool_t *p)
{
    gh_publisher_t *publisher = apr_pcalloc(p, sizeof(*publisher));
    apr_hash_index_t *index;

    publisher->store = store;
    publisher->holder = apr_psprintf(p, "%s:%ld", node, (long)getpid());
    publisher->log = log;
    publisher->issuers = apr_array_make(p, 4, sizeof(published_t));
    apr_thread_mutex_create(&publisher->mutex, APR_THREAD_MUTEX_DEFAULT, p);
    for (index = apr_hash_first(p, issuers); index; index = apr_hash_next(index)) {
        published_t *published = apr_array_push(publisher->issuers);

        memset(published, 0, sizeof(*published));
        published->issuer = apr_hash_this_val(index);
        published->name = gh_issuer_name(published->issuer);
        published->lease = apr_pstrcat(p, "crl:", published->name, NULL);
        published->setting = apr_pstrcat(p, "crl.changed.", published->name, NULL);
    }
    apr_pool_cleanup_register(p, publisher, publisher_cleanup, apr_pool_cleanup_null);
    return publisher;
}

/* Puts a CRL in the place of the one that was served so far. */
static void take_up(gh_publisher_t *publisher, published_t *published,
                    const gh_crl_record_t *record)
{
    apr_pool_t *pool;
    held_crl_t *held;

    apr_pool_create(&pool, NULL);
    held = apr_pcalloc(pool, sizeof(*held));
    held->pool = pool;
    held->references = 1;
    held->publisher = publisher;
    held->crl.issuer = published->name;
    held->crl.number = record->number;
    held->crl.this_update = record->this_update;
    held->crl.next_update = record->next_update;
    held->crl.der.data = apr_pmemdup(pool, record->der.data, record->der.length);
    held->crl.der.length = record->der.length;
    held->crl.pem = gh_crl_pem(held->crl.der, pool);
    held->crl.etag = gh_crl_etag(held->crl.der, pool);

    apr_thread_mutex_lock(publisher->mutex);
    let_go(published->current);
    published->current = held;
    apr_thread_mutex_unlock(publisher->mutex);
}

static apr_status_t release_crl(void *data)
{
    held_crl_t *held = data;
    gh_publisher_t *publisher = held->publisher;

    apr_thread_mutex_lock(publisher->mutex);
    let_go(held);
    apr_thread_mutex_unlock(publisher->mutex);
    return APR_SUCCESS;
}

apr_status_t gh_publisher_crl(gh_publisher_t *publisher, const char *issuer, const gh_crl_t **crl,
                              apr_pool_t *p)
{
    held_crl_t *held = NULL;
    int i;

    *crl = NULL;
    apr_thread_mutex_lock(publisher->mutex);
    for (i = 0; i < publisher->issuers->nelts; ++i) {
        published_t *published = &APR_ARRAY_IDX(publisher->issuers, i, published_t);

        if (!strcmp(published->name, issuer)) {
            held = published->current;
            break;
        }
    }
    if (held) {
        ++held->references;
    }
    apr_thread_mutex_unlock(publisher->mutex);
    if (!held) {
        return APR_NOTFOUND;
    }
    apr_pool_cleanup_register(p, held, release_crl, apr_pool_cleanup_null);
    *crl = &held->crl;
    return APR_SUCCESS;
}

/* What the store says of one issuer's CRL */

typedef struct {
    const char *issuer;
    const char *setting;
    int with_der;
    gh_crl_record_t *newest;        /* NULL: none was published yet */
    apr_int64_t change;             /* of the last change of any certificate's status */
    apr_time_t changed;             /* when a CRL was last published because of a change */
    apr_pool_t *pool;
} look_t;

static apr_status_t look_work(gh_transaction_t *transaction, void *baton)
{
    look_t *look = baton;
    const char *text = NULL;
    apr_status_t rv;

    look->newest = NULL;
    rv = gh_crl_newest(transaction, look->issuer, look->with_der, &look->newest, look->pool);
    if (rv == APR_SUCCESS || rv == APR_NOTFOUND) {
        rv = gh_certificate_last_change(transaction, look->issuer, &look->change);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_setting_get(transaction, look->setting, &text, look->pool);
        look->changed = rv == APR_SUCCESS ? apr_strtoi64(text, NULL, 10) : 0;
        rv = rv == APR_NOTFOUND ? APR_SUCCESS : rv;
    }
    return rv;
}

/* Due: none yet; on schedule; or a change that no CRL shows, at once unless there was one just now.
 * A clock that was set back must not stop publication, so the future counts as long ago. */
static int is_due(const published_t *published, const look_t *look, apr_time_t now)
{
    const gh_issuer_config_t *config = gh_issuer_config(published->issuer);

    if (!look->newest || now >= look->newest->this_update + config->crl_publish
        || now < look->newest->this_update - config->crl_publish) {
        return 1;
    }
    return look->change > look->newest->change
        && (now >= look->changed + config->crl_delay || now < look->changed);
}

typedef struct {
    const char *lease;
    const char *holder;
    const char *setting;
    const char *changed;            /* NULL: published on schedule */
    const gh_crl_record_t *record;
} publish_t;

static apr_status_t lease_work(gh_transaction_t *transaction, void *baton)
{
    publish_t *publish = baton;

    return gh_lease_take(transaction, publish->lease, publish->holder, LEASE_INTERVAL);
}

static apr_status_t publish_work(gh_transaction_t *transaction, void *baton)
{
    publish_t *publish = baton;
    apr_status_t rv;

    rv = gh_crl_insert(transaction, publish->record);
    if (rv == APR_SUCCESS && publish->changed) {
        rv = gh_setting_put(transaction, publish->setting, publish->changed);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_crl_purge(transaction, publish->record->issuer, CRLS_KEPT);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_lease_release(transaction, publish->lease, publish->holder);
    }
    return rv;
}

static apr_status_t release_work(gh_transaction_t *transaction, void *baton)
{
    publish_t *publish = baton;

    return gh_lease_release(transaction, publish->lease, publish->holder);
}

static apr_status_t publish(gh_publisher_t *publisher, published_t *published, const look_t *look,
                            apr_time_t now, apr_pool_t *p, gh_result_t *result)
{
    publish_t publish = {
        .lease = published->lease, .holder = publisher->holder, .setting = published->setting
    };
    gh_crl_record_t record;
    apr_status_t rv;

    rv = gh_store_write(publisher->store, lease_work, &publish, result);
    if (rv != APR_SUCCESS) {
        return rv == GH_EREFUSED ? APR_SUCCESS : rv;    /* somebody else is at it */
    }
    rv = gh_crl_make(&record, published->issuer, publisher->store,
                     look->newest ? look->newest->number + 1 : 1, now, p, result);
    if (rv != APR_SUCCESS) {
        goto cleanup;
    }
    if (record.change > (look->newest ? look->newest->change : 0)) {
        publish.changed = apr_psprintf(p, "%" APR_TIME_T_FMT, now);
    }
    publish.record = &record;
    rv = gh_store_write(publisher->store, publish_work, &publish, result);
    if (rv != APR_SUCCESS) {
        goto cleanup;
    }
    take_up(publisher, published, &record);
    gh_log(publisher->log, GH_LOG_INFO, APR_SUCCESS,
           GHNO(0041) "CRL %" APR_INT64_T_FMT " of issuer %s published with %"
           APR_INT64_T_FMT " entries", record.number, record.issuer, record.entries);
    return APR_SUCCESS;

cleanup:
    /* or nobody could publish until the lease ends */
    gh_store_write(publisher->store, release_work, &publish, NULL);
    /* on a conflict somebody else was faster; the next round takes theirs up */
    return rv == GH_ECONFLICT ? APR_SUCCESS : rv;
}

static apr_status_t run_offline(gh_publisher_t *publisher, published_t *published, apr_time_t now,
                                apr_pool_t *p, gh_result_t *result)
{
    const gh_issuer_backend_t *backend = gh_issuer_backend(published->issuer);
    gh_crl_record_t record = { .issuer = published->name };
    apr_status_t rv;

    if (now < published->offline_next && now > published->offline_next - 2 * OFFLINE_INTERVAL) {
        return APR_SUCCESS;
    }
    published->offline_next = now + OFFLINE_INTERVAL;
    rv = backend->crl(published->issuer, &record.der, p, result);
    if (rv != APR_SUCCESS) {
        return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
    }
    if (published->current && published->current->crl.der.length == record.der.length
        && !memcmp(published->current->crl.der.data, record.der.data, record.der.length)) {
        return APR_SUCCESS;
    }
    rv = gh_crl_read(&record, gh_issuer_certificate(published->issuer), result);
    if (rv == APR_SUCCESS) {
        take_up(publisher, published, &record);
    }
    return rv;
}

static apr_status_t run_one(gh_publisher_t *publisher, published_t *published, apr_pool_t *p,
                            gh_result_t *result)
{
    look_t look = { .issuer = published->name, .setting = published->setting, .pool = p };
    apr_time_t now = apr_time_now();
    apr_status_t rv;

    if (gh_issuer_backend(published->issuer)->crl) {
        return run_offline(publisher, published, now, p, result);
    }
    rv = gh_store_read(publisher->store, look_work, &look, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (look.newest && (!published->current
                        || published->current->crl.number != look.newest->number)) {
        look.with_der = 1;
        rv = gh_store_read(publisher->store, look_work, &look, result);
        if (rv != APR_SUCCESS) {
            return rv;
        }
        if (look.newest) {
            take_up(publisher, published, look.newest);
        }
    }
    if (is_due(published, &look, now)
        && gh_issuer_backend(published->issuer)->crl_signer(published->issuer)) {
        return publish(publisher, published, &look, now, p, result);
    }
    return APR_SUCCESS;
}

apr_status_t gh_publisher_run(gh_publisher_t *publisher, gh_result_t *result)
{
    apr_status_t failed = APR_SUCCESS;
    gh_result_t first;
    apr_pool_t *ptemp;
    int i;

    gh_result_clear(&first);
    apr_pool_create(&ptemp, NULL);
    for (i = 0; i < publisher->issuers->nelts; ++i) {
        apr_status_t rv;

        apr_pool_clear(ptemp);
        rv = run_one(publisher, &APR_ARRAY_IDX(publisher->issuers, i, published_t), ptemp, result);
        if (rv != APR_SUCCESS && failed == APR_SUCCESS) {
            failed = rv;
            first = *result;
        }
    }
    apr_pool_destroy(ptemp);
    *result = first;
    return failed;
}
