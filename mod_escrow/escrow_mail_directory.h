/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_escrow_escrow_mail_directory_h
#define mod_escrow_escrow_mail_directory_h

#include <httpd.h>
#include <http_config.h>

#include "mod_escrow/escrow_event.h"

/* EscrowMailDirectory: an address of mail has to be in a directory (LDAP). */

const char *escrow_set_mail_directory(cmd_parms *cmd, void *dir, int argc, char *const argv[]);

/** @return 1 if there is one */
int escrow_mail_directory_used(void);

/** @return how many errors were logged */
int escrow_mail_directory_check(server_rec *s, apr_pool_t *ptemp);

/** Memory that the children share, in the parent. @return how many errors were logged */
int escrow_mail_directory_prepare(server_rec *s, apr_pool_t *pconf);

void escrow_mail_directory_child_init(apr_pool_t *pchild, server_rec *s);

/**
 * Asks, for a bounded time, whether it has the address of an event.
 * @return APR_SUCCESS also if none is configured; GH_EREFUSED; GH_EUNAVAILABLE if it does not
 *         answer or too many ask; with result
 */
apr_status_t escrow_mail_directory_match(const escrow_event_t *event, apr_pool_t *p,
                                         gh_result_t *result);

#endif /* mod_escrow_escrow_mail_directory_h */
