/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * A wrong answer is worse than none: random questions about random certificates of several CAs,
 * asked while certificates are issued, revoked, held and released, with answers from the cache and
 * made anew, are compared with a model that is nothing but a table and the rules of RFC 6960.
 */

#include <stdlib.h>
#include <sys/mman.h>

#include <apr_strings.h>
#include <openssl/err.h>

#include "ocsp_world.h"
#include "store/certificates.h"

#define SECOND apr_time_from_sec(1)
#define CACHE_SIZE (2 * 1024 * 1024)
#define CAS 6
#define SERIALS 300
#define IDS_MAX 4

typedef enum { NEVER_ISSUED, GOOD, REVOKED, HELD } state_t;

/** A certificate as the model has it. */
typedef struct {
    state_t state;
    int reason;
    apr_time_t at;
    apr_int64_t version;
} certificate_t;

/** A CA as the model has it. */
typedef struct {
    world_ca_t *ca;
    int is_crl;                     /* else a store */
    int has_serials;                /* CRL: with a list of serials */
    ocsp_policy_t policy;
    certificate_t certificates[SERIALS];    /* what the source says now */
    certificate_t published[SERIALS];       /* CRL: what the CRL in use says */
    apr_time_t crl_this_update, crl_next_update;
    apr_int64_t number;             /* of the CRL */
} model_t;

static model_t models[CAS];
static ocsp_engine_t *engine;
static apr_uint64_t seed = 2463534242u;
static int from_cache, with_nonce, errors;

static apr_uint64_t next_number(apr_uint64_t limit)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (seed >> 8) % limit;
}

static gh_bytes_t serial_of(int index)
{
    return world_serial(0x10000000u + (apr_uint64_t)index * 0x10001u);
}

/* Events */

static void publish(model_t *model)
{
    gh_known_certificate_t *all = apr_pcalloc(test_pool, SERIALS * sizeof(*all));
    apr_time_t now = apr_time_now();
    gh_index_info_t info = { .synced_at = now, .complete = model->has_serials };
    int count = 0, i;

    if (model->is_crl) {
        model->crl_this_update = info.this_update = (now / SECOND - 100) * SECOND;
        model->crl_next_update = info.next_update = (now / SECOND + 5000) * SECOND;
        ++model->number;
    }
    else {
        info.complete = 1;
        info.change = model->ca->progress.change;
    }
    memcpy(model->published, model->certificates, sizeof(model->published));
    for (i = 0; i < SERIALS; ++i) {
        certificate_t *one = &model->published[i];
        gh_known_t *known = &all[count].known;
        int listed = one->state == REVOKED || one->state == HELD;

        if (!listed && (one->state == NEVER_ISSUED || (model->is_crl && !model->has_serials))) {
            continue;
        }
        all[count].serial = serial_of(i);
        known->state = one->state == REVOKED ? GH_KNOWN_REVOKED
            : one->state == HELD ? GH_KNOWN_HELD : GH_KNOWN_GOOD;
        known->reason = listed ? one->reason : GH_REASON_NONE;
        known->revoked_at = listed ? one->at : 0;
        known->version = model->is_crl ? (listed ? model->number : 0) : one->version;
        ++count;
    }
    world_index(model->ca, &info, all, count);
}

