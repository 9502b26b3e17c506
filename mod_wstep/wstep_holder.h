/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_holder_h
#define mod_wstep_wstep_holder_h

#include "mod_wstep/wstep_engine.h"

/* Callers by certificate: whether it is one that counts, and whose account it names. */

/**
 * Finds out who holds a certificate whose key the caller has shown to have. The certificate has to
 * be one that the store has as valid, of one of endpoint->holders, or of endpoint->trust. It names
 * an account by its security identifier, or else by a user principal name, which nobody gets into a
 * certificate by asking for it; other names count for nothing. Who is not named, or whose
 * certificate is not for logging in (RFC 5280 4.2.1.12, clientAuth), may renew it and nothing else.
 * @param caller certificate, user and account are set; user.name stays NULL for a holder who is not
 *        named
 * @return GH_EREFUSED (DENIED or TIME); GH_EUNAVAILABLE and others
 */
apr_status_t wstep_holder_find(wstep_caller_t *caller, const wstep_services_t *services,
                               const wstep_endpoint_t *endpoint, X509 *certificate, apr_pool_t *p,
                               gh_result_t *result);

#endif /* mod_wstep_wstep_holder_h */
