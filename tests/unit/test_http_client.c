/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Calls over HTTP: what is sent once, what is known of it, who is trusted. */

#include "tls_server.h"

#include <dlfcn.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>

#include "fcgi/http.h"

/** A name that takes its time to be looked up. */
#define SLOW_NAME "slow.example.invalid"

static volatile int looked_up;

typedef int look_up_fn(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **result);

/* In the place of libc's, for libcurl. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **result)
{
    look_up_fn *theirs = (look_up_fn *)dlsym(RTLD_NEXT, "getaddrinfo");

    if (node && !strcmp(node, SLOW_NAME)) {
        sleep(8);
        looked_up = 1;
        return EAI_AGAIN;
    }
    return theirs(node, service, hints, result);
}

static CURLM *multi;
static http_client_t *client;
static const gh_ca_t *ca;
static EVP_PKEY *ca_key;
static const char *ca_pem;

static const char *pem_of(X509 *certificate)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data;
    long length;
    const char *text;

    PEM_write_bio_X509(bio, certificate);
    length = BIO_get_mem_data(bio, &data);
    text = apr_pstrndup(test_pool, data, (apr_size_t)length);
    BIO_free(bio);
    return text;
}

static int setup(void **state)
{
    (void)state;
    ca_key = fixture_key("rsa2048-01");
    ca = make_root(ca_key, "cn=Root", apr_time_now());
    ca_pem = pem_of(gh_ca_certificate(ca));
    multi = curl_multi_init();
    assert_success(http_client_create(&client, multi, NULL, test_pool, NULL));
    return 0;
}

static int teardown(void **state)
{
    http_client_stop(client);
    curl_multi_cleanup(multi);
    ERR_clear_error();
    return x509_test_teardown(state);
}

/* What came, copied. */
typedef struct {
    int done;
    http_outcome_t outcome;
    int sent;
    long status;
    const char *body;
    const char *type;
    apr_time_t retry_after;
    gh_result_t result;
} came_t;

static void take(void *baton, const http_answer_t *answer)
{
    came_t *came = baton;

    came->done++;
    came->outcome = answer->outcome;
    came->sent = answer->sent;
    came->status = answer->status;
    came->body = apr_pstrndup(test_pool, (const char *)answer->body.data, answer->body.length);
    came->type = apr_pstrdup(test_pool, answer->content_type);
    came->retry_after = answer->retry_after;
    came->result = answer->result;
}

static http_peer_t *peer_of(const char *url)
{
    http_peer_config_t config = {
        .name = "test", .url = url, .trust = ca_pem, .timeout = apr_time_from_msec(1500),
        .body_max = 4096
    };
    http_peer_t *peer;

    assert_success(http_peer_create(&peer, client, &config, test_pool, NULL));
    return peer;
}

static void wait_for(came_t *came)
{
    apr_time_t end = apr_time_now() + apr_time_from_sec(10);
    int running;

    while (!came->done && apr_time_now() < end) {
        curl_multi_perform(multi, &running);
        http_client_finish(client);
        if (!came->done) {
            curl_multi_poll(multi, NULL, 0, 50, NULL);
        }
    }
    assert_int_equal(came->done, 1);
}

static void begin(came_t *came, http_peer_t *peer, const char *method, const char *body,
                  int has_effect)
{
    http_request_t request = {
        .method = method, .path = "/v1/x%2Fy", .has_effect = has_effect,
        .content_type = body ? "application/json" : NULL,
        .body = { (const unsigned char *)body, body ? strlen(body) : 0 }
    };

    memset(came, 0, sizeof(*came));
    assert_success(http_call(peer, &request, take, came, NULL));
}

static came_t call(http_peer_t *peer, const char *method, const char *body, int has_effect)
{
    came_t came;

    begin(&came, peer, method, body, has_effect);
    wait_for(&came);
    return came;
}

static came_t post(http_peer_t *peer)
{
    return call(peer, "POST", "{\"a\":1}", 1);
}

