/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "ctl_ca.h"

#include <apr_strings.h>

#include "ctl.h"
#include "ctl_text.h"

#define RULE "ca"

static const char *line(const char *directive, const char *value, apr_pool_t *p)
{
    return value == NULL ? ""
         : apr_psprintf(p, "    %-18s %s\n", directive, ctl_text_directive(value, p));
}

const char *ctl_ca_section(const char *name, const char *certificate, const char *key,
                           const char *passphrase, const char *chain, apr_pool_t *p)
{
    const char *secret = passphrase == NULL ? ""
        : apr_pstrcat(p, " ", ctl_text_directive(apr_pstrcat(p, "passphrase=", passphrase, NULL),
                                                 p), NULL);

    return apr_pstrcat(p, "<Issuer ", name, ">\n", line("IssuerCertificate", certificate, p),
                       apr_psprintf(p, "    %-18s %s%s\n", "IssuerKey", ctl_text_directive(key, p),
                                    secret),
                       line("IssuerChain", chain, p),
                       "    IssuerCRL          validity=7d publish=24h\n</Issuer>\n", NULL);
}

const char *ctl_ca_offline_section(const char *name, const char *certificate, const char *chain,
                                   const char *crl, apr_pool_t *p)
{
    return apr_pstrcat(p, "<Issuer ", name, ">\n", line("IssuerBackend", "offline", p),
                       line("IssuerCertificate", certificate, p), line("IssuerChain", chain, p),
                       crl == NULL ? ""
                       : line("IssuerCRL", apr_pstrcat(p, "file=", crl, NULL), p),
                       "</Issuer>\n", NULL);
}

int ctl_ca_name(const char *name)
{
    gh_result_t result;

    if (gh_name_valid(name)) {
        return CTL_OK;
    }
    gh_result_clear(&result);
    gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                   "Use 1 to 64 of the characters A-Z a-z 0-9 _ ~ -.",
                   GHNO(0370) "\"%s\" cannot be the name of an issuer", name);
    return ctl_fail_usage(&result);
}
