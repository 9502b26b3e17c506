/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_ocsp/ocsp_requestors.h"

#include <apr_tables.h>
#include <openssl/x509.h>

#include "log.h"
#include "x509/key.h"

static apr_status_t free_store(void *data)
{
    X509_STORE_free(data);
    return APR_SUCCESS;
}

apr_status_t ocsp_requestors_load(X509_STORE **store, const char *path, apr_pool_t *p,
                                  gh_result_t *result)
{
    apr_array_header_t *certificates;
    apr_status_t rv = gh_certificates_open(&certificates, path, p, result);
    int added = 1;
    int i;

    if (rv != APR_SUCCESS) {
        return rv;
    }
    *store = X509_STORE_new();
    if (*store) {
        apr_pool_cleanup_register(p, *store, free_store, apr_pool_cleanup_null);
        for (i = 0; added && i < certificates->nelts; ++i) {
            added = X509_STORE_add_cert(*store, APR_ARRAY_IDX(certificates, i, X509 *));
        }
    }
    if (!*store || !added) {
        return gh_result_openssl(result, APR_ENOMEM, GH_FAILURE_INTERNAL, "ocsp.requestors",
                                 "See whether the machine is short of memory.",
                                 GHNO(0599) "the certificates of %s cannot be taken up", path);
    }
    /* an intermediate CA in the file is trusted without its root */
    X509_STORE_set_flags(*store, X509_V_FLAG_PARTIAL_CHAIN);
    return APR_SUCCESS;
}
