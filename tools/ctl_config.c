/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "ctl_config.h"

#include <string.h>

#include <apr_strings.h>
#include <jansson.h>

#include "ctl_process.h"
#include "ctl_text.h"
#include "log.h"

#define RULE "configuration"

static const char *member_text(const json_t *object, const char *name, apr_pool_t *p)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text != NULL ? apr_pstrdup(p, text) : NULL;
}

static apr_int64_t member_number(const json_t *object, const char *name, apr_int64_t otherwise)
{
    const json_t *number = json_object_get(object, name);

    return json_is_number(number) ? (apr_int64_t)json_number_value(number) : otherwise;
}

static apr_interval_time_t member_interval(const json_t *object, const char *name)
{
    return apr_time_from_sec(member_number(object, name, 0));
}

static apr_array_header_t *member_texts(const json_t *object, const char *name, apr_pool_t *p)
{
    const json_t *array = json_object_get(object, name);
    apr_array_header_t *texts = apr_array_make(p, 4, sizeof(const char *));
    const json_t *element;
    size_t i;

    json_array_foreach(array, i, element) {
        if (json_is_string(element)) {
            APR_ARRAY_PUSH(texts, const char *) = apr_pstrdup(p, json_string_value(element));
        }
    }
    return texts;
}

static apr_array_header_t *parse_issuers(const json_t *root, apr_pool_t *p)
{
    apr_array_header_t *issuers = apr_array_make(p, 4, sizeof(ctl_issuer_t *));
    const json_t *element;
    size_t i;

    json_array_foreach(json_object_get(root, "issuers"), i, element) {
        ctl_issuer_t *issuer = apr_pcalloc(p, sizeof(*issuer));

        issuer->name = member_text(element, "name", p);
        issuer->backend = member_text(element, "backend", p);
        issuer->certificate = member_text(element, "certificate", p);
        issuer->key = member_text(element, "key", p);
        issuer->passphrase = member_text(element, "passphrase", p);
        issuer->chain = member_text(element, "chain", p);
        issuer->public_url = member_text(element, "public_url", p);
        issuer->crl_file = member_text(element, "crl_file", p);
        issuer->crl_validity = member_interval(element, "crl_validity");
        issuer->crl_publish = member_interval(element, "crl_publish");
        issuer->crl_delay = member_interval(element, "crl_delay");
        if (issuer->name != NULL && issuer->backend != NULL) {
            APR_ARRAY_PUSH(issuers, ctl_issuer_t *) = issuer;
        }
    }
    return issuers;
}

static apr_array_header_t *parse_profiles(const json_t *root, apr_pool_t *p)
{
    apr_array_header_t *profiles = apr_array_make(p, 80, sizeof(ctl_profile_t *));
    const json_t *element;
    size_t i;

    json_array_foreach(json_object_get(root, "profiles"), i, element) {
        ctl_profile_t *profile = apr_pcalloc(p, sizeof(*profile));

        profile->name = member_text(element, "name", p);
        profile->aliases = member_texts(element, "aliases", p);
        profile->approval = member_text(element, "approval", p);
        profile->privileged = json_is_true(json_object_get(element, "privileged"));
        profile->internal = json_is_true(json_object_get(element, "internal"));
        if (profile->name != NULL) {
            APR_ARRAY_PUSH(profiles, ctl_profile_t *) = profile;
        }
    }
    return profiles;
}

static apr_array_header_t *parse_endpoints(const json_t *root, apr_pool_t *p)
{
    apr_array_header_t *endpoints = apr_array_make(p, 16, sizeof(ctl_endpoint_t *));
    const json_t *element;
    size_t i;

    json_array_foreach(json_object_get(root, "scep"), i, element) {
        ctl_endpoint_t *endpoint = apr_pcalloc(p, sizeof(*endpoint));

        endpoint->server = member_text(element, "server", p);
        endpoint->path = member_text(element, "path", p);
        endpoint->tenant = member_text(element, "tenant", p);
        endpoint->issuer = member_text(element, "issuer", p);
        endpoint->profile = member_text(element, "profile", p);
        endpoint->challenges = member_texts(element, "challenges", p);
        endpoint->algorithms = member_texts(element, "algorithms", p);
        if (endpoint->path != NULL && endpoint->tenant != NULL && endpoint->issuer != NULL
            && endpoint->profile != NULL) {
            APR_ARRAY_PUSH(endpoints, ctl_endpoint_t *) = endpoint;
        }
    }
    return endpoints;
}

