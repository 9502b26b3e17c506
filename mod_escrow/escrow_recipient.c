/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_escrow/escrow_recipient.h"

#include <string.h>
#include <strings.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include "log.h"
#include "status.h"
#include "x509/ca.h"
#include "x509/key.h"
#include "x509/name.h"

/** Largest certificate of a device, in bytes. */
#define CERTIFICATE_MAX (16 * 1024)

/** Longest name that is compared. */
#define NAME_MAX_LENGTH 256

#define RSA_BITS_MIN    2048
#define RSA_BITS_MAX    8192

struct escrow_recipient {
    X509 *certificate;
    gh_bytes_t der;
    unsigned char sha256[SHA256_DIGEST_LENGTH];
    gh_bytes_t key_sha256;
    const char *subject;
    gh_bytes_t serial;
};

struct escrow_device_cas {
    X509_STORE *store;
    apr_array_header_t *certificates;   /* gh_bytes_t */
};

static apr_status_t store_cleanup(void *data)
{
    X509_STORE_free(data);
    return APR_SUCCESS;
}

static apr_status_t create(escrow_device_cas_t **cas, apr_pool_t *p)
{
    escrow_device_cas_t *made = apr_pcalloc(p, sizeof(*made));

    *cas = NULL;
    if ((made->store = X509_STORE_new()) == NULL)
        return APR_ENOMEM;
    apr_pool_cleanup_register(p, made->store, store_cleanup, apr_pool_cleanup_null);
    /* a CA that is named is trusted, also without those above it */
    X509_STORE_set_flags(made->store, X509_V_FLAG_PARTIAL_CHAIN);
    X509_STORE_set_depth(made->store, 4);
    made->certificates = apr_array_make(p, 2, sizeof(gh_bytes_t));
    *cas = made;
    return APR_SUCCESS;
}

static apr_status_t add(escrow_device_cas_t *cas, X509 *certificate, const char *place,
                        apr_pool_t *p, gh_result_t *result)
{
    if (X509_check_ca(certificate) <= 0)
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "escrow.device-ca",
                              "Name files with certificates of CAs that issue to devices, and "
                              "of nobody else.",
                              GHNO(1129) "%s has a certificate that is no CA's: %s", place,
                              gh_name_text(X509_get_subject_name(certificate), p));
    APR_ARRAY_PUSH(cas->certificates, gh_bytes_t) = gh_certificate_der(certificate, p);
    return X509_STORE_add_cert(cas->store, certificate) ? APR_SUCCESS : APR_ENOMEM;
}

static apr_status_t add_file(escrow_device_cas_t *cas, const char *path, apr_pool_t *p,
                             gh_result_t *result)
{
    apr_array_header_t *certificates;
    apr_status_t rv = gh_certificates_open(&certificates, path, p, result);
    int i;

    for (i = 0; rv == APR_SUCCESS && i < certificates->nelts; i++)
        rv = add(cas, APR_ARRAY_IDX(certificates, i, X509 *), path, p, result);
    return rv;
}

apr_status_t escrow_device_cas_open(escrow_device_cas_t **cas, const apr_array_header_t *files,
                                    apr_pool_t *p, gh_result_t *result)
{
    escrow_device_cas_t *made;
    apr_status_t rv = create(&made, p);
    int i;

    *cas = NULL;
    for (i = 0; rv == APR_SUCCESS && i < files->nelts; i++)
        rv = add_file(made, APR_ARRAY_IDX(files, i, const char *), p, result);
    if (rv == APR_SUCCESS)
        *cas = made;
    return rv;
}

apr_status_t escrow_device_cas_make(escrow_device_cas_t **cas,
                                    const apr_array_header_t *certificates, apr_pool_t *p,
                                    gh_result_t *result)
{
    escrow_device_cas_t *made;
    apr_status_t rv = create(&made, p);
    int i;

    *cas = NULL;
    for (i = 0; rv == APR_SUCCESS && i < certificates->nelts; i++) {
        const gh_bytes_t *der = &APR_ARRAY_IDX(certificates, i, gh_bytes_t);
        const unsigned char *at = der->data;
        X509 *one = gh_own_certificate(p, d2i_X509(NULL, &at, (long)der->length));

        rv = one != NULL ? add(made, one, "EscrowDeviceCA", p, result) : APR_EINVAL;
    }
    if (rv == APR_SUCCESS)
        *cas = made;
    return rv;
}

const apr_array_header_t *escrow_device_cas_certificates(const escrow_device_cas_t *cas)
{
    return cas->certificates;
}

