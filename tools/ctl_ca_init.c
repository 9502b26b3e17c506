/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * ca init: a root CA that stays offline and an issuing CA below it. Needs no httpd, so the two
 * profiles are made here, with the directives of basic-ca-root and basic-ca-subord.
 */

#include "ctl_commands.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apr_strings.h>
#include <apr_uri.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <openssl/rand.h>

#include "ctl_ca.h"
#include "ctl_file.h"
#include "ctl_output.h"
#include "ctl_text.h"
#include "x509/ca.h"
#include "x509/key.h"
#include "x509/name.h"
#include "x509/profile.h"

#define RULE "ca.init"

#define BACKDATE        apr_time_from_sec(300)
#define ROOT_CRL_LIFE   apr_time_from_sec(365 * 86400)
#define SEALING_BYTES   32
#define VALUES_MAX      4

/* Validities of basic-ca-root and basic-ca-subord; none may be longer. */
#define ROOT_VALIDITY     "20y"
#define ISSUING_VALIDITY  "10y"

const ctl_option_t ctl_ca_init_options[] = {
    { "directory", 0, "DIR", "where the files go; made if it is not there" },
    { "name", 0, "NAME", "name of the issuing CA" },
    { "root-name", 0, "NAME", "name of the root CA (root)" },
    { "key", 0, "KIND", "key of the issuing CA (RSA-3072)" },
    { "root-key", 0, "KIND", "key of the root CA (P-384)" },
    { "subject", 0, "DN", "subject of the issuing CA (CN=NAME issuing CA)" },
    { "root-subject", 0, "DN", "subject of the root CA (CN=NAME root CA)" },
    { "validity", 0, "DURATION", "of the issuing CA, at most " ISSUING_VALIDITY },
    { "root-validity", 0, "DURATION", "of the root CA, at most " ROOT_VALIDITY },
    { "public-url", 0, "URL", "under which relying parties reach this httpd" },
    { "root-passphrase", 0, "SOURCE", "file:PATH or exec:PATH, to encrypt the root's key" },
    { NULL, 0, NULL, NULL }
};

/* What is to be made: paths are absolute. */
typedef struct {
    const char *directory;
    const char *name;
    const char *root_name;
    const char *key_kind;
    const char *root_key_kind;
    const char *subject;
    const char *root_subject;
    const char *validity;
    const char *root_validity;
    const char *public_url;
    gh_bytes_t passphrase;          /* data NULL: none */

    const char *root_certificate;
    const char *root_key;
    const char *root_crl;
    const char *certificate;
    const char *key;
    const char *sealing_key;

    apr_array_header_t *written;    /* const char *, to be removed if we fail */
} init_t;

static const char *option_or(const ctl_arguments_t *arguments, const char *name,
                             const char *otherwise)
{
    const char *value = ctl_option(arguments, name);

    return value != NULL ? value : otherwise;
}

static int usage_url(const char *url)
{
    gh_result_t result;

    gh_result_clear(&result);
    gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                   "Give http://HOST, perhaps with a port and a path: it is written into "
                   "certificates.",
                   GHNO(0371) "--public-url %s is not an http URL", url);
    return ctl_fail_usage(&result);
}

/* The URL goes into certificates and configuration: nothing in it may need quoting. */
static int read_url(init_t *init, apr_pool_t *p)
{
    apr_uri_t uri;
    char *url = apr_pstrdup(p, init->public_url);
    size_t length = strlen(url);

    while (length > 0 && url[length - 1] == '/') {
        url[--length] = '\0';
    }
    if (apr_uri_parse(p, url, &uri) != APR_SUCCESS || uri.scheme == NULL
        || (strcmp(uri.scheme, "http") != 0 && strcmp(uri.scheme, "https") != 0)
        || uri.hostname == NULL || *uri.hostname == '\0' || uri.query != NULL
        || uri.fragment != NULL || uri.user != NULL || length > 1024) {
        return usage_url(init->public_url);
    }
    for (length = 0; url[length] != '\0'; length++) {
        if (url[length] <= ' ' || url[length] > '~' || strchr("\"\\'<>", url[length]) != NULL) {
            return usage_url(init->public_url);
        }
    }
    init->public_url = url;
    return CTL_OK;
}

