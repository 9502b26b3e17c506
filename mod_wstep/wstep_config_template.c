/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* <CertificateTemplate NAME>, with what Active Directory would have of a template. */

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <httpd.h>
#include <http_log.h>

#include "log.h"
#include "mod_wstep/wstep_config.h"
#include "mod_wstep/xcep_extensions.h"
#include "x509/usages.h"

#define OID_BASE "1.3.6.1.4.1.311.21.8"
#define VALIDITY (365 * 24 * 3600)
#define RENEWAL (42 * 24 * 3600)

typedef struct {
    const char *word;
    unsigned int bits;
} word_t;

static const word_t subject_words[] = {
    { "supplied", XCEP_SUBJECT_SUPPLIED }, { "keep", XCEP_SUBJECT_OLD }, { "cn", XCEP_SUBJECT_CN },
    { "dn", XCEP_SUBJECT_DN }, { "dns", XCEP_SUBJECT_CN_DNS }, { "mail", XCEP_SUBJECT_MAIL },
    { NULL, 0 }
};

static const word_t alt_name_words[] = {
    { "supplied", XCEP_SUBJECT_SAN_SUPPLIED }, { "dns", XCEP_SUBJECT_SAN_DNS },
    { "upn", XCEP_SUBJECT_SAN_UPN }, { "mail", XCEP_SUBJECT_SAN_MAIL },
    { "spn", XCEP_SUBJECT_SAN_SPN }, { "guid", XCEP_SUBJECT_SAN_GUID },
    { "domain", XCEP_SUBJECT_SAN_DOMAIN_DNS }, { NULL, 0 }
};

/* msPKI-Enrollment-Flag */
static const word_t flag_words[] = {
    { "smime", 0x1 }, { "publish", 0x8 }, { "check", 0x10 }, { "old-key", 0x40 }, { "ask", 0x100 },
    { "remove-old", 0x400 }, { "reuse", 0x2000 }, { NULL, 0 }
};

/** @return the open section; NULL with error set */
static wstep_template_section_t *enter(cmd_parms *cmd, const char **error)
{
    wstep_template_section_t *open = wstep_server(cmd->server)->template;
    const char *name = cmd->cmd->name;
    int i;

    *error = NULL;
    if (!open) {
        *error = apr_psprintf(cmd->pool, GHNO(1384) "%s belongs in <CertificateTemplate>", name);
        return NULL;
    }
    for (i = 0; i < open->said->nelts; ++i) {
        if (!strcmp(APR_ARRAY_IDX(open->said, i, const char *), name)
            && strcmp(name, "TemplateProfile") != 0) {
            *error = apr_psprintf(cmd->pool, GHNO(1385) "%s stands twice in this section", name);
            return NULL;
        }
    }
    APR_ARRAY_PUSH(open->said, const char *) = name;
    return open;
}

/** @return 0 for a word that is none of them */
static int take_words(unsigned int *bits, const word_t *words, int argc, char *const argv[])
{
    int i, j;

    for (i = 0; i < argc; ++i) {
        for (j = 0; words[j].word && ap_cstr_casecmp(words[j].word, argv[i]); ++j) {
        }
        if (!words[j].word) {
            return 0;
        }
        *bits |= words[j].bits;
    }
    return argc > 0;
}

static const apr_array_header_t *texts(int argc, char *const argv[], apr_pool_t *p)
{
    apr_array_header_t *array = apr_array_make(p, argc, sizeof(const char *));
    int i;

    for (i = 0; i < argc; ++i) {
        APR_ARRAY_PUSH(array, const char *) = argv[i];
    }
    return array;
}

static int take_number(int *number, const char *text, int least, int most)
{
    char *end;
    long value = strtol(text, &end, 10);

    *number = (int)value;
    return *text && !*end && value >= least && value <= most;
}

