/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "ocsp_world.h"

#include <stdlib.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/rand.h>

#include "store/certificates.h"
#include "x509/key.h"
#include "x509/name.h"

#define DAY apr_time_from_sec(86400)

/* Certificates */

static void add(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509_EXTENSION *extension;

    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static X509 *begin(const char *subject, X509 *issuer, EVP_PKEY *key, apr_time_t not_before,
                   apr_time_t not_after)
{
    X509 *certificate = X509_new();
    X509_NAME *name;
    gh_result_t result;

    assert_success(gh_name_parse(&name, subject, test_pool, &result));
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), 4711);
    X509_set_subject_name(certificate, name);
    X509_set_issuer_name(certificate, issuer ? X509_get_subject_name(issuer) : name);
    X509_time_adj_ex(X509_getm_notBefore(certificate), 0, 0, &(time_t){ apr_time_sec(not_before) });
    X509_time_adj_ex(X509_getm_notAfter(certificate), 0, 0, &(time_t){ apr_time_sec(not_after) });
    X509_set_pubkey(certificate, key);
    return certificate;
}

static X509 *finish(X509 *made, EVP_PKEY *key)
{
    X509 *certificate;
    gh_bytes_t der;

    assert_true(X509_sign(made, key, EVP_sha256()) > 0);
    der = gh_certificate_der(made, test_pool);
    X509_free(made);
    certificate = gh_certificate_parse(der, test_pool);
    assert_non_null(certificate);
    return certificate;
}

world_ca_t *world_ca(const char *name, const char *key)
{
    world_ca_t *ca = apr_pcalloc(test_pool, sizeof(*ca));
    apr_time_t now = apr_time_now();
    X509 *made;

    ca->name = apr_pstrdup(test_pool, name);
    ca->key = fixture_key(key);
    made = begin(apr_pstrcat(test_pool, "CN=", name, NULL), NULL, ca->key, now - 365 * DAY,
                 now + 5 * 365 * DAY);
    add(made, made, NID_basic_constraints, "critical,CA:TRUE");
    add(made, made, NID_key_usage, "critical,keyCertSign,cRLSign,digitalSignature");
    ca->certificate = finish(made, ca->key);
    EVP_Digest(name, strlen(name), ca->digest, NULL, EVP_sha256(), NULL);
    return ca;
}

X509 *world_signer(const world_ca_t *ca, EVP_PKEY *key, const world_signer_t *how)
{
    world_signer_t as = how ? *how : (world_signer_t){ 0 };
    apr_time_t now = apr_time_now();
    X509 *made = begin("CN=Responder", ca->certificate, key,
                       as.not_before ? as.not_before : now - DAY,
                       as.not_after ? as.not_after : now + 30 * DAY);

    if (!as.eku || strcmp(as.eku, "-") != 0) {
        add(made, ca->certificate, NID_ext_key_usage, as.eku ? as.eku : "OCSPSigning");
    }
    if (!as.usage || strcmp(as.usage, "-") != 0) {
        add(made, ca->certificate, NID_key_usage, as.usage ? as.usage : "digitalSignature");
    }
    if (!as.without_nocheck) {
        add(made, ca->certificate, NID_id_pkix_OCSP_noCheck, "ignored");
    }
    return finish(made, ca->key);
}

ocsp_signers_t *world_signers(const world_ca_t *ca, X509 *certificate, EVP_PKEY *key, ...)
{
    apr_array_header_t *list = apr_array_make(test_pool, 2, sizeof(ocsp_signer_t));
    ocsp_signers_t *signers;
    gh_result_t result;
    va_list more;

    va_start(more, key);
    while (certificate) {
        ocsp_signer_t *signer = apr_array_push(list);

        memset(signer, 0, sizeof(*signer));
        signer->certificate = certificate;
        signer->key = key;
        signer->number = list->nelts - 1;
        certificate = va_arg(more, X509 *);
        key = certificate ? va_arg(more, EVP_PKEY *) : NULL;
    }
    va_end(more);
    signers = ocsp_signers_fixed(ca->certificate, list, test_pool, &result);
    assert_non_null(signers);
    return signers;
}

