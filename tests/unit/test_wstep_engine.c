/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include <apr_strings.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "issuer/renewal.h"
#include "mod_wstep/wstep_asn1.h"
#include "mod_wstep/wstep_engine.h"
#include "scep_world.h"
#include "status.h"
#include "x509/key.h"
#include "x509/own.h"
#include "x509/usages.h"
#include "wstep_builder.h"

/* The engine of WSTEP with a real store, CA and ledger, and requests as Windows makes them. */

#define TEMPLATE_OID "1.3.6.1.4.1.311.21.8.1234567.7654321.1.2.3"

static xcep_template_t policy;
static wstep_template_t template;
static wstep_endpoint_t here;
static wstep_domain_t domain = { "example.com", "EXAMPLE" };
static wstep_services_t has;
static wstep_engine_t *wstep;
static gh_renewal_policy_t renewal;
static EVP_PKEY *key, *next_key, *third;

/* What the last exchange has given */
static wstep_answer_t answer;
static wstep_fault_t fault;
static gh_result_t result;

static int setup(void **state)
{
    apr_array_header_t *templates, *domains;

    templates = apr_array_make(pool, 1, sizeof(const wstep_template_t *));
    domains = apr_array_make(pool, 1, sizeof(wstep_domain_t));
    APR_ARRAY_PUSH(templates, const wstep_template_t *) = &template;
    APR_ARRAY_PUSH(domains, wstep_domain_t) = domain;
    memset(&policy, 0, sizeof(policy));
    policy.name = "User";
    policy.oid = TEMPLATE_OID;
    policy.schema = 2;
    policy.major = 100;
    policy.minor = 3;
    policy.minimal_key = 2048;
    policy.subject_flags = XCEP_SUBJECT_CN;
    memset(&template, 0, sizeof(template));
    template.policy = &policy;
    template.profile = automatic;
    template.everybody = 1;
    memset(&here, 0, sizeof(here));
    here.path = "/wstep/usertoken/services/acme/devices";
    here.url = "https://pki.example.com/wstep/usertoken/services/acme/devices";
    here.tenant = "acme";
    here.issuer = "devices";
    here.authentication = WSTEP_USERTOKEN;
    here.ca = issuer;
    here.templates = templates;
    here.domains = domains;
    memset(&renewal, 0, sizeof(renewal));
    renewal.revoke_old = GH_RENEWAL_KEEP_OLD;
    here.renewal = &renewal;
    has.store = services.store;
    has.ledger = services.ledger;
    has.sealer = services.sealer;
    has.node = "test";
    has.log = &everything;
    wstep = wstep_engine_create(&has, pool);
    assert_int_equal(wstep_engine_add_issuer(wstep, issuer, ra_profile, pool), APR_SUCCESS);
    key = scep_test_key("rsa2048-05", pool);
    next_key = scep_test_key("rsa2048-06", pool);
    third = scep_test_key("rsa2048-07", pool);
    return 0;
}

/* Exchanges */

static apr_status_t operate(const char *user, wstep_operation_t operation, gh_bytes_t token,
                            const char *id)
{
    wstep_request_t sent = {
        .operation = operation, .token = token, .request_id = id,
        .items = apr_array_make(pool, 1, sizeof(wstep_item_t))
    };
    wstep_caller_t caller = { .authentication = user ? WSTEP_USERTOKEN : WSTEP_ANONYMOUS };
    wstep_message_t message = {
        .client = "192.0.2.1", .id = "id", .log = &everything, .event = &event
    };

    memset(&event, 0, sizeof(event));
    if (user) {
        caller.user.name = user;
        caller.user.domain = &domain;
        caller.user.written = user;
    }
    gh_result_clear(&result);
    return wstep_engine_operate(wstep, &here, &caller, &sent, &message, &answer, &fault, pool,
                                &result);
}

static void issue(const char *user, gh_bytes_t token)
{
    if (operate(user, WSTEP_ISSUE, token, NULL) != APR_SUCCESS) {
        fail_msg("%s: %s", result.number, result.message);
    }
}

