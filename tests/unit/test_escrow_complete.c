/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Who may open a profile, and what they find in it: openssl decrypts what was made. */

#include "escrow_support.h"

#include <stdio.h>

#include <apr_strings.h>
#include <openssl/pem.h>

#include "status.h"
#include "x509/own.h"

#define DEVICE "4B1D7E4C-7B56-4F2F-9D2C-9F2C7C0E6A11"

#define HEAD "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" \
    "<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" " \
    "\"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n" \
    "<plist version=\"1.0\"><dict>\n<key>PayloadType</key><string>Configuration</string>\n" \
    "<key>PayloadUUID</key><string>TOP</string><key>PayloadContent</key><array>\n"
#define TAIL "</array><key>PayloadDisplayName</key><string>Mail of {{escrow.signing[0].email}}" \
    "</string></dict></plist>\n"

#define CERTIFICATE(uuid, token) "<dict><key>PayloadType</key>" \
    "<string>com.apple.security.pkcs12</string><key>PayloadUUID</key><string>" uuid "</string>" \
    "<key>PayloadIdentifier</key><string>id." uuid "</string>" \
    "<key>PayloadContent</key><string>{{escrow." token ".pkcs12}}</string>" \
    "<key>Password</key><string>{{escrow." token ".password}}</string></dict>\n"

#define MAIL "<dict><key>PayloadType</key><string>com.apple.mail.managed</string>" \
    "<key>SMIMESigningCertificateUUID</key><string>SIG</string>" \
    "<key>SMIMEEncryptionCertificateUUID</key><string>ENC</string>" \
    "<key>SMIMESigningUserOverrideable</key><true/>" \
    "<key>Old</key><string>ARC</string><key>All</key><array><string>ARC</string></array></dict>\n"

static escrow_recipient_t *read_recipient(gh_bytes_t der)
{
    escrow_recipient_t *recipient;

    if (escrow_recipient_read(&recipient, der, apr_time_now(), test_pool, &result) != APR_SUCCESS)
        fail_msg("%s %s", result.number, result.message);
    return recipient;
}

static escrow_device_cas_t *cas_of(const char *key)
{
    apr_array_header_t *files = apr_array_make(test_pool, 1, sizeof(const char *));
    escrow_device_cas_t *cas;

    APR_ARRAY_PUSH(files, const char *) = device_ca(key);
    assert_int_equal(escrow_device_cas_open(&cas, files, test_pool, &result), APR_SUCCESS);
    return cas;
}

static apr_status_t check_name(const char *common_name, const char *names, const char *ca)
{
    escrow_recipient_t *recipient = read_recipient(device_certificate("rsa2048-01", common_name,
                                                                      names, NULL, ca));

    gh_result_clear(&result);
    return escrow_recipient_check(recipient, cas_of("rsa2048-10"), DEVICE, NULL, apr_time_now(),
                                  test_pool, &result);
}

static void test_names_the_device(void **state)
{
    static const char *const good[][2] = {
        { DEVICE, NULL },
        { "4b1d7e4c-7b56-4f2f-9d2c-9f2c7c0e6a11", NULL },
        { "x", "URI:urn:uuid:" DEVICE },
        { "x", "URI:" DEVICE },
        { "x", "DNS:other,DNS:" DEVICE },
        { "x", "otherName:msUPN;UTF8:" DEVICE }
    };
    static const char *const bad[][2] = {
        { "x", NULL },
        { DEVICE "0", NULL },
        { "device " DEVICE, NULL },
        { "x", "URI:urn:uuid:" DEVICE "?" },
        { "x", "DNS:" DEVICE ".example.com" },
        { "x", "email:" DEVICE "@example.com" },
        { "urn:uuid:" DEVICE, NULL }
    };
    apr_size_t i;

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(check_name(good[i][0], good[i][1], "rsa2048-10"), APR_SUCCESS);
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_failure(check_name(bad[i][0], bad[i][1], "rsa2048-10"), "GH1132", DEVICE);
}

static void test_names_that_we_know(void **state)
{
    escrow_recipient_t *recipient = read_recipient(device_certificate("rsa2048-01", "C02X", NULL,
                                                                      NULL, "rsa2048-10"));
    apr_array_header_t *names = apr_array_make(test_pool, 2, sizeof(const char *));

    APR_ARRAY_PUSH(names, const char *) = "";
    APR_ARRAY_PUSH(names, const char *) = "c02x";
    assert_true(escrow_recipient_names(recipient, DEVICE, names, test_pool));
    assert_false(escrow_recipient_names(recipient, DEVICE, NULL, test_pool));
    assert_int_equal(escrow_recipient_check(recipient, cas_of("rsa2048-10"), DEVICE, names,
                                            apr_time_now(), test_pool, &result), APR_SUCCESS);
}

