/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * What the feeder fetches: the first byte chooses CRL, delta CRL, list of serials or index.txt, and
 * whether a CRL is signed anew, since no change of its bytes gets past the signature. What is taken
 * up is made into an index.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apr_general.h>
#include <apr_pools.h>
#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "mod_ocsp/feeder/ocsp_reader.h"
#include "status/index.h"
#include "x509/key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW apr_time_from_sec(1790000000)

static struct {
    apr_pool_t *pool;
    EVP_PKEY *key;
    ocsp_reader_authority_t authority;
    char path[64];
} target;

static void require(int condition)
{
    if (!condition) {
        abort();
    }
}

static X509 *make_ca(EVP_PKEY *key)
{
    X509 *certificate = X509_new();
    X509_NAME *name = X509_NAME_new();
    X509_EXTENSION *usage = X509V3_EXT_nconf(NULL, NULL, "keyUsage", "keyCertSign,cRLSign");

    require(certificate && name && usage
            && X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                          (const unsigned char *)"Issuing", -1, -1, 0) == 1
            && X509_set_version(certificate, X509_VERSION_3) == 1
            && X509_set_subject_name(certificate, name) == 1
            && X509_set_issuer_name(certificate, name) == 1
            && ASN1_TIME_set(X509_getm_notBefore(certificate), 1700000000)
            && ASN1_TIME_set(X509_getm_notAfter(certificate), 1900000000)
            && X509_set_pubkey(certificate, key) == 1
            && X509_add_ext(certificate, usage, -1) == 1
            && X509_sign(certificate, key, EVP_sha256()) > 0);
    X509_EXTENSION_free(usage);
    X509_NAME_free(name);
    return certificate;
}

static void remove_index(void)
{
    unlink(target.path);
}

static void prepare(void)
{
    require(apr_initialize() == APR_SUCCESS
            && apr_pool_create(&target.pool, NULL) == APR_SUCCESS
            && gh_key_generate(&target.key, "P-256", target.pool, NULL) == APR_SUCCESS);
    target.authority.name = "issuing";
    target.authority.certificate = gh_own_certificate(target.pool, make_ca(target.key));
    target.authority.retention = apr_time_from_sec(3600);
    snprintf(target.path, sizeof(target.path), "/tmp/fuzz-ocsp-source-%d.index", (int)getpid());
    atexit(remove_index);
}

/** The same CRL by the CA of this target. @return data NULL if it is no CRL */
static gh_bytes_t sign_anew(gh_bytes_t bytes, apr_pool_t *p)
{
    const unsigned char *at = bytes.data;
    X509_CRL *crl = d2i_X509_CRL(NULL, &at, (long)bytes.length);
    gh_bytes_t made = { NULL, 0 };
    unsigned char *der = NULL;
    int length;

    if (crl && X509_CRL_set_issuer_name(crl, X509_get_subject_name(target.authority.certificate))
        && X509_CRL_sign(crl, target.key, EVP_sha256()) > 0
        && (length = i2d_X509_CRL(crl, &der)) > 0) {
        made.data = apr_pmemdup(p, der, (apr_size_t)length);
        made.length = (apr_size_t)length;
        OPENSSL_free(der);
    }
    X509_CRL_free(crl);
    ERR_clear_error();
    return made;
}

/** An index that was built answers as its own revoked entries say. */
static apr_status_t look_up(void *baton, gh_bytes_t serial, const gh_known_t *known)
{
    gh_known_t found;

    gh_index_find(baton, serial, &found);
    require(found.state == known->state && found.version == known->version);
    return APR_SUCCESS;
}

static void build(ocsp_document_t *document, apr_pool_t *p)
{
    gh_index_info_t info;
    gh_index_t *index = NULL;

    memset(&info, 0, sizeof(info));
    info.generation = 1;
    info.synced_at = NOW;
    if (ocsp_documents_build(&document, 1, &target.authority, &info, NULL, target.path, NOW, p,
                             NULL) == APR_SUCCESS) {
        require(gh_index_open(&index, target.path, target.authority.digest, 1, p, NULL)
                == APR_SUCCESS);
        gh_index_each_revoked(index, look_up, index);
        memset(&info, 0, sizeof(info));
        info.generation = 2;
        ocsp_documents_build(&document, 1, &target.authority, &info, index, target.path, NOW, p,
                             NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ocsp_fetched_t fetched = { .url = "http://a.example/", .shrink = 10 };
    ocsp_document_t *document;
    gh_result_t result;
    apr_pool_t *p;

    if (!target.pool) {
        prepare();
    }
    if (!size) {
        return 0;
    }
    apr_pool_create(&p, target.pool);
    fetched.kind = (ocsp_document_kind_t)(data[0] & 3);
    fetched.bytes.data = data + 1;
    fetched.bytes.length = size - 1;
    if (data[0] & 4 && fetched.kind <= OCSP_DOCUMENT_DELTA) {
        fetched.bytes = sign_anew(fetched.bytes, p);
    }
    gh_result_clear(&result);
    if ((fetched.bytes.data || size == 1)
        && ocsp_document_read(&document, &fetched, &target.authority, NOW, p, &result)
           == APR_SUCCESS) {
        build(document, p);
    }
    apr_pool_destroy(p);
    return 0;
}