static int read_validities(const init_t *init)
{
    apr_interval_time_t longest_root;
    apr_interval_time_t longest;
    apr_interval_time_t root;
    apr_interval_time_t issuing;
    gh_result_t result;

    gh_duration_parse(&longest_root, ROOT_VALIDITY);
    gh_duration_parse(&longest, ISSUING_VALIDITY);
    if (gh_duration_parse(&root, init->root_validity) == APR_SUCCESS
        && gh_duration_parse(&issuing, init->validity) == APR_SUCCESS
        && issuing >= apr_time_from_sec(3600) && issuing <= longest && issuing <= root
        && root <= longest_root) {
        return CTL_OK;
    }
    gh_result_clear(&result);
    gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                   "Give a number and a unit: at most " ROOT_VALIDITY " for the root, at most "
                   ISSUING_VALIDITY " and not more than the root for the issuing CA.",
                   GHNO(0372) "validity %s below a root of %s is not possible", init->validity,
                   init->root_validity);
    return ctl_fail_usage(&result);
}

static int check_kind(const char *kind)
{
    static const char *const kinds[] = {
        "RSA-2048", "RSA-3072", "RSA-4096", "P-256", "P-384", "P-521"
    };
    gh_result_t result;
    size_t i;

    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(kind, kinds[i]) == 0) {
            return CTL_OK;
        }
    }
    gh_result_clear(&result);
    gh_result_fail(&result, APR_EINVAL, GH_FAILURE_ALGORITHM, RULE,
                   "Give RSA-2048, RSA-3072, RSA-4096, P-256, P-384 or P-521.",
                   GHNO(0380) "\"%s\" is not a kind of key that a CA may have", kind);
    return ctl_fail_usage(&result);
}

static int check_subject(const char *subject, apr_pool_t *p)
{
    X509_NAME *name;
    gh_result_t result;

    gh_result_clear(&result);
    if (gh_name_parse(&name, subject, p, &result) != APR_SUCCESS) {
        return ctl_fail_usage(&result);
    }
    if (X509_NAME_entry_count(name) == 0) {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Give at least a common name, such as CN=Example CA.",
                       GHNO(0417) "the subject of a CA cannot be empty");
        return ctl_fail_usage(&result);
    }
    return CTL_OK;
}

static int check_names(const init_t *init)
{
    gh_result_t result;
    int code;

    code = ctl_ca_name(init->name);
    code = code == CTL_OK ? ctl_ca_name(init->root_name) : code;
    if (code != CTL_OK) {
        return code;
    }
    if (strcmp(init->name, init->root_name) == 0 || strcmp(init->name, "sealing") == 0
        || strcmp(init->root_name, "sealing") == 0) {
        gh_result_clear(&result);
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Give two different names, none of them \"sealing\".",
                       GHNO(0373) "the names %s and %s stand for the same files", init->name,
                       init->root_name);
        return ctl_fail_usage(&result);
    }
    return CTL_OK;
}

static int read_options(init_t *init, const ctl_arguments_t *arguments, apr_pool_t *p)
{
    gh_result_t result;
    int code;

    init->directory = ctl_option(arguments, "directory");
    init->name = ctl_option(arguments, "name");
    init->public_url = ctl_option(arguments, "public-url");
    if (init->directory == NULL || init->name == NULL || init->public_url == NULL) {
        gh_result_clear(&result);
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "See gatehousectl help ca init.",
                       GHNO(0374) "ca init needs --directory, --name and --public-url");
        return ctl_fail_usage(&result);
    }
    init->root_name = option_or(arguments, "root-name", "root");
    init->key_kind = option_or(arguments, "key", "RSA-3072");
    init->root_key_kind = option_or(arguments, "root-key", "P-384");
    init->subject = option_or(arguments, "subject",
                              apr_pstrcat(p, "CN=", init->name, " issuing CA", NULL));
    init->root_subject = option_or(arguments, "root-subject",
                                   apr_pstrcat(p, "CN=", init->name, " root CA", NULL));
    init->validity = option_or(arguments, "validity", ISSUING_VALIDITY);
    init->root_validity = option_or(arguments, "root-validity", ROOT_VALIDITY);
    code = check_names(init);
    code = code == CTL_OK ? check_kind(init->key_kind) : code;
    code = code == CTL_OK ? check_kind(init->root_key_kind) : code;
    code = code == CTL_OK ? check_subject(init->subject, p) : code;
    code = code == CTL_OK ? check_subject(init->root_subject, p) : code;
    code = code == CTL_OK ? read_url(init, p) : code;
    return code == CTL_OK ? read_validities(init) : code;
}

/* Makes the folder. Children of httpd read the root's CRL in it, so they must pass through; keys
 * have their own modes. */
