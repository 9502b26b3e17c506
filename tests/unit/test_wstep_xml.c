/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* XML of strangers: what is refused, and how; paths. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "mod_wstep/wstep_url.h"
#include "mod_wstep/wstep_xml.h"

static apr_pool_t *pool;

static int setup(void **state)
{
    apr_initialize();
    wstep_xml_initialise();
    return apr_pool_create(&pool, NULL) != APR_SUCCESS;
}

static int teardown(void **state)
{
    apr_pool_destroy(pool);
    apr_terminate();
    return 0;
}

static gh_bytes_t bytes_of(const char *text)
{
    gh_bytes_t bytes = { (const unsigned char *)text, strlen(text) };

    return bytes;
}

/** What becomes of a text: "" or the number of the message. */
static const char *parse(gh_bytes_t text)
{
    xmlDoc *document;
    gh_result_t result;

    gh_result_clear(&result);
    if (wstep_xml_parse(&document, text, pool, &result) == APR_SUCCESS) {
        assert_non_null(document);
        return "";
    }
    assert_null(document);
    assert_int_equal(result.failure, GH_FAILURE_MALFORMED);
    return apr_pstrdup(pool, result.number);
}

#define assert_parse(text, number) assert_string_equal(parse(bytes_of(text)), number)

static void test_good(void **state)
{
    assert_parse("<a/>", "");
    assert_parse("\xEF\xBB\xBF<?xml version='1.0' encoding='utf-8'?><a>&lt;&#xD;&amp;</a>", "");
    assert_parse("<x:a xmlns:x='u'><![CDATA[<&]]></x:a>", "");
}

static void test_doctype(void **state)
{
    assert_parse("<!DOCTYPE a><a/>", "GH1344");
    assert_parse("<?xml version='1.0'?>\n<!-- x --><!DOCTYPE a SYSTEM 'http://127.0.0.1:1/'><a/>",
                 "GH1344");
    assert_parse("<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>", "GH1344");
    assert_parse("<!DOCTYPE a [<!ENTITY x 'yyyyyyyy'><!ENTITY z '&x;&x;&x;&x;'>]><a>&z;</a>",
                 "GH1344");
    assert_parse("<!DOCTYPE a [<!ENTITY % x SYSTEM 'http://127.0.0.1:1/'> %x;]><a/>", "GH1344");
    /* an entity that nobody has declared is not well-formed without a document type */
    assert_string_not_equal(parse(bytes_of("<a>&x;</a>")), "");
}

static void test_malformed(void **state)
{
    assert_parse("<a>", "GH1347");
    assert_parse("<a/><b/>", "GH1347");
    assert_parse("<a b='1' b='2'/>", "GH1347");
    assert_parse("<a xmlns:x='u' xmlns:y='u' x:b='1' y:b='2'/>", "GH1347");
    assert_parse("<x:a/>", "GH1347");
    assert_parse("<a>\x01</a>", "GH1347");
    assert_parse("<a>\xff\xfe</a>", "GH1347");
    assert_parse("    ", "GH1347");
    assert_parse("", "GH1346");
    assert_parse("none", "GH1346");
}

static void test_limits(void **state)
{
    apr_size_t length = WSTEP_XML_SIZE_MAX + 1;
    char *large = apr_palloc(pool, length + 1);
    char *text = apr_pstrdup(pool, "");
    gh_bytes_t bytes;
    int i;

    memset(large, 'x', length);
    memcpy(large, "<a>", 3);
    memcpy(large + length - 4, "</a>", 4);
    bytes.data = (unsigned char *)large;
    bytes.length = length;
    assert_string_equal(parse(bytes), "GH1348");
    memmove(large + length - 5, "</a>", 4);
    bytes.length = length - 1;
    assert_string_equal(parse(bytes), "");

    for (i = 0; i < WSTEP_XML_DEPTH_MAX; ++i) {
        text = apr_pstrcat(pool, "<a>", text, "</a>", NULL);
    }
    assert_parse(text, "");
    assert_parse(apr_pstrcat(pool, "<a>", text, "</a>", NULL), "GH1345");

    text = large;
    for (i = 0; i < WSTEP_XML_NODES_MAX; ++i) {
        memcpy(text + 3 + 4 * i, "<b/>", 4);
    }
    memcpy(text + 3 + 4 * i, "</a>", 5);
    assert_parse(text, "GH1345");
    memcpy(text + 3 + 4 * (i - 1), "</a>", 5);
    assert_parse(text, "");
}

/** "<a/>" in encodings that libxml2 would read. */
static void test_encodings(void **state)
{
    static const unsigned char utf16[] = { 0xFF, 0xFE, '<', 0, 'a', 0, '/', 0, '>', 0 };
    static const unsigned char ucs4[] = { 0, 0, 0, '<', 0, 0, 0, 'a', 0, 0, 0, '/', 0, 0, 0, '>' };
    static const unsigned char ebcdic[] = { 0x4C, 0x6F, 0xA7, 0x94, 0x93, 0x40 };
    gh_bytes_t bytes = { utf16, sizeof(utf16) };

    assert_string_equal(parse(bytes), "");
    bytes.data = ucs4;
    bytes.length = sizeof(ucs4);
    assert_string_equal(parse(bytes), "GH1346");
    bytes.data = ebcdic;
    bytes.length = sizeof(ebcdic);
    assert_string_equal(parse(bytes), "GH1346");
    assert_parse("<?xml version='1.0' encoding='ISO-8859-1'?><a/>", "GH1346");
    assert_parse("<?xml version='1.0' encoding='UTF-7'?><a/>", "GH1346");
    assert_parse("<?xml version='1.0' encoding='EUC-JP'?><a/>", "GH1346");
    assert_string_not_equal(parse(bytes_of("<?xml version='1.0' encoding='nonsense'?><a/>")), "");
}

