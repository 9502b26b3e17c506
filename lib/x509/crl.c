/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * CRLs. Entries are encoded as they come and kept as bytes, since a CRL has hundreds of thousands
 * of them: about forty bytes each instead of several objects.
 */

#include <string.h>
#include <strings.h>

#include <apr_strings.h>
#include <openssl/asn1t.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "status.h"
#include "store/certificates.h"
#include "x509/ca_signer.h"
#include "x509/own.h"

#define REASONS         11
#define ENTRIES_INITIAL 4096
/** A CRL that could not be sent to anybody; OpenSSL counts in int. */
#define ENTRIES_MAX     (512 * 1024 * 1024)

/* CertificateList (RFC 5280 5.1) with its entries as they were encoded. */

typedef struct {
    ASN1_INTEGER *version;
    X509_ALGOR *algorithm;
    X509_NAME *issuer;
    ASN1_TIME *this_update;
    ASN1_TIME *next_update;
    ASN1_STRING *revoked;
    STACK_OF(X509_EXTENSION) *extensions;
} crl_info_t;

typedef struct {
    crl_info_t *info;
    X509_ALGOR *algorithm;
    ASN1_BIT_STRING *signature;
} crl_t;

ASN1_SEQUENCE(crl_info_t) = {
    ASN1_SIMPLE(crl_info_t, version, ASN1_INTEGER),
    ASN1_SIMPLE(crl_info_t, algorithm, X509_ALGOR),
    ASN1_SIMPLE(crl_info_t, issuer, X509_NAME),
    ASN1_SIMPLE(crl_info_t, this_update, ASN1_TIME),
    ASN1_SIMPLE(crl_info_t, next_update, ASN1_TIME),
    ASN1_OPT(crl_info_t, revoked, ASN1_SEQUENCE),
    ASN1_EXP_SEQUENCE_OF(crl_info_t, extensions, X509_EXTENSION, 0)
} static_ASN1_SEQUENCE_END(crl_info_t)

ASN1_SEQUENCE(crl_t) = {
    ASN1_SIMPLE(crl_t, info, crl_info_t),
    ASN1_SIMPLE(crl_t, algorithm, X509_ALGOR),
    ASN1_SIMPLE(crl_t, signature, ASN1_BIT_STRING)
} static_ASN1_SEQUENCE_END(crl_t)

struct gh_crl_builder {
    const gh_ca_t *ca;
    crl_t *crl;
    X509_REVOKED *entry;                    /* used for one after the other */
    ASN1_INTEGER *serial;
    ASN1_TIME *time;
    X509_EXTENSION *reasons[REASONS];
    unsigned char *entries;
    apr_size_t length;
    apr_size_t size;
};

/* Reasons */

static const char *const reason_names[REASONS] = {
    "unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded",
    "cessationOfOperation", "certificateHold", NULL, "removeFromCRL", "privilegeWithdrawn",
    "aACompromise"
};

int gh_reason_parse(const char *name)
{
    int i;

    for (i = 0; i < REASONS; i++) {
        /* removeFromCRL belongs to delta CRLs and is no reason to revoke. */
        if (reason_names[i] != NULL && i != CRL_REASON_REMOVE_FROM_CRL
            && strcasecmp(reason_names[i], name) == 0)
            return i;
    }
    return -2;
}

const char *gh_reason_name(int reason)
{
    return reason >= 0 && reason < REASONS ? reason_names[reason] : NULL;
}

static X509_EXTENSION *make_reason(int reason)
{
    ASN1_ENUMERATED *value = ASN1_ENUMERATED_new();
    X509_EXTENSION *extension = NULL;

    if (value != NULL && ASN1_ENUMERATED_set(value, reason))
        extension = X509V3_EXT_i2d(NID_crl_reason, 0, value);
    ASN1_ENUMERATED_free(value);
    return extension;
}

/* Building */

static apr_status_t builder_cleanup(void *data)
{
    gh_crl_builder_t *builder = data;
    int i;

    for (i = 0; i < REASONS; i++)
        X509_EXTENSION_free(builder->reasons[i]);
    X509_REVOKED_free(builder->entry);
    ASN1_INTEGER_free(builder->serial);
    ASN1_TIME_free(builder->time);
    ASN1_item_free((ASN1_VALUE *)builder->crl, ASN1_ITEM_rptr(crl_t));
    OPENSSL_free(builder->entries);
    memset(builder, 0, sizeof(*builder));
    return APR_SUCCESS;
}

