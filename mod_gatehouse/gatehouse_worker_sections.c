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

/* Once they are in the configuration of the worker, nobody needs the texts. */
int gatehouse_describe_sections(json_t *document)
{
    int i;

    for (i = 0; i < gatehouse_worker_section_count(); ++i) {
        gatehouse_worker_section_t *section = APR_ARRAY_IDX(sections, i,
                                                            gatehouse_worker_section_t *);
        json_t *list = json_object_get(document, section->section);
        json_t *object = json_loads(section->json, 0, NULL);

        overwrite((void *)section->json);
        if (!list) {
            list = json_array();
            json_object_set_new(document, section->section, list);
        }
        if (json_array_append_new(list, object)) {
            return 0;
        }
    }
    return 1;
}
