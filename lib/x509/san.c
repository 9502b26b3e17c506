/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "status.h"
#include "x509/name.h"
#include "x509/name_attributes.h"
#include "x509/own.h"
#include "x509/san.h"

static const char *const type_names[GH_SAN_TYPES] = {
    "dns", "email", "ip", "uri", "dirname", "rid", "upn", "other"
};

gh_san_type_t gh_san_type_parse(const char *text)
{
    int i;

    for (i = 0; i < GH_SAN_TYPES; i++) {
        if (strcasecmp(type_names[i], text) == 0)
            break;
    }
    return (gh_san_type_t)i;
}

const char *gh_san_type_name(gh_san_type_t type)
{
    return type < GH_SAN_TYPES ? type_names[type] : "(unknown)";
}

gh_san_type_t gh_san_type(const GENERAL_NAME *name)
{
    switch (name->type) {
    case GEN_DNS:
        return GH_SAN_DNS;
    case GEN_EMAIL:
        return GH_SAN_EMAIL;
    case GEN_IPADD:
        return GH_SAN_IP;
    case GEN_URI:
        return GH_SAN_URI;
    case GEN_DIRNAME:
        return GH_SAN_DIRNAME;
    case GEN_RID:
        return GH_SAN_RID;
    case GEN_OTHERNAME:
        return OBJ_obj2nid(name->d.otherName->type_id) == NID_ms_upn ? GH_SAN_UPN : GH_SAN_OTHER;
    default:
        return GH_SAN_TYPES;
    }
}

/* Checking */

/** @return 1 if all bytes are printable ASCII without blanks and there are 1 to max of them */
static int is_visible(const ASN1_STRING *string, int max)
{
    const unsigned char *data = ASN1_STRING_get0_data(string);
    int length = ASN1_STRING_length(string);
    int i;

    if (length < 1 || length > max)
        return 0;
    for (i = 0; i < length; i++) {
        if (data[i] <= 0x20 || data[i] >= 0x7f)
            return 0;
    }
    return 1;
}

static int is_dns(const ASN1_STRING *string)
{
    const unsigned char *data = ASN1_STRING_get0_data(string);
    int length = ASN1_STRING_length(string);
    int i = 0, label = 0;

    if (length < 1 || length > GH_SAN_DNS_MAX)
        return 0;
    if (length > 2 && data[0] == '*' && data[1] == '.')
        i = 2;
    for (; i < length; i++) {
        if (data[i] == '.') {
            if (label == 0)
                return 0;
            label = 0;
            continue;
        }
        if (!apr_isalnum(data[i]) && data[i] != '-' && data[i] != '_')
            return 0;
        if (data[i] >= 0x80 || ++label > 63)
            return 0;
    }
    return label > 0;
}

static int is_email(const ASN1_STRING *string)
{
    const char *data = (const char *)ASN1_STRING_get0_data(string);
    int length = ASN1_STRING_length(string);
    const char *at;

    if (!is_visible(string, GH_SAN_EMAIL_MAX))
        return 0;
    at = memchr(data, '@', (size_t)length);
    return at != NULL && at > data && at < data + length - 1
        && memchr(at + 1, '@', (size_t)(data + length - at - 1)) == NULL;
}

static int is_uri(const ASN1_STRING *string)
{
    const unsigned char *data = ASN1_STRING_get0_data(string);
    int length = ASN1_STRING_length(string);
    int i;

    if (!is_visible(string, GH_SAN_URI_MAX) || !apr_isalpha(data[0]))
        return 0;
    for (i = 1; i < length && (apr_isalnum(data[i]) || strchr("+-.", data[i]) != NULL); i++)
        ;
    return i < length - 1 && data[i] == ':';
}

static int is_text_value(const ASN1_TYPE *value)
{
    ASN1_STRING *text;

    if (value == NULL || value->type != V_ASN1_UTF8STRING)
        return 0;
    text = gh_attribute_value(NULL, (const char *)value->value.utf8string->data,
                              (apr_size_t)value->value.utf8string->length);
    ASN1_STRING_free(text);
    return text != NULL;
}

static int is_name(X509_NAME *name)
{
    X509_NAME *copy = X509_NAME_entry_count(name) > 0 ? gh_name_conform(name, NULL) : NULL;

    X509_NAME_free(copy);
    return copy != NULL;
}

