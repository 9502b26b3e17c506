/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What nobody may ask for unless a location lists it. */

#include <string.h>
#include <strings.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <openssl/objects.h>
#include <openssl/x509v3.h>

#include "status.h"
#include "x509/profile_rules.h"
#include "x509/usages.h"

/** Names that Windows reads a security identifier from, behind the colon. */
#define SID_URI "tag:microsoft.com,2022-09-14:sid:"

struct gh_allowances {
    apr_array_header_t *oids;       /* const char * */
};

/**
 * Usages that give power over others: to sign for everybody, to log on as somebody, to ask for
 * certificates of somebody. Those without an item of their own are lifted by their OID.
 */
static const struct {
    const char *oid;
    const char *item;
} usages[] = {
    { GH_OID_OCSP_SIGNING, "OCSPSigning" },
    { "1.3.6.1.5.5.7.3.8", "timeStamping" },
    { "1.3.6.1.4.1.311.10.3.2", "timeStamping" },                   /* Microsoft time stamping */
    { "2.5.29.37.0", "anyExtendedKeyUsage" },
    { "1.3.6.1.4.1.311.10.12.1", "anyExtendedKeyUsage" },           /* any application policy */
    { "1.3.6.1.5.5.7.3.3", "codeSigning" },
    { "1.3.6.1.4.1.311.2.1.21", "codeSigning" },                    /* individual */
    { "1.3.6.1.4.1.311.2.1.22", "codeSigning" },                    /* commercial */
    { "1.3.6.1.4.1.311.61.1.1", "codeSigning" },                    /* kernel mode */
    { "1.3.6.1.4.1.311.20.2.2", "smartcardLogon" },
    { "1.3.6.1.5.2.3.4", "pkinitClient" },
    { "1.3.6.1.5.2.3.5", "pkinitKDC" },
    { "1.3.6.1.4.1.311.20.2.1", "certificateRequestAgent" },
    { "1.3.6.1.4.1.311.21.6", "1.3.6.1.4.1.311.21.6" },             /* key recovery agent */
    { "1.3.6.1.4.1.311.21.5", "1.3.6.1.4.1.311.21.5" },             /* CA exchange */
    { "1.3.6.1.4.1.311.10.3.1", "1.3.6.1.4.1.311.10.3.1" },         /* trust list signing */
    { "1.3.6.1.4.1.311.10.3.4.1", "1.3.6.1.4.1.311.10.3.4.1" },     /* file recovery */
    { "1.3.6.1.4.1.311.10.3.9", "1.3.6.1.4.1.311.10.3.9" },         /* root list signer */
    { "1.3.6.1.4.1.311.10.3.10", "1.3.6.1.4.1.311.10.3.10" },       /* qualified subordination */
    { "1.3.6.1.4.1.311.67.1.2", "1.3.6.1.4.1.311.67.1.2" },         /* BitLocker recovery agent */
    { "1.3.6.1.5.5.7.3.27", "1.3.6.1.5.5.7.3.27" },                 /* cmcCA */
    { "1.3.6.1.5.5.7.3.28", "1.3.6.1.5.5.7.3.28" },                 /* cmcRA */
    { "1.3.6.1.5.5.7.3.32", "1.3.6.1.5.5.7.3.32" },                 /* cmKGA */
    { NULL, NULL }
};

const char *gh_never_eku(const char *oid)
{
    int i;

    for (i = 0; usages[i].oid != NULL; i++) {
        if (strcmp(usages[i].oid, oid) == 0)
            return usages[i].item;
    }
    return NULL;
}

static int allow_item(apr_array_header_t *oids, const char *item, apr_pool_t *p)
{
    int i, found = 0;

    if (strcasecmp(item, "UPN") == 0 || strcasecmp(item, "SID") == 0) {
        APR_ARRAY_PUSH(oids, const char *) = strcasecmp(item, "UPN") == 0 ? GH_OID_UPN : GH_OID_SID;
        return 1;
    }
    for (i = 0; usages[i].oid != NULL; i++) {
        if (strcasecmp(usages[i].item, item) == 0) {
            APR_ARRAY_PUSH(oids, const char *) = usages[i].oid;
            found = 1;
        }
    }
    if (!found && gh_oid_valid(item) && strcmp(item, "2.5.29.15") != 0
        && strcmp(item, "2.5.29.19") != 0) {
        APR_ARRAY_PUSH(oids, const char *) = apr_pstrdup(p, item);
        found = 1;
    }
    return found;
}

apr_status_t gh_allowances_make(gh_allowances_t **allowances, const apr_array_header_t *items,
                                apr_pool_t *p, gh_result_t *result)
{
    gh_allowances_t *made = apr_palloc(p, sizeof(*made));
    int i;

    *allowances = NULL;
    made->oids = apr_array_make(p, 4, sizeof(const char *));
    for (i = 0; i < items->nelts; i++) {
        const char *item = APR_ARRAY_IDX(items, i, const char *);

        if (!allow_item(made->oids, item, p))
            return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "never",
                                  "items are codeSigning, OCSPSigning, timeStamping, "
                                  "anyExtendedKeyUsage, smartcardLogon, pkinitClient, pkinitKDC, "
                                  "certificateRequestAgent, UPN, SID and dotted OIDs; CA "
                                  "certificates cannot be allowed",
                                  GHNO(0140) "\"%s\" is nothing that a request may be allowed to "
                                  "ask for", item);
    }
    *allowances = made;
    return APR_SUCCESS;
}

