/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_ocsp/ocsp_request.h"

#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/x509v3.h>

#include "log.h"
#include "status.h"
#include "x509/name.h"

#define NONCE_MAX 128               /* RFC 9654 2.1 */
#define SERIAL_MAX 20               /* RFC 5280 4.1.2.2 */
#define PREFERRED_MAX 16            /* more are not looked at */
#define ACCEPTABLE_MAX 64
#define NAME_TEXT_MAX 256

static apr_status_t malformed(ocsp_status_t *ocsp, gh_result_t *result, const char *rule,
                              const char *what)
{
    if (gh_openssl_lacked_memory()) {
        *ocsp = OCSP_TRY_LATER;
        return gh_result_fail(result, APR_ENOMEM, GH_FAILURE_UNAVAILABLE, "memory",
                              "Give the machine more memory, or let httpd run fewer threads.",
                              GHNO(0570) "there is not enough memory to read a request");
    }
    ERR_clear_error();
    *ocsp = OCSP_MALFORMED_REQUEST;
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, rule,
                          "The client has to send an OCSPRequest as in RFC 6960 4.1.",
                          GHNO(0568) "%s", what);
}

static apr_status_t free_asking(void *data)
{
    OCSP_ASKING_free(data);
    return APR_SUCCESS;
}

/* Certificates */

static int known_digest(const OCSP_ID *id)
{
    int length = ASN1_STRING_length(id->name_hash);
    int nid = OBJ_obj2nid(id->algorithm->algorithm);
    int expected;

    switch (nid) {
    case NID_sha1:
        expected = 20;
        break;
    case NID_sha224:
        expected = 28;
        break;
    case NID_sha256:
        expected = 32;
        break;
    case NID_sha384:
        expected = 48;
        break;
    case NID_sha512:
        expected = 64;
        break;
    default:
        return NID_undef;
    }
    return length == expected && ASN1_STRING_length(id->key_hash) == expected ? nid : NID_undef;
}

static gh_bytes_t string_bytes(const ASN1_STRING *string)
{
    gh_bytes_t bytes = { ASN1_STRING_get0_data(string), (apr_size_t)ASN1_STRING_length(string) };

    return bytes;
}

static gh_bytes_t serial_bytes(const ASN1_INTEGER *integer)
{
    gh_bytes_t serial = string_bytes(integer);

    if (ASN1_STRING_type(integer) == V_ASN1_NEG_INTEGER || serial.length > SERIAL_MAX) {
        serial.length = 0;
    }
    return serial;
}

int ocsp_certid_read(ocsp_certid_t *to, const OCSP_ID *id)
{
    const ASN1_TYPE *parameter = id->algorithm->parameter;

    to->id = id;
    to->digest = known_digest(id);
    to->has_null = parameter != NULL;
    to->name_hash = string_bytes(id->name_hash);
    to->key_hash = string_bytes(id->key_hash);
    to->serial = serial_bytes(id->serial);
    return !parameter || parameter->type == V_ASN1_NULL;
}

/* Extensions */

/** @return 0 for a nonce of a length that RFC 9654 refuses */
static int take_nonce(ocsp_request_t *request, gh_bytes_t value)
{
    const unsigned char *at = value.data;
    ASN1_OCTET_STRING *octets = NULL;
    apr_size_t length = value.length;

    ERR_set_mark();
    if (value.length) {
        octets = d2i_ASN1_OCTET_STRING(NULL, &at, (long)value.length);
    }
    ERR_pop_to_mark();
    if (octets && at == value.data + value.length) {
        length = (apr_size_t)ASN1_STRING_length(octets);
    }
    ASN1_OCTET_STRING_free(octets);
    request->has_nonce = 1;
    request->nonce = value;
    return length >= 1 && length <= NONCE_MAX;
}

