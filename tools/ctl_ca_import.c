/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * ca import: a CA that exists already. Its certificate, chain and key are checked as httpd checks
 * them at its start; the files stay where they are, and a configuration that names them is printed.
 */

#include "ctl_commands.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <apr_strings.h>
#include <openssl/x509v3.h>

#include "ctl_ca.h"
#include "ctl_output.h"
#include "ctl_text.h"
#include "issuer/issuer.h"
#include "status.h"
#include "store/certificates.h"
#include "store/housekeeping.h"
#include "x509/ca.h"
#include "x509/key.h"
#include "x509/name.h"

#define RULE "ca.import"

const ctl_option_t ctl_ca_import_options[] = {
    { "issuer", 0, "NAME", "name that the CA gets here" },
    { "chain", 0, "FILE", "certificates above it, up to the root, in PEM" },
    { "passphrase", 0, "SOURCE", "file:PATH or exec:PATH, if the key is encrypted" },
    { NULL, 0, NULL, NULL }
};

typedef struct {
    const char *name;
    const char *certificate;
    const char *key;                /* NULL: it is elsewhere */
    const char *passphrase;
    const char *chain;
    gh_issuer_t *issuer;
    gh_audit_event_t *event;
    const char *line;
} import_t;

/* Configuration wants absolute paths. A pkcs11: URI stays what it is. */
static apr_status_t absolute(const char **path, apr_pool_t *p, gh_result_t *result)
{
    char *real;

    if (*path == NULL || gh_key_is_token(*path)) {
        return APR_SUCCESS;
    }
    real = realpath(*path, NULL);
    if (real == NULL) {
        int error = errno;

        return gh_result_fail(result, APR_FROM_OS_ERROR(error), GH_FAILURE_REQUEST, RULE,
                              "Check the path.", GHNO(0390) "%s cannot be found: %s", *path,
                              strerror(error));
    }
    *path = apr_pstrdup(p, real);
    free(real);
    return APR_SUCCESS;
}

/* Without --chain, the certificates that follow in the CA's own file are its chain. */
static apr_status_t choose_chain(import_t *import, apr_pool_t *p, gh_result_t *result)
{
    apr_array_header_t *certificates;

    if (import->chain == NULL
        && gh_certificates_open(&certificates, import->certificate, p, NULL) == APR_SUCCESS
        && certificates->nelts > 1) {
        import->chain = import->certificate;
    }
    return absolute(&import->chain, p, result);
}

/* The loader follows the chain as far as it goes; here it must reach a root. */
static apr_status_t check_chain(const import_t *import, gh_result_t *result)
{
    const apr_array_header_t *chain = gh_issuer_chain(import->issuer);
    X509 *top = chain->nelts > 0 ? APR_ARRAY_IDX(chain, chain->nelts - 1, X509 *)
                                 : gh_issuer_certificate(import->issuer);

    if (X509_NAME_cmp(X509_get_subject_name(top), X509_get_issuer_name(top)) == 0
        && X509_verify(top, X509_get0_pubkey(top)) == 1) {
        return APR_SUCCESS;
    }
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                          "Give the certificates above it, up to and with the root, with --chain.",
                          GHNO(0391) "the chain of %s does not reach a root", import->certificate);
}

static apr_status_t load(import_t *import, apr_pool_t *p, gh_result_t *result)
{
    gh_issuer_config_t *config;
    apr_status_t rv;

    if ((rv = absolute(&import->certificate, p, result)) != APR_SUCCESS
        || (rv = absolute(&import->key, p, result)) != APR_SUCCESS
        || (rv = choose_chain(import, p, result)) != APR_SUCCESS) {
        return rv;
    }
    import->issuer = gh_issuer_create(import->name, import->key != NULL ? &gh_issuer_local
                                                                        : &gh_issuer_offline, p);
    config = gh_issuer_config(import->issuer);
    config->certificate = import->certificate;
    config->key = import->key;
    config->passphrase = import->passphrase;
    config->chain = import->chain;
    /* every issuer that signs must say where its CRL is; what it says is httpd's business */
    config->public_url = "http://localhost";
    rv = gh_issuer_load(import->issuer, p, result);
    if (rv == APR_SUCCESS && import->key != NULL) {
        /* also a trial signature */
        rv = gh_issuer_child_init(import->issuer, p, result);
    }
    return rv == APR_SUCCESS ? check_chain(import, result) : rv;
}

static apr_status_t register_work(gh_transaction_t *transaction, void *data)
{
    import_t *import = data;
    apr_status_t rv;

    rv = gh_issuer_register(transaction, import->name, gh_issuer_key_sha256(import->issuer),
                            gh_issuer_certificate_der(import->issuer));
    return rv == APR_SUCCESS ? gh_audit_insert(transaction, import->event, import->line, 0) : rv;
}

