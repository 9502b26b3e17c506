/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_catalogue_h
#define mod_wstep_wstep_catalogue_h

#include "log.h"
#include "mod_wstep/wstep_template.h"

/*
 * Templates whose particulars are in the directory, for one request: configured are their name and
 * their profiles, the rest is Active Directory's. What is not understood of a template is never
 * offered.
 */

typedef struct wstep_catalogue wstep_catalogue_t;

/** @param directory NULL: there is none, and no template of it */
wstep_catalogue_t *wstep_catalogue_create(gh_directory_t *directory, const gh_log_t *log,
                                          apr_pool_t *p);

/**
 * The templates of an endpoint as they are now. The directory is asked at most once, and only if
 * one of them is in it.
 * @param templates const wstep_template_t *, without those that cannot be offered; the same pointer
 *        for the same template as long as the catalogue lives
 * @return as gh_directory_templates()
 */
apr_status_t wstep_catalogue_resolve(const apr_array_header_t **templates,
                                     wstep_catalogue_t *catalogue,
                                     const apr_array_header_t *configured, gh_result_t *result);

/** @return 1 if some template was of the directory, which does not tell when it was changed */
int wstep_catalogue_used(const wstep_catalogue_t *catalogue);

#endif /* mod_wstep_wstep_catalogue_h */