/** Something happens to a certificate. */
static void happen(model_t *model)
{
    static const int reasons[] = { GH_REASON_NONE, 1, 3, 4, 5, 9 };
    int index = (int)next_number(next_number(4) ? 16 : SERIALS);
    certificate_t *one = &model->certificates[index];

    switch (one->state) {
    case NEVER_ISSUED:
        one->state = GOOD;
        break;
    case GOOD:
        one->state = next_number(2) ? REVOKED : HELD;
        one->reason = one->state == HELD ? 6 : reasons[next_number(6)];
        one->at = (apr_time_now() / SECOND - (apr_time_t)next_number(10000)) * SECOND;
        break;
    case HELD:
        one->state = next_number(2) ? GOOD : REVOKED;
        one->reason = one->state == GOOD ? 0 : 1;
        break;
    case REVOKED:
        /* Those that are asked for most begin anew, so that they go on changing. */
        if (index >= 16) {
            return;
        }
        one->state = GOOD;
        break;
    }
    if (!model->is_crl) {
        gh_known_t known = { one->state == GOOD ? GH_KNOWN_GOOD
                             : one->state == HELD ? GH_KNOWN_HELD : GH_KNOWN_REVOKED,
                             one->state == GOOD ? GH_REASON_NONE : one->reason,
                             one->state == GOOD ? 0 : one->at, 0, ++model->ca->progress.change };
        gh_result_t result;

        one->version = known.version;
        assert_success(gh_overlay_put(model->ca->overlay, serial_of(index), &known, &result));
        world_synced(model->ca, apr_time_now());
    }
}

static void make_models(void)
{
    static const struct {
        const char *name;
        int crl, serials;
        ocsp_if_unknown_t if_unknown;
        int next_update, cutoff;
    } kinds[CAS] = {
        { "Basic", 0, 0, OCSP_UNKNOWN_REVOKED, 0, 0 },
        { "Usual", 0, 0, OCSP_UNKNOWN_UNKNOWN, 3600, 0 },
        { "Cutoff", 0, 0, OCSP_UNKNOWN_REVOKED, 28800, 1 },
        { "CRL", 1, 0, OCSP_UNKNOWN_GOOD, 0, 1 },
        { "List", 1, 1, OCSP_UNKNOWN_UNKNOWN, -1, 0 },
        { "Closed", 1, 1, OCSP_UNKNOWN_UNAUTHORIZED, 1000, 0 }
    };
    static const char *const keys[CAS] = { "p256-01", "rsa2048-01", "rsa2048-05",
                                           "rsa2048-03", "rsa2048-04", "rsa2048-06" };
    int i, j;

    for (i = 0; i < CAS; ++i) {
        model_t *model = &models[i];
        ocsp_policy_t policy = world_policy();

        memset(model, 0, sizeof(*model));
        policy.if_unknown = kinds[i].if_unknown;
        policy.next_update = kinds[i].next_update < 0 ? OCSP_NEXT_UPDATE_OF_CRL
            : kinds[i].next_update * SECOND;
        policy.cutoff = kinds[i].cutoff ? OCSP_CUTOFF_CA : OCSP_CUTOFF_NONE;
        policy.by_name = i == 2;
        model->policy = policy;
        model->is_crl = kinds[i].crl;
        model->has_serials = kinds[i].serials;
        model->ca = world_ca(kinds[i].name, keys[i]);
        for (j = 0; j < SERIALS; ++j) {
            model->certificates[j].state = j % 4 ? GOOD : NEVER_ISSUED;
        }
        publish(model);
        for (j = 0; j < 100; ++j) {
            happen(model);
        }
        publish(model);
        world_authority(model->ca, &policy);
    }
}

/* What the model says */

static world_single_t expect(const model_t *model, int index)
{
    const certificate_t *one = model->is_crl ? &model->published[index]
                                             : &model->certificates[index];
    world_single_t single = { V_OCSP_CERTSTATUS_GOOD, GH_REASON_NONE, 0, 0, 0, 0, 0 };
    int unknown = one->state == NEVER_ISSUED
        || (one->state == GOOD && model->is_crl && !model->has_serials);

    if (one->state == REVOKED || one->state == HELD) {
        single.status = V_OCSP_CERTSTATUS_REVOKED;
        single.reason = one->reason;
        single.revoked_at = one->at;
    }
    else if (unknown) {
        switch (model->policy.if_unknown) {
        case OCSP_UNKNOWN_REVOKED:
            single.status = V_OCSP_CERTSTATUS_REVOKED;
            single.reason = 6;
            break;
        case OCSP_UNKNOWN_UNKNOWN:
            single.status = V_OCSP_CERTSTATUS_UNKNOWN;
            break;
        case OCSP_UNKNOWN_UNAUTHORIZED:
            single.status = -1;
            break;
        case OCSP_UNKNOWN_GOOD:
            break;
        }
    }
    if (model->policy.cutoff == OCSP_CUTOFF_CA) {
        single.cutoff = gh_certificate_not_before(model->ca->certificate);
    }
    return single;
}