static void refuse(const char *user, gh_bytes_t token, const char *number,
                   wstep_fault_kind_t kind)
{
    assert_int_not_equal(operate(user, WSTEP_ISSUE, token, NULL), APR_SUCCESS);
    assert_string_equal(result.number, number);
    assert_int_equal(fault.kind, kind);
}

static X509 *certificate_of(gh_bytes_t der)
{
    const unsigned char *at = der.data;
    X509 *made = d2i_X509(NULL, &at, (long)der.length);

    assert_non_null(made);
    return gh_own_certificate(pool, made);
}

static const char *subject_of(X509 *made)
{
    return X509_NAME_oneline(X509_get_subject_name(made), apr_palloc(pool, 512), 512);
}

static X509_EXTENSION *extension_of(X509 *made, const char *oid)
{
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    int at = X509_get_ext_by_OBJ(made, object, -1);

    ASN1_OBJECT_free(object);
    return at < 0 ? NULL : X509_get_ext(made, at);
}

/* Tests */

static const wstep_spec_t plain = { .subject = "whoever", .template = TEMPLATE_OID, .major = 100 };

static void test_issue(void **state)
{
    gh_bytes_t request_der = pkcs10(&plain, key);
    const unsigned char *at;
    CMS_ContentInfo *cms;
    WSTEP_PKI_RESPONSE *response;
    WSTEP_STATUS_INFO *info;
    ASN1_OCTET_STRING **content;
    STACK_OF(X509) *enclosed;
    WSTEP_TEMPLATE_ID *id;
    gh_bytes_t first;
    const char *number;
    char oid[GH_OID_SIZE];
    X509 *made;

    issue("alice", request_der);
    made = certificate_of(answer.certificate);
    /* the caller's name, not the request's */
    assert_string_equal(subject_of(made), "/CN=alice");
    id = gh_extension_value(extension_of(made, WSTEP_OID_TEMPLATE),
                            ASN1_ITEM_rptr(WSTEP_TEMPLATE_ID));
    assert_non_null(id);
    assert_int_equal(ASN1_INTEGER_get(id->major), 100);
    assert_int_equal(ASN1_INTEGER_get(id->minor), 3);
    WSTEP_TEMPLATE_ID_free(id);
    /* the same request, the same certificate under the same number */
    first = answer.certificate;
    number = answer.request_id;
    assert_int_equal(strspn(number, "0123456789"), strlen(number));
    issue("alice", request_der);
    same(first, answer.certificate);
    assert_string_equal(answer.request_id, number);
    assert_int_equal(operate("ALICE", WSTEP_QUERY, request_der, number), APR_SUCCESS);
    same(first, answer.certificate);
    assert_int_not_equal(operate("bob", WSTEP_QUERY, request_der, number), APR_SUCCESS);
    assert_string_equal(result.number, "GH1441");
    assert_int_equal(fault.kind, WSTEP_FAULT_NO_REQUEST);
    /* the response of CMC */
    at = answer.response.data;
    if (!at) {
        issue("alice", request_der);
        at = answer.response.data;
    }
    cms = d2i_CMS_ContentInfo(NULL, &at, (long)answer.response.length);
    assert_non_null(cms);
    assert_true(gh_oid_copy(oid, CMS_get0_eContentType(cms)));
    assert_string_equal(oid, WSTEP_OID_PKI_RESPONSE);
    assert_int_equal(CMS_verify(cms, NULL, NULL, NULL, NULL,
                                CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY), 1);
    enclosed = CMS_get1_certs(cms);
    /* the one issued, the CA's, the one that has signed */
    assert_int_equal(sk_X509_num(enclosed), 3);
    sk_X509_pop_free(enclosed, X509_free);
    content = CMS_get0_content(cms);
    at = ASN1_STRING_get0_data(*content);
    response = d2i_WSTEP_PKI_RESPONSE(NULL, &at, ASN1_STRING_length(*content));
    assert_non_null(response);
    assert_int_equal(sk_WSTEP_CONTROL_num(response->controls), 2);
    info = ASN1_TYPE_unpack_sequence(
        ASN1_ITEM_rptr(WSTEP_STATUS_INFO),
        sk_ASN1_TYPE_value(sk_WSTEP_CONTROL_value(response->controls, 0)->values, 0));
    assert_int_equal(ASN1_INTEGER_get(info->status), 0);
    WSTEP_STATUS_INFO_free(info);
    WSTEP_PKI_RESPONSE_free(response);
    CMS_ContentInfo_free(cms);
}

