/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_ocsp/ocsp_response.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/ocsp.h>

#include "log.h"
#include "mod_ocsp/ocsp_asn1.h"
#include "status.h"
#include "store/certificates.h"

/** An OCSPResponse that holds nothing but its status (RFC 6960 4.2.1). */
#define ERROR_LENGTH 5

gh_bytes_t ocsp_response_error(ocsp_status_t status)
{
    /* SEQUENCE { ENUMERATED }: as OCSP_response_create() encodes them, a test says */
    static const unsigned char errors[][ERROR_LENGTH] = {
        { 0x30, 0x03, 0x0a, 0x01, 0x02 },
        { 0x30, 0x03, 0x0a, 0x01, 0x01 },
        { 0x30, 0x03, 0x0a, 0x01, 0x03 },
        { 0x30, 0x03, 0x0a, 0x01, 0x05 },
        { 0x30, 0x03, 0x0a, 0x01, 0x06 }
    };
    gh_bytes_t der = { errors[0], ERROR_LENGTH };
    apr_size_t i;

    for (i = 0; i < sizeof(errors) / sizeof(errors[0]); ++i) {
        if (errors[i][ERROR_LENGTH - 1] == (unsigned char)status) {
            der.data = errors[i];
        }
    }
    return der;
}

/* Singles */

static ASN1_GENERALIZEDTIME *make_time(apr_time_t time)
{
    return ASN1_GENERALIZEDTIME_set(NULL, (time_t)apr_time_sec(time));
}

static OCSP_CERTID *make_certid(const OCSP_ID *id)
{
    unsigned char *der = NULL;
    const unsigned char *at;
    OCSP_CERTID *made = NULL;
    int length = i2d_OCSP_ID(id, &der);

    if (length > 0) {
        at = der;
        made = d2i_OCSP_CERTID(NULL, &at, length);
    }
    OPENSSL_free(der);
    return made;
}

/** Adds an extension with a time; 0: none. @return 0 on failure */
static int add_time_extension(OCSP_SINGLERESP *single, int nid, apr_time_t time)
{
    ASN1_GENERALIZEDTIME *value;
    int added;

    if (!time) {
        return 1;
    }
    value = make_time(time);
    added = value && OCSP_SINGLERESP_add1_ext_i2d(single, nid, value, 0, 0) == 1;
    ASN1_GENERALIZEDTIME_free(value);
    return added;
}

static int add_single(OCSP_BASICRESP *basic, const ocsp_single_t *one)
{
    const ocsp_verdict_t *verdict = one->verdict;
    int revoked = verdict->status == V_OCSP_CERTSTATUS_REVOKED;
    OCSP_CERTID *id = make_certid(one->id);
    ASN1_GENERALIZEDTIME *this_update = make_time(verdict->this_update);
    ASN1_GENERALIZEDTIME *next_update = verdict->next_update ? make_time(verdict->next_update)
                                                             : NULL;
    ASN1_GENERALIZEDTIME *revoked_at = revoked ? make_time(verdict->revoked_at) : NULL;
    OCSP_SINGLERESP *single = NULL;
    int added = 0;

    if (!id || !this_update || (verdict->next_update && !next_update) || (revoked && !revoked_at)) {
        goto cleanup;
    }
    single = OCSP_basic_add1_status(basic, id, verdict->status,
                                    revoked ? verdict->reason : OCSP_REVOKED_STATUS_NOSTATUS,
                                    revoked_at, this_update, next_update);
    added = single && add_time_extension(single, NID_id_pkix_OCSP_archiveCutoff, verdict->cutoff)
        && add_time_extension(single, NID_invalidity_date, verdict->invalid_from);

cleanup:
    OCSP_CERTID_free(id);
    ASN1_GENERALIZEDTIME_free(this_update);
    ASN1_GENERALIZEDTIME_free(next_update);
    ASN1_GENERALIZEDTIME_free(revoked_at);
    return added;
}

/* Extensions of the response */

static int add_extension(OCSP_BASICRESP *basic, int nid, const unsigned char *value, int length)
{
    ASN1_OCTET_STRING *octets = ASN1_OCTET_STRING_new();
    X509_EXTENSION *extension = NULL;
    int added = octets && ASN1_OCTET_STRING_set(octets, value, length)
        && (extension = X509_EXTENSION_create_by_NID(NULL, nid, 0, octets)) != NULL
        && OCSP_BASICRESP_add_ext(basic, extension, -1);

    ASN1_OCTET_STRING_free(octets);
    X509_EXTENSION_free(extension);
    return added;
}

