/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* CMP as a client, against OpenSSL's server in the same process. */

#include "x509_support.h"

#include <apr_strings.h>
#include <openssl/cmp.h>
#include <openssl/err.h>

#include "fcgi/cmp/cmp_transaction.h"
#include "log.h"
#include "store/certificates.h"

#define CERT_CONF 24
#define POLL_REQ 25
#define PKI_CONF 19

#define SECRET "seeded-secret"

static struct {
    gh_ca_t *ca;
    EVP_PKEY *ca_key;
    EVP_PKEY *key;                  /* of the device */
    cmp_party_t party;
    cmp_request_t request;
    cmp_transport_t transport;
    cmp_reply_t reply;

    OSSL_CMP_SRV_CTX *server;
    OSSL_CMP_MSG *waiting;
    X509 *issued;
    int polls;                      /* that are answered with "later" */
    int refuse;                     /* bits of failure */
    EVP_PKEY *other;                /* not NULL: the certificate is for this key */
    const char *check;              /* not NULL: why the certificate will not do */
    int lose;                       /* body of the message whose answer is lost */
    int deaf;                       /* body of the message that is not sent */
    int garble;                     /* body of the message whose answer is changed */
    int sent[32];
    int confirmed;                  /* 1: accepted, -1: rejected */
    int revoked;                    /* 1 */
    gh_bytes_t last;                /* message */
} world;

/* The server */

static OSSL_CMP_PKISI *process_request(OSSL_CMP_SRV_CTX *server, const OSSL_CMP_MSG *message,
                                       int id, const OSSL_CRMF_MSG *crm, const X509_REQ *csr,
                                       X509 **certificate, STACK_OF(X509) **chain,
                                       STACK_OF(X509) **ca_pubs)
{
    if (world.refuse) {
        return OSSL_CMP_STATUSINFO_new(OSSL_CMP_PKISTATUS_rejection, world.refuse,
                                       "beyond policy");
    }
    if (world.polls > 0) {
        world.waiting = OSSL_CMP_MSG_dup(message);
        return OSSL_CMP_STATUSINFO_new(OSSL_CMP_PKISTATUS_waiting, 0, NULL);
    }
    world.issued = issue(world.ca, subscriber(world.other ? world.other : world.key));
    X509_up_ref(world.issued);
    *certificate = world.issued;
    return OSSL_CMP_STATUSINFO_new(OSSL_CMP_PKISTATUS_accepted, 0, NULL);
}

static OSSL_CMP_PKISI *process_revocation(OSSL_CMP_SRV_CTX *server, const OSSL_CMP_MSG *message,
                                          const X509_NAME *issuer, const ASN1_INTEGER *serial)
{
    if (world.refuse) {
        return OSSL_CMP_STATUSINFO_new(OSSL_CMP_PKISTATUS_rejection, world.refuse, "no");
    }
    world.revoked = (int)ASN1_INTEGER_get(serial);
    return OSSL_CMP_STATUSINFO_new(OSSL_CMP_PKISTATUS_accepted, 0, NULL);
}

static int process_general(OSSL_CMP_SRV_CTX *server, const OSSL_CMP_MSG *message,
                           const STACK_OF(OSSL_CMP_ITAV) *in, STACK_OF(OSSL_CMP_ITAV) **out)
{
    *out = sk_OSSL_CMP_ITAV_new_null();
    return 1;
}

static void process_error(OSSL_CMP_SRV_CTX *server, const OSSL_CMP_MSG *message,
                          const OSSL_CMP_PKISI *info, const ASN1_INTEGER *code,
                          const OSSL_CMP_PKIFREETEXT *details)
{
}

static int process_confirmation(OSSL_CMP_SRV_CTX *server, const OSSL_CMP_MSG *message, int id,
                                const ASN1_OCTET_STRING *hash, const OSSL_CMP_PKISI *info)
{
    char text[OSSL_CMP_PKISI_BUFLEN] = "";

    if (info) {
        OSSL_CMP_snprint_PKIStatusInfo(info, text, sizeof(text));
    }
    world.confirmed = strstr(text, "rejection") ? -1 : 1;
    return 1;
}

