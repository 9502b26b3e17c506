/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>
#include <strings.h>

#include <openssl/asn1.h>
#include <openssl/err.h>
#include <openssl/x509.h>

#include "status.h"
#include "x509/name.h"
#include "x509/name_attributes.h"
#include "x509/own.h"

#define DIRECTORY   (B_ASN1_PRINTABLESTRING | B_ASN1_UTF8STRING)
#define PRINTABLE   B_ASN1_PRINTABLESTRING
#define IA5         B_ASN1_IA5STRING

/** Upper bound where RFC 5280 has none or one that cannot be meant. */
#define LONG_VALUE  1024

#define ALIASES(...) (const char *const[]){ __VA_ARGS__, NULL }

/* SN means surname and S means state here, unlike in parts of OpenSSL; upper bounds are those of
 * RFC 5280 appendix A.1. */
static const gh_attribute_t attributes[] = {
    { "2.5.4.3", ALIASES("CN", "CommonName"), DIRECTORY, 64, 80 },
    { "2.5.4.4", ALIASES("SN", "SurName"), DIRECTORY, 64, 80 },
    { "2.5.4.5", ALIASES("SERIALNUMBER", "DeviceSerialNumber"), PRINTABLE, 64, 80 },
    { "2.5.4.6", ALIASES("C", "Country", "CountryName"), PRINTABLE, 2, 10 },
    { "2.5.4.7", ALIASES("L", "Locality", "LocalityName"), DIRECTORY, 128, 30 },
    { "2.5.4.8", ALIASES("ST", "S", "State", "StateOrProvinceName"), DIRECTORY, 128, 20 },
    { "2.5.4.9", ALIASES("STREET", "StreetAddress"), DIRECTORY, 128, 40 },
    { "2.5.4.10", ALIASES("O", "Org", "Organization", "OrganizationName"), DIRECTORY, 64, 50 },
    { "2.5.4.11", ALIASES("OU", "OrganizationalUnit", "OrganizationUnit", "OrgUnit",
                          "OrganizationalUnitName"), DIRECTORY, 64, 60 },
    { "2.5.4.12", ALIASES("T", "Title"), DIRECTORY, 64, 70 },
    { "2.5.4.15", ALIASES("BUSINESSCATEGORY"), DIRECTORY, 128, 40 },
    { "2.5.4.17", ALIASES("POSTALCODE"), DIRECTORY, 40, 40 },
    { "2.5.4.42", ALIASES("G", "givenName", "GN"), DIRECTORY, 64, 80 },
    { "2.5.4.43", ALIASES("I", "Initials"), DIRECTORY, 64, 80 },
    { "2.5.4.97", ALIASES("ORGANIZATIONIDENTIFIER"), DIRECTORY, 256, 50 },
    { "0.9.2342.19200300.100.1.25", ALIASES("DC", "DomainComponent"), IA5, 63, 0 },
    { "0.9.2342.19200300.100.1.1", ALIASES("UID", "UserID"), DIRECTORY, 256, 80 },
    { "1.2.840.113549.1.9.1", ALIASES("Email", "E", "emailAddress"), IA5, 255, 90 },
    { "1.2.840.113549.1.9.2", ALIASES("unstructuredName"), DIRECTORY | IA5, 255, 90 },
    { "1.2.840.113549.1.9.8", ALIASES("unstructuredAddress"), DIRECTORY, 255, 90 },
    { "1.3.6.1.4.1.311.60.2.1.1", ALIASES("JurisdictionOfIncorporationLocalityName",
                                          "jurisdictionL"), DIRECTORY, 128, 40 },
    { "1.3.6.1.4.1.311.60.2.1.2", ALIASES("JurisdictionOfIncorporationStateOrProvinceName",
                                          "jurisdictionST"), DIRECTORY, 128, 40 },
    { "1.3.6.1.4.1.311.60.2.1.3", ALIASES("JurisdictionOfIncorporationCountryName",
                                          "jurisdictionC"), PRINTABLE, 2, 40 },
    { "1.3.6.1.4.1.53087.1.2", ALIASES("TrademarkOfficeName"), DIRECTORY, LONG_VALUE, 70 },
    { "1.3.6.1.4.1.53087.1.3", ALIASES("TrademarkCountryOrRegionName"), DIRECTORY, LONG_VALUE, 70 },
    { "1.3.6.1.4.1.53087.1.4", ALIASES("TrademarkRegistration"), DIRECTORY, LONG_VALUE, 70 },
    { "1.3.6.1.4.1.53087.1.5", ALIASES("LegalEntityIdentifier"), DIRECTORY, LONG_VALUE, 70 },
    { "1.3.6.1.4.1.53087.1.6", ALIASES("WordMark"), DIRECTORY, LONG_VALUE, 70 },
    { "1.3.6.1.4.1.53087.1.13", ALIASES("MarkType"), DIRECTORY, LONG_VALUE, 70 },
    { "1.3.6.1.4.1.53087.3.2", ALIASES("StatuteCountryName"), DIRECTORY, LONG_VALUE, 70 },
    { "1.3.6.1.4.1.53087.3.3", ALIASES("StatuteStateOrProvinceName"), DIRECTORY, LONG_VALUE, 70 },
    { "1.3.6.1.4.1.53087.3.4", ALIASES("StatuteLocalityName"), DIRECTORY, LONG_VALUE, 70 },
    { "1.3.6.1.4.1.53087.3.5", ALIASES("StatuteCitation"), DIRECTORY, LONG_VALUE, 70 },
    { "1.3.6.1.4.1.53087.3.6", ALIASES("StatuteURL"), DIRECTORY, LONG_VALUE, 70 },
    { NULL, NULL, 0, 0, 0 }
};