static apr_status_t open_directory(init_t *init, apr_pool_t *p, gh_result_t *result)
{
    char *path = NULL;

    if (mkdir(init->directory, 0711) == 0 ? chmod(init->directory, 0711) == 0
                                          : errno == EEXIST) {
        path = realpath(init->directory, NULL);
    }
    if (path == NULL) {
        return gh_result_fail(result, APR_EGENERAL, GH_FAILURE_REQUEST, RULE,
                              "Name a folder that you may write into; the one above it must "
                              "exist.",
                              GHNO(0375) "the folder %s cannot be made: %s", init->directory,
                              strerror(errno));
    }
    init->directory = apr_pstrdup(p, path);
    free(path);
    return APR_SUCCESS;
}

static const char *path_in(const init_t *init, const char *name, const char *suffix,
                           apr_pool_t *p)
{
    return apr_pstrcat(p, init->directory, "/", name, suffix, NULL);
}

static apr_status_t choose_paths(init_t *init, apr_pool_t *p, gh_result_t *result)
{
    const char *paths[6];
    struct stat info;
    int i;

    paths[0] = init->root_certificate = path_in(init, init->root_name, ".pem", p);
    paths[1] = init->root_key = path_in(init, init->root_name, ".key", p);
    paths[2] = init->root_crl = path_in(init, init->root_name, ".crl", p);
    paths[3] = init->certificate = path_in(init, init->name, ".pem", p);
    paths[4] = init->key = path_in(init, init->name, ".key", p);
    paths[5] = init->sealing_key = path_in(init, "sealing", ".key", p);
    for (i = 0; i < 6; i++) {
        if (lstat(paths[i], &info) == 0) {
            return gh_result_fail(result, APR_EEXIST, GH_FAILURE_CONFLICT, RULE,
                                  "Name another folder, or move what is there away: nothing is "
                                  "overwritten.",
                                  GHNO(0376) "%s is there already", paths[i]);
        }
    }
    return APR_SUCCESS;
}

typedef struct {
    const char *directive;
    const char *values[VALUES_MAX];
} setting_t;

static const setting_t ca_settings[] = {
    { "ProfileInternal", { "on" } },
    { "ProfileKeyUsage", { "digitalSignature", "keyCertSign", "cRLSign" } },
    { "ProfileExtendedKeyUsage", { "none" } },
    { NULL, { NULL } }
};

static apr_status_t make_plan(gh_plan_t **plan, const char *profile_name,
                              const char *pathlen, const char *validity, EVP_PKEY *key,
                              const char *subject, apr_pool_t *p, gh_result_t *result)
{
    const char *const constraints[] = { "ca", pathlen };
    gh_profile_t *profile = gh_profile_create(profile_name, NULL, p);
    const setting_t *setting;
    apr_status_t rv = APR_SUCCESS;
    int count;

    for (setting = ca_settings; setting->directive != NULL && rv == APR_SUCCESS; setting++) {
        for (count = 0; count < VALUES_MAX && setting->values[count] != NULL; count++) {
        }
        rv = gh_profile_set(profile, setting->directive, count, setting->values, p, result);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_profile_set(profile, "ProfileBasicConstraints", pathlen != NULL ? 2 : 1,
                            constraints, p, result);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_profile_set(profile, "ProfileValidity", 1, &validity, p, result);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_profile_complete(profile, p, result);
    }
    return rv == APR_SUCCESS
         ? gh_profile_apply_own(plan, profile, key, subject, p, result) : rv;
}

static apr_status_t write_file(init_t *init, const char *path, gh_bytes_t bytes, mode_t mode,
                               apr_pool_t *p, gh_result_t *result)
{
    apr_status_t rv = ctl_file_create(path, bytes, mode);

    if (rv != APR_SUCCESS) {
        return gh_result_fail(result, APR_EGENERAL, GH_FAILURE_INTERNAL, RULE,
                              "Make room, or correct the rights of the folder.",
                              GHNO(0377) "%s cannot be written: %s", path, ctl_error_text(rv, p));
    }
    APR_ARRAY_PUSH(init->written, const char *) = path;
    return APR_SUCCESS;
}

