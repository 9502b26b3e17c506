/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_feeder_ocsp_document_h
#define mod_ocsp_feeder_ocsp_document_h

#include "mod_ocsp/feeder/ocsp_reader.h"
#include "status/known.h"

/* What the readers of the different kinds of document share; see ocsp_reader.h. */

#define RULE_SOURCE "ocsp.source"

/** A serial number with what a document says of it. */
typedef struct {
    unsigned char length;           /* of the serial number: 1 to 20 */
    unsigned char serial[20];
    unsigned char state;            /* gh_known_state_t; GH_KNOWN_NOT: no longer on the CRL */
    signed char reason;
    apr_time_t revoked_at;
    apr_time_t invalid_from;
} ocsp_entry_t;

/** To which certificates a CRL applies: its issuingDistributionPoint (RFC 5280 5.2.5). */
typedef struct {
    gh_bytes_t extension;           /* its value as it came; data NULL: none */
    gh_bytes_t point;               /* DER of the distribution point's name; data NULL: none, or the
                                       only one */
    int only_users;
    int only_authorities;
    int reasons;                    /* bits of ReasonFlags; 0: all */
} ocsp_scope_t;

struct ocsp_document {
    ocsp_document_kind_t kind;
    int source;
    const char *url;
    ocsp_document_info_t info;
    ocsp_scope_t scope;             /* of a CRL */
    apr_time_t expired_on_crl;      /* 0: none */
    int serve_expired;              /* of a CRL */
    ocsp_entry_t *entries;
    apr_uint64_t count;
    apr_uint64_t room;
};

/** Room for one more entry. The entries are malloc()ed and freed by the document's pool.
 *  @return NULL without memory */
ocsp_entry_t *ocsp_document_add(ocsp_document_t *document, gh_bytes_t serial);

/* Each fills a document that has kind, source, url, and sha256 already; as ocsp_document_read(). */
apr_status_t ocsp_read_crl(ocsp_document_t *document, const ocsp_fetched_t *fetched,
                           const ocsp_reader_authority_t *authority, apr_time_t now,
                           apr_pool_t *p, gh_result_t *result);
apr_status_t ocsp_read_serials(ocsp_document_t *document, const ocsp_fetched_t *fetched,
                               apr_pool_t *p, gh_result_t *result);
apr_status_t ocsp_read_index_txt(ocsp_document_t *document, const ocsp_fetched_t *fetched,
                                 apr_pool_t *p, gh_result_t *result);

/**
 * Reads a line without its end; '\r' before it is no part of it.
 * @param at moved behind the line
 * @return 0 at the end; -1 for a line of more than 4096 bytes or with a NUL
 */
int ocsp_read_line(gh_bytes_t *line, const unsigned char **at, const unsigned char *end);

/**
 * The complete CRLs of an authority: no two for the same certificates and reasons, and none of
 * these left out, as far as the CRLs say. They do not say how many distribution points there are:
 * one alone is left out of.
 * @param ca a CA with pathLenConstraint 0 issues to end entities only
 * @return GH_EREFUSED with result
 */
apr_status_t ocsp_scopes_check(ocsp_document_t *const *documents, int count, X509 *ca,
                               gh_result_t *result);

/** @return -1, 0 or 1: order of two numbers in hexadecimal; an empty one is the smallest */
int ocsp_number_compare(const char *one, const char *other);

#endif /* mod_ocsp_feeder_ocsp_document_h */
