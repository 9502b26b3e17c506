/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The check_config hook: it runs at each start and with "httpd -t", after everything was read. All
 * problems are reported, each with the place of its directive, before the start is refused. */

#include <string.h>
#include <httpd.h>
#include <http_core.h>
#include <http_log.h>
#include <apr_file_info.h>
#include <apr_strings.h>
#include <unixd.h>

#include "gatehouse_remote.h"
#include "log.h"
#include "x509/ca.h"
#include "x509/key.h"

APLOG_USE_MODULE(gatehouse);

/* Of this generation; the module's memory goes with pconf, and so does what this points to. */
static gatehouse_settings_t *current;

gatehouse_settings_t *gatehouse_settings(void)
{
    return current;
}

const gatehouse_config_t *gatehouse_config(void)
{
    return current ? &current->shared : NULL;
}

static apr_status_t forget_settings(void *data)
{
    current = NULL;
    return APR_SUCCESS;
}

int gatehouse_first_pass(void)
{
    return ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG;
}

/* The number comes first, so that one can look for it. Time and level are left out as long as there
 * is no error log but only somebody who reads standard error. */
static void log_place(server_rec *s, int level, gatehouse_place_t place, const char *what,
                      const char *text)
{
    const char *colon = strncmp(text, "GH", 2) ? NULL : strstr(text, ": ");
    int number = colon ? (int)(colon + 2 - text) : 0;

    level |= gatehouse_first_pass() ? APLOG_STARTUP : 0;
    if (place.file) {
        ap_log_error(APLOG_MARK, level, 0, s, "%.*s%s:%d: %s: %s", number, text,
                     place.file, place.line, what, text + number);
    }
    else {
        ap_log_error(APLOG_MARK, level, 0, s, "%.*s%s: %s", number, text, what, text + number);
    }
}

void gatehouse_log_problem(server_rec *s, gatehouse_place_t place, const char *what,
                           const char *explanation)
{
    log_place(s, APLOG_ERR, place, what, explanation);
}

static void note(gatehouse_settings_t *settings, int level, gatehouse_place_t place,
                 const char *what, const char *text)
{
    gatehouse_warning_t *warning = apr_array_push(settings->warnings);

    warning->level = level;
    warning->place = place;
    warning->what = what;
    warning->text = text;
}

void gatehouse_warn(gatehouse_settings_t *settings, gatehouse_place_t place, const char *what,
                    const char *text)
{
    note(settings, APLOG_WARNING, place, what, text);
}

void gatehouse_note_error(gatehouse_settings_t *settings, gatehouse_place_t place, const char *what,
                          const char *text)
{
    note(settings, APLOG_ERR, place, what, text);
}

void gatehouse_log_warnings(const gatehouse_settings_t *settings, server_rec *s)
{
    int i;

    for (i = 0; i < settings->warnings->nelts; ++i) {
        const gatehouse_warning_t *warning
            = &APR_ARRAY_IDX(settings->warnings, i, gatehouse_warning_t);

        log_place(s, warning->level, warning->place, warning->what, warning->text);
    }
}

static int check_sealing_key(gatehouse_settings_t *settings, server_rec *s, apr_pool_t *p,
                             apr_pool_t *ptemp)
{
    gh_result_t result;
    apr_status_t rv;

    if (!settings->sealing_key) {
        return 0;
    }
    gh_result_clear(&result);
    rv = gh_sealer_open(&settings->sealer, settings->sealing_key, p, &result);
    if (rv != APR_SUCCESS
        && !gatehouse_dump_problem(p, NULL, "GatehouseSealingKey", settings->sealing_key_place.file,
                                   settings->sealing_key_place.line, &result)) {
        gatehouse_log_problem(s, settings->sealing_key_place, "GatehouseSealingKey",
                              gatehouse_explain(&result, rv, ptemp));
        return 1;
    }
    settings->shared.sealing_configured = 1;
    settings->shared.sealer = settings->sealer;
    return 0;
}