/** "100.3" */
static int take_version(xcep_template_t *policy, const char *text, apr_pool_t *p)
{
    const char *dot = strchr(text, '.');

    return dot && take_number(&policy->major, apr_pstrmemdup(p, text, (apr_size_t)(dot - text)), 0,
                              65535)
           && take_number(&policy->minor, dot + 1, 0, 65535);
}

static int take_seconds(apr_int64_t *seconds, const char *text)
{
    apr_interval_time_t span;

    if (gh_duration_parse(&span, text) != APR_SUCCESS) {
        return 0;
    }
    *seconds = apr_time_sec(span);
    return *seconds > 0;
}

const char *wstep_set_template_text(cmd_parms *cmd, void *dir, const char *text)
{
    const char *error, *name = cmd->cmd->name;
    wstep_template_section_t *section = enter(cmd, &error);
    xcep_template_t *policy = section ? &section->policy : NULL;
    int good = 1;

    if (error) {
        return error;
    }
    if (!strcmp(name, "TemplateOID")) {
        policy->oid = text;
        good = xcep_oid_valid(text);
    }
    else if (!strcmp(name, "TemplateDisplayName")) {
        policy->display_name = text;
    }
    else if (!strcmp(name, "TemplateVersion")) {
        good = take_version(policy, text, cmd->temp_pool);
    }
    else if (!strcmp(name, "TemplateSchema")) {
        good = take_number(&policy->schema, text, 1, 3);
    }
    else if (!strcmp(name, "TemplateValidity")) {
        good = take_seconds(&policy->validity, text);
    }
    else if (!strcmp(name, "TemplateRenewal")) {
        good = take_seconds(&policy->renewal, text);
    }
    else {
        good = take_number(&policy->minimal_key, text, 224, 16384);
    }
    return good ? NULL : apr_psprintf(cmd->pool, GHNO(1386) "%s takes %s, not \"%s\"", name,
                                      cmd->cmd->errmsg, text);
}

static int take_key_flags(xcep_template_t *policy, int argc, char *const argv[])
{
    int i;

    for (i = 0; i < argc; ++i) {
        if (!ap_cstr_casecmp(argv[i], "exportable")) {
            policy->private_key_flags |= XCEP_KEY_EXPORTABLE;
        }
        else if (!ap_cstr_casecmp(argv[i], "protect")) {
            policy->private_key_flags |= XCEP_KEY_PROTECT;
        }
        else if (!ap_cstr_casecmp(argv[i], "exchange")) {
            policy->key_spec = 1;
        }
        else if (!ap_cstr_casecmp(argv[i], "signature")) {
            policy->key_spec = 2;
        }
        else {
            return 0;
        }
    }
    return argc > 0;
}

static int take_profile(wstep_template_section_t *section, int argc, char *const argv[])
{
    wstep_usage_name_t *usage;
    int i;

    if (argc < 2) {
        if (argc != 1 || section->profile || section->usages->nelts) {
            return 0;
        }
        section->profile = argv[0];
        return 1;
    }
    usage = apr_array_push(section->usages);
    usage->profile = argv[0];
    usage->usage = 0;
    for (i = 1; i < argc; ++i) {
        unsigned int bit = gh_usage_bit(argv[i]);

        if (!bit) {
            return 0;
        }
        usage->usage |= bit;
    }
    return !section->profile;
}

/** Names or OIDs, or "request". */
static int take_extended(xcep_template_t *policy, int argc, char *const argv[], apr_pool_t *p)
{
    apr_array_header_t *oids = apr_array_make(p, argc, sizeof(const char *));
    int i;

    policy->extended_usages = oids;
    if (argc == 1 && !ap_cstr_casecmp(argv[0], "request")) {
        return 1;
    }
    for (i = 0; i < argc; ++i) {
        const char *oid = gh_eku_oid(argv[i], p);

        if (!oid) {
            return 0;
        }
        APR_ARRAY_PUSH(oids, const char *) = oid;
    }
    return argc > 0;
}

