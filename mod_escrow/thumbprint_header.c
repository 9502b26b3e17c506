/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Headers with certificates: from whom they count, and that nobody else sends them. */

#include "mod_escrow/thumbprint.h"

#include <apr_lib.h>
#include <apr_network_io.h>
#include <apr_tables.h>

/** The same name for who makes variables of headers: CGI and the like take '-' for '_'. */
static int same_name(const char *a, const char *b)
{
    for (; *a && *b; ++a, ++b) {
        char x = *a == '_' ? '-' : (char)apr_tolower(*a);
        char y = *b == '_' ? '-' : (char)apr_tolower(*b);

        if (x != y) {
            return 0;
        }
    }
    return *a == *b;
}

static int trusts(const escrow_proxy_t *proxy, request_rec *r, apr_sockaddr_t *peer)
{
    const escrow_client_t *certificate;
    int i;

    for (i = 0; i < proxy->networks->nelts; ++i) {
        if (apr_ipsubnet_test(APR_ARRAY_IDX(proxy->networks, i, apr_ipsubnet_t *), peer)) {
            break;
        }
    }
    if (i == proxy->networks->nelts) {
        return 0;
    }
    if (!proxy->thumbprints) {
        return 1;
    }
    certificate = thumbprint_of_connection(r->connection, r->pool);
    return certificate && !escrow_client_time(certificate, r->request_time)
           && escrow_pins_find(proxy->thumbprints, certificate, ESCROW_ROLE_ANY, r->request_time);
}

static int is_trusted(request_rec *r)
{
    const escrow_server_t *server = escrow_server(r->server);
    apr_sockaddr_t *peer = thumbprint_peer(r->connection);
    int i;

    for (i = 0; server->proxies && peer && i < server->proxies->nelts; ++i) {
        if (trusts(&APR_ARRAY_IDX(server->proxies, i, escrow_proxy_t), r, peer)) {
            return 1;
        }
    }
    return 0;
}

int thumbprint_clean_headers(request_rec *r)
{
    const escrow_global_t *global = escrow_global_now();
    const apr_array_header_t *headers = apr_table_elts(r->headers_in);
    apr_array_header_t *bad = NULL;
    int by_proxy, i, j;

    if (!global || !global->headers->nelts) {
        return DECLINED;
    }
    by_proxy = is_trusted(r);
    thumbprint_request(r)->by_proxy = by_proxy;
    for (i = 0; i < headers->nelts; ++i) {
        const char *name = APR_ARRAY_IDX(headers, i, apr_table_entry_t).key;
        int like = 0, exact = 0;

        for (j = 0; name && j < global->headers->nelts && !exact; ++j) {
            const char *certificate = APR_ARRAY_IDX(global->headers, j, const char *);

            like |= same_name(name, certificate);
            exact = !ap_cstr_casecmp(name, certificate);
        }
        if (like && !(exact && by_proxy)) {
            bad = bad ? bad : apr_array_make(r->pool, 2, sizeof(const char *));
            APR_ARRAY_PUSH(bad, const char *) = name;
        }
    }
    for (i = 0; bad && i < bad->nelts; ++i) {
        apr_table_unset(r->headers_in, APR_ARRAY_IDX(bad, i, const char *));
    }
    return DECLINED;
}

int thumbprint_by_proxy(request_rec *r)
{
    while (r->main || r->prev) {
        r = r->main ? r->main : r->prev;
    }
    return thumbprint_request(r)->by_proxy;
}
