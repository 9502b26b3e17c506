/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "bench/bare_issue.h"

#include <openssl/x509v3.h>

#include "bench/support.h"

#define LIFETIME (365 * 86400L)
#define BACKDATE 300

/* The extensions of an issued certificate that depend on nothing but CA and profile. */
static void add_fixed(bare_server_t *server, const char *name, const char *value)
{
    X509_EXTENSION *extension;
    X509V3_CTX context;

    X509V3_set_ctx(&context, server->ca, NULL, NULL, NULL, 0);
    extension = X509V3_EXT_conf(NULL, &context, name, value);
    bench_need(extension && sk_X509_EXTENSION_push(server->fixed, extension), name);
}

void bare_prepare(bare_server_t *server)
{
    server->fixed = sk_X509_EXTENSION_new_null();
    bench_need(server->fixed != NULL, "getting memory");
    add_fixed(server, "authorityKeyIdentifier", "keyid:always");
    add_fixed(server, "keyUsage", "critical,digitalSignature,keyEncipherment");
    add_fixed(server, "extendedKeyUsage", "clientAuth");
    add_fixed(server, "crlDistributionPoints", "URI:http://127.0.0.1:8080/crl/devices.crl");
    add_fixed(server, "authorityInfoAccess", "caIssuers;URI:http://127.0.0.1:8080/ca/devices.cer");
}

/** The key as the request has it: X509_set_pubkey() would encode it and decode it again. */
static void copy_key(X509 *certificate, X509_REQ *request)
{
    X509_ALGOR *algorithm;
    ASN1_OBJECT *object;
    const unsigned char *data;
    unsigned char *copy;
    int length;

    bench_need(X509_PUBKEY_get0_param(NULL, &data, &length, &algorithm,
                                      X509_REQ_get_X509_PUBKEY(request)),
               "X509_PUBKEY_get0_param");
    object = OBJ_dup(algorithm->algorithm);
    copy = OPENSSL_memdup(data, (size_t)length);
    bench_need(object && copy
               && X509_PUBKEY_set0_param(X509_get_X509_PUBKEY(certificate), object, V_ASN1_NULL,
                                         NULL, copy, length), "X509_PUBKEY_set0_param");
}

static void add_key_identifier(X509 *certificate)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    ASN1_OCTET_STRING *identifier = ASN1_OCTET_STRING_new();
    ASN1_BIT_STRING *key = X509_get0_pubkey_bitstr(certificate);

    bench_need(identifier && key
               && EVP_Digest(ASN1_STRING_get0_data(key), (size_t)ASN1_STRING_length(key), digest,
                             NULL, EVP_sha256(), NULL)
               && ASN1_OCTET_STRING_set(identifier, digest, 20)
               && X509_add1_ext_i2d(certificate, NID_subject_key_identifier, identifier, 0,
                                    X509V3_ADD_DEFAULT), "subjectKeyIdentifier");
    ASN1_OCTET_STRING_free(identifier);
}

static void add_extensions(const bare_server_t *server, X509 *certificate, X509_REQ *request)
{
    STACK_OF(X509_EXTENSION) *requested = X509_REQ_get_extensions(request);
    int i;

    add_key_identifier(certificate);
    for (i = 0; i < sk_X509_EXTENSION_num(server->fixed); ++i) {
        bench_need(X509_add_ext(certificate, sk_X509_EXTENSION_value(server->fixed, i), -1),
                   "X509_add_ext");
    }
    for (i = 0; i < sk_X509_EXTENSION_num(requested); ++i) {
        bench_need(X509_add_ext(certificate, sk_X509_EXTENSION_value(requested, i), -1),
                   "X509_add_ext");
    }
    sk_X509_EXTENSION_pop_free(requested, X509_EXTENSION_free);
}

X509 *bare_issue(const bare_server_t *server, X509_REQ *request)
{
    X509 *certificate = X509_new();
    BIGNUM *serial = BN_new();

    bench_need(certificate && serial && BN_rand(serial, 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY)
               && BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(certificate))
               && X509_set_version(certificate, X509_VERSION_3)
               && X509_set_issuer_name(certificate, X509_get_subject_name(server->ca))
               && X509_set_subject_name(certificate, X509_REQ_get_subject_name(request))
               && X509_gmtime_adj(X509_getm_notBefore(certificate), -BACKDATE)
               && X509_gmtime_adj(X509_getm_notAfter(certificate), LIFETIME), "X509_new");
    copy_key(certificate, request);
    add_extensions(server, certificate, request);
    bench_need(X509_sign(certificate, server->ca_key, EVP_sha256()) > 0, "X509_sign");
    BN_free(serial);
    return certificate;
}
