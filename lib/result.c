/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <apr_strings.h>
#include <openssl/err.h>

#include "log.h"
#include "result.h"

void gh_result_clear(gh_result_t *result)
{
    if (result) {
        memset(result, 0, sizeof(*result));
    }
}

/* Messages quote clients: no control byte or broken UTF-8 may reach a log or terminal. */
static void make_printable(char *text)
{
    unsigned char *byte;

    for (byte = (unsigned char *)text; *byte; ++byte) {
        if (*byte < 0x20 || *byte > 0x7e) {
            *byte = '?';
        }
    }
}

__attribute__((format(printf, 6, 0)))
static void fill(gh_result_t *result, apr_status_t status, gh_failure_t failure, const char *rule,
                 const char *action, const char *format, va_list arguments)
{
    char text[sizeof(result->message) + GH_NUMBER_LENGTH + 2];
    const char *message = text;

    gh_result_clear(result);
    result->status = status;
    result->failure = failure;
    result->rule = rule;
    vsnprintf(text, sizeof(text), format, arguments);
    if (!strncmp(text, "GH", 2) && strlen(text) > GH_NUMBER_LENGTH + 2
        && !strncmp(text + GH_NUMBER_LENGTH, ": ", 2)) {
        apr_cpystrn(result->number, text, GH_NUMBER_LENGTH + 1);
        message = text + GH_NUMBER_LENGTH + 2;
    }
    apr_cpystrn(result->message, message, sizeof(result->message));
    make_printable(result->message);
    if (action) {
        apr_cpystrn(result->action, action, sizeof(result->action));
    }
}

apr_status_t gh_result_fail(gh_result_t *result, apr_status_t status, gh_failure_t failure,
                            const char *rule, const char *action, const char *format, ...)
{
    va_list arguments;

    if (result) {
        va_start(arguments, format);
        fill(result, status, failure, rule, action, format, arguments);
        va_end(arguments);
    }
    return status;
}

void gh_result_cause(gh_result_t *result, const char *format, ...)
{
    va_list arguments;

    if (result) {
        va_start(arguments, format);
        vsnprintf(result->cause, sizeof(result->cause), format, arguments);
        va_end(arguments);
        make_printable(result->cause);
    }
}

apr_status_t gh_result_openssl(gh_result_t *result, apr_status_t status, gh_failure_t failure,
                               const char *rule, const char *action, const char *format, ...)
{
    va_list arguments;
    unsigned long error = ERR_peek_error();
    const char *reason = error ? ERR_reason_error_string(error) : NULL;

    if (result) {
        va_start(arguments, format);
        fill(result, status, failure, rule, action, format, arguments);
        va_end(arguments);
        if (reason) {
            apr_size_t length = strlen(result->message);

            apr_snprintf(result->message + length, sizeof(result->message) - length, " (%s)",
                         reason);
        }
    }
    ERR_clear_error();
    return status;
}

int gh_openssl_lacked_memory(void)
{
    unsigned long error;
    int lacked = 0;

    while ((error = ERR_get_error()) != 0) {
        lacked |= ERR_GET_REASON(error) == ERR_R_MALLOC_FAILURE;
    }
    return lacked;
}
