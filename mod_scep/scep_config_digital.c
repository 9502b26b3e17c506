/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* <DigitalID NAME>: what certificates of managed devices look like. */

#include "mod_scep/scep_config.h"

#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>

#include "log.h"

APLOG_USE_MODULE(scep);

#define PREFIX          "DigitalID"
#define LIFETIME        apr_time_from_sec(3600)
#define LIFETIME_MAX    apr_time_from_sec(30 * 86400)
#define KEY_SIZE        2048

/** @return an error, or NULL and the section */
static const char *enter(scep_digital_section_t **section, cmd_parms *cmd, int repeated)
{
    scep_digital_section_t *open = scep_server(cmd->server)->digital;
    int i;

    if (!open) {
        return apr_psprintf(cmd->pool, GHNO(0994) "%s belongs inside <DigitalID NAME>",
                            cmd->cmd->name);
    }
    for (i = 0; i < open->said->nelts && !repeated; ++i) {
        if (!strcmp(APR_ARRAY_IDX(open->said, i, const char *), cmd->cmd->name)) {
            return apr_psprintf(cmd->pool, GHNO(0995) "%s stands twice in <DigitalID \"%s\">; "
                                "leave one of them", cmd->cmd->name, open->digital.name);
        }
    }
    APR_ARRAY_PUSH(open->said, const char *) = cmd->cmd->name;
    *section = open;
    return NULL;
}

static const char *set_lifetime(cmd_parms *cmd, scep_digital_t *digital, const char *text)
{
    if (gh_duration_parse(&digital->lifetime, text) != APR_SUCCESS
        || digital->lifetime < apr_time_from_sec(1) || digital->lifetime > LIFETIME_MAX) {
        return apr_psprintf(cmd->pool, GHNO(0996) "DigitalIDLifetime takes a time between 1s and "
                            "30d, such as 1h; not \"%s\"", text);
    }
    return NULL;
}

static const char *set_key_size(cmd_parms *cmd, scep_digital_t *digital, const char *text)
{
    digital->key_size = !strcmp(text, "2048") ? 2048 : !strcmp(text, "3072") ? 3072 : 0;
    return digital->key_size ? NULL
        : apr_psprintf(cmd->pool, GHNO(0997) "DigitalIDKeySize takes 2048 or 3072, not \"%s\"",
                       text);
}

static const char *malformed(cmd_parms *cmd, const char *text, const char *wrong)
{
    return wrong ? apr_psprintf(cmd->pool, GHNO(0998) "%s: \"%s\" cannot be used: %s",
                                cmd->cmd->name, text, wrong) : NULL;
}

const char *scep_set_digital_text(cmd_parms *cmd, void *dir, const char *text)
{
    const char *what = cmd->cmd->name + sizeof(PREFIX) - 1;
    scep_digital_section_t *section = NULL;
    const char *error = enter(&section, cmd, 0);
    scep_digital_t *digital;

    if (error) {
        return error;
    }
    digital = &section->digital;
    if (!strcmp(what, "Lifetime")) {
        return set_lifetime(cmd, digital, text);
    }
    if (!strcmp(what, "KeySize")) {
        return set_key_size(cmd, digital, text);
    }
    if (!strcmp(what, "ParentDN")) {
        digital->parent = text;
        return malformed(cmd, text, scep_digital_check_parent(text, cmd->temp_pool));
    }
    if (!strcmp(what, "RDN")) {
        digital->rdn = text;
        return malformed(cmd, text, scep_digital_check_rdn(text, cmd->pool));
    }
    if (!strcmp(what, "Issuer")) {
        digital->issuer = text;
    }
    else if (!strcmp(what, "Profile")) {
        digital->profile = text;
    }
    else {
        digital->tenant = text;
    }
    return malformed(cmd, text, gh_name_valid(text) ? NULL
                     : "names have 1 to 64 characters of A-Z a-z 0-9 _ ~ -");
}

const char *scep_set_digital_name(cmd_parms *cmd, void *dir, const char *type, const char *text)
{
    scep_digital_section_t *section = NULL;
    const char *error = enter(&section, cmd, 1);
    scep_digital_name_t *name;

    if (error) {
        return error;
    }
    error = scep_digital_check_name(type, text, cmd->pool);
    name = apr_array_push(section->digital.names);
    name->type = type;
    name->text = text;
    return malformed(cmd, text, error);
}

