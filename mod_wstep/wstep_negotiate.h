/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_negotiate_h
#define mod_wstep_wstep_negotiate_h

#include "text.h"

/*
 * What a token of HTTP Negotiate brings (RFC 4559): SPNEGO (RFC 4178) around Kerberos (RFC 4121),
 * or Kerberos alone. Whether it is genuine is not told here: a GSSAPI finds that out. Which
 * encryption its ticket has stands in the clear, and a GSSAPI does not tell of it afterwards.
 */

#define WSTEP_NEGOTIATE_SIZE_MAX 65536

typedef enum {
    WSTEP_NEGOTIATE_MALFORMED = 0,
    WSTEP_NEGOTIATE_NTLM,           /* nothing but NTLM, bare or in SPNEGO */
    WSTEP_NEGOTIATE_OTHER,          /* mechanisms are offered; a ticket may come later */
    WSTEP_NEGOTIATE_KERBEROS        /* a ticket */
} wstep_negotiate_kind_t;

typedef struct {
    wstep_negotiate_kind_t kind;
    long ticket;                    /* encryption types, of the ticket ... */
    long session;                   /* ... and of the session key that the client has shown */
} wstep_negotiate_t;

/** Tells what a token is; never fails. */
void wstep_negotiate_read(wstep_negotiate_t *negotiate, gh_bytes_t token);

/** How an encryption type is to be taken. */
typedef enum {
    WSTEP_ENCRYPTION_GOOD,          /* AES, Camellia */
    WSTEP_ENCRYPTION_OLD,           /* 3DES, RC4 */
    WSTEP_ENCRYPTION_REFUSED        /* DES, weakened RC4, and what is not known */
} wstep_encryption_t;

wstep_encryption_t wstep_negotiate_encryption(long type);

#endif /* mod_wstep_wstep_negotiate_h */
