/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* <Issuer NAME> of a CA behind a gateway: how long and how much. */

#include <stdlib.h>
#include <string.h>
#include <httpd.h>
#include <apr_strings.h>

#include "gatehouse_remote.h"
#include "log.h"
#include "text.h"

/** A thread of httpd waits as long. */
#define WAIT_MAX apr_time_from_sec(60)

#define WAITING_MAX 100000L
#define CONCURRENT_MAX 1000L
#define RATE_MAX 10000.0
#define TIMEOUT_MAX apr_time_from_sec(600)
#define DEADLINE_MAX apr_time_from_sec(30 * 86400)
#define LAG_MAX apr_time_from_sec(86400)
#define EVERY_MAX apr_time_from_sec(86400)

static int take_number(int *number, const char *text, long most)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (end == text || *end || value < 1 || value > most) {
        return 0;
    }
    *number = (int)value;
    return 1;
}

static int take_time(apr_interval_time_t *time, const char *text, apr_interval_time_t least,
                     apr_interval_time_t most)
{
    return gh_duration_parse(time, text) == APR_SUCCESS && *time >= least && *time <= most;
}

int gatehouse_take_wait(gatehouse_remote_t *remote, const char *time, const char *option)
{
    return take_time(&remote->wait, time, 0, WAIT_MAX)
        && (!option || (!strncmp(option, "max-waiting=", 12)
                        && take_number(&remote->max_waiting, option + 12, WAITING_MAX)));
}

const char *gatehouse_set_issuer_wait(cmd_parms *cmd, void *dir, const char *time,
                                      const char *option)
{
    gatehouse_issuer_section_t *section;
    const char *err = GATEHOUSE_SECTION_OF(cmd, &section, remote.wait_place);

    if (err) {
        return err;
    }
    if (!gatehouse_take_wait(&section->remote, time, option)) {
        return apr_psprintf(cmd->pool, GHNO(0869) "IssuerWait takes a time of at most 60s, and "
                            "perhaps max-waiting=NUMBER, not \"%s%s%s\"", time, option ? " " : "",
                            option ? option : "");
    }
    return NULL;
}

const char *gatehouse_set_issuer_search(cmd_parms *cmd, void *dir, const char *word,
                                        const char *option)
{
    gatehouse_issuer_section_t *section;
    const char *err = GATEHOUSE_SECTION_OF(cmd, &section, remote.search_place);

    if (err) {
        return err;
    }
    section->remote.search = !ap_cstr_casecmp(word, "on");
    if ((!section->remote.search && ap_cstr_casecmp(word, "off"))
        || (option && (!section->remote.search || strncmp(option, "lag=", 4)
                       || !take_time(&section->remote.lag, option + 4, 0, LAG_MAX)))) {
        return GHNO(0870) "IssuerSearch is \"off\", or \"on\" and perhaps lag=TIME of at most a "
               "day";
    }
    return NULL;
}

static int take_event_option(gatehouse_remote_t *remote, const char *text)
{
    if (!strncmp(text, "every=", 6)) {
        return take_time(&remote->events_every, text + 6, apr_time_from_sec(1), EVERY_MAX);
    }
    if (!strncmp(text, "since=", 6)) {
        return gh_time_parse(&remote->events_since, text + 6) == APR_SUCCESS;
    }
    remote->events_serials = 1;
    return !strcmp(text, "serials-only");
}

const char *gatehouse_set_issuer_events(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    gatehouse_issuer_section_t *section;
    const char *err = GATEHOUSE_SECTION_OF(cmd, &section, remote.events_place);
    int good, i;

    if (err) {
        return err;
    }
    section->remote.events = argc > 0 && !ap_cstr_casecmp(argv[0], "on");
    good = section->remote.events || (argc == 1 && !ap_cstr_casecmp(argv[0], "off"));
    for (i = 1; good && i < argc; ++i) {
        good = take_event_option(&section->remote, argv[i]);
    }
    return good ? NULL
        : GHNO(0853) "IssuerEvents is \"off\", or \"on\" and perhaps every=TIME of 1s to 1d, "
          "since=DATE like 2026-01-31T00:00:00Z, serials-only";
}

static int take_rate(double *rate, const char *text)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end || !(value >= 0.01 && value <= RATE_MAX)) {
        return 0;
    }
    *rate = value;
    return 1;
}

int gatehouse_take_limit(gatehouse_remote_t *remote, apr_interval_time_t *deadline,
                         const char *text)
{
    if (!strncmp(text, "concurrent=", 11)) {
        return take_number(&remote->concurrent, text + 11, CONCURRENT_MAX);
    }
    if (!strncmp(text, "rate=", 5)) {
        return take_rate(&remote->rate, text + 5);
    }
    if (!strncmp(text, "timeout=", 8)) {
        return take_time(&remote->timeout, text + 8, apr_time_from_sec(1), TIMEOUT_MAX);
    }
    return !strncmp(text, "deadline=", 9)
        && take_time(deadline, text + 9, apr_time_from_sec(60), DEADLINE_MAX);
}

const char *gatehouse_set_issuer_limits(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    gatehouse_issuer_section_t *section;
    const char *err = GATEHOUSE_SECTION_OF(cmd, &section, remote.limits_place);
    int i;

    for (i = 0; !err && i < argc; ++i) {
        if (!gatehouse_take_limit(&section->remote, &section->config.deadline, argv[i])) {
            err = apr_psprintf(cmd->pool, GHNO(0871) "IssuerLimits takes concurrent=1..1000, "
                               "rate=0.01..10000 per second, timeout=1s..600s and "
                               "deadline=60s..30d; not \"%s\"", argv[i]);
        }
    }
    return err;
}
