/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>
#include <strings.h>

#include <apr_strings.h>
#include <apr_tables.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/x509v3.h>

#include "log.h"
#include "x509/ca.h"
#include "x509/credential.h"
#include "x509/key.h"
#include "x509/name.h"
#include "x509/own.h"

/** More than so many keys and certificates is no credential. */
#define BAGS_MAX 256

/** Safes may hold safes (RFC 7292 section 4.2.6). */
#define DEPTH_MAX 4

typedef struct {
    EVP_PKEY *key;                  /* or NULL */
    X509 *certificate;              /* or NULL */
    const char *alias;              /* or NULL */
} bag_t;

typedef struct {
    apr_pool_t *p;
    const char *secret;
    int secret_length;
    apr_array_header_t *bags;       /* bag_t */
    int unsupported;                /* something in it cannot be decrypted */
    int asked;                      /* for the passphrase of a PEM key that was not opened since */
} reader_t;

static const char *take_alias(const reader_t *reader, PKCS12_SAFEBAG *safe)
{
    char *name = PKCS12_get_friendlyname(safe);
    const char *copy = name ? apr_pstrdup(reader->p, name) : NULL;

    OPENSSL_free(name);
    return copy;
}

static void read_safes(reader_t *reader, const STACK_OF(PKCS12_SAFEBAG) *safes, int depth);

static void read_bag(reader_t *reader, PKCS12_SAFEBAG *safe, int depth)
{
    PKCS8_PRIV_KEY_INFO *info = NULL;
    bag_t bag = { NULL, NULL, NULL };

    switch (PKCS12_SAFEBAG_get_nid(safe)) {
    case NID_keyBag:
        bag.key = gh_own_key(reader->p, EVP_PKCS82PKEY(PKCS12_SAFEBAG_get0_p8inf(safe)));
        break;
    case NID_pkcs8ShroudedKeyBag:
        info = PKCS12_decrypt_skey(safe, reader->secret, reader->secret_length);
        reader->unsupported |= info == NULL;
        bag.key = info ? gh_own_key(reader->p, EVP_PKCS82PKEY(info)) : NULL;
        PKCS8_PRIV_KEY_INFO_free(info);
        break;
    case NID_certBag:
        if (PKCS12_SAFEBAG_get_bag_nid(safe) == NID_x509Certificate) {
            bag.certificate = gh_own_certificate(reader->p, PKCS12_SAFEBAG_get1_cert(safe));
        }
        break;
    case NID_safeContentsBag:
        read_safes(reader, PKCS12_SAFEBAG_get0_safes(safe), depth + 1);
        break;
    default:
        break;
    }
    if (bag.key || bag.certificate) {
        bag.alias = take_alias(reader, safe);
        APR_ARRAY_PUSH(reader->bags, bag_t) = bag;
    }
}

static void read_safes(reader_t *reader, const STACK_OF(PKCS12_SAFEBAG) *safes, int depth)
{
    int i;

    for (i = 0; depth < DEPTH_MAX && safes && i < sk_PKCS12_SAFEBAG_num(safes)
             && reader->bags->nelts < BAGS_MAX; ++i) {
        read_bag(reader, sk_PKCS12_SAFEBAG_value(safes, i), depth);
    }
}

/* The parts of a PKCS#12 are PKCS#7 contents, one for what is encrypted and one for what is not. */
static void read_all(reader_t *reader, const PKCS12 *pkcs12)
{
    STACK_OF(PKCS7) *parts = PKCS12_unpack_authsafes(pkcs12);
    PKCS7 *part;

    reader->unsupported |= parts == NULL;
    while (parts && (part = sk_PKCS7_pop(parts)) != NULL) {
        STACK_OF(PKCS12_SAFEBAG) *safes = NULL;
        int kind = OBJ_obj2nid(part->type);

        if (kind == NID_pkcs7_data) {
            safes = PKCS12_unpack_p7data(part);
        }
        else if (kind == NID_pkcs7_encrypted) {
            safes = PKCS12_unpack_p7encdata(part, reader->secret, reader->secret_length);
            reader->unsupported |= safes == NULL;
        }
        read_safes(reader, safes, 0);
        sk_PKCS12_SAFEBAG_pop_free(safes, PKCS12_SAFEBAG_free);
        ASN1_item_free((ASN1_VALUE *)part, ASN1_ITEM_rptr(PKCS7));
    }
    sk_PKCS7_free(parts);
}