static int process_poll(OSSL_CMP_SRV_CTX *server, const OSSL_CMP_MSG *message, int id,
                        OSSL_CMP_MSG **waiting, int64_t *check_after)
{
    if (!world.waiting) {
        ERR_raise_data(ERR_LIB_USER, 1, "no such transaction");
        return 0;
    }
    *waiting = NULL;
    *check_after = 7;
    if (world.polls-- == 0) {
        *waiting = world.waiting;
        world.waiting = NULL;
        *check_after = 0;
        world.polls = 0;
    }
    return 1;
}

static void start_server(void)
{
    OSSL_CMP_CTX *context;

    OSSL_CMP_SRV_CTX_free(world.server);
    world.server = OSSL_CMP_SRV_CTX_new(NULL, NULL);
    OSSL_CMP_SRV_CTX_init(world.server, NULL, process_request, process_revocation,
                          process_general, process_error, process_confirmation, process_poll);
    OSSL_CMP_SRV_CTX_set_grant_implicit_confirm(world.server, 1);
    OSSL_CMP_SRV_CTX_set_accept_raverified(world.server, 1);
    context = OSSL_CMP_SRV_CTX_get0_cmp_ctx(world.server);
    OSSL_CMP_CTX_set1_referenceValue(context, (const unsigned char *)"ra", 2);
    OSSL_CMP_CTX_set1_secretValue(context, (const unsigned char *)SECRET, sizeof(SECRET) - 1);
}

/* The way there */

static void send_message(void *baton, gh_bytes_t bytes, cmp_answer_t *answer, apr_pool_t *p)
{
    const unsigned char *place = bytes.data;
    OSSL_CMP_MSG *message = d2i_OSSL_CMP_MSG(NULL, &place, (long)bytes.length), *response;
    unsigned char *der = NULL;
    int body = OSSL_CMP_MSG_get_bodytype(message), length = 0;

    ++world.sent[body];
    world.last.data = apr_pmemdup(test_pool, bytes.data, bytes.length);
    world.last.length = bytes.length;
    gh_result_fail(&answer->result, APR_TIMEUP, GH_FAILURE_UNAVAILABLE, "test", NULL,
                   "GH0804: no answer");
    if (body == world.deaf) {
        OSSL_CMP_MSG_free(message);
        return;
    }
    answer->sent = 1;
    response = OSSL_CMP_SRV_process_request(world.server, message);
    if (response) {
        length = i2d_OSSL_CMP_MSG(response, &der);
    }
    if (length > 0 && body != world.lose) {
        answer->answered = 1;
        answer->status = 200;
        answer->body.data = apr_pmemdup(p, der, (apr_size_t)length);
        answer->body.length = (apr_size_t)length;
        if (body == world.garble) {
            ((unsigned char *)answer->body.data)[length - 1] ^= 1;
        }
    }
    OPENSSL_free(der);
    OSSL_CMP_MSG_free(response);
    OSSL_CMP_MSG_free(message);
    ERR_clear_error();
}

static apr_status_t check(void *baton, X509 *certificate, gh_result_t *result)
{
    if (world.check || EVP_PKEY_eq(X509_get0_pubkey(certificate), world.key) != 1) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTEGRITY, "test", NULL,
                              "GH0780: %s", world.check ? world.check : "another key");
    }
    return APR_SUCCESS;
}

static int setup(void **state)
{
    request_t request;

    memset(&world, 0, sizeof(world));
    world.lose = world.deaf = world.garble = -1;
    world.ca_key = fixture_key("rsa3072-01");
    world.key = fixture_key("p256-01");
    world.ca = make_root(world.ca_key, "CN=CMP CA", apr_time_now());
    request = request_for(world.key, "CN=a.example");
    world.request.request = request_der(build_request(&request));
    world.request.plan = subscriber(world.key);
    world.request.check = check;
    world.party.name = "corporate";
    world.party.reference.data = (const unsigned char *)"ra";
    world.party.reference.length = 2;
    world.party.secret.data = (const unsigned char *)SECRET;
    world.party.secret.length = sizeof(SECRET) - 1;
    world.party.ca = gh_ca_certificate(world.ca);
    world.party.message = OSSL_CMP_P10CR;
    world.transport.send = send_message;
    start_server();
    return 0;
}

