/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* scep explain: the object. Of a secret, its length is all that gets in here. */

#include "ctl_scep.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "ctl_output.h"
#include "mod_scep/scep_algorithm.h"
#include "mod_scep/scep_asn1.h"
#include "x509/ca.h"
#include "x509/name.h"

static const char *const what_names[] = {
    "request", "reply", "certificates", "next certificates", "csr"
};

static const char *const verdict_names[] = { "kept", "broken", "unknown" };
static const char *const judgement_names[] = { "accepted", "refused", "unknown" };

static void put(json_t *object, const char *name, const char *text, apr_pool_t *p)
{
    json_object_set_new(object, name, ctl_json_text(text, p));
}

static void put_hex(json_t *object, const char *name, gh_bytes_t bytes, apr_pool_t *p)
{
    put(object, name, bytes.length > 0 ? gh_hex(p, bytes.data, bytes.length) : NULL, p);
}

static json_t *numbered(int number, const char *name)
{
    return number < 0 ? json_null() : json_pack("{s:i, s:s}", "number", number, "name", name);
}

static json_t *algorithm_json(const scep_explained_algorithm_t *algorithm)
{
    return algorithm->name == NULL
        ? json_null() : json_pack("{s:s, s:s}", "name", algorithm->name, "oid", algorithm->oid);
}

static json_t *key_usage_json(X509 *certificate)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } bits[] = {
        { KU_DIGITAL_SIGNATURE, "digitalSignature" }, { KU_NON_REPUDIATION, "nonRepudiation" },
        { KU_KEY_ENCIPHERMENT, "keyEncipherment" }, { KU_DATA_ENCIPHERMENT, "dataEncipherment" },
        { KU_KEY_AGREEMENT, "keyAgreement" }, { KU_KEY_CERT_SIGN, "keyCertSign" },
        { KU_CRL_SIGN, "cRLSign" }, { KU_ENCIPHER_ONLY, "encipherOnly" },
        { KU_DECIPHER_ONLY, "decipherOnly" }
    };
    uint32_t usage = X509_get_key_usage(certificate);
    json_t *array;
    size_t i;

    if (usage == UINT32_MAX) {
        return json_null();
    }
    array = json_array();
    for (i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
        if ((usage & bits[i].bit) != 0) {
            json_array_append_new(array, json_string(bits[i].name));
        }
    }
    return array;
}

static json_t *certificate_json(X509 *certificate, apr_pool_t *p)
{
    json_t *object = json_object();

    put(object, "subject", gh_name_text(X509_get_subject_name(certificate), p), p);
    put(object, "issuer", gh_name_text(X509_get_issuer_name(certificate), p), p);
    put_hex(object, "serial", gh_certificate_serial(certificate, p), p);
    put(object, "key", scep_algorithm_key_name(X509_get0_pubkey(certificate), p), p);
    json_object_set_new(object, "not_before",
                        ctl_json_time(gh_certificate_not_before(certificate), p));
    json_object_set_new(object, "not_after",
                        ctl_json_time(gh_certificate_not_after(certificate), p));
    json_object_set_new(object, "self_signed", json_boolean(X509_self_signed(certificate, 1) == 1));
    json_object_set_new(object, "ca", json_boolean(X509_check_ca(certificate) == 1));
    json_object_set_new(object, "key_usage", key_usage_json(certificate));
    ERR_clear_error();
    return object;
}

/* What of this configuration that certificate is. @param certificate or @param recipient */
static json_t *known_json(const ctl_scep_t *scep, X509 *certificate,
                          const scep_explained_recipient_t *recipient)
{
    int i;

    for (i = 0; scep->known != NULL && i < scep->known->nelts; i++) {
        const ctl_scep_known_t *known = &APR_ARRAY_IDX(scep->known, i, ctl_scep_known_t);

        if (certificate != NULL ? X509_cmp(certificate, known->certificate) == 0
                                : scep_explained_is(recipient, known->certificate)) {
            return json_pack("{s:s, s:s, s:I, s:s}", "issuer", known->issuer, "role", known->role,
                             "generation", (json_int_t)known->generation, "state",
                             known->state);
        }
    }
    return json_null();
}

static json_t *signer_json(const ctl_scep_t *scep, apr_pool_t *p)
{
    const scep_explanation_t *explanation = scep->explanation;
    X509 *certificate = explanation->message->signer;
    json_t *object;

    if (explanation->message->signer_info == NULL) {
        return json_null();
    }
    if (certificate != NULL) {
        object = certificate_json(certificate, p);
        json_object_set_new(object, "known", known_json(scep, certificate, NULL));
    }
    else {
        object = json_object();
        put(object, "subject", NULL, p);
        put(object, "issuer", explanation->signer.issuer, p);
        put(object, "serial", explanation->signer.serial, p);
    }
    put(object, "key_id", explanation->signer.key_id, p);
    return object;
}

