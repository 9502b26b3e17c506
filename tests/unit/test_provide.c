/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* From events to keys and certificates, with a real store, ledger and vault; the CA is elsewhere,
 * and played. */

#include "submission_support.h"

#include <apr_strings.h>

#include "escrow/provide.h"
#include "status.h"
#include "store/escrow_credentials.h"
#include "x509/key.h"

#define DEVICE  "11111111-1111-4111-8111-111111111111"
#define OTHER   "22222222-2222-4222-8222-222222222222"
#define USER    "99999999-9999-4999-8999-999999999999"
#define EMAIL   "ada@example.com"
#define YEAR    (365L * 86400)

static gh_vault_t *vault;
static gh_provide_services_t services;
static int events_sent;

static gh_provide_rule_t rule_of(void)
{
    gh_provide_rule_t rule = {
        .event = "148", .issuer = "slow", .signing = "smime-non-repudiation",
        .encryption = "smime-key-encipherment", .bits = 2048, .subject = "CN=" EMAIL
    };

    return rule;
}

static int set_up(void **state)
{
    static const unsigned char secret[32] = "vault-key-for-tests-of-32-bytes";
    gh_vault_key_t key = { .id = "k1", .secret = { secret, sizeof(secret) } };

    submission_setup(state);
    assert_success(gh_vault_create(&vault, &key, 1, test_pool, &world.result));
    memset(&services, 0, sizeof(services));
    services.store = world.store;
    services.ledger = world.ledger;
    services.sealer = world.sealer;
    services.profiles = read_profiles();
    services.node = "node1";
    return 0;
}

/* Steps */

static gh_escrow_event_record_t *notify_as(const char *device, const char *email,
                                         const gh_provide_rule_t *rule, const char *key, int *added)
{
    gh_escrow_event_record_t *record = apr_pcalloc(test_pool, sizeof(*record));
    gh_audit_event_t event = {0};

    event.time = apr_time_now();
    event.id = gh_random_id(test_pool);
    record->key = key ? key : apr_psprintf(test_pool, "event-%d", ++events_sent);
    record->device = device;
    record->user = USER;
    record->email = email;
    record->rule = gh_provide_rule_text(rule, test_pool);
    record->provider = "uem";
    assert_success(gh_provide_want(world.store, &record, &event, added, test_pool,
                                   &world.result));
    return record;
}

static gh_escrow_event_record_t *notify(const char *device)
{
    gh_provide_rule_t rule = rule_of();
    int added;

    return notify_as(device, EMAIL, &rule, NULL, &added);
}

typedef struct {
    const char *id;
    gh_escrow_event_record_t *record;
    gh_job_record_t *job;
    gh_escrow_credential_record_t *credential;
    apr_array_header_t *keys;
} row_t;

static apr_status_t row_work(gh_transaction_t *transaction, void *baton)
{
    row_t *row = baton;

    return gh_escrow_event_find(transaction, row->id, &row->record, test_pool);
}

static gh_escrow_event_record_t *read_event(const char *id)
{
    row_t row = { .id = id };

    assert_success(gh_store_read(world.store, row_work, &row, &world.result));
    return row.record;
}

static apr_status_t keys_work(gh_transaction_t *transaction, void *baton)
{
    row_t *row = baton;

    return gh_escrow_event_keys(transaction, row->id, &row->keys, test_pool);
}

static apr_array_header_t *keys_of(const char *id)
{
    row_t row = { .id = id };

    assert_success(gh_store_read(world.store, keys_work, &row, &world.result));
    return row.keys;
}

static apr_status_t claim_work(gh_transaction_t *transaction, void *baton)
{
    row_t *row = baton;

    return gh_job_claim(transaction, row->id, "worker", apr_time_from_sec(60), &row->job,
                        test_pool);
}