static int teardown(void **state)
{
    OSSL_CMP_SRV_CTX_free(world.server);
    OSSL_CMP_MSG_free(world.waiting);
    return x509_test_teardown(state);
}

static void show(void)
{
    if (world.reply.result.number[0]) {
        print_message("%s %s\n", world.reply.result.number, world.reply.result.message);
    }
}

static cmp_verdict_t enrol(void)
{
    cmp_enrol(&world.reply, &world.party, &world.request, &world.transport, test_pool);
    show();
    assert_int_equal(ERR_peek_error(), 0);
    if (world.reply.verdict != CMP_DONE && world.reply.verdict != CMP_WAITING) {
        assert_string_not_equal(world.reply.result.number, "");
    }
    return world.reply.verdict;
}

static void assert_number(const char *number)
{
    assert_string_equal(world.reply.result.number, number);
}

/* Tests */

static void test_issued(void **state)
{
    assert_int_equal(enrol(), CMP_DONE);
    assert_int_equal(X509_cmp(world.reply.certificate, world.issued), 0);
    assert_int_equal(world.confirmed, 1);
    assert_int_equal(world.sent[CERT_CONF], 1);
    assert_int_equal(world.sent[OSSL_CMP_P10CR], 1);
    assert_false(world.reply.unconfirmed);
    assert_true(world.reply.alive);
}

static void test_implicit_confirmation(void **state)
{
    world.party.implicit_confirm = 1;
    assert_int_equal(enrol(), CMP_DONE);
    assert_int_equal(world.sent[CERT_CONF], 0);
}

static void test_templates(void **state)
{
    static const int messages[] = { OSSL_CMP_IR, OSSL_CMP_CR };
    int i;

    for (i = 0; i < 2; ++i) {
        start_server();
        world.party.message = messages[i];
        assert_int_equal(enrol(), CMP_DONE);
        assert_int_equal(world.sent[messages[i]], 1);
        assert_int_equal(world.confirmed, 1);
    }
}

static int has(const char *bytes, size_t length)
{
    size_t i;

    for (i = 0; i + length <= world.last.length; ++i) {
        if (!memcmp(world.last.data + i, bytes, length)) {
            return 1;
        }
    }
    return 0;
}

static void test_profile(void **state)
{
    /* the header of every message of a transaction has generalInfo (RFC 9483 3.1) or not; ours is
     * looked for in the first */
    static const char wanted[] = "\x06\x08\x2b\x06\x01\x05\x05\x07\x04\x15\x30\x06\x0c\x04mine";

    world.request.profile = "mine";
    world.deaf = OSSL_CMP_P10CR;
    assert_int_equal(enrol(), CMP_NOT_SENT);
    assert_true(has(wanted, sizeof(wanted) - 1));
    assert_number("GH0804");
}

static void test_wrong_certificate(void **state)
{
    world.check = "more than was authorised";
    assert_int_equal(enrol(), CMP_WRONG);
    assert_number("GH0780");
    assert_int_equal(world.confirmed, -1);
    assert_non_null(world.reply.certificate);
    start_server();
    world.check = NULL;
    world.other = fixture_key("p384-01");
    assert_int_equal(enrol(), CMP_WRONG);
    assert_int_equal(world.confirmed, -1);
}

static void test_wrong_without_confirmation(void **state)
{
    world.party.implicit_confirm = 1;
    world.check = "more than was authorised";
    assert_int_equal(enrol(), CMP_WRONG);
    assert_number("GH0780");
}

static void test_refusals(void **state)
{
    world.refuse = OSSL_CMP_CTX_FAILINFO_badCertTemplate;
    assert_int_equal(enrol(), CMP_REFUSED);
    assert_string_equal(world.reply.words, "beyond policy");
    assert_number("GH1035");
    assert_non_null(strstr(world.reply.result.message, "beyond policy"));
    start_server();
    world.refuse = OSSL_CMP_CTX_FAILINFO_systemUnavail;
    assert_int_equal(enrol(), CMP_BUSY);
    assert_number("GH1033");
    start_server();
    world.refuse = OSSL_CMP_CTX_FAILINFO_systemFailure;
    assert_int_equal(enrol(), CMP_UNKNOWN);
    assert_number("GH1457");
    start_server();
    world.refuse = OSSL_CMP_CTX_FAILINFO_notAuthorized;
    assert_int_equal(enrol(), CMP_MISCONFIGURED);
    assert_number("GH1034");
}