/* An empty passphrase is written in two ways. */
static int check_passphrase(reader_t *reader, PKCS12 *pkcs12)
{
    if (!PKCS12_mac_present(pkcs12)
        || PKCS12_verify_mac(pkcs12, reader->secret, reader->secret_length)) {
        return 1;
    }
    if (reader->secret && !*reader->secret && PKCS12_verify_mac(pkcs12, NULL, 0)) {
        reader->secret = NULL;
        return 1;
    }
    return 0;
}

/* Key and certificate usually have the same alias, but either may have none. */
static int is_named(const reader_t *reader, const bag_t *bag, const char *alias)
{
    int i;

    if (bag->alias && !strcasecmp(bag->alias, alias)) {
        return 1;
    }
    for (i = 0; !bag->alias && i < reader->bags->nelts; ++i) {
        const bag_t *other = &APR_ARRAY_IDX(reader->bags, i, bag_t);

        if (other->certificate && other->alias && !strcasecmp(other->alias, alias)
            && X509_check_private_key(other->certificate, bag->key)) {
            return 1;
        }
    }
    return 0;
}

static apr_status_t choose_key(const reader_t *reader, const char *alias, const bag_t **chosen,
                               gh_result_t *result)
{
    const char *names = "";
    int count = 0, named = 0, i;

    for (i = 0; i < reader->bags->nelts; ++i) {
        const bag_t *bag = &APR_ARRAY_IDX(reader->bags, i, bag_t);

        if (!bag->key) {
            continue;
        }
        ++count;
        if (bag->alias) {
            names = apr_pstrcat(reader->p, names, *names ? ", " : "", bag->alias, NULL);
        }
        if (!alias || is_named(reader, bag, alias)) {
            *chosen = bag;
            ++named;
        }
    }
    if (!count && reader->unsupported) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_ALGORITHM, "credential",
                              "Export it anew with \"openssl pkcs12 -export\", which uses AES.",
                              GHNO(0791) "the PKCS#12 is encrypted in a way that is not supported "
                              "any more, such as RC2");
    }
    if (!count) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "credential",
                              "Give the file that has the private key too.",
                              GHNO(0792) "the PKCS#12 has no private key");
    }
    if (alias && !named) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_NOT_FOUND, "credential",
                              "Name one of those that are there, or none if there is only one.",
                              GHNO(0793) "the PKCS#12 has no key with the alias \"%s\"; there are: "
                              "%s", alias, *names ? names : "keys without one");
    }
    if (named > 1) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "credential",
                              "Say which one to use with alias=NAME.",
                              GHNO(0794) "the PKCS#12 has %d keys%s: %s", count,
                              alias ? ", several of them with that alias" : "",
                              *names ? names : "all without alias");
    }
    return APR_SUCCESS;
}

static X509 *certificate_of(const reader_t *reader, EVP_PKEY *key)
{
    X509 *newest = NULL;
    int i;

    for (i = 0; i < reader->bags->nelts; ++i) {
        X509 *one = APR_ARRAY_IDX(reader->bags, i, bag_t).certificate;

        if (one && X509_check_private_key(one, key)
            && (!newest || gh_certificate_not_after(one) > gh_certificate_not_after(newest))) {
            newest = one;
        }
    }
    return newest;
}

