/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Pins of the store, in a child. All are in memory. Whoever finds that the store was not looked at
 * for a while does so; one does, the others go on if that was not too long ago. So a change
 * holds everywhere after a second, and who makes one waits for that long (GH_PINS_SETTLED). */

#include "mod_escrow/thumbprint.h"

#include <string.h>
#include <time.h>

#include <apr_atomic.h>
#include <apr_strings.h>
#include <apr_thread_cond.h>
#include <apr_thread_mutex.h>
#include <apr_thread_rwlock.h>
#include <http_log.h>

#include "log.h"
#include "mod_escrow/escrow_tls.h"
#include "status.h"
#include "store/pins.h"

APLOG_USE_MODULE(escrow);

/* The store is looked at that often, if there are requests; and what is older decides nothing. */
#define FRESH   apr_time_from_msec(200)
#define STALE   apr_time_from_sec(1)
/* The store has to take down that often who came. */
#define NOTED   apr_time_from_sec(60)

static struct {
    server_rec *server;
    apr_pool_t *p;                  /* NULL: no pins of a store here */
    apr_thread_mutex_t *mutex;      /* for what follows */
    apr_thread_cond_t *done;
    int looking;
    apr_time_t failed;              /* when it failed last; 0: it did not */
    volatile apr_time_t looked;     /* when the last look that was successful began */

    apr_thread_rwlock_t *lock;      /* for what follows */
    apr_pool_t *pool;
    escrow_pins_t *pins;
    char version[64];

    volatile apr_uint32_t again;    /* what the store has counts as changed */
    volatile apr_uint32_t used;     /* some pin was */
    volatile apr_uint32_t noting;
    apr_time_t noted;
} child;

apr_time_t thumbprint_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return apr_time_from_sec(now.tv_sec) + now.tv_nsec / 1000;
}

static apr_time_t looked(void)
{
    return __atomic_load_n(&child.looked, __ATOMIC_ACQUIRE);
}

void thumbprint_pins_child_init(apr_pool_t *pchild, server_rec *s)
{
    const escrow_global_t *global = escrow_global_now();

    child.p = NULL;
    if (!global || (!global->pinned && !escrow_tls_used())
        || !escrow_gatehouse()->config()->store) {
        return;
    }
    child.server = s;
    child.version[0] = '-';
    child.version[1] = '\0';
    child.looked = thumbprint_clock() - 2 * STALE;
    if (apr_thread_mutex_create(&child.mutex, APR_THREAD_MUTEX_DEFAULT, pchild) == APR_SUCCESS
        && apr_thread_cond_create(&child.done, pchild) == APR_SUCCESS
        && apr_thread_rwlock_create(&child.lock, pchild) == APR_SUCCESS) {
        child.p = pchild;
    }
}

/* A look at the store */

typedef struct {
    const char *former;
    const char *version;
    apr_array_header_t *records;    /* gh_pin_record_t *; NULL: as before */
    apr_array_header_t *endpoints;  /* gh_endpoint_record_t * */
    apr_pool_t *p;
} look_t;

static apr_status_t read_pins(gh_transaction_t *transaction, void *baton)
{
    look_t *look = baton;
    apr_status_t rv = gh_pins_version(transaction, &look->version, look->p);

    look->records = NULL;
    if (rv == APR_SUCCESS && strcmp(look->version, look->former)) {
        rv = gh_pin_list(transaction, &look->records, look->p);
        if (rv == APR_SUCCESS) {
            rv = gh_endpoint_list(transaction, &look->endpoints, look->p);
        }
    }
    return rv;
}

static escrow_pins_t *make(const apr_array_header_t *records, apr_pool_t *p)
{
    escrow_pins_t *pins = escrow_pins_make(p);
    int i;

    for (i = 0; i < records->nelts; ++i) {
        const gh_pin_record_t *record = APR_ARRAY_IDX(records, i, const gh_pin_record_t *);
        /* what opens the configuration API is in files alone, whatever the store says */
        unsigned role = escrow_role(record->role) & ~ESCROW_ROLE_ADMIN;
        gh_thumbprint_t thumbprint;

        if (role && gh_thumbprint_parse(&thumbprint, record->thumbprint,
                                        strlen(record->thumbprint), NULL, NULL) == APR_SUCCESS) {
            escrow_pins_add(pins, &thumbprint, role, record->expires);
        }
    }
    return pins;
}

static void publish(const look_t *look)
{
    apr_pool_t *pool, *former;
    escrow_pins_t *pins;

    if (apr_pool_create(&pool, NULL) != APR_SUCCESS) {
        return;
    }
    pins = make(look->records, pool);
    apr_thread_rwlock_wrlock(child.lock);
    former = child.pool;
    child.pool = pool;
    child.pins = pins;
    apr_cpystrn(child.version, look->version, sizeof(child.version));
    apr_thread_rwlock_unlock(child.lock);
    if (former) {
        apr_pool_destroy(former);
    }
    escrow_tls_publish(look->endpoints);
}