static void test_waiting(void **state)
{
    world.polls = 3;
    assert_int_equal(enrol(), CMP_WAITING);
    assert_int_equal(world.reply.check_after, apr_time_from_sec(7));
    assert_int_equal(world.sent[POLL_REQ], 1);
    while (world.reply.verdict == CMP_WAITING) {
        /* whoever goes on has nothing but the bytes */
        world.request.waiting = world.reply.waiting;
        enrol();
    }
    assert_int_equal(world.reply.verdict, CMP_DONE);
    assert_int_equal(world.sent[OSSL_CMP_P10CR], 1);
    assert_int_equal(world.sent[POLL_REQ], 4);
    assert_int_equal(world.confirmed, 1);
}

static void test_waiting_in_vain(void **state)
{
    world.polls = 2;
    assert_int_equal(enrol(), CMP_WAITING);
    world.request.waiting = world.reply.waiting;
    world.deaf = POLL_REQ;
    assert_int_equal(enrol(), CMP_WAITING);
    assert_number("GH0804");
    world.deaf = -1;
    world.garble = POLL_REQ;
    assert_int_equal(enrol(), CMP_WAITING);
    assert_number("GH1041");
    world.garble = -1;
    /* OpenSSL's server wants to hear of the answer that was lost, and ends the transaction */
    assert_int_equal(enrol(), CMP_UNKNOWN);
    assert_number("GH1032");
}

static void test_refused_after_waiting(void **state)
{
    world.polls = 1;
    assert_int_equal(enrol(), CMP_WAITING);
    world.request.waiting = world.reply.waiting;
    world.refuse = OSSL_CMP_CTX_FAILINFO_notAuthorized;
    assert_int_equal(enrol(), CMP_REFUSED);
}

static void test_forgotten_while_waiting(void **state)
{
    world.polls = 1;
    assert_int_equal(enrol(), CMP_WAITING);
    world.request.waiting = world.reply.waiting;
    OSSL_CMP_MSG_free(world.waiting);
    world.waiting = NULL;
    assert_int_equal(enrol(), CMP_UNKNOWN);
    assert_number("GH1032");
}

static void test_broken_state(void **state)
{
    world.request.waiting.data = (const unsigned char *)"garbage";
    world.request.waiting.length = 7;
    assert_int_equal(enrol(), CMP_UNKNOWN);
    assert_number("GH1044");
    assert_int_equal(world.sent[OSSL_CMP_P10CR], 0);
}

static void test_lost_answers(void **state)
{
    world.lose = OSSL_CMP_P10CR;
    assert_int_equal(enrol(), CMP_UNKNOWN);
    assert_number("GH0804");
    start_server();
    world.lose = CERT_CONF;
    assert_int_equal(enrol(), CMP_DONE);
    assert_true(world.reply.unconfirmed);
    start_server();
    world.lose = -1;
    world.deaf = CERT_CONF;
    assert_int_equal(enrol(), CMP_WRONG);
    assert_number("GH1039");
}

static void test_untrusted_answers(void **state)
{
    world.garble = OSSL_CMP_P10CR;
    assert_int_equal(enrol(), CMP_UNKNOWN);
    assert_number("GH1041");
    start_server();
    OSSL_CMP_CTX_set_option(OSSL_CMP_SRV_CTX_get0_cmp_ctx(world.server),
                            OSSL_CMP_OPT_UNPROTECTED_SEND, 1);
    world.garble = -1;
    world.refuse = OSSL_CMP_CTX_FAILINFO_badRequest;
    assert_int_equal(enrol(), CMP_UNKNOWN);
    assert_number("GH1041");
    start_server();
    OSSL_CMP_CTX_set_option(OSSL_CMP_SRV_CTX_get0_cmp_ctx(world.server),
                            OSSL_CMP_OPT_UNPROTECTED_SEND, 1);
    world.party.unprotected_errors = 1;
    assert_int_equal(enrol(), CMP_REFUSED);
}

static void test_other_secret(void **state)
{
    world.party.secret.data = (const unsigned char *)"another-secret";
    world.party.secret.length = 14;
    assert_int_not_equal(enrol(), CMP_DONE);
    assert_null(world.issued);
    cmp_probe(&world.reply, &world.party, &world.transport, test_pool);
    assert_int_not_equal(world.reply.verdict, CMP_DONE);
}

