/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * All documents of an authority made into its next index.
 *
 * Versions (gh_known_t): the seconds of the CRL (of now, for an index.txt) in which a state was
 * first seen, doubled; odd once a revocation is no longer listed and kept for OCSPRetention. What
 * stays as it was keeps its version, so that signed answers stay good.
 */

#include "mod_ocsp/feeder/ocsp_document.h"

#include <string.h>

#include <apr_hash.h>
#include <apr_strings.h>

#include "log.h"
#include "status.h"
#include "store/certificates.h"

typedef struct {
    ocsp_document_t *const *documents;
    int count;
    const ocsp_reader_authority_t *authority;
    const gh_index_t *before;
    apr_hash_t *revoked;            /* const ocsp_entry_t * by serial */
    apr_hash_t *kept;               /* gh_known_t * by serial: revoked and no longer listed */
    apr_int64_t version;            /* of what changes now */
    apr_time_t now;
    gh_index_builder_t *builder;
    apr_pool_t *p;
    gh_result_t *result;
} build_t;

static apr_int64_t version_at(apr_time_t time)
{
    return (apr_int64_t)apr_time_sec(time) << 1;
}

static gh_bytes_t serial_of(const ocsp_entry_t *entry)
{
    gh_bytes_t serial = { entry->serial, entry->length };

    return serial;
}

static const ocsp_document_t *find_delta(const build_t *build, int source)
{
    int i;

    for (i = 0; i < build->count; ++i) {
        if (build->documents[i]->kind == OCSP_DOCUMENT_DELTA
            && build->documents[i]->source == source) {
            return build->documents[i];
        }
    }
    return NULL;
}

static int same_bytes(gh_bytes_t one, gh_bytes_t other)
{
    return one.length == other.length
           && (!one.length || !memcmp(one.data, other.data, one.length));
}

/**
 * RFC 5280 5.2.4: a delta goes with a complete CRL of the same scope whose number is not below the
 * delta's base, and below its own; a complete CRL that is not behind has it all.
 */
static apr_status_t choose_delta(const build_t *build, const ocsp_document_t *crl,
                                 const ocsp_document_t **delta)
{
    const ocsp_document_t *found = find_delta(build, crl->source);

    *delta = NULL;
    if (!found || (crl->info.number[0]
                   && ocsp_number_compare(crl->info.number, found->info.number) >= 0)) {
        return APR_SUCCESS;
    }
    if (!crl->info.number[0] || ocsp_number_compare(crl->info.number, found->info.base) < 0) {
        return gh_result_fail(build->result, GH_EREFUSED, GH_FAILURE_CONFLICT, RULE_SOURCE,
                              "Wait until the complete CRL is there, or look for a mirror that "
                              "lags behind.", GHNO(0705) "the delta CRL from %s needs a complete "
                              "CRL of number %s or later; that from %s has %s", found->url,
                              found->info.base, crl->url,
                              crl->info.number[0] ? crl->info.number : "no number");
    }
    if (!same_bytes(crl->scope.extension, found->scope.extension)) {
        return gh_result_fail(build->result, GH_EREFUSED, GH_FAILURE_CONFLICT, RULE_SOURCE,
                              "Correct delta= of this OCSPSource.", GHNO(0706) "the delta CRL from "
                              "%s is not for the same certificates as the CRL from %s",
                              found->url, crl->url);
    }
    *delta = found;
    return APR_SUCCESS;
}

static void take_entries(const build_t *build, const ocsp_document_t *document)
{
    apr_uint64_t i;

    for (i = 0; i < document->count; ++i) {
        const ocsp_entry_t *entry = &document->entries[i];

        if (entry->state == GH_KNOWN_REVOKED || entry->state == GH_KNOWN_HELD) {
            apr_hash_set(build->revoked, entry->serial, entry->length, entry);
        }
        else if (document->kind == OCSP_DOCUMENT_DELTA) {
            apr_hash_set(build->revoked, entry->serial, entry->length, NULL);
        }
    }
}

