/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "ocsp_reader_support.h"

#include <stdarg.h>
#include <string.h>

#include "status.h"
#include "store/certificates.h"

gh_ca_t *ca;
ocsp_reader_authority_t authority;
int serve_expired, whole;

int reader_setup(void **state)
{
    gh_ca_t *root = make_root(fixture_key("rsa2048-01"), "CN=Root", NOW - 1000 * HOUR);

    ca = make_issuing(root, fixture_key("p256-01"), "CN=Issuing", NOW - 900 * HOUR);
    memset(&authority, 0, sizeof(authority));
    authority.name = "issuing";
    authority.certificate = gh_ca_certificate(ca);
    memset(authority.digest, 7, sizeof(authority.digest));
    serve_expired = whole = 0;
    return 0;
}

const crl_t plain = { .number = "0A", .this_update = NOW - HOUR, .next_update = NOW + HOUR };

gh_result_t result;

ocsp_fetched_t fetched(ocsp_document_kind_t kind, int source, gh_bytes_t bytes)
{
    ocsp_fetched_t made = { .kind = kind, .source = source, .url = URL, .bytes = bytes,
                            .shrink = 10, .serve_expired = serve_expired, .whole = whole };

    return made;
}

ocsp_document_t *read_as(ocsp_document_kind_t kind, int source, gh_bytes_t bytes)
{
    ocsp_fetched_t what = fetched(kind, source, bytes);
    ocsp_document_t *document = NULL;
    apr_status_t rv;

    gh_result_clear(&result);
    rv = ocsp_document_read(&document, &what, &authority, NOW, test_pool, &result);
    if (rv != APR_SUCCESS) {
        fail_msg("%s: %s", result.number, result.message);
    }
    return document;
}

void refused(ocsp_document_kind_t kind, gh_bytes_t bytes, const ocsp_document_info_t *former,
                    apr_status_t status, const char *number)
{
    ocsp_fetched_t what = fetched(kind, 0, bytes);
    ocsp_document_t *document = (ocsp_document_t *)&what;

    what.former = former;
    gh_result_clear(&result);
    assert_int_equal(ocsp_document_read(&document, &what, &authority, NOW, test_pool, &result),
                     status);
    assert_null(document);
    assert_string_equal(result.number, number);
    assert_non_null(strstr(result.message, URL));
    assert_string_not_equal(result.action, "");
}

static const char *index_path(void)
{
    return scratch_path("issuing.index");
}

apr_status_t build_all(ocsp_document_t **documents, int count, const gh_index_t *before,
                              apr_time_t now, gh_index_info_t *info)
{
    static apr_int64_t generation;

    memset(info, 0, sizeof(*info));
    memcpy(info->authority, authority.digest, sizeof(info->authority));
    info->generation = ++generation;
    info->synced_at = now;
    gh_result_clear(&result);
    return ocsp_documents_build(documents, count, &authority, info, before, index_path(), now,
                                test_pool, &result);
}

gh_index_t *open_index(void)
{
    gh_index_t *index = NULL;

    assert_success(gh_index_open(&index, index_path(), authority.digest, 1, test_pool, &result));
    return index;
}

gh_index_t *built_at(apr_time_t now, const gh_index_t *before, int count, ...)
{
    ocsp_document_t *documents[8];
    gh_index_info_t info;
    va_list arguments;
    int i;

    va_start(arguments, count);
    for (i = 0; i < count; ++i) {
        documents[i] = va_arg(arguments, ocsp_document_t *);
    }
    va_end(arguments);
    if (build_all(documents, count, before, now, &info) != APR_SUCCESS) {
        fail_msg("%s: %s", result.number, result.message);
    }
    return open_index();
}

gh_known_t find(const gh_index_t *index, const char *serial)
{
    gh_known_t known;
    gh_bytes_t bytes;

    assert_success(gh_serial_parse(&bytes, serial, test_pool));
    gh_index_find(index, bytes, &known);
    return known;
}

gh_bytes_t text(const char *content)
{
    gh_bytes_t bytes = { (const unsigned char *)content, strlen(content) };

    return bytes;
}
