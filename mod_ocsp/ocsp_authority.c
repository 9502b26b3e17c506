/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_ocsp/ocsp_authority.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>

#include "log.h"
#include "mod_ocsp/ocsp_asn1.h"
#include "status.h"
#include "x509/ca.h"

#define DIGESTS 5
#define SERIAL_MAX 20

/** What a CertID says of the CA, with one hash algorithm. */
typedef struct {
    int digest;
    unsigned int length;
    unsigned char name[EVP_MAX_MD_SIZE];
    unsigned char key[EVP_MAX_MD_SIZE];
} hashes_t;

struct ocsp_authority {
    const char *name;
    X509 *certificate;
    ocsp_policy_t policy;
    gh_view_t *view;
    ocsp_signers_t *signers;
    apr_time_t ca_not_before;
    unsigned char identity[32];
    hashes_t hashes[DIGESTS];
};

/* Policies */

static const struct {
    const char *name;
    ocsp_if_unknown_t if_unknown;
    int hours;                      /* of nextUpdate; 0: none */
    ocsp_cutoff_t cutoff;
    int crl;
    int serials;
} policies[] = {
    { "basic", OCSP_UNKNOWN_REVOKED, 0, OCSP_CUTOFF_NONE, 0, 0 },
    { "archiveCutOff", OCSP_UNKNOWN_REVOKED, 0, OCSP_CUTOFF_CA, 0, 0 },
    { "nextUpdate", OCSP_UNKNOWN_REVOKED, 8, OCSP_CUTOFF_NONE, 0, 0 },
    { "archiveCutOffWithNextUpdate", OCSP_UNKNOWN_REVOKED, 8, OCSP_CUTOFF_CA, 0, 0 },
    { "CRLProfile", OCSP_UNKNOWN_GOOD, 0, OCSP_CUTOFF_NONE, 1, 0 },
    { "CRLProfileWithArchiveCutOff", OCSP_UNKNOWN_GOOD, 0, OCSP_CUTOFF_CA, 1, 0 },
    { "SNListProfile", OCSP_UNKNOWN_UNKNOWN, 0, OCSP_CUTOFF_NONE, 1, 1 },
    { "SNListProfileWithArchiveCutOff", OCSP_UNKNOWN_UNKNOWN, 0, OCSP_CUTOFF_CA, 1, 1 }
};

int ocsp_policy_named(const char *name, ocsp_policy_t *policy, int *needs_crl,
                      int *needs_serials)
{
    apr_size_t i;

    for (i = 0; i < sizeof(policies) / sizeof(policies[0]); ++i) {
        if (strcmp(policies[i].name, name) == 0) {
            policy->if_unknown = policies[i].if_unknown;
            policy->next_update = apr_time_from_sec(policies[i].hours * 3600);
            policy->cutoff = policies[i].cutoff;
            *needs_crl = policies[i].crl;
            *needs_serials = policies[i].serials;
            return 1;
        }
    }
    return 0;
}

/* Authorities */

/** Everything that answers depend on beside what is known, as a text that is hashed. */
static int make_identity(ocsp_authority_t *authority, apr_pool_t *p)
{
    const ocsp_policy_t *policy = &authority->policy;
    gh_bytes_t der = gh_certificate_der(authority->certificate, p);
    const char *text = apr_psprintf(p, "%s|%d|%" APR_TIME_T_FMT "|%" APR_TIME_T_FMT "|%d|%"
                                    APR_TIME_T_FMT "|%" APR_TIME_T_FMT "|%d|%" APR_TIME_T_FMT
                                    "|%d|", authority->name, policy->if_unknown,
                                    policy->next_update, policy->unknown_next_update,
                                    policy->cutoff, policy->cutoff_date, policy->cutoff_retention,
                                    policy->by_name, policy->max_stale, policy->serve_expired);
    apr_size_t length = strlen(text);
    unsigned char *all = apr_palloc(p, length + der.length);

    memcpy(all, text, length);
    memcpy(all + length, der.data, der.length);
    return EVP_Digest(all, length + der.length, authority->identity, NULL, EVP_sha256(), NULL);
}

static int make_hashes(ocsp_authority_t *authority)
{
    const EVP_MD *digests[DIGESTS] = { EVP_sha1(), EVP_sha224(), EVP_sha256(), EVP_sha384(),
                                       EVP_sha512() };
    int i;

    for (i = 0; i < DIGESTS; ++i) {
        hashes_t *hashes = &authority->hashes[i];

        hashes->digest = EVP_MD_get_type(digests[i]);
        if (X509_NAME_digest(X509_get_subject_name(authority->certificate), digests[i],
                             hashes->name, &hashes->length) != 1
            || X509_pubkey_digest(authority->certificate, digests[i], hashes->key, NULL) != 1) {
            return 0;
        }
    }
    return 1;
}

ocsp_authority_t *ocsp_authority_create(const char *name, X509 *certificate,
                                        const ocsp_policy_t *policy, apr_pool_t *p,
                                        gh_result_t *result)
{
    ocsp_authority_t *authority = apr_pcalloc(p, sizeof(*authority));

    authority->name = apr_pstrdup(p, name);
    authority->certificate = certificate;
    authority->policy = *policy;
    authority->ca_not_before = gh_certificate_not_before(certificate);
    if (!make_hashes(authority) || !make_identity(authority, p)) {
        gh_result_openssl(result, APR_EGENERAL, GH_FAILURE_INTERNAL, "ocsp.authority", NULL,
                          GHNO(0575) "the names and key of authority %s cannot be hashed", name);
        return NULL;
    }
    return authority;
}

