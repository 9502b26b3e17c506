/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "escrow_upload.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/evp.h>

#include "escrow_json.h"
#include "log.h"

#define RULE "escrow.upload"
#define MEMBER "smime_certificates"

#define PASSWORD_MAX 1024

escrow_upload_t *escrow_upload_create(const char *device, const char *user, apr_pool_t *p)
{
    escrow_upload_t *upload = apr_pcalloc(p, sizeof(*upload));

    upload->device = device;
    upload->user = user;
    upload->elements = apr_array_make(p, 4, sizeof(escrow_element_t));
    return upload;
}

void escrow_upload_add(escrow_upload_t *upload, escrow_use_t use,
                       const escrow_credential_t *credential, const char *enrolment,
                       const escrow_kept_t *kept)
{
    escrow_element_t *element;
    int index = 0, i;

    for (i = 0; i < upload->elements->nelts; ++i) {
        index += APR_ARRAY_IDX(upload->elements, i, escrow_element_t).use == use;
    }
    element = apr_array_push(upload->elements);
    element->use = use;
    element->index = index;
    element->credential = credential;
    element->enrolment = enrolment;
    element->kept = kept;
    upload->given[use] = 1;
}

static const char *where_of(const escrow_element_t *element, apr_pool_t *p)
{
    return apr_psprintf(p, MEMBER ".%s[%d]", escrow_use_name(element->use), element->index);
}

static apr_status_t read_password(escrow_element_t *element, const json_t *value,
                                  const char *where, gh_locked_t *locked, apr_pool_t *p,
                                  gh_result_t *result)
{
    if (value == NULL || json_is_null(value)) {
        return APR_SUCCESS;
    }
    if (!json_is_string(value) || json_string_length(value) > PASSWORD_MAX) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, RULE,
                              "Send the password of the PKCS#12 as a string of at most 1024 "
                              "bytes, or leave it out.",
                              GHNO(1204) "%s: has a password that cannot be used", where);
    }
    element->password = (const char *)gh_locked_copy(locked, json_string_value(value),
                                                     json_string_length(value), p).data;
    return element->password ? APR_SUCCESS : APR_ENOMEM;
}

static apr_status_t read_element(escrow_element_t *element, const json_t *value,
                                 gh_locked_t *locked, apr_pool_t *p, gh_result_t *result)
{
    static const char *const members[] = { "pkcs12", "password", NULL };
    const char *where = where_of(element, p);
    apr_status_t rv;

    if (json_is_object(value)) {
        if ((rv = escrow_json_only(value, members, where, result)) != APR_SUCCESS
            || (rv = read_password(element, json_object_get(value, "password"), where, locked, p,
                                   result)) != APR_SUCCESS) {
            return rv;
        }
        value = json_object_get(value, "pkcs12");
    }
    return escrow_json_base64(&element->pkcs12, value, where, ESCROW_PKCS12_MAX, locked, p,
                              result);
}

static apr_status_t read_use(escrow_upload_t *upload, const json_t *array, escrow_use_t use,
                             int most, gh_locked_t *locked, apr_pool_t *p, gh_result_t *result)
{
    apr_size_t i;
    apr_status_t rv = APR_SUCCESS;

    if (array == NULL || json_is_null(array)) {
        return APR_SUCCESS;
    }
    if (!json_is_array(array)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, RULE,
                              "Send an array of credentials, or leave it out.",
                              GHNO(1205) MEMBER ".%s: no array", escrow_use_name(use));
    }
    if (json_array_size(array) > (apr_size_t)(most - upload->elements->nelts)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                              "Send fewer, or have EscrowMaxCredentials raised.",
                              GHNO(1206) MEMBER ".%s: more than %d credentials",
                              escrow_use_name(use), most);
    }
    upload->given[use] = 1;
    for (i = 0; rv == APR_SUCCESS && i < json_array_size(array); ++i) {
        escrow_element_t *element = apr_array_push(upload->elements);

        element->use = use;
        element->index = (int)i;
        rv = read_element(element, json_array_get(array, i), locked, p, result);
    }
    return rv;
}

