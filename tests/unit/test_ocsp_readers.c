/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* From CRLs, lists of serials and index.txt to an index: what is taken up, and what is not. */

#include "x509_support.h"

#include <apr_strings.h>
#include <openssl/ui.h>

#include "ocsp_reader_support.h"
#include "status.h"
#include "store/certificates.h"

static void test_crl(void **state)
{
    ocsp_document_t *crl = CRL_OF(&plain, { "01AB", 1, NOW - 2 * HOUR }, { "02", HOLD, 0 },
                                  { "03", 0, 0 });
    const ocsp_document_info_t *info = ocsp_document_info(crl);
    gh_index_t *index = BUILT(1, crl);
    gh_known_t known = find(index, "01ab");

    assert_string_equal(info->number, "0a");
    assert_int_equal(info->entries, 3);
    assert_int_equal(info->this_update, NOW - HOUR);
    assert_int_equal(known.state, GH_KNOWN_REVOKED);
    assert_int_equal(known.reason, 1);
    assert_int_equal(known.revoked_at, NOW - 2 * HOUR);
    assert_true(known.version > 0);
    assert_int_equal(find(index, "02").state, GH_KNOWN_HELD);
    known = find(index, "03");
    assert_int_equal(known.state, GH_KNOWN_REVOKED);
    assert_int_equal(known.reason, GH_REASON_NONE);
    assert_int_equal(find(index, "04").state, GH_KNOWN_NOT);
    assert_int_equal(gh_index_info(index)->complete, 0);
    assert_int_equal(gh_index_info(index)->this_update, NOW - HOUR);
    assert_int_equal(gh_index_info(index)->next_update, NOW + HOUR);
    assert_int_equal(gh_index_info(index)->revoked, 3);
    assert_int_equal(gh_index_info(index)->expired_on_crl, 0);
}

static void test_crl_in_pem_and_without_entries(void **state)
{
    crl_t what = plain;
    gh_index_t *index;

    what.pem = 1;
    what.expired_on_crl = 1;
    index = BUILT(1, read_as(OCSP_DOCUMENT_CRL, 0, make_crl(ca, &what, NULL, 0)));
    assert_int_equal(gh_index_info(index)->revoked, 0);
    assert_int_equal(gh_index_info(index)->expired_on_crl, apr_time_from_sec(1577836800));
}

static void test_crl_refused(void **state)
{
    crl_t what = plain;
    gh_bytes_t bytes, none = { (const unsigned char *)"", 0 };
    unsigned char *data;

    refused(OCSP_DOCUMENT_CRL, none, NULL, APR_EINVAL, "GH0685");
    refused(OCSP_DOCUMENT_CRL, text("<html>404</html>"), NULL, APR_EINVAL, "GH0704");
    what.issuer = "Other";
    refused(OCSP_DOCUMENT_CRL, make_crl(ca, &what, NULL, 0), NULL, GH_EREFUSED, "GH0694");
    what = plain;
    what.signer = "rsa2048-02";
    refused(OCSP_DOCUMENT_CRL, make_crl(ca, &what, NULL, 0), NULL, GH_EREFUSED, "GH0696");
    bytes = make_crl(ca, &plain, (const revoked_t[]){ { "05", 1, 0 } }, 1);
    data = apr_pmemdup(test_pool, bytes.data, bytes.length);
    data[bytes.length - 3] ^= 1;
    bytes.data = data;
    refused(OCSP_DOCUMENT_CRL, bytes, NULL, GH_EREFUSED, "GH0696");
    what = plain;
    what.critical = "1.2.3.4.5";
    refused(OCSP_DOCUMENT_CRL, make_crl(ca, &what, NULL, 0), NULL, GH_EREFUSED, "GH0693");
    what = plain;
    what.this_update = NOW + HOUR;
    what.next_update = NOW + 2 * HOUR;
    refused(OCSP_DOCUMENT_CRL, make_crl(ca, &what, NULL, 0), NULL, GH_EREFUSED, "GH0699");
    what = plain;
    what.next_update = NOW - HOUR / 2;
    refused(OCSP_DOCUMENT_CRL, make_crl(ca, &what, NULL, 0), NULL, GH_EREFUSED, "GH0700");
    serve_expired = 1;
    read_as(OCSP_DOCUMENT_CRL, 0, make_crl(ca, &what, NULL, 0));
}

