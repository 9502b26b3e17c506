/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <stdarg.h>
#include <stdio.h>

#include "log.h"

void gh_log(const gh_log_t *log, int level, apr_status_t status, const char *format, ...)
{
    char message[2048];
    va_list arguments;

    if (!log || level > log->level) {
        return;
    }
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    log->write(log->baton, level, status, message);
}
