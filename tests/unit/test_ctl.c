/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* gatehousectl: what it does without httpd and without a store. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "ctl.h"
#include "ctl_arguments.h"
#include "ctl_ca.h"
#include "ctl_config.h"
#include "ctl_file.h"
#include "ctl_output.h"
#include "ctl_process.h"
#include "ctl_text.h"
#include "status.h"

static apr_pool_t *pool;

static const ctl_option_t globals[] = {
    { "config", 'f', "FILE", "" }, { "json", 0, NULL, "" }, { NULL, 0, NULL, NULL }
};
static const ctl_option_t own[] = {
    { "reason", 0, "REASON", "" }, { "pem", 0, NULL, "" }, { "san", 0, "NAME...", "" },
    { NULL, 0, NULL, NULL }
};
static const ctl_option_t *const tables[] = { own, globals, NULL };

static apr_status_t parse(ctl_arguments_t **arguments, int all, gh_result_t *result,
                          const char *const *argv)
{
    int argc = 0;

    while (argv[argc] != NULL) {
        argc++;
    }
    gh_result_clear(result);
    return ctl_arguments_parse(arguments, tables, argc, argv, all, pool, result);
}

static void test_arguments(void **state)
{
    static const char *const line[] = { "x", "01ab", "--reason=superseded", "-", "--json",
                                        "-f", "a.conf", "--", "--pem", NULL };
    ctl_arguments_t *arguments;
    gh_result_t result;

    assert_int_equal(parse(&arguments, 1, &result, line), APR_SUCCESS);
    assert_string_equal(ctl_option(arguments, "reason"), "superseded");
    assert_string_equal(ctl_option(arguments, "json"), "");
    assert_string_equal(ctl_option(arguments, "config"), "a.conf");
    assert_null(ctl_option(arguments, "pem"));
    assert_int_equal(ctl_operands(arguments), 3);
    assert_string_equal(ctl_operand(arguments, 0), "01ab");
    assert_string_equal(ctl_operand(arguments, 1), "-");
    assert_string_equal(ctl_operand(arguments, 2), "--pem");
    assert_null(ctl_operand(arguments, 3));
    assert_null(ctl_operand(arguments, -1));
}

static void test_arguments_until_operand(void **state)
{
    static const char *const line[] = { "x", "-f", "a.conf", "cert", "--unknown", NULL };
    ctl_arguments_t *arguments;
    gh_result_t result;

    assert_int_equal(parse(&arguments, 0, &result, line), APR_SUCCESS);
    assert_string_equal(ctl_option(arguments, "config"), "a.conf");
    assert_int_equal(ctl_operands(arguments), 2);
    assert_string_equal(ctl_operand(arguments, 1), "--unknown");
}

static void test_arguments_that_are_repeated(void **state)
{
    static const char *const line[] = { "x", "--san", "DNS:a", "01", "--san=DNS:b", NULL };
    static const char *const none[] = { "x", "01", NULL };
    static const char *const bare[] = { "x", "--san", NULL };
    ctl_arguments_t *arguments;
    const apr_array_header_t *values;
    gh_result_t result;

    assert_int_equal(parse(&arguments, 1, &result, line), APR_SUCCESS);
    values = ctl_option_all(arguments, "san");
    assert_int_equal(values->nelts, 2);
    assert_string_equal(APR_ARRAY_IDX(values, 0, const char *), "DNS:a");
    assert_string_equal(APR_ARRAY_IDX(values, 1, const char *), "DNS:b");
    assert_int_equal(ctl_operands(arguments), 1);
    assert_int_equal(parse(&arguments, 1, &result, none), APR_SUCCESS);
    assert_null(ctl_option_all(arguments, "san"));
    assert_int_equal(parse(&arguments, 1, &result, bare), APR_EINVAL);
    assert_string_equal(result.number, "GH0321");
}

