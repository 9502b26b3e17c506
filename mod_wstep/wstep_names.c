/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Whose certificate it is. */

#include <string.h>
#include <strings.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "log.h"
#include "mod_wstep/wstep_asn1.h"
#include "mod_wstep/wstep_template.h"
#include "status.h"
#include "x509/name.h"
#include "x509/own.h"

#define OID_EXTENDED_KEY_USAGE "2.5.29.37"

/** What names are made of. */
typedef struct {
    const wstep_template_t *template;
    const wstep_user_t *user;
    const gh_directory_account_t *account;
    const char *parent;
    X509_NAME *subject;
    GENERAL_NAMES *names;
    STACK_OF(X509_EXTENSION) *extensions;
    wstep_fault_kind_t *kind;
    apr_pool_t *p;
    gh_result_t *result;
} maker_t;

static apr_status_t missing(const maker_t *maker, wstep_fault_kind_t kind, const char *attribute)
{
    *maker->kind = kind;
    return gh_result_fail(maker->result, GH_EREFUSED, GH_FAILURE_REQUEST, "template.names",
                          "Enter it in the directory, or let the template do without.",
                          GHNO(1425) "template %s needs %s, which %s",
                          maker->template->policy->name, attribute,
                          maker->account ? "the account has not" : "only a directory can tell");
}

static apr_status_t unfit(const maker_t *maker, const char *attribute)
{
    ERR_clear_error();
    *maker->kind = WSTEP_FAULT_SUBJECT;
    return gh_result_fail(maker->result, GH_EREFUSED, GH_FAILURE_REQUEST, "template.names",
                          "Correct it in the directory.",
                          GHNO(1426) "no name can be made of the account's %s", attribute);
}

/* Extensions */

static int push_extension(maker_t *maker, const char *oid, unsigned char *der, int length)
{
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    X509_EXTENSION *extension = NULL;

    if (value && object && length > 0 && ASN1_OCTET_STRING_set(value, der, length)) {
        extension = X509_EXTENSION_create_by_OBJ(NULL, object, 0, value);
    }
    if (extension && sk_X509_EXTENSION_push(maker->extensions, extension) <= 0) {
        X509_EXTENSION_free(extension);
        extension = NULL;
    }
    ASN1_OBJECT_free(object);
    ASN1_OCTET_STRING_free(value);
    OPENSSL_free(der);
    return extension != NULL;
}

/** The template by which it was issued, so that clients find it for renewal. */
static int stamp_template(maker_t *maker)
{
    const xcep_template_t *policy = maker->template->policy;
    unsigned char *der = NULL;
    int length = -1;

    if (policy->schema > 1 && policy->oid) {
        WSTEP_TEMPLATE_ID *id = WSTEP_TEMPLATE_ID_new();

        if (id) {
            ASN1_OBJECT_free(id->id);
            id->id = OBJ_txt2obj(policy->oid, 1);
            id->major = ASN1_INTEGER_new();
            id->minor = ASN1_INTEGER_new();
            if (id->id && id->major && id->minor
                && ASN1_INTEGER_set(id->major, policy->major > 0 ? policy->major : 0)
                && ASN1_INTEGER_set(id->minor, policy->minor > 0 ? policy->minor : 0)) {
                length = i2d_WSTEP_TEMPLATE_ID(id, &der);
            }
        }
        WSTEP_TEMPLATE_ID_free(id);
        return push_extension(maker, WSTEP_OID_TEMPLATE, der, length);
    }
    else {
        ASN1_STRING *name = NULL;

        if (ASN1_mbstring_copy(&name, (const unsigned char *)policy->name, -1, MBSTRING_UTF8,
                               B_ASN1_BMPSTRING) > 0) {
            length = i2d_ASN1_BMPSTRING(name, &der);
        }
        ASN1_STRING_free(name);
        return push_extension(maker, WSTEP_OID_TEMPLATE_NAME, der, length);
    }
}

static GENERAL_NAME *other_name(const char *oid, const void *data, int length)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    ASN1_OCTET_STRING *string = ASN1_OCTET_STRING_new();
    ASN1_TYPE *value = ASN1_TYPE_new();

    if (name && object && string && value && ASN1_OCTET_STRING_set(string, data, length)) {
        ASN1_TYPE_set(value, V_ASN1_OCTET_STRING, string);
        string = NULL;
        if (GENERAL_NAME_set0_othername(name, object, value)) {
            return name;
        }
    }
    ASN1_TYPE_free(value);
    ASN1_OCTET_STRING_free(string);
    ASN1_OBJECT_free(object);
    GENERAL_NAME_free(name);
    return NULL;
}

