/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "scep_builder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "mod_scep/scep_asn1.h"

#define MUST(condition) ((condition) ? (void)0 : must_fail(#condition, __LINE__))

const unsigned char scep_test_nonce[64] = "0123456789abcdef0123456789abcdef0123456789abcdef";

static void must_fail(const char *condition, int line)
{
    fprintf(stderr, "scep_builder.c:%d: %s\n", line, condition);
    ERR_print_errors_fp(stderr);
    abort();
}

static apr_status_t free_key(void *data)
{
    EVP_PKEY_free(data);
    return APR_SUCCESS;
}

static apr_status_t free_certificate(void *data)
{
    X509_free(data);
    return APR_SUCCESS;
}

static gh_bytes_t take(apr_pool_t *p, unsigned char *encoded, int length)
{
    gh_bytes_t bytes;

    MUST(length > 0);
    bytes.data = apr_pmemdup(p, encoded, (apr_size_t)length);
    bytes.length = (apr_size_t)length;
    OPENSSL_free(encoded);
    return bytes;
}

EVP_PKEY *scep_test_key(const char *name, apr_pool_t *p)
{
    FILE *file = fopen(apr_psprintf(p, "%s/tests/fixtures/keys/%s.pem", TEST_SRCDIR, name), "r");
    EVP_PKEY *key;

    MUST(file);
    key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    fclose(file);
    MUST(key);
    apr_pool_cleanup_register(p, key, free_key, apr_pool_cleanup_null);
    return key;
}

static void set_cn(X509_NAME *name, const char *cn)
{
    MUST(X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, (const unsigned char *)cn,
                                    -1, -1, 0));
}

static void add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509_EXTENSION *extension;

    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    MUST(extension && X509_add_ext(certificate, extension, -1));
    X509_EXTENSION_free(extension);
}

X509 *scep_test_certificate(EVP_PKEY *key, const char *cn, EVP_PKEY *issuer_key, X509 *issuer,
                            int ca, apr_pool_t *p)
{
    X509 *certificate = X509_new();
    long serial = 1;
    const char *c;

    for (c = cn; *c; ++c) {
        serial = serial * 31 % 1000003 + *c;
    }
    MUST(certificate && X509_set_version(certificate, X509_VERSION_3));
    MUST(ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial));
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 30 * 86400L);
    set_cn(X509_get_subject_name(certificate), cn);
    MUST(X509_set_issuer_name(certificate, issuer ? X509_get_subject_name(issuer)
                                                  : X509_get_subject_name(certificate)));
    MUST(X509_set_pubkey(certificate, key));
    add_extension(certificate, issuer ? issuer : certificate, NID_subject_key_identifier, "hash");
    if (ca) {
        add_extension(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE");
        add_extension(certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign");
    }
    MUST(X509_sign(certificate, issuer_key ? issuer_key : key, EVP_sha256()));
    apr_pool_cleanup_register(p, certificate, free_certificate, apr_pool_cleanup_null);
    return certificate;
}

gh_bytes_t scep_test_csr(EVP_PKEY *key, const char *cn, const char *challenge, const EVP_MD *digest,
                         apr_pool_t *p)
{
    X509_REQ *request = X509_REQ_new();
    unsigned char *encoded = NULL;
    int length;

    MUST(request && X509_REQ_set_pubkey(request, key));
    set_cn(X509_REQ_get_subject_name(request), cn);
    if (challenge) {
        MUST(X509_REQ_add1_attr_by_NID(request, NID_pkcs9_challengePassword, MBSTRING_ASC,
                                       (const unsigned char *)challenge, -1));
    }
    MUST(X509_REQ_sign(request, key, digest ? digest : EVP_sha256()));
    length = i2d_X509_REQ(request, &encoded);
    X509_REQ_free(request);
    return take(p, encoded, length);
}

gh_bytes_t scep_test_issuer_and_subject(const X509_NAME *issuer, const char *cn, apr_pool_t *p)
{
    SCEP_ISSUER_AND_SUBJECT *names = SCEP_ISSUER_AND_SUBJECT_new();
    unsigned char *encoded = NULL;
    int length;

    MUST(names && X509_NAME_set(&names->issuer, issuer));
    set_cn(names->subject, cn);
    length = i2d_SCEP_ISSUER_AND_SUBJECT(names, &encoded);
    SCEP_ISSUER_AND_SUBJECT_free(names);
    return take(p, encoded, length);
}

/* The envelope */

static void add_recipient(CMS_ContentInfo *cms, X509 *ra, const scep_test_spec_t *spec)
{
    unsigned flags = CMS_BINARY | (spec->oaep ? CMS_KEY_PARAM : 0)
                     | (spec->recipient_key_id ? CMS_USE_KEYID : 0);
    CMS_RecipientInfo *info = CMS_add1_recipient_cert(cms, ra, flags);

    MUST(info);
    if (spec->oaep) {
        EVP_PKEY_CTX *context = CMS_RecipientInfo_get0_pkey_ctx(info);
        MUST(EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) > 0);
        MUST(EVP_PKEY_CTX_set_rsa_oaep_md(context, spec->oaep) > 0);
        MUST(EVP_PKEY_CTX_set_rsa_mgf1_md(context, spec->oaep) > 0);
    }
}

