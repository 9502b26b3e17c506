/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_ocsp_second_h
#define mod_ocsp_ocsp_second_h

#include <httpd.h>
#include <ap_socache.h>
#include <apr_global_mutex.h>

#include "text.h"

#define OCSP_SECOND_KEY_SIZE 32

/** The second level as it was configured. */
typedef struct {
    const ap_socache_provider_t *provider;
    ap_socache_instance_t *instance;    /* NULL: there is none */
    apr_global_mutex_t *mutex;          /* NULL: the provider has its own */
    gh_bytes_t key;
} ocsp_second_t;

const ocsp_second_t *ocsp_second(void);

/** In a child, before it is used. */
apr_status_t ocsp_second_open(apr_pool_t *p);

#endif /* mod_ocsp_ocsp_second_h */
