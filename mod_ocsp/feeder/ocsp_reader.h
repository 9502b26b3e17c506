/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_feeder_ocsp_reader_h
#define mod_ocsp_feeder_ocsp_reader_h

#include <apr_pools.h>
#include <apr_time.h>
#include <openssl/x509.h>

#include "result.h"
#include "status/index.h"
#include "text.h"

/*
 * From what was fetched for an authority to its next index. Fetching is the feeder's, to understand
 * it is done here: nothing in these functions knows of URLs (but to name them), timers or httpd.
 *
 * In two steps, so that a bad document never takes the place of a good one: ocsp_document_read()
 * judges one by itself, as soon as it has come; ocsp_documents_build() makes an index of all that
 * an authority has. Both may take seconds (a list of ten million serials) and run on threads of the
 * feeder, for several authorities at a time, for one authority one after the other.
 */

typedef enum {
    OCSP_DOCUMENT_CRL,              /* complete CRL, or one partition of it (RFC 5280 5) */
    OCSP_DOCUMENT_DELTA,            /* delta CRL; belongs to the CRL in whose source it stands */
    OCSP_DOCUMENT_SERIALS,          /* list of all issued serials */
    OCSP_DOCUMENT_INDEX             /* index.txt of "openssl ca" */
} ocsp_document_kind_t;

/** Whose documents they are; the same for all of an authority. */
typedef struct {
    const char *name;
    unsigned char digest[32];       /* ocsp_authority_digest() */
    X509 *certificate;              /* the CA's: issuer, key and keyUsage have to fit */
    int serve_endless;              /* 1: OCSPMaxStale limits what is known, so that a CRL without
                                       nextUpdate is taken up */
    apr_interval_time_t retention;  /* a revocation that later CRLs lack stays for so long after it
                                       was last listed; 0: not at all */
} ocsp_reader_authority_t;

/** What is known of a document, for refusing older ones (also after a restart) and for operators.
 *  Plain memory. */
typedef struct {
    char number[48];                /* cRLNumber as lower-case hex; empty: none */
    char base[48];                  /* BaseCRLNumber of a delta */
    apr_time_t this_update;         /* 0: none */
    apr_time_t next_update;
    apr_uint64_t entries;           /* revoked in a CRL, serials in a list, lines of an index.txt */
    apr_uint64_t strange;           /* entries of a CRL with serial numbers that no certificate may
                                       have, left out */
    unsigned char sha256[32];       /* of its bytes */
} ocsp_document_info_t;

/** A document that was understood and found good: immutable, in the pool it was read into. */
typedef struct ocsp_document ocsp_document_t;

/** What came from a source. */
typedef struct {
    ocsp_document_kind_t kind;
    int source;                     /* 0, 1, ...: number of the OCSPSource line; a delta has that of
                                       its CRL */
    const char *url;                /* for messages, without credentials */
    gh_bytes_t bytes;               /* as fetched: DER or PEM, text; lives until the call returns */
    int shrink;                     /* of a list of serials: percent it may lose at a time */
    int serve_expired;              /* 1: a CRL past its nextUpdate is still taken up */
    int whole;                      /* 1: a CRL whose distribution point is the CA's only one */
    const ocsp_document_info_t *former;     /* what the source had last; NULL: never anything */
} ocsp_fetched_t;

/**
 * Judges a document: form, size of what is in it, and for CRLs issuer, signature, critical
 * extensions, keyUsage of the CA, times, and that number and thisUpdate are not before those of the
 * former one.
 * @param now      for times
 * @param document in p, without references to what was given (but for the authority)
 * @return APR_SUCCESS; GH_EREFUSED for a document that is understood and not acceptable (older,
 *         expired, of another CA, shrunk, wrong signature); APR_EINVAL for what is not understood;
 *         with result saying what to do, and naming the URL
 */
apr_status_t ocsp_document_read(ocsp_document_t **document, const ocsp_fetched_t *fetched,
                                const ocsp_reader_authority_t *authority, apr_time_t now,
                                apr_pool_t *p, gh_result_t *result);

/** Of a document that was read. */
const ocsp_document_info_t *ocsp_document_info(const ocsp_document_t *document);
ocsp_document_kind_t ocsp_document_kind(const ocsp_document_t *document);
int ocsp_document_source(const ocsp_document_t *document);

/**
 * Makes the next index of an authority of all its documents and puts it in its place: partitions
 * merged (each source must be there; scopes that overlap or leave something out are refused as far
 * as they say so), deltas applied to the base they fit, the list of serials joined.
 * @param documents one of each source, and its delta if there is one
 * @param info      authority, generation, synced_at are given; the rest is set, as the index has it
 * @param before    the index in use, or NULL; for retention, and so that versions (gh_known_t) only
 *                  change where status does
 * @param path      gh_view_index_path()
 * @return APR_SUCCESS; GH_EREFUSED, APR_EINVAL with result; errors of the operating system
 */
apr_status_t ocsp_documents_build(ocsp_document_t *const *documents, int count,
                                  const ocsp_reader_authority_t *authority,
                                  gh_index_info_t *info, const gh_index_t *before,
                                  const char *path, apr_time_t now, apr_pool_t *ptemp,
                                  gh_result_t *result);

#endif /* mod_ocsp_feeder_ocsp_reader_h */
