/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Policies: what is asked for, what is answered, and identifiers. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "mod_wstep/xcep_answer.h"

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

static const char *read_request(xcep_request_t *request, const char *content)
{
    const char *text = apr_pstrcat(pool, "<s:Envelope xmlns:s='" WSTEP_NS_SOAP "' xmlns:a='"
        WSTEP_NS_ADDRESSING "' xmlns:xsi='" WSTEP_NS_XSI "'><s:Header><a:Action>"
        WSTEP_ACTION_GET_POLICIES "</a:Action></s:Header><s:Body><GetPolicies xmlns='"
        WSTEP_NS_POLICY "'>", content, "</GetPolicies></s:Body></s:Envelope>", NULL);
    gh_bytes_t bytes = { (const unsigned char *)text, strlen(text) };
    wstep_soap_t soap;

    gh_result_clear(&result);
    assert_int_equal(wstep_soap_read(&soap, bytes, pool, &result), APR_SUCCESS);
    return xcep_request_read(request, &soap, pool, &result) == APR_SUCCESS ? "" : result.number;
}

static void test_requests(void **state)
{
    xcep_request_t request;

    assert_string_equal(read_request(&request, "<client><lastUpdate>0001-01-01T00:00:00"
        "</lastUpdate><preferredLanguage xsi:nil='true'/></client><requestFilter xsi:nil='true'/>"),
                        "");
    assert_int_equal(request.last_update, 0);
    assert_null(request.language);
    assert_null(request.oids);
    assert_int_equal(request.client_version, -1);
    assert_string_equal(read_request(&request, "<client><lastUpdate>2027-01-15T08:00:00Z"
        "</lastUpdate><preferredLanguage>de</preferredLanguage></client><requestFilter><policyOIDs>"
        "<oid>1.2.3</oid><oid>1.2.4</oid></policyOIDs><clientVersion>5</clientVersion>"
        "<serverVersion xsi:nil='true'/></requestFilter>"), "");
    assert_int_equal(request.last_update, apr_time_from_sec(1800000000));
    assert_string_equal(request.language, "de");
    assert_int_equal(request.oids->nelts, 2);
    assert_int_equal(request.client_version, 5);
    assert_int_equal(request.server_version, -1);
    assert_string_equal(read_request(&request, "<client/>"), "");
}

static void test_bad_requests(void **state)
{
    xcep_request_t request;

    assert_string_equal(read_request(&request, ""), "GH1369");
    assert_string_equal(read_request(&request, "<client/><client/>"), "GH1369");
    assert_string_equal(read_request(&request, "<client><lastUpdate>now</lastUpdate></client>"),
                        "GH1369");
    assert_string_equal(read_request(&request, "<client/><requestFilter><clientVersion>x"
                                               "</clientVersion></requestFilter>"), "GH1369");
    assert_string_equal(read_request(&request, "<client/><requestFilter><policyOIDs><x/>"
                                               "</policyOIDs></requestFilter>"), "GH1369");
}

static xcep_policy_t *make_policy(xcep_template_t *template)
{
    xcep_policy_t *policy = apr_pcalloc(pool, sizeof(*policy));
    apr_array_header_t *entries = apr_array_make(pool, 1, sizeof(xcep_entry_t));
    apr_array_header_t *cas = apr_array_make(pool, 1, sizeof(xcep_ca_t));
    apr_array_header_t *uris = apr_array_make(pool, 1, sizeof(xcep_uri_t));
    apr_array_header_t *references = apr_array_make(pool, 1, sizeof(int));
    xcep_entry_t entry = { template, references, 1, 0 };
    xcep_uri_t uri = { WSTEP_USERTOKEN, "https://x/wstep?a&b", 1, 0 };
    xcep_ca_t ca = { { (const unsigned char *)"\x30\x00", 2 }, uris, 1 };

    APR_ARRAY_PUSH(references, int) = 0;
    APR_ARRAY_PUSH(uris, xcep_uri_t) = uri;
    APR_ARRAY_PUSH(cas, xcep_ca_t) = ca;
    APR_ARRAY_PUSH(entries, xcep_entry_t) = entry;
    memset(template, 0, sizeof(*template));
    template->name = "User";
    template->oid = "1.2.3.4";
    template->schema = 2;
    template->major = 100;
    template->validity = 31536000;
    template->renewal = 3628800;
    template->minimal_key = 2048;
    template->key_spec = template->key_usage = -1;
    template->subject_flags = 0x80000000u;
    policy->id = "{x}";
    policy->next_update_hours = 8;
    policy->changed = apr_time_from_sec(1800000000);
    policy->entries = entries;
    policy->cas = cas;
    return policy;
}

static const char *answer(const xcep_policy_t *policy, const xcep_request_t *request)
{
    gh_bytes_t xml;
    xmlDoc *document;

    assert_int_equal(xcep_answer_write(&xml, policy, request, "urn:1", 0, pool), APR_SUCCESS);
    assert_int_equal(wstep_xml_parse(&document, xml, pool, &result), APR_SUCCESS);
    return apr_pstrmemdup(pool, (const char *)xml.data, xml.length);
}

