/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_escrow/escrow_envelope.h"

#include <pthread.h>

#include <apr_strings.h>
#include <apr_tables.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "log.h"
#include "x509/ca.h"
#include "x509/key.h"
#include "x509/name.h"
#include "x509/own.h"

/** Certificates of a signer with those above it. */
#define CHAIN_MAX 10

struct escrow_signer {
    X509 *certificate;
    EVP_PKEY *key;                  /* NULL: on a token, for who parses it to open */
    apr_array_header_t *chain;      /* X509 *, all of the file */
    pthread_mutex_t *token;         /* a token serves one thread at a time; NULL: there is none */
};

/* RSAES-OAEP with SHA-256 (RFC 5756); for ECDH the KDF of X9.63 with SHA-256 (RFC 5753 section
 * 7.1.4): OpenSSL would take SHA-1 for both. */
static int choose_transport(CMS_RecipientInfo *info, const escrow_recipient_t *recipient,
                            escrow_transport_t transport)
{
    EVP_PKEY_CTX *context = CMS_RecipientInfo_get0_pkey_ctx(info);

    if (!EVP_PKEY_is_a(X509_get0_pubkey(escrow_recipient_x509(recipient)), "RSA"))
        return context != NULL && EVP_PKEY_CTX_set_ecdh_kdf_md(context, EVP_sha256()) > 0;
    if (transport == ESCROW_TRANSPORT_PKCS1)
        return 1;
    return context != NULL
        && EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) > 0
        && EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256()) > 0
        && EVP_PKEY_CTX_set_rsa_mgf1_md(context, EVP_sha256()) > 0;
}

static int encode(gh_bytes_t *der, const CMS_ContentInfo *cms, apr_pool_t *p)
{
    unsigned char *out = NULL;
    int length = i2d_CMS_ContentInfo(cms, &out);

    if (length <= 0)
        return 0;
    *der = gh_own_bytes(p, out, (apr_size_t)length, 0);
    return 1;
}

apr_status_t escrow_encrypt(gh_bytes_t *der, gh_bytes_t content,
                            const escrow_recipient_t *recipient, escrow_transport_t transport,
                            apr_pool_t *p, gh_result_t *result)
{
    BIO *in = BIO_new_mem_buf(content.data, (int)content.length);
    CMS_ContentInfo *cms = CMS_encrypt(NULL, NULL, EVP_aes_256_cbc(), CMS_PARTIAL | CMS_BINARY);
    CMS_RecipientInfo *info = NULL;
    apr_status_t rv = APR_SUCCESS;

    if (in != NULL && cms != NULL)
        info = CMS_add1_recipient_cert(cms, escrow_recipient_x509(recipient), CMS_KEY_PARAM);
    if (info == NULL || !choose_transport(info, recipient, transport)
        || CMS_final(cms, in, NULL, CMS_BINARY) != 1 || !encode(der, cms, p))
        rv = gh_result_openssl(result, APR_EGENERAL, GH_FAILURE_INTERNAL, "escrow.encrypt",
                               "See the OpenSSL error in the message.",
                               GHNO(1133) "a profile cannot be encrypted to %.200s",
                               escrow_recipient_subject(recipient));
    CMS_ContentInfo_free(cms);
    BIO_free(in);
    return rv;
}

static apr_status_t check_signer(const escrow_signer_t *signer, const char *where,
                                 apr_time_t now, gh_result_t *result)
{
    const char *what = NULL;

    if (signer->certificate == NULL || signer->chain->nelts > CHAIN_MAX)
        what = "no certificate is there, or more than ten";
    else if (signer->key != NULL && !gh_key_matches(signer->key, signer->certificate))
        what = "key and first certificate do not belong together";
    else if (now < gh_certificate_not_before(signer->certificate)
             || now >= gh_certificate_not_after(signer->certificate))
        what = "the certificate has ended, or is not good yet";
    if (what == NULL)
        return APR_SUCCESS;
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "escrow.signer",
                          "Name a PEM file with the signer's certificate and those above it, and "
                          "its key.",
                          GHNO(1134) "%s cannot sign profiles: %s", where, what);
}

apr_status_t escrow_signer_open(escrow_signer_t **signer, const char *certificates,
                                const char *key, const char *passphrase, apr_time_t now,
                                apr_pool_t *p, gh_result_t *result)
{
    escrow_signer_t *made = apr_pcalloc(p, sizeof(*made));
    apr_status_t rv;

    *signer = NULL;
    if ((rv = gh_certificates_open(&made->chain, certificates, p, result)) != APR_SUCCESS
        || (!gh_key_is_token(key)
            && (rv = gh_key_open(&made->key, key, passphrase, p, result)) != APR_SUCCESS))
        return rv;
    if (made->chain->nelts > 0)
        made->certificate = APR_ARRAY_IDX(made->chain, 0, X509 *);
    if ((rv = check_signer(made, certificates, now, result)) == APR_SUCCESS)
        *signer = made;
    return rv;
}

