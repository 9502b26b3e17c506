/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Device registrations. The store has only a keyed digest of a password: one that is generated is
 * shown once, here. */

#include "ctl_commands.h"

#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>

#include "ctl_output.h"
#include "issuer/device.h"
#include "status.h"

#define RULE "device"

const ctl_option_t ctl_device_add_options[] = {
    { "tenant", 0, "TENANT", "tenant of the SCEP path" },
    { "fqdn", 0, "NAME", "host name that the requests of the device must have" },
    { "issuer", 0, "ISSUER", "only for this issuer of the tenant" },
    { "profile", 0, "PROFILE", "only for this profile" },
    { "password", 0, "SOURCE", "generate, or file:PATH; without it one enrolment is possible" },
    { "address", 0, "IP", "IP address that the requests must have" },
    { "serial-number", 0, "TEXT", "serial number that the requests must have" },
    { "single-use", 0, NULL, "one enrolment only, although there is a password" },
    { NULL, 0, NULL, NULL }
};

const ctl_option_t ctl_device_list_options[] = {
    { "tenant", 0, "TENANT", "only those of that tenant" },
    { "limit", 0, "NUMBER", "at most that many (1000)" },
    { NULL, 0, NULL, NULL }
};

const ctl_option_t ctl_device_one_options[] = {
    { "tenant", 0, "TENANT", "tenant of the device, if several have one of that name" },
    { NULL, 0, NULL, NULL }
};

/* Output */

static json_t *device_json(const gh_device_record_t *record, apr_pool_t *p)
{
    json_t *object = json_object();

    json_object_set_new(object, "id", ctl_json_text(record->id, p));
    json_object_set_new(object, "tenant", ctl_json_text(record->tenant, p));
    json_object_set_new(object, "fqdn", ctl_json_text(record->fqdn, p));
    json_object_set_new(object, "issuer", ctl_json_text(record->issuer, p));
    json_object_set_new(object, "profile", ctl_json_text(record->profile, p));
    json_object_set_new(object, "has_password", json_boolean(record->secret_mac.data != NULL));
    json_object_set_new(object, "single_use", json_boolean(record->single_use));
    json_object_set_new(object, "address", ctl_json_text(record->address, p));
    json_object_set_new(object, "serial_number", ctl_json_text(record->serial_number, p));
    json_object_set_new(object, "created", ctl_json_time(record->created, p));
    json_object_set_new(object, "used_at", ctl_json_time(record->used_at, p));
    json_object_set_new(object, "used_by", ctl_json_text(record->used_by, p));
    return object;
}

static const char *enrols(const gh_device_record_t *record)
{
    if (record->single_use) {
        return record->used_at ? "no more, it is used up" : "once";
    }
    return "as often as it likes";
}

static void print_device(const gh_device_record_t *record, apr_pool_t *p)
{
    ctl_field_print(stdout, "id", record->id, p);
    ctl_field_print(stdout, "tenant", record->tenant, p);
    ctl_field_print(stdout, "fqdn", record->fqdn, p);
    ctl_field_print(stdout, "issuer", record->issuer, p);
    ctl_field_print(stdout, "profile", record->profile, p);
    ctl_field_print(stdout, "address", record->address, p);
    ctl_field_print(stdout, "serial number", record->serial_number, p);
    ctl_field_print(stdout, "password", !record->secret_mac.data ? "none"
                    : record->secret_bits ? "generated" : "given", p);
    ctl_field_print(stdout, "may enrol", enrols(record), p);
    ctl_field_print(stdout, "created", gh_time_text(p, record->created), p);
    ctl_field_print(stdout, "last enrolment", gh_time_text(p, record->used_at), p);
    ctl_field_print(stdout, "enrolment", record->used_by, p);
}

/* Adding */

static int read_spec(gh_device_spec_t *spec, const ctl_arguments_t *arguments)
{
    gh_result_t result;

    memset(spec, 0, sizeof(*spec));
    spec->tenant = ctl_option(arguments, "tenant");
    spec->fqdn = ctl_option(arguments, "fqdn");
    spec->issuer = ctl_option(arguments, "issuer");
    spec->profile = ctl_option(arguments, "profile");
    spec->address = ctl_option(arguments, "address");
    spec->serial_number = ctl_option(arguments, "serial-number");
    spec->single_use = ctl_option(arguments, "single-use") != NULL;
    spec->protocol = "ctl";
    gh_result_clear(&result);
    if (spec->tenant == NULL || spec->fqdn == NULL) {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Take the tenant from the device's URL, /scep/TENANT/ISSUER/PROFILE.",
                       GHNO(0493) "a registration needs --tenant and --fqdn");
        return ctl_fail_usage(&result);
    }
    return CTL_OK;
}

