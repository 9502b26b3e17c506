/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* <Issuer NAME> of a CA behind a gateway: what it is asked for, and in which words. */

#include <string.h>
#include <httpd.h>
#include <apr_lib.h>
#include <apr_strings.h>

#include "gatehouse_remote.h"
#include "log.h"
#include "text.h"

#define VALIDITY_MAX apr_time_from_sec(20LL * 366 * 86400)
#define WORD_MAX 128

/* Takes what the worker reads: "validity=SECONDS", "validity=profile", "extensions=eku",
 * "property=NAME=VALUE". @return 0 if it is none */
static int take_option(apr_table_t *options, const char *ours, const char *text, apr_pool_t *p)
{
    apr_interval_time_t time;
    const char *value;

    if (!strcmp(text, "validity=profile") || !strcmp(text, "extensions=eku")) {
        apr_table_addn(options, ours, text);
        return 1;
    }
    if (!strncmp(text, "validity=", 9)) {
        if (gh_duration_parse(&time, text + 9) != APR_SUCCESS || time < apr_time_from_sec(1)
            || time > VALIDITY_MAX) {
            return 0;
        }
        apr_table_addn(options, ours, apr_psprintf(p, "validity=%" APR_TIME_T_FMT,
                                                   apr_time_sec(time)));
        return 1;
    }
    value = !strncmp(text, "property=", 9) ? strchr(text + 9, '=') : NULL;
    if (!value || value == text + 9) {
        return 0;
    }
    apr_table_addn(options, ours, text);
    return 1;
}

/* Several, unlike other directives. */
const char *gatehouse_set_issuer_gateway_profile(cmd_parms *cmd, void *dir, int argc,
                                                 char *const argv[])
{
    gatehouse_issuer_section_t *section = gatehouse_settings_of(cmd->server)->issuer;
    gatehouse_place_t none = { NULL, 0 };
    gatehouse_remote_t *remote;
    const char *err;
    int i;

    if (section) {
        section->remote.profiles_place = none;
    }
    err = GATEHOUSE_SECTION_OF(cmd, &section, remote.profiles_place);
    if (err) {
        return err;
    }
    remote = &section->remote;
    if (!remote->profiles) {
        remote->profiles = apr_table_make(cmd->pool, 8);
        remote->profile_options = apr_table_make(cmd->pool, 8);
    }
    if (argc < 2 || !*argv[1] || strlen(argv[1]) > GATEHOUSE_GATEWAY_NAME_MAX
        || (strcmp(argv[0], "*") && !gh_name_valid(argv[0]))
        || apr_table_get(remote->profiles, argv[0])) {
        return apr_psprintf(cmd->pool, GHNO(0867) "IssuerGatewayProfile takes the name of a "
                            "profile here, or \"*\" for all others, and the gateway's name of it, "
                            "each of ours once; not \"%s\"", argc > 0 ? argv[0] : "");
    }
    apr_table_setn(remote->profiles, argv[0], argv[1]);
    for (i = 2; i < argc; ++i) {
        if (!take_option(remote->profile_options, argv[0], argv[i], cmd->pool)) {
            return apr_psprintf(cmd->pool, GHNO(1089) "IssuerGatewayProfile %s: behind the "
                                "gateway's name only validity=TIME or validity=profile, "
                                "extensions=eku and property=NAME=VALUE may stand, not \"%s\"",
                                argv[0], argv[i]);
        }
    }
    return NULL;
}

static int is_word(const char *text)
{
    apr_size_t length = strlen(text);

    return length > 0 && length <= WORD_MAX
        && strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.,$-")
           == length;
}

const char *gatehouse_set_issuer_spelling(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    gatehouse_issuer_section_t *section;
    const char *err = GATEHOUSE_SECTION_OF(cmd, &section, remote.spelling_place);
    gatehouse_remote_t *remote;
    apr_size_t k;
    int i;

    if (err) {
        return err;
    }
    remote = &section->remote;
    for (i = 0; i < argc; ++i) {
        const struct {
            const char *name;
            const char **value;
        } words[] = {
            { "validity=", &remote->spelling_validity },
            { "selector=", &remote->spelling_selector },
            { "ca=", &remote->spelling_ca },
            { "properties=", &remote->spelling_properties },
        };

        for (k = 0; k < sizeof(words) / sizeof(words[0]); ++k) {
            apr_size_t length = strlen(words[k].name);

            if (!strncmp(argv[i], words[k].name, length) && is_word(argv[i] + length)) {
                *words[k].value = argv[i] + length;
                break;
            }
        }
        if (k == sizeof(words) / sizeof(words[0])) {
            return apr_psprintf(cmd->pool, GHNO(1090) "IssuerGatewaySpelling takes validity=WORD, "
                                "selector=WORD, ca=WORDS and properties=PREFIX, of letters, "
                                "digits and \"$_.,-\"; not \"%s\"", argv[i]);
        }
    }
    return NULL;
}
