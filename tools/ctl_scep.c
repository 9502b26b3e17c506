/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* scep explain: what a captured message says, and what a server makes of it. Opens no key. */

#include "ctl_commands.h"

#include <string.h>

#include <apr_strings.h>

#include "ctl_file.h"
#include "ctl_output.h"
#include "ctl_scep.h"
#include "ctl_text.h"
#include "mod_scep/scep_ra_store.h"
#include "mod_scep/scep_url.h"
#include "x509/ca.h"
#include "x509/key.h"

#define RULE "scep explain"

#define ALL_ALLOWED (SCEP_ALLOW_3DES | SCEP_ALLOW_SHA1)

const ctl_option_t ctl_scep_explain_options[] = {
    { "location", 0, "PATH", "where the message was sent to, such as /scep/acme/devices/mobile" },
    { NULL, 0, NULL, NULL }
};

static int read_input(gh_bytes_t *input, const char *path, apr_pool_t *p)
{
    apr_status_t rv = ctl_file_read(input, path, SCEP_CAPTURE_MAX, p);
    gh_result_t result;

    if (rv == APR_SUCCESS) {
        return CTL_OK;
    }
    gh_result_clear(&result);
    gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_REQUEST, RULE,
                   "Check the path, and capture one message alone.",
                   GHNO(0424) "%s cannot be read: %s",
                   strcmp(path, "-") == 0 ? "standard input" : path,
                   rv == APR_ENOSPC ? apr_psprintf(p, "it has more than %d bytes", SCEP_CAPTURE_MAX)
                                    : ctl_error_text(rv, p));
    return ctl_fail(&result);
}

/* The configuration */

static void add_known(ctl_scep_t *scep, const char *issuer, const char *role,
                      apr_int64_t generation, const char *state, X509 *certificate)
{
    ctl_scep_known_t *known = &APR_ARRAY_PUSH(scep->known, ctl_scep_known_t);

    known->issuer = issuer;
    known->role = role;
    known->generation = generation;
    known->state = state;
    known->certificate = certificate;
}

static const char *state_of(X509 *certificate)
{
    return gh_certificate_not_after(certificate) <= apr_time_now() ? "expired" : "usable";
}

static apr_status_t add_ras(ctl_scep_t *scep, const ctl_t *ctl, const char *issuer,
                            gh_result_t *result)
{
    apr_array_header_t *generations;
    apr_status_t rv;
    int i;

    rv = gh_generations_list(&generations, ctl->store, SCEP_RA_PURPOSE, issuer, apr_time_now(),
                             ctl->p, result);
    for (i = 0; rv == APR_SUCCESS && i < generations->nelts; i++) {
        const gh_generation_t *generation = gh_generation_at(generations, i);
        X509 *certificate = gh_certificate_parse(generation->record->certificate, ctl->p);

        if (certificate != NULL) {
            add_known(scep, issuer, "RA", generation->record->generation,
                      generation->withdrawn ? "withdrawn" : state_of(certificate), certificate);
        }
    }
    return rv;
}

/* Files that cannot be read now are what "check" tells of. */
static void add_cas(ctl_scep_t *scep, const ctl_issuer_t *issuer, apr_pool_t *p)
{
    apr_array_header_t *chain;
    X509 *certificate;
    int i;

    if (issuer->certificate != NULL
        && gh_certificate_open(&certificate, issuer->certificate, issuer->passphrase, p, NULL)
           == APR_SUCCESS) {
        add_known(scep, issuer->name, "CA", 0, state_of(certificate), certificate);
    }
    if (issuer->chain != NULL
        && gh_certificates_open(&chain, issuer->chain, p, NULL) == APR_SUCCESS) {
        for (i = 0; i < chain->nelts; i++) {
            X509 *above = APR_ARRAY_IDX(chain, i, X509 *);

            add_known(scep, issuer->name, "chain", 0, state_of(above), above);
        }
    }
}

/* Learns what messages may be encrypted to. Without a store that can be read, the rest is told. */
static void learn(ctl_scep_t *scep, ctl_t *ctl)
{
    const apr_array_header_t *issuers = ctl->config->issuers;
    gh_result_t result;
    apr_status_t rv;
    int i;

    gh_result_clear(&result);
    scep->known = apr_array_make(ctl->p, 8, sizeof(ctl_scep_known_t));
    rv = ctl_open_store(ctl, &result);
    for (i = 0; rv == APR_SUCCESS && i < issuers->nelts; i++) {
        const ctl_issuer_t *issuer = APR_ARRAY_IDX(issuers, i, const ctl_issuer_t *);

        rv = add_ras(scep, ctl, issuer->name, &result);
        add_cas(scep, issuer, ctl->p);
    }
    if (rv != APR_SUCCESS) {
        scep->known = NULL;
        scep->note = apr_psprintf(ctl->p, "the store cannot be read, so the RA certificates are "
                                  "not known: %s: %s", result.number, result.message);
    }
}