static void test_arguments_refused(void **state)
{
    static const struct {
        const char *number;
        const char *line[6];
    } cases[] = {
        { "GH0321", { "x", "--reason", NULL } },
        { "GH0321", { "x", "-f", NULL } },
        { "GH0322", { "x", "--unknown", NULL } },
        { "GH0322", { "x", "-q", NULL } },
        { "GH0322", { "x", "--pem=yes", NULL } },
        { "GH0323", { "x", "--reason", "a", "--reason", "b", NULL } },
        { "GH0323", { "x", "--json", "--json", NULL } },
    };
    ctl_arguments_t *arguments;
    gh_result_t result;
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(parse(&arguments, 1, &result, cases[i].line), APR_EINVAL);
        assert_string_equal(result.number, cases[i].number);
    }
}

static void test_printable(void **state)
{
    static const struct {
        const char *text;
        const char *printable;
        int width;
    } cases[] = {
        { "CN=a", "CN=a", 4 },
        { "J\xc3\xb6rg", "J\xc3\xb6rg", 4 },
        { "\x1b[31mred", "?[31mred", 8 },
        { "a\nb\tc\x7f", "a?b?c?", 6 },
        { "c1 \xc2\x9b" "31m", "c1 ?31m", 7 },              /* CSI as one character */
        { "\xff\xc3(", "?\?(", 3 },
        { "\xed\xa0\x80", "???", 3 },                       /* a surrogate */
        { "\xc0\xaf", "??", 2 },                            /* overlong */
        { "\xf4\x90\x80\x80", "????", 4 },                  /* beyond U+10FFFF */
        { "\xe2\x82", "??", 2 },                            /* cut off */
        { "", "", 0 },
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_string_equal(ctl_text_printable(cases[i].text, pool), cases[i].printable);
        assert_int_equal(ctl_text_width(cases[i].printable), cases[i].width);
    }
}

static void test_directive(void **state)
{
    assert_string_equal(ctl_text_directive("/etc/a.pem", pool), "/etc/a.pem");
    assert_string_equal(ctl_text_directive("/my ca/a\"b", pool), "\"/my ca/a\\\"b\"");
    assert_string_equal(ctl_text_directive("", pool), "\"\"");
    assert_string_equal(ctl_ca_section("devices", "/c a.pem", "/k.key", "file:/p", "/r.pem", pool),
                        "<Issuer devices>\n"
                        "    IssuerCertificate  \"/c a.pem\"\n"
                        "    IssuerKey          /k.key passphrase=file:/p\n"
                        "    IssuerChain        /r.pem\n"
                        "    IssuerCRL          validity=7d publish=24h\n"
                        "</Issuer>\n");
    assert_string_equal(ctl_ca_offline_section("root", "/r.pem", NULL, "/a b.crl", pool),
                        "<Issuer root>\n"
                        "    IssuerBackend      offline\n"
                        "    IssuerCertificate  /r.pem\n"
                        "    IssuerCRL          \"file=/a b.crl\"\n"
                        "</Issuer>\n");
}

static void test_exit_codes(void **state)
{
    assert_int_equal(ctl_exit_code(APR_SUCCESS), 0);
    assert_int_equal(ctl_exit_code(GH_EREFUSED), 1);
    assert_int_equal(ctl_exit_code(GH_ECONFLICT), 1);
    assert_int_equal(ctl_exit_code(APR_EGENERAL), 1);
    assert_int_equal(ctl_exit_code(APR_NOTFOUND), 3);
    assert_int_equal(ctl_exit_code(GH_EUNAVAILABLE), 4);
    assert_int_equal(ctl_exit_code(GH_EUNKNOWN), 4);
    assert_int_equal(ctl_exit_code(GH_ECORRUPT), 4);
    assert_int_equal(ctl_exit_code(GH_ESTOPPED), 4);
    assert_int_equal(ctl_exit_code(GH_EBUSY), 4);
    assert_int_equal(ctl_exit_code(APR_EACCES), 4);
    assert_int_equal(ctl_exit_code(APR_ENOENT), 4);
}

