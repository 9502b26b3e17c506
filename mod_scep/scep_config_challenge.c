/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The challenge providers whose directive has more to it than a word: device managers, webhooks. */

#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>

#include "log.h"
#include "mod_scep/scep_config.h"
#include "x509/ca.h"
#include "x509/key.h"
#include "x509/name.h"

APLOG_USE_MODULE(scep);

#define EXPIRES_SOON apr_time_from_sec(30 * 86400)

/** @return an error, or NULL */
static const char *check_keys(cmd_parms *cmd, const apr_array_header_t *managers, const char *path)
{
    int i, j;

    for (i = 0; i < managers->nelts; ++i) {
        X509 *manager = APR_ARRAY_IDX(managers, i, X509 *);
        const char *subject = gh_name_text(X509_get_subject_name(manager), cmd->temp_pool);
        const char *kind = gh_key_kind(X509_get0_pubkey(manager));

        if (!kind || strncmp(kind, "RSA-", 4)) {
            return apr_psprintf(cmd->pool, GHNO(0488) "the key of manager %s in %s is not RSA with "
                                "2048, 3072 or 4096 bits: replies are encrypted to it", subject,
                                path);
        }
        for (j = 0; j < i; ++j) {
            if (!X509_cmp(manager, APR_ARRAY_IDX(managers, j, X509 *))) {
                return apr_psprintf(cmd->pool, GHNO(0490) "%s has the certificate of %s twice",
                                    path, subject);
            }
        }
    }
    return NULL;
}

const char *scep_make_manager(cmd_parms *cmd, scep_challenge_t *challenge, int argc,
                              char *const argv[])
{
    apr_array_header_t *managers;
    const char *path = NULL;
    gh_result_t result;

    if (argc == 2 && !strncmp(argv[1], "file:", 5)) {
        path = ap_server_root_relative(cmd->pool, argv[1] + 5);
    }
    if (!path) {
        return GHNO(0486) "SCEPChallenge manager takes file:PATH, with the certificates of device "
                          "managers";
    }
    gh_result_clear(&result);
    if (gh_certificates_open(&managers, path, cmd->pool, &result) != APR_SUCCESS) {
        return apr_psprintf(cmd->pool, GHNO(0487) "the certificates of device managers cannot be "
                            "read: %s. %s", result.message, result.action);
    }
    challenge->name = "manager";
    challenge->managers = managers;
    challenge->authoriser = gh_authoriser_manager(managers, cmd->pool);
    return check_keys(cmd, managers, path);
}

const char *scep_make_webhook(cmd_parms *cmd, scep_challenge_t *challenge, int argc,
                              char *const argv[])
{
    if (argc != 2 || !gh_name_valid(argv[1])) {
        return GHNO(0909) "SCEPChallenge webhook takes the name of a <Webhook>";
    }
    challenge->name = apr_pstrcat(cmd->pool, "webhook:", argv[1], NULL);
    challenge->webhook = argv[1];
    return NULL;                    /* whether there is one is known later */
}

/** Moves the last one to the front: who signs as a manager that may not any more is refused by
 *  that, whatever secret the request has. */
static void put_first(apr_array_header_t *challenges)
{
    scep_challenge_t *all = (scep_challenge_t *)challenges->elts;
    scep_challenge_t last = all[challenges->nelts - 1];

    memmove(all + 1, all, (size_t)(challenges->nelts - 1) * sizeof(*all));
    all[0] = last;
}

/** It grants whatever has a challenge, as far as can be told here: all others are asked before. */
static void put_webhook_last(apr_array_header_t *challenges)
{
    scep_challenge_t *all = (scep_challenge_t *)challenges->elts;
    int i;

    for (i = 0; i + 1 < challenges->nelts; ++i) {
        if (all[i].webhook) {
            scep_challenge_t webhook = all[i];

            all[i] = all[i + 1];
            all[i + 1] = webhook;
        }
    }
}

const char *scep_add_challenge(cmd_parms *cmd, apr_array_header_t *challenges,
                               const scep_challenge_t *challenge)
{
    int i;

    for (i = 0; i < challenges->nelts; ++i) {
        const scep_challenge_t *other = &APR_ARRAY_IDX(challenges, i, scep_challenge_t);
        if (!strcmp(other->name, challenge->name)) {
            return apr_psprintf(cmd->pool,
                                GHNO(0242) "this location has a challenge \"%s\" already, by line "
                                           "%d of %s",
                                challenge->name, other->place.line, other->place.file);
        }
        if (other->webhook && challenge->webhook) {
            return apr_psprintf(cmd->pool, GHNO(0908) "this location has webhook %s already, by "
                                "line %d of %s; one only is asked", other->webhook,
                                other->place.line, other->place.file);
        }
        if (!strcmp(other->name, "none") || !strcmp(challenge->name, "none")) {
            return apr_psprintf(cmd->pool,
                                GHNO(0243) "\"none insecure\" makes the other challenge of this "
                                           "location, in line %d of %s, useless; remove one of "
                                           "them",
                                other->place.line, other->place.file);
        }
    }
    APR_ARRAY_PUSH(challenges, scep_challenge_t) = *challenge;
    if (challenge->managers) {
        put_first(challenges);
    }
    put_webhook_last(challenges);
    return NULL;
}

const apr_array_header_t *scep_managers(const apr_array_header_t *challenges)
{
    int i;

    for (i = 0; challenges && i < challenges->nelts; ++i) {
        const scep_challenge_t *one = &APR_ARRAY_IDX(challenges, i, scep_challenge_t);
        if (one->managers) {
            return one->managers;
        }
    }
    return NULL;
}

static void warn_manager(const server_rec *s, scep_place_t place, X509 *manager, apr_pool_t *ptemp)
{
    apr_time_t now = apr_time_now();
    apr_time_t begin = gh_certificate_not_before(manager);
    apr_time_t end = gh_certificate_not_after(manager);

    if (now < begin || now >= end - EXPIRES_SOON) {
        scep_log_problem(s, APLOG_WARNING, place,
                         apr_psprintf(ptemp, GHNO(0489) "SCEPChallenge manager: the certificate of "
                                      "%s is valid from %s to %s only",
                                      gh_name_text(X509_get_subject_name(manager), ptemp),
                                      gh_time_text(ptemp, begin), gh_time_text(ptemp, end)),
                         ptemp);
    }
}

static void warn_section(const server_rec *s, const scep_section_t *section, apr_pool_t *ptemp)
{
    int i, j;

    for (i = 0; section->challenges && i < section->challenges->nelts; ++i) {
        const scep_challenge_t *one = &APR_ARRAY_IDX(section->challenges, i, scep_challenge_t);
        for (j = 0; one->managers && j < one->managers->nelts; ++j) {
            warn_manager(s, one->place, APR_ARRAY_IDX(one->managers, j, X509 *), ptemp);
        }
    }
}

void scep_warn_managers(server_rec *main_server, apr_pool_t *ptemp)
{
    server_rec *s;
    int i;

    for (s = main_server; s; s = s->next) {
        const core_server_config *core = ap_get_core_module_config(s->module_config);
        for (i = 0; i < core->sec_url->nelts; ++i) {
            const scep_section_t *section = ap_get_module_config(
                APR_ARRAY_IDX(core->sec_url, i, ap_conf_vector_t *), &scep_module);
            if (section && section->server == s) {
                warn_section(s, section, ptemp);
            }
        }
    }
}
