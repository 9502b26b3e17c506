/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What the directives of <UEM> mean together, and what is in the files that they name. */

#include <stdlib.h>
#include <string.h>

#include <httpd.h>
#include <apr_strings.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>

#include "log.h"
#include "mod_escrow/escrow_config.h"
#include "mod_escrow/escrow_uem.h"
#include "x509/credential.h"

APLOG_USE_MODULE(escrow);

/** It stands in a line of HTTP. */
static apr_status_t check_secret(gh_bytes_t text, const char *name, int pair, gh_result_t *result)
{
    apr_size_t i;

    for (i = 0; i < text.length && text.data[i] >= ' ' && text.data[i] != 0x7f; ++i) {
    }
    if (i == text.length && (!pair || memchr(text.data, ':', text.length))) {
        return APR_SUCCESS;
    }
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "uem.secret",
                          "Store one line: the value, or USER:PASSWORD for UEMCredential basic.",
                          GHNO(1276) "what %s names cannot stand in a header", name);
}

static apr_status_t open_headers(escrow_uem_t *uem, apr_pool_t *p, gh_result_t *result)
{
    apr_status_t rv = APR_SUCCESS;
    int i;

    for (i = 0; rv == APR_SUCCESS && i < uem->headers->nelts; ++i) {
        escrow_uem_header_t *header = &APR_ARRAY_IDX(uem->headers, i, escrow_uem_header_t);

        if (header->source) {
            rv = gh_secret_load(&header->secret, header->source, p, result);
        }
        if (rv == APR_SUCCESS && header->source) {
            rv = check_secret(header->secret, "UEMHeaderSecret", 0, result);
        }
    }
    return rv;
}

static apr_status_t open_credentials(escrow_uem_t *uem, apr_pool_t *p, gh_result_t *result)
{
    gh_bytes_t none = { NULL, 0 };
    gh_credential_t *credential;
    apr_status_t rv = APR_SUCCESS;

    if (uem->basic) {
        rv = gh_secret_load(&uem->basic_secret, uem->basic, p, result);
        if (rv == APR_SUCCESS) {
            rv = check_secret(uem->basic_secret, "UEMCredential basic", 1, result);
        }
    }
    if (rv == APR_SUCCESS && uem->client_secret) {
        rv = gh_secret_load(&uem->oauth_secret, uem->client_secret, p, result);
    }
    if (rv == APR_SUCCESS && uem->passphrase) {
        rv = gh_secret_load(&uem->pkcs12_secret, uem->passphrase, p, result);
    }
    if (rv == APR_SUCCESS && uem->credential) {
        rv = gh_credential_load(&credential, &uem->pkcs12, uem->credential, uem->pkcs12_secret,
                                uem->alias, p, result);
    }
    if (rv == APR_SUCCESS && uem->trust) {
        rv = gh_trust_load(&uem->trusted, uem->trust, none, p, result);
    }
    return rv;
}

/** As curl reads it, of httpd's environment. A user and a password may be in it. */
static apr_status_t open_environment(escrow_uem_t *uem, apr_pool_t *p, gh_result_t *result)
{
    static const char *const names[] = { "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY" };
    const char *proxy = NULL;
    apr_size_t i;

    if (!uem->proxy || strcmp(uem->proxy, "env")) {
        return APR_SUCCESS;
    }
    for (i = 0; i < sizeof(names) / sizeof(names[0]) && (!proxy || !*proxy); ++i) {
        proxy = getenv(names[i]);
    }
    uem->no_proxy = getenv("no_proxy") ? getenv("no_proxy") : getenv("NO_PROXY");
    if (!proxy || !*proxy) {
        uem->proxy = NULL;
        return APR_SUCCESS;
    }
    uem->proxy = apr_pstrcat(p, strstr(proxy, "://") ? "" : "http://", proxy, NULL);
    if (strncmp(uem->proxy, "http://", 7) && strncmp(uem->proxy, "https://", 8)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "uem.proxy",
                              "Set HTTPS_PROXY to a URL that begins with http:// or https://, or "
                              "take another value of UEMProxy.",
                              GHNO(1283) "the proxy of httpd's environment is of a kind that "
                              "cannot be used");
    }
    return APR_SUCCESS;
}

static int complain(server_rec *s, const escrow_uem_t *uem, const char *text)
{
    ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, 0, s, "%s:%d: <UEM %s>: %s", uem->file,
                 uem->line, uem->name, text);
    return 1;
}

static int check_one(server_rec *s, escrow_uem_t *uem, apr_pool_t *pconf)
{
    gh_result_t result;
    apr_status_t rv;

    if (!uem->deliver.url) {
        return complain(s, uem, GHNO(1275) "it lacks UEMURL");
    }
    gh_result_clear(&result);
    rv = open_headers(uem, pconf, &result);
    if (rv == APR_SUCCESS) {
        rv = open_credentials(uem, pconf, &result);
    }
    if (rv == APR_SUCCESS) {
        rv = open_environment(uem, pconf, &result);
    }
    if (rv == APR_SUCCESS
        || escrow_gatehouse()->dump_problem(pconf, NULL, "<UEM>", uem->file, uem->line, &result)) {
        return 0;
    }
    return complain(s, uem, apr_psprintf(pconf, "%s: %s. %s", result.number, result.message,
                                         result.action));
}

int escrow_uem_check(server_rec *s, apr_pool_t *pconf)
{
    const apr_array_header_t *all = escrow_uems(), *wanted = escrow_uem_wanted();
    const escrow_global_t *global = escrow_global_now();
    int problems = 0, i;

    for (i = 0; all && i < all->nelts; ++i) {
        problems += check_one(s, APR_ARRAY_IDX(all, i, escrow_uem_t *), pconf);
    }
    for (i = 0; wanted && i < wanted->nelts; ++i) {
        const char *name = APR_ARRAY_IDX(wanted, i, const char *);

        if (!escrow_uem(name)) {
            ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, 0, s, GHNO(1278) "EscrowDeliver "
                         "names %s, and there is no <UEM %s>", name, name);
            ++problems;
        }
    }
    if (all && all->nelts && (!global || !global->vault_keys->nelts)) {
        ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, 0, s, GHNO(1277) "there is a <UEM>, "
                     "and no key to open credentials with; add EscrowVaultKey");
        ++problems;
    }
    return problems;
}
