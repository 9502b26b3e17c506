/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <stddef.h>
#include <string.h>

#include <apr_strings.h>
#include <jansson.h>

#include "audit.h"
#include "result.h"
#include "status.h"
#include "text.h"

void gh_audit_take_result(gh_audit_event_t *event, const gh_result_t *result, apr_pool_t *p)
{
    int refused;

    switch (result->failure) {
    case GH_FAILURE_UNAVAILABLE:
    case GH_FAILURE_INTERNAL:
        refused = 0;
        break;
    default:
        refused = 1;
        break;
    }
    event->result = refused ? "refused" : "failed";
    event->rule = result->rule;
    event->gh = result->number[0] ? apr_pstrdup(p, result->number) : NULL;
    event->message = result->message[0]
        ? apr_pstrcat(p, result->message, result->cause[0] ? ": " : "", result->cause, NULL)
        : NULL;
}

/* Cuts at limit bytes and replaces what is not UTF-8, since jansson refuses to write it. */
static const char *clean_text(const char *text, apr_size_t limit, apr_pool_t *p)
{
    char *copy = apr_pstrmemdup(p, text, strnlen(text, limit));
    unsigned char *at = (unsigned char *)copy;

    while (*at) {
        int follow = *at < 0x80 ? 0 : (*at & 0xe0) == 0xc0 ? 1 : (*at & 0xf0) == 0xe0 ? 2
            : (*at & 0xf8) == 0xf0 ? 3 : -1;
        int i;

        for (i = 1; i <= follow && (at[i] & 0xc0) == 0x80; ++i) {
            /* counts the continuation bytes */
        }
        if (follow < 0 || i <= follow) {
            *at++ = '?';
            continue;
        }
        at += follow + 1;
    }
    return copy;
}

/* Nearly all text is ASCII and short, and needs neither a copy nor a check. */
static json_t *make_string(const char *text, apr_size_t limit, apr_pool_t *p)
{
    apr_size_t length = 0;
    json_t *value;

    while (length < limit && text[length] && (unsigned char)text[length] < 0x80) {
        ++length;
    }
    if (length == limit || !text[length]) {
        return json_stringn_nocheck(text, length);
    }
    value = json_string(clean_text(text, limit, p));
    return value ? value : json_string("?");
}

#define MEMBER(name) { #name, offsetof(gh_audit_event_t, name) }

/* Of texts, in the order of the line. */
static const struct {
    const char *name;
    apr_size_t offset;
} members[] = {
    MEMBER(id),
    MEMBER(node),
    MEMBER(event),
    MEMBER(protocol),
    MEMBER(tenant),
    MEMBER(issuer),
    MEMBER(profile),
    MEMBER(client),
    MEMBER(user),
    MEMBER(subject),
    MEMBER(serial),
    MEMBER(transaction),
    MEMBER(algorithms),
    MEMBER(rule),
    MEMBER(result),
    MEMBER(gh),
    MEMBER(message),
    MEMBER(client_request_id)
};

#define MEMBERS (sizeof(members) / sizeof(members[0]))

static const char *member(const gh_audit_event_t *event, apr_size_t i)
{
    return *(const char *const *)((const char *)event + members[i].offset);
}

static json_t *make_object(const gh_audit_event_t *event, apr_size_t limit, apr_pool_t *p)
{
    json_t *object = json_object();
    apr_size_t i;

    json_object_set_new_nocheck(object, "time",
                                json_string_nocheck(gh_time_text(p, event->time)));
    for (i = 0; i < MEMBERS; ++i) {
        if (member(event, i)) {
            json_object_set_new_nocheck(object, members[i].name,
                                        make_string(member(event, i), limit, p));
        }
    }
    return object;
}

static const char *make_line(const gh_audit_event_t *event, apr_pool_t *p)
{
    char line[GH_AUDIT_LINE_MAX];
    apr_size_t limit, length;

    /* Halving the members' length ends with a line that fits: 19 members, 6 bytes for an escape. */
    for (limit = 2048; ; limit /= 2) {
        json_t *object = make_object(event, limit, p);

        length = json_dumpb(object, line, sizeof(line), JSON_COMPACT | JSON_PRESERVE_ORDER);
        json_decref(object);
        if (!length) {
            return "{}\n";
        }
        if (length < sizeof(line)) {
            line[length] = '\n';
            return apr_pstrmemdup(p, line, length + 1);
        }
    }
}

/* The line that was kept, and the members it was made from. */
struct gh_audit_kept {
    gh_audit_event_t event;
    const char *line;
};

static int same_members(const gh_audit_event_t *event, const gh_audit_event_t *other)
{
    apr_size_t i;

    for (i = 0; i < MEMBERS; ++i) {
        const char *a = member(event, i), *b = member(other, i);

        if (a != b && (!a || !b || strcmp(a, b))) {
            return 0;
        }
    }
    return event->time == other->time;
}

const char *gh_audit_line(const gh_audit_event_t *event, apr_pool_t *p)
{
    const struct gh_audit_kept *kept = event->kept;

    return kept && same_members(event, &kept->event) ? kept->line : make_line(event, p);
}

const char *gh_audit_line_keep(gh_audit_event_t *event, apr_pool_t *p)
{
    struct gh_audit_kept *kept = apr_palloc(p, sizeof(*kept));

    kept->line = make_line(event, p);
    kept->event = *event;
    event->kept = kept;
    return kept->line;
}