int gh_never_is_lifted(const gh_allowances_t *allowances, const char *oid)
{
    return allowances != NULL && gh_texts_contain(allowances->oids, oid);
}

apr_status_t gh_never_check_usage(const char *oid, const char *rule,
                                  const gh_allowances_t *allowances, gh_result_t *result)
{
    const char *item = gh_never_eku(oid);

    if (item == NULL || gh_never_is_lifted(allowances, oid))
        return APR_SUCCESS;
    return GH_REFUSE(result, rule,
                     "ask for another usage, or list it with GatehouseAllowRequest here",
                     GHNO(0141) "no request may ask for the usage %s (%s) here", gh_eku_name(oid),
                     item);
}

/** Decodes percent escapes, so that an escaped form is recognised too. */
static int uri_names_sid(const ASN1_IA5STRING *uri)
{
    const char *data = (const char *)ASN1_STRING_get0_data(uri);
    int length = ASN1_STRING_length(uri), i, n = 0;
    char decoded[sizeof(SID_URI)];

    for (i = 0; i < length && n < (int)sizeof(SID_URI) - 1; i++, n++) {
        decoded[n] = data[i];
        if (data[i] == '%' && i + 2 < length) {
            int high = OPENSSL_hexchar2int((unsigned char)data[i + 1]);
            int low = OPENSSL_hexchar2int((unsigned char)data[i + 2]);

            if (high >= 0 && low >= 0) {
                decoded[n] = (char)(high << 4 | low);
                i += 2;
            }
        }
    }
    return n == (int)sizeof(SID_URI) - 1 && strncasecmp(decoded, SID_URI, (size_t)n) == 0;
}

/** The OID under which an other name is listed, or NULL if it is harmless. */
static const char *listed_other_name(const char *oid)
{
    /* Microsoft's and Kerberos' names say who somebody is at log-on. */
    if (strncmp(oid, "1.3.6.1.4.1.311.", 16) == 0 || strncmp(oid, "1.3.6.1.5.2.", 12) == 0)
        return oid;
    return NULL;
}

/** 1 for the attributes that say who somebody is at log-on, wherever software may look for them */
static int names_account(const char *oid)
{
    return strcmp(oid, GH_OID_UPN) == 0
        || strncmp(oid, GH_OID_SID, strlen(GH_OID_SID)) == 0
        || strncmp(oid, "1.3.6.1.5.2.", 12) == 0;
}

apr_status_t gh_never_check_subject(const X509_NAME *name, const gh_allowances_t *allowances,
                                    apr_pool_t *p, gh_result_t *result)
{
    int i;

    for (i = 0; i < X509_NAME_entry_count(name); i++) {
        X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, i);
        const char *oid = gh_oid_text(X509_NAME_ENTRY_get_object(entry), p);

        if (names_account(oid) && !gh_never_is_lifted(allowances, oid))
            return GH_REFUSE(result, strcmp(oid, GH_OID_UPN) == 0 ? "never.upn" : "never.sid",
                             "leave it out of the name, or list UPN, SID or the OID with "
                             "GatehouseAllowRequest at this location",
                             GHNO(0183) "no request may ask for a name with the attribute %s here",
                             oid);
    }
    return APR_SUCCESS;
}

apr_status_t gh_never_check_name(const GENERAL_NAME *name, const gh_allowances_t *allowances,
                                 apr_pool_t *p, gh_result_t *result)
{
    const char *oid = NULL;
    const char *rule = "never.other-name";

    if (name->type == GEN_DIRNAME)
        return gh_never_check_subject(name->d.directoryName, allowances, p, result);
    if (name->type == GEN_URI && uri_names_sid(name->d.uniformResourceIdentifier))
        oid = GH_OID_SID;
    else if (name->type == GEN_OTHERNAME)
        oid = listed_other_name(gh_oid_text(name->d.otherName->type_id, p));
    if (oid == NULL || gh_never_is_lifted(allowances, oid))
        return APR_SUCCESS;
    if (strcmp(oid, GH_OID_UPN) == 0)
        rule = "never.upn";
    else if (strncmp(oid, GH_OID_SID, strlen(GH_OID_SID)) == 0)
        rule = "never.sid";
    return GH_REFUSE(result, rule,
                     "leave it out, or list UPN, SID or the OID with GatehouseAllowRequest at this "
                     "location",
                     GHNO(0142) "no request may ask for a name of type %s here",
                     strcmp(oid, GH_OID_UPN) == 0 ? "UPN"
                     : name->type == GEN_URI ? "SID (URI)" : oid);
}
