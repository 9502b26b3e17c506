/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "x509_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_file_info.h>
#include <apr_file_io.h>
#include <apr_general.h>
#include <apr_strings.h>
#include <apr_tables.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>

#include "status.h"
#include "x509/key.h"
#include "x509/name.h"

apr_pool_t *test_pool;
static const char *folder;

int x509_group_setup(void **state)
{
    (void)state;
    if (apr_initialize() != APR_SUCCESS || apr_pool_create(&test_pool, NULL) != APR_SUCCESS)
        return -1;
    return 0;
}

int x509_group_teardown(void **state)
{
    (void)state;
    apr_pool_destroy(test_pool);
    apr_terminate();
    return 0;
}

int x509_test_teardown(void **state)
{
    (void)state;
    if (folder != NULL)
        run("rm -rf '%s'", folder);
    folder = NULL;
    apr_pool_clear(test_pool);
    /* Whatever a function of the library does, it leaves no error behind. */
    assert_int_equal(ERR_peek_error(), 0);
    return 0;
}

EVP_PKEY *fixture_key(const char *name)
{
    const char *path = apr_pstrcat(test_pool, TEST_SRCDIR "/tests/fixtures/keys/", name, ".pem",
                                   NULL);
    FILE *file = fopen(path, "r");
    EVP_PKEY *key;

    assert_non_null(file);
    key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    fclose(file);
    assert_non_null(key);
    ERR_clear_error();
    return gh_own_key(test_pool, key);
}

const char *const key_kinds[] = {
    "RSA-2048", "RSA-3072", "RSA-4096", "P-256", "P-384", "P-521", NULL
};

EVP_PKEY *key_of_kind(const char *kind)
{
    static const char *const names[][2] = {
        { "RSA-2048", "rsa2048-01" }, { "RSA-3072", "rsa3072-01" }, { "RSA-4096", "rsa4096-01" },
        { "P-256", "p256-01" }, { "P-384", "p384-01" }, { "P-521", "p521-01" },
    };
    size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i][0], kind) == 0)
            return fixture_key(names[i][1]);
    }
    fail_msg("no fixture for %s", kind);
    return NULL;
}

const char *scratch_folder(void)
{
    if (folder == NULL) {
        char *path = apr_pstrdup(test_pool, "/tmp/gatehouse-test-XXXXXX");

        assert_non_null(mkdtemp(path));
        folder = path;
    }
    return folder;
}

const char *scratch_file(const char *name, const char *content, int mode)
{
    const char *path = apr_pstrcat(test_pool, scratch_folder(), "/", name, NULL);
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(content, 1, strlen(content), file), strlen(content));
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, (mode_t)mode), 0);
    return path;
}

const char *scratch_path(const char *name)
{
    return apr_pstrcat(test_pool, scratch_folder(), "/", name, NULL);
}

void write_key(const char *path, EVP_PKEY *key, int traditional, const char *passphrase)
{
    FILE *file = fopen(path, "w");
    const EVP_CIPHER *cipher = passphrase != NULL ? EVP_aes_256_cbc() : NULL;
    BIO *bio = BIO_new_fp(file, BIO_CLOSE);
    int length = passphrase != NULL ? (int)strlen(passphrase) : 0;

    if (traditional)
        assert_int_equal(PEM_write_bio_PrivateKey_traditional(
                             bio, key, cipher, (const unsigned char *)passphrase, length, NULL,
                             NULL), 1);
    else
        assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, key, cipher, passphrase, length, NULL,
                                                       NULL), 1);
    BIO_free(bio);
    assert_int_equal(chmod(path, 0600), 0);
}

void run(const char *format, ...)
{
    char command[2048];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(command, sizeof(command), format, arguments);
    va_end(arguments);
    if (system(command) != 0)
        fail_msg("failed: %s", command);
}

/* Requests */

request_t request_for(EVP_PKEY *key, const char *subject)
{
    request_t request;

    memset(&request, 0, sizeof(request));
    request.key = key;
    request.subject = subject;
    request.extensions = sk_X509_EXTENSION_new_null();
    return request;
}

void ask(request_t *request, const char *name, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf(NULL, NULL, name, value);

    if (extension == NULL)
        fail_msg("cannot make extension %s = %s", name, value);
    sk_X509_EXTENSION_push(request->extensions, extension);
}

void ask_der(request_t *request, const char *oid, int critical, const char *hex)
{
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    X509_EXTENSION *extension;
    long length = 0;
    unsigned char *der = OPENSSL_hexstr2buf(hex, &length);

    assert_non_null(object);
    assert_true(der != NULL || hex[0] == '\0');
    ASN1_OCTET_STRING_set(value, der, (int)length);
    extension = X509_EXTENSION_create_by_OBJ(NULL, object, critical, value);
    assert_non_null(extension);
    sk_X509_EXTENSION_push(request->extensions, extension);
    OPENSSL_free(der);
    ASN1_OBJECT_free(object);
    ASN1_OCTET_STRING_free(value);
}

