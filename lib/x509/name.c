/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <stdio.h>
#include <string.h>

#include <apr_strings.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/x509.h>

#include "x509/name.h"
#include "x509/name_attributes.h"
#include "x509/own.h"

#define NAME_TEXT_MAX 1024

/* Printing */

/** Text that grows to NAME_TEXT_MAX and then stays valid UTF-8. */
typedef struct {
    char text[NAME_TEXT_MAX + 8];
    apr_size_t length;
    int full;
} name_text_t;

/** Appends one character or one escape sequence, whole or not at all. */
static void append(name_text_t *out, const char *piece, apr_size_t length)
{
    if (out->full || out->length + length > NAME_TEXT_MAX) {
        out->full = 1;
        return;
    }
    memcpy(out->text + out->length, piece, length);
    out->length += length;
}

/** Length of the UTF-8 sequence that begins with a byte; text has been checked before. */
static apr_size_t sequence_length(unsigned char first)
{
    return first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

static void append_value(name_text_t *out, const char *value, apr_size_t length)
{
    apr_size_t i, n;

    for (i = 0; i < length; i += n) {
        unsigned char c = (unsigned char)value[i];
        char escaped[4];

        n = sequence_length(c);
        if (i + n > length)
            n = length - i;
        if (c < 0x20 || c == 0x7f) {
            snprintf(escaped, sizeof(escaped), "\\%02X", c);
            append(out, escaped, 3);
        }
        else if (strchr(",+\"\\<>;", c) != NULL || (c == '#' && i == 0)
                 || (c == ' ' && (i == 0 || i + 1 == length))) {
            escaped[0] = '\\';
            escaped[1] = (char)c;
            append(out, escaped, 2);
        }
        else {
            append(out, value + i, n);
        }
    }
}

/** RFC 4514 2.4: a value that is not text is the hexadecimal form of its DER. */
static void append_der(name_text_t *out, const ASN1_STRING *data)
{
    ASN1_TYPE type;
    unsigned char *der = NULL;
    char hex[3];
    int i, length;

    type.type = ASN1_STRING_type(data);
    type.value.asn1_string = (ASN1_STRING *)data;
    length = i2d_ASN1_TYPE(&type, &der);
    append(out, "#", 1);
    for (i = 0; i < length && !out->full; i++) {
        snprintf(hex, sizeof(hex), "%02x", der[i]);
        append(out, hex, 2);
    }
    OPENSSL_free(der);
}

static void append_attribute(name_text_t *out, const X509_NAME_ENTRY *entry)
{
    const ASN1_OBJECT *object = X509_NAME_ENTRY_get_object(entry);
    const ASN1_STRING *data = X509_NAME_ENTRY_get_data(entry);
    const gh_attribute_t *attribute = gh_attribute_by_object(object);
    char oid[GH_OID_SIZE] = "0.0";
    unsigned char *utf8 = NULL;
    int length;

    if (attribute == NULL)
        gh_oid_copy(oid, object);
    append(out, attribute != NULL ? attribute->aliases[0] : oid,
           strlen(attribute != NULL ? attribute->aliases[0] : oid));
    append(out, "=", 1);
    length = ASN1_STRING_to_UTF8(&utf8, data);
    if (length >= 0)
        append_value(out, (const char *)utf8, (apr_size_t)length);
    else
        append_der(out, data);
    OPENSSL_free(utf8);
}

const char *gh_name_text(const X509_NAME *name, apr_pool_t *p)
{
    name_text_t out;
    int end = name != NULL ? X509_NAME_entry_count(name) : 0;

    out.length = 0;
    out.full = 0;
    while (end > 0 && !out.full) {
        int set = X509_NAME_ENTRY_set(X509_NAME_get_entry(name, end - 1));
        int begin = end - 1, i;

        while (begin > 0 && X509_NAME_ENTRY_set(X509_NAME_get_entry(name, begin - 1)) == set)
            begin--;
        if (out.length > 0)
            append(&out, ",", 1);
        for (i = begin; i < end; i++) {
            if (i > begin)
                append(&out, "+", 1);
            append_attribute(&out, X509_NAME_get_entry(name, i));
        }
        end = begin;
    }
    ERR_clear_error();
    if (out.full && out.length > NAME_TEXT_MAX - 3) {
        /* Cut before a character, not within one. */
        out.length = NAME_TEXT_MAX - 3;
        while (out.length > 0 && ((unsigned char)out.text[out.length] & 0xc0) == 0x80)
            out.length--;
    }
    return apr_pstrcat(p, apr_pstrmemdup(p, out.text, out.length), out.full ? "..." : "", NULL);
}

/* Parsing */

/** One attribute of a text being read. */
typedef struct {
    ASN1_OBJECT *object;
    const gh_attribute_t *attribute;
    ASN1_STRING *value;
    int joins;                  /* part of the same RDN as the one before it */
} parsed_attribute_t;

static const char *skip_blanks(const char *text)
{
    return text + strspn(text, " ");
}

/** Reads the attribute's name up to and including '='. @return NULL if that fails */
static const char *parse_type(parsed_attribute_t *parsed, const char *text, apr_pool_t *p)
{
    apr_size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                     "0123456789.-");
    const char *equals = skip_blanks(text + length);
    const char *alias = apr_pstrmemdup(p, text, length);

    if (length == 0 || *equals != '=')
        return NULL;
    if (strncasecmp(alias, "oid.", 4) == 0)
        alias += 4;
    parsed->attribute = gh_attribute_by_alias(alias);
    parsed->object = gh_attribute_object(alias);
    return parsed->object != NULL ? skip_blanks(equals + 1) : NULL;
}

