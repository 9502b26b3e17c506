/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_wstep/wstep_holder.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "issuer/issued.h"
#include "log.h"
#include "mod_wstep/wstep_asn1.h"
#include "status.h"
#include "x509/name.h"
#include "x509/own.h"

#define NAME_MAX_LENGTH 256

static const char action[] = "Show a valid certificate of an issuer of this tenant.";

/* The certificate */

static apr_status_t check_issued(const gh_issued_t *issued, apr_time_t now, gh_result_t *result)
{
    if (issued->certificate->status != GH_STATUS_GOOD) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "caller.revoked", action,
                              GHNO(1480) "the certificate of the caller is revoked or held");
    }
    if (now < issued->certificate->not_before || now > issued->certificate->not_after) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "caller.time", action,
                              GHNO(1481) "the certificate of the caller is not valid now");
    }
    return APR_SUCCESS;
}

static apr_status_t check_certificate(X509 *certificate, const wstep_services_t *services,
                                      const wstep_endpoint_t *endpoint, apr_pool_t *p,
                                      gh_result_t *result)
{
    apr_time_t now = apr_time_now();
    gh_issued_t issued;
    int i;

    for (i = 0; i < endpoint->holders->nelts; ++i) {
        apr_status_t rv = gh_issued_find(&issued, certificate,
                                         APR_ARRAY_IDX(endpoint->holders, i, const char *),
                                         endpoint->tenant, now, services->store, p, result);

        if (rv != APR_NOTFOUND) {
            return rv == APR_SUCCESS ? check_issued(&issued, now, result) : rv;
        }
    }
    if (endpoint->trust) {
        apr_status_t rv = wstep_trust_check(endpoint->trust, certificate, result);

        if (rv != APR_NOTFOUND) {
            return rv;
        }
    }
    return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "caller.unknown", action,
                          GHNO(1479) "the certificate of the caller was not issued here");
}

/* Whom it names */

/** A text without surprises, in p; NULL if it is none. */
static const char *text_of(const ASN1_STRING *string, apr_pool_t *p)
{
    const char *data = (const char *)ASN1_STRING_get0_data(string);
    apr_size_t length = (apr_size_t)ASN1_STRING_length(string);
    apr_size_t i;

    if (!length || length > NAME_MAX_LENGTH) {
        return NULL;
    }
    for (i = 0; i < length; ++i) {
        if ((unsigned char)data[i] < ' ' || data[i] == 0x7f) {
            return NULL;
        }
    }
    return apr_pstrmemdup(p, data, length);
}

/** The value of the one otherName of a type. @return NULL if there is none, or several */
static const char *other_name(const GENERAL_NAMES *names, const char *oid, int type,
                              apr_pool_t *p)
{
    const ASN1_STRING *found = NULL;
    char text[GH_OID_SIZE];
    int i;

    for (i = 0; names && i < sk_GENERAL_NAME_num(names); ++i) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

        if (name->type != GEN_OTHERNAME || !gh_oid_copy(text, name->d.otherName->type_id)
            || strcmp(text, oid)) {
            continue;
        }
        if (found || name->d.otherName->value->type != type) {
            return NULL;
        }
        found = name->d.otherName->value->value.asn1_string;
    }
    return found ? text_of(found, p) : NULL;
}

static const char *find_principal(const X509 *certificate, apr_pool_t *p)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    const char *principal = other_name(names, WSTEP_OID_UPN, V_ASN1_UTF8STRING, p);

    GENERAL_NAMES_free(names);
    return principal;
}

/** @param there 1 if there is such an extension, whatever is in it */
static const char *find_sid(const X509 *certificate, int *there, apr_pool_t *p)
{
    ASN1_OBJECT *object = OBJ_txt2obj(WSTEP_OID_SID, 1);
    int at = object ? X509_get_ext_by_OBJ(certificate, object, -1) : -1;
    GENERAL_NAMES *names = at < 0 ? NULL : gh_extension_value(X509_get_ext(certificate, at),
                                                              ASN1_ITEM_rptr(GENERAL_NAMES));
    const char *sid = other_name(names, WSTEP_OID_SID_VALUE, V_ASN1_OCTET_STRING, p);

    *there = at >= 0;
    GENERAL_NAMES_free(names);
    ASN1_OBJECT_free(object);
    return sid;
}

