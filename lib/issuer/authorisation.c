/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>

#include <apr_strings.h>

#include "issuer/authorisation.h"
#include "issuer/renewal.h"
#include "log.h"
#include "status.h"
#include "store/enrolments.h"
#include "store/renewals.h"

struct gh_authorisation {
    const char *protocol;
    const char *location;
    const char *issuer;
    const char *profile;
    const char *subject;
    const char *rule;
    const char *message;
    gh_consume_fn *consume;
    void *consume_baton;
    int secret_bits;
    gh_bytes_t key_sha256;
    gh_bytes_t request_sha256;
    const gh_plan_t *plan;
    const gh_renewal_record_t *renewal;
    int needs_approval;
    gh_question_t question;
};

/* The one place where an authorisation comes into being. */
static gh_authorisation_t *make(const char *protocol, const char *location, const char *issuer,
                                const char *profile, const char *rule, const gh_plan_t *plan,
                                apr_pool_t *p)
{
    gh_authorisation_t *authorisation = apr_pcalloc(p, sizeof(*authorisation));

    authorisation->protocol = protocol;
    authorisation->location = location;
    authorisation->issuer = issuer;
    authorisation->profile = profile;
    authorisation->rule = rule;
    authorisation->plan = plan;
    authorisation->subject = gh_plan_subject_text(plan);
    authorisation->key_sha256 = gh_plan_key_sha256(plan);
    return authorisation;
}

/** What several authorisers said. */
typedef struct {
    gh_result_t unavailable;        /* the last one that could not tell */
    int cannot_tell;
    char causes[sizeof(((gh_result_t *)0)->cause)];
    char number[sizeof(((gh_result_t *)0)->number)];
    int differ;                     /* they refused for different reasons */
} answers_t;

static void note_refusal(answers_t *answers, const gh_authoriser_t *authoriser,
                         const gh_result_t *refusal, int first)
{
    apr_size_t length = strlen(answers->causes);

    apr_snprintf(answers->causes + length, sizeof(answers->causes) - length, "%s%s: %s",
                 first ? "" : "; ", authoriser->name,
                 *refusal->cause ? refusal->cause : refusal->message);
    answers->differ |= !first && strcmp(answers->number, refusal->number) != 0;
    apr_cpystrn(answers->number, refusal->number, sizeof(answers->number));
}

/* Which of several refused, and why, is for the log: each of them tells a requester as much as if
 * it stood alone, but all together would tell which device or challenge exists. */
static apr_status_t refuse_all(const answers_t *answers, gh_result_t *result)
{
    if (answers->differ) {
        gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "challenge",
                       "Give the device what this endpoint asks for.",
                       GHNO(0470) "nothing that this location takes grants the request");
    }
    gh_result_cause(result, "%s", answers->causes);
    return GH_EREFUSED;
}

/* Asks one after the other. If all refuse, but one could not tell, a later try may succeed. */
static apr_status_t ask(const gh_enrolment_request_t *request,
                        const apr_array_header_t *authorisers, gh_store_t *store,
                        gh_grant_t *grant, apr_pool_t *p, gh_result_t *result)
{
    answers_t answers;
    int i;

    memset(&answers, 0, sizeof(answers));
    if (!authorisers || authorisers->nelts == 0) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "challenge.unconfigured",
                              "Configure a challenge for this location.",
                              GHNO(0018) "nothing is configured that could authorise a request "
                              "here");
    }
    for (i = 0; i < authorisers->nelts; ++i) {
        const gh_authoriser_t *authoriser = APR_ARRAY_IDX(authorisers, i, gh_authoriser_t *);
        apr_status_t rv;

        memset(grant, 0, sizeof(*grant));
        rv = authoriser->check(authoriser, store, request, grant, p, result);
        if (rv == APR_SUCCESS || grant->final) {
            return rv;
        }
        if (rv != GH_EREFUSED) {
            answers.unavailable = *result;
            answers.unavailable.status = rv;
            answers.cannot_tell = 1;
        }
        note_refusal(&answers, authoriser, result, i == 0);
    }
    if (answers.cannot_tell) {
        *result = answers.unavailable;
        return result->status;
    }
    return authorisers->nelts == 1 ? GH_EREFUSED : refuse_all(&answers, result);
}

static const char *joined(const char *one, const char *other, apr_pool_t *p)
{
    return one && other ? apr_pstrcat(p, one, "; ", other, NULL) : one ? one : other;
}

static gh_authorisation_t *make_granted(const gh_enrolment_request_t *request,
                                        const gh_grant_t *grant, const gh_plan_t *plan,
                                        apr_pool_t *p)
{
    gh_authorisation_t *authorisation =
        make(request->protocol, request->location, request->issuer,
             gh_profile_name(request->profile), grant->rule, plan, p);

    authorisation->message = joined(grant->message, gh_plan_note(plan), p);
    authorisation->consume = grant->consume;
    authorisation->consume_baton = grant->consume_baton;
    authorisation->secret_bits = grant->secret_bits;
    authorisation->question = grant->question;
    authorisation->request_sha256 = gh_csr_info_sha256(request->csr);
    authorisation->needs_approval = gh_profile_needs_approval(request->profile);
    return authorisation;
}

static apr_status_t apply_profile(gh_plan_t **plan, const gh_enrolment_request_t *request,
                                  const gh_grant_t *grant, apr_pool_t *p, gh_result_t *result)
{
    gh_profile_context_t context = request->context;

    context.given = grant->given;
    return gh_profile_apply(plan, request->profile, request->csr, &context, p, result);
}

