/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_ocsp_feed_start_h
#define mod_ocsp_ocsp_feed_start_h

#include <httpd.h>
#include <apr_tables.h>

/**
 * Has the feeder started with httpd, see gatehouse_register_worker(). To be called in the
 * post_config hook of each start but not in the first of two passes, once the folder is there.
 * @param folder      OCSPDirectory
 * @param authorities ocsp_feed_authority_t elements; none: no feeder
 * @return OK, or an HTTP status with the reason in the log
 */
int ocsp_start_feeder(const char *folder, const apr_array_header_t *authorities, apr_pool_t *pconf,
                      server_rec *s);

#endif /* mod_ocsp_ocsp_feed_start_h */
