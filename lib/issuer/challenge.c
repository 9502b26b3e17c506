/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The challenge providers that need no protocol, and the making of one-time challenges. */

#include <string.h>

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
#include "x509/name.h"

#define CHALLENGE_BYTES     20
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

static int subject_equal(const char *expected, const gh_csr_t *csr, apr_pool_t *p)
{
    X509_NAME *name;

    return gh_name_parse(&name, expected, p, NULL) == APR_SUCCESS
        && !X509_NAME_cmp(name, gh_csr_subject(csr));
}

/* Why a challenge that exists does not fit, or NULL. Only its holder can learn this. */
static const char *misfit(const gh_challenge_record_t *record, const char *set,
                          const gh_enrolment_request_t *request, apr_pool_t *p)
{
    if (strcmp(record->set, set) || strcmp(record->tenant, request->tenant)
        || strcmp(record->issuer, request->issuer)
        || strcmp(record->profile, gh_profile_name(request->profile))) {
        return "was made for another endpoint";
    }
    if (record->used_at) {
        return "has been used already";
    }
    if (record->expires <= apr_time_now()) {
        return "has expired";
    }
    if (record->subject && !subject_equal(record->subject, request->csr, p)) {
        return "was made for another subject";
    }
    return NULL;
}

static apr_status_t check_onetime(const gh_authoriser_t *authoriser, gh_store_t *store,
                                  const gh_enrolment_request_t *request, gh_grant_t *grant,
                                  apr_pool_t *p, gh_result_t *result)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length;
    find_baton_t find = { { digest, 0 }, NULL, p };
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
    if (rv == APR_NOTFOUND) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "challenge.onetime",
                              "Make a challenge with gatehousectl challenge new and give it to the "
                              "device.",
                              GHNO(0023) "the one-time challenge is unknown");
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    reason = misfit(find.record, authoriser->data, request, p);
    if (reason) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "challenge.onetime",
                              "Make a new challenge for this endpoint and give it to the device.",
                              GHNO(0024) "the one-time challenge %s %s", find.record->id, reason);
    }
    grant->rule = "challenge.onetime";
    grant->challenge_id = find.record->id;
    return APR_SUCCESS;
}

gh_authoriser_t *gh_authoriser_onetime(const char *set, apr_pool_t *p)
{
    gh_authoriser_t *authoriser = apr_pcalloc(p, sizeof(*authoriser));

    authoriser->name = "onetime";
    authoriser->data = apr_pstrdup(p, set ? set : "");
    authoriser->check = check_onetime;
    return authoriser;
}

typedef struct {
    gh_challenge_record_t record;
    gh_audit_event_t event;
    const char *line;
} new_baton_t;

static apr_status_t new_work(gh_transaction_t *transaction, void *baton)
{
    new_baton_t *new = baton;
    apr_status_t rv = gh_challenge_insert(transaction, &new->record);

    return rv == APR_SUCCESS
        ? gh_audit_insert(transaction, &new->event, new->line, 0) : rv;
}

static void describe_new(new_baton_t *new, const char *node, const char *actor, apr_pool_t *p)
{
    new->event.time = new->record.created;
    new->event.id = gh_random_id(p);
    new->event.event = "challenge";
    new->event.protocol = "ctl";
    new->event.tenant = new->record.tenant;
    new->event.issuer = new->record.issuer;
    new->event.profile = new->record.profile;
    new->event.subject = new->record.subject;
    new->event.node = node;
    new->event.user = actor;
    new->event.result = "done";
    new->event.message = apr_psprintf(p, "one-time challenge %s made, valid until %s",
                                      new->record.id, gh_time_text(p, new->record.expires));
    new->line = gh_audit_line(&new->event, p);
}

apr_status_t gh_challenge_new(gh_store_t *store, const char *set, const char *tenant,
                              const char *issuer, const char *profile, const char *subject,
                              apr_interval_time_t lifetime, const char *node, const char *actor,
                              const char **id,
                              const char **challenge, apr_time_t *expires, apr_pool_t *p,
                              gh_result_t *result)
{
    unsigned char random[CHALLENGE_BYTES];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length;
    X509_NAME *name;
    new_baton_t new = {0};
    apr_status_t rv;

    if (subject) {
        rv = gh_name_parse(&name, subject, p, result);
        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    new.record.id = gh_random_id(p);
    if (!new.record.id || RAND_bytes(random, sizeof(random)) != 1) {
        return gh_result_openssl(result, GH_EUNAVAILABLE, GH_FAILURE_INTERNAL, NULL, NULL,
                                 GHNO(0025) "the random generator failed");
    }
    *challenge = gh_hex(p, random, sizeof(random));
    OPENSSL_cleanse(random, sizeof(random));
    if (EVP_Digest(*challenge, strlen(*challenge), digest, &length, EVP_sha256(), NULL) != 1) {
        return gh_result_openssl(result, GH_EUNAVAILABLE, GH_FAILURE_INTERNAL, NULL, NULL,
                                 GHNO(0026) "the challenge cannot be hashed");
    }
    new.record.sha256.data = digest;
    new.record.sha256.length = length;
    new.record.set = set ? set : "";
    new.record.tenant = tenant;
    new.record.issuer = issuer;
    new.record.profile = profile;
    new.record.subject = subject;
    new.record.created = apr_time_now();
    new.record.expires = new.record.created + (lifetime ? lifetime : CHALLENGE_LIFETIME);
    describe_new(&new, node, actor, p);
    rv = gh_store_write(store, new_work, &new, result);
    *id = new.record.id;
    *expires = new.record.expires;
    return rv;
}
