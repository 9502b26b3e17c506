/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Who asks for whom, and whether that is permitted. */

#include <ctype.h>
#include <string.h>

#include <apr_strings.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include "issuer/issued.h"
#include "issuer/renewal.h"
#include "mod_wstep/wstep_asn1.h"
#include "mod_wstep/wstep_exchange.h"
#include "status.h"
#include "x509/own.h"

static apr_status_t refuse(wstep_exchange_t *x, wstep_fault_kind_t kind)
{
    x->kind = kind;
    return GH_EREFUSED;
}

/* Who calls */

apr_status_t wstep_exchange_account(const wstep_services_t *services, const wstep_user_t *user,
                                    const gh_directory_account_t **account, apr_pool_t *p,
                                    gh_result_t *result)
{
    apr_status_t rv;

    *account = NULL;
    if (!services->directory || !user->name) {
        return APR_SUCCESS;
    }
    rv = user->domain && user->principal
        ? gh_directory_account_of_logon(account, services->directory, user->name,
                                        user->domain->name, p, result)
        : gh_directory_account(account, services->directory, user->name,
                               user->domain ? user->domain->name : NULL, p, result);
    if (rv != APR_SUCCESS) {
        return rv == APR_NOTFOUND || rv == GH_ECONFLICT ? GH_EREFUSED : rv;
    }
    if ((*account)->disabled) {
        *account = NULL;
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "account.disabled",
                              "Enable the account in the directory.",
                              GHNO(1432) "the account %.100s is disabled, locked or expired",
                              user->name);
    }
    return APR_SUCCESS;
}

apr_status_t wstep_exchange_caller(const wstep_services_t *services, const wstep_caller_t *caller,
                                   const gh_directory_account_t **account, apr_pool_t *p,
                                   gh_result_t *result)
{
    if (caller->account) {
        *account = caller->account;
        return APR_SUCCESS;
    }
    return wstep_exchange_account(services, &caller->user, account, p, result);
}

static const char *lower(const char *text, apr_pool_t *p)
{
    char *copy = apr_pstrdup(p, text), *at;

    for (at = copy; *at; ++at) {
        *at = (char)tolower((unsigned char)*at);
    }
    return copy;
}

apr_status_t wstep_exchange_owner(wstep_exchange_t *x)
{
    const wstep_user_t *user = &x->caller->user;
    const X509 *certificate = x->caller->certificate;
    unsigned char *digest = apr_palloc(x->p, SHA256_DIGEST_LENGTH);
    unsigned char key[SHA256_DIGEST_LENGTH];
    const char *owner;

    if (!certificate && x->token) {
        certificate = x->token->signer;
    }
    if (x->account && x->account->sid) {
        owner = apr_pstrcat(x->p, "sid:", x->account->sid, NULL);
    }
    else if (user->name) {
        owner = apr_pstrcat(x->p, "user:", lower(user->name, x->p), "@",
                            user->domain ? lower(user->domain->name, x->p) : "", NULL);
    }
    else if (certificate && X509_pubkey_digest(certificate, EVP_sha256(), key, NULL)) {
        owner = apr_pstrcat(x->p, "key:", gh_hex(x->p, key, sizeof(key)), NULL);
    }
    else {
        return gh_result_fail(x->result, GH_EREFUSED, GH_FAILURE_NOT_FOUND, "request.id",
                              "Ask with the same authentication as for the request.",
                              GHNO(1433) "nobody has shown whose request this is");
    }
    SHA256((const unsigned char *)owner, strlen(owner), digest);
    x->owner.data = digest;
    x->owner.length = SHA256_DIGEST_LENGTH;
    return APR_SUCCESS;
}

/* Which way */

static int has_usage(X509 *certificate, const char *oid)
{
    EXTENDED_KEY_USAGE *usages = X509_get_ext_d2i(certificate, NID_ext_key_usage, NULL, NULL);
    char text[GH_OID_SIZE];
    int i, found = 0;

    for (i = 0; i < sk_ASN1_OBJECT_num(usages); ++i) {
        found |= gh_oid_copy(text, sk_ASN1_OBJECT_value(usages, i)) && !strcmp(text, oid);
    }
    EXTENDED_KEY_USAGE_free(usages);
    return found;
}