/* Before privileges are dropped: passwords and the sealing key may be root's alone. */
static int read_password(gh_device_spec_t *spec, gh_sealer_t **sealer, const ctl_t *ctl,
                         const char *source)
{
    gh_result_t result;
    apr_status_t rv;

    *sealer = NULL;
    if (source == NULL) {
        return CTL_OK;
    }
    gh_result_clear(&result);
    spec->generate = strcmp(source, "generate") == 0;
    if (!spec->generate && strncmp(source, "file:", 5) != 0) {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "A password never stands on the command line.",
                       GHNO(0495) "--password takes generate or file:PATH");
        return ctl_fail_usage(&result);
    }
    if (!spec->generate
        && gh_secret_load(&spec->password, source, ctl->p, &result) != APR_SUCCESS) {
        ctl_fail(&result);
        return CTL_FAILED;
    }
    if (ctl->config->sealing_key == NULL) {
        gh_result_fail(&result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, RULE,
                       "Add GatehouseSealingKey to the configuration of httpd.",
                       GHNO(0499) "a password needs the sealing key, and none is configured");
        return ctl_fail(&result);
    }
    rv = gh_sealer_open(sealer, ctl->config->sealing_key, ctl->p, &result);
    if (rv != APR_SUCCESS) {
        ctl_fail(&result);
        return CTL_UNAVAILABLE;
    }
    return CTL_OK;
}

static int takes_devices(const ctl_endpoint_t *endpoint)
{
    int i;

    for (i = 0; i < endpoint->challenges->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(endpoint->challenges, i, const char *), "device") == 0) {
            return 1;
        }
    }
    return 0;
}

/* A registration that no location asks for would be of no use. */
static int check_place(gh_device_spec_t *spec, const ctl_config_t *config)
{
    const ctl_profile_t *profile =
        spec->profile != NULL ? ctl_config_profile(config, spec->profile) : NULL;
    gh_result_t result;
    int i;

    if (profile != NULL) {
        spec->profile = profile->name;
    }
    for (i = 0; i < config->endpoints->nelts; i++) {
        const ctl_endpoint_t *endpoint = APR_ARRAY_IDX(config->endpoints, i,
                                                       const ctl_endpoint_t *);

        if (strcmp(endpoint->tenant, spec->tenant) == 0
            && (spec->issuer == NULL || strcmp(endpoint->issuer, spec->issuer) == 0)
            && (spec->profile == NULL || strcmp(endpoint->profile, spec->profile) == 0)
            && takes_devices(endpoint)) {
            return CTL_OK;
        }
    }
    gh_result_clear(&result);
    gh_result_fail(&result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, RULE,
                   "Add SCEPChallenge device to the location; gatehousectl urls lists the paths.",
                   GHNO(0494) "no SCEP location that takes device registrations serves tenant "
                   "%s%s%s%s%s", spec->tenant, spec->issuer != NULL ? ", issuer " : "",
                   spec->issuer != NULL ? spec->issuer : "",
                   spec->profile != NULL ? ", profile " : "",
                   spec->profile != NULL ? spec->profile : "");
    return ctl_fail(&result);
}

static int prepare_add(ctl_t *ctl, const ctl_arguments_t *arguments, gh_device_spec_t *spec,
                       gh_sealer_t **sealer)
{
    gh_result_t result;
    int code;

    code = read_spec(spec, arguments);
    if (code == CTL_OK) {
        code = ctl_configure(ctl);
    }
    if (code == CTL_OK) {
        code = check_place(spec, ctl->config);
    }
    if (code == CTL_OK) {
        code = read_password(spec, sealer, ctl, ctl_option(arguments, "password"));
    }
    if (code == CTL_OK) {
        code = ctl_drop_privileges(ctl);
    }
    if (code != CTL_OK) {
        return code;
    }
    spec->node = ctl->config->node;
    spec->actor = ctl->actor;
    gh_result_clear(&result);
    if (ctl_open_store(ctl, &result) != APR_SUCCESS) {
        ctl_fail(&result);
        return CTL_UNAVAILABLE;
    }
    return CTL_OK;
}

int ctl_device_add(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    gh_device_spec_t spec;
    gh_device_record_t record;
    gh_sealer_t *sealer = NULL;
    const char *password;
    gh_result_t result;
    json_t *object;
    int code;

    code = prepare_add(ctl, arguments, &spec, &sealer);
    if (code != CTL_OK) {
        return code;
    }
    gh_result_clear(&result);
    if (gh_device_register(ctl->store, sealer, &spec, &record, &password, ctl->p, &result)
        != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    if (ctl->json) {
        object = device_json(&record, ctl->p);
        if (password != NULL) {
            json_object_set_new(object, "password", json_string(password));
        }
        ctl_json_print(stdout, object);
        return CTL_OK;
    }
    print_device(&record, ctl->p);
    if (password != NULL) {
        printf("\nThe challenge password of the device, which is not shown again:\n%s\n",
               password);
    }
    return CTL_OK;
}

/* Looking */

typedef struct {
    const char *tenant;
    const char *fqdn;
    const char *id;
    int limit;
    apr_array_header_t *records;
    apr_pool_t *p;
} baton_t;

static apr_status_t list_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;

    return gh_device_list(transaction, baton->tenant, baton->fqdn, baton->id, baton->limit,
                          &baton->records, baton->p);
}

