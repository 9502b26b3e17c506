/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Envelopes, security headers and requests of WSTEP, as Windows sends them and otherwise. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "mod_wstep/wstep_answer.h"
#include "mod_wstep/wstep_request.h"
#include "mod_wstep/wstep_security.h"

static apr_pool_t *pool;
static gh_result_t result;

static int setup(void **state)
{
    apr_initialize();
    return apr_pool_create(&pool, NULL) != APR_SUCCESS;
}

static int teardown(void **state)
{
    apr_pool_destroy(pool);
    apr_terminate();
    return 0;
}

static const char *envelope(const char *headers, const char *body)
{
    return apr_pstrcat(pool, "<s:Envelope xmlns:s='" WSTEP_NS_SOAP "' xmlns:a='"
                       WSTEP_NS_ADDRESSING "' xmlns:o='" WSTEP_NS_WSSE "' xmlns:u='" WSTEP_NS_WSU
                       "' xmlns:xsi='" WSTEP_NS_XSI "'>", headers, "<s:Body>", body,
                       "</s:Body></s:Envelope>", NULL);
}

#define HEADERS(action) "<s:Header><a:Action s:mustUnderstand='1'>" action "</a:Action>" \
    "<a:MessageID>urn:uuid:1</a:MessageID><a:ReplyTo><a:Address>" WSTEP_NS_ADDRESSING \
    "/anonymous</a:Address></a:ReplyTo></s:Header>"

static const char *read_soap(wstep_soap_t *soap, const char *text)
{
    gh_bytes_t bytes = { (const unsigned char *)text, strlen(text) };

    gh_result_clear(&result);
    return wstep_soap_read(soap, bytes, pool, &result) == APR_SUCCESS ? "" : result.number;
}

static void test_envelope(void **state)
{
    wstep_soap_t soap;

    assert_string_equal(read_soap(&soap, envelope(HEADERS("x"), "<b/>")), "");
    assert_string_equal(soap.action, "x");
    assert_string_equal(soap.message_id, "urn:uuid:1");
    assert_null(soap.to);
    assert_null(soap.security);
    assert_string_equal((const char *)soap.payload->name, "b");
}

static void test_bad_envelopes(void **state)
{
    wstep_soap_t soap;

    assert_string_equal(read_soap(&soap, "<Envelope/>"), "GH1350");
    assert_string_equal(read_soap(&soap, "<s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/"
                                         "envelope/'><s:Body/></s:Envelope>"), "GH1350");
    assert_string_equal(read_soap(&soap, envelope(HEADERS("x"), "")), "GH1350");
    assert_string_equal(read_soap(&soap, envelope(HEADERS("x"), "<b/><c/>")), "GH1350");
    assert_string_equal(read_soap(&soap, envelope("<s:Body><x/></s:Body>", "<b/>")), "GH1350");
    assert_string_equal(read_soap(&soap, envelope("<s:Header/><s:Header/>", "<b/>")), "GH1350");
    assert_string_equal(read_soap(&soap, envelope("", "<b/>")), "GH1355");
    assert_string_equal(read_soap(&soap, envelope("<s:Header><a:Action>1</a:Action><a:Action>1"
                                                  "</a:Action></s:Header>", "<b/>")), "GH1351");
    assert_string_equal(read_soap(&soap, envelope("<s:Header><a:Action>x</a:Action><a:ReplyTo>"
                                                  "<a:Address>http://10.0.0.1/</a:Address>"
                                                  "</a:ReplyTo></s:Header>", "<b/>")), "GH1352");
    assert_string_equal(read_soap(&soap, envelope("<s:Header><a:Action>x</a:Action><o:Security/>"
                                                  "<o:Security/></s:Header>", "<b/>")), "GH1353");
    assert_string_equal(read_soap(&soap, envelope("<s:Header><a:Action>x</a:Action><q xmlns='q' "
                                                  "s:mustUnderstand='true'/></s:Header>", "<b/>")),
                        "GH1354");
    /* not a known header in another namespace */
    assert_string_equal(read_soap(&soap, envelope("<s:Header><Action xmlns='q'>x</Action>"
                                                  "</s:Header>", "<b/>")), "GH1355");
}

/* Security */

#define NOW apr_time_from_sec(1800000000)           /* 2027-01-15T08:00:00Z */
#define PASSWORD_TEXT "http://docs.oasis-open.org/wss/2004/01/" \
    "oasis-200401-wss-username-token-profile-1.0#PasswordText"