static void test_crl_without_end(void **state)
{
    crl_t what = plain;

    what.next_update = 0;
    refused(OCSP_DOCUMENT_CRL, make_crl(ca, &what, NULL, 0), NULL, GH_EREFUSED, "GH0767");
    serve_expired = 1;
    refused(OCSP_DOCUMENT_CRL, make_crl(ca, &what, NULL, 0), NULL, GH_EREFUSED, "GH0767");
    authority.serve_endless = 1;
    read_as(OCSP_DOCUMENT_CRL, 0, make_crl(ca, &what, NULL, 0));
}

static int asked;

static int note_question(UI *ui)
{
    ++asked;
    return 0;
}

static void test_nobody_is_asked_for_a_pass_phrase(void **state)
{
    UI_METHOD *terminal = UI_create_method("terminal");

    UI_method_set_opener(terminal, note_question);
    UI_set_default_method(terminal);
    refused(OCSP_DOCUMENT_CRL, text("-----BEGIN X509 CRL-----\nProc-Type: 4,ENCRYPTED\n"
                                    "DEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n"
                                    "AAAAAAAAAAAAAAAAAAAAAA==\n-----END X509 CRL-----\n"), NULL,
            APR_EINVAL, "GH0704");
    UI_set_default_method(NULL);
    UI_destroy_method(terminal);
    assert_int_equal(asked, 0);
}

static void test_strange_serials_are_counted(void **state)
{
    ocsp_document_t *crl = CRL_OF(&plain, { "-05", 1, 0 }, { "01", 1, 0 },
                                  { "01000000000000000000000000000000000000000000", 1, 0 });

    assert_int_equal(ocsp_document_info(crl)->entries, 1);
    assert_int_equal(ocsp_document_info(crl)->strange, 2);
    assert_int_equal(ocsp_document_info(CRL_OF(&plain, { "05", 1, 0 }))->strange, 0);
}

static void test_crl_of_a_ca_that_may_not_sign_any(void **state)
{
    X509 *certificate = X509_dup(gh_ca_certificate(ca));
    int at = X509_get_ext_by_NID(certificate, NID_key_usage, -1);
    X509_EXTENSION *usage = X509V3_EXT_nconf(NULL, NULL, "keyUsage", "critical,keyCertSign");

    X509_EXTENSION_free(X509_delete_ext(certificate, at));
    assert_int_equal(X509_add_ext(certificate, usage, at), 1);
    X509_EXTENSION_free(usage);
    assert_true(X509_sign(certificate, fixture_key("rsa2048-01"), EVP_sha256()) > 0);
    authority.certificate = certificate;
    refused(OCSP_DOCUMENT_CRL, make_crl(ca, &plain, NULL, 0), NULL, GH_EREFUSED, "GH0695");
    X509_free(certificate);
}

static void test_older_crls_are_refused(void **state)
{
    ocsp_document_info_t former = *ocsp_document_info(CRL_OF(&plain, { "01", 1, 0 }));
    crl_t what = plain;

    what.number = "09";
    refused(OCSP_DOCUMENT_CRL, make_crl(ca, &what, NULL, 0), &former, GH_EREFUSED, "GH0701");
    what = plain;
    what.this_update -= HOUR;
    refused(OCSP_DOCUMENT_CRL, make_crl(ca, &what, NULL, 0), &former, GH_EREFUSED, "GH0701");
    what = plain;
    what.number = NULL;
    refused(OCSP_DOCUMENT_CRL, make_crl(ca, &what, NULL, 0), &former, GH_EREFUSED, "GH0701");
    apr_cpystrn(former.number, "ff", sizeof(former.number));
    what.number = "0100";
    read_as(OCSP_DOCUMENT_CRL, 0, make_crl(ca, &what, NULL, 0));
}