/** As the worker does it, with keys of the fixtures. */
static apr_status_t make_keys(const char *id)
{
    gh_provide_lack_t lack;
    row_t row = { .id = id };

    assert_success(gh_store_write(world.store, claim_work, &row, &world.result));
    assert_success(gh_provide_lacks(world.store, id, &lack, test_pool, &world.result));
    return gh_provide_keys(world.store, vault, id, "worker",
                           lack.signing ? fixture_key("rsa2048-02") : NULL,
                           lack.encryption ? fixture_key("rsa2048-03") : NULL, test_pool,
                           &world.result);
}

static apr_array_header_t *enrol(const char *id, int *over)
{
    apr_array_header_t *events = apr_array_make(test_pool, 2, sizeof(gh_audit_event_t *));
    apr_array_header_t *outcomes = NULL;

    assert_success(gh_provide_enrol(&services, read_event(id), &outcomes, events, over, test_pool,
                                    &world.result));
    return outcomes;
}

static gh_provide_outcome_t *outcome_at(apr_array_header_t *outcomes, int i)
{
    return &APR_ARRAY_IDX(outcomes, i, gh_provide_outcome_t);
}

/** The CA gives what was asked for. */
static void issue_one(const char *enrolment, EVP_PKEY *key, const char *usage, long serial)
{
    gh_submission_t *submission = take_submission(enrolment, "worker");
    given_t given = {
        .key = key, .usage = usage, .purposes = "emailProtection", .names = "email:" EMAIL,
        .subject = "CN=" EMAIL, .serial = serial
    };
    gh_audit_event_t event = {0};
    X509 *certificate = give(&given);

    assert_success(gh_submission_check(submission, world.issuer, certificate, &world.result));
    assert_success(gh_submission_issued(submission, world.store, "worker", "node1", certificate,
                                        &event, test_pool, &world.result));
}

static apr_status_t credential_work(gh_transaction_t *transaction, void *baton)
{
    return gh_escrow_credential_insert(transaction, ((row_t *)baton)->credential);
}

/** A credential that was made here, of which so many seconds are left. */
static void store_credential(const char *device, gh_escrow_purpose_t purpose, const char *email,
                             long left, long life, int serial)
{
    static const gh_bytes_t some = { (const unsigned char *)"some", 4 };
    gh_escrow_credential_record_t *record = apr_pcalloc(test_pool, sizeof(*record));
    unsigned char *sha256 = apr_pcalloc(test_pool, 32);
    row_t row = { .credential = record };

    sha256[0] = (unsigned char)serial;
    record->created = apr_time_now();
    record->id = gh_ordered_id(record->created, test_pool);
    record->device = device;
    record->user = USER;
    record->purpose = purpose;
    record->sha256.data = sha256;
    record->sha256.length = 32;
    record->serial = record->certificate = record->wrapped = record->sealed = some;
    record->subject = "CN=" EMAIL;
    record->email = email;
    record->not_after = record->expires = record->created + apr_time_from_sec(left);
    record->not_before = record->not_after - apr_time_from_sec(life);
    record->key_id = "k1";
    record->origin = GH_PROVIDE_ORIGIN;
    assert_success(gh_store_write(world.store, credential_work, &row, &world.result));
}

static void end(const gh_escrow_event_record_t *record, const char *reason)
{
    gh_audit_event_t event = {0};

    event.time = apr_time_now();
    assert_success(gh_provide_over(world.store, record, reason, &event, test_pool,
                                   &world.result));
}

/* Tests */

static void rules(void **state)
{
    gh_provide_rule_t rule = rule_of();
    gh_provide_rule_t again;

    rule.signing = NULL;
    rule.signing_per_device = 1;
    assert_success(gh_provide_rule_read(&again, gh_provide_rule_text(&rule, test_pool), test_pool,
                                        &world.result));
    assert_string_equal(again.issuer, "slow");
    assert_null(again.signing);
    assert_string_equal(again.encryption, rule.encryption);
    assert_int_equal(again.signing_per_device, 1);
    assert_int_equal(again.bits, 2048);
    assert_int_equal(gh_provide_rule_read(&again, "{\"event\":1}", test_pool, &world.result),
                     GH_ECORRUPT);
}

