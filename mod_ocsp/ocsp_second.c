/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The second level: answers that nodes share, in a cache provider of httpd. It is the only thing
 * that a request may wait for, so it is asked by few at a time, and left alone for a while once it
 * is slow or gone. What it holds is authenticated by the engine. */

#include <string.h>

#include <httpd.h>
#include <ap_provider.h>
#include <ap_socache.h>
#include <http_core.h>
#include <http_log.h>
#include <util_mutex.h>
#include <apr_strings.h>

#include "log.h"
#include "mod_ocsp/ocsp_child.h"

APLOG_USE_MODULE(ocsp);

#define MUTEX_NAME "gatehouse-ocsp"
#define KEY_SIZE 32

/** Longest value that is asked for. */
#define VALUE_MAX 4096

/** Slower than this is as bad as gone. */
#define SLOW apr_time_from_msec(100)

/** For how long it is left alone then. */
#define PAUSE apr_time_from_sec(5)

/** How many threads of a process may be asking. */
#define ASKING_MAX 8

#define LIFE_MAX apr_time_from_sec(86400)
#define SILENCE apr_time_from_sec(60)

static struct {
    const ap_socache_provider_t *provider;
    ap_socache_instance_t *instance;
    apr_global_mutex_t *mutex;      /* NULL: the provider has its own */
    gh_bytes_t key;
} second;

/** Of this process. */
typedef struct {
    server_rec *server;
    int asking;
    apr_time_t moved;               /* when one of those who ask last began alone, or came back */
    apr_time_t closed_until;
    apr_time_t reported;
    ocsp_second_level_t level;
} asker_t;

void ocsp_second_register(apr_pool_t *pconf)
{
    ap_mutex_register(pconf, MUTEX_NAME, NULL, APR_LOCK_DEFAULT, 0);
}

static apr_status_t forget_second(void *data)
{
    memset(&second, 0, sizeof(second));
    return APR_SUCCESS;
}

/** All nodes have the same sealing key. */
static int derive_key(server_rec *s, apr_pool_t *p, apr_pool_t *ptemp)
{
    static const gh_bytes_t nothing = { (const unsigned char *)"", 0 };
    unsigned char *mac = apr_palloc(p, GH_SEAL_MAC_SIZE);
    ocsp_place_t nowhere = { NULL, 0 };
    gh_result_t result;
    apr_status_t rv;

    gh_result_clear(&result);
    rv = gh_sealer_mac(mac, ocsp_gatehouse()->config()->sealer, "ocsp-second-level", nothing,
                       &result);
    if (rv != APR_SUCCESS) {
        ocsp_log_problem(s, APLOG_ERR, nowhere, ocsp_explain(&result, rv, ptemp), ptemp);
        return 1;
    }
    second.key.data = mac;
    second.key.length = GH_SEAL_MAC_SIZE;
    return 0;
}

static int load_key(const ocsp_server_t *server, server_rec *s, apr_pool_t *p, apr_pool_t *ptemp)
{
    gh_bytes_t secret;
    gh_result_t result;
    apr_status_t rv;

    if (!server->second_level_key) {
        return derive_key(s, p, ptemp);
    }
    gh_result_clear(&result);
    rv = gh_secret_load(&secret, server->second_level_key, p, &result);
    if (rv != APR_SUCCESS) {
        ocsp_log_problem(s, APLOG_ERR, server->second_level_key_place,
                         ocsp_explain(&result, rv, ptemp), ptemp);
        return 1;
    }
    if (gh_hex_parse(&second.key, apr_pstrmemdup(p, (const char *)secret.data, secret.length), p)
        != APR_SUCCESS || second.key.length != KEY_SIZE) {
        ocsp_log_problem(s, APLOG_ERR, server->second_level_key_place,
                         GHNO(0927) "OCSPSecondLevelKey: the key is not 64 hexadecimal digits; "
                         "make one with \"openssl rand -hex 32\", the same for all nodes", ptemp);
        return 1;
    }
    return 0;
}

int ocsp_second_create(server_rec *s, apr_pool_t *p, apr_pool_t *ptemp)
{
    const ocsp_server_t *server = ocsp_server(s);
    const char *error;

    if (!server->second_level || ap_exists_config_define("DUMP_GATEHOUSE")) {
        return 0;
    }
    apr_pool_cleanup_register(p, NULL, forget_second, apr_pool_cleanup_null);
    if (load_key(server, s, p, ptemp)) {
        return 1;
    }
    second.provider = ap_lookup_provider(AP_SOCACHE_PROVIDER_GROUP, server->second_level,
                                         AP_SOCACHE_PROVIDER_VERSION);
    error = second.provider->create(&second.instance, server->second_level_args, ptemp, p);
    if (error) {
        ocsp_log_problem(s, APLOG_ERR, server->second_level_place,
                         apr_psprintf(ptemp, GHNO(0928) "OCSPSecondLevel %s does not take these "
                                      "arguments: %s", server->second_level, error), ptemp);
        return 1;
    }
    return 0;
}

static apr_status_t destroy_instance(void *data)
{
    second.provider->destroy(second.instance, data);
    return APR_SUCCESS;
}

