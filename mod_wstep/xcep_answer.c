/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_wstep/xcep_answer.h"

#include <string.h>

#include <apr_strings.h>

#include "mod_wstep/wstep_soap.h"

/** Groups of OIDs (MS-XCEP 3.1.4.1.3.16). */
enum {
    GROUP_HASH = 1,
    GROUP_ENCRYPTION = 2,
    GROUP_PUBLIC_KEY = 3,
    GROUP_EXTENSION = 6,
    GROUP_EKU = 7,
    GROUP_ENROLMENT_OBJECT = 9
};

/** Bits of privateKeyFlags that name the least version of client and server (MS-XCEP 3.1.4.1.3.7).
 */
#define CLIENT_VERSION(flags) ((int)((flags) >> 24 & 0xF))
#define SERVER_VERSION(flags) ((int)((flags) >> 16 & 0xF))

typedef struct {
    const char *value;
    int group;
    const char *name;               /* or NULL */
} oid_t;

typedef struct {
    wstep_writer_t *writer;
    apr_array_header_t *oids;       /* oid_t; the reference is the index */
    apr_pool_t *p;
} answer_t;

static int refer(answer_t *answer, const char *value, int group, const char *name)
{
    oid_t *oid;
    int i;

    for (i = 0; i < answer->oids->nelts; ++i) {
        oid = &APR_ARRAY_IDX(answer->oids, i, oid_t);
        if (oid->group == group && !strcmp(oid->value, value)) {
            return i;
        }
    }
    oid = &APR_ARRAY_PUSH(answer->oids, oid_t);
    oid->value = value;
    oid->group = group;
    oid->name = name;
    return answer->oids->nelts - 1;
}

static void write_reference(answer_t *answer, const char *element, const char *value, int group)
{
    if (value) {
        wstep_write_number(answer->writer, element, refer(answer, value, group, NULL));
    }
    else {
        wstep_write_nil(answer->writer, element, NULL);
    }
}

/** Elements with a text each, within one; nil if there are none. */
static void write_list(answer_t *answer, const char *list, const char *element,
                       const apr_array_header_t *texts)
{
    int i;

    if (!texts || !texts->nelts) {
        wstep_write_nil(answer->writer, list, NULL);
        return;
    }
    wstep_write_open(answer->writer, list, NULL);
    for (i = 0; i < texts->nelts; ++i) {
        wstep_write_element(answer->writer, element, APR_ARRAY_IDX(texts, i, const char *));
    }
    wstep_write_close(answer->writer);
}

/** A number, or nil for one below 0. */
static void write_maybe(answer_t *answer, const char *element, apr_int64_t number)
{
    if (number < 0) {
        wstep_write_nil(answer->writer, element, NULL);
    }
    else {
        wstep_write_number(answer->writer, element, number);
    }
}

static void write_key(answer_t *answer, const xcep_template_t *template)
{
    wstep_write_open(answer->writer, "privateKeyAttributes", NULL);
    wstep_write_number(answer->writer, "minimalKeyLength", template->minimal_key);
    write_maybe(answer, "keySpec", template->key_spec);
    write_maybe(answer, "keyUsageProperty", template->key_usage);
    wstep_write_nil(answer->writer, "permissions", NULL);
    write_reference(answer, "algorithmOIDReference", template->key_algorithm, GROUP_PUBLIC_KEY);
    write_list(answer, "cryptoProviders", "provider", template->providers);
    wstep_write_close(answer->writer);
}

static void write_requirements(answer_t *answer, const xcep_template_t *template)
{
    int i;

    if (!template->ra_signatures) {
        wstep_write_nil(answer->writer, "rARequirements", NULL);
        return;
    }
    wstep_write_open(answer->writer, "rARequirements", NULL);
    wstep_write_number(answer->writer, "rASignatures", template->ra_signatures);
    if (template->ra_ekus && template->ra_ekus->nelts) {
        wstep_write_open(answer->writer, "rAEKUs", NULL);
        for (i = 0; i < template->ra_ekus->nelts; ++i) {
            write_reference(answer, "oIDReference",
                            APR_ARRAY_IDX(template->ra_ekus, i, const char *), GROUP_EKU);
        }
        wstep_write_close(answer->writer);
    }
    else {
        wstep_write_nil(answer->writer, "rAEKUs", NULL);
    }
    wstep_write_nil(answer->writer, "rAPolicies", NULL);
    wstep_write_close(answer->writer);
}

