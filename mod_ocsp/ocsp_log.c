/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The log of requests. A flood of bad ones must not fill it: beside level info only some failures
 * of each interval have a line. */

#include <apr_strings.h>
#include <httpd.h>
#include <http_core.h>
#include <http_log.h>
#include <openssl/evp.h>

#include "log.h"
#include "mod_ocsp/ocsp_child.h"

APLOG_USE_MODULE(ocsp);

#define INTERVAL apr_time_from_sec(60)
#define LINES 5

/** Failures of one kind in this process, in the current interval. */
typedef struct {
    apr_time_t since;
    apr_uint32_t lines;
    apr_uint32_t unlogged;
} quota_t;

static quota_t of_clients, of_ours;

/** @param unlogged set to how many of the interval before were not logged
 *  @return 1 if this one gets a line */
static int take_line(quota_t *quota, apr_time_t now, apr_uint32_t *unlogged)
{
    apr_time_t since = __atomic_load_n(&quota->since, __ATOMIC_ACQUIRE);

    *unlogged = 0;
    if ((now - since >= INTERVAL || now < since)
        && __atomic_compare_exchange_n(&quota->since, &since, now, 0, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED)) {
        *unlogged = __atomic_exchange_n(&quota->unlogged, 0, __ATOMIC_ACQ_REL);
        __atomic_store_n(&quota->lines, 0, __ATOMIC_RELEASE);
    }
    if (__atomic_add_fetch(&quota->lines, 1, __ATOMIC_ACQ_REL) <= LINES) {
        return 1;
    }
    __atomic_add_fetch(&quota->unlogged, 1, __ATOMIC_ACQ_REL);
    return 0;
}

/** At info every failure has a line; otherwise some of them, as warnings. @return 0: none */
static int level_of_failure(request_rec *r, quota_t *quota)
{
    apr_uint32_t unlogged;

    if (APLOG_R_IS_LEVEL(r, APLOG_INFO)) {
        return APLOG_INFO;
    }
    if (!APLOG_R_IS_LEVEL(r, APLOG_WARNING) || !take_line(quota, r->request_time, &unlogged)) {
        return 0;
    }
    if (unlogged) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, r->server, GHNO(0761) "%u more OCSP requests "
                     "to this process have failed, without a line each; LogLevel ocsp:info has all",
                     unlogged);
    }
    return APLOG_WARNING;
}

static const char *issuer_of(const ocsp_child_t *child, const ocsp_authority_t *authority)
{
    int i;

    for (i = 0; i < child->config->sections->nelts; ++i) {
        const ocsp_section_t *section = APR_ARRAY_IDX(child->config->sections, i,
                                                      ocsp_section_t *);

        if (section->authority == authority) {
            return section->subject;
        }
    }
    return "";
}

static const char *status_of(const ocsp_answer_t *answer)
{
    static const char *const errors[] = {
        "", "malformedRequest", "internalError", "tryLater", "", "sigRequired", "unauthorized"
    };

    if (answer->ocsp != OCSP_SUCCESSFUL) {
        return errors[answer->ocsp];
    }
    return answer->status == V_OCSP_CERTSTATUS_GOOD ? "good"
        : answer->status == V_OCSP_CERTSTATUS_REVOKED ? "revoked" : "unknown";
}

/** What was asked, and what was said. */
static const char *describe(const request_rec *r, const ocsp_child_t *child,
                            const ocsp_answer_t *answer)
{
    const char *authority = answer->authority ? ocsp_authority_name(answer->authority) : "-";
    const char *issuer = answer->authority ? issuer_of(child, answer->authority) : "-";

    return apr_psprintf(r->pool, "serial %s, authority %s, issuer \"%s\", status %s, reason %d, "
                        "digest %s, nonce %s, requestor %s%s%s, %d certificates, origin %s",
                        answer->serial.length
                        ? gh_hex(r->pool, answer->serial.data, answer->serial.length) : "-",
                        authority, issuer, status_of(answer), answer->reason,
                        answer->digest ? OBJ_nid2sn(answer->digest) : "-",
                        answer->nonce ? "yes" : "no", answer->requestor ? "\"" : "",
                        answer->requestor ? answer->requestor : "none",
                        answer->requestor ? "\"" : "", answer->count,
                        ocsp_counts_origin(answer->origin));
}

void ocsp_log_answer(request_rec *r, const ocsp_child_t *child, const ocsp_answer_t *answer,
                     const gh_result_t *result)
{
    int ours = answer->ocsp == OCSP_TRY_LATER || answer->ocsp == OCSP_INTERNAL_ERROR;
    int level;

    if (answer->ocsp == OCSP_SUCCESSFUL) {
        if (APLOG_R_IS_LEVEL(r, APLOG_INFO)) {
            ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r, GHNO(0762) "OCSP answered: %s",
                          describe(r, child, answer));
        }
        return;
    }
    level = level_of_failure(r, ours ? &of_ours : &of_clients);
    if (level) {
        ap_log_rerror(APLOG_MARK, level, 0, r, GHNO(0763) "OCSP failed: %s; rule %s, %s: %s%s%s%s",
                      describe(r, child, answer), result->rule ? result->rule : "-",
                      result->number, result->message, *result->cause ? ": " : "", result->cause,
                      *result->action ? apr_pstrcat(r->pool, "; ", result->action, NULL) : "");
    }
}

void ocsp_log_refused(request_rec *r, int status, const char *why)
{
    int level = level_of_failure(r, &of_clients);

    if (level) {
        ap_log_rerror(APLOG_MARK, level, 0, r, GHNO(0764) "OCSP refused with HTTP status %d: %s",
                      status, why);
    }
}
