/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The pages that are asked for with GET: that of NDES, and Apple's configuration profiles. Each GET
 * makes a challenge; only those who may have one get that far. */

#include "mod_scep/scep_web.h"

#include <string.h>

#include <apr_strings.h>
#include <http_protocol.h>

#include "log.h"
#include "mod_scep/scep_ndes.h"
#include "status.h"
#include "x509/usages.h"

/** Who issues now: the issuer of that name, or one that has taken over. */
static gh_issuer_t *issuer_of(const scep_web_request_t *w)
{
    return gh_issuer_at(w->entry->endpoint.ca, apr_time_now());
}

/* NDES. Programs look for sentences in a page that came with 200. */

static int send_denied(scep_web_request_t *w)
{
    return scep_web_send(w->r, HTTP_OK, SCEP_NDES_TYPE, scep_ndes_denied(w->r->pool));
}

static int send_password(scep_web_request_t *w)
{
    gh_challenge_spec_t spec;
    gh_challenge_made_t made;
    gh_result_t result;
    gh_bytes_t page;

    memset(&spec, 0, sizeof(spec));
    spec.typed = 1;
    spec.most = w->web->passwords ? w->web->passwords : SCEP_WEB_PASSWORDS;
    spec.lifetime = SCEP_NDES_LIFETIME;
    if (scep_web_make(w, &spec, &made, &result) != APR_SUCCESS) {
        if (result.failure != GH_FAILURE_CONFLICT) {
            return scep_web_fail(w, &result);
        }
        scep_web_tell(w, &result);
        return scep_web_send(w->r, HTTP_OK, SCEP_NDES_TYPE, scep_ndes_full(w->r->pool));
    }
    if (scep_ndes_password(&page, made.challenge, gh_issuer_certificate_der(issuer_of(w)),
                           w->r->pool) != APR_SUCCESS) {
        gh_result_openssl(&result, GH_EUNAVAILABLE, GH_FAILURE_INTERNAL, NULL,
                          "See the OpenSSL error in the message.",
                          GHNO(0531) "the CA's certificate cannot be hashed");
        return scep_web_fail(w, &result);
    }
    return scep_web_send(w->r, HTTP_OK, SCEP_NDES_TYPE, page);
}

int scep_web_ndes_handler(request_rec *r)
{
    scep_web_request_t w;

    if (!r->handler || strcmp(r->handler, SCEP_HANDLER_NDES) != 0) {
        return DECLINED;
    }
    ap_discard_request_body(r);
    if (scep_web_begin(&w, r, "ndes", "GET", send_denied) == OK && scep_web_single(&w) == OK) {
        send_password(&w);
    }
    return OK;
}

/* Configuration profiles */

static apr_status_t evaluate(apr_array_header_t *values, request_rec *r,
                             const scep_web_value_t *wanted, gh_result_t *result)
{
    scep_profile_value_t value = { wanted->type, NULL };
    const char *error = NULL;

    value.value = ap_expr_str_exec(r, wanted->expression, &error);
    if (error || !value.value || !*value.value) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "profile.value",
                              "See what SCEPProfileSubject or SCEPProfileAltName make of this "
                              "user.",
                              GHNO(0532) "%s of this user has no value%s%s", wanted->type,
                              error ? ": " : "", error ? error : "");
    }
    APR_ARRAY_PUSH(values, scep_profile_value_t) = value;
    return APR_SUCCESS;
}

static apr_status_t evaluate_all(apr_array_header_t **values, request_rec *r,
                                 const apr_array_header_t *wanted, gh_result_t *result)
{
    apr_status_t rv = APR_SUCCESS;
    int i;

    *values = apr_array_make(r->pool, 4, sizeof(scep_profile_value_t));
    for (i = 0; rv == APR_SUCCESS && wanted && i < wanted->nelts; ++i) {
        rv = evaluate(*values, r, &APR_ARRAY_IDX(wanted, i, scep_web_value_t), result);
    }
    return rv;
}

static apr_status_t make_subject(scep_web_request_t *w, scep_profile_t *profile,
                                 gh_result_t *result)
{
    apr_array_header_t *values;
    scep_profile_value_t value = { "CN", w->name };
    apr_status_t rv = evaluate_all(&values, w->r, w->web->subject, result);

    if (rv == APR_SUCCESS && !w->web->subject) {
        if (!w->name) {
            return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "profile.subject",
                                  "Say with SCEPProfileSubject what the subject is.",
                                  GHNO(0533) "this user has no name for a subject");
        }
        APR_ARRAY_PUSH(values, scep_profile_value_t) = value;
    }
    return rv == APR_SUCCESS ? scep_profile_subject(&profile->subject, values, w->r->pool, result)
                             : rv;
}