static void test_delta(void **state)
{
    crl_t base = plain, delta = plain;
    ocsp_document_t *complete, *changes;
    gh_index_t *index;

    complete = CRL_OF(&base, { "01", 1, 0 }, { "02", HOLD, 0 }, { "03", HOLD, 0 });
    delta.number = "0C";
    delta.base = "0A";
    delta.this_update = NOW - HOUR / 2;
    delta.next_update = NOW + HOUR / 4;
    changes = read_as(OCSP_DOCUMENT_DELTA, 0,
                      make_crl(ca, &delta, (const revoked_t[]){ { "02", REMOVE, 0 }, { "03", 4, 0 },
                                                            { "04", 5, 0 } }, 3));
    index = BUILT(2, complete, changes);
    assert_int_equal(find(index, "01").state, GH_KNOWN_REVOKED);
    assert_int_equal(find(index, "02").state, GH_KNOWN_NOT);
    assert_int_equal(find(index, "03").state, GH_KNOWN_REVOKED);
    assert_int_equal(find(index, "03").reason, 4);
    assert_int_equal(find(index, "04").state, GH_KNOWN_REVOKED);
    assert_int_equal(gh_index_info(index)->this_update, NOW - HOUR / 2);
    assert_int_equal(gh_index_info(index)->next_update, NOW + HOUR / 4);
}

static void test_delta_that_does_not_fit(void **state)
{
    crl_t delta = plain;
    ocsp_document_t *documents[2] = { CRL_OF(&plain, { "01", 1, 0 }) };
    gh_index_info_t info;

    /* made for a later complete CRL */
    delta.number = "0E";
    delta.base = "0B";
    documents[1] = read_as(OCSP_DOCUMENT_DELTA, 0, make_crl(ca, &delta, NULL, 0));
    assert_int_equal(build_all(documents, 2, NULL, NOW, &info), GH_EREFUSED);
    assert_string_equal(result.number, "GH0705");
    /* for other certificates */
    delta.base = "0A";
    delta.scope = "critical,onlyuser:TRUE";
    documents[1] = read_as(OCSP_DOCUMENT_DELTA, 0, make_crl(ca, &delta, NULL, 0));
    assert_int_equal(build_all(documents, 2, NULL, NOW, &info), GH_EREFUSED);
    assert_string_equal(result.number, "GH0706");
    /* older than the complete CRL: of no use, and no harm */
    delta.scope = NULL;
    delta.number = "08";
    delta.base = "07";
    documents[1] = read_as(OCSP_DOCUMENT_DELTA, 0,
                           make_crl(ca, &delta, (const revoked_t[]){ { "01", REMOVE, 0 } }, 1));
    assert_success(build_all(documents, 2, NULL, NOW, &info));
    assert_int_equal(find(open_index(), "01").state, GH_KNOWN_REVOKED);
    /* in the place of each other */
    refused(OCSP_DOCUMENT_CRL, make_crl(ca, &delta, NULL, 0), NULL, GH_EREFUSED, "GH0698");
    refused(OCSP_DOCUMENT_DELTA, make_crl(ca, &plain, NULL, 0), NULL, GH_EREFUSED, "GH0698");
}

static ocsp_document_t *partition(int source, const char *scope, const char *serial)
{
    revoked_t entry = { serial, 1, 0 };
    crl_t what = plain;

    what.scope = scope;
    return read_as(OCSP_DOCUMENT_CRL, source, make_crl(ca, &what, &entry, 1));
}

static void test_partitions(void **state)
{
    gh_index_t *index = BUILT(3,
                              partition(0, "critical,fullname:URI:http://a/1,onlyuser:TRUE", "01"),
                              partition(1, "critical,fullname:URI:http://a/2,onlyuser:TRUE", "02"),
                              partition(2, "critical,onlyCA:TRUE", "03"));

    assert_int_equal(find(index, "01").state, GH_KNOWN_REVOKED);
    assert_int_equal(find(index, "02").state, GH_KNOWN_REVOKED);
    assert_int_equal(find(index, "03").state, GH_KNOWN_REVOKED);
}

static void partitions_refused(const char *number, ocsp_document_t *one, ocsp_document_t *two)
{
    ocsp_document_t *documents[2] = { one, two };
    gh_index_info_t info;

    assert_int_equal(build_all(documents, two ? 2 : 1, NULL, NOW, &info), GH_EREFUSED);
    assert_string_equal(result.number, number);
    assert_string_not_equal(result.action, "");
}

