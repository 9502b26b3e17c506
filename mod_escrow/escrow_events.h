/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_escrow_escrow_events_h
#define mod_escrow_escrow_events_h

#include "mod_escrow/escrow_config.h"
#include "mod_escrow/escrow_event.h"

/* The provider of credentials within httpd: what a UEM tells, and what follows from it. */

/** What EscrowProvide and EscrowMailDomains say; lives in pconf. */
typedef struct {
    apr_array_header_t *rules;      /* gh_provide_rule_t; subject is a template */
    apr_array_header_t *places;     /* const char *: "file:line", one for each */
    apr_array_header_t *domains;    /* const char *, see escrow_event_check_mail(); "*" if a
                                       directory alone decides */
} escrow_provider_t;

/** NULL if nothing is configured. */
const escrow_provider_t *escrow_provider(void);

/* Directives */
const char *escrow_set_provide(cmd_parms *cmd, void *dir, int argc, char *const argv[]);
const char *escrow_set_mail_domain(cmd_parms *cmd, void *dir, const char *domain);
const char *escrow_set_event_hmac(cmd_parms *cmd, void *dir, const char *header,
                                  const char *source);

/** Looks at all of it together, and has the thread that follows the store enrol for events.
 *  @return how many errors were logged */
int escrow_events_check(server_rec *s, apr_pool_t *pconf);

/** Sizes of keys that the worker is to make ahead, as JSON text in p: "[2048]"; NULL: none */
const char *escrow_events_sizes(apr_pool_t *p);

/** @return 1 if events of a request's location have to be signed: that takes the place of whom
 *  httpd lets in */
int escrow_events_signed(request_rec *r);

/** The work that gatehouse_register_round() is given. */
apr_status_t escrow_events_round(const gatehouse_service_t *service, apr_pool_t *ptemp,
                                 gh_result_t *result);

#endif /* mod_escrow_escrow_events_h */
