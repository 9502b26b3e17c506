/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "ctl_ad.h"

#include <stdarg.h>
#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <ldap.h>
#include <ldif.h>
#include <openssl/asn1.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include "x509/own.h"

#define SERVICES "CN=Public Key Services,CN=Services,CN=Configuration"

#define GENERAL_AUTO_ENROLL     0x20        /* CT_FLAG_AUTO_ENROLLMENT */
#define GENERAL_MODIFIED        0x20000     /* CT_FLAG_IS_MODIFIED: not one of Microsoft's */
#define OID_OF_TEMPLATE         1           /* flags of msPKI-Enterprise-Oid */
#define TICKS                   10000000    /* in a second */

static void put(FILE *file, int type, const char *name, const void *value, apr_size_t length)
{
    char *line = ldif_put(type, name, value, (ber_len_t)length);

    if (line != NULL) {
        fputs(line, file);
        ber_memfree(line);
    }
}

void ctl_ldif_comment(FILE *file, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    char *line;
    char *last;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    for (line = apr_strtok(text, "\n", &last); line != NULL; line = apr_strtok(NULL, "\n", &last)) {
        fprintf(file, "# %s\n", line);
    }
}

void ctl_ldif_text(FILE *file, const char *name, const char *value)
{
    if (value != NULL) {
        put(file, LDIF_PUT_VALUE, name, value, strlen(value));
    }
}

void ctl_ldif_number(FILE *file, const char *name, apr_int64_t value)
{
    char text[32];

    apr_snprintf(text, sizeof(text), "%" APR_INT64_T_FMT, value);
    ctl_ldif_text(file, name, text);
}

void ctl_ldif_bytes(FILE *file, const char *name, const void *data, apr_size_t length)
{
    put(file, LDIF_PUT_BINARY, name, data, length);
}

void ctl_ldif_begin(FILE *file, const char *cn, const char *container, const char *base,
                    const char *change, apr_pool_t *p)
{
    ctl_ldif_text(file, "dn", apr_pstrcat(p, "CN=", cn, container != NULL ? ",CN=" : "",
                                          container != NULL ? container : "", "," SERVICES ",",
                                          base, NULL));
    ctl_ldif_text(file, "changetype", change);
}

void ctl_ldif_end(FILE *file)
{
    fputc('\n', file);
}

const char *ctl_ad_sanitized(const char *name, apr_pool_t *p)
{
    char *made = apr_palloc(p, strlen(name) * 5 + 1);
    char *to = made;

    for (; *name != '\0'; name++) {
        if (apr_isalnum(*name) || (*name == ' ' && to != made && name[1] != '\0')
            || strchr("-_.()", *name) != NULL) {
            *to++ = *name;
        }
        else {
            to += apr_snprintf(to, 6, "!%04x", (unsigned char)*name);
        }
    }
    *to = '\0';
    return made;
}

/* Templates */

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static apr_int64_t number_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

/* Flags are unsigned here, and integers with a sign of 32 bits in a directory. */
static void put_flags(FILE *file, const char *name, apr_int64_t flags)
{
    ctl_ldif_number(file, name, (apr_int32_t)(apr_uint32_t)flags);
}

/* A span of time: so many ticks, less than none, the lowest byte first. */
static void put_span(FILE *file, const char *name, apr_int64_t seconds)
{
    apr_uint64_t ticks = (apr_uint64_t)-(seconds * TICKS);
    unsigned char bytes[8];
    int i;

    for (i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)(ticks >> (8 * i));
    }
    ctl_ldif_bytes(file, name, bytes, sizeof(bytes));
}

static void put_usage(FILE *file, gh_bytes_t der)
{
    const unsigned char *at = der.data;
    ASN1_BIT_STRING *usage = d2i_ASN1_BIT_STRING(NULL, &at, (long)der.length);
    unsigned char bytes[2] = { 0, 0 };
    int i;

    for (i = 0; usage != NULL && i < ASN1_STRING_length(usage) && i < 2; i++) {
        bytes[i] = ASN1_STRING_get0_data(usage)[i];
    }
    ASN1_BIT_STRING_free(usage);
    ctl_ldif_bytes(file, "pKIKeyUsage", bytes, sizeof(bytes));
}

static void put_purposes(FILE *file, gh_bytes_t der)
{
    static const char *const names[] = {
        "pKIExtendedKeyUsage", "msPKI-Certificate-Application-Policy"
    };
    const unsigned char *at = der.data;
    EXTENDED_KEY_USAGE *usages = d2i_EXTENDED_KEY_USAGE(NULL, &at, (long)der.length);
    char oid[GH_OID_SIZE];
    int i;
    int n;

    for (n = 0; n < 2; n++) {
        for (i = 0; i < sk_ASN1_OBJECT_num(usages); i++) {
            if (gh_oid_copy(oid, sk_ASN1_OBJECT_value(usages, i))) {
                ctl_ldif_text(file, names[n], oid);
            }
        }
    }
    EXTENDED_KEY_USAGE_free(usages);
}

