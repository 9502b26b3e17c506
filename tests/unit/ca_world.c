/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "ca_world.h"

#include <apr_strings.h>
#include <openssl/evp.h>

#include "issuer/remote.h"
#include "status.h"

ca_play_t play;

/* The loop */

void framework_blocking(framework_t *framework, void (*work)(void *baton),
                        void (*done)(void *baton), void *baton)
{
    work(baton);
    done(baton);
}

void framework_at(framework_t *framework, apr_time_t when, framework_timer_fn *fn, void *baton)
{
    fail_msg("the store has failed");
}

gh_store_t *framework_store(framework_t *framework)
{
    return world.store;
}

const char *framework_job_holder(const framework_job_t *job)
{
    return CA_HOLDER;
}

const char *framework_node(framework_t *framework)
{
    return "node2";
}

const gh_job_record_t *framework_job_record(const framework_job_t *job)
{
    return job->record;
}

apr_pool_t *framework_job_pool(const framework_job_t *job)
{
    return test_pool;
}

apr_time_t framework_job_time(const framework_job_t *job)
{
    return apr_time_now() + play.clock;
}

apr_time_t framework_job_next(const framework_job_t *job, apr_time_t retry_after)
{
    return apr_time_now() + apr_time_from_sec(5);
}

static apr_status_t begin_call_work(gh_transaction_t *transaction, void *baton)
{
    return gh_job_begin_call(transaction, baton, CA_HOLDER);
}

void ca_begin_call(const char *id)
{
    assert_success(gh_store_write(world.store, begin_call_work, (void *)id, &world.result));
}

void framework_job_begin_call(framework_job_t *job, void (*go)(void *baton), void *baton)
{
    ca_begin_call(job->record->id);
    job->record->sent = job->record->sent ? job->record->sent : apr_time_now();
    go(baton);
}

void framework_job_over(framework_job_t *job)
{
    ++play.over;
}

void framework_queue_turn(framework_queue_t *queue, framework_timer_fn *fn, void *baton)
{
    fn(baton);
}

int framework_queue_enter(framework_queue_t *queue)
{
    return !play.paused;
}

apr_interval_time_t framework_queue_pause(const framework_queue_t *queue)
{
    return apr_time_from_sec(77);
}

void framework_queue_note(framework_queue_t *queue, int alive, apr_time_t retry_after)
{
    ++play.notes;
}

/* The gateway */

void ca_service_note(ca_service_t *service, const cagw_outcome_t *outcome)
{
}

void http_peer_distrust(http_peer_t *peer)
{
    ++play.distrusted;
}

const char *ca_profile(const ca_issuer_t *issuer, const char *profile)
{
    return profile;
}

X509 *ca_certificate(const char *name)
{
    if (!strcmp(name, "OTHER KEY")) {
        return give(&(given_t) { .key = fixture_key("rsa2048-02"), .serial = 4713 });
    }
    if (!strcmp(name, "WRONG")) {
        return give(&(given_t) { .purposes = "serverAuth", .serial = 4712 });
    }
    return give(&(given_t) { .serial = !strcmp(name, "ANOTHER") ? 4714 : 0 });
}

const char *ca_base64(gh_bytes_t bytes)
{
    char *text = apr_palloc(test_pool, bytes.length * 2 + 8);

    EVP_EncodeBlock((unsigned char *)text, bytes.data, (int)bytes.length);
    return text;
}

static const char *base64_of(X509 *certificate)
{
    return ca_base64(gh_certificate_der(certificate, test_pool));
}

/** What is no JSON is the name of a certificate, as an enrolment or, with a status, as one that is
 *  looked up. */
static const char *body_of(const char *body, int looked_up)
{
    const char *colon = body ? strchr(body, ':') : NULL;

    if (!body || !*body || *body == '{' || *body == '<') {
        return body ? body : "";
    }
    if (looked_up) {
        return apr_psprintf(test_pool, "{\"certificate\":{\"status\":\"%s\","
                            "\"certificateData\":\"%s\"}}", colon ? colon + 1 : "normal",
                            base64_of(ca_certificate(body)));
    }
    return apr_psprintf(test_pool, "{\"enrollment\":{\"id\":\"7\",\"body\":\"%s\"}}",
                        base64_of(ca_certificate(body)));
}

const char *(*ca_make_body)(const char *body, int looked_up) = body_of;