static void test_issued_by_a_device_ca(void **state)
{
    escrow_recipient_t *own = read_recipient(device_certificate("rsa2048-02", DEVICE, NULL, NULL,
                                                                "rsa2048-02"));

    /* one that calls its issuer by that name, and has signed itself */
    assert_failure(escrow_recipient_check(own, cas_of("rsa2048-10"), DEVICE, NULL, apr_time_now(),
                                          test_pool, &result), "GH1131", "not issued by a CA");
    assert_failure(escrow_recipient_check(own, NULL, DEVICE, NULL, apr_time_now(), test_pool,
                                          &result), "GH1131", "no CA of devices");
    assert_failure(check_name(DEVICE, NULL, "rsa2048-03"), "GH1131", "not issued by a CA");
    assert_int_equal(escrow_recipient_serial(own).length, 2);
    assert_string_equal(escrow_recipient_subject(own), "CN=" DEVICE);
}

static void test_what_recipients_must_be(void **state)
{
    apr_time_t late = apr_time_now() + apr_time_from_sec(2 * 24 * 3600);
    gh_bytes_t der = device_certificate("rsa2048-01", DEVICE, NULL, "keyEncipherment",
                                        "rsa2048-10");
    escrow_recipient_t *recipient;
    gh_file_t ca;

    assert_int_equal(escrow_recipient_read(&recipient, der, apr_time_now(), test_pool, &result),
                     APR_SUCCESS);
    assert_failure(escrow_recipient_read(&recipient, der, late, test_pool, &result), "GH1130",
                   "has ended");
    assert_null(recipient);
    der = device_certificate("rsa2048-01", DEVICE, NULL, "digitalSignature", "rsa2048-10");
    assert_failure(escrow_recipient_read(&recipient, der, apr_time_now(), test_pool, &result),
                   "GH1130", "keyEncipherment");
    der = device_certificate("p256-01", DEVICE, NULL, "digitalSignature", "rsa2048-10");
    assert_failure(escrow_recipient_read(&recipient, der, apr_time_now(), test_pool, &result),
                   "GH1130", "keyAgreement");
    der = device_certificate("rsa1024-01", DEVICE, NULL, NULL, "rsa2048-10");
    assert_failure(escrow_recipient_read(&recipient, der, apr_time_now(), test_pool, &result),
                   "GH1130", "less than 2048");
    assert_failure(escrow_recipient_read(&recipient, bytes_of("x"), apr_time_now(), test_pool,
                                         &result), "GH1130", "cannot be read");
    assert_int_equal(gh_file_read(&ca, device_ca("rsa2048-10"), test_pool, NULL), APR_SUCCESS);
    {
        BIO *bio = BIO_new_mem_buf(ca.bytes.data, (int)ca.bytes.length);
        X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        unsigned char *out = NULL;

        der.length = (apr_size_t)i2d_X509(certificate, &out);
        der.data = apr_pmemdup(test_pool, out, der.length);
        OPENSSL_free(out);
        X509_free(certificate);
        BIO_free(bio);
    }
    /* its key usage alone refuses it already */
    assert_failure(escrow_recipient_read(&recipient, der, apr_time_now(), test_pool, &result),
                   "GH1130", "key usage");
}

/* Completion */

static escrow_set_t set;

static escrow_document_t complete(const char *format, const char *skeleton, const char *key,
                                  escrow_output_t *output)
{
    gh_bytes_t der = device_certificate(key, DEVICE, NULL, NULL, "rsa2048-10");
    escrow_document_t document;
    escrow_template_t *template;

    output->opener = opener;
    output->profile = "P";
    if (escrow_template_read(&template, format, bytes_of(skeleton), test_pool, &result)
        != APR_SUCCESS
        || escrow_complete(&document, template, &set, read_recipient(der), output, test_pool,
                           &result) != APR_SUCCESS)
        fail_msg("%s %s", result.number, result.message);
    return document;
}

static const char *slurp(const char *name)
{
    gh_file_t file;

    assert_int_equal(gh_file_read(&file, scratch_path(name), test_pool, NULL), APR_SUCCESS);
    return apr_pstrmemdup(test_pool, (const char *)file.bytes.data, file.bytes.length);
}