static int is_well_formed(const GENERAL_NAME *name)
{
    char oid[GH_OID_SIZE];

    switch (gh_san_type(name)) {
    case GH_SAN_DNS:
        return is_dns(name->d.dNSName);
    case GH_SAN_EMAIL:
        return is_email(name->d.rfc822Name);
    case GH_SAN_URI:
        return is_uri(name->d.uniformResourceIdentifier);
    case GH_SAN_IP:
        return ASN1_STRING_length(name->d.iPAddress) == 4
            || ASN1_STRING_length(name->d.iPAddress) == 16;
    case GH_SAN_DIRNAME:
        return is_name(name->d.directoryName);
    case GH_SAN_RID:
        return gh_oid_copy(oid, name->d.registeredID);
    case GH_SAN_UPN:
        return is_text_value(name->d.otherName->value);
    case GH_SAN_OTHER:
        return gh_oid_copy(oid, name->d.otherName->type_id) && name->d.otherName->value != NULL;
    default:
        return 0;
    }
}

apr_status_t gh_san_check(const GENERAL_NAME *name, gh_result_t *result)
{
    if (is_well_formed(name))
        return APR_SUCCESS;
    return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, "profile.san",
                          "correct the subject alternative name",
                          GHNO(0126) "a subject alternative name of type %s is malformed, empty, "
                          "too long or of a kind that is never issued",
                          gh_san_type_name(gh_san_type(name)));
}

/* Printing */

/** Text of a string that should be ASCII; other bytes appear as \xHH. */
static const char *ascii_text(const ASN1_STRING *string, apr_pool_t *p)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *data = ASN1_STRING_get0_data(string);
    int length = ASN1_STRING_length(string);
    char *text, *out;
    int i;

    if (length > GH_SAN_URI_MAX)
        length = GH_SAN_URI_MAX;
    out = text = apr_palloc(p, (apr_size_t)length * 4 + 1);
    for (i = 0; i < length; i++) {
        if (data[i] >= 0x20 && data[i] < 0x7f) {
            *out++ = (char)data[i];
        }
        else {
            *out++ = '\\';
            *out++ = 'x';
            *out++ = digits[data[i] >> 4];
            *out++ = digits[data[i] & 15];
        }
    }
    *out = '\0';
    return text;
}

static const char *address_text(const ASN1_OCTET_STRING *address, apr_pool_t *p)
{
    char buffer[INET6_ADDRSTRLEN];
    int length = ASN1_STRING_length(address);

    if ((length == 4 || length == 16)
        && inet_ntop(length == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(address), buffer,
                     sizeof(buffer)) != NULL)
        return apr_pstrdup(p, buffer);
    return gh_hex(p, ASN1_STRING_get0_data(address), (apr_size_t)(length < 64 ? length : 64));
}

static const char *upn_text(const OTHERNAME *name, apr_pool_t *p)
{
    unsigned char *utf8 = NULL;
    const char *text = "?";
    int length;

    if (!is_text_value(name->value))
        return text;
    length = ASN1_STRING_to_UTF8(&utf8, name->value->value.utf8string);
    if (length >= 0)
        text = apr_pstrmemdup(p, (const char *)utf8, (apr_size_t)length);
    OPENSSL_free(utf8);
    return text;
}

static const char *general_name_text(const GENERAL_NAME *name, apr_pool_t *p)
{
    switch (gh_san_type(name)) {
    case GH_SAN_DNS:
        return apr_pstrcat(p, "DNS:", ascii_text(name->d.dNSName, p), NULL);
    case GH_SAN_EMAIL:
        return apr_pstrcat(p, "email:", ascii_text(name->d.rfc822Name, p), NULL);
    case GH_SAN_URI:
        return apr_pstrcat(p, "URI:", ascii_text(name->d.uniformResourceIdentifier, p), NULL);
    case GH_SAN_IP:
        return apr_pstrcat(p, "IP:", address_text(name->d.iPAddress, p), NULL);
    case GH_SAN_DIRNAME:
        return apr_pstrcat(p, "dirName:", gh_name_text(name->d.directoryName, p), NULL);
    case GH_SAN_RID:
        return apr_pstrcat(p, "RID:", gh_oid_text(name->d.registeredID, p), NULL);
    case GH_SAN_UPN:
        return apr_pstrcat(p, "UPN:", upn_text(name->d.otherName, p), NULL);
    case GH_SAN_OTHER:
        return apr_pstrcat(p, "otherName:", gh_oid_text(name->d.otherName->type_id, p), NULL);
    default:
        return name->type == GEN_X400 ? "x400Address" : "ediPartyName";
    }
}

