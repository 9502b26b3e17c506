/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_escrow/escrow_settings.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>

#include "log.h"
#include "mod_escrow/escrow_config.h"
#include "mod_escrow/escrow_uem.h"
#include "x509/key.h"

APLOG_USE_MODULE(escrow);

#define MAX_BODY        (1024 * 1024)
#define MAX_CREDENTIALS 50
#define DAY             ((double)apr_time_from_sec(86400))

/** A hundred years. */
#define MAX_DAYS        36500

static escrow_settings_t *settings;

static apr_status_t forget(void *data)
{
    settings = NULL;
    return APR_SUCCESS;
}

escrow_settings_t *escrow_settings(apr_pool_t *pconf)
{
    if (!settings) {
        settings = apr_pcalloc(pconf, sizeof(*settings));
        settings->max_body = MAX_BODY;
        settings->max_credentials = MAX_CREDENTIALS;
        settings->archive = 1;
        settings->patience = ESCROW_PATIENCE;
        settings->device_cas = apr_array_make(pconf, 2, sizeof(const char *));
        settings->device_issuers = apr_array_make(pconf, 2, sizeof(escrow_device_issuer_t *));
        settings->trust.issuers = settings->device_issuers;
        apr_pool_cleanup_register(pconf, NULL, forget, apr_pool_cleanup_null);
    }
    return settings;
}

const escrow_settings_t *escrow_settings_now(void)
{
    return settings;
}

/** @return NULL if arg is no whole number within these limits */
static const char *read_number(const char *arg, long least, long most, long *number)
{
    char *end;

    *number = strtol(arg, &end, 10);
    return *arg && !*end && *number >= least && *number <= most ? arg : NULL;
}

/** @return 0 if arg is no number of days, perhaps with a fraction */
static int read_days(const char *arg, apr_interval_time_t *days)
{
    char *end;
    double number = strtod(arg, &end);

    if (!*arg || *end || !(number > 0) || number > MAX_DAYS) {
        return 0;
    }
    *days = (apr_interval_time_t)(number * DAY);
    return *days > 0;
}

const char *escrow_set_max_body(cmd_parms *cmd, void *dir, const char *arg)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    long number;

    if (error) {
        return error;
    }
    if (!read_number(arg, 1024, 64L * 1024 * 1024, &number)) {
        return GHNO(1222) "EscrowMaxBody takes a number of bytes from 1024 to 67108864";
    }
    escrow_settings(cmd->pool)->max_body = (apr_size_t)number;
    return NULL;
}

const char *escrow_set_max_credentials(cmd_parms *cmd, void *dir, const char *arg)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    long number;

    if (error) {
        return error;
    }
    if (!read_number(arg, 1, ESCROW_ELEMENTS_MAX, &number)) {
        return apr_psprintf(cmd->pool, GHNO(1223) "EscrowMaxCredentials takes a number from 1 to "
                            "%d", ESCROW_ELEMENTS_MAX);
    }
    escrow_settings(cmd->pool)->max_credentials = (int)number;
    return NULL;
}

const char *escrow_set_retention(cmd_parms *cmd, void *dir, const char *arg)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    escrow_settings_t *said;

    if (error) {
        return error;
    }
    said = escrow_settings(cmd->pool);
    if (!ap_cstr_casecmp(arg, "expiry")) {
        said->retention = ESCROW_RETAIN_EXPIRY;
    }
    else if (!ap_cstr_casecmp(arg, "consumption")) {
        said->retention = ESCROW_RETAIN_CONSUMPTION;
    }
    else if (read_days(arg, &said->days)) {
        said->retention = ESCROW_RETAIN_DAYS;
    }
    else {
        return GHNO(1224) "EscrowRetention takes expiry, consumption, or a number of days, such as "
               "0.5";
    }
    return NULL;
}

const char *escrow_set_archive(cmd_parms *cmd, void *dir, int on)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    if (!error) {
        escrow_settings(cmd->pool)->archive = on;
    }
    return error;
}

static const char *set_device_issuer(cmd_parms *cmd, int argc, char *const argv[])
{
    escrow_device_issuer_t *issuer = apr_pcalloc(cmd->pool, sizeof(*issuer));
    apr_array_header_t *profiles = apr_array_make(cmd->pool, 2, sizeof(const char *));
    int i;

    for (i = 0; i < argc; ++i) {
        if (!issuer->issuer && !strncmp(argv[i], "issuer=", 7) && argv[i][7]) {
            issuer->issuer = argv[i] + 7;
        }
        else if (!strncmp(argv[i], "profile=", 8) && argv[i][8]) {
            APR_ARRAY_PUSH(profiles, const char *) = argv[i] + 8;
        }
        else if (!strcmp(argv[i], "challenges=trusted")) {
            issuer->challenges = 1;
        }
        else {
            return apr_psprintf(cmd->pool, GHNO(1451) "EscrowDeviceCA takes files, or issuer=NAME "
                                "with profile=NAME and challenges=trusted, not \"%s\"", argv[i]);
        }
    }
    issuer->profiles = profiles;
    APR_ARRAY_PUSH(escrow_settings(cmd->pool)->device_issuers, escrow_device_issuer_t *) = issuer;
    return NULL;
}

const char *escrow_set_device_ca(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    int i;

    if (error) {
        return error;
    }
    if (argc == 0) {
        return "EscrowDeviceCA takes at least one argument";
    }
    if (!strncmp(argv[0], "issuer=", 7)) {
        return set_device_issuer(cmd, argc, argv);
    }
    for (i = 0; i < argc; ++i) {
        APR_ARRAY_PUSH(escrow_settings(cmd->pool)->device_cas, const char *)
            = ap_server_root_relative(cmd->pool, argv[i]);
    }
    return NULL;
}

