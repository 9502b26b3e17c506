/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehousectl_ctl_h
#define gatehousectl_ctl_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_user.h>

#include "audit.h"
#include "ctl_arguments.h"
#include "ctl_config.h"
#include "log.h"
#include "result.h"
#include "store/store.h"

/* What all commands of gatehousectl share: one run of it, its exit codes, its failures. */

#define CTL_OK           0
#define CTL_FAILED       1      /* refused, or failed for another reason */
#define CTL_USAGE        2
#define CTL_NOT_FOUND    3
#define CTL_UNAVAILABLE  4      /* store or key */

typedef struct {
    apr_pool_t *p;
    const char *conf;           /* -f, absolute; NULL if not given */
    const char *httpd;
    int json;
    const char *actor;          /* who gave the command, for the audit log */
    gh_log_t log;               /* to standard error */
    ctl_config_t *config;       /* once ctl_configure() succeeded */
    gh_store_t *store;          /* once ctl_open() succeeded */
} ctl_t;

/** One command. @return an exit code */
typedef int ctl_command_fn(ctl_t *ctl, const ctl_arguments_t *arguments);

/** Says on standard error what went wrong and what to do. @return the exit code for it */
int ctl_fail(const gh_result_t *result);

/** As ctl_fail(), for whatever is wrong with a command line. @return CTL_USAGE */
int ctl_fail_usage(const gh_result_t *result);

/** The exit code for a status that a function of the library returned. */
int ctl_exit_code(apr_status_t status);

/** Learns the configuration of httpd. Shows what httpd complains about. @return an exit code */
int ctl_configure(ctl_t *ctl);

/** Becomes, for good, the user of httpd's children, if this is root. @return an exit code */
int ctl_drop_privileges(ctl_t *ctl);

/** Configures, drops privileges and opens the store. @return an exit code */
int ctl_open(ctl_t *ctl);

/** Opens the store; configuration and privileges as they are. */
apr_status_t ctl_open_store(ctl_t *ctl, gh_result_t *result);

/** Who runs this: the user behind sudo, or the user of the process; in p. */
const char *ctl_actor(apr_pool_t *p);

/** Begins an event of this run for the audit log. */
gh_audit_event_t *ctl_event(const ctl_t *ctl, const char *event, apr_pool_t *p);

/** The configured issuer of that name. @param code set to the exit code if there is none */
const ctl_issuer_t *ctl_find_issuer(const ctl_t *ctl, const char *name, int *code);

#endif /* gatehousectl_ctl_h */