static const char dump[] =
    "{\"version\":\"0.1.0\",\"store\":\"sqlite3:/s.db\",\"public_url\":null,\"sealing\":true,"
    "\"node\":\"n1\",\"audit_log\":\"/a\",\"unknown\":[1],"
    "\"run_as\":{\"user\":\"www-data\",\"uid\":33,\"group\":\"www-data\",\"gid\":34},"
    "\"server_root\":\"/r\",\"error_log\":\"/e\",\"listen\":[\"127.0.0.1:8080\"],"
    "\"issuers\":[{\"name\":\"devices\",\"backend\":\"local\",\"certificate\":\"/c\","
    "\"key\":\"/k\",\"passphrase\":null,\"chain\":\"/r\",\"crl_file\":null,"
    "\"crl_validity\":604800,\"crl_publish\":86400,\"crl_delay\":60}],"
    "\"profiles\":[{\"name\":\"scep-a\",\"aliases\":[\"old-a\"],\"approval\":\"manual\","
    "\"privileged\":false,\"internal\":false}],"
    "\"scep\":[{\"server\":\"s:80\",\"path\":\"/scep/t/devices/scep-a\",\"tenant\":\"t\","
    "\"issuer\":\"devices\",\"profile\":\"scep-a\",\"challenges\":[\"static\",\"onetime:x\"],"
    "\"algorithms\":[\"3des\"]},{\"server\":null,\"path\":null}]}";

static void test_config(void **state)
{
    ctl_config_t *config;
    const ctl_issuer_t *issuer;
    const ctl_endpoint_t *endpoint;
    gh_result_t result;

    assert_int_equal(ctl_config_parse(&config, dump, sizeof(dump) - 1, pool, &result),
                     APR_SUCCESS);
    assert_string_equal(config->store, "sqlite3:/s.db");
    assert_null(config->public_url);
    assert_int_equal(config->sealing, 1);
    assert_string_equal(config->user, "www-data");
    assert_int_equal(config->uid, 33);
    assert_int_equal(config->gid, 34);
    issuer = ctl_config_issuer(config, "devices");
    assert_non_null(issuer);
    assert_null(ctl_config_issuer(config, "Devices"));
    assert_true(issuer->crl_validity == apr_time_from_sec(604800));
    assert_null(issuer->passphrase);
    assert_ptr_equal(ctl_config_profile(config, "old-a"), ctl_config_profile(config, "scep-a"));
    assert_null(ctl_config_profile(config, "scep-b"));
    assert_int_equal(config->endpoints->nelts, 1);
    endpoint = APR_ARRAY_IDX(config->endpoints, 0, const ctl_endpoint_t *);
    assert_int_equal(endpoint->challenges->nelts, 2);
    assert_string_equal(APR_ARRAY_IDX(endpoint->challenges, 1, const char *), "onetime:x");
}

static void test_config_of_ocsp(void **state)
{
    static const char text[] =
        "{\"ocsp\":{\"directory\":\"/o\",\"authorities\":[{\"name\":\"devices\","
        "\"certificate\":\"/c\",\"issuer\":\"devices\",\"digest\":\"00ff\","
        "\"sources\":[{\"kind\":\"store\",\"url\":null}],\"unknown\":\"unauthorized\","
        "\"next_update\":\"crl\",\"unknown_next_update\":90,\"archive_cutoff\":\"date\","
        "\"archive_cutoff_date\":\"2020-01-31T00:00:00Z\",\"max_stale\":600,"
        "\"responder_id\":\"name\",\"serve_expired\":true,\"signers\":["
        "{\"source\":\"auto\",\"kind\":\"P-256\",\"profile\":\"basic-ocsp\"},"
        "{\"source\":\"files\",\"certificate\":\"/s\",\"key\":\"/k\",\"passphrase\":\"file:/p\"}]},"
        "{\"certificate\":\"/without-a-name\"}]}}";
    const ctl_authority_t *authority;
    const ctl_signer_t *signer;
    ctl_config_t *config;
    gh_result_t result;

    assert_int_equal(ctl_config_parse(&config, text, sizeof(text) - 1, pool, &result),
                     APR_SUCCESS);
    assert_int_equal(config->authorities->nelts, 1);
    authority = APR_ARRAY_IDX(config->authorities, 0, const ctl_authority_t *);
    assert_string_equal(authority->name, "devices");
    assert_string_equal(authority->certificate, "/c");
    assert_string_equal(config->ocsp_directory, "/o");
    assert_string_equal(authority->issuer, "devices");
    assert_string_equal(authority->digest, "00ff");
    assert_int_equal(authority->store, 1);
    assert_int_equal(authority->policy.if_unknown, OCSP_UNKNOWN_UNAUTHORIZED);
    assert_int_equal(authority->policy.next_update, OCSP_NEXT_UPDATE_OF_CRL);
    assert_int_equal(authority->policy.unknown_next_update, apr_time_from_sec(90));
    assert_int_equal(authority->policy.cutoff, OCSP_CUTOFF_DATE);
    assert_string_equal(gh_time_text(pool, authority->policy.cutoff_date),
                        "2020-01-31T00:00:00Z");
    assert_int_equal(authority->policy.max_stale, apr_time_from_sec(600));
    assert_int_equal(authority->policy.by_name, 1);
    assert_int_equal(authority->policy.serve_expired, 1);
    assert_int_equal(authority->signers->nelts, 2);
    signer = APR_ARRAY_IDX(authority->signers, 0, const ctl_signer_t *);
    assert_string_equal(signer->kind, "P-256");
    assert_null(signer->key);
    signer = APR_ARRAY_IDX(authority->signers, 1, const ctl_signer_t *);
    assert_null(signer->kind);
    assert_string_equal(signer->certificate, "/s");
    assert_string_equal(signer->key, "/k");
    assert_string_equal(signer->passphrase, "file:/p");
    assert_int_equal(ctl_config_parse(&config, "{}", 2, pool, &result), APR_SUCCESS);
    assert_int_equal(config->authorities->nelts, 0);
}

