/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* ad export: what a forest may have of the templates and issuers of mod_wstep. It writes to
 * standard output alone; an administrator reads it, and puts it into the directory. */

#include "ctl_ad.h"

#include <string.h>

#include <apr_hash.h>
#include <apr_strings.h>
#include <apr_uri.h>
#include <ldap.h>

#include "ctl_commands.h"
#include "log.h"
#include "x509/ca.h"
#include "x509/key.h"

#define RULE "ad export"

/* flags of pKIEnrollmentService: callers are authenticated by Windows' ways, templates of all
 * versions are served */
#define SERVICE_FLAGS 10

#define NAME_MAX_AD 64

const ctl_option_t ctl_ad_export_options[] = {
    { "base", 0, "DN", "of the forest's root domain: DC=corp,DC=example,DC=com" },
    { "tenant", 0, "TENANT", "only what is there for this tenant" },
    { "host", 0, "NAME", "dNSHostName of the services, instead of that of their URLs" },
    { "ntauth", 0, "new|existing", "whether the forest has NTAuthCertificates (existing)" },
    { NULL, 0, NULL, NULL }
};

typedef struct {
    ctl_t *ctl;
    const char *base;
    const char *tenant;             /* NULL: all */
    const char *host;               /* NULL: of the URLs */
    int fresh;                      /* NTAuthCertificates is to be made */
    apr_hash_t *templates;          /* names of those that are offered */
    apr_array_header_t *issuers;    /* const char *: that issue them */
} export_t;

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* An endpoint that issues, of the tenants that are asked for. */
static int concerns(const export_t *export, const json_t *endpoint, const char *issuer)
{
    const char *tenant = text_of(endpoint, "tenant");

    return !json_is_true(json_object_get(endpoint, "policy"))
        && text_of(endpoint, "issuer") != NULL && tenant != NULL
        && (export->tenant == NULL || strcmp(export->tenant, tenant) == 0)
        && (issuer == NULL || strcmp(issuer, text_of(endpoint, "issuer")) == 0);
}

static void collect(export_t *export)
{
    const json_t *endpoint;
    const json_t *name;
    size_t i;
    size_t j;
    int k;

    json_array_foreach(export->ctl->config->wstep, i, endpoint) {
        const char *issuer = text_of(endpoint, "issuer");

        if (!concerns(export, endpoint, NULL)) {
            continue;
        }
        json_array_foreach(json_object_get(endpoint, "templates"), j, name) {
            apr_hash_set(export->templates, json_string_value(name), APR_HASH_KEY_STRING, "");
        }
        for (k = 0; k < export->issuers->nelts; k++) {
            if (strcmp(APR_ARRAY_IDX(export->issuers, k, const char *), issuer) == 0) {
                break;
            }
        }
        if (k == export->issuers->nelts) {
            APR_ARRAY_PUSH(export->issuers, const char *) = issuer;
        }
    }
}

/* How callers show who they are, as X509EnrollmentAuthFlags has it. */
static int authentication_number(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } all[] = { { "anonymous", 1 }, { "kerberos", 2 }, { "usertoken", 4 }, { "certificate", 8 } };
    size_t i;

    for (i = 0; name != NULL && i < sizeof(all) / sizeof(all[0]); i++) {
        if (strcmp(all[i].name, name) == 0) {
            return all[i].number;
        }
    }
    return 0;
}

static void put_servers(const export_t *export, const char *issuer)
{
    const json_t *endpoint;
    size_t i;

    json_array_foreach(export->ctl->config->wstep, i, endpoint) {
        int renewal = json_is_true(json_object_get(endpoint, "renewal_only"));
        int number = authentication_number(text_of(endpoint, "authentication"));

        if (concerns(export, endpoint, issuer) && number > 0) {
            ctl_ldif_text(stdout, "msPKI-Enrollment-Servers",
                          apr_psprintf(export->ctl->p, "%d\n%d\n%d\n%s\n%d",
                                       (int)json_integer_value(json_object_get(endpoint,
                                                                               "priority")),
                                       number, renewal, text_of(endpoint, "url"),
                                       renewal && (number == 1 || number == 8)));
        }
    }
}

static void explain_servers(const export_t *export, const char *issuer)
{
    const json_t *endpoint;
    size_t i;

    ctl_ldif_comment(stdout, "msPKI-Enrollment-Servers has five lines in each value: priority (the "
                     "lowest is tried\nfirst), authentication (1 anonymous, 2 Kerberos, 4 user "
                     "name and password, 8 certificate),\n1 if it is for renewals alone, URL, 1 "
                     "if the old key is enough for a renewal. In the order below:");
    json_array_foreach(export->ctl->config->wstep, i, endpoint) {
        if (concerns(export, endpoint, issuer)) {
            ctl_ldif_comment(stdout, "  %.300s: %s%s", text_of(endpoint, "url"),
                             text_of(endpoint, "authentication"),
                             json_is_true(json_object_get(endpoint, "renewal_only"))
                                 ? ", renewals alone" : "");
        }
    }
}