static void test_partitions_refused(void **state)
{
    /* the same twice */
    partitions_refused("GH0692", partition(0, NULL, "01"), partition(1, NULL, "02"));
    partitions_refused("GH0692", partition(0, "critical,fullname:URI:http://a/1", "01"),
                       partition(1, "critical,fullname:URI:http://a/1", "02"));
    /* the other half is missing */
    partitions_refused("GH0691", partition(0, "critical,onlyCA:TRUE", "01"), NULL);
    partitions_refused("GH0691", partition(0, "critical,onlysomereasons:keyCompromise", "01"),
                       NULL);
    /* there are other points, or ought to be */
    partitions_refused("GH0766", partition(0, "critical,fullname:URI:http://a/1", "01"), NULL);
    partitions_refused("GH0766", partition(0, "critical,fullname:URI:http://a/1,onlyuser:TRUE",
                                           "01"),
                       partition(1, "critical,onlyCA:TRUE", "02"));
    partitions_refused("GH0766", partition(0, "critical,fullname:URI:http://a/1,onlyuser:TRUE",
                                           "01"),
                       partition(1, "critical,fullname:URI:http://a/2,onlyCA:TRUE", "02"));
    /* not for us at all */
    refused(OCSP_DOCUMENT_CRL, make_crl(ca, &(crl_t){ .number = "0A", .this_update = NOW - HOUR,
            .next_update = NOW + HOUR, .scope = "critical,indirectCRL:TRUE" }, NULL, 0), NULL,
            GH_EREFUSED, "GH0702");
    refused(OCSP_DOCUMENT_CRL, make_crl(ca, &(crl_t){ .number = "0A", .this_update = NOW - HOUR,
            .next_update = NOW + HOUR, .scope = "critical,onlyAA:TRUE" }, NULL, 0), NULL,
            GH_EREFUSED, "GH0702");
}

static void test_partition_that_is_the_whole(void **state)
{
    gh_index_t *index;

    whole = 1;
    index = BUILT(1, partition(0, "critical,fullname:URI:http://a/1", "01"));
    assert_int_equal(find(index, "01").state, GH_KNOWN_REVOKED);
    index = BUILT(2, partition(0, "critical,fullname:URI:http://a/1,onlyuser:TRUE", "01"),
                  partition(1, "critical,fullname:URI:http://a/2,onlyCA:TRUE", "02"));
    assert_int_equal(find(index, "02").state, GH_KNOWN_REVOKED);
    /* and then there is no other one */
    partitions_refused("GH0692", partition(0, "critical,fullname:URI:http://a/1", "01"),
                       partition(1, "critical,fullname:URI:http://a/2", "02"));
}

/* expired=serve is of one source: the end of others still counts. */
static void test_the_end_of_partitions(void **state)
{
    static const char *const scopes[] = {
        "critical,fullname:URI:http://a/1", "critical,fullname:URI:http://a/2"
    };
    crl_t soon = plain, late = plain;
    ocsp_document_t *first, *second;

    soon.scope = scopes[0];
    soon.next_update = NOW - HOUR / 2;
    late.scope = scopes[1];
    serve_expired = 1;
    first = CRL_OF(&soon, { "01", 1, 0 });
    serve_expired = 0;
    refused(OCSP_DOCUMENT_CRL, make_crl(ca, &soon, NULL, 0), NULL, GH_EREFUSED, "GH0700");
    second = CRL_OF(&late, { "02", 1, 0 });
    assert_int_equal(gh_index_info(BUILT(2, first, second))->next_update, late.next_update);
    serve_expired = 1;
    second = CRL_OF(&late, { "02", 1, 0 });
    assert_int_equal(gh_index_info(BUILT(2, first, second))->next_update, soon.next_update);
}

static void test_serials(void **state)
{
    ocsp_document_t *list = read_as(OCSP_DOCUMENT_SERIALS, 1,
                                    text("# issued\r\n00B201\r\n0xb202\n\n b2:03 # a comment\n"
                                         "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF\n9\n"));
    gh_index_t *index;

    assert_int_equal(ocsp_document_info(list)->entries, 5);
    index = BUILT(2, CRL_OF(&plain, { "B202", 1, 0 }, { "CC", 1, 0 }), list);
    assert_int_equal(find(index, "B201").state, GH_KNOWN_GOOD);
    assert_int_equal(find(index, "B201").version, 0);
    assert_int_equal(find(index, "B202").state, GH_KNOWN_REVOKED);
    assert_int_equal(find(index, "B203").state, GH_KNOWN_GOOD);
    assert_int_equal(find(index, "09").state, GH_KNOWN_GOOD);
    /* revoked and not in the list: revoked */
    assert_int_equal(find(index, "CC").state, GH_KNOWN_REVOKED);
    assert_int_equal(find(index, "CD").state, GH_KNOWN_NOT);
    assert_int_equal(gh_index_info(index)->complete, 1);
}

