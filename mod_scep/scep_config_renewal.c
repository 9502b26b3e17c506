/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The directive SCEPRenewal. */

#include <string.h>

#include <apr_strings.h>

#include "log.h"
#include "mod_scep/scep_config.h"
#include "text.h"

static const char *const takes =
    "SCEPRenewal takes \"off\", or \"by-certificate\" with grace=DURATION, window=DURATION, "
    "revoke-old=off|DURATION, challenge=required|none, same-key=on|off, again=refuse|replace and "
    "from=PROFILE[,...]";

static const char *bad(cmd_parms *cmd, const char *word)
{
    return apr_psprintf(cmd->pool, GHNO(0466) "%s, not \"%s\"", takes, word);
}

/** @return 1 and *value set for one of two words */
static int set_choice(int *value, const char *text, const char *yes, const char *no)
{
    *value = !ap_cstr_casecmp(text, yes);
    return *value || !ap_cstr_casecmp(text, no);
}

static int set_revoke_old(apr_interval_time_t *delay, const char *text)
{
    if (!ap_cstr_casecmp(text, "off")) {
        *delay = GH_RENEWAL_KEEP_OLD;
        return 1;
    }
    return gh_duration_parse(delay, text) == APR_SUCCESS;
}

static int set_profiles(gh_renewal_policy_t *policy, const char *text, apr_pool_t *p)
{
    apr_array_header_t *profiles = apr_array_make(p, 4, sizeof(const char *));
    char *last = NULL;
    char *name = apr_strtok(apr_pstrdup(p, text), ",", &last);

    for (; name; name = apr_strtok(NULL, ",", &last)) {
        if (!gh_name_valid(name)) {
            return 0;
        }
        APR_ARRAY_PUSH(profiles, const char *) = name;
    }
    policy->profiles = profiles;
    return profiles->nelts > 0;
}

static int set_option(gh_renewal_policy_t *policy, const char *word, apr_pool_t *p)
{
    const char *value = strchr(word, '=');
    apr_size_t length = value ? (apr_size_t)(value - word) : 0;

    if (!value) {
        return 0;
    }
    ++value;
    if (length == 5 && !strncmp(word, "grace", length)) {
        return gh_duration_parse(&policy->grace, value) == APR_SUCCESS;
    }
    if (length == 6 && !strncmp(word, "window", length)) {
        return gh_duration_parse(&policy->window, value) == APR_SUCCESS;
    }
    if (length == 10 && !strncmp(word, "revoke-old", length)) {
        return set_revoke_old(&policy->revoke_old, value);
    }
    if (length == 9 && !strncmp(word, "challenge", length)) {
        return set_choice(&policy->challenge, value, "required", "none");
    }
    if (length == 5 && !strncmp(word, "again", length)) {
        return set_choice(&policy->replace, value, "replace", "refuse");
    }
    if (length == 8 && !strncmp(word, "same-key", length)) {
        return set_choice(&policy->same_key, value, "on", "off");
    }
    return length == 4 && !strncmp(word, "from", length) && set_profiles(policy, value, p);
}

const char *scep_set_renewal(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    scep_section_t *section = dir;
    const char *error = scep_enter_section(cmd, section);
    gh_renewal_policy_t *policy;
    int i;

    if (error) {
        return error;
    }
    if (section->renewal_place.file) {
        return apr_psprintf(cmd->pool, GHNO(0467) "SCEPRenewal stands already in line %d of %s",
                            section->renewal_place.line, section->renewal_place.file);
    }
    section->renewal_place = scep_place_of(cmd);
    if (argc == 1 && !ap_cstr_casecmp(argv[0], "off")) {
        return NULL;
    }
    if (argc < 1 || ap_cstr_casecmp(argv[0], "by-certificate")) {
        return bad(cmd, argc ? argv[0] : "");
    }
    policy = apr_pcalloc(cmd->pool, sizeof(*policy));
    policy->revoke_old = GH_RENEWAL_KEEP_OLD;
    for (i = 1; i < argc; ++i) {
        if (!set_option(policy, argv[i], cmd->pool)) {
            return bad(cmd, argv[i]);
        }
    }
    section->renewal = policy;
    return NULL;
}

const gh_renewal_policy_t *scep_renewal_at(const gh_renewal_policy_t *said,
                                           const gh_issuer_t *issuer, apr_pool_t *p)
{
    gh_renewal_policy_t *policy;
    apr_array_header_t *issuers;

    if (!said || !gh_issuer_next(issuer)) {
        return said;
    }
    policy = apr_pmemdup(p, said, sizeof(*said));
    issuers = apr_array_make(p, 2, sizeof(const char *));
    for (; issuer; issuer = gh_issuer_next(issuer)) {
        APR_ARRAY_PUSH(issuers, const char *) = gh_issuer_name(issuer);
    }
    policy->issuers = issuers;
    return policy;
}
