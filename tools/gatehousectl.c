/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * gatehousectl: what operators do with Gatehouse. It changes rows of the store; a server process
 * that follows the store does what needs an issuer's key.
 */

#include "ctl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "ctl_commands.h"

#define RULE "command line"

static const ctl_option_t global_options[] = {
    { "config", 'f', "HTTPD_CONF", "main configuration file of httpd" },
    { "httpd", 0, "PATH", "program of httpd, instead of " HTTPD_PATH },
    { "json", 0, NULL, "print JSON, one object per line" },
    { "help", 'h', NULL, "say how a command is used" },
    { "version", 'V', NULL, "print the version" },
    { NULL, 0, NULL, NULL }
};

static const ctl_option_t no_options[] = {
    { NULL, 0, NULL, NULL }
};

static const ctl_command_t commands[] = {
    { "ca", "init", "", 0, 0, ctl_ca_init_options, ctl_ca_init,
      "make a root CA and an issuing CA below it" },
    { "ca", "crl", "", 0, 0, ctl_ca_crl_options, ctl_ca_crl,
      "renew the CRL of a root CA, or revoke a CA below it" },
    { "ca", "import", "CERTIFICATE [KEY]", 1, 2, ctl_ca_import_options, ctl_ca_import,
      "check a CA that exists and print its configuration" },
    { "cert", "list", "", 0, 0, ctl_cert_list_options, ctl_cert_list, "list certificates" },
    { "cert", "show", "SERIAL", 1, 1, ctl_cert_show_options, ctl_cert_show,
      "show a certificate" },
    { "cert", "revoke", "SERIAL|-", 1, 1, ctl_cert_revoke_options, ctl_cert_revoke,
      "revoke a certificate, or those that standard input lists" },
    { "cert", "hold", "SERIAL", 1, 1, ctl_cert_hold_options, ctl_cert_hold,
      "suspend a certificate" },
    { "cert", "release", "SERIAL", 1, 1, ctl_cert_release_options, ctl_cert_release,
      "end the suspension of a certificate" },
    { "cert", "import", "FILE...|-", 1, -1, ctl_cert_import_options, ctl_cert_import,
      "take up certificates that a CA issued before" },
    { "cert", "events", "FILE|-", 0, 1, ctl_cert_events_options, ctl_cert_events,
      "take up what a CA elsewhere tells of its certificates" },
    { "enrolment", "list", "", 0, 0, ctl_enrolment_list_options, ctl_enrolment_list,
      "list enrolments" },
    { "enrolment", "show", "ID", 1, 1, no_options, ctl_enrolment_show, "show an enrolment" },
    { "enrolment", "approve", "ID", 1, 1, no_options, ctl_enrolment_approve,
      "approve a waiting enrolment" },
    { "enrolment", "deny", "ID", 1, 1, ctl_enrolment_deny_options, ctl_enrolment_deny,
      "deny a waiting enrolment" },
    { "enrolment", "retry", "ID", 1, 1, no_options, ctl_enrolment_retry,
      "have an enrolment tried again that waits for a CA elsewhere" },
    { "enrolment", "cancel", "ID", 1, 1, ctl_enrolment_cancel_options, ctl_enrolment_cancel,
      "give up an enrolment that waits for a CA elsewhere" },
    { "issuer", "list", "", 0, 0, no_options, ctl_issuer_list,
      "list issuers, and what is known of CAs elsewhere" },
    { "issuer", "test", "NAME", 1, 1, no_options, ctl_issuer_test,
      "have a worker look at the gateway of an issuer now" },
    { "issuer", "sync", "[NAME]", 0, 1, ctl_issuer_sync_options, ctl_issuer_sync,
      "take up all that CAs elsewhere tell of their certificates" },
    { "job", "list", "", 0, 0, no_options, ctl_job_list,
      "list changes of status that CAs elsewhere have to be told of" },
    { "job", "retry", "ID", 1, 1, no_options, ctl_job_retry, "have one tried again now" },
    { "job", "cancel", "ID", 1, 1, no_options, ctl_job_cancel, "give one up" },
    { "ocsp", "status", "[AUTHORITY [SERIAL]]", 0, 2, no_options, ctl_ocsp_status,
      "say what OCSP answers from, and what is known of a certificate" },
    { "ocsp", "produce", "", 0, 0, ctl_ocsp_produce_options, ctl_ocsp_produce,
      "make answers ahead, for a static server or a CDN" },
    { "vault", "status", "", 0, 0, no_options, ctl_vault_status,
      "say which keys of the vault there are, and what needs them" },
    { "vault", "rotate", "", 0, 0, no_options, ctl_vault_rotate,
      "seal all under the vault's current key, while it is in use" },
    { "vault", "verify", "", 0, 0, no_options, ctl_vault_verify,
      "open all that is in the vault, and say whether it is whole" },
    { "challenge", "new", "", 0, 0, ctl_challenge_new_options, ctl_challenge_new,
      "make a one-time challenge for a device" },
    { "device", "add", "", 0, 0, ctl_device_add_options, ctl_device_add,
      "register a device, so that it may enrol" },
    { "device", "list", "", 0, 0, ctl_device_list_options, ctl_device_list,
      "list registered devices" },
    { "device", "show", "FQDN|ID", 1, 1, ctl_device_one_options, ctl_device_show,
      "show the registration of a device" },
    { "device", "remove", "FQDN|ID", 1, 1, ctl_device_one_options, ctl_device_remove,
      "end the registration of a device" },
    { "escrow", "list", "", 0, 0, ctl_escrow_list_options, ctl_escrow_list,
      "list profiles of the escrow" },
    { "escrow", "show", "ID", 1, 1, no_options, ctl_escrow_show,
      "show a profile and its deliveries" },
    { "escrow", "retry", "ID", 1, 1, ctl_escrow_retry_options, ctl_escrow_retry,
      "complete and deliver a profile anew" },
    { "escrow", "forget", "DEVICE", 1, 1, no_options, ctl_escrow_forget,
      "let a device come with another key" },
    { "escrow", "purge", "", 0, 0, ctl_escrow_purge_options, ctl_escrow_purge,
      "remove profiles that are over" },
    { "pin", "add", "THUMBPRINT", 1, 1, ctl_pin_add_options, ctl_pin_add,
      "let the bearer of a certificate use the escrow" },
    { "pin", "list", "", 0, 0, no_options, ctl_pin_list, "list pins of the store" },
    { "pin", "remove", "THUMBPRINT", 1, 1, ctl_pin_remove_options, ctl_pin_remove,
      "end what a pin of the store allows" },
    { "scep", "explain", "FILE|-", 1, 1, ctl_scep_explain_options, ctl_scep_explain,
      "say what a captured SCEP message is, and what is wrong with it" },
    { "ad", "export", "", 0, 0, ctl_ad_export_options, ctl_ad_export,
      "write what Active Directory may have of templates and issuers, as LDIF" },
    { "check", NULL, "", 0, 0, no_options, ctl_check,
      "check configuration, keys, store and clock" },
    { "urls", NULL, "", 0, 0, no_options, ctl_urls, "list the URLs of this configuration" },
};

