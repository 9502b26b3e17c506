/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_scep_scep_digital_h
#define mod_scep_scep_digital_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>

#include "issuer/issuer.h"
#include "result.h"
#include "x509/profile.h"

/*
 * Digital IDs: what certificates of managed devices look like. Device management supplies values
 * for the variables of the templates; it never supplies names.
 *
 *   cn=<firstname> <lastname>      each variable has to be supplied
 *   <device:lower>, <device:upper> letters of ASCII in that case
 *   <group:default=Staff>          what stands there if it is not supplied, or empty; the last one
 */

#define SCEP_DIGITAL_SCEP   (1u << 0)   /* the device makes its key and enrols with a challenge */
#define SCEP_DIGITAL_P12    (1u << 1)   /* the server makes the key */

/** Most bytes of a template, a value, a reference to a device. */
#define SCEP_DIGITAL_TEMPLATE_MAX   1024
#define SCEP_DIGITAL_VALUE_MAX      256
/** Most variables that a request may supply. */
#define SCEP_DIGITAL_VALUES_MAX     64

/** An alternative name. */
typedef struct {
    const char *type;               /* "dns", "email", "ip", "uri", "upn" */
    const char *text;               /* template */
} scep_digital_name_t;

typedef struct {
    const char *name;
    const char *tenant;
    const char *issuer;
    const char *profile;
    const char *parent;             /* RFC 4514; NULL: nothing is above the RDN */
    const char *rdn;                /* template */
    apr_array_header_t *names;      /* scep_digital_name_t; empty: none */
    apr_interval_time_t lifetime;   /* of challenges, and of keys that wait to be fetched */
    unsigned modes;
    int key_size;                   /* bits of RSA keys that the server makes */
    apr_array_header_t *users;      /* const char *; NULL: whoever may use the service */

    /* once all is configured */
    const gh_profile_t *certificate_profile;
    gh_issuer_t *ca;
    const char *path;               /* of its SCEP endpoint */
    const char *set;                /* of its challenges */
} scep_digital_t;

/** @return 1 if a name has 4 to 64 letters, digits, '_', '-' and blanks, none of these at an end */
int scep_digital_name_valid(const char *name);

/** /scep/<tenant>/<name>/mdm, decoded. */
const char *scep_digital_path(const char *tenant, const char *name, apr_pool_t *p);

/** The set of its challenges, which no other challenge can have. */
const char *scep_digital_set(const char *name, apr_pool_t *p);

/** Looks whether templates and parent make a name. @return what is wrong, in p, or NULL */
const char *scep_digital_check_rdn(const char *text, apr_pool_t *p);
const char *scep_digital_check_parent(const char *text, apr_pool_t *p);
const char *scep_digital_check_name(const char *type, const char *text, apr_pool_t *p);

/** SHA-256 of the certificate of whoever issues now, in hexadecimal digits; NULL: not known. */
const char *scep_digital_fingerprint(const scep_digital_t *digital, apr_pool_t *p);

/** What a requester has to supply. */
typedef struct {
    const char *name;
    int required;                   /* 0: there is a default wherever it stands */
} scep_digital_variable_t;

/** scep_digital_variable_t of all templates, each once, in their order. */
apr_array_header_t *scep_digital_variables(const scep_digital_t *digital, apr_pool_t *p);

/**
 * Makes the names of a certificate.
 * @param values  UTF-8 by variable; what no template has is refused, since it is a mistake
 * @param subject set to RFC 4514 text, in p
 * @param sans    set to const char * elements as gh_san_read() takes them, in p
 * @param normal  set to gh_san_normal() of them; NULL without any
 * @return APR_EINVAL with failure REQUEST naming the variable
 */
apr_status_t scep_digital_make(const char **subject, apr_array_header_t **sans,
                               const char **normal, const scep_digital_t *digital,
                               const apr_table_t *values, apr_pool_t *p, gh_result_t *result);

#endif /* mod_scep_scep_digital_h */