static void test_config_refused(void **state)
{
    static const char *const bad[] = { "", "[]", "{\"store\":", "Syntax OK", "{} x", "1" };
    ctl_config_t *config;
    gh_result_t result;
    size_t i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        gh_result_clear(&result);
        assert_int_equal(ctl_config_parse(&config, bad[i], strlen(bad[i]), pool, &result),
                         APR_EINVAL);
        assert_string_equal(result.number, "GH0324");
    }
    /* without "run_as", nobody is meant: not root */
    assert_int_equal(ctl_config_parse(&config, "{}", 2, pool, &result), APR_SUCCESS);
    assert_int_equal(config->uid, -1);
    assert_int_equal(config->gid, -1);
}

static const char *members(json_t *object)
{
    const char *all = "";
    const char *key;
    json_t *value;

    json_object_foreach(object, key, value) {
        all = apr_pstrcat(pool, all, *all != '\0' ? " " : "", key, NULL);
    }
    return all;
}

static gh_certificate_record_t certificate(void)
{
    static const unsigned char serial[] = { 0x0a, 0xff };
    static const unsigned char digest[32] = { 1 };
    gh_certificate_record_t record;

    memset(&record, 0, sizeof(record));
    record.issuer = "devices";
    record.serial.data = serial;
    record.serial.length = sizeof(serial);
    record.reason = GH_REASON_NONE;
    record.not_before = apr_time_from_sec(1000000000);
    record.not_after = apr_time_from_sec(2000000000);
    record.subject = "CN=a";
    record.sans = "[\"DNS:a.example\"]";
    record.profile = "scep-a";
    record.sha256.data = digest;
    record.sha256.length = sizeof(digest);
    return record;
}

static void test_certificate_status(void **state)
{
    gh_certificate_record_t record = certificate();
    apr_time_t within = apr_time_from_sec(1500000000);
    apr_time_t behind = apr_time_from_sec(2000000001);

    assert_string_equal(ctl_certificate_status(&record, within), "good");
    assert_string_equal(ctl_certificate_status(&record, behind), "expired");
    record.status = GH_STATUS_HELD;
    assert_string_equal(ctl_certificate_status(&record, within), "held");
    assert_string_equal(ctl_certificate_status(&record, behind), "expired");
    record.status = GH_STATUS_REVOKED;
    assert_string_equal(ctl_certificate_status(&record, within), "revoked");
    assert_string_equal(ctl_certificate_status(&record, behind), "revoked");
}