/** What certificates are for that nobody has said anything of. */
static const apr_array_header_t *usual_usages(apr_pool_t *p)
{
    apr_array_header_t *oids = apr_array_make(p, 1, sizeof(const char *));

    APR_ARRAY_PUSH(oids, const char *) = gh_eku_oid("clientAuth", p);
    return oids;
}

/** "all", or names. */
static int take_users(wstep_template_t *template, int argc, char *const argv[], apr_pool_t *p)
{
    template->everybody = argc == 1 && !ap_cstr_casecmp(argv[0], "all");
    template->users = template->everybody ? NULL : texts(argc, argv, p);
    return argc > 0;
}

static int take_agents(wstep_template_t *template, int argc, char *const argv[], apr_pool_t *p)
{
    template->on_behalf = argc != 1 || ap_cstr_casecmp(argv[0], "none");
    template->agents = argc == 1 && (!template->on_behalf || !ap_cstr_casecmp(argv[0], "all"))
        ? NULL : texts(argc, argv, p);
    return argc > 0;
}

static int take_list(wstep_template_section_t *section, const char *name, int argc,
                     char *const argv[], apr_pool_t *p)
{
    xcep_template_t *policy = &section->policy;

    if (!strcmp(name, "TemplateProfile")) {
        return take_profile(section, argc, argv);
    }
    if (!strcmp(name, "TemplateKeyFlags")) {
        return take_key_flags(policy, argc, argv);
    }
    if (!strcmp(name, "TemplateUsages")) {
        return take_extended(policy, argc, argv, p);
    }
    if (!strcmp(name, "TemplateProviders")) {
        policy->providers = texts(argc, argv, p);
        return argc > 0;
    }
    if (!strcmp(name, "TemplateSubject")) {
        return take_words(&policy->subject_flags, subject_words, argc, argv);
    }
    if (!strcmp(name, "TemplateAltNames")) {
        return take_words(&policy->subject_flags, alt_name_words, argc, argv);
    }
    if (!strcmp(name, "TemplateFlags")) {
        return take_words(&policy->enrolment_flags, flag_words, argc, argv);
    }
    if (!strcmp(name, "TemplateUsers")) {
        return take_users(&section->template, argc, argv, p);
    }
    if (!strcmp(name, "TemplateGroups")) {
        section->template.groups = texts(argc, argv, p);
        return argc > 0;
    }
    return take_agents(&section->template, argc, argv, p);
}

const char *wstep_set_template_list(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    const char *error;
    wstep_template_section_t *section = enter(cmd, &error);

    if (!error && !take_list(section, cmd->cmd->name, argc, argv, cmd->pool)) {
        error = apr_psprintf(cmd->pool, GHNO(1387) "%s takes %s", cmd->cmd->name,
                             cmd->cmd->errmsg);
    }
    return error;
}

const char *wstep_set_template_flag(cmd_parms *cmd, void *dir, int on)
{
    const char *error;
    wstep_template_section_t *section = enter(cmd, &error);

    if (error) {
        return error;
    }
    if (!strcmp(cmd->cmd->name, "TemplateAutoEnroll")) {
        section->template.auto_enroll = on;
    }
    else if (!strcmp(cmd->cmd->name, "TemplateInDirectory")) {
        section->template.in_directory = on;
    }
    else {
        section->policy.general_flags = on ? XCEP_GENERAL_MACHINE : 0;
    }
    return NULL;
}

/* The section */

/** Names that Windows takes for a template: its documentation has letters and digits alone. */
static const char *read_name(const char **name, cmd_parms *cmd, const char *text)
{
    const char *end = strrchr(text, '>');
    const char *word, *c;

    if (!end) {
        return GHNO(1388) "<CertificateTemplate has no closing bracket";
    }
    text = apr_pstrmemdup(cmd->pool, text, (apr_size_t)(end - text));
    word = ap_getword_conf(cmd->pool, &text);
    for (c = word; isalnum((unsigned char)*c) || *c == '-' || *c == '_'; ++c) {
    }
    if (!*word || *c || *text || strlen(word) > 64) {
        return GHNO(1389) "<CertificateTemplate> takes a name of letters, digits, - and _";
    }
    *name = word;
    return NULL;
}