static void an_event_twice(void **state)
{
    gh_provide_rule_t rule = rule_of();
    int added;
    gh_escrow_event_record_t *first = notify_as(DEVICE, EMAIL, &rule, "key", &added);
    gh_escrow_event_record_t *second;

    assert_int_equal(added, 1);
    second = notify_as(DEVICE, EMAIL, &rule, "key", &added);
    assert_int_equal(added, 0);
    assert_string_equal(first->id, second->id);
    assert_int_equal(jobs_of(GH_PROVIDE_QUEUE)->nelts, 1);
}

static void a_failed_event_again(void **state)
{
    gh_provide_rule_t rule = rule_of();
    int added;
    gh_escrow_event_record_t *record = notify_as(DEVICE, EMAIL, &rule, "key", &added);

    assert_success(make_keys(record->id));
    end(record, "the CA said no");
    assert_int_equal(read_event(record->id)->state, GH_ESCROW_EVENT_FAILED);
    assert_string_equal(read_event(record->id)->reason, "the CA said no");
    assert_int_equal(keys_of(record->id)->nelts, 0);
    notify_as(DEVICE, EMAIL, &rule, "key", &added);
    assert_int_equal(added, 1);
    assert_int_equal(read_event(record->id)->state, GH_ESCROW_EVENT_KEYS);
    assert_success(make_keys(record->id));
    assert_int_equal(keys_of(record->id)->nelts, 2);
}

static void keys_once(void **state)
{
    gh_escrow_event_record_t *record = notify(DEVICE);
    gh_escrow_event_key_record_t *key;
    gh_bytes_t der;
    EVP_PKEY *opened;
    gh_provide_lack_t lack;

    assert_success(make_keys(record->id));
    assert_int_equal(read_event(record->id)->state, GH_ESCROW_EVENT_ENROLLING);
    assert_int_equal(jobs_of(GH_PROVIDE_QUEUE)->nelts, 0);
    assert_int_equal(gh_provide_lacks(world.store, record->id, &lack, test_pool, &world.result),
                     APR_NOTFOUND);
    key = APR_ARRAY_IDX(keys_of(record->id), 1, gh_escrow_event_key_record_t *);
    assert_int_equal(key->purpose, GH_ESCROW_ENCRYPTION);
    assert_success(gh_provide_open_key(&der, vault, record->id, key, test_pool, &world.result));
    assert_success(gh_key_decode(&opened, der, test_pool, &world.result));
    assert_int_equal(EVP_PKEY_eq(opened, fixture_key("rsa2048-03")), 1);
    /* sealed for this event and this purpose */
    key->purpose = GH_ESCROW_SIGNING;
    assert_int_equal(gh_provide_open_key(&der, vault, record->id, key, test_pool, &world.result),
                     APR_EACCES);
}

static void one_event_of_a_user_at_a_time(void **state)
{
    gh_escrow_event_record_t *first = notify(DEVICE);
    gh_escrow_event_record_t *second = notify(OTHER);

    assert_success(make_keys(first->id));
    assert_int_equal(make_keys(second->id), GH_EBUSY);
    assert_int_equal(read_event(second->id)->state, GH_ESCROW_EVENT_KEYS);
    store_credential(DEVICE, GH_ESCROW_SIGNING, EMAIL, YEAR, YEAR, 1);
    store_credential(DEVICE, GH_ESCROW_ENCRYPTION, EMAIL, YEAR, YEAR, 2);
    end(first, NULL);
    /* what the first has brought is not made again */
    assert_success(gh_provide_keys(world.store, vault, second->id, "worker",
                                   fixture_key("rsa2048-02"), fixture_key("rsa2048-03"),
                                   test_pool, &world.result));
    assert_int_equal(read_event(second->id)->state, GH_ESCROW_EVENT_ENROLLING);
    assert_int_equal(keys_of(second->id)->nelts, 0);
}

static void more_is_lacking_than_was_made(void **state)
{
    gh_escrow_event_record_t *record = notify(DEVICE);
    row_t row = { .id = record->id };

    assert_success(gh_store_write(world.store, claim_work, &row, &world.result));
    assert_int_equal(gh_provide_keys(world.store, vault, record->id, "worker",
                                     fixture_key("rsa2048-02"), NULL, test_pool, &world.result),
                     GH_EBUSY);
    assert_int_equal(read_event(record->id)->state, GH_ESCROW_EVENT_KEYS);
    assert_int_equal(jobs_of(GH_PROVIDE_QUEUE)->nelts, 1);
}

