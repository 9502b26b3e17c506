/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_scep_scep_web_h
#define mod_scep_scep_web_h

#include <httpd.h>
#include <ap_expr.h>

#include "mod_scep/scep_config.h"
#include "mod_scep/scep_profile.h"

/*
 * The pages that make one-time challenges: for programs (JSON), for device management that reads
 * NDES pages, for Apple devices (configuration profiles). Who may use them is decided by httpd; for
 * which endpoints they make challenges, by SCEPChallengeFor.
 */

#define SCEP_HANDLER_CHALLENGE  "gatehouse-scep-challenge"
#define SCEP_HANDLER_NDES       "gatehouse-scep-ndes"
#define SCEP_HANDLER_PROFILE    "gatehouse-scep-profile"

/** What SCEPChallengeFor names. */
typedef struct {
    const char *tenant;
    const char *issuer;
    const char *pattern;            /* of names of profiles */
    const char *set;                /* "": none */
    scep_place_t place;
} scep_web_target_t;

/** An attribute or alternative name, and what it is made of. */
typedef struct {
    const char *type;
    const ap_expr_info_t *expression;
} scep_web_value_t;

/** Directives of a <Location> for these pages; what it does not have is NULL, 0 or -1. */
struct scep_web {
    const char *path;
    const server_rec *server;       /* in which it was written */
    scep_place_t place;             /* of its first directive */
    apr_array_header_t *targets;    /* scep_web_target_t */
    const ap_expr_info_t *permit;
    int plain;
    int passwords;
    apr_array_header_t *subject;    /* scep_web_value_t, most specific first */
    apr_array_header_t *names;      /* scep_web_value_t */
    const char *organization;
    const scep_profile_signer_t *signer;
};

#define SCEP_WEB_PASSWORDS      5
#define SCEP_WEB_PASSWORDS_MAX  10000

/** An endpoint that takes one-time challenges of a set. */
typedef struct {
    const scep_entry_t *entry;
    const char *set;
} scep_web_found_t;

/* scep_web_targets.c */

/** scep_web_found_t for the endpoints and sets that a target names. */
apr_array_header_t *scep_web_found(server_rec *main_server, const scep_web_target_t *target,
                                   const gatehouse_config_t *config, apr_pool_t *p);
/** What a device has to know as the endpoint's URL. */
const char *scep_web_url(const scep_entry_t *entry, const gatehouse_config_t *config,
                         apr_pool_t *p);

/* scep_web_check.c */

/** @return 1 for one of these pages */
int scep_web_is_handler(const char *handler);
/**
 * What holds at a location, as httpd merges it.
 * @param locations of scep_locations()
 * @param handler   set to that of the page, NULL: it is none
 * @param place     of the handler
 * @return directives of the page, NULL if it has none
 */
const scep_web_t *scep_web_at(const apr_array_header_t *locations,
                              const scep_location_t *location, const char **handler,
                              scep_place_t *place, apr_pool_t *p);
/** @return 1 if a page or directives for one stand there, and not in the main server alone */
int scep_web_concerns(const scep_location_t *location, const server_rec *main_server,
                      const server_rec *s);
/** Checks the locations of these pages. @return how many problems were logged */
int scep_web_check(server_rec *main_server, const gatehouse_config_t *config, apr_hash_t *handlers,
                   apr_pool_t *ptemp);
/** Bits of the RSA key that a profile asks a device for; 0: its profile has no RSA keys. */
int scep_web_key_size(const gh_profile_t *profile);

/* scep_web.c */

/** Finds mod_gatehouse's functions, once scep_find_gatehouse() has. */
void scep_web_find_gatehouse(void);

/** A request to one of these pages. */
typedef struct {
    request_rec *r;
    const scep_web_t *web;
    const char *protocol;           /* for the audit log: "http", "ndes" or "profile" */
    const char *user;               /* who asks */
    const char *name;               /* what he is called; NULL: a certificate does not say */
    const gatehouse_config_t *config;
    const gatehouse_service_t *service;
    const scep_entry_t *entry;      /* once known */
    const char *set;
    const char *event;              /* for the audit log; NULL: "challenge" */
    const scep_digital_t *digital;  /* that the request is about, once known */
} scep_web_request_t;

/** Notes who was authenticated: a hook that runs only if somebody was. r->user is not enough, since
 *  SSLUserName fills it from certificates that nobody verified. */
int scep_web_note_user(request_rec *r);
/**
 * What all pages do first: method, transport, authentication, permission.
 * @param denied the answer for somebody who may not use the page
 * @return OK: go on; DONE: it is answered
 */
int scep_web_begin(scep_web_request_t *w, request_rec *r, const char *protocol, const char *method,
                   int (*denied)(scep_web_request_t *w));
/** Fills entry and set with the only target of the location. @return as scep_web_begin() */
int scep_web_single(scep_web_request_t *w);
/** Makes a challenge for entry and set; fills in what a spec has of the request. */
apr_status_t scep_web_make(scep_web_request_t *w, gh_challenge_spec_t *spec,
                           gh_challenge_made_t *made, gh_result_t *result);
/** Tells both logs of a refusal. */
void scep_web_tell(scep_web_request_t *w, const gh_result_t *result);
/** Refuses with application/problem+json (RFC 9457); both logs get a line. @return DONE */
int scep_web_refuse(scep_web_request_t *w, int status, gh_result_t *result);
/** As scep_web_refuse(), with the status that follows from the result. */
int scep_web_fail(scep_web_request_t *w, gh_result_t *result);
/** Reads a body that is said to be JSON. @return as scep_web_begin() */
int scep_web_body(scep_web_request_t *w, gh_bytes_t *body);
/** @param json json_t *, taken over; NULL: no memory @return DONE */
int scep_web_json(request_rec *r, int status, void *json);
/** @return DONE */
int scep_web_send(request_rec *r, int status, const char *type, gh_bytes_t body);
int scep_web_challenge_handler(request_rec *r);

/** mod_gatehouse's audit_event() and audit(), with what the page knows. */
gh_audit_event_t *scep_web_event(scep_web_request_t *w);
void scep_web_audit(scep_web_request_t *w, const gh_audit_event_t *event);
void scep_web_begin_work(scep_web_request_t *w);
void scep_web_end_work(void);

/* scep_web_pages.c */

int scep_web_ndes_handler(request_rec *r);
int scep_web_profile_handler(request_rec *r);

#endif /* mod_scep_scep_web_h */