/* Refusals of a certificate's form: one number, and what it is. */
static apr_status_t refuse(gh_result_t *result, gh_failure_t failure, const char *what)
{
    return gh_result_fail(result, APR_EINVAL, failure, "escrow.recipient",
                          "Send the DER certificate of the device's identity: RSA of 2048 bits or "
                          "more with keyEncipherment, or EC with keyAgreement, good now.",
                          GHNO(1130) "the recipient's certificate %s", what);
}

static apr_status_t check_key(X509 *certificate, gh_result_t *result)
{
    EVP_PKEY *key = X509_get0_pubkey(certificate);
    apr_uint32_t usage = X509_get_key_usage(certificate);       /* all bits if there is none */
    int rsa = key != NULL && EVP_PKEY_is_a(key, "RSA");

    if (key == NULL || (!rsa && !(EVP_PKEY_is_a(key, "EC") && gh_key_kind(key) != NULL)))
        return refuse(result, GH_FAILURE_ALGORITHM,
                      "has a key that is neither RSA nor EC on P-256, P-384 or P-521");
    if (rsa && (EVP_PKEY_get_bits(key) < RSA_BITS_MIN || EVP_PKEY_get_bits(key) > RSA_BITS_MAX))
        return refuse(result, GH_FAILURE_ALGORITHM,
                      "has an RSA key of less than 2048 bits or more than 8192");
    if (rsa && !(usage & KU_KEY_ENCIPHERMENT))
        return refuse(result, GH_FAILURE_REQUEST, "has no key usage keyEncipherment");
    if (!rsa && !(usage & KU_KEY_AGREEMENT))
        return refuse(result, GH_FAILURE_REQUEST, "has no key usage keyAgreement");
    return APR_SUCCESS;
}

static gh_bytes_t serial_of(X509 *certificate)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(certificate);
    gh_bytes_t bytes = { ASN1_STRING_get0_data(serial), (apr_size_t)ASN1_STRING_length(serial) };

    while (bytes.length > 1 && bytes.data[0] == 0) {
        bytes.data++;
        bytes.length--;
    }
    return bytes;
}

apr_status_t escrow_recipient_read(escrow_recipient_t **recipient, gh_bytes_t der, apr_time_t now,
                                   apr_pool_t *p, gh_result_t *result)
{
    escrow_recipient_t *made = apr_pcalloc(p, sizeof(*made));
    const unsigned char *at = der.data;
    apr_status_t rv;

    *recipient = NULL;
    if (der.length > 0 && der.length <= CERTIFICATE_MAX)
        made->certificate = gh_own_certificate(p, d2i_X509(NULL, &at, (long)der.length));
    ERR_clear_error();
    if (made->certificate == NULL || at != der.data + der.length)
        return refuse(result, GH_FAILURE_MALFORMED, "cannot be read");
    if ((rv = check_key(made->certificate, result)) != APR_SUCCESS)
        return rv;
    if (X509_check_ca(made->certificate) > 0)
        return refuse(result, GH_FAILURE_REQUEST, "is a CA's");
    if (now < gh_certificate_not_before(made->certificate)
        || now >= gh_certificate_not_after(made->certificate))
        return refuse(result, GH_FAILURE_TIME, "has ended or is not good yet");
    made->der.data = apr_pmemdup(p, der.data, der.length);
    made->der.length = der.length;
    SHA256(der.data, der.length, made->sha256);
    made->key_sha256 = gh_key_sha256(X509_get0_pubkey(made->certificate), p);
    made->subject = gh_name_text(X509_get_subject_name(made->certificate), p);
    made->serial = serial_of(made->certificate);
    if (made->key_sha256.length != SHA256_DIGEST_LENGTH || made->subject == NULL)
        return APR_ENOMEM;
    *recipient = made;
    return APR_SUCCESS;
}

static int equals(const char *text, const char *device, const apr_array_header_t *names)
{
    int i;

    if (strcasecmp(text, device) == 0)
        return 1;
    for (i = 0; names != NULL && i < names->nelts; i++) {
        const char *name = APR_ARRAY_IDX(names, i, const char *);

        if (*name != '\0' && strcasecmp(text, name) == 0)
            return 1;
    }
    return 0;
}

/* The whole string; what has a NUL in it is no name. */
static int string_names(const ASN1_STRING *string, int is_uri, const char *device,
                        const apr_array_header_t *names)
{
    static const char urn[] = "urn:uuid:";
    unsigned char *utf8 = NULL;
    int length = string != NULL ? ASN1_STRING_to_UTF8(&utf8, string) : -1;
    char text[NAME_MAX_LENGTH + 1];
    int found = 0;

    if (length > 0 && length <= NAME_MAX_LENGTH && memchr(utf8, 0, (size_t)length) == NULL) {
        memcpy(text, utf8, (size_t)length);
        text[length] = '\0';
        found = equals(text, device, names)
            || (is_uri && strncasecmp(text, urn, sizeof(urn) - 1) == 0
                && equals(text + sizeof(urn) - 1, device, names));
    }
    OPENSSL_free(utf8);
    return found;
}