static int push_extension(STACK_OF(X509_EXTENSION) *extensions, X509_EXTENSION *extension)
{
    if (extension != NULL && sk_X509_EXTENSION_push(extensions, extension) > 0)
        return 1;
    X509_EXTENSION_free(extension);
    return 0;
}

/** Fills everything but the entries. */
static int fill_info(crl_info_t *info, const gh_ca_t *ca, apr_int64_t number,
                     apr_time_t this_update, apr_time_t next_update)
{
    ASN1_INTEGER *crl_number = ASN1_INTEGER_new();
    int done;

    X509_NAME_free(info->issuer);
    info->issuer = X509_NAME_dup(X509_get_subject_name(ca->certificate));
    if (info->extensions == NULL)
        info->extensions = sk_X509_EXTENSION_new_null();
    done = crl_number != NULL && info->issuer != NULL && info->extensions != NULL
        && ASN1_INTEGER_set(info->version, X509_CRL_VERSION_2)
        && ASN1_TIME_set(info->this_update, apr_time_sec(this_update)) != NULL
        && ASN1_TIME_set(info->next_update, apr_time_sec(next_update)) != NULL
        && ASN1_INTEGER_set_int64(crl_number, number)
        && push_extension(info->extensions, X509_EXTENSION_dup(ca->authority_key))
        && push_extension(info->extensions, X509V3_EXT_i2d(NID_crl_number, 0, crl_number));
    ASN1_INTEGER_free(crl_number);
    return done;
}

apr_status_t gh_crl_begin(gh_crl_builder_t **builder, const gh_ca_t *ca, apr_int64_t number,
                          apr_time_t this_update, apr_time_t next_update, apr_pool_t *p,
                          gh_result_t *result)
{
    gh_crl_builder_t *made;
    int i, done;

    *builder = NULL;
    if (ca->key == NULL || !ca->signs_crls || next_update <= this_update || number < 0)
        return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "crl",
                              "the CA's certificate needs key usage cRLSign, and its key must be "
                              "available here",
                              GHNO(0177) "a CRL cannot be made with this CA");
    ERR_clear_error();
    made = apr_pcalloc(p, sizeof(*made));
    apr_pool_cleanup_register(p, made, builder_cleanup, apr_pool_cleanup_null);
    made->ca = ca;
    made->crl = (crl_t *)ASN1_item_new(ASN1_ITEM_rptr(crl_t));
    made->serial = ASN1_INTEGER_new();
    made->time = ASN1_TIME_new();
    made->entry = X509_REVOKED_new();
    done = made->crl != NULL && made->serial != NULL && made->time != NULL && made->entry != NULL
        && fill_info(made->crl->info, ca, number, this_update, next_update);
    for (i = 1; done && i < REASONS; i++) {
        if (reason_names[i] != NULL && i != CRL_REASON_REMOVE_FROM_CRL)
            done = (made->reasons[i] = make_reason(i)) != NULL;
    }
    if (!done)
        return gh_result_openssl(result, APR_ENOMEM, GH_FAILURE_INTERNAL, "crl", NULL,
                                 GHNO(0178) "a CRL cannot be begun");
    *builder = made;
    return APR_SUCCESS;
}

/** Sets serial and time of the entry, and takes the extensions of the one before away. */
static int set_entry(gh_crl_builder_t *builder, gh_bytes_t serial, apr_time_t revoked_at)
{
    while (X509_REVOKED_get_ext_count(builder->entry) > 0)
        X509_EXTENSION_free(X509_REVOKED_delete_ext(builder->entry, 0));
    return ASN1_STRING_set(builder->serial, serial.data, (int)serial.length)
        && X509_REVOKED_set_serialNumber(builder->entry, builder->serial)
        && ASN1_TIME_set(builder->time, apr_time_sec(revoked_at)) != NULL
        && X509_REVOKED_set_revocationDate(builder->entry, builder->time);
}

static int add_invalidity_date(X509_REVOKED *entry, apr_time_t invalid_from)
{
    ASN1_GENERALIZEDTIME *date = ASN1_GENERALIZEDTIME_set(NULL, apr_time_sec(invalid_from));
    int done = date != NULL
        && X509_REVOKED_add1_ext_i2d(entry, NID_invalidity_date, date, 0, X509V3_ADD_DEFAULT);

    ASN1_GENERALIZEDTIME_free(date);
    return done;
}