/* Judgements */

static unsigned allowed_at(const ctl_endpoint_t *endpoint)
{
    unsigned allow = 0;
    int i;

    for (i = 0; i < endpoint->algorithms->nelts; i++) {
        const char *name = APR_ARRAY_IDX(endpoint->algorithms, i, const char *);

        allow |= strcmp(name, "3des") == 0 ? SCEP_ALLOW_3DES : 0;
        allow |= strcmp(name, "sha1") == 0 ? SCEP_ALLOW_SHA1 : 0;
    }
    return allow;
}

/* What a server has for an issuer. @param issuer NULL: for all of them */
static void make_destination(scep_destination_t *destination, const ctl_scep_t *scep,
                             const char *issuer, unsigned allow, apr_pool_t *p)
{
    apr_array_header_t *recipients = apr_array_make(p, 4, sizeof(scep_recipient_t));
    apr_array_header_t *authorities = apr_array_make(p, 4, sizeof(X509 *));
    int i;

    memset(destination, 0, sizeof(*destination));
    destination->allow = allow;
    if (scep->known == NULL) {
        return;
    }
    for (i = 0; i < scep->known->nelts; i++) {
        const ctl_scep_known_t *known = &APR_ARRAY_IDX(scep->known, i, ctl_scep_known_t);

        if (issuer != NULL && strcmp(issuer, known->issuer) != 0) {
            continue;
        }
        if (strcmp(known->role, "RA") != 0) {
            APR_ARRAY_PUSH(authorities, X509 *) = known->certificate;
        }
        else if (strcmp(known->state, "usable") == 0) {
            APR_ARRAY_PUSH(recipients, scep_recipient_t) =
                (scep_recipient_t){ known->certificate, NULL };
        }
    }
    destination->recipients = recipients;
    destination->authorities = authorities;
}

static ctl_scep_judgement_t *judge(ctl_scep_t *scep, const char *issuer, unsigned allow,
                                   apr_pool_t *p)
{
    ctl_scep_judgement_t *judgement;
    scep_destination_t destination;
    int i;

    for (i = 0; i < scep->judgements->nelts; i++) {
        judgement = &APR_ARRAY_IDX(scep->judgements, i, ctl_scep_judgement_t);
        if (judgement->allow == allow && judgement->issuer != NULL && issuer != NULL
            && strcmp(judgement->issuer, issuer) == 0) {
            return judgement;
        }
    }
    judgement = &APR_ARRAY_PUSH(scep->judgements, ctl_scep_judgement_t);
    judgement->issuer = issuer;
    judgement->allow = allow;
    judgement->locations = apr_array_make(p, 4, sizeof(const char *));
    make_destination(&destination, scep, issuer, allow, p);
    judgement->verdict = scep_explain_rules(&judgement->findings, scep->explanation, &destination,
                                            p);
    return judgement;
}

/* Whether the message is encrypted to an RA of that issuer, which may not be usable any more. */
static int is_for(const ctl_scep_t *scep, const char *issuer)
{
    const apr_array_header_t *recipients = scep->explanation->recipients;
    int i, j;

    for (i = 0; scep->known != NULL && i < scep->known->nelts; i++) {
        const ctl_scep_known_t *known = &APR_ARRAY_IDX(scep->known, i, ctl_scep_known_t);

        if (strcmp(known->issuer, issuer) != 0 || strcmp(known->role, "RA") != 0) {
            continue;
        }
        for (j = 0; j < recipients->nelts; j++) {
            if (scep_explained_is(&APR_ARRAY_IDX(recipients, j, scep_explained_recipient_t),
                                  known->certificate)) {
                return 1;
            }
        }
    }
    return 0;
}

/* A path may name a profile by an alias; the configuration lists its name. */
static int is_at(const ctl_config_t *config, const ctl_endpoint_t *endpoint, const char *location,
                 apr_pool_t *p)
{
    const ctl_profile_t *profile;
    scep_url_t url;

    if (strcmp(endpoint->path, location) == 0) {
        return 1;
    }
    if (scep_url_parse(&url, location, p) != APR_SUCCESS) {
        return 0;
    }
    profile = ctl_config_profile(config, url.profile);
    return strcmp(endpoint->tenant, url.tenant) == 0 && strcmp(endpoint->issuer, url.issuer) == 0
        && strcmp(endpoint->profile, profile != NULL ? profile->name : url.profile) == 0;
}

