/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_escrow/escrow_mail_directory.h"

#include <string.h>

#include <ap_mpm.h>
#include <apr_shm.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>

#include "directory/directory.h"
#include "log.h"
#include "mod_escrow/escrow_config.h"
#include "status.h"

APLOG_USE_MODULE(escrow);

#define RULE "escrow.mail-directory"

/** Look-ups at a time, of a node and of a process. */
#define CONCURRENT  16
#define CONNECTIONS 4

#define TIMEOUT         apr_time_from_sec(5)
#define TIMEOUT_MAX     apr_time_from_sec(30)

#define FILTER "(mail=<email>)"

/** What is configured; lives in pconf. */
typedef struct {
    gh_directory_config_t config;
    const char *filter;
    const char *place;              /* "file:line" */
    void *memory;                   /* of the limiter; NULL: each process counts for itself */
    int processes;
} mail_directory_t;

static mail_directory_t *configured;
static gh_directory_t *child;

static apr_status_t forget(void *data)
{
    configured = NULL;
    return APR_SUCCESS;
}

int escrow_mail_directory_used(void)
{
    return configured != NULL;
}

/* EscrowMailDirectory */

static const char *set_password(cmd_parms *cmd, mail_directory_t *made, const char *source)
{
    APR_OPTIONAL_FN_TYPE(gatehouse_dump_problem) *problem =
        APR_RETRIEVE_OPTIONAL_FN(gatehouse_dump_problem);
    const char *path = !strncmp(source, "file:", 5) || !strncmp(source, "exec:", 5)
        ? ap_server_root_relative(cmd->temp_pool, source + 5) : NULL;
    gh_result_t result;

    if (!path) {
        return GHNO(1328) "password= of EscrowMailDirectory takes file:PATH or exec:PATH; a secret "
                          "never stands in the configuration";
    }
    gh_result_clear(&result);
    if (gh_secret_load(&made->config.password, apr_psprintf(cmd->temp_pool, "%.5s%s", source, path),
                       cmd->pool, &result) == APR_SUCCESS) {
        return NULL;
    }
    if (problem && problem(cmd->pool, NULL, cmd->cmd->name, cmd->directive->filename,
                           cmd->directive->line_num, &result)) {
        /* told already; what is checked behind this needs one */
        made->config.password.data = (const unsigned char *)"";
        made->config.password.length = 1;
        return NULL;
    }
    return apr_psprintf(cmd->pool, "%s: %s. %s", result.number, result.message, result.action);
}

static const char *bad_word(cmd_parms *cmd, const char *word)
{
    return apr_psprintf(cmd->pool, GHNO(1327) "EscrowMailDirectory takes URLs such as "
                        "ldaps://ldap.example.com, base=DN, filter=FILTER with <email> in it, "
                        "bind=DN, password=file:PATH, trust=PATH, starttls=on and timeout=TIME (at "
                        "most 30s), not \"%s\"", word);
}

static const char *set_word(cmd_parms *cmd, mail_directory_t *made, const char *word)
{
    gh_directory_config_t *config = &made->config;
    const char *value = strchr(word, '=');
    apr_size_t length = value ? (apr_size_t)(++value - word) : 0;

    if (!strncmp(word, "ldap://", 7) || !strncmp(word, "ldaps://", 8)) {
        APR_ARRAY_PUSH((apr_array_header_t *)config->urls, const char *) = word;
    }
    else if (length && !strncmp(word, "base=", length)) {
        config->base = value;
    }
    else if (length && !strncmp(word, "filter=", length) && strstr(value, "<email>")) {
        made->filter = value;
    }
    else if (length && !strncmp(word, "bind=", length) && *value) {
        config->bind = value;
    }
    else if (length && !strncmp(word, "password=", length)) {
        return set_password(cmd, made, value);
    }
    else if (length && !strncmp(word, "trust=", length)) {
        config->trust = ap_server_root_relative(cmd->pool, value);
        return config->trust ? NULL : bad_word(cmd, word);
    }
    else if (!strcmp(word, "starttls=on")) {
        config->starttls = 1;
    }
    else if (!length || strncmp(word, "timeout=", length)
             || gh_duration_parse(&config->deadline, value) != APR_SUCCESS
             || config->deadline <= 0 || config->deadline > TIMEOUT_MAX) {
        return bad_word(cmd, word);
    }
    return NULL;
}