static void parse_page(apr_array_header_t *pages, const json_t *element, apr_pool_t *p)
{
    static const char prefix[] = "gatehouse-scep-";
    const char *handler = member_text(element, "handler", p);
    const json_t *target;
    size_t i;

    json_array_foreach(json_object_get(element, "targets"), i, target) {
        ctl_page_t *page = apr_pcalloc(p, sizeof(*page));

        page->server = member_text(element, "server", p);
        page->path = member_text(element, "path", p);
        page->kind = handler != NULL && strncmp(handler, prefix, sizeof(prefix) - 1) == 0
            ? handler + sizeof(prefix) - 1 : handler;
        page->plain = json_is_true(json_object_get(element, "plain"));
        page->tenant = member_text(target, "tenant", p);
        page->issuer = member_text(target, "issuer", p);
        page->profile = member_text(target, "profile", p);
        page->challenge = member_text(target, "challenge", p);
        if (page->server != NULL && page->path != NULL && page->kind != NULL) {
            APR_ARRAY_PUSH(pages, ctl_page_t *) = page;
        }
    }
}

static apr_array_header_t *parse_pages(const json_t *root, apr_pool_t *p)
{
    apr_array_header_t *pages = apr_array_make(p, 4, sizeof(ctl_page_t *));
    const json_t *element;
    size_t i;

    json_array_foreach(json_object_get(root, "scep_pages"), i, element) {
        parse_page(pages, element, p);
    }
    return pages;
}

static apr_array_header_t *parse_signers(const json_t *array, apr_pool_t *p)
{
    apr_array_header_t *signers = apr_array_make(p, 2, sizeof(ctl_signer_t *));
    const json_t *element;
    size_t i;

    json_array_foreach(array, i, element) {
        ctl_signer_t *signer = apr_pcalloc(p, sizeof(*signer));

        signer->kind = member_text(element, "kind", p);
        signer->certificate = member_text(element, "certificate", p);
        signer->key = member_text(element, "key", p);
        signer->passphrase = member_text(element, "passphrase", p);
        APR_ARRAY_PUSH(signers, ctl_signer_t *) = signer;
    }
    return signers;
}

/* The place of a text in a list; 0 for one that is not there. */
static int place_of(const char *text, const char *const *names, int count)
{
    int i;

    for (i = count - 1; i > 0 && (text == NULL || strcmp(text, names[i]) != 0); i--) {
    }
    return i;
}

static void parse_policy(ocsp_policy_t *policy, const json_t *object)
{
    static const char *const unknown[] = { "unknown", "revoked", "good", "unauthorized" };
    static const char *const cutoffs[] = { "off", "ca", "date", "retention", "crl" };
    const char *date = json_string_value(json_object_get(object, "archive_cutoff_date"));
    const char *responder = json_string_value(json_object_get(object, "responder_id"));

    policy->if_unknown = (ocsp_if_unknown_t)place_of(
        json_string_value(json_object_get(object, "unknown")), unknown, 4);
    policy->next_update = json_is_string(json_object_get(object, "next_update"))
        ? OCSP_NEXT_UPDATE_OF_CRL : member_interval(object, "next_update");
    policy->unknown_next_update = member_interval(object, "unknown_next_update");
    policy->cutoff = (ocsp_cutoff_t)place_of(
        json_string_value(json_object_get(object, "archive_cutoff")), cutoffs, 5);
    if (date == NULL || gh_time_parse(&policy->cutoff_date, date) != APR_SUCCESS) {
        policy->cutoff_date = 0;
    }
    policy->cutoff_retention = member_interval(object, "archive_cutoff_retention");
    policy->by_name = responder != NULL && strcmp(responder, "name") == 0;
    policy->max_stale = member_interval(object, "max_stale");
    policy->serve_expired = json_is_true(json_object_get(object, "serve_expired"));
}

static int has_store(const json_t *sources)
{
    const json_t *source;
    size_t i;

    json_array_foreach(sources, i, source) {
        const char *kind = json_string_value(json_object_get(source, "kind"));

        if (kind != NULL && strcmp(kind, "store") == 0) {
            return 1;
        }
    }
    return 0;
}

static apr_array_header_t *parse_authorities(const json_t *root, apr_pool_t *p)
{
    const json_t *array = json_object_get(json_object_get(root, "ocsp"), "authorities");
    apr_array_header_t *authorities = apr_array_make(p, 4, sizeof(ctl_authority_t *));
    const json_t *element;
    size_t i;

    json_array_foreach(array, i, element) {
        ctl_authority_t *authority = apr_pcalloc(p, sizeof(*authority));

        authority->name = member_text(element, "name", p);
        authority->certificate = member_text(element, "certificate", p);
        authority->issuer = member_text(element, "issuer", p);
        authority->digest = member_text(element, "digest", p);
        authority->store = has_store(json_object_get(element, "sources"));
        authority->signers = parse_signers(json_object_get(element, "signers"), p);
        parse_policy(&authority->policy, element);
        if (authority->name != NULL) {
            APR_ARRAY_PUSH(authorities, ctl_authority_t *) = authority;
        }
    }
    return authorities;
}