/** "alice@corp.example.com" of an account below dc=corp,dc=example,dc=com. */
static const char *written_of(const gh_directory_account_t *account, apr_pool_t *p)
{
    const char *domain = NULL;
    X509_NAME *name;
    int at = -1;

    if (gh_name_parse(&name, account->dn, p, NULL) != APR_SUCCESS) {
        return account->account;
    }
    while ((at = X509_NAME_get_index_by_NID(name, NID_domainComponent, at)) >= 0) {
        const char *part = text_of(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)), p);

        /* least specific first */
        domain = domain ? apr_pstrcat(p, part, ".", domain, NULL) : part;
    }
    return domain ? apr_pstrcat(p, account->account, "@", domain, NULL) : account->account;
}

static apr_status_t take_account(wstep_caller_t *caller, const wstep_endpoint_t *endpoint,
                                 apr_pool_t *p, gh_result_t *result)
{
    const gh_directory_account_t *account = caller->account;

    if (!account->account) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "caller.account",
                              "Look at the account in the directory.",
                              GHNO(1482) "the account of the caller has no sAMAccountName");
    }
    if (!endpoint->domains || !endpoint->domains->nelts) {
        caller->user.name = caller->user.written = account->account;
        return APR_SUCCESS;
    }
    return wstep_user_parse(&caller->user, written_of(account, p), NULL, endpoint->domains, p,
                            result);
}

/** A certificate that says who somebody is has to be right about it: one that names nobody there
 *  shows nobody, and says so. */
static apr_status_t ask_directory(wstep_caller_t *caller, gh_directory_t *directory,
                                  const wstep_endpoint_t *endpoint, const char *sid,
                                  const char *principal, apr_pool_t *p, gh_result_t *result)
{
    apr_status_t rv = sid
        ? gh_directory_account_by_sid(&caller->account, directory, sid, p, result)
        : gh_directory_account_by_principal(&caller->account, directory, principal, p, result);

    if (rv == APR_NOTFOUND || rv == GH_ECONFLICT) {
        return GH_EREFUSED;
    }
    if (rv == APR_SUCCESS && caller->account->disabled) {
        caller->account = NULL;
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "account.disabled",
                              "Enable the account in the directory.",
                              GHNO(1483) "the account that the caller's certificate names is "
                              "disabled, locked or expired");
    }
    return rv == APR_SUCCESS ? take_account(caller, endpoint, p, result) : rv;
}

static apr_status_t find_user(wstep_caller_t *caller, const wstep_services_t *services,
                              const wstep_endpoint_t *endpoint, apr_pool_t *p, gh_result_t *result)
{
    const char *principal = find_principal(caller->certificate, p);
    gh_result_t ignored;
    int has_sid;
    const char *sid = find_sid(caller->certificate, &has_sid, p);

    /* one that cannot be read does not give way to a weaker name */
    if ((has_sid && !sid) || (!sid && !principal)
        || X509_check_purpose(caller->certificate, X509_PURPOSE_SSL_CLIENT, 0) != 1) {
        return APR_SUCCESS;
    }
    if (services->directory) {
        return ask_directory(caller, services->directory, endpoint, sid, principal, p, result);
    }
    gh_result_clear(&ignored);
    if (principal) {
        /* of a domain that is not ours: nobody whom we know */
        wstep_user_parse(&caller->user, principal, NULL, endpoint->domains, p, &ignored);
    }
    return APR_SUCCESS;
}

apr_status_t wstep_holder_find(wstep_caller_t *caller, const wstep_services_t *services,
                               const wstep_endpoint_t *endpoint, X509 *certificate, apr_pool_t *p,
                               gh_result_t *result)
{
    apr_status_t rv = check_certificate(certificate, services, endpoint, p, result);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    caller->certificate = certificate;
    rv = find_user(caller, services, endpoint, p, result);
    ERR_clear_error();
    if (!caller->user.written) {
        caller->user.written = gh_name_text(X509_get_subject_name(certificate), p);
    }
    return rv;
}
