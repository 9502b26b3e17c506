/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/webhook/webhook_codec.h"

#include <stdlib.h>
#include <string.h>

#include <apr_base64.h>
#include <apr_strings.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/x509v3.h>

#include "log.h"
#include "status.h"
#include "x509/csr.h"
#include "x509/name.h"

#define RULE "challenge.webhook"

static apr_status_t overwrite(void *data)
{
    const gh_bytes_t *bytes = data;

    OPENSSL_cleanse((void *)bytes->data, bytes->length);
    return APR_SUCCESS;
}

/** A text in p that is overwritten with it. */
static gh_bytes_t keep(const char *text, apr_size_t length, apr_pool_t *p)
{
    gh_bytes_t *bytes = apr_palloc(p, sizeof(*bytes));

    bytes->data = apr_pmemdup(p, text, length + 1);
    bytes->length = length;
    apr_pool_cleanup_register(p, bytes, overwrite, apr_pool_cleanup_null);
    return *bytes;
}

static const char *base64(const unsigned char *data, apr_size_t length, apr_pool_t *p)
{
    char *text = apr_palloc(p, (apr_size_t)apr_base64_encode_len((int)length));
    int size = apr_base64_encode_binary(text, data, (int)length);

    /* it may be of the request, which has the challenge in it */
    return (const char *)keep(text, (apr_size_t)size - 1, p).data;
}

/* Names. Those of the subject that JSON has a member for: the first of each. */

static const struct {
    int nid;
    const char *name;
    int several;                    /* an array, as there may be more of them */
} attributes[] = {
    { NID_commonName, "commonName", 0 }, { NID_serialNumber, "serialNumber", 0 },
    { NID_countryName, "country", 1 }, { NID_organizationName, "organization", 1 },
    { NID_organizationalUnitName, "organizationalUnit", 1 }, { NID_localityName, "locality", 1 },
    { NID_stateOrProvinceName, "province", 1 }
};

static json_t *values_of(const X509_NAME *name, int nid)
{
    json_t *list = json_array();
    int at = -1;

    while ((at = X509_NAME_get_index_by_NID((X509_NAME *)name, nid, at)) >= 0) {
        unsigned char *text = NULL;
        int length = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(
                                             X509_NAME_get_entry(name, at)));

        if (length >= 0) {
            json_array_append_new(list, json_stringn((const char *)text, (size_t)length));
        }
        OPENSSL_free(text);
    }
    return list;
}

static json_t *write_subject(const X509_NAME *name)
{
    json_t *object = json_object();
    apr_size_t i;

    for (i = 0; i < sizeof(attributes) / sizeof(attributes[0]); ++i) {
        json_t *values = values_of(name, attributes[i].nid);

        if (json_array_size(values) > 0) {
            json_object_set(object, attributes[i].name,
                            attributes[i].several ? values : json_array_get(values, 0));
        }
        json_decref(values);
    }
    return object;
}

/** Adds the alternative names that were authorised, by their kinds. */
static void write_names(json_t *object, const gh_plan_t *plan, apr_pool_t *p)
{
    static const struct {
        const char *prefix, *name;
    } kinds[] = {
        { "DNS:", "dnsNames" }, { "email:", "emailAddresses" }, { "IP:", "ipAddresses" },
        { "URI:", "uris" }
    };
    GENERAL_NAMES *names = X509V3_get_d2i(gh_plan_extensions(plan), NID_subject_alt_name, NULL,
                                          NULL);
    apr_array_header_t *texts = names ? gh_san_texts(names, p) : NULL;
    apr_size_t k;
    int i;

    for (k = 0; texts && k < sizeof(kinds) / sizeof(kinds[0]); ++k) {
        json_t *list = json_array();

        for (i = 0; i < texts->nelts; ++i) {
            const char *text = APR_ARRAY_IDX(texts, i, const char *);
            apr_size_t length = strlen(kinds[k].prefix);

            if (!strncmp(text, kinds[k].prefix, length)) {
                json_array_append_new(list, json_string(text + length));
            }
        }
        if (json_array_size(list) > 0) {
            json_object_set(object, kinds[k].name, list);
        }
        json_decref(list);
    }
    GENERAL_NAMES_free(names);
}

