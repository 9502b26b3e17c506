/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The challenge providers that need no protocol, and the making of one-time challenges. */

#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "audit.h"
#include "issuer/authorisation.h"
#include "log.h"
#include "status.h"
#include "store/challenges.h"
#include "store/housekeeping.h"
#include "store/mdm_requests.h"
#include "x509/name.h"
#include "x509/san.h"

#define CHALLENGE_BYTES     20
/* Longer ones are cut or not found at all by programs that read pages of NDES. */
#define TYPED_BYTES         16
#define CHALLENGE_LIFETIME  apr_time_from_sec(3600)

static apr_status_t missing_challenge(gh_result_t *result)
{
    return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "challenge.missing",
                          "Give the device the challenge of this endpoint.",
                          GHNO(0020) "the request has no challenge password");
}

static apr_status_t check_static(const gh_authoriser_t *authoriser, gh_store_t *store,
                                 const gh_enrolment_request_t *request, gh_grant_t *grant,
                                 apr_pool_t *p, gh_result_t *result)
{
    const gh_bytes_t *secret = authoriser->data;

    if (!request->challenge || !*request->challenge) {
        return missing_challenge(result);
    }
    if (!gh_equal_secret(request->challenge, strlen(request->challenge), secret->data,
                         secret->length)) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "challenge.static",
                              "Give the device the challenge of this endpoint.",
                              GHNO(0021) "the challenge password is wrong");
    }
    grant->rule = "challenge.static";
    return APR_SUCCESS;
}

gh_authoriser_t *gh_authoriser_static(gh_bytes_t secret, apr_pool_t *p)
{
    gh_authoriser_t *authoriser = apr_pcalloc(p, sizeof(*authoriser));

    authoriser->name = "static";
    authoriser->data = apr_pmemdup(p, &secret, sizeof(secret));
    authoriser->check = check_static;
    return authoriser;
}

static apr_status_t check_webhook(const gh_authoriser_t *authoriser, gh_store_t *store,
                                  const gh_enrolment_request_t *request, gh_grant_t *grant,
                                  apr_pool_t *p, gh_result_t *result)
{
    if (!request->challenge || !*request->challenge) {
        return missing_challenge(result);
    }
    grant->rule = "challenge.webhook";
    grant->question = *(const gh_question_t *)authoriser->data;
    return APR_SUCCESS;
}

gh_authoriser_t *gh_authoriser_webhook(const char *name, apr_interval_time_t deadline,
                                       apr_pool_t *p)
{
    gh_authoriser_t *authoriser = apr_pcalloc(p, sizeof(*authoriser));
    gh_question_t *question = apr_pcalloc(p, sizeof(*question));

    question->kind = "webhook";
    question->queue = apr_pstrcat(p, "webhook:", name, NULL);
    question->patience = deadline;
    authoriser->name = "webhook";
    authoriser->data = question;
    authoriser->check = check_webhook;
    return authoriser;
}

static apr_status_t check_none(const gh_authoriser_t *authoriser, gh_store_t *store,
                               const gh_enrolment_request_t *request, gh_grant_t *grant,
                               apr_pool_t *p, gh_result_t *result)
{
    grant->rule = "challenge.none";
    return APR_SUCCESS;
}

gh_authoriser_t *gh_authoriser_none(apr_pool_t *p)
{
    gh_authoriser_t *authoriser = apr_pcalloc(p, sizeof(*authoriser));

    authoriser->name = "none";
    authoriser->check = check_none;
    return authoriser;
}

typedef struct {
    gh_bytes_t sha256;
    gh_challenge_record_t *record;
    apr_pool_t *pool;
} find_baton_t;

static apr_status_t find_work(gh_transaction_t *transaction, void *baton)
{
    find_baton_t *find = baton;

    return gh_challenge_find(transaction, find->sha256, &find->record, find->pool);
}

/* The names that are asked for, all of them and no more. */
static int sans_equal(const char *expected, const gh_csr_t *csr, apr_pool_t *p)
{
    GENERAL_NAMES *names;
    const char *asked;

    return gh_csr_sans(csr, &names, p, NULL) == APR_SUCCESS
        && gh_san_normal(&asked, names, p, NULL) == APR_SUCCESS
        && !strcmp(expected, asked);
}

static int subject_equal(const char *expected, const gh_csr_t *csr, apr_pool_t *p)
{
    X509_NAME *name;

    return gh_name_parse(&name, expected, p, NULL) == APR_SUCCESS
        && !X509_NAME_cmp(name, gh_csr_subject(csr));
}

/** One of the providers that take such challenges. */
typedef struct {
    const char *set;
    int gives;                      /* the certificate gets the names of the challenge */
} onetime_t;

