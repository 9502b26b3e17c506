/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Certificates say where their CRL and the certificate of their issuer are. Whoever verifies one
 * learns first whether that is true; so a configuration that serves neither is warned of. */

#include <string.h>
#include <httpd.h>
#include <http_config.h>
#include <apr_fnmatch.h>
#include <apr_strings.h>
#include <apr_uri.h>

#include "gatehouse_private.h"
#include "gatehouse_values.h"
#include "log.h"

/** Does a section with these arguments, "PATH>" or "~ PATTERN>", hold for the path? */
static int section_covers(const ap_directive_t *section, const char *path, apr_pool_t *p)
{
    int is_pattern = !ap_cstr_casecmp(section->directive, "<LocationMatch");
    const char *end = ap_strrchr_c(section->args, '>');
    const char *rest = end ? apr_pstrmemdup(p, section->args, end - section->args) : section->args;
    const char *word = ap_getword_conf(p, &rest);
    ap_regex_t *pattern;

    if (!is_pattern && !strcmp(word, "~")) {
        is_pattern = 1;
        word = ap_getword_conf(p, &rest);
    }
    if (is_pattern) {
        pattern = ap_pregcomp(p, word, AP_REG_EXTENDED);
        return pattern && !ap_regexec(pattern, path, 0, NULL, 0);
    }
    if (apr_fnmatch_test(word)) {
        return apr_fnmatch(word, path, APR_FNM_PATHNAME) == APR_SUCCESS;
    }
    return gatehouse_path_covers(word, path);
}

/* Of a handler outside of locations nothing is known; it may serve everything. */
static int is_served(const ap_directive_t *directive, const char *handler, const char *path,
                     apr_pool_t *p)
{
    for (; directive; directive = directive->next) {
        const ap_directive_t *section = directive->parent;
        const char *args = directive->args;

        if (directive->first_child && is_served(directive->first_child, handler, path, p)) {
            return 1;
        }
        if (!ap_cstr_casecmp(directive->directive, "SetHandler")
            && !strcmp(ap_getword_conf(p, &args), handler)
            && (!section || ap_cstr_casecmpn(section->directive, "<Location", 9)
                || section_covers(section, path, p))) {
            return 1;
        }
    }
    return 0;
}

/* The path as certificates have it, or as a proxy may leave it that takes away what the public URL
 * has before it. */
static int is_address_served(const char *url, const char *path, const char *handler, apr_pool_t *p)
{
    apr_uri_t uri;

    return is_served(ap_conftree, handler, path, p)
        || (apr_uri_parse(p, url, &uri) == APR_SUCCESS && uri.path && strcmp(uri.path, path)
            && is_served(ap_conftree, handler, uri.path, p));
}

void gatehouse_check_addresses(gatehouse_settings_t *settings, apr_pool_t *p)
{
    int crl_told = 0, ca_told = 0;
    int i;

    for (i = 0; i < settings->issuers->nelts; ++i) {
        const gatehouse_issuer_section_t *section
            = APR_ARRAY_IDX(settings->issuers, i, gatehouse_issuer_section_t *);
        const char *what = apr_pstrcat(p, "<Issuer ", section->name, ">", NULL);
        const char *crl = apr_pstrcat(p, "/crl/", section->name, ".crl", NULL);
        const char *certificate = apr_pstrcat(p, "/ca/", section->name, ".cer", NULL);
        gh_ca_urls_t urls = gh_issuer_urls(section->issuer, p);

        if (gh_issuer_backend(section->issuer) == &gh_issuer_offline
            || gh_issuer_backend(section->issuer)->by_worker) {
            continue;
        }
        if (!crl_told && urls.crl_url
            && !is_address_served(urls.crl_url, crl, "gatehouse-crl", p)) {
            crl_told = 1;
            gatehouse_warn(settings, section->place, what,
                           apr_psprintf(p, GHNO(0451) "its certificates say that their CRL is at "
                                        "%s, which nothing in this configuration serves; include "
                                        "conf.d/gatehouse.conf, or add <Location \"/crl\"> with "
                                        "SetHandler gatehouse-crl", urls.crl_url));
        }
        if (!ca_told && urls.issuer_url
            && !is_address_served(urls.issuer_url, certificate, "gatehouse-ca", p)) {
            ca_told = 1;
            gatehouse_warn(settings, section->place, what,
                           apr_psprintf(p, GHNO(0452) "its certificates say that the CA's is at "
                                        "%s, which nothing in this configuration serves; include "
                                        "conf.d/gatehouse.conf, or add <Location \"/ca\"> with "
                                        "SetHandler gatehouse-ca", urls.issuer_url));
        }
    }
}