apr_array_header_t *gh_san_texts(const GENERAL_NAMES *names, apr_pool_t *p)
{
    int i, count = names != NULL ? sk_GENERAL_NAME_num(names) : 0;
    apr_array_header_t *texts = apr_array_make(p, count > 0 ? count : 1, sizeof(const char *));

    for (i = 0; i < count; i++)
        APR_ARRAY_PUSH(texts, const char *) = general_name_text(sk_GENERAL_NAME_value(names, i), p);
    ERR_clear_error();
    return texts;
}

const char *gh_san_json(const GENERAL_NAMES *names, apr_pool_t *p)
{
    apr_array_header_t *texts = gh_san_texts(names, p);
    json_t *array = json_array();
    const char *text = "[]";
    char *dumped;
    int i;

    for (i = 0; i < texts->nelts; i++)
        json_array_append_new(array, json_string(APR_ARRAY_IDX(texts, i, const char *)));
    dumped = json_dumps(array, JSON_COMPACT);
    if (dumped != NULL)
        text = apr_pstrdup(p, dumped);
    free(dumped);
    json_decref(array);
    return text;
}

/* Making */

static int set_ia5(GENERAL_NAME *name, int type, const char *value)
{
    ASN1_IA5STRING *string = ASN1_IA5STRING_new();

    if (string == NULL || !ASN1_STRING_set(string, value, (int)strlen(value))) {
        ASN1_IA5STRING_free(string);
        return 0;
    }
    GENERAL_NAME_set0_value(name, type, string);
    return 1;
}

static int set_directory_name(GENERAL_NAME *name, const char *value)
{
    apr_pool_t *ptemp = NULL;
    X509_NAME *parsed = NULL, *copy = NULL;

    if (apr_pool_create(&ptemp, NULL) != APR_SUCCESS)
        return 0;
    if (gh_name_parse(&parsed, value, ptemp, NULL) == APR_SUCCESS)
        copy = X509_NAME_dup(parsed);
    apr_pool_destroy(ptemp);
    if (copy == NULL)
        return 0;
    GENERAL_NAME_set0_value(name, GEN_DIRNAME, copy);
    return 1;
}

static int set_upn(GENERAL_NAME *name, const char *value)
{
    ASN1_TYPE *type = ASN1_TYPE_new();
    ASN1_UTF8STRING *string = ASN1_UTF8STRING_new();
    ASN1_OBJECT *object = OBJ_nid2obj(NID_ms_upn);

    if (type == NULL || string == NULL || !ASN1_STRING_set(string, value, (int)strlen(value))) {
        ASN1_UTF8STRING_free(string);
        ASN1_TYPE_free(type);
        return 0;
    }
    ASN1_TYPE_set(type, V_ASN1_UTF8STRING, string);
    return GENERAL_NAME_set0_othername(name, object, type);
}

static int set_value(GENERAL_NAME *name, gh_san_type_t type, const char *value)
{
    void *object;

    switch (type) {
    case GH_SAN_DNS:
        return set_ia5(name, GEN_DNS, value);
    case GH_SAN_EMAIL:
        return set_ia5(name, GEN_EMAIL, value);
    case GH_SAN_URI:
        return set_ia5(name, GEN_URI, value);
    case GH_SAN_IP:
        if ((object = a2i_IPADDRESS(value)) != NULL)
            GENERAL_NAME_set0_value(name, GEN_IPADD, object);
        return object != NULL;
    case GH_SAN_RID:
        if ((object = OBJ_txt2obj(value, 1)) != NULL)
            GENERAL_NAME_set0_value(name, GEN_RID, object);
        return object != NULL;
    case GH_SAN_DIRNAME:
        return set_directory_name(name, value);
    case GH_SAN_UPN:
        return set_upn(name, value);
    default:
        return 0;
    }
}

apr_status_t gh_san_make(GENERAL_NAME **name, const char *type, const char *value,
                         gh_result_t *result)
{
    GENERAL_NAME *made = GENERAL_NAME_new();

    *name = NULL;
    if (made == NULL || strlen(value) > GH_SAN_URI_MAX
        || !set_value(made, gh_san_type_parse(type), value)
        || gh_san_check(made, NULL) != APR_SUCCESS) {
        GENERAL_NAME_free(made);
        ERR_clear_error();
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "san",
                              "types are dns, email, ip, uri, dirname, rid and upn",
                              GHNO(0127) "\"%.200s\" is not a subject alternative name of type %s",
                              value, type);
    }
    *name = made;
    return APR_SUCCESS;
}