/* At the location it was sent to; else at those of the issuers that it is encrypted to. */
static void judge_at_locations(ctl_scep_t *scep, const ctl_config_t *config, apr_pool_t *p)
{
    int i;

    for (i = 0; i < config->endpoints->nelts; i++) {
        const ctl_endpoint_t *endpoint = APR_ARRAY_IDX(config->endpoints, i,
                                                       const ctl_endpoint_t *);

        if (scep->location != NULL ? is_at(config, endpoint, scep->location, p)
                                   : is_for(scep, endpoint->issuer)) {
            ctl_scep_judgement_t *judgement = judge(scep, endpoint->issuer, allowed_at(endpoint),
                                                    p);

            APR_ARRAY_PUSH(judgement->locations, const char *) = endpoint->path;
        }
    }
}

static int broken(const ctl_scep_judgement_t *judgement)
{
    int i, count = 0;

    for (i = 0; i < judgement->findings->nelts; i++) {
        count += APR_ARRAY_IDX(judgement->findings, i, scep_finding_t).verdict == SCEP_RULE_BROKEN;
    }
    return count;
}

/* At any location: one that allows nothing, and one that allows all if that makes a difference. */
static void judge_in_general(ctl_scep_t *scep, apr_pool_t *p)
{
    int strict = broken(judge(scep, NULL, 0, p));

    if (strict > 0 && broken(judge(scep, NULL, ALL_ALLOWED, p)) == strict) {
        apr_array_pop(scep->judgements);
    }
}

static int judge_all(ctl_scep_t *scep, const ctl_t *ctl, int location_given)
{
    gh_result_t result;

    scep->judgements = apr_array_make(ctl->p, 4, sizeof(ctl_scep_judgement_t));
    if (scep->explanation->what != SCEP_EXPLAINED_REQUEST
        && scep->explanation->what != SCEP_EXPLAINED_CSR) {
        return CTL_OK;
    }
    if (ctl->config != NULL) {
        judge_at_locations(scep, ctl->config, ctl->p);
    }
    if (scep->judgements->nelts > 0) {
        return CTL_OK;
    }
    if (location_given) {
        gh_result_clear(&result);
        gh_result_fail(&result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, RULE,
                       "gatehousectl urls lists the paths that are configured.",
                       GHNO(0426) "the configuration has no location %s", scep->location);
        return ctl_fail(&result);
    }
    if (ctl->config == NULL && scep->explanation->what == SCEP_EXPLAINED_REQUEST) {
        scep->note = "which RA it has to be encrypted to is not known without -f HTTPD_CONF";
    }
    else if (ctl->config != NULL && scep->location != NULL) {
        scep->note = "the configuration has no location with the path of this URL";
    }
    judge_in_general(scep, ctl->p);
    return CTL_OK;
}

/* The command */

static int prepare(ctl_t *ctl, const ctl_arguments_t *arguments, ctl_scep_t *scep,
                   gh_bytes_t *input)
{
    gh_result_t result;
    int code;

    scep->location = ctl_option(arguments, "location");
    if (scep->location != NULL && ctl->conf == NULL) {
        gh_result_clear(&result);
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Name httpd's main configuration file with -f.",
                       GHNO(0425) "--location needs the configuration of httpd");
        return ctl_fail_usage(&result);
    }
    code = read_input(input, ctl_operand(arguments, 0), ctl->p);
    if (code == CTL_OK && ctl->conf != NULL) {
        code = ctl_configure(ctl);
        if (code == CTL_OK) {
            code = ctl_drop_privileges(ctl);
        }
        if (code == CTL_OK) {
            learn(scep, ctl);
        }
    }
    return code;
}

int ctl_scep_explain(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    ctl_scep_t scep;
    gh_result_t result;
    gh_bytes_t input;
    json_t *object;
    int code;

    memset(&scep, 0, sizeof(scep));
    code = prepare(ctl, arguments, &scep, &input);
    if (code != CTL_OK) {
        return code;
    }
    gh_result_clear(&result);
    if (scep_capture_read(&scep.capture, input, ctl->p, &result) != APR_SUCCESS
        || scep_explain(&scep.explanation, scep.capture.der, ctl->p, &result) != APR_SUCCESS) {
        ctl_fail(&result);
        return CTL_FAILED;
    }
    scep.location = scep.location != NULL ? scep.location : scep.capture.path;
    code = judge_all(&scep, ctl, ctl_option(arguments, "location") != NULL);
    if (code != CTL_OK) {
        return code;
    }
    object = ctl_scep_json(&scep, ctl->p);
    if (ctl->json) {
        ctl_json_print(stdout, object);
    }
    else {
        ctl_scep_print(stdout, object, ctl->p);
        json_decref(object);
    }
    return CTL_OK;
}
