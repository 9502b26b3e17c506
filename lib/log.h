/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_log_h
#define gatehouse_log_h

#include <apr_errno.h>

/*
 * Logging without httpd headers. Whoever owns the process gives a gh_log_t; httpd modules write to
 * the error log through it, gatehousectl to standard error, unit tests to a buffer.
 */

/* The values are those of syslog and of httpd's APLOG_*. */
#define GH_LOG_ERROR    3
#define GH_LOG_WARNING  4
#define GH_LOG_NOTICE   5
#define GH_LOG_INFO     6
#define GH_LOG_DEBUG    7

/**
 * Number of a message, for use as the beginning of a format: GHNO(0123) "the text". Numbers are
 * listed in lib/messages.txt, are never reused, and stand in one place of the source only.
 */
#define GHNO(n) "GH" #n ": "

/** Length of "GH0123". */
#define GH_NUMBER_LENGTH 6

typedef struct gh_log gh_log_t;

/**
 * @param baton   the log's own
 * @param level   GH_LOG_*
 * @param status  APR_SUCCESS or the status to be named with the message
 * @param message the text without a final newline; never holds a secret
 */
typedef void gh_log_write_fn(void *baton, int level, apr_status_t status, const char *message);

struct gh_log {
    gh_log_write_fn *write;
    void *baton;
    int level;                  /* messages above it are not formatted at all */
};

/** Writes a message if the log's level admits it. Thread-safe where the write function is.
 *  @param log may be NULL: then nothing is written */
void gh_log(const gh_log_t *log, int level, apr_status_t status, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif /* gatehouse_log_h */