static const char *host_of(const export_t *export, const char *issuer)
{
    const json_t *endpoint;
    apr_uri_t uri;
    size_t i;

    json_array_foreach(export->ctl->config->wstep, i, endpoint) {
        if (export->host == NULL && concerns(export, endpoint, issuer)
            && apr_uri_parse(export->ctl->p, text_of(endpoint, "url"), &uri) == APR_SUCCESS) {
            return uri.hostname;
        }
    }
    return export->host;
}

static int offers(const export_t *export, const char *issuer, const char *template)
{
    const json_t *endpoint;
    const json_t *name;
    size_t i;
    size_t j;

    json_array_foreach(export->ctl->config->wstep, i, endpoint) {
        if (!concerns(export, endpoint, issuer)) {
            continue;
        }
        json_array_foreach(json_object_get(endpoint, "templates"), j, name) {
            if (strcmp(json_string_value(name), template) == 0) {
                return 1;
            }
        }
    }
    return 0;
}

/* The common name of the CA, or what the configuration calls it. */
static const char *service_name(X509 *certificate, const char *issuer, apr_pool_t *p)
{
    char name[256];
    const char *made;

    if (X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name,
                                  sizeof(name)) <= 0) {
        return ctl_ad_sanitized(issuer, p);
    }
    made = ctl_ad_sanitized(name, p);
    return strlen(made) <= NAME_MAX_AD ? made : ctl_ad_sanitized(issuer, p);
}

static const char *name_text(const X509_NAME *name, apr_pool_t *p)
{
    BIO *out = BIO_new(BIO_s_mem());
    const char *made = "";
    char *data;
    long length;

    if (out != NULL && X509_NAME_print_ex(out, name, 0, XN_FLAG_RFC2253) >= 0) {
        length = BIO_get_mem_data(out, &data);
        made = apr_pstrmemdup(p, data, (apr_size_t)length);
    }
    BIO_free(out);
    return made;
}

static void put_service(const export_t *export, const char *issuer, X509 *certificate)
{
    apr_pool_t *p = export->ctl->p;
    gh_bytes_t der = gh_certificate_der(certificate, p);
    const char *name = service_name(certificate, issuer, p);
    const json_t *template;
    size_t i;

    explain_servers(export, issuer);
    ctl_ldif_begin(stdout, name, "Enrollment Services", export->base, "add", p);
    ctl_ldif_text(stdout, "objectClass", "top");
    ctl_ldif_text(stdout, "objectClass", "pKIEnrollmentService");
    ctl_ldif_text(stdout, "cn", name);
    ctl_ldif_text(stdout, "displayName", name);
    ctl_ldif_text(stdout, "dNSHostName", host_of(export, issuer));
    ctl_ldif_text(stdout, "cACertificateDN", name_text(X509_get_subject_name(certificate), p));
    ctl_ldif_bytes(stdout, "cACertificate", der.data, der.length);
    ctl_ldif_number(stdout, "flags", SERVICE_FLAGS);
    json_array_foreach(export->ctl->config->templates, i, template) {
        if (offers(export, issuer, text_of(template, "name"))) {
            ctl_ldif_text(stdout, "certificateTemplates", text_of(template, "name"));
        }
    }
    put_servers(export, issuer);
    ctl_ldif_end(stdout);
}

/* Of CAs that may vouch for a log-on. */
static void put_ntauth(const export_t *export, const apr_array_header_t *certificates)
{
    apr_pool_t *p = export->ctl->p;
    int i;

    ctl_ldif_comment(stdout, "Domain controllers take certificates for log-on from CAs that are "
                     "listed here alone.\nLeave it out if certificates are for other uses.");
    ctl_ldif_begin(stdout, "NTAuthCertificates", NULL, export->base,
                   export->fresh ? "add" : "modify", p);
    if (export->fresh) {
        ctl_ldif_text(stdout, "objectClass", "top");
        ctl_ldif_text(stdout, "objectClass", "certificationAuthority");
        ctl_ldif_text(stdout, "cn", "NTAuthCertificates");
        /* the schema wants them; a zero byte is what Windows writes */
        ctl_ldif_bytes(stdout, "authorityRevocationList", "", 1);
        ctl_ldif_bytes(stdout, "certificateRevocationList", "", 1);
    }
    else {
        ctl_ldif_text(stdout, "add", "cACertificate");
    }
    for (i = 0; i < certificates->nelts; i++) {
        gh_bytes_t der = gh_certificate_der(APR_ARRAY_IDX(certificates, i, X509 *), p);

        ctl_ldif_bytes(stdout, "cACertificate", der.data, der.length);
    }
    if (!export->fresh) {
        puts("-");
    }
    ctl_ldif_end(stdout);
}