/* Why a challenge that exists does not fit, or NULL. This is for the log. */
static const char *misfit(const gh_challenge_record_t *record, const onetime_t *onetime,
                          const gh_enrolment_request_t *request, apr_pool_t *p)
{
    if (strcmp(record->set, onetime->set) || strcmp(record->tenant, request->tenant)
        || (!onetime->gives && strcmp(record->issuer, request->issuer))
        || strcmp(record->profile, gh_profile_name(request->profile))) {
        return "was made for another endpoint";
    }
    if (record->used_at) {
        return "has been used already";
    }
    if (record->expires <= apr_time_now()) {
        return "has expired";
    }
    if (onetime->gives) {
        return record->subject ? NULL : "has no subject";
    }
    if (record->subject && !subject_equal(record->subject, request->csr, p)) {
        return "was made for another subject";
    }
    if (record->sans && !sans_equal(record->sans, request->csr, p)) {
        return "was made for other alternative names";
    }
    return NULL;
}

static apr_status_t consume_onetime(gh_transaction_t *transaction, void *baton,
                                    const char *enrolment, apr_time_t now)
{
    return gh_challenge_consume(transaction, baton, enrolment, now);
}

static apr_status_t consume_given(gh_transaction_t *transaction, void *baton,
                                  const char *enrolment, apr_time_t now)
{
    apr_status_t rv = gh_challenge_consume(transaction, baton, enrolment, now);

    return rv == APR_SUCCESS ? gh_mdm_request_bind(transaction, baton, enrolment) : rv;
}

static apr_status_t check_onetime(const gh_authoriser_t *authoriser, gh_store_t *store,
                                  const gh_enrolment_request_t *request, gh_grant_t *grant,
                                  apr_pool_t *p, gh_result_t *result)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length;
    find_baton_t find = { { digest, 0 }, NULL, p };
    const onetime_t *onetime = authoriser->data;
    const char *reason;
    apr_status_t rv;

    if (!request->challenge || !*request->challenge) {
        return missing_challenge(result);
    }
    if (EVP_Digest(request->challenge, strlen(request->challenge), digest, &length, EVP_sha256(),
                   NULL) != 1) {
        return gh_result_openssl(result, GH_EUNAVAILABLE, GH_FAILURE_INTERNAL, NULL, NULL,
                                 GHNO(0022) "the challenge cannot be hashed");
    }
    find.sha256.length = length;
    rv = gh_store_read(store, find_work, &find, result);
    if (rv != APR_SUCCESS && rv != APR_NOTFOUND) {
        return rv;
    }
    reason = rv == APR_NOTFOUND ? "is unknown" : misfit(find.record, onetime, request, p);
    if (reason) {
        gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "challenge.onetime",
                       "Make a challenge for this endpoint and give it to the device.",
                       GHNO(0023) "the one-time challenge is not accepted");
        gh_result_cause(result, GHNO(0024) "the one-time challenge %s%s%s",
                        find.record ? find.record->id : "", find.record ? " " : "", reason);
        return GH_EREFUSED;
    }
    grant->rule = "challenge.onetime";
    grant->consume = consume_onetime;
    grant->consume_baton = (void *)find.record->id;
    grant->secret_bits = 8 * TYPED_BYTES;   /* at least; how it was made is not stored */
    if (onetime->gives) {
        grant->rule = "challenge.mdm";
        grant->consume = consume_given;
        grant->message = apr_pstrcat(p, "challenge ", find.record->id, NULL);
        return gh_names_given(&grant->given, find.record->subject, find.record->sans, p, result);
    }
    return APR_SUCCESS;
}

gh_authoriser_t *gh_authoriser_onetime(const char *set, apr_pool_t *p)
{
    gh_authoriser_t *authoriser = apr_pcalloc(p, sizeof(*authoriser));
    onetime_t *onetime = apr_pcalloc(p, sizeof(*onetime));

    onetime->set = apr_pstrdup(p, set ? set : "");
    authoriser->name = "onetime";
    authoriser->data = onetime;
    authoriser->check = check_onetime;
    return authoriser;
}

gh_authoriser_t *gh_authoriser_given(const char *set, apr_pool_t *p)
{
    gh_authoriser_t *authoriser = gh_authoriser_onetime(set, p);
    onetime_t *onetime = authoriser->data;

    onetime->gives = 1;
    authoriser->name = "mdm";
    return authoriser;
}

typedef struct {
    gh_challenge_record_t record;
    gh_audit_event_t event;
    const char *line;
    int most;                       /* 0: any number */
    int full;                       /* there are as many already */
    const gh_challenge_spec_t *spec;
} new_baton_t;

static apr_status_t new_work(gh_transaction_t *transaction, void *baton)
{
    new_baton_t *new = baton;
    apr_int64_t count = 0;
    apr_status_t rv = APR_SUCCESS;

    new->full = 0;
    if (new->most) {
        rv = gh_challenge_count(transaction, &new->record, new->record.created, &count);
        new->full = rv == APR_SUCCESS && count >= new->most;
        rv = new->full ? GH_EREFUSED : rv;
    }
    if (rv == APR_SUCCESS) {
        rv = gh_challenge_insert(transaction, &new->record);
    }
    if (rv == APR_SUCCESS && new->spec->also) {
        rv = new->spec->also(transaction, new->spec->also_baton, new->record.id,
                             new->record.expires);
    }
    return rv == APR_SUCCESS
        ? gh_audit_insert(transaction, &new->event, new->line, 0) : rv;
}