static apr_status_t free_request(void *request)
{
    X509_REQ_free(request);
    return APR_SUCCESS;
}

X509_REQ *build_request(const request_t *request)
{
    X509_REQ *made = X509_REQ_new();
    X509_NAME *subject = NULL;

    assert_success(gh_name_parse(&subject, request->subject, test_pool, NULL));
    assert_true(X509_REQ_set_subject_name(made, subject));
    assert_true(X509_REQ_set_pubkey(made, request->key));
    if (request->extensions != NULL && sk_X509_EXTENSION_num(request->extensions) > 0)
        assert_true(X509_REQ_add_extensions(made, request->extensions));
    if (request->challenge != NULL)
        assert_true(X509_REQ_add1_attr_by_NID(made, NID_pkcs9_challengePassword, MBSTRING_UTF8,
                                              (const unsigned char *)request->challenge,
                                              (int)strlen(request->challenge)));
    assert_true(X509_REQ_sign(made, request->key,
                              request->digest != NULL ? request->digest : EVP_sha256()) > 0);
    apr_pool_cleanup_register(test_pool, made, free_request, apr_pool_cleanup_null);
    sk_X509_EXTENSION_pop_free(request->extensions, X509_EXTENSION_free);
    ERR_clear_error();
    return made;
}

gh_bytes_t request_der(X509_REQ *request)
{
    gh_bytes_t der;
    int length = i2d_X509_REQ(request, NULL);
    unsigned char *data = apr_palloc(test_pool, (apr_size_t)length);

    der.data = data;
    der.length = (apr_size_t)length;
    assert_int_equal(i2d_X509_REQ(request, &data), length);
    return der;
}

gh_csr_t *make_csr(const request_t *request)
{
    gh_bytes_t der = request_der(build_request(request));
    gh_result_t result;
    gh_csr_t *csr = NULL;

    gh_result_clear(&result);
    if (gh_csr_parse(&csr, der.data, der.length, NULL, test_pool, &result) != APR_SUCCESS
        || gh_csr_verify(csr, 0, &result) != APR_SUCCESS)
        fail_msg("%s", result.message);
    return csr;
}

/* Profiles: a reader for what httpd reads */

/** Takes one word as httpd does: blanks separate, quotes group, a backslash escapes a quote. */
static const char *next_word(const char **line)
{
    const char *at = *line;
    char *word, *out;

    while (*at == ' ' || *at == '\t')
        at++;
    if (*at == '\0')
        return NULL;
    out = word = apr_palloc(test_pool, strlen(at) + 1);
    if (*at == '"' || *at == '\'') {
        char quote = *at++;

        while (*at != '\0' && *at != quote) {
            if (*at == '\\' && (at[1] == quote || at[1] == '\\'))
                at++;
            *out++ = *at++;
        }
        if (*at == quote)
            at++;
    }
    else {
        while (*at != '\0' && *at != ' ' && *at != '\t')
            *out++ = *at++;
    }
    *out = '\0';
    *line = at;
    return word;
}

static apr_array_header_t *words_of(const char *line)
{
    apr_array_header_t *words = apr_array_make(test_pool, 8, sizeof(const char *));
    const char *word;

    while ((word = next_word(&line)) != NULL)
        APR_ARRAY_PUSH(words, const char *) = word;
    return words;
}

static gh_profile_t *open_section(apr_hash_t *profiles, const char *line)
{
    apr_size_t length = strlen(line);
    apr_array_header_t *words;
    const gh_profile_t *base = NULL;
    gh_profile_t *profile;
    const char *name;

    assert_int_equal(line[length - 1], '>');
    words = words_of(apr_pstrmemdup(test_pool, line + 1, length - 2));
    assert_in_range(words->nelts, 2, 3);
    assert_string_equal(APR_ARRAY_IDX(words, 0, const char *), "CertificateProfile");
    name = APR_ARRAY_IDX(words, 1, const char *);
    if (words->nelts == 3) {
        const char *option = APR_ARRAY_IDX(words, 2, const char *);

        assert_true(strncmp(option, "base=", 5) == 0);
        base = apr_hash_get(profiles, option + 5, APR_HASH_KEY_STRING);
        assert_non_null(base);
    }
    if (apr_hash_get(profiles, name, APR_HASH_KEY_STRING) != NULL)
        fail_msg("profile %s is there twice", name);
    profile = gh_profile_create(name, base, test_pool);
    assert_non_null(profile);
    apr_hash_set(profiles, gh_profile_name(profile), APR_HASH_KEY_STRING, profile);
    return profile;
}

