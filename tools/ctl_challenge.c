/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* One-time challenges. The store has only their digests: a challenge is shown once, here. */

#include "ctl_commands.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/crypto.h>

#include "ctl_output.h"
#include "issuer/authorisation.h"
#include "x509/name.h"
#include "x509/san.h"

#define RULE "challenge"

#define LIFETIME_MAX apr_time_from_sec(366 * 86400)

const ctl_option_t ctl_challenge_new_options[] = {
    { "tenant", 0, "TENANT", "tenant of the SCEP path" },
    { "issuer", 0, "ISSUER", "issuer of the SCEP path" },
    { "profile", 0, "PROFILE", "profile of the SCEP path" },
    { "expires", 0, "DURATION", "how long it may be used, such as 30m or 2d (1h)" },
    { "subject", 0, "DN", "the subject that the request must have" },
    { "san", 0, "NAME...", "an alternative name of the request, all of them and no others" },
    { "set", 0, "NAME", "of \"SCEPChallenge onetime NAME\", if there are several" },
    { NULL, 0, NULL, NULL }
};

typedef struct {
    const char *tenant;
    const char *issuer;
    const char *profile;
    const char *subject;
    const apr_array_header_t *sans;
    const char *set;
    apr_interval_time_t lifetime;
} wish_t;

static int read_wish(wish_t *wish, const ctl_arguments_t *arguments, apr_pool_t *p)
{
    const char *expires = ctl_option(arguments, "expires");
    GENERAL_NAMES *names;
    X509_NAME *name;
    gh_result_t result;

    gh_result_clear(&result);
    wish->tenant = ctl_option(arguments, "tenant");
    wish->issuer = ctl_option(arguments, "issuer");
    wish->profile = ctl_option(arguments, "profile");
    wish->subject = ctl_option(arguments, "subject");
    wish->sans = ctl_option_all(arguments, "san");
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
    if (wish->sans != NULL && gh_san_read(&names, wish->sans, p, &result) != APR_SUCCESS) {
        return ctl_fail_usage(&result);
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

/* What the endpoints of one path take: virtual hosts may differ. */
typedef struct {
    const ctl_endpoint_t *endpoint; /* one of them, NULL if there is none */
    const char *set;                /* the one asked for, else the last one, else NULL */
    int several;                    /* there are different sets */
} offer_t;

static void add_sets(offer_t *offer, const ctl_endpoint_t *endpoint, const char *asked)
{
    int i;

    for (i = 0; i < endpoint->challenges->nelts; i++) {
        const char *set = set_of(APR_ARRAY_IDX(endpoint->challenges, i, const char *));

        if (set != NULL && (asked == NULL || strcmp(asked, set) == 0)) {
            offer->several |= offer->set != NULL && strcmp(offer->set, set) != 0;
            offer->set = set;
        }
    }
}

static void find_offer(offer_t *offer, const ctl_config_t *config, const wish_t *wish)
{
    const ctl_profile_t *profile = ctl_config_profile(config, wish->profile);
    const char *name = profile != NULL ? profile->name : wish->profile;
    int i;

    memset(offer, 0, sizeof(*offer));
    for (i = 0; i < config->endpoints->nelts; i++) {
        const ctl_endpoint_t *endpoint = APR_ARRAY_IDX(config->endpoints, i,
                                                       const ctl_endpoint_t *);

        if (strcmp(endpoint->tenant, wish->tenant) == 0
            && strcmp(endpoint->issuer, wish->issuer) == 0
            && (strcmp(endpoint->profile, name) == 0
                || strcmp(endpoint->profile, wish->profile) == 0)) {
            offer->endpoint = endpoint;
            add_sets(offer, endpoint, wish->set);
        }
    }
}

/* A challenge that no endpoint would take must not be handed out. */
static int place_wish(ctl_t *ctl, wish_t *wish)
{
    gh_result_t result;
    offer_t offer;

    gh_result_clear(&result);
    find_offer(&offer, ctl->config, wish);
    if (offer.endpoint == NULL) {
        gh_result_fail(&result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, RULE,
                       "gatehousectl urls lists the paths that are configured.",
                       GHNO(0344) "no SCEP location serves tenant %s, issuer %s, profile %s",
                       wish->tenant, wish->issuer, wish->profile);
        return ctl_fail(&result);
    }
    if (offer.several) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_REQUEST, RULE,
                       "Name one with --set, as in its \"SCEPChallenge onetime NAME\".",
                       GHNO(0345) "%s has several sets of one-time challenges",
                       offer.endpoint->path);
        return ctl_fail(&result);
    }
    if (offer.set == NULL) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_REQUEST, RULE,
                       "Add SCEPChallenge onetime (with the set's name, if you use one) to the "
                       "location.",
                       GHNO(0346) "%s takes no one-time challenges%s%s", offer.endpoint->path,
                       wish->set != NULL ? " of the set " : "",
                       wish->set != NULL ? wish->set : "");
        return ctl_fail(&result);
    }
    wish->set = offer.set;
    wish->profile = offer.endpoint->profile;
    return CTL_OK;
}

static void fill_spec(gh_challenge_spec_t *spec, const wish_t *wish, const ctl_t *ctl)
{
    memset(spec, 0, sizeof(*spec));
    spec->set = wish->set;
    spec->tenant = wish->tenant;
    spec->issuer = wish->issuer;
    spec->profile = wish->profile;
    spec->subject = wish->subject;
    spec->sans = wish->sans;
    spec->lifetime = wish->lifetime;
    spec->node = ctl->config->node;
    spec->actor = ctl->actor;
    spec->protocol = "ctl";
}

int ctl_challenge_new(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    wish_t wish;
    gh_challenge_spec_t spec;
    gh_challenge_made_t made;
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
    fill_spec(&spec, &wish, ctl);
    if (gh_challenge_new(ctl->store, &spec, &made, ctl->p, &result) != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    if (ctl->json) {
        object = json_object();
        json_object_set_new(object, "id", json_string(made.id));
        json_object_set_new(object, "challenge", json_string(made.challenge));
        json_object_set_new(object, "expires", ctl_json_time(made.expires, ctl->p));
        ctl_json_print(stdout, object);
    }
    else {
        ctl_field_print(stdout, "challenge", made.challenge, ctl->p);
        ctl_field_print(stdout, "id", made.id, ctl->p);
        ctl_field_print(stdout, "expires", gh_time_text(ctl->p, made.expires), ctl->p);
    }
    return CTL_OK;
}
