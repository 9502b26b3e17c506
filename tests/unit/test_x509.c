/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Names as text, plans as bytes. */

#include "x509_support.h"

#include <apr_strings.h>
#include <openssl/err.h>

#include "x509/key.h"
#include "x509/name.h"
#include "x509/plan.h"

/* Attribute names: certificate profiles, chapter "Distinguished names" */

static const struct {
    const char *alias;
    const char *oid;
} aliases[] = {
    { "CN", "2.5.4.3" }, { "CommonName", "2.5.4.3" },
    { "SN", "2.5.4.4" }, { "SurName", "2.5.4.4" },
    { "SERIALNUMBER", "2.5.4.5" }, { "DeviceSerialNumber", "2.5.4.5" },
    { "C", "2.5.4.6" }, { "Country", "2.5.4.6" },
    { "L", "2.5.4.7" }, { "Locality", "2.5.4.7" },
    { "ST", "2.5.4.8" }, { "S", "2.5.4.8" }, { "State", "2.5.4.8" },
    { "STREET", "2.5.4.9" }, { "StreetAddress", "2.5.4.9" },
    { "O", "2.5.4.10" }, { "Org", "2.5.4.10" }, { "Organization", "2.5.4.10" },
    { "OU", "2.5.4.11" }, { "OrganizationalUnit", "2.5.4.11" },
    { "OrganizationUnit", "2.5.4.11" }, { "OrgUnit", "2.5.4.11" },
    { "T", "2.5.4.12" }, { "Title", "2.5.4.12" },
    { "BUSINESSCATEGORY", "2.5.4.15" }, { "POSTALCODE", "2.5.4.17" },
    { "givenName", "2.5.4.42" }, { "G", "2.5.4.42" },
    { "I", "2.5.4.43" }, { "Initials", "2.5.4.43" },
    { "ORGANIZATIONIDENTIFIER", "2.5.4.97" },
    { "DC", "0.9.2342.19200300.100.1.25" }, { "DomainComponent", "0.9.2342.19200300.100.1.25" },
    { "UID", "0.9.2342.19200300.100.1.1" },
    { "Email", "1.2.840.113549.1.9.1" }, { "E", "1.2.840.113549.1.9.1" },
    { "unstructuredName", "1.2.840.113549.1.9.2" },
    { "unstructuredAddress", "1.2.840.113549.1.9.8" },
    { "JurisdictionOfIncorporationLocalityName", "1.3.6.1.4.1.311.60.2.1.1" },
    { "JurisdictionOfIncorporationStateOrProvinceName", "1.3.6.1.4.1.311.60.2.1.2" },
    { "JurisdictionOfIncorporationCountryName", "1.3.6.1.4.1.311.60.2.1.3" },
    { "TrademarkOfficeName", "1.3.6.1.4.1.53087.1.2" },
    { "TrademarkCountryOrRegionName", "1.3.6.1.4.1.53087.1.3" },
    { "TrademarkRegistration", "1.3.6.1.4.1.53087.1.4" },
    { "LegalEntityIdentifier", "1.3.6.1.4.1.53087.1.5" },
    { "WordMark", "1.3.6.1.4.1.53087.1.6" },
    { "MarkType", "1.3.6.1.4.1.53087.1.13" },
    { "StatuteCountryName", "1.3.6.1.4.1.53087.3.2" },
    { "StatuteStateOrProvinceName", "1.3.6.1.4.1.53087.3.3" },
    { "StatuteLocalityName", "1.3.6.1.4.1.53087.3.4" },
    { "StatuteCitation", "1.3.6.1.4.1.53087.3.5" },
    { "StatuteURL", "1.3.6.1.4.1.53087.3.6" },
};

static X509_NAME *parse(const char *text)
{
    X509_NAME *name = NULL;
    gh_result_t result;

    gh_result_clear(&result);
    if (gh_name_parse(&name, text, test_pool, &result) != APR_SUCCESS)
        fail_msg("%s", result.message);
    return name;
}