static apr_array_header_t *parse_responders(const json_t *root, apr_pool_t *p)
{
    const json_t *array = json_object_get(json_object_get(root, "ocsp"), "endpoints");
    apr_array_header_t *responders = apr_array_make(p, 4, sizeof(ctl_responder_t *));
    const json_t *element;
    size_t i;

    json_array_foreach(array, i, element) {
        ctl_responder_t *responder = apr_pcalloc(p, sizeof(*responder));

        responder->server = member_text(element, "server", p);
        responder->path = member_text(element, "path", p);
        if (responder->path != NULL) {
            APR_ARRAY_PUSH(responders, ctl_responder_t *) = responder;
        }
    }
    return responders;
}

static apr_array_header_t *parse_vault_keys(const json_t *root, apr_pool_t *p)
{
    apr_array_header_t *keys = apr_array_make(p, 2, sizeof(ctl_vault_key_t));
    const json_t *escrow = json_object_get(root, "escrow");
    const json_t *element;
    size_t i;

    json_array_foreach(json_object_get(escrow, "vault_keys"), i, element) {
        ctl_vault_key_t key = { member_text(element, "id", p), member_text(element, "source", p) };

        if (key.id != NULL && key.source != NULL) {
            APR_ARRAY_PUSH(keys, ctl_vault_key_t) = key;
        }
    }
    return keys;
}

static apr_hash_t *parse_uem_lives(const json_t *root, apr_pool_t *p)
{
    json_t *lives = json_object_get(json_object_get(root, "escrow"), "uem_lives"), *value;
    apr_hash_t *hash = apr_hash_make(p);
    const char *name;

    json_object_foreach(lives, name, value) {
        apr_interval_time_t *life = apr_palloc(p, sizeof(*life));

        *life = apr_time_from_sec(json_integer_value(value));
        apr_hash_set(hash, apr_pstrdup(p, name), APR_HASH_KEY_STRING, life);
    }
    return hash;
}

static apr_status_t release(void *data)
{
    json_decref(data);
    return APR_SUCCESS;
}

/* A member as it is, for as long as the pool lives; NULL if there is none. */
static const json_t *keep(const json_t *root, const char *name, apr_pool_t *p)
{
    json_t *member = json_incref(json_object_get(root, name));

    if (member != NULL) {
        apr_pool_cleanup_register(p, member, release, apr_pool_cleanup_null);
    }
    return member;
}

static apr_array_header_t *parse_problems(const json_t *root, apr_pool_t *p)
{
    apr_array_header_t *problems = apr_array_make(p, 2, sizeof(ctl_problem_t *));
    const json_t *element;
    size_t i;

    json_array_foreach(json_object_get(root, "problems"), i, element) {
        ctl_problem_t *problem = apr_pcalloc(p, sizeof(*problem));

        problem->name = member_text(element, "name", p);
        problem->place = member_text(element, "place", p);
        problem->number = member_text(element, "gh", p);
        problem->message = member_text(element, "message", p);
        problem->action = member_text(element, "action", p);
        if (problem->name != NULL && problem->message != NULL) {
            APR_ARRAY_PUSH(problems, ctl_problem_t *) = problem;
        }
    }
    return problems;
}

apr_status_t ctl_config_parse(ctl_config_t **config, const char *text, apr_size_t length,
                              apr_pool_t *p, gh_result_t *result)
{
    ctl_config_t *parsed = apr_pcalloc(p, sizeof(*parsed));
    const json_t *run_as;
    json_error_t error;
    json_t *root;

    root = json_loadb(text, length, 0, &error);
    if (!json_is_object(root)) {
        json_decref(root);
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, RULE,
                              "Use the gatehousectl that was installed together with the modules.",
                              GHNO(0324) "what httpd says of its configuration is not understood: "
                              "%s", root == NULL ? error.text : "not an object");
    }
    run_as = json_object_get(root, "run_as");
    parsed->version = member_text(root, "version", p);
    parsed->store = member_text(root, "store", p);
    parsed->public_url = member_text(root, "public_url", p);
    parsed->sealing = json_is_true(json_object_get(root, "sealing"));
    parsed->sealing_key = member_text(root, "sealing_key", p);
    parsed->node = member_text(root, "node", p);
    parsed->audit_log = member_text(root, "audit_log", p);
    parsed->user = member_text(run_as, "user", p);
    parsed->uid = member_number(run_as, "uid", -1);
    parsed->gid = member_number(run_as, "gid", -1);
    parsed->server_root = member_text(root, "server_root", p);
    parsed->listen = member_texts(root, "listen", p);
    parsed->issuers = parse_issuers(root, p);
    parsed->queues = member_texts(root, "queues", p);
    parsed->profiles = parse_profiles(root, p);
    parsed->endpoints = parse_endpoints(root, p);
    parsed->pages = parse_pages(root, p);
    parsed->ocsp_directory = member_text(json_object_get(root, "ocsp"), "directory", p);
    parsed->authorities = parse_authorities(root, p);
    parsed->responders = parse_responders(root, p);
    parsed->uems = member_texts(json_object_get(root, "escrow"), "uems", p);
    parsed->uem_lives = parse_uem_lives(root, p);
    parsed->vault_keys = parse_vault_keys(root, p);
    parsed->problems = parse_problems(root, p);
    parsed->wstep = keep(root, "wstep", p);
    parsed->templates = keep(root, "certificate_templates", p);
    json_decref(root);
    *config = parsed;
    return APR_SUCCESS;
}