#define TOKEN "<o:UsernameToken><o:Username> alice </o:Username><o:Password Type='" \
    PASSWORD_TEXT "'> s&lt;cret </o:Password></o:UsernameToken>"

static const char *read_security(wstep_user_token_t *token, const char *header)
{
    wstep_soap_t soap;

    assert_string_equal(read_soap(&soap, envelope(
        apr_pstrcat(pool, "<s:Header><a:Action>x</a:Action><o:Security>", header,
                    "</o:Security></s:Header>", NULL), "<b/>")), "");
    gh_result_clear(&result);
    return wstep_security_read(token, soap.security, NOW, WSTEP_SKEW_DEFAULT, pool, &result)
        == APR_SUCCESS ? "" : result.number;
}

static const char *stamp(const char *created, const char *expires)
{
    return apr_pstrcat(pool, "<u:Timestamp><u:Created>", created, "</u:Created><u:Expires>",
                       expires, "</u:Expires></u:Timestamp>", NULL);
}

static void test_user_token(void **state)
{
    wstep_user_token_t token;

    assert_string_equal(read_security(&token, TOKEN), "");
    assert_string_equal(token.name, "alice");
    assert_string_equal(token.password, " s<cret ");
    /* what one client sends: the attribute in the namespace, and times without zone */
    assert_string_equal(read_security(&token, apr_pstrcat(pool, stamp(
        "2027-01-15T08:00:00.123", "2027-01-15T08:05:00"), "<o:UsernameToken u:Id='x'><o:Username>"
        "alice</o:Username><o:Password o:Type='" PASSWORD_TEXT "'>s</o:Password></o:UsernameToken>",
        NULL)), "");
    assert_string_equal(token.password, "s");
    assert_int_equal(token.timed, 1);
    assert_string_equal(read_security(&token, ""), "");
    assert_null(token.name);
}

static void test_bad_user_tokens(void **state)
{
    static const char *const bad[] = {
        "<o:UsernameToken/>",
        "<o:UsernameToken><o:Username>a</o:Username></o:UsernameToken>",
        "<o:UsernameToken><o:Username>a</o:Username><o:Password/></o:UsernameToken>",
        "<o:UsernameToken><o:Username/><o:Password>x</o:Password></o:UsernameToken>",
        "<o:UsernameToken><o:Username>a</o:Username><o:Username>b</o:Username><o:Password>x"
        "</o:Password></o:UsernameToken>",
        "<o:UsernameToken><o:Username>a<!-- -->b</o:Username><o:Password>x</o:Password>"
        "</o:UsernameToken>",
        "<o:UsernameToken><o:Username>a</o:Username><o:Password>x<!-- -->y</o:Password>"
        "</o:UsernameToken>"
    };
    wstep_user_token_t token;
    apr_size_t i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); ++i) {
        assert_string_equal(read_security(&token, bad[i]), "GH1358");
        assert_null(token.name);
    }
    assert_string_equal(read_security(&token, "<o:UsernameToken><o:Username>a</o:Username>"
                                              "<o:Password Type='urn:PasswordDigest'>x"
                                              "</o:Password></o:UsernameToken>"), "GH1359");
    assert_string_equal(read_security(&token, TOKEN TOKEN), "GH1360");
    assert_string_equal(read_security(&token, "<o:Other/>"), "GH1360");
    assert_string_equal(read_security(&token, "<UsernameToken/>"), "GH1360");
}

static void test_timestamps(void **state)
{
    wstep_user_token_t token;

    assert_string_equal(read_security(&token, stamp("2027-01-15T08:04:59Z",
                                                    "2027-01-15T08:09:59Z")), "");
    assert_string_equal(read_security(&token, stamp("2027-01-15T09:00:00+01:00",
                                                    "2027-01-15T09:05:00+01:00")), "");
    assert_string_equal(read_security(&token, stamp("2027-01-15T07:50:01Z",
                                                    "2027-01-15T07:55:01Z")), "");
    assert_string_equal(read_security(&token, stamp("2027-01-15T07:49:00Z",
                                                    "2027-01-15T07:54:59Z")), "GH1357");
    assert_string_equal(read_security(&token, stamp("2027-01-15T08:05:01Z",
                                                    "2027-01-15T08:10:01Z")), "GH1357");
    assert_string_equal(read_security(&token, stamp("2027-01-15T08:00:00Z",
                                                    "2027-01-15T07:59:00Z")), "GH1357");
    assert_string_equal(read_security(&token, stamp("2027-01-15", "2027-01-15T08:00:00Z")),
                        "GH1356");
    assert_string_equal(read_security(&token, "<u:Timestamp/>"), "GH1357");
    assert_string_equal(read_security(&token, "<u:Timestamp><u:Created>2027-01-15T08:00:00Z"
                                              "</u:Created><u:Created>2027-01-15T08:00:00Z"
                                              "</u:Created></u:Timestamp>"), "GH1356");
}

