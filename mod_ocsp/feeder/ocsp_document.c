/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_ocsp/feeder/ocsp_document.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <openssl/evp.h>

#include "log.h"
#include "status.h"

#define LINE_LONGEST 4096
#define ROOM_FIRST 256

static apr_status_t free_entries(void *data)
{
    ocsp_document_t *document = data;

    free(document->entries);
    document->entries = NULL;
    return APR_SUCCESS;
}

ocsp_entry_t *ocsp_document_add(ocsp_document_t *document, gh_bytes_t serial)
{
    ocsp_entry_t *entries, *entry;
    apr_uint64_t room;

    if (document->count == document->room) {
        room = document->room ? 2 * document->room : ROOM_FIRST;
        entries = realloc(document->entries, room * sizeof(*entries));
        if (!entries) {
            return NULL;
        }
        document->entries = entries;
        document->room = room;
    }
    entry = &document->entries[document->count++];
    memset(entry, 0, sizeof(*entry));
    entry->length = (unsigned char)serial.length;
    memcpy(entry->serial, serial.data, serial.length);
    return entry;
}

int ocsp_read_line(gh_bytes_t *line, const unsigned char **at, const unsigned char *end)
{
    const unsigned char *stop;

    if (*at == end) {
        return 0;
    }
    stop = memchr(*at, '\n', (apr_size_t)(end - *at));
    line->data = *at;
    line->length = (apr_size_t)((stop ? stop : end) - *at);
    *at = stop ? stop + 1 : end;
    if (line->length && line->data[line->length - 1] == '\r') {
        --line->length;
    }
    return line->length > LINE_LONGEST || memchr(line->data, '\0', line->length) ? -1 : 1;
}

int ocsp_number_compare(const char *one, const char *other)
{
    apr_size_t a, b;
    int order;

    one += strspn(one, "0");
    other += strspn(other, "0");
    a = strlen(one);
    b = strlen(other);
    order = a == b ? strcmp(one, other) : a < b ? -1 : 1;
    return (order > 0) - (order < 0);
}

apr_status_t ocsp_document_read(ocsp_document_t **document, const ocsp_fetched_t *fetched,
                                const ocsp_reader_authority_t *authority, apr_time_t now,
                                apr_pool_t *p, gh_result_t *result)
{
    ocsp_document_t *made = apr_pcalloc(p, sizeof(*made));
    apr_status_t rv = APR_EGENERAL;
    unsigned int length = 0;

    *document = NULL;
    made->kind = fetched->kind;
    made->source = fetched->source;
    made->serve_expired = fetched->serve_expired;
    made->url = apr_pstrdup(p, fetched->url);
    apr_pool_cleanup_register(p, made, free_entries, apr_pool_cleanup_null);
    /* a new CA has issued nothing */
    if (!fetched->bytes.length && fetched->kind != OCSP_DOCUMENT_INDEX) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE_SOURCE,
                              "Look what is published there.", GHNO(0685) "%s is empty",
                              fetched->url);
    }
    if (EVP_Digest(fetched->bytes.data, fetched->bytes.length, made->info.sha256, &length,
                   EVP_sha256(), NULL) != 1) {
        return gh_result_openssl(result, APR_EGENERAL, GH_FAILURE_INTERNAL, RULE_SOURCE, NULL,
                                 GHNO(0686) "what came from %s cannot be hashed", fetched->url);
    }
    switch (fetched->kind) {
    case OCSP_DOCUMENT_CRL:
    case OCSP_DOCUMENT_DELTA:
        rv = ocsp_read_crl(made, fetched, authority, now, p, result);
        break;
    case OCSP_DOCUMENT_SERIALS:
        rv = ocsp_read_serials(made, fetched, p, result);
        break;
    case OCSP_DOCUMENT_INDEX:
        rv = ocsp_read_index_txt(made, fetched, p, result);
        break;
    }
    if (rv == APR_SUCCESS) {
        made->info.entries = made->count;
        *document = made;
    }
    return rv;
}

const ocsp_document_info_t *ocsp_document_info(const ocsp_document_t *document)
{
    return &document->info;
}

ocsp_document_kind_t ocsp_document_kind(const ocsp_document_t *document)
{
    return document->kind;
}

int ocsp_document_source(const ocsp_document_t *document)
{
    return document->source;
}