static void test_certificate_json(void **state)
{
    static const unsigned char zero[32];
    gh_certificate_record_t record = certificate();
    json_t *object = ctl_certificate_json(&record, record.not_before, pool);

    assert_string_equal(members(object), "serial issuer subject sans profile status reason "
                        "not_before not_after revoked_at sha256 enrolment");
    assert_string_equal(json_string_value(json_object_get(object, "serial")), "0aff");
    assert_string_equal(json_string_value(json_object_get(object, "status")), "good");
    assert_string_equal(json_string_value(json_object_get(object, "not_before")),
                        "2001-09-09T01:46:40Z");
    assert_true(json_is_null(json_object_get(object, "reason")));
    assert_true(json_is_null(json_object_get(object, "revoked_at")));
    assert_true(json_is_null(json_object_get(object, "enrolment")));
    assert_string_equal(json_string_value(json_array_get(json_object_get(object, "sans"), 0)),
                        "DNS:a.example");
    json_decref(object);

    record.status = GH_STATUS_REVOKED;
    record.reason = 1;
    record.revoked_at = apr_time_from_sec(1000000001);
    record.sans = "broken";
    record.profile = "";
    record.sha256.data = zero;
    object = ctl_certificate_json(&record, record.not_before, pool);
    assert_string_equal(json_string_value(json_object_get(object, "status")), "revoked");
    assert_string_equal(json_string_value(json_object_get(object, "reason")), "keyCompromise");
    assert_string_equal(json_string_value(json_object_get(object, "revoked_at")),
                        "2001-09-09T01:46:41Z");
    assert_true(json_is_array(json_object_get(object, "sans")));
    assert_true(json_is_null(json_object_get(object, "profile")));
    assert_true(json_is_null(json_object_get(object, "sha256")));
    json_decref(object);
}

static void test_enrolment_json(void **state)
{
    gh_enrolment_record_t record;
    json_t *object;

    memset(&record, 0, sizeof(record));
    record.id = "00112233445566778899aabbccddeeff";
    record.state = GH_ENROLMENT_WAITING;
    record.protocol = "scep";
    record.issuer = "devices";
    record.transaction = "bad \xff bytes";
    object = ctl_enrolment_json(&record, NULL, pool);
    assert_string_equal(members(object), "id state protocol tenant issuer profile transaction "
                        "subject created serial");
    assert_string_equal(json_string_value(json_object_get(object, "state")), "waiting");
    assert_string_equal(json_string_value(json_object_get(object, "transaction")), "bad ? bytes");
    assert_true(json_is_null(json_object_get(object, "serial")));
    json_decref(object);
}

static void test_job_json(void **state)
{
    gh_enrolment_record_t record = {
        .id = "00112233445566778899aabbccddeeff", .state = GH_ENROLMENT_RETRY
    };
    gh_job_record_t job = {
        .state = GH_JOB_OPEN, .attempts = 3, .due = apr_time_from_sec(1000000000),
        .number = "GH0998", .message = "the gateway is away"
    };
    json_t *object = ctl_enrolment_json(&record, &job, pool);
    json_t *shown = json_object_get(object, "job");

    assert_string_equal(members(shown), "state attempts next deadline sent reference holder gh "
                        "message");
    assert_int_equal(json_integer_value(json_object_get(shown, "attempts")), 3);
    assert_string_equal(json_string_value(json_object_get(shown, "next")),
                        "2001-09-09T01:46:40Z");
    assert_true(json_is_null(json_object_get(shown, "sent")));
    assert_string_equal(json_string_value(json_object_get(shown, "gh")), "GH0998");
    json_decref(object);
    job.state = GH_JOB_DOUBT;
    object = ctl_enrolment_json(&record, &job, pool);
    shown = json_object_get(object, "job");
    assert_string_equal(json_string_value(json_object_get(shown, "state")), "in-doubt");
    assert_true(json_is_null(json_object_get(shown, "next")));
    json_decref(object);
}

static const char *printed(ctl_table_t *table)
{
    char *text = NULL;
    size_t length = 0;
    FILE *file = open_memstream(&text, &length);
    const char *copy;

    ctl_table_print(table, file);
    fclose(file);
    copy = apr_pstrdup(pool, text);
    free(text);
    return copy;
}

static void test_table(void **state)
{
    static const char *const headings[] = { "A", "WIDE", "LAST", NULL };
    static const char *const first[] = { "xyz", "\xc3\xa4", "one" };
    static const char *const second[] = { "x", NULL, "e\x1bsc" };
    ctl_table_t *table = ctl_table_create(headings, pool);

    assert_string_equal(printed(table), "");
    ctl_table_row(table, first);
    ctl_table_row(table, second);
    assert_string_equal(printed(table), "A    WIDE  LAST\n"
                                        "xyz  \xc3\xa4     one\n"
                                        "x    -     e?sc\n");
    ctl_table_row(table, second);
    assert_string_equal(printed(table), "x    -     e?sc\n");
}