/* The file itself is opened later, by the parent; here only what a person gets wrong. */
static int check_audit_log(gatehouse_settings_t *settings, server_rec *s, apr_pool_t *ptemp)
{
    const char *path = settings->audit_log;
    apr_finfo_t info;
    const char *directory;

    if (!path || *path == '|') {
        return 0;
    }
    directory = ap_make_dirstr_parent(ptemp, path);
    if (apr_stat(&info, directory, APR_FINFO_TYPE, ptemp) != APR_SUCCESS
        || info.filetype != APR_DIR) {
        gatehouse_log_problem(s, settings->audit_log_place, "GatehouseAuditLog",
                              apr_psprintf(ptemp, GHNO(0301) "there is no directory %s; create it "
                                           "or name another file", directory));
        return 1;
    }
    if (apr_stat(&info, path, APR_FINFO_TYPE, ptemp) == APR_SUCCESS && info.filetype == APR_DIR) {
        gatehouse_log_problem(s, settings->audit_log_place, "GatehouseAuditLog",
                              apr_psprintf(ptemp, GHNO(0302) "%s is a directory; name a file",
                                           path));
        return 1;
    }
    return 0;
}

/* The directive that a failed check of an issuer speaks of: by the rule that the result names, or
 * by the file in its message. */
static gatehouse_place_t issuer_place(const gatehouse_issuer_section_t *section,
                                      const gh_result_t *result, const char **what, apr_pool_t *p)
{
    const struct {
        const char *rule, *directive, *path;
        gatehouse_place_t place;
    } known[] = {
        { "issuer.certificate", "IssuerCertificate", section->config.certificate,
          section->certificate_place },
        { "issuer.key", "IssuerKey", section->config.key, section->key_place },
        { "issuer.chain", "IssuerChain", section->config.chain, section->chain_place },
    };
    const apr_size_t count = sizeof(known) / sizeof(known[0]);
    apr_size_t i;

    for (i = 0; i < 2 * count; ++i) {
        const char *path = known[i % count].path;
        const char *rule = known[i % count].rule;

        if (path && (i < count ? result->rule && !strcmp(result->rule, rule)
                               : strstr(result->message, path) != NULL)) {
            *what = known[i % count].directive;
            return known[i % count].place;
        }
    }
    *what = apr_pstrcat(p, "<Issuer ", section->name, ">", NULL);
    return section->place;
}

/* A CA key of 2048 bits is good until the end of 2030 (NIST SP 800-57 part 1, 112 bits). */
static void warn_short_key(gatehouse_settings_t *settings,
                           const gatehouse_issuer_section_t *section, apr_pool_t *p)
{
    static const apr_time_t end_of_2030 = APR_TIME_C(1924991999) * APR_USEC_PER_SEC;
    X509 *certificate = gh_issuer_certificate(section->issuer);
    const char *kind = gh_key_kind(X509_get0_pubkey(certificate));

    if (kind && !strcmp(kind, "RSA-2048")
        && gh_certificate_not_after(certificate) > end_of_2030) {
        gatehouse_warn(settings, section->certificate_place, "IssuerCertificate",
                       apr_psprintf(p, GHNO(0303) "the RSA key of CA %s has 2048 bits and is to be "
                                    "used beyond 2030; plan a new CA with RSA-3072 or P-256 or "
                                    "better", section->name));
    }
}

