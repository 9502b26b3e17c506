/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehousectl_ctl_cert_h
#define gatehousectl_ctl_cert_h

#include "ctl.h"
#include "store/certificates.h"

/* What the commands of certificates share. */

/** Reads an operand as a serial number. @return CTL_OK or CTL_USAGE, said on standard error */
int ctl_serial(gh_bytes_t *serial, const char *text, apr_pool_t *p);

/**
 * Finds the one certificate with that serial.
 * @param issuer NULL for any, if only one issuer has that serial
 * @return APR_NOTFOUND; APR_EGENERAL if several issuers have it, naming them; errors of the store
 */
apr_status_t ctl_certificate_find(ctl_t *ctl, const char *issuer, gh_bytes_t serial,
                                  gh_certificate_record_t **record, apr_pool_t *p,
                                  gh_result_t *result);

#endif /* gatehousectl_ctl_cert_h */