static void test_certificates_alone(void **state)
{
    wstep_spec_t spec = plain;
    const unsigned char *at;
    CMS_ContentInfo *cms;
    STACK_OF(X509) *enclosed;

    here.response = WSTEP_RESPONSE_CERTIFICATES;
    spec.old_oid = 1;
    issue("anna", pkcs10(&spec, key));
    at = answer.response.data;
    cms = d2i_CMS_ContentInfo(NULL, &at, (long)answer.response.length);
    assert_non_null(cms);
    enclosed = CMS_get1_certs(cms);
    assert_int_equal(sk_X509_num(enclosed), 2);
    sk_X509_pop_free(enclosed, X509_free);
    CMS_ContentInfo_free(cms);
}

static void test_pending(void **state)
{
    gh_bytes_t request_der = pkcs10(&plain, key);
    apr_int64_t before = certificates_stored();

    template.profile = manual;
    issue("peter", request_der);
    assert_true(answer.pending);
    assert_string_equal(answer.reference, here.url);
    assert_int_equal(operate("peter", WSTEP_QUERY, request_der, answer.request_id), APR_SUCCESS);
    assert_true(answer.pending);
    assert_true(answer.response.length > 0);
    assert_int_equal(certificates_stored(), before);
}

static void test_templates(void **state)
{
    wstep_spec_t spec = plain;

    spec.template = NULL;
    refuse("tom", pkcs10(&spec, key), "GH1418", WSTEP_FAULT_TEMPLATE_MISSING);
    spec.name = "user";
    issue("tom", pkcs10(&spec, key));
    spec.name = "Other";
    refuse("tom", pkcs10(&spec, key), "GH1419", WSTEP_FAULT_TEMPLATE_UNKNOWN);
    spec = plain;
    spec.template = "1.2.3";
    refuse("tom", pkcs10(&spec, key), "GH1419", WSTEP_FAULT_TEMPLATE_UNKNOWN);
    spec = plain;
    spec.major = 99;
    refuse("tom", pkcs10(&spec, key), "GH1421", WSTEP_FAULT_TEMPLATE_VERSION);
    policy.minimal_key = 3072;
    refuse("tom", pkcs10(&plain, key), "GH1423", WSTEP_FAULT_KEY_LENGTH);
}

static void test_permission(void **state)
{
    apr_array_header_t *users = apr_array_make(pool, 2, sizeof(const char *));

    template.everybody = 0;
    refuse("alice", pkcs10(&plain, key), "GH1438", WSTEP_FAULT_TEMPLATE_DENIED);
    APR_ARRAY_PUSH(users, const char *) = "OTHER\\alice";
    APR_ARRAY_PUSH(users, const char *) = "bob@example.com";
    template.users = users;
    refuse("alice", pkcs10(&plain, key), "GH1438", WSTEP_FAULT_TEMPLATE_DENIED);
    issue("bob", pkcs10(&plain, key));
    APR_ARRAY_PUSH(users, const char *) = "example\\Alice";
    issue("alice", pkcs10(&plain, key));
    refuse(NULL, pkcs10(&plain, key), "GH1434", WSTEP_FAULT_ENROLL_DENIED);
}