/** Whether the end of a CRL does not count: that of others does, which may not be served then. */
static int outlives(const build_t *build, const ocsp_document_t *document)
{
    int i;

    for (i = 0; document->serve_expired && i < build->count; ++i) {
        if (build->documents[i]->kind == OCSP_DOCUMENT_CRL && !build->documents[i]->serve_expired) {
            return 1;
        }
    }
    return 0;
}

/** Adds the times of a CRL to those of the index: what is known is as old as the oldest. */
static void take_times(const build_t *build, gh_index_info_t *info,
                       const ocsp_document_t *document, int first)
{
    if (first || document->info.this_update < info->this_update) {
        info->this_update = document->info.this_update;
    }
    if (document->info.next_update && !outlives(build, document)
        && (!info->next_update || document->info.next_update < info->next_update)) {
        info->next_update = document->info.next_update;
    }
}

static apr_status_t take_crls(build_t *build, gh_index_info_t *info)
{
    apr_time_t newest = 0;
    int i, first = 1;

    info->this_update = info->next_update = info->expired_on_crl = 0;
    for (i = 0; i < build->count; ++i) {
        const ocsp_document_t *crl = build->documents[i], *delta, *current;
        apr_status_t rv;

        if (crl->kind == OCSP_DOCUMENT_INDEX) {
            take_entries(build, crl);
        }
        if (crl->kind != OCSP_DOCUMENT_CRL) {
            continue;
        }
        if ((rv = choose_delta(build, crl, &delta)) != APR_SUCCESS) {
            return rv;
        }
        take_entries(build, crl);
        if (delta) {
            take_entries(build, delta);
        }
        current = delta ? delta : crl;
        take_times(build, info, current, first);
        if (first || crl->expired_on_crl > info->expired_on_crl || !crl->expired_on_crl) {
            info->expired_on_crl = first || info->expired_on_crl ? crl->expired_on_crl : 0;
        }
        if (current->info.this_update > newest) {
            newest = current->info.this_update;
        }
        first = 0;
    }
    build->version = version_at(first ? build->now : newest);
    info->change = apr_time_sec(first ? build->now : newest);
    return APR_SUCCESS;
}

static int same_status(const gh_known_t *known, const ocsp_entry_t *entry)
{
    return known->state == (gh_known_state_t)entry->state && known->reason == entry->reason
           && known->revoked_at == entry->revoked_at && known->invalid_from == entry->invalid_from
           && !(known->version & 1);
}

static apr_status_t add_entry(const build_t *build, const ocsp_entry_t *entry)
{
    gh_known_t known, before;

    memset(&before, 0, sizeof(before));
    if (build->before) {
        gh_index_find(build->before, serial_of(entry), &before);
    }
    memset(&known, 0, sizeof(known));
    known.state = (gh_known_state_t)entry->state;
    known.reason = entry->reason;
    known.revoked_at = entry->revoked_at;
    known.invalid_from = entry->invalid_from;
    if (known.state == GH_KNOWN_GOOD) {
        /* of one that was held before, and is not any more */
        known.version = before.state == GH_KNOWN_HELD || before.state == GH_KNOWN_REVOKED
                        ? build->version : before.version;
    }
    else {
        known.version = same_status(&before, entry) ? before.version : build->version;
    }
    return gh_index_add(build->builder, serial_of(entry), &known, build->result);
}

/** Adds what says that certificates are good, but for those that are revoked all the same. */
static apr_status_t add_lists(const build_t *build)
{
    apr_uint64_t n;
    int i;

    for (i = 0; i < build->count; ++i) {
        const ocsp_document_t *list = build->documents[i];

        if (list->kind != OCSP_DOCUMENT_SERIALS && list->kind != OCSP_DOCUMENT_INDEX) {
            continue;
        }
        for (n = 0; n < list->count; ++n) {
            const ocsp_entry_t *entry = &list->entries[n];
            apr_status_t rv;

            if (!apr_hash_get(build->revoked, entry->serial, entry->length)
                && !apr_hash_get(build->kept, entry->serial, entry->length)
                && (rv = add_entry(build, entry)) != APR_SUCCESS) {
                return rv;
            }
        }
    }
    return APR_SUCCESS;
}