static void answer(cagw_done_fn *done, void *baton, const char *serial, int looked_up)
{
    cagw_outcome_t *outcome = apr_pcalloc(test_pool, sizeof(*outcome));
    const ca_answer_t *said;

    assert_true(play.calls < CA_CALLS_MAX);
    play.serials[play.calls] = serial;
    said = &play.answers[play.calls++];
    outcome->stopped = said->stopped;
    outcome->alive = said->status != 0;
    outcome->retry_after = said->retry_after ? apr_time_now() : 0;
    if (said->status) {
        const char *body = ca_make_body(said->body, looked_up);

        outcome->body.data = (const unsigned char *)body;
        outcome->body.length = strlen(body);
        cagw_read_reply(&outcome->reply, said->status, outcome->body, said->retry_after, test_pool,
                        &outcome->result);
        outcome->verdict = outcome->reply.verdict;
    }
    else {
        outcome->verdict = said->unsent ? CAGW_NOT_SENT : CAGW_BROKEN;
        gh_result_fail(&outcome->result, GH_EUNKNOWN, GH_FAILURE_UNAVAILABLE, "http", NULL,
                       "GH0999: no answer");
    }
    done(baton, outcome);
}

void cagw_call_enrol(const cagw_gateway_t *gateway, gh_bytes_t body, cagw_done_fn *done,
                     void *baton, apr_pool_t *p)
{
    play.body = body;
    answer(done, baton, NULL, 0);
}

void cagw_call_certificate(const cagw_gateway_t *gateway, const char *serial, cagw_done_fn *done,
                           void *baton, apr_pool_t *p)
{
    answer(done, baton, serial, 1);
}

void cagw_call_action(const cagw_gateway_t *gateway, const char *serial, gh_bytes_t body,
                      cagw_done_fn *done, void *baton, apr_pool_t *p)
{
    answer(done, baton, serial, 0);
}

void ca_search_add(ca_search_t *search, ca_wanted_t *wanted)
{
    ++play.searches;
    wanted->found = apr_array_make(test_pool, 1, sizeof(X509 *));
    wanted->revoked = apr_array_make(test_pool, 1, sizeof(X509 *));
    wanted->unread = play.search == UNREAD;
    wanted->verdict = play.search == NOT_NOW ? CAGW_BROKEN
        : play.search == NEVER ? CAGW_UNSUPPORTED : CAGW_DONE;
    if (play.search == NOT_NOW) {
        gh_result_fail(&wanted->result, GH_EUNKNOWN, GH_FAILURE_UNAVAILABLE, "http", NULL,
                       "GH0998: no answer to a search");
    }
    if (play.search == GOOD_FOUND || play.search == WRONG_FOUND) {
        APR_ARRAY_PUSH(wanted->found, X509 *) = ca_certificate(play.search == GOOD_FOUND ? "GOOD"
                                                                                         : "WRONG");
    }
    if (play.search == REVOKED_FOUND) {
        APR_ARRAY_PUSH(wanted->revoked, X509 *) = ca_certificate("GOOD");
    }
    wanted->done(wanted);
}

int ca_setup(void **state)
{
    int rv = submission_setup(state);

    memset(&play, 0, sizeof(play));
    play.worker.sealer = world.sealer;
    play.issuer.worker = &play.worker;
    play.issuer.name = "slow";
    play.issuer.issuer = world.issuer;
    play.issuer.searchable = 1;
    play.issuer.profiles = apr_hash_make(test_pool);
    play.issuer.options = apr_hash_make(test_pool);
    play.service.issuer = &play.issuer;
    play.service.gateway.log = &play.log;
    cagw_spelling_default(&play.service.gateway.spelling);
    return rv;
}

static apr_status_t claim_work(gh_transaction_t *transaction, void *baton)
{
    return gh_job_claim(transaction, baton, CA_HOLDER, apr_time_from_sec(60), &play.job.record,
                        test_pool);
}

void ca_carry_out(const char *id)
{
    static const struct {
        const char *kind;
        framework_handler_fn *handler;
    } handlers[] = {
        { GH_SUBMISSION_KIND, ca_enrol }, { GH_REMOTE_REVOKE, ca_revoke },
        { GH_REMOTE_HOLD, ca_hold }, { GH_REMOTE_RELEASE, ca_release }
    };
    apr_size_t i;

    assert_success(gh_store_write(world.store, claim_work, (void *)id, &world.result));
    play.over = 0;
    for (i = 0; i < sizeof(handlers) / sizeof(handlers[0]); ++i) {
        if (!strcmp(play.job.record->kind, handlers[i].kind)) {
            handlers[i].handler(&play.service, &play.job);
        }
    }
    assert_int_equal(play.over, 1);
}