static void test_access(void **state)
{
    xmlDoc *document;
    gh_result_t result;
    xmlNode *root;
    int count;

    assert_int_equal(wstep_xml_parse(&document, bytes_of(
        "<q:a xmlns:q='u' xmlns='v' xmlns:i='" WSTEP_NS_XSI "'> <b c='1' q:c=' 2 '> t </b><q:b/>"
        "<d>x<!-- --></d><e/><e/><f i:nil='true'>1</f></q:a>"), pool, &result), APR_SUCCESS);
    root = xmlDocGetRootElement(document);
    assert_true(wstep_xml_is(root, "u", "a"));
    assert_false(wstep_xml_is(root, "v", "a"));
    assert_string_equal(wstep_xml_text(wstep_xml_child(root, "v", "b", NULL), pool), "t");
    assert_string_equal(wstep_xml_text(wstep_xml_child(root, "u", "b", NULL), pool), "");
    assert_string_equal(wstep_xml_attribute(wstep_xml_child(root, "v", "b", NULL), NULL, "c",
                                            pool), "1");
    assert_string_equal(wstep_xml_attribute(wstep_xml_child(root, "v", "b", NULL), "u", "c",
                                            pool), "2");
    assert_null(wstep_xml_attribute(root, NULL, "c", pool));
    /* a text that a comment cuts in two */
    assert_null(wstep_xml_text(wstep_xml_child(root, "v", "d", NULL), pool));
    assert_null(wstep_xml_child(root, "v", "e", &count));
    assert_int_equal(count, 2);
    assert_true(wstep_xml_nil(wstep_xml_child(root, "v", "f", NULL)));
    assert_false(wstep_xml_nil(wstep_xml_child(root, "v", "b", NULL)));
}

static void test_writer(void **state)
{
    wstep_writer_t *writer = wstep_writer_create(pool);
    gh_bytes_t xml, value = { (const unsigned char *)"abcd", 4 };

    wstep_write_open(writer, "x:a", "u");
    wstep_write_namespace(writer, "xsi", WSTEP_NS_XSI);
    wstep_write_element(writer, "b", "<&>");
    wstep_write_nil(writer, "c", "v");
    wstep_write_number(writer, "d", -5);
    wstep_write_open(writer, "e", NULL);
    wstep_write_attribute(writer, "f", "\"<");
    wstep_write_base64(writer, value);
    wstep_write_close(writer);
    wstep_write_close(writer);
    assert_int_equal(wstep_writer_finish(writer, &xml, pool), APR_SUCCESS);
    assert_string_equal(apr_pstrmemdup(pool, (const char *)xml.data, xml.length),
                        "<x:a xmlns:x=\"u\" xmlns:xsi=\"" WSTEP_NS_XSI "\"><b>&lt;&amp;&gt;</b>"
                        "<c xmlns=\"v\" xsi:nil=\"true\"/><d>-5</d><e f=\"&quot;&lt;\">YWJjZA==</e>"
                        "</x:a>");
}

static void test_paths(void **state)
{
    static const char *const bad[] = {
        "", "/", "/wstep", "/wstep/usertoken", "/wstep/usertoken/services/acme",
        "/wstep/usertoken/services/acme/ca/more", "/wstep/usertoken/services/acme/ca//",
        "/wstep//usertoken/services/acme/ca", "/wstep/Usertoken/services/acme/ca",
        "/wstep/ntlm/services/acme/ca", "/wstep/usertoken/service/acme/ca",
        "/wstep/usertoken/services/ac%2fme/ca", "/xcep/usertoken/services/acme/ca",
        "/xcep/usertoken/services/", "/scep/usertoken/services/acme/ca",
        "/ADPolicyProvider_CEP_UsernamePassword/service.svc",
        "/ADPolicyProvider_CEP_UsernamePassword/service.svc/CEP/x"
    };
    wstep_url_t url;
    apr_size_t i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); ++i) {
        assert_int_equal(wstep_url_parse(&url, bad[i], pool), APR_NOTFOUND);
    }
    assert_int_equal(wstep_url_parse(&url, "/wstep/kerberos/services/acme/o~ca/", pool),
                     APR_SUCCESS);
    assert_int_equal(url.authentication, WSTEP_KERBEROS);
    assert_string_equal(url.tenant, "acme");
    assert_string_equal(url.issuer, "o~ca");
    assert_string_equal(wstep_url_path(&url, pool), "/wstep/kerberos/services/acme/o~ca");
    assert_int_equal(wstep_url_parse(&url, "/xcep/usertoken/services/acme", pool), APR_SUCCESS);
    assert_int_equal(url.policy, 1);
    assert_string_equal(wstep_url_path(&url, pool), "/xcep/usertoken/services/acme");
    assert_int_equal(wstep_url_parse(&url, "/ADPolicyProvider_CEP_Kerberos/service.svc/CEP", pool),
                     APR_SUCCESS);
    assert_int_equal(url.authentication, WSTEP_KERBEROS);
    assert_null(url.tenant);
    assert_string_equal(wstep_url_path(&url, pool),
                        "/ADPolicyProvider_CEP_Kerberos/service.svc/CEP");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_doctype),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_access),
        cmocka_unit_test(test_writer),
        cmocka_unit_test(test_paths)
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
