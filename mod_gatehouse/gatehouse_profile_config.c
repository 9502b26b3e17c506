/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* <CertificateProfile NAME [base=OTHER]>: its directives are kept until all sections were read, so
 * that a profile may be based on one that is defined further down. */

#include <string.h>
#include <apr_strings.h>

#include "gatehouse_private.h"
#include "log.h"
#include "text.h"

const char *gatehouse_set_profile(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    gatehouse_settings_t *settings = gatehouse_settings_of(cmd->server);
    const char *err = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    gatehouse_profile_line_t *line;
    const char **words;
    int i;

    if (err) {
        return err;
    }
    if (!settings->profile) {
        return apr_psprintf(cmd->pool, GHNO(0291) "%s belongs inside <CertificateProfile NAME>",
                            cmd->cmd->name);
    }
    words = apr_pcalloc(cmd->pool, (argc + 1) * sizeof(*words));
    for (i = 0; i < argc; ++i) {
        words[i] = apr_pstrdup(cmd->pool, argv[i]);
    }
    line = apr_array_push(settings->profile->lines);
    line->name = cmd->cmd->name;
    line->argc = argc;
    line->argv = words;
    line->place = gatehouse_place(cmd);
    return NULL;
}

static gatehouse_profile_section_t *find_section(const gatehouse_settings_t *settings,
                                                 const char *name)
{
    int i;

    for (i = 0; i < settings->profiles->nelts; ++i) {
        gatehouse_profile_section_t *section
            = APR_ARRAY_IDX(settings->profiles, i, gatehouse_profile_section_t *);

        if (!strcmp(section->name, name)) {
            return section;
        }
    }
    return NULL;
}

const char *gatehouse_profile_section(cmd_parms *cmd, void *dir, const char *text)
{
    gatehouse_settings_t *settings = gatehouse_settings_of(cmd->server);
    const char *err = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    gatehouse_profile_section_t *section = apr_pcalloc(cmd->pool, sizeof(*section));
    const gatehouse_profile_section_t *seen;
    const apr_array_header_t *words;

    if (err || (err = gatehouse_section_words(cmd, text, &words))) {
        return err;
    }
    section->lines = apr_array_make(cmd->pool, 8, sizeof(gatehouse_profile_line_t));
    section->place = gatehouse_place(cmd);
    section->name = words->nelts ? APR_ARRAY_IDX(words, 0, const char *) : "";
    if (words->nelts == 2 && !strncmp(APR_ARRAY_IDX(words, 1, const char *), "base=", 5)) {
        section->base = APR_ARRAY_IDX(words, 1, const char *) + 5;
    }
    if (!gh_name_valid(section->name) || words->nelts > 2
        || (words->nelts == 2 && (!section->base || !gh_name_valid(section->base)))) {
        return GHNO(0292) "<CertificateProfile NAME [base=OTHER]> takes names of 1 to 64 letters, "
               "digits, '_', '~' and '-'";
    }
    seen = find_section(settings, section->name);
    if (seen) {
        return apr_psprintf(cmd->pool, GHNO(0293) "profile %s is there already, at %s:%d; give one "
                            "of them another name", seen->name, seen->place.file,
                            seen->place.line);
    }
    settings->profile = section;
    err = gatehouse_section_walk(cmd, "Profile", NULL);
    settings->profile = NULL;
    APR_ARRAY_PUSH(settings->profiles, gatehouse_profile_section_t *) = section;
    return err;
}

/* From here on: the check_config hook. */

typedef struct {
    gatehouse_settings_t *settings;
    server_rec *server;
    apr_pool_t *p;
    apr_pool_t *ptemp;
    int problems;
} check_t;

static void problem(check_t *check, gatehouse_place_t place, const char *what,
                    const char *explanation)
{
    gatehouse_log_problem(check->server, place, what, explanation);
    ++check->problems;
}

static void make_profile(check_t *check, gatehouse_profile_section_t *section);

/* @return 0 if there is no usable base */
static int find_base(check_t *check, gatehouse_profile_section_t *section,
                     const gh_profile_t **base)
{
    const char *what = apr_pstrcat(check->ptemp, "<CertificateProfile ", section->name, ">", NULL);
    gatehouse_profile_section_t *other;

    *base = NULL;
    if (!section->base) {
        return 1;
    }
    other = find_section(check->settings, section->base);
    if (!other) {
        problem(check, section->place, what,
                apr_psprintf(check->ptemp, GHNO(0294) "there is no <CertificateProfile %s> for it "
                             "to be based on", section->base));
        return 0;
    }
    make_profile(check, other);
    if (other->state == GATEHOUSE_PROFILE_OPEN) {
        problem(check, section->place, what,
                apr_psprintf(check->ptemp, GHNO(0295) "base=%s leads back to this profile; take "
                             "base= off one of them", section->base));
        return 0;
    }
    *base = other->profile;
    return *base != NULL;
}