static const char *algorithm_of(EVP_PKEY *key)
{
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA:
        return "RSA";
    case EVP_PKEY_EC:
        return "ECDSA";
    default:
        return "Ed25519";
    }
}

static json_t *write_request(const gh_asked_t *asked, const gh_csr_t *csr, apr_pool_t *p)
{
    EVP_PKEY *key = gh_csr_key(csr);
    unsigned char *spki = NULL;
    int length = i2d_PUBKEY(key, &spki);
    json_t *object;

    if (length <= 0) {
        ERR_clear_error();
        return NULL;
    }
    object = json_pack("{s:i, s:o, s:s, s:s, s:s}", "version", 0, "subject",
                       write_subject(gh_plan_subject(asked->plan)), "publicKey",
                       base64(spki, (apr_size_t)length, p), "publicKeyAlgorithm",
                       algorithm_of(key), "raw",
                       base64(asked->request.data, asked->request.length, p));
    OPENSSL_free(spki);
    if (object) {
        write_names(object, asked->plan, p);
    }
    return object;
}

/* jansson has no way to overwrite its strings; the text is overwritten. */
apr_status_t webhook_write(gh_bytes_t *body, const gh_asked_t *asked, apr_time_t now,
                           apr_pool_t *p, gh_result_t *result)
{
    const gh_enrolment_record_t *row = asked->record;
    const char *challenge = NULL;
    json_t *document = NULL;
    char *text = NULL;
    gh_csr_t *csr;
    apr_status_t rv;

    rv = gh_csr_parse(&csr, asked->request.data, asked->request.length, NULL, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    challenge = gh_csr_challenge(csr);
    document = json_pack("{s:s, s:s, s:o, s:s*, s:s}", "timestamp", gh_time_text(p, now),
                         "provisionerName",
                         apr_pstrcat(p, row->tenant ? row->tenant : "", "/", row->issuer, "/",
                                     row->profile, NULL),
                         "x509CertificateRequest", write_request(asked, csr, p), "scepChallenge",
                         challenge && *challenge ? challenge : NULL, "scepTransactionID",
                         row->transaction ? row->transaction : "");
    text = document ? json_dumps(document, JSON_COMPACT) : NULL;
    json_decref(document);
    if (!text) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                              "Let the device ask with names and a challenge in UTF-8.",
                              GHNO(0911) "the request cannot be written as JSON");
    }
    *body = keep(text, strlen(text), p);
    OPENSSL_cleanse(text, strlen(text));
    free(text);
    return APR_SUCCESS;
}

const char *webhook_sign(gh_bytes_t secret, gh_bytes_t body, apr_pool_t *p)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned int length = 0;

    if (!HMAC(EVP_sha256(), secret.data, (int)secret.length, body.data, body.length, mac,
              &length)) {
        ERR_clear_error();
        return NULL;
    }
    return gh_hex(p, mac, length);
}

/** "message (code)", as far as it is there. */
static const char *reason_of(const json_t *error, apr_pool_t *p)
{
    const char *message = json_string_value(json_object_get(error, "message"));
    const char *code = json_string_value(json_object_get(error, "code"));

    if (!message || !*message) {
        return code && *code ? gh_question_words(code, p) : NULL;
    }
    return gh_question_words(code && *code ? apr_pstrcat(p, message, " (", code, ")", NULL)
                                           : message, p);
}

apr_status_t webhook_read(webhook_answer_t *answer, gh_bytes_t body, apr_pool_t *p,
                          gh_result_t *result)
{
    json_t *object = body.length && body.length <= WEBHOOK_ANSWER_MAX
        ? json_loadb((const char *)body.data, body.length, JSON_REJECT_DUPLICATES, NULL) : NULL;
    const json_t *allow = json_object_get(object, "allow");
    apr_status_t rv = APR_SUCCESS;

    memset(answer, 0, sizeof(*answer));
    if (!json_is_boolean(allow)) {
        rv = gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, RULE,
                            "Let the webhook answer with a JSON object in which \"allow\" is true "
                            "or false.",
                            GHNO(0912) "the answer of the webhook says neither yes nor no");
    }
    else {
        answer->allow = json_is_true(allow);
        answer->reason = answer->allow ? NULL : reason_of(json_object_get(object, "error"), p);
    }
    json_decref(object);
    return rv;
}
