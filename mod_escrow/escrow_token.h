/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_token_h
#define gatehouse_escrow_token_h

#include <apr_pools.h>

#include "mod_escrow/escrow_pkcs12.h"

/* Tokens of skeletons: {{escrow.USE[POSITION].MEMBER}}. */

typedef enum {
    ESCROW_MEMBER_PKCS12 = 0,       /* base64 */
    ESCROW_MEMBER_PASSWORD,
    ESCROW_MEMBER_CERTIFICATE,      /* base64 of DER */
    ESCROW_MEMBER_THUMBPRINT,       /* SHA-256, hexadecimal */
    ESCROW_MEMBER_SUBJECT,          /* RFC 4514 */
    ESCROW_MEMBER_EMAIL,            /* empty if there is none */
    ESCROW_MEMBER_NOT_AFTER,        /* RFC 3339 */
    ESCROW_MEMBERS
} escrow_member_t;

/** Position of what is repeated. */
#define ESCROW_EACH (-1)

typedef struct {
    escrow_use_t use;
    int position;                   /* or ESCROW_EACH */
    escrow_member_t member;
    apr_size_t begin;               /* where it stands in its text */
    apr_size_t end;                 /* behind it */
} escrow_token_t;

typedef enum {
    ESCROW_TOKEN_NONE = 0,
    ESCROW_TOKEN_FOUND,
    ESCROW_TOKEN_UNKNOWN            /* begin is set */
} escrow_found_t;

/** Looks for the next token in a text, from an offset. Two braces before a letter or blank begin
 *  one: any that is not known is a mistake of who wrote the skeleton. */
escrow_found_t escrow_token_next(escrow_token_t *token, const char *text, apr_size_t length,
                                 apr_size_t from);

/** @return 1 if its value must not stand in the clear */
int escrow_token_secret(const escrow_token_t *token);

#endif /* gatehouse_escrow_token_h */
