/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* EscrowProvide, EscrowMailDomains, EscrowEventHMAC. EscrowMailDirectory has a file of its own. */

#include "mod_escrow/escrow_events.h"

#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>

#include "issuer/issuer.h"
#include "log.h"
#include "mod_escrow/escrow_mail_directory.h"
#include "status.h"
#include "x509/profile.h"
#include "x509/usages.h"

APLOG_USE_MODULE(escrow);

#define BITS    2048
#define SUBJECT "cn=<email>"

static escrow_provider_t *provider;

static apr_status_t forget(void *data)
{
    provider = NULL;
    return APR_SUCCESS;
}

static escrow_provider_t *make_provider(apr_pool_t *pconf)
{
    if (!provider) {
        provider = apr_pcalloc(pconf, sizeof(*provider));
        provider->rules = apr_array_make(pconf, 2, sizeof(gh_provide_rule_t));
        provider->places = apr_array_make(pconf, 2, sizeof(const char *));
        provider->domains = apr_array_make(pconf, 2, sizeof(const char *));
        apr_pool_cleanup_register(pconf, NULL, forget, apr_pool_cleanup_null);
    }
    return provider;
}

const escrow_provider_t *escrow_provider(void)
{
    return provider;
}

/* EscrowProvide */

static const char *bad_word(cmd_parms *cmd, const char *word)
{
    return apr_psprintf(cmd->pool, GHNO(1294) "EscrowProvide takes event=NUMBER, issuer=NAME, "
                        "signing=PROFILE, encryption=PROFILE, signing-per=user or device, "
                        "key-size=2048, 3072 or 4096, and subject=TEXT, each once, not \"%s\"",
                        word);
}

static int set_text(const char **text, const char *value)
{
    int good = !*text && *value;

    *text = value;
    return good;
}

static int set_word(gh_provide_rule_t *rule, const char *word, const char *value)
{
    apr_size_t length = (apr_size_t)(value - word);

    if (!strncmp(word, "event=", length)) {
        return set_text(&rule->event, value);
    }
    if (!strncmp(word, "issuer=", length)) {
        return set_text(&rule->issuer, value);
    }
    if (!strncmp(word, "signing=", length)) {
        return set_text(&rule->signing, value);
    }
    if (!strncmp(word, "encryption=", length)) {
        return set_text(&rule->encryption, value);
    }
    if (!strncmp(word, "subject=", length)) {
        return set_text(&rule->subject, value);
    }
    if (!strncmp(word, "signing-per=", length)) {
        rule->signing_per_device = !strcmp(value, "device");
        return rule->signing_per_device || !strcmp(value, "user");
    }
    if (!strncmp(word, "key-size=", length)) {
        rule->bits = !strcmp(value, "2048") ? 2048 : !strcmp(value, "3072") ? 3072
            : !strcmp(value, "4096") ? 4096 : 0;
        return rule->bits != 0;
    }
    return 0;
}

const char *escrow_set_provide(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    gh_provide_rule_t rule = {0};
    int i;

    if (error) {
        return error;
    }
    for (i = 0; i < argc; ++i) {
        const char *value = strchr(argv[i], '=');

        if (!value || !set_word(&rule, argv[i], value + 1)) {
            return bad_word(cmd, argv[i]);
        }
    }
    if (!rule.event || !rule.issuer || !(rule.signing || rule.encryption)) {
        return GHNO(1295) "EscrowProvide needs event= and issuer=, and signing= or encryption=";
    }
    rule.bits = rule.bits ? rule.bits : BITS;
    rule.subject = rule.subject ? rule.subject : SUBJECT;
    APR_ARRAY_PUSH(make_provider(cmd->pool)->rules, gh_provide_rule_t) = rule;
    APR_ARRAY_PUSH(provider->places, const char *) =
        apr_psprintf(cmd->pool, "%s:%d", cmd->directive->filename, cmd->directive->line_num);
    return NULL;
}

const char *escrow_set_mail_domain(cmd_parms *cmd, void *dir, const char *domain)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    const char *name = strncmp(domain, "*.", 2) ? domain : domain + 2;

    if (error) {
        return error;
    }
    if (!*name || *name == '.' || name[strlen(name) - 1] == '.' || strstr(name, "..")
        || name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.")]) {
        return apr_psprintf(cmd->pool, GHNO(1296) "EscrowMailDomains takes domains such as "
                            "example.com, or *.example.com for all below, not \"%s\"", domain);
    }
    APR_ARRAY_PUSH(make_provider(cmd->pool)->domains, const char *) = domain;
    return NULL;
}

/* EscrowEventHMAC */

static const char *hmac_problem(cmd_parms *cmd, const gh_result_t *result)
{
    /* looked up here: the configuration is read before mod_gatehouse is found */
    APR_OPTIONAL_FN_TYPE(gatehouse_dump_problem) *problem =
        APR_RETRIEVE_OPTIONAL_FN(gatehouse_dump_problem);

    if (problem && problem(cmd->pool, NULL, cmd->cmd->name, cmd->directive->filename,
                           cmd->directive->line_num, result)) {
        return NULL;
    }
    return apr_psprintf(cmd->pool, "%s: %s. %s", result->number, result->message, result->action);
}