/* A CA may be taken up before httpd was ever started with this store. */
static apr_status_t prepare_store(ctl_t *ctl, gh_result_t *result)
{
    const char *uri = ctl->config->store;
    struct stat info;

    if (uri == NULL || strncmp(uri, "sqlite3:", 8) != 0 || stat(uri + 8, &info) == 0) {
        return APR_SUCCESS;
    }
    return gh_store_prepare(uri, (apr_uid_t)(geteuid() == 0 ? ctl->config->uid : -1),
                            (apr_gid_t)(geteuid() == 0 ? ctl->config->gid : -1), NULL, ctl->p,
                            result);
}

static int register_issuer(ctl_t *ctl, import_t *import)
{
    gh_result_t result;
    apr_status_t rv;
    int code;

    code = ctl_configure(ctl);
    if (code != CTL_OK) {
        return code;
    }
    gh_result_clear(&result);
    if (prepare_store(ctl, &result) != APR_SUCCESS) {
        ctl_fail(&result);
        return CTL_UNAVAILABLE;
    }
    code = ctl_drop_privileges(ctl);
    if (code != CTL_OK) {
        return code;
    }
    if (ctl_open_store(ctl, &result) != APR_SUCCESS) {
        ctl_fail(&result);
        return CTL_UNAVAILABLE;
    }
    import->event = ctl_event(ctl, "ca-import", ctl->p);
    import->event->issuer = import->name;
    import->event->subject = gh_name_text(
        X509_get_subject_name(gh_issuer_certificate(import->issuer)), ctl->p);
    import->line = gh_audit_line(import->event, ctl->p);
    rv = gh_store_write(ctl->store, register_work, import, &result);
    if (rv == GH_ECONFLICT) {
        gh_result_fail(&result, rv, GH_FAILURE_CONFLICT, RULE,
                       "Give this CA another name with --issuer: a name never changes its key.",
                       GHNO(0392) "issuer %s has another key in the store", import->name);
    }
    return rv == APR_SUCCESS ? CTL_OK : ctl_fail(&result);
}

static void print_import(const ctl_t *ctl, const import_t *import)
{
    X509 *certificate = gh_issuer_certificate(import->issuer);
    const char *subject = gh_name_text(X509_get_subject_name(certificate), ctl->p);
    const char *end = gh_time_text(ctl->p, gh_certificate_not_after(certificate));
    const char *text = import->key != NULL
        ? ctl_ca_section(import->name, import->certificate, import->key, import->passphrase,
                         import->chain, ctl->p)
        : ctl_ca_offline_section(import->name, import->certificate, import->chain, NULL, ctl->p);
    json_t *object;

    if (ctl->json) {
        object = json_object();
        json_object_set_new(object, "name", json_string(import->name));
        json_object_set_new(object, "subject", ctl_json_text(subject, ctl->p));
        json_object_set_new(object, "not_after", json_string(end));
        json_object_set_new(object, "certificate", ctl_json_text(import->certificate, ctl->p));
        json_object_set_new(object, "key", ctl_json_text(import->key, ctl->p));
        json_object_set_new(object, "chain", ctl_json_text(import->chain, ctl->p));
        json_object_set_new(object, "registered", json_boolean(ctl->store != NULL));
        json_object_set_new(object, "configuration", ctl_json_text(text, ctl->p));
        ctl_json_print(stdout, object);
        return;
    }
    printf("%s\nvalid until %s; %s\n\nFor the configuration of httpd:\n\n%s",
           ctl_text_printable(subject, ctl->p), end,
           import->key != NULL ? "certificate, chain and key fit together"
                               : "certificate and chain fit together, the key is elsewhere", text);
    if (import->key == NULL) {
        printf("\nAdd IssuerCRL file=PATH with the DER form of its CRL to have it published.\n");
    }
    else {
        printf("\nNext, take up what it has issued and revoked:\n"
               "    gatehousectl cert import --issuer %s --crl CRL CERTIFICATES...\n",
               import->name);
    }
}

int ctl_ca_import(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    import_t import;
    gh_result_t result;
    int code;

    gh_result_clear(&result);
    memset(&import, 0, sizeof(import));
    import.name = ctl_option(arguments, "issuer");
    import.certificate = ctl_operand(arguments, 0);
    import.key = ctl_operand(arguments, 1);
    import.passphrase = ctl_option(arguments, "passphrase");
    import.chain = ctl_option(arguments, "chain");
    if (import.name == NULL) {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Name the CA with --issuer.", GHNO(0393) "ca import needs --issuer");
        return ctl_fail_usage(&result);
    }
    code = ctl_ca_name(import.name);
    if (code != CTL_OK) {
        return code;
    }
    if (load(&import, ctl->p, &result) != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    if (ctl->conf != NULL) {
        code = register_issuer(ctl, &import);
        if (code != CTL_OK) {
            return code;
        }
    }
    print_import(ctl, &import);
    return CTL_OK;
}
