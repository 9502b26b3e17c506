/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* ca crl: the next CRL of a root CA that ca init has made, while its key is at hand. */

#include "ctl_commands.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include <apr_strings.h>
#include <openssl/err.h>

#include "ctl_ca.h"
#include "x509/crl_read.h"
#include "ctl_file.h"
#include "ctl_output.h"
#include "ctl_text.h"
#include "store/certificates.h"
#include "x509/ca.h"
#include "x509/key.h"
#include "x509/name.h"

#define RULE "ca.crl"

#define CRL_MAX ((apr_size_t)64 << 20)

const ctl_option_t ctl_ca_crl_options[] = {
    { "directory", 0, "DIR", "where ca init wrote its files" },
    { "root-name", 0, "NAME", "name of the root CA (root)" },
    { "key", 0, "PATH", "where the root's key is now, a file or a pkcs11: URI" },
    { "root-passphrase", 0, "SOURCE", "file:PATH or exec:PATH, if the key is encrypted" },
    { "validity", 0, "DURATION", "how long the CRL is good for (1y)" },
    { "revoke", 0, "SERIAL|FILE", "also revoke this CA, by its serial or its certificate" },
    { "reason", 0, "REASON", "why, such as keyCompromise or cACompromise" },
    { NULL, 0, NULL, NULL }
};

typedef struct {
    const char *directory;
    const char *path;               /* of the CRL */
    X509 *certificate;
    gh_ca_t *ca;
    X509_CRL *old;
    apr_interval_time_t validity;
    gh_bytes_t revoke;              /* serial; data NULL: none */
    int reason;
    int revoked_before;
    apr_int64_t number;
    int entries;
} next_t;

static apr_status_t load_old(next_t *next, apr_pool_t *p, gh_result_t *result)
{
    gh_bytes_t bytes;
    apr_status_t rv;

    rv = ctl_file_read(&bytes, next->path, CRL_MAX, p);
    if (rv != APR_SUCCESS) {
        return gh_result_fail(result, APR_EGENERAL, GH_FAILURE_NOT_FOUND, RULE,
                              "Bring the root's newest CRL here: its number and its entries are "
                              "needed for the next.",
                              GHNO(0382) "the CRL %s cannot be read: %s", next->path,
                              ctl_error_text(rv, p));
    }
    next->old = gh_crl_parse(bytes, p);
    if (next->old == NULL || !gh_crl_is_of(next->old, next->certificate)
        || !gh_crl_is_complete(next->old) || gh_crl_number(next->old) < 0) {
        ERR_clear_error();
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                              "Restore it from a copy: its number and its entries are needed for "
                              "the next.",
                              GHNO(0383) "%s is no complete CRL of that root", next->path);
    }
    return APR_SUCCESS;
}

static int issued_by(X509 *certificate, X509 *ca)
{
    int yes = X509_NAME_cmp(X509_get_issuer_name(certificate), X509_get_subject_name(ca)) == 0
           && X509_verify(certificate, X509_get0_pubkey(ca)) == 1;

    ERR_clear_error();
    return yes;
}