/** @return 0 unless the client takes a basic response */
static int accepts_basic(gh_bytes_t value)
{
    const unsigned char *at = value.data;
    ASN1_SEQUENCE_ANY *types = d2i_ASN1_SEQUENCE_ANY(NULL, &at, (long)value.length);
    int found = 0, i;

    if (types && at == value.data + value.length && sk_ASN1_TYPE_num(types) <= ACCEPTABLE_MAX) {
        for (i = 0; i < sk_ASN1_TYPE_num(types); ++i) {
            const ASN1_TYPE *type = sk_ASN1_TYPE_value(types, i);

            if (type->type == V_ASN1_OBJECT
                && OBJ_obj2nid(type->value.object) == NID_id_pkix_OCSP_basic) {
                found = 1;
            }
        }
    }
    sk_ASN1_TYPE_pop_free(types, ASN1_TYPE_free);
    return found;
}

static int take_preferred(ocsp_request_t *request, gh_bytes_t value, apr_pool_t *p)
{
    const unsigned char *at = value.data;
    OCSP_PREFERRED_LIST *list = d2i_OCSP_PREFERRED_LIST(NULL, &at, (long)value.length);
    int good = list && at == value.data + value.length;
    int *nids = apr_palloc(p, PREFERRED_MAX * sizeof(*nids));
    int i;

    for (i = 0; good && i < sk_OCSP_PREFERRED_num(list) && i < PREFERRED_MAX; ++i) {
        int nid = OBJ_obj2nid(sk_OCSP_PREFERRED_value(list, i)->signature->algorithm);

        if (nid != NID_undef) {
            nids[request->preferred_count++] = nid;
        }
    }
    request->preferred = nids;
    ASN1_item_free((ASN1_VALUE *)list, ASN1_ITEM_rptr(OCSP_PREFERRED_LIST));
    return good;
}

/** @return what is wrong with it, or NULL */
static const char *take_extension(ocsp_request_t *request, const X509_EXTENSION *extension,
                                  int nid, apr_pool_t *p)
{
    gh_bytes_t value = string_bytes(X509_EXTENSION_get_data((X509_EXTENSION *)extension));

    switch (nid) {
    case NID_id_pkix_OCSP_Nonce:
        return take_nonce(request, value) ? NULL : "a nonce has to have 1 to 128 octets (RFC 9654)";
    case NID_id_pkix_OCSP_acceptableResponses:
        return accepts_basic(value) ? NULL : "the client does not take a basic response";
    case OCSP_NID_PREFERRED_ALGORITHMS:
        return take_preferred(request, value, p) ? NULL
            : "the preferred signature algorithms cannot be read";
    default:
        return X509_EXTENSION_get_critical(extension) ? "an unknown extension is critical" : NULL;
    }
}

static const char *take_extensions(ocsp_request_t *request,
                                   const STACK_OF(X509_EXTENSION) *extensions, apr_pool_t *p)
{
    const char *problem = NULL;
    int seen = 0;
    int i;

    for (i = 0; i < sk_X509_EXTENSION_num(extensions) && !problem; ++i) {
        const X509_EXTENSION *extension = sk_X509_EXTENSION_value(extensions, i);
        int nid = OBJ_obj2nid(X509_EXTENSION_get_object((X509_EXTENSION *)extension));

        if (nid >= NID_id_pkix_OCSP_Nonce && nid <= OCSP_NID_EXTENDED_REVOKE) {
            if (seen & (1 << (nid - NID_id_pkix_OCSP_Nonce))) {
                return "an extension comes twice";
            }
            seen |= 1 << (nid - NID_id_pkix_OCSP_Nonce);
        }
        problem = take_extension(request, extension, nid, p);
    }
    return problem;
}

/** The service locator (RFC 6960 4.4.6) says where else to ask; what is asked here is answered
 *  here. */
