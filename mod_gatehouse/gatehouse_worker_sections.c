/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What modules have the worker for CAs do besides issuers: sections of its configuration, each with
 * a queue of jobs. */

#include <string.h>
#include <httpd.h>
#include <http_config.h>
#include <http_log.h>
#include <http_main.h>
#include <apr_strings.h>
#include <openssl/crypto.h>

#include "gatehouse_remote.h"
#include "log.h"

APLOG_USE_MODULE(gatehouse);

static apr_array_header_t *sections;    /* gatehouse_worker_section_t *, or NULL; lives in pconf */

static apr_status_t forget_sections(void *data)
{
    sections = NULL;
    return APR_SUCCESS;
}

static apr_status_t overwrite(void *text)
{
    OPENSSL_cleanse(text, strlen(text));
    return APR_SUCCESS;
}

static char *wiped(char *text, apr_pool_t *p)
{
    apr_pool_cleanup_register(p, text, overwrite, apr_pool_cleanup_null);
    return text;
}

void gatehouse_add_worker_section(const gatehouse_worker_section_t *section, apr_pool_t *pconf)
{
    gatehouse_settings_t *settings = gatehouse_settings();
    gatehouse_worker_section_t *copy = apr_pmemdup(pconf, section, sizeof(*section));

    copy->section = apr_pstrdup(pconf, section->section);
    copy->json = apr_pstrdup(pconf, section->json);
    copy->queue = apr_pstrdup(pconf, section->queue);
    apr_pool_cleanup_register(pconf, copy->json, overwrite, apr_pool_cleanup_null);
    if (!sections) {
        sections = apr_array_make(pconf, 4, sizeof(gatehouse_worker_section_t *));
        apr_pool_cleanup_register(pconf, NULL, forget_sections, apr_pool_cleanup_null);
    }
    APR_ARRAY_PUSH(sections, gatehouse_worker_section_t *) = copy;
    /* of another module, whose check comes after that of this one */
    if (settings && !settings->remote) {
        settings->remote = 1;
        gatehouse_check_mapping(settings, ap_server_conf, pconf);
    }
}

int gatehouse_worker_section_count(void)
{
    return sections ? sections->nelts : 0;
}

const gatehouse_worker_section_t *gatehouse_worker_section(int i)
{
    return APR_ARRAY_IDX(sections, i, const gatehouse_worker_section_t *);
}

/** The sections of one name, from that at a place on; they have the first one's name. */
static const char *list_of(int first, apr_pool_t *p)
{
    const gatehouse_worker_section_t *one = gatehouse_worker_section(first);
    apr_array_header_t *parts = apr_array_make(p, 8, sizeof(const char *));
    int i;

    APR_ARRAY_PUSH(parts, const char *) = apr_pstrcat(p, ",\"", one->section, "\":[", NULL);
    for (i = first; i < gatehouse_worker_section_count(); ++i) {
        const gatehouse_worker_section_t *other = gatehouse_worker_section(i);

        if (!strcmp(other->section, one->section)) {
            APR_ARRAY_PUSH(parts, const char *) = i == first ? "" : ",";
            APR_ARRAY_PUSH(parts, const char *) = other->json;
        }
    }
    APR_ARRAY_PUSH(parts, const char *) = "]";
    return wiped(apr_array_pstrcat(p, parts, 0), p);
}

static int is_first(int place)
{
    int i;

    for (i = 0; i < place; ++i) {
        if (!strcmp(gatehouse_worker_section(i)->section,
                    gatehouse_worker_section(place)->section)) {
            return 0;
        }
    }
    return 1;
}

/* As text: what parses and writes JSON leaves copies of secrets about. Once they are in the
 * configuration of the worker, nobody needs the sections. */
const char *gatehouse_describe_sections(const char *text, apr_pool_t *p)
{
    int i;

    for (i = 0; i < gatehouse_worker_section_count(); ++i) {
        if (!*gatehouse_worker_section(i)->json) {
            return NULL;
        }
        if (is_first(i)) {
            text = wiped(apr_pstrcat(p, wiped(apr_pstrmemdup(p, text, strlen(text) - 1), p),
                                     list_of(i, p), "}", NULL), p);
        }
    }
    for (i = 0; i < gatehouse_worker_section_count(); ++i) {
        overwrite((void *)gatehouse_worker_section(i)->json);
    }
    return text;
}