static void check_alias(const char *alias, const char *oid)
{
    X509_NAME *name = parse(apr_pstrcat(test_pool, alias, "=DE", NULL));
    const ASN1_OBJECT *object = X509_NAME_ENTRY_get_object(X509_NAME_get_entry(name, 0));
    char text[100];
    int nid;

    assert_int_equal(X509_NAME_entry_count(name), 1);
    OBJ_obj2txt(text, sizeof(text), object, 1);
    assert_string_equal(text, oid);
    nid = gh_name_attribute(alias);
    assert_int_not_equal(nid, NID_undef);
    assert_int_equal(nid, OBJ_obj2nid(object));
}

static void test_aliases(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++) {
        char *changed = apr_pstrdup(test_pool, aliases[i].alias), *at;

        check_alias(aliases[i].alias, aliases[i].oid);
        for (at = changed; *at != '\0'; at++)
            *at = (char)(*at >= 'a' && *at <= 'z' ? *at - 32 : *at >= 'A' && *at <= 'Z' ? *at + 32
                         : *at);
        check_alias(changed, aliases[i].oid);
        check_alias(aliases[i].oid, aliases[i].oid);
        check_alias(apr_pstrcat(test_pool, "OID.", aliases[i].oid, NULL) + 4, aliases[i].oid);
    }
    assert_int_equal(gh_name_attribute("shoe"), NID_undef);
    assert_int_equal(gh_name_attribute(""), NID_undef);
    assert_int_equal(gh_name_attribute("SN"), NID_surname);
    assert_int_equal(gh_name_attribute("S"), NID_stateOrProvinceName);
}

/** Text that comes out as it went in. */
static void test_round_trip(void **state)
{
    static const char *const texts[] = {
        "",
        "CN=device",
        "CN=device,OU=Unit,O=Example,C=DE",
        "CN=a+SERIALNUMBER=1+UID=x,O=Example",
        "O=first,CN=middle,O=last",
        "CN=A\\, B\\+C\\\\D\\\"E\\<F\\>G\\;H",
        "CN=\\#hash",
        "CN=\\ leading and trailing\\ ",
        "CN=inner  blanks",
        "CN=equals=sign",
        "CN=M\xc3\xbcller \xe2\x82\xac \xf0\x9f\x94\x91",
        "SN=Doe,G=Jane,I=J,T=Dr",
        "DC=example,DC=com",
        "Email=a@example.com,CN=a",
        "1.3.6.1.4.1.32473.1=value",
        "WordMark=x,StatuteURL=https://example.com/?a\\,b",
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_string_equal(gh_name_text(parse(texts[i]), test_pool), texts[i]);
    assert_string_equal(gh_name_text(NULL, test_pool), "");
}

/** Other ways to write the same. */
static void test_parse_forms(void **state)
{
    static const char *const forms[][2] = {
        { " cn = device , o = Example ", "CN=device,O=Example" },
        { "cn=\"A, B+C=D<E>#F;G\",c=DE", "CN=A\\, B\\+C=D\\<E\\>#F\\;G,C=DE" },
        { "cn=\"quoted \\\" and \\\\\"", "CN=quoted \\\" and \\\\" },
        { "cn=M\\C3\\BCller", "CN=M\xc3\xbcller" },
        { "cn=\\41\\20b", "CN=A b" },
        { "2.5.4.3=x,2.5.4.4=y", "CN=x,SN=y" },
        { "oid.2.5.4.3=x", "CN=x" },
        { "cn=#0C0161", "CN=a" },
        { "cn=a + ou=b", "CN=a+OU=b" },
    };
    static const char *const wrong[] = {
        "cn", "=x", "cn=", "cn=a,", "cn=a,,o=b", "shoe=43", "cn=a;o=b", "cn=a\"b", "cn=a<b",
        "cn=\"open", "cn=\"a\"b", "cn=a\\", "cn=a\\4", "cn=a\\zz", "cn=\\00", "cn=a\\0Ab",
        "cn=#", "cn=#0C", "cn=#0C016", "cn=#0401ff", "cn=#0C01610500", "cn=\xff", "c=DEU", "c=D",
        "c=\xc3\xa4\xc3\xa4", "dc=\xc3\xa4", "email=\xc3\xa4@x", "serialNumber=a_b", "1.2.x=y",
        "cn=\"\"", "cn=+o=b", "9.9.9=x",
    };
    char *many = apr_pstrdup(test_pool, "ou=0"), *long_value = apr_pcalloc(test_pool, 70);
    X509_NAME *name;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
        assert_string_equal(gh_name_text(parse(forms[i][0]), test_pool), forms[i][1]);
    for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        if (gh_name_parse(&name, wrong[i], test_pool, NULL) != APR_EINVAL)
            fail_msg("accepted: %s", wrong[i]);
        assert_null(name);
    }
    for (i = 1; i < 32; i++)
        many = apr_pstrcat(test_pool, many, ",ou=1", NULL);
    assert_int_equal(X509_NAME_entry_count(parse(many)), 32);
    many = apr_pstrcat(test_pool, many, ",ou=1", NULL);
    assert_int_equal(gh_name_parse(&name, many, test_pool, NULL), APR_EINVAL);
    strcpy(long_value, "cn=");
    memset(long_value + 3, 'x', 64);
    parse(long_value);
    long_value[67] = 'x';
    assert_int_equal(gh_name_parse(&name, long_value, test_pool, NULL), APR_EINVAL);
}