static wstep_way_t way_of(const wstep_token_t *token)
{
    if (!token->signer) {
        return WSTEP_NEW;
    }
    /* who names the certificate that he renews, renews it; an agent's own renewal does so too */
    if (token->kind == WSTEP_TOKEN_CMC && !token->renewed
        && has_usage(token->signer, WSTEP_OID_ENROLMENT_AGENT)) {
        return WSTEP_ON_BEHALF;
    }
    return WSTEP_RENEWS;
}

static apr_status_t check_way(wstep_exchange_t *x)
{
    if (x->way != WSTEP_RENEWS
        && (x->endpoint->renewal_only || x->caller->authentication == WSTEP_ANONYMOUS
            || !x->caller->user.name)) {
        gh_result_fail(x->result, GH_EREFUSED, GH_FAILURE_DENIED, "endpoint.renewal",
                       "Enrol at another address, by password or Kerberos.",
                       GHNO(1434) "only certificates are renewed here");
        return refuse(x, WSTEP_FAULT_ENROLL_DENIED);
    }
    if (x->way == WSTEP_RENEWS && !x->endpoint->renewal) {
        gh_result_fail(x->result, GH_EREFUSED, GH_FAILURE_DENIED, "renewal.off",
                       "Enrol anew, or let the administrator configure renewals.",
                       GHNO(1435) "renewal by certificate is not configured here");
        return refuse(x, WSTEP_FAULT_ENROLL_DENIED);
    }
    if (x->token->archived_key.length) {
        gh_result_fail(x->result, GH_EREFUSED, GH_FAILURE_REQUEST, "token.archive",
                       "Take the archiving of keys off the template.",
                       GHNO(1436) "keys are not archived here");
        return refuse(x, WSTEP_FAULT_UNSUPPORTED);
    }
    return APR_SUCCESS;
}

/* Enrolment agents */

static apr_status_t deny_agent(wstep_exchange_t *x, const char *why)
{
    gh_result_fail(x->result, GH_EREFUSED, GH_FAILURE_DENIED, "agent",
                   "Sign with an enrolment agent's certificate of this CA; permit the agent for "
                   "the template.",
                   GHNO(1437) "no certificate is given on behalf of another: %s", why);
    return refuse(x, WSTEP_FAULT_SIGNATURE_POLICY);
}

static int is_agent(const wstep_exchange_t *x)
{
    const apr_array_header_t *groups = x->template->agents;
    int i;

    for (i = 0; groups && x->account && i < groups->nelts; ++i) {
        if (gh_directory_is_member(x->account, APR_ARRAY_IDX(groups, i, const char *), x->p)) {
            return 1;
        }
    }
    return groups == NULL;
}

/** The agent's certificate is a valid one of ours, the agent may, and the other one is an account
 *  of the directory. */
static apr_status_t check_agent(wstep_exchange_t *x)
{
    const char *name = wstep_token_value(x->token, "requestername");
    gh_result_t ignored;
    apr_status_t rv;

    if (!x->template->on_behalf) {
        return deny_agent(x, "the template does not permit it");
    }
    if (!x->services->directory) {
        return deny_agent(x, "only a directory can tell who the other one is");
    }
    if (!is_agent(x)) {
        return deny_agent(x, "the caller is in no group that may");
    }
    if (!name) {
        return deny_agent(x, "the request names nobody (requestername), or several");
    }
    rv = gh_issued_check_holder(x->token->signer, x->issuer, x->endpoint->tenant,
                                x->services->store, x->p, x->result);
    if (rv != APR_SUCCESS) {
        return rv == GH_EREFUSED ? refuse(x, WSTEP_FAULT_SIGNATURE_POLICY) : rv;
    }
    gh_result_clear(&ignored);
    if (wstep_user_parse(&x->subject_user, name, NULL, x->endpoint->domains, x->p, &ignored)
        != APR_SUCCESS) {
        return deny_agent(x, "requestername is no user name");
    }
    return wstep_exchange_account(x->services, &x->subject_user, &x->subject, x->p, x->result);
}