#define COMMANDS ((int)(sizeof(commands) / sizeof(commands[0])))

static void print_options(const ctl_option_t *options, FILE *file)
{
    for (; options->name != NULL; options++) {
        char text[80];

        snprintf(text, sizeof(text), "%s--%s%s%s",
                 options->letter == 'f' ? "-f, " : options->letter == 'h' ? "-h, "
                 : options->letter == 'V' ? "-V, " : "",
                 options->name, options->value != NULL ? " " : "",
                 options->value != NULL ? options->value : "");
        fprintf(file, "  %-34s %s\n", text, options->help);
    }
}

static void print_usage(FILE *file)
{
    int i;

    fputs("Usage: gatehousectl -f HTTPD_CONF COMMAND [OPTION]...\n\nCommands:\n", file);
    for (i = 0; i < COMMANDS; i++) {
        char text[80];

        snprintf(text, sizeof(text), "%s %s %s", commands[i].noun,
                 commands[i].verb != NULL ? commands[i].verb : "", commands[i].operands);
        fprintf(file, "  %-34s %s\n", text, commands[i].summary);
    }
    fprintf(file, "  %-34s %s\n\nOptions:\n", "help [COMMAND]", "say how a command is used");
    print_options(global_options, file);
    fputs("\nExit status: 0 done, 1 refused or failed, 2 usage, 3 not found, "
          "4 store or key unavailable.\nSee gatehousectl(8).\n", file);
}