/* A certificate in the folder that the root has issued and that has the serial. */
static int serial_in_folder(const next_t *next, gh_bytes_t serial, apr_pool_t *p)
{
    DIR *folder = opendir(next->directory);
    struct dirent *entry;
    apr_array_header_t *certificates;
    int found = 0;
    int i;

    while (!found && folder != NULL && (entry = readdir(folder)) != NULL) {
        size_t length = strlen(entry->d_name);

        if (length < 5 || strcmp(entry->d_name + length - 4, ".pem") != 0
            || gh_certificates_open(&certificates, apr_pstrcat(p, next->directory, "/",
                                                               entry->d_name, NULL), p, NULL)
               != APR_SUCCESS) {
            continue;
        }
        for (i = 0; i < certificates->nelts && !found; i++) {
            X509 *certificate = APR_ARRAY_IDX(certificates, i, X509 *);
            gh_bytes_t its = gh_certificate_serial(certificate, p);

            found = its.length == serial.length
                 && memcmp(its.data, serial.data, serial.length) == 0
                 && X509_cmp(certificate, next->certificate) != 0
                 && issued_by(certificate, next->certificate);
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
    ERR_clear_error();
    return found;
}

/* A mistyped serial must not pass for a revocation: the certificate itself is looked at. */
static apr_status_t find_revoked(next_t *next, const char *what, apr_pool_t *p,
                                 gh_result_t *result)
{
    X509 *certificate;
    apr_status_t rv;

    if (what == NULL) {
        return APR_SUCCESS;
    }
    if (gh_serial_parse(&next->revoke, what, p) == APR_SUCCESS) {
        if (serial_in_folder(next, next->revoke, p)) {
            return APR_SUCCESS;
        }
        return gh_result_fail(result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, RULE,
                              "Give the path of the certificate instead.",
                              GHNO(0384) "%s has no certificate of that root with serial %s",
                              next->directory, what);
    }
    rv = gh_certificate_open(&certificate, what, NULL, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (!issued_by(certificate, next->certificate)
        || X509_cmp(certificate, next->certificate) == 0) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                              "Give the certificate of a CA below this root.",
                              GHNO(0385) "%s was not issued by that root", what);
    }
    next->revoke = gh_certificate_serial(certificate, p);
    return APR_SUCCESS;
}

static apr_status_t add_entries(next_t *next, gh_crl_builder_t *builder, apr_time_t now,
                                apr_pool_t *p)
{
    STACK_OF(X509_REVOKED) *revoked = X509_CRL_get_REVOKED(next->old);
    apr_status_t rv = APR_SUCCESS;
    int i;

    for (i = 0; i < sk_X509_REVOKED_num(revoked) && rv == APR_SUCCESS; i++) {
        gh_revoked_t entry;

        gh_revoked_read(&entry, sk_X509_REVOKED_value(revoked, i), p);
        if (next->revoke.data != NULL && entry.serial.length == next->revoke.length
            && memcmp(entry.serial.data, next->revoke.data, entry.serial.length) == 0) {
            next->revoked_before = 1;
        }
        rv = gh_crl_add(builder, entry.serial, entry.revoked_at, entry.reason,
                        entry.invalid_from);
        next->entries++;
    }
    if (rv == APR_SUCCESS && next->revoke.data != NULL && !next->revoked_before) {
        rv = gh_crl_add(builder, next->revoke, now, next->reason, 0);
        next->entries++;
    }
    return rv;
}

static apr_status_t write_next(next_t *next, apr_pool_t *p, gh_result_t *result)
{
    apr_time_t now = apr_time_now();
    gh_crl_builder_t *builder;
    gh_bytes_t der;
    apr_status_t rv;

    next->number = gh_crl_number(next->old) + 1;
    rv = gh_crl_begin(&builder, next->ca, next->number, now, now + next->validity, p, result);
    if (rv == APR_SUCCESS) {
        rv = add_entries(next, builder, now, p);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_crl_finish(builder, &der, p, result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = ctl_file_replace(next->path, der, 0644, p);
    if (rv != APR_SUCCESS) {
        return gh_result_fail(result, APR_EGENERAL, GH_FAILURE_INTERNAL, RULE,
                              "Make room, or correct the rights of the folder.",
                              GHNO(0386) "%s cannot be written: %s", next->path,
                              ctl_error_text(rv, p));
    }
    return APR_SUCCESS;
}

static int read_options(next_t *next, const ctl_arguments_t *arguments)
{
    const char *validity = ctl_option(arguments, "validity");
    const char *reason = ctl_option(arguments, "reason");
    gh_result_t result;

    gh_result_clear(&result);
    next->directory = ctl_option(arguments, "directory");
    if (next->directory == NULL) {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Name the folder that ca init wrote into.",
                       GHNO(0387) "ca crl needs --directory");
        return ctl_fail_usage(&result);
    }
    next->validity = apr_time_from_sec(365 * 86400);
    if (validity != NULL && (gh_duration_parse(&next->validity, validity) != APR_SUCCESS
                             || next->validity < apr_time_from_sec(3600)
                             || next->validity > apr_time_from_sec(5 * 365 * (apr_int64_t)86400))) {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Give a number and a unit, from 1h to 5y.",
                       GHNO(0388) "a CRL cannot be good for %s", validity);
        return ctl_fail_usage(&result);
    }
    next->reason = reason != NULL ? gh_reason_parse(reason) : GH_REASON_NONE;
    if (next->reason < GH_REASON_NONE || next->reason == 6 || next->reason == 8
        || (reason != NULL && ctl_option(arguments, "revoke") == NULL)) {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "With --revoke, give unspecified, keyCompromise, cACompromise, "
                       "affiliationChanged, superseded or cessationOfOperation.",
                       GHNO(0389) "the reason \"%s\" does not go with this command", reason);
        return ctl_fail_usage(&result);
    }
    return CTL_OK;
}

