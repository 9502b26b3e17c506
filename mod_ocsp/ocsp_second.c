/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The second level: answers that nodes share, in a cache provider of httpd. Here is what the parent
 * does; ocsp_second_ask.c is what children do. */

#include <string.h>

#include <httpd.h>
#include <ap_provider.h>
#include <http_core.h>
#include <http_log.h>
#include <util_mutex.h>
#include <apr_strings.h>

#include "log.h"
#include "mod_ocsp/ocsp_child.h"
#include "mod_ocsp/ocsp_second.h"

APLOG_USE_MODULE(ocsp);

#define MUTEX_NAME "gatehouse-ocsp"
#define KEY_SIZE OCSP_SECOND_KEY_SIZE

static ocsp_second_t second;

const ocsp_second_t *ocsp_second(void)
{
    return &second;
}

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
                         GHNO(0753) "OCSPSecondLevelKey: the key is not 64 hexadecimal digits; "
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
                         apr_psprintf(ptemp, GHNO(0754) "OCSPSecondLevel %s does not take these "
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
            ap_log_error(APLOG_MARK, APLOG_ERR, rv, s, GHNO(0755) "OCSPSecondLevel: there is no "
                         "mutex; see the Mutex directive of httpd");
            return 1;
        }
    }
    rv = second.provider->init(second.instance, MUTEX_NAME, &hints, s, pconf);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, s, GHNO(0756) "OCSPSecondLevel: the cache cannot "
                     "be used; see the error before");
        return 1;
    }
    apr_pool_cleanup_register(pconf, s, destroy_instance, apr_pool_cleanup_null);
    return 0;
}

apr_status_t ocsp_second_open(apr_pool_t *p)
{
    return second.mutex
        ? apr_global_mutex_child_init(&second.mutex, apr_global_mutex_lockfile(second.mutex), p)
        : APR_SUCCESS;
}
