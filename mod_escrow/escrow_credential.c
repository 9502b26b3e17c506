/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What is said about a credential: its use, and what its certificate tells. */

#include <string.h>

#include <apr_strings.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include "mod_escrow/escrow_opener.h"
#include "log.h"
#include "x509/ca.h"
#include "x509/key.h"
#include "x509/name.h"

static const char *const use_names[ESCROW_USES + 1] = {
    NULL, "signing", "encryption", "archived"
};

const char *escrow_use_name(escrow_use_t use)
{
    return use_names[use];
}

/* Text of a string of ASN.1 as UTF-8. @return NULL if it is none, or has control characters */
static const char *string_text(const ASN1_STRING *string, apr_pool_t *p)
{
    unsigned char *utf8 = NULL;
    int length = string ? ASN1_STRING_to_UTF8(&utf8, string) : -1;
    const char *text = NULL;
    int i;

    if (length > 0 && length <= 320) {
        text = apr_pstrmemdup(p, (const char *)utf8, (apr_size_t)length);
        for (i = 0; i < length; i++) {
            if (utf8[i] < 0x20 || utf8[i] == 0x7f)
                text = NULL;
        }
    }
    OPENSSL_free(utf8);
    return text;
}

static const char *email_of(X509 *certificate, apr_pool_t *p)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    const X509_NAME *subject = X509_get_subject_name(certificate);
    const char *email = NULL;
    int i;

    for (i = 0; email == NULL && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

        if (name->type == GEN_EMAIL)
            email = string_text(name->d.rfc822Name, p);
    }
    GENERAL_NAMES_free(names);
    i = email == NULL ? X509_NAME_get_index_by_NID(subject, NID_pkcs9_emailAddress, -1) : -1;
    if (i >= 0)
        email = string_text(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, i)), p);
    return email;
}

static gh_bytes_t serial_of(X509 *certificate, apr_pool_t *p)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(certificate);
    gh_bytes_t bytes = { ASN1_STRING_get0_data(serial), (apr_size_t)ASN1_STRING_length(serial) };

    while (bytes.length > 1 && bytes.data[0] == 0) {
        bytes.data++;
        bytes.length--;
    }
    bytes.data = apr_pmemdup(p, bytes.data, bytes.length);
    return bytes;
}

apr_status_t escrow_credential_take(escrow_credential_t *credential, X509 *certificate,
                                    gh_bytes_t der, apr_pool_t *p)
{
    credential->certificate.data = apr_pmemdup(p, der.data, der.length);
    credential->certificate.length = der.length;
    SHA256(der.data, der.length, credential->sha256);
    credential->serial = serial_of(certificate, p);
    credential->subject = gh_name_text(X509_get_subject_name(certificate), p);
    credential->email = email_of(certificate, p);
    credential->not_before = gh_certificate_not_before(certificate);
    credential->not_after = gh_certificate_not_after(certificate);
    return credential->subject != NULL ? APR_SUCCESS : APR_ENOMEM;
}

apr_status_t escrow_credential_describe(escrow_credential_t *credential,
                                        const escrow_opener_t *opener, gh_bytes_t certificate,
                                        apr_pool_t *p, gh_result_t *result)
{
    X509 *read = escrow_certificate_read(opener, certificate);
    apr_status_t rv = APR_EINVAL;

    if (read != NULL && (apr_size_t)i2d_X509(read, NULL) == certificate.length)
        rv = escrow_credential_take(credential, read, certificate, p);
    if (rv != APR_SUCCESS)
        gh_result_openssl(result, rv, GH_FAILURE_MALFORMED, "escrow.certificate",
                          "Have the credential uploaded again.",
                          GHNO(1114) "a certificate cannot be read");
    X509_free(read);
    return rv;
}

const char *escrow_password(gh_locked_t *locked, apr_pool_t *p)
{
    /* 32 signs, five bits each: no 0 O, 1 l I */
    static const char signs[] = "abcdefghijkmnpqrstuvwxyz23456789";
    enum { LENGTH = 28 };
    char *password = gh_locked_alloc(locked, LENGTH + 1, p);
    int i;

    if (password == NULL || RAND_priv_bytes((unsigned char *)password, LENGTH) != 1)
        return NULL;
    for (i = 0; i < LENGTH; i++)
        password[i] = signs[(unsigned char)password[i] % 32];
    password[LENGTH] = '\0';
    return password;
}
