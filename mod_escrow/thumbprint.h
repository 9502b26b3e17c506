/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_escrow_thumbprint_h
#define mod_escrow_thumbprint_h

#include <httpd.h>
#include <http_config.h>
#include <apr_optional.h>

#include "mod_escrow/escrow_client.h"
#include "mod_escrow/escrow_config.h"
#include "mod_escrow/escrow_pins.h"

/* Require thumbprint, and AuthType gatehouse-cert: who may ask, by his certificate. */

#define THUMBPRINT_AUTH_TYPE "gatehouse-cert"

/** A file of pins that is looked at while httpd runs. */
typedef struct {
    const char *path;
    int with_roles;
    int index;                      /* among the files of this configuration */
} escrow_file_t;

/* thumbprint_config.c */

const char *thumbprint_set_source(cmd_parms *cmd, void *dir, int argc, char *const argv[]);
const char *thumbprint_set_proxy(cmd_parms *cmd, void *dir, int argc, char *const argv[]);
const char *thumbprint_set_pin_file(cmd_parms *cmd, void *dir, const char *path);
/** Takes up a file of pins, and reads it once for a check. @return an error or NULL */
const char *thumbprint_add_file(cmd_parms *cmd, const char *path, int with_roles, int *index);
/** Says once more what everybody should know of a configuration. @return number of problems */
int thumbprint_check(server_rec *s, apr_pool_t *pconf, apr_pool_t *ptemp);

/* thumbprint_connection.c: certificates of connections */

void thumbprint_connection_hooks(apr_pool_t *p);
/** What mod_ssl has of the peer of a connection, kept for as long as that.
 *  @return NULL if there is no certificate, or no TLS; lives as long as p and the connection */
const escrow_client_t *thumbprint_of_connection(conn_rec *c, apr_pool_t *p);
/** The certificate itself, which the caller frees; NULL: there is none. */
X509 *thumbprint_peer_certificate(conn_rec *c);
/** The address of the peer of a connection, whatever mod_remoteip has made of it. */
apr_sockaddr_t *thumbprint_peer(conn_rec *c);

/* thumbprint_header.c: certificates that proxies tell of */

/** For post_read_request: removes what nobody but a trusted proxy may say. */
int thumbprint_clean_headers(request_rec *r);
/** Whether a request came by a trusted proxy. */
int thumbprint_by_proxy(request_rec *r);

/* thumbprint_request.c */

typedef enum {
    THUMBPRINT_GRANTED = 0,
    THUMBPRINT_NO_CERTIFICATE,
    THUMBPRINT_BAD_HEADER,
    THUMBPRINT_NOT_IN_TIME,
    THUMBPRINT_UNKNOWN,
    THUMBPRINT_UNAVAILABLE
} thumbprint_verdict_t;

/** What is known of a request; kept with it. */
typedef struct {
    int by_proxy;
    int looked;                     /* client and bad are set */
    int in_header;                  /* client is who a proxy says it is */
    const escrow_client_t *client;  /* NULL: none */
    gh_result_t *bad;               /* what is wrong with the header, or NULL */
    const char *name;               /* thumbprint of the client as text */
    thumbprint_verdict_t verdict;   /* the best there was */
    int judged;                     /* verdict is set */
    const char *rule;               /* what the verdict was about */
    unsigned roles;                 /* that Require itself has given, by role= */
} thumbprint_request_t;

thumbprint_request_t *thumbprint_request(request_rec *r);
/** Looks at the certificate of the client. */
const thumbprint_request_t *thumbprint_look(request_rec *r);
/** "sha256:..." or "sha1:...", or NULL if the client has none. */
const char *thumbprint_name(request_rec *r);
/** Offered to other modules; see client_certificate.h. */
apr_status_t gatehouse_client_certificate(request_rec *r, X509 **certificate,
                                          gh_result_t *result);

/* thumbprint_require.c */

void thumbprint_require_hooks(apr_pool_t *p);

/* thumbprint_refusal.c: what a client is told, and the logs */

void thumbprint_refusal_hooks(apr_pool_t *p);

/* thumbprint_files.c: pins of files, in a child */

void thumbprint_files_child_init(apr_pool_t *pchild, server_rec *s);
/** Whether a file has a pin for a client. */
int thumbprint_in_file(request_rec *r, int index, const escrow_client_t *client, unsigned roles,
                       apr_time_t now);
/** The same of all EscrowPinFile. */
int thumbprint_in_pin_files(request_rec *r, const escrow_client_t *client, unsigned roles,
                            apr_time_t now);

/* thumbprint_pins.c: pins of the store, in a child */

void thumbprint_pins_child_init(apr_pool_t *pchild, server_rec *s);
/** A pin of EscrowPinFile or of the store. @return APR_SUCCESS, GH_EREFUSED, or GH_EUNAVAILABLE if
 *  it is not known what the store has now */
apr_status_t thumbprint_pinned(request_rec *r, const escrow_client_t *client, unsigned roles,
                               apr_time_t now);
/** Has pins and TLS certificates of the last second at hand. @return 0 if that is not possible */
int thumbprint_refresh(void);
/** The next look at the store takes up everything, as if it had changed. */
void thumbprint_pins_look_again(void);
/** For log_transaction: tells the store now and then which pins were used. */
int thumbprint_note_used(request_rec *r);
/** Whether the client of a request has one of the roles: Require has given it to him, or a pin.
 *  @return as thumbprint_pinned() */
apr_status_t thumbprint_role(request_rec *r, unsigned roles);
/** A clock that nobody sets. */
apr_time_t thumbprint_clock(void);

#endif /* mod_escrow_thumbprint_h */
