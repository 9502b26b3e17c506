/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* <Issuer NAME> of a CA behind a gateway: where that is, who we are there, whom we trust. */

#include <string.h>
#include <httpd.h>
#include <ap_provider.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <apr_uri.h>

#include "gatehouse_remote.h"
#include "log.h"
#include "text.h"

#define CA_MAX GATEHOUSE_GATEWAY_NAME_MAX

void gatehouse_remote_init(gatehouse_remote_t *remote)
{
    remote->wait = apr_time_from_sec(5);
    remote->max_waiting = 32;
    remote->search = 1;
    remote->lag = apr_time_from_sec(60);
    remote->events_every = apr_time_from_sec(60);
    remote->concurrent = 16;
    remote->rate = 10;
    remote->timeout = apr_time_from_sec(60);
}

/* What is wrong with the URL of a gateway, or NULL. */
static const char *url_fault(const char *url, apr_pool_t *p)
{
    const char *last = strrchr(url, '/');
    apr_uri_t uri;

    if (strncmp(url, "https://", 8)) {
        return "it does not begin with https://";
    }
    if (apr_uri_parse(p, url, &uri) != APR_SUCCESS || !uri.hostname || !*uri.hostname) {
        return "it has no host";
    }
    if (uri.user || uri.password || uri.query || uri.fragment) {
        return "it has a user, a query or a fragment";
    }
    if (!last[1]) {
        return "it ends with a slash";
    }
    if (last > url + 8 && last[1] == 'v' && apr_isdigit(last[2])
        && strspn(last + 2, "0123456789.") == strlen(last + 2)) {
        return "it ends with the version of the API, which is added by itself";
    }
    return NULL;
}

static const char *known_backends(apr_pool_t *p)
{
    apr_array_header_t *names = ap_list_provider_names(p, GH_ISSUER_PROVIDER_GROUP,
                                                       GH_ISSUER_PROVIDER_VERSION);
    const char *text = "";
    int i;

    for (i = 0; i < names->nelts; ++i) {
        text = apr_pstrcat(p, text, i ? ", " : "",
                           APR_ARRAY_IDX(names, i, ap_list_provider_names_t).provider_name, NULL);
    }
    return text;
}

static const char *set_cmp_url(cmd_parms *cmd, gatehouse_issuer_section_t *section, int argc,
                               char *const argv[])
{
    const char *fault;

    if (argc != 2) {
        return GHNO(1060) "IssuerBackend cmp takes the URL of the CMP server, and nothing more";
    }
    fault = gatehouse_cmp_url_fault(argv[1], cmd->temp_pool);
    if (fault) {
        return apr_psprintf(cmd->pool, GHNO(1061) "IssuerBackend: the URL \"%s\" cannot be used: "
                            "%s. Write it like https://ca.example.com/.well-known/cmp", argv[1],
                            fault);
    }
    section->remote.url = argv[1];
    return NULL;
}

const char *gatehouse_set_issuer_backend(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    gatehouse_issuer_section_t *section;
    const gh_issuer_backend_t *backend;
    const char *err = GATEHOUSE_SECTION_OF(cmd, &section, backend_place);
    const char *fault;

    if (err) {
        return err;
    }
    if (argc < 1) {
        return GHNO(0820) "IssuerBackend takes the name of a back end";
    }
    backend = ap_lookup_provider(GH_ISSUER_PROVIDER_GROUP, argv[0], GH_ISSUER_PROVIDER_VERSION);
    if (!backend) {
        return apr_psprintf(cmd->pool, GHNO(0282) "IssuerBackend %s is not known; there are: %s",
                            argv[0], known_backends(cmd->temp_pool));
    }
    section->backend = argv[0];
    if (!backend->by_worker) {
        return argc == 1 ? NULL
            : apr_psprintf(cmd->pool, GHNO(0860) "IssuerBackend %s takes nothing more; leave out "
                           "\"%s\"", argv[0], argv[1]);
    }
    if (backend == &gh_issuer_cmp) {
        return set_cmp_url(cmd, section, argc, argv);
    }
    if (argc != 3 || strncmp(argv[2], "ca=", 3) || !argv[2][3] || strlen(argv[2]) > CA_MAX) {
        return apr_psprintf(cmd->pool, GHNO(0861) "IssuerBackend %s takes the URL of the gateway "
                            "and ca=ID, the CA's name there", argv[0]);
    }
    fault = url_fault(argv[1], cmd->temp_pool);
    if (fault) {
        return apr_psprintf(cmd->pool, GHNO(0862) "IssuerBackend: the URL \"%s\" cannot be used: "
                            "%s. Write it like https://gateway.example.com:8444/cagw", argv[1],
                            fault);
    }
    section->remote.url = argv[1];
    section->remote.ca = argv[2] + 3;
    return NULL;
}

/* An option of IssuerCredential. @return 0 if it is none, or was given before */
static int take_credential_option(cmd_parms *cmd, gatehouse_remote_t *remote, const char *text)
{
    const struct {
        const char *name;
        const char **value;
        int enrolled;               /* with "enrolled" only */
    } options[] = {
        { "alias=", &remote->alias, 0 }, { "profile=", &remote->own_profile, 1 },
        { "subject=", &remote->own_subject, 1 }, { "key=", &remote->own_kind, 1 },
        { "from=", &remote->credential, 1 },
    };
    int enrolled = remote->enrolled;
    apr_size_t i;

    for (i = 0; i < sizeof(options) / sizeof(options[0]); ++i) {
        apr_size_t length = strlen(options[i].name);

        if (!strncmp(text, options[i].name, length) && text[length] && !*options[i].value
            && enrolled >= options[i].enrolled) {
            *options[i].value = text + length;
            return 1;
        }
    }
    if (strncmp(text, "passphrase=", 11) || remote->passphrase) {
        return 0;
    }
    remote->passphrase = gatehouse_secret_source(cmd->pool, text + 11);
    return remote->passphrase != NULL;
}

