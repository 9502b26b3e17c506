/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What "httpd -t -D DUMP_GATEHOUSE" says of OCSP. */

#include <jansson.h>

#include <ap_listen.h>
#include <apr_strings.h>

#include "mod_ocsp/ocsp_child.h"

int ocsp_dump_problem(const ocsp_section_t *section, ocsp_place_t place, const char *directive,
                      const gh_result_t *result, apr_pool_t *pconf)
{
    APR_OPTIONAL_FN_TYPE(gatehouse_dump_problem) *note
        = APR_RETRIEVE_OPTIONAL_FN(gatehouse_dump_problem);

    return note && note(pconf, section->issuer ? section->name : NULL, directive, place.file,
                        place.line, result);
}

static json_t *text_or_null(const char *text)
{
    return text ? json_string(text) : json_null();
}

static json_t *dump_sources(const ocsp_section_t *section)
{
    static const char *const kinds[] = { "store", "crl", "serials", "index" };
    json_t *array = json_array();
    int i;

    for (i = 0; section->configs && i < section->configs->nelts; ++i) {
        const ocsp_source_config_t *source = &APR_ARRAY_IDX(section->configs, i,
                                                            ocsp_source_config_t);

        json_array_append_new(array, json_pack("{s:s, s:o, s:o}", "kind", kinds[source->kind],
                                               "url", text_or_null(source->url), "delta",
                                               text_or_null(source->delta)));
    }
    return array;
}

static json_t *dump_signers(const ocsp_section_t *section)
{
    json_t *array = json_array();
    int i;

    for (i = 0; i < section->signers->nelts; ++i) {
        const ocsp_signer_line_t *line = &APR_ARRAY_IDX(section->signers, i, ocsp_signer_line_t);
        const ocsp_signer_config_t *config = &line->config;

        json_array_append_new(array, config->source == OCSP_SIGNER_AUTO
            ? json_pack("{s:s, s:s, s:s}", "source", "auto", "kind", config->kind, "profile",
                        line->profile)
            : json_pack("{s:s, s:s, s:s, s:o}", "source", "files", "certificate",
                        config->certificate, "key", config->key, "passphrase",
                        text_or_null(config->passphrase)));
    }
    return array;
}

static json_t *seconds(apr_interval_time_t time)
{
    return json_integer(time > 0 ? (json_int_t)apr_time_sec(time) : 0);
}

static json_t *dump_authority(const ocsp_section_t *section, apr_pool_t *p)
{
    static const char *const unknown[] = { "unknown", "revoked", "good", "unauthorized" };
    static const char *const cutoffs[] = { "off", "ca", "date", "retention", "crl" };
    const ocsp_policy_t *policy = &section->policy;
    json_t *json = json_object();

    json_object_set_new(json, "name", json_string(section->name));
    json_object_set_new(json, "issuer", section->issuer ? json_string(section->name)
                                                        : json_null());
    json_object_set_new(json, "certificate", section->issuer
        ? text_or_null(gh_issuer_config(section->issuer)->certificate)
        : text_or_null(section->certificate_path));
    json_object_set_new(json, "digest", json_string(gh_hex(p, section->digest,
                                                           sizeof(section->digest))));
    json_object_set_new(json, "sources", dump_sources(section));
    json_object_set_new(json, "signers", dump_signers(section));
    json_object_set_new(json, "status", text_or_null(section->status));
    json_object_set_new(json, "unknown", json_string(unknown[policy->if_unknown]));
    json_object_set_new(json, "next_update", policy->next_update == OCSP_NEXT_UPDATE_OF_CRL
                        ? json_string("crl") : seconds(policy->next_update));
    json_object_set_new(json, "unknown_next_update", seconds(policy->unknown_next_update));
    json_object_set_new(json, "archive_cutoff", json_string(cutoffs[policy->cutoff]));
    json_object_set_new(json, "archive_cutoff_date", policy->cutoff == OCSP_CUTOFF_DATE
                        ? json_string(gh_time_text(p, policy->cutoff_date)) : json_null());
    json_object_set_new(json, "archive_cutoff_retention", seconds(policy->cutoff_retention));
    json_object_set_new(json, "max_stale", seconds(policy->max_stale));
    json_object_set_new(json, "responder_id", json_string(policy->by_name ? "name" : "key"));
    json_object_set_new(json, "retention", seconds(section->retention));
    json_object_set_new(json, "serve_expired", json_boolean(policy->serve_expired));
    return json;
}

/** Without a port in ServerName, that of the virtual host, or the first that is listened on. */
static const char *server_name(const server_rec *s, apr_pool_t *p)
{
    apr_port_t port = s->port;

    if (!port && s->is_virtual && s->addrs) {
        port = s->addrs->host_port;
    }
    if (!port && ap_listeners && ap_listeners->bind_addr) {
        port = ap_listeners->bind_addr->port;
    }
    return apr_psprintf(p, "%s:%u", s->server_hostname ? s->server_hostname : "", port);
}

static void dump_paths(json_t *array, const server_rec *s, const apr_array_header_t *paths,
                       int fast, apr_pool_t *p)
{
    int i;

    for (i = 0; paths && i < paths->nelts; ++i) {
        const ocsp_path_t *path = &APR_ARRAY_IDX(paths, i, ocsp_path_t);

        json_array_append_new(array, json_pack("{s:s, s:s, s:b}", "server", server_name(s, p),
                                               "path", path->length ? path->path : "/", "fast",
                                               fast));
    }
}

void ocsp_dump(void *json, server_rec *main_server, apr_pool_t *p)
{
    const ocsp_server_t *server = ocsp_server(main_server);
    json_t *authorities = json_array(), *endpoints = json_array();
    const server_rec *s;
    int i;

    for (i = 0; i < server->sections->nelts; ++i) {
        json_array_append_new(authorities, dump_authority(
            APR_ARRAY_IDX(server->sections, i, ocsp_section_t *), p));
    }
    for (s = main_server; s; s = s->next) {
        dump_paths(endpoints, s, ocsp_server(s)->fast, 1, p);
        dump_paths(endpoints, s, ocsp_server(s)->locations, 0, p);
    }
    json_object_set_new(json, "ocsp", json_pack("{s:o, s:o, s:o}", "directory",
                                                text_or_null(server->directory), "authorities",
                                                authorities, "endpoints", endpoints));
}
