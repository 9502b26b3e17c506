/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The property list: names and types of keys are Apple's ("SCEP", "CertificateRoot" and "TopLevel"
 * in the device management documentation). */

#include "mod_scep/scep_profile.h"

#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <libxml/parser.h>
#include <libxml/xmlwriter.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "log.h"
#include "status.h"
#include "x509/name.h"
#include "x509/name_attributes.h"
#include "x509/own.h"

#define PUBLIC_ID "-//Apple//DTD PLIST 1.0//EN"
#define SYSTEM_ID "http://www.apple.com/DTDs/PropertyList-1.0.dtd"

/* What a device does with an answer of PENDING; its defaults, written down. */
#define RETRIES     3
#define RETRY_DELAY 10

void scep_profile_prepare(void)
{
    xmlInitParser();
}

/* Subjects */

static int add_value(X509_NAME *name, const scep_profile_value_t *one)
{
    ASN1_OBJECT *object = gh_attribute_object(one->type);
    ASN1_STRING *value = gh_attribute_value(gh_attribute_by_alias(one->type), one->value,
                                            strlen(one->value));
    int added = object && value
                && X509_NAME_add_entry_by_OBJ(name, object, ASN1_STRING_type(value),
                                              ASN1_STRING_get0_data(value),
                                              ASN1_STRING_length(value), -1, 0);

    ASN1_OBJECT_free(object);
    ASN1_STRING_free(value);
    return added;
}

/* A long name is cut when it is printed, and would then be another one. */
static int same_name(X509_NAME *name, const char *text, apr_pool_t *p)
{
    X509_NAME *read;

    return gh_name_parse(&read, text, p, NULL) == APR_SUCCESS && !X509_NAME_cmp(name, read);
}

apr_status_t scep_profile_subject(const char **subject, const apr_array_header_t *values,
                                  apr_pool_t *p, gh_result_t *result)
{
    X509_NAME *name = gh_own_name(p, X509_NAME_new());
    const scep_profile_value_t *one = NULL;
    int i = values->nelts;

    while (name && i > 0) {
        one = &APR_ARRAY_IDX(values, --i, scep_profile_value_t);
        if (!add_value(name, one)) {
            ERR_clear_error();
            return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "profile.subject",
                                  "See what the user is called, and what SCEPProfileSubject makes "
                                  "of it.",
                                  GHNO(0502) "%s of a subject cannot be \"%.100s\"", one->type,
                                  one->value);
        }
    }
    *subject = name ? gh_name_text(name, p) : "";
    if (!name || !same_name(name, *subject, p)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "profile.subject",
                              "Leave attributes out of SCEPProfileSubject.",
                              GHNO(0503) "the subject is too long");
    }
    return APR_SUCCESS;
}

/* XML. A failure is kept, so that only the end needs a check. */

typedef struct {
    xmlTextWriterPtr writer;
    apr_pool_t *p;
    int failed;
    int unclean;                    /* some text cannot be in XML */
} plist_t;

static void begin(plist_t *plist, const char *name)
{
    plist->failed |= xmlTextWriterStartElement(plist->writer, BAD_CAST name) < 0;
}

static void end(plist_t *plist)
{
    plist->failed |= xmlTextWriterEndElement(plist->writer) < 0;
}

static void element(plist_t *plist, const char *name, const char *text)
{
    const char *c;

    plist->unclean |= !xmlCheckUTF8(BAD_CAST text);
    for (c = text; *c; ++c) {
        plist->unclean |= apr_iscntrl(*c);
    }
    plist->failed |= xmlTextWriterWriteElement(plist->writer, BAD_CAST name, BAD_CAST text) < 0;
}

static void key(plist_t *plist, const char *name)
{
    element(plist, "key", name);
}

static void string(plist_t *plist, const char *name, const char *text)
{
    key(plist, name);
    element(plist, "string", text);
}

static void integer(plist_t *plist, const char *name, int value)
{
    key(plist, name);
    element(plist, "integer", apr_itoa(plist->p, value));
}

static void no(plist_t *plist, const char *name)
{
    key(plist, name);
    plist->failed |= xmlTextWriterWriteElement(plist->writer, BAD_CAST "false", NULL) < 0;
}

static void data(plist_t *plist, const char *name, const unsigned char *bytes, int length)
{
    unsigned char *text = apr_palloc(plist->p, 4 * ((apr_size_t)length + 2) / 3 + 4);

    EVP_EncodeBlock(text, bytes, length);
    key(plist, name);
    element(plist, "data", (const char *)text);
}

/** An UUID of random bits (RFC 9562 5.4). */
static void uuid(plist_t *plist, const char *name)
{
    const char *random = gh_random_id(plist->p);
    char *text, *c;

    if (!random) {
        plist->failed = 1;
        return;
    }
    text = apr_psprintf(plist->p, "%.8s-%.4s-4%.3s-a%.3s-%.12s", random, random + 8, random + 13,
                        random + 17, random + 20);
    for (c = text; *c; ++c) {
        *c = (char)apr_toupper(*c);
    }
    string(plist, name, text);
}

