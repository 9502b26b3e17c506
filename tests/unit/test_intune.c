/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What is said to Intune and Entra ID, and what is made of their answers. */

#include "x509_support.h"

#include <apr_strings.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "fcgi/intune/intune_assertion.h"
#include "fcgi/intune/intune_codec.h"
#include "issuer/intune.h"
#include "status.h"

static gh_result_t result;

static gh_bytes_t bytes_of(const char *text)
{
    gh_bytes_t bytes = { (const unsigned char *)text, strlen(text) };

    gh_result_clear(&result);
    return bytes;
}

static const char *text_of(gh_bytes_t body)
{
    return apr_pstrmemdup(test_pool, (const char *)body.data, body.length);
}

static intune_answer_t scep(long status, const char *body)
{
    intune_answer_t answer;

    intune_read_scep(&answer, status, bytes_of(body), test_pool, &result);
    assert_int_equal(answer.verdict == INTUNE_DONE, result.number[0] == '\0');
    return answer;
}

static void test_codes(void **state)
{
    static const struct {
        const char *name;
        gh_failure_t failure;
    } codes[] = {
        { "ChallengeExpired", GH_FAILURE_TIME }, { "ChallengeInvalidTimestamp", GH_FAILURE_TIME },
        { "ChallengeDecryptionError", GH_FAILURE_INTEGRITY },
        { "SignatureValidationFailed", GH_FAILURE_INTEGRITY },
        { "CertificateRequestDecodingFailed", GH_FAILURE_INTEGRITY },
        { "SubjectNameMismatch", GH_FAILURE_REQUEST }, { "Unknown", GH_FAILURE_REQUEST },
        { "BadUserIdInChallenge", GH_FAILURE_REQUEST }
    };
    intune_answer_t answer;
    apr_size_t i;

    for (i = 0; i < sizeof(codes) / sizeof(codes[0]); ++i) {
        answer = scep(200, apr_psprintf(test_pool, "{\"code\":\"%s\",\"errorDescription\":\"x\"}",
                                        codes[i].name));
        assert_int_equal(answer.verdict, INTUNE_REFUSED);
        assert_string_equal(answer.code, codes[i].name);
        assert_int_equal(result.failure, codes[i].failure);
        assert_int_equal(gh_intune_failure(answer.reason), codes[i].failure);
    }
    assert_int_equal(gh_intune_failure(NULL), GH_FAILURE_REQUEST);
    assert_int_equal(gh_intune_failure("the CA says no"), GH_FAILURE_REQUEST);
    assert_int_equal(gh_intune_failure("Intune says Success"), GH_FAILURE_REQUEST);
}

static void test_answers(void **state)
{
    assert_int_equal(scep(200, "{\"code\":\"Success\",\"errorDescription\":\"\"}").verdict,
                     INTUNE_DONE);
    assert_int_equal(scep(202, "{\"Code\":\"Success\"}").verdict, INTUNE_DONE);
    /* compared exactly; nothing but that is a yes */
    assert_int_equal(scep(200, "{\"code\":\"success\"}").verdict, INTUNE_REFUSED);
    assert_int_equal(scep(200, "{\"code\":\"Success \"}").verdict, INTUNE_REFUSED);
    assert_int_equal(scep(200, "{\"code\":0}").verdict, INTUNE_REFUSED);
    assert_int_equal(scep(200, "{\"code\":\"Success\\u0000x\"}").verdict, INTUNE_UNAVAILABLE);
    assert_int_equal(scep(200, "{}").verdict, INTUNE_REFUSED);
    assert_int_equal(scep(200, "[\"Success\"]").verdict, INTUNE_UNAVAILABLE);
    assert_int_equal(scep(200, "<html>").verdict, INTUNE_UNAVAILABLE);
    assert_int_equal(scep(200, "").verdict, INTUNE_UNAVAILABLE);
    assert_int_equal(scep(500, "{\"code\":\"Success\"}").verdict, INTUNE_UNAVAILABLE);
    assert_int_equal(scep(429, "").verdict, INTUNE_UNAVAILABLE);
    assert_int_equal(scep(401, "").verdict, INTUNE_TOKEN);
    assert_int_equal(scep(403, "").verdict, INTUNE_TOKEN);
    assert_int_equal(scep(404, "").verdict, INTUNE_MOVED);
    assert_int_equal(scep(400, "").verdict, INTUNE_REFUSED);
    assert_int_equal(scep(302, "").verdict, INTUNE_UNAVAILABLE);
}

static intune_verdict_t token(intune_token_t *got, long status, const char *body)
{
    return intune_read_token(got, status, bytes_of(body), test_pool, &result);
}

