/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The URLs that a configuration serves. */

#include "ctl_commands.h"

#include <string.h>

#include <apr_strings.h>

#include "ctl_output.h"

typedef struct {
    const char *kind;               /* "scep", "wstep", "xcep", "ocsp", "crl", "ca", "challenge",
                                       "ndes", "profile" */
    const char *url;
    const char *tenant;
    const char *issuer;
    const char *profile;
    const apr_array_header_t *challenges;
    const char *servers;            /* NULL: all virtual hosts alike */
} url_t;

static const char *joined(const apr_array_header_t *texts, apr_pool_t *p)
{
    const char *all = NULL;
    int i;

    for (i = 0; texts != NULL && i < texts->nelts; i++) {
        const char *text = APR_ARRAY_IDX(texts, i, const char *);

        all = all == NULL ? text : apr_pstrcat(p, all, ",", text, NULL);
    }
    return all;
}

static void print_url(ctl_t *ctl, ctl_table_t *table, const url_t *url)
{
    const char *const row[] = { url->kind, url->url, joined(url->challenges, ctl->p),
                                url->servers };
    json_t *object;
    json_t *challenges;
    int i;

    if (!ctl->json) {
        ctl_table_row(table, row);
        return;
    }
    object = json_object();
    json_object_set_new(object, "kind", json_string(url->kind));
    json_object_set_new(object, "url", ctl_json_text(url->url, ctl->p));
    json_object_set_new(object, "tenant", ctl_json_text(url->tenant, ctl->p));
    json_object_set_new(object, "issuer", ctl_json_text(url->issuer, ctl->p));
    json_object_set_new(object, "profile", ctl_json_text(url->profile, ctl->p));
    challenges = url->challenges != NULL ? json_array() : json_null();
    for (i = 0; url->challenges != NULL && i < url->challenges->nelts; i++) {
        json_array_append_new(challenges, json_string(APR_ARRAY_IDX(url->challenges, i,
                                                                    const char *)));
    }
    json_object_set_new(object, "challenges", challenges);
    json_object_set_new(object, "server", ctl_json_text(url->servers, ctl->p));
    ctl_json_print(stdout, object);
}

static const ctl_endpoint_t *endpoint_at(const ctl_config_t *config, int i)
{
    return APR_ARRAY_IDX(config->endpoints, i, const ctl_endpoint_t *);
}

static int same_texts(const apr_array_header_t *a, const apr_array_header_t *b)
{
    int i;

    for (i = 0; i < a->nelts && i < b->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(a, i, const char *), APR_ARRAY_IDX(b, i, const char *)) != 0) {
            return 0;
        }
    }
    return a->nelts == b->nelts;
}

static int same_path(const ctl_endpoint_t *a, const ctl_endpoint_t *b)
{
    return strcmp(a->path, b->path) == 0;
}

/* Whether two virtual hosts have the same path and treat it alike. */
static int alike(const ctl_endpoint_t *a, const ctl_endpoint_t *b)
{
    return same_path(a, b) && same_texts(a->challenges, b->challenges)
        && same_texts(a->algorithms, b->algorithms);
}

/*
 * The virtual hosts that treat a path as one endpoint does.
 * @param first set to 0 if there is such a one before it
 * @return NULL if all that have the path do
 */
static const char *servers_of(const ctl_config_t *config, int number, int *first, apr_pool_t *p)
{
    const ctl_endpoint_t *endpoint = endpoint_at(config, number);
    apr_array_header_t *servers = apr_array_make(p, 2, sizeof(const char *));
    int differ = 0;
    int i;

    *first = 1;
    for (i = 0; i < config->endpoints->nelts; i++) {
        const ctl_endpoint_t *other = endpoint_at(config, i);

        if (alike(endpoint, other)) {
            *first = *first && i >= number;
            APR_ARRAY_PUSH(servers, const char *) = other->server != NULL ? other->server : "?";
        }
        else if (same_path(endpoint, other)) {
            differ = 1;
        }
    }
    return differ ? joined(servers, p) : NULL;
}