const char *escrow_set_mail_directory(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    mail_directory_t *made = apr_pcalloc(cmd->pool, sizeof(*made));
    int i;

    made->config.name = "EscrowMailDirectory";
    made->config.urls = apr_array_make(cmd->pool, 2, sizeof(const char *));
    made->config.base = "";
    made->config.deadline = TIMEOUT;
    made->config.connections = CONNECTIONS;
    made->filter = FILTER;
    made->place = apr_psprintf(cmd->pool, "%s:%d", cmd->directive->filename,
                               cmd->directive->line_num);
    for (i = 0; !error && i < argc; ++i) {
        error = set_word(cmd, made, argv[i]);
    }
    if (!error && configured) {
        error = apr_psprintf(cmd->pool, GHNO(1329) "there is an EscrowMailDirectory already, at "
                             "%s: give all URLs in one", configured->place);
    }
    if (error) {
        return error;
    }
    /* so that there is time for the next one if a server hangs */
    made->config.connect = made->config.deadline
        / (made->config.urls->nelts ? made->config.urls->nelts : 1);
    configured = made;
    apr_pool_cleanup_register(cmd->pool, NULL, forget, apr_pool_cleanup_null);
    return NULL;
}

int escrow_mail_directory_check(server_rec *s, apr_pool_t *ptemp)
{
    gh_result_t result;

    gh_result_clear(&result);
    if (!configured
        || gh_directory_check(&configured->config, ptemp, &result) == APR_SUCCESS) {
        return 0;
    }
    ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, 0, s, "%s: %s: %s. %s", configured->place,
                 result.number, result.message, result.action);
    return 1;
}

int escrow_mail_directory_prepare(server_rec *s, apr_pool_t *pconf)
{
    apr_shm_t *shared;
    int processes = 0;
    apr_status_t rv;

    if (!configured) {
        return 0;
    }
    if (ap_mpm_query(AP_MPMQ_HARD_LIMIT_DAEMONS, &processes) != APR_SUCCESS || processes < 1) {
        processes = 1;
    }
    rv = apr_shm_create(&shared, gh_limiter_size(processes), NULL, pconf);
    if (rv == APR_SUCCESS) {
        rv = gh_limiter_prepare(apr_shm_baseaddr_get(shared), processes);
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, rv, s, GHNO(1330) "memory that the "
                     "processes share cannot be had; see whether the machine is short of memory");
        return 1;
    }
    configured->memory = apr_shm_baseaddr_get(shared);
    configured->processes = processes;
    return 0;
}

void escrow_mail_directory_child_init(apr_pool_t *pchild, server_rec *s)
{
    static const gh_limiter_limits_t limits = { CONCURRENT, 0, 0 };
    apr_status_t rv;

    child = NULL;
    if (!configured) {
        return;
    }
    rv = gh_directory_create(&child, &configured->config,
                             gh_limiter_join(configured->memory, configured->processes, &limits,
                                             pchild), pchild);
    if (rv != APR_SUCCESS) {
        child = NULL;
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, s, GHNO(1331) "this process cannot ask the "
                     "directory of EscrowMailDirectory");
    }
}

/* Looking */

/** @return NULL if the filter asks for what the event does not say */
static const char *filter_of(const escrow_event_t *event, apr_pool_t *p)
{
    const char *from = configured->filter, *made = "", *at;

    while ((at = strchr(from, '<')) != NULL) {
        const char *value = NULL;
        apr_size_t length = 1;

        if (!strncmp(at, "<email>", 7)) {
            value = gh_directory_escape(event->email, p);
            length = 7;
        }
        else if (!strncmp(at, "<user>", 6)) {
            if (!event->name) {
                return NULL;
            }
            value = gh_directory_escape(event->name, p);
            length = 6;
        }
        made = apr_pstrcat(p, made, apr_pstrndup(p, from, (apr_size_t)(at - from)),
                           value ? value : "<", NULL);
        from = at + length;
    }
    return apr_pstrcat(p, made, from, NULL);
}

static apr_status_t refused(const escrow_event_t *event, const char *why, gh_result_t *result)
{
    return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, RULE,
                          "See what the directory has of that user, and the filter of "
                          "EscrowMailDirectory.",
                          GHNO(1332) "%.200s is not made for: %s", event->email, why);
}

apr_status_t escrow_mail_directory_match(const escrow_event_t *event, apr_pool_t *p,
                                         gh_result_t *result)
{
    static const char *const attributes[] = { "mail", NULL };
    gh_directory_query_t query = { .attributes = attributes };
    const gh_directory_entry_t *entry;
    gh_result_t why;
    apr_status_t rv;

    if (!configured) {
        return APR_SUCCESS;
    }
    query.filter = filter_of(event, p);
    if (!query.filter) {
        return refused(event, "the event has no EnrollmentUserName to look for", result);
    }
    gh_result_clear(&why);
    rv = child ? gh_directory_find(&entry, child, &query, p, &why) : GH_EUNAVAILABLE;
    if (rv == APR_SUCCESS) {
        return APR_SUCCESS;
    }
    if (rv == APR_NOTFOUND) {
        return refused(event, "the directory does not have it", result);
    }
    if (rv == GH_ECONFLICT) {
        return refused(event, "the directory has it more than once", result);
    }
    rv = gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, RULE,
                        "Send the event again later; see whether the directory is up.",
                        GHNO(1333) "the directory of EscrowMailDirectory cannot be asked now: "
                        "%s: %s", why.number, why.message);
    gh_result_cause(result, "%s", why.cause);
    return rv;
}