static void test_process(void **state)
{
    const char *const hello[] = { "sh", "-c", "echo out; echo err >&2; cat; exit 7", NULL };
    /* more on both streams than a pipe holds */
    const char *const flood[] = { "sh", "-c", "head -c 300000 /dev/zero | tr '\\0' e >&2; "
                                  "head -c 400000 /dev/zero | tr '\\0' o", NULL };
    const char *const killed[] = { "sh", "-c", "kill -9 $$", NULL };
    const char *const missing[] = { "/nonexistent/httpd", NULL };
    const char *out;
    const char *errors;
    int status;

    assert_int_equal(ctl_process_run(hello, &out, &errors, &status, pool), APR_SUCCESS);
    assert_string_equal(out, "out\n");
    assert_string_equal(errors, "err\n");
    assert_int_equal(status, 7);
    assert_int_equal(ctl_process_run(flood, &out, &errors, &status, pool), APR_SUCCESS);
    assert_int_equal(strlen(out), 400000);
    assert_int_equal(strlen(errors), 300000);
    assert_int_equal(status, 0);
    assert_int_equal(ctl_process_run(killed, &out, &errors, &status, pool), APR_SUCCESS);
    assert_int_equal(status, 128 + 9);
    assert_true(APR_STATUS_IS_ENOENT(ctl_process_run(missing, &out, &errors, &status, pool)));
}

static gh_bytes_t bytes_of(const char *text)
{
    gh_bytes_t bytes = { (const unsigned char *)text, strlen(text) };

    return bytes;
}

static void test_files(void **state)
{
    char folder[] = "/tmp/test_ctl.XXXXXX";
    const char *path;
    struct stat info;
    gh_bytes_t bytes;

    assert_non_null(mkdtemp(folder));
    path = apr_pstrcat(pool, folder, "/file", NULL);
    assert_int_equal(ctl_file_create(path, bytes_of("one"), 0600), APR_SUCCESS);
    assert_true(APR_STATUS_IS_EEXIST(ctl_file_create(path, bytes_of("two"), 0600)));
    assert_int_equal(ctl_file_read(&bytes, path, 3, pool), APR_SUCCESS);
    assert_int_equal(bytes.length, 3);
    assert_memory_equal(bytes.data, "one", 3);
    assert_int_equal(ctl_file_read(&bytes, path, 2, pool), APR_ENOSPC);
    assert_int_equal(ctl_file_replace(path, bytes_of("three"), 0644, pool), APR_SUCCESS);
    assert_int_equal(ctl_file_read(&bytes, path, 5, pool), APR_SUCCESS);
    assert_memory_equal(bytes.data, "three", 5);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0644);
    assert_int_equal(unlink(path), 0);
    /* a folder that can be removed is empty: no temporary file was left */
    assert_int_equal(rmdir(folder), 0);
    assert_true(APR_STATUS_IS_ENOENT(ctl_file_read(&bytes, path, 5, pool)));
    assert_true(APR_STATUS_IS_ENOENT(ctl_file_replace(path, bytes_of("x"), 0600, pool)));
}

static int set_up(void **state)
{
    apr_initialize();
    return apr_pool_create(&pool, NULL);
}

static int tear_down(void **state)
{
    apr_pool_destroy(pool);
    apr_terminate();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_arguments_until_operand),
        cmocka_unit_test(test_arguments_that_are_repeated),
        cmocka_unit_test(test_arguments_refused),
        cmocka_unit_test(test_printable),
        cmocka_unit_test(test_directive),
        cmocka_unit_test(test_exit_codes),
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_config_of_ocsp),
        cmocka_unit_test(test_config_refused),
        cmocka_unit_test(test_certificate_status),
        cmocka_unit_test(test_certificate_json),
        cmocka_unit_test(test_enrolment_json),
        cmocka_unit_test(test_job_json),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_process),
        cmocka_unit_test(test_files),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