static void payload(plist_t *plist, const char *type, const char *identifier, const char *shown,
                    const scep_profile_t *profile)
{
    string(plist, "PayloadType", type);
    integer(plist, "PayloadVersion", 1);
    string(plist, "PayloadIdentifier", identifier);
    uuid(plist, "PayloadUUID");
    string(plist, "PayloadDisplayName", shown);
    if (profile->organization) {
        string(plist, "PayloadOrganization", profile->organization);
    }
}

/* What is in the payloads */

/** Those that devices know by name; all others are dotted numbers. */
static const char *short_name(const ASN1_OBJECT *object, apr_pool_t *p)
{
    static const int known[] = { NID_countryName, NID_localityName, NID_stateOrProvinceName,
                                 NID_organizationName, NID_organizationalUnitName,
                                 NID_commonName };
    int nid = OBJ_obj2nid(object);
    char oid[GH_OID_SIZE];
    apr_size_t i;

    for (i = 0; i < sizeof(known) / sizeof(known[0]); ++i) {
        if (known[i] == nid) {
            return OBJ_nid2sn(nid);
        }
    }
    return gh_oid_copy(oid, object) ? apr_pstrdup(p, oid) : NULL;
}

static void pair(plist_t *plist, const X509_NAME_ENTRY *entry)
{
    const char *name = short_name(X509_NAME_ENTRY_get_object(entry), plist->p);
    unsigned char *utf8 = NULL;

    if (!name || ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(entry)) < 0) {
        plist->failed = 1;
        return;
    }
    begin(plist, "array");
    element(plist, "string", name);
    element(plist, "string", (const char *)utf8);
    end(plist);
    OPENSSL_free(utf8);
}

/** Arrays of RDNs, each an array of pairs, in the order of the encoding. */
static apr_status_t subject(plist_t *plist, const char *text, gh_result_t *result)
{
    X509_NAME *name;
    apr_status_t rv = gh_name_parse(&name, text, plist->p, result);
    int i, set = -1;

    if (rv != APR_SUCCESS) {
        return rv;
    }
    key(plist, "Subject");
    begin(plist, "array");
    for (i = 0; i < X509_NAME_entry_count(name); ++i) {
        const X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, i);

        if (X509_NAME_ENTRY_set(entry) != set) {
            if (set >= 0) {
                end(plist);
            }
            begin(plist, "array");
            set = X509_NAME_ENTRY_set(entry);
        }
        pair(plist, entry);
    }
    if (set >= 0) {
        end(plist);
    }
    end(plist);
    return APR_SUCCESS;
}

/** A dictionary of types; one name is a string, several are an array of strings. */
static void alternative_names(plist_t *plist, const apr_array_header_t *names)
{
    static const struct {
        const char *type, *name;
    } types[] = { { "email", "rfc822Name" }, { "dns", "dNSName" },
                  { "uri", "uniformResourceIdentifier" }, { "upn", "ntPrincipalName" } };
    apr_size_t t;
    int i;

    key(plist, "SubjectAltName");
    begin(plist, "dict");
    for (t = 0; t < sizeof(types) / sizeof(types[0]); ++t) {
        int count = 0;

        for (i = 0; i < names->nelts; ++i) {
            count += !strcmp(APR_ARRAY_IDX(names, i, scep_profile_value_t).type, types[t].type);
        }
        if (count) {
            key(plist, types[t].name);
        }
        if (count > 1) {
            begin(plist, "array");
        }
        for (i = 0; i < names->nelts; ++i) {
            const scep_profile_value_t *one = &APR_ARRAY_IDX(names, i, scep_profile_value_t);
            if (!strcmp(one->type, types[t].type)) {
                element(plist, "string", one->value);
            }
        }
        if (count > 1) {
            end(plist);
        }
    }
    end(plist);
}

/** Who stands between could give a device certificates of his own, and would get the challenge.
 *  Devices compare the end of the chain in the answer to GetCACert, by SHA-1 or MD5: 32 bytes they
 *  refuse (SecSCEPValidateCACertMessage of Apple's Security framework). */
static void fingerprint(plist_t *plist, const scep_profile_t *profile)
{
    const X509 *last = profile->chain->nelts
                           ? APR_ARRAY_IDX(profile->chain, profile->chain->nelts - 1, X509 *)
                           : profile->authority;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length;

    if (!X509_digest(last, EVP_sha1(), digest, &length)) {
        plist->failed = 1;
        return;
    }
    data(plist, "CAFingerprint", digest, (int)length);
}