static void write_archival(answer_t *answer, const xcep_template_t *template)
{
    if (!template->archive_algorithm) {
        wstep_write_nil(answer->writer, "keyArchivalAttributes", NULL);
        return;
    }
    wstep_write_open(answer->writer, "keyArchivalAttributes", NULL);
    write_reference(answer, "symmetricAlgorithmOIDReference", template->archive_algorithm,
                    GROUP_ENCRYPTION);
    wstep_write_number(answer->writer, "symmetricAlgorithmKeyLength", template->archive_length);
    wstep_write_close(answer->writer);
}

static void write_extensions(answer_t *answer, const xcep_template_t *template)
{
    int i;

    if (!template->extensions || !template->extensions->nelts) {
        wstep_write_nil(answer->writer, "extensions", NULL);
        return;
    }
    wstep_write_open(answer->writer, "extensions", NULL);
    for (i = 0; i < template->extensions->nelts; ++i) {
        const xcep_extension_t *extension = &APR_ARRAY_IDX(template->extensions, i,
                                                           xcep_extension_t);

        wstep_write_open(answer->writer, "extension", NULL);
        write_reference(answer, "oIDReference", extension->oid, GROUP_EXTENSION);
        wstep_write_boolean(answer->writer, "critical", extension->critical);
        wstep_write_open(answer->writer, "value", NULL);
        wstep_write_base64(answer->writer, extension->value);
        wstep_write_close(answer->writer);
        wstep_write_close(answer->writer);
    }
    wstep_write_close(answer->writer);
}

/** What says how long and by whom; MS-XCEP 3.1.4.1.3.5 has the order. */
static void write_terms(answer_t *answer, const xcep_entry_t *entry)
{
    const xcep_template_t *template = entry->template;

    wstep_write_open(answer->writer, "certificateValidity", NULL);
    wstep_write_number(answer->writer, "validityPeriodSeconds", template->validity);
    wstep_write_number(answer->writer, "renewalPeriodSeconds", template->renewal);
    wstep_write_close(answer->writer);
    wstep_write_open(answer->writer, "permission", NULL);
    wstep_write_boolean(answer->writer, "enroll", entry->enroll);
    wstep_write_boolean(answer->writer, "autoEnroll", entry->auto_enroll);
    wstep_write_close(answer->writer);
}

static void write_attributes(answer_t *answer, const xcep_entry_t *entry)
{
    const xcep_template_t *template = entry->template;
    wstep_writer_t *writer = answer->writer;

    wstep_write_open(writer, "attributes", NULL);
    wstep_write_element(writer, "commonName", template->name);
    wstep_write_number(writer, "policySchema", template->schema);
    write_terms(answer, entry);
    write_key(answer, template);
    wstep_write_open(writer, "revision", NULL);
    wstep_write_number(writer, "majorRevision", template->major);
    wstep_write_number(writer, "minorRevision", template->minor);
    wstep_write_close(writer);
    write_list(answer, "supersededPolicies", "commonName", template->supersedes);
    wstep_write_number(writer, "privateKeyFlags", template->private_key_flags);
    wstep_write_number(writer, "subjectNameFlags", template->subject_flags);
    wstep_write_number(writer, "enrollmentFlags", template->enrolment_flags);
    wstep_write_number(writer, "generalFlags", template->general_flags);
    write_reference(answer, "hashAlgorithmOIDReference",
                    template->schema >= 3 ? template->hash : NULL, GROUP_HASH);
    write_requirements(answer, template);
    write_archival(answer, template);
    write_extensions(answer, template);
    wstep_write_close(writer);
}

/* Filters */

static int admitted(const xcep_request_t *request, const xcep_entry_t *entry)
{
    const xcep_template_t *template = entry->template;
    int i;

    if (!request) {
        return 1;
    }
    if ((request->client_version >= 0
         && CLIENT_VERSION(template->private_key_flags) > request->client_version)
        || (request->server_version >= 0
            && SERVER_VERSION(template->private_key_flags) > request->server_version)) {
        return 0;
    }
    for (i = 0; request->oids && i < request->oids->nelts; ++i) {
        if (!strcmp(APR_ARRAY_IDX(request->oids, i, const char *), template->oid)) {
            return 1;
        }
    }
    return !request->oids;
}

static void write_policy(answer_t *answer, const xcep_entry_t *entry)
{
    const xcep_template_t *template = entry->template;
    int i;

    wstep_write_open(answer->writer, "policy", NULL);
    wstep_write_number(answer->writer, "policyOIDReference",
                       refer(answer, template->oid, GROUP_ENROLMENT_OBJECT,
                             template->display_name ? template->display_name : template->name));
    wstep_write_open(answer->writer, "cAs", NULL);
    for (i = 0; i < entry->cas->nelts; ++i) {
        wstep_write_number(answer->writer, "cAReference", APR_ARRAY_IDX(entry->cas, i, int));
    }
    wstep_write_close(answer->writer);
    write_attributes(answer, entry);
    wstep_write_close(answer->writer);
}

