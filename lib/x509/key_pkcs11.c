/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The ENGINE interface is deprecated in OpenSSL 3 and is the only way to a token where no provider
 * serves pkcs11: URIs; this is the only file that uses it. */
#define OPENSSL_SUPPRESS_DEPRECATED

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <string.h>
#include <strings.h>

#include <apr_strings.h>
#include <apr_time.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/store.h>
#include <openssl/ui.h>
#ifdef HAVE_OPENSSL_ENGINE
#include <openssl/engine.h>
#endif

#include "status.h"
#include "x509/key.h"
#include "x509/key_pkcs11.h"
#include "x509/own.h"

/** A URI of RFC 7512, taken apart as far as needed. */
typedef struct {
    const char *object;         /* "pkcs11:" and the attributes that say which key it is */
    const char *module_path;    /* or NULL */
    const char *pin;            /* or NULL; a secret */
    gh_bytes_t pin_bytes;
} token_uri_t;

/** Attributes of the path that say which key is meant (RFC 7512 2.3). */
static const char *const object_attributes[] = {
    "token", "object", "id", "type", "serial", "model", "manufacturer", NULL
};

int gh_key_is_token(const char *source)
{
    return strncasecmp(source, "pkcs11:", 7) == 0;
}

/** Decodes %XX. @return NULL for a malformed sequence or a NUL */
static char *percent_decode(const char *text, apr_pool_t *p)
{
    char *decoded = apr_palloc(p, strlen(text) + 1);
    char *out = decoded;

    for (; *text != '\0'; text++) {
        if (*text == '%') {
            int high = OPENSSL_hexchar2int((unsigned char)text[1]);
            int low = high < 0 ? -1 : OPENSSL_hexchar2int((unsigned char)text[2]);

            if (low < 0 || (high == 0 && low == 0))
                return NULL;
            *out++ = (char)(high << 4 | low);
            text += 2;
        }
        else {
            *out++ = *text;
        }
    }
    *out = '\0';
    return decoded;
}

/** Turns the value of pin-source into the form of gh_secret_load(). */
static const char *pin_source(const char *value, apr_pool_t *p)
{
    if (strncmp(value, "file://", 7) == 0 && value[7] == '/')
        return apr_pstrcat(p, "file:", value + 7, NULL);
    if (strncmp(value, "file:/", 6) == 0 || strncmp(value, "exec:/", 6) == 0)
        return value;
    if (value[0] == '|' && value[1] == '/')
        return apr_pstrcat(p, "exec:", value + 1, NULL);
    if (value[0] == '/')
        return apr_pstrcat(p, "file:", value, NULL);
    return NULL;
}

static apr_status_t refuse_uri(const char *what, gh_result_t *result)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "key.uri",
                          "use token, object, id, serial, model, manufacturer and type, and "
                          "behind a question mark module-path and pin-source (RFC 7512)",
                          GHNO(0112) "the pkcs11: URI has a part that cannot be used: %s", what);
}

static apr_status_t take_query(token_uri_t *uri, const char *name, const char *value,
                               apr_pool_t *ptemp, gh_result_t *result)
{
    const char *decoded = percent_decode(value, ptemp);
    const char *source;

    if (decoded != NULL && strcmp(name, "module-path") == 0 && decoded[0] == '/') {
        uri->module_path = decoded;
        return APR_SUCCESS;
    }
    if (decoded != NULL && strcmp(name, "pin-source") == 0 && uri->pin == NULL
        && (source = pin_source(decoded, ptemp)) != NULL)
        return gh_secret_load(&uri->pin_bytes, source, ptemp, result);
    return refuse_uri(name, result);
}

static apr_status_t take_attribute(token_uri_t *uri, const char *attribute, int query,
                                   apr_pool_t *ptemp, gh_result_t *result)
{
    const char *equals = strchr(attribute, '=');
    const char *name;
    int i;

    if (equals == NULL)
        return refuse_uri("an attribute without a value", result);
    name = apr_pstrmemdup(ptemp, attribute, (apr_size_t)(equals - attribute));
    if (strcasecmp(name, "pin-value") == 0)
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_DENIED, "key.pin",
                              "put the PIN into a file of mode 600 and add passphrase=file:PATH",
                              GHNO(0113) "the pkcs11: URI holds a PIN (pin-value), which would be "
                              "in configuration files and logs");
    if (query)
        return take_query(uri, name, equals + 1, ptemp, result);
    for (i = 0; object_attributes[i] != NULL; i++) {
        if (strcmp(name, object_attributes[i]) == 0) {
            uri->object = apr_pstrcat(ptemp, uri->object, uri->object[7] != '\0' ? ";" : "",
                                      attribute, NULL);
            return APR_SUCCESS;
        }
    }
    return refuse_uri(name, result);
}