static void test_answered(void **state)
{
    tls_server_t *server = tls_server_start("aaa", 0, ca);
    http_peer_t *peer = peer_of(apr_pstrcat(test_pool, tls_server_url(server), "/base", NULL));
    came_t came;

    (void)state;
    came = post(peer);
    assert_int_equal(came.outcome, HTTP_ANSWERED);
    assert_int_equal(came.status, 200);
    assert_string_equal(came.body, "ok");
    assert_string_equal(came.type, "text/x");
    assert_non_null(strstr(tls_server_last(server), "POST /base/v1/x%2Fy HTTP/1.1\r\n"));
    assert_non_null(strstr(tls_server_last(server), "Content-Type: application/json\r\n"));
    assert_non_null(strstr(tls_server_last(server), "\r\n\r\n{\"a\":1}"));
    assert_null(strstr(tls_server_last(server), "Expect:"));
    came = call(peer, "GET", NULL, 0);
    assert_int_equal(came.status, 200);
    assert_non_null(strstr(tls_server_last(server), "GET /base/v1/x%2Fy HTTP/1.1\r\n"));
    assert_null(strstr(tls_server_last(server), "Content-Type:"));
    came = post(peer);
    assert_int_equal(came.status, 200);
    assert_int_equal(tls_server_connections(server), 1);
    tls_server_stop(server);
}

/* Whether it was carried out is not known, so that it is not sent again: over a new connection, and
 * over one that was used before, where libcurl would. */
static void test_never_twice(void **state)
{
    tls_server_t *server = tls_server_start("cacaa", 0, ca);
    http_peer_t *peer = peer_of(tls_server_url(server));
    came_t came;

    (void)state;
    came = post(peer);
    assert_int_equal(came.outcome, HTTP_UNKNOWN);
    assert_int_equal(came.sent, 1);
    assert_string_equal(came.result.number, "GH0804");
    assert_int_equal(tls_server_requests(server), 1);
    assert_int_equal(post(peer).outcome, HTTP_ANSWERED);
    came = post(peer);
    assert_int_equal(came.outcome, HTTP_UNKNOWN);
    assert_int_equal(tls_server_requests(server), 3);
    assert_int_equal(post(peer).outcome, HTTP_ANSWERED);
    assert_int_equal(tls_server_requests(server), 4);
    tls_server_stop(server);
}

static void test_without_body_never_twice(void **state)
{
    tls_server_t *server = tls_server_start("aca", 0, ca);
    http_peer_t *peer = peer_of(tls_server_url(server));

    (void)state;
    assert_int_equal(call(peer, "POST", NULL, 1).outcome, HTTP_ANSWERED);
    assert_int_equal(call(peer, "POST", NULL, 1).outcome, HTTP_UNKNOWN);
    assert_int_equal(tls_server_requests(server), 2);
    tls_server_stop(server);
}

/* What may be sent twice is, after the other side has closed a connection that was idle. */
static void test_without_effect_again(void **state)
{
    tls_server_t *server = tls_server_start("aca", 0, ca);
    http_peer_t *peer = peer_of(tls_server_url(server));

    (void)state;
    assert_int_equal(call(peer, "GET", NULL, 0).outcome, HTTP_ANSWERED);
    assert_int_equal(call(peer, "GET", NULL, 0).outcome, HTTP_ANSWERED);
    assert_int_equal(tls_server_requests(server), 3);
    tls_server_stop(server);
}

static void test_idle_connection_closed(void **state)
{
    tls_server_t *server = tls_server_start("qa", 0, ca);
    http_peer_t *peer = peer_of(tls_server_url(server));

    (void)state;
    assert_int_equal(post(peer).outcome, HTTP_ANSWERED);
    apr_sleep(apr_time_from_msec(100));
    assert_int_equal(post(peer).outcome, HTTP_ANSWERED);
    assert_int_equal(tls_server_requests(server), 2);
    tls_server_stop(server);
}

/* Over a connection, only their order tells which request an answer is to. */
static void test_surplus_answer(void **state)
{
    tls_server_t *server = tls_server_start("tata", 0, ca);
    http_peer_t *peer = peer_of(tls_server_url(server));
    came_t came;
    int i;

    (void)state;
    for (i = 0; i < 4; ++i) {
        came = i < 2 ? post(peer) : call(peer, "GET", NULL, 0);
        assert_int_equal(came.outcome, HTTP_ANSWERED);
        assert_int_equal(came.status, 200);
        apr_sleep(apr_time_from_msec(50));
    }
    assert_int_equal(tls_server_requests(server), 4);
    /* what is clean is used again */
    assert_int_equal(tls_server_connections(server), 3);
    tls_server_stop(server);
}

