/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The part of check that looks at enrolment for Windows: who may name whom, keys of responses. */

#include "ctl_verdict.h"

#include <string.h>

#include <apr_strings.h>

#include "mod_scep/scep_ra_store.h"
#include "mod_wstep/wstep_ra_store.h"
#include "status.h"
#include "x509/ca.h"

#define RULE "check"

/* msPKI-Certificate-Name-Flag: who enrols supplies the subject, or alternative names */
#define SUPPLIED 0x10001

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static int is_policy(const json_t *endpoint)
{
    return json_is_true(json_object_get(endpoint, "policy"));
}

/* Where a template is offered for more than renewals; NULL: nowhere. */
static const char *offered_at(const ctl_config_t *config, const char *template)
{
    const json_t *endpoint;
    const json_t *name;
    size_t i;
    size_t j;

    json_array_foreach(config->wstep, i, endpoint) {
        if (is_policy(endpoint) || json_is_true(json_object_get(endpoint, "renewal_only"))) {
            continue;
        }
        json_array_foreach(json_object_get(endpoint, "templates"), j, name) {
            if (strcmp(json_string_value(name), template) == 0) {
                return text_of(endpoint, "path");
            }
        }
    }
    return NULL;
}

static int check_template(ctl_check_t *check, const json_t *template)
{
    const char *name = text_of(template, "name");
    const char *path = offered_at(check->ctl->config, name);
    gh_result_t result;

    if (path == NULL || !json_is_true(json_object_get(template, "everybody"))
        || !(json_integer_value(json_object_get(template, "subject_flags")) & SUPPLIED)) {
        return 1;
    }
    gh_result_clear(&result);
    gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_DENIED, RULE,
                   "Permit only those who are trusted with that (TemplateUsers, TemplateGroups), "
                   "or take \"supplied\" off TemplateSubject and TemplateAltNames.",
                   GHNO(1508) "all callers of %s say themselves what is the name in certificates "
                   "by template %s", path, name);
    ctl_verdict(check, apr_pstrcat(check->p, "wstep.", name, NULL), CTL_VERDICT_WARNING, &result);
    return 0;
}

void ctl_check_wstep(ctl_check_t *check)
{
    const ctl_config_t *config = check->ctl->config;
    const json_t *element;
    int certificates = 0;
    int policies = 0;
    int good = 1;
    size_t i;

    json_array_foreach(config->wstep, i, element) {
        policies += is_policy(element);
        certificates += !is_policy(element);
    }
    if (certificates + policies == 0) {
        return;
    }
    json_array_foreach(config->templates, i, element) {
        good &= check_template(check, element);
    }
    if (good) {
        ctl_verdict_ok(check, "wstep", "%d URLs for certificates, %d for policies; %d templates, "
                       "none of which lets everybody choose names", certificates, policies,
                       (int)json_array_size(config->templates));
    }
}

/* In the store */

static int is_used(const ctl_config_t *config, const char *issuer)
{
    const json_t *endpoint;
    size_t i;

    json_array_foreach(config->wstep, i, endpoint) {
        const char *name = is_policy(endpoint) ? NULL : text_of(endpoint, "issuer");

        if (name != NULL && strcmp(name, issuer) == 0) {
            return 1;
        }
    }
    return 0;
}

static void check_newest(ctl_check_t *check, const char *issuer, const gh_generation_t *newest)
{
    const char *name = apr_pstrcat(check->p, "ra.", issuer, ".wstep", NULL);
    const char *end = gh_time_text(check->p, newest->record->not_after);
    gh_result_t result;
    gh_bytes_t key;

    gh_result_clear(&result);
    if (!newest->usable) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_TIME, RULE,
                       "Start httpd: it makes another one; its error log says why if it cannot.",
                       GHNO(1509) "the certificate that signs responses of WSTEP %s %s",
                       newest->withdrawn ? "is revoked or held; it was valid until"
                                         : "has expired at", end);
        ctl_verdict(check, name, CTL_VERDICT_WARNING, &result);
    }
    else if (check->sealer != NULL
             && gh_generation_unseal(&key, newest->record, check->sealer, check->p, &result)
                != APR_SUCCESS) {
        gh_result_fail(&result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, RULE,
                       "Give GatehouseSealingKey the key of before, the same on every node. If it "
                       "is lost, revoke that certificate: a new one is made.",
                       GHNO(1510) "the key that signs responses of WSTEP for issuer %s was sealed "
                       "with another sealing key", issuer);
        ctl_verdict(check, name, CTL_VERDICT_ERROR, &result);
        check->sealed_otherwise = 1;
    }
    else {
        ctl_verdict_ok(check, name, "generation %" APR_INT64_T_FMT " signs responses, valid until "
                       "%s", newest->record->generation, end);
    }
}

void ctl_check_wstep_store(ctl_check_t *check)
{
    const apr_array_header_t *issuers = check->ctl->config->issuers;
    apr_array_header_t *generations;
    gh_result_t result;
    int i;

    for (i = 0; check->ctl->store != NULL && i < issuers->nelts; i++) {
        const char *issuer = APR_ARRAY_IDX(issuers, i, const ctl_issuer_t *)->name;

        gh_result_clear(&result);
        if (is_used(check->ctl->config, issuer)
            && gh_generations_list(&generations, check->ctl->store, WSTEP_RA_PURPOSE, issuer,
                                   apr_time_now(), check->p, &result) == APR_SUCCESS
            && generations->nelts > 0) {
            check_newest(check, issuer, gh_generation_at(generations, 0));
        }
    }
}