/** As the challenge has them: a request with others, or more, is refused. */
static apr_array_header_t *san_texts(const apr_array_header_t *names, apr_pool_t *p)
{
    apr_array_header_t *texts = apr_array_make(p, names->nelts + 1, sizeof(const char *));
    int i;

    for (i = 0; i < names->nelts; ++i) {
        const scep_profile_value_t *name = &APR_ARRAY_IDX(names, i, scep_profile_value_t);

        APR_ARRAY_PUSH(texts, const char *) = apr_pstrcat(p, name->type, ":", name->value, NULL);
    }
    return texts;
}

/** What a device is to say its key is for: as its certificate will have it. */
static int key_usage(const gh_profile_t *profile)
{
    unsigned int usage = gh_profile_key_usage(profile);
    int asked = 0;

    if (usage & (GH_USAGE_DIGITAL_SIGNATURE | GH_USAGE_NON_REPUDIATION)) {
        asked |= SCEP_PROFILE_SIGN;
    }
    if (usage & (GH_USAGE_KEY_ENCIPHERMENT | GH_USAGE_DATA_ENCIPHERMENT)) {
        asked |= SCEP_PROFILE_ENCRYPT;
    }
    return asked ? asked : SCEP_PROFILE_SIGN | SCEP_PROFILE_ENCRYPT;
}

static void describe(scep_web_request_t *w, scep_profile_t *profile)
{
    const scep_endpoint_t *endpoint = &w->entry->endpoint;
    const gh_issuer_t *issuer = issuer_of(w);

    profile->url = scep_web_url(w->entry, w->config, w->r->pool);
    profile->tenant = endpoint->tenant;
    profile->issuer = endpoint->issuer;
    profile->profile = gh_profile_name(endpoint->profile);
    profile->organization = w->web->organization;
    profile->key_size = scep_web_key_size(endpoint->profile);
    profile->key_usage = key_usage(endpoint->profile);
    profile->authority = gh_issuer_certificate(issuer);
    profile->chain = gh_issuer_chain(issuer);
}

/** What can fail without a challenge fails before there is one. */
static apr_status_t make_profile(scep_web_request_t *w, gh_bytes_t *body, gh_result_t *result)
{
    scep_profile_t profile;
    gh_challenge_spec_t spec;
    gh_challenge_made_t made;
    apr_array_header_t *names;
    apr_status_t rv;

    memset(&profile, 0, sizeof(profile));
    memset(&spec, 0, sizeof(spec));
    gh_result_clear(result);
    describe(w, &profile);
    rv = make_subject(w, &profile, result);
    if (rv == APR_SUCCESS) {
        rv = evaluate_all(&names, w->r, w->web->names, result);
    }
    if (rv == APR_SUCCESS) {
        profile.sans = names;
        spec.subject = profile.subject;
        spec.sans = san_texts(names, w->r->pool);
        rv = scep_web_make(w, &spec, &made, result);
    }
    if (rv == APR_SUCCESS) {
        profile.challenge = made.challenge;
        rv = scep_profile_write(body, &profile, w->r->pool, result);
    }
    if (rv == APR_SUCCESS && w->web->signer) {
        rv = scep_profile_sign(body, *body, w->web->signer, w->r->pool, result);
    }
    return rv;
}

int scep_web_profile_handler(request_rec *r)
{
    scep_web_request_t w;
    gh_bytes_t body;
    gh_result_t result;

    if (!r->handler || strcmp(r->handler, SCEP_HANDLER_PROFILE) != 0) {
        return DECLINED;
    }
    ap_discard_request_body(r);
    if (scep_web_begin(&w, r, "profile", "GET", NULL) != OK || scep_web_single(&w) != OK) {
        return OK;
    }
    if (make_profile(&w, &body, &result) != APR_SUCCESS) {
        scep_web_fail(&w, &result);
        return OK;
    }
    apr_table_setn(r->headers_out, "Content-Disposition",
                   apr_psprintf(r->pool, "attachment; filename=\"%s.mobileconfig\"",
                                w.entry->endpoint.issuer));
    scep_web_send(r, HTTP_OK, SCEP_PROFILE_TYPE, body);
    return OK;
}