/* At once, and later, when libcurl would take a connection of that time again */
static void test_distrusted(void **state)
{
    tls_server_t *server = tls_server_start("aaaaaa", 0, ca);
    http_peer_t *peer = peer_of(tls_server_url(server));

    (void)state;
    assert_int_equal(post(peer).outcome, HTTP_ANSWERED);
    http_peer_distrust(peer);
    assert_int_equal(post(peer).outcome, HTTP_ANSWERED);
    assert_int_equal(tls_server_connections(server), 2);
    http_peer_distrust(peer);
    apr_sleep(apr_time_from_msec(2200));
    assert_int_equal(post(peer).outcome, HTTP_ANSWERED);
    assert_int_equal(tls_server_connections(server), 3);
    assert_int_equal(post(peer).outcome, HTTP_ANSWERED);
    assert_int_equal(tls_server_connections(server), 3);
    tls_server_stop(server);
}

static void test_not_sent(void **state)
{
    const gh_ca_t *other = make_root(fixture_key("rsa2048-02"), "cn=Other", apr_time_now());
    tls_server_t *server = tls_server_start("", 0, ca);
    http_peer_config_t config = { .name = "test", .url = tls_server_url(server) };
    http_peer_t *peer;
    came_t came;

    (void)state;
    config.trust = pem_of(gh_ca_certificate(other));
    assert_success(http_peer_create(&peer, client, &config, test_pool, NULL));
    came = post(peer);
    assert_int_equal(came.outcome, HTTP_NOT_SENT);
    assert_int_equal(came.sent, 0);
    assert_string_equal(came.result.number, "GH0803");
    config.url = apr_pstrcat(test_pool, "https://localhost",
                             strrchr(tls_server_url(server), ':'), NULL);
    config.trust = ca_pem;
    assert_success(http_peer_create(&peer, client, &config, test_pool, NULL));
    assert_int_equal(post(peer).outcome, HTTP_NOT_SENT);
    assert_int_equal(tls_server_requests(server), 0);
    tls_server_stop(server);
    assert_int_equal(post(peer_of(config.url)).outcome, HTTP_NOT_SENT);
    config.proxy = "http://127.0.0.1:1";
    assert_success(http_peer_create(&peer, client, &config, test_pool, NULL));
    assert_int_equal(post(peer).outcome, HTTP_NOT_SENT);
}

/* With TLS 1.3 the client has sent its request by then, but nobody has read it. */
static void test_handshake_refused_late(void **state)
{
    tls_server_t *server = tls_server_start("", 1, ca);
    came_t came = post(peer_of(tls_server_url(server)));

    (void)state;
    assert_int_equal(came.outcome, HTTP_NOT_SENT);
    assert_int_equal(came.sent, 0);
    assert_int_equal(tls_server_requests(server), 0);
    tls_server_stop(server);
}

static gh_bytes_t pkcs12_of(const char *passphrase, ...)
{
    STACK_OF(PKCS12_SAFEBAG) *bags = NULL;
    STACK_OF(PKCS7) *safes = NULL;
    unsigned char *der = NULL;
    const char *alias;
    va_list arguments;
    PKCS12 *pkcs12;
    gh_bytes_t bytes;
    int length;

    va_start(arguments, passphrase);
    while ((alias = va_arg(arguments, const char *)) != NULL) {
        EVP_PKEY *key = fixture_key(va_arg(arguments, const char *));
        X509 *certificate = tls_certificate(ca, ca_key, key, alias, NULL);
        PKCS12_SAFEBAG *bag;

        PKCS12_add_cert(&bags, certificate);
        bag = PKCS12_add_key(&bags, key, 0, 2048, NID_aes_256_cbc, passphrase);
        PKCS12_add_friendlyname_utf8(bag, alias, -1);
    }
    va_end(arguments);
    PKCS12_add_safe(&safes, bags, -1, 0, passphrase);
    pkcs12 = PKCS12_add_safes(safes, 0);
    assert_int_equal(PKCS12_set_mac(pkcs12, passphrase, -1, NULL, 0, 2048, NULL), 1);
    length = i2d_PKCS12(pkcs12, &der);
    assert_true(length > 0);
    bytes.data = apr_pmemdup(test_pool, der, (apr_size_t)length);
    bytes.length = (apr_size_t)length;
    OPENSSL_free(der);
    PKCS12_free(pkcs12);
    sk_PKCS12_SAFEBAG_pop_free(bags, PKCS12_SAFEBAG_free);
    while (sk_PKCS7_num(safes)) {
        PKCS7_free(sk_PKCS7_pop(safes));
    }
    sk_PKCS7_free(safes);
    return bytes;
}

