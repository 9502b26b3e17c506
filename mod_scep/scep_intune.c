/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Connections to Intune: what their directives mean together, and what the worker is told. */

#include "mod_scep/scep_intune.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <http_log.h>
#include <jansson.h>
#include <openssl/crypto.h>

#include "issuer/intune.h"
#include "log.h"
#include "secret_json.h"
#include "x509/credential.h"

APLOG_USE_MODULE(scep);

#define ENDS_SOON apr_time_from_sec(30 * 86400)

static int problem(const server_rec *s, const scep_intune_t *intune, scep_place_t place,
                   const char *text, apr_pool_t *ptemp)
{
    scep_log_problem(s, APLOG_ERR, place, apr_psprintf(ptemp, "%s (connection %s)", text,
                                                       intune->name), ptemp);
    return 1;
}

static int tell(const server_rec *s, const scep_intune_t *intune, scep_place_t place,
                const char *directive, const gh_result_t *result, apr_pool_t *ptemp)
{
    return problem(s, intune, place, apr_psprintf(ptemp, "%s: %s: %s. %s", result->number,
                                                  directive, result->message, result->action),
                   ptemp);
}

/** What cannot be had: for the dump no reason to stop. */
static int missing(const server_rec *s, const scep_intune_t *intune, scep_place_t place,
                   const char *directive, const gh_result_t *result, apr_pool_t *pconf,
                   apr_pool_t *ptemp)
{
    APR_OPTIONAL_FN_TYPE(gatehouse_dump_problem) *note
        = APR_RETRIEVE_OPTIONAL_FN(gatehouse_dump_problem);

    if (note && note(pconf, NULL, directive, place.file, place.line, result)) {
        return 0;
    }
    return tell(s, intune, place, directive, result, ptemp);
}

static int load_secrets(server_rec *s, scep_intune_t *intune, apr_pool_t *pconf,
                        apr_pool_t *ptemp)
{
    gh_result_t result;
    int problems = 0, i;

    for (i = 0; i < intune->secrets->nelts; ++i) {
        scep_intune_secret_t *one = &APR_ARRAY_IDX(intune->secrets, i, scep_intune_secret_t);

        gh_result_clear(&result);
        if (gh_secret_load(&one->secret, one->source, pconf, &result) != APR_SUCCESS) {
            problems += missing(s, intune, one->place, "IntuneSecret", &result, pconf, ptemp);
        }
        if (one->expires && one->expires - apr_time_now() < ENDS_SOON) {
            scep_log_problem(s, APLOG_WARNING, one->place,
                             apr_psprintf(ptemp, GHNO(0977) "IntuneSecret of connection %s ends at "
                                          "%s; make another for the application in time, and "
                                          "configure it beside this one", intune->name,
                                          gh_time_text(ptemp, one->expires)), ptemp);
        }
    }
    return problems;
}

static int load_credential(server_rec *s, scep_intune_t *intune, apr_pool_t *pconf,
                           apr_pool_t *ptemp)
{
    gh_credential_t *credential = NULL;
    gh_result_t result;
    apr_status_t rv = APR_SUCCESS;

    if (!intune->credential) {
        return 0;
    }
    gh_result_clear(&result);
    if (intune->passphrase) {
        rv = gh_secret_load(&intune->pkcs12_secret, intune->passphrase, pconf, &result);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_credential_load(&credential, &intune->pkcs12, intune->credential,
                                intune->pkcs12_secret, NULL, pconf, &result);
    }
    if (credential) {
        /* the worker reads it itself */
        OPENSSL_cleanse((void *)credential->key.data, credential->key.length);
    }
    if (credential && (!credential->algorithm || strcmp(credential->algorithm, "RSA"))) {
        gh_result_clear(&result);
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_ALGORITHM, "credential",
                       "Make one with an RSA key of 2048 bits or more, and register its "
                       "certificate.",
                       GHNO(1459) "the key of the PKCS#12 %s is %s; Entra ID wants RSA",
                       intune->credential, credential->algorithm ? credential->algorithm : "none");
        return tell(s, intune, intune->credential_place, "IntuneCredential", &result, ptemp);
    }
    if (rv != APR_SUCCESS) {
        if (result.failure == GH_FAILURE_TIME) {
            /* what has ended keeps nothing but this connection from its work */
            tell(s, intune, intune->credential_place, "IntuneCredential", &result, ptemp);
            return 0;
        }
        return missing(s, intune, intune->credential_place, "IntuneCredential", &result, pconf,
                       ptemp);
    }
    if (credential->not_after - apr_time_now() < ENDS_SOON) {
        scep_log_problem(s, APLOG_WARNING, intune->credential_place,
                         apr_psprintf(ptemp, GHNO(0978) "IntuneCredential of connection %s ends at "
                                      "%s; make another, register its certificate, and configure "
                                      "it", intune->name,
                                      gh_time_text(ptemp, credential->not_after)), ptemp);
    }
    return 0;
}