static void test_signatures(void **state)
{
    OSSL_CMP_CTX *context = OSSL_CMP_SRV_CTX_get0_cmp_ctx(world.server);
    X509_STORE *ours = X509_STORE_new(), *theirs = X509_STORE_new();
    EVP_PKEY *server_key = fixture_key("rsa2048-02");
    STACK_OF(X509) *known = sk_X509_new_null();
    X509 *server = issue(world.ca, subscriber(server_key));

    X509_STORE_add_cert(ours, gh_ca_certificate(world.ca));
    X509_STORE_add_cert(theirs, gh_ca_certificate(world.ca));
    OSSL_CMP_CTX_set0_trustedStore(context, theirs);
    OSSL_CMP_CTX_set1_secretValue(context, NULL, 0);
    OSSL_CMP_CTX_set1_cert(context, server);
    OSSL_CMP_CTX_set1_pkey(context, server_key);
    world.party.secret.data = NULL;
    world.party.key = fixture_key("rsa2048-01");
    world.party.certificate = issue(world.ca, subscriber(world.party.key));
    world.party.trust = ours;
    world.party.known = known;
    sk_X509_push(known, gh_ca_certificate(world.ca));
    world.party.sender = X509_get_subject_name(server);
    assert_int_equal(enrol(), CMP_DONE);
    /* nobody but the one who is named */
    world.party.sender = X509_get_subject_name(gh_ca_certificate(world.ca));
    cmp_probe(&world.reply, &world.party, &world.transport, test_pool);
    assert_int_equal(world.reply.verdict, CMP_UNKNOWN);
    assert_number("GH1041");
    X509_STORE_free(ours);
    sk_X509_free(known);
}

static void test_revocation(void **state)
{
    static const unsigned char serial[] = { 0x12, 0x34 };
    gh_bytes_t bytes = { serial, sizeof(serial) };

    cmp_revoke(&world.reply, &world.party, bytes, CRL_REASON_KEY_COMPROMISE, &world.transport,
               test_pool);
    show();
    assert_int_equal(world.reply.verdict, CMP_DONE);
    assert_int_equal(world.revoked, 0x1234);
    assert_true(has("\x06\x03\x55\x1d\x15\x04\x03\x0a\x01\x01", 10));
    start_server();
    cmp_revoke(&world.reply, &world.party, bytes, GH_REASON_NONE, &world.transport, test_pool);
    assert_int_equal(world.reply.verdict, CMP_DONE);
    assert_false(has("\x06\x03\x55\x1d\x15", 5));
    start_server();
    world.refuse = OSSL_CMP_CTX_FAILINFO_certRevoked;
    cmp_revoke(&world.reply, &world.party, bytes, -1, &world.transport, test_pool);
    assert_int_equal(world.reply.verdict, CMP_REFUSED);
    assert_true(world.reply.revoked);
}

static void test_probe(void **state)
{
    cmp_probe(&world.reply, &world.party, &world.transport, test_pool);
    assert_int_equal(world.reply.verdict, CMP_DONE);
    assert_true(world.reply.alive);
    world.garble = 21;
    start_server();
    cmp_probe(&world.reply, &world.party, &world.transport, test_pool);
    assert_int_equal(world.reply.verdict, CMP_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_issued, setup, teardown),
        cmocka_unit_test_setup_teardown(test_implicit_confirmation, setup, teardown),
        cmocka_unit_test_setup_teardown(test_templates, setup, teardown),
        cmocka_unit_test_setup_teardown(test_profile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_certificate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_without_confirmation, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_waiting, setup, teardown),
        cmocka_unit_test_setup_teardown(test_waiting_in_vain, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused_after_waiting, setup, teardown),
        cmocka_unit_test_setup_teardown(test_forgotten_while_waiting, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broken_state, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_untrusted_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_secret, setup, teardown),
        cmocka_unit_test_setup_teardown(test_signatures, setup, teardown),
        cmocka_unit_test_setup_teardown(test_revocation, setup, teardown),
        cmocka_unit_test_setup_teardown(test_probe, setup, teardown),
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
