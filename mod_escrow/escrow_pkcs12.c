/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_escrow/escrow_pkcs12.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pkcs12.h>
#include <openssl/x509v3.h>

#include "mod_escrow/escrow_opener.h"
#include "log.h"
#include "status.h"
#include "x509/ca.h"
#include "x509/key.h"
#include "x509/own.h"

/** Keys and certificates in one file; safes may hold safes (RFC 7292 section 4.2.6). */
#define BAGS_MAX    64
#define DEPTH_MAX   4
#define PARTS_MAX   16

typedef struct {
    const escrow_opener_t *opener;
    apr_pool_t *p;                  /* goes when all is read */
    const char *password;           /* NULL: none */
    int password_length;
    apr_int64_t iterations;         /* so far */
    int bags;
    int keys;
    int unread;                     /* a part or bag that the password does not open */
    PKCS8_PRIV_KEY_INFO *key;       /* the first one; owned */
    STACK_OF(X509) *certificates;   /* owned */
    gh_result_t *result;
} reader_t;

static apr_status_t refuse_iterations(reader_t *reader)
{
    return gh_result_fail(reader->result, APR_EINVAL, GH_FAILURE_REQUEST, "pkcs12.iterations",
                          "Make it with fewer, 2048 are usual, or send fewer at once.",
                          GHNO(1116) "the PKCS#12 asks for more than %d iterations for one key, or "
                          "with those before it %d in all", ESCROW_ITERATIONS_MAX,
                           ESCROW_ITERATIONS_SUM);
}

/** Counts what a derivation costs, before it is done. */
static apr_status_t count_iterations(reader_t *reader, const ASN1_INTEGER *iterations)
{
    int64_t count = 1;

    if (iterations != NULL
        && (!ASN1_INTEGER_get_int64(&count, iterations) || count < 1
            || count > ESCROW_ITERATIONS_MAX))
        return refuse_iterations(reader);
    reader->iterations += count;
    return reader->iterations > ESCROW_ITERATIONS_SUM ? refuse_iterations(reader) : APR_SUCCESS;
}

static apr_status_t refuse_cipher(reader_t *reader)
{
    return gh_result_fail(reader->result, APR_EINVAL, GH_FAILURE_ALGORITHM, "pkcs12.cipher",
                          "Make it anew, as \"openssl pkcs12 -export\" does.",
                          GHNO(1117) "the PKCS#12 is encrypted in a way that is not known here");
}

/* PBES2 (RFC 8018 section 6.2), with PBKDF2 only: what others cost cannot be said beforehand. */
static apr_status_t examine_pbes2(reader_t *reader, const ASN1_TYPE *parameter)
{
    PBE2PARAM *pbes2 = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBE2PARAM), parameter);
    PBKDF2PARAM *derivation = NULL;
    apr_status_t rv = APR_EINVAL;

    if (pbes2 != NULL && OBJ_obj2nid(pbes2->keyfunc->algorithm) == NID_id_pbkdf2)
        derivation = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBKDF2PARAM),
                                               pbes2->keyfunc->parameter);
    if (derivation != NULL)
        rv = count_iterations(reader, derivation->iter);
    else
        rv = refuse_cipher(reader);
    PBKDF2PARAM_free(derivation);
    PBE2PARAM_free(pbes2);
    return rv;
}

static apr_status_t examine_cipher(reader_t *reader, const X509_ALGOR *algorithm)
{
    const ASN1_OBJECT *object;
    const void *value;
    ASN1_TYPE *parameter = algorithm->parameter;
    PBEPARAM *pbe;
    apr_status_t rv;

    X509_ALGOR_get0(&object, NULL, &value, algorithm);
    switch (OBJ_obj2nid(object)) {
    case NID_pbes2:
        return examine_pbes2(reader, parameter);
    case NID_pbe_WithSHA1And3_Key_TripleDES_CBC:
    case NID_pbe_WithSHA1And2_Key_TripleDES_CBC:
    case NID_pbe_WithSHA1And128BitRC2_CBC:
    case NID_pbe_WithSHA1And40BitRC2_CBC:
        pbe = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBEPARAM), parameter);
        if (pbe == NULL)
            return refuse_cipher(reader);
        rv = count_iterations(reader, pbe->iter);
        PBEPARAM_free(pbe);
        return rv;
    default:
        return refuse_cipher(reader);
    }
}

static apr_status_t examine_mac(reader_t *reader, const PKCS12 *pkcs12)
{
    const ASN1_INTEGER *iterations = NULL;

    if (!PKCS12_mac_present(pkcs12))
        return APR_SUCCESS;
    PKCS12_get0_mac(NULL, NULL, NULL, &iterations, pkcs12);
    return count_iterations(reader, iterations);
}

