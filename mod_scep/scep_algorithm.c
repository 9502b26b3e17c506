/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_scep/scep_algorithm.h"

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

#include "mod_scep/scep_asn1.h"
#include "mod_scep/scep_message.h"

const EVP_MD *scep_algorithm_digest(const ASN1_OBJECT *digest, const ASN1_OBJECT *signature,
                                    unsigned allow)
{
    int nid = OBJ_obj2nid(digest);
    int signature_nid = OBJ_obj2nid(signature);
    int signature_digest, signature_key;

    /* CMS names either the key's algorithm or a combined one (RFC 3370 3.2, RFC 5754 3.2) */
    if (signature_nid != NID_rsaEncryption
        && (!OBJ_find_sigid_algs(signature_nid, &signature_digest, &signature_key)
            || (signature_key != NID_rsaEncryption && signature_key != NID_X9_62_id_ecPublicKey)
            || signature_digest != nid)) {
        return NULL;
    }
    switch (nid) {
    case NID_sha256:
        return EVP_sha256();
    case NID_sha384:
        return EVP_sha384();
    case NID_sha512:
        return EVP_sha512();
    case NID_sha1:
        return allow & SCEP_ALLOW_SHA1 ? EVP_sha1() : NULL;
    default:
        return NULL;
    }
}

const EVP_CIPHER *scep_algorithm_cipher(const ASN1_OBJECT *cipher, unsigned allow)
{
    switch (OBJ_obj2nid(cipher)) {
    case NID_aes_128_cbc:
        return EVP_aes_128_cbc();
    case NID_aes_192_cbc:
        return EVP_aes_192_cbc();
    case NID_aes_256_cbc:
        return EVP_aes_256_cbc();
    case NID_des_ede3_cbc:
        return allow & SCEP_ALLOW_3DES ? EVP_des_ede3_cbc() : NULL;
    default:
        return NULL;
    }
}

static int usual_digest(const X509_ALGOR *algorithm)
{
    if (!algorithm) {
        return 1;       /* SHA-1 by default (RFC 8017 A.2.1) */
    }
    switch (OBJ_obj2nid(algorithm->algorithm)) {
    case NID_sha1:
    case NID_sha256:
    case NID_sha384:
    case NID_sha512:
        return 1;
    default:
        return 0;
    }
}

static int usual_mask(const X509_ALGOR *algorithm)
{
    X509_ALGOR *digest;
    int usual;

    if (!algorithm) {
        return 1;
    }
    if (OBJ_obj2nid(algorithm->algorithm) != NID_mgf1 || !algorithm->parameter
        || ASN1_TYPE_get(algorithm->parameter) != V_ASN1_SEQUENCE) {
        return 0;
    }
    digest = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(X509_ALGOR), algorithm->parameter);
    usual = digest && usual_digest(digest);
    X509_ALGOR_free(digest);
    return usual;
}

static int usual_label(const X509_ALGOR *algorithm)
{
    return !algorithm
           || (OBJ_obj2nid(algorithm->algorithm) == NID_pSpecified && algorithm->parameter
               && ASN1_TYPE_get(algorithm->parameter) == V_ASN1_OCTET_STRING
               && ASN1_STRING_length(algorithm->parameter->value.octet_string) == 0);
}

int scep_algorithm_transport_allowed(const X509_ALGOR *transport)
{
    RSA_OAEP_PARAMS *oaep;
    int allowed = 0;

    switch (OBJ_obj2nid(transport->algorithm)) {
    case NID_rsaEncryption:
        allowed = 1;
        break;
    case NID_rsaesOaep:
        /* absent parameters made OpenSSL dereference NULL (CVE-2026-28390) */
        if (!transport->parameter || ASN1_TYPE_get(transport->parameter) != V_ASN1_SEQUENCE) {
            break;
        }
        oaep = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(RSA_OAEP_PARAMS), transport->parameter);
        allowed = oaep && usual_digest(oaep->hashFunc) && usual_mask(oaep->maskGenFunc)
                  && usual_label(oaep->pSourceFunc);
        RSA_OAEP_PARAMS_free(oaep);
        break;
    default:
        break;
    }
    ERR_clear_error();
    return allowed;
}

const char *scep_algorithm_transport_name(const X509_ALGOR *transport, apr_pool_t *p)
{
    switch (OBJ_obj2nid(transport->algorithm)) {
    case NID_rsaEncryption:
        return "rsaes-pkcs1-v1_5";
    case NID_rsaesOaep:
        return "rsaes-oaep";
    default:
        return scep_algorithm_name(transport->algorithm, p);
    }
}

const char *scep_algorithm_key_name(const EVP_PKEY *key, apr_pool_t *p)
{
    const char *type;

    if (!key) {
        return "-";
    }
    type = OBJ_nid2sn(EVP_PKEY_get_base_id(key));
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA:
        type = "RSA";
        break;
    case EVP_PKEY_EC:
        type = "EC";
        break;
    default:
        break;
    }
    return apr_psprintf(p, "%s-%d", type ? type : "key", EVP_PKEY_get_bits(key));
}