/** @param kept the answer may be about the CRL before */
static void assert_times(const model_t *model, const world_single_t *single, apr_time_t now,
                         int kept)
{
    assert_true(single->this_update <= now);
    if (model->is_crl && kept) {
        assert_true(single->this_update <= model->crl_this_update);
        assert_true(single->this_update >= model->crl_this_update - 600 * SECOND);
        assert_true(single->next_update <= model->crl_next_update);
    }
    else if (model->is_crl) {
        assert_int_equal(single->this_update, model->crl_this_update);
        assert_true(single->next_update <= model->crl_next_update);
    }
    if (model->policy.next_update == OCSP_NEXT_UPDATE_OF_CRL) {
        assert_true(single->next_update == model->crl_next_update
                    || (kept && single->next_update > now));
    }
    else if (!model->policy.next_update) {
        assert_int_equal(single->next_update, 0);
    }
    else {
        assert_true(single->next_update > now);
        assert_true(single->next_update <= now + model->policy.next_update);
        assert_true(model->is_crl
                    || single->next_update == single->this_update + model->policy.next_update);
    }
}

/* Questions */

typedef struct {
    const model_t *model;
    const EVP_MD *digest;
    int indexes[IDS_MAX];
    int count;
    char nonce[33];
} question_t;

static question_t next_question(void)
{
    const EVP_MD *digests[] = { EVP_sha1(), EVP_sha1(), EVP_sha256(), EVP_sha384(), EVP_sha512() };
    question_t question = { .model = &models[next_number(CAS)], .digest = digests[next_number(5)],
                            .count = next_number(8) ? 1 : 1 + (int)next_number(IDS_MAX) };
    int i;

    for (i = 0; i < question.count; ++i) {
        question.indexes[i] = (int)next_number(next_number(4) ? 16 : SERIALS);
    }
    if (next_number(4) == 0) {
        apr_size_t length = 1 + next_number(sizeof(question.nonce) - 1);

        memset(question.nonce, 'a' + (int)next_number(26), length);
    }
    return question;
}

static void assert_extensions(OCSP_BASICRESP *basic, const question_t *question, int echoed,
                              int extended)
{
    int nonce = OCSP_BASICRESP_get_ext_by_NID(basic, NID_id_pkix_OCSP_Nonce, -1);

    assert_int_equal(nonce >= 0, echoed);
    if (echoed) {
        const ASN1_STRING *value = X509_EXTENSION_get_data(OCSP_BASICRESP_get_ext(basic, nonce));
        size_t length = strlen(question->nonce);

        assert_int_equal(ASN1_STRING_length(value), length + 2);
        assert_memory_equal(ASN1_STRING_get0_data(value) + 2, question->nonce, length);
    }
    assert_int_equal(OCSP_BASICRESP_get_ext_by_NID(basic, NID_id_pkix_OCSP_valid, -1) >= 0,
                     extended);
    assert_int_equal(OCSP_BASICRESP_get_ext_count(basic), echoed + extended);
}

