/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What a CA gateway is asked: from our terms to JSON. */

#include "fcgi/ca/cagw_codec.h"

#include <string.h>
#include <strings.h>

#include <apr_strings.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "fcgi/ca/cagw_names.h"
#include "log.h"
#include "store/certificates.h"
#include "x509/ca.h"
#include "x509/csr.h"
#include "x509/name.h"
#include "x509/own.h"
#include "x509/san.h"

#define RULE "cagw.request"

/* gh_name_text() cuts longer ones, and a cut name is another name */
#define SUBJECT_MAX 1020
#define DIRECTORY_NAME_MAX 999

typedef struct {
    char *data;
    apr_size_t length;
} text_t;

void cagw_spelling_default(cagw_spelling_t *spelling)
{
    spelling->selector = CAGW_SPELLING_SELECTOR;
    spelling->ca = CAGW_SPELLING_CA;
    spelling->validity = CAGW_SPELLING_VALIDITY;
}

static apr_status_t impossible(gh_result_t *result, const char *what)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                          "Look at the profile, and at what the issuer is told to send.",
                          GHNO(0821) "the CA gateway cannot be asked for this certificate: %s",
                          what);
}

static apr_status_t overwrite(void *data)
{
    text_t *text = data;

    OPENSSL_cleanse(text->data, text->length);
    return APR_SUCCESS;
}

/** The JSON as text, and the end of the JSON. */
static apr_status_t finish(gh_bytes_t *body, json_t *json, int secret, apr_pool_t *p,
                           gh_result_t *result)
{
    text_t *text = apr_pcalloc(p, sizeof(*text));

    text->length = json ? json_dumpb(json, NULL, 0, JSON_COMPACT) : 0;
    text->data = apr_palloc(p, text->length + 1);
    if (secret) {
        apr_pool_cleanup_register(p, text, overwrite, apr_pool_cleanup_null);
    }
    if (!text->length
        || json_dumpb(json, text->data, text->length, JSON_COMPACT) != text->length) {
        json_decref(json);
        return impossible(result, "it cannot be written as JSON");
    }
    json_decref(json);
    body->data = (const unsigned char *)text->data;
    body->length = text->length;
    return APR_SUCCESS;
}

/** Base64 in one line. */
static json_t *base64(const unsigned char *data, apr_size_t length, apr_pool_t *p)
{
    apr_size_t size = 4 * ((length + 2) / 3) + 1;
    unsigned char *text = apr_palloc(p, size);
    json_t *json;

    EVP_EncodeBlock(text, data, (int)length);
    json = json_string((const char *)text);
    OPENSSL_cleanse(text, size);
    return json;
}

/** @return length of DER, with the PEM's armour taken off; 0: that is no request */
static int read_armoured(unsigned char **der, gh_bytes_t request)
{
    BIO *bio = BIO_new_mem_buf(request.data, (int)request.length);
    X509_REQ *parsed = bio ? PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL) : NULL;
    int length = parsed ? i2d_X509_REQ(parsed, der) : 0;

    X509_REQ_free(parsed);
    BIO_free(bio);
    ERR_clear_error();
    return length;
}

/** One SEQUENCE and no more. What it says was looked at when it came; to parse it again would take
 *  OpenSSL longer than all else here. */
static int is_der(gh_bytes_t request)
{
    const unsigned char *at = request.data;
    int tag, class;
    long length;
    int form = ASN1_get_object(&at, &length, &tag, &class, (long)request.length);

    ERR_clear_error();
    return form == V_ASN1_CONSTRUCTED && tag == V_ASN1_SEQUENCE && class == V_ASN1_UNIVERSAL
        && at + length == request.data + request.length;
}

/** PKCS#10 in PEM is taken too, and goes out without armour. */
static apr_status_t write_request(json_t *json, gh_bytes_t request, int optional, apr_pool_t *p,
                                  gh_result_t *result)
{
    static const char begin[] = "-----BEGIN";
    unsigned char *der = NULL;
    int length = 0;

    if (optional && !request.length) {
        return APR_SUCCESS;
    }
    if (request.length > sizeof(begin) && request.length <= GH_CSR_MAX
        && !memcmp(request.data, begin, sizeof(begin) - 1)) {
        length = read_armoured(&der, request);
    }
    else if (request.length > 0 && request.length <= GH_CSR_MAX && is_der(request)) {
        length = (int)request.length;
    }
    if (length <= 0) {
        return impossible(result, "there is no PKCS#10 request");
    }
    json_object_set_new(json, CAGW_CSR, base64(der ? der : request.data, (apr_size_t)length, p));
    OPENSSL_free(der);
    return APR_SUCCESS;
}