static void print_command_usage(const ctl_command_t *command, FILE *file)
{
    fprintf(file, "Usage: gatehousectl -f HTTPD_CONF %s%s%s%s%s%s\n\n", command->noun,
            command->verb != NULL ? " " : "", command->verb != NULL ? command->verb : "",
            command->options->name != NULL ? " [OPTION]..." : "",
            *command->operands != '\0' ? " " : "", command->operands);
    fprintf(file, "  %s.\n", command->summary);
    if (command->options->name != NULL) {
        fputs("\nOptions:\n", file);
        print_options(command->options, file);
    }
    fputs("\nOptions of every command:\n", file);
    print_options(global_options, file);
}

/* The command that one or two words name. @param words how many of them it took */
static const ctl_command_t *find_command(const char *first, const char *second, int *words)
{
    int i;

    for (i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].noun, first) != 0) {
            continue;
        }
        if (commands[i].verb == NULL
            || (second != NULL && strcmp(commands[i].verb, second) == 0)) {
            *words = commands[i].verb == NULL ? 1 : 2;
            return &commands[i];
        }
    }
    return NULL;
}

static int unknown_command(const char *first, const char *second)
{
    gh_result_t result;

    gh_result_clear(&result);
    gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                   "gatehousectl help lists the commands.",
                   GHNO(0334) "there is no command \"%s%s%s\"", first,
                   second != NULL ? " " : "", second != NULL ? second : "");
    return ctl_fail_usage(&result);
}

static int help(const char *first, const char *second)
{
    const ctl_command_t *command;
    int found = 0;
    int words;
    int i;

    if (first == NULL) {
        print_usage(stdout);
        return CTL_OK;
    }
    command = find_command(first, second, &words);
    if (command != NULL) {
        print_command_usage(command, stdout);
        return CTL_OK;
    }
    for (i = 0; i < COMMANDS && second == NULL; i++) {
        if (strcmp(commands[i].noun, first) == 0) {
            fputs(found ? "\n" : "", stdout);
            print_command_usage(&commands[i], stdout);
            found = 1;
        }
    }
    return found ? CTL_OK : unknown_command(first, second);
}

static void log_write(void *baton, int level, apr_status_t status, const char *message)
{
    fprintf(stderr, "gatehousectl: %s\n", message);
}

/* Takes up the options of every command, which may stand before and behind it. */
static int take_globals(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    const char *value = ctl_option(arguments, "config");
    char *path;

    if (ctl_option(arguments, "json") != NULL) {
        ctl->json = 1;
    }
    if (ctl_option(arguments, "httpd") != NULL) {
        ctl->httpd = ctl_option(arguments, "httpd");
    }
    if (value != NULL) {
        /* httpd would look for a relative path below its own folder */
        path = realpath(value, NULL);
        if (path == NULL) {
            gh_result_t result;
            int error = errno;

            gh_result_clear(&result);
            gh_result_fail(&result, APR_FROM_OS_ERROR(error), GH_FAILURE_REQUEST, RULE,
                           "Name httpd's main configuration file with -f.",
                           GHNO(0335) "the configuration file %s cannot be found: %s", value,
                           strerror(error));
            ctl_fail(&result);
            return CTL_FAILED;
        }
        ctl->conf = apr_pstrdup(ctl->p, path);
        free(path);
    }
    return CTL_OK;
}