static int single_extensions_good(const STACK_OF(X509_EXTENSION) *extensions)
{
    int i;

    for (i = 0; i < sk_X509_EXTENSION_num(extensions); ++i) {
        const X509_EXTENSION *extension = sk_X509_EXTENSION_value(extensions, i);

        if (X509_EXTENSION_get_critical(extension)
            && OBJ_obj2nid(X509_EXTENSION_get_object((X509_EXTENSION *)extension))
               != NID_id_pkix_OCSP_serviceLocator) {
            return 0;
        }
    }
    return 1;
}

static const char *name_text(const GENERAL_NAME *name, apr_pool_t *p)
{
    const ASN1_STRING *string;
    const char *text;
    char *copy;
    int type;

    switch (name->type) {
    case GEN_DIRNAME:
        text = gh_name_text(name->d.directoryName, p);
        break;
    case GEN_EMAIL:
    case GEN_DNS:
    case GEN_URI:
        string = GENERAL_NAME_get0_value(name, &type);
        text = apr_pstrmemdup(p, (const char *)ASN1_STRING_get0_data(string),
                              (apr_size_t)ASN1_STRING_length(string));
        break;
    default:
        text = "a name of another kind";
        break;
    }
    text = copy = apr_pstrndup(p, text, NAME_TEXT_MAX);
    for (; *copy; ++copy) {
        if (!apr_isprint(*copy)) {
            *copy = '?';
        }
    }
    return text;
}

/* The request */

static apr_status_t take_list(ocsp_request_t *request, const OCSP_ASKED_LIST *tbs, int max_ids,
                              ocsp_status_t *ocsp, apr_pool_t *p, gh_result_t *result)
{
    int count = sk_OCSP_ASKED_num(tbs->list);
    ocsp_certid_t *ids;
    int i;

    if (count < 1) {
        return malformed(ocsp, result, "ocsp.request.empty", "the request names no certificate");
    }
    if (count > max_ids) {
        *ocsp = OCSP_UNAUTHORIZED;
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "ocsp.request.count",
                              "Let the client ask for fewer, or raise OCSPMaxCertificates.",
                              GHNO(0569) "the request names %d certificates, more than %d", count,
                              max_ids);
    }
    ids = apr_pcalloc(p, (apr_size_t)count * sizeof(*ids));
    for (i = 0; i < count; ++i) {
        const OCSP_ASKED *asked = sk_OCSP_ASKED_value(tbs->list, i);

        if (!ocsp_certid_read(&ids[i], asked->id)) {
            return malformed(ocsp, result, "ocsp.request.hash",
                             "the hash algorithm of a CertID has parameters");
        }
        request->is_plain = request->is_plain && !asked->extensions;
        if (!single_extensions_good(asked->extensions)) {
            return malformed(ocsp, result, "ocsp.request.critical",
                             "an unknown extension of a certificate asked for is critical");
        }
    }
    request->ids = ids;
    request->count = count;
    return APR_SUCCESS;
}