static apr_status_t parse_uri(token_uri_t *uri, const char *text, const char *passphrase,
                              apr_pool_t *ptemp, gh_result_t *result)
{
    char *copy = apr_pstrdup(ptemp, text + 7);
    char *question = strchr(copy, '?');
    char *attribute, *state = NULL;
    apr_status_t rv = APR_SUCCESS;

    memset(uri, 0, sizeof(*uri));
    uri->object = "pkcs11:";
    if (question != NULL)
        *question++ = '\0';
    for (attribute = apr_strtok(copy, ";", &state); rv == APR_SUCCESS && attribute != NULL;
         attribute = apr_strtok(NULL, ";", &state))
        rv = take_attribute(uri, attribute, 0, ptemp, result);
    if (question != NULL && rv == APR_SUCCESS) {
        for (attribute = apr_strtok(question, "&", &state); rv == APR_SUCCESS && attribute != NULL;
             attribute = apr_strtok(NULL, "&", &state))
            rv = take_attribute(uri, attribute, 1, ptemp, result);
    }
    if (rv == APR_SUCCESS && passphrase != NULL)
        rv = gh_secret_load(&uri->pin_bytes, passphrase, ptemp, result);
    if (rv == APR_SUCCESS && uri->pin_bytes.data != NULL)
        uri->pin = gh_copy_secret(ptemp, uri->pin_bytes.data, uri->pin_bytes.length);
    return rv;
}

/* What OpenSSL asks a person for, it gets from here: nobody is ever prompted. */

static int ui_open(UI *ui)
{
    return UI_get0_user_data(ui) != NULL;
}

static int ui_read(UI *ui, UI_STRING *string)
{
    if (UI_get_string_type(string) == UIT_PROMPT)
        return UI_set_result(ui, string, UI_get0_user_data(ui)) == 0;
    return 1;
}

static UI_METHOD *ui_method_make(void)
{
    UI_METHOD *method = UI_create_method("gatehouse");

    if (method != NULL) {
        UI_method_set_opener(method, ui_open);
        UI_method_set_reader(method, ui_read);
    }
    return method;
}

static int provider_serves_tokens(void)
{
    OSSL_STORE_LOADER *loader = OSSL_STORE_LOADER_fetch(NULL, "pkcs11", NULL);
    int found = loader != NULL;

    OSSL_STORE_LOADER_free(loader);
    ERR_clear_error();
    return found;
}

static EVP_PKEY *open_by_provider(const token_uri_t *uri, const UI_METHOD *method)
{
    EVP_PKEY *key = NULL;
    OSSL_STORE_CTX *store = OSSL_STORE_open(uri->object, method, (void *)uri->pin, NULL, NULL);

    if (store == NULL)
        return NULL;
    if (OSSL_STORE_expect(store, OSSL_STORE_INFO_PKEY)) {
        while (key == NULL && !OSSL_STORE_eof(store)) {
            OSSL_STORE_INFO *info = OSSL_STORE_load(store);

            if (info != NULL && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
                key = OSSL_STORE_INFO_get1_PKEY(info);
            OSSL_STORE_INFO_free(info);
            if (info == NULL && OSSL_STORE_error(store))
                break;
        }
    }
    OSSL_STORE_close(store);
    return key;
}

#ifdef HAVE_OPENSSL_ENGINE

/** Beginning of the name that the engine gets here; the path of its module follows. */
#define ENGINE_MARK "pkcs11 engine of libp11, module "

/** @return 1 if the engine of this process works with another module already */
static int has_other_module(const ENGINE *engine, const char *module_path)
{
    const char *name = ENGINE_get_name(engine);

    return name != NULL && strncmp(name, ENGINE_MARK, strlen(ENGINE_MARK)) == 0
        && strcmp(name + strlen(ENGINE_MARK), module_path) != 0;
}

/** Notes the module. The engine belongs to OpenSSL and lives as long as the process, and so does
 *  its name. */
static void note_module(ENGINE *engine, const char *module_path)
{
    const char *name = ENGINE_get_name(engine);
    size_t length;
    char *mark;

    if (name != NULL && strncmp(name, ENGINE_MARK, strlen(ENGINE_MARK)) == 0)
        return;
    length = strlen(ENGINE_MARK) + strlen(module_path) + 1;
    mark = OPENSSL_malloc(length);
    if (mark != NULL) {
        BIO_snprintf(mark, length, "%s%s", ENGINE_MARK, module_path);
        ENGINE_set_name(engine, mark);
    }
}

/**
 * OpenSSL permits one instance of the engine in a process, which mod_ssl may use too, and that has
 * one module. Each key holds a reference to it; it ends with the last one.
 */
static apr_status_t open_by_engine(EVP_PKEY **key, const token_uri_t *uri, UI_METHOD *method,
                                   gh_result_t *result)
{
    const char *module_path = uri->module_path != NULL ? uri->module_path : "";
    ENGINE *engine = ENGINE_by_id("pkcs11");
    apr_status_t rv = APR_SUCCESS;

    if (engine != NULL && has_other_module(engine, module_path)) {
        rv = gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "key.token",
                            "configure the modules in p11-kit and leave module-path out: its proxy "
                            "serves them all",
                            GHNO(0181) "one process can use one PKCS#11 module, and %s is not the "
                            "one in use", module_path);
        goto cleanup;
    }
    if (engine == NULL || !ENGINE_ctrl_cmd_string(engine, "QUIET", NULL, 0)
        || (uri->module_path != NULL
            && !ENGINE_ctrl_cmd_string(engine, "MODULE_PATH", module_path, 0))
        || !ENGINE_ctrl_cmd_string(engine, "PIN", uri->pin, 0) || !ENGINE_init(engine)) {
        rv = gh_result_openssl(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "key.token",
                               "install the pkcs11 engine of libp11 (Debian: "
                               "libengine-pkcs11-openssl) or a PKCS#11 provider",
                               GHNO(0114) "OpenSSL has no way to PKCS#11 tokens here");
        goto cleanup;
    }
    *key = ENGINE_load_private_key(engine, uri->object, method, (void *)uri->pin);
    if (*key != NULL)
        note_module(engine, module_path);
    ENGINE_finish(engine);

cleanup:
    ENGINE_free(engine);
    return rv;
}

