/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehousectl_ctl_ocsp_h
#define gatehousectl_ctl_ocsp_h

#include "ctl.h"
#include "mod_ocsp/ocsp_state.h"
#include "status/view.h"

/* What commands and checks of OCSP share: the files in OCSPDirectory, as httpd's children have
 * them. */

/** A feeder that is alive writes its state files at least once a minute. */
#define CTL_FEEDER_SILENT apr_time_from_sec(150)

/** The configured authority of that name. @param code set to the exit code if there is none */
const ctl_authority_t *ctl_find_authority(const ctl_t *ctl, const char *name, int *code);

/** The digest that the files of an authority carry. @return 0 if httpd did not say it */
int ctl_ocsp_digest(unsigned char digest[32], const ctl_authority_t *authority, apr_pool_t *p);

/**
 * What is known of an authority's certificates. To be called as the user of httpd's children.
 * @param source GH_SOURCE_FILES: as the files have it; GH_SOURCE_STORE, to be followed with a store
 * @return errors of gh_view_follow() without store; GH_ECORRUPT
 */
apr_status_t ctl_ocsp_view(gh_view_t **view, const ctl_t *ctl, const ctl_authority_t *authority,
                           gh_source_t source, gh_store_t *store, apr_pool_t *p,
                           gh_result_t *result);

/** What the feeder says of an authority's sources. Errors as ocsp_state_read(). */
apr_status_t ctl_ocsp_state(ocsp_state_t **state, const ctl_t *ctl,
                            const ctl_authority_t *authority, apr_pool_t *p);

/** When the source last confirmed what is known. */
apr_time_t ctl_ocsp_confirmed(const gh_view_state_t *state);

#endif /* gatehousectl_ctl_ocsp_h */