static void test_tokens(void **state)
{
    intune_token_t got;

    assert_int_equal(token(&got, 200, "{\"token_type\":\"Bearer\",\"expires_in\":3599,"
                                      "\"access_token\":\"ey-J_.x~+/=\"}"), INTUNE_DONE);
    assert_string_equal(got.token, "ey-J_.x~+/=");
    assert_int_equal(got.lifetime, apr_time_from_sec(3599));
    assert_int_equal(token(&got, 200, "{\"expires_in\":\"60\",\"access_token\":\"a\"}"),
                     INTUNE_DONE);
    assert_int_equal(got.lifetime, apr_time_from_sec(60));
    assert_int_equal(token(&got, 200, "{\"expires_in\":60,\"access_token\":\"a\\r\\nX: y\"}"),
                     INTUNE_UNAVAILABLE);
    assert_int_equal(token(&got, 200, "{\"access_token\":\"a\"}"), INTUNE_UNAVAILABLE);
    assert_int_equal(token(&got, 401, "{\"error\":\"invalid_client\",\"error_description\":"
                                      "\"AADSTS7000215: Invalid client secret\"}"),
                     INTUNE_CREDENTIAL);
    assert_non_null(strstr(result.message, "AADSTS7000215"));
    assert_int_equal(token(&got, 400, "{\"error\":\"invalid_resource\",\"error_description\":"
                                      "\"AADSTS500011: no\"}"), INTUNE_SCOPE);
    assert_int_equal(token(&got, 400, "{\"error\":\"invalid_request\"}"), INTUNE_MISCONFIGURED);
    assert_int_equal(token(&got, 429, "{\"error\":\"x\"}"), INTUNE_UNAVAILABLE);
    assert_int_equal(token(&got, 503, "busy"), INTUNE_UNAVAILABLE);
}

static void test_services(void **state)
{
    intune_services_t got;

    assert_int_equal(intune_read_services(&got, 200, bytes_of(
        "{\"value\":[{\"providerName\":\"other\",\"uri\":\"http://x\"},"
        "{\"providerName\":\"sceprequestvalidationFEService\",\"uri\":\"https://a.b/x/\"},"
        "{\"serviceName\":\"PkiConnectorFEService\",\"uri\":\"https://c\"}]}"), test_pool,
        &result), INTUNE_DONE);
    assert_string_equal(got.scep, "https://a.b/x");
    assert_string_equal(got.revocation, "https://c");
    /* a token is never sent anywhere else than over TLS */
    assert_int_equal(intune_read_services(&got, 200, bytes_of(
        "{\"value\":[{\"providerName\":\"ScepRequestValidationFEService\","
        "\"uri\":\"http://a.b/x/\"}]}"), test_pool, &result), INTUNE_MISCONFIGURED);
    assert_int_equal(intune_read_services(&got, 200, bytes_of("{\"value\":[]}"), test_pool,
                                          &result), INTUNE_MISCONFIGURED);
    assert_int_equal(intune_read_services(&got, 200, bytes_of("{}"), test_pool, &result),
                     INTUNE_UNAVAILABLE);
    assert_int_equal(intune_read_services(&got, 403, bytes_of(""), test_pool, &result),
                     INTUNE_TOKEN);
    assert_non_null(strstr(result.message, "Application.Read.All"));
}

static void test_writing(void **state)
{
    static const intune_issued_t issued = { "AB", "0102", "2027-06-11T16:11:20.000Z", "CN=CA" };
    gh_bytes_t body, request = { (const unsigned char *)"\x30\x00", 2 };
    char *longer = apr_palloc(test_pool, 701);
    int i;

    assert_int_equal(intune_write_validation(&body, "t1", request, test_pool), APR_SUCCESS);
    assert_non_null(strstr(text_of(body), "{\"request\":{\"transactionId\":\"t1\","
                                          "\"certificateRequest\":\"MAA=\",\"callerInfo\":"
                                          "\"Gatehouse/"));
    assert_int_equal(intune_write_success(&body, "t1", request, &issued, test_pool), APR_SUCCESS);
    assert_non_null(strstr(text_of(body), "\"certificateThumbprint\":\"AB\","
                                          "\"certificateSerialNumber\":\"0102\","
                                          "\"certificateExpirationDateUtc\":"
                                          "\"2027-06-11T16:11:20.000Z\","
                                          "\"issuingCertificateAuthority\":\"CN=CA\""));
    for (i = 0; i < 700; i += 2) {
        memcpy(longer + i, "\xc3\xa9", 2);
    }
    longer[700] = '\0';
    assert_int_equal(intune_write_failure(&body, "t1", request, 0xa0000001, longer, test_pool),
                     APR_SUCCESS);
    assert_non_null(strstr(text_of(body), "\"hResult\":2684354561"));
    assert_non_null(strstr(text_of(body), apr_psprintf(test_pool, "\"errorDescription\":\"%.510s\"",
                                                       longer)));
    assert_int_equal(intune_write_failure(&body, "t1", request, 1, "\xff", test_pool), APR_EINVAL);
    assert_int_equal(intune_write_download(&body, 500, NULL, test_pool), APR_SUCCESS);
    assert_string_equal(text_of(body), "{\"downloadParameters\":{\"maxRequests\":500,"
                                       "\"issuerName\":null}}");
}