const char *gatehouse_set_issuer_credential(cmd_parms *cmd, void *dir, int argc,
                                            char *const argv[])
{
    gatehouse_issuer_section_t *section;
    const char *err = GATEHOUSE_SECTION_OF(cmd, &section, remote.credential_place);
    gatehouse_remote_t *remote;
    int i;

    if (err) {
        return err;
    }
    remote = &section->remote;
    remote->enrolled = argc > 0 && !strcmp(argv[0], "enrolled");
    if (!remote->enrolled) {
        remote->credential = argc > 0 ? argv[0] : NULL;
    }
    for (i = 1; i < argc; ++i) {
        /* what stands there may be a passphrase, and is not repeated */
        if (!take_credential_option(cmd, remote, argv[i])) {
            return remote->enrolled
                ? GHNO(1064) "IssuerCredential enrolled takes profile=NAME, from=PATH, "
                  "passphrase=file:PATH or passphrase=exec:PATH, alias=NAME, subject=NAME and "
                  "key=KIND, once each"
                : GHNO(0864) "IssuerCredential: behind the file only passphrase=file:PATH, "
                  "passphrase=exec:PATH and alias=NAME may stand, once each";
        }
    }
    if (remote->enrolled && (!remote->own_profile || !remote->credential)) {
        return GHNO(1065) "IssuerCredential enrolled needs profile=NAME, after which certificates "
               "are asked for, and from=PATH, a PKCS#12 to begin with";
    }
    remote->credential = remote->credential && *remote->credential
        ? ap_server_root_relative(cmd->pool, remote->credential) : NULL;
    return remote->credential ? NULL
        : GHNO(0863) "IssuerCredential takes the path of a PKCS#12 file";
}

const char *gatehouse_set_issuer_trust(cmd_parms *cmd, void *dir, const char *source,
                                       const char *option)
{
    gatehouse_issuer_section_t *section;
    const char *err = GATEHOUSE_SECTION_OF(cmd, &section, remote.trust_place);
    gatehouse_remote_t *remote;

    if (err) {
        return err;
    }
    remote = &section->remote;
    remote->trust = source;
    if (strcmp(source, "credential") && strcmp(source, "system")) {
        remote->trust = ap_server_root_relative(cmd->pool, source);
        if (option && !strncmp(option, "passphrase=", 11)) {
            remote->trust_passphrase = gatehouse_secret_source(cmd->pool, option + 11);
        }
    }
    if (!remote->trust || !*source) {
        return apr_psprintf(cmd->pool, GHNO(0865) "IssuerTrust takes the path of a PEM or PKCS#12 "
                            "file, \"credential\" or \"system\", not \"%s\"", source);
    }
    /* what stands there may be a passphrase, and is not repeated */
    return !option || remote->trust_passphrase ? NULL
        : GHNO(1088) "IssuerTrust: behind a file only passphrase=file:PATH or passphrase=exec:PATH "
          "may stand";
}

const char *gatehouse_set_issuer_proxy(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    gatehouse_issuer_section_t *section;
    const char *err = GATEHOUSE_SECTION_OF(cmd, &section, remote.proxy_place);
    gatehouse_remote_t *remote;
    apr_uri_t uri;
    int i;

    if (err) {
        return err;
    }
    /* a password may be in it, so it is not repeated */
    if (argc < 1 || (strncmp(argv[0], "http://", 7) && strncmp(argv[0], "https://", 8))
        || apr_uri_parse(cmd->temp_pool, argv[0], &uri) != APR_SUCCESS || !uri.hostname
        || !*uri.hostname || uri.user || uri.password || uri.query || uri.fragment) {
        return GHNO(0866) "IssuerProxy takes a URL like http://proxy.example.com:3128, without "
               "user and password";
    }
    remote = &section->remote;
    remote->proxy = argv[0];
    for (i = 1; i < argc; ++i) {
        if (!strncmp(argv[i], "user=", 5) && argv[i][5] && !strchr(argv[i], ':')
            && !remote->proxy_user) {
            remote->proxy_user = argv[i] + 5;
            continue;
        }
        if (!strncmp(argv[i], "password=", 9) && !remote->proxy_password) {
            remote->proxy_password = gatehouse_secret_source(cmd->pool, argv[i] + 9);
            if (remote->proxy_password) {
                continue;
            }
        }
        return GHNO(1086) "IssuerProxy: behind the URL only user=NAME and password=file:PATH or "
               "password=exec:PATH may stand, once each";
    }
    return !remote->proxy_user == !remote->proxy_password ? NULL
        : GHNO(1087) "IssuerProxy takes user= and password= together";
}

const char *gatehouse_set_issuer_subject(cmd_parms *cmd, void *dir, const char *word)
{
    gatehouse_issuer_section_t *section;
    const char *err = GATEHOUSE_SECTION_OF(cmd, &section, remote.subject_place);

    if (err) {
        return err;
    }
    section->config.any_subject = !strcmp(word, "any");
    if (!section->config.any_subject && strcmp(word, "authorised")) {
        return apr_psprintf(cmd->pool, GHNO(0868) "IssuerSubject is \"authorised\" or \"any\", not "
                            "\"%s\"", word);
    }
    return NULL;
}