static apr_status_t write_certificate(init_t *init, const char *path, X509 *certificate,
                                      apr_pool_t *p, gh_result_t *result)
{
    BIO *bio = BIO_new(BIO_s_mem());
    gh_bytes_t bytes = { NULL, 0 };
    apr_status_t rv;
    char *text;

    if (bio == NULL || PEM_write_bio_X509(bio, certificate) != 1) {
        rv = gh_result_openssl(result, APR_EGENERAL, GH_FAILURE_INTERNAL, RULE, NULL,
                               GHNO(0378) "a certificate cannot be encoded");
    }
    else {
        bytes.length = (apr_size_t)BIO_get_mem_data(bio, &text);
        bytes.data = (const unsigned char *)text;
        rv = write_file(init, path, bytes, 0644, p, result);
    }
    BIO_free(bio);
    return rv;
}

static apr_status_t write_key(init_t *init, const char *path, EVP_PKEY *key,
                              const gh_bytes_t *passphrase, apr_pool_t *p, gh_result_t *result)
{
    apr_status_t rv = gh_key_write(key, path, passphrase, p, result);

    if (rv == APR_SUCCESS) {
        APR_ARRAY_PUSH(init->written, const char *) = path;
    }
    return rv;
}

static apr_status_t write_sealing_key(init_t *init, apr_pool_t *p, gh_result_t *result)
{
    unsigned char random[SEALING_BYTES];
    char text[2 * SEALING_BYTES + 2];
    gh_bytes_t bytes = { (const unsigned char *)text, 2 * SEALING_BYTES + 1 };
    apr_status_t rv;
    int i;

    if (RAND_priv_bytes(random, sizeof(random)) != 1) {
        return gh_result_openssl(result, APR_EGENERAL, GH_FAILURE_INTERNAL, RULE, NULL,
                                 GHNO(0379) "the random generator failed");
    }
    for (i = 0; i < SEALING_BYTES; i++) {
        snprintf(text + 2 * i, 3, "%02x", random[i]);
    }
    text[2 * SEALING_BYTES] = '\n';
    rv = write_file(init, init->sealing_key, bytes, 0600, p, result);
    OPENSSL_cleanse(random, sizeof(random));
    OPENSSL_cleanse(text, sizeof(text));
    return rv;
}

/* Root key, certificate and first CRL. */
static apr_status_t make_root(init_t *init, gh_ca_t **ca, apr_time_t now, apr_pool_t *p,
                              gh_result_t *result)
{
    gh_crl_builder_t *builder;
    gh_ca_urls_t urls;
    EVP_PKEY *key;
    gh_plan_t *plan;
    X509 *certificate;
    gh_bytes_t crl;
    apr_status_t rv;

    memset(&urls, 0, sizeof(urls));
    urls.crl_url = apr_pstrcat(p, init->public_url, "/crl/", init->root_name, ".crl", NULL);
    urls.issuer_url = apr_pstrcat(p, init->public_url, "/ca/", init->root_name, ".cer", NULL);
    urls.backdate = BACKDATE;
    if ((rv = gh_key_generate(&key, init->root_key_kind, p, result)) != APR_SUCCESS
        || (rv = make_plan(&plan, "basic-ca-root", NULL, init->root_validity, key,
                           init->root_subject, p, result)) != APR_SUCCESS
        || (rv = gh_ca_self_sign(&certificate, plan, key, BACKDATE, now, p, result))
           != APR_SUCCESS
        || (rv = gh_ca_create(ca, certificate, key, &urls, p, result)) != APR_SUCCESS
        || (rv = gh_crl_begin(&builder, *ca, 1, now, now + ROOT_CRL_LIFE, p, result))
           != APR_SUCCESS
        || (rv = gh_crl_finish(builder, &crl, p, result)) != APR_SUCCESS
        || (rv = write_key(init, init->root_key, key,
                           init->passphrase.data != NULL ? &init->passphrase : NULL, p, result))
           != APR_SUCCESS
        || (rv = write_certificate(init, init->root_certificate, certificate, p, result))
           != APR_SUCCESS) {
        return rv;
    }
    return write_file(init, init->root_crl, crl, 0644, p, result);
}

static apr_status_t make_issuing(init_t *init, const gh_ca_t *root, apr_time_t now, apr_pool_t *p,
                                 gh_result_t *result)
{
    EVP_PKEY *key;
    gh_plan_t *plan;
    X509 *certificate;
    apr_status_t rv;

    if ((rv = gh_key_generate(&key, init->key_kind, p, result)) != APR_SUCCESS
        || (rv = make_plan(&plan, "basic-ca-subord", "pathlen=0", init->validity, key,
                           init->subject, p, result)) != APR_SUCCESS
        || (rv = gh_ca_issue(&certificate, root, plan, now, p, result)) != APR_SUCCESS
        || (rv = write_key(init, init->key, key, NULL, p, result)) != APR_SUCCESS) {
        return rv;
    }
    return write_certificate(init, init->certificate, certificate, p, result);
}

