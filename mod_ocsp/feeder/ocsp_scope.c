/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Partitions: which certificates and reasons the CRLs of a CA speak of (RFC 5280 5.2.5). */

#include "mod_ocsp/feeder/ocsp_document.h"

#include <string.h>

#include <openssl/x509v3.h>

#include "log.h"
#include "status.h"

/** ReasonFlags of RFC 5280 4.2.1.13: keyCompromise (1) to aACompromise (8). */
#define ALL_REASONS 0x1fe

#define USERS 1
#define AUTHORITIES 2

static int kinds_of(const ocsp_scope_t *scope)
{
    return scope->only_users ? USERS : scope->only_authorities ? AUTHORITIES
                                                               : USERS | AUTHORITIES;
}

static int reasons_of(const ocsp_scope_t *scope)
{
    return scope->reasons ? scope->reasons & ALL_REASONS : ALL_REASONS;
}

static int same_point(const ocsp_scope_t *one, const ocsp_scope_t *other)
{
    return !one->point.data || !other->point.data
           || (one->point.length == other->point.length
               && !memcmp(one->point.data, other->point.data, one->point.length));
}

/** Two that speak of the same certificate and reason: which one would count? */
static int overlap(const ocsp_scope_t *one, const ocsp_scope_t *other)
{
    return same_point(one, other) && (kinds_of(one) & kinds_of(other))
           && (reasons_of(one) & reasons_of(other));
}

/** Reasons that are spoken of for a kind of certificate, by all CRLs for the same point. */
static int reasons_covered(ocsp_document_t *const *documents, int count,
                           const ocsp_scope_t *scope, int kind)
{
    int i, reasons = 0;

    for (i = 0; i < count; ++i) {
        const ocsp_scope_t *other = &documents[i]->scope;

        if (documents[i]->kind == OCSP_DOCUMENT_CRL && same_point(scope, other)
            && (kinds_of(other) & kind)) {
            reasons |= reasons_of(other);
        }
    }
    return reasons;
}

static int kinds_covered(ocsp_document_t *const *documents, int count)
{
    int i, kinds = 0;

    for (i = 0; i < count; ++i) {
        if (documents[i]->kind == OCSP_DOCUMENT_CRL) {
            kinds |= kinds_of(&documents[i]->scope);
        }
    }
    return kinds;
}

/** RFC 5280 5.2.5: a CRL with a distribution point lists the certificates that name this point, and
 *  says nothing of others. One alone for its kind of certificate has others beside it, unless the
 *  administrator knows better. */
static int is_alone(ocsp_document_t *const *documents, int count, const ocsp_document_t *document,
                    int needed)
{
    int i, alone = kinds_of(&document->scope) & needed;

    for (i = 0; i < count; ++i) {
        if (documents[i]->kind == OCSP_DOCUMENT_CRL
            && !same_point(&documents[i]->scope, &document->scope)) {
            alone &= ~kinds_of(&documents[i]->scope);
        }
    }
    return document->scope.point.data && alone;
}

static apr_status_t fail_alone(const ocsp_document_t *document, gh_result_t *result)
{
    return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_CONFLICT, RULE_SOURCE,
                          "If it is the CA's only CRL for these certificates, as with many CAs, "
                          "add partition=whole to its OCSPSource; else add an OCSPSource crl for "
                          "each of the other partitions.",
                          GHNO(0766) "the CRL from %s is for one distribution point "
                          "(issuingDistributionPoint), and there is none for others",
                          document->url);
}

static apr_status_t fail_gap(const char *what, const ocsp_document_t *document,
                             gh_result_t *result)
{
    return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_CONFLICT, RULE_SOURCE,
                          "Add an OCSPSource crl for the other partitions of this CA.",
                          GHNO(0691) "the CRLs of this CA leave out %s; %s is only one partition",
                          what, document->url);
}

apr_status_t ocsp_scopes_check(ocsp_document_t *const *documents, int count, X509 *ca,
                               gh_result_t *result)
{
    int needed = X509_get_pathlen(ca) == 0 ? USERS : USERS | AUTHORITIES;
    const ocsp_document_t *first = NULL;
    int covered = kinds_covered(documents, count);
    int i, j, kind;

    for (i = 0; i < count; ++i) {
        if (documents[i]->kind != OCSP_DOCUMENT_CRL) {
            continue;
        }
        first = first ? first : documents[i];
        for (j = 0; j < i; ++j) {
            if (documents[j]->kind == OCSP_DOCUMENT_CRL
                && overlap(&documents[i]->scope, &documents[j]->scope)) {
                return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_CONFLICT, RULE_SOURCE,
                                      "Remove the OCSPSource that is not needed, or correct its "
                                      "URL.", GHNO(0692) "%s and %s are CRLs for the same "
                                      "certificates", documents[j]->url, documents[i]->url);
            }
        }
        for (kind = USERS; kind <= AUTHORITIES; kind <<= 1) {
            if ((kinds_of(&documents[i]->scope) & kind)
                && reasons_covered(documents, count, &documents[i]->scope, kind)
                   != ALL_REASONS) {
                return fail_gap("some reasons for revocation", documents[i], result);
            }
        }
    }
    for (i = 0; i < count; ++i) {
        if (documents[i]->kind == OCSP_DOCUMENT_CRL
            && is_alone(documents, count, documents[i], needed)) {
            return fail_alone(documents[i], result);
        }
    }
    if (first && (covered & needed) != needed) {
        return fail_gap(covered & USERS ? "certificates of CAs" : "certificates of end entities",
                        first, result);
    }
    return APR_SUCCESS;
}
