/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>
#include <strings.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/objects.h>

#include "x509/own.h"
#include "x509/san.h"
#include "x509/usages.h"

typedef struct {
    const char *name;
    const char *oid;
} named_oid_t;

static const char *const usage_names[GH_USAGE_BITS] = {
    "digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment", "keyAgreement",
    "keyCertSign", "cRLSign"
};

static const named_oid_t ekus[] = {
    { "serverAuth", "1.3.6.1.5.5.7.3.1" },
    { "clientAuth", "1.3.6.1.5.5.7.3.2" },
    { "codeSigning", "1.3.6.1.5.5.7.3.3" },
    { "emailProtection", "1.3.6.1.5.5.7.3.4" },
    { "timeStamping", "1.3.6.1.5.5.7.3.8" },
    { "OCSPSigning", GH_OID_OCSP_SIGNING },
    { "ipsecIKE", "1.3.6.1.5.5.7.3.17" },
    { "documentSigning", "1.3.6.1.5.5.7.3.36" },
    { "anyExtendedKeyUsage", "2.5.29.37.0" },
    { "pkinitClient", "1.3.6.1.5.2.3.4" },
    { "pkinitKDC", "1.3.6.1.5.2.3.5" },
    { "smartcardLogon", "1.3.6.1.4.1.311.20.2.2" },
    { "certificateRequestAgent", "1.3.6.1.4.1.311.20.2.1" },
    { "anyApplicationPolicy", "1.3.6.1.4.1.311.10.12.1" },
    { NULL, NULL }
};

static const named_oid_t extensions[] = {
    { "certificatePolicies", GH_OID_CERTIFICATE_POLICIES },
    { "applicationPolicies", GH_OID_APPLICATION_POLICIES },
    { "smimeCapabilities", GH_OID_SMIME_CAPABILITIES },
    { "certificateTemplate", GH_OID_TEMPLATE },
    { "certificateTemplateName", GH_OID_TEMPLATE_NAME },
    { "sid", GH_OID_SID },
    { "pivInterim", GH_OID_PIV_INTERIM },
    { NULL, NULL }
};

/* What a certificate says in these extensions is decided by the profile and the CA. */
static const char *const decided_here[] = {
    "2.5.29.9",             /* subjectDirectoryAttributes */
    "2.5.29.14",            /* subjectKeyIdentifier */
    "2.5.29.15",            /* keyUsage */
    "2.5.29.17",            /* subjectAltName */
    "2.5.29.18",            /* issuerAltName */
    "2.5.29.19",            /* basicConstraints */
    "2.5.29.30",            /* nameConstraints */
    "2.5.29.31",            /* cRLDistributionPoints */
    "2.5.29.33",            /* policyMappings */
    "2.5.29.35",            /* authorityKeyIdentifier */
    "2.5.29.36",            /* policyConstraints */
    "2.5.29.37",            /* extKeyUsage: ProfileExtendedKeyUsage request */
    "2.5.29.46",            /* freshestCRL */
    "2.5.29.54",            /* inhibitAnyPolicy */
    "1.3.6.1.5.5.7.1.1",    /* authorityInfoAccess */
    "1.3.6.1.5.5.7.1.14",   /* proxyCertInfo */
    "1.3.6.1.5.5.7.48.1.5", /* id-pkix-ocsp-nocheck */
    NULL
};

unsigned int gh_usage_bit(const char *name)
{
    int i;

    if (strcasecmp(name, "contentCommitment") == 0)
        return GH_USAGE_NON_REPUDIATION;
    for (i = 0; i < GH_USAGE_BITS; i++) {
        if (strcasecmp(usage_names[i], name) == 0)
            return 1u << i;
    }
    return 0;
}

const char *gh_usage_names(unsigned int usage, apr_pool_t *p)
{
    const char *names = NULL;
    int i;

    for (i = 0; i < GH_USAGE_BITS; i++) {
        if (usage & (1u << i))
            names = apr_pstrcat(p, names != NULL ? names : "", names != NULL ? " " : "",
                                usage_names[i], NULL);
    }
    return names != NULL ? names : "none";
}

int gh_oid_valid(const char *text)
{
    ASN1_OBJECT *object = NULL;
    int valid = 0;

    if (strlen(text) < GH_OID_SIZE && strspn(text, "0123456789.") == strlen(text)
        && strchr(text, '.') != NULL) {
        char again[GH_OID_SIZE];

        object = OBJ_txt2obj(text, 1);
        valid = object != NULL && gh_oid_copy(again, object) && strcmp(again, text) == 0;
    }
    ASN1_OBJECT_free(object);
    ERR_clear_error();
    return valid;
}

static const char *oid_by_name(const named_oid_t *table, const char *name, apr_pool_t *p)
{
    for (; table->name != NULL; table++) {
        if (strcasecmp(table->name, name) == 0)
            return table->oid;
    }
    return gh_oid_valid(name) ? apr_pstrdup(p, name) : NULL;
}

const char *gh_eku_oid(const char *name, apr_pool_t *p)
{
    return oid_by_name(ekus, name, p);
}

const char *gh_eku_name(const char *oid)
{
    const named_oid_t *entry;

    for (entry = ekus; entry->name != NULL; entry++) {
        if (strcmp(entry->oid, oid) == 0)
            return entry->name;
    }
    return oid;
}

const char *gh_request_extension_oid(const char *name, apr_pool_t *p)
{
    const char *oid = oid_by_name(extensions, name, p);
    int i;

    for (i = 0; oid != NULL && decided_here[i] != NULL; i++) {
        if (strcmp(decided_here[i], oid) == 0)
            return NULL;
    }
    return oid;
}

int gh_texts_contain(const apr_array_header_t *texts, const char *text)
{
    int i;

    for (i = 0; texts != NULL && i < texts->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(texts, i, const char *), text) == 0)
            return 1;
    }
    return 0;
}