static gh_bytes_t envelope(const scep_test_spec_t *spec, gh_bytes_t content, X509 *ra,
                           apr_pool_t *p)
{
    BIO *in = BIO_new_mem_buf(content.data, (int)content.length);
    const EVP_CIPHER *cipher = spec->cipher ? spec->cipher : EVP_aes_128_cbc();
    unsigned char *encoded = NULL;
    CMS_ContentInfo *cms;
    int length;

    cms = CMS_encrypt(NULL, NULL, spec->authenticated ? EVP_aes_128_gcm() : cipher,
                      CMS_PARTIAL | CMS_BINARY);
    MUST(in && cms);
    if (spec->password_recipient) {
        unsigned char *password = (unsigned char *)OPENSSL_strdup("password");
        MUST(CMS_add0_recipient_password(cms, -1, NID_undef, NID_undef, password, 8, NULL));
    }
    else {
        add_recipient(cms, ra, spec);
    }
    if (spec->second_recipient) {
        add_recipient(cms, spec->second_recipient, spec);
    }
    MUST(CMS_final(cms, in, NULL, CMS_BINARY));
    length = i2d_CMS_ContentInfo(cms, &encoded);
    CMS_ContentInfo_free(cms);
    BIO_free(in);
    return take(p, encoded, length);
}

/* The signature */

static void add_attribute(CMS_SignerInfo *info, const scep_test_spec_t *spec,
                          scep_attribute_t which, int type, const void *data, int length)
{
    X509_ATTRIBUTE *attribute;

    MUST(CMS_signed_add1_attr_by_txt(info, scep_attribute_oid(which), type, data, length));
    if (spec->twice == (int)which + 1) {
        /* the library refuses to add it, so that another value goes into the same attribute's copy
         */
        attribute =
            X509_ATTRIBUTE_dup(CMS_signed_get_attr(info, CMS_signed_get_attr_count(info) - 1));
        MUST(attribute && X509_ATTRIBUTE_set1_data(attribute, type, data, length));
        X509_ATTRIBUTE_free(CMS_signed_delete_attr(info, CMS_signed_get_attr_count(info) - 1));
        MUST(CMS_signed_add1_attr(info, attribute));
        X509_ATTRIBUTE_free(attribute);
    }
}