static const char *parse_user(wstep_user_t *user, const char *written, const char *requested)
{
    apr_array_header_t *domains = apr_array_make(pool, 2, sizeof(wstep_domain_t));
    wstep_domain_t domain = { "corp.example", "CORP" };

    APR_ARRAY_PUSH(domains, wstep_domain_t) = domain;
    domain.name = "sub.corp.example";
    domain.alias = NULL;
    APR_ARRAY_PUSH(domains, wstep_domain_t) = domain;
    gh_result_clear(&result);
    return wstep_user_parse(user, written, requested, domains, pool, &result) == APR_SUCCESS
        ? user->domain->name : result.number;
}

static void test_user_names(void **state)
{
    static const char *const bad[] = {
        "", "@corp.example", "alice@", "\\alice", "CORP\\", "CORP\\sub\\alice", "a@b@corp.example",
        "CORP\\alice@corp.example", "OTHER\\alice", "alice@other.example", "ali\tce", "a:b"
    };
    wstep_user_t user;
    apr_size_t i;

    assert_string_equal(parse_user(&user, "alice", NULL), "corp.example");
    assert_string_equal(parse_user(&user, "corp\\alice", NULL), "corp.example");
    assert_string_equal(user.name, "alice");
    assert_string_equal(parse_user(&user, "alice@CORP", NULL), "corp.example");
    assert_string_equal(user.name, "alice");
    assert_string_equal(parse_user(&user, "Sub.corp.example\\alice", NULL), "sub.corp.example");
    assert_string_equal(parse_user(&user, "alice@corp.example", "sub.corp.example"),
                        "corp.example");
    assert_string_equal(parse_user(&user, "host$", "sub.corp.example"), "sub.corp.example");
    assert_string_equal(parse_user(&user, "alice", "other"), "GH1361");
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); ++i) {
        assert_string_equal(parse_user(&user, bad[i], NULL), "GH1361");
        assert_null(user.name);
    }
    assert_int_equal(wstep_user_parse(&user, "alice", NULL, NULL, pool, &result), APR_SUCCESS);
    assert_null(user.domain);
    assert_int_not_equal(wstep_user_parse(&user, "x\\alice", NULL, NULL, pool, &result),
                         APR_SUCCESS);
}

/* Requests */

#define X509V3 "http://docs.oasis-open.org/wss/2004/01/" \
    "oasis-200401-wss-x509-token-profile-1.0#X509v3"
#define TYPES(type) "<TokenType>" X509V3 "</TokenType><RequestType>" type "</RequestType>"
#define BINARY "<BinarySecurityToken xmlns='" WSTEP_NS_WSSE "' ValueType='" WSTEP_NS_WSSE \
    "#PKCS7' EncodingType='x'>MAMC&#xD;\n AQU=&#xD;\n</BinarySecurityToken>"
#define ISSUE WSTEP_NS_TRUST "/Issue"
#define QUERY WSTEP_NS_ENROLMENT "/QueryTokenStatus"

static const char *read_request(wstep_request_t *request, wstep_fault_kind_t *kind,
                                const char *action, const char *attributes, const char *content)
{
    wstep_soap_t soap;

    assert_string_equal(read_soap(&soap, envelope(
        apr_pstrcat(pool, "<s:Header><a:Action>", action, "</a:Action></s:Header>", NULL),
        apr_pstrcat(pool, "<RequestSecurityToken xmlns='" WSTEP_NS_TRUST "' ", attributes, ">",
                    content, "</RequestSecurityToken>", NULL))), "");
    gh_result_clear(&result);
    return wstep_request_read(request, &soap, kind, pool, &result) == APR_SUCCESS
        ? "" : result.number;
}