static int load_trust(server_rec *s, scep_intune_t *intune, apr_pool_t *pconf, apr_pool_t *ptemp)
{
    gh_bytes_t none = { NULL, 0 };
    gh_result_t result;

    gh_result_clear(&result);
    return !intune->trust
        || gh_trust_load(&intune->trusted, intune->trust, none, pconf, &result) == APR_SUCCESS ? 0
        : missing(s, intune, intune->trust_place, "IntuneTrust", &result, pconf, ptemp);
}

/* What the worker is told */

/** Entra ID and Graph are called with paths of our own behind the URL. */
static const char *without_slash(const char *url, apr_pool_t *p)
{
    apr_size_t length = strlen(url);

    return url[length - 1] == '/' ? apr_pstrmemdup(p, url, length - 1) : url;
}

static json_t *describe_secrets(const scep_intune_t *intune, gh_secret_json_t *secrets)
{
    json_t *list = json_array();
    int i;

    for (i = 0; i < intune->secrets->nelts; ++i) {
        const scep_intune_secret_t *one = &APR_ARRAY_IDX(intune->secrets, i, scep_intune_secret_t);

        if (one->secret.length) {
            json_array_append_new(list, json_pack("{s:o, s:I}", "secret",
                                                  gh_secret_json_add(secrets, one->secret),
                                                  "expires", (json_int_t)one->expires));
        }
    }
    return list;
}

static void forget(gh_bytes_t bytes)
{
    OPENSSL_cleanse((void *)bytes.data, bytes.data ? bytes.length : 0);
}

/** The worker has them: nobody else needs them. */
static void forget_secrets(const scep_intune_t *intune)
{
    int i;

    for (i = 0; i < intune->secrets->nelts; ++i) {
        forget(APR_ARRAY_IDX(intune->secrets, i, scep_intune_secret_t).secret);
    }
    forget(intune->pkcs12);
    forget(intune->pkcs12_secret);
}

static int tell_worker(server_rec *s, const scep_intune_t *intune, apr_pool_t *pconf,
                       apr_pool_t *ptemp)
{
    APR_OPTIONAL_FN_TYPE(gatehouse_add_worker_section) *add
        = APR_RETRIEVE_OPTIONAL_FN(gatehouse_add_worker_section);
    gatehouse_worker_section_t section = { .section = GH_INTUNE };
    gh_secret_json_t *secrets = gh_secret_json_create(ptemp);
    json_t *json = !secrets ? NULL
                 : json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s*, s:s*, s:s*, s:s*, "
                             "s:i, s:b, s:i, s:f, s:I, s:o, s:o*, s:o*}",
                             "name", intune->name, "tenant", intune->tenant,
                             "application", intune->application,
                             "authority", without_slash(intune->authority, ptemp),
                             "graph", without_slash(intune->graph, ptemp),
                             "graph_version", intune->graph_version, "intune", intune->intune,
                             "resource", intune->resource, "trust", intune->trusted,
                             "proxy", intune->proxy, "cron", intune->cron,
                             "issuer_name", intune->issuer_name, "most", intune->most,
                             "lenient", intune->lenient, "concurrent", intune->concurrent,
                             "rate", intune->rate, "timeout", (json_int_t)intune->timeout,
                             "secrets", describe_secrets(intune, secrets),
                             "credential", gh_secret_json_add(secrets, intune->pkcs12),
                             "passphrase",
                             gh_secret_json_add(secrets, intune->pkcs12_secret));
    char *text = secrets ? gh_secret_json_write(secrets, json, ptemp) : NULL;

    json_decref(json);
    if (!text || !add) {
        return problem(s, intune, intune->place, GHNO(0979) "what is said of it cannot be written "
                       "as JSON; use UTF-8", ptemp);
    }
    section.json = text;
    section.queue = apr_pstrcat(pconf, GH_INTUNE_QUEUE, intune->name, NULL);
    section.wait = intune->wait;
    section.max_waiting = intune->max_waiting;
    add(&section, pconf);
    OPENSSL_cleanse(text, strlen(text));
    forget_secrets(intune);
    return 0;
}