static void test_order_and_sets(void **state)
{
    X509_NAME *name = parse("cn=a+serialNumber=1,ou=U,o=O,c=DE");
    static const int sets[] = { 0, 1, 2, 3, 3 };
    static const int nids[] = { NID_countryName, NID_organizationName, NID_organizationalUnitName,
                                NID_commonName, NID_serialNumber };
    int i;

    (void)state;
    assert_int_equal(X509_NAME_entry_count(name), 5);
    for (i = 0; i < 5; i++) {
        X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, i);

        assert_int_equal(X509_NAME_ENTRY_set(entry), sets[i]);
        assert_int_equal(OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry)), nids[i]);
    }
}

static void test_string_types(void **state)
{
    static const struct {
        const char *text;
        int type;
    } types[] = {
        { "c=DE", V_ASN1_PRINTABLESTRING }, { "serialNumber=A-1", V_ASN1_PRINTABLESTRING },
        { "dc=example", V_ASN1_IA5STRING }, { "email=a@b", V_ASN1_IA5STRING },
        { "cn=plain", V_ASN1_PRINTABLESTRING }, { "cn=a@b", V_ASN1_UTF8STRING },
        { "o=M\xc3\xbcller", V_ASN1_UTF8STRING }, { "1.2.3.4=plain", V_ASN1_PRINTABLESTRING },
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        assert_int_equal(ASN1_STRING_type(X509_NAME_ENTRY_get_data(
                             X509_NAME_get_entry(parse(types[i].text), 0))), types[i].type);
}

/** Names of others are printed whatever is in them. */
static void test_foreign_names(void **state)
{
    X509_NAME *name = X509_NAME_new();
    char big[2000];
    const char *text;

    (void)state;
    assert_true(X509_NAME_add_entry_by_NID(name, NID_commonName, V_ASN1_UTF8STRING,
                                           (const unsigned char *)"a\0b\n", 4, -1, 0));
    assert_string_equal(gh_name_text(name, test_pool), "CN=a\\00b\\0A");
    assert_true(X509_NAME_add_entry_by_NID(name, NID_commonName, V_ASN1_UTF8STRING,
                                           (const unsigned char *)"\xff\xfe", 2, -1, 0));
    assert_string_equal(gh_name_text(name, test_pool), "CN=#0c02fffe,CN=a\\00b\\0A");
    X509_NAME_free(name);

    /* Cut at 1024 bytes, never within a character */
    memset(big, 'x', sizeof(big));
    memcpy(big + 1015, "\xf0\x9f\x94\x91\xf0\x9f\x94\x91\xf0\x9f\x94\x91", 12);
    name = X509_NAME_new();
    assert_true(X509_NAME_add_entry_by_NID(name, NID_dnQualifier, V_ASN1_UTF8STRING,
                                           (unsigned char *)big, sizeof(big), -1, 0));
    text = gh_name_text(name, test_pool);
    assert_true(strlen(text) <= 1024);
    assert_string_equal(text + strlen(text) - 3, "...");
    assert_int_equal(ASN1_mbstring_copy(NULL, (const unsigned char *)text, -1, MBSTRING_UTF8,
                                        B_ASN1_UTF8STRING), V_ASN1_UTF8STRING);
    X509_NAME_free(name);
}

/* Alternative names */

static void test_san_make(void **state)
{
    static const char *const good[][3] = {
        { "dns", "a.example.com", "DNS:a.example.com" }, { "DNS", "*.a_b.c", "DNS:*.a_b.c" },
        { "email", "a@b", "email:a@b" }, { "ip", "192.0.2.1", "IP:192.0.2.1" },
        { "ip", "2001:db8::1", "IP:2001:db8::1" }, { "uri", "urn:x:y", "URI:urn:x:y" },
        { "dirname", "cn=a,o=b", "dirName:CN=a,O=b" }, { "rid", "1.2.3", "RID:1.2.3" },
        { "upn", "a@\xc3\xbc", "UPN:a@\xc3\xbc" },
    };
    static const char *const bad[][2] = {
        { "dns", "" }, { "dns", "a b" }, { "dns", "a..b" }, { "dns", ".a" }, { "dns", "a." },
        { "dns", "a.*.b" }, { "dns", "*" }, { "dns", "*a.b" }, { "dns", "\xc3\xbc" },
        { "dns", "a\n" }, { "email", "a" }, { "email", "@b" }, { "email", "a@" },
        { "email", "a@b@c" }, { "email", "a b@c" }, { "ip", "192.0.2" }, { "ip", "1.2.3.4/8" },
        { "ip", "" }, { "uri", "x" }, { "uri", ":x" }, { "uri", "x:" }, { "uri", "1x:y" },
        { "uri", "x:y z" }, { "dirname", "" }, { "dirname", "x" }, { "rid", "x" }, { "rid", "" },
        { "upn", "" }, { "upn", "a\nb" }, { "upn", "\xff" }, { "other", "x" }, { "fax", "x" },
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        GENERAL_NAMES *names = GENERAL_NAMES_new();
        GENERAL_NAME *name;

        assert_success(gh_san_make(&name, good[i][0], good[i][1], NULL));
        sk_GENERAL_NAME_push(names, name);
        assert_string_equal(APR_ARRAY_IDX(gh_san_texts(names, test_pool), 0, const char *),
                            good[i][2]);
        GENERAL_NAMES_free(names);
    }
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        GENERAL_NAME *name;

        if (gh_san_make(&name, bad[i][0], bad[i][1], NULL) != APR_EINVAL)
            fail_msg("accepted: %s %s", bad[i][0], bad[i][1]);
        assert_null(name);
    }
}

