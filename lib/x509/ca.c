/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include "status.h"
#include "x509/ca_signer.h"
#include "x509/key.h"
#include "x509/own.h"

#define BACKDATE_DEFAULT    apr_time_from_sec(300)

/** Random octets of a serial number: all but one bit of the first are random. */
#define SERIAL_SIZE         16

/** RFC 7093 section 2 method 1: the leftmost 160 bits. */
#define KEY_IDENTIFIER_SIZE 20

/* What a CA writes into everything it signs */

static int push_uri(GENERAL_NAMES *names, const char *uri)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *string = ASN1_IA5STRING_new();

    if (name == NULL || string == NULL || !ASN1_STRING_set(string, uri, (int)strlen(uri))) {
        ASN1_IA5STRING_free(string);
        GENERAL_NAME_free(name);
        return 0;
    }
    GENERAL_NAME_set0_value(name, GEN_URI, string);
    if (sk_GENERAL_NAME_push(names, name) <= 0) {
        GENERAL_NAME_free(name);
        return 0;
    }
    return 1;
}

static X509_EXTENSION *make_distribution_point(const char *url)
{
    CRL_DIST_POINTS *points = sk_DIST_POINT_new_null();
    DIST_POINT *point = DIST_POINT_new();
    X509_EXTENSION *extension = NULL;

    if (points == NULL || point == NULL || sk_DIST_POINT_push(points, point) <= 0) {
        DIST_POINT_free(point);
        goto cleanup;
    }
    point->distpoint = DIST_POINT_NAME_new();
    if (point->distpoint == NULL)
        goto cleanup;
    point->distpoint->type = 0;
    point->distpoint->name.fullname = GENERAL_NAMES_new();
    if (point->distpoint->name.fullname != NULL
        && push_uri(point->distpoint->name.fullname, url))
        extension = X509V3_EXT_i2d(NID_crl_distribution_points, 0, points);

cleanup:
    sk_DIST_POINT_pop_free(points, DIST_POINT_free);
    return extension;
}

static int push_access(AUTHORITY_INFO_ACCESS *access, int method, const char *url)
{
    GENERAL_NAMES *names;
    ACCESS_DESCRIPTION *description;
    int done = 0;

    if (url == NULL)
        return 1;
    names = GENERAL_NAMES_new();
    description = ACCESS_DESCRIPTION_new();
    if (names != NULL && description != NULL && push_uri(names, url)) {
        GENERAL_NAME_free(description->location);
        description->location = sk_GENERAL_NAME_pop(names);
        ASN1_OBJECT_free(description->method);
        description->method = OBJ_nid2obj(method);
        done = sk_ACCESS_DESCRIPTION_push(access, description) > 0;
    }
    if (!done)
        ACCESS_DESCRIPTION_free(description);
    GENERAL_NAMES_free(names);
    return done;
}

static X509_EXTENSION *make_authority_information(const gh_ca_urls_t *urls)
{
    AUTHORITY_INFO_ACCESS *access = AUTHORITY_INFO_ACCESS_new();
    X509_EXTENSION *extension = NULL;

    if (access != NULL && push_access(access, NID_ad_OCSP, urls->ocsp_url)
        && push_access(access, NID_ad_ca_issuers, urls->issuer_url))
        extension = X509V3_EXT_i2d(NID_info_access, 0, access);
    AUTHORITY_INFO_ACCESS_free(access);
    return extension;
}

/** @return NULL if it cannot be computed */
static ASN1_OCTET_STRING *key_identifier(const X509_PUBKEY *key)
{
    ASN1_OCTET_STRING *identifier = NULL;
    const unsigned char *bits = NULL;
    unsigned char digest[SHA256_DIGEST_LENGTH];
    int length = 0;

    if (X509_PUBKEY_get0_param(NULL, &bits, &length, NULL, key) && length > 0
        && SHA256(bits, (size_t)length, digest) != NULL)
        identifier = ASN1_OCTET_STRING_new();
    if (identifier != NULL && !ASN1_OCTET_STRING_set(identifier, digest, KEY_IDENTIFIER_SIZE)) {
        ASN1_OCTET_STRING_free(identifier);
        identifier = NULL;
    }
    return identifier;
}

