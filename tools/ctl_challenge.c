/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* One-time challenges. The store has only their digests: a challenge is shown once, here. */

#include "ctl_commands.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/crypto.h>

#include "ctl_output.h"
#include "issuer/authorisation.h"
#include "x509/name.h"

#define RULE "challenge"

#define LIFETIME_MAX apr_time_from_sec(366 * 86400)

const ctl_option_t ctl_challenge_new_options[] = {
    { "tenant", 0, "TENANT", "tenant of the SCEP path" },
    { "issuer", 0, "ISSUER", "issuer of the SCEP path" },
    { "profile", 0, "PROFILE", "profile of the SCEP path" },
    { "expires", 0, "DURATION", "how long it may be used, such as 30m or 2d (1h)" },
    { "subject", 0, "DN", "the subject that the request must have" },
    { "set", 0, "NAME", "of \"SCEPChallenge onetime NAME\", if there are several" },
    { NULL, 0, NULL, NULL }
};

typedef struct {
    const char *tenant;
    const char *issuer;
    const char *profile;
    const char *subject;
    const char *set;
    apr_interval_time_t lifetime;
} wish_t;

static int read_wish(wish_t *wish, const ctl_arguments_t *arguments, apr_pool_t *p)
{
    const char *expires = ctl_option(arguments, "expires");
    X509_NAME *name;
    gh_result_t result;

    gh_result_clear(&result);
    wish->tenant = ctl_option(arguments, "tenant");
    wish->issuer = ctl_option(arguments, "issuer");
    wish->profile = ctl_option(arguments, "profile");
    wish->subject = ctl_option(arguments, "subject");
    wish->set = ctl_option(arguments, "set");
    wish->lifetime = apr_time_from_sec(3600);
    if (wish->tenant == NULL || wish->issuer == NULL || wish->profile == NULL) {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Take them from the device's URL, /scep/TENANT/ISSUER/PROFILE.",
                       GHNO(0342) "a challenge needs --tenant, --issuer and --profile");
        return ctl_fail_usage(&result);
    }
    if (expires != NULL
        && (gh_duration_parse(&wish->lifetime, expires) != APR_SUCCESS
            || wish->lifetime < apr_time_from_sec(1) || wish->lifetime > LIFETIME_MAX)) {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Give a number and a unit, from 1s to 366d: 30m, 4h, 2d.",
                       GHNO(0343) "--expires %s is not a time that a challenge may last", expires);
        return ctl_fail_usage(&result);
    }
    if (wish->subject != NULL) {
        if (gh_name_parse(&name, wish->subject, p, &result) != APR_SUCCESS) {
            return ctl_fail_usage(&result);
        }
        wish->subject = gh_name_text(name, p);
    }
    return CTL_OK;
}

/* The set of a one-time provider of the endpoint: "" without a name, NULL for other providers. */
static const char *set_of(const char *challenge)
{
    if (strcmp(challenge, "onetime") == 0) {
        return "";
    }
    return strncmp(challenge, "onetime:", 8) == 0 ? challenge + 8 : NULL;
}

/* Chooses the endpoint's set: the one asked for, else the only one there is.
 * @param sets how many the endpoint has */
static const char *choose_set(const ctl_endpoint_t *endpoint, const char *asked, int *sets)
{
    const char *chosen = NULL;
    int i;

    *sets = 0;
    for (i = 0; i < endpoint->challenges->nelts; i++) {
        const char *set = set_of(APR_ARRAY_IDX(endpoint->challenges, i, const char *));

        if (set == NULL) {
            continue;
        }
        ++*sets;
        if (asked == NULL || strcmp(asked, set) == 0) {
            chosen = set;
        }
    }
    return asked == NULL && *sets > 1 ? NULL : chosen;
}

static const ctl_endpoint_t *find_endpoint(const ctl_config_t *config, const wish_t *wish)
{
    const ctl_profile_t *profile = ctl_config_profile(config, wish->profile);
    const char *name = profile != NULL ? profile->name : wish->profile;
    int i;

    for (i = 0; i < config->endpoints->nelts; i++) {
        const ctl_endpoint_t *endpoint = APR_ARRAY_IDX(config->endpoints, i,
                                                       const ctl_endpoint_t *);

        if (strcmp(endpoint->tenant, wish->tenant) == 0
            && strcmp(endpoint->issuer, wish->issuer) == 0
            && (strcmp(endpoint->profile, name) == 0
                || strcmp(endpoint->profile, wish->profile) == 0)) {
            return endpoint;
        }
    }
    return NULL;
}

/* A challenge that no endpoint would take must not be handed out. */
static int place_wish(ctl_t *ctl, wish_t *wish)
{
    const ctl_endpoint_t *endpoint = find_endpoint(ctl->config, wish);
    gh_result_t result;
    const char *set;
    int sets;

    gh_result_clear(&result);
    if (endpoint == NULL) {
        gh_result_fail(&result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, RULE,
                       "gatehousectl urls lists the paths that are configured.",
                       GHNO(0344) "no SCEP location serves tenant %s, issuer %s, profile %s",
                       wish->tenant, wish->issuer, wish->profile);
        return ctl_fail(&result);
    }
    set = choose_set(endpoint, wish->set, &sets);
    if (set == NULL && sets > 1 && wish->set == NULL) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_REQUEST, RULE,
                       "Name one with --set, as in its \"SCEPChallenge onetime NAME\".",
                       GHNO(0345) "%s has several sets of one-time challenges", endpoint->path);
        return ctl_fail(&result);
    }
    if (set == NULL) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_REQUEST, RULE,
                       "Add SCEPChallenge onetime (with the set's name, if you use one) to the "
                       "location.",
                       GHNO(0346) "%s takes no one-time challenges%s%s", endpoint->path,
                       wish->set != NULL ? " of the set " : "",
                       wish->set != NULL ? wish->set : "");
        return ctl_fail(&result);
    }
    wish->set = set;
    wish->profile = endpoint->profile;
    return CTL_OK;
}

int ctl_challenge_new(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    wish_t wish;
    const char *id;
    const char *challenge;
    apr_time_t expires;
    gh_result_t result;
    json_t *object;
    int code;

    code = read_wish(&wish, arguments, ctl->p);
    if (code == CTL_OK) {
        code = ctl_open(ctl);
    }
    if (code == CTL_OK) {
        code = place_wish(ctl, &wish);
    }
    if (code != CTL_OK) {
        return code;
    }
    gh_result_clear(&result);
    if (gh_challenge_new(ctl->store, wish.set, wish.tenant, wish.issuer, wish.profile,
                         wish.subject, wish.lifetime, ctl->config->node, ctl->actor, &id,
                         &challenge, &expires, ctl->p, &result) != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    if (ctl->json) {
        object = json_object();
        json_object_set_new(object, "id", json_string(id));
        json_object_set_new(object, "challenge", json_string(challenge));
        json_object_set_new(object, "expires", ctl_json_time(expires, ctl->p));
        ctl_json_print(stdout, object);
    }
    else {
        ctl_field_print(stdout, "challenge", challenge, ctl->p);
        ctl_field_print(stdout, "id", id, ctl->p);
        ctl_field_print(stdout, "expires", gh_time_text(ctl->p, expires), ctl->p);
    }
    return CTL_OK;
}