static void who_has_lost_the_job_stores_nothing(void **state)
{
    gh_escrow_event_record_t *record = notify(DEVICE);

    assert_int_equal(gh_provide_keys(world.store, vault, record->id, "another",
                                     fixture_key("rsa2048-02"), fixture_key("rsa2048-03"),
                                     test_pool, &world.result), APR_NOTFOUND);
    assert_int_equal(read_event(record->id)->state, GH_ESCROW_EVENT_KEYS);
}

static void lacking(void **state)
{
    gh_provide_rule_t rule = rule_of();
    gh_provide_lack_t lack;
    int added;
    const char *id;

    store_credential(DEVICE, GH_ESCROW_SIGNING, EMAIL, YEAR, YEAR, 1);
    store_credential(DEVICE, GH_ESCROW_ENCRYPTION, "ADA@example.com", YEAR, YEAR, 2);
    id = notify(OTHER)->id;
    assert_success(gh_provide_lacks(world.store, id, &lack, test_pool, &world.result));
    assert_false(lack.signing);
    assert_false(lack.encryption);
    rule.signing_per_device = 1;
    id = notify_as(OTHER, EMAIL, &rule, NULL, &added)->id;
    assert_success(gh_provide_lacks(world.store, id, &lack, test_pool, &world.result));
    assert_true(lack.signing);
    assert_false(lack.encryption);
    /* somebody who has another address by now needs other certificates */
    id = notify_as(DEVICE, "lovelace@example.com", &rule, NULL, &added)->id;
    assert_success(gh_provide_lacks(world.store, id, &lack, test_pool, &world.result));
    assert_true(lack.signing);
    assert_true(lack.encryption);
}

static void enrolled_once(void **state)
{
    const char *id = notify(DEVICE)->id;
    apr_array_header_t *first;
    apr_array_header_t *again;
    int over;

    assert_success(make_keys(id));
    first = enrol(id, &over);
    assert_int_equal(over, 0);
    assert_int_equal(first->nelts, 2);
    again = enrol(id, &over);
    assert_string_equal(outcome_at(first, 0)->enrolment, outcome_at(again, 0)->enrolment);
    assert_string_equal(outcome_at(first, 1)->enrolment, outcome_at(again, 1)->enrolment);
    assert_int_equal(number_of("SELECT count(*) FROM enrolment"), 2);

    issue_one(outcome_at(first, 0)->enrolment, fixture_key("rsa2048-02"),
              "digitalSignature,nonRepudiation", 1);
    enrol(id, &over);
    assert_int_equal(over, 0);
    issue_one(outcome_at(first, 1)->enrolment, fixture_key("rsa2048-03"), "keyEncipherment", 2);
    again = enrol(id, &over);
    assert_int_equal(over, 1);
    assert_int_equal(outcome_at(again, 1)->state, GH_ENROLMENT_ISSUED);
    assert_true(outcome_at(again, 1)->certificate.length > 0);
    assert_int_equal(number_of("SELECT count(*) FROM enrolment"), 2);
}

static void refused(void **state)
{
    gh_provide_rule_t rule = rule_of();
    gh_escrow_event_record_t *record;
    apr_array_header_t *outcomes;
    int added, over;

    rule.signing = NULL;
    rule.encryption = "no-such-profile";
    record = notify_as(DEVICE, EMAIL, &rule, NULL, &added);
    assert_success(make_keys(record->id));
    outcomes = enrol(record->id, &over);
    assert_int_equal(over, 1);
    assert_int_equal(outcome_at(outcomes, 0)->state, GH_ENROLMENT_REJECTED);
    assert_non_null(strstr(outcome_at(outcomes, 0)->message, "no-such-profile"));
    assert_int_equal(number_of("SELECT count(*) FROM enrolment"), 0);
}