static void write_response(answer_t *answer, const xcep_policy_t *policy,
                           const xcep_request_t *request, int changed)
{
    wstep_writer_t *writer = answer->writer;
    int i;

    wstep_write_open(writer, "response", NULL);
    wstep_write_element(writer, "policyID", policy->id);
    wstep_write_element(writer, "policyFriendlyName", policy->friendly_name);
    if (policy->next_update_hours > 0) {
        wstep_write_number(writer, "nextUpdateHours", policy->next_update_hours);
    }
    else {
        wstep_write_nil(writer, "nextUpdateHours", NULL);
    }
    wstep_write_boolean(writer, "policiesNotChanged", !changed);
    if (!changed) {
        wstep_write_nil(writer, "policies", NULL);
    }
    else {
        wstep_write_open(writer, "policies", NULL);
        for (i = 0; i < policy->entries->nelts; ++i) {
            const xcep_entry_t *entry = &APR_ARRAY_IDX(policy->entries, i, xcep_entry_t);

            if (admitted(request, entry)) {
                write_policy(answer, entry);
            }
        }
        wstep_write_close(writer);
    }
    wstep_write_close(writer);
}

static void write_ca(answer_t *answer, const xcep_ca_t *ca, int reference)
{
    wstep_writer_t *writer = answer->writer;
    int i;

    wstep_write_open(writer, "cA", NULL);
    wstep_write_open(writer, "uris", NULL);
    for (i = 0; i < ca->uris->nelts; ++i) {
        const xcep_uri_t *uri = &APR_ARRAY_IDX(ca->uris, i, xcep_uri_t);

        wstep_write_open(writer, "cAURI", NULL);
        wstep_write_number(writer, "clientAuthentication", uri->authentication);
        wstep_write_element(writer, "uri", uri->uri);
        wstep_write_number(writer, "priority", uri->priority);
        wstep_write_boolean(writer, "renewalOnly", uri->renewal_only);
        wstep_write_close(writer);
    }
    wstep_write_close(writer);
    wstep_write_open(writer, "certificate", NULL);
    wstep_write_base64(writer, ca->certificate);
    wstep_write_close(writer);
    wstep_write_boolean(writer, "enrollPermission", ca->enroll);
    wstep_write_number(writer, "cAReferenceID", reference);
    wstep_write_close(writer);
}

static void write_oids(answer_t *answer)
{
    int i;

    wstep_write_open(answer->writer, "oIDs", NULL);
    for (i = 0; i < answer->oids->nelts; ++i) {
        const oid_t *oid = &APR_ARRAY_IDX(answer->oids, i, oid_t);

        wstep_write_open(answer->writer, "oID", NULL);
        wstep_write_element(answer->writer, "value", oid->value);
        wstep_write_number(answer->writer, "group", oid->group);
        wstep_write_number(answer->writer, "oIDReferenceID", i);
        wstep_write_element(answer->writer, "defaultName", oid->name);
        wstep_write_close(answer->writer);
    }
    wstep_write_close(answer->writer);
}

apr_status_t xcep_answer_write(gh_bytes_t *xml, const xcep_policy_t *policy,
                               const xcep_request_t *request, const char *relates_to,
                               apr_time_t now, apr_pool_t *p)
{
    int changed = !request || !request->last_update || request->last_update < policy->changed;
    answer_t answer;
    int i;

    answer.writer = wstep_soap_begin(WSTEP_ACTION_GET_POLICIES_RESPONSE, relates_to, now, p);
    if (!answer.writer) {
        return APR_ENOMEM;
    }
    answer.oids = apr_array_make(p, 16, sizeof(oid_t));
    answer.p = p;
    wstep_write_open(answer.writer, "GetPoliciesResponse", WSTEP_NS_POLICY);
    write_response(&answer, policy, request, changed);
    if (changed) {
        wstep_write_open(answer.writer, "cAs", NULL);
        for (i = 0; i < policy->cas->nelts; ++i) {
            write_ca(&answer, &APR_ARRAY_IDX(policy->cas, i, xcep_ca_t), i);
        }
        wstep_write_close(answer.writer);
        write_oids(&answer);
    }
    else {
        wstep_write_nil(answer.writer, "cAs", NULL);
        wstep_write_nil(answer.writer, "oIDs", NULL);
    }
    wstep_write_close(answer.writer);
    return wstep_soap_end(answer.writer, xml, p);
}