static int add_extended_revoke(OCSP_BASICRESP *basic)
{
    ASN1_NULL *null = ASN1_NULL_new();
    unsigned char *der = NULL;
    int length = null ? i2d_ASN1_NULL(null, &der) : 0;
    int added = length > 0 && add_extension(basic, OCSP_NID_EXTENDED_REVOKE, der, length);

    OPENSSL_free(der);
    ASN1_NULL_free(null);
    return added;
}

static OCSP_BASICRESP *build(const ocsp_single_t *singles, int count, gh_bytes_t nonce,
                             apr_time_t now)
{
    OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
    int extended_revoke = 0, good = basic != NULL, i;

    for (i = 0; good && i < count; ++i) {
        good = add_single(basic, &singles[i]);
        extended_revoke |= singles[i].verdict->extended_revoke;
    }
    if (good && nonce.data) {
        good = add_extension(basic, NID_id_pkix_OCSP_Nonce, nonce.data, (int)nonce.length);
    }
    if (good && extended_revoke) {
        good = add_extended_revoke(basic);
    }
    /* OpenSSL would write its own idea of now when it signs, and has no other way to set it. */
    if (good) {
        good = ASN1_GENERALIZEDTIME_set((ASN1_GENERALIZEDTIME *)OCSP_resp_get0_produced_at(basic),
                                        (time_t)apr_time_sec(now)) != NULL;
    }
    if (!good) {
        OCSP_BASICRESP_free(basic);
        return NULL;
    }
    return basic;
}

/* Signing */

static EVP_MD_CTX *make_context(const ocsp_signer_t *signer)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();

    if (context && signer->prepared && EVP_MD_CTX_copy_ex(context, signer->prepared) == 1) {
        return context;
    }
    if (context && EVP_DigestSignInit(context, NULL, signer->digest, NULL, signer->key) == 1) {
        return context;
    }
    EVP_MD_CTX_free(context);
    return NULL;
}

static int is_signed_by(OCSP_BASICRESP *basic, const ocsp_signer_t *signer)
{
    return ASN1_item_verify(ASN1_ITEM_rptr(OCSP_RESPDATA), OCSP_resp_get0_tbs_sigalg(basic),
                            OCSP_resp_get0_signature(basic), OCSP_resp_get0_respdata(basic),
                            X509_get0_pubkey(signer->certificate)) == 1;
}

static int sign(OCSP_BASICRESP *basic, const ocsp_signer_t *signer, int by_name)
{
    unsigned long flags = OCSP_NOTIME | (by_name ? 0 : OCSP_RESPID_KEY)
        | (signer->is_ca ? OCSP_NOCERTS : 0);
    EVP_MD_CTX *context = make_context(signer);
    int done = context && OCSP_basic_sign_ctx(basic, signer->certificate, context, NULL, flags);

    EVP_MD_CTX_free(context);
    return done && ((!signer->verified && !ERR_peek_error()) || is_signed_by(basic, signer));
}

static apr_status_t encode(gh_bytes_t *der, OCSP_BASICRESP *basic, apr_pool_t *p)
{
    OCSP_RESPONSE *response = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
    int length = response ? i2d_OCSP_RESPONSE(response, NULL) : 0;
    unsigned char *at;

    if (length > 0) {
        der->data = at = apr_palloc(p, (apr_size_t)length);
        der->length = (apr_size_t)length;
        length = i2d_OCSP_RESPONSE(response, &at);
    }
    OCSP_RESPONSE_free(response);
    return length > 0 ? APR_SUCCESS : APR_ENOMEM;
}

apr_status_t ocsp_response_sign(gh_bytes_t *der, const ocsp_single_t *singles, int count,
                                gh_bytes_t nonce, const ocsp_signer_t *signer, int by_name,
                                apr_time_t now, apr_pool_t *p, gh_result_t *result)
{
    OCSP_BASICRESP *basic;
    apr_status_t rv = APR_SUCCESS;

    memset(der, 0, sizeof(*der));
    ERR_clear_error();
    basic = build(singles, count, nonce, now);
    if (basic && !sign(basic, signer, by_name)) {
        rv = gh_result_openssl(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "ocsp.signer.fails",
                               "See whether its token is there; it is tried again all the time.",
                               GHNO(0578) "an OCSP signer (%s) cannot sign", signer->kind);
    }
    else if (!basic || encode(der, basic, p) != APR_SUCCESS) {
        rv = gh_result_openssl(result, APR_ENOMEM, GH_FAILURE_UNAVAILABLE, "memory",
                               "Give the machine more memory, or let httpd run fewer threads.",
                               GHNO(0579) "an OCSP answer cannot be built");
    }
    OCSP_BASICRESP_free(basic);
    return rv;
}