apr_status_t ocsp_request_parse(ocsp_request_t **request, gh_bytes_t der, int max_ids,
                                ocsp_status_t *ocsp, apr_pool_t *p, gh_result_t *result)
{
    const unsigned char *at = der.data;
    OCSP_ASKING *asking;
    ocsp_request_t *made;
    const char *problem;
    apr_status_t rv;

    *request = NULL;
    *ocsp = OCSP_SUCCESSFUL;
    if (!der.length || der.length > OCSP_REQUEST_MAX) {
        return malformed(ocsp, result, "ocsp.request.size", "the request is empty or too long");
    }
    asking = d2i_OCSP_ASKING(NULL, &at, (long)der.length);
    if (!asking) {
        return malformed(ocsp, result, "ocsp.request.der", "the request is no OCSPRequest");
    }
    apr_pool_cleanup_register(p, asking, free_asking, apr_pool_cleanup_null);
    if (at != der.data + der.length) {
        return malformed(ocsp, result, "ocsp.request.der", "something follows the request");
    }
    if (asking->tbs->version && ASN1_INTEGER_get(asking->tbs->version) != 0) {
        return malformed(ocsp, result, "ocsp.request.version",
                         "the version of the request is not 1");
    }
    made = apr_pcalloc(p, sizeof(*made));
    made->der = der;
    made->is_signed = asking->signature != NULL;
    made->is_plain = !asking->signature && !asking->tbs->extensions && !asking->tbs->requestor;
    rv = take_list(made, asking->tbs, max_ids, ocsp, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    problem = take_extensions(made, asking->tbs->extensions, p);
    if (problem) {
        return malformed(ocsp, result, "ocsp.request.extension", problem);
    }
    if (asking->tbs->requestor) {
        made->requestor = name_text(asking->tbs->requestor, p);
    }
    *request = made;
    return APR_SUCCESS;
}

/* GET */

/** What is not escaped: base64 and base64url; the others are NUL. */
static const char plain_characters[256] = {
    ['A'] = 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M',
    'N', 'O', 'P', 'Q', 'R', 'S', 'T', 'U', 'V', 'W', 'X', 'Y', 'Z',
    ['a'] = 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm',
    'n', 'o', 'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z',
    ['0'] = '0', '1', '2', '3', '4', '5', '6', '7', '8', '9',
    ['+'] = '+', ['-'] = '+', ['/'] = '/', ['_'] = '/', ['='] = '='
};

/** One character of the base64 at *at, which is moved behind it.
 *  @return 0 for one that does not belong there */
static char next_character(const char **at)
{
    char c = *(*at)++;

    if (c == '%') {
        char high = (*at)[0];
        char low = high ? (char)((*at)[1] & ~0x20) : '\0';

        if (high == '2' && low == 'F') {
            c = '/';
        }
        else if (high == '2' && low == 'B') {
            c = '+';
        }
        else if (high == '2' && (*at)[1] == '0') {
            c = '+';
        }
        else if (high == '3' && low == 'D') {
            c = '=';
        }
        else {
            return '\0';
        }
        *at += 2;
        return c;
    }
    return plain_characters[(unsigned char)c];
}

static apr_status_t bad_path(gh_result_t *result)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "ocsp.get",
                          "The client has to append the base64 of its request to the URL (RFC 6960 "
                          "A.1).",
                          GHNO(0571) "what follows the responder's path is not base64");
}

apr_status_t ocsp_request_from_path(gh_bytes_t *der, const char *path, apr_size_t limit,
                                    apr_pool_t *p, gh_result_t *result)
{
    apr_size_t length = strlen(path), used = 0, padding = 0;
    unsigned char *decoded;
    char *text;
    int size;

    memset(der, 0, sizeof(*der));
    while (*path == '/') {
        ++path;
        --length;
    }
    /* Every character escaped, and padding: nothing longer can be a request within the limit. */
    if (length > (limit + 2) / 3 * 4 * 3) {
        goto too_long;
    }
    text = apr_palloc(p, length + 4);
    while (*path) {
        char c = next_character(&path);

        if (!c || (c == '=' && ++padding > 2) || (padding && c != '=')) {
            return bad_path(result);
        }
        text[used++] = c;
    }
    if (!used || (padding && used % 4) || used % 4 == 1) {
        return bad_path(result);
    }
    for (; used % 4; ++padding) {
        text[used++] = '=';
    }
    if (used / 4 * 3 - padding > limit) {
        goto too_long;
    }
    decoded = apr_palloc(p, used / 4 * 3);
    size = EVP_DecodeBlock(decoded, (const unsigned char *)text, (int)used);
    if (size < 0) {
        return bad_path(result);
    }
    der->data = decoded;
    der->length = (apr_size_t)size - padding;
    return APR_SUCCESS;

too_long:
    return gh_result_fail(result, APR_ENOSPC, GH_FAILURE_REQUEST, "ocsp.get.size",
                          "Let the client send fewer bytes, or raise OCSPMaxBody.",
                          GHNO(0572) "the request in the path is longer than %" APR_SIZE_T_FMT
                          " bytes", limit);
}
