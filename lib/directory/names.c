/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Distinguished names: which is below which, and where the accounts of a domain are. */

#include <string.h>
#include <strings.h>

#include <apr_strings.h>

#include "directory/directory_private.h"

const char *gh_directory_normal_dn(const char *text, apr_pool_t *p)
{
    const char *normal = text;
    LDAPDN dn = NULL;
    char *written = NULL;

    if (ldap_str2dn(text, &dn, LDAP_DN_FORMAT_LDAPV3) == LDAP_SUCCESS && dn
        && ldap_dn2str(dn, &written, LDAP_DN_FORMAT_LDAPV3) == LDAP_SUCCESS) {
        normal = apr_pstrdup(p, written);
    }
    ldap_memfree(written);
    ldap_dnfree(dn);
    return normal;
}

int gh_directory_is_below(const char *dn, const char *base, apr_pool_t *p)
{
    const char *name = gh_directory_normal_dn(dn, p), *above = gh_directory_normal_dn(base, p);
    size_t length = strlen(name), tail = strlen(above);

    if (!tail) {
        return 1;
    }
    /* a comma within a value is escaped in this form */
    return length >= tail && !strcasecmp(name + length - tail, above)
           && (length == tail || name[length - tail - 1] == ',');
}

const char *gh_directory_domain_of(const char *dn, apr_pool_t *p)
{
    const char *name = gh_directory_normal_dn(dn, p), *at = name, *domain = NULL;

    while (at && *at) {
        if (strncasecmp(at, "dc=", 3)) {
            domain = NULL;
        }
        else if (!domain) {
            domain = at;
        }
        at = strchr(at, ',');
        at = at ? at + 1 : NULL;
    }
    return domain;
}

/** "dc=example,dc=com" of example.com; NULL if that is no name of a domain. */
static const char *base_of(const char *domain, apr_pool_t *p)
{
    char *copy = apr_pstrdup(p, domain), *last = NULL, *part;
    const char *base = "";

    if (strspn(domain, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
        != strlen(domain)) {
        return NULL;
    }
    for (part = apr_strtok(copy, ".", &last); part; part = apr_strtok(NULL, ".", &last)) {
        base = apr_pstrcat(p, base, *base ? ",dc=" : "dc=", part, NULL);
    }
    return *base ? base : NULL;
}

const char *gh_directory_domain_base(const gh_directory_config_t *config, const char *domain,
                                     apr_pool_t *p)
{
    int i;

    for (i = 0; config->domains && i < config->domains->nelts; ++i) {
        const gh_directory_domain_t *one = &APR_ARRAY_IDX(config->domains, i,
                                                          gh_directory_domain_t);

        if (!strcasecmp(one->dns, domain)
            || (one->netbios && !strcasecmp(one->netbios, domain))) {
            return one->base ? one->base : base_of(one->dns, p);
        }
    }
    return NULL;
}

int gh_directory_is_of_domain(const gh_directory_entry_t *entry, const char *base)
{
    LDAPDN dn = NULL, above = NULL;
    int good = ldap_str2dn(entry->dn, &dn, LDAP_DN_FORMAT_LDAPV3) == LDAP_SUCCESS && dn
        && ldap_str2dn(base, &above, LDAP_DN_FORMAT_LDAPV3) == LDAP_SUCCESS && above;
    int i, names = 0, below = 0;

    while (good && dn[names]) {
        ++names;
    }
    while (good && above[below]) {
        ++below;
    }
    for (i = 0; good && i < names - below; ++i) {
        good = !dn[i][0] || dn[i][0]->la_attr.bv_len != 2
            || strncasecmp(dn[i][0]->la_attr.bv_val, "dc", 2) != 0;
    }
    ldap_dnfree(dn);
    ldap_dnfree(above);
    return good;
}
