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
#include "status.h"

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

static int is_told(const ctl_check_t *check, const char *name)
{
    return apr_hash_get(check->told, name, APR_HASH_KEY_STRING) != NULL;
}

void ctl_verdict_ok(ctl_check_t *check, const char *name, const char *format, ...)
{
    va_list arguments;

    if (is_told(check, name)) {
        return;
    }
    va_start(arguments, format);
    print_verdict(check, name, CTL_VERDICT_OK, NULL, apr_pvsprintf(check->p, format, arguments),
                  NULL);
    va_end(arguments);
}

void ctl_verdict(ctl_check_t *check, const char *name, ctl_verdict_t verdict,
                 const gh_result_t *result)
{
    if (is_told(check, name)) {
        return;
    }
    check->warnings += verdict == CTL_VERDICT_WARNING;
    check->errors += verdict == CTL_VERDICT_ERROR;
    print_verdict(check, name, verdict, *result->number != '\0' ? result->number : NULL,
                  result->message, *result->action != '\0' ? result->action : NULL);
}

/* What httpd says without a number of ours, and what is no reason. */
static int is_remark(const char *line)
{
    static const char *const remarks[] = {
        "AH00014:", "AH00558:", "Action '", "The Apache error log", "Syntax OK"
    };
    size_t i;

    for (i = 0; i < sizeof(remarks) / sizeof(remarks[0]); i++) {
        if (strstr(line, remarks[i]) != NULL) {
            return 1;
        }
    }
    return 0;
}

/* Behind "GH0123: " in a line; NULL if there is none. */
static const char *behind_number(const char *line)
{
    const char *number = strstr(line, "GH0");

    return number != NULL && strncmp(number + GH_NUMBER_LENGTH, ": ", 2) == 0
           ? number + GH_NUMBER_LENGTH + 2 : NULL;
}

/* One line of httpd with a number of ours: "GH0123: what was wrong. What to do".
 * @param place where httpd says it is, or "" */
static void take_line(gh_result_t *result, const char *line, const char *place,
                      const gh_result_t *otherwise, apr_pool_t *p)
{
    char *text = apr_pstrdup(p, behind_number(line));
    char *action = strstr(text, ". ");

    *result = *otherwise;
    if (action != NULL) {
        *action = '\0';
        apr_cpystrn(result->action, action + 2, sizeof(result->action));
    }
    apr_cpystrn(result->number, strstr(line, "GH0"), GH_NUMBER_LENGTH + 1);
    apr_snprintf(result->message, sizeof(result->message), "%s%s%s", place,
                 *place != '\0' ? ": " : "", text);
}

/* Each line with a number of ours is a verdict; without any, the last line that is no remark. */
static void check_configuration_failed(ctl_check_t *check, const gh_result_t *result,
                                       const char *errors)
{
    static const char at[] = "Syntax error on line ";
    const char *place = "";
    const char *found = NULL;
    gh_result_t named;
    int told = 0;
    char *last;
    char *line;

    if (!check->ctl->json) {
        fputs(errors, stderr);
    }
    for (line = apr_strtok(apr_pstrdup(check->p, errors), "\r\n", &last); line != NULL;
         line = apr_strtok(NULL, "\r\n", &last)) {
        const char *where = strstr(line, at);

        if (behind_number(line) != NULL) {
            take_line(&named, line, place, result, check->p);
            ctl_verdict(check, "configuration", CTL_VERDICT_ERROR, &named);
            told = 1;
        }
        else if (!is_remark(line)) {
            found = line;
        }
        place = where != NULL ? apr_pstrcat(check->p, "line ", where + sizeof(at) - 1, NULL) : "";
    }
    if (!told) {
        named = *result;
        if (found != NULL) {
            apr_snprintf(named.message, sizeof(named.message), "%.150s: %.350s", result->message,
                         found);
        }
        ctl_verdict(check, "configuration", CTL_VERDICT_ERROR, &named);
    }
}

/* Keys and secrets that cannot be had: all else is judged in spite of it. */
static void check_problems(ctl_check_t *check)
{
    const apr_array_header_t *problems = check->ctl->config->problems;
    gh_result_t result;
    int i;

    gh_result_clear(&result);
    gh_result_fail(&result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, RULE,
                   "See to each of them, as the lines that follow say.",
                   GHNO(0481) "httpd does not start with %s: %d keys or secrets cannot be had",
                   check->ctl->conf, problems->nelts);
    ctl_verdict(check, "configuration", CTL_VERDICT_ERROR, &result);
    for (i = 0; i < problems->nelts; i++) {
        const ctl_problem_t *problem = APR_ARRAY_IDX(problems, i, const ctl_problem_t *);

        print_verdict(check, problem->name, CTL_VERDICT_ERROR, problem->number,
                      problem->place != NULL
                      ? apr_pstrcat(check->p, problem->place, ": ", problem->message, NULL)
                      : problem->message, problem->action);
        check->errors++;
        apr_hash_set(check->told, problem->name, APR_HASH_KEY_STRING, problem);
    }
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
    if (ctl->config->problems->nelts > 0) {
        check_problems(check);
        return CTL_OK;
    }
    if (ctl->config->issuers->nelts == 0) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_REQUEST, RULE,
                       "Add an <Issuer> section; gatehousectl ca init makes one.",
                       GHNO(0394) "the configuration %s has no issuer", ctl->conf);
        ctl_verdict(check, "configuration", CTL_VERDICT_WARNING, &result);
        return CTL_OK;
    }
    ctl_verdict_ok(check, "configuration", "httpd accepts %s: %d issuers, %d SCEP paths",
                   ctl->conf, ctl->config->issuers->nelts, ctl_config_paths(ctl->config));
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
    ctl_check_t check;
    int code;

    memset(&check, 0, sizeof(check));
    check.ctl = ctl;
    check.p = ctl->p;
    check.certificates = apr_hash_make(ctl->p);
    check.told = apr_hash_make(ctl->p);
    code = check_configuration(&check);
    if (code != CTL_OK) {
        return code;
    }
    check_user(&check);
    ctl_check_files(&check);
    ctl_check_addresses(&check);
    ctl_check_ocsp_files(&check);
    ctl_check_scep(&check);
    ctl_check_wstep(&check);
    ctl_check_sealing(&check);
    ctl_check_vault_keys(&check);
    ctl_check_client_cas(&check);
    code = ctl_drop_privileges(ctl);
    if (code != CTL_OK) {
        return CTL_FAILED;
    }
    ctl_check_tokens(&check);
    ctl_check_ocsp_tokens(&check);
    ctl_check_crl_files(&check);
    ctl_check_ocsp_status(&check);
    ctl_check_store(&check);
    if (!ctl->json) {
        printf("\n%d errors, %d warnings\n", check.errors, check.warnings);
    }
    return check.errors > 0 ? CTL_FAILED : CTL_OK;
}