static void test_revocations(void **state)
{
    apr_array_header_t *list, *results = apr_array_make(test_pool, 2, sizeof(intune_result_t));
    intune_result_t done = { "c1", INTUNE_REVOKED, "x" }, missing = {
        "c2", INTUNE_ERROR_NOT_FOUND, "no such serial" };
    gh_bytes_t body;
    int skipped;

    assert_int_equal(intune_read_revocations(&list, &skipped, 200, bytes_of(
        "{\"value\":[{\"RequestContext\":\"c1\",\"SERIALNUMBER\":\"01\",\"issuerName\":\"CN=CA\"},"
        "{\"serialNumber\":\"02\"},{\"requestContext\":\"c3\",\"issuerName\":null},7]}"),
        test_pool, &result), INTUNE_DONE);
    assert_int_equal(list->nelts, 2);
    assert_int_equal(skipped, 2);
    assert_string_equal(APR_ARRAY_IDX(list, 0, intune_revocation_t).issuer, "CN=CA");
    assert_string_equal(APR_ARRAY_IDX(list, 1, intune_revocation_t).serial, "");
    assert_int_equal(intune_read_revocations(&list, &skipped, 200, bytes_of("{}"), test_pool,
                                             &result), INTUNE_UNAVAILABLE);
    APR_ARRAY_PUSH(results, intune_result_t) = done;
    APR_ARRAY_PUSH(results, intune_result_t) = missing;
    assert_int_equal(intune_write_upload(&body, results, test_pool), APR_SUCCESS);
    assert_string_equal(text_of(body),
        "{\"results\":[{\"requestContext\":\"c1\",\"succeeded\":true,\"errorCode\":\"None\","
        "\"errorMessage\":null},{\"requestContext\":\"c2\",\"succeeded\":false,"
        "\"errorCode\":\"CertificateNotFoundError\",\"errorMessage\":\"no such serial\"}]}");
    assert_int_equal(intune_read_recorded(200, bytes_of("{\"value\":true}"), test_pool, &result),
                     INTUNE_DONE);
    assert_int_equal(intune_read_recorded(200, bytes_of("{\"Value\":\"true\"}"), test_pool,
                                          &result), INTUNE_DONE);
    assert_int_equal(intune_read_recorded(200, bytes_of("{\"value\":false}"), test_pool, &result),
                     INTUNE_UNAVAILABLE);
    assert_int_equal(intune_read_recorded(200, bytes_of("[true]"), test_pool, &result),
                     INTUNE_UNAVAILABLE);
}

/** RFC 4648 5, as far as it is needed. */
static gh_bytes_t unbase64url(const char *text, apr_size_t length)
{
    char *copy = apr_pstrcat(test_pool, apr_pstrmemdup(test_pool, text, length),
                             &"==="[3 - (4 - length % 4) % 4], NULL), *at;

    for (at = copy; *at; ++at) {
        *at = *at == '-' ? '+' : *at == '_' ? '/' : *at;
    }
    return gh_base64_decode(copy, test_pool);
}

static void test_assertion(void **state)
{
    intune_credential_t credential;
    gh_ca_t *root = make_root(key_of_kind("P-256"), "CN=Root", apr_time_now());
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *options;
    const char *jwt, *first, *second;
    gh_bytes_t part;

    credential.key = key_of_kind("RSA-2048");
    credential.certificate = issue(root, subscriber(credential.key));
    gh_result_clear(&result);
    assert_int_equal(intune_assertion_make(&jwt, &credential, "https://a/token", "app",
                                           apr_time_from_sec(1000000), test_pool, &result),
                     APR_SUCCESS);
    first = strchr(jwt, '.');
    second = strchr(first + 1, '.');
    assert_null(strpbrk(jwt, "+/="));
    part = unbase64url(jwt, (apr_size_t)(first - jwt));
    assert_non_null(strstr(text_of(part), "\"alg\":\"PS256\",\"typ\":\"JWT\",\"x5t\":\""));
    part = unbase64url(first + 1, (apr_size_t)(second - first - 1));
    assert_non_null(strstr(text_of(part), "\"aud\":\"https://a/token\",\"iss\":\"app\","
                                          "\"sub\":\"app\",\"jti\":\""));
    assert_non_null(strstr(text_of(part), "\"nbf\":999970,\"exp\":1000570}"));
    part = unbase64url(second + 1, strlen(second + 1));
    assert_int_equal(EVP_DigestVerifyInit(context, &options, EVP_sha256(), NULL, credential.key),
                     1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PSS_PADDING), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(options, 32), 1);
    assert_int_equal(EVP_DigestVerify(context, part.data, part.length, (const unsigned char *)jwt,
                                      (size_t)(second - jwt)), 1);
    EVP_MD_CTX_free(context);
    first = intune_uuid(test_pool);
    assert_int_equal(strlen(first), 36);
    assert_int_equal(first[14], '4');
    assert_non_null(strchr("89ab", first[19]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_codes, x509_test_teardown),
        cmocka_unit_test_teardown(test_answers, x509_test_teardown),
        cmocka_unit_test_teardown(test_tokens, x509_test_teardown),
        cmocka_unit_test_teardown(test_services, x509_test_teardown),
        cmocka_unit_test_teardown(test_writing, x509_test_teardown),
        cmocka_unit_test_teardown(test_revocations, x509_test_teardown),
        cmocka_unit_test_teardown(test_assertion, x509_test_teardown),
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