/* What openssl makes of an envelope, with the device's key. */
static const char *decrypt(gh_bytes_t der, const char *key)
{
    FILE *file = fopen(scratch_path("envelope.der"), "w");

    fwrite(der.data, 1, der.length, file);
    fclose(file);
    run("openssl cms -decrypt -binary -inform DER -in %s -inkey " TEST_SRCDIR
        "/tests/fixtures/keys/%s.pem -out %s", scratch_path("envelope.der"), key,
        scratch_path("plain"));
    return slurp("plain");
}

/** The text between two others, from a place on. */
static const char *between(const char *text, const char *begin, const char *end)
{
    const char *from = strstr(text, begin), *to;

    if (from == NULL || (to = strstr(from + strlen(begin), end)) == NULL)
        fail_msg("no %s in %s", begin, text);
    return apr_pstrmemdup(test_pool, from + strlen(begin), (apr_size_t)(to - from) - strlen(begin));
}

static void use_credentials(void)
{
    memset(&set, 0, sizeof(set));
    escrow_set_add(&set, ESCROW_SIGNING, fixture_credential("signing", ESCROW_SIGNING), test_pool);
    escrow_set_add(&set, ESCROW_ENCRYPTION, fixture_credential("encryption", ESCROW_ENCRYPTION),
                   test_pool);
}

static void assert_is_credential(const char *base64, const char *password, const char *subject)
{
    gh_bytes_t der = gh_base64_decode(base64, test_pool);
    escrow_credential_t *credential;

    assert_int_equal(escrow_pkcs12_open(&credential, opener, der, password, ESCROW_ARCHIVED,
                                        apr_time_now(), test_pool, &result), APR_SUCCESS);
    assert_string_equal(credential->subject, subject);
}

static const char *payloads_of(const escrow_document_t *document, const char *key)
{
    const char *text = apr_pstrmemdup(test_pool, (const char *)document->bytes.data,
                                      document->bytes.length);
    const char *envelope = between(text, "<key>EncryptedPayloadContent</key><data>", "</data>");

    assert_non_null(strstr(text, "<key>IsEncrypted</key><true/>"));
    assert_non_null(strstr(text, "<string>Mail of signer@example.com</string>"));
    assert_non_null(strstr(text, "-//Apple//DTD PLIST 1.0//EN"));
    assert_null(strstr(text, "<key>PayloadContent</key>"));
    assert_null(strstr(text, "pkcs12"));
    return decrypt(gh_base64_decode(envelope, test_pool), key);
}

static void test_mobileconfig(void **state)
{
    static const char skeleton[] = HEAD CERTIFICATE("SIG", "signing[0]")
        CERTIFICATE("ENC", "encryption[0]") CERTIFICATE("ARC", "archived[*]") MAIL TAIL;
    escrow_output_t output = { .generation = 1 };
    escrow_document_t document;
    const char *plain;

    use_credentials();
    document = complete("mobileconfig", skeleton, "rsa2048-05", &output);
    assert_string_equal(document.type, "application/x-apple-aspen-config");
    plain = payloads_of(&document, "rsa2048-05");
    assert_non_null(strstr(plain, "<plist version=\"1.0\"><array>"));
    assert_is_credential(between(plain, "<data>", "</data>"),
                         between(plain, "<key>Password</key><string>", "</string>"), "CN=signer");
    plain = strstr(plain, "<string>ENC</string>");
    assert_is_credential(between(plain, "<data>", "</data>"),
                         between(plain, "<key>Password</key><string>", "</string>"), "CN=cipher");
    /* nothing is archived, so nothing speaks of it; the rest is as it was */
    assert_null(strstr(plain, "ARC"));
    assert_null(strstr(plain, "<key>Old</key>"));
    assert_non_null(strstr(plain, "<key>SMIMESigningCertificateUUID</key><string>SIG</string>"));
    assert_non_null(strstr(plain, "<key>SMIMEEncryptionCertificateUUID</key><string>ENC</string>"));
    assert_non_null(strstr(plain, "<key>SMIMESigningUserOverrideable</key><true/>"));
    assert_non_null(strstr(plain, "<key>All</key><array/>"));
}

static const char *archived_uuids(apr_int64_t generation, const char **first, const char **second)
{
    static const char skeleton[] = HEAD CERTIFICATE("ARC", "archived[*]") MAIL TAIL;
    escrow_output_t output = { .generation = generation };
    escrow_document_t document = complete("mobileconfig", skeleton, "rsa2048-05", &output);
    const char *plain = payloads_of(&document, "rsa2048-05"), *rest;

    *first = between(plain, "<key>PayloadUUID</key><string>", "</string>");
    rest = strstr(plain, *first);
    *second = between(rest, "<key>PayloadUUID</key><string>", "</string>");
    return plain;
}