static int permitted = 1;

static int permits(void *baton, const gh_provide_rule_t *rule, const char *email)
{
    assert_string_equal(rule->issuer, "slow");
    assert_string_equal(email, EMAIL);
    return permitted;
}

static apr_status_t lease_work(gh_transaction_t *transaction, void *baton)
{
    return gh_execute(gh_query(transaction, "DELETE FROM lease"));
}

static gh_provide_place_t place;

static int renew(void)
{
    int added;

    assert_success(gh_provide_renew(world.store, permits, NULL, &place, "one", "node1", &added,
                                    test_pool, &world.result));
    assert_success(gh_store_write(world.store, lease_work, NULL, &world.result));
    return added;
}

static void renewal(void **state)
{
    gh_escrow_event_record_t *record = notify(DEVICE);

    assert_success(make_keys(record->id));
    store_credential(DEVICE, GH_ESCROW_SIGNING, EMAIL, 60 * 86400, YEAR, 1);
    store_credential(DEVICE, GH_ESCROW_ENCRYPTION, EMAIL, 10 * 86400, YEAR, 2);
    assert_int_equal(renew(), 0);           /* an event is open */
    end(record, NULL);
    permitted = 0;
    assert_int_equal(renew(), 0);
    permitted = 1;
    assert_int_equal(renew(), 1);
    assert_int_equal(jobs_of(GH_PROVIDE_QUEUE)->nelts, 1);
    assert_int_equal(renew(), 0);
}

/** So many that nobody renews: there is no event of theirs. */
static apr_status_t crowd_work(gh_transaction_t *transaction, void *baton)
{
    gh_escrow_credential_record_t *record = ((row_t *)baton)->credential;
    apr_status_t rv = APR_SUCCESS;
    int i;

    for (i = 0; rv == APR_SUCCESS && i < 450; ++i) {
        record->id = gh_ordered_id(record->created, test_pool);
        record->device = apr_psprintf(test_pool, "device-%d", i);
        record->user = apr_psprintf(test_pool, "user-%d", i);
        rv = gh_escrow_credential_insert(transaction, record);
    }
    return rv;
}

static void renewal_behind_many_others(void **state)
{
    static const gh_bytes_t some = { (const unsigned char *)"some", 4 };
    static const unsigned char zeros[32];
    gh_escrow_event_record_t *record = notify(DEVICE);
    gh_escrow_credential_record_t blocked = {
        .purpose = GH_ESCROW_ENCRYPTION, .sha256 = { zeros, sizeof(zeros) }, .serial = some,
        .subject = "CN=" EMAIL, .email = EMAIL, .certificate = some, .key_id = "k1",
        .wrapped = some, .sealed = some, .origin = GH_PROVIDE_ORIGIN, .created = apr_time_now()
    };
    row_t row = { .credential = &blocked };
    int rounds;

    memset(&place, 0, sizeof(place));
    assert_success(make_keys(record->id));
    end(record, NULL);
    blocked.not_after = blocked.expires = blocked.created + apr_time_from_sec(9 * 86400);
    blocked.not_before = blocked.not_after - apr_time_from_sec(YEAR);
    assert_success(gh_store_write(world.store, crowd_work, &row, &world.result));
    store_credential(DEVICE, GH_ESCROW_ENCRYPTION, EMAIL, 10 * 86400, YEAR, 2);
    for (rounds = 1; !renew() && rounds < 10; ++rounds) {
        assert_int_equal(place.more, 1);
    }
    assert_int_equal(rounds, 3);
    assert_int_equal(place.more, 0);
    assert_int_equal(place.not_after, 0);
    /* who comes anew begins at the beginning */
    assert_int_equal(renew(), 0);
    assert_int_equal(place.more, 1);
}

static apr_status_t forget_work(gh_transaction_t *transaction, void *baton)
{
    apr_int64_t count;

    return gh_escrow_credential_remove_pair(transaction, baton, USER, &count);
}

static void forget(const char *device)
{
    assert_success(gh_store_write(world.store, forget_work, (void *)device, &world.result));
}