static json_t *signature_json(const scep_explanation_t *explanation, apr_pool_t *p)
{
    json_t *object = json_object();

    json_object_set_new(object, "digest", algorithm_json(&explanation->digest));
    json_object_set_new(object, "algorithm", algorithm_json(&explanation->signature_algorithm));
    json_object_set_new(object, "valid", explanation->signature < 0
                        ? json_null() : json_boolean(explanation->signature));
    put(object, "problem", explanation->signature_problem, p);
    return object;
}

static json_t *recipient_json(const ctl_scep_t *scep, const scep_explained_recipient_t *recipient,
                              apr_pool_t *p)
{
    json_t *object = json_object();
    json_t *oaep = json_null();

    put(object, "type", recipient->type, p);
    put(object, "issuer", recipient->identifier.issuer, p);
    put(object, "serial", recipient->identifier.serial, p);
    put(object, "key_id", recipient->identifier.key_id, p);
    json_object_set_new(object, "known", known_json(scep, NULL, recipient));
    json_object_set_new(object, "transport", algorithm_json(&recipient->transport));
    if (recipient->oaep_digest != NULL) {
        oaep = json_pack("{s:s, s:s, s:s, s:i}", "digest", recipient->oaep_digest, "mask",
                         recipient->oaep_mask, "mask_digest", recipient->oaep_mask_digest,
                         "label_bytes", recipient->oaep_label);
    }
    json_object_set_new(object, "oaep", oaep);
    json_object_set_new(object, "accepted", json_boolean(recipient->accepted));
    return object;
}

static json_t *attributes_json(const apr_array_header_t *attributes)
{
    json_t *array = json_array();
    int i;

    for (i = 0; i < attributes->nelts; i++) {
        const scep_explained_attribute_t *one = &APR_ARRAY_IDX(attributes, i,
                                                               scep_explained_attribute_t);

        json_array_append_new(array, json_pack("{s:s, s:s, s:i, s:i, s:b}", "name", one->name,
                                               "oid", one->oid, "values", one->values, "bytes",
                                               one->bytes, "critical", one->critical));
    }
    return array;
}

static json_t *certificates_json(const ctl_scep_t *scep, apr_pool_t *p)
{
    const apr_array_header_t *certificates = scep->explanation->certificates;
    json_t *array = json_array();
    int i;

    for (i = 0; i < certificates->nelts; i++) {
        X509 *certificate = APR_ARRAY_IDX(certificates, i, X509 *);
        json_t *object = certificate_json(certificate, p);

        json_object_set_new(object, "known", known_json(scep, certificate, NULL));
        json_array_append_new(array, object);
    }
    return array;
}

static void add_message(json_t *object, const ctl_scep_t *scep, apr_pool_t *p)
{
    const scep_explanation_t *explanation = scep->explanation;
    const scep_message_t *message = explanation->message;
    json_t *recipients = json_array();
    int i;

    json_object_set_new(object, "message_type",
                        numbered(message->type, scep_type_name(message->type)));
    put(object, "transaction", message->transaction, p);
    put_hex(object, "sender_nonce", message->sender_nonce, p);
    put_hex(object, "recipient_nonce", explanation->recipient_nonce, p);
    json_object_set_new(object, "signing_time", ctl_json_time(explanation->signing_time, p));
    json_object_set_new(object, "pki_status",
                        numbered(explanation->pki_status,
                                 scep_status_name(explanation->pki_status)));
    json_object_set_new(object, "fail_info",
                        numbered(explanation->fail_info,
                                 scep_fail_info_name(explanation->fail_info)));
    put(object, "fail_text", explanation->fail_text, p);
    json_object_set_new(object, "signer", signer_json(scep, p));
    json_object_set_new(object, "signature", signature_json(explanation, p));
    json_object_set_new(object, "cipher", algorithm_json(&explanation->cipher));
    json_object_set_new(object, "encrypted_bytes", json_integer(explanation->encrypted));
    for (i = 0; i < explanation->recipients->nelts; i++) {
        json_array_append_new(recipients, recipient_json(
            scep, &APR_ARRAY_IDX(explanation->recipients, i, scep_explained_recipient_t), p));
    }
    json_object_set_new(object, "recipients", recipients);
    json_object_set_new(object, "attributes", attributes_json(explanation->attributes));
}

/* Requests */

static json_t *sans_json(const gh_csr_t *csr, apr_pool_t *p)
{
    GENERAL_NAMES *names = X509V3_get_d2i(gh_csr_extensions(csr), NID_subject_alt_name, NULL, NULL);
    const apr_array_header_t *texts = gh_san_texts(names, p);
    json_t *array = json_array();
    int i;

    for (i = 0; i < texts->nelts; i++) {
        json_array_append_new(array, ctl_json_text(APR_ARRAY_IDX(texts, i, const char *), p));
    }
    GENERAL_NAMES_free(names);
    ERR_clear_error();
    return array;
}