static void test_issue(void **state)
{
    wstep_fault_kind_t kind;
    wstep_request_t request;

    assert_string_equal(read_request(&request, &kind, WSTEP_ACTION_RST,
        "PrefferedLanguage='de-DE'", TYPES(ISSUE) BINARY
        "<AdditionalContext xmlns='" WSTEP_NS_AUTHORIZATION "'><ContextItem Name='ccm'><Value>host"
        "</Value></ContextItem></AdditionalContext>"
        "<RequestID xsi:nil='true' xmlns='" WSTEP_NS_ENROLMENT "'/>"), "");
    assert_int_equal(request.operation, WSTEP_ISSUE);
    assert_int_equal(request.token.length, 5);
    assert_memory_equal(request.token.data, "\x30\x03\x02\x01\x05", 5);
    assert_string_equal(request.language, "de-DE");
    assert_string_equal(wstep_request_item(&request, "CCM"), "host");
    assert_null(wstep_request_item(&request, "rmd"));
    assert_string_equal(read_request(&request, &kind, WSTEP_ACTION_RST,
        "xmlns:w='" WSTEP_NS_ENROLMENT "' w:PreferredLanguage='fr-FR'", TYPES(ISSUE) BINARY), "");
    assert_string_equal(request.language, "fr-FR");
}

static void test_query_and_ket(void **state)
{
    wstep_fault_kind_t kind;
    wstep_request_t request;

    assert_string_equal(read_request(&request, &kind, WSTEP_ACTION_RST, "", TYPES(QUERY)
        "<RequestID xmlns='" WSTEP_NS_ENROLMENT "'>61</RequestID>"), "");
    assert_int_equal(request.operation, WSTEP_QUERY);
    assert_string_equal(request.request_id, "61");
    assert_string_equal(read_request(&request, &kind, WSTEP_ACTION_RST, "", TYPES(QUERY)
        "<RequestID xsi:nil='true' xmlns='" WSTEP_NS_ENROLMENT "'/>"), "GH1367");
    assert_string_equal(read_request(&request, &kind, WSTEP_ACTION_RST, "", TYPES(QUERY)
        "<RequestID xmlns='" WSTEP_NS_ENROLMENT "'>6x</RequestID>"), "GH1367");
    assert_string_equal(read_request(&request, &kind, WSTEP_ACTION_KET, "",
                                     TYPES(WSTEP_NS_TRUST "/KET") "<RequestKET/>"), "");
    assert_int_equal(request.operation, WSTEP_KET);
    assert_string_equal(read_request(&request, &kind, WSTEP_ACTION_KET, "",
                                     TYPES(WSTEP_NS_TRUST "/KET")), "GH1362");
}

static void test_bad_requests(void **state)
{
    wstep_fault_kind_t kind;
    wstep_request_t request;
    wstep_soap_t soap;

    assert_string_equal(read_request(&request, &kind, WSTEP_ACTION_RST, "",
                                     TYPES(WSTEP_NS_TRUST "/Renew") BINARY), "GH1363");
    assert_int_equal(kind, WSTEP_FAULT_UNSUPPORTED);
    assert_string_equal(read_request(&request, &kind, WSTEP_ACTION_RST, "", "<TokenType>"
        "http://schemas.microsoft.com/5.0.0.0/ConfigurationManager/Enrollment/DeviceEnrollmentToken"
        "</TokenType><RequestType>" ISSUE "</RequestType>" BINARY), "GH1363");
    assert_string_equal(read_request(&request, &kind, WSTEP_ACTION_RST, "", TYPES("x") BINARY),
                        "GH1364");
    assert_string_equal(read_request(&request, &kind, WSTEP_ACTION_KET, "", TYPES(ISSUE) BINARY),
                        "GH1365");
    assert_string_equal(read_request(&request, &kind, WSTEP_ACTION_RST, "", BINARY), "GH1362");
    assert_string_equal(read_request(&request, &kind, WSTEP_ACTION_RST, "", "<RequestType>" ISSUE
                                     "</RequestType>" BINARY), "GH1362");
    assert_string_equal(read_request(&request, &kind, WSTEP_ACTION_RST, "", TYPES(ISSUE)),
                        "GH1366");
    assert_string_equal(read_request(&request, &kind, WSTEP_ACTION_RST, "", TYPES(ISSUE) BINARY
                                     BINARY), "GH1366");
    assert_string_equal(read_request(&request, &kind, WSTEP_ACTION_RST, "", TYPES(ISSUE)
        "<BinarySecurityToken xmlns='" WSTEP_NS_WSSE "'>AA-A</BinarySecurityToken>"), "GH1366");
    assert_int_equal(kind, WSTEP_FAULT_BAD_REQUEST);
    assert_string_equal(read_request(&request, &kind, WSTEP_ACTION_RST, "", TYPES(ISSUE)
        "<BinarySecurityToken xmlns='" WSTEP_NS_WSSE "'/>"), "GH1366");
    read_soap(&soap, envelope(HEADERS(WSTEP_ACTION_RST), "<x/>"));
    assert_int_not_equal(wstep_request_read(&request, &soap, &kind, pool, &result), APR_SUCCESS);
    assert_string_equal(result.number, "GH1368");
}

