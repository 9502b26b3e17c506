/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_x509_own_h
#define gatehouse_x509_own_h

#include <apr_pools.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "log.h"
#include "result.h"
#include "text.h"

/* What the files of lib/x509 share among themselves: owners and small readers. */

/* Owners, as gh_own_key(): freed by a cleanup of the pool; NULL is allowed and returned. */
X509_NAME *gh_own_name(apr_pool_t *p, X509_NAME *name);
X509_REQ *gh_own_request(apr_pool_t *p, X509_REQ *request);
X509_PUBKEY *gh_own_public_key(apr_pool_t *p, X509_PUBKEY *key);
X509_EXTENSION *gh_own_extension(apr_pool_t *p, X509_EXTENSION *extension);
STACK_OF(X509_EXTENSION) *gh_own_extensions(apr_pool_t *p, STACK_OF(X509_EXTENSION) *extensions);
GENERAL_NAMES *gh_own_general_names(apr_pool_t *p, GENERAL_NAMES *names);

/** Bytes that OpenSSL allocated become the pool's; secret: overwritten before they are freed. */
gh_bytes_t gh_own_bytes(apr_pool_t *p, unsigned char *data, apr_size_t length, int secret);

/** A copy in p, NUL-terminated, overwritten by p's cleanup. */
char *gh_copy_secret(apr_pool_t *p, const void *data, apr_size_t length);

/** A file read whole: its bytes are overwritten by p's cleanup. */
typedef struct {
    gh_bytes_t bytes;           /* with a NUL behind them */
    int exposed;                /* group or others may access it */
} gh_file_t;

apr_status_t gh_file_read(gh_file_t *file, const char *path, apr_pool_t *p, gh_result_t *result);

/** Dotted OID in p; a text that says so for one that is unreasonably long. */
const char *gh_oid_text(const ASN1_OBJECT *object, apr_pool_t *p);

/** Room for a dotted OID of any use; longer ones are refused. */
#define GH_OID_SIZE 128

/** Dotted OID in buffer. @return 0 if it does not fit */
int gh_oid_copy(char buffer[GH_OID_SIZE], const ASN1_OBJECT *object);

/** Value of an extension by its type, with nothing behind it. @return NULL if it is malformed */
void *gh_extension_value(const X509_EXTENSION *extension, const ASN1_ITEM *item);

/** Makes the bytes of a public key those of another one; a parsed form of the target stays as it
 *  is. @return 0 if that fails */
int gh_public_key_set(X509_PUBKEY *target, const X509_PUBKEY *source);

/** A copy with its parsed form, owned by the caller. X509_PUBKEY_dup() of OpenSSL 3.0 forgets that
 *  a BIT STRING may end with zero bits, and every second EC key does. */
X509_PUBKEY *gh_public_key_copy(const X509_PUBKEY *key);

struct gh_csr;
struct gh_plan;

/** The key of a request as it was sent, with its parsed form; borrowed. */
X509_PUBKEY *gh_csr_public_key(const struct gh_csr *csr);

/** As gh_plan_set_key() without encoding the key anew, which costs more than anything else of a
 *  plan. */
apr_status_t gh_plan_set_public_key(struct gh_plan *plan, const X509_PUBKEY *key);
X509_PUBKEY *gh_plan_public_key(const struct gh_plan *plan);
/** The key that gh_plan_set_key() was given, NULL if the key came from a request. */
EVP_PKEY *gh_plan_own_key(const struct gh_plan *plan);

/** Adds an extension made from a value; value may be NULL, which fails. */
apr_status_t gh_plan_add_value(struct gh_plan *plan, int nid, int critical, void *value);

#endif /* gatehouse_x509_own_h */