#else

static apr_status_t open_by_engine(EVP_PKEY **key, const token_uri_t *uri, UI_METHOD *method,
                                   gh_result_t *result)
{
    return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "key.token",
                          "install and activate a PKCS#11 provider for OpenSSL",
                          GHNO(0115) "this OpenSSL has neither a PKCS#11 provider nor engines");
}

#endif

/* PKCS#11 3.0, CKR_PIN_INCORRECT to CKR_PIN_LOCKED */
#define PIN_REFUSED_FIRST 0xa0
#define PIN_REFUSED_LAST 0xa4

/**
 * What the token had to say, and whether it was that the PIN is wrong. Empties OpenSSL's queue, in
 * which the search for engines leaves errors of its own.
 */
static const char *token_error(int *pin_refused)
{
    const char *reason = NULL;
    unsigned long error;

    *pin_refused = 0;
    while ((error = ERR_get_error()) != 0) {
        const char *library = ERR_lib_error_string(error);

        if (library == NULL || (strncasecmp(library, "pkcs#11", 7) != 0
                                && strncasecmp(library, "pkcs11", 6) != 0))
            continue;
        if (reason == NULL)
            reason = ERR_reason_error_string(error);
        if (ERR_GET_REASON(error) >= PIN_REFUSED_FIRST && ERR_GET_REASON(error) <= PIN_REFUSED_LAST)
            *pin_refused = 1;
    }
    return reason != NULL ? reason : "it is not there, or this user may not open it";
}

static apr_status_t cannot_open(const char *object, gh_result_t *result)
{
    int pin_refused;
    const char *reason = token_error(&pin_refused);

    if (pin_refused)
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "key.pin",
                              "correct what the configured passphrase source gives, then restart; "
                              "see first whether the token has locked the PIN",
                              GHNO(0184) "the token refuses the PIN for %s: %s", object, reason);
    return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "key.token",
                          "check that the token is present, token and object label, and that the "
                          "user this process runs as may open the token",
                          GHNO(0116) "cannot open the private key %s: %s", object, reason);
}

/**
 * Processes that start together log in together, and SoftHSM writes to its files at each login: who
 * reads them meanwhile finds no such token or object, or "General Error". Tokens of the network
 * have such moments, too. A PIN that is refused is never tried again, for it would be locked.
 */
static apr_status_t open_patiently(EVP_PKEY **key, const token_uri_t *uri, UI_METHOD *method,
                                   gh_result_t *result)
{
    apr_interval_time_t pause = apr_time_from_msec(50);
    apr_status_t rv = APR_SUCCESS;

    for (;;) {
        ERR_clear_error();
        if (provider_serves_tokens())
            *key = open_by_provider(uri, method);
        else
            rv = open_by_engine(key, uri, method, result);
        if (rv != APR_SUCCESS || *key != NULL)
            return rv;
        rv = cannot_open(uri->object, result);
        if (rv != GH_EUNAVAILABLE || pause > apr_time_from_msec(400))
            return rv;
        apr_sleep(pause);
        pause *= 2;
        gh_result_clear(result);
        rv = APR_SUCCESS;
    }
}

apr_status_t gh_key_open_token(EVP_PKEY **key, const char *uri, const char *passphrase,
                               apr_pool_t *ptemp, gh_result_t *result)
{
    UI_METHOD *method = NULL;
    token_uri_t parsed;
    apr_status_t rv;

    *key = NULL;
    rv = parse_uri(&parsed, uri, passphrase, ptemp, result);
    if (rv != APR_SUCCESS)
        goto cleanup;
    if (parsed.pin == NULL) {
        rv = gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "key.pin",
                            "add passphrase=file:PATH or passphrase=exec:PATH with the token's PIN",
                            GHNO(0182) "there is no PIN for %s", parsed.object);
        goto cleanup;
    }
    method = ui_method_make();
    rv = open_patiently(key, &parsed, method, result);
    if (rv != APR_SUCCESS)
        goto cleanup;
    rv = gh_key_try(*key, result);

cleanup:
    if (rv != APR_SUCCESS) {
        EVP_PKEY_free(*key);
        *key = NULL;
    }
    UI_destroy_method(method);
    ERR_clear_error();
    return rv;
}