static int read_limit(baton_t *baton, const char *limit)
{
    gh_result_t result;
    char *end;

    if (limit == NULL) {
        return CTL_OK;
    }
    baton->limit = (int)apr_strtoi64(limit, &end, 10);
    if (*limit == '\0' || *end != '\0' || baton->limit < 1 || baton->limit > 1000000) {
        gh_result_clear(&result);
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Give a number from 1 to 1000000.",
                       GHNO(0498) "--limit %s is not a number of devices", limit);
        return ctl_fail_usage(&result);
    }
    return CTL_OK;
}

int ctl_device_list(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    static const char *const headings[] = {
        "FQDN", "TENANT", "ISSUER", "PROFILE", "PASSWORD", "MAY ENROL", "LAST ENROLMENT", NULL
    };
    baton_t baton = { .tenant = ctl_option(arguments, "tenant"), .p = ctl->p };
    ctl_table_t *table;
    gh_result_t result;
    int code;
    int i;

    code = read_limit(&baton, ctl_option(arguments, "limit"));
    if (code == CTL_OK) {
        code = ctl_open(ctl);
    }
    if (code != CTL_OK) {
        return code;
    }
    gh_result_clear(&result);
    if (gh_store_read(ctl->store, list_work, &baton, &result) != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    table = ctl_table_create(headings, ctl->p);
    for (i = 0; i < baton.records->nelts; i++) {
        const gh_device_record_t *record = APR_ARRAY_IDX(baton.records, i,
                                                         const gh_device_record_t *);
        const char *const row[] = {
            record->fqdn, record->tenant, record->issuer, record->profile,
            record->secret_mac.data != NULL ? "yes" : "no", enrols(record),
            record->used_at ? gh_time_text(ctl->p, record->used_at) : NULL
        };

        if (ctl->json) {
            ctl_json_print(stdout, device_json(record, ctl->p));
        }
        else {
            ctl_table_row(table, row);
        }
    }
    ctl_table_print(table, stdout);
    return CTL_OK;
}

static int is_id(const char *text)
{
    return strlen(text) == 32 && strspn(text, "0123456789abcdef") == 32;
}

/* The one registration that a name, with or without a tenant, or an id stands for. */
static int find_device(ctl_t *ctl, const ctl_arguments_t *arguments,
                       const gh_device_record_t **record)
{
    const char *name = ctl_operand(arguments, 0);
    baton_t baton = { .tenant = ctl_option(arguments, "tenant"), .limit = 2, .p = ctl->p };
    gh_result_t result;
    char *at;
    int code;

    code = ctl_open(ctl);
    if (code != CTL_OK) {
        return code;
    }
    if (is_id(name)) {
        baton.id = name;
    }
    else {
        baton.fqdn = at = apr_pstrdup(ctl->p, name);
        for (; *at != '\0'; at++) {
            *at = (char)apr_tolower(*at);
        }
    }
    gh_result_clear(&result);
    if (gh_store_read(ctl->store, list_work, &baton, &result) != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    if (baton.records->nelts == 0) {
        gh_result_fail(&result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, RULE,
                       "gatehousectl device list shows what is registered.",
                       GHNO(0496) "no device %s is registered%s%s", name,
                       baton.tenant != NULL ? " in tenant " : "",
                       baton.tenant != NULL ? baton.tenant : "");
        return ctl_fail(&result);
    }
    if (baton.records->nelts > 1) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_REQUEST, RULE, "Name one with --tenant.",
                       GHNO(0497) "several tenants have a device %s", name);
        return ctl_fail(&result);
    }
    *record = APR_ARRAY_IDX(baton.records, 0, const gh_device_record_t *);
    return CTL_OK;
}

int ctl_device_show(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    const gh_device_record_t *record;
    int code = find_device(ctl, arguments, &record);

    if (code != CTL_OK) {
        return code;
    }
    if (ctl->json) {
        ctl_json_print(stdout, device_json(record, ctl->p));
    }
    else {
        print_device(record, ctl->p);
    }
    return CTL_OK;
}

int ctl_device_remove(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    const gh_device_record_t *record;
    gh_result_t result;
    int code = find_device(ctl, arguments, &record);

    if (code != CTL_OK) {
        return code;
    }
    gh_result_clear(&result);
    if (gh_device_unregister(ctl->store, record, ctl->config->node, ctl->actor, "ctl", ctl->p,
                             &result) != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    if (ctl->json) {
        ctl_json_print(stdout, device_json(record, ctl->p));
    }
    else {
        printf("removed the registration of %s in tenant %s\nIts certificates stay valid: see "
               "gatehousectl cert revoke.\n", record->fqdn, record->tenant);
    }
    return CTL_OK;
}
