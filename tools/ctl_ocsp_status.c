/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What OCSP answers from: ocsp status. */

#include "ctl_commands.h"

#include <stdio.h>
#include <string.h>

#include <apr_strings.h>

#include "ctl_cert.h"
#include "ctl_ocsp.h"
#include "ctl_output.h"
#include "ctl_text.h"
#include "status.h"
#include "x509/ca.h"

/* What is said of an authority. */
typedef struct {
    const ctl_authority_t *authority;
    gh_view_t *view;
    gh_view_state_t known;
    ocsp_state_t *feeder;           /* NULL if there is none */
    const char *feeder_state;       /* "running", "silent", "absent" */
    gh_result_t result;             /* why there is no index */
} report_t;

static void look(report_t *report, const ctl_t *ctl, const ctl_authority_t *authority)
{
    memset(report, 0, sizeof(*report));
    gh_result_clear(&report->result);
    report->authority = authority;
    if (ctl_ocsp_view(&report->view, ctl, authority, GH_SOURCE_FILES, NULL, ctl->p,
                      &report->result) == APR_SUCCESS) {
        gh_view_state(report->view, &report->known);
    }
    if (ctl_ocsp_state(&report->feeder, ctl, authority, ctl->p) != APR_SUCCESS) {
        report->feeder = NULL;
    }
    report->feeder_state = report->feeder == NULL ? "absent"
        : apr_time_now() - report->feeder->written > CTL_FEEDER_SILENT ? "silent" : "running";
}

static json_t *source_json(const ocsp_source_state_t *source, apr_pool_t *p)
{
    json_t *object = json_object();

    json_object_set_new(object, "kind", ctl_json_text(source->kind, p));
    json_object_set_new(object, "url", ctl_json_text(source->url, p));
    json_object_set_new(object, "last_attempt", ctl_json_time(source->last_attempt, p));
    json_object_set_new(object, "last_success", ctl_json_time(source->last_success, p));
    json_object_set_new(object, "failures", json_integer(source->failures));
    json_object_set_new(object, "gh", ctl_json_text(source->gh, p));
    json_object_set_new(object, "message", ctl_json_text(source->message, p));
    json_object_set_new(object, "action", ctl_json_text(source->action, p));
    json_object_set_new(object, "number", ctl_json_text(source->number, p));
    json_object_set_new(object, "this_update", ctl_json_time(source->this_update, p));
    json_object_set_new(object, "next_update", ctl_json_time(source->next_update, p));
    json_object_set_new(object, "entries", json_integer(source->entries));
    json_object_set_new(object, "warn", json_boolean(source->warn));
    return object;
}

static void print_json(const report_t *report, apr_pool_t *p)
{
    const gh_index_info_t *info = &report->known.info;
    json_t *object = json_object();
    json_t *sources = json_array();
    int i;

    for (i = 0; report->feeder != NULL && i < report->feeder->count; i++) {
        json_array_append_new(sources, source_json(&report->feeder->sources[i], p));
    }
    json_object_set_new(object, "authority", json_string(report->authority->name));
    json_object_set_new(object, "feeder", json_string(report->feeder_state));
    json_object_set_new(object, "written", ctl_json_time(report->feeder != NULL
                                                         ? report->feeder->written : 0, p));
    json_object_set_new(object, "generation", report->known.there
                        ? json_integer(info->generation) : json_null());
    json_object_set_new(object, "complete", json_boolean(info->complete));
    json_object_set_new(object, "issued", json_integer((json_int_t)(info->issued
                                                                    + info->revoked)));
    json_object_set_new(object, "revoked", json_integer((json_int_t)info->revoked));
    json_object_set_new(object, "confirmed", ctl_json_time(ctl_ocsp_confirmed(&report->known), p));
    json_object_set_new(object, "this_update", ctl_json_time(info->this_update, p));
    json_object_set_new(object, "next_update", ctl_json_time(info->next_update, p));
    json_object_set_new(object, "gh", report->known.there ? json_null()
                        : ctl_json_text(report->result.number, p));
    json_object_set_new(object, "message", report->known.there ? json_null()
                        : ctl_json_text(report->result.message, p));
    json_object_set_new(object, "sources", sources);
    ctl_json_print(stdout, object);
}

static void print_source(const ocsp_source_state_t *source, apr_pool_t *p)
{
    ctl_field_print(stdout, source->kind, apr_psprintf(
        p, "%s%sread at %s, %" APR_INT64_T_FMT " entries%s%s", source->url != NULL ? source->url
        : "", source->url != NULL ? ": " : "", source->last_success != 0
        ? gh_time_text(p, source->last_success) : "never", source->entries,
        source->next_update != 0 ? ", good until " : "", gh_time_text(p, source->next_update)), p);
    if (source->gh != NULL) {
        ctl_field_print(stdout, "", apr_psprintf(p, "%s: %s (%d failures)", source->gh,
                                                 source->message, source->failures), p);
    }
}