/* An extension in OpenSSL's words. @return null if there is none */
static json_t *extension_json(const gh_csr_t *csr, int nid, apr_pool_t *p)
{
    const STACK_OF(X509_EXTENSION) *extensions = gh_csr_extensions(csr);
    int at = extensions != NULL ? X509v3_get_ext_by_NID(extensions, nid, -1) : -1;
    BIO *out = BIO_new(BIO_s_mem());
    json_t *text = json_null();
    char *data;
    long length;

    if (out != NULL && at >= 0
        && X509V3_EXT_print(out, X509v3_get_ext(extensions, at), X509V3_EXT_ERROR_UNKNOWN, 0)) {
        length = BIO_get_mem_data(out, &data);
        text = ctl_json_text(apr_pstrmemdup(p, data, length > 0 ? (apr_size_t)length : 0), p);
    }
    BIO_free(out);
    ERR_clear_error();
    return text;
}

static json_t *csr_json(const scep_explanation_t *explanation, apr_pool_t *p)
{
    const gh_csr_t *csr = explanation->csr;
    const char *challenge = gh_csr_challenge(csr);
    json_t *object = json_object();

    put(object, "subject", gh_csr_subject_text(csr), p);
    json_object_set_new(object, "sans", sans_json(csr, p));
    put(object, "key", scep_algorithm_key_name(gh_csr_key(csr), p), p);
    put(object, "signature_algorithm", gh_csr_signature_algorithm(csr), p);
    json_object_set_new(object, "signature_valid", json_boolean(explanation->signature));
    json_object_set_new(object, "challenge_bytes", challenge != NULL
                        ? json_integer((json_int_t)strlen(challenge)) : json_null());
    json_object_set_new(object, "key_usage", extension_json(csr, NID_key_usage, p));
    json_object_set_new(object, "extended_key_usage", extension_json(csr, NID_ext_key_usage, p));
    json_object_set_new(object, "basic_constraints",
                        extension_json(csr, NID_basic_constraints, p));
    json_object_set_new(object, "extensions", attributes_json(explanation->csr_extensions));
    json_object_set_new(object, "attributes", attributes_json(explanation->csr_attributes));
    return object;
}

/* Judgements */

static json_t *finding_json(const scep_finding_t *finding, apr_pool_t *p)
{
    const gh_result_t *result = &finding->result;
    int said = finding->verdict == SCEP_RULE_BROKEN;
    json_t *object = json_object();

    put(object, "rule", finding->rule, p);
    put(object, "verdict", verdict_names[finding->verdict], p);
    put(object, "gh", said ? result->number : NULL, p);
    put(object, "message", said ? result->message : NULL, p);
    put(object, "action", said ? result->action : NULL, p);
    return object;
}

static json_t *judgement_json(const ctl_scep_judgement_t *judgement, apr_pool_t *p)
{
    json_t *object = json_object();
    json_t *allow = json_array();
    json_t *locations = json_array();
    json_t *rules = json_array();
    int i;

    if ((judgement->allow & SCEP_ALLOW_3DES) != 0) {
        json_array_append_new(allow, json_string("3des"));
    }
    if ((judgement->allow & SCEP_ALLOW_SHA1) != 0) {
        json_array_append_new(allow, json_string("sha1"));
    }
    for (i = 0; i < judgement->locations->nelts; i++) {
        json_array_append_new(locations, ctl_json_text(
            APR_ARRAY_IDX(judgement->locations, i, const char *), p));
    }
    for (i = 0; i < judgement->findings->nelts; i++) {
        json_array_append_new(rules, finding_json(
            &APR_ARRAY_IDX(judgement->findings, i, scep_finding_t), p));
    }
    put(object, "issuer", judgement->issuer, p);
    json_object_set_new(object, "allow", allow);
    json_object_set_new(object, "locations", locations);
    put(object, "verdict", judgement_names[judgement->verdict], p);
    json_object_set_new(object, "rules", rules);
    return object;
}

json_t *ctl_scep_json(const ctl_scep_t *scep, apr_pool_t *p)
{
    const scep_explanation_t *explanation = scep->explanation;
    json_t *object = json_object();
    json_t *judgements = json_array();
    int i;

    put(object, "kind", what_names[explanation->what], p);
    put(object, "form", scep->capture.form, p);
    json_object_set_new(object, "bytes", json_integer((json_int_t)explanation->der.length));
    put(object, "location", scep->location, p);
    if (explanation->message != NULL && explanation->message->signer_infos > 0) {
        add_message(object, scep, p);
    }
    json_object_set_new(object, "certificates", certificates_json(scep, p));
    json_object_set_new(object, "csr", explanation->csr != NULL ? csr_json(explanation, p)
                                                                : json_null());
    put(object, "note", scep->note, p);
    for (i = 0; i < scep->judgements->nelts; i++) {
        json_array_append_new(judgements, judgement_json(
            &APR_ARRAY_IDX(scep->judgements, i, ctl_scep_judgement_t), p));
    }
    json_object_set_new(object, "judgements", judgements);
    return object;
}