static int push_name(GENERAL_NAMES *names, GENERAL_NAME *name)
{
    if (!name || sk_GENERAL_NAME_push(names, name) <= 0) {
        GENERAL_NAME_free(name);
        return 0;
    }
    return 1;
}

/** What Windows maps a certificate to an account by (MS-WCCE 2.2.2.7.7.4). */
static int stamp_sid(maker_t *maker, const char *sid)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    unsigned char *der = NULL;
    int length = -1;

    if (names && push_name(names, other_name(WSTEP_OID_SID_VALUE, sid, (int)strlen(sid)))) {
        length = i2d_GENERAL_NAMES(names, &der);
    }
    GENERAL_NAMES_free(names);
    return push_extension(maker, WSTEP_OID_SID, der, length);
}

/* Subject */

static apr_status_t add_entry(maker_t *maker, int nid, const char *value)
{
    int type = nid == NID_pkcs9_emailAddress ? MBSTRING_ASC : MBSTRING_UTF8;

    return X509_NAME_add_entry_by_NID(maker->subject, nid, type, (const unsigned char *)value, -1,
                                      -1, 0)
        ? APR_SUCCESS : unfit(maker, OBJ_nid2sn(nid));
}

/** Below the parent, unless the template's own profile says what a subject is. */
static apr_status_t begin_subject(maker_t *maker)
{
    X509_NAME *parent = NULL;

    if (maker->parent && !maker->template->profile) {
        apr_status_t rv = gh_name_parse(&parent, maker->parent, maker->p, maker->result);

        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    maker->subject = gh_own_name(maker->p, parent ? X509_NAME_dup(parent) : X509_NAME_new());
    return maker->subject ? APR_SUCCESS : APR_ENOMEM;
}

static apr_status_t make_subject(maker_t *maker)
{
    unsigned int flags = maker->template->policy->subject_flags;
    const gh_directory_account_t *account = maker->account;
    const char *common = NULL;
    apr_status_t rv;

    if (flags & XCEP_SUBJECT_DN) {
        if (!account) {
            return missing(maker, WSTEP_FAULT_SUBJECT, "distinguishedName");
        }
        return gh_name_parse(&maker->subject, account->dn, maker->p, NULL) == APR_SUCCESS
            ? APR_SUCCESS : unfit(maker, "distinguishedName");
    }
    rv = begin_subject(maker);
    if (rv == APR_SUCCESS && flags & XCEP_SUBJECT_CN) {
        common = account ? account->cn : maker->user->name;
        rv = common ? add_entry(maker, NID_commonName, common)
                    : missing(maker, WSTEP_FAULT_SUBJECT, "cn");
    }
    if (rv == APR_SUCCESS && flags & XCEP_SUBJECT_CN_DNS) {
        rv = account && account->host ? add_entry(maker, NID_commonName, account->host)
                                      : missing(maker, WSTEP_FAULT_NO_DNS, "dNSHostName");
    }
    if (rv == APR_SUCCESS && flags & XCEP_SUBJECT_MAIL) {
        rv = account && account->mail ? add_entry(maker, NID_pkcs9_emailAddress, account->mail)
                                      : missing(maker, WSTEP_FAULT_NO_MAIL, "mail");
    }
    return rv;
}

/* Alternative names */

static apr_status_t add_name(maker_t *maker, const char *type, const char *value,
                             const char *attribute)
{
    GENERAL_NAME *name = NULL;

    if (gh_san_make(&name, type, value, NULL) != APR_SUCCESS || !push_name(maker->names, name)) {
        return unfit(maker, attribute);
    }
    return APR_SUCCESS;
}

/** "example.com" of "cn=pc,dc=example,dc=com"; NULL if there is none. */
static const char *domain_of(const char *dn, apr_pool_t *p)
{
    const char *domain = NULL;
    X509_NAME *name;
    int at = -1;

    if (gh_name_parse(&name, dn, p, NULL) != APR_SUCCESS) {
        return NULL;
    }
    while ((at = X509_NAME_get_index_by_NID(name, NID_domainComponent, at)) >= 0) {
        const ASN1_STRING *value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
        const char *part = apr_pstrmemdup(p, (const char *)ASN1_STRING_get0_data(value),
                                          (apr_size_t)ASN1_STRING_length(value));

        /* least specific first */
        domain = domain ? apr_pstrcat(p, part, ".", domain, NULL) : part;
    }
    return domain;
}

static apr_status_t make_names(maker_t *maker)
{
    unsigned int flags = maker->template->policy->subject_flags;
    const gh_directory_account_t *account = maker->account;
    const char *domain;
    apr_status_t rv = APR_SUCCESS;

    if (flags & (XCEP_SUBJECT_SAN_UPN | XCEP_SUBJECT_SAN_SPN)) {
        rv = account && account->principal
            ? add_name(maker, "upn", account->principal, "userPrincipalName")
            : missing(maker, WSTEP_FAULT_NO_UPN, "userPrincipalName");
    }
    if (rv == APR_SUCCESS && flags & XCEP_SUBJECT_SAN_DNS) {
        rv = account && account->host ? add_name(maker, "dns", account->host, "dNSHostName")
                                      : missing(maker, WSTEP_FAULT_NO_DNS, "dNSHostName");
    }
    if (rv == APR_SUCCESS && flags & XCEP_SUBJECT_SAN_DOMAIN_DNS) {
        domain = account ? domain_of(account->dn, maker->p) : NULL;
        rv = domain ? add_name(maker, "dns", domain, "distinguishedName")
                    : missing(maker, WSTEP_FAULT_NO_DNS, "a domain");
    }
    if (rv == APR_SUCCESS && flags & XCEP_SUBJECT_SAN_MAIL) {
        rv = account && account->mail ? add_name(maker, "email", account->mail, "mail")
                                      : missing(maker, WSTEP_FAULT_NO_MAIL, "mail");
    }
    if (rv == APR_SUCCESS && flags & XCEP_SUBJECT_SAN_GUID) {
        if (!account || !account->guid.length) {
            return missing(maker, WSTEP_FAULT_SUBJECT, "objectGUID");
        }
        rv = push_name(maker->names, other_name(WSTEP_OID_GUID, account->guid.data,
                                                (int)account->guid.length))
            ? APR_SUCCESS : unfit(maker, "objectGUID");
    }
    return rv;
}

/** The request's own, where that is both what the template says and what is allowed. */
static apr_status_t take_supplied(maker_t *maker, const gh_given_names_t **given,
                                  const wstep_token_t *token)
{
    const wstep_template_t *template = maker->template;
    gh_given_names_t *made = apr_pcalloc(maker->p, sizeof(*made));
    GENERAL_NAMES *names = NULL;
    apr_status_t rv = gh_csr_sans(token->csr, &names, maker->p, maker->result);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (!template->supply_subject || (names && !template->supply_names)) {
        *maker->kind = WSTEP_FAULT_DENIED;
        return gh_result_fail(maker->result, GH_EREFUSED, GH_FAILURE_DENIED, "template.supplied",
                              "Ask without it, or let the administrator allow it for the template.",
                              GHNO(1424) "template %s does not take %s from a request",
                              template->policy->name,
                              template->supply_subject ? "alternative names" : "a subject");
    }
    made->subject = gh_csr_subject(token->csr);
    made->names = names;
    made->extensions = maker->extensions;
    *given = made;
    return APR_SUCCESS;
}

/** The usages of the template, so that no request has others, or none, which would be all. */
static int stamp_usages(maker_t *maker)
{
    const apr_array_header_t *list = maker->template->policy->extensions;
    int i, good = 1;

    for (i = 0; good && list && i < list->nelts; ++i) {
        const xcep_extension_t *one = &APR_ARRAY_IDX(list, i, xcep_extension_t);

        if (!strcmp(one->oid, OID_EXTENDED_KEY_USAGE)) {
            good = push_extension(maker, one->oid,
                                  OPENSSL_memdup(one->value.data, one->value.length),
                                  (int)one->value.length);
        }
    }
    return good;
}

static apr_status_t begin(maker_t *maker)
{
    maker->extensions = gh_own_extensions(maker->p, sk_X509_EXTENSION_new_null());
    maker->names = gh_own_general_names(maker->p, GENERAL_NAMES_new());
    if (maker->extensions && maker->names && stamp_template(maker)
        && stamp_usages(maker)) {
        return APR_SUCCESS;
    }
    return gh_result_openssl(maker->result, APR_ENOMEM, GH_FAILURE_INTERNAL, NULL, NULL,
                             GHNO(1428) "the names of a certificate cannot be made");
}

apr_status_t wstep_template_names(const gh_given_names_t **given, const wstep_template_t *template,
                                  const wstep_token_t *token, const wstep_user_t *user,
                                  const gh_directory_account_t *account, const char *parent,
                                  wstep_fault_kind_t *kind, apr_pool_t *p, gh_result_t *result)
{
    maker_t maker = {
        .template = template, .user = user, .account = account, .parent = parent, .kind = kind,
        .p = p, .result = result
    };
    gh_given_names_t *made = apr_pcalloc(p, sizeof(*made));
    apr_status_t rv = begin(&maker);

    *given = NULL;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (template->policy->subject_flags & XCEP_SUBJECT_SUPPLIED) {
        return take_supplied(&maker, given, token);
    }
    rv = make_subject(&maker);
    if (rv == APR_SUCCESS) {
        rv = make_names(&maker);
    }
    if (rv == APR_SUCCESS && account && account->sid && !stamp_sid(&maker, account->sid)) {
        rv = unfit(&maker, "objectSid");
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    made->subject = maker.subject;
    made->names = sk_GENERAL_NAME_num(maker.names) ? maker.names : NULL;
    made->extensions = maker.extensions;
    made->instead = 1;
    *given = made;
    return APR_SUCCESS;
}

/* Renewals */

int wstep_template_has_issued(const wstep_template_t *template, X509 *certificate, apr_pool_t *p)
{
    maker_t maker = { .template = template, .p = p };
    X509_EXTENSION *stamp;
    int at, same = 0;

    if (begin(&maker) != APR_SUCCESS) {
        return 0;
    }
    /* the first is that of the template; of its version 2 the OID counts, not the number behind */
    stamp = sk_X509_EXTENSION_value(maker.extensions, 0);
    at = X509_get_ext_by_OBJ(certificate, X509_EXTENSION_get_object(stamp), -1);
    if (at >= 0 && template->policy->schema > 1 && template->policy->oid) {
        WSTEP_TEMPLATE_ID *mine = gh_extension_value(stamp, ASN1_ITEM_rptr(WSTEP_TEMPLATE_ID));
        WSTEP_TEMPLATE_ID *id = gh_extension_value(X509_get_ext(certificate, at),
                                                   ASN1_ITEM_rptr(WSTEP_TEMPLATE_ID));

        same = mine && id && OBJ_cmp(mine->id, id->id) == 0;
        WSTEP_TEMPLATE_ID_free(mine);
        WSTEP_TEMPLATE_ID_free(id);
    }
    else if (at >= 0) {
        same = ASN1_OCTET_STRING_cmp(X509_EXTENSION_get_data(stamp),
                                     X509_EXTENSION_get_data(X509_get_ext(certificate, at))) == 0;
    }
    ERR_clear_error();
    return same;
}

apr_status_t wstep_template_keep_names(const gh_given_names_t **given,
                                       const wstep_template_t *template, X509 *old, apr_pool_t *p,
                                       gh_result_t *result)
{
    maker_t maker = { .template = template, .p = p, .result = result };
    gh_given_names_t *made = apr_pcalloc(p, sizeof(*made));
    ASN1_OBJECT *object = OBJ_txt2obj(WSTEP_OID_SID, 1);
    apr_status_t rv = begin(&maker);
    int at = object ? X509_get_ext_by_OBJ(old, object, -1) : -1;
    X509_EXTENSION *sid = at >= 0 ? X509_EXTENSION_dup(X509_get_ext(old, at)) : NULL;

    *given = NULL;
    ASN1_OBJECT_free(object);
    if (rv != APR_SUCCESS || (at >= 0 && !sid)
        || (sid && sk_X509_EXTENSION_push(maker.extensions, sid) <= 0)) {
        X509_EXTENSION_free(sid);
        return rv != APR_SUCCESS ? rv : APR_ENOMEM;
    }
    made->subject = X509_get_subject_name(old);
    made->names = gh_own_general_names(p, X509_get_ext_d2i(old, NID_subject_alt_name, NULL, NULL));
    made->extensions = maker.extensions;
    made->instead = 1;
    ERR_clear_error();
    *given = made;
    return APR_SUCCESS;
}
