/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The part of check that looks at what CA certificates say of the CA above: where its CRL and its
 * certificate are. */

#include "ctl_verdict.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#define RULE "check"

typedef struct {
    ctl_check_t *check;
    const char *name;               /* of the verdict */
    int ours;                       /* addresses below a public URL of this configuration */
    int missing;
} addresses_t;

/* The name of a file that httpd serves in this folder of a public URL; NULL for other addresses. */
static const char *file_below(const ctl_check_t *check, const char *issuer, const char *folder,
                              const char *address)
{
    const char *base = apr_pstrcat(check->p, ctl_config_public_url(check->ctl->config, issuer,
                                                                   check->p), folder, NULL);

    return strncmp(address, base, strlen(base)) == 0 ? address + strlen(base) : NULL;
}

static int serves(const ctl_issuer_t *issuer, const char *folder, const char *file, apr_pool_t *p)
{
    const char *const crl[] = { ".crl", ".pem", NULL };
    const char *const certificate[] = { ".cer", ".pem", NULL };
    int is_crl = strcmp(folder, "/crl/") == 0;
    const char *const *extension = is_crl ? crl : certificate;

    if (is_crl && strcmp(issuer->backend, "local") != 0 && issuer->crl_file == NULL) {
        return 0;
    }
    for (; *extension != NULL; extension++) {
        if (strcmp(file, apr_pstrcat(p, issuer->name, *extension, NULL)) == 0) {
            return 1;
        }
    }
    return 0;
}

static void check_address(addresses_t *addresses, const char *folder, const char *address)
{
    ctl_check_t *check = addresses->check;
    const apr_array_header_t *issuers = check->ctl->config->issuers;
    gh_result_t result;
    int ours = 0;
    int i;

    for (i = 0; i < issuers->nelts; i++) {
        const ctl_issuer_t *issuer = APR_ARRAY_IDX(issuers, i, const ctl_issuer_t *);
        const char *file = file_below(check, issuer->name, folder, address);

        if (file != NULL && serves(issuer, folder, file, check->p)) {
            addresses->ours++;
            return;
        }
        ours |= file != NULL;
    }
    if (!ours) {
        return;
    }
    addresses->ours++;
    addresses->missing++;
    gh_result_clear(&result);
    gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_NOT_FOUND, RULE,
                   "Add an <Issuer> with that name for the CA above: IssuerBackend offline, "
                   "IssuerCertificate, and IssuerCRL file=PATH.",
                   GHNO(0453) "the CA certificate names %s, which no issuer of this configuration "
                   "serves", address);
    ctl_verdict(check, addresses->name, CTL_VERDICT_WARNING, &result);
}

static void check_names(addresses_t *addresses, const char *folder, const GENERAL_NAME *name)
{
    const unsigned char *data;
    int length;

    if (name->type != GEN_URI) {
        return;
    }
    data = ASN1_STRING_get0_data(name->d.uniformResourceIdentifier);
    length = ASN1_STRING_length(name->d.uniformResourceIdentifier);
    check_address(addresses, folder,
                  apr_pstrmemdup(addresses->check->p, (const char *)data, (apr_size_t)length));
}

static void check_crl_addresses(addresses_t *addresses, X509 *certificate)
{
    CRL_DIST_POINTS *points = X509_get_ext_d2i(certificate, NID_crl_distribution_points, NULL,
                                               NULL);
    int i;
    int k;

    for (i = 0; i < sk_DIST_POINT_num(points); i++) {
        const DIST_POINT_NAME *point = sk_DIST_POINT_value(points, i)->distpoint;

        for (k = 0; point != NULL && point->type == 0
                    && k < sk_GENERAL_NAME_num(point->name.fullname); k++) {
            check_names(addresses, "/crl/", sk_GENERAL_NAME_value(point->name.fullname, k));
        }
    }
    CRL_DIST_POINTS_free(points);
}

static void check_issuer_addresses(addresses_t *addresses, X509 *certificate)
{
    AUTHORITY_INFO_ACCESS *access = X509_get_ext_d2i(certificate, NID_info_access, NULL, NULL);
    int i;

    for (i = 0; i < sk_ACCESS_DESCRIPTION_num(access); i++) {
        const ACCESS_DESCRIPTION *one = sk_ACCESS_DESCRIPTION_value(access, i);

        if (OBJ_obj2nid(one->method) == NID_ad_ca_issuers) {
            check_names(addresses, "/ca/", one->location);
        }
    }
    AUTHORITY_INFO_ACCESS_free(access);
}

void ctl_check_addresses(ctl_check_t *check)
{
    const apr_array_header_t *issuers = check->ctl->config->issuers;
    int i;

    for (i = 0; i < issuers->nelts; i++) {
        const ctl_issuer_t *issuer = APR_ARRAY_IDX(issuers, i, const ctl_issuer_t *);
        X509 *certificate = apr_hash_get(check->certificates, issuer->name, APR_HASH_KEY_STRING);
        addresses_t addresses = { check, apr_pstrcat(check->p, "addresses.", issuer->name, NULL),
                                  0, 0 };

        if (certificate == NULL) {
            continue;
        }
        check_crl_addresses(&addresses, certificate);
        check_issuer_addresses(&addresses, certificate);
        ERR_clear_error();
        if (addresses.ours > 0 && addresses.missing == 0) {
            ctl_verdict_ok(check, addresses.name, "the CRL and certificate that the CA certificate "
                           "names are served here");
        }
    }
}
