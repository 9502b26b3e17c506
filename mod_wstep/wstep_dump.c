/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Templates in what "httpd -t -D DUMP_GATEHOUSE" tells gatehousectl: what would stand in a
 * directory. */

#include <apr_strings.h>
#include <jansson.h>

#include "mod_wstep/wstep_config.h"

static json_t *texts_of(const apr_array_header_t *texts)
{
    json_t *array = json_array();
    int i;

    for (i = 0; texts && i < texts->nelts; ++i) {
        json_array_append_new(array, json_string(APR_ARRAY_IDX(texts, i, const char *)));
    }
    return array;
}

static json_t *extensions_of(const xcep_template_t *policy, apr_pool_t *p)
{
    json_t *array = json_array();
    int i;

    for (i = 0; policy->extensions && i < policy->extensions->nelts; ++i) {
        const xcep_extension_t *one = &APR_ARRAY_IDX(policy->extensions, i, xcep_extension_t);

        json_array_append_new(array, json_pack("{s:s, s:b, s:s}", "oid", one->oid, "critical",
                                               one->critical, "value",
                                               gh_hex(p, one->value.data, one->value.length)));
    }
    return array;
}

static json_t *template_of(const wstep_template_section_t *section, apr_pool_t *p)
{
    const wstep_template_t *template = &section->template;
    const xcep_template_t *policy = &section->policy;

    return json_pack(
        "{s:s, s:s?, s:s?, s:i, s:i, s:i, s:I, s:I, s:i, s:i, s:o, s:I, s:I, s:I, s:I, s:i, s:o, "
        "s:b, s:b, s:o, s:o, s:b, s:b}",
        "name", policy->name, "display_name", policy->display_name, "oid", policy->oid,
        "schema", policy->schema, "major", policy->major, "minor", policy->minor,
        "validity", (json_int_t)policy->validity, "renewal", (json_int_t)policy->renewal,
        "minimal_key", policy->minimal_key, "key_spec", policy->key_spec,
        "providers", texts_of(policy->providers),
        "private_key_flags", (json_int_t)policy->private_key_flags,
        "subject_flags", (json_int_t)policy->subject_flags,
        "enrolment_flags", (json_int_t)policy->enrolment_flags,
        "general_flags", (json_int_t)policy->general_flags,
        "ra_signatures", policy->ra_signatures,
        "extensions", extensions_of(policy, p),
        "auto_enroll", template->auto_enroll, "everybody", template->everybody,
        "users", texts_of(template->users), "groups", texts_of(template->groups),
        "on_behalf", template->on_behalf, "in_directory", template->in_directory);
}

void wstep_dump_templates(void *json, const server_rec *main_server, apr_pool_t *p)
{
    const wstep_server_t *server = wstep_server(main_server);
    json_t *array = json_array();
    int i;

    for (i = 0; server->ordered && i < server->ordered->nelts; ++i) {
        const wstep_template_section_t *one = APR_ARRAY_IDX(server->ordered, i,
                                                            wstep_template_section_t *);

        if (one->complete) {
            json_array_append_new(array, template_of(one, p));
        }
    }
    json_object_set_new(json, "certificate_templates", array);
}
