/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_template_h
#define gatehouse_escrow_template_h

#include <apr_pools.h>

#include "mod_escrow/escrow_pkcs12.h"
#include "result.h"
#include "text.h"

/*
 * Skeletons: documents with tokens in the places of credentials,
 *
 *     {{escrow.signing[0].pkcs12}}
 *
 * of a use (signing, encryption, archived), the position of a credential among those of its use,
 * and what of it: pkcs12, password, certificate, thumbprint, subject, email, not_after. In a
 * mobileconfig, a payload with the position * is repeated for each credential of its use.
 */

typedef struct escrow_template escrow_template_t;

/** Largest skeleton, in bytes; tokens in one; positions go from 0 to below this. */
#define ESCROW_SKELETON_MAX     (1024 * 1024)
#define ESCROW_TOKENS_MAX       256
#define ESCROW_POSITIONS        64

/** The credentials of a device and user, as escrow_credential_t *, by use and position. */
typedef struct {
    apr_array_header_t *uses[ESCROW_USES + 1];      /* by escrow_use_t; NULL: there are none */
} escrow_set_t;

/** @return NULL if there is none at that position */
const escrow_credential_t *escrow_set_get(const escrow_set_t *set, escrow_use_t use,
                                          int position);
void escrow_set_add(escrow_set_t *set, escrow_use_t use, const escrow_credential_t *credential,
                    apr_pool_t *p);

/**
 * Reads a skeleton and finds its tokens.
 * @param format "mobileconfig", "json", "xml" or "text"
 * @return APR_EINVAL with result: another format, not well-formed, a token that is unknown or
 *         stands where none may (with its line and column)
 */
apr_status_t escrow_template_read(escrow_template_t **template, const char *format,
                                  gh_bytes_t skeleton, apr_pool_t *p, gh_result_t *result);

const char *escrow_template_format(const escrow_template_t *template);

/** Which credentials must be there, as escrow/needs.h reads it: "signing,encryption[1]", sorted,
 *  position 0 left out; "" if none. What is repeated needs none. */
const char *escrow_template_needs(const escrow_template_t *template);

/** @return 1 if a credential at this place is named in needs, or one of its use is repeated */
int escrow_template_uses(const escrow_template_t *template, escrow_use_t use, int position);

#endif /* gatehouse_escrow_template_h */
