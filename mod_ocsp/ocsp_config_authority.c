/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* <OCSPAuthority NAME>, and what is said in it of answers. */

#include <string.h>

#include <apr_strings.h>
#include <httpd.h>
#include <http_core.h>

#include "log.h"
#include "mod_ocsp/ocsp_config.h"
#include "text.h"

#define TIME_MIN apr_time_from_sec(1)
#define TIME_MAX apr_time_from_sec((apr_int64_t)100 * 366 * 86400)

const char *ocsp_enter_section(cmd_parms *cmd, ocsp_section_t **section, apr_size_t offset)
{
    ocsp_place_t *place;

    *section = ocsp_server(cmd->server)->section;
    if (!*section) {
        return apr_psprintf(cmd->pool, GHNO(0601) "%s belongs inside <OCSPAuthority NAME>",
                            cmd->cmd->name);
    }
    if (!offset) {
        return NULL;
    }
    place = (ocsp_place_t *)((char *)*section + offset);
    if (place->file) {
        return apr_psprintf(cmd->pool, GHNO(0602) "%s was given before for authority %s, at "
                            "%s:%d; leave one of them", cmd->cmd->name, (*section)->name,
                            place->file, place->line);
    }
    *place = ocsp_place_of(cmd);
    return NULL;
}

#define ENTER(cmd, section, place) \
    ocsp_enter_section(cmd, section, APR_OFFSETOF(ocsp_section_t, place))

const char *ocsp_set_certificate(cmd_parms *cmd, void *dir, const char *path)
{
    ocsp_section_t *section;
    const char *error = ENTER(cmd, &section, certificate_place);

    return error ? error : ocsp_take_path(cmd, &section->certificate_path, path);
}

const char *ocsp_set_status(cmd_parms *cmd, void *dir, const char *name)
{
    ocsp_section_t *section;
    const char *error = ENTER(cmd, &section, status_place);
    ocsp_policy_t policy;
    int needs_crl, needs_serials;

    if (error) {
        return error;
    }
    if (!ocsp_policy_named(name, &policy, &needs_crl, &needs_serials)) {
        return apr_psprintf(cmd->pool, GHNO(0603) "OCSPStatus %s is not known; there are basic, "
                            "archiveCutOff, nextUpdate, archiveCutOffWithNextUpdate, CRLProfile, "
                            "CRLProfileWithArchiveCutOff, SNListProfile and "
                            "SNListProfileWithArchiveCutOff", name);
    }
    section->status = name;
    return NULL;
}

const char *ocsp_set_unknown(cmd_parms *cmd, void *dir, const char *what)
{
    static const struct {
        const char *name;
        ocsp_if_unknown_t value;
    } known[] = {
        { "unknown", OCSP_UNKNOWN_UNKNOWN },
        { "revoked", OCSP_UNKNOWN_REVOKED },
        { "good", OCSP_UNKNOWN_GOOD },
        { "unauthorized", OCSP_UNKNOWN_UNAUTHORIZED },
    };
    ocsp_section_t *section;
    const char *error = ENTER(cmd, &section, unknown_place);
    apr_size_t i;

    if (error) {
        return error;
    }
    for (i = 0; i < sizeof(known) / sizeof(known[0]); ++i) {
        if (!ap_cstr_casecmp(known[i].name, what)) {
            section->policy.if_unknown = known[i].value;
            return NULL;
        }
    }
    return apr_psprintf(cmd->pool, GHNO(0604) "OCSPUnknown takes unknown, revoked, good or "
                        "unauthorized, not \"%s\"", what);
}

/** @param time set to 0 for "off" */
static const char *parse_time(cmd_parms *cmd, apr_interval_time_t *time, const char *text)
{
    if (!ap_cstr_casecmp(text, "off")) {
        *time = 0;
        return NULL;
    }
    if (gh_duration_parse(time, text) != APR_SUCCESS || *time < TIME_MIN || *time > TIME_MAX) {
        return apr_psprintf(cmd->pool, GHNO(0605) "%s takes a time of at least a second, such as "
                            "10m, 8h or 7d, or off; not \"%s\"", cmd->cmd->name, text);
    }
    return NULL;
}

const char *ocsp_set_next_update(cmd_parms *cmd, void *dir, const char *time)
{
    ocsp_section_t *section;
    const char *error = ENTER(cmd, &section, next_update_place);

    return error ? error : parse_time(cmd, &section->policy.next_update, time);
}

const char *ocsp_set_unknown_next_update(cmd_parms *cmd, void *dir, const char *time)
{
    ocsp_section_t *section;
    const char *error = ENTER(cmd, &section, unknown_next_update_place);

    return error ? error : parse_time(cmd, &section->policy.unknown_next_update, time);
}

const char *ocsp_set_max_stale(cmd_parms *cmd, void *dir, const char *time)
{
    ocsp_section_t *section;
    const char *error = ENTER(cmd, &section, max_stale_place);

    return error ? error : parse_time(cmd, &section->policy.max_stale, time);
}