static apr_status_t write_format(json_t *json, const cagw_enrolment_t *enrolment,
                                 gh_result_t *result)
{
    static const char *const names[] = {
        CAGW_FORMAT_X509, CAGW_FORMAT_PEM, CAGW_FORMAT_PKCS12
    };
    json_t *format = json_pack("{s:s}", CAGW_FORMAT, names[enrolment->format]);

    json_object_set_new(json, CAGW_REQUIRED_FORMAT, format);
    if (enrolment->format != CAGW_AS_PKCS12) {
        return APR_SUCCESS;
    }
    if (!enrolment->password || !*enrolment->password) {
        return impossible(result, "a PKCS#12 needs a password");
    }
    json_object_set_new(format, CAGW_PROTECTION,
                        json_pack("{s:s, s:s}", CAGW_TYPE, CAGW_PROTECTION_TYPE, CAGW_PASSWORD,
                                  enrolment->password));
    return APR_SUCCESS;
}

static const char *san_name(gh_san_type_t type)
{
    static const char *const names[GH_SAN_TYPES] = {
        CAGW_SAN_DNS, CAGW_SAN_EMAIL, CAGW_SAN_IP, CAGW_SAN_URI, CAGW_SAN_DIRECTORY, CAGW_SAN_RID,
        CAGW_SAN_UPN, CAGW_SAN_OTHER
    };

    return type < GH_SAN_TYPES ? names[type] : NULL;
}

/** A name whose text does not say all of it goes as DER. */
static json_t *write_name(GENERAL_NAME *name, const char *text, apr_pool_t *p)
{
    gh_san_type_t type = gh_san_type(name);
    const char *value = strchr(text, ':');
    unsigned char *der = NULL;
    json_t *json;
    int length;

    if (!san_name(type) || !value || strlen(value) > GH_SAN_URI_MAX + 1
        || (type == GH_SAN_DIRNAME && strlen(value + 1) > DIRECTORY_NAME_MAX)) {
        return NULL;
    }
    if (type != GH_SAN_OTHER) {
        return json_pack("{s:s, s:s}", CAGW_TYPE, san_name(type), CAGW_VALUE, value + 1);
    }
    length = i2d_GENERAL_NAME(name, &der);
    json = length > 0 ? json_pack("{s:s, s:o}", CAGW_TYPE, san_name(type), CAGW_DER,
                                  base64(der, (apr_size_t)length, p)) : NULL;
    OPENSSL_free(der);
    return json;
}

static apr_status_t write_names(json_t *json, const GENERAL_NAMES *names, apr_pool_t *p,
                                gh_result_t *result)
{
    apr_array_header_t *texts = gh_san_texts(names, p);
    json_t *list = json_array();
    int i;

    json_object_set_new(json, CAGW_SANS, list);
    if (texts->nelts != sk_GENERAL_NAME_num(names)) {
        return impossible(result, "an alternative name has no text");
    }
    for (i = 0; i < texts->nelts; ++i) {
        json_t *name = write_name(sk_GENERAL_NAME_value(names, i),
                                  APR_ARRAY_IDX(texts, i, const char *), p);

        if (!name || json_array_append_new(list, name)) {
            return impossible(result, "an alternative name has no spelling there");
        }
    }
    return APR_SUCCESS;
}

/* Such CAs ignore these in a CSR, and refuse a request that has one; names have a place of their
 * own. */
static int is_sent(const ASN1_OBJECT *object)
{
    static const char *const never[] = {
        "2.5.29.35", "2.5.29.19", "2.5.29.31", "2.5.29.20", "1.2.840.113533.7.65.0", "2.5.29.24",
        "2.5.29.28", "2.16.840.1.113730.1.3", "2.5.29.21", "2.5.29.14", "2.5.29.17"
    };
    char oid[128];
    apr_size_t i;

    if (OBJ_obj2txt(oid, sizeof(oid), object, 1) >= (int)sizeof(oid)) {
        return 0;
    }
    for (i = 0; i < sizeof(never) / sizeof(never[0]); ++i) {
        if (!strcmp(oid, never[i])) {
            return 0;
        }
    }
    return 1;
}

