/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_wstep/wstep_catalogue.h"

#include <string.h>
#include <strings.h>

#include <apr_hash.h>
#include <apr_strings.h>

#include "directory/template.h"
#include "mod_wstep/xcep_extensions.h"

/* msPKI-Certificate-Name-Flag: what is understood */
#define SUBJECT_KNOWN (XCEP_SUBJECT_SUPPLIED | XCEP_SUBJECT_OLD | XCEP_SUBJECT_SAN_SUPPLIED \
                       | XCEP_SUBJECT_SAN_DOMAIN_DNS | XCEP_SUBJECT_SAN_SPN \
                       | XCEP_SUBJECT_SAN_GUID | XCEP_SUBJECT_SAN_UPN | XCEP_SUBJECT_SAN_MAIL \
                       | XCEP_SUBJECT_SAN_DNS | XCEP_SUBJECT_CN_DNS | XCEP_SUBJECT_MAIL \
                       | XCEP_SUBJECT_CN | XCEP_SUBJECT_DN)
#define SUBJECT_BUILT (XCEP_SUBJECT_CN_DNS | XCEP_SUBJECT_CN | XCEP_SUBJECT_DN | XCEP_SUBJECT_MAIL)

/* msPKI-Enrollment-Flag: what clients are told, and what an operator has to decide */
#define ENROLMENT_TOLD 0x2579u
#define ENROLMENT_PENDS 0x2u
#define ENROLMENT_AUTO 0x20u

/* msPKI-Private-Key-Flag: what is not served */
#define KEY_ALTERNATE_SIGNATURE 0x40u
#define KEY_ATTESTED 0x3000u

/* flags: a CA's certificate, or a cross-certificate */
#define GENERAL_CA 0x880u

#define SCHEMA_MAX 4
#define SCHEMA_TOLD 3
#define SCHEMA_CNG 3

struct wstep_catalogue {
    gh_directory_t *directory;
    const gh_log_t *log;
    apr_pool_t *p;
    const apr_array_header_t *found;        /* gh_directory_template_t; NULL: not asked for yet */
    apr_hash_t *resolved;           /* by name; one that is not offered is as configured */
};

wstep_catalogue_t *wstep_catalogue_create(gh_directory_t *directory, const gh_log_t *log,
                                          apr_pool_t *p)
{
    wstep_catalogue_t *catalogue = apr_pcalloc(p, sizeof(*catalogue));

    catalogue->directory = directory;
    catalogue->log = log;
    catalogue->p = p;
    catalogue->resolved = apr_hash_make(p);
    return catalogue;
}

int wstep_catalogue_used(const wstep_catalogue_t *catalogue)
{
    return catalogue->found != NULL;
}

static const gh_directory_template_t *find(const wstep_catalogue_t *catalogue, const char *name)
{
    int i;

    for (i = 0; i < catalogue->found->nelts; ++i) {
        const gh_directory_template_t *one = &APR_ARRAY_IDX(catalogue->found, i,
                                                            gh_directory_template_t);

        if (!strcasecmp(one->name, name)) {
            return one;
        }
    }
    return NULL;
}

/** The usages that the directory says have to be those that certificates get. */
static int usages_match(const wstep_template_t *template, const gh_directory_template_t *one)
{
    int i, good = !template->profile || xcep_usages_match(template->profile, one->usages);

    for (i = 0; good && template->usages && i < template->usages->nelts; ++i) {
        good = xcep_usages_match(APR_ARRAY_IDX(template->usages, i, wstep_usage_t).profile,
                                 one->usages);
    }
    return good;
}

/** @return why a template is not offered, or NULL */
static const char *unfit(const wstep_template_t *template, const gh_directory_template_t *one)
{
    if (!one->descriptor.length) {
        return "its nTSecurityDescriptor may not be read by who binds";
    }
    if (one->schema > SCHEMA_MAX || (one->oid && !xcep_oid_valid(one->oid))) {
        return "its schema or its OID is none that is known";
    }
    if (one->validity <= 0 || one->renewal <= 0 || one->renewal >= one->validity) {
        return "its periods are none";
    }
    if (one->subject_flags & ~SUBJECT_KNOWN
        || !(one->subject_flags & (SUBJECT_BUILT | XCEP_SUBJECT_SUPPLIED))) {
        return "its subject is made in a way that is not known";
    }
    if (one->enrolment_flags & ENROLMENT_PENDS) {
        return "it wants the approval of an operator; let its profile have that instead";
    }
    if (one->ra_signatures) {
        return "it wants signatures of others";
    }
    if (one->private_key_flags & (XCEP_KEY_ARCHIVE | KEY_ALTERNATE_SIGNATURE | KEY_ATTESTED)) {
        return "it wants a key to be archived or attested, or another form of signatures";
    }
    if (one->general_flags & GENERAL_CA) {
        return "it is for CAs";
    }
    if (!usages_match(template, one)) {
        return "its extended key usages are not those of its profile";
    }
    return NULL;
}

