/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Skeletons: which are taken, and what they need. */

#include "escrow_support.h"

#include <apr_strings.h>

#define PROFILE_HEAD "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" \
    "<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" " \
    "\"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n" \
    "<plist version=\"1.0\"><dict><key>PayloadType</key><string>Configuration</string>\n"
#define PROFILE_TAIL "</dict></plist>\n"
#define PAYLOAD(inner) "<key>PayloadContent</key><array><dict>" inner "</dict></array>"
#define P12(token) PAYLOAD("<key>PayloadContent</key><string>{{escrow." token "}}</string>")

static escrow_template_t *template;

static apr_status_t read_as(const char *format, const char *text)
{
    gh_result_clear(&result);
    return escrow_template_read(&template, format, bytes_of(text), test_pool, &result);
}

static void assert_needs(const char *format, const char *text, const char *needs)
{
    if (read_as(format, text) != APR_SUCCESS)
        fail_msg("%s: %s %s", text, result.number, result.message);
    assert_string_equal(escrow_template_needs(template), needs);
    assert_string_equal(escrow_template_format(template), format);
}

static void test_needs(void **state)
{
    assert_needs("text", "no token: { { {{}} {{1}} }", "");
    assert_needs("text", "{{escrow.encryption[1].pkcs12}}{{escrow.signing[0].email}} "
                 "{{escrow.encryption[1].password}}", "signing,encryption[1]");
    assert_needs("json", "{\"a\": [{\"b\": \"x{{escrow.signing[0].pkcs12}}\"}, 1, null]}",
                 "signing");
    assert_needs("json", "{\"a\": \"\\u007b{escrow.archived[3].not_after}}\"}", "archived[3]");
    assert_needs("xml", "<a b='{{escrow.signing[2].subject}}'>&#123;{escrow.encryption[0]."
                 "thumbprint}}<![CDATA[{{escrow.signing[0].certificate}}]]></a>",
                 "signing,signing[2],encryption");
    assert_needs("mobileconfig", PROFILE_HEAD P12("signing[0].pkcs12") PROFILE_TAIL, "signing");
    assert_needs("mobileconfig", PROFILE_HEAD P12("archived[*].pkcs12") PROFILE_TAIL, "");
    assert_true(escrow_template_uses(template, ESCROW_ARCHIVED, 7));
    assert_false(escrow_template_uses(template, ESCROW_SIGNING, 0));
}

static void test_uses(void **state)
{
    assert_needs("text", "{{escrow.encryption[1].pkcs12}}{{escrow.encryption[3].pkcs12}}",
                 "encryption[1],encryption[3]");
    assert_false(escrow_template_uses(template, ESCROW_ENCRYPTION, 0));
    assert_true(escrow_template_uses(template, ESCROW_ENCRYPTION, 1));
    assert_false(escrow_template_uses(template, ESCROW_ENCRYPTION, 2));
    assert_true(escrow_template_uses(template, ESCROW_ENCRYPTION, 3));
    assert_false(escrow_template_uses(template, ESCROW_SIGNING, 1));
}

static void test_unknown_tokens(void **state)
{
    static const char *const tokens[] = {
        "{{escrow.signing.pkcs12}}", "{{escrow.signing[0].p12}}", "{{escrow.signing[0].pkcs12 }}",
        "{{escrow.signing[64].pkcs12}}", "{{escrow.signing[-1].pkcs12}}",
        "{{escrow.signing[00].pkcs12}}", "{{escrow.sign[0].pkcs12}}", "{{escrow.signing[0].key}}",
        "{{escrow.signing[99999999999999999999].pkcs12}}", "{{ecsrow.signing[0].pkcs12}}",
        "{{escrow.signing[].pkcs12}}", "{{escrow.signing[0].pkcs12}", "{{UserName}}",
        "{{ escrow.signing[0].pkcs12}}", "{{escrow", "{{escrow.signing[0].pkcs12x}}"
    };
    apr_size_t i;

    for (i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++)
        assert_failure(read_as("text", apr_pstrcat(test_pool, "one\ntwo ", tokens[i], NULL)),
                       "GH1137", "in line 2, column 5");
    assert_failure(read_as("json", "{\n \"a\": \"{{escrow.x}}\"}"), "GH1137", "line 2, column 8");
    assert_failure(read_as("json", "[\"\\u007b{escrow.x}}\"]"), "GH1137", "with escapes");
}

static void test_tokens_out_of_place(void **state)
{
    assert_failure(read_as("json", "{\"{{escrow.signing[0].email}}\": 1}"), "GH1138", "a name");
    assert_failure(read_as("xml", "<a><!-- {{escrow.signing[0].email}} --></a>"), "GH1138",
                   "comment");
    assert_failure(read_as("text", "{{escrow.archived[*].email}}"), "GH1138", "repeated");
    assert_failure(read_as("mobileconfig", PROFILE_HEAD P12("signing[0].pkcs12")
                           "<key>A</key><string>{{escrow.signing[0].password}}</string>"
                           PROFILE_TAIL), "GH1138", "outside of what is encrypted");
    assert_failure(read_as("mobileconfig", PROFILE_HEAD PAYLOAD(
                           "<key>{{escrow.signing[0].email}}</key><true/>") PROFILE_TAIL),
                   "GH1138", "a name");
    assert_failure(read_as("mobileconfig", PROFILE_HEAD PAYLOAD(
                           "<key>a</key><string>{{escrow.signing[*].email}}</string>"
                           "<key>b</key><string>{{escrow.archived[*].email}}</string>")
                           PROFILE_TAIL), "GH1141", "two uses");
}