/** An extended key usage of one OID is written as that; all else is DER. */
static json_t *extension_value(const X509_EXTENSION *extension, apr_pool_t *p)
{
    const ASN1_OCTET_STRING *octets = X509_EXTENSION_get_data((X509_EXTENSION *)extension);
    EXTENDED_KEY_USAGE *usages = NULL;
    json_t *value = NULL;
    char oid[128];

    if (OBJ_obj2nid(X509_EXTENSION_get_object((X509_EXTENSION *)extension)) == NID_ext_key_usage) {
        usages = X509V3_EXT_d2i((X509_EXTENSION *)extension);
    }
    if (usages && sk_ASN1_OBJECT_num(usages) == 1
        && OBJ_obj2txt(oid, sizeof(oid), sk_ASN1_OBJECT_value(usages, 0), 1) < (int)sizeof(oid)) {
        value = json_string(oid);
    }
    EXTENDED_KEY_USAGE_free(usages);
    ERR_clear_error();
    return value ? value : base64(ASN1_STRING_get0_data(octets),
                                  (apr_size_t)ASN1_STRING_length(octets), p);
}

static void write_extensions(json_t *json, const STACK_OF(X509_EXTENSION) *extensions,
                             apr_pool_t *p)
{
    json_t *list = json_array();
    char oid[128];
    int i;

    for (i = 0; i < sk_X509_EXTENSION_num(extensions); ++i) {
        X509_EXTENSION *extension = sk_X509_EXTENSION_value(extensions, i);

        if (is_sent(X509_EXTENSION_get_object(extension))) {
            OBJ_obj2txt(oid, sizeof(oid), X509_EXTENSION_get_object(extension), 1);
            json_array_append_new(list, json_pack("{s:s, s:b, s:o}", CAGW_OID, oid, CAGW_CRITICAL,
                                                  X509_EXTENSION_get_critical(extension),
                                                  CAGW_VALUE, extension_value(extension, p)));
        }
    }
    if (json_array_size(list) > 0) {
        json_object_set_new(json, CAGW_EXTENSIONS, list);
    }
    else {
        json_decref(list);
    }
}

const char *cagw_duration(apr_interval_time_t time, apr_pool_t *p)
{
    apr_time_t seconds = apr_time_sec(time);

    return seconds % 86400 == 0 && seconds > 0
        ? apr_psprintf(p, "P%" APR_TIME_T_FMT "D", seconds / 86400)
        : apr_psprintf(p, "PT%" APR_TIME_T_FMT "S", seconds > 0 ? seconds : 1);
}

static void write_validity(json_t *json, const cagw_enrolment_t *enrolment,
                           const cagw_spelling_t *spelling, apr_pool_t *p)
{
    if (enrolment->not_before && enrolment->not_after) {
        json_object_set_new(json, spelling->validity,
                            json_string(apr_pstrcat(p, gh_time_text(p, enrolment->not_before), "/",
                                                    gh_time_text(p, enrolment->not_after), NULL)));
    }
    else if (enrolment->duration) {
        json_object_set_new(json, spelling->validity, json_string(enrolment->duration));
    }
}

static apr_status_t write_optional(json_t *json, const cagw_enrolment_t *enrolment,
                                   const cagw_spelling_t *spelling, apr_pool_t *p,
                                   gh_result_t *result)
{
    json_t *optional = json_object();

    if (enrolment->subject && strlen(enrolment->subject) > SUBJECT_MAX) {
        json_decref(optional);
        return impossible(result, "its subject is too long");
    }
    if (enrolment->subject) {
        json_object_set_new(optional, CAGW_SUBJECT, json_string(enrolment->subject));
    }
    if (enrolment->sans_from_csr) {
        json_object_set_new(optional, CAGW_SANS_FROM_CSR, json_true());
    }
    if (enrolment->extensions) {
        write_extensions(optional, enrolment->extensions, p);
    }
    write_validity(optional, enrolment, spelling, p);
    if (json_object_size(optional) > 0) {
        json_object_set_new(json, CAGW_OPTIONAL, optional);
    }
    else {
        json_decref(optional);
    }
    return APR_SUCCESS;
}