static void test_serials_refused(void **state)
{
    ocsp_document_info_t former = { .entries = 10 };

    refused(OCSP_DOCUMENT_SERIALS, text("01\nxyz\n02\n"), NULL, APR_EINVAL, "GH0689");
    assert_non_null(strstr(result.message, "line 2"));
    refused(OCSP_DOCUMENT_SERIALS, text("01\n000102030405060708090a0b0c0d0e0f10111213141516\n"),
            NULL, APR_EINVAL, "GH0689");
    refused(OCSP_DOCUMENT_SERIALS, text("# nothing\n\n"), NULL, APR_EINVAL, "GH0687");
    refused(OCSP_DOCUMENT_SERIALS, text("1\n2\n3\n4\n5\n6\n7\n8\n"), &former, GH_EREFUSED,
            "GH0688");
    former.entries = 8;
    {
        ocsp_fetched_t what = fetched(OCSP_DOCUMENT_SERIALS, 0, text("1\n2\n3\n4\n5\n6\n7\n8\n"));
        ocsp_document_t *document;

        what.former = &former;
        assert_success(ocsp_document_read(&document, &what, &authority, NOW, test_pool, &result));
    }
}

static const char index_txt[] =
    "V\t301231235959Z\t\t1000\tunknown\t/CN=one\n"
    "R\t301231235959Z\t260101000000Z,keyCompromise\t1001\tunknown\t/CN=two\n"
    "R\t20301231235959Z\t20260102000000Z\t1002\tunknown\t/CN=three\n"
    "R\t301231235959Z\t260101000000Z,holdInstruction,holdInstructionReject\t1003\tunknown\t/CN=4\n"
    "R\t301231235959Z\t260103000000Z,keyTime,20260102000000Z\t1004\tunknown\t/CN=5\n"
    "E\t200101000000Z\t\t1005\tunknown\t/CN=6\n"
    "R\t301231235959Z\t260101000000Z,certificateHold\t1006\tunknown\t/CN=7\n";

static void test_index_txt(void **state)
{
    gh_index_t *index = BUILT(1, read_as(OCSP_DOCUMENT_INDEX, 0, text(index_txt)));
    gh_known_t known;

    assert_int_equal(find(index, "1000").state, GH_KNOWN_GOOD);
    known = find(index, "1001");
    assert_int_equal(known.state, GH_KNOWN_REVOKED);
    assert_int_equal(known.reason, 1);
    assert_int_equal(known.revoked_at, apr_time_from_sec(1767225600));
    known = find(index, "1002");
    assert_int_equal(known.state, GH_KNOWN_REVOKED);
    assert_int_equal(known.reason, GH_REASON_NONE);
    assert_int_equal(find(index, "1003").state, GH_KNOWN_HELD);
    known = find(index, "1004");
    assert_int_equal(known.reason, 1);
    assert_int_equal(known.invalid_from, apr_time_from_sec(1767312000));
    assert_int_equal(find(index, "1005").state, GH_KNOWN_GOOD);
    assert_int_equal(find(index, "1006").state, GH_KNOWN_HELD);
    assert_int_equal(find(index, "1007").state, GH_KNOWN_NOT);
    assert_int_equal(gh_index_info(index)->complete, 1);
}

static void test_index_txt_of_a_new_ca(void **state)
{
    ocsp_document_info_t former = { .entries = 0 };
    gh_bytes_t none = { NULL, 0 };
    gh_index_t *index = BUILT(1, read_as(OCSP_DOCUMENT_INDEX, 0, none));

    assert_int_equal(gh_index_info(index)->complete, 1);
    assert_int_equal(gh_index_info(index)->issued, 0);
    assert_int_equal(find(index, "1000").state, GH_KNOWN_NOT);
    former.entries = 1;
    refused(OCSP_DOCUMENT_INDEX, none, &former, GH_EREFUSED, "GH0770");
}