static const char *set_modes(cmd_parms *cmd, scep_digital_t *digital, int argc,
                             char *const argv[])
{
    int i;

    digital->modes = 0;
    for (i = 0; i < argc; ++i) {
        unsigned mode = !ap_cstr_casecmp(argv[i], "scep") ? SCEP_DIGITAL_SCEP
                        : !ap_cstr_casecmp(argv[i], "p12") ? SCEP_DIGITAL_P12 : 0;

        if (!mode) {
            return apr_psprintf(cmd->pool, GHNO(0999) "DigitalIDModes takes scep, p12 or both; not "
                                "\"%s\"", argv[i]);
        }
        digital->modes |= mode;
    }
    return digital->modes ? NULL : GHNO(1000) "DigitalIDModes needs scep, p12 or both";
}

const char *scep_set_digital_list(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    scep_digital_section_t *section = NULL;
    const char *error = enter(&section, cmd, 0);
    int i;

    if (error) {
        return error;
    }
    if (!strcmp(cmd->cmd->name, PREFIX "Modes")) {
        return set_modes(cmd, &section->digital, argc, argv);
    }
    if (!argc) {
        return GHNO(1001) "DigitalIDUsers needs at least one user";
    }
    section->digital.users = apr_array_make(cmd->pool, argc, sizeof(const char *));
    for (i = 0; i < argc; ++i) {
        APR_ARRAY_PUSH(section->digital.users, const char *) = argv[i];
    }
    return NULL;
}

/* The section */

/** @return an error, or NULL and the name */
static const char *read_name(const char **name, cmd_parms *cmd, const char *text)
{
    const char *end = ap_strrchr_c(text, '>');
    const char *rest = end ? apr_pstrmemdup(cmd->pool, text, (apr_size_t)(end - text)) : "";

    *name = ap_getword_conf(cmd->pool, &rest);
    if (!end || end[1 + strspn(end + 1, " \t")] || *rest || !scep_digital_name_valid(*name)) {
        return GHNO(1002) "<DigitalID \"NAME\"> takes one name of 4 to 64 letters, digits, '_', "
               "'-' and blanks";
    }
    return NULL;
}

static const char *walk(cmd_parms *cmd)
{
    ap_directive_t *section = cmd->directive;
    const command_rec *command = cmd->cmd;
    const ap_directive_t *child;
    const char *error;

    for (child = section->first_child; child; child = child->next) {
        if (ap_cstr_casecmpn(child->directive, PREFIX, sizeof(PREFIX) - 1)) {
            cmd->err_directive = child;
            return apr_psprintf(cmd->pool, GHNO(1003) "%s does not belong in <DigitalID>: only "
                                "DigitalID... directives do", child->directive);
        }
    }
    error = section->first_child ? ap_walk_config(section->first_child, cmd, cmd->context) : NULL;
    cmd->directive = section;
    cmd->cmd = command;
    return error;
}

/** What only the whole section tells. */
static const char *finish(cmd_parms *cmd, scep_server_t *server, scep_digital_section_t *section)
{
    scep_digital_t *digital = &section->digital;
    const char *missing = !digital->tenant ? "Tenant" : !digital->issuer ? "Issuer"
                          : !digital->profile ? "Profile" : !digital->rdn ? "RDN" : NULL;
    int i;

    if (missing) {
        return apr_psprintf(cmd->pool, GHNO(1004) "<DigitalID \"%s\"> needs DigitalID%s",
                            digital->name, missing);
    }
    for (i = 0; i < server->digitals->nelts; ++i) {
        const scep_digital_section_t *other
            = APR_ARRAY_IDX(server->digitals, i, scep_digital_section_t *);

        if (!strcmp(other->digital.name, digital->name)
            && !strcmp(other->digital.tenant, digital->tenant)) {
            return apr_psprintf(cmd->pool, GHNO(1005) "tenant %s has a digital ID \"%s\" already, "
                                "at line %d of %s; give one of them another name", digital->tenant,
                                digital->name, other->place.line, other->place.file);
        }
    }
    digital->path = scep_digital_path(digital->tenant, digital->name, cmd->pool);
    digital->set = scep_digital_set(digital->name, cmd->pool);
    APR_ARRAY_PUSH(server->digitals, scep_digital_section_t *) = section;
    return NULL;
}