static void describe_new(new_baton_t *new, const gh_challenge_spec_t *spec, apr_pool_t *p)
{
    new->event.time = new->record.created;
    new->event.id = spec->request_id ? spec->request_id : gh_random_id(p);
    new->event.client = spec->client;
    new->event.event = "challenge";
    new->event.protocol = spec->protocol;
    new->event.tenant = new->record.tenant;
    new->event.issuer = new->record.issuer;
    new->event.profile = new->record.profile;
    new->event.subject = new->record.subject;
    new->event.rule = spec->request_id ? "challenge.for" : "operator";
    new->event.node = spec->node;
    new->event.user = spec->actor;
    new->event.result = "done";
    new->event.message = apr_psprintf(p, "one-time challenge %s made, valid until %s",
                                      new->record.id, gh_time_text(p, new->record.expires));
    new->line = gh_audit_line(&new->event, p);
}

/* What the request must say, in the one way in which it is stored. */
static apr_status_t bind_names(gh_challenge_record_t *record, const gh_challenge_spec_t *spec,
                               apr_pool_t *p, gh_result_t *result)
{
    GENERAL_NAMES *names;
    X509_NAME *name;
    apr_status_t rv = APR_SUCCESS;

    if (spec->subject) {
        rv = gh_name_parse(&name, spec->subject, p, result);
        record->subject = spec->subject;
    }
    if (rv == APR_SUCCESS && spec->sans) {
        rv = gh_san_read(&names, spec->sans, p, result);
        if (rv == APR_SUCCESS) {
            rv = gh_san_normal(&record->sans, names, p, result);
        }
    }
    return rv == GH_EREFUSED ? APR_EINVAL : rv;
}

/* @param digest room for EVP_MAX_MD_SIZE bytes, to which the record points */
static apr_status_t make_secret(gh_challenge_record_t *record, const char **challenge,
                                unsigned char *digest, int typed, apr_pool_t *p,
                                gh_result_t *result)
{
    unsigned char random[CHALLENGE_BYTES];
    apr_size_t size = typed ? TYPED_BYTES : CHALLENGE_BYTES;
    unsigned int length;
    char *text, *c;

    record->id = gh_random_id(p);
    if (!record->id || RAND_bytes(random, (int)size) != 1) {
        return gh_result_openssl(result, GH_EUNAVAILABLE, GH_FAILURE_INTERNAL, NULL, NULL,
                                 GHNO(0025) "the random generator failed");
    }
    text = apr_pstrdup(p, gh_hex(p, random, size));
    OPENSSL_cleanse(random, sizeof(random));
    for (c = text; typed && *c; ++c) {
        *c = (char)apr_toupper(*c);
    }
    if (EVP_Digest(text, strlen(text), digest, &length, EVP_sha256(), NULL) != 1) {
        return gh_result_openssl(result, GH_EUNAVAILABLE, GH_FAILURE_INTERNAL, NULL, NULL,
                                 GHNO(0026) "the challenge cannot be hashed");
    }
    record->sha256.data = digest;
    record->sha256.length = length;
    *challenge = text;
    return APR_SUCCESS;
}

apr_status_t gh_challenge_new(gh_store_t *store, const gh_challenge_spec_t *spec,
                              gh_challenge_made_t *made, apr_pool_t *p, gh_result_t *result)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    new_baton_t new = {0};
    apr_status_t rv;

    memset(made, 0, sizeof(*made));
    rv = bind_names(&new.record, spec, p, result);
    if (rv == APR_SUCCESS) {
        rv = make_secret(&new.record, &made->challenge, digest, spec->typed, p, result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (spec->most) {
        new.most = spec->most;
        new.record.holder = apr_pstrcat(p, spec->protocol, " ", spec->actor, NULL);
    }
    new.record.set = spec->set ? spec->set : "";
    new.record.tenant = spec->tenant;
    new.record.issuer = spec->issuer;
    new.record.profile = spec->profile;
    new.record.created = apr_time_now();
    new.record.expires = new.record.created + (spec->lifetime ? spec->lifetime
                                                              : CHALLENGE_LIFETIME);
    new.spec = spec;
    describe_new(&new, spec, p);
    made->id = new.record.id;
    made->expires = new.record.expires;
    rv = gh_store_write(store, new_work, &new, result);
    if (new.full) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_CONFLICT, "challenge.most",
                              "Use those that were given, or wait until they expire.",
                              GHNO(0492) "%s has %d unused challenges for this endpoint already",
                              spec->actor, spec->most);
    }
    return rv;
}
