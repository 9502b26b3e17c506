/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Sets of alternative names in one way of writing them, to be stored and compared. */

#include <stdlib.h>
#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <jansson.h>
#include <openssl/err.h>

#include "status.h"
#include "x509/csr.h"
#include "x509/name.h"
#include "x509/own.h"
#include "x509/profile.h"
#include "x509/san.h"

/** gh_name_text() cuts longer names, so that two of them could look the same. */
#define DIRECTORY_NAME_MAX 1000

apr_status_t gh_csr_sans(const gh_csr_t *csr, GENERAL_NAMES **names, apr_pool_t *p,
                         gh_result_t *result)
{
    const STACK_OF(X509_EXTENSION) *extensions = gh_csr_extensions(csr);
    int at = X509v3_get_ext_by_NID(extensions, NID_subject_alt_name, -1);

    *names = NULL;
    if (at < 0)
        return APR_SUCCESS;
    *names = gh_own_general_names(p, gh_extension_value(X509v3_get_ext(extensions, at),
                                                        ASN1_ITEM_rptr(GENERAL_NAMES)));
    ERR_clear_error();
    if (*names == NULL)
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_MALFORMED, "csr.san",
                              "send GeneralNames (RFC 5280 4.2.1.6)",
                              GHNO(0454) "the subject alternative names of the request cannot be "
                              "parsed");
    return APR_SUCCESS;
}

/** The text of a name, if it says all of it. @return NULL if it does not */
static const char *whole_text(const GENERAL_NAME *name, const char *text)
{
    char *at;

    switch (gh_san_type(name)) {
    case GH_SAN_DNS:
        /* host names have no case (RFC 4343); everything else is compared as it is written */
        for (at = (char *)text + 4; *at; ++at)
            *at = (char)apr_tolower(*at);
        return text;
    case GH_SAN_EMAIL:
    case GH_SAN_URI:
    case GH_SAN_IP:
    case GH_SAN_RID:
    case GH_SAN_UPN:
        return text;
    case GH_SAN_DIRNAME:
        return strlen(text) < DIRECTORY_NAME_MAX ? text : NULL;
    default:
        return NULL;
    }
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

apr_status_t gh_san_normal(const char **json, const GENERAL_NAMES *names, apr_pool_t *p,
                           gh_result_t *result)
{
    apr_array_header_t *texts = gh_san_texts(names, p);
    json_t *array;
    char *dumped;
    int i;

    *json = NULL;
    for (i = 0; i < texts->nelts; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        const char **text = &APR_ARRAY_IDX(texts, i, const char *);
        apr_status_t rv = gh_san_check(name, result);

        if (rv != APR_SUCCESS)
            return rv;
        *text = whole_text(name, apr_pstrdup(p, *text));
        if (*text == NULL)
            return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, "san.compare",
                                  "leave it out",
                                  GHNO(0455) "a subject alternative name of type %s cannot be "
                                  "compared", gh_san_type_name(gh_san_type(name)));
    }
    if (texts->nelts > 0)
        qsort(texts->elts, (size_t)texts->nelts, sizeof(const char *), by_text);
    array = json_array();
    for (i = 0; i < texts->nelts; i++) {
        const char *text = APR_ARRAY_IDX(texts, i, const char *);

        if (i == 0 || strcmp(text, APR_ARRAY_IDX(texts, i - 1, const char *)) != 0)
            json_array_append_new(array, json_string(text));
    }
    dumped = json_dumps(array, JSON_COMPACT);
    json_decref(array);
    if (dumped == NULL)
        return APR_ENOMEM;
    *json = apr_pstrdup(p, dumped);
    free(dumped);
    return APR_SUCCESS;
}

apr_status_t gh_san_read(GENERAL_NAMES **names, const apr_array_header_t *texts, apr_pool_t *p,
                         gh_result_t *result)
{
    GENERAL_NAMES *made = gh_own_general_names(p, GENERAL_NAMES_new());
    int i;

    *names = NULL;
    if (made == NULL)
        return APR_ENOMEM;
    if (texts->nelts > GH_SAN_MAX)
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "san", "give fewer",
                              GHNO(0456) "there are more than %d subject alternative names",
                              GH_SAN_MAX);
    for (i = 0; i < texts->nelts; i++) {
        const char *text = APR_ARRAY_IDX(texts, i, const char *);
        const char *colon = strchr(text, ':');
        GENERAL_NAME *name = NULL;
        apr_status_t rv;

        if (colon == NULL)
            return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "san",
                                  "write DNS:a.example, IP:192.0.2.1, email:a@b.example, "
                                  "URI:..., dirName:..., RID:... or UPN:...",
                                  GHNO(0457) "\"%.200s\" has no type before a colon", text);
        rv = gh_san_make(&name, apr_pstrmemdup(p, text, (apr_size_t)(colon - text)), colon + 1,
                         result);
        if (rv != APR_SUCCESS)
            return rv;
        if (sk_GENERAL_NAME_push(made, name) <= 0) {
            GENERAL_NAME_free(name);
            return APR_ENOMEM;
        }
    }
    *names = made;
    return APR_SUCCESS;
}

/** The texts of gh_san_normal(). @return NULL if it is none */
static apr_array_header_t *stored_texts(const char *sans, apr_pool_t *p)
{
    json_t *json = json_loads(sans, 0, NULL);
    apr_array_header_t *texts = json_is_array(json)
        ? apr_array_make(p, (int)json_array_size(json) + 1, sizeof(const char *)) : NULL;
    size_t i;

    for (i = 0; texts != NULL && i < json_array_size(json); i++) {
        const char *text = json_string_value(json_array_get(json, i));

        if (text != NULL)
            APR_ARRAY_PUSH(texts, const char *) = apr_pstrdup(p, text);
        else
            texts = NULL;
    }
    json_decref(json);
    return texts;
}

apr_status_t gh_names_given(const gh_given_names_t **given, const char *subject, const char *sans,
                            apr_pool_t *p, gh_result_t *result)
{
    gh_given_names_t *made = apr_pcalloc(p, sizeof(*made));
    apr_array_header_t *texts = sans != NULL ? stored_texts(sans, p) : NULL;
    GENERAL_NAMES *names = NULL;
    X509_NAME *name = NULL;
    apr_status_t rv = sans != NULL && texts == NULL ? GH_ECORRUPT : APR_SUCCESS;

    *given = NULL;
    if (rv == APR_SUCCESS)
        rv = gh_name_parse(&name, subject, p, result);
    if (rv == APR_SUCCESS && texts != NULL && texts->nelts > 0)
        rv = gh_san_read(&names, texts, p, result);
    if (rv != APR_SUCCESS)
        return gh_result_fail(result, GH_ECORRUPT, GH_FAILURE_INTERNAL, "names.given",
                              "Report it: this is a fault of Gatehouse.",
                              GHNO(0987) "the names that were stored for a certificate cannot be "
                              "read");
    made->subject = name;
    made->names = names;
    *given = made;
    return APR_SUCCESS;
}
