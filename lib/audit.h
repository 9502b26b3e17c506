/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_audit_h
#define gatehouse_audit_h

#include <apr_pools.h>
#include <apr_time.h>

struct gh_result;

/*
 * One decision. Written as one line of JSON to the audit log; a decision that changes state is also
 * a row of the store, written in the transaction that changes the state.
 */

typedef struct gh_audit_event gh_audit_event_t;

/** Members that do not apply are NULL and left out of the line. No member ever holds a secret. */
struct gh_audit_event {
    apr_time_t time;
    const char *id;             /* of the request, X-Request-Id; for gatehousectl one of its own */
    const char *node;
    const char *event;          /* "enrol", "poll", "approve", "deny", "revoke", "hold", ... */
    const char *protocol;       /* "scep", "ctl", "internal" */
    const char *tenant;
    const char *issuer;
    const char *profile;
    const char *client;         /* address of the peer */
    const char *user;
    const char *subject;
    const char *serial;         /* lower-case hex */
    const char *transaction;
    const char *algorithms;     /* what the client used, also when refused */
    const char *rule;           /* which rule decided */
    const char *result;         /* "issued", "pending", "refused", "failed", "done" */
    const char *gh;             /* "GH0123" */
    const char *message;
    const char *client_request_id;
    const struct gh_audit_kept *kept;   /* of gh_audit_line_keep(); NULL to begin with */
};

/** Longest line written, with its newline: a write to a pipe of up to PIPE_BUF bytes is atomic. */
#define GH_AUDIT_LINE_MAX 4096

/** Takes result, rule, gh and message of the event from a result, with its cause; result "refused"
 *  or "failed". */
void gh_audit_take_result(gh_audit_event_t *event, const struct gh_result *result, apr_pool_t *p);

/**
 * The line, ending with a newline, in p. Bytes that are not UTF-8 are replaced; long members are
 * cut so that the line is at most GH_AUDIT_LINE_MAX bytes and still valid JSON.
 */
const char *gh_audit_line(const gh_audit_event_t *event, apr_pool_t *p);

/**
 * The same, and gh_audit_line() gives this line again as long as the members say the same: for an
 * event that becomes a row of the store and a line of the log. Text that members point to must not
 * be changed in place.
 * @param p lives as long as the event is used
 */
const char *gh_audit_line_keep(gh_audit_event_t *event, apr_pool_t *p);

#endif /* gatehouse_audit_h */