static void test_repeated(void **state)
{
    const char *plain, *first, *second, *again, *other;

    use_credentials();
    escrow_set_add(&set, ESCROW_ARCHIVED, fixture_credential("pbes2", ESCROW_ARCHIVED), test_pool);
    escrow_set_add(&set, ESCROW_ARCHIVED, fixture_credential("p256", ESCROW_ARCHIVED), test_pool);
    plain = archived_uuids(1, &first, &second);
    assert_int_equal(strlen(first), 36);
    assert_string_not_equal(first, second);
    assert_null(strstr(plain, "ARC</string>"));
    assert_non_null(strstr(plain, apr_psprintf(test_pool, "id.ARC.%.8s</string>", first)));
    assert_non_null(strstr(plain, apr_psprintf(test_pool, "<key>Old</key><string>%s</string>",
                                               first)));
    assert_non_null(strstr(plain, apr_psprintf(
        test_pool, "<array><string>%s</string><string>%s</string></array>", first, second)));
    assert_is_credential(between(plain, "<data>", "</data>"),
                         between(plain, "<key>Password</key><string>", "</string>"), "CN=alice");
    plain = strstr(plain, second);
    assert_is_credential(between(plain, "<data>", "</data>"),
                         between(plain, "<key>Password</key><string>", "</string>"), "CN=curve");
    /* the same after a crash, others with the next generation */
    archived_uuids(1, &again, &other);
    assert_string_equal(first, again);
    assert_string_equal(second, other);
    archived_uuids(2, &again, &other);
    assert_string_not_equal(first, again);
}

static void test_passwords_are_new_each_time(void **state)
{
    escrow_output_t output = { .generation = 1 };
    escrow_document_t one, two;

    use_credentials();
    one = complete("text", "{{escrow.signing[0].password}}", "rsa2048-05", &output);
    two = complete("text", "{{escrow.signing[0].password}}", "rsa2048-05", &output);
    assert_string_not_equal(decrypt(one.bytes, "rsa2048-05"), decrypt(two.bytes, "rsa2048-05"));
}

static void test_json_and_xml_and_text(void **state)
{
    escrow_output_t output = { .generation = 1 };
    escrow_credential_t *odd = fixture_credential("signing", ESCROW_SIGNING);
    escrow_document_t document;
    const char *plain;

    memset(&set, 0, sizeof(set));
    odd->subject = "CN=a\"<&>'\\b";
    escrow_set_add(&set, ESCROW_SIGNING, odd, test_pool);
    document = complete("json", "{\"k\": \"{{escrow.signing[0].pkcs12}}\", \"p\": "
                        "\"{{escrow.signing[0].password}}\", \"s\": [\"{{escrow.signing[0]."
                        "subject}}\", 1]}", "rsa2048-05", &output);
    assert_string_equal(document.type, "application/pkcs7-mime; smime-type=enveloped-data");
    plain = decrypt(document.bytes, "rsa2048-05");
    assert_is_credential(between(plain, "\"k\": \"", "\""), between(plain, "\"p\": \"", "\""),
                         "CN=signer");
    assert_non_null(strstr(plain, "\"CN=a\\\"<&>'\\\\b\""));
    document = complete("xml", "<a b='{{escrow.signing[0].subject}}'><k>{{escrow.signing[0].pkcs12"
                        "}}</k>{{escrow.signing[0].subject}}<p>{{escrow.signing[0].password}}</p>"
                        "</a>", "rsa2048-05", &output);
    plain = decrypt(document.bytes, "rsa2048-05");
    assert_is_credential(between(plain, "<k>", "</k>"), between(plain, "<p>", "</p>"),
                         "CN=signer");
    assert_non_null(strstr(plain, "<a b=\"CN=a&quot;&lt;&amp;&gt;'\\b\">"));
    assert_non_null(strstr(plain, "</k>CN=a\"&lt;&amp;&gt;'\\b<p>"));
    document = complete("text", "{{escrow.signing[0].thumbprint}} {{escrow.signing[0].email}} "
                        "{{escrow.signing[0].not_after}} {{escrow.signing[0].certificate}}\n",
                        "rsa2048-05", &output);
    plain = decrypt(document.bytes, "rsa2048-05");
    assert_int_equal(strspn(plain, "0123456789abcdef"), 64);
    assert_non_null(strstr(plain, " signer@example.com 2"));
}

