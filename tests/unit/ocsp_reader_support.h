/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef tests_unit_ocsp_reader_support_h
#define tests_unit_ocsp_reader_support_h

#include "x509_support.h"

#include "mod_ocsp/feeder/ocsp_reader.h"
#include "ocsp_crl_support.h"
#include "status/index.h"

/* Documents of one CA, and the indexes that are made of them. */

#define NOW apr_time_from_sec(1790000000)
#define HOUR apr_time_from_sec(3600)
#define URL "http://crl.example/ca.crl"
#define HOLD 6
#define REMOVE 8

extern gh_ca_t *ca;
extern ocsp_reader_authority_t authority;
extern int serve_expired, whole;        /* options of the source */
extern const crl_t plain;
extern gh_result_t result;              /* of what was called last */

int reader_setup(void **state);

/** What came from the source of a number. */
ocsp_fetched_t fetched(ocsp_document_kind_t kind, int source, gh_bytes_t bytes);

/** Reads one, or fails the test. @param source its number */
ocsp_document_t *read_as(ocsp_document_kind_t kind, int source, gh_bytes_t bytes);

/** One that must not be taken up. @param number that of the message */
void refused(ocsp_document_kind_t kind, gh_bytes_t bytes, const ocsp_document_info_t *former,
             apr_status_t status, const char *number);

/** Makes an index. @param info as the index has it */
apr_status_t build_all(ocsp_document_t **documents, int count, const gh_index_t *before,
                       apr_time_t now, gh_index_info_t *info);
gh_index_t *open_index(void);

/** The same at once, of count documents; or fails the test. */
gh_index_t *built_at(apr_time_t now, const gh_index_t *before, int count, ...);

#define BUILT(...) built_at(NOW, NULL, __VA_ARGS__)

gh_known_t find(const gh_index_t *index, const char *serial);

#define CRL_OF(what, ...)                                                               \
    read_as(OCSP_DOCUMENT_CRL, 0, make_crl(ca, what, (const revoked_t[]){ __VA_ARGS__ },    \
            sizeof((const revoked_t[]){ __VA_ARGS__ }) / sizeof(revoked_t)))

gh_bytes_t text(const char *content);

#endif /* tests_unit_ocsp_reader_support_h */