/* Output that did not arrive is a failure: a new challenge is shown only once. */
static int finish(int code)
{
    gh_result_t result;

    if (fflush(stdout) == 0 && !ferror(stdout)) {
        return code;
    }
    gh_result_clear(&result);
    gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_INTERNAL, RULE,
                   "The command itself was carried out: look at its effect before repeating it.",
                   GHNO(0336) "the output could not be written");
    ctl_fail(&result);
    return code != CTL_OK ? code : CTL_FAILED;
}

static int run_command(ctl_t *ctl, const ctl_command_t *command, int argc,
                       const char *const *argv)
{
    const ctl_option_t *const tables[] = { command->options, global_options, NULL };
    ctl_arguments_t *arguments;
    gh_result_t result;
    int operands;
    int code;

    gh_result_clear(&result);
    if (ctl_arguments_parse(&arguments, tables, argc, argv, 1, ctl->p, &result) != APR_SUCCESS) {
        return ctl_fail_usage(&result);
    }
    if (ctl_option(arguments, "help") != NULL) {
        print_command_usage(command, stdout);
        return CTL_OK;
    }
    code = take_globals(ctl, arguments);
    if (code != CTL_OK) {
        return code;
    }
    operands = ctl_operands(arguments);
    if (operands < command->least || (command->most >= 0 && operands > command->most)) {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "See gatehousectl help COMMAND.",
                       GHNO(0337) "this command takes %s, not %d operands",
                       command->most == 0 ? "options only" : command->operands, operands);
        return ctl_fail_usage(&result);
    }
    return command->run(ctl, arguments);
}

static int dispatch(ctl_t *ctl, int argc, const char *const *argv)
{
    const ctl_option_t *const tables[] = { global_options, NULL };
    const ctl_command_t *command;
    ctl_arguments_t *arguments;
    const char *first;
    gh_result_t result;
    int words;
    int code;

    gh_result_clear(&result);
    if (ctl_arguments_parse(&arguments, tables, argc, argv, 0, ctl->p, &result) != APR_SUCCESS) {
        return ctl_fail_usage(&result);
    }
    if (ctl_option(arguments, "version") != NULL) {
        puts("gatehousectl " PACKAGE_VERSION);
        return CTL_OK;
    }
    first = ctl_operand(arguments, 0);
    if (ctl_option(arguments, "help") != NULL) {
        return help(first, ctl_operand(arguments, 1));
    }
    if (first != NULL && strcmp(first, "help") == 0) {
        return help(ctl_operand(arguments, 1), ctl_operand(arguments, 2));
    }
    if (first == NULL) {
        print_usage(stderr);
        return CTL_USAGE;
    }
    command = find_command(first, ctl_operand(arguments, 1), &words);
    if (command == NULL) {
        return unknown_command(first, ctl_operand(arguments, 1));
    }
    code = take_globals(ctl, arguments);
    if (code != CTL_OK) {
        return code;
    }
    /* what is left begins with the command's last word, in place of a program's name */
    return run_command(ctl, command, ctl_operands(arguments) - words + 1,
                       (const char *const *)arguments->operands->elts + words - 1);
}

int main(int argc, const char *const *argv, const char *const *environment)
{
    const char *httpd;
    ctl_t ctl;
    int code;

    if (apr_app_initialize(&argc, &argv, &environment) != APR_SUCCESS) {
        return CTL_FAILED;
    }
    atexit(apr_terminate);
    memset(&ctl, 0, sizeof(ctl));
    apr_pool_create(&ctl.p, NULL);
    httpd = getenv("GATEHOUSE_HTTPD");
    ctl.httpd = httpd != NULL && *httpd != '\0' ? httpd : HTTPD_PATH;
    ctl.log.write = log_write;
    ctl.log.level = GH_LOG_WARNING;
    ctl.actor = ctl_actor(ctl.p);
    code = dispatch(&ctl, argc, argv);
    code = finish(code);
    apr_pool_destroy(ctl.p);
    return code;
}
