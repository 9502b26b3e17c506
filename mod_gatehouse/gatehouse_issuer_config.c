/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* <Issuer NAME> */

#include <string.h>
#include <httpd.h>
#include <ap_provider.h>
#include <apr_strings.h>

#include "gatehouse_remote.h"
#include "log.h"
#include "text.h"

void gatehouse_register_backends(apr_pool_t *p)
{
    static const gh_issuer_backend_t *const backends[] = {
        &gh_issuer_local, &gh_issuer_offline, &gh_issuer_cagw, &gh_issuer_cmp
    };
    apr_size_t i;

    for (i = 0; i < sizeof(backends) / sizeof(backends[0]); ++i) {
        ap_register_provider(p, GH_ISSUER_PROVIDER_GROUP, backends[i]->name,
                             GH_ISSUER_PROVIDER_VERSION, backends[i]);
    }
}

const char *gatehouse_issuer_section_of(cmd_parms *cmd, gatehouse_issuer_section_t **section,
                                        apr_size_t place_offset)
{
    gatehouse_settings_t *settings = gatehouse_settings_of(cmd->server);
    const char *err = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    gatehouse_place_t *place;

    if (err) {
        return err;
    }
    *section = settings->issuer;
    if (!*section) {
        return apr_psprintf(cmd->pool, GHNO(0279) "%s belongs inside <Issuer NAME>",
                            cmd->cmd->name);
    }
    place = (gatehouse_place_t *)((char *)*section + place_offset);
    if (place->file) {
        return apr_psprintf(cmd->pool, GHNO(0280) "%s was given before for issuer %s, at %s:%d; "
                            "leave one of them", cmd->cmd->name, (*section)->name, place->file,
                            place->line);
    }
    *place = gatehouse_place(cmd);
    return NULL;
}

static const char *path_of(cmd_parms *cmd, const char **path, const char *text)
{
    *path = *text ? ap_server_root_relative(cmd->pool, text) : NULL;
    if (!*path) {
        return apr_psprintf(cmd->pool, GHNO(0281) "%s: \"%s\" is not a usable path",
                            cmd->cmd->name, text);
    }
    return NULL;
}

const char *gatehouse_set_issuer_certificate(cmd_parms *cmd, void *dir, const char *path)
{
    gatehouse_issuer_section_t *section;
    const char *err = GATEHOUSE_SECTION_OF(cmd, &section, certificate_place);

    return err ? err : path_of(cmd, &section->config.certificate, path);
}

const char *gatehouse_set_issuer_chain(cmd_parms *cmd, void *dir, const char *path)
{
    gatehouse_issuer_section_t *section;
    const char *err = GATEHOUSE_SECTION_OF(cmd, &section, chain_place);

    return err ? err : path_of(cmd, &section->config.chain, path);
}

/* Neither a PIN nor a passphrase may stand in a configuration file, and none is repeated here. */
const char *gatehouse_set_issuer_key(cmd_parms *cmd, void *dir, const char *source,
                                     const char *option)
{
    gatehouse_issuer_section_t *section;
    const char *err = GATEHOUSE_SECTION_OF(cmd, &section, key_place);

    if (err) {
        return err;
    }
    if (option) {
        section->config.passphrase = strncmp(option, "passphrase=", 11)
            ? NULL : gatehouse_secret_source(cmd->pool, option + 11);
        if (!section->config.passphrase) {
            return GHNO(0283) "IssuerKey: behind the key only passphrase=file:PATH or "
                   "passphrase=exec:PATH may stand";
        }
    }
    if (strncmp(source, "pkcs11:", 7)) {
        return path_of(cmd, &section->config.key, source);
    }
    if (ap_strcasestr(source, "pin-value")) {
        return GHNO(0284) "IssuerKey: a PIN must not stand in the configuration; leave out "
               "pin-value and say passphrase=file:PATH or passphrase=exec:PATH";
    }
    section->config.key = source;
    return NULL;
}

static const char *crl_option(cmd_parms *cmd, gh_issuer_config_t *config, const char *option)
{
    static const struct {
        const char *name;
        apr_size_t offset;
    } times[] = {
        { "validity=", APR_OFFSETOF(gh_issuer_config_t, crl_validity) },
        { "publish=", APR_OFFSETOF(gh_issuer_config_t, crl_publish) },
        { "delay=", APR_OFFSETOF(gh_issuer_config_t, crl_delay) },
    };
    apr_size_t i;

    if (!strncmp(option, "file=", 5)) {
        return path_of(cmd, &config->crl_file, option + 5);
    }
    for (i = 0; i < sizeof(times) / sizeof(times[0]); ++i) {
        apr_size_t length = strlen(times[i].name);
        apr_interval_time_t *target = (apr_interval_time_t *)((char *)config + times[i].offset);

        if (strncmp(option, times[i].name, length)) {
            continue;
        }
        if (gh_duration_parse(target, option + length) != APR_SUCCESS
            || *target < apr_time_from_sec(1) || *target > apr_time_from_sec(10 * 366 * 86400)) {
            return apr_psprintf(cmd->pool, GHNO(0285) "IssuerCRL %s is not a time between a second "
                                "and ten years; write it like 60s, 24h or 7d", option);
        }
        return NULL;
    }
    return apr_psprintf(cmd->pool, GHNO(0286) "IssuerCRL: \"%s\" is not one of validity=TIME, "
                        "publish=TIME, delay=TIME, file=PATH", option);
}