static void test_credential_by_alias(void **state)
{
    static const char *const names[] = { "first", "Second" };
    tls_server_t *server = tls_server_start("", 1, ca);
    http_peer_config_t config = {
        .name = "test", .url = tls_server_url(server), .trust = ca_pem,
        .passphrase = { (const unsigned char *)"a/b \xc3\xa4", 6 }
    };
    http_peer_t *peers[2];
    int i;

    (void)state;
    config.credential = pkcs12_of("a/b \xc3\xa4", "first", "p256-01", "second", "rsa2048-03", NULL);
    for (i = 0; i < 2; ++i) {
        config.alias = names[i];
        assert_success(http_peer_create(&peers[i], client, &config, test_pool, NULL));
        assert_true(http_peer_not_after(peers[i]) > apr_time_now());
    }
    /* connections of one are not those of the other */
    for (i = 0; i < 4; ++i) {
        assert_int_equal(post(peers[i % 2]).status, 200);
        assert_string_equal(tls_server_client(server), i % 2 ? "second" : "first");
        if (i % 2 == 0) {
            apr_sleep(apr_time_from_msec(10));
        }
        http_client_finish(client);
    }
    tls_server_stop(server);
}

static void test_outcomes(void **state)
{
    tls_server_t *server = tls_server_start("rdmhplc", 0, ca);
    http_peer_t *peer = peer_of(tls_server_url(server));
    apr_time_t now = apr_time_now();
    came_t came;

    (void)state;
    came = post(peer);
    assert_int_equal(came.status, 429);
    assert_in_range((came.retry_after - now) / APR_USEC_PER_SEC, 6, 9);
    came = post(peer);
    assert_int_equal(came.status, 503);
    assert_in_range((came.retry_after - now) / APR_USEC_PER_SEC, 55, 65);
    came = post(peer);
    assert_int_equal(came.outcome, HTTP_ANSWERED);
    assert_int_equal(came.status, 302);
    assert_int_equal(tls_server_requests(server), 3);
    came = post(peer);
    assert_int_equal(came.outcome, HTTP_UNKNOWN);
    tls_server_stop(server);
    server = tls_server_start("plc", 0, ca);
    peer = peer_of(tls_server_url(server));
    came = post(peer);
    assert_int_equal(came.outcome, HTTP_UNKNOWN);
    assert_int_equal(came.status, 200);
    came = post(peer);
    assert_int_equal(came.outcome, HTTP_UNKNOWN);
    assert_string_equal(came.result.number, "GH0805");
    tls_server_stop(server);
}

