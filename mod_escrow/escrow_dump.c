/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What "httpd -t -D DUMP_GATEHOUSE" says of the escrow. */

#include <jansson.h>

#include <httpd.h>

#include "mod_escrow/escrow_api.h"
#include "mod_escrow/escrow_config.h"
#include "mod_escrow/escrow_events.h"
#include "mod_escrow/escrow_json.h"
#include "mod_escrow/escrow_mail_directory.h"
#include "mod_escrow/escrow_uem.h"
#include "mod_escrow/escrow_vault.h"
#include "mod_escrow/thumbprint.h"

static const char *const retentions[] = { "expiry", "days", "consumption" };

static json_t *dump_keys(const escrow_global_t *global)
{
    json_t *array = json_array();
    int i;

    for (i = 0; i < global->vault_keys->nelts; ++i) {
        const escrow_vault_key_t *key = APR_ARRAY_IDX(global->vault_keys, i,
                                                      escrow_vault_key_t *);

        json_array_append_new(array, json_pack("{s:s, s:s}", "id", key->id, "source",
                                               key->source));
    }
    return array;
}

json_t *escrow_dump_issuers(const apr_array_header_t *issuers)
{
    json_t *array = json_array();
    int i, j;

    for (i = 0; i < issuers->nelts; ++i) {
        const escrow_device_issuer_t *one = APR_ARRAY_IDX(issuers, i,
                                                          const escrow_device_issuer_t *);
        json_t *profiles = json_array();

        for (j = 0; j < one->profiles->nelts; ++j) {
            json_array_append_new(profiles, json_string(APR_ARRAY_IDX(one->profiles, j,
                                                                      const char *)));
        }
        json_array_append_new(array, json_pack("{s:s, s:o, s:b}", "issuer", one->issuer,
                                               "profiles", profiles, "challenges_trusted",
                                               one->challenges));
    }
    return array;
}

static json_t *dump_uems(void)
{
    json_t *array = json_array();
    int i;

    for (i = 0; escrow_uems() && i < escrow_uems()->nelts; ++i) {
        json_array_append_new(array, json_string(APR_ARRAY_IDX(escrow_uems(), i,
                                                               const escrow_uem_t *)->name));
    }
    return array;
}

/** UEMLife of each, in seconds. */
static json_t *dump_lives(void)
{
    json_t *object = json_object();
    int i;

    for (i = 0; escrow_uems() && i < escrow_uems()->nelts; ++i) {
        const escrow_uem_t *one = APR_ARRAY_IDX(escrow_uems(), i, const escrow_uem_t *);

        json_object_set_new(object, one->name, json_integer(apr_time_sec(one->life)));
    }
    return object;
}

/** Which events have credentials made, and whose addresses. */
static json_t *dump_provider(void)
{
    const escrow_provider_t *provider = escrow_provider();
    json_t *events = json_array(), *domains = json_array();
    int i;

    for (i = 0; provider && i < provider->rules->nelts; ++i) {
        json_array_append_new(events, json_string(APR_ARRAY_IDX(provider->rules, i,
                                                                gh_provide_rule_t).event));
    }
    for (i = 0; provider && i < provider->domains->nelts; ++i) {
        json_array_append_new(domains, json_string(APR_ARRAY_IDX(provider->domains, i,
                                                                 const char *)));
    }
    return json_pack("{s:o, s:o, s:b}", "events", events, "mail_domains", domains,
                     "mail_directory", escrow_mail_directory_used());
}

static json_t *dump_pin_files(const escrow_global_t *global)
{
    json_t *array = json_array();
    int i;

    for (i = 0; i < global->pin_files->nelts; ++i) {
        json_array_append_new(array, json_string(APR_ARRAY_IDX(global->pin_files, i,
                                                               const escrow_file_t *)->path));
    }
    return array;
}

void escrow_dump(void *json, server_rec *s, apr_pool_t *p)
{
    const escrow_global_t *global = escrow_global(p);
    const escrow_settings_t *settings = escrow_settings(p);
    json_t *object = json_object(), *cas = json_array();
    int i;

    for (i = 0; i < settings->device_cas->nelts; ++i) {
        json_array_append_new(cas, json_string(APR_ARRAY_IDX(settings->device_cas, i,
                                                             const char *)));
    }
    json_object_set_new(object, "vault_keys", dump_keys(global));
    json_object_set_new(object, "uems", dump_uems());
    json_object_set_new(object, "uem_lives", dump_lives());
    json_object_set_new(object, "provider", dump_provider());
    json_object_set_new(object, "pin_files", dump_pin_files(global));
    json_object_set_new(object, "retention", json_string(retentions[settings->retention]));
    json_object_set_new(object, "retention_days", settings->retention == ESCROW_RETAIN_DAYS
                        ? json_real((double)settings->days / (double)apr_time_from_sec(86400))
                        : json_null());
    json_object_set_new(object, "archive_replaced", json_boolean(settings->archive));
    json_object_set_new(object, "device_cas", cas);
    json_object_set_new(object, "device_issuers", escrow_dump_issuers(settings->device_issuers));
    json_object_set_new(object, "recipient", json_string(settings->trust.insecure
                                                         ? "first-use-insecure" : "device-ca"));
    json_object_set_new(json, "escrow", object);
}

void escrow_api_child_init(server_rec *s)
{
    if (escrow_global_now() && escrow_global_now()->vault_keys->nelts) {
        escrow_json_protect();
    }
}