static gh_bytes_t bio_bytes(BIO *bio, apr_pool_t *p)
{
    gh_bytes_t bytes = { NULL, 0 };
    char *data;
    long length = bio ? BIO_get_mem_data(bio, &data) : 0;

    if (length > 0) {
        bytes.data = (const unsigned char *)gh_copy_secret(p, data, (apr_size_t)length);
        bytes.length = (apr_size_t)length;
    }
    BIO_free(bio);
    return bytes;
}

/* From a certificate upwards, as far as the file goes; the root is left out, since whoever verifies
 * has it. */
static gh_bytes_t chain_pem(const reader_t *reader, X509 *certificate, apr_pool_t *p)
{
    BIO *bio = BIO_new(BIO_s_mem());
    X509 *one = certificate, *above;
    int length, i;

    for (length = 0; bio && one && length < 10; ++length) {
        PEM_write_bio_X509(bio, one);
        above = NULL;
        for (i = 0; i < reader->bags->nelts; ++i) {
            X509 *other = APR_ARRAY_IDX(reader->bags, i, bag_t).certificate;

            if (other && other != one && X509_check_issued(other, one) == X509_V_OK
                && X509_check_issued(other, other) != X509_V_OK) {
                above = other;
            }
        }
        one = above;
    }
    return bio_bytes(bio, p);
}

static const char *trust_pem(const reader_t *reader, apr_pool_t *p)
{
    BIO *bio = BIO_new(BIO_s_mem());
    int i;

    for (i = 0; bio && i < reader->bags->nelts; ++i) {
        X509 *one = APR_ARRAY_IDX(reader->bags, i, bag_t).certificate;

        if (one && X509_check_ca(one) > 0) {
            PEM_write_bio_X509(bio, one);
        }
    }
    return (const char *)bio_bytes(bio, p).data;
}

static gh_bytes_t key_pem(EVP_PKEY *key, apr_pool_t *p)
{
    BIO *bio = BIO_new(BIO_s_secmem());

    if (bio) {
        PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
    }
    return bio_bytes(bio, p);
}

static apr_status_t make(gh_credential_t **out, const reader_t *reader, const bag_t *bag,
                         apr_pool_t *p, gh_result_t *result)
{
    X509 *certificate = certificate_of(reader, bag->key);
    gh_credential_t *credential = apr_pcalloc(p, sizeof(*credential));
    apr_time_t now = apr_time_now();

    if (!certificate) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "credential",
                              "Export key and certificate together.",
                              GHNO(0795) "the PKCS#12 has no certificate for its key");
    }
    credential->alias = bag->alias ? apr_pstrdup(p, bag->alias) : NULL;
    credential->not_before = gh_certificate_not_before(certificate);
    credential->not_after = gh_certificate_not_after(certificate);
    credential->subject = gh_name_text(X509_get_subject_name(certificate), p);
    credential->certificate = chain_pem(reader, certificate, p);
    credential->algorithm = EVP_PKEY_get0_type_name(bag->key);
    credential->key = key_pem(bag->key, p);
    credential->trust = trust_pem(reader, p);
    *out = credential;
    if (now < credential->not_before || now >= credential->not_after) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_TIME, "credential",
                              "Renew it, and see whether the clock is right.",
                              GHNO(0796) "the certificate %s of the PKCS#12 is good from %s to %s "
                              "only", credential->subject ? credential->subject : "",
                              gh_time_text(p, credential->not_before),
                              gh_time_text(p, credential->not_after));
    }
    if (!credential->certificate.length || !credential->key.length) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, "credential",
                              "See whether memory is short.",
                              GHNO(0797) "key and certificate of the PKCS#12 cannot be written as "
                              "PEM");
    }
    return APR_SUCCESS;
}