/* No password is written in two ways: as no characters, and as none with a NUL behind it. */
static int try_password(reader_t *reader, PKCS12 *pkcs12)
{
    if (!PKCS12_mac_present(pkcs12)
        || PKCS12_verify_mac(pkcs12, reader->password, reader->password_length))
        return 1;
    if (reader->password_length == 0) {
        reader->password = reader->password == NULL ? "" : NULL;
        return PKCS12_verify_mac(pkcs12, reader->password, 0);
    }
    return 0;
}

static void take_key(reader_t *reader, PKCS8_PRIV_KEY_INFO *key)
{
    reader->keys++;
    if (reader->key == NULL)
        reader->key = key;
    else
        PKCS8_PRIV_KEY_INFO_free(key);
}

static apr_status_t read_key(reader_t *reader, PKCS12_SAFEBAG *safe)
{
    const X509_SIG *shrouded = PKCS12_SAFEBAG_get0_pkcs8(safe);
    PKCS8_PRIV_KEY_INFO *key;
    const X509_ALGOR *algorithm;
    apr_status_t rv;

    X509_SIG_get0(shrouded, &algorithm, NULL);
    if ((rv = examine_cipher(reader, algorithm)) != APR_SUCCESS)
        return rv;
    key = PKCS12_decrypt_skey_ex(safe, reader->password, reader->password_length,
                                 reader->opener->context, NULL);
    if (key == NULL)
        reader->unread++;
    else
        take_key(reader, key);
    return APR_SUCCESS;
}

/* PKCS12_SAFEBAG_get1_cert() takes no context before OpenSSL 3.2, but this thread's default one. */
static X509 *read_certificate(const reader_t *reader, const PKCS12_SAFEBAG *safe)
{
    OSSL_LIB_CTX *decoding = reader->opener->decoding, *former = NULL;
    X509 *certificate;

    if (PKCS12_SAFEBAG_get_bag_nid(safe) != NID_x509Certificate)
        return NULL;
    if (decoding != NULL)
        former = OSSL_LIB_CTX_set0_default(decoding);
    certificate = PKCS12_SAFEBAG_get1_cert(safe);
    if (former != NULL)
        OSSL_LIB_CTX_set0_default(former);
    return certificate;
}

static apr_status_t read_safes(reader_t *reader, const STACK_OF(PKCS12_SAFEBAG) *safes,
                               int depth);

/** As ASN1_item_dup(), which does not overwrite what it has in between. */
static PKCS8_PRIV_KEY_INFO *copy_of(const PKCS8_PRIV_KEY_INFO *key)
{
    unsigned char *der = NULL;
    int length = key != NULL ? i2d_PKCS8_PRIV_KEY_INFO(key, &der) : -1;
    const unsigned char *at = der;
    PKCS8_PRIV_KEY_INFO *copy = length > 0 ? d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, length) : NULL;

    if (length > 0)
        OPENSSL_clear_free(der, (size_t)length);
    return copy;
}

static apr_status_t read_bag(reader_t *reader, PKCS12_SAFEBAG *safe, int depth)
{
    X509 *certificate;

    switch (PKCS12_SAFEBAG_get_nid(safe)) {
    case NID_keyBag:
        take_key(reader, copy_of(PKCS12_SAFEBAG_get0_p8inf(safe)));
        return APR_SUCCESS;
    case NID_pkcs8ShroudedKeyBag:
        return read_key(reader, safe);
    case NID_certBag:
        certificate = read_certificate(reader, safe);
        if (certificate != NULL && sk_X509_push(reader->certificates, certificate) <= 0)
            X509_free(certificate);
        return APR_SUCCESS;
    case NID_safeContentsBag:
        return read_safes(reader, PKCS12_SAFEBAG_get0_safes(safe), depth + 1);
    default:
        return APR_SUCCESS;
    }
}

static apr_status_t read_safes(reader_t *reader, const STACK_OF(PKCS12_SAFEBAG) *safes, int depth)
{
    apr_status_t rv = APR_SUCCESS;
    int i;

    for (i = 0; rv == APR_SUCCESS && i < sk_PKCS12_SAFEBAG_num(safes); i++) {
        if (depth >= DEPTH_MAX || ++reader->bags > BAGS_MAX)
            return gh_result_fail(reader->result, APR_EINVAL, GH_FAILURE_REQUEST, "pkcs12.bags",
                                  "Export one key with its certificates.",
                                  GHNO(1118) "the PKCS#12 has more than %d bags, or bags within "
                                  "bags too deep", BAGS_MAX);
        rv = read_bag(reader, sk_PKCS12_SAFEBAG_value(safes, i), depth);
    }
    return rv;
}

static apr_status_t read_part(reader_t *reader, PKCS7 *part)
{
    STACK_OF(PKCS12_SAFEBAG) *safes = NULL;
    apr_status_t rv = APR_SUCCESS;

    switch (OBJ_obj2nid(part->type)) {
    case NID_pkcs7_data:
        safes = PKCS12_unpack_p7data(part);
        break;
    case NID_pkcs7_encrypted:
        if (part->d.encrypted == NULL)
            break;
        rv = examine_cipher(reader, part->d.encrypted->enc_data->algorithm);
        if (rv != APR_SUCCESS)
            return rv;
        safes = PKCS12_unpack_p7encdata(part, reader->password, reader->password_length);
        break;
    default:
        break;
    }
    if (safes == NULL)
        reader->unread++;
    else
        rv = read_safes(reader, safes, 0);
    sk_PKCS12_SAFEBAG_pop_free(safes, PKCS12_SAFEBAG_free);
    return rv;
}