/* Authorities */

ocsp_policy_t world_policy(void)
{
    ocsp_policy_t policy = { .if_unknown = OCSP_UNKNOWN_UNKNOWN,
                             .next_update = apr_time_from_sec(3600),
                             .max_stale = apr_time_from_sec(600) };

    return policy;
}

void world_authority(world_ca_t *ca, const ocsp_policy_t *policy)
{
    ocsp_policy_t usual = world_policy();
    EVP_PKEY *rsa = fixture_key("rsa2048-02"), *ec = fixture_key("p256-01");
    gh_result_t result;

    ca->authority = ocsp_authority_create(ca->name, ca->certificate, policy ? policy : &usual,
                                          test_pool, &result);
    assert_non_null(ca->authority);
    ocsp_authority_set_view(ca->authority, ca->view);
    ocsp_authority_set_signers(ca->authority,
                               world_signers(ca, world_signer(ca, ec, NULL), ec,
                                             world_signer(ca, rsa, NULL), rsa, NULL));
}

ocsp_endpoint_t *world_endpoint(world_ca_t *ca, ...)
{
    ocsp_endpoint_t *endpoint = apr_pcalloc(test_pool, sizeof(*endpoint));
    apr_array_header_t *list = apr_array_make(test_pool, 2, sizeof(ocsp_authority_t *));
    va_list more;

    va_start(more, ca);
    for (; ca; ca = va_arg(more, world_ca_t *)) {
        APR_ARRAY_PUSH(list, ocsp_authority_t *) = ca->authority;
    }
    va_end(more);
    endpoint->authorities = ocsp_authorities_create(list, test_pool);
    endpoint->nonce = 1;
    endpoint->max_ids = 100;
    return endpoint;
}

/* What is known */

gh_bytes_t world_serial(apr_uint64_t number)
{
    unsigned char *data = apr_palloc(test_pool, 8);
    gh_bytes_t serial = { data, 8 };
    int i;

    for (i = 0; i < 8; ++i) {
        data[i] = (unsigned char)(number >> (56 - 8 * i));
    }
    while (serial.length > 1 && !serial.data[0]) {
        ++serial.data;
        --serial.length;
    }
    return serial;
}

void world_index(world_ca_t *ca, const gh_index_info_t *info,
                 const gh_known_certificate_t *certificates, int count)
{
    const char *folder = scratch_folder();
    gh_index_info_t with = *info;
    gh_index_builder_t *builder;
    gh_result_t result;
    int i;

    if (!ca->view) {
        ca->view = gh_view_create(folder, ca->name, ca->digest, GH_SOURCE_FILES, NULL, test_pool);
    }
    memcpy(with.authority, ca->digest, sizeof(with.authority));
    with.generation = ++ca->generation;
    with.change = info->change > ca->progress.change ? info->change : ca->progress.change;
    assert_success(gh_index_begin(&builder, gh_view_index_path(folder, ca->name, test_pool), &with,
                                  (apr_uint64_t)count, test_pool, &result));
    for (i = 0; i < count; ++i) {
        assert_success(gh_index_add(builder, certificates[i].serial, &certificates[i].known,
                                    &result));
    }
    assert_success(gh_index_finish(builder, &result));
    assert_success(gh_overlay_open(&ca->overlay,
                                   gh_view_overlay_path(folder, ca->name, with.generation,
                                                        test_pool),
                                   ca->digest, with.generation, test_pool, &result));
    ca->progress.change = with.change;
    ca->progress.synced_at = with.synced_at;
    assert_success(gh_view_follow(ca->view, NULL, test_pool, &result));
    if (ca->authority) {
        ocsp_authority_set_view(ca->authority, ca->view);
    }
}