static void compare(const question_t *question, const ocsp_answer_t *answer, apr_time_t now,
                    int echoed)
{
    OCSP_BASICRESP *basic;
    int extended = 0, refused = 0, i;

    for (i = 0; i < question->count; ++i) {
        refused |= expect(question->model, question->indexes[i]).status < 0;
    }
    if (refused) {
        assert_int_equal(answer->ocsp, OCSP_UNAUTHORIZED);
        ++errors;
        return;
    }
    assert_int_equal(answer->ocsp, OCSP_SUCCESSFUL);
    basic = world_read(answer->der, question->model->ca);
    assert_int_equal(OCSP_resp_count(basic), question->count);
    for (i = 0; i < question->count; ++i) {
        world_single_t expected = expect(question->model, question->indexes[i]);
        world_single_t single = world_single(basic, i);

        if (single.status != expected.status || single.reason != expected.reason
            || single.revoked_at != expected.revoked_at || single.cutoff != expected.cutoff) {
            fail_msg("%s, certificate %d: %d (%d) at %ld instead of %d (%d) at %ld",
                     question->model->ca->name, question->indexes[i], single.status, single.reason,
                     (long)apr_time_sec(single.revoked_at), expected.status, expected.reason,
                     (long)apr_time_sec(expected.revoked_at));
        }
        assert_times(question->model, &single, now, answer->origin == OCSP_FROM_CACHE);
        extended |= single.status == V_OCSP_CERTSTATUS_REVOKED && !single.revoked_at;
    }
    assert_extensions(basic, question, echoed, extended);
    assert_true(world_time(OCSP_resp_get0_produced_at(basic)) <= now);
    assert_true(world_time(OCSP_resp_get0_produced_at(basic)) >= answer->this_update);
    assert_int_equal(answer->authoritative,
                     !echoed && question->model->policy.next_update != 0);
}

static void ask_one(ocsp_endpoint_t *endpoint)
{
    question_t question = next_question();
    world_request_t asking = world_asking();
    apr_time_t now = apr_time_now();
    ocsp_answer_t answer;
    gh_result_t result;
    int i;

    asking.digest = question.digest;
    asking.nonce = (const unsigned char *)question.nonce;
    asking.nonce_length = (int)strlen(question.nonce);
    for (i = 0; i < question.count; ++i) {
        world_ask(&asking, question.model->ca, serial_of(question.indexes[i]));
    }
    endpoint->nonce = next_number(4) != 0;
    if (next_number(50) == 0) {
        now += question.model->policy.max_stale + SECOND;
        ocsp_engine_answer(engine, endpoint, world_asked(&asking), now, &answer, test_pool,
                           &result);
        assert_int_equal(answer.ocsp, OCSP_TRY_LATER);
        return;
    }
    ocsp_engine_answer(engine, endpoint, world_asked(&asking), now, &answer, test_pool, &result);
    compare(&question, &answer, now, *question.nonce && endpoint->nonce);
    from_cache += answer.origin == OCSP_FROM_CACHE;
    with_nonce += *question.nonce && endpoint->nonce;
    assert_int_equal(ERR_peek_error(), 0);
}

static void test_answers(void **state)
{
    int questions = getenv("GH_FULL") ? 100000 : 10000, i;
    ocsp_engine_options_t options = { 0 };
    apr_pool_t *whole = test_pool, *part;
    apr_size_t size = ocsp_cache_size(CACHE_SIZE);
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ocsp_endpoint_t *endpoint;

    assert_success(ocsp_cache_prepare(memory, size));
    assert_success(ocsp_cache_join(&options.cache, memory, size, test_pool));
    engine = ocsp_engine_create(&options, test_pool);
    make_models();
    endpoint = world_endpoint(models[0].ca, models[1].ca, models[2].ca, models[3].ca, models[4].ca,
                              models[5].ca, NULL);
    apr_pool_create(&part, whole);
    for (i = 0; i < questions; ++i) {
        test_pool = part;
        ask_one(endpoint);
        if (next_number(10) == 0) {
            happen(&models[next_number(CAS)]);
        }
        test_pool = whole;
        apr_pool_clear(part);
        if (i % 1000 == 500) {
            publish(&models[next_number(CAS)]);
        }
    }
    print_message("%d questions, %d from the cache, %d with a nonce, %d refused\n", questions,
                  from_cache, with_nonce, errors);
    assert_true(from_cache > questions / 10);
    assert_true(with_nonce > questions / 10);
    munmap(memory, size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_answers, x509_test_teardown)
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