static const char *walk(cmd_parms *cmd)
{
    ap_directive_t *section = cmd->directive;
    const char *error;

    error = section->first_child ? ap_walk_config(section->first_child, cmd, cmd->context) : NULL;
    cmd->directive = section;
    return error;
}

static const char *finish(cmd_parms *cmd, wstep_template_section_t *section)
{
    xcep_template_t *policy = &section->policy;

    if (!section->profile && !section->usages->nelts) {
        return apr_psprintf(cmd->pool, GHNO(1390) "<CertificateTemplate %s> has no TemplateProfile",
                            policy->name);
    }
    if (!policy->oid) {
        policy->oid = xcep_oid_make(OID_BASE, policy->name, cmd->pool);
    }
    if (!(policy->subject_flags & ~XCEP_SUBJECT_OLD)) {
        policy->subject_flags |= XCEP_SUBJECT_CN;
    }
    if (!policy->extended_usages && !section->template.in_directory) {
        policy->extended_usages = usual_usages(cmd->pool);
    }
    if (!policy->renewal) {
        policy->renewal = policy->validity / 4 < RENEWAL ? policy->validity / 4 : RENEWAL;
    }
    /* who configures that it is supplied here has decided about it */
    section->template.supply_subject = (policy->subject_flags & XCEP_SUBJECT_SUPPLIED) != 0;
    section->template.supply_names = (policy->subject_flags & XCEP_SUBJECT_SAN_SUPPLIED) != 0;
    if (section->template.auto_enroll) {
        policy->enrolment_flags |= 0x20;    /* CT_FLAG_AUTO_ENROLLMENT */
    }
    return NULL;
}

const char *wstep_template_section(cmd_parms *cmd, void *dir, const char *text)
{
    wstep_server_t *server = wstep_server(cmd->server);
    wstep_template_section_t *section = apr_pcalloc(cmd->pool, sizeof(*section));
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    if (!error) {
        error = read_name(&section->policy.name, cmd, text);
    }
    if (error) {
        return error;
    }
    if (!server->templates) {
        server->templates = apr_hash_make(cmd->pool);
        server->ordered = apr_array_make(cmd->pool, 8, sizeof(wstep_template_section_t *));
    }
    if (apr_hash_get(server->templates, section->policy.name, APR_HASH_KEY_STRING)) {
        return apr_psprintf(cmd->pool, GHNO(1391) "there is a <CertificateTemplate %s> already",
                            section->policy.name);
    }
    section->place = wstep_place_of(cmd);
    section->said = apr_array_make(cmd->pool, 8, sizeof(const char *));
    section->usages = apr_array_make(cmd->pool, 2, sizeof(wstep_usage_name_t));
    section->policy.schema = 2;
    section->policy.major = 100;
    section->policy.validity = VALIDITY;
    section->policy.minimal_key = 2048;
    section->policy.key_spec = -1;
    section->policy.key_usage = -1;
    section->template.policy = &section->policy;
    server->template = section;
    error = walk(cmd);
    server->template = NULL;
    if (!error) {
        error = finish(cmd, section);
    }
    apr_hash_set(server->templates, section->policy.name, APR_HASH_KEY_STRING, section);
    APR_ARRAY_PUSH(server->ordered, wstep_template_section_t *) = section;
    return error;
}

/* Once all was read */

