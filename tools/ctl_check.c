/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* check: is everything in order, and if not, what is to be done? */

#include "ctl_commands.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <apr_strings.h>

#include "ctl_output.h"
#include "ctl_text.h"
#include "ctl_verdict.h"

#define RULE "check"

static const char *const verdict_names[] = { "ok", "warning", "error" };

static void print_verdict(const ctl_check_t *check, const char *name, ctl_verdict_t verdict,
                          const char *number, const char *message, const char *action)
{
    apr_pool_t *p = check->p;
    json_t *object;

    if (check->ctl->json) {
        object = json_object();
        json_object_set_new(object, "name", ctl_json_text(name, p));
        json_object_set_new(object, "verdict", json_string(verdict_names[verdict]));
        json_object_set_new(object, "gh", ctl_json_text(number, p));
        json_object_set_new(object, "message", ctl_json_text(message, p));
        json_object_set_new(object, "action", ctl_json_text(action, p));
        ctl_json_print(stdout, object);
        return;
    }
    printf("%-8s %-20s %s%s%s\n", verdict_names[verdict], name, number != NULL ? number : "",
           number != NULL ? ": " : "", ctl_text_printable(message, p));
    if (action != NULL) {
        printf("%-8s %-20s %s\n", "", "", ctl_text_printable(action, p));
    }
}

void ctl_verdict_ok(ctl_check_t *check, const char *name, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    print_verdict(check, name, CTL_VERDICT_OK, NULL, apr_pvsprintf(check->p, format, arguments),
                  NULL);
    va_end(arguments);
}

void ctl_verdict(ctl_check_t *check, const char *name, ctl_verdict_t verdict,
                 const gh_result_t *result)
{
    check->warnings += verdict == CTL_VERDICT_WARNING;
    check->errors += verdict == CTL_VERDICT_ERROR;
    print_verdict(check, name, verdict, *result->number != '\0' ? result->number : NULL,
                  result->message, *result->action != '\0' ? result->action : NULL);
}

/* The line that says most: the first with a number of ours, else the last that is no remark. */
static const char *telling_line(const char *errors, apr_pool_t *p)
{
    static const char *const remarks[] = {
        "AH00014:", "AH00558:", "Action '", "The Apache error log", "Syntax OK"
    };
    const char *found = NULL;
    char *last;
    char *line;
    size_t i;

    for (line = apr_strtok(apr_pstrdup(p, errors), "\r\n", &last); line != NULL;
         line = apr_strtok(NULL, "\r\n", &last)) {
        const char *number = strstr(line, "GH0");

        if (number != NULL && number[GH_NUMBER_LENGTH] == ':') {
            return line;
        }
        for (i = 0; i < sizeof(remarks) / sizeof(remarks[0]); i++) {
            if (strstr(line, remarks[i]) != NULL) {
                break;
            }
        }
        if (i == sizeof(remarks) / sizeof(remarks[0])) {
            found = line;
        }
    }
    return found;
}

static void check_configuration_failed(ctl_check_t *check, const gh_result_t *result,
                                       const char *errors)
{
    const char *line = telling_line(errors, check->p);
    gh_result_t named = *result;

    if (line != NULL) {
        snprintf(named.message, sizeof(named.message), "%.150s: %.350s", result->message, line);
    }
    if (!check->ctl->json) {
        fputs(errors, stderr);
    }
    ctl_verdict(check, "configuration", CTL_VERDICT_ERROR, &named);
}

static int check_configuration(ctl_check_t *check)
{
    ctl_t *ctl = check->ctl;
    const char *errors;
    gh_result_t result;

    gh_result_clear(&result);
    if (ctl->conf == NULL) {
        return ctl_configure(ctl);
    }
    if (ctl_config_load(&ctl->config, ctl->httpd, ctl->conf, &errors, ctl->p, &result)
        != APR_SUCCESS) {
        check_configuration_failed(check, &result, errors);
        return CTL_FAILED;
    }
    if (ctl->config->issuers->nelts == 0) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_REQUEST, RULE,
                       "Add an <Issuer> section; gatehousectl ca init makes one.",
                       GHNO(0394) "the configuration %s has no issuer", ctl->conf);
        ctl_verdict(check, "configuration", CTL_VERDICT_WARNING, &result);
        return CTL_OK;
    }
    ctl_verdict_ok(check, "configuration", "httpd accepts %s: %d issuers, %d SCEP paths",
                   ctl->conf, ctl->config->issuers->nelts, ctl->config->endpoints->nelts);
    return CTL_OK;
}

static void check_user(ctl_check_t *check)
{
    const ctl_config_t *config = check->ctl->config;
    const char *user = config->user != NULL ? config->user : "?";
    gh_result_t result;

    if (geteuid() != 0 && (apr_int64_t)geteuid() != config->uid) {
        gh_result_clear(&result);
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_REQUEST, RULE,
                       "Run gatehousectl as root (sudo) or as that user.",
                       GHNO(0395) "this is neither root nor %s, the user of httpd's children",
                       user);
        ctl_verdict(check, "user", CTL_VERDICT_WARNING, &result);
        return;
    }
    ctl_verdict_ok(check, "user", geteuid() == 0 ? "root; continues as %s, as httpd's children do"
                                                 : "%s, as httpd's children", user);
}

int ctl_check(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    ctl_check_t check = { ctl, ctl->p, apr_hash_make(ctl->p), 0, 0 };
    int code;

    code = check_configuration(&check);
    if (code != CTL_OK) {
        return code;
    }
    check_user(&check);
    ctl_check_files(&check);
    ctl_check_scep(&check);
    code = ctl_drop_privileges(ctl);
    if (code != CTL_OK) {
        return CTL_FAILED;
    }
    ctl_check_tokens(&check);
    ctl_check_crl_files(&check);
    ctl_check_store(&check);
    if (!ctl->json) {
        printf("\n%d errors, %d warnings\n", check.errors, check.warnings);
    }
    return check.errors > 0 ? CTL_FAILED : CTL_OK;
}
