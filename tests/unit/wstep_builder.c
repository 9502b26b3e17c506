/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "wstep_builder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <apr_strings.h>
#include <openssl/cms.h>
#include <openssl/x509v3.h>

#include "mod_wstep/wstep_asn1.h"
#include "scep_world.h"
#include "x509/key.h"
#include "x509/own.h"
#include "x509/usages.h"

static void add_extension(STACK_OF(X509_EXTENSION) *list, const char *oid, unsigned char *der,
                          int length)
{
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);

    ASN1_OCTET_STRING_set(value, der, length);
    sk_X509_EXTENSION_push(list, X509_EXTENSION_create_by_OBJ(NULL, object, 0, value));
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(object);
    OPENSSL_free(der);
}

static void add_template(STACK_OF(X509_EXTENSION) *list, const char *oid, int major)
{
    WSTEP_TEMPLATE_ID *id = WSTEP_TEMPLATE_ID_new();
    unsigned char *der = NULL;
    int length;

    ASN1_OBJECT_free(id->id);
    id->id = OBJ_txt2obj(oid, 1);
    id->major = ASN1_INTEGER_new();
    ASN1_INTEGER_set(id->major, major);
    length = i2d_WSTEP_TEMPLATE_ID(id, &der);
    WSTEP_TEMPLATE_ID_free(id);
    add_extension(list, WSTEP_OID_TEMPLATE, der, length);
}

/** Application policies with serverAuth. */
static void add_policies(STACK_OF(X509_EXTENSION) *list)
{
    CERTIFICATEPOLICIES *policies = sk_POLICYINFO_new_null();
    POLICYINFO *one = POLICYINFO_new();
    unsigned char *der = NULL;
    int length;

    ASN1_OBJECT_free(one->policyid);
    one->policyid = OBJ_nid2obj(NID_server_auth);
    sk_POLICYINFO_push(policies, one);
    length = i2d_CERTIFICATEPOLICIES(policies, &der);
    CERTIFICATEPOLICIES_free(policies);
    add_extension(list, GH_OID_APPLICATION_POLICIES, der, length);
}

static void add_value(X509_REQ *request, const char *name, const char *text)
{
    WSTEP_NAME_VALUE *pair = WSTEP_NAME_VALUE_new();
    unsigned char *der = NULL;
    ASN1_STRING *string = pair->name;
    int length;

    ASN1_mbstring_copy(&string, (const unsigned char *)name, -1, MBSTRING_UTF8, B_ASN1_BMPSTRING);
    string = pair->value;
    ASN1_mbstring_copy(&string, (const unsigned char *)text, -1, MBSTRING_UTF8, B_ASN1_BMPSTRING);
    length = i2d_WSTEP_NAME_VALUE(pair, &der);
    X509_REQ_add1_attr_by_txt(request, WSTEP_OID_NAME_VALUE, V_ASN1_SEQUENCE, der, length);
    OPENSSL_free(der);
    WSTEP_NAME_VALUE_free(pair);
}

gh_bytes_t own_bytes(unsigned char *der, int length)
{
    assert_true(length > 0);
    return gh_own_bytes(pool, der, (apr_size_t)length, 0);
}

gh_bytes_t pkcs10(const wstep_spec_t *spec, EVP_PKEY *with)
{
    STACK_OF(X509_EXTENSION) *extensions = sk_X509_EXTENSION_new_null();
    X509_REQ *made = X509_REQ_new();
    unsigned char *der = NULL;
    int length;

    X509_REQ_set_pubkey(made, with);
    if (spec->subject) {
        X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(made), "CN", MBSTRING_UTF8,
                                   (const unsigned char *)spec->subject, -1, -1, 0);
    }
    if (spec->template) {
        add_template(extensions, spec->template, spec->major);
    }
    if (spec->upn) {
        X509_EXTENSION *san = X509V3_EXT_nconf_nid(
            NULL, NULL, NID_subject_alt_name,
            apr_pstrcat(pool, "otherName:" WSTEP_OID_UPN ";UTF8:", spec->upn, NULL));

        sk_X509_EXTENSION_push(extensions, san);
    }
    if (spec->usage) {
        sk_X509_EXTENSION_push(extensions, X509V3_EXT_nconf_nid(NULL, NULL, NID_ext_key_usage,
                                                                spec->usage));
        add_policies(extensions);
    }
    if (sk_X509_EXTENSION_num(extensions)) {
        X509_REQ_add_extensions_nid(made, extensions,
                                    spec->old_oid ? NID_ms_ext_req : NID_ext_req);
    }
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    X509_REQ_add1_attr_by_txt(made, WSTEP_OID_OS_VERSION, V_ASN1_IA5STRING,
                              (const unsigned char *)"10.0.22631.2", 12);
    if (spec->name) {
        add_value(made, "CertificateTemplate", spec->name);
    }
    if (spec->renewed) {
        unsigned char *old = NULL;

        length = i2d_X509(spec->renewed, &old);
        X509_REQ_add1_attr_by_txt(made, WSTEP_OID_RENEWED, V_ASN1_SEQUENCE, old, length);
        OPENSSL_free(old);
    }
    X509_REQ_sign(made, with, EVP_sha256());
    length = i2d_X509_REQ(made, &der);
    X509_REQ_free(made);
    return own_bytes(der, length);
}

