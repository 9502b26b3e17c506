/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "ctl.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_strings.h>

#include "ctl_text.h"
#include "status.h"

#define RULE "session"

int ctl_exit_code(apr_status_t status)
{
    switch (status) {
    case APR_SUCCESS:
        return CTL_OK;
    case APR_NOTFOUND:
        return CTL_NOT_FOUND;
    case GH_EUNAVAILABLE:
    case GH_EUNKNOWN:
    case GH_ECORRUPT:
    case GH_ESTOPPED:
    case GH_EBUSY:
        return CTL_UNAVAILABLE;
    default:
        /* files that cannot be had are those of the store and of keys */
        return APR_STATUS_IS_ENOENT(status) || APR_STATUS_IS_EACCES(status)
               ? CTL_UNAVAILABLE : CTL_FAILED;
    }
}

static void say(const gh_result_t *result)
{
    fprintf(stderr, "gatehousectl: %s%s%s\n", result->number, *result->number != '\0' ? ": " : "",
            *result->message != '\0' ? result->message : "failed");
    if (*result->action != '\0') {
        fprintf(stderr, "  %s\n", result->action);
    }
}

int ctl_fail(const gh_result_t *result)
{
    say(result);
    return result->status == APR_SUCCESS ? CTL_FAILED : ctl_exit_code(result->status);
}

int ctl_fail_usage(const gh_result_t *result)
{
    say(result);
    return CTL_USAGE;
}

const char *ctl_actor(apr_pool_t *p)
{
    const char *sudo = getenv("SUDO_USER");
    const struct passwd *entry;

    /* only root's word counts: sudo has set it, or root itself pretends */
    if (getuid() == 0 && sudo != NULL && *sudo != '\0') {
        return apr_pstrdup(p, sudo);
    }
    entry = getpwuid(getuid());
    return entry != NULL ? apr_pstrdup(p, entry->pw_name)
                         : apr_psprintf(p, "uid %lu", (unsigned long)getuid());
}

gh_audit_event_t *ctl_event(const ctl_t *ctl, const char *name, apr_pool_t *p)
{
    gh_audit_event_t *event = apr_pcalloc(p, sizeof(*event));

    event->time = apr_time_now();
    event->id = gh_random_id(p);
    event->node = ctl->config != NULL ? ctl->config->node : NULL;
    event->event = name;
    event->protocol = "ctl";
    event->user = ctl->actor;
    event->rule = "operator";
    event->result = "done";
    return event;
}

int ctl_configure(ctl_t *ctl)
{
    const char *errors;
    gh_result_t result;
    apr_status_t rv;

    gh_result_clear(&result);
    if (ctl->conf == NULL) {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Name httpd's main configuration file with -f, before the command.",
                       GHNO(0328) "this command needs the configuration of httpd");
        return ctl_fail_usage(&result);
    }
    rv = ctl_config_load(&ctl->config, ctl->httpd, ctl->conf, &errors, ctl->p, &result);
    if (rv != APR_SUCCESS) {
        fputs(errors, stderr);
        ctl_fail(&result);
        return CTL_FAILED;
    }
    return CTL_OK;
}

const ctl_issuer_t *ctl_find_issuer(const ctl_t *ctl, const char *name, int *code)
{
    const ctl_issuer_t *issuer = ctl_config_issuer(ctl->config, name);
    gh_result_t result;

    if (issuer == NULL) {
        gh_result_clear(&result);
        gh_result_fail(&result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, RULE,
                       "gatehousectl urls lists what is configured.",
                       GHNO(0329) "the configuration has no <Issuer %s>", name);
        *code = ctl_fail(&result);
    }
    return issuer;
}

static apr_status_t become(const ctl_config_t *config, gh_result_t *result)
{
    gid_t gid = (gid_t)config->gid;
    uid_t uid = (uid_t)config->uid;
    int failed;

    failed = config->user != NULL ? initgroups(config->user, gid) : setgroups(1, &gid);
    if (failed || setgid(gid) != 0 || setuid(uid) != 0) {
        int error = errno;

        return gh_result_fail(result, APR_FROM_OS_ERROR(error), GH_FAILURE_INTERNAL, RULE,
                              "Run this program as root without restrictions, or as that user.",
                              GHNO(0330) "cannot become the user of httpd's children, %s (%s)",
                              config->user != NULL ? config->user : "?", strerror(error));
    }
    if (setuid(0) == 0) {
        return gh_result_fail(result, APR_EGENERAL, GH_FAILURE_INTERNAL, RULE,
                              "Run this program as the user of httpd's children instead.",
                              GHNO(0331) "the rights of root did not go away");
    }
    return APR_SUCCESS;
}

int ctl_drop_privileges(ctl_t *ctl)
{
    gh_result_t result;

    if (geteuid() != 0 || ctl->config->uid == 0) {
        return CTL_OK;
    }
    gh_result_clear(&result);
    if (ctl->config->uid < 0 || ctl->config->gid < 0) {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_INTERNAL, RULE,
                       "Name them with User and Group in the configuration of httpd.",
                       GHNO(0332) "httpd does not say whom its children run as");
        return ctl_fail(&result);
    }
    if (become(ctl->config, &result) != APR_SUCCESS) {
        ctl_fail(&result);
        return CTL_FAILED;
    }
    return CTL_OK;
}

/* A store in a file that was never made; other stores say themselves what is missing. */
static int store_is_missing(const char *uri)
{
    static const char scheme[] = "sqlite3:";
    struct stat info;

    return strncmp(uri, scheme, sizeof(scheme) - 1) == 0
        && stat(uri + sizeof(scheme) - 1, &info) != 0 && errno == ENOENT;
}

apr_status_t ctl_open_store(ctl_t *ctl, gh_result_t *result)
{
    gh_store_options_t options;

    if (ctl->config->store == NULL) {
        return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, RULE,
                              "Name one with GatehouseStore in the configuration of httpd.",
                              GHNO(0333) "the configuration has no store");
    }
    if (store_is_missing(ctl->config->store)) {
        /* what httpd could not make either is said as httpd says it */
        apr_status_t rv = gh_store_examine(ctl->config->store, (apr_uid_t)-1, (apr_gid_t)-1, ctl->p,
                                           result);

        if (rv != APR_SUCCESS) {
            return rv;
        }
        return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, RULE,
                              "Start httpd with this configuration: it makes the store.",
                              GHNO(0416) "the store %s was not made yet", ctl->config->store);
    }
    memset(&options, 0, sizeof(options));
    options.log = &ctl->log;
    options.connections = 1;
    return gh_store_open(&ctl->store, ctl->config->store, &options, ctl->p, result);
}

int ctl_open(ctl_t *ctl)
{
    gh_result_t result;
    int code;

    code = ctl_configure(ctl);
    if (code == CTL_OK) {
        code = ctl_drop_privileges(ctl);
    }
    if (code != CTL_OK) {
        return code;
    }
    gh_result_clear(&result);
    if (ctl_open_store(ctl, &result) != APR_SUCCESS) {
        ctl_fail(&result);
        return CTL_UNAVAILABLE;
    }
    return CTL_OK;
}