static void write_tables(json_t *json, const cagw_enrolment_t *enrolment, apr_pool_t *p)
{
    const char *prefix = enrolment->properties_prefix ? enrolment->properties_prefix : "";
    const apr_array_header_t *pairs;
    json_t *part;
    int i;

    if (enrolment->variables && !apr_is_empty_table(enrolment->variables)) {
        pairs = apr_table_elts(enrolment->variables);
        part = json_array();
        for (i = 0; i < pairs->nelts; ++i) {
            const apr_table_entry_t *pair = &APR_ARRAY_IDX(pairs, i, apr_table_entry_t);

            json_array_append_new(part, json_pack("{s:s, s:s}", CAGW_TYPE, pair->key, CAGW_VALUE,
                                                  pair->val));
        }
        json_object_set_new(json, CAGW_VARIABLES, part);
    }
    if (enrolment->properties && !apr_is_empty_table(enrolment->properties)) {
        pairs = apr_table_elts(enrolment->properties);
        part = json_object();
        for (i = 0; i < pairs->nelts; ++i) {
            const apr_table_entry_t *pair = &APR_ARRAY_IDX(pairs, i, apr_table_entry_t);

            json_object_set_new(part, apr_pstrcat(p, prefix, pair->key, NULL),
                                json_string(pair->val));
        }
        json_object_set_new(json, CAGW_PROPERTIES, part);
    }
}

apr_status_t cagw_write_enrolment(gh_bytes_t *body, const cagw_enrolment_t *enrolment,
                                  const cagw_spelling_t *spelling, apr_pool_t *p,
                                  gh_result_t *result)
{
    json_t *json = json_object();
    apr_status_t rv;

    json_object_set_new(json, CAGW_PROFILE_ID, json_string(enrolment->profile));
    rv = write_request(json, enrolment->request, enrolment->format == CAGW_AS_PKCS12, p, result);
    if (rv == APR_SUCCESS) {
        rv = write_format(json, enrolment, result);
    }
    if (rv == APR_SUCCESS && enrolment->sans && sk_GENERAL_NAME_num(enrolment->sans) > 0) {
        rv = write_names(json, enrolment->sans, p, result);
    }
    if (rv == APR_SUCCESS) {
        rv = write_optional(json, enrolment, spelling, p, result);
    }
    if (rv != APR_SUCCESS) {
        json_decref(json);
        return rv;
    }
    if (enrolment->previous_subject) {
        json_object_set_new(json, CAGW_PREVIOUS_SUBJECT,
                            json_string(enrolment->previous_subject));
    }
    if (enrolment->include_ca) {
        json_object_set_new(json, CAGW_INCLUDE_CA, json_true());
    }
    write_tables(json, enrolment, p);
    return finish(body, json, 1, p, result);
}

const char *cagw_reason_name(int reason)
{
    return gh_reason_name(reason);
}

int cagw_reason_parse(const char *name)
{
    static const int last = 10;
    int reason;

    for (reason = 0; name && reason <= last; ++reason) {
        const char *known = gh_reason_name(reason);

        if (known && !strcasecmp(known, name)) {
            return reason;
        }
    }
    return GH_REASON_NONE;
}

apr_status_t cagw_write_action(gh_bytes_t *body, cagw_action_t action, int reason,
                               const char *comment, int crl, apr_pool_t *p, gh_result_t *result)
{
    static const char *const names[] = {
        NULL, CAGW_ACTION_REVOKE, CAGW_ACTION_HOLD, CAGW_ACTION_RELEASE
    };
    const char *why = action == CAGW_RELEASE ? NULL : cagw_reason_name(reason);
    json_t *json = json_pack("{s:s}", CAGW_TYPE, names[action]);

    if (why) {
        json_object_set_new(json, CAGW_REASON, json_string(why));
    }
    if (comment) {
        json_object_set_new(json, CAGW_ACTION_COMMENT, json_string(comment));
    }
    if (crl) {
        json_object_set_new(json, CAGW_ACTION_CRL, json_string(CAGW_ACTION_CRL_NOW));
    }
    return finish(body, json_pack("{s:o}", CAGW_ACTION, json), 0, p, result);
}

apr_array_header_t *cagw_serial_spellings(gh_bytes_t serial, apr_pool_t *p)
{
    apr_array_header_t *spellings = apr_array_make(p, 2, sizeof(const char *));
    const char *lower = gh_hex(p, serial.data, serial.length);
    char *upper = apr_pstrdup(p, lower), *at;

    for (at = upper; *at; ++at) {
        *at = *at >= 'a' && *at <= 'f' ? (char)(*at - 'a' + 'A') : *at;
    }
    while (upper[0] == '0' && upper[1]) {
        ++upper;
    }
    APR_ARRAY_PUSH(spellings, const char *) = lower;
    if (strcmp(lower, upper)) {
        APR_ARRAY_PUSH(spellings, const char *) = upper;
    }
    return spellings;
}
