/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The URLs that a configuration serves. */

#include "ctl_commands.h"

#include <string.h>

#include <apr_strings.h>

#include "ctl_output.h"

typedef struct {
    const char *kind;               /* "scep", "crl", "ca" */
    const char *url;
    const char *tenant;
    const char *issuer;
    const char *profile;
    const apr_array_header_t *challenges;
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
    const char *const row[] = { url->kind, url->url, joined(url->challenges, ctl->p) };
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
    ctl_json_print(stdout, object);
}

/* The public URL if there is one, else what httpd listens on. */
static const char *base_url(const ctl_config_t *config, apr_pool_t *p)
{
    const char *address;

    if (config->public_url != NULL) {
        return config->public_url;
    }
    if (config->listen->nelts == 0) {
        return "http://localhost";
    }
    address = APR_ARRAY_IDX(config->listen, 0, const char *);
    if (strchr(address, ':') == NULL) {
        return apr_pstrcat(p, "http://localhost:", address, NULL);
    }
    if (strncmp(address, "*:", 2) == 0 || strncmp(address, "0.0.0.0:", 8) == 0
        || strncmp(address, "[::]:", 5) == 0) {
        return apr_pstrcat(p, "http://localhost", strrchr(address, ':'), NULL);
    }
    return apr_pstrcat(p, "http://", address, NULL);
}

int ctl_urls(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    static const char *const headings[] = { "KIND", "URL", "CHALLENGES", NULL };
    ctl_table_t *table = ctl_table_create(headings, ctl->p);
    const char *base;
    int code;
    int i;

    code = ctl_configure(ctl);
    if (code != CTL_OK) {
        return code;
    }
    base = base_url(ctl->config, ctl->p);
    for (i = 0; i < ctl->config->endpoints->nelts; i++) {
        const ctl_endpoint_t *endpoint = APR_ARRAY_IDX(ctl->config->endpoints, i,
                                                       const ctl_endpoint_t *);
        url_t url = { "scep", apr_pstrcat(ctl->p, base, endpoint->path, NULL), endpoint->tenant,
                      endpoint->issuer, endpoint->profile, endpoint->challenges };

        print_url(ctl, table, &url);
    }
    for (i = 0; i < ctl->config->issuers->nelts; i++) {
        const ctl_issuer_t *issuer = APR_ARRAY_IDX(ctl->config->issuers, i, const ctl_issuer_t *);
        url_t crl = { "crl", apr_pstrcat(ctl->p, base, "/crl/", issuer->name, ".crl", NULL),
                      NULL, issuer->name, NULL, NULL };
        url_t ca = { "ca", apr_pstrcat(ctl->p, base, "/ca/", issuer->name, ".cer", NULL),
                     NULL, issuer->name, NULL, NULL };

        print_url(ctl, table, &crl);
        print_url(ctl, table, &ca);
    }
    ctl_table_print(table, stdout);
    return CTL_OK;
}