static void test_san_json(void **state)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();

    (void)state;
    assert_string_equal(gh_san_json(NULL, test_pool), "[]");
    assert_int_equal(gh_san_texts(NULL, test_pool)->nelts, 0);
    ASN1_STRING_set(text, "a\"\n\xff", 4);
    GENERAL_NAME_set0_value(name, GEN_DNS, text);
    sk_GENERAL_NAME_push(names, name);
    assert_string_equal(gh_san_json(names, test_pool), "[\"DNS:a\\\"\\\\x0a\\\\xff\"]");
    GENERAL_NAMES_free(names);
}

/* Plans */

/** What waits for approval keeps ProfileLocations off. */
static void test_plan_without_locations(void **state)
{
    gh_plan_t *plan = subscriber(key_of_kind("P-256")), *again = NULL;
    gh_bytes_t bytes;

    (void)state;
    gh_plan_set_locations(plan, 0);
    assert_success(gh_plan_encode(&bytes, plan, test_pool, NULL));
    assert_success(gh_plan_decode(&again, bytes, test_pool, NULL));
    assert_int_equal(gh_plan_has_locations(again), 0);
    assert_int_equal(gh_plan_validity(again), gh_plan_validity(plan));
}

static void test_plan_round_trip(void **state)
{
    static const char *const kinds[] = { "RSA-2048", "P-256", "P-521" };
    apr_hash_t *profiles = read_profiles();
    const gh_ca_t *ca = make_root(key_of_kind("P-256"), "cn=CA", apr_time_now());
    size_t i;

    (void)state;
    for (i = 0; i < 3; i++) {
        request_t request = request_for(key_of_kind(kinds[i]), "cn=a+uid=b,o=M\xc3\xbcller");
        gh_plan_t *plan = NULL, *again = NULL;
        gh_bytes_t bytes, twice;
        X509 *certificate;
        int j;

        ask(&request, "subjectAltName", "DNS:a.example.com,email:a@example.com");
        ask(&request, "extendedKeyUsage", "clientAuth");
        assert_success(gh_profile_apply(&plan, apr_hash_get(profiles, "scep-non-repudiation",
                                                            APR_HASH_KEY_STRING),
                                        make_csr(&request), NULL, test_pool, NULL));
        assert_success(gh_plan_encode(&bytes, plan, test_pool, NULL));
        assert_success(gh_plan_decode(&again, bytes, test_pool, NULL));
        assert_string_equal(gh_plan_subject_text(again), gh_plan_subject_text(plan));
        assert_string_equal(gh_plan_sans(again),
                            "[\"DNS:a.example.com\",\"email:a@example.com\"]");
        assert_int_equal(gh_plan_validity(again), gh_plan_validity(plan));
        assert_int_equal(gh_plan_validity(again), apr_time_from_sec(365 * 86400));
        assert_memory_equal(gh_plan_key_sha256(again).data,
                            gh_key_sha256(request.key, test_pool).data, 32);
        assert_int_equal(EVP_PKEY_eq(gh_plan_key(again), request.key), 1);
        assert_int_equal(gh_plan_is_ca(again), 0);
        assert_int_equal(gh_plan_has_locations(again), 1);
        assert_int_equal(sk_X509_EXTENSION_num(gh_plan_extensions(again)),
                         sk_X509_EXTENSION_num(gh_plan_extensions(plan)));
        for (j = 0; j < sk_X509_EXTENSION_num(gh_plan_extensions(plan)); j++)
            assert_int_equal(ASN1_OCTET_STRING_cmp(
                X509_EXTENSION_get_data(sk_X509_EXTENSION_value(gh_plan_extensions(plan), j)),
                X509_EXTENSION_get_data(sk_X509_EXTENSION_value(gh_plan_extensions(again), j))), 0);
        assert_success(gh_plan_encode(&twice, again, test_pool, NULL));
        assert_int_equal(twice.length, bytes.length);
        assert_memory_equal(twice.data, bytes.data, bytes.length);
        /* What was stored can be issued. */
        assert_success(gh_ca_issue(&certificate, ca, again, apr_time_now(), test_pool, NULL));
        assert_int_equal(X509_get_key_usage(certificate),
                         KU_DIGITAL_SIGNATURE | KU_NON_REPUDIATION);
    }
}