static void test_names_of_requests(void **state)
{
    wstep_spec_t spec = plain;
    X509 *made;

    /* who the caller is has been found out; what he would like to be called is not looked at */
    spec.upn = "administrator@example.com";
    issue("nina", pkcs10(&spec, key));
    made = certificate_of(answer.certificate);
    assert_string_equal(subject_of(made), "/CN=nina");
    assert_null(extension_of(made, "2.5.29.17"));
    policy.subject_flags = XCEP_SUBJECT_SUPPLIED;
    refuse("nina", pkcs10(&plain, key), "GH1424", WSTEP_FAULT_DENIED);
    template.supply_subject = 1;
    issue("nina", pkcs10(&plain, next_key));
    assert_string_equal(subject_of(certificate_of(answer.certificate)), "/CN=whoever");
    refuse("nina", pkcs10(&spec, next_key), "GH1424", WSTEP_FAULT_DENIED);
    /* where names are taken, the list of what nobody may ask for holds */
    template.supply_names = 1;
    refuse("nina", pkcs10(&spec, next_key), "GH0142", WSTEP_FAULT_DENIED);
    policy.subject_flags = XCEP_SUBJECT_CN | XCEP_SUBJECT_SAN_UPN;
    refuse("nina", pkcs10(&plain, next_key), "GH1425", WSTEP_FAULT_NO_UPN);
}

static void test_renewal(void **state)
{
    wstep_spec_t spec = plain;
    gh_bytes_t content;
    X509 *old, *made;

    issue("rita", pkcs10(&plain, key));
    old = certificate_of(answer.certificate);
    spec.renewed = old;
    content = pkcs10(&spec, next_key);
    /* nobody else's certificate vouches for it */
    refuse("rita", signed_by(content, NULL, client, client_key, NULL, EVP_sha256()), "GH1416",
           WSTEP_FAULT_SIGNATURE);
    refuse("rita", signed_by(content, NULL, old, key, NULL, EVP_sha1()), "GH1415",
           WSTEP_FAULT_SIGNATURE);
    spec.renewed = client;
    refuse("rita", signed_by(pkcs10(&spec, next_key), NULL, client, client_key, NULL,
                              EVP_sha256()), "GH0428", WSTEP_FAULT_RENEWAL);
    /* another caller would get his own names */
    refuse("bob", signed_by(content, NULL, old, key, NULL, EVP_sha256()), "GH0436",
           WSTEP_FAULT_SUBJECT_MISMATCH);
    here.renewal = NULL;
    refuse("rita", signed_by(content, NULL, old, key, NULL, EVP_sha256()), "GH1435",
           WSTEP_FAULT_ENROLL_DENIED);
    here.renewal = &renewal;
    issue("rita", signed_by(content, NULL, old, key, NULL, EVP_sha256()));
    made = certificate_of(answer.certificate);
    assert_string_equal(subject_of(made), "/CN=rita");
    assert_true(EVP_PKEY_eq(X509_get0_pubkey(made), next_key) == 1);
    assert_string_equal(event.event, "renew");
    /* one live successor */
    spec = plain;
    spec.renewed = old;
    refuse("rita", signed_by(pkcs10(&spec, third), NULL, old, key, NULL, EVP_sha256()),
           "GH0435", WSTEP_FAULT_RENEWAL);
}

static void test_renewal_without_a_caller(void **state)
{
    wstep_spec_t spec = plain;
    X509 *old;

    issue("walt", pkcs10(&plain, key));
    old = certificate_of(answer.certificate);
    here.renewal_only = 1;
    refuse("walt", pkcs10(&plain, next_key), "GH1434", WSTEP_FAULT_ENROLL_DENIED);
    spec.renewed = old;
    /* the old certificate stands for a permission, which was for its own template */
    policy.oid = "1.2.3.4";
    spec.template = "1.2.3.4";
    refuse(NULL, signed_by(pkcs10(&spec, next_key), NULL, old, key, NULL, EVP_sha256()), "GH1446",
           WSTEP_FAULT_RENEWAL);
    policy.oid = spec.template = TEMPLATE_OID;
    issue(NULL, signed_by(pkcs10(&spec, next_key), NULL, old, key, NULL, EVP_sha256()));
    assert_string_equal(subject_of(certificate_of(answer.certificate)), "/CN=walt");
}