/* The parts of a PKCS#12 are contents of PKCS#7. */
static apr_status_t read_parts(reader_t *reader, const PKCS12 *pkcs12)
{
    STACK_OF(PKCS7) *parts = PKCS12_unpack_authsafes(pkcs12);
    apr_status_t rv = APR_SUCCESS;
    PKCS7 *part;
    int i;

    if (parts == NULL || sk_PKCS7_num(parts) > PARTS_MAX)
        reader->unread++;
    for (i = 0; rv == APR_SUCCESS && i < sk_PKCS7_num(parts) && i < PARTS_MAX; i++)
        rv = read_part(reader, sk_PKCS7_value(parts, i));
    while ((part = sk_PKCS7_pop(parts)) != NULL)
        ASN1_item_free((ASN1_VALUE *)part, ASN1_ITEM_rptr(PKCS7));
    sk_PKCS7_free(parts);
    return rv;
}

static apr_status_t wrong_password(gh_result_t *result)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTEGRITY, "pkcs12.password",
                          "Send the password that it was made with as \"password\".",
                          GHNO(1119) "the PKCS#12 does not open with this password, or is damaged");
}

static apr_status_t read_all(reader_t *reader, PKCS12 *pkcs12)
{
    apr_status_t rv = examine_mac(reader, pkcs12);

    if (rv != APR_SUCCESS)
        return rv;
    if (!try_password(reader, pkcs12))
        return wrong_password(reader->result);
    if ((rv = read_parts(reader, pkcs12)) != APR_SUCCESS)
        return rv;
    /* without a MAC it is the padding that tells */
    if (reader->unread > 0)
        return wrong_password(reader->result);
    if (reader->keys != 1 || reader->key == NULL)
        return gh_result_fail(reader->result, APR_EINVAL, GH_FAILURE_REQUEST, "pkcs12.key",
                              "Export one private key with its certificate for each element.",
                              GHNO(1120) "the PKCS#12 has %d private keys instead of one",
                              reader->keys);
    return APR_SUCCESS;
}

/* Fresh parameters of the structure keep the context, in which its ciphers are looked for. */
static PKCS12 *parse(const escrow_opener_t *opener, gh_bytes_t der)
{
    PKCS12 *pkcs12 = PKCS12_init_ex(NID_pkcs7_data, opener->context, NULL);
    const unsigned char *at = der.data;

    if (pkcs12 != NULL && d2i_PKCS12(&pkcs12, &at, (long)der.length) != NULL
        && at == der.data + der.length)
        return pkcs12;
    PKCS12_free(pkcs12);
    return NULL;
}

apr_status_t escrow_pkcs12_open(escrow_credential_t **credential, const escrow_opener_t *opener,
                                gh_bytes_t der, const char *password, escrow_use_t use,
                                apr_time_t now, apr_pool_t *p, gh_result_t *result)
{
    apr_int64_t iterations = 0;

    return escrow_pkcs12_open_next(credential, &iterations, opener, der, password, use, now, p,
                                   result);
}

apr_status_t escrow_pkcs12_open_next(escrow_credential_t **credential, apr_int64_t *iterations,
                                     const escrow_opener_t *opener, gh_bytes_t der,
                                     const char *password, escrow_use_t use, apr_time_t now,
                                     apr_pool_t *p, gh_result_t *result)
{
    reader_t reader = { .opener = opener, .p = p, .password = password,
                        .iterations = *iterations, .result = result };
    PKCS12 *pkcs12 = NULL;
    apr_status_t rv;

    *credential = NULL;
    reader.password_length = password != NULL ? (int)strlen(password) : 0;
    reader.certificates = sk_X509_new_null();
    ERR_clear_error();
    if (der.length <= ESCROW_PKCS12_MAX)
        pkcs12 = parse(opener, der);
    if (pkcs12 == NULL) {
        rv = gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "pkcs12.form",
                            "Send a PKCS#12 file (.p12, .pfx), of at most 256 KiB.",
                            GHNO(1121) "this is no PKCS#12, or it is too large");
        goto cleanup;
    }
    rv = read_all(&reader, pkcs12);
    if (rv == APR_SUCCESS)
        rv = escrow_credential_examine(credential, opener, reader.key, reader.certificates, use,
                                       now, p, result);

cleanup:
    *iterations = reader.iterations;
    ERR_clear_error();
    PKCS8_PRIV_KEY_INFO_free(reader.key);
    sk_X509_pop_free(reader.certificates, X509_free);
    PKCS12_free(pkcs12);
    return rv;
}