static X509_EXTENSION *make_authority_key(X509 *certificate)
{
    const ASN1_OCTET_STRING *own = X509_get0_subject_key_id(certificate);
    AUTHORITY_KEYID *authority = AUTHORITY_KEYID_new();
    X509_EXTENSION *extension = NULL;

    if (authority == NULL)
        return NULL;
    authority->keyid = own != NULL ? ASN1_OCTET_STRING_dup(own)
        : key_identifier(X509_get_X509_PUBKEY(certificate));
    if (authority->keyid != NULL)
        extension = X509V3_EXT_i2d(NID_authority_key_identifier, 0, authority);
    AUTHORITY_KEYID_free(authority);
    return extension;
}

static apr_status_t check_ca(X509 *certificate, EVP_PKEY *key, gh_result_t *result)
{
    apr_uint32_t flags = X509_get_extension_flags(certificate);
    apr_uint32_t usage = X509_get_key_usage(certificate);

    if ((flags & EXFLAG_INVALID) || !(flags & EXFLAG_BCONS) || !(flags & EXFLAG_CA))
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "ca.certificate",
                              "name the certificate of a CA, version 3 with basicConstraints cA",
                              GHNO(0166) "the issuer's certificate is not a CA certificate");
    /* Without the extension every usage is permitted (RFC 5280 6.1.4 (n)). */
    if ((flags & EXFLAG_KUSAGE) && !(usage & KU_KEY_CERT_SIGN))
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "ca.certificate",
                              "use a CA certificate with key usage keyCertSign",
                              GHNO(0167) "the CA certificate lacks key usage keyCertSign");
    if (gh_key_kind(X509_get0_pubkey(certificate)) == NULL)
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_ALGORITHM, "ca.certificate",
                              "use RSA with 2048, 3072 or 4096 bits, P-256, P-384 or P-521",
                              GHNO(0168) "the CA certificate has a key of a kind that is not used "
                              "here");
    if (key != NULL && !gh_key_matches(key, certificate))
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "ca.key",
                              "name the key that belongs to the certificate",
                              GHNO(0169) "the CA's key does not belong to its certificate");
    return APR_SUCCESS;
}

apr_status_t gh_ca_create(gh_ca_t **ca, X509 *certificate, EVP_PKEY *key,
                          const gh_ca_urls_t *urls, apr_pool_t *p, gh_result_t *result)
{
    gh_ca_t *made = apr_pcalloc(p, sizeof(*made));
    long path_length;
    apr_status_t rv = check_ca(certificate, key, result);

    *ca = NULL;
    if (rv != APR_SUCCESS)
        return rv;
    made->certificate = certificate;
    made->key = key;
    made->digest = gh_key_digest(X509_get0_pubkey(certificate));
    path_length = X509_get_pathlen(certificate);
    made->path_length = path_length >= 0 ? (int)path_length : -1;
    made->signs_crls = (X509_get_key_usage(certificate) & KU_CRL_SIGN) != 0;
    made->backdate = urls != NULL && urls->backdate > 0 ? urls->backdate : BACKDATE_DEFAULT;
    made->not_before = gh_certificate_not_before(certificate);
    made->not_after = gh_certificate_not_after(certificate);
    ERR_clear_error();
    made->authority_key = gh_own_extension(p, make_authority_key(certificate));
    if (urls != NULL && urls->crl_url != NULL)
        made->distribution_point = gh_own_extension(p, make_distribution_point(urls->crl_url));
    if (urls != NULL && (urls->ocsp_url != NULL || urls->issuer_url != NULL))
        made->authority_information = gh_own_extension(p, make_authority_information(urls));
    if (made->authority_key == NULL
        || (urls != NULL && urls->crl_url != NULL && made->distribution_point == NULL)
        || (urls != NULL && (urls->ocsp_url != NULL || urls->issuer_url != NULL)
            && made->authority_information == NULL))
        return gh_result_openssl(result, APR_EGENERAL, GH_FAILURE_INTERNAL, "ca", NULL,
                                 GHNO(0170) "the CA's extensions cannot be made");
    *ca = made;
    return APR_SUCCESS;
}