static void print_endpoints(ctl_t *ctl, ctl_table_t *table)
{
    const ctl_config_t *config = ctl->config;
    int i;

    for (i = 0; i < config->endpoints->nelts; i++) {
        const ctl_endpoint_t *endpoint = endpoint_at(config, i);
        int first;
        const char *servers = servers_of(config, i, &first, ctl->p);
        url_t url = { "scep", apr_pstrcat(ctl->p, ctl_config_public_url(config, endpoint->issuer,
                                                                         ctl->p),
                                          endpoint->path, NULL),
                      endpoint->tenant, endpoint->issuer, endpoint->profile, endpoint->challenges,
                      servers };

        if (first) {
            print_url(ctl, table, &url);
        }
    }
}

/* Pages stand where the administrator has put them, and send challenges by TLS unless they are told
 * otherwise. */
static void print_pages(ctl_t *ctl, ctl_table_t *table)
{
    int i;

    for (i = 0; i < ctl->config->pages->nelts; i++) {
        const ctl_page_t *page = APR_ARRAY_IDX(ctl->config->pages, i, const ctl_page_t *);
        apr_array_header_t *challenges = apr_array_make(ctl->p, 1, sizeof(const char *));
        url_t url = { page->kind, apr_pstrcat(ctl->p, page->plain ? "http://" : "https://",
                                              page->server, page->path, NULL),
                      page->tenant, page->issuer, page->profile, challenges, NULL };

        APR_ARRAY_PUSH(challenges, const char *) = page->challenge;
        print_url(ctl, table, &url);
    }
}

static void print_wstep(ctl_t *ctl, ctl_table_t *table)
{
    const json_t *endpoint;
    size_t i;

    json_array_foreach(ctl->config->wstep, i, endpoint) {
        url_t url = {
            json_is_true(json_object_get(endpoint, "policy")) ? "xcep" : "wstep",
            json_string_value(json_object_get(endpoint, "url")),
            json_string_value(json_object_get(endpoint, "tenant")),
            json_string_value(json_object_get(endpoint, "issuer")), NULL, NULL, NULL
        };

        print_url(ctl, table, &url);
    }
}

/* All virtual hosts answer alike: what is answered for is of the whole server. */
static void print_responders(ctl_t *ctl, ctl_table_t *table)
{
    const char *base = ctl_config_public_url(ctl->config, NULL, ctl->p);
    int i;

    for (i = 0; i < ctl->config->responders->nelts; i++) {
        const ctl_responder_t *one = APR_ARRAY_IDX(ctl->config->responders, i,
                                                   const ctl_responder_t *);
        url_t url = { "ocsp", apr_pstrcat(ctl->p, base, one->path, NULL), NULL, NULL, NULL, NULL,
                      NULL };
        int before;

        for (before = 0; before < i; before++) {
            if (strcmp(APR_ARRAY_IDX(ctl->config->responders, before,
                                     const ctl_responder_t *)->path, one->path) == 0) {
                break;
            }
        }
        if (before == i) {
            print_url(ctl, table, &url);
        }
    }
}

int ctl_urls(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    static const char *const headings[] = { "KIND", "URL", "CHALLENGES", "SERVER", NULL };
    ctl_table_t *table = ctl_table_create(headings, ctl->p);
    int code;
    int i;

    code = ctl_configure(ctl);
    if (code != CTL_OK) {
        return code;
    }
    print_endpoints(ctl, table);
    print_pages(ctl, table);
    print_wstep(ctl, table);
    print_responders(ctl, table);
    for (i = 0; i < ctl->config->issuers->nelts; i++) {
        const ctl_issuer_t *issuer = APR_ARRAY_IDX(ctl->config->issuers, i, const ctl_issuer_t *);
        const char *base = ctl_config_public_url(ctl->config, issuer->name, ctl->p);
        url_t crl = { "crl", apr_pstrcat(ctl->p, base, "/crl/", issuer->name, ".crl", NULL),
                      NULL, issuer->name, NULL, NULL, NULL };
        url_t ca = { "ca", apr_pstrcat(ctl->p, base, "/ca/", issuer->name, ".cer", NULL),
                     NULL, issuer->name, NULL, NULL, NULL };

        print_url(ctl, table, &crl);
        print_url(ctl, table, &ca);
    }
    ctl_table_print(table, stdout);
    return CTL_OK;
}