static void test_something_is_missing(void **state)
{
    gh_bytes_t der = device_certificate("rsa2048-05", DEVICE, NULL, NULL, "rsa2048-10");
    escrow_output_t output = { .opener = opener, .profile = "P" };
    escrow_document_t document;
    escrow_template_t *template;

    use_credentials();
    assert_int_equal(escrow_template_read(&template, "text",
                                          bytes_of("{{escrow.encryption[1].pkcs12}}"), test_pool,
                                          &result), APR_SUCCESS);
    assert_failure(escrow_complete(&document, template, &set, read_recipient(der), &output,
                                   test_pool, &result), "GH1140", "encryption[1]");
    assert_int_equal(document.bytes.length, 0);
}

static void test_kinds_of_recipients(void **state)
{
    static const char *const keys[] = { "p256-01", "p384-01", "p521-01", "rsa3072-01" };
    escrow_output_t oaep = { .transport = ESCROW_TRANSPORT_OAEP }, plain = { .generation = 1 };
    apr_size_t i;

    use_credentials();
    for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        assert_string_equal(decrypt(complete("text", "{{escrow.signing[0].email}}", keys[i],
                                             &plain).bytes, keys[i]), "signer@example.com");
    assert_string_equal(decrypt(complete("text", "{{escrow.signing[0].email}}", "rsa2048-05",
                                         &oaep).bytes, "rsa2048-05"), "signer@example.com");
    run("openssl cms -cmsout -print -inform DER -in %s | grep -q rsaesOaep",
        scratch_path("envelope.der"));
    run("openssl cms -cmsout -print -inform DER -in %s | grep -q aes-256-cbc",
        scratch_path("envelope.der"));
}

static void test_signed(void **state)
{
    static const char skeleton[] = HEAD CERTIFICATE("SIG", "signing[0]") MAIL TAIL;
    const char *ca = device_ca("rsa2048-10"), *key = scratch_path("signer.key");
    escrow_output_t output = { .generation = 1 };
    escrow_signer_t *signer;
    gh_bytes_t handed;
    escrow_document_t document;
    FILE *file;

    use_credentials();
    write_key(key, fixture_key("rsa2048-10"), 0, NULL);
    assert_int_equal(escrow_signer_open(&signer, ca, key, NULL, apr_time_now(), test_pool,
                                        &result), APR_SUCCESS);
    assert_int_equal(escrow_signer_print(&handed, signer, test_pool, &result), APR_SUCCESS);
    assert_int_equal(escrow_signer_parse(&signer, handed, NULL, NULL, test_pool, &result),
                     APR_SUCCESS);
    output.signer = signer;
    document = complete("mobileconfig", skeleton, "rsa2048-05", &output);
    file = fopen(scratch_path("signed.der"), "w");
    fwrite(document.bytes.data, 1, document.bytes.length, file);
    fclose(file);
    run("openssl cms -verify -binary -inform DER -in %s -CAfile %s -purpose any -out %s",
        scratch_path("signed.der"), ca, scratch_path("content"));
    assert_non_null(strstr(slurp("content"), "<key>EncryptedPayloadContent</key>"));
    write_key(scratch_path("other.key"), fixture_key("rsa2048-09"), 0, NULL);
    assert_failure(escrow_signer_open(&signer, ca, scratch_path("other.key"), NULL, apr_time_now(),
                                      test_pool, &result), "GH1134", "do not belong");
    assert_failure(escrow_signer_parse(&signer, bytes_of("nothing"), NULL, NULL, test_pool,
                                       &result),
                   "GH1134", "no certificate");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_names_the_device, x509_test_teardown),
        cmocka_unit_test_teardown(test_names_that_we_know, x509_test_teardown),
        cmocka_unit_test_teardown(test_issued_by_a_device_ca, x509_test_teardown),
        cmocka_unit_test_teardown(test_what_recipients_must_be, x509_test_teardown),
        cmocka_unit_test_teardown(test_mobileconfig, x509_test_teardown),
        cmocka_unit_test_teardown(test_repeated, x509_test_teardown),
        cmocka_unit_test_teardown(test_passwords_are_new_each_time, x509_test_teardown),
        cmocka_unit_test_teardown(test_json_and_xml_and_text, x509_test_teardown),
        cmocka_unit_test_teardown(test_something_is_missing, x509_test_teardown),
        cmocka_unit_test_teardown(test_kinds_of_recipients, x509_test_teardown),
        cmocka_unit_test_teardown(test_signed, x509_test_teardown)
    };

    return cmocka_run_group_tests(tests, escrow_group_setup, escrow_group_teardown);
}