static int check_issuer(gatehouse_settings_t *settings, gatehouse_issuer_section_t *section,
                        server_rec *s, apr_pool_t *p, apr_pool_t *ptemp)
{
    gh_issuer_config_t *config = gh_issuer_config(section->issuer);
    const gh_issuer_backend_t *backend = gh_issuer_backend(section->issuer);
    APR_OPTIONAL_FN_TYPE(gatehouse_ocsp_url) *ocsp_url
        = APR_RETRIEVE_OPTIONAL_FN(gatehouse_ocsp_url);
    gatehouse_authority_t *authority;
    const char *what = apr_pstrcat(ptemp, "<Issuer ", section->name, ">", NULL);
    gatehouse_place_t place;
    gh_result_t result;
    apr_status_t rv;
    int problems = 0;

    if (!config->public_url) {
        config->public_url = settings->public_url;
    }
    config->ocsp_url = ocsp_url ? ocsp_url(s, section->name, config->public_url, p) : NULL;
    if (backend->crl_signer && !config->public_url && !backend->by_worker
        && strcmp(backend->name, "offline")) {
        gatehouse_log_problem(s, section->place, what, GHNO(0304) "GatehousePublicURL is missing: "
                              "certificates have to say where their CRL is. Add it, like "
                              "GatehousePublicURL http://pki.example.com");
        ++problems;
    }
    if (config->crl_file && !backend->crl) {
        gatehouse_log_problem(s, section->crl_place, "IssuerCRL", apr_psprintf(ptemp, GHNO(0305)
                              "file= is for issuers whose CRL is made elsewhere; leave it out, or "
                              "say IssuerBackend offline"));
        ++problems;
    }
    gh_result_clear(&result);
    rv = gh_issuer_load(section->issuer, p, &result);
    if (rv != APR_SUCCESS) {
        place = issuer_place(section, &result, &what, ptemp);
        if (gatehouse_dump_problem(p, section->name, what, place.file, place.line, &result)) {
            apr_hash_set(settings->shared.issuers, section->name, APR_HASH_KEY_STRING,
                         section->issuer);
            return problems;
        }
        gatehouse_log_problem(s, place, what, gatehouse_explain(&result, rv, ptemp));
        return problems + 1;
    }
    rv = gatehouse_make_authority(&authority, section->issuer, p);
    if (rv != APR_SUCCESS) {
        gatehouse_log_problem(s, section->place, what, GHNO(0306) "its certificates cannot be "
                              "written as PEM");
        return problems + 1;
    }
    authority->slot = apr_hash_count(settings->authorities);
    apr_hash_set(settings->authorities, section->name, APR_HASH_KEY_STRING, authority);
    apr_hash_set(settings->shared.issuers, section->name, APR_HASH_KEY_STRING, section->issuer);
    warn_short_key(settings, section, p);
    return problems;
}

/* What one of them revokes would be missing from the CRL of the other, which has the same name. */
static int check_shared_keys(const gatehouse_settings_t *settings, server_rec *s,
                             apr_pool_t *ptemp)
{
    int i, j, problems = 0;

    for (i = 1; i < settings->issuers->nelts; ++i) {
        const gatehouse_issuer_section_t *one
            = APR_ARRAY_IDX(settings->issuers, i, gatehouse_issuer_section_t *);
        gh_bytes_t key = gh_issuer_key_sha256(one->issuer);

        for (j = 0; key.length && j < i; ++j) {
            const gatehouse_issuer_section_t *other
                = APR_ARRAY_IDX(settings->issuers, j, gatehouse_issuer_section_t *);
            gh_bytes_t before = gh_issuer_key_sha256(other->issuer);

            if (key.length == before.length && !memcmp(key.data, before.data, key.length)) {
                gatehouse_log_problem(s, one->certificate_place, "IssuerCertificate",
                                      apr_psprintf(ptemp, GHNO(0450) "the CA of <Issuer %s> has "
                                                   "the key of <Issuer %s>, in line %d of %s; keep "
                                                   "one of them: a CA has one CRL, with all that "
                                                   "was revoked", one->name, other->name,
                                                   other->certificate_place.line,
                                                   other->certificate_place.file));
                ++problems;
            }
        }
    }
    return problems;
}

/* A start makes the store ready, and says what is wrong. A test says so before, since a graceful
 * restart goes on with a store that it cannot open. gatehousectl, which asks for the dump, has
 * commands that need no store, and looks at it itself. */
static int check_store(const gatehouse_settings_t *settings, server_rec *s, apr_pool_t *ptemp)
{
    gh_result_t result;
    apr_status_t rv;

    if (!settings->store || ap_state_query(AP_SQ_RUN_MODE) != AP_SQ_RM_CONFIG_TEST
        || ap_exists_config_define("DUMP_GATEHOUSE")) {
        return 0;
    }
    gh_result_clear(&result);
    rv = gh_store_examine(settings->store, ap_unixd_config.user_id, ap_unixd_config.group_id, ptemp,
                          &result);
    if (rv == APR_SUCCESS) {
        return 0;
    }
    gatehouse_log_problem(s, settings->store_place, "GatehouseStore",
                          gatehouse_explain(&result, rv, ptemp));
    return 1;
}

