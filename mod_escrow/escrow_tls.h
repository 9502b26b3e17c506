/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_escrow_escrow_tls_h
#define mod_escrow_escrow_tls_h

#include <httpd.h>
#include <http_config.h>
#include <apr_tables.h>

/* EscrowTLS: virtual hosts whose certificate may be that of the store. */

const char *escrow_set_tls(cmd_parms *cmd, void *dir, const char *name);

/** Whether there is such a virtual host in this configuration. */
int escrow_tls_used(void);
/** @return how many errors were logged */
int escrow_tls_check(server_rec *s);
void escrow_tls_hooks(apr_pool_t *p);
void escrow_tls_child_init(apr_pool_t *pchild, server_rec *s);
/** Adds those that are shown now though the store has none of their name: they are of httpd's
 *  files, with generation 0. @param records gh_endpoint_record_t * */
void escrow_tls_add_files(apr_array_header_t *records, apr_pool_t *p);
/** Takes up what the store has. @param records gh_endpoint_record_t *; copied */
void escrow_tls_publish(const apr_array_header_t *records);

#endif /* mod_escrow_escrow_tls_h */