static void test_cmc(void **state)
{
    wstep_spec_t spec = plain;
    gh_bytes_t content, token;
    X509 *old;

    spec.template = NULL;
    content = pki_data(pkcs10(&spec, key), "CertificateTemplate=User&rmd=pc%31", NULL);
    issue("cora", signed_by(content, WSTEP_OID_PKI_DATA, NULL, NULL, key, EVP_sha256()));
    old = certificate_of(answer.certificate);
    /* another key is no proof of possession */
    refuse("cora", signed_by(content, WSTEP_OID_PKI_DATA, NULL, NULL, next_key, EVP_sha256()),
           "GH1415", WSTEP_FAULT_SIGNATURE);
    token = signed_by(content, WSTEP_OID_PKI_DATA, NULL, NULL, key, EVP_sha256());
    ((unsigned char *)token.data)[token.length - 3] ^= 1;
    refuse("cora", token, "GH1415", WSTEP_FAULT_SIGNATURE);
    content = pki_data(pkcs10(&spec, key), "x=y", "1.3.6.1.5.5.7.7.8");
    refuse("cora", signed_by(content, WSTEP_OID_PKI_DATA, NULL, NULL, key, EVP_sha256()),
           "GH1417", WSTEP_FAULT_SIGNATURE);
    /* a renewal: the new key and the old certificate */
    spec = plain;
    spec.renewed = old;
    content = pki_data(pkcs10(&spec, next_key), "a=b", NULL);
    issue("cora", signed_by(content, WSTEP_OID_PKI_DATA, old, key, next_key, EVP_sha256()));
    assert_string_equal(event.event, "renew");
    assert_true(EVP_PKEY_eq(X509_get0_pubkey(certificate_of(answer.certificate)), next_key) == 1);
}

static void test_malformed(void **state)
{
    static const unsigned char nothing[] = { 0x30, 0x03, 0x02, 0x01, 0x00 };
    gh_bytes_t token = { nothing, sizeof(nothing) };

    refuse("alice", token, "GH0128", WSTEP_FAULT_BAD_REQUEST);
    token.length = 0;
    refuse("alice", token, "GH1414", WSTEP_FAULT_BAD_REQUEST);
    token = pkcs10(&plain, key);
    refuse("alice", signed_by(token, "1.2.3.4", client, client_key, NULL, EVP_sha256()), "GH1414",
           WSTEP_FAULT_BAD_REQUEST);
    assert_int_not_equal(operate("alice", WSTEP_KET, token, NULL), APR_SUCCESS);
    assert_string_equal(result.number, "GH1445");
    assert_int_equal(fault.kind, WSTEP_FAULT_UNSUPPORTED);
}

/* A profile that takes usages from requests, and a template that says which */

static gh_profile_t *open_profile(void)
{
    static const char *const usage[] = { "digitalSignature", "keyEncipherment" };
    static const char *const eku[] = { "request" };
    static const char *const taken[] = { "applicationPolicies" };
    gh_profile_t *made = gh_profile_create("open", NULL, pool);

    assert_int_equal(gh_profile_set(made, "ProfileKeyUsage", 2, usage, pool, &result),
                     APR_SUCCESS);
    assert_int_equal(gh_profile_set(made, "ProfileExtendedKeyUsage", 1, eku, pool, &result),
                     APR_SUCCESS);
    assert_int_equal(gh_profile_set(made, "ProfileRequestExtensions", 1, taken, pool, &result),
                     APR_SUCCESS);
    assert_int_equal(gh_profile_complete(made, pool, &result), APR_SUCCESS);
    return made;
}