static void add_signer(CMS_ContentInfo *cms, const scep_test_spec_t *spec, EVP_PKEY *key,
                       X509 *certificate, int enclose)
{
    const char *type = spec->type ? spec->type : "19";
    const char *transaction = spec->transaction ? spec->transaction : "transaction-1";
    unsigned flags = CMS_PARTIAL | CMS_BINARY | CMS_NOSMIMECAP
                     | (enclose ? 0 : CMS_NOCERTS)
                     | (spec->signer_key_id ? CMS_USE_KEYID : 0);
    CMS_SignerInfo *info = CMS_add1_signer(cms, certificate, key,
                                           spec->digest ? spec->digest : EVP_sha256(), flags);

    MUST(info);
    if (!spec->no_type) {
        add_attribute(info, spec, SCEP_ATTRIBUTE_MESSAGE_TYPE, V_ASN1_PRINTABLESTRING, type,
                      (int)strlen(type));
    }
    if (!spec->no_transaction) {
        add_attribute(info, spec, SCEP_ATTRIBUTE_TRANSACTION_ID,
                      spec->utf8_transaction ? V_ASN1_UTF8STRING : V_ASN1_PRINTABLESTRING,
                      transaction, (int)strlen(transaction));
    }
    if (!spec->no_nonce) {
        add_attribute(info, spec, SCEP_ATTRIBUTE_SENDER_NONCE, V_ASN1_OCTET_STRING, scep_test_nonce,
                      spec->nonce_length ? spec->nonce_length : 16);
    }
}

gh_bytes_t scep_test_message(const scep_test_spec_t *spec, gh_bytes_t content, EVP_PKEY *key,
                             X509 *certificate, X509 *ra, apr_pool_t *p)
{
    gh_bytes_t inner = spec->plain_content || spec->no_content ? content
                                                               : envelope(spec, content, ra, p);
    unsigned detached = spec->no_content ? CMS_DETACHED : 0;
    BIO *in = BIO_new_mem_buf(inner.data, spec->no_content ? 0 : (int)inner.length);
    CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL, CMS_PARTIAL | CMS_BINARY | detached);
    X509 *signer = certificate;
    unsigned char *encoded = NULL;
    int length;

    MUST(in && cms);
    if (spec->wrong_key) {
        signer = X509_dup(certificate);
        MUST(signer && X509_set_pubkey(signer, spec->wrong_key) && CMS_add1_cert(cms, certificate));
    }
    add_signer(cms, spec, spec->wrong_key ? spec->wrong_key : key, signer,
               !spec->no_signer_certificate && !spec->wrong_key);
    if (spec->two_signers) {
        add_signer(cms, spec, key, signer, 0);
    }
    MUST(CMS_final(cms, in, NULL, CMS_BINARY | detached));
    length = i2d_CMS_ContentInfo(cms, &encoded);
    if (signer != certificate) {
        X509_free(signer);
    }
    CMS_ContentInfo_free(cms);
    BIO_free(in);
    return take(p, encoded, length);
}

/* Replies */

static const char *attribute_text(CMS_SignerInfo *info, scep_attribute_t which, int type,
                                  gh_bytes_t *bytes, apr_pool_t *p)
{
    ASN1_OBJECT *object = OBJ_txt2obj(scep_attribute_oid(which), 1);
    ASN1_STRING *value = CMS_signed_get0_data_by_OBJ(info, object, -3, type);
    const char *text = NULL;

    ASN1_OBJECT_free(object);
    if (value) {
        text = apr_pstrmemdup(p, (const char *)ASN1_STRING_get0_data(value),
                              (apr_size_t)ASN1_STRING_length(value));
        if (bytes) {
            bytes->data = (const unsigned char *)text;
            bytes->length = (apr_size_t)ASN1_STRING_length(value);
        }
    }
    return text;
}

static int attribute_number(CMS_SignerInfo *info, scep_attribute_t which, apr_pool_t *p)
{
    const char *text = attribute_text(info, which, V_ASN1_PRINTABLESTRING, NULL, p);

    return text ? atoi(text) : -1;
}

apr_array_header_t *scep_test_certificates(gh_bytes_t der, apr_pool_t *p)
{
    apr_array_header_t *array = apr_array_make(p, 4, sizeof(gh_bytes_t));
    const unsigned char *at = der.data;
    CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &at, (long)der.length);
    STACK_OF(X509) *certificates = cms ? CMS_get1_certs(cms) : NULL;
    int i;

    for (i = 0; certificates && i < sk_X509_num(certificates); ++i) {
        unsigned char *encoded = NULL;
        int length = i2d_X509(sk_X509_value(certificates, i), &encoded);
        APR_ARRAY_PUSH(array, gh_bytes_t) = take(p, encoded, length);
    }
    sk_X509_pop_free(certificates, X509_free);
    CMS_ContentInfo_free(cms);
    return array;
}