apr_status_t escrow_signer_print(gh_bytes_t *pem, const escrow_signer_t *signer, apr_pool_t *p,
                                 gh_result_t *result)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    apr_status_t rv = APR_SUCCESS;
    char *data = NULL;
    long length;
    int i, good;

    good = bio != NULL
        && (signer->key == NULL
            || PEM_write_bio_PrivateKey(bio, signer->key, NULL, NULL, 0, NULL, NULL));
    for (i = 0; good && i < signer->chain->nelts; i++)
        good = PEM_write_bio_X509(bio, APR_ARRAY_IDX(signer->chain, i, X509 *));
    length = good ? BIO_get_mem_data(bio, &data) : 0;
    if (length <= 0)
        rv = gh_result_openssl(result, APR_EGENERAL, GH_FAILURE_INTERNAL, "escrow.signer",
                               "See the OpenSSL error in the message.",
                               GHNO(1135) "the key that signs profiles cannot be handed over");
    else
        *pem = (gh_bytes_t) { (unsigned char *)gh_copy_secret(p, data, (apr_size_t)length),
                              (apr_size_t)length };
    BIO_free(bio);
    return rv;
}

static apr_status_t release_token(void *mutex)
{
    pthread_mutex_destroy(mutex);
    return APR_SUCCESS;
}

static apr_status_t open_token(escrow_signer_t *signer, const char *token, const char *passphrase,
                               apr_pool_t *p, gh_result_t *result)
{
    signer->token = apr_palloc(p, sizeof(*signer->token));
    pthread_mutex_init(signer->token, NULL);
    apr_pool_cleanup_register(p, signer->token, release_token, apr_pool_cleanup_null);
    return gh_key_open(&signer->key, token, passphrase, p, result);
}

apr_status_t escrow_signer_parse(escrow_signer_t **signer, gh_bytes_t pem, const char *token,
                                 const char *passphrase, apr_pool_t *p, gh_result_t *result)
{
    escrow_signer_t *made = apr_pcalloc(p, sizeof(*made));
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.length);
    X509 *one;
    apr_status_t rv;

    *signer = NULL;
    made->chain = apr_array_make(p, 4, sizeof(X509 *));
    if (bio != NULL && token == NULL)
        made->key = gh_own_key(p, PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)""));
    while (bio != NULL && (made->key != NULL || token != NULL) && made->chain->nelts <= CHAIN_MAX
           && (one = PEM_read_bio_X509(bio, NULL, NULL, (void *)"")) != NULL)
        APR_ARRAY_PUSH(made->chain, X509 *) = gh_own_certificate(p, one);
    BIO_free(bio);
    ERR_clear_error();
    if (token != NULL && (rv = open_token(made, token, passphrase, p, result)) != APR_SUCCESS)
        return rv;
    if (made->key != NULL && made->chain->nelts > 0)
        made->certificate = APR_ARRAY_IDX(made->chain, 0, X509 *);
    rv = check_signer(made, "what was handed over", apr_time_now(), result);
    if (rv == APR_SUCCESS)
        *signer = made;
    return rv;
}

/* Others than the signer's own go along, but no root. */
static int add_chain(CMS_ContentInfo *cms, const escrow_signer_t *signer)
{
    int i;

    for (i = 1; i < signer->chain->nelts; i++) {
        X509 *one = APR_ARRAY_IDX(signer->chain, i, X509 *);

        if (X509_check_issued(one, one) != X509_V_OK && !CMS_add1_cert(cms, one))
            return 0;
    }
    return 1;
}

apr_status_t escrow_sign(gh_bytes_t *der, gh_bytes_t content, const escrow_signer_t *signer,
                         apr_pool_t *p, gh_result_t *result)
{
    BIO *in = BIO_new_mem_buf(content.data, (int)content.length);
    CMS_ContentInfo *cms = NULL;
    apr_status_t rv = APR_SUCCESS;

    if (signer->token != NULL)
        pthread_mutex_lock(signer->token);
    if (in != NULL)
        cms = CMS_sign(NULL, NULL, NULL, NULL, CMS_PARTIAL | CMS_BINARY);
    if (cms == NULL
        || CMS_add1_signer(cms, signer->certificate, signer->key, gh_key_digest(signer->key),
                           CMS_BINARY | CMS_NOSMIMECAP) == NULL
        || !add_chain(cms, signer) || CMS_final(cms, in, NULL, CMS_BINARY) != 1
        || !encode(der, cms, p))
        rv = gh_result_openssl(result, APR_EGENERAL, GH_FAILURE_INTERNAL, "escrow.sign",
                               "See the OpenSSL error in the message.",
                               GHNO(1136) "a profile cannot be signed");
    if (signer->token != NULL)
        pthread_mutex_unlock(signer->token);
    CMS_ContentInfo_free(cms);
    BIO_free(in);
    return rv;
}
