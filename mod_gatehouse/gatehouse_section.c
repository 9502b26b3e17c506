/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What <Issuer> and <CertificateProfile> have in common. */

#include <string.h>
#include <apr_strings.h>
#include <apr_lib.h>

#include "gatehouse_private.h"
#include "log.h"

const char *gatehouse_section_words(cmd_parms *cmd, const char *text,
                                    const apr_array_header_t **words)
{
    apr_array_header_t *list = apr_array_make(cmd->pool, 2, sizeof(const char *));
    const char *end = ap_strrchr_c(text, '>');
    const char *rest;

    if (!end || end[1 + strspn(end + 1, " \t")]) {
        return apr_psprintf(cmd->pool, GHNO(0277) "%s NAME> lacks its closing '>', or has "
                            "something behind it", cmd->cmd->name);
    }
    rest = apr_pstrmemdup(cmd->pool, text, end - text);
    while (*rest) {
        const char *word = ap_getword_conf(cmd->pool, &rest);

        if (*word) {
            APR_ARRAY_PUSH(list, const char *) = word;
        }
    }
    *words = list;
    return NULL;
}

const char *gatehouse_section_walk(cmd_parms *cmd, const char *prefix, const char *other)
{
    ap_directive_t *section = cmd->directive;
    ap_directive_t *child;
    const char *err = NULL;

    for (child = section->first_child; child; child = child->next) {
        if (ap_cstr_casecmpn(child->directive, prefix, strlen(prefix))
            && (!other || ap_cstr_casecmp(child->directive, other))) {
            cmd->err_directive = child;
            return apr_psprintf(cmd->pool, GHNO(0278) "%s does not belong in %s ...>: only %s... "
                                "directives%s%s do", child->directive, cmd->cmd->name, prefix,
                                other ? " and " : "", other ? other : "");
        }
    }
    if (section->first_child) {
        const command_rec *rec = cmd->cmd;

        err = ap_walk_config(section->first_child, cmd, cmd->context);
        cmd->directive = section;
        cmd->cmd = rec;
    }
    return err;
}