static void print_text(const report_t *report, apr_pool_t *p)
{
    const gh_index_info_t *info = &report->known.info;
    int i;

    ctl_field_print(stdout, "authority", report->authority->name, p);
    ctl_field_print(stdout, "feeder", report->feeder_state, p);
    if (report->known.there) {
        ctl_field_print(stdout, "index", apr_psprintf(
            p, "generation %" APR_INT64_T_FMT ", %" APR_UINT64_T_FMT " certificates, %"
            APR_UINT64_T_FMT " revoked", info->generation, info->issued + info->revoked,
            info->revoked), p);
        ctl_field_print(stdout, "confirmed",
                        gh_time_text(p, ctl_ocsp_confirmed(&report->known)), p);
    }
    else {
        ctl_field_print(stdout, "index", apr_psprintf(p, "%s: %s", report->result.number,
                                                      report->result.message), p);
    }
    for (i = 0; report->feeder != NULL && i < report->feeder->count; i++) {
        print_source(&report->feeder->sources[i], p);
    }
}

static int report_one(ctl_t *ctl, const ctl_authority_t *authority, int first)
{
    report_t report;

    look(&report, ctl, authority);
    if (ctl->json) {
        print_json(&report, ctl->p);
    }
    else {
        fputs(first ? "" : "\n", stdout);
        print_text(&report, ctl->p);
    }
    return report.known.there ? CTL_OK : CTL_UNAVAILABLE;
}

static int report_all(ctl_t *ctl)
{
    const apr_array_header_t *authorities = ctl->config->authorities;
    int code = CTL_OK;
    int i;

    for (i = 0; i < authorities->nelts; i++) {
        int one = report_one(ctl, APR_ARRAY_IDX(authorities, i, const ctl_authority_t *), i == 0);

        code = one != CTL_OK ? one : code;
    }
    return code;
}

static const char *state_name(gh_known_state_t state)
{
    static const char *const names[] = { "unknown", "good", "revoked", "held" };

    return names[state];
}

static int report_serial(ctl_t *ctl, const ctl_authority_t *authority, gh_bytes_t serial)
{
    const char *hex = gh_hex(ctl->p, serial.data, serial.length);
    apr_time_t confirmed;
    report_t report;
    gh_known_t known;
    json_t *object;

    look(&report, ctl, authority);
    if (!report.known.there) {
        ctl_fail(&report.result);
        return CTL_UNAVAILABLE;
    }
    gh_view_find(report.view, serial, &known, &report.known);
    confirmed = ctl_ocsp_confirmed(&report.known);
    if (ctl->json) {
        object = json_object();
        json_object_set_new(object, "authority", json_string(authority->name));
        json_object_set_new(object, "serial", json_string(hex));
        json_object_set_new(object, "status", json_string(state_name(known.state)));
        json_object_set_new(object, "reason", ctl_json_text(known.state == GH_KNOWN_NOT ? NULL
                            : gh_reason_name(known.reason), ctl->p));
        json_object_set_new(object, "revoked_at", ctl_json_time(known.revoked_at, ctl->p));
        json_object_set_new(object, "invalid_from", ctl_json_time(known.invalid_from, ctl->p));
        json_object_set_new(object, "version", json_integer(known.version));
        json_object_set_new(object, "confirmed", ctl_json_time(confirmed, ctl->p));
        ctl_json_print(stdout, object);
    }
    else {
        ctl_field_print(stdout, "authority", authority->name, ctl->p);
        ctl_field_print(stdout, "serial", hex, ctl->p);
        ctl_field_print(stdout, "status", state_name(known.state), ctl->p);
        ctl_field_print(stdout, "reason", known.state == GH_KNOWN_NOT ? NULL
                        : gh_reason_name(known.reason), ctl->p);
        ctl_field_print(stdout, "revoked at", gh_time_text(ctl->p, known.revoked_at), ctl->p);
        ctl_field_print(stdout, "invalid from", gh_time_text(ctl->p, known.invalid_from), ctl->p);
        ctl_field_print(stdout, "confirmed", gh_time_text(ctl->p, confirmed), ctl->p);
    }
    return known.state == GH_KNOWN_NOT ? CTL_NOT_FOUND : CTL_OK;
}

int ctl_ocsp_status(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    const ctl_authority_t *authority;
    gh_bytes_t serial;
    int code = CTL_OK;

    if (ctl_operands(arguments) > 1) {
        code = ctl_serial(&serial, ctl_operand(arguments, 1), ctl->p);
    }
    if (code == CTL_OK) {
        code = ctl_configure(ctl);
    }
    if (code == CTL_OK) {
        code = ctl_drop_privileges(ctl);
    }
    if (code != CTL_OK || ctl_operands(arguments) == 0) {
        return code != CTL_OK ? code : report_all(ctl);
    }
    authority = ctl_find_authority(ctl, ctl_operand(arguments, 0), &code);
    if (authority == NULL) {
        return code;
    }
    return ctl_operands(arguments) > 1 ? report_serial(ctl, authority, serial)
                                       : report_one(ctl, authority, 1);
}
