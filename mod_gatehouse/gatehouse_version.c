/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The one file that includes config.h: httpd's headers define PACKAGE_VERSION too. */

#include "config.h"

#include <string.h>
#include <time.h>
#include <apr_time.h>

const char *gatehouse_version(void);
apr_time_t gatehouse_built(void);

const char *gatehouse_version(void)
{
    return PACKAGE_VERSION;
}

/* The compiler takes the date from SOURCE_DATE_EPOCH where builds are to be reproducible. */
apr_time_t gatehouse_built(void)
{
    apr_time_exp_t date;
    apr_time_t built;
    struct tm tm;

    memset(&tm, 0, sizeof(tm));
    memset(&date, 0, sizeof(date));
    if (!strptime(__DATE__, "%b %d %Y", &tm)) {
        return 0;
    }
    date.tm_mday = tm.tm_mday;
    date.tm_mon = tm.tm_mon;
    date.tm_year = tm.tm_year;
    return apr_time_exp_get(&built, &date) == APR_SUCCESS ? built : 0;
}