static apr_status_t scep_payload(plist_t *plist, const scep_profile_t *profile,
                                 const char *identifier, gh_result_t *result)
{
    apr_status_t rv;

    begin(plist, "dict");
    payload(plist, "com.apple.security.scep", apr_pstrcat(plist->p, identifier, ".scep", NULL),
            "SCEP", profile);
    key(plist, "PayloadContent");
    begin(plist, "dict");
    string(plist, "URL", profile->url);
    string(plist, "Name", profile->issuer);
    rv = subject(plist, profile->subject, result);
    if (profile->sans && profile->sans->nelts) {
        alternative_names(plist, profile->sans);
    }
    string(plist, "Challenge", profile->challenge);
    string(plist, "Key Type", "RSA");
    integer(plist, "Keysize", profile->key_size);
    integer(plist, "Key Usage", profile->key_usage);
    integer(plist, "Retries", RETRIES);
    integer(plist, "RetryDelay", RETRY_DELAY);
    no(plist, "KeyIsExtractable");
    fingerprint(plist, profile);
    end(plist);
    end(plist);
    return rv;
}

/** The root is trusted, those below it are only known. */
static void certificate_payload(plist_t *plist, const scep_profile_t *profile,
                                const char *identifier, int number, X509 *certificate)
{
    int root = X509_check_issued(certificate, certificate) == X509_V_OK;
    const char *name = gh_name_text(X509_get_subject_name(certificate), plist->p);
    unsigned char *der = NULL;
    int length = i2d_X509(certificate, &der);

    if (length < 0) {
        plist->failed = 1;
        return;
    }
    begin(plist, "dict");
    payload(plist, root ? "com.apple.security.root" : "com.apple.security.pkcs1",
            apr_psprintf(plist->p, "%s.ca%d", identifier, number), name, profile);
    string(plist, "PayloadCertificateFileName",
           apr_psprintf(plist->p, "%s-%d.cer", profile->issuer, number));
    data(plist, "PayloadContent", der, length);
    end(plist);
    OPENSSL_free(der);
}

static apr_status_t write_profile(plist_t *plist, const scep_profile_t *profile,
                                  gh_result_t *result)
{
    /* always the same, so that a new profile takes the place of an earlier one */
    const char *identifier = apr_pstrcat(plist->p, "gatehouse.scep.", profile->tenant, ".",
                                         profile->issuer, ".", profile->profile, NULL);
    apr_status_t rv;
    int i;

    begin(plist, "plist");
    plist->failed |= xmlTextWriterWriteAttribute(plist->writer, BAD_CAST "version",
                                                 BAD_CAST "1.0") < 0;
    begin(plist, "dict");
    payload(plist, "Configuration", identifier,
            apr_pstrcat(plist->p, "Certificate of ", profile->issuer, NULL), profile);
    key(plist, "PayloadContent");
    begin(plist, "array");
    rv = scep_payload(plist, profile, identifier, result);
    certificate_payload(plist, profile, identifier, 1, profile->authority);
    for (i = 0; i < profile->chain->nelts; ++i) {
        certificate_payload(plist, profile, identifier, i + 2,
                            APR_ARRAY_IDX(profile->chain, i, X509 *));
    }
    end(plist);
    end(plist);
    end(plist);
    return rv;
}

/** Takes what was written out of libxml2's memory, in which no challenge is left. */
static gh_bytes_t take(xmlBufferPtr buffer, apr_pool_t *p)
{
    gh_bytes_t bytes = { NULL, 0 };

    if (buffer) {
        bytes.length = (apr_size_t)xmlBufferLength(buffer);
        bytes.data = apr_pmemdup(p, xmlBufferContent(buffer), bytes.length);
        OPENSSL_cleanse((void *)xmlBufferContent(buffer), bytes.length);
    }
    xmlBufferFree(buffer);
    return bytes;
}

apr_status_t scep_profile_write(gh_bytes_t *bytes, const scep_profile_t *profile, apr_pool_t *p,
                                gh_result_t *result)
{
    xmlBufferPtr buffer = xmlBufferCreate();
    plist_t plist = { buffer ? xmlNewTextWriterMemory(buffer, 0) : NULL, p, 0, 0 };
    apr_status_t rv = APR_SUCCESS;

    plist.failed = !plist.writer;
    if (!plist.failed) {
        plist.failed |= xmlTextWriterStartDocument(plist.writer, NULL, "UTF-8", NULL) < 0
                        || xmlTextWriterWriteDTD(plist.writer, BAD_CAST "plist",
                                                 BAD_CAST PUBLIC_ID, BAD_CAST SYSTEM_ID, NULL) < 0;
        rv = write_profile(&plist, profile, result);
        plist.failed |= xmlTextWriterEndDocument(plist.writer) < 0;
        xmlFreeTextWriter(plist.writer);
    }
    *bytes = take(buffer, p);
    if (rv == APR_SUCCESS && plist.unclean) {
        rv = gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "profile.text",
                            "Look for control characters in names, and for text that is not UTF-8.",
                            GHNO(0504) "a configuration profile cannot have a text that it should");
    }
    else if (rv == APR_SUCCESS && plist.failed) {
        ERR_clear_error();
        rv = gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_INTERNAL, NULL,
                            "Look whether memory is short.",
                            GHNO(0505) "the configuration profile cannot be written");
    }
    return rv;
}