static void test_plan_damage(void **state)
{
    apr_hash_t *profiles = read_profiles();
    request_t request = request_for(key_of_kind("P-256"), "cn=a");
    gh_plan_t *plan = NULL;
    gh_bytes_t bytes, changed;
    unsigned char *copy;
    apr_size_t i;

    (void)state;
    assert_success(gh_profile_apply(&plan, apr_hash_get(profiles, "scep-digital-signature",
                                                        APR_HASH_KEY_STRING),
                                    make_csr(&request), NULL, test_pool, NULL));
    assert_success(gh_plan_encode(&bytes, plan, test_pool, NULL));
    for (i = 0; i < bytes.length; i++) {
        changed.data = bytes.data;
        changed.length = i;
        assert_int_equal(gh_plan_decode(&plan, changed, test_pool, NULL), APR_EINVAL);
        assert_null(plan);
    }
    copy = apr_pcalloc(test_pool, bytes.length + 1);
    memcpy(copy, bytes.data, bytes.length);
    changed.data = copy;
    changed.length = bytes.length + 1;
    assert_int_equal(gh_plan_decode(&plan, changed, test_pool, NULL), APR_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_aliases, x509_test_teardown),
        cmocka_unit_test_teardown(test_round_trip, x509_test_teardown),
        cmocka_unit_test_teardown(test_parse_forms, x509_test_teardown),
        cmocka_unit_test_teardown(test_order_and_sets, x509_test_teardown),
        cmocka_unit_test_teardown(test_string_types, x509_test_teardown),
        cmocka_unit_test_teardown(test_foreign_names, x509_test_teardown),
        cmocka_unit_test_teardown(test_san_make, x509_test_teardown),
        cmocka_unit_test_teardown(test_san_json, x509_test_teardown),
        cmocka_unit_test_teardown(test_plan_round_trip, x509_test_teardown),
        cmocka_unit_test_teardown(test_plan_without_locations, x509_test_teardown),
        cmocka_unit_test_teardown(test_plan_damage, x509_test_teardown),
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