/* Permission and names */

static apr_status_t check_permission(wstep_exchange_t *x)
{
    /* the certificate that is renewed stands for a permission that was given; a caller who is known
       has to have it still */
    if (x->way == WSTEP_RENEWS && !x->subject_user.name) {
        if (wstep_template_has_issued(x->template, x->token->signer, x->p)) {
            return APR_SUCCESS;
        }
        gh_result_fail(x->result, GH_EREFUSED, GH_FAILURE_DENIED, "renewal.template",
                       "Renew by the template of the old certificate, or enrol anew.",
                       GHNO(1446) "the certificate that is to be renewed was not issued by "
                       "template %s", x->template->policy->name);
        return refuse(x, WSTEP_FAULT_RENEWAL);
    }
    if (wstep_template_permits(x->template, &x->subject_user, x->subject, x->p)) {
        return APR_SUCCESS;
    }
    gh_result_fail(x->result, GH_EREFUSED, GH_FAILURE_DENIED, "template.permission",
                   "Put the user into a group that may enrol, or permit the user.",
                   GHNO(1438) "%.100s may not have certificates by template %s",
                   x->subject_user.name, x->template->policy->name);
    return refuse(x, WSTEP_FAULT_TEMPLATE_DENIED);
}

static apr_status_t check_certificate_caller(wstep_exchange_t *x)
{
    if (x->caller->certificate && x->token->signer
        && X509_cmp(x->caller->certificate, x->token->signer) != 0) {
        gh_result_fail(x->result, GH_EREFUSED, GH_FAILURE_DENIED, "renewal.caller",
                       "Show the certificate that is to be renewed, or the agent's.",
                       GHNO(1439) "the caller has shown another certificate than the one that has "
                       "signed the request");
        return refuse(x, WSTEP_FAULT_RENEWAL);
    }
    return APR_SUCCESS;
}

static apr_status_t give_names(wstep_exchange_t *x)
{
    /* what the request asks for stands in the old certificate, or it is nobody's */
    if (x->way == WSTEP_RENEWS
        && (!x->subject_user.name
            || x->template->policy->subject_flags & XCEP_SUBJECT_SUPPLIED)) {
        return wstep_template_keep_names(&x->given, x->template, x->token->signer, x->p,
                                         x->result);
    }
    return wstep_template_names(&x->given, x->template, x->token, &x->subject_user, x->subject,
                                x->endpoint->parent_dn, &x->kind, x->p, x->result);
}

apr_status_t wstep_exchange_decide(wstep_exchange_t *x)
{
    apr_status_t rv;

    x->way = way_of(x->token);
    rv = check_way(x);
    if (rv == APR_SUCCESS) {
        rv = check_certificate_caller(x);
    }
    if (rv == APR_SUCCESS) {
        rv = wstep_template_find(&x->template, x->endpoint->templates, x->token,
                                 wstep_request_item(x->request, "CertificateTemplate"), &x->kind,
                                 x->result);
    }
    if (rv == APR_SUCCESS) {
        x->subject_user = x->caller->user;
        rv = wstep_exchange_caller(x->services, x->caller, &x->account, x->p, x->result);
        x->subject = x->account;
    }
    if (rv == APR_SUCCESS && x->way == WSTEP_ON_BEHALF) {
        rv = check_agent(x);
    }
    if (rv == APR_SUCCESS) {
        rv = check_permission(x);
    }
    if (rv == APR_SUCCESS) {
        rv = wstep_template_profile(&x->profile, x->template, x->token, x->p, x->result);
    }
    if (rv == APR_SUCCESS) {
        rv = wstep_template_key(x->template, x->token, x->result);
        x->kind = rv == APR_SUCCESS ? x->kind : WSTEP_FAULT_KEY_LENGTH;
    }
    return rv == APR_SUCCESS ? give_names(x) : rv;
}