static void say_usage(const char *usage)
{
    X509_EXTENSION *extension = X509V3_EXT_nconf_nid(NULL, NULL, NID_ext_key_usage, usage);
    apr_array_header_t *list = apr_array_make(pool, 1, sizeof(xcep_extension_t));
    const ASN1_OCTET_STRING *value = X509_EXTENSION_get_data(extension);
    xcep_extension_t *one = apr_array_push(list);

    one->oid = "2.5.29.37";
    one->critical = 0;
    one->value = own_bytes(OPENSSL_memdup(ASN1_STRING_get0_data(value),
                                    (size_t)ASN1_STRING_length(value)),
                     ASN1_STRING_length(value));
    policy.extensions = list;
    X509_EXTENSION_free(extension);
}

static void test_usages(void **state)
{
    wstep_spec_t spec = plain;
    X509 *made;

    template.profile = open_profile();
    /* the template's, though the request asks for none, or for others */
    say_usage("clientAuth");
    issue("uma", pkcs10(&spec, key));
    made = certificate_of(answer.certificate);
    assert_int_equal(X509_get_extended_key_usage(made), XKU_SSL_CLIENT);
    spec.usage = "serverAuth,clientAuth";
    issue("uma", pkcs10(&spec, next_key));
    made = certificate_of(answer.certificate);
    assert_int_equal(X509_get_extended_key_usage(made), XKU_SSL_CLIENT);
    assert_null(extension_of(made, GH_OID_APPLICATION_POLICIES));
    /* and none that nobody may have unless it is allowed here */
    say_usage("msSmartcardLogin");
    refuse("uma", pkcs10(&plain, third), "GH0141", WSTEP_FAULT_DENIED);
    /* what the profile fixes stays as it is */
    template.profile = automatic;
    say_usage("serverAuth");
    issue("una", pkcs10(&plain, third));
    made = certificate_of(answer.certificate);
    assert_int_equal(X509_get_extended_key_usage(made), XKU_SSL_CLIENT);
}

static gh_allowances_t *agents_allowed(void)
{
    apr_array_header_t *items = apr_array_make(pool, 1, sizeof(const char *));
    gh_allowances_t *made;

    APR_ARRAY_PUSH(items, const char *) = "certificateRequestAgent";
    assert_int_equal(gh_allowances_make(&made, items, pool, &result), APR_SUCCESS);
    return made;
}

static void test_agents(void **state)
{
    wstep_spec_t spec = plain;
    X509 *agent;
    gh_bytes_t content;

    template.profile = open_profile();
    say_usage("1.3.6.1.4.1.311.20.2.1");
    refuse("agnes", pkcs10(&plain, key), "GH0141", WSTEP_FAULT_DENIED);
    here.allowances = agents_allowed();
    issue("agnes", pkcs10(&plain, key));
    agent = certificate_of(answer.certificate);
    spec.template = NULL;
    content = pki_data(pkcs10(&spec, next_key), "CertificateTemplate=User&requestername=bob", NULL);
    content = signed_by(content, WSTEP_OID_PKI_DATA, agent, key, next_key, EVP_sha256());
    /* the template does not permit it, then there is no directory that knows bob */
    refuse("agnes", content, "GH1437", WSTEP_FAULT_SIGNATURE_POLICY);
    template.on_behalf = 1;
    refuse("agnes", content, "GH1437", WSTEP_FAULT_SIGNATURE_POLICY);
    refuse(NULL, content, "GH1434", WSTEP_FAULT_ENROLL_DENIED);
}

/* Names of the directory, without one */