static void test_index_txt_refused(void **state)
{
    static const char *const lines[] = {
        "V\t301231235959Z\t\t1000\tunknown\n",
        "X\t301231235959Z\t\t1000\tunknown\t/CN=one\n",
        "V\t301231235959Z\t\t1000\tunknown\t/CN=one",
        "V\tsoon\t\t1000\tunknown\t/CN=one\n",
        "V\t301231235959Z\t\tnone\tunknown\t/CN=one\n",
        "V\t301231235959Z\t260101000000Z\t1000\tunknown\t/CN=one\n",
        "R\t301231235959Z\t\t1000\tunknown\t/CN=one\n",
        "R\t301231235959Z\t260101000000Z,because\t1000\tunknown\t/CN=one\n",
    };
    apr_size_t i;

    for (i = 0; i < sizeof(lines) / sizeof(lines[0]); ++i) {
        refused(OCSP_DOCUMENT_INDEX, text(lines[i]), NULL, APR_EINVAL, "GH0690");
    }
}

static void test_versions_stay_where_the_status_does(void **state)
{
    crl_t later = plain;
    gh_index_t *first = BUILT(1, CRL_OF(&plain, { "01", 1, 0 }, { "02", HOLD, 0 })), *second;
    apr_int64_t one = find(first, "01").version, two = find(first, "02").version;

    later.number = "0B";
    later.this_update = NOW - HOUR / 2;
    second = built_at(NOW, first, 1, CRL_OF(&later, { "01", 1, 0 }, { "02", 1, 0 }));
    assert_int_equal(find(second, "01").version, one);
    assert_true(find(second, "02").version > two);
}

static void test_retention(void **state)
{
    crl_t later = plain;
    gh_index_t *index = BUILT(1, CRL_OF(&plain, { "01", 4, 0 }, { "02", HOLD, 0 }));
    ocsp_document_t *empty, *list;
    gh_known_t known;

    later.number = "0B";
    later.this_update = NOW - HOUR / 2;
    later.next_update = NOW + 100 * HOUR;
    empty = read_as(OCSP_DOCUMENT_CRL, 0, make_crl(ca, &later, NULL, 0));
    assert_int_equal(find(built_at(NOW, index, 1, empty), "01").state, GH_KNOWN_NOT);
    authority.retention = 10 * HOUR;
    index = built_at(NOW, index, 1, empty);
    known = find(index, "01");
    assert_int_equal(known.state, GH_KNOWN_REVOKED);
    assert_int_equal(known.reason, 4);
    assert_int_equal(find(index, "02").state, GH_KNOWN_NOT);
    /* listed as issued, but revoked before */
    list = read_as(OCSP_DOCUMENT_SERIALS, 1, text("01\n02\n"));
    index = built_at(NOW + 5 * HOUR, index, 2, empty, list);
    assert_int_equal(find(index, "01").state, GH_KNOWN_REVOKED);
    assert_int_equal(find(index, "02").state, GH_KNOWN_GOOD);
    index = built_at(NOW + 11 * HOUR, index, 2, empty, list);
    assert_int_equal(find(index, "01").state, GH_KNOWN_GOOD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_crl, reader_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_crl_in_pem_and_without_entries, reader_setup,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_crl_refused, reader_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_crl_without_end, reader_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_nobody_is_asked_for_a_pass_phrase, reader_setup,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_strange_serials_are_counted, reader_setup,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_partition_that_is_the_whole, reader_setup,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_the_end_of_partitions, reader_setup,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_index_txt_of_a_new_ca, reader_setup,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_crl_of_a_ca_that_may_not_sign_any, reader_setup,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_older_crls_are_refused, reader_setup,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_delta, reader_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_delta_that_does_not_fit, reader_setup,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_partitions, reader_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_partitions_refused, reader_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_serials, reader_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_serials_refused, reader_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_index_txt, reader_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_index_txt_refused, reader_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_versions_stay_where_the_status_does, reader_setup,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_retention, reader_setup, x509_test_teardown),
    };

    return cmocka_run_group_tests_name("ocsp_readers", tests, x509_group_setup,
                                       x509_group_teardown);
}