apr_status_t escrow_upload_read(escrow_upload_t **made, gh_bytes_t body, int most,
                                gh_locked_t *locked, apr_pool_t *p, gh_result_t *result)
{
    static const char *const members[] = { "signing", "encryption", "archived", NULL };
    escrow_upload_t *upload = escrow_upload_create(NULL, NULL, p);
    const json_t *object, *uses;
    apr_status_t rv;
    int use;

    *made = NULL;
    if ((rv = escrow_json_read(&object, body, p, result)) != APR_SUCCESS
        || (rv = escrow_json_uuid(&upload->device, object, "device_uuid", p, result))
            != APR_SUCCESS
        || (rv = escrow_json_uuid(&upload->user, object, "user_uuid", p, result))
            != APR_SUCCESS) {
        return rv;
    }
    uses = json_object_get(object, MEMBER);
    if (!json_is_object(uses)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, RULE,
                              "Send an object with signing, encryption or archived.",
                              GHNO(1207) MEMBER ": %s", uses ? "no object" : "is missing");
    }
    if ((rv = escrow_json_only(uses, members, MEMBER, result)) != APR_SUCCESS) {
        return rv;
    }
    for (use = ESCROW_SIGNING; use <= ESCROW_ARCHIVED; ++use) {
        rv = read_use(upload, json_object_get(uses, escrow_use_name(use)), use, most, locked, p,
                      result);
        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    if (upload->elements->nelts == 0) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, RULE,
                              "Send at least one credential; DELETE removes what is stored.",
                              GHNO(1208) MEMBER ": has no credential");
    }
    *made = upload;
    return APR_SUCCESS;
}

/** Says which element a failure is about, in front of its message. */
static void name_element(gh_result_t *result, const char *where)
{
    char message[sizeof(result->message)];

    apr_cpystrn(message, result->message, sizeof(message));
    apr_snprintf(result->message, sizeof(result->message), "%s: %s", where, message);
}

static int is_double(const escrow_upload_t *upload, int index)
{
    const escrow_element_t *element = &APR_ARRAY_IDX(upload->elements, index, escrow_element_t);
    int i;

    for (i = 0; i < index; ++i) {
        const escrow_element_t *other = &APR_ARRAY_IDX(upload->elements, i, escrow_element_t);

        if (other->use == element->use
            && memcmp(other->credential->sha256, element->credential->sha256,
                      sizeof(other->credential->sha256)) == 0) {
            return 1;
        }
    }
    return 0;
}

static apr_status_t open_all(escrow_upload_t *upload, const escrow_opener_t *opener,
                             apr_time_t now, apr_pool_t *p, gh_result_t *result)
{
    apr_int64_t iterations = 0;
    int i;

    for (i = 0; i < upload->elements->nelts; ++i) {
        escrow_element_t *element = &APR_ARRAY_IDX(upload->elements, i, escrow_element_t);
        escrow_credential_t *credential;
        apr_status_t rv;

        rv = escrow_pkcs12_open_next(&credential, &iterations, opener, element->pkcs12,
                                     element->password, element->use, now, p, result);
        if (rv != APR_SUCCESS) {
            name_element(result, where_of(element, p));
            return rv;
        }
        element->credential = credential;
        if (is_double(upload, i)) {
            return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                                  "Send each credential once.",
                                  GHNO(1209) "%s: has the certificate of one before it",
                                  where_of(element, p));
        }
    }
    return APR_SUCCESS;
}

apr_status_t escrow_upload_open(escrow_upload_t *upload, const escrow_opener_t *opener,
                                escrow_gate_t *gate, apr_time_t now, apr_pool_t *p,
                                gh_result_t *result)
{
    apr_status_t rv = escrow_gate_enter(gate, result);

    if (rv == APR_SUCCESS) {
        rv = open_all(upload, opener, now, p, result);
        escrow_gate_leave(gate);
    }
    return rv;
}

apr_status_t escrow_upload_digest(gh_bytes_t *digest, const escrow_upload_t *upload,
                                  apr_pool_t *p, gh_result_t *result)
{
    apr_array_header_t *parts = apr_array_make(p, 8, sizeof(const char *));
    unsigned char *bytes = apr_palloc(p, EVP_MAX_MD_SIZE);
    const char *text;
    unsigned int length = 0;
    int use, i;

    APR_ARRAY_PUSH(parts, const char *) = upload->device;
    APR_ARRAY_PUSH(parts, const char *) = upload->user;
    for (use = ESCROW_SIGNING; use <= ESCROW_ARCHIVED; ++use) {
        APR_ARRAY_PUSH(parts, const char *) = upload->given[use] ? escrow_use_name(use) : "-";
        for (i = 0; i < upload->elements->nelts; ++i) {
            const escrow_element_t *element = &APR_ARRAY_IDX(upload->elements, i,
                                                             escrow_element_t);

            if ((int)element->use == use) {
                APR_ARRAY_PUSH(parts, const char *) = gh_hex(p, element->credential->sha256, 32);
            }
        }
    }
    text = apr_array_pstrcat(p, parts, ',');
    if (EVP_Digest(text, strlen(text), bytes, &length, EVP_sha256(), NULL) != 1) {
        return gh_result_openssl(result, APR_ENOMEM, GH_FAILURE_INTERNAL, RULE,
                                 "See the memory of this machine.",
                                 GHNO(1210) "an upload cannot be hashed");
    }
    digest->data = bytes;
    digest->length = length;
    return APR_SUCCESS;
}