const char *gatehouse_set_issuer_crl(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    gatehouse_issuer_section_t *section;
    const char *err = GATEHOUSE_SECTION_OF(cmd, &section, crl_place);
    int i;

    if (!err && argc == 0) {
        return GHNO(0287) "IssuerCRL needs at least one of validity=TIME, publish=TIME, "
               "delay=TIME, file=PATH";
    }
    if (!err && argc == 1 && !ap_cstr_casecmp(argv[0], "off")) {
        return NULL;                /* of a CA that publishes its CRLs itself */
    }
    for (i = 0; !err && i < argc; ++i) {
        err = crl_option(cmd, &section->config, argv[i]);
    }
    return err;
}

const char *gatehouse_set_issuer_next(cmd_parms *cmd, void *dir, const char *name,
                                      const char *option)
{
    gatehouse_issuer_section_t *section;
    const char *err = GATEHOUSE_SECTION_OF(cmd, &section, next_place);

    if (err) {
        return err;
    }
    if (!gh_name_valid(name)
        || (option && (strncmp(option, "from=", 5)
                       || gh_time_parse(&section->config.next_from, option + 5)
                              != APR_SUCCESS))) {
        return apr_psprintf(cmd->pool, GHNO(0500) "IssuerNext takes the name of an issuer, and "
                            "perhaps from=TIME, such as from=2027-01-31T00:00:00Z; not \"%s\"",
                            option ? option : name);
    }
    section->config.next = name;
    return NULL;
}

static ap_directive_t *find_directive(ap_directive_t *section, const char *name)
{
    ap_directive_t *child;

    for (child = section->first_child; child; child = child->next) {
        if (!ap_cstr_casecmp(child->directive, name)) {
            return child;
        }
    }
    return section;
}

/* A CRL is made anew well before the one before it ends. */
static const char *crl_times(cmd_parms *cmd, const gatehouse_issuer_section_t *section,
                             gh_issuer_config_t *config)
{
    const gh_issuer_config_t *said = &section->config;

    if (said->crl_validity) {
        config->crl_validity = said->crl_validity;
    }
    if (said->crl_publish) {
        config->crl_publish = said->crl_publish;
    }
    else if (config->crl_publish > config->crl_validity / 2) {
        config->crl_publish = config->crl_validity / 2;
    }
    if (said->crl_delay) {
        config->crl_delay = said->crl_delay;
    }
    else if (config->crl_delay > config->crl_publish) {
        config->crl_delay = config->crl_publish;
    }
    if (config->crl_publish >= config->crl_validity) {
        cmd->err_directive = find_directive(cmd->directive, "IssuerCRL");
        return apr_psprintf(cmd->pool, GHNO(0288) "issuer %s: CRLs would end before the next one "
                            "is published; let publish= of IssuerCRL be less than validity=",
                            section->name);
    }
    return NULL;
}

static const char *make_issuer(cmd_parms *cmd, gatehouse_issuer_section_t *section)
{
    const char *name = section->backend ? section->backend : "local";
    const gh_issuer_backend_t *backend
        = ap_lookup_provider(GH_ISSUER_PROVIDER_GROUP, name, GH_ISSUER_PROVIDER_VERSION);
    gh_issuer_config_t *config;

    section->issuer = gh_issuer_create(section->name, backend, cmd->pool);
    config = gh_issuer_config(section->issuer);
    config->certificate = section->config.certificate;
    config->key = section->config.key;
    config->passphrase = section->config.passphrase;
    config->chain = section->config.chain;
    config->public_url = section->config.public_url;
    config->crl_file = section->config.crl_file;
    config->next = section->config.next;
    config->next_from = section->config.next_from;
    config->any_subject = section->config.any_subject;
    if (section->config.deadline) {
        config->deadline = section->config.deadline;
    }
    return crl_times(cmd, section, config);
}

const char *gatehouse_issuer_section(cmd_parms *cmd, void *dir, const char *text)
{
    gatehouse_settings_t *settings = gatehouse_settings_of(cmd->server);
    const char *err = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    gatehouse_issuer_section_t *section = apr_pcalloc(cmd->pool, sizeof(*section));
    const apr_array_header_t *words;
    int i;

    if (err || (err = gatehouse_section_words(cmd, text, &words))) {
        return err;
    }
    if (words->nelts != 1 || !gh_name_valid(APR_ARRAY_IDX(words, 0, const char *))) {
        return GHNO(0289) "<Issuer NAME> takes one name of 1 to 64 letters, digits, '_', '~' "
               "and '-'";
    }
    section->name = APR_ARRAY_IDX(words, 0, const char *);
    section->place = gatehouse_place(cmd);
    gatehouse_remote_init(&section->remote);
    for (i = 0; i < settings->issuers->nelts; ++i) {
        const gatehouse_issuer_section_t *seen
            = APR_ARRAY_IDX(settings->issuers, i, gatehouse_issuer_section_t *);

        if (!strcmp(seen->name, section->name)) {
            return apr_psprintf(cmd->pool, GHNO(0290) "issuer %s is there already, at %s:%d; give "
                                "one of them another name", seen->name, seen->place.file,
                                seen->place.line);
        }
    }
    settings->issuer = section;
    err = gatehouse_section_walk(cmd, "Issuer", "GatehousePublicURL");
    settings->issuer = NULL;
    if (!err) {
        err = make_issuer(cmd, section);
        APR_ARRAY_PUSH(settings->issuers, gatehouse_issuer_section_t *) = section;
    }
    return err;
}
