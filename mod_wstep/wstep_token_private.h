/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_token_private_h
#define mod_wstep_wstep_token_private_h

#include "mod_wstep/wstep_asn1.h"
#include "mod_wstep/wstep_token.h"

/* What Windows says beside a request: wstep_attributes.c. */

apr_status_t wstep_token_malformed(gh_result_t *result, const char *what);

/** Attributes and extensions of the PKCS#10 request. */
apr_status_t wstep_token_take_csr(wstep_token_t *token, apr_pool_t *p, gh_result_t *result);

/** "name=value&name=value" of a control (RFC 5272 6.12; MS-WCCE 2.2.2.6.4.3). */
apr_status_t wstep_token_take_reg_info(const WSTEP_CONTROL *control, apr_array_header_t *values,
                                       apr_pool_t *p, gh_result_t *result);

/** Attributes that a control adds to the request. */
apr_status_t wstep_token_take_added(wstep_token_t *token, const WSTEP_CONTROL *control,
                                    apr_array_header_t *values, apr_pool_t *p,
                                    gh_result_t *result);

#endif /* mod_wstep_wstep_token_private_h */