/** One thread at a time. */
static int look_at_store(void)
{
    const gatehouse_service_t *service = escrow_gatehouse()->service();
    apr_time_t begun = thumbprint_clock();
    look_t look = { apr_atomic_xchg32(&child.again, 0) ? "-" : child.version, NULL, NULL, NULL,
                    NULL };
    gh_result_t result;
    apr_status_t rv = GH_EUNAVAILABLE;

    gh_result_clear(&result);
    if (service && apr_pool_create(&look.p, NULL) == APR_SUCCESS) {
        rv = gh_store_read(service->store, read_pins, &look, &result);
        if (rv == APR_SUCCESS && look.records) {
            publish(&look);
        }
        apr_pool_destroy(look.p);
    }
    if (rv == APR_SUCCESS) {
        __atomic_store_n(&child.looked, begun, __ATOMIC_RELEASE);
    }
    else if (!child.failed) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, child.server, GHNO(1162) "the store cannot say who "
                     "is pinned%s%s; nobody is let in by its pins until it can",
                     *result.message ? ": " : "", result.message);
    }
    return rv == APR_SUCCESS;
}

/** Decides whether to look, go on, or wait. Called with the mutex held. @return 1 to look */
static int must_look(int *fresh)
{
    apr_time_t end = thumbprint_clock() + STALE;

    for (;;) {
        apr_time_t now = thumbprint_clock();
        apr_time_t age = now - looked();

        if (age < FRESH || (age < STALE && child.looking)) {
            *fresh = 1;
            return 0;
        }
        if (!child.looking) {
            if (child.failed && now - child.failed < FRESH) {
                *fresh = age < STALE;
                return 0;
            }
            return 1;
        }
        if (now >= end) {
            *fresh = 0;
            return 0;
        }
        apr_thread_cond_timedwait(child.done, child.mutex, end - now);
    }
}

/** @return 1 if what is in memory is what the store had within the last second */
static int refresh(void)
{
    int fresh = 0;

    if (thumbprint_clock() - looked() < FRESH) {
        return 1;
    }
    apr_thread_mutex_lock(child.mutex);
    if (must_look(&fresh)) {
        child.looking = 1;
        apr_thread_mutex_unlock(child.mutex);
        fresh = look_at_store();
        apr_thread_mutex_lock(child.mutex);
        child.failed = fresh ? 0 : thumbprint_clock();
        child.looking = 0;
        fresh = fresh || thumbprint_clock() - looked() < STALE;
        apr_thread_cond_broadcast(child.done);
    }
    apr_thread_mutex_unlock(child.mutex);
    return fresh;
}

void thumbprint_pins_look_again(void)
{
    apr_atomic_set32(&child.again, 1);
}

int thumbprint_refresh(void)
{
    return child.p ? refresh() : 0;
}

apr_status_t thumbprint_pinned(request_rec *r, const escrow_client_t *client, unsigned roles,
                               apr_time_t now)
{
    escrow_pin_t *pin;
    int fresh;

    if (thumbprint_in_pin_files(r, client, roles, now)) {
        return APR_SUCCESS;
    }
    if (!child.p || !(roles & ~ESCROW_ROLE_ADMIN)) {
        return GH_EREFUSED;
    }
    escrow_gatehouse()->begin_work(r);
    fresh = refresh();
    escrow_gatehouse()->end_work();
    if (!fresh) {
        return GH_EUNAVAILABLE;
    }
    apr_thread_rwlock_rdlock(child.lock);
    pin = escrow_pins_find(child.pins, client, roles, now);
    if (pin && !apr_atomic_read32(&pin->used)) {
        apr_atomic_set32(&pin->used, 1);
        apr_atomic_set32(&child.used, 1);
    }
    apr_thread_rwlock_unlock(child.lock);
    return pin ? APR_SUCCESS : GH_EREFUSED;
}

/* Who came, for the store; after the answer, at most once a minute */

typedef struct {
    apr_array_header_t *thumbprints;    /* const char * */
    apr_time_t now;
    apr_pool_t *p;
} note_t;

static void take(void *baton, const escrow_pin_t *pin)
{
    note_t *note = baton;

    APR_ARRAY_PUSH(note->thumbprints, const char *)
        = gh_thumbprint_text(&pin->thumbprint, note->p);
}

static apr_status_t write_used(gh_transaction_t *transaction, void *baton)
{
    const note_t *note = baton;
    apr_status_t rv = APR_SUCCESS;
    int i;

    for (i = 0; rv == APR_SUCCESS && i < note->thumbprints->nelts; ++i) {
        rv = gh_pin_used(transaction, APR_ARRAY_IDX(note->thumbprints, i, const char *),
                         note->now);
    }
    return rv;
}

static void note_used(request_rec *r)
{
    const gatehouse_service_t *service = escrow_gatehouse()->service();
    note_t note = { apr_array_make(r->pool, 8, sizeof(const char *)), apr_time_now(), r->pool };
    gh_result_t result;

    apr_atomic_set32(&child.used, 0);
    apr_thread_rwlock_rdlock(child.lock);
    escrow_pins_take_used(child.pins, take, &note, r->pool);
    apr_thread_rwlock_unlock(child.lock);
    if (service && note.thumbprints->nelts) {
        /* that it could not be written is of no consequence */
        gh_store_write(service->store, write_used, &note, &result);
    }
}

int thumbprint_note_used(request_rec *r)
{
    apr_time_t now;

    if (!child.p || !apr_atomic_read32(&child.used)) {
        return DECLINED;
    }
    now = thumbprint_clock();
    if ((child.noted && now - child.noted < NOTED) || apr_atomic_cas32(&child.noting, 1, 0)) {
        return DECLINED;
    }
    child.noted = now;
    escrow_gatehouse()->begin_work(r);
    note_used(r);
    escrow_gatehouse()->end_work();
    apr_atomic_set32(&child.noting, 0);
    return DECLINED;
}
