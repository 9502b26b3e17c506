/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* OCSPSource: where the status of certificates comes from. */

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <httpd.h>
#include <http_core.h>

#include "log.h"
#include "mod_ocsp/ocsp_config.h"
#include "text.h"

#define SIZE_MIN 1024
#define SIZE_MAX_GIVEN ((apr_size_t)4 * 1024 * 1024 * 1024)

static int is_url(const char *text)
{
    return strstr(text, ":/") != NULL || !strncmp(text, "file:", 5);
}

/** A path becomes a URL, relative to ServerRoot. */
static const char *as_url(cmd_parms *cmd, const char **url, const char *text)
{
    const char *path;
    const char *error;

    if (is_url(text)) {
        *url = text;
        return NULL;
    }
    error = ocsp_take_path(cmd, &path, text);
    if (!error) {
        *url = apr_pstrcat(cmd->pool, "file:", path, NULL);
    }
    return error;
}

static const char *bad_value(cmd_parms *cmd, const char *option)
{
    return apr_psprintf(cmd->pool, GHNO(0613) "OCSPSource: \"%s\" has a value that it cannot have",
                        option);
}

static const char *set_time(cmd_parms *cmd, apr_interval_time_t *time, const char *option,
                            const char *value)
{
    return gh_duration_parse(time, value) == APR_SUCCESS && *time > 0 ? NULL
                                                                      : bad_value(cmd, option);
}

/** @param names the values for 0 and 1 */
static const char *set_choice(cmd_parms *cmd, int *choice, const char *const names[2],
                              const char *option, const char *value)
{
    *choice = !ap_cstr_casecmp(value, names[1]);
    return *choice || !ap_cstr_casecmp(value, names[0]) ? NULL : bad_value(cmd, option);
}

static const char *set_shrink(cmd_parms *cmd, int *percent, const char *option, const char *value)
{
    char *end;
    long number = strtol(value, &end, 10);

    if (*end || end == value || number < 1 || number > 100) {
        return bad_value(cmd, option);
    }
    *percent = (int)number;
    return NULL;
}

static const char *set_option(cmd_parms *cmd, ocsp_source_config_t *config, const char *option)
{
    static const char *const expired[2] = { "fail", "serve" }, *const on[2] = { "off", "on" };
    static const char *const partition[2] = { "one", "whole" };
    const char *equals = ap_strchr_c(option, '=');
    const char *name, *value;

    if (!equals || !equals[1]) {
        return apr_psprintf(cmd->pool, GHNO(0614) "OCSPSource: \"%s\" is not NAME=VALUE", option);
    }
    name = apr_pstrmemdup(cmd->temp_pool, option, equals - option);
    value = equals + 1;
    if (!strcmp(name, "interval")) {
        return set_time(cmd, &config->interval, option, value);
    }
    if (!strcmp(name, "timeout")) {
        return set_time(cmd, &config->timeout, option, value);
    }
    if (!strcmp(name, "retry")) {
        return set_time(cmd, &config->retry, option, value);
    }
    if (!strcmp(name, "warn")) {
        return set_time(cmd, &config->warn, option, value);
    }
    if (!strcmp(name, "expired")) {
        return set_choice(cmd, &config->serve_expired, expired, option, value);
    }
    if (!strcmp(name, "partition")) {
        return set_choice(cmd, &config->whole, partition, option, value);
    }
    if (!strcmp(name, "starttls")) {
        return set_choice(cmd, &config->starttls, on, option, value);
    }
    if (!strcmp(name, "shrink")) {
        return set_shrink(cmd, &config->shrink, option, value);
    }
    if (!strcmp(name, "max-size")) {
        config->max_size = ocsp_size_parse(value, SIZE_MIN, SIZE_MAX_GIVEN);
        return config->max_size ? NULL : bad_value(cmd, option);
    }
    if (!strcmp(name, "delta")) {
        return as_url(cmd, &config->delta, value);
    }
    if (!strcmp(name, "ca-file")) {
        config->ca_file = ap_server_root_relative(cmd->pool, value);
        return config->ca_file ? NULL : bad_value(cmd, option);
    }
    if (!strcmp(name, "password")) {
        config->password = ocsp_secret_source(cmd->pool, value);
        return config->password ? NULL : GHNO(0615) "OCSPSource: password= takes file:PATH or "
                                                    "exec:PATH, never the password itself";
    }
    if (!strcmp(name, "proxy")) {
        config->proxy = value;
    }
    else if (!strcmp(name, "dn")) {
        config->dn = value;
    }
    else if (!strcmp(name, "attribute")) {
        config->attribute = value;
    }
    else if (!strcmp(name, "bind")) {
        config->bind = value;
    }
    else {
        return apr_psprintf(cmd->pool, GHNO(0616) "OCSPSource: \"%s\" is not known; there are "
                            "interval=, timeout=, retry=, warn=, expired=, partition=, delta=, "
                            "ca-file=, proxy=, max-size=, shrink=, dn=, attribute=, bind=, "
                            "password= and starttls=", option);
    }
    return NULL;
}

static int find_kind(ocsp_source_kind_t *kind, const char *name)
{
    static const char *const names[] = { "store", "crl", "serials", "index" };
    int i;

    for (i = 0; i < 4; ++i) {
        if (!ap_cstr_casecmp(names[i], name)) {
            *kind = (ocsp_source_kind_t)i;
            return 1;
        }
    }
    return 0;
}

const char *ocsp_set_source(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    ocsp_section_t *section;
    const char *error = ocsp_enter_section(cmd, &section, 0);
    ocsp_source_line_t line;
    gh_result_t result;
    apr_status_t rv;
    int i;

    if (error) {
        return error;
    }
    memset(&line, 0, sizeof(line));
    line.place = ocsp_place_of(cmd);
    if (!argc || !find_kind(&line.config.kind, argv[0])
        || (line.config.kind == OCSP_SOURCE_STORE) != (argc == 1)) {
        return GHNO(0617) "OCSPSource takes store, \"crl URL\", \"serials URL\" or \"index PATH\"; "
                          "behind a URL or path, options";
    }
    error = argc > 1 ? as_url(cmd, &line.config.url, argv[1]) : NULL;
    for (i = 2; !error && i < argc; ++i) {
        error = set_option(cmd, &line.config, argv[i]);
    }
    if (error) {
        return error;
    }
    gh_result_clear(&result);
    rv = ocsp_source_check(&line.config, cmd->temp_pool, &result);
    if (rv != APR_SUCCESS) {
        return ocsp_explain(&result, rv, cmd->pool);
    }
    APR_ARRAY_PUSH(section->sources, ocsp_source_line_t) = line;
    return NULL;
}