const char *escrow_set_recipient(cmd_parms *cmd, void *dir, const char *arg)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    if (error) {
        return error;
    }
    if (ap_cstr_casecmp(arg, "device-ca") && ap_cstr_casecmp(arg, "first-use-insecure")) {
        return GHNO(1225) "EscrowRecipient takes device-ca or first-use-insecure";
    }
    escrow_settings(cmd->pool)->trust.insecure = !ap_cstr_casecmp(arg, "first-use-insecure");
    return NULL;
}

const char *escrow_set_profile_life(cmd_parms *cmd, void *dir, const char *arg)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    if (error) {
        return error;
    }
    if (!read_days(arg, &escrow_settings(cmd->pool)->patience)) {
        return GHNO(1226) "EscrowProfileLife takes a number of days, such as 14";
    }
    return NULL;
}

const char *escrow_set_pkcs12(cmd_parms *cmd, void *dir, const char *arg)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    if (error) {
        return error;
    }
    if (ap_cstr_casecmp(arg, "legacy") && ap_cstr_casecmp(arg, "modern")) {
        return GHNO(1227) "EscrowPKCS12 takes legacy or modern";
    }
    escrow_settings(cmd->pool)->pkcs12 = !ap_cstr_casecmp(arg, "modern") ? ESCROW_PKCS12_MODERN
        : ESCROW_PKCS12_LEGACY;
    return NULL;
}

const char *escrow_set_transport(cmd_parms *cmd, void *dir, const char *arg)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    if (error) {
        return error;
    }
    if (ap_cstr_casecmp(arg, "pkcs1") && ap_cstr_casecmp(arg, "oaep")) {
        return GHNO(1228) "EscrowKeyTransport takes pkcs1 or oaep";
    }
    escrow_settings(cmd->pool)->transport = !ap_cstr_casecmp(arg, "oaep") ? ESCROW_TRANSPORT_OAEP
        : ESCROW_TRANSPORT_PKCS1;
    return NULL;
}

const char *escrow_set_signer(cmd_parms *cmd, void *dir, const char *certificate,
                              const char *key, const char *passphrase)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    escrow_settings_t *said;

    if (error) {
        return error;
    }
    said = escrow_settings(cmd->pool);
    said->signer_certificate = ap_server_root_relative(cmd->pool, certificate);
    said->signer_key = gh_key_is_token(key) ? key : ap_server_root_relative(cmd->pool, key);
    said->signer_passphrase = passphrase ? escrow_secret_source(cmd->pool, passphrase) : NULL;
    said->signer_file = cmd->directive->filename;
    said->signer_line = cmd->directive->line_num;
    if (!said->signer_certificate || !said->signer_key
        || (passphrase && !said->signer_passphrase)) {
        return GHNO(1342) "EscrowProfileSigner takes the path of a PEM file, that of a key or a "
               "pkcs11: URI, and perhaps file:PATH or exec:PATH with its passphrase or PIN";
    }
    return NULL;
}

static int complain(server_rec *s, const gh_result_t *result)
{
    ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, 0, s, "%s: %s. %s", result->number,
                 result->message, result->action);
    return 1;
}

static int complain_of_name(server_rec *s, const char *kind, const char *name)
{
    ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, 0, s, GHNO(1452) "EscrowDeviceCA: there is "
                 "no <%s %s>", kind, name);
    return 1;
}

static int check_device_issuer(server_rec *s, const escrow_device_issuer_t *issuer)
{
    const gatehouse_config_t *config = escrow_gatehouse()->config();
    int problems = 0;
    int i;

    if (!apr_hash_get(config->issuers, issuer->issuer, APR_HASH_KEY_STRING)) {
        problems += complain_of_name(s, "Issuer", issuer->issuer);
    }
    for (i = 0; i < issuer->profiles->nelts; ++i) {
        const char *name = APR_ARRAY_IDX(issuer->profiles, i, const char *);

        if (!apr_hash_get(config->profiles, name, APR_HASH_KEY_STRING)) {
            problems += complain_of_name(s, "CertificateProfile", name);
        }
    }
    return problems;
}

static int check_signer(server_rec *s, const escrow_settings_t *said, apr_pool_t *pconf,
                        apr_pool_t *ptemp)
{
    escrow_signer_t *signer;
    gh_result_t result;

    gh_result_clear(&result);
    if (!said->signer_certificate
        || escrow_signer_open(&signer, said->signer_certificate, said->signer_key,
                              said->signer_passphrase, apr_time_now(), ptemp, &result)
            == APR_SUCCESS
        || escrow_gatehouse()->dump_problem(pconf, NULL, "EscrowProfileSigner",
                                            said->signer_file, said->signer_line, &result)) {
        return 0;
    }
    return complain(s, &result);
}

int escrow_settings_check(server_rec *s, apr_pool_t *pconf, apr_pool_t *ptemp)
{
    const escrow_settings_t *said = escrow_settings(pconf);
    escrow_device_cas_t *cas;
    gh_result_t result;
    int problems = check_signer(s, said, pconf, ptemp);
    int i;

    gh_result_clear(&result);
    if (said->device_cas->nelts) {
        if (escrow_device_cas_open(&cas, said->device_cas, pconf, &result) != APR_SUCCESS) {
            problems += complain(s, &result);
        }
        settings->trust.cas = cas;
    }
    for (i = 0; i < said->device_issuers->nelts; ++i) {
        problems += check_device_issuer(s, APR_ARRAY_IDX(said->device_issuers, i,
                                                         const escrow_device_issuer_t *));
    }
    return problems;
}