static void read_content(scep_test_reply_t *reply, gh_bytes_t content, EVP_PKEY *key,
                         X509 *certificate, apr_pool_t *p)
{
    const unsigned char *at = content.data;
    CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &at, (long)content.length);
    SCEP_ENVELOPE_INFO *info;
    BIO *out = BIO_new(BIO_s_mem());
    gh_bytes_t inner;
    char *data;

    at = content.data;
    info = d2i_SCEP_ENVELOPE_INFO(NULL, &at, (long)content.length);
    MUST(cms && info && out);
    reply->cipher = OBJ_obj2nid(info->envelope->encrypted->algorithm->algorithm);
    if (CMS_decrypt(cms, key, certificate, NULL, out, CMS_BINARY) == 1) {
        inner.length = (apr_size_t)BIO_get_mem_data(out, &data);
        inner.data = apr_pmemdup(p, data, inner.length);
        reply->certificates = scep_test_certificates(inner, p);
    }
    SCEP_ENVELOPE_INFO_free(info);
    CMS_ContentInfo_free(cms);
    BIO_free(out);
}

int scep_test_reply(scep_test_reply_t *reply, gh_bytes_t der, EVP_PKEY *key, X509 *certificate,
                    apr_pool_t *p)
{
    const unsigned char *at = der.data;
    CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &at, (long)der.length);
    ASN1_OCTET_STRING **content;
    X509_ALGOR *digest, *signature;
    CMS_SignerInfo *info;
    BIO *empty;

    memset(reply, 0, sizeof(*reply));
    if (!cms || sk_CMS_SignerInfo_num(CMS_get0_SignerInfos(cms)) != 1) {
        ERR_clear_error();
        CMS_ContentInfo_free(cms);
        return 0;
    }
    content = CMS_get0_content(cms);
    reply->has_content = content && *content && ASN1_STRING_length(*content) > 0;
    reply->content_present = content && *content;
    empty = BIO_new_mem_buf("", 0);
    reply->verified = CMS_verify(cms, NULL, NULL, reply->content_present ? NULL : empty, NULL,
                                 CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY) == 1;
    BIO_free(empty);
    info = sk_CMS_SignerInfo_value(CMS_get0_SignerInfos(cms), 0);
    CMS_SignerInfo_get0_algs(info, NULL, &reply->signer, &digest, &signature);
    if (reply->signer) {
        X509_up_ref(reply->signer);
        apr_pool_cleanup_register(p, reply->signer, free_certificate, apr_pool_cleanup_null);
    }
    reply->digest = OBJ_obj2nid(digest->algorithm);
    reply->signature = OBJ_obj2nid(signature->algorithm);
    reply->type = attribute_number(info, SCEP_ATTRIBUTE_MESSAGE_TYPE, p);
    reply->status = attribute_number(info, SCEP_ATTRIBUTE_PKI_STATUS, p);
    reply->fail_info = attribute_number(info, SCEP_ATTRIBUTE_FAIL_INFO, p);
    reply->transaction = attribute_text(info, SCEP_ATTRIBUTE_TRANSACTION_ID, V_ASN1_PRINTABLESTRING,
                                        NULL, p);
    reply->fail_text =
        attribute_text(info, SCEP_ATTRIBUTE_FAIL_INFO_TEXT, V_ASN1_UTF8STRING, NULL, p);
    attribute_text(info, SCEP_ATTRIBUTE_RECIPIENT_NONCE, V_ASN1_OCTET_STRING,
                   &reply->recipient_nonce, p);
    attribute_text(info, SCEP_ATTRIBUTE_SENDER_NONCE, V_ASN1_OCTET_STRING, &reply->sender_nonce, p);
    if (reply->has_content) {
        gh_bytes_t bytes = { ASN1_STRING_get0_data(*content),
                             (apr_size_t)ASN1_STRING_length(*content) };
        read_content(reply, bytes, key, certificate, p);
    }
    CMS_ContentInfo_free(cms);
    return 1;
}