/* Also without a time in it: what the device lacks is made, or brought from another one. */
static void the_same_event_when_its_credentials_are_gone(void **state)
{
    gh_provide_rule_t rule = rule_of();
    int added;
    gh_escrow_event_record_t *record = notify_as(DEVICE, EMAIL, &rule, "key", &added);

    assert_success(make_keys(record->id));
    store_credential(DEVICE, GH_ESCROW_SIGNING, EMAIL, YEAR, YEAR, 1);
    store_credential(DEVICE, GH_ESCROW_ENCRYPTION, EMAIL, YEAR, YEAR, 2);
    end(record, NULL);
    notify_as(DEVICE, EMAIL, &rule, "key", &added);
    assert_int_equal(added, 0);
    assert_int_equal(read_event(record->id)->state, GH_ESCROW_EVENT_DONE);

    forget(DEVICE);
    notify_as(DEVICE, EMAIL, &rule, "key", &added);
    assert_int_equal(added, 1);
    assert_int_equal(read_event(record->id)->state, GH_ESCROW_EVENT_KEYS);
    assert_success(make_keys(record->id));
    assert_int_equal(keys_of(record->id)->nelts, 2);
    end(record, NULL);

    store_credential(OTHER, GH_ESCROW_SIGNING, EMAIL, YEAR, YEAR, 1);
    store_credential(OTHER, GH_ESCROW_ENCRYPTION, EMAIL, YEAR, YEAR, 2);
    notify_as(DEVICE, EMAIL, &rule, "key", &added);
    assert_int_equal(added, 1);
    assert_success(make_keys(record->id));
    assert_int_equal(keys_of(record->id)->nelts, 0);
}

static void spreading(void **state)
{
    gh_provide_rule_t rule = rule_of();
    gh_escrow_event_record_t *record = notify(OTHER);
    gh_provide_spread_t spread;

    store_credential(DEVICE, GH_ESCROW_SIGNING, EMAIL, YEAR, YEAR, 1);
    store_credential(DEVICE, GH_ESCROW_ENCRYPTION, EMAIL, YEAR, YEAR, 2);
    assert_success(gh_provide_spread(world.store, record, &rule, &spread, test_pool,
                                     &world.result));
    assert_string_equal(spread.holder[GH_ESCROW_ENCRYPTION], DEVICE);
    assert_int_equal(spread.others[GH_ESCROW_ENCRYPTION]->nelts, 1);
    rule.signing_per_device = 1;
    assert_success(gh_provide_spread(world.store, record, &rule, &spread, test_pool,
                                     &world.result));
    assert_null(spread.holder[GH_ESCROW_SIGNING]);
    assert_int_equal(spread.others[GH_ESCROW_SIGNING]->nelts, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rules, set_up, x509_test_teardown),
        cmocka_unit_test_setup_teardown(an_event_twice, set_up, x509_test_teardown),
        cmocka_unit_test_setup_teardown(a_failed_event_again, set_up, x509_test_teardown),
        cmocka_unit_test_setup_teardown(keys_once, set_up, x509_test_teardown),
        cmocka_unit_test_setup_teardown(one_event_of_a_user_at_a_time, set_up, x509_test_teardown),
        cmocka_unit_test_setup_teardown(more_is_lacking_than_was_made, set_up, x509_test_teardown),
        cmocka_unit_test_setup_teardown(who_has_lost_the_job_stores_nothing, set_up,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(lacking, set_up, x509_test_teardown),
        cmocka_unit_test_setup_teardown(enrolled_once, set_up, x509_test_teardown),
        cmocka_unit_test_setup_teardown(refused, set_up, x509_test_teardown),
        cmocka_unit_test_setup_teardown(renewal, set_up, x509_test_teardown),
        cmocka_unit_test_setup_teardown(renewal_behind_many_others, set_up, x509_test_teardown),
        cmocka_unit_test_setup_teardown(the_same_event_when_its_credentials_are_gone, set_up,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(spreading, set_up, x509_test_teardown),
    };

    return cmocka_run_group_tests_name("provide", tests, x509_group_setup, x509_group_teardown);
}
