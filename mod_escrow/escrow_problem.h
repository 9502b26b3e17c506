/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_escrow_escrow_problem_h
#define mod_escrow_escrow_problem_h

#include <httpd.h>

#include "mod_escrow/escrow_config.h"
#include "result.h"

/* Answers of the API: JSON, and problems (RFC 9457). */

#define ESCROW_PROBLEM_TYPE "application/problem+json"

/** The status that belongs to a failure. */
int escrow_problem_status(const gh_result_t *result);

/** The body of a problem, in r->pool. */
const char *escrow_problem_text(request_rec *r, int status, const gh_result_t *result);

/** Sends a problem. @return DONE */
int escrow_problem_send(request_rec *r, int status, const gh_result_t *result);

/** Sends JSON. @param json a json_t *, taken over; NULL: no memory. @return DONE */
int escrow_json_send(request_rec *r, int status, void *json);

/** Writes a failure to the error log and the audit log.
 *  @param event as for the audit log, such as "upload" */
void escrow_problem_tell(request_rec *r, const char *event, const gh_result_t *result);

/** Begins a line of the audit log with what is known of a request. */
gh_audit_event_t *escrow_audit_event(request_rec *r, const char *event);

#endif /* mod_escrow_escrow_problem_h */