apr_status_t gh_credential_make(gh_credential_t **credential, EVP_PKEY *key, X509 *certificate,
                                const apr_array_header_t *above, apr_pool_t *p,
                                gh_result_t *result)
{
    bag_t bag = { .key = key, .certificate = certificate };
    reader_t reader = { .p = p, .bags = apr_array_make(p, 4, sizeof(bag_t)) };
    apr_status_t rv;
    int i;

    *credential = NULL;
    APR_ARRAY_PUSH(reader.bags, bag_t) = bag;
    for (i = 0; i < above->nelts; ++i) {
        bag_t ca = { .certificate = APR_ARRAY_IDX(above, i, X509 *) };

        APR_ARRAY_PUSH(reader.bags, bag_t) = ca;
    }
    rv = make(credential, &reader, &bag, p, result);
    ERR_clear_error();
    return rv;
}

static apr_status_t refuse_kind(gh_result_t *result)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "credential",
                          "Give a file that ends with .p12 or .pfx, or a PEM file with the private "
                          "key and its certificate.",
                          GHNO(0798) "this is neither a PKCS#12 nor PEM");
}

static int give_passphrase(char *out, int size, int writing, void *reader)
{
    reader_t *given = reader;

    given->asked = 1;
    if (given->secret_length <= 0 || given->secret_length > size) {
        return -1;
    }
    memcpy(out, given->secret, (size_t)given->secret_length);
    return given->secret_length;
}

/** Keys, perhaps encrypted, and certificates in any order, as httpd has them in its files. */
static apr_status_t read_pem(reader_t *reader, gh_bytes_t text, gh_result_t *result)
{
    BIO *keys = BIO_new_mem_buf(text.data, (int)text.length);
    BIO *certificates = BIO_new_mem_buf(text.data, (int)text.length);
    EVP_PKEY *key;
    X509 *certificate;
    int locked;

    while (keys && reader->bags->nelts < BAGS_MAX
           && (key = PEM_read_bio_PrivateKey(keys, NULL, give_passphrase, reader)) != NULL) {
        APR_ARRAY_PUSH(reader->bags, bag_t) = (bag_t) { .key = gh_own_key(reader->p, key) };
        reader->asked = 0;
    }
    locked = reader->asked;
    while (certificates && reader->bags->nelts < BAGS_MAX
           && (certificate = PEM_read_bio_X509(certificates, NULL, give_passphrase, reader))
               != NULL) {
        APR_ARRAY_PUSH(reader->bags, bag_t) = (bag_t) {
            .certificate = gh_own_certificate(reader->p, certificate)
        };
    }
    BIO_free(keys);
    BIO_free(certificates);
    if (reader->bags->nelts && !locked) {
        return APR_SUCCESS;
    }
    if (locked) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_DENIED, "credential",
                              "Correct what passphrase= names.",
                              GHNO(1343) "a private key in the PEM file is damaged, or the "
                              "passphrase does not open it");
    }
    return refuse_kind(result);
}

static apr_status_t read_pkcs12(reader_t *reader, gh_bytes_t pkcs12, gh_result_t *result)
{
    const unsigned char *data = pkcs12.data;
    PKCS12 *parsed = d2i_PKCS12(NULL, &data, (long)pkcs12.length);
    apr_status_t rv = APR_SUCCESS;

    if (!parsed || data != pkcs12.data + pkcs12.length) {
        rv = refuse_kind(result);
    }
    else if (!check_passphrase(reader, parsed)) {
        rv = gh_result_fail(result, APR_EINVAL, GH_FAILURE_DENIED, "credential",
                            "Correct what passphrase= names.",
                            GHNO(0799) "the passphrase does not open the PKCS#12");
    }
    else {
        read_all(reader, parsed);
    }
    PKCS12_free(parsed);
    return rv;
}