apr_status_t read_profile_text(apr_hash_t *profiles, const char *text, gh_result_t *result)
{
    gh_profile_t *profile = NULL;
    apr_status_t rv = APR_SUCCESS;
    const char *pending = "";

    while (rv == APR_SUCCESS && *text != '\0') {
        apr_size_t length = strcspn(text, "\n");
        char *line = apr_pstrcat(test_pool, pending, apr_pstrmemdup(test_pool, text, length), NULL);
        apr_array_header_t *words;

        text += length + (text[length] != '\0');
        length = strlen(line);
        pending = "";
        if (length > 0 && line[length - 1] == '\\') {
            line[length - 1] = '\0';
            pending = line;
            continue;
        }
        line += strspn(line, " \t");
        if (*line == '\0' || *line == '#')
            continue;
        if (strcmp(line, "</CertificateProfile>") == 0) {
            assert_non_null(profile);
            rv = gh_profile_complete(profile, test_pool, result);
            profile = NULL;
        }
        else if (*line == '<') {
            assert_null(profile);
            profile = open_section(profiles, line);
        }
        else {
            assert_non_null(profile);
            words = words_of(line);
            rv = gh_profile_set(profile, APR_ARRAY_IDX(words, 0, const char *), words->nelts - 1,
                                (const char *const *)words->elts + 1, test_pool, result);
        }
    }
    return rv;
}

apr_hash_t *read_profiles(void)
{
    apr_hash_t *profiles = apr_hash_make(test_pool);
    apr_file_t *file = NULL;
    apr_finfo_t info;
    apr_size_t length;
    gh_result_t result;
    char *text;

    gh_result_clear(&result);
    assert_success(apr_file_open(&file, TEST_SRCDIR "/conf.d/profiles.conf", APR_READ,
                                 APR_OS_DEFAULT, test_pool));
    assert_success(apr_file_info_get(&info, APR_FINFO_SIZE, file));
    length = (apr_size_t)info.size;
    text = apr_pcalloc(test_pool, length + 1);
    assert_success(apr_file_read_full(file, text, length, NULL));
    apr_file_close(file);
    if (read_profile_text(profiles, text, &result) != APR_SUCCESS)
        fail_msg("profiles.conf: %s", result.message);
    return profiles;
}

gh_profile_t *make_profile(const char *name, const char *base, ...)
{
    apr_hash_t *profiles = base != NULL ? read_profiles() : apr_hash_make(test_pool);
    const char *text = apr_pstrcat(test_pool, "<CertificateProfile ", name,
                                   base != NULL ? " base=" : "", base != NULL ? base : "", ">\n",
                                   NULL);
    const char *line;
    gh_result_t result;
    va_list lines;

    va_start(lines, base);
    while ((line = va_arg(lines, const char *)) != NULL)
        text = apr_pstrcat(test_pool, text, line, "\n", NULL);
    va_end(lines);
    gh_result_clear(&result);
    text = apr_pstrcat(test_pool, text, "</CertificateProfile>\n", NULL);
    if (read_profile_text(profiles, text, &result) != APR_SUCCESS)
        fail_msg("%s", result.message);
    return apr_hash_get(profiles, name, APR_HASH_KEY_STRING);
}

/* Requests and profiles */

outcome_t apply_with(const gh_profile_t *profile, const request_t *request,
                            const gh_profile_context_t *context)
{
    outcome_t outcome;

    gh_result_clear(&outcome.result);
    outcome.rv = gh_profile_apply(&outcome.plan, profile, make_csr(request), context, test_pool,
                                  &outcome.result);
    assert_true((outcome.rv == APR_SUCCESS) == (outcome.plan != NULL));
    return outcome;
}

outcome_t apply(const gh_profile_t *profile, const request_t *request)
{
    return apply_with(profile, request, NULL);
}

void assert_refused(outcome_t outcome, const char *rule)
{
    assert_int_equal(outcome.rv, GH_EREFUSED);
    assert_int_equal(outcome.result.status, GH_EREFUSED);
    assert_string_equal(outcome.result.rule, rule);
    assert_int_equal(strlen(outcome.result.number), 6);
    assert_true(outcome.result.action[0] != '\0');
}

void assert_granted(outcome_t outcome)
{
    if (outcome.rv != APR_SUCCESS)
        fail_msg("%s: %s", outcome.result.number, outcome.result.message);
}