apr_status_t gh_authorise(gh_authorisation_t **authorisation,
                          const gh_enrolment_request_t *request,
                          const apr_array_header_t *authorisers, gh_store_t *store,
                          apr_pool_t *p, gh_result_t *result)
{
    gh_grant_t grant;
    gh_plan_t *plan;
    apr_status_t rv;

    *authorisation = NULL;
    rv = ask(request, authorisers, store, &grant, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = apply_profile(&plan, request, &grant, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    *authorisation = make_granted(request, &grant, plan, p);
    return APR_SUCCESS;
}

static const gh_renewal_record_t *note_renewal(const gh_renewed_t *renewed,
                                               const gh_renewal_policy_t *policy, apr_pool_t *p)
{
    gh_renewal_record_t *record = apr_pcalloc(p, sizeof(*record));

    record->issuer = renewed->issuer;
    record->serial = renewed->serial;
    record->revoke_after = policy->revoke_old;
    record->replace = policy->replace;
    return record;
}

apr_status_t gh_authorise_renewal(gh_authorisation_t **authorisation,
                                  const gh_enrolment_request_t *request,
                                  const gh_renewal_policy_t *policy,
                                  const apr_array_header_t *authorisers, gh_store_t *store,
                                  apr_pool_t *p, gh_result_t *result)
{
    gh_renewed_t renewed;
    gh_grant_t grant;
    gh_plan_t *plan;
    apr_status_t rv;

    *authorisation = NULL;
    memset(&grant, 0, sizeof(grant));
    rv = gh_renewal_check(&renewed, request, policy, store, p, result);
    if (rv == APR_SUCCESS && policy->challenge) {
        rv = ask(request, authorisers, store, &grant, p, result);
    }
    if (rv == APR_SUCCESS) {
        rv = apply_profile(&plan, request, &grant, p, result);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_renewal_compare(&renewed, plan, p, result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    grant.rule = "renewal";
    grant.message = apr_pstrcat(p, "renews ", gh_hex(p, renewed.serial.data,
                                                     renewed.serial.length), NULL);
    *authorisation = make_granted(request, &grant, plan, p);
    (*authorisation)->renewal = note_renewal(&renewed, policy, p);
    return APR_SUCCESS;
}

apr_status_t gh_authorise_approved(gh_authorisation_t **authorisation,
                                   const gh_enrolment_record_t *record, apr_pool_t *p,
                                   gh_result_t *result)
{
    gh_plan_t *plan;
    apr_status_t rv;

    *authorisation = NULL;
    if (record->state != GH_ENROLMENT_APPROVED || !record->plan.length) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_CONFLICT, "approval", NULL,
                              GHNO(0019) "enrolment %s is %s, not approved", record->id,
                              gh_enrolment_state_name(record->state));
    }
    rv = gh_plan_decode(&plan, record->plan, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    /* one that somebody outside has permitted waits for no operator, unless the profile says so */
    *authorisation = make(record->protocol, record->location, record->issuer, record->profile,
                          record->question && !record->decided_by ? record->rule : "approval",
                          plan, p);
    (*authorisation)->request_sha256 = record->request_sha256;
    return APR_SUCCESS;
}

apr_status_t gh_authorise_own(gh_authorisation_t **authorisation, const char *purpose,
                              const char *issuer, const gh_profile_t *profile, EVP_PKEY *key,
                              const char *subject, apr_pool_t *p, gh_result_t *result)
{
    gh_plan_t *plan;
    apr_status_t rv;

    *authorisation = NULL;
    rv = gh_profile_apply_own(&plan, profile, key, subject, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    *authorisation = make("internal", apr_pstrdup(p, purpose), issuer, gh_profile_name(profile),
                          "own", plan, p);
    return APR_SUCCESS;
}

const gh_plan_t *gh_authorisation_plan(const gh_authorisation_t *authorisation)
{
    return authorisation->plan;
}

const char *gh_authorisation_location(const gh_authorisation_t *authorisation)
{
    return authorisation->location;
}

const char *gh_authorisation_protocol(const gh_authorisation_t *authorisation)
{
    return authorisation->protocol;
}

const char *gh_authorisation_issuer(const gh_authorisation_t *authorisation)
{
    return authorisation->issuer;
}

const char *gh_authorisation_profile(const gh_authorisation_t *authorisation)
{
    return authorisation->profile;
}

const char *gh_authorisation_subject(const gh_authorisation_t *authorisation)
{
    return authorisation->subject;
}

gh_bytes_t gh_authorisation_key_sha256(const gh_authorisation_t *authorisation)
{
    return authorisation->key_sha256;
}

gh_bytes_t gh_authorisation_request_sha256(const gh_authorisation_t *authorisation)
{
    return authorisation->request_sha256;
}

const char *gh_authorisation_rule(const gh_authorisation_t *authorisation)
{
    return authorisation->rule;
}

const char *gh_authorisation_message(const gh_authorisation_t *authorisation)
{
    return authorisation->message;
}

int gh_authorisation_secret_bits(const gh_authorisation_t *authorisation)
{
    return authorisation->secret_bits;
}

apr_status_t gh_authorisation_consume(const gh_authorisation_t *authorisation,
                                      gh_transaction_t *transaction, const char *enrolment,
                                      apr_time_t now)
{
    return authorisation->consume
        ? authorisation->consume(transaction, authorisation->consume_baton, enrolment, now)
        : APR_SUCCESS;
}

const gh_renewal_record_t *gh_authorisation_renewal(const gh_authorisation_t *authorisation)
{
    return authorisation->renewal;
}

int gh_authorisation_needs_approval(const gh_authorisation_t *authorisation)
{
    return authorisation->needs_approval;
}

const gh_question_t *gh_authorisation_question(const gh_authorisation_t *authorisation)
{
    return authorisation->question.kind ? &authorisation->question : NULL;
}