static void test_no_proxy_of_the_environment(void **state)
{
    tls_server_t *server = tls_server_start("", 0, ca);

    (void)state;
    setenv("https_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    assert_int_equal(post(peer_of(tls_server_url(server))).outcome, HTTP_ANSWERED);
    unsetenv("https_proxy");
    unsetenv("ALL_PROXY");
    tls_server_stop(server);
}

/* A name server that is silent holds up neither the call beyond its time nor the loop. */
static void test_slow_name(void **state)
{
    came_t came = call(peer_of("https://" SLOW_NAME), "POST", "{}", 1);

    (void)state;
    assert_int_equal(came.outcome, HTTP_NOT_SENT);
    assert_false(looked_up);
}

/* What runs may have been carried out; what waits for a connection was not sent. */
static void test_stop(void **state)
{
    tls_server_t *server = tls_server_start("h", 0, ca);
    http_peer_config_t config = {
        .name = "test", .url = tls_server_url(server), .trust = ca_pem, .connections = 1
    };
    came_t running, waiting;
    http_peer_t *peer;
    int count, i;

    (void)state;
    assert_success(http_peer_create(&peer, client, &config, test_pool, NULL));
    begin(&running, peer, "POST", "{}", 1);
    begin(&waiting, peer, "POST", "{}", 1);
    for (i = 0; i < 200 && !tls_server_requests(server); ++i) {
        curl_multi_perform(multi, &count);
        curl_multi_poll(multi, NULL, 0, 20, NULL);
    }
    assert_int_equal(http_client_busy(client), 2);
    http_client_stop(client);
    assert_int_equal(running.outcome, HTTP_STOPPED);
    assert_int_equal(running.sent, 1);
    assert_int_equal(waiting.outcome, HTTP_STOPPED);
    assert_int_equal(waiting.sent, 0);
    assert_int_equal(http_client_busy(client), 0);
    tls_server_stop(server);
}

static void test_waiting_runs_later(void **state)
{
    tls_server_t *server = tls_server_start("", 0, ca);
    http_peer_config_t config = {
        .name = "test", .url = tls_server_url(server), .trust = ca_pem, .connections = 1
    };
    came_t came[5];
    http_peer_t *peer;
    int i;

    (void)state;
    assert_success(http_peer_create(&peer, client, &config, test_pool, NULL));
    for (i = 0; i < 5; ++i) {
        begin(&came[i], peer, "POST", "{}", 1);
    }
    for (i = 0; i < 5; ++i) {
        wait_for(&came[i]);
        assert_int_equal(came[i].outcome, HTTP_ANSWERED);
    }
    assert_int_equal(tls_server_requests(server), 5);
    assert_int_equal(tls_server_connections(server), 1);
    tls_server_stop(server);
}

/* Who waits for a connection is told in time that there was none, and that nothing was sent. */
static void test_waiting_is_bounded(void **state)
{
    tls_server_t *server = tls_server_start("hhh", 0, ca);
    http_peer_config_t config = {
        .name = "test", .url = tls_server_url(server), .trust = ca_pem, .connections = 1,
        .timeout = apr_time_from_sec(4)
    };
    came_t came[3];
    http_peer_t *peer;
    apr_time_t begun = apr_time_now();
    int i;

    (void)state;
    assert_success(http_peer_create(&peer, client, &config, test_pool, NULL));
    for (i = 0; i < 3; ++i) {
        begin(&came[i], peer, "POST", "{}", 1);
    }
    for (i = 1; i < 3; ++i) {
        wait_for(&came[i]);
        assert_int_equal(came[i].outcome, HTTP_NOT_SENT);
        assert_int_equal(came[i].sent, 0);
        assert_string_equal(came[i].result.number, "GH0803");
    }
    assert_true(apr_time_now() - begun >= apr_time_from_sec(2));
    assert_int_equal(http_client_busy(client), 1);
    wait_for(&came[0]);
    assert_int_equal(came[0].outcome, HTTP_UNKNOWN);
    tls_server_stop(server);
}

static void test_peers_refused(void **state)
{
    static const struct {
        const char *url, *trust, *number;
    } cases[] = {
        { "http://gateway", NULL, "GH0801" }, { "https://gateway/", NULL, "GH0801" },
        { "https://", NULL, "GH0801" }, { "https://a:b@gateway", NULL, "GH0801" },
        { "https://gateway?x=1", NULL, "GH0801" }, { "", NULL, "GH0801" },
        { "https://gateway", "no certificate", "GH0802" },
    };
    http_peer_t *peer;
    gh_result_t result;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        http_peer_config_t config = {
            .name = "test", .url = cases[i].url, .trust = cases[i].trust
        };

        assert_int_equal(http_peer_create(&peer, client, &config, test_pool, &result), APR_EINVAL);
        assert_string_equal(result.number, cases[i].number);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(test_never_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_body_never_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_effect_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idle_connection_closed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_surplus_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_distrusted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_sent, setup, teardown),
        cmocka_unit_test_setup_teardown(test_handshake_refused_late, setup, teardown),
        cmocka_unit_test_setup_teardown(test_credential_by_alias, setup, teardown),
        cmocka_unit_test_setup_teardown(test_outcomes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_proxy_of_the_environment, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slow_name, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_waiting_runs_later, setup, teardown),
        cmocka_unit_test_setup_teardown(test_waiting_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_peers_refused, setup, teardown),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