static void print_next(const ctl_t *ctl, const next_t *next)
{
    apr_time_t until = gh_asn1_time(X509_CRL_get0_nextUpdate(next->old));
    json_t *object;

    if (ctl->json) {
        object = json_object();
        json_object_set_new(object, "crl", ctl_json_text(next->path, ctl->p));
        json_object_set_new(object, "number", json_integer(next->number));
        json_object_set_new(object, "entries", json_integer(next->entries));
        json_object_set_new(object, "next_update",
                            ctl_json_time(apr_time_now() + next->validity, ctl->p));
        ctl_json_print(stdout, object);
        return;
    }
    printf("%s: number %" APR_INT64_T_FMT ", %d revoked, good until %s\n", next->path,
           next->number, next->entries,
           gh_time_text(ctl->p, apr_time_now() + next->validity));
    if (next->revoked_before) {
        puts("That CA was revoked before; its entry stays as it was.");
    }
    if (until < apr_time_now()) {
        printf("The CRL before was out of date since %s.\n", gh_time_text(ctl->p, until));
    }
}

int ctl_ca_crl(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    const char *name = ctl_option(arguments, "root-name");
    const char *key_source = ctl_option(arguments, "key");
    EVP_PKEY *key;
    gh_ca_urls_t urls;
    gh_result_t result;
    next_t next;
    int code;

    gh_result_clear(&result);
    memset(&next, 0, sizeof(next));
    memset(&urls, 0, sizeof(urls));
    name = name != NULL ? name : "root";
    code = read_options(&next, arguments);
    code = code == CTL_OK ? ctl_ca_name(name) : code;
    if (code != CTL_OK) {
        return code;
    }
    next.path = apr_pstrcat(ctl->p, next.directory, "/", name, ".crl", NULL);
    if (key_source == NULL) {
        key_source = apr_pstrcat(ctl->p, next.directory, "/", name, ".key", NULL);
    }
    if (gh_certificate_open(&next.certificate,
                            apr_pstrcat(ctl->p, next.directory, "/", name, ".pem", NULL), NULL,
                            ctl->p, &result) != APR_SUCCESS
        || load_old(&next, ctl->p, &result) != APR_SUCCESS
        || find_revoked(&next, ctl_option(arguments, "revoke"), ctl->p, &result) != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    if (gh_key_open(&key, key_source, ctl_option(arguments, "root-passphrase"), ctl->p, &result)
        != APR_SUCCESS) {
        ctl_fail(&result);
        return CTL_UNAVAILABLE;
    }
    if (gh_ca_create(&next.ca, next.certificate, key, &urls, ctl->p, &result) != APR_SUCCESS
        || write_next(&next, ctl->p, &result) != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    print_next(ctl, &next);
    return CTL_OK;
}
