/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_ocsp_kept_h
#define mod_ocsp_ocsp_kept_h

#include <openssl/evp.h>

#include "mod_ocsp/ocsp_authority.h"
#include "mod_ocsp/ocsp_cache.h"
#include "mod_ocsp/ocsp_engine.h"
#include "mod_ocsp/ocsp_request.h"
#include "mod_ocsp/ocsp_signer.h"

/* Answers that were kept, in the cache of the node and in the second level; see ocsp_engine.h. */

typedef struct ocsp_kept ocsp_kept_t;

/** What an answer is about and who signs it. */
typedef struct {
    const ocsp_authority_t *authority;
    const ocsp_certid_t *id;
    const ocsp_verdict_t *verdict;
    const ocsp_signer_t *signer;    /* NULL: nobody can sign now */
    const ocsp_signer_set_t *set;   /* then: whose signatures still count; NULL: nobody's */
} ocsp_kept_about_t;

/** @return NULL if the MAC cannot be had; options as in ocsp_engine_create() */
ocsp_kept_t *ocsp_kept_create(const ocsp_engine_options_t *options, apr_pool_t *p);

/** Whether there is something to keep for such a CertID. */
int ocsp_kept_possible(const ocsp_kept_t *kept, const ocsp_certid_t *id);

/** Whether a verdict is about what nobody has issued, of which there is no end: such answers have a
 *  part of the node's cache of their own, and are not in the second level. */
int ocsp_kept_of_nobody(const ocsp_verdict_t *verdict);

/** Finds an answer of the node that may be served now. @return 1 if there is one */
int ocsp_kept_find(ocsp_kept_t *kept, const ocsp_kept_about_t *about, apr_time_t now,
                   ocsp_cache_entry_t *entry, gh_bytes_t *value, apr_pool_t *p);

/** Finds one in the second level, and puts it into the node's cache. */
int ocsp_kept_fetch(ocsp_kept_t *kept, const ocsp_kept_about_t *about, apr_time_t now,
                    ocsp_cache_entry_t *entry, gh_bytes_t *value, apr_pool_t *p);

/** Whether the caller is the one who makes an answer again that is due. */
int ocsp_kept_claim(ocsp_kept_t *kept, const ocsp_kept_about_t *about, apr_time_t now);

/** Describes a new answer, and keeps it in both levels.
 *  @param next_update in the answer; 0: none @param entry is filled */
void ocsp_kept_put(ocsp_kept_t *kept, const ocsp_kept_about_t *about, apr_time_t next_update,
                   gh_bytes_t value, apr_time_t now, ocsp_cache_entry_t *entry, apr_pool_t *p);

/** SHA-256, without looking the algorithm up. */
void ocsp_kept_sha256(const ocsp_kept_t *kept, gh_bytes_t value, unsigned char digest[32]);

#endif /* mod_ocsp_ocsp_kept_h */