static void test_too_many_tokens(void **state)
{
    char *text = apr_pstrdup(test_pool, "");
    int i;

    for (i = 0; i < ESCROW_TOKENS_MAX; i++)
        text = apr_pstrcat(test_pool, text, "{{escrow.signing[0].email}}", NULL);
    assert_needs("text", text, "signing");
    text = apr_pstrcat(test_pool, text, "{{escrow.signing[0].email}}", NULL);
    assert_failure(read_as("text", text), "GH1138", "256");
}

static void test_forms(void **state)
{
    static const struct {
        const char *format, *text, *part;
    } cases[] = {
        { "json", "{\"a\": 1", "not well-formed" },
        { "json", "{\"a\": 1, \"a\": 2}", "a name twice" },
        { "json", "", "empty" },
        { "xml", "<a>", "not well-formed" },
        { "xml", "<!DOCTYPE a><a/>", "document type" },
        { "xml", "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", "document type" },
        { "mobileconfig", "<plist/>", "no dictionary" },
        { "mobileconfig", "<dict/>", "no property list" },
        { "mobileconfig", "<!DOCTYPE plist SYSTEM 'http://x/y.dtd'><plist><dict/></plist>",
          "document type" },
        { "mobileconfig", "<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" 'x' "
          "[<!ENTITY e 'y'>]><plist><dict/></plist>", "declarations or entities" },
        { "mobileconfig", "<plist><dict></dict></plist>", "PayloadType" },
        { "mobileconfig", PROFILE_HEAD PROFILE_TAIL, "no PayloadContent" },
        { "mobileconfig", PROFILE_HEAD "<key>PayloadContent</key><array><string>x</string></array>"
          PROFILE_TAIL, "no dictionary" },
        { "mobileconfig", PROFILE_HEAD "<key>IsEncrypted</key><true/>" PROFILE_TAIL, "encrypted" },
        { "mobileconfig", PROFILE_HEAD PAYLOAD("<key>a</key>") PROFILE_TAIL, "in turn" },
        { "mobileconfig", PROFILE_HEAD PAYLOAD("<true/><key>a</key>") PROFILE_TAIL, "in turn" },
        { "mobileconfig", PROFILE_HEAD PAYLOAD("<key>a</key><true/><key>a</key><true/>")
          PROFILE_TAIL, "key twice" },
        { "mobileconfig", PROFILE_HEAD PAYLOAD("<key>a</key><set/>") PROFILE_TAIL, "do not have" },
        { "mobileconfig", PROFILE_HEAD PAYLOAD("text") PROFILE_TAIL, "text between" },
        { "mobileconfig", PROFILE_HEAD PAYLOAD("<key>a</key><string>b<c/></string>") PROFILE_TAIL,
          "within a value" }
    };
    apr_size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_failure(read_as(cases[i].format, cases[i].text), "GH1141", cases[i].part);
    assert_failure(read_as("yaml", "a: b"), "GH1142", "no format");
    assert_failure(escrow_template_read(&template, "text", (gh_bytes_t) {
                   (const unsigned char *)"a\0b", 3 }, test_pool, &result), "GH1141", "NUL");
}

/* Neither stack nor time goes for what is nested or large. */
static void test_depth(void **state)
{
    char *open = apr_palloc(test_pool, 100001);
    const char *text;

    memset(open, '[', 100000);
    open[100000] = '\0';
    assert_failure(read_as("json", open), "GH1141", "not well-formed");
    open[100] = '\0';
    text = apr_pstrcat(test_pool, open, "1", NULL);
    memset(open, ']', 100);
    assert_failure(read_as("json", apr_pstrcat(test_pool, text, open, NULL)), "GH1141",
                   "too deep");
    text = "";
    while (strlen(text) < 300)
        text = apr_pstrcat(test_pool, "<a>", text, "</a>", NULL);
    assert_needs("xml", text, "");
    while (strlen(text) < 1000)
        text = apr_pstrcat(test_pool, "<a>", text, "</a>", NULL);
    assert_failure(read_as("xml", text), "GH1141", "too deep");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_needs, x509_test_teardown),
        cmocka_unit_test_teardown(test_uses, x509_test_teardown),
        cmocka_unit_test_teardown(test_unknown_tokens, x509_test_teardown),
        cmocka_unit_test_teardown(test_tokens_out_of_place, x509_test_teardown),
        cmocka_unit_test_teardown(test_too_many_tokens, x509_test_teardown),
        cmocka_unit_test_teardown(test_forms, x509_test_teardown),
        cmocka_unit_test_teardown(test_depth, x509_test_teardown)
    };

    return cmocka_run_group_tests(tests, escrow_group_setup, escrow_group_teardown);
}