static void test_names_of_accounts(void **state)
{
    static const unsigned char guid[16] = "0123456789abcdef";
    gh_directory_account_t account = {
        .dn = "cn=pc1,ou=Machines,dc=example,dc=com", .cn = "pc1", .account = "PC1$",
        .host = "pc1.example.com", .mail = "pc1@example.com", .principal = "pc1@example.com",
        .sid = "S-1-5-21-1-2-3-1104", .guid = { guid, 16 }, .machine = 1
    };
    const gh_given_names_t *given;
    wstep_user_t user = { .name = "PC1$", .domain = &domain };
    wstep_token_t token = { .kind = WSTEP_TOKEN_PKCS10 };
    wstep_fault_kind_t kind = WSTEP_FAULT_NONE;
    char text[512];

    policy.subject_flags = XCEP_SUBJECT_CN_DNS | XCEP_SUBJECT_SAN_UPN | XCEP_SUBJECT_SAN_DNS
        | XCEP_SUBJECT_SAN_MAIL | XCEP_SUBJECT_SAN_GUID | XCEP_SUBJECT_SAN_DOMAIN_DNS;
    gh_result_clear(&result);
    assert_int_equal(wstep_template_names(&given, &template, &token, &user, &account, NULL, &kind,
                                          pool, &result), APR_SUCCESS);
    X509_NAME_oneline(given->subject, text, sizeof(text));
    assert_string_equal(text, "/CN=pc1.example.com");
    assert_int_equal(sk_GENERAL_NAME_num(given->names), 5);
    assert_int_equal(sk_X509_EXTENSION_num(given->extensions), 2);
    policy.subject_flags = XCEP_SUBJECT_DN;
    assert_int_equal(wstep_template_names(&given, &template, &token, &user, &account, NULL, &kind,
                                          pool, &result), APR_SUCCESS);
    X509_NAME_oneline(given->subject, text, sizeof(text));
    assert_string_equal(text, "/DC=com/DC=example/OU=Machines/CN=pc1");
    /* the parent is for names that no profile of the template's own shapes */
    policy.subject_flags = XCEP_SUBJECT_CN;
    template.profile = NULL;
    assert_int_equal(wstep_template_names(&given, &template, &token, &user, &account,
                                          "ou=PKI,o=Example", &kind, pool, &result), APR_SUCCESS);
    X509_NAME_oneline(given->subject, text, sizeof(text));
    assert_string_equal(text, "/O=Example/OU=PKI/CN=pc1");
    account.host = NULL;
    policy.subject_flags = XCEP_SUBJECT_SAN_DNS;
    assert_int_equal(wstep_template_names(&given, &template, &token, &user, &account, NULL, &kind,
                                          pool, &result), GH_EREFUSED);
    assert_int_equal(kind, WSTEP_FAULT_NO_DNS);
}

static void test_check(void **state)
{
    gh_result_clear(&result);
    assert_int_equal(wstep_template_check(&template, pool, &result), APR_SUCCESS);
    policy.subject_flags = XCEP_SUBJECT_CN | XCEP_SUBJECT_DN;
    assert_int_equal(wstep_template_check(&template, pool, &result), APR_EINVAL);
    policy.subject_flags = XCEP_SUBJECT_SUPPLIED;
    assert_int_equal(wstep_template_check(&template, pool, &result), APR_EINVAL);
    template.supply_subject = 1;
    assert_int_equal(wstep_template_check(&template, pool, &result), APR_SUCCESS);
    template.profile = NULL;
    assert_int_equal(wstep_template_check(&template, pool, &result), APR_EINVAL);
    assert_string_equal(result.number, "GH1427");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_issue, setup),
        cmocka_unit_test_setup(test_certificates_alone, setup),
        cmocka_unit_test_setup(test_pending, setup),
        cmocka_unit_test_setup(test_templates, setup),
        cmocka_unit_test_setup(test_permission, setup),
        cmocka_unit_test_setup(test_names_of_requests, setup),
        cmocka_unit_test_setup(test_renewal, setup),
        cmocka_unit_test_setup(test_renewal_without_a_caller, setup),
        cmocka_unit_test_setup(test_cmc, setup),
        cmocka_unit_test_setup(test_malformed, setup),
        cmocka_unit_test_setup(test_usages, setup),
        cmocka_unit_test_setup(test_agents, setup),
        cmocka_unit_test_setup(test_names_of_accounts, setup),
        cmocka_unit_test_setup(test_check, setup)
    };

    return cmocka_run_group_tests(tests, scep_world_setup, scep_world_teardown);
}