const char *scep_digital_section(cmd_parms *cmd, void *dir, const char *text)
{
    scep_server_t *server = scep_server(cmd->server);
    scep_digital_section_t *section = apr_pcalloc(cmd->pool, sizeof(*section));
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    if (!error) {
        error = read_name(&section->digital.name, cmd, text);
    }
    if (error) {
        return error;
    }
    section->place = scep_place_of(cmd);
    section->said = apr_array_make(cmd->pool, 8, sizeof(const char *));
    section->digital.names = apr_array_make(cmd->pool, 2, sizeof(scep_digital_name_t));
    section->digital.lifetime = LIFETIME;
    section->digital.modes = SCEP_DIGITAL_SCEP;
    section->digital.key_size = KEY_SIZE;
    if (!server->digitals) {
        server->digitals = apr_array_make(cmd->pool, 4, sizeof(scep_digital_section_t *));
    }
    server->digital = section;
    error = walk(cmd);
    server->digital = NULL;
    return error ? error : finish(cmd, server, section);
}

/* Once all was read */

const apr_array_header_t *scep_digitals(server_rec *main_server)
{
    return scep_server(main_server)->digitals;
}

const scep_digital_t *scep_digital_find(server_rec *main_server, const char *tenant,
                                        const char *name)
{
    const apr_array_header_t *all = scep_digitals(main_server);
    int i;

    for (i = 0; all && i < all->nelts; ++i) {
        const scep_digital_t *digital
            = &APR_ARRAY_IDX(all, i, scep_digital_section_t *)->digital;

        if (!strcmp(digital->tenant, tenant) && !strcmp(digital->name, name)) {
            return digital;
        }
    }
    return NULL;
}

/** @return what is wrong with it, or NULL */
static const char *resolve(scep_digital_t *digital, const gatehouse_config_t *config,
                           apr_pool_t *ptemp)
{
    const char *kind = digital->key_size == 2048 ? "RSA-2048" : "RSA-3072";
    const gh_profile_t *profile = apr_hash_get(config->profiles, digital->profile,
                                               APR_HASH_KEY_STRING);

    digital->ca = apr_hash_get(config->issuers, digital->issuer, APR_HASH_KEY_STRING);
    if (!digital->ca) {
        return apr_psprintf(ptemp, "there is no <Issuer %s>", digital->issuer);
    }
    if (!gh_issuer_backend(digital->ca)->enrol
        || gh_issuer_backend(digital->ca) == &gh_issuer_offline) {
        return apr_psprintf(ptemp, "issuer %s is offline", digital->issuer);
    }
    if (!profile) {
        return apr_psprintf(ptemp, "there is no <CertificateProfile %s>", digital->profile);
    }
    if (gh_profile_is_internal(profile)) {
        return apr_psprintf(ptemp, "profile %s is internal", digital->profile);
    }
    if (digital->modes & SCEP_DIGITAL_P12
        && (!gh_profile_allows_mode(profile, "p12") || !gh_profile_allows_key(profile, kind))) {
        return apr_psprintf(ptemp, "profile %s does not let the server make %s keys; it needs "
                            "ProfileModes csr p12", digital->profile, kind);
    }
    if (digital->modes & SCEP_DIGITAL_P12 && !config->sealing_configured) {
        return "keys that the server makes need GatehouseSealingKey";
    }
    digital->certificate_profile = profile;
    return NULL;
}

int scep_digital_check(server_rec *main_server, const gatehouse_config_t *config, apr_pool_t *p,
                       apr_pool_t *ptemp)
{
    const apr_array_header_t *all = scep_digitals(main_server);
    int i, problems = 0;

    for (i = 0; all && i < all->nelts; ++i) {
        scep_digital_section_t *section = APR_ARRAY_IDX(all, i, scep_digital_section_t *);
        const char *wrong = resolve(&section->digital, config, ptemp);

        if (wrong) {
            scep_log_problem(main_server, APLOG_ERR, section->place,
                             apr_psprintf(ptemp, GHNO(1006) "<DigitalID \"%s\">: %s",
                                          section->digital.name, wrong), ptemp);
            ++problems;
        }
    }
    return problems;
}