static void put_extensions(FILE *file, const json_t *template, apr_pool_t *p)
{
    const json_t *one;
    gh_bytes_t der;
    size_t i;

    json_array_foreach(json_object_get(template, "extensions"), i, one) {
        const char *oid = text_of(one, "oid");

        if (oid == NULL || text_of(one, "value") == NULL
            || gh_hex_parse(&der, text_of(one, "value"), p) != APR_SUCCESS) {
            continue;
        }
        if (strcmp(oid, "2.5.29.15") == 0) {
            put_usage(file, der);
        }
        else if (strcmp(oid, "2.5.29.37") == 0) {
            put_purposes(file, der);
        }
        if (json_is_true(json_object_get(one, "critical"))) {
            ctl_ldif_text(file, "pKICriticalExtensions", oid);
        }
    }
}

static void put_providers(FILE *file, const json_t *template, apr_pool_t *p)
{
    const json_t *one;
    size_t i;

    json_array_foreach(json_object_get(template, "providers"), i, one) {
        ctl_ldif_text(file, "pKIDefaultCSPs",
                      apr_psprintf(p, "%d,%s", (int)i + 1, json_string_value(one)));
    }
}

/* Who may enrol stands in the object's permissions, with identifiers that the domain alone has. */
static void explain_permissions(FILE *file, const json_t *template)
{
    const json_t *one;
    size_t i;

    ctl_ldif_comment(file, "Grant Read and Enroll%s at this object to:",
                     json_is_true(json_object_get(template, "auto_enroll")) ? ", Autoenroll," : "");
    if (json_is_true(json_object_get(template, "everybody"))) {
        ctl_ldif_comment(file, "  Authenticated Users");
    }
    json_array_foreach(json_object_get(template, "users"), i, one) {
        ctl_ldif_comment(file, "  %.200s", json_string_value(one));
    }
    json_array_foreach(json_object_get(template, "groups"), i, one) {
        ctl_ldif_comment(file, "  %.200s", json_string_value(one));
    }
}

void ctl_ad_template(FILE *file, const json_t *template, const char *base, apr_pool_t *p)
{
    const char *name = text_of(template, "name");
    const char *display = text_of(template, "display_name");
    apr_int64_t key_spec = number_of(template, "key_spec");
    int auto_enroll = json_is_true(json_object_get(template, "auto_enroll"));

    explain_permissions(file, template);
    ctl_ldif_begin(file, name, "Certificate Templates", base, "add", p);
    ctl_ldif_text(file, "objectClass", "top");
    ctl_ldif_text(file, "objectClass", "pKICertificateTemplate");
    ctl_ldif_text(file, "cn", name);
    ctl_ldif_text(file, "displayName", display != NULL ? display : name);
    put_flags(file, "flags", number_of(template, "general_flags") | GENERAL_MODIFIED
              | (auto_enroll ? GENERAL_AUTO_ENROLL : 0));
    ctl_ldif_number(file, "revision", number_of(template, "major"));
    ctl_ldif_number(file, "pKIDefaultKeySpec", key_spec > 0 ? key_spec : 1);
    ctl_ldif_number(file, "pKIMaxIssuingDepth", 0);
    put_span(file, "pKIExpirationPeriod", number_of(template, "validity"));
    put_span(file, "pKIOverlapPeriod", number_of(template, "renewal"));
    put_extensions(file, template, p);
    put_providers(file, template, p);
    ctl_ldif_number(file, "msPKI-RA-Signature", number_of(template, "ra_signatures"));
    put_flags(file, "msPKI-Enrollment-Flag", number_of(template, "enrolment_flags"));
    put_flags(file, "msPKI-Private-Key-Flag", number_of(template, "private_key_flags"));
    put_flags(file, "msPKI-Certificate-Name-Flag", number_of(template, "subject_flags"));
    ctl_ldif_number(file, "msPKI-Minimal-Key-Size", number_of(template, "minimal_key"));
    ctl_ldif_number(file, "msPKI-Template-Schema-Version", number_of(template, "schema"));
    ctl_ldif_number(file, "msPKI-Template-Minor-Revision", number_of(template, "minor"));
    ctl_ldif_text(file, "msPKI-Cert-Template-OID", text_of(template, "oid"));
    ctl_ldif_end(file);
}

void ctl_ad_oid(FILE *file, const json_t *template, const char *base, apr_pool_t *p)
{
    const char *oid = text_of(template, "oid");
    const char *display = text_of(template, "display_name");
    unsigned char digest[SHA256_DIGEST_LENGTH];
    const char *cn;

    /* as Windows names them: the last arc, and something that no other object has */
    SHA256((const unsigned char *)oid, strlen(oid), digest);
    cn = apr_pstrcat(p, strrchr(oid, '.') + 1, ".", gh_hex(p, digest, 16), NULL);
    ctl_ldif_begin(file, cn, "OID", base, "add", p);
    ctl_ldif_text(file, "objectClass", "top");
    ctl_ldif_text(file, "objectClass", "msPKI-Enterprise-Oid");
    ctl_ldif_text(file, "cn", cn);
    ctl_ldif_text(file, "displayName", display != NULL ? display : text_of(template, "name"));
    ctl_ldif_number(file, "flags", OID_OF_TEMPLATE);
    ctl_ldif_text(file, "msPKI-Cert-Template-OID", oid);
    ctl_ldif_end(file);
}