void world_index_default(world_ca_t *ca)
{
    apr_time_t now = apr_time_now();
    gh_index_info_t info = { .change = 100, .synced_at = now, .complete = 1 };
    gh_known_certificate_t *all = apr_pcalloc(test_pool, 1003 * sizeof(*all));
    int i;

    for (i = 0; i < 1003; ++i) {
        all[i].serial = world_serial(i < 3 ? (apr_uint64_t)i + 1 : 10000 + (apr_uint64_t)i - 3);
        all[i].known.state = GH_KNOWN_GOOD;
        all[i].known.reason = GH_REASON_NONE;
    }
    all[1].known.state = GH_KNOWN_REVOKED;
    all[1].known.reason = OCSP_REVOKED_STATUS_KEYCOMPROMISE;
    all[1].known.revoked_at = now - apr_time_from_sec(3600);
    all[1].known.version = 50;
    all[2].known = all[1].known;
    all[2].known.state = GH_KNOWN_HELD;
    all[2].known.reason = OCSP_REVOKED_STATUS_CERTIFICATEHOLD;
    world_index(ca, &info, all, 1003);
}

void world_synced(world_ca_t *ca, apr_time_t time)
{
    ca->progress.synced_at = time;
    gh_overlay_advance(ca->overlay, &ca->progress);
}

void world_change(world_ca_t *ca, gh_bytes_t serial, gh_known_state_t state, int reason)
{
    gh_known_t known = { state, reason, 0, 0, ++ca->progress.change };
    gh_result_t result;

    if (state == GH_KNOWN_REVOKED || state == GH_KNOWN_HELD) {
        known.revoked_at = apr_time_now() - apr_time_from_sec(known.version % 1000);
    }
    assert_success(gh_overlay_put(ca->overlay, serial, &known, &result));
    world_synced(ca, apr_time_now());
}

/* Requests */

world_request_t world_asking(void)
{
    world_request_t asking = { NULL, NULL, 0, OCSP_REQUEST_new() };

    assert_non_null(asking.request);
    return asking;
}

void world_ask(world_request_t *asking, const world_ca_t *ca, gh_bytes_t serial)
{
    BIGNUM *number = BN_bin2bn(serial.data, (int)serial.length, NULL);
    ASN1_INTEGER *integer = BN_to_ASN1_INTEGER(number, NULL);
    OCSP_CERTID *id = OCSP_cert_id_new(asking->digest ? asking->digest : EVP_sha1(),
                                       X509_get_subject_name(ca->certificate),
                                       X509_get0_pubkey_bitstr(ca->certificate), integer);

    assert_non_null(id);
    assert_non_null(OCSP_request_add0_id(asking->request, id));
    ASN1_INTEGER_free(integer);
    BN_free(number);
}

void world_ask_extension(world_request_t *asking, const char *oid, int critical, const char *hex)
{
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    ASN1_OCTET_STRING *octets = ASN1_OCTET_STRING_new();
    X509_EXTENSION *extension;
    gh_bytes_t value = { (const unsigned char *)"", 0 };

    if (*hex) {
        assert_success(gh_hex_parse(&value, hex, test_pool));
    }
    ASN1_OCTET_STRING_set(octets, value.data, (int)value.length);
    extension = X509_EXTENSION_create_by_OBJ(NULL, object, critical, octets);
    assert_int_equal(OCSP_REQUEST_add_ext(asking->request, extension, -1), 1);
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(octets);
    ASN1_OBJECT_free(object);
}

gh_bytes_t world_asked(world_request_t *asking)
{
    unsigned char *der = NULL;
    gh_bytes_t bytes;
    int length;

    if (asking->nonce_length) {
        OCSP_request_add1_nonce(asking->request, (unsigned char *)asking->nonce,
                                asking->nonce_length);
    }
    length = i2d_OCSP_REQUEST(asking->request, &der);
    assert_true(length > 0);
    bytes.data = apr_pmemdup(test_pool, der, (apr_size_t)length);
    bytes.length = (apr_size_t)length;
    OPENSSL_free(der);
    OCSP_REQUEST_free(asking->request);
    asking->request = NULL;
    return bytes;
}