static apr_status_t flush_folder(const init_t *init, apr_pool_t *p, gh_result_t *result)
{
    apr_status_t rv = ctl_folder_sync(init->directory);

    return rv == APR_SUCCESS ? rv
         : gh_result_fail(result, rv, GH_FAILURE_INTERNAL, RULE,
                          "Look for a defect of the disk or file system.",
                          GHNO(0381) "the folder %s cannot be flushed to the disk: %s",
                          init->directory, ctl_error_text(rv, p));
}

static const char *configuration(const init_t *init, apr_pool_t *p)
{
    const char *sealing = apr_pstrcat(p, "file:", init->sealing_key, NULL);

    return apr_pstrcat(p, "GatehousePublicURL     ", init->public_url,
                       "\nGatehouseSealingKey    ", ctl_text_directive(sealing, p), "\n\n",
                       ctl_ca_section(init->name, init->certificate, init->key, NULL,
                                      init->root_certificate, p), "\n",
                       ctl_ca_offline_section(init->root_name, init->root_certificate, NULL,
                                              init->root_crl, p), NULL);
}

static void print_made(const ctl_t *ctl, const init_t *init)
{
    const char *text = configuration(init, ctl->p);
    json_t *object;

    if (ctl->json) {
        object = json_object();
        json_object_set_new(object, "name", json_string(init->name));
        json_object_set_new(object, "root_name", json_string(init->root_name));
        json_object_set_new(object, "directory", ctl_json_text(init->directory, ctl->p));
        json_object_set_new(object, "root_certificate",
                            ctl_json_text(init->root_certificate, ctl->p));
        json_object_set_new(object, "root_key", ctl_json_text(init->root_key, ctl->p));
        json_object_set_new(object, "root_crl", ctl_json_text(init->root_crl, ctl->p));
        json_object_set_new(object, "certificate", ctl_json_text(init->certificate, ctl->p));
        json_object_set_new(object, "key", ctl_json_text(init->key, ctl->p));
        json_object_set_new(object, "sealing_key", ctl_json_text(init->sealing_key, ctl->p));
        json_object_set_new(object, "public_url", json_string(init->public_url));
        json_object_set_new(object, "configuration", ctl_json_text(text, ctl->p));
        ctl_json_print(stdout, object);
        return;
    }
    /* all of it is a file that httpd can include */
    printf("# Root CA     %s\n#             %s\n# Issuing CA  %s\n#             %s\n#\n"
           "# Move the root's key to a safe place that is offline:\n#     %s\n"
           "# It is needed again within a year, for gatehousectl ca crl.\n#\n"
           "# For the configuration of httpd:\n\n%s",
           ctl_text_printable(init->root_subject, ctl->p), init->root_certificate,
           ctl_text_printable(init->subject, ctl->p), init->certificate, init->root_key, text);
}

int ctl_ca_init(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    const char *passphrase = ctl_option(arguments, "root-passphrase");
    apr_time_t now = apr_time_now();
    gh_result_t result;
    gh_ca_t *root;
    init_t init;
    int code;
    int i;

    gh_result_clear(&result);
    memset(&init, 0, sizeof(init));
    init.written = apr_array_make(ctl->p, 6, sizeof(const char *));
    code = read_options(&init, arguments, ctl->p);
    if (code != CTL_OK) {
        return code;
    }
    if (passphrase != NULL
        && gh_secret_load(&init.passphrase, passphrase, ctl->p, &result) != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    if (open_directory(&init, ctl->p, &result) != APR_SUCCESS
        || choose_paths(&init, ctl->p, &result) != APR_SUCCESS) {
        ctl_fail(&result);
        return CTL_FAILED;
    }
    if (make_root(&init, &root, now, ctl->p, &result) != APR_SUCCESS
        || make_issuing(&init, root, now, ctl->p, &result) != APR_SUCCESS
        || write_sealing_key(&init, ctl->p, &result) != APR_SUCCESS
        || flush_folder(&init, ctl->p, &result) != APR_SUCCESS) {
        /* half of it is of no use and would stand in the way of a second try */
        for (i = 0; i < init.written->nelts; i++) {
            unlink(APR_ARRAY_IDX(init.written, i, const char *));
        }
        ctl_fail(&result);
        return CTL_FAILED;
    }
    print_made(ctl, &init);
    return CTL_OK;
}