X509 *gh_ca_certificate(const gh_ca_t *ca)
{
    return ca->certificate;
}

/* Building certificates */

/** At least 64 bits must be random after the number was made positive (RFC 5280 4.1.2.2, and the
 *  mass replacements of 2019): here about 127 are. */
static int set_serial(X509 *certificate)
{
    unsigned char serial[SERIAL_SIZE];

    do {
        if (RAND_bytes(serial, sizeof(serial)) != 1)
            return 0;
        serial[0] &= 0x7f;
    } while (serial[0] == 0);
    return ASN1_STRING_set(X509_get_serialNumber(certificate), serial, sizeof(serial));
}

static int set_dates(X509 *certificate, apr_time_t not_before, apr_time_t not_after)
{
    return ASN1_TIME_set(X509_getm_notBefore(certificate), apr_time_sec(not_before)) != NULL
        && ASN1_TIME_set(X509_getm_notAfter(certificate), apr_time_sec(not_after)) != NULL;
}

/**
 * Sets the key of a request without the detour by an encoder and a decoder, which would cost more
 * than all the rest. OpenSSL does not know the key behind the bytes then; a certificate for a key
 * of our own gets it, since it will be used.
 */
static int set_public_key(X509 *certificate, const gh_plan_t *plan)
{
    if (gh_plan_own_key(plan) != NULL)
        return X509_set_pubkey(certificate, gh_plan_own_key(plan));
    return gh_public_key_set(X509_get_X509_PUBKEY(certificate), gh_plan_public_key(plan));
}

static int add_key_identifier(X509 *certificate, const X509_PUBKEY *key)
{
    ASN1_OCTET_STRING *identifier = key_identifier(key);
    X509_EXTENSION *extension = identifier == NULL ? NULL
        : X509V3_EXT_i2d(NID_subject_key_identifier, 0, identifier);
    int done = extension != NULL && X509_add_ext(certificate, extension, -1);

    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(identifier);
    return done;
}

static int add_optional(X509 *certificate, X509_EXTENSION *extension)
{
    return extension == NULL || X509_add_ext(certificate, extension, -1);
}

static int add_plan_extensions(X509 *certificate, const gh_plan_t *plan)
{
    const STACK_OF(X509_EXTENSION) *extensions = gh_plan_extensions(plan);
    int i;

    for (i = 0; i < sk_X509_EXTENSION_num(extensions); i++) {
        if (!X509_add_ext(certificate, sk_X509_EXTENSION_value(extensions, i), -1))
            return 0;
    }
    return 1;
}

/** A certificate without issuer, dates and signature. */
static X509 *begin_certificate(const gh_plan_t *plan)
{
    X509 *certificate = X509_new();
    X509_PUBKEY *key = gh_plan_public_key(plan);

    if (certificate == NULL || key == NULL || !X509_set_version(certificate, X509_VERSION_3)
        || !set_serial(certificate)
        || !X509_set_subject_name(certificate, gh_plan_subject(plan))
        || !set_public_key(certificate, plan) || !add_plan_extensions(certificate, plan)
        || !add_key_identifier(certificate, key)) {
        X509_free(certificate);
        return NULL;
    }
    return certificate;
}

static int plan_path_length(const gh_plan_t *plan)
{
    const STACK_OF(X509_EXTENSION) *extensions = gh_plan_extensions(plan);
    int at = X509v3_get_ext_by_NID(extensions, NID_basic_constraints, -1);
    BASIC_CONSTRAINTS *constraints = at < 0 ? NULL
        : gh_extension_value(X509v3_get_ext(extensions, at), ASN1_ITEM_rptr(BASIC_CONSTRAINTS));
    int length = constraints != NULL && constraints->pathlen != NULL
        ? (int)ASN1_INTEGER_get(constraints->pathlen) : -1;

    BASIC_CONSTRAINTS_free(constraints);
    return length;
}