/** Reads "#" and hexadecimal DER of a string. */
static const char *parse_der(parsed_attribute_t *parsed, const char *text, apr_pool_t *p)
{
    apr_size_t digits = strspn(text + 1, "0123456789abcdefABCDEF");
    const unsigned char *data;
    gh_bytes_t der;

    if (gh_hex_parse(&der, apr_pstrmemdup(p, text + 1, digits), p) != APR_SUCCESS)
        return NULL;
    data = der.data;
    parsed->value = d2i_ASN1_PRINTABLE(NULL, &data, (long)der.length);
    if (parsed->value == NULL || data != der.data + der.length)
        return NULL;
    return skip_blanks(text + 1 + digits);
}

/** Reads one escaped character behind a backslash. @return what follows, NULL if malformed */
static const char *parse_escape(char **out, const char *text)
{
    int high, low;

    if (*text != '\0' && strchr(",+\"\\<>;# =", *text) != NULL) {
        *(*out)++ = *text;
        return text + 1;
    }
    high = OPENSSL_hexchar2int((unsigned char)text[0]);
    low = high < 0 ? -1 : OPENSSL_hexchar2int((unsigned char)text[1]);
    if (low < 0)
        return NULL;
    *(*out)++ = (char)(high << 4 | low);
    return text + 2;
}

static const char *parse_quoted(char **out, const char *text)
{
    while (*text != '"') {
        if (*text == '\0')
            return NULL;
        if (*text == '\\') {
            text = parse_escape(out, text + 1);
            if (text == NULL)
                return NULL;
        }
        else {
            *(*out)++ = *text++;
        }
    }
    return skip_blanks(text + 1);
}

static const char *parse_plain(char **out, const char *text)
{
    char *last = *out;          /* behind the last character that is not an unescaped blank */

    while (*text != '\0' && *text != ',' && *text != '+') {
        if (strchr("\"<>;", *text) != NULL)
            return NULL;
        if (*text == '\\') {
            text = parse_escape(out, text + 1);
            if (text == NULL)
                return NULL;
            last = *out;
        }
        else {
            *(*out)++ = *text;
            if (*text++ != ' ')
                last = *out;
        }
    }
    *out = last;
    return text;
}

static const char *parse_value(parsed_attribute_t *parsed, const char *text, apr_pool_t *p)
{
    char *value, *out;

    if (*text == '#')
        return parse_der(parsed, text, p);
    out = value = apr_palloc(p, strlen(text) + 1);
    text = *text == '"' ? parse_quoted(&out, text + 1) : parse_plain(&out, text);
    if (text == NULL)
        return NULL;
    parsed->value = gh_attribute_value(parsed->attribute, value, (apr_size_t)(out - value));
    return parsed->value != NULL ? text : NULL;
}

/** Reads all attributes. @return how many, or -1 */
static int parse_attributes(parsed_attribute_t parsed[GH_NAME_MAX], const char *text,
                            apr_pool_t *p)
{
    int count = 0, joins = 0;

    text = skip_blanks(text);
    if (*text == '\0')
        return 0;
    for (;;) {
        if (count == GH_NAME_MAX)
            return -1;
        parsed[count].joins = joins;
        count++;
        text = parse_type(&parsed[count - 1], text, p);
        if (text == NULL)
            return -1;
        text = parse_value(&parsed[count - 1], text, p);
        if (text == NULL)
            return -1;
        if (*text == '\0')
            return count;
        if (*text != ',' && *text != '+')
            return -1;
        joins = *text == '+';
        text = skip_blanks(text + 1);
    }
}

/** Adds the attributes, RDNs in reverse order, attributes within one in order. */
static int add_attributes(X509_NAME *name, const parsed_attribute_t *parsed, int count)
{
    int end, begin, i;

    for (end = count; end > 0; end = begin) {
        begin = end - 1;
        while (parsed[begin].joins)
            begin--;
        for (i = begin; i < end; i++) {
            if (!X509_NAME_add_entry_by_OBJ(name, parsed[i].object,
                                            ASN1_STRING_type(parsed[i].value),
                                            ASN1_STRING_get0_data(parsed[i].value),
                                            ASN1_STRING_length(parsed[i].value),
                                            -1, i > begin ? -1 : 0))
                return 0;
        }
    }
    return 1;
}

apr_status_t gh_name_parse(X509_NAME **name, const char *text, apr_pool_t *p, gh_result_t *result)
{
    parsed_attribute_t parsed[GH_NAME_MAX];
    X509_NAME *made = X509_NAME_new();
    apr_status_t rv = APR_SUCCESS;
    int i, count;

    memset(parsed, 0, sizeof(parsed));
    *name = NULL;
    count = parse_attributes(parsed, text, p);
    if (made == NULL || count < 0 || !add_attributes(made, parsed, count)) {
        X509_NAME_free(made);
        rv = gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "name",
                            "write it like \"cn=Name,ou=Unit,o=Organization,c=DE\" (RFC 4514)",
                            GHNO(0125) "cannot read the name \"%.200s\"", text);
    }
    else {
        *name = gh_own_name(p, made);
    }
    for (i = 0; i < GH_NAME_MAX; i++) {
        ASN1_OBJECT_free(parsed[i].object);
        ASN1_STRING_free(parsed[i].value);
    }
    ERR_clear_error();
    return rv;
}