static const gh_attribute_t *attribute_by_oid(const char *oid)
{
    const gh_attribute_t *attribute;

    for (attribute = attributes; attribute->oid != NULL; attribute++) {
        if (strcmp(attribute->oid, oid) == 0)
            return attribute;
    }
    return NULL;
}

const gh_attribute_t *gh_attribute_by_alias(const char *alias)
{
    const gh_attribute_t *attribute;
    const char *const *candidate;

    for (attribute = attributes; attribute->oid != NULL; attribute++) {
        for (candidate = attribute->aliases; *candidate != NULL; candidate++) {
            if (strcasecmp(*candidate, alias) == 0)
                return attribute;
        }
    }
    return attribute_by_oid(alias);
}

const gh_attribute_t *gh_attribute_by_object(const ASN1_OBJECT *object)
{
    char oid[GH_OID_SIZE];

    return gh_oid_copy(oid, object) ? attribute_by_oid(oid) : NULL;
}

ASN1_OBJECT *gh_attribute_object(const char *alias)
{
    const gh_attribute_t *attribute = gh_attribute_by_alias(alias);
    const char *oid = attribute != NULL ? attribute->oid : alias;
    ASN1_OBJECT *object;

    if (strlen(oid) >= GH_OID_SIZE || strspn(oid, "0123456789.") != strlen(oid)
        || strchr(oid, '.') == NULL)
        return NULL;
    object = OBJ_txt2obj(oid, 1);
    ERR_clear_error();
    return object;
}

int gh_name_attribute(const char *alias)
{
    ASN1_OBJECT *object = gh_attribute_object(alias);
    char oid[GH_OID_SIZE];
    int nid = NID_undef;

    /* OpenSSL knows most of them; an attribute that it does not know gets a number now. */
    if (object != NULL && (nid = OBJ_obj2nid(object)) == NID_undef && gh_oid_copy(oid, object))
        nid = OBJ_create(oid, NULL, NULL);
    ASN1_OBJECT_free(object);
    ERR_clear_error();
    return nid;
}

static int has_control_character(const char *utf8, apr_size_t length)
{
    apr_size_t i;

    for (i = 0; i < length; i++) {
        if ((unsigned char)utf8[i] < 0x20 || utf8[i] == 0x7f)
            return 1;
    }
    return 0;
}