/* A base that is wrong has been reported where it stands; profiles based on it are left out. */
static void make_profile(check_t *check, gatehouse_profile_section_t *section)
{
    const gh_profile_t *base;
    gh_profile_t *profile;
    gh_result_t result;
    apr_status_t rv;
    int before = check->problems;
    int i;

    if (section->state != GATEHOUSE_PROFILE_NEW) {
        return;
    }
    section->state = GATEHOUSE_PROFILE_OPEN;
    if (!find_base(check, section, &base)) {
        section->state = GATEHOUSE_PROFILE_DONE;
        return;
    }
    profile = gh_profile_create(section->name, base, check->p);
    for (i = 0; i < section->lines->nelts; ++i) {
        const gatehouse_profile_line_t *line
            = &APR_ARRAY_IDX(section->lines, i, gatehouse_profile_line_t);

        gh_result_clear(&result);
        rv = gh_profile_set(profile, line->name, line->argc, line->argv, check->p, &result);
        if (rv != APR_SUCCESS) {
            problem(check, line->place, line->name, gatehouse_explain(&result, rv, check->ptemp));
        }
    }
    if (check->problems == before) {
        gh_result_clear(&result);
        rv = gh_profile_complete(profile, check->p, &result);
        if (rv != APR_SUCCESS) {
            problem(check, section->place,
                    apr_pstrcat(check->ptemp, "<CertificateProfile ", section->name, ">", NULL),
                    gatehouse_explain(&result, rv, check->ptemp));
        }
    }
    section->state = GATEHOUSE_PROFILE_DONE;
    section->profile = check->problems == before ? profile : NULL;
}

static void add_names(check_t *check, const gatehouse_profile_section_t *section)
{
    const apr_array_header_t *aliases = gh_profile_aliases(section->profile);
    apr_hash_t *profiles = check->settings->shared.profiles;
    int i;

    for (i = 0; i < aliases->nelts; ++i) {
        const char *alias = APR_ARRAY_IDX(aliases, i, const char *);
        gh_profile_t *other = apr_hash_get(profiles, alias, APR_HASH_KEY_STRING);

        if (other || find_section(check->settings, alias)) {
            problem(check, section->place, "ProfileAlias",
                    apr_psprintf(check->ptemp, GHNO(0296) "%s cannot be another name of profile "
                                 "%s, since profile %s has it", alias, section->name,
                                 other ? gh_profile_name(other) : alias));
            continue;
        }
        apr_hash_set(profiles, alias, APR_HASH_KEY_STRING, section->profile);
    }
    apr_hash_set(profiles, section->name, APR_HASH_KEY_STRING, section->profile);
}

/* Where the expression stands, as well as that can be told: it may come from a base. */
static gatehouse_place_t expression_place(const gatehouse_profile_section_t *section,
                                          const char *expression)
{
    int i, k;

    for (i = 0; i < section->lines->nelts; ++i) {
        const gatehouse_profile_line_t *line
            = &APR_ARRAY_IDX(section->lines, i, gatehouse_profile_line_t);

        for (k = 0; k < line->argc; ++k) {
            if (!strcmp(line->argv[k], expression)) {
                return line->place;
            }
        }
    }
    return section->place;
}

static void compile_expressions(check_t *check, const gatehouse_profile_section_t *section)
{
    const apr_array_header_t *expressions = gh_profile_expressions(section->profile);
    apr_hash_t *compiled = check->settings->expressions;
    int i;

    for (i = 0; i < expressions->nelts; ++i) {
        const char *text = APR_ARRAY_IDX(expressions, i, const char *);
        gatehouse_place_t place = expression_place(section, text);
        ap_directive_t directive = { .filename = place.file, .line_num = place.line };
        cmd_parms cmd = { .pool = check->p, .temp_pool = check->ptemp, .server = check->server,
                          .directive = &directive };
        ap_expr_info_t *expression;
        const char *err = NULL;

        if (apr_hash_get(compiled, text, APR_HASH_KEY_STRING)) {
            continue;
        }
        expression = ap_expr_parse_cmd_mi(&cmd, text,
                                          AP_EXPR_FLAG_STRING_RESULT | AP_EXPR_FLAG_DONT_VARY,
                                          &err, NULL, gatehouse_module.module_index);
        if (!expression || err) {
            problem(check, place, section->name,
                    apr_psprintf(check->ptemp, GHNO(0297) "\"%s\" is not an expression: %s", text,
                                 err ? err : "it cannot be read"));
            continue;
        }
        apr_hash_set(compiled, text, APR_HASH_KEY_STRING, expression);
    }
}

int gatehouse_check_profiles(gatehouse_settings_t *settings, server_rec *s, apr_pool_t *p,
                             apr_pool_t *ptemp)
{
    check_t check = { settings, s, p, ptemp, 0 };
    int i;

    for (i = 0; i < settings->profiles->nelts; ++i) {
        make_profile(&check, APR_ARRAY_IDX(settings->profiles, i, gatehouse_profile_section_t *));
    }
    for (i = 0; i < settings->profiles->nelts; ++i) {
        const gatehouse_profile_section_t *section
            = APR_ARRAY_IDX(settings->profiles, i, gatehouse_profile_section_t *);

        if (section->profile) {
            add_names(&check, section);
            compile_expressions(&check, section);
        }
    }
    return check.problems;
}
