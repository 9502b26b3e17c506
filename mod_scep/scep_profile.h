/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_scep_scep_profile_h
#define mod_scep_scep_profile_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <openssl/types.h>

#include "result.h"
#include "text.h"

/*
 * Apple's configuration profiles with which a device enrols by SCEP: a property list with a payload
 * com.apple.security.scep and the CA's certificates.
 */

#define SCEP_PROFILE_TYPE "application/x-apple-aspen-config"

/** An attribute of a subject, or an alternative name: what it is, and its value. */
typedef struct {
    const char *type;
    const char *value;              /* UTF-8 */
} scep_profile_value_t;

typedef struct {
    const char *url;                /* of the SCEP endpoint */
    const char *tenant;
    const char *issuer;             /* what the device sends with GetCACert */
    const char *profile;
    const char *organization;       /* NULL: none */
    const char *subject;            /* RFC 4514 */
    const apr_array_header_t *sans; /* scep_profile_value_t with type "dns", "email", "uri" or
                                       "upn"; NULL: none */
    const char *challenge;
    int key_size;                   /* bits of RSA */
    int key_usage;                  /* SCEP_PROFILE_SIGN and SCEP_PROFILE_ENCRYPT */
    X509 *authority;                /* the CA's certificate */
    const apr_array_header_t *chain;    /* X509 * above it */
} scep_profile_t;

#define SCEP_PROFILE_SIGN       1
#define SCEP_PROFILE_ENCRYPT    4

/** Signs profiles: a certificate with its chain, and its key. */
typedef struct scep_profile_signer scep_profile_signer_t;

/** To be called once per process, before there are threads. */
void scep_profile_prepare(void);

/**
 * A subject from its attributes, most specific first, as RFC 4514 text in p. Values are values,
 * whatever characters they have.
 * @param values scep_profile_value_t
 * @return APR_EINVAL with result: a value that the attribute cannot have
 */
apr_status_t scep_profile_subject(const char **subject, const apr_array_header_t *values,
                                  apr_pool_t *p, gh_result_t *result);

/**
 * Writes a profile as a property list in XML, in p; its identifiers are new each time.
 * @return APR_EINVAL with result: text that XML cannot have; GH_EUNAVAILABLE: no memory, no random
 *         numbers
 */
apr_status_t scep_profile_write(gh_bytes_t *plist, const scep_profile_t *profile, apr_pool_t *p,
                                gh_result_t *result);

/**
 * Opens what signs profiles. Threads may share it.
 * @param certificate path of PEM: the certificate, then what is above it
 * @param key path of a key file; no token
 * @return errors of gh_key_open(); APR_EINVAL if they do not belong together
 */
apr_status_t scep_profile_signer_open(scep_profile_signer_t **signer, const char *certificate,
                                      const char *key, apr_pool_t *p, gh_result_t *result);

/** Signs a profile: DER of CMS SignedData with the profile in it, in p.
 *  @return GH_EUNAVAILABLE with result */
apr_status_t scep_profile_sign(gh_bytes_t *der, gh_bytes_t plist,
                               const scep_profile_signer_t *signer, apr_pool_t *p,
                               gh_result_t *result);

#endif /* mod_scep_scep_profile_h */
