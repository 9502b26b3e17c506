/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The back end of a CA that a worker talks to. Nothing is signed here, and nobody waits here: what
 * is to be done becomes jobs. */

#include "issuer/remote.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/x509v3.h>

#include "issuer/authorisation.h"
#include "issuer/issuer.h"
#include "log.h"
#include "status.h"
#include "store/housekeeping.h"
#include "store/jobs.h"

/** How long a CA is told of a revocation in vain before an operator has to look. */
#define STATUS_DEADLINE 0

/** Names of settings begin so that say when a hold was ended here; so many at a time are looked at
 *  whether they are still of use. */
#define RELEASED "released."
#define RELEASED_BATCH 500

static const char confirmed[] = "the store knows this issuer by this key";

static apr_status_t remote_load(gh_issuer_t *issuer, apr_pool_t *p, gh_result_t *result)
{
    X509 *certificate = gh_issuer_certificate(issuer);

    if (gh_issuer_config(issuer)->key) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "issuer.key",
                              "Remove IssuerKey, or say IssuerBackend local.",
                              GHNO(0774) "issuer %s is behind a gateway but has an IssuerKey",
                              gh_issuer_name(issuer));
    }
    if (gh_issuer_chain(issuer)->nelts == 0
        && !(X509_get_extension_flags(certificate) & EXFLAG_SS)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "issuer.chain",
                              "Add IssuerChain with the CAs above it, up to the root.",
                              GHNO(0775) "issuer %s has no IssuerChain, and its certificate is "
                              "not a root's", gh_issuer_name(issuer));
    }
    gh_issuer_set_data(issuer, NULL);
    return APR_SUCCESS;
}

static apr_status_t remote_child_init(gh_issuer_t *issuer, apr_pool_t *p, gh_result_t *result)
{
    gh_issuer_set_data(issuer, (void *)confirmed);
    return APR_SUCCESS;
}

static int remote_usable(gh_issuer_t *issuer)
{
    return gh_issuer_data(issuer) == confirmed;
}

static apr_status_t remote_enrol(gh_issuer_t *issuer, const gh_authorisation_t *authorisation,
                                 X509 **certificate, apr_pool_t *p, gh_result_t *result)
{
    *certificate = NULL;
    if (!remote_usable(issuer)) {
        return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "issuer.stopped",
                              "See the failure that was logged when httpd started.",
                              GHNO(0776) "issuer %s is not usable in this process",
                              gh_issuer_name(issuer));
    }
    return GH_EPENDING;
}

static const gh_ca_t *remote_crl_signer(gh_issuer_t *issuer)
{
    return NULL;
}

static X509 *remote_next_certificate(gh_issuer_t *issuer)
{
    return NULL;
}

const gh_issuer_backend_t gh_issuer_cagw = {
    .name = "cagw",
    .load = remote_load,
    .child_init = remote_child_init,
    .enrol = remote_enrol,
    .by_worker = 1,
    .usable = remote_usable,
    .crl_signer = remote_crl_signer,
    .crl = gh_issuer_crl_file,
    .next_certificate = remote_next_certificate,
};

const gh_issuer_backend_t gh_issuer_cmp = {
    .name = "cmp",
    .load = remote_load,
    .child_init = remote_child_init,
    .enrol = remote_enrol,
    .by_worker = 1,
    .usable = remote_usable,
    .crl_signer = remote_crl_signer,
    .crl = gh_issuer_crl_file,
    .next_certificate = remote_next_certificate,
};

/* Changes of status */

static apr_status_t tell_ca(gh_transaction_t *transaction, const char *issuer, gh_bytes_t serial,
                            gh_status_t status, int reason, apr_time_t now, apr_pool_t *p)
{
    const char *text = reason == GH_REASON_NONE ? "" : apr_itoa(p, reason);
    gh_job_record_t job = {
        .id = gh_ordered_id(now, p),
        .kind = status == GH_STATUS_REVOKED ? GH_REMOTE_REVOKE
            : status == GH_STATUS_HELD ? GH_REMOTE_HOLD : GH_REMOTE_RELEASE,
        .queue = issuer,
        .subject = gh_hex(p, serial.data, serial.length),
        .payload = { (const unsigned char *)text, strlen(text) },
        .created = now,
        .due = now,
        .deadline = STATUS_DEADLINE,
        .behind = 1                 /* transactions that change a status take turns */
    };

    return job.id ? gh_job_insert(transaction, &job) : APR_EGENERAL;
}

static const char *released_name(const char *issuer, gh_bytes_t serial, apr_pool_t *p)
{
    return apr_pstrcat(p, RELEASED, issuer, ".", gh_hex(p, serial.data, serial.length), NULL);
}

/** For events of the CA that come late, see gh_remote_released(). */
static apr_status_t note_release(gh_transaction_t *transaction, const char *issuer,
                                 gh_bytes_t serial, apr_time_t now, apr_pool_t *p)
{
    apr_array_header_t *found;
    apr_status_t rv = gh_certificate_find(transaction, issuer, serial, &found, p);

    if (rv != APR_SUCCESS || !found->nelts) {
        return rv;
    }
    return gh_setting_put(transaction, released_name(issuer, serial, p),
                          apr_psprintf(p, "%" APR_TIME_T_FMT " %" APR_TIME_T_FMT, now,
                                       APR_ARRAY_IDX(found, 0, gh_certificate_record_t *)
                                       ->not_after));
}

apr_status_t gh_remote_purge(gh_transaction_t *transaction, apr_time_t now, apr_pool_t *p)
{
    apr_array_header_t *names, *values;
    const char *after = NULL;
    apr_status_t rv;
    int i;

    do {
        rv = gh_setting_list(transaction, RELEASED, after, RELEASED_BATCH, &names, &values, p);
        for (i = 0; rv == APR_SUCCESS && i < names->nelts; ++i) {
            const char *end = strchr(APR_ARRAY_IDX(values, i, const char *), ' ');

            after = APR_ARRAY_IDX(names, i, const char *);
            if (end && apr_strtoi64(end, NULL, 10) < now) {
                rv = gh_setting_remove(transaction, after);
            }
        }
    } while (rv == APR_SUCCESS && names->nelts == RELEASED_BATCH);
    return rv;
}

apr_status_t gh_remote_released(gh_transaction_t *transaction, const char *issuer,
                                gh_bytes_t serial, apr_time_t *when, apr_pool_t *p)
{
    const char *text = NULL;
    apr_status_t rv = gh_setting_get(transaction, released_name(issuer, serial, p), &text, p);

    *when = rv == APR_SUCCESS ? apr_strtoi64(text, NULL, 10) : 0;
    return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
}

apr_status_t gh_remote_set_status(gh_transaction_t *transaction, const char *issuer,
                                  gh_bytes_t serial, gh_status_t status, int reason,
                                  apr_time_t invalid_from, apr_time_t now, int *changed,
                                  apr_pool_t *p)
{
    int by_worker = 0;
    apr_status_t rv = gh_certificate_set_status(transaction, issuer, serial, status, reason,
                                                invalid_from, now, changed);

    if (rv == APR_SUCCESS && *changed) {
        rv = gh_issuer_by_worker(transaction, issuer, &by_worker);
    }
    if (rv == APR_SUCCESS && by_worker) {
        rv = tell_ca(transaction, issuer, serial, status, reason, now, p);
    }
    if (rv == APR_SUCCESS && by_worker && status == GH_STATUS_GOOD) {
        rv = note_release(transaction, issuer, serial, now, p);
    }
    return rv;
}
