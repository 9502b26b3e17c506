/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehousectl_ctl_enrolment_h
#define gatehousectl_ctl_enrolment_h

#include "ctl.h"
#include "store/jobs.h"

/* What the commands about enrolments share. */

/** The --reason of a command; NULL: none. @return an exit code */
int ctl_enrolment_reason(ctl_t *ctl, const ctl_arguments_t *arguments, const char **reason);

/** Prints an enrolment, as ctl_enrolment_show() does; the store is open. @return an exit code */
int ctl_enrolment_print(ctl_t *ctl, const char *id);

/** The last failure with its number; NULL: there was none. */
const char *ctl_job_failure(const gh_job_record_t *job, apr_pool_t *p);

/** How far an enrolment is, as fields. */
void ctl_job_print(const gh_job_record_t *job, apr_pool_t *p);

#endif /* gatehousectl_ctl_enrolment_h */