static void check_clock(gatehouse_settings_t *settings)
{
    static const gatehouse_place_t nowhere = { NULL, 0 };
    apr_time_t built = gatehouse_built();

    /* a day for the time zone of the builder's machine */
    if (built && apr_time_now() < built - apr_time_from_sec(86400)) {
        gatehouse_warn(settings, nowhere, "clock", GHNO(0307) "this machine's clock is before the "
                       "day on which Gatehouse was built; set it before any certificate is issued");
    }
}

/* Whether a chain of successors leads back to where it began. */
static int is_circle(const gh_issuer_t *issuer)
{
    const gh_issuer_t *next = gh_issuer_next(issuer);

    while (next && next != issuer) {
        next = gh_issuer_next(next);
    }
    return next != NULL;
}

static int link_successors(gatehouse_settings_t *settings, server_rec *s, apr_pool_t *ptemp)
{
    int i, problems = 0;

    for (i = 0; i < settings->issuers->nelts; ++i) {
        const gatehouse_issuer_section_t *section
            = APR_ARRAY_IDX(settings->issuers, i, gatehouse_issuer_section_t *);
        const char *name = section->config.next;
        gh_issuer_t *next = name ? apr_hash_get(settings->shared.issuers, name,
                                                APR_HASH_KEY_STRING) : NULL;

        if (!name) {
            continue;
        }
        if (next && gh_issuer_backend(next) != &gh_issuer_offline) {
            gh_issuer_set_next(section->issuer, next);
        }
        if (!gh_issuer_next(section->issuer) || is_circle(section->issuer)) {
            gh_issuer_set_next(section->issuer, NULL);
            gatehouse_log_problem(s, section->next_place, "IssuerNext",
                                  apr_psprintf(ptemp, GHNO(0501) "issuer %s cannot take over from "
                                  "%s: name another <Issuer> that signs here, without a circle",
                                  name, section->name));
            ++problems;
        }
    }
    return problems;
}

int gatehouse_check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    gatehouse_settings_t *settings = gatehouse_settings_of(s);
    int problems = 0;
    int i;

    settings->shared.store = settings->store;
    settings->shared.public_url = settings->public_url;
    settings->shared.node = settings->node;
    if (settings->issuers->nelts && !settings->store) {
        const gatehouse_issuer_section_t *first
            = APR_ARRAY_IDX(settings->issuers, 0, gatehouse_issuer_section_t *);

        gatehouse_log_problem(s, first->place, "<Issuer>", GHNO(0308) "GatehouseStore is missing; "
                              "add it, like GatehouseStore sqlite3:/var/lib/gatehouse/store.db");
        ++problems;
    }
    problems += check_sealing_key(settings, s, pconf, ptemp);
    problems += check_audit_log(settings, s, ptemp);
    problems += gatehouse_check_profiles(settings, s, pconf, ptemp);
    for (i = 0; i < settings->issuers->nelts; ++i) {
        problems += check_issuer(settings,
                                 APR_ARRAY_IDX(settings->issuers, i, gatehouse_issuer_section_t *),
                                 s, pconf, ptemp);
    }
    if (settings->store) {
        check_clock(settings);
    }
    for (i = 0; i < settings->issuers->nelts; ++i) {
        problems += gatehouse_check_remote(settings, APR_ARRAY_IDX(settings->issuers, i,
                                           gatehouse_issuer_section_t *), s, pconf, ptemp);
    }
    problems += gatehouse_check_webhooks(settings, s, pconf, ptemp);
    problems += gatehouse_check_mapping(settings, s, pconf);
    problems += check_shared_keys(settings, s, ptemp);
    problems += link_successors(settings, s, ptemp);
    problems += gatehouse_collect_locations(settings, s, pconf);
    problems += check_store(settings, s, ptemp);
    gatehouse_check_addresses(settings, pconf);
    if (ap_state_query(AP_SQ_RUN_MODE) == AP_SQ_RM_CONFIG_TEST) {
        gatehouse_log_warnings(settings, s);
    }
    if (problems) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    current = settings;
    apr_pool_cleanup_register(pconf, NULL, forget_settings, apr_pool_cleanup_null);
    return OK;
}