static int check(server_rec *s, const gatehouse_config_t *config, scep_intune_t *intune,
                 apr_pool_t *pconf, apr_pool_t *ptemp)
{
    int problems = 0;

    if (!intune->tenant || !intune->application) {
        problems += problem(s, intune, intune->place, GHNO(0980) "<IntuneConnection> needs "
                            "IntuneTenant and IntuneApplication", ptemp);
    }
    if (!intune->secrets->nelts && !intune->credential) {
        problems += problem(s, intune, intune->place, GHNO(0981) "<IntuneConnection> needs "
                            "IntuneSecret or IntuneCredential, by which the application proves "
                            "itself", ptemp);
    }
    if (!config->sealing_configured) {
        problems += problem(s, intune, intune->place, GHNO(0982) "requests wait for Intune with "
                            "their challenge, which is a secret: add GatehouseSealingKey", ptemp);
    }
    problems += load_secrets(s, intune, pconf, ptemp);
    problems += load_credential(s, intune, pconf, ptemp);
    problems += load_trust(s, intune, pconf, ptemp);
    intune->authoriser = gh_authoriser_intune(intune->name, intune->deadline, pconf);
    return problems ? problems : tell_worker(s, intune, pconf, ptemp);
}

int scep_intune_check(server_rec *s, const gatehouse_config_t *config, apr_pool_t *pconf,
                      apr_pool_t *ptemp)
{
    const scep_server_t *server = scep_server(s);
    apr_hash_index_t *hi;
    int problems = 0;

    if (server->intunes) {
        for (hi = apr_hash_first(ptemp, server->intunes); hi; hi = apr_hash_next(hi)) {
            problems += check(s, config, apr_hash_this_val(hi), pconf, ptemp);
        }
    }
    return problems;
}

/** @return NULL if there is none */
static scep_intune_t *find(const scep_server_t *server, const char *name)
{
    return server->intunes && name ? apr_hash_get(server->intunes, name, APR_HASH_KEY_STRING)
        : NULL;
}

int scep_intune_check_section(const server_rec *s, const scep_server_t *server,
                              const scep_section_t *section, apr_pool_t *ptemp)
{
    const char *last = strrchr(section->path, '/');
    int narrow = last && !strcmp(last, "/intune"), problems = 0;

    if (section->intune && strcmp(section->intune, "off") && !find(server, section->intune)) {
        scep_log_problem(s, APLOG_ERR, section->intune_place,
                         apr_psprintf(ptemp, GHNO(0984) "SCEPIntune: there is no "
                                      "<IntuneConnection %s>", section->intune), ptemp);
        ++problems;
    }
    if (section->challenges && narrow) {
        scep_log_problem(s, APLOG_ERR,
                         APR_ARRAY_IDX(section->challenges, 0, scep_challenge_t).place,
                         GHNO(0985) "SCEPChallenge has no effect where Intune is asked; leave it "
                         "out", ptemp);
        ++problems;
    }
    if (section->renewal && !section->renewal->challenge && narrow) {
        scep_log_problem(s, APLOG_ERR, section->renewal_place,
                         GHNO(0986) "SCEPRenewal: where Intune is asked, who renews needs a "
                         "challenge too; add challenge=required, or leave it out", ptemp);
        ++problems;
    }
    return problems;
}

const apr_array_header_t *scep_intune_challenges(const scep_server_t *server, const char *name,
                                                 apr_pool_t *p)
{
    scep_intune_t *intune = find(server, name);
    apr_array_header_t *challenges;
    scep_challenge_t one;

    if (!intune) {
        return NULL;
    }
    memset(&one, 0, sizeof(one));
    intune->used = 1;
    one.name = apr_pstrcat(p, "intune:", intune->name, NULL);
    one.authoriser = intune->authoriser;
    one.place = intune->place;
    challenges = apr_array_make(p, 1, sizeof(one));
    APR_ARRAY_PUSH(challenges, scep_challenge_t) = one;
    return challenges;
}

void scep_intune_warn_unused(server_rec *s, apr_pool_t *ptemp)
{
    const scep_server_t *server = scep_server(s);
    apr_hash_index_t *hi;

    for (hi = server->intunes ? apr_hash_first(ptemp, server->intunes) : NULL; hi;
         hi = apr_hash_next(hi)) {
        const scep_intune_t *intune = apr_hash_this_val(hi);

        if (!intune->used) {
            scep_log_problem(s, APLOG_WARNING, intune->place,
                             apr_psprintf(ptemp, GHNO(0983) "<IntuneConnection %s> is used by no "
                                          "location; name it with SCEPIntune where SCEP is "
                                          "served", intune->name), ptemp);
        }
    }
}