static const wstep_template_t *overlay(const wstep_template_t *configured,
                                       const gh_directory_template_t *one, apr_pool_t *p)
{
    wstep_template_t *template = apr_pmemdup(p, configured, sizeof(*template));
    xcep_template_t *policy = apr_pmemdup(p, configured->policy, sizeof(*policy));

    policy->display_name = one->display_name;
    policy->oid = one->oid ? one->oid : policy->oid;
    policy->schema = one->schema > SCHEMA_TOLD ? SCHEMA_TOLD : one->schema;
    policy->major = one->major;
    policy->minor = one->minor;
    policy->validity = one->validity;
    policy->renewal = one->renewal;
    policy->minimal_key = one->minimal_key > policy->minimal_key ? one->minimal_key
                                                                 : policy->minimal_key;
    policy->key_spec = one->schema < SCHEMA_CNG && one->key_spec ? one->key_spec : -1;
    policy->providers = one->providers;
    policy->subject_flags = one->subject_flags;
    policy->enrolment_flags = one->enrolment_flags & ENROLMENT_TOLD;
    policy->private_key_flags = one->private_key_flags & (XCEP_KEY_EXPORTABLE | XCEP_KEY_PROTECT);
    policy->general_flags = one->general_flags & XCEP_GENERAL_MACHINE;
    policy->extended_usages = one->usages;
    policy->extensions = xcep_extensions_make(
        policy, configured->profile ? configured->profile
                                    : APR_ARRAY_IDX(configured->usages, 0, wstep_usage_t).profile,
        p);
    template->policy = policy;
    template->descriptor = one->descriptor;
    template->auto_enroll = (one->enrolment_flags & ENROLMENT_AUTO) != 0;
    return template;
}

/** @return NULL: it is not offered */
static const wstep_template_t *resolve(wstep_catalogue_t *catalogue,
                                       const wstep_template_t *configured)
{
    const gh_directory_template_t *one = find(catalogue, configured->policy->name);
    const char *why = one ? unfit(configured, one) : "the directory has none of that name";
    const wstep_template_t *template = NULL;
    gh_result_t result;

    gh_result_clear(&result);
    if (!why) {
        template = overlay(configured, one, catalogue->p);
        if (wstep_template_check(template, catalogue->p, &result) != APR_SUCCESS) {
            why = result.message;
            template = NULL;
        }
    }
    if (why) {
        gh_log(catalogue->log, GH_LOG_INFO, APR_SUCCESS,
               GHNO(1501) "template %s of the directory is not offered: %s",
               configured->policy->name, why);
    }
    return template;
}

apr_status_t wstep_catalogue_resolve(const apr_array_header_t **templates,
                                     wstep_catalogue_t *catalogue,
                                     const apr_array_header_t *configured, gh_result_t *result)
{
    apr_array_header_t *made = apr_array_make(catalogue->p, configured->nelts,
                                              sizeof(const wstep_template_t *));
    apr_status_t rv;
    int i;

    *templates = made;
    for (i = 0; i < configured->nelts; ++i) {
        const wstep_template_t *one = APR_ARRAY_IDX(configured, i, const wstep_template_t *);
        const wstep_template_t *now = one;

        if (one->in_directory) {
            if (!catalogue->found) {
                rv = gh_directory_templates(&catalogue->found, catalogue->directory, catalogue->p,
                                            result);
                if (rv != APR_SUCCESS) {
                    return rv;
                }
            }
            now = apr_hash_get(catalogue->resolved, one->policy->name, APR_HASH_KEY_STRING);
            if (!now) {
                now = resolve(catalogue, one);
                apr_hash_set(catalogue->resolved, one->policy->name, APR_HASH_KEY_STRING,
                             now ? now : one);
            }
        }
        if (now && now->in_directory == (now->descriptor.length > 0)) {
            APR_ARRAY_PUSH(made, const wstep_template_t *) = now;
        }
    }
    return APR_SUCCESS;
}