static apr_status_t check_issue(const gh_ca_t *ca, const gh_plan_t *plan, apr_time_t now,
                                gh_result_t *result)
{
    if (ca->key == NULL)
        return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "ca.key",
                              "see the error log for why the key could not be opened",
                              GHNO(0171) "the CA's key is not available in this process");
    if (now >= ca->not_after || now + apr_time_from_sec(1) < ca->not_before)
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_TIME, "ca.validity",
                              "renew the CA's certificate, or correct the clock",
                              GHNO(0172) "the CA's certificate is not valid at this time");
    if (gh_plan_is_ca(plan)
        && (ca->path_length == 0
            || (ca->path_length > 0 && plan_path_length(plan) >= ca->path_length)))
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, "ca.path-length",
                              "let a CA further up sign it, such as the root",
                              GHNO(0173) "the CA's own path length (%d) does not permit this CA "
                              "certificate", ca->path_length);
    return APR_SUCCESS;
}

static apr_status_t cannot_build(gh_result_t *result)
{
    return gh_result_openssl(result, APR_EGENERAL, GH_FAILURE_INTERNAL, "ca", NULL,
                             GHNO(0174) "a certificate cannot be built");
}

static apr_status_t cannot_sign(gh_result_t *result)
{
    return gh_result_openssl(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "ca.key",
                             "check the token that holds the key",
                             GHNO(0175) "the CA's key fails to sign");
}

/** Signs, and sees whether it is a signature: a token may fail, and OpenSSL 3.0 gives out nonsense
 *  as if nothing had happened when it had no memory to renew the blinding of an RSA key. */
static int sign_certificate(X509 *certificate, EVP_PKEY *key, const EVP_MD *digest,
                            EVP_PKEY *public_key)
{
    return X509_sign(certificate, key, digest) > 0 && X509_verify(certificate, public_key) == 1;
}

apr_status_t gh_ca_issue(X509 **certificate, const gh_ca_t *ca, const gh_plan_t *plan,
                         apr_time_t now, apr_pool_t *p, gh_result_t *result)
{
    apr_interval_time_t validity = gh_plan_validity(plan);
    /* A very short life must not be over before it begins. */
    apr_time_t not_before = now - (ca->backdate < validity / 2 ? ca->backdate : validity / 2);
    apr_time_t not_after = not_before + validity;
    apr_status_t rv = check_issue(ca, plan, now, result);
    X509 *made;

    *certificate = NULL;
    if (rv != APR_SUCCESS)
        return rv;
    if (not_before < ca->not_before)
        not_before = ca->not_before;
    if (not_after > ca->not_after)
        not_after = ca->not_after;
    ERR_clear_error();
    made = gh_own_certificate(p, begin_certificate(plan));
    if (made == NULL || !set_dates(made, not_before, not_after)
        || !X509_set_issuer_name(made, X509_get_subject_name(ca->certificate))
        || !X509_add_ext(made, ca->authority_key, -1)
        || (gh_plan_has_locations(plan)
            && (!add_optional(made, ca->distribution_point)
                || !add_optional(made, ca->authority_information)))
        /* a name of several values that OpenSSL had no memory to sort, see scep_reply.c */
        || ERR_peek_error() != 0)
        return cannot_build(result);
    if (!sign_certificate(made, ca->key, ca->digest, X509_get0_pubkey(ca->certificate)))
        return cannot_sign(result);
    ERR_clear_error();
    *certificate = made;
    return APR_SUCCESS;
}

apr_status_t gh_ca_self_sign(X509 **certificate, const gh_plan_t *plan, EVP_PKEY *key,
                             apr_interval_time_t backdate, apr_time_t now, apr_pool_t *p,
                             gh_result_t *result)
{
    apr_time_t not_before = now - (backdate > 0 ? backdate : BACKDATE_DEFAULT);
    X509 *made;

    *certificate = NULL;
    if (!gh_plan_is_ca(plan))
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, "ca.self-signed",
                              "use a profile with ProfileBasicConstraints ca",
                              GHNO(0176) "only a CA certificate is self-signed here");
    ERR_clear_error();
    made = gh_own_certificate(p, begin_certificate(plan));
    if (made == NULL || !set_dates(made, not_before, not_before + gh_plan_validity(plan))
        || !X509_set_issuer_name(made, gh_plan_subject(plan)))
        return cannot_build(result);
    if (!sign_certificate(made, key, gh_key_digest(key), key))
        return cannot_sign(result);
    ERR_clear_error();
    *certificate = made;
    return APR_SUCCESS;
}