static int put_all(const export_t *export)
{
    apr_pool_t *p = export->ctl->p;
    apr_array_header_t *certificates = apr_array_make(p, 2, sizeof(X509 *));
    const json_t *template;
    gh_result_t result;
    size_t i;
    int k;

    gh_result_clear(&result);
    for (k = 0; k < export->issuers->nelts; k++) {
        const char *name = APR_ARRAY_IDX(export->issuers, k, const char *);
        const ctl_issuer_t *issuer = ctl_config_issuer(export->ctl->config, name);
        apr_status_t rv = issuer == NULL || issuer->certificate == NULL
            ? gh_result_fail(&result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, RULE,
                             "Name it with IssuerCertificate.",
                             GHNO(1504) "the configuration has no certificate of issuer %s", name)
            : gh_certificate_open(&APR_ARRAY_PUSH(certificates, X509 *), issuer->certificate,
                                  issuer->passphrase, p, &result);

        if (rv != APR_SUCCESS) {
            return ctl_fail(&result);
        }
    }
    ctl_ldif_comment(stdout, "What Active Directory may have of the templates and issuers of %s.\n"
                     "Read it, then have it taken up by an administrator of the forest:\n"
                     "  ldifde -i -f FILE      or      ldapmodify -f FILE\n"
                     "An object that is there already is an error: this changes none of them.",
                     export->ctl->conf);
    ctl_ldif_end(stdout);
    json_array_foreach(export->ctl->config->templates, i, template) {
        /* what the directory has is taken from there, and not written */
        if (!json_is_true(json_object_get(template, "in_directory"))
            && apr_hash_get(export->templates, text_of(template, "name"), APR_HASH_KEY_STRING)) {
            ctl_ad_oid(stdout, template, export->base, p);
            ctl_ad_template(stdout, template, export->base, p);
        }
    }
    for (k = 0; k < export->issuers->nelts; k++) {
        put_service(export, APR_ARRAY_IDX(export->issuers, k, const char *),
                    APR_ARRAY_IDX(certificates, k, X509 *));
    }
    put_ntauth(export, certificates);
    return CTL_OK;
}

static int is_dn(const char *text)
{
    LDAPDN dn = NULL;
    int good = text != NULL && *text != '\0'
        && ldap_str2dn(text, &dn, LDAP_DN_FORMAT_LDAPV3) == LDAP_SUCCESS;

    ldap_dnfree(dn);
    return good;
}

int ctl_ad_export(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    export_t export = { ctl, ctl_option(arguments, "base"), ctl_option(arguments, "tenant"),
                        ctl_option(arguments, "host"), 0, apr_hash_make(ctl->p),
                        apr_array_make(ctl->p, 2, sizeof(const char *)) };
    const char *ntauth = ctl_option(arguments, "ntauth");
    gh_result_t result;
    int code;

    gh_result_clear(&result);
    if (!is_dn(export.base)) {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Give the root domain of the forest: --base DC=corp,DC=example,DC=com",
                       GHNO(1505) "--base is missing, or is no distinguished name");
        return ctl_fail_usage(&result);
    }
    if (ntauth != NULL && strcmp(ntauth, "new") != 0 && strcmp(ntauth, "existing") != 0) {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Say whether the forest has the object: --ntauth existing, or new.",
                       GHNO(1506) "--ntauth is new or existing, not %.40s", ntauth);
        return ctl_fail_usage(&result);
    }
    export.fresh = ntauth != NULL && strcmp(ntauth, "new") == 0;
    code = ctl_configure(ctl);
    if (code != CTL_OK) {
        return code;
    }
    collect(&export);
    if (export.issuers->nelts == 0) {
        gh_result_fail(&result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, RULE,
                       "Load mod_wstep and say WSTEPTenant; see gatehousectl urls.",
                       GHNO(1507) "nothing is enrolled for by WSTEP here%s%s",
                       export.tenant != NULL ? " by tenant " : "",
                       export.tenant != NULL ? export.tenant : "");
        return ctl_fail(&result);
    }
    return put_all(&export);
}
