/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_cron_h
#define gatehouse_cron_h

#include <apr_time.h>

/*
 * Cron expressions of six fields, as Quartz has them: second, minute, hour, day of the month,
 * month, day of the week (1 or SUN to 7 or SAT). A field is "*", or values, ranges and steps
 * separated by commas: "0/15", "1-5", "9-17/2", "MON-FRI". Of the two fields for days one is "?".
 * Times are UTC.
 */

typedef struct {
    apr_uint64_t seconds;           /* a bit for each value */
    apr_uint64_t minutes;
    apr_uint64_t hours;
    apr_uint64_t days;
    apr_uint64_t months;
    apr_uint64_t weekdays;          /* bit 1 is Sunday */
} gh_cron_t;

/** @return NULL, or what is wrong with the text (static) */
const char *gh_cron_parse(gh_cron_t *cron, const char *text);

/** The first time after one, whole seconds. @return 0 if there is none within eight years */
apr_time_t gh_cron_next(const gh_cron_t *cron, apr_time_t after);

#endif /* gatehouse_cron_h */