ASN1_STRING *gh_attribute_value(const gh_attribute_t *attribute, const char *utf8,
                                apr_size_t length)
{
    static const unsigned long preference[] = {
        B_ASN1_PRINTABLESTRING, B_ASN1_IA5STRING, B_ASN1_UTF8STRING
    };
    unsigned long types = attribute != NULL ? attribute->types : DIRECTORY;
    long max = attribute != NULL ? attribute->max : LONG_VALUE;
    long min = max == 2 ? 2 : 1;
    ASN1_STRING *value = NULL;
    size_t i;

    if (length == 0 || length > LONG_VALUE * 4 || has_control_character(utf8, length))
        return NULL;
    for (i = 0; value == NULL && i < sizeof(preference) / sizeof(preference[0]); i++) {
        if ((types & preference[i]) != 0
            && ASN1_mbstring_ncopy(&value, (const unsigned char *)utf8, (int)length, MBSTRING_UTF8,
                                   preference[i], min, max) < 0)
            value = NULL;
    }
    ERR_clear_error();
    return value;
}

static int type_is_permitted(const gh_attribute_t *attribute, int type)
{
    unsigned long types = attribute != NULL ? attribute->types : DIRECTORY | IA5;

    return (ASN1_tag2bit(type) & types) != 0;
}

static int add_conforming(X509_NAME *copy, const X509_NAME_ENTRY *entry, int set)
{
    const ASN1_OBJECT *object = X509_NAME_ENTRY_get_object(entry);
    const ASN1_STRING *data = X509_NAME_ENTRY_get_data(entry);
    const gh_attribute_t *attribute = gh_attribute_by_object(object);
    unsigned char *utf8 = NULL;
    int length = ASN1_STRING_to_UTF8(&utf8, data);
    ASN1_STRING *value = NULL;
    int done = 0;

    /* Values are converted only where RFC 5280 wants another type, so that names stay as they are
     * known elsewhere. */
    if (length > 0)
        value = gh_attribute_value(attribute, (const char *)utf8, (apr_size_t)length);
    if (value != NULL && type_is_permitted(attribute, ASN1_STRING_type(data)))
        done = X509_NAME_add_entry_by_OBJ(copy, object, ASN1_STRING_type(data),
                                          ASN1_STRING_get0_data(data), ASN1_STRING_length(data),
                                          -1, set);
    else if (value != NULL)
        done = X509_NAME_add_entry_by_OBJ(copy, object, ASN1_STRING_type(value),
                                          ASN1_STRING_get0_data(value), ASN1_STRING_length(value),
                                          -1, set);
    ASN1_STRING_free(value);
    OPENSSL_free(utf8);
    return done;
}

X509_NAME *gh_name_conform(const X509_NAME *name, gh_result_t *result)
{
    X509_NAME *copy = X509_NAME_new();
    int count = X509_NAME_entry_count(name);
    int i, last_set = -1;

    if (copy == NULL)
        return NULL;
    if (count > GH_NAME_MAX) {
        gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, "profile.subject",
                       "ask for a shorter subject",
                       GHNO(0123) "the subject has more than %d attributes", GH_NAME_MAX);
        goto failed;
    }
    for (i = 0; i < count; i++) {
        const X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, i);
        int set = X509_NAME_ENTRY_set(entry);

        if (!add_conforming(copy, entry, set == last_set ? -1 : 0)) {
            char oid[GH_OID_SIZE] = "(unknown)";

            gh_oid_copy(oid, X509_NAME_ENTRY_get_object(entry));
            gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, "profile.subject",
                           "correct the subject; RFC 5280 has upper bounds and string types",
                           GHNO(0124) "the value of subject attribute %s is empty, too long or not "
                           "text of the permitted kind", oid);
            goto failed;
        }
        last_set = set;
    }
    ERR_clear_error();
    return copy;

failed:
    ERR_clear_error();
    X509_NAME_free(copy);
    return NULL;
}
