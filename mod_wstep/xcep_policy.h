/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_xcep_policy_h
#define mod_wstep_xcep_policy_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>

#include "mod_wstep/wstep_url.h"
#include "text.h"

/* What MS-XCEP tells clients: templates, CAs and OIDs. Filled from httpd's configuration, or from a
 * directory; the attributes have the meaning that they have in Active Directory (MS-CRTD). */

/* msPKI-Certificate-Name-Flag */
#define XCEP_SUBJECT_SUPPLIED 0x1u          /* CT_FLAG_ENROLLEE_SUPPLIES_SUBJECT */
#define XCEP_SUBJECT_OLD 0x8u               /* a renewal keeps the old names */
#define XCEP_SUBJECT_SAN_SUPPLIED 0x10000u
#define XCEP_SUBJECT_SAN_DOMAIN_DNS 0x400000u
#define XCEP_SUBJECT_SAN_SPN 0x800000u
#define XCEP_SUBJECT_SAN_GUID 0x1000000u
#define XCEP_SUBJECT_SAN_UPN 0x2000000u
#define XCEP_SUBJECT_SAN_MAIL 0x4000000u
#define XCEP_SUBJECT_SAN_DNS 0x8000000u
#define XCEP_SUBJECT_CN_DNS 0x10000000u
#define XCEP_SUBJECT_MAIL 0x20000000u
#define XCEP_SUBJECT_CN 0x40000000u
#define XCEP_SUBJECT_DN 0x80000000u

/* flags (generalFlags) */
#define XCEP_GENERAL_MACHINE 0x40u

/* msPKI-Private-Key-Flag */
#define XCEP_KEY_ARCHIVE 0x1u
#define XCEP_KEY_EXPORTABLE 0x10u
#define XCEP_KEY_PROTECT 0x20u

/** An extension that a client puts into its request. */
typedef struct {
    const char *oid;
    int critical;
    gh_bytes_t value;               /* DER of the extension's value */
} xcep_extension_t;

/** A certificate template. Numbers that are -1, and pointers that are NULL, are nil on the wire. */
typedef struct {
    const char *name;               /* cn: unique, letters and digits */
    const char *display_name;       /* NULL: name */
    const char *oid;                /* msPKI-Cert-Template-OID; arcs below 2^32 */
    int schema;                     /* 1 to 3 */
    int major;
    int minor;
    apr_int64_t validity;           /* seconds, above 0 */
    apr_int64_t renewal;            /* seconds before the end at which clients renew, above 0 */
    int minimal_key;                /* bits */
    int key_spec;                   /* 1: exchange, 2: signature; -1: the client's matter */
    apr_int64_t key_usage;          /* msPKI-Key-Usage of CNG; -1 */
    const char *key_algorithm;      /* OID of a public key; NULL */
    const char *hash;               /* OID of a digest, of schema 3; NULL */
    const apr_array_header_t *providers;    /* const char *: names of cryptographic providers */
    const apr_array_header_t *supersedes;   /* const char *: names of templates */
    unsigned int private_key_flags;
    unsigned int subject_flags;
    unsigned int enrolment_flags;
    unsigned int general_flags;
    int ra_signatures;              /* how many an enrolment agent has to add; 0 */
    const apr_array_header_t *ra_ekus;      /* const char * OIDs; may be NULL */
    const char *archive_algorithm;  /* OID of a symmetric algorithm; NULL */
    int archive_length;             /* its bits */
    const apr_array_header_t *extended_usages;      /* const char * OIDs, where the profile leaves
                                                       them to requests; empty, NULL: likewise */
    const apr_array_header_t *extensions;   /* xcep_extension_t; may be NULL */
} xcep_template_t;

/** Where enrolment for a CA is asked for. */
typedef struct {
    wstep_authentication_t authentication;
    const char *uri;
    int priority;                   /* lower is preferred */
    int renewal_only;
} xcep_uri_t;

typedef struct {
    gh_bytes_t certificate;         /* DER */
    const apr_array_header_t *uris; /* xcep_uri_t */
    int enroll;                     /* whether this caller may */
} xcep_ca_t;

/** A template as one caller sees it. */
typedef struct {
    const xcep_template_t *template;
    const apr_array_header_t *cas;  /* int: indexes into the policy's cas */
    int enroll;
    int auto_enroll;
} xcep_entry_t;

/** All that one caller is told. */
typedef struct {
    const char *id;                 /* {GUID} */
    const char *friendly_name;      /* may be NULL */
    int next_update_hours;          /* 0: nil */
    apr_time_t changed;             /* the last change */
    const apr_array_header_t *entries;      /* xcep_entry_t */
    const apr_array_header_t *cas;          /* xcep_ca_t */
} xcep_policy_t;

/** @return 1 if this is an OID that Windows takes in a template: at least two arcs, each below 2^32
 *  (a greater one ends the client's list without a word) */
int xcep_oid_valid(const char *oid);

/**
 * The OID of a template that has none configured: below base, three arcs made of its name, the same
 * on every node.
 */
const char *xcep_oid_make(const char *base, const char *name, apr_pool_t *p);

/** A policy id in the form {8-4-4-4-12} made of a text, the same on every node. */
const char *xcep_id_make(const char *text, apr_pool_t *p);

/** @return 1 if it is a GUID in braces */
int xcep_id_valid(const char *id);

#endif /* mod_wstep_xcep_policy_h */