gh_allowances_t *allowing(const char *item)
{
    apr_array_header_t *items = apr_array_make(test_pool, 1, sizeof(const char *));
    gh_allowances_t *allowances = NULL;

    APR_ARRAY_PUSH(items, const char *) = item;
    assert_success(gh_allowances_make(&allowances, items, test_pool, NULL));
    return allowances;
}

/* CAs */

gh_profile_t *shipped(const char *name)
{
    gh_profile_t *profile = apr_hash_get(read_profiles(), name, APR_HASH_KEY_STRING);

    assert_non_null(profile);
    return profile;
}

gh_ca_t *make_root(EVP_PKEY *key, const char *subject, apr_time_t now)
{
    gh_plan_t *plan = NULL;
    X509 *certificate = NULL;
    gh_result_t result;
    gh_ca_t *ca = NULL;

    gh_result_clear(&result);
    if (gh_profile_apply_own(&plan, shipped("basic-ca-root"), key, subject, test_pool, &result)
        || gh_ca_self_sign(&certificate, plan, key, 0, now, test_pool, &result)
        || gh_ca_create(&ca, certificate, key,
                        &(gh_ca_urls_t){ "http://pki.example.com/crl/root.crl",
                                         "http://pki.example.com/ca/root.cer", NULL, 0 },
                        test_pool, &result))
        fail_msg("root: %s", result.message);
    return ca;
}

gh_ca_t *make_issuing(const gh_ca_t *root, EVP_PKEY *key, const char *subject, apr_time_t now)
{
    gh_plan_t *plan = NULL;
    X509 *certificate = NULL;
    gh_result_t result;
    gh_ca_t *ca = NULL;

    gh_result_clear(&result);
    if (gh_profile_apply_own(&plan, shipped("basic-ca-subord"), key, subject, test_pool, &result)
        || gh_ca_issue(&certificate, root, plan, now, test_pool, &result)
        || gh_ca_create(&ca, certificate, key,
                        &(gh_ca_urls_t){ "http://pki.example.com/crl/devices.crl",
                                         "http://pki.example.com/ca/devices.cer", NULL, 0 },
                        test_pool, &result))
        fail_msg("issuing CA: %s", result.message);
    return ca;
}

gh_plan_t *subscriber(EVP_PKEY *key)
{
    static const char name[] = "scep-digital-signature";
    request_t request = request_for(key, "cn=device,o=Example");
    gh_plan_t *plan = NULL;

    ask(&request, "subjectAltName", "DNS:device.example.com");
    assert_success(gh_profile_apply(&plan, apr_hash_get(read_profiles(), name,
                                                        APR_HASH_KEY_STRING),
                                    make_csr(&request), NULL, test_pool, NULL));
    return plan;
}

X509 *issue_at(const gh_ca_t *ca, const gh_plan_t *plan, apr_time_t now)
{
    X509 *certificate = NULL;
    gh_result_t result;

    gh_result_clear(&result);
    if (gh_ca_issue(&certificate, ca, plan, now, test_pool, &result) != APR_SUCCESS)
        fail_msg("%s", result.message);
    return gh_certificate_parse(gh_certificate_der(certificate, test_pool), test_pool);
}

int verify_chain(X509 *certificate, const gh_ca_t *issuing, const gh_ca_t *root,
                  STACK_OF(X509_CRL) *crls, apr_time_t now)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    STACK_OF(X509) *chain = sk_X509_new_null();
    int error;

    X509_STORE_add_cert(store, gh_ca_certificate(root));
    if (issuing != NULL)
        sk_X509_push(chain, gh_ca_certificate(issuing));
    assert_int_equal(X509_STORE_CTX_init(context, store, certificate, chain), 1);
    X509_STORE_CTX_set_time(context, 0, apr_time_sec(now));
    X509_STORE_CTX_set_flags(context, X509_V_FLAG_X509_STRICT);
    if (crls != NULL) {
        X509_STORE_CTX_set0_crls(context, crls);
        X509_STORE_CTX_set_flags(context, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
    }
    X509_verify_cert(context);
    error = X509_STORE_CTX_get_error(context);
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
    sk_X509_free(chain);
    ERR_clear_error();
    return error;
}

X509 *issue(const gh_ca_t *ca, const gh_plan_t *plan)
{
    return issue_at(ca, plan, apr_time_now());
}

void *extension_of(X509 *certificate, int nid, int *critical)
{
    int ignored;

    return X509_get_ext_d2i(certificate, nid, critical != NULL ? critical : &ignored, NULL);
}

X509_EXTENSION *extension_by_oid(X509 *certificate, const char *oid)
{
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    int at = X509_get_ext_by_OBJ(certificate, object, -1);

    ASN1_OBJECT_free(object);
    return at >= 0 ? X509_get_ext(certificate, at) : NULL;
}
