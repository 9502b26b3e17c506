/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_event_h
#define gatehouse_escrow_event_h

#include <apr_pools.h>
#include <apr_tables.h>

#include "escrow/provide.h"
#include "result.h"
#include "text.h"

/* The body of POST /v1/events: what a UEM tells of a device. */

/** Larger ones are none. */
#define ESCROW_EVENT_MAX (64 * 1024)

typedef struct {
    const char *id;                 /* EventId; NULL: it has none */
    /* these are NULL if they are not said */
    const char *device;             /* DeviceUUID, lower case */
    const char *user;               /* EnrollmentUserUUID, lower case */
    const char *email;              /* EnrollmentEmailAddress, its domain in lower case */
    const char *name;               /* EnrollmentUserName */
    const char *time;               /* EventTime, as it was said */
} escrow_event_t;

/** Reads one. Only JSON and EventId have to be right: for the others see escrow_event_check().
 *  @return APR_EINVAL with result */
apr_status_t escrow_event_read(escrow_event_t **event, gh_bytes_t body, apr_pool_t *p,
                               gh_result_t *result);

/**
 * Whether credentials may be made for it: device, user and address are there, and the address is of
 * a domain that is listed.
 * @param domains const char * elements in lower case: "example.com", or "*.example.com" for all
 *        below; NULL: none
 * @return APR_EINVAL, or GH_EREFUSED for another domain, with result
 */
apr_status_t escrow_event_check(const escrow_event_t *event, const apr_array_header_t *domains,
                                gh_result_t *result);

/** The same for an address alone. */
apr_status_t escrow_event_check_mail(const char *email, const apr_array_header_t *domains,
                                     gh_result_t *result);

/** By which it is known again, in p. */
const char *escrow_event_key(const escrow_event_t *event, apr_pool_t *p);

/**
 * The rule as it is for an event: its subject filled in.
 * @param made    in p
 * @return APR_EINVAL with result if the template asks for what the event does not say, or what that
 *         gives is no name
 */
apr_status_t escrow_event_rule(gh_provide_rule_t *made, const gh_provide_rule_t *rule,
                               const escrow_event_t *event, apr_pool_t *p, gh_result_t *result);

/**
 * Whether a header authenticates a body: HMAC-SHA256 in hexadecimal or base64, perhaps with
 * "sha256=" before it.
 * @return 1 if it does
 */
int escrow_event_authentic(const char *header, gh_bytes_t body, gh_bytes_t secret, apr_pool_t *p);

#endif /* gatehouse_escrow_event_h */