void ocsp_authority_set_view(ocsp_authority_t *authority, gh_view_t *view)
{
    authority->view = view;
}

void ocsp_authority_set_signers(ocsp_authority_t *authority, ocsp_signers_t *signers)
{
    authority->signers = signers;
}

const char *ocsp_authority_name(const ocsp_authority_t *authority)
{
    return authority->name;
}

X509 *ocsp_authority_certificate(const ocsp_authority_t *authority)
{
    return authority->certificate;
}

const ocsp_policy_t *ocsp_authority_policy(const ocsp_authority_t *authority)
{
    return &authority->policy;
}

gh_view_t *ocsp_authority_view(const ocsp_authority_t *authority)
{
    return authority->view;
}

ocsp_signers_t *ocsp_authority_signers(const ocsp_authority_t *authority)
{
    return authority->signers;
}

apr_time_t ocsp_authority_ca_start(const ocsp_authority_t *authority)
{
    return authority->ca_not_before;
}

const unsigned char *ocsp_authority_identity(const ocsp_authority_t *authority)
{
    return authority->identity;
}

static apr_status_t free_id(void *data)
{
    OCSP_ID_free(data);
    return APR_SUCCESS;
}

apr_status_t ocsp_authority_certid(const ocsp_authority_t *authority, int digest,
                                   gh_bytes_t serial, ocsp_certid_t *id, apr_pool_t *p)
{
    const hashes_t *hashes = NULL;
    BIGNUM *number = NULL;
    OCSP_ID *made = NULL;
    apr_status_t rv = APR_ENOMEM;
    int i;

    for (i = 0; i < DIGESTS; ++i) {
        if (authority->hashes[i].digest == digest) {
            hashes = &authority->hashes[i];
        }
    }
    if (!hashes || serial.length < 1 || serial.length > SERIAL_MAX) {
        return APR_EINVAL;
    }
    made = OCSP_ID_new();
    number = BN_bin2bn(serial.data, (int)serial.length, NULL);
    if (!made || !number
        || !X509_ALGOR_set0(made->algorithm, OBJ_nid2obj(digest), V_ASN1_NULL, NULL)
        || !ASN1_OCTET_STRING_set(made->name_hash, hashes->name, (int)hashes->length)
        || !ASN1_OCTET_STRING_set(made->key_hash, hashes->key, (int)hashes->length)
        || !BN_to_ASN1_INTEGER(number, made->serial)) {
        goto cleanup;
    }
    apr_pool_cleanup_register(p, made, free_id, apr_pool_cleanup_null);
    ocsp_certid_read(id, made);
    made = NULL;
    rv = APR_SUCCESS;

cleanup:
    if (rv != APR_SUCCESS) {
        ERR_clear_error();
    }
    BN_free(number);
    OCSP_ID_free(made);
    return rv;
}

/* Sets of authorities: a table by the beginning of the key hash */

typedef struct {
    ocsp_authority_t *authority;    /* NULL: free */
    const hashes_t *hashes;
} place_t;

struct ocsp_authorities {
    apr_uint32_t mask;
    place_t *places;
};

static apr_uint32_t place_of(const unsigned char *key_hash)
{
    apr_uint32_t value;

    memcpy(&value, key_hash, sizeof(value));
    return value;
}

ocsp_authorities_t *ocsp_authorities_create(const apr_array_header_t *authorities, apr_pool_t *p)
{
    ocsp_authorities_t *set = apr_pcalloc(p, sizeof(*set));
    apr_uint32_t size = 16;
    int i, j;

    while (size < (apr_uint32_t)authorities->nelts * DIGESTS * 2) {
        size *= 2;
    }
    set->mask = size - 1;
    set->places = apr_pcalloc(p, size * sizeof(*set->places));
    for (i = 0; i < authorities->nelts; ++i) {
        ocsp_authority_t *authority = APR_ARRAY_IDX(authorities, i, ocsp_authority_t *);

        for (j = 0; j < DIGESTS; ++j) {
            apr_uint32_t at = place_of(authority->hashes[j].key) & set->mask;

            while (set->places[at].authority) {
                at = (at + 1) & set->mask;
            }
            set->places[at].authority = authority;
            set->places[at].hashes = &authority->hashes[j];
        }
    }
    return set;
}

ocsp_authority_t *ocsp_authorities_find(const ocsp_authorities_t *authorities,
                                        const ocsp_certid_t *id)
{
    apr_uint32_t at;

    if (id->digest == NID_undef) {
        return NULL;
    }
    for (at = place_of(id->key_hash.data) & authorities->mask; authorities->places[at].authority;
         at = (at + 1) & authorities->mask) {
        const hashes_t *hashes = authorities->places[at].hashes;

        if (hashes->digest == id->digest
            && memcmp(hashes->key, id->key_hash.data, hashes->length) == 0
            && memcmp(hashes->name, id->name_hash.data, hashes->length) == 0) {
            return authorities->places[at].authority;
        }
    }
    return NULL;
}
