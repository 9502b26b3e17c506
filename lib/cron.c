/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "cron.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define FIELDS 6
#define TEXT_MAX 200

/** February 29 comes again within these. */
#define YEARS 8

typedef struct {
    int least;
    int most;
    const char *names;              /* three letters each, from the least value on; or NULL */
} field_t;

static const field_t fields[FIELDS] = {
    { 0, 59, NULL }, { 0, 59, NULL }, { 0, 23, NULL }, { 1, 31, NULL },
    { 1, 12, "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC" }, { 1, 7, "SUNMONTUEWEDTHUFRISAT" }
};

/** @return -1 if there is no value of the field; moves on behind it */
static int take_value(const field_t *field, const char **text)
{
    const char *at = *text;
    int value = 0, i;

    for (i = 0; field->names && field->least + i <= field->most; ++i) {
        if (!strncasecmp(at, field->names + 3 * i, 3)) {
            *text = at + 3;
            return field->least + i;
        }
    }
    for (i = 0; i < 2 && isdigit((unsigned char)at[i]); ++i) {
        value = value * 10 + at[i] - '0';
    }
    *text = at + i;
    return i && value >= field->least && value <= field->most ? value : -1;
}

static int take_step(const char **text)
{
    int step = 0, i;

    for (i = 0; i < 2 && isdigit((unsigned char)(*text)[i]); ++i) {
        step = step * 10 + (*text)[i] - '0';
    }
    *text += i;
    return step;
}

/** One part of a list: "*", "5", "1-5", each perhaps with a step. A range may go over the end, as
 *  FRI-MON does. @return 0 if it is none */
static int take_part(apr_uint64_t *bits, const field_t *field, const char **text)
{
    int span = field->most - field->least + 1;
    int first = field->least, last = field->most, step = 1, count, i;
    int open = **text == '*';

    if (open) {
        ++*text;
    }
    else {
        first = last = take_value(field, text);
        if (first < 0) {
            return 0;
        }
        if (**text == '-') {
            ++*text;
            last = take_value(field, text);
            open = 1;
        }
    }
    if (**text == '/') {
        ++*text;
        step = take_step(text);
        last = open ? last : field->most;
    }
    if (last < 0 || step < 1 || step > span) {
        return 0;
    }
    count = last >= first ? last - first : last - first + span;
    for (i = 0; i <= count; i += step) {
        *bits |= (apr_uint64_t)1 << (field->least + (first - field->least + i) % span);
    }
    return 1;
}

/** @return 0 if it is no such field */
static int take_field(apr_uint64_t *bits, const field_t *field, const char **text)
{
    *bits = 0;
    do {
        if (*bits) {
            ++*text;
        }
        if (!take_part(bits, field, text)) {
            return 0;
        }
    } while (**text == ',');
    return !**text || **text == ' ' || **text == '\t';
}

const char *gh_cron_parse(gh_cron_t *cron, const char *text)
{
    apr_uint64_t *all[FIELDS] = {
        &cron->seconds, &cron->minutes, &cron->hours, &cron->days, &cron->months, &cron->weekdays
    };
    int any = 0, open = 0, i;

    memset(cron, 0, sizeof(*cron));
    if (strlen(text) > TEXT_MAX) {
        return "it is too long";
    }
    for (i = 0; i < FIELDS; ++i) {
        int is_day = i == 3 || i == 5;

        text += strspn(text, " \t");
        if (is_day && *text == '?') {
            ++any;
            ++text;
            *all[i] = ~(apr_uint64_t)0;
            if (*text && *text != ' ' && *text != '\t') {
                return "\"?\" stands alone in its field";
            }
            continue;
        }
        open += is_day && *text == '*' && (!text[1] || text[1] == ' ' || text[1] == '\t');
        if (!*text) {
            return "it has fewer than six fields: second, minute, hour, day, month, day of the "
                   "week";
        }
        if (!take_field(all[i], &fields[i], &text)) {
            return "a field is neither \"*\" nor values, ranges and steps within its limits";
        }
    }
    if (text[strspn(text, " \t")]) {
        return "it has more than six fields";
    }
    if (any > 1 || (!any && !open)) {
        return "of the two fields for days one is \"?\"";
    }
    return NULL;
}

static int has(apr_uint64_t bits, int value)
{
    return (bits >> value & 1) != 0;
}

/** To the first second of the next day, hour or minute. */
static apr_time_t skip(apr_time_t now, apr_int64_t seconds)
{
    return apr_time_from_sec((apr_time_sec(now) / seconds + 1) * seconds);
}

apr_time_t gh_cron_next(const gh_cron_t *cron, apr_time_t after)
{
    apr_time_t now = skip(after, 1);
    apr_time_t end = after + apr_time_from_sec((apr_int64_t)YEARS * 366 * 86400);
    apr_time_exp_t told;

    while (now < end) {
        if (apr_time_exp_gmt(&told, now) != APR_SUCCESS) {
            return 0;
        }
        if (!has(cron->months, told.tm_mon + 1) || !has(cron->days, told.tm_mday)
            || !has(cron->weekdays, told.tm_wday + 1)) {
            now = skip(now, 86400);
        }
        else if (!has(cron->hours, told.tm_hour)) {
            now = skip(now, 3600);
        }
        else if (!has(cron->minutes, told.tm_min)) {
            now = skip(now, 60);
        }
        else if (!has(cron->seconds, told.tm_sec)) {
            now = skip(now, 1);
        }
        else {
            return now;
        }
    }
    return 0;
}
