/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_x509_name_attributes_h
#define gatehouse_x509_name_attributes_h

#include <openssl/x509.h>

#include "result.h"

/* Attributes of distinguished names: how they are called, how they are written. */

typedef struct gh_attribute gh_attribute_t;

struct gh_attribute {
    const char *oid;            /* dotted */
    const char *const *aliases; /* the first is used for printing; ended by NULL */
    unsigned long types;        /* B_ASN1_* that RFC 5280 permits, in our order of preference */
    int max;                    /* upper bound in characters */
    int rank;                   /* where "set" puts it: least specific first */
};

/** Rank of attributes that are not in the table. */
#define GH_ATTRIBUTE_RANK_OTHER 70

/** By alias, case-insensitively, or dotted OID. @return NULL if it is not in the table */
const gh_attribute_t *gh_attribute_by_alias(const char *alias);
const gh_attribute_t *gh_attribute_by_object(const ASN1_OBJECT *object);

/** The object of an alias or dotted OID, owned by the caller. @return NULL for anything else */
ASN1_OBJECT *gh_attribute_object(const char *alias);

/**
 * A value as the attribute wants it, owned by the caller.
 * @param attribute NULL: one that is not in the table
 * @return NULL if it is empty, too long, not UTF-8, has control characters or cannot be written in
 *         the permitted types
 */
ASN1_STRING *gh_attribute_value(const gh_attribute_t *attribute, const char *utf8,
                                apr_size_t length);

/** A copy of a name in which every value is of a permitted type; owned by the caller.
 *  @return NULL with result set if a value is not permitted at all */
X509_NAME *gh_name_conform(const X509_NAME *name, gh_result_t *result);

/** Most RDNs and attributes that a name may have. */
#define GH_NAME_MAX 32

#endif /* gatehouse_x509_name_attributes_h */
