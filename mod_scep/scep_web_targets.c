/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* For which endpoints a location may make challenges, and whether those would take them. */

#include <string.h>

#include <apr_strings.h>

#include "mod_scep/scep_web.h"

/** @return 1 if an endpoint takes one-time challenges of a set */
static int takes(const scep_entry_t *entry, const char *set)
{
    int i;

    for (i = 0; entry->challenges && i < entry->challenges->nelts; ++i) {
        const char *name = APR_ARRAY_IDX(entry->challenges, i, scep_challenge_t).name;

        if (!strncmp(name, "onetime", 7)
            && (name[7] == ':' ? !strcmp(name + 8, set) : !name[7] && !*set)) {
            return 1;
        }
    }
    return 0;
}

/** As SCEPProfiles: a wildcard never stands for a profile that must be named in full. */
static int names(const scep_web_target_t *target, const scep_endpoint_t *endpoint,
                 const gatehouse_config_t *config)
{
    if (strcmp(target->tenant, endpoint->tenant) != 0
        || strcmp(target->issuer, endpoint->issuer) != 0) {
        return 0;
    }
    if (strchr(target->pattern, '*')) {
        return !gh_profile_is_privileged(endpoint->profile)
               && gh_wildcard_match(target->pattern, gh_profile_name(endpoint->profile));
    }
    return apr_hash_get(config->profiles, target->pattern, APR_HASH_KEY_STRING)
           == endpoint->profile;
}

apr_array_header_t *scep_web_found(server_rec *main_server, const scep_web_target_t *target,
                                   const gatehouse_config_t *config, apr_pool_t *p)
{
    apr_array_header_t *found = apr_array_make(p, 2, sizeof(scep_web_found_t));
    apr_hash_t *paths = apr_hash_make(p);
    server_rec *s;
    int i;

    for (s = main_server; s; s = s->next) {
        const scep_server_t *server = scep_server(s);

        for (i = 0; i < server->listed->nelts; ++i) {
            const scep_entry_t *entry = APR_ARRAY_IDX(server->listed, i, scep_entry_t *);

            if (names(target, &entry->endpoint, config) && takes(entry, target->set)
                && !apr_hash_get(paths, entry->endpoint.path, APR_HASH_KEY_STRING)) {
                scep_web_found_t one = { entry, target->set };

                apr_hash_set(paths, entry->endpoint.path, APR_HASH_KEY_STRING, entry);
                APR_ARRAY_PUSH(found, scep_web_found_t) = one;
            }
        }
    }
    return found;
}

const char *scep_web_url(const scep_entry_t *entry, const gatehouse_config_t *config,
                         apr_pool_t *p)
{
    const char *base = gh_issuer_config(entry->endpoint.ca)->public_url;

    return apr_pstrcat(p, base ? base : config->public_url, entry->endpoint.path, NULL);
}