static apr_status_t add_revoked(const build_t *build)
{
    apr_hash_index_t *at;

    apr_status_t rv;

    for (at = apr_hash_first(build->p, build->revoked); at; at = apr_hash_next(at)) {
        if ((rv = add_entry(build, apr_hash_this_val(at))) != APR_SUCCESS) {
            return rv;
        }
    }
    for (at = apr_hash_first(build->p, build->kept); at; at = apr_hash_next(at)) {
        gh_bytes_t serial = { apr_hash_this_key(at), (apr_size_t)apr_hash_this_key_len(at) };

        rv = gh_index_add(build->builder, serial, apr_hash_this_val(at), build->result);
        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    return APR_SUCCESS;
}

/** A revocation for good that the CRLs do not list any more. */
static apr_status_t keep_dropped(void *baton, gh_bytes_t serial, const gh_known_t *known)
{
    build_t *build = baton;
    gh_known_t kept = *known;

    if (known->state != GH_KNOWN_REVOKED
        || apr_hash_get(build->revoked, serial.data, (apr_ssize_t)serial.length)) {
        return APR_SUCCESS;
    }
    if (!(kept.version & 1)) {
        kept.version = build->version | 1;
    }
    if (build->now - apr_time_from_sec(kept.version >> 1) <= build->authority->retention) {
        apr_hash_set(build->kept, apr_pmemdup(build->p, serial.data, serial.length),
                     (apr_ssize_t)serial.length, apr_pmemdup(build->p, &kept, sizeof(kept)));
    }
    return APR_SUCCESS;
}

static apr_uint64_t expected(const build_t *build)
{
    apr_uint64_t sum = 0;
    int i;

    for (i = 0; i < build->count; ++i) {
        sum += build->documents[i]->count;
    }
    return sum;
}

static int lists_all(const build_t *build)
{
    int i;

    for (i = 0; i < build->count; ++i) {
        if (build->documents[i]->kind == OCSP_DOCUMENT_SERIALS
            || build->documents[i]->kind == OCSP_DOCUMENT_INDEX) {
            return 1;
        }
    }
    return 0;
}

apr_status_t ocsp_documents_build(ocsp_document_t *const *documents, int count,
                                  const ocsp_reader_authority_t *authority,
                                  gh_index_info_t *info, const gh_index_t *before,
                                  const char *path, apr_time_t now, apr_pool_t *ptemp,
                                  gh_result_t *result)
{
    build_t build = { documents, count, authority, before, NULL, NULL, 0, now, NULL, NULL, result };
    apr_status_t rv;

    apr_pool_create(&build.p, ptemp);
    build.revoked = apr_hash_make(build.p);
    build.kept = apr_hash_make(build.p);
    if ((rv = ocsp_scopes_check(documents, count, authority->certificate, result)) != APR_SUCCESS
        || (rv = take_crls(&build, info)) != APR_SUCCESS) {
        goto cleanup;
    }
    info->complete = lists_all(&build);
    if ((rv = gh_index_begin(&build.builder, path, info, expected(&build), build.p, result))
            != APR_SUCCESS
        || (before && authority->retention > 0
            && (rv = gh_index_each_revoked(before, keep_dropped, &build)) != APR_SUCCESS)
        || (rv = add_lists(&build)) != APR_SUCCESS
        || (rv = add_revoked(&build)) != APR_SUCCESS) {
        goto cleanup;
    }
    *info = *gh_index_builder_info(build.builder);
    if (before) {
        gh_index_together(build.builder);
    }
    rv = gh_index_finish(build.builder, result);

cleanup:
    apr_pool_destroy(build.p);
    return rv;
}
