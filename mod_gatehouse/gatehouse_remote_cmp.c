/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* <Issuer NAME> of a CA behind a CMP server: IssuerCMP. */

#include <string.h>
#include <httpd.h>
#include <http_config.h>
#include <apr_strings.h>
#include <apr_uri.h>
#include <jansson.h>

#include "gatehouse_remote.h"
#include "log.h"
#include "text.h"
#include "x509/credential.h"
#include "x509/name.h"

/** Longest reference of a secret. */
#define REFERENCE_MAX 255

/** Shortest secret: it protects messages against whoever can read them and try words. */
#define SECRET_MIN 8

const char *gatehouse_cmp_url_fault(const char *url, apr_pool_t *p)
{
    apr_uri_t uri;

    if (strncmp(url, "https://", 8) && strncmp(url, "http://", 7)) {
        return "it does not begin with https:// or http://";
    }
    if (apr_uri_parse(p, url, &uri) != APR_SUCCESS || !uri.hostname || !*uri.hostname) {
        return "it has no host";
    }
    if (uri.user || uri.password || uri.query || uri.fragment) {
        return "it has a user, a query or a fragment";
    }
    if (!uri.path || !uri.path[0] || !uri.path[1]) {
        return "it has no path";
    }
    return NULL;
}

static int take_name(const char **name, const char *text, apr_pool_t *p)
{
    X509_NAME *parsed;
    gh_result_t result;

    gh_result_clear(&result);
    if (*name || gh_name_parse(&parsed, text, p, &result) != APR_SUCCESS) {
        return 0;
    }
    *name = text;
    return 1;
}

static int take_reference(gatehouse_cmp_t *cmp, const char *text)
{
    apr_size_t length = strlen(text);

    if (cmp->reference || !length || length > REFERENCE_MAX) {
        return 0;
    }
    cmp->reference = text;
    return 1;
}

static int take_word(gatehouse_cmp_t *cmp, const char *text)
{
    if (!strcmp(text, "implicit-confirm")) {
        cmp->implicit = 1;
        return 1;
    }
    cmp->unprotected |= !strcmp(text, "unprotected-errors");
    return !strcmp(text, "unprotected-errors");
}

static int take_setting(cmd_parms *cmd, gatehouse_cmp_t *cmp, const char *text)
{
    if (!strncmp(text, "ref=", 4)) {
        return take_reference(cmp, text + 4);
    }
    if (!strncmp(text, "secret=", 7) && !cmp->source) {
        cmp->source = gatehouse_secret_source(cmd->pool, text + 7);
        return cmp->source != NULL;
    }
    if (!strncmp(text, "message=", 8)) {
        cmp->message = text + 8;
        return !strcmp(cmp->message, "p10cr") || !strcmp(cmp->message, "ir")
            || !strcmp(cmp->message, "cr");
    }
    if (!strncmp(text, "recipient=", 10)) {
        return take_name(&cmp->recipient, text + 10, cmd->temp_pool);
    }
    if (!strncmp(text, "sender=", 7)) {
        return take_name(&cmp->sender, text + 7, cmd->temp_pool);
    }
    if (!strncmp(text, "trust=", 6) && !cmp->trust && text[6]) {
        cmp->trust = ap_server_root_relative(cmd->pool, text + 6);
        return cmp->trust != NULL;
    }
    return take_word(cmp, text);
}

const char *gatehouse_set_issuer_cmp(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    gatehouse_issuer_section_t *section;
    const char *err = GATEHOUSE_SECTION_OF(cmd, &section, remote.cmp.place);
    int i;

    if (err) {
        return err;
    }
    for (i = 0; i < argc; ++i) {
        if (!take_setting(cmd, &section->remote.cmp, argv[i])) {
            /* what stands there may be a secret, and is not repeated */
            return GHNO(1052) "IssuerCMP takes ref=NAME, secret=file:PATH or exec:PATH, "
                   "message=p10cr, ir or cr, recipient=NAME, sender=NAME, trust=PATH, "
                   "implicit-confirm and unprotected-errors, once each";
        }
    }
    if (!section->remote.cmp.reference != !section->remote.cmp.source) {
        return GHNO(1053) "IssuerCMP: ref= and secret= belong together: the CA knows the secret by "
               "its reference";
    }
    return NULL;
}

/* Checks */

static int say(gatehouse_place_t place, const char *directive, const char *text, server_rec *s)
{
    gatehouse_log_problem(s, place, directive, text);
    return 1;
}