/* Answers */

static const char *text_of(gh_bytes_t xml)
{
    return apr_pstrmemdup(pool, (const char *)xml.data, xml.length);
}

static void test_answers(void **state)
{
    gh_bytes_t der = { (const unsigned char *)"\x30\x00", 2 };
    wstep_answer_t answer = { .message = "Issued", .response = der, .certificate = der,
                              .request_id = "61" };
    wstep_soap_t soap;
    gh_bytes_t xml;
    const char *text;

    assert_int_equal(wstep_answer_write(&xml, &answer, "urn:uuid:<1>", NOW, pool), APR_SUCCESS);
    text = text_of(xml);
    assert_string_equal(read_soap(&soap, text), "");
    assert_string_equal(soap.action, WSTEP_ACTION_RSTRC);
    assert_true(wstep_xml_is(soap.payload, WSTEP_NS_TRUST,
                             "RequestSecurityTokenResponseCollection"));
    assert_non_null(strstr(text, "<a:RelatesTo>urn:uuid:&lt;1&gt;</a:RelatesTo>"));
    assert_non_null(strstr(text, "<u:Created>2027-01-15T08:00:00Z</u:Created>"));
    assert_non_null(strstr(text, ">61</RequestID>"));
    answer.pending = 1;
    answer.reference = "https://x/?a&b";
    assert_int_equal(wstep_answer_write(&xml, &answer, NULL, 0, pool), APR_SUCCESS);
    text = text_of(xml);
    assert_non_null(strstr(text, "<Reference URI=\"https://x/?a&amp;b\"/>"));
    assert_null(strstr(text, "Timestamp"));
    assert_null(strstr(text, "RelatesTo"));
    answer.key_exchange = 1;
    assert_int_equal(wstep_answer_write(&xml, &answer, NULL, 0, pool), APR_SUCCESS);
    assert_string_equal(read_soap(&soap, text_of(xml)), "");
    assert_string_equal(soap.action, WSTEP_ACTION_KET_FINAL);
}

static void test_faults(void **state)
{
    wstep_fault_t fault = { .kind = WSTEP_FAULT_TEMPLATE_DENIED, .denied = 1 };
    gh_bytes_t xml;
    const char *text;

    assert_int_equal(wstep_soap_fault(&xml, &fault, "No <template>", "en-US", "urn:1", 0, pool),
                     APR_SUCCESS);
    text = text_of(xml);
    assert_non_null(strstr(text, "<s:Value>s:Sender</s:Value>"));
    assert_non_null(strstr(text, "<s:Text xml:lang=\"en-US\">No &lt;template&gt;</s:Text>"));
    assert_non_null(strstr(text, "<BinaryResponse xsi:nil=\"true\"/><ErrorCode>-2146877422"
                                 "</ErrorCode><InvalidRequest>true</InvalidRequest>"
                                 "<RequestID xsi:nil=\"true\"/>"));
    fault.kind = WSTEP_FAULT_UNAVAILABLE;
    assert_int_equal(wstep_soap_fault(&xml, &fault, "x", "en-US", NULL, 1, pool), APR_SUCCESS);
    text = text_of(xml);
    assert_non_null(strstr(text, "<s:Value>s:Receiver</s:Value>"));
    assert_null(strstr(text, "Detail"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_envelope),
        cmocka_unit_test(test_bad_envelopes),
        cmocka_unit_test(test_user_token),
        cmocka_unit_test(test_bad_user_tokens),
        cmocka_unit_test(test_timestamps),
        cmocka_unit_test(test_user_names),
        cmocka_unit_test(test_issue),
        cmocka_unit_test(test_query_and_ket),
        cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_faults)
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