gh_bytes_t world_request(const world_ca_t *ca, const EVP_MD *digest, gh_bytes_t serial,
                         const char *nonce)
{
    world_request_t asking = world_asking();

    asking.digest = digest;
    if (nonce) {
        asking.nonce = (const unsigned char *)nonce;
        asking.nonce_length = (int)strlen(nonce);
    }
    world_ask(&asking, ca, serial);
    return world_asked(&asking);
}

/* Answers */

static apr_status_t free_basic(void *data)
{
    OCSP_BASICRESP_free(data);
    return APR_SUCCESS;
}

OCSP_BASICRESP *world_read_with(gh_bytes_t der, const world_ca_t *ca, unsigned long flags)
{
    const unsigned char *at = der.data;
    OCSP_RESPONSE *response = d2i_OCSP_RESPONSE(NULL, &at, (long)der.length);
    X509_STORE *trust = X509_STORE_new();
    STACK_OF(X509) *certificates = sk_X509_new_null();
    OCSP_BASICRESP *basic;

    assert_non_null(response);
    assert_ptr_equal(at, der.data + der.length);
    assert_int_equal(OCSP_response_status(response), OCSP_RESPONSE_STATUS_SUCCESSFUL);
    basic = OCSP_response_get1_basic(response);
    assert_non_null(basic);
    X509_STORE_add_cert(trust, ca->certificate);
    sk_X509_push(certificates, ca->certificate);
    if (OCSP_basic_verify(basic, certificates, trust, flags) != 1) {
        ERR_print_errors_fp(stderr);
        fail_msg("an answer cannot be verified");
    }
    X509_STORE_free(trust);
    sk_X509_free(certificates);
    OCSP_RESPONSE_free(response);
    apr_pool_cleanup_register(test_pool, basic, free_basic, apr_pool_cleanup_null);
    return basic;
}

OCSP_BASICRESP *world_read(gh_bytes_t der, const world_ca_t *ca)
{
    return world_read_with(der, ca, 0);
}

apr_time_t world_time(const ASN1_GENERALIZEDTIME *time)
{
    struct tm parts;

    if (!time) {
        return 0;
    }
    assert_int_equal(ASN1_STRING_length(time), 15);
    assert_int_equal(ASN1_TIME_to_tm(time, &parts), 1);
    return apr_time_from_sec(timegm(&parts));
}

static apr_time_t time_extension(OCSP_SINGLERESP *single, int nid)
{
    int critical;
    ASN1_GENERALIZEDTIME *value = OCSP_SINGLERESP_get1_ext_d2i(single, nid, &critical, NULL);
    apr_time_t time = world_time(value);

    if (value) {
        assert_int_equal(critical, 0);
    }
    ASN1_GENERALIZEDTIME_free(value);
    return time;
}

world_single_t world_single(OCSP_BASICRESP *basic, int index)
{
    OCSP_SINGLERESP *single = OCSP_resp_get0(basic, index);
    ASN1_GENERALIZEDTIME *revoked_at = NULL, *this_update = NULL, *next_update = NULL;
    world_single_t found = { 0 };

    assert_non_null(single);
    found.status = OCSP_single_get0_status(single, &found.reason, &revoked_at, &this_update,
                                           &next_update);
    if (found.status != V_OCSP_CERTSTATUS_REVOKED) {
        found.reason = GH_REASON_NONE;
        revoked_at = NULL;
    }
    found.revoked_at = world_time(revoked_at);
    found.this_update = world_time(this_update);
    found.next_update = world_time(next_update);
    found.cutoff = time_extension(single, NID_id_pkix_OCSP_archiveCutoff);
    found.invalid_from = time_extension(single, NID_invalidity_date);
    return found;
}