static int subject_names(X509 *certificate, const char *device, const apr_array_header_t *names)
{
    const X509_NAME *subject = X509_get_subject_name(certificate);
    int i;

    for (i = 0; i < X509_NAME_entry_count(subject); i++) {
        const X509_NAME_ENTRY *entry = X509_NAME_get_entry(subject, i);
        int nid = OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry));

        if ((nid == NID_commonName || nid == NID_serialNumber || nid == NID_userId)
            && string_names(X509_NAME_ENTRY_get_data(entry), 0, device, names))
            return 1;
    }
    return 0;
}

static int general_name_names(const GENERAL_NAME *name, const char *device,
                              const apr_array_header_t *names)
{
    switch (name->type) {
    case GEN_DNS:
        return string_names(name->d.dNSName, 0, device, names);
    case GEN_URI:
        return string_names(name->d.uniformResourceIdentifier, 1, device, names);
    case GEN_OTHERNAME:
        return OBJ_obj2nid(name->d.otherName->type_id) == NID_ms_upn
            && name->d.otherName->value->type == V_ASN1_UTF8STRING
            && string_names(name->d.otherName->value->value.utf8string, 0, device, names);
    default:
        return 0;
    }
}

int escrow_recipient_names(const escrow_recipient_t *recipient, const char *device,
                           const apr_array_header_t *names, apr_pool_t *p)
{
    GENERAL_NAMES *alternative;
    int found, i;

    if (subject_names(recipient->certificate, device, names))
        return 1;
    alternative = X509_get_ext_d2i(recipient->certificate, NID_subject_alt_name, NULL, NULL);
    for (found = i = 0; !found && i < sk_GENERAL_NAME_num(alternative); i++)
        found = general_name_names(sk_GENERAL_NAME_value(alternative, i), device, names);
    GENERAL_NAMES_free(alternative);
    return found;
}

static int verify(const escrow_recipient_t *recipient, const escrow_device_cas_t *cas,
                  apr_time_t now, const char **why)
{
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    int good = 0;

    *why = "no memory";
    if (context != NULL && X509_STORE_CTX_init(context, cas->store, recipient->certificate, NULL)) {
        X509_STORE_CTX_set_time(context, 0, apr_time_sec(now));
        X509_STORE_CTX_set_purpose(context, X509_PURPOSE_ANY);
        good = X509_verify_cert(context) == 1;
        *why = X509_verify_cert_error_string(X509_STORE_CTX_get_error(context));
    }
    X509_STORE_CTX_free(context);
    ERR_clear_error();
    return good;
}

apr_status_t escrow_recipient_check(const escrow_recipient_t *recipient,
                                    const escrow_device_cas_t *cas, const char *device,
                                    const apr_array_header_t *names, apr_time_t now,
                                    apr_pool_t *p, gh_result_t *result)
{
    const char *why = "no CA of devices is configured";

    if (cas == NULL || !verify(recipient, cas, now, &why))
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "escrow.recipient",
                              "Name the CA that has issued it with EscrowDeviceCA, if it issues to "
                              "devices alone.",
                              GHNO(1131) "the recipient's certificate %.200s was not issued by a "
                              "CA of devices: %s", recipient->subject, why);
    if (!escrow_recipient_names(recipient, device, names, p))
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "escrow.recipient",
                              "Send the certificate of this device; its CA has to put the device's "
                              "UUID into common name, serialNumber, UID, DNS name, URI or UPN.",
                              GHNO(1132) "the recipient's certificate %.200s does not name the "
                              "device %.64s", recipient->subject, device);
    return APR_SUCCESS;
}

gh_bytes_t escrow_recipient_certificate(const escrow_recipient_t *recipient)
{
    return recipient->der;
}

const unsigned char *escrow_recipient_sha256(const escrow_recipient_t *recipient)
{
    return recipient->sha256;
}

const unsigned char *escrow_recipient_key_sha256(const escrow_recipient_t *recipient)
{
    return recipient->key_sha256.data;
}

const char *escrow_recipient_subject(const escrow_recipient_t *recipient)
{
    return recipient->subject;
}

gh_bytes_t escrow_recipient_serial(const escrow_recipient_t *recipient)
{
    return recipient->serial;
}

apr_time_t escrow_recipient_not_after(const escrow_recipient_t *recipient)
{
    return gh_certificate_not_after(recipient->certificate);
}

X509 *escrow_recipient_x509(const escrow_recipient_t *recipient)
{
    return recipient->certificate;
}