const char *escrow_set_event_hmac(cmd_parms *cmd, void *dir, const char *header,
                                  const char *source)
{
    escrow_hmac_t *hmac = &((escrow_section_t *)dir)->hmac;
    gh_result_t result;
    const char *path;

    if (strncmp(source, "file:", 5) && strncmp(source, "exec:", 5)) {
        return GHNO(1297) "EscrowEventHMAC takes the name of a header, and file:PATH or exec:PATH; "
                          "a secret never stands in the configuration";
    }
    path = ap_server_root_relative(cmd->temp_pool, source + 5);
    if (!path) {
        return apr_psprintf(cmd->pool, GHNO(1298) "\"%s\" is not a usable path", source + 5);
    }
    hmac->header = header;
    gh_result_clear(&result);
    if (gh_secret_load(&hmac->secret, apr_psprintf(cmd->temp_pool, "%.5s%s", source, path),
                       cmd->pool, &result) != APR_SUCCESS) {
        hmac->secret.length = 0;        /* authenticates nobody */
        return hmac_problem(cmd, &result);
    }
    if (hmac->secret.length < 16) {
        return GHNO(1299) "the secret of EscrowEventHMAC has fewer than 16 bytes: make one by "
                          "openssl rand -hex 32";
    }
    return NULL;
}

/* All together */

static int tell(server_rec *s, const char *place, const char *message)
{
    ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, 0, s, "%s: EscrowProvide: %s", place,
                 message);
    return 1;
}

static int check_profile(server_rec *s, apr_pool_t *p, const char *place,
                         const gh_provide_rule_t *rule, const char *name, unsigned int usage)
{
    const gatehouse_config_t *config = escrow_gatehouse()->config();
    const gh_profile_t *profile;
    const char *kind = apr_psprintf(p, "RSA-%d", rule->bits);

    if (!name) {
        return 0;
    }
    profile = apr_hash_get(config->profiles, name, APR_HASH_KEY_STRING);
    if (!profile) {
        return tell(s, place, apr_psprintf(p, GHNO(1300) "there is no certificate profile %s; see "
                                           "conf.d/profiles.conf for those that are shipped",
                                           name));
    }
    if (!gh_profile_allows_key(profile, kind)) {
        return tell(s, place, apr_psprintf(p, GHNO(1301) "profile %s does not allow keys of "
                                           "%s; change key-size", name, kind));
    }
    if (gh_profile_key_usage(profile) && !(gh_profile_key_usage(profile) & usage)) {
        return tell(s, place, apr_psprintf(p, GHNO(1302) "profile %s has no key usage that "
                                           "is fit for it; see smime-non-repudiation and "
                                           "smime-key-encipherment", name));
    }
    return 0;
}

static int check_rule(server_rec *s, apr_pool_t *p, int i)
{
    const gatehouse_config_t *config = escrow_gatehouse()->config();
    const gh_provide_rule_t *rule = &APR_ARRAY_IDX(provider->rules, i, gh_provide_rule_t);
    const char *place = APR_ARRAY_IDX(provider->places, i, const char *);
    int j;

    for (j = 0; j < i; ++j) {
        if (!strcmp(APR_ARRAY_IDX(provider->rules, j, gh_provide_rule_t).event, rule->event)) {
            return tell(s, place, apr_psprintf(p, GHNO(1303) "event %s has one already",
                                               rule->event));
        }
    }
    if (!apr_hash_get(config->issuers, rule->issuer, APR_HASH_KEY_STRING)) {
        return tell(s, place, apr_psprintf(p, GHNO(1304) "there is no <Issuer %s>",
                                           rule->issuer));
    }
    return check_profile(s, p, place, rule, rule->signing,
                         GH_USAGE_DIGITAL_SIGNATURE | GH_USAGE_NON_REPUDIATION)
        + check_profile(s, p, place, rule, rule->encryption, GH_USAGE_KEY_ENCIPHERMENT);
}

int escrow_events_check(server_rec *s, apr_pool_t *pconf)
{
    int problems = 0;
    int i;

    if (!provider || !provider->rules->nelts) {
        return 0;
    }
    for (i = 0; i < provider->rules->nelts; ++i) {
        problems += check_rule(s, pconf, i);
    }
    if (!provider->domains->nelts && escrow_mail_directory_used()) {
        APR_ARRAY_PUSH(provider->domains, const char *) = "*";
    }
    if (!provider->domains->nelts) {
        problems += tell(s, APR_ARRAY_IDX(provider->places, 0, const char *),
                         GHNO(1305) "neither EscrowMailDomains nor EscrowMailDirectory is there: "
                         "say which addresses of mail certificates may be made for");
    }
    if (!escrow_global_now() || !escrow_global_now()->vault_keys->nelts) {
        problems += tell(s, APR_ARRAY_IDX(provider->places, 0, const char *),
                         GHNO(1312) "EscrowVaultKey is not there, and keys need a vault");
    }
    if (!problems && escrow_gatehouse()->register_round) {
        escrow_gatehouse()->register_round("enrolling for events", escrow_events_round, pconf);
    }
    return problems;
}

const char *escrow_events_sizes(apr_pool_t *p)
{
    const char *text = NULL;
    int i;

    for (i = 0; provider && i < provider->rules->nelts; ++i) {
        text = apr_psprintf(p, "%s%s%d", text ? text : "", text ? "," : "",
                            APR_ARRAY_IDX(provider->rules, i, gh_provide_rule_t).bits);
    }
    return text ? apr_pstrcat(p, "[", text, "]", NULL) : NULL;
}