int ocsp_second_prepare(server_rec *s, apr_pool_t *pconf)
{
    struct ap_socache_hints hints = { KEY_SIZE, 2048, apr_time_from_sec(3600) };
    apr_status_t rv;

    if (!second.instance) {
        return 0;
    }
    if (second.provider->flags & AP_SOCACHE_FLAG_NOTMPSAFE) {
        rv = ap_global_mutex_create(&second.mutex, NULL, MUTEX_NAME, NULL, s, pconf, 0);
        if (rv != APR_SUCCESS) {
            ap_log_error(APLOG_MARK, APLOG_ERR, rv, s, GHNO(0929) "OCSPSecondLevel: there is no "
                         "mutex; see the Mutex directive of httpd");
            return 1;
        }
    }
    rv = second.provider->init(second.instance, MUTEX_NAME, &hints, s, pconf);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, s, GHNO(0930) "OCSPSecondLevel: the cache cannot "
                     "be used; see the error before");
        return 1;
    }
    apr_pool_cleanup_register(pconf, s, destroy_instance, apr_pool_cleanup_null);
    return 0;
}

/* In a child */

static void close_for_a_while(asker_t *asker, apr_time_t now, apr_status_t rv)
{
    apr_time_t reported = __atomic_load_n(&asker->reported, __ATOMIC_ACQUIRE);

    __atomic_store_n(&asker->closed_until, now + PAUSE, __ATOMIC_RELEASE);
    if ((now - reported >= SILENCE || now < reported)
        && __atomic_compare_exchange_n(&asker->reported, &reported, now, 0, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED)) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, rv, asker->server, GHNO(0931) "OCSPSecondLevel: "
                     "the shared cache does not answer, or takes too long, and is left alone for "
                     "some seconds; answers are signed here meanwhile");
    }
}

static int begin(asker_t *asker, apr_time_t now)
{
    apr_time_t until = __atomic_load_n(&asker->closed_until, __ATOMIC_ACQUIRE);
    int before;

    /* a clock that was set back must not keep it closed */
    if (now < until && until - now <= PAUSE) {
        return 0;
    }
    if (!__atomic_load_n(&asker->asking, __ATOMIC_ACQUIRE)) {
        __atomic_store_n(&asker->moved, now, __ATOMIC_RELEASE);
    }
    before = __atomic_fetch_add(&asker->asking, 1, __ATOMIC_ACQ_REL);
    /* Providers wait for silent servers without end: nobody follows those who wait already. */
    if (before > 0 && now - __atomic_load_n(&asker->moved, __ATOMIC_ACQUIRE) > SLOW) {
        __atomic_sub_fetch(&asker->asking, 1, __ATOMIC_ACQ_REL);
        close_for_a_while(asker, now, APR_TIMEUP);
        return 0;
    }
    if (before >= ASKING_MAX
        || (second.mutex && apr_global_mutex_lock(second.mutex) != APR_SUCCESS)) {
        __atomic_sub_fetch(&asker->asking, 1, __ATOMIC_ACQ_REL);
        return 0;
    }
    return 1;
}

static void end(asker_t *asker, apr_time_t began, apr_status_t rv)
{
    apr_time_t now = apr_time_now();

    if (second.mutex) {
        apr_global_mutex_unlock(second.mutex);
    }
    __atomic_store_n(&asker->moved, now, __ATOMIC_RELEASE);
    __atomic_sub_fetch(&asker->asking, 1, __ATOMIC_ACQ_REL);
    if (rv != APR_SUCCESS || now - began > SLOW) {
        close_for_a_while(asker, now, rv);
    }
}

static apr_status_t get(void *baton, const unsigned char key[32], gh_bytes_t *value, apr_pool_t *p)
{
    asker_t *asker = baton;
    apr_time_t began = apr_time_now();
    unsigned int length = VALUE_MAX;
    unsigned char *data;
    apr_status_t rv;

    if (!begin(asker, began)) {
        return APR_NOTFOUND;
    }
    data = apr_palloc(p, VALUE_MAX);
    rv = second.provider->retrieve(second.instance, asker->server, key, KEY_SIZE, data, &length,
                                   p);
    end(asker, began, APR_STATUS_IS_NOTFOUND(rv) ? APR_SUCCESS : rv);
    value->data = data;
    value->length = rv == APR_SUCCESS ? length : 0;
    return rv;
}

static void put(void *baton, const unsigned char key[32], gh_bytes_t value, apr_time_t expiry,
                apr_pool_t *p)
{
    asker_t *asker = baton;
    apr_time_t began = apr_time_now();
    apr_status_t rv;

    if (!begin(asker, began)) {
        return;
    }
    if (expiry > began + LIFE_MAX) {
        expiry = began + LIFE_MAX;
    }
    rv = second.provider->store(second.instance, asker->server, key, KEY_SIZE, expiry,
                                (unsigned char *)value.data, (unsigned int)value.length, p);
    end(asker, began, rv);
}

void ocsp_second_join(server_rec *s, ocsp_engine_options_t *options, apr_pool_t *p)
{
    asker_t *asker;
    apr_status_t rv = APR_SUCCESS;

    if (!second.instance) {
        return;
    }
    if (second.mutex) {
        rv = apr_global_mutex_child_init(&second.mutex, apr_global_mutex_lockfile(second.mutex),
                                         p);
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, s, GHNO(0932) "OCSPSecondLevel is not used by "
                     "this process: its mutex cannot be opened; see the Mutex directive of httpd");
        return;
    }
    asker = apr_pcalloc(p, sizeof(*asker));
    asker->server = s;
    asker->level.baton = asker;
    asker->level.get = get;
    asker->level.put = put;
    options->second_level = &asker->level;
    options->second_level_key = second.key;
}
