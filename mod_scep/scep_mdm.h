/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_scep_scep_mdm_h
#define mod_scep_scep_mdm_h

#include <jansson.h>

#include "mod_scep/scep_web.h"
#include "store/mdm_requests.h"

/*
 * The web service for device management, below /mdm/services/<tenant>: JSON over HTTPS, for users
 * whom httpd has authenticated.
 *
 *   GET  .../                              version
 *   GET  .../digital-ids                   digital IDs with their variables
 *   POST .../challenges                    a challenge for a device
 *   POST .../p12s                          a key and its certificate
 *   GET  .../requests/ID                   what has become of a challenge or key
 *   GET  .../requests/ID/certificate
 *   POST .../requests/ID/p12, renew, revoke
 *   GET  .../certificates?device=, ?subject=
 */

#define SCEP_HANDLER_MDM    "gatehouse-mdm"
#define SCEP_MDM_ROOT       "/mdm/services"

/** A request to the service. */
typedef struct {
    scep_web_request_t w;
    apr_pool_t *p;
    const char *tenant;
    const char *what;               /* "challenges", ...; "" */
    const char *id;                 /* of a request; NULL: there is none in the path */
    const char *verb;               /* behind that; NULL */
    json_t *body;                   /* of a POST; freed with p */
} scep_mdm_t;

/** What is asked for. */
typedef struct {
    const char *digital_id;
    const char *device;
    const char *transaction;
    const char *reason;
    const char *password;           /* a secret */
    apr_table_t *values;
    apr_interval_time_t lifetime;   /* 0: not said */
} scep_mdm_wish_t;

/** Members of a body; one that is not expected is refused. */
#define SCEP_MDM_DIGITAL_ID     (1u << 0)
#define SCEP_MDM_VARIABLES      (1u << 1)
#define SCEP_MDM_DEVICE         (1u << 2)
#define SCEP_MDM_EXPIRES        (1u << 3)
#define SCEP_MDM_REASON         (1u << 4)
#define SCEP_MDM_TRANSACTION    (1u << 5)
#define SCEP_MDM_PASSWORD       (1u << 6)

/* scep_mdm.c */

/** Whether a request goes to the service, as far as SetHandler tells. */
int scep_mdm_is_handler(request_rec *r);
int scep_mdm_handler(request_rec *r);
/** Reads the body. @return OK; DONE: it is answered */
int scep_mdm_read(scep_mdm_t *m, unsigned members, scep_mdm_wish_t *wish);
/** Answers a failure. @return DONE */
int scep_mdm_fail(scep_mdm_t *m, apr_status_t rv, gh_result_t *result);
/** Finds the digital ID that is named, if this user may use it, and for that. @return as
 *  scep_mdm_read() */
int scep_mdm_choose(scep_mdm_t *m, const char *name, unsigned mode);
/** @return 1 if this user may use a digital ID */
int scep_mdm_permits(const scep_mdm_t *m, const scep_digital_t *digital);
/** What a device has to know as the URL of a digital ID. */
const char *scep_mdm_url(const scep_mdm_t *m, const scep_digital_t *digital);
json_t *scep_mdm_sans(const char *sans);

/* scep_mdm_requests.c */

int scep_mdm_challenge(scep_mdm_t *m);
int scep_mdm_renew(scep_mdm_t *m, const gh_mdm_request_record_t *record);

/* scep_mdm_p12.c */

/** Has the worker make keys, if a digital ID wants some. */
void scep_mdm_need_worker(server_rec *main_server, apr_pool_t *pconf);
int scep_mdm_p12(scep_mdm_t *m);
int scep_mdm_renew_p12(scep_mdm_t *m, const gh_mdm_request_record_t *record);
int scep_mdm_fetch_p12(scep_mdm_t *m, gh_mdm_request_record_t *record);

/* scep_mdm_certificates.c */

/** What is about one request: its state, certificate, end and renewal. */
int scep_mdm_request(scep_mdm_t *m);
int scep_mdm_certificates(scep_mdm_t *m);

#endif /* mod_scep_scep_mdm_h */