static const gh_profile_t *find_profile(server_rec *s, const wstep_template_section_t *section,
                                        const gatehouse_config_t *config, const char *name,
                                        apr_pool_t *ptemp)
{
    const gh_profile_t *profile = apr_hash_get(config->profiles, name, APR_HASH_KEY_STRING);

    if (!profile || gh_profile_is_internal(profile)) {
        wstep_log_problem(s, APLOG_ERR, section->place,
                          apr_psprintf(ptemp, GHNO(1392) "TemplateProfile of %s: there is no "
                                       "<CertificateProfile %s>, or it is internal and never "
                                       "reachable by a protocol", section->policy.name, name),
                          ptemp);
        return NULL;
    }
    return profile;
}

/** Somebody without a domain is of the first, as who calls without one is.
 *  @return an entry of a domain that is not configured; or NULL */
static const char *qualify_users(wstep_template_t *template, const apr_array_header_t *domains,
                                 apr_pool_t *p)
{
    apr_array_header_t *users;
    wstep_user_t user;
    gh_result_t ignored;
    int i;

    if (!template->users || !domains || !domains->nelts) {
        return NULL;
    }
    users = apr_array_make(p, template->users->nelts, sizeof(const char *));
    for (i = 0; i < template->users->nelts; ++i) {
        const char *entry = APR_ARRAY_IDX(template->users, i, const char *);

        gh_result_clear(&ignored);
        if (wstep_user_parse(&user, entry, NULL, domains, p, &ignored) != APR_SUCCESS) {
            return entry;
        }
        APR_ARRAY_PUSH(users, const char *) = apr_pstrcat(p, user.domain->name, "\\", user.name,
                                                          NULL);
    }
    template->users = users;
    return NULL;
}

static int complete(server_rec *s, wstep_template_section_t *section,
                    const gatehouse_config_t *config, apr_pool_t *p, apr_pool_t *ptemp)
{
    apr_array_header_t *usages = apr_array_make(p, 2, sizeof(wstep_usage_t));
    const gh_profile_t *first = NULL;
    const char *stranger;
    gh_result_t result;
    int i;

    stranger = qualify_users(&section->template, wstep_server(s)->domains, p);
    if (stranger) {
        wstep_log_problem(s, APLOG_ERR, section->place,
                          apr_psprintf(ptemp, GHNO(1520) "TemplateUsers of %s: \"%s\" is no name "
                                       "of a user, or of a domain that no WSTEPDomain names",
                                       section->policy.name, stranger), ptemp);
        return 1;
    }
    if (section->profile) {
        first = section->template.profile = find_profile(s, section, config, section->profile,
                                                         ptemp);
        if (!first) {
            return 1;
        }
    }
    for (i = 0; i < section->usages->nelts; ++i) {
        const wstep_usage_name_t *one = &APR_ARRAY_IDX(section->usages, i, wstep_usage_name_t);
        wstep_usage_t usage = { one->usage, find_profile(s, section, config, one->profile,
                                                         ptemp) };

        if (!usage.profile) {
            return 1;
        }
        first = first ? first : usage.profile;
        APR_ARRAY_PUSH(usages, wstep_usage_t) = usage;
    }
    section->template.usages = usages->nelts ? usages : NULL;
    gh_result_clear(&result);
    if (wstep_template_check(&section->template, ptemp, &result) != APR_SUCCESS) {
        wstep_log_problem(s, APLOG_ERR, section->place,
                          apr_psprintf(ptemp, "%s: %s; %s", result.number, result.message,
                                       result.action), ptemp);
        return 1;
    }
    section->policy.extensions = xcep_extensions_make(&section->policy, first, p);
    section->complete = 1;
    return 0;
}

int wstep_templates_check(server_rec *main_server, const gatehouse_config_t *config,
                          apr_pool_t *p, apr_pool_t *ptemp)
{
    const wstep_server_t *server = wstep_server(main_server);
    int i, problems = 0;

    for (i = 0; server->ordered && i < server->ordered->nelts; ++i) {
        problems += complete(main_server, APR_ARRAY_IDX(server->ordered, i,
                                                        wstep_template_section_t *), config, p,
                             ptemp);
    }
    return problems;
}