static int problem(const gatehouse_issuer_section_t *section, const gh_result_t *result,
                   apr_status_t rv, server_rec *s, apr_pool_t *p)
{
    gatehouse_place_t place = section->remote.cmp.place;

    if (gatehouse_dump_problem(p, section->name, "IssuerCMP", place.file, place.line, result)) {
        return 0;
    }
    gatehouse_log_problem(s, place, "IssuerCMP", gatehouse_explain(result, rv, p));
    return 1;
}

static int load(gatehouse_issuer_section_t *section, server_rec *s, apr_pool_t *p)
{
    gatehouse_cmp_t *cmp = &section->remote.cmp;
    gh_bytes_t none = { NULL, 0 };
    gh_result_t result;
    apr_status_t rv = APR_SUCCESS;

    gh_result_clear(&result);
    if (cmp->source) {
        rv = gh_secret_load(&cmp->secret, cmp->source, p, &result);
    }
    if (rv == APR_SUCCESS && cmp->source && cmp->secret.length < SECRET_MIN) {
        rv = gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, "cmp.secret",
                            "Have the CA give a longer one.",
                            GHNO(1054) "the secret has less than %d bytes, and could be found by "
                            "trying", SECRET_MIN);
    }
    if (rv == APR_SUCCESS && cmp->trust) {
        rv = gh_trust_load(&cmp->trusted, cmp->trust, none, p, &result);
    }
    return rv == APR_SUCCESS ? 0 : problem(section, &result, rv, s, p);
}

/* What makes no sense with a CMP server. */
static int check_others(const gatehouse_issuer_section_t *section, server_rec *s, apr_pool_t *p)
{
    const gatehouse_remote_t *remote = &section->remote;
    int problems = 0;

    if (remote->search_place.file && remote->search) {
        problems += say(remote->search_place, "IssuerSearch",
                        apr_psprintf(p, GHNO(1055) "issuer %s: a CMP server cannot be searched; "
                                     "leave IssuerSearch out", section->name), s);
    }
    if (remote->events_place.file && remote->events) {
        problems += say(remote->events_place, "IssuerEvents",
                        apr_psprintf(p, GHNO(1056) "issuer %s: a CMP server tells nothing of its "
                                     "certificates; leave IssuerEvents out", section->name), s);
    }
    if (remote->trust_place.file && !strncmp(remote->url, "http://", 7)) {
        problems += say(remote->trust_place, "IssuerTrust",
                        apr_psprintf(p, GHNO(1057) "issuer %s: IssuerTrust is for TLS, and the URL "
                                     "begins with http://; name who may sign CMP messages with "
                                     "IssuerCMP trust=", section->name), s);
    }
    return problems;
}

int gatehouse_check_cmp(gatehouse_issuer_section_t *section, server_rec *s, apr_pool_t *p,
                        apr_pool_t *ptemp)
{
    const gatehouse_cmp_t *cmp = &section->remote.cmp;
    int problems = check_others(section, s, ptemp);

    if (!cmp->source && !section->remote.credential) {
        problems += say(section->backend_place, "IssuerBackend",
                        apr_psprintf(ptemp, GHNO(1058) "issuer %s: nothing protects the messages "
                                     "to the CMP server; add IssuerCMP with ref= and secret=, or "
                                     "IssuerCredential with a PKCS#12", section->name), s);
    }
    if (section->remote.enrolled) {
        problems += say(section->remote.credential_place, "IssuerCredential",
                        apr_psprintf(ptemp, GHNO(1063) "issuer %s: a CMP server is shown the "
                                     "certificate of a file alone; leave \"enrolled\" out",
                                     section->name), s);
    }
    if (cmp->source && cmp->trust) {
        problems += say(cmp->place, "IssuerCMP",
                        apr_psprintf(ptemp, GHNO(1059) "issuer %s: with a secret answers are "
                                     "protected by it alone; leave trust= out", section->name), s);
    }
    return problems + load(section, s, p);
}

json_t *gatehouse_describe_cmp(const gatehouse_issuer_section_t *section,
                               gh_secret_json_t *secrets)
{
    const gatehouse_cmp_t *cmp = &section->remote.cmp;

    if (strcmp(gh_issuer_backend(section->issuer)->name, gh_issuer_cmp.name)) {
        return NULL;
    }
    return json_pack("{s:s*, s:o*, s:s*, s:s*, s:s*, s:s, s:b, s:b}", "reference", cmp->reference,
                     "secret", gh_secret_json_add(secrets, cmp->secret),
                     "recipient", cmp->recipient, "sender", cmp->sender, "trust", cmp->trusted,
                     "message",
                     cmp->message ? cmp->message : "p10cr", "implicit", cmp->implicit,
                     "unprotected", cmp->unprotected);
}