/** Encodes the entry behind those that are there. */
static int append_entry(gh_crl_builder_t *builder)
{
    int length = i2d_X509_REVOKED(builder->entry, NULL);
    apr_size_t needed;
    unsigned char *end;

    if (length <= 0)
        return 0;
    needed = builder->length + (apr_size_t)length;
    if (needed > ENTRIES_MAX)
        return 0;
    if (needed > builder->size) {
        apr_size_t size = builder->size > 0 ? builder->size * 2 : ENTRIES_INITIAL;
        unsigned char *grown = OPENSSL_realloc(builder->entries, size > needed ? size : needed);

        if (grown == NULL)
            return 0;
        builder->entries = grown;
        builder->size = size > needed ? size : needed;
    }
    end = builder->entries + builder->length;
    builder->length += (apr_size_t)i2d_X509_REVOKED(builder->entry, &end);
    return 1;
}

apr_status_t gh_crl_add(gh_crl_builder_t *builder, gh_bytes_t serial, apr_time_t revoked_at,
                        int reason, apr_time_t invalid_from)
{
    if (serial.length < 1 || serial.length > 20 || reason < GH_REASON_NONE || reason >= REASONS
        || (reason > 0 && builder->reasons[reason] == NULL))
        return APR_EINVAL;
    if (!set_entry(builder, serial, revoked_at)
        || (reason > 0 && !X509_REVOKED_add_ext(builder->entry, builder->reasons[reason], -1))
        || (invalid_from > 0 && !add_invalidity_date(builder->entry, invalid_from))
        || !append_entry(builder))
        return APR_ENOMEM;
    return APR_SUCCESS;
}

/** Puts the header of the SEQUENCE before the entries and gives them to the CRL. */
static int wrap_entries(gh_crl_builder_t *builder)
{
    int size = ASN1_object_size(1, (int)builder->length, V_ASN1_SEQUENCE);
    ASN1_STRING *revoked;
    unsigned char *wrapped, *at;

    if (builder->length == 0)
        return 1;
    revoked = ASN1_STRING_type_new(V_ASN1_SEQUENCE);
    wrapped = size > 0 ? OPENSSL_malloc((size_t)size) : NULL;
    if (revoked == NULL || wrapped == NULL) {
        ASN1_STRING_free(revoked);
        OPENSSL_free(wrapped);
        return 0;
    }
    at = wrapped;
    ASN1_put_object(&at, 1, (int)builder->length, V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL);
    memcpy(at, builder->entries, builder->length);
    OPENSSL_free(builder->entries);
    builder->entries = NULL;
    ASN1_STRING_set0(revoked, wrapped, size);
    builder->crl->info->revoked = revoked;
    return 1;
}

apr_status_t gh_crl_finish(gh_crl_builder_t *builder, gh_bytes_t *der, apr_pool_t *p,
                           gh_result_t *result)
{
    unsigned char *data = NULL;
    apr_status_t rv = APR_SUCCESS;
    int length;

    der->data = NULL;
    der->length = 0;
    ERR_clear_error();
    if (!wrap_entries(builder)) {
        rv = gh_result_openssl(result, APR_ENOMEM, GH_FAILURE_INTERNAL, "crl", NULL,
                               GHNO(0179) "a CRL cannot be put together");
        goto cleanup;
    }
    /* verified for the reasons that sign_certificate() in ca.c has */
    if (ASN1_item_sign(ASN1_ITEM_rptr(crl_info_t), builder->crl->info->algorithm,
                       builder->crl->algorithm, builder->crl->signature, builder->crl->info,
                       builder->ca->key, builder->ca->digest) <= 0
        || ASN1_item_verify(ASN1_ITEM_rptr(crl_info_t), builder->crl->algorithm,
                            builder->crl->signature, builder->crl->info,
                            X509_get0_pubkey(builder->ca->certificate)) != 1
        || (length = ASN1_item_i2d((ASN1_VALUE *)builder->crl, &data,
                                   ASN1_ITEM_rptr(crl_t))) <= 0) {
        rv = gh_result_openssl(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "ca.key",
                               "check the token that holds the key",
                               GHNO(0180) "the CA's key fails to sign a CRL");
        goto cleanup;
    }
    *der = gh_own_bytes(p, data, (apr_size_t)length, 0);

cleanup:
    ERR_clear_error();
    builder_cleanup(builder);
    return rv;
}