/** Opens it and reads what is in it. @param reader of a pool of its own */
static apr_status_t read_file(reader_t *reader, gh_bytes_t bytes, gh_bytes_t passphrase,
                              apr_pool_t *ptemp, gh_result_t *result)
{
    /* DER begins with a SEQUENCE, and text does not begin with "0" */
    int is_der = bytes.length > 0 && bytes.data[0] == 0x30;

    memset(reader, 0, sizeof(*reader));
    reader->p = ptemp;
    reader->bags = apr_array_make(ptemp, 8, sizeof(bag_t));
    reader->secret = gh_copy_secret(ptemp, passphrase.data ? (const char *)passphrase.data : "",
                                    passphrase.length);
    reader->secret_length = (int)passphrase.length;
    return is_der ? read_pkcs12(reader, bytes, result) : read_pem(reader, bytes, result);
}

apr_status_t gh_credential_parse(gh_credential_t **credential, gh_bytes_t bytes,
                                 gh_bytes_t passphrase, const char *alias, apr_pool_t *p,
                                 gh_result_t *result)
{
    const bag_t *bag = NULL;
    apr_pool_t *ptemp = NULL;
    reader_t reader;
    apr_status_t rv;

    *credential = NULL;
    apr_pool_create(&ptemp, p);
    rv = read_file(&reader, bytes, passphrase, ptemp, result);
    if (rv == APR_SUCCESS) {
        rv = choose_key(&reader, alias, &bag, result);
    }
    if (rv == APR_SUCCESS) {
        rv = make(credential, &reader, bag, p, result);
    }
    ERR_clear_error();
    apr_pool_destroy(ptemp);
    return rv;
}

apr_status_t gh_credential_load(gh_credential_t **credential, gh_bytes_t *bytes, const char *path,
                                gh_bytes_t passphrase, const char *alias, apr_pool_t *p,
                                gh_result_t *result)
{
    gh_file_t file;
    apr_status_t rv = gh_file_read(&file, path, p, result);

    if (rv == APR_SUCCESS && file.exposed) {
        rv = gh_result_fail(result, APR_EACCES, GH_FAILURE_DENIED, "credential",
                            "chmod 600 the file, and let it belong to the user who starts httpd.",
                            GHNO(0800) "%s holds a private key and is accessible to group or "
                            "others", path);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (bytes) {
        *bytes = file.bytes;
    }
    return gh_credential_parse(credential, file.bytes, passphrase, alias, p, result);
}

int gh_trust_count(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *certificate;
    int count = 0;

    while (bio && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        count += X509_check_ca(certificate) > 0;
        X509_free(certificate);
    }
    BIO_free(bio);
    ERR_clear_error();
    return count;
}

/** @return NULL also if it has no certificate of a CA */
static const char *pkcs12_trust(gh_bytes_t pkcs12, gh_bytes_t passphrase, apr_pool_t *p,
                                gh_result_t *result)
{
    const char *pem = NULL;
    apr_pool_t *ptemp;
    reader_t reader;

    apr_pool_create(&ptemp, p);
    if (read_file(&reader, pkcs12, passphrase, ptemp, result) == APR_SUCCESS) {
        pem = trust_pem(&reader, p);
    }
    ERR_clear_error();
    apr_pool_destroy(ptemp);
    return pem;
}

apr_status_t gh_trust_load(const char **pem, const char *path, gh_bytes_t passphrase,
                           apr_pool_t *p, gh_result_t *result)
{
    gh_file_t file;
    apr_status_t rv = gh_file_read(&file, path, p, result);
    int is_der = rv == APR_SUCCESS && file.bytes.length > 0
        && file.bytes.data[0] == (V_ASN1_SEQUENCE | V_ASN1_CONSTRUCTED);

    *pem = NULL;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    gh_result_clear(result);
    *pem = is_der ? pkcs12_trust(file.bytes, passphrase, p, result)
        : (const char *)file.bytes.data;
    if (!*pem && *result->number) {
        return APR_EINVAL;
    }
    if (!*pem || !gh_trust_count(*pem)) {
        *pem = NULL;
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "trust",
                              "Give the certificate of the CA that has issued the server's.",
                              GHNO(0880) "%s has no CA certificate", path);
    }
    return APR_SUCCESS;
}
