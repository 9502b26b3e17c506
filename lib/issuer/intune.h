/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_issuer_intune_h
#define gatehouse_issuer_intune_h

#include <apr_pools.h>

#include "issuer/authorisation.h"
#include "result.h"

/* Enrolments that Microsoft Intune permits: what httpd and the worker have to agree about. */

/** Kind of the question, see question.h; also of what the worker is told. */
#define GH_INTUNE "intune"

/** Of the queue of a connection, before its name. */
#define GH_INTUNE_QUEUE "intune:"

/** What a reason begins with, before the code of a refusal. */
#define GH_INTUNE_SAYS "Intune says "

/** Codes of ScepActions. */
typedef struct {
    const char *name;
    gh_failure_t failure;           /* for the device */
    const char *text;               /* for people */
} gh_intune_code_t;

/** Compared exactly. @return NULL for one that is not known: a failure too */
const gh_intune_code_t *gh_intune_code(const char *name);

/** The kind of failure by the reason of a rejected row; GH_FAILURE_REQUEST if that has no code. */
gh_failure_t gh_intune_failure(const char *reason);

/** "intune": a challenge that Intune is asked about. @param name of the connection */
gh_authoriser_t *gh_authoriser_intune(const char *name, apr_interval_time_t patience,
                                      apr_pool_t *p);

#endif /* gatehouse_issuer_intune_h */