const char *ocsp_set_retention(cmd_parms *cmd, void *dir, const char *time)
{
    ocsp_section_t *section;
    const char *error = ENTER(cmd, &section, retention_place);

    return error ? error : parse_time(cmd, &section->retention, time);
}

const char *ocsp_set_cutoff(cmd_parms *cmd, void *dir, const char *what)
{
    ocsp_section_t *section;
    const char *error = ENTER(cmd, &section, cutoff_place);
    ocsp_policy_t *policy;

    if (error) {
        return error;
    }
    policy = &section->policy;
    if (!ap_cstr_casecmp(what, "off")) {
        policy->cutoff = OCSP_CUTOFF_NONE;
    }
    else if (!ap_cstr_casecmp(what, "ca")) {
        policy->cutoff = OCSP_CUTOFF_CA;
    }
    else if (!ap_cstr_casecmp(what, "crl")) {
        policy->cutoff = OCSP_CUTOFF_CRL;
    }
    else if (!strncmp(what, "retention=", 10)
             && gh_duration_parse(&policy->cutoff_retention, what + 10) == APR_SUCCESS
             && policy->cutoff_retention >= TIME_MIN && policy->cutoff_retention <= TIME_MAX) {
        policy->cutoff = OCSP_CUTOFF_RETENTION;
    }
    else if (gh_time_parse(&policy->cutoff_date, what) == APR_SUCCESS) {
        policy->cutoff = OCSP_CUTOFF_DATE;
    }
    else {
        return apr_psprintf(cmd->pool, GHNO(0606) "OCSPArchiveCutoff takes off, ca, crl, a time "
                            "such as 2020-01-31T00:00:00Z, or retention=TIME; not \"%s\"", what);
    }
    return NULL;
}

const char *ocsp_set_responder_id(cmd_parms *cmd, void *dir, const char *what)
{
    ocsp_section_t *section;
    const char *error = ENTER(cmd, &section, responder_place);

    if (error) {
        return error;
    }
    section->policy.by_name = !ap_cstr_casecmp(what, "name");
    if (!section->policy.by_name && ap_cstr_casecmp(what, "key")) {
        return apr_psprintf(cmd->pool, GHNO(0607) "OCSPResponderID takes key or name, not \"%s\"",
                            what);
    }
    return NULL;
}

/* The section */

/** The one word of "NAME>". */
static const char *section_name(cmd_parms *cmd, const char *text, const char **name)
{
    const char *end = ap_strrchr_c(text, '>');
    const char *rest;

    if (!end || end[1 + strspn(end + 1, " \t")]) {
        return GHNO(0608) "<OCSPAuthority NAME> lacks its closing '>', or has something behind it";
    }
    rest = apr_pstrmemdup(cmd->pool, text, end - text);
    *name = ap_getword_conf(cmd->pool, &rest);
    if (*rest || !gh_name_valid(*name)) {
        return GHNO(0609) "<OCSPAuthority NAME> takes one name of 1 to 64 letters, digits, '_', "
                          "'~' and '-'";
    }
    return NULL;
}

static const char *walk_section(cmd_parms *cmd)
{
    ap_directive_t *section = cmd->directive;
    ap_directive_t *child;
    const char *error = NULL;

    for (child = section->first_child; child; child = child->next) {
        if (ap_cstr_casecmpn(child->directive, "OCSP", 4)) {
            cmd->err_directive = child;
            return apr_psprintf(cmd->pool, GHNO(0610) "%s does not belong in <OCSPAuthority>: only "
                                "OCSP... directives do", child->directive);
        }
    }
    if (section->first_child) {
        const command_rec *record = cmd->cmd;

        error = ap_walk_config(section->first_child, cmd, cmd->context);
        cmd->directive = section;
        cmd->cmd = record;
    }
    return error;
}

const char *ocsp_authority_section(cmd_parms *cmd, void *dir, const char *text)
{
    ocsp_server_t *server = ocsp_server(cmd->server);
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    ocsp_section_t *section = apr_pcalloc(cmd->pool, sizeof(*section));
    int i;

    if (error || (error = section_name(cmd, text, &section->name))) {
        return error;
    }
    if (server->section) {
        return GHNO(0611) "an <OCSPAuthority> does not belong inside another one";
    }
    for (i = 0; i < server->sections->nelts; ++i) {
        const ocsp_section_t *seen = APR_ARRAY_IDX(server->sections, i, ocsp_section_t *);

        if (!strcmp(seen->name, section->name)) {
            return apr_psprintf(cmd->pool, GHNO(0612) "authority %s is there already, at %s:%d; "
                                "give one of them another name", seen->name, seen->place.file,
                                seen->place.line);
        }
    }
    section->place = ocsp_place_of(cmd);
    section->sources = apr_array_make(cmd->pool, 2, sizeof(ocsp_source_line_t));
    section->signers = apr_array_make(cmd->pool, 2, sizeof(ocsp_signer_line_t));
    server->section = section;
    error = walk_section(cmd);
    server->section = NULL;
    APR_ARRAY_PUSH(server->sections, ocsp_section_t *) = section;
    return error;
}