gh_bytes_t signed_by(gh_bytes_t content, const char *type, X509 *certificate,
                     EVP_PKEY *with, EVP_PKEY *possession, const EVP_MD *digest)
{
    unsigned int flags = CMS_BINARY | CMS_NOSMIMECAP | CMS_PARTIAL;
    BIO *in = BIO_new_mem_buf(content.data, (int)content.length);
    CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL, flags);
    unsigned char *der = NULL;
    int length;

    if (type) {
        ASN1_OBJECT *object = OBJ_txt2obj(type, 1);

        CMS_set1_eContentType(cms, object);
        ASN1_OBJECT_free(object);
    }
    if (possession) {
        /* named by the identifier of its key alone, without any certificate */
        X509 *holder = scep_test_certificate(possession, "holder", NULL, NULL, 0, pool);

        ASN1_OCTET_STRING *identifier = ASN1_OCTET_STRING_new();

        ASN1_OCTET_STRING_set(identifier, (const unsigned char *)"identifier", 10);
        X509_add1_ext_i2d(holder, NID_subject_key_identifier, identifier, 0,
                          X509V3_ADD_REPLACE);
        ASN1_OCTET_STRING_free(identifier);
        X509_sign(holder, possession, EVP_sha256());
        holder = gh_own_certificate(pool, X509_dup(holder));
        assert_non_null(CMS_add1_signer(cms, holder, possession, digest,
                                        CMS_USE_KEYID | CMS_NOCERTS | CMS_BINARY
                                        | CMS_NOSMIMECAP));
    }
    if (certificate) {
        assert_non_null(CMS_add1_signer(cms, certificate, with, digest,
                                        CMS_BINARY | CMS_NOSMIMECAP));
    }
    assert_int_equal(CMS_final(cms, in, NULL, CMS_BINARY), 1);
    length = i2d_CMS_ContentInfo(cms, &der);
    CMS_ContentInfo_free(cms);
    BIO_free(in);
    return own_bytes(der, length);
}

/** PKIData with one request and RegInfo. */
gh_bytes_t pki_data(gh_bytes_t request_der, const char *reg_info, const char *control)
{
    WSTEP_PKI_DATA *data = WSTEP_PKI_DATA_new();
    WSTEP_TAGGED_REQUEST *tagged = WSTEP_TAGGED_REQUEST_new();
    WSTEP_CONTROL *info = WSTEP_CONTROL_new();
    ASN1_STRING *string = ASN1_STRING_type_new(V_ASN1_SEQUENCE);
    ASN1_TYPE *value = ASN1_TYPE_new();
    unsigned char *der = NULL;
    int length;

    tagged->type = 0;
    tagged->d.pkcs10 = (WSTEP_TAGGED_PKCS10 *)OPENSSL_zalloc(sizeof(WSTEP_TAGGED_PKCS10));
    tagged->d.pkcs10->id = ASN1_INTEGER_new();
    tagged->d.pkcs10->request = ASN1_TYPE_new();
    ASN1_INTEGER_set(tagged->d.pkcs10->id, 1);
    ASN1_STRING_set(string, request_der.data, (int)request_der.length);
    ASN1_TYPE_set(tagged->d.pkcs10->request, V_ASN1_SEQUENCE, string);
    sk_WSTEP_TAGGED_REQUEST_push(data->requests, tagged);
    ASN1_OBJECT_free(info->type);
    info->type = OBJ_txt2obj(control ? control : WSTEP_OID_REG_INFO, 1);
    ASN1_INTEGER_set(info->id, 2);
    string = ASN1_OCTET_STRING_new();
    ASN1_STRING_set(string, reg_info, -1);
    ASN1_TYPE_set(value, V_ASN1_OCTET_STRING, string);
    sk_ASN1_TYPE_push(info->values, value);
    sk_WSTEP_CONTROL_push(data->controls, info);
    length = i2d_WSTEP_PKI_DATA(data, &der);
    WSTEP_PKI_DATA_free(data);
    return own_bytes(der, length);
}