apr_status_t ctl_config_load(ctl_config_t **config, const char *httpd, const char *conf,
                             const char **errors, apr_pool_t *p, gh_result_t *result)
{
    const char *argv[] = { httpd, "-t", "-D", "DUMP_GATEHOUSE", "-f", conf, NULL };
    const char *out = "";
    const char *begin;
    apr_status_t rv;
    int status = 0;

    *errors = "";
    rv = ctl_process_run(argv, &out, errors, &status, p);
    if (rv != APR_SUCCESS) {
        return gh_result_fail(result, rv, GH_FAILURE_INTERNAL, RULE,
                              "Name httpd's program with --httpd or in GATEHOUSE_HTTPD.",
                              GHNO(0325) "%s cannot be run: %s", httpd,
                              ctl_error_text(rv, p));
    }
    if (status != 0) {
        return gh_result_fail(result, APR_EGENERAL, GH_FAILURE_REQUEST, RULE,
                              "Correct what httpd complains about; if it may not read a file, run "
                              "this as root.",
                              GHNO(0326) "httpd refuses the configuration %s (exit status %d)",
                              conf, status);
    }
    begin = out + strspn(out, " \t\r\n");
    if (*begin == '\0') {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                              "Load mod_gatehouse with LoadModule in that configuration.",
                              GHNO(0327) "the configuration %s does not load mod_gatehouse", conf);
    }
    return ctl_config_parse(config, begin, strlen(begin), p, result);
}

const ctl_issuer_t *ctl_config_issuer(const ctl_config_t *config, const char *name)
{
    int i;

    for (i = 0; i < config->issuers->nelts; i++) {
        const ctl_issuer_t *issuer = APR_ARRAY_IDX(config->issuers, i, const ctl_issuer_t *);

        if (strcmp(issuer->name, name) == 0) {
            return issuer;
        }
    }
    return NULL;
}

/* What httpd listens on, if nobody has said under which name it is known. */
static const char *local_url(const ctl_config_t *config, apr_pool_t *p)
{
    const char *address;

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

const char *ctl_config_public_url(const ctl_config_t *config, const char *name, apr_pool_t *p)
{
    const ctl_issuer_t *issuer = name != NULL ? ctl_config_issuer(config, name) : NULL;

    if (issuer != NULL && issuer->public_url != NULL) {
        return issuer->public_url;
    }
    return config->public_url != NULL ? config->public_url : local_url(config, p);
}

static int has_path_before(const ctl_config_t *config, int end)
{
    const char *path = APR_ARRAY_IDX(config->endpoints, end, const ctl_endpoint_t *)->path;
    int i;

    for (i = 0; i < end; i++) {
        if (strcmp(APR_ARRAY_IDX(config->endpoints, i, const ctl_endpoint_t *)->path, path) == 0) {
            return 1;
        }
    }
    return 0;
}

int ctl_config_paths(const ctl_config_t *config)
{
    int count = 0;
    int i;

    for (i = 0; i < config->endpoints->nelts; i++) {
        count += !has_path_before(config, i);
    }
    return count;
}

static int profile_named(const ctl_profile_t *profile, const char *name)
{
    int i;

    if (strcmp(profile->name, name) == 0) {
        return 1;
    }
    for (i = 0; i < profile->aliases->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(profile->aliases, i, const char *), name) == 0) {
            return 1;
        }
    }
    return 0;
}

const ctl_profile_t *ctl_config_profile(const ctl_config_t *config, const char *name)
{
    int i;

    for (i = 0; i < config->profiles->nelts; i++) {
        const ctl_profile_t *profile = APR_ARRAY_IDX(config->profiles, i, const ctl_profile_t *);

        if (profile_named(profile, name)) {
            return profile;
        }
    }
    return NULL;
}