static void test_answer(void **state)
{
    xcep_template_t template;
    const char *text = answer(make_policy(&template), NULL);

    assert_non_null(strstr(text, "<response><policyID>{x}</policyID><policyFriendlyName "
        "xsi:nil=\"true\"/><nextUpdateHours>8</nextUpdateHours><policiesNotChanged>false"
        "</policiesNotChanged><policies><policy><policyOIDReference>0</policyOIDReference><cAs>"
        "<cAReference>0</cAReference></cAs><attributes><commonName>User</commonName><policySchema>2"
        "</policySchema><certificateValidity><validityPeriodSeconds>31536000"));
    assert_non_null(strstr(text, "<privateKeyAttributes><minimalKeyLength>2048</minimalKeyLength>"
        "<keySpec xsi:nil=\"true\"/><keyUsageProperty xsi:nil=\"true\"/><permissions "
        "xsi:nil=\"true\"/><algorithmOIDReference xsi:nil=\"true\"/><cryptoProviders "
        "xsi:nil=\"true\"/></privateKeyAttributes><revision>"));
    assert_non_null(strstr(text, "<privateKeyFlags>0</privateKeyFlags><subjectNameFlags>2147483648"
        "</subjectNameFlags><enrollmentFlags>0</enrollmentFlags><generalFlags>0</generalFlags>"
        "<hashAlgorithmOIDReference xsi:nil=\"true\"/><rARequirements xsi:nil=\"true\"/>"
        "<keyArchivalAttributes xsi:nil=\"true\"/><extensions xsi:nil=\"true\"/></attributes>"));
    assert_non_null(strstr(text, "<cAs><cA><uris><cAURI><clientAuthentication>4"
        "</clientAuthentication><uri>https://x/wstep?a&amp;b</uri><priority>1</priority>"
        "<renewalOnly>false</renewalOnly></cAURI></uris><certificate>MAA=</certificate>"
        "<enrollPermission>true</enrollPermission><cAReferenceID>0</cAReferenceID></cA></cAs>"
        "<oIDs><oID><value>1.2.3.4</value><group>9</group><oIDReferenceID>0</oIDReferenceID>"
        "<defaultName>User</defaultName></oID></oIDs></GetPoliciesResponse>"));
}

/** Each OID once, and each reference leads to one. */
static void test_references(void **state)
{
    xcep_template_t template;
    const xcep_policy_t *policy = make_policy(&template);
    apr_array_header_t *extensions = apr_array_make(pool, 2, sizeof(xcep_extension_t));
    xcep_extension_t extension = { "2.5.29.15", 1, { (const unsigned char *)"\x03\x00", 2 } };
    const char *text;

    APR_ARRAY_PUSH(extensions, xcep_extension_t) = extension;
    APR_ARRAY_PUSH(extensions, xcep_extension_t) = extension;
    template.extensions = extensions;
    template.schema = 3;
    template.hash = "2.16.840.1.101.3.4.2.1";
    text = answer(policy, NULL);
    assert_non_null(strstr(text, "<hashAlgorithmOIDReference>1</hashAlgorithmOIDReference>"));
    assert_non_null(strstr(text, "<extension><oIDReference>2</oIDReference><critical>true"
                                 "</critical><value>AwA=</value></extension><extension>"
                                 "<oIDReference>2</oIDReference>"));
    assert_null(strstr(text, "<oIDReferenceID>3<"));
}

static void test_not_changed(void **state)
{
    xcep_request_t request = { .client_version = -1, .server_version = -1 };
    xcep_template_t template;
    const xcep_policy_t *policy = make_policy(&template);

    request.last_update = policy->changed - 1;
    assert_non_null(strstr(answer(policy, &request), "<policy>"));
    request.last_update = policy->changed;
    assert_non_null(strstr(answer(policy, &request), "<policiesNotChanged>true</policiesNotChanged>"
        "<policies xsi:nil=\"true\"/></response><cAs xsi:nil=\"true\"/><oIDs xsi:nil=\"true\"/>"));
}

static void test_filters(void **state)
{
    xcep_request_t request = { .client_version = -1, .server_version = -1 };
    xcep_template_t template;
    const xcep_policy_t *policy = make_policy(&template);

    request.oids = apr_array_make(pool, 1, sizeof(const char *));
    assert_null(strstr(answer(policy, &request), "<policy>"));
    APR_ARRAY_PUSH(request.oids, const char *) = "1.2.3.4";
    assert_non_null(strstr(answer(policy, &request), "<policy>"));
    request.oids = NULL;
    template.private_key_flags = 0x05060000u;
    request.client_version = 4;
    assert_null(strstr(answer(policy, &request), "<policy>"));
    request.client_version = 5;
    request.server_version = 5;
    assert_null(strstr(answer(policy, &request), "<policy>"));
    request.server_version = 6;
    assert_non_null(strstr(answer(policy, &request), "<policy>"));
}

static void test_identifiers(void **state)
{
    assert_true(xcep_oid_valid("1.3.6.1.4.1.311.21.8.4294967295"));
    assert_false(xcep_oid_valid("1.3.6.1.4.1.311.21.8.4294967296"));
    assert_false(xcep_oid_valid("2.25.329800735698586629295641978511506172918"));
    assert_false(xcep_oid_valid("1"));
    assert_false(xcep_oid_valid("3.1"));
    assert_false(xcep_oid_valid("1..2"));
    assert_false(xcep_oid_valid("1.2."));
    assert_false(xcep_oid_valid("1.02"));
    assert_false(xcep_oid_valid(""));
    assert_true(xcep_oid_valid(xcep_oid_make("1.2", "User", pool)));
    assert_string_equal(xcep_oid_make("1.2", "User", pool), xcep_oid_make("1.2", "User", pool));
    assert_string_not_equal(xcep_oid_make("1.2", "User", pool), xcep_oid_make("1.2", "user", pool));
    assert_true(xcep_id_valid(xcep_id_make("acme", pool)));
    assert_false(xcep_id_valid("{1234}"));
    assert_false(xcep_id_valid("01234567-89ab-cdef-0123-456789abcdef"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_answer),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_not_changed),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_identifiers)
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
