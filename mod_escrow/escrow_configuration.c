/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_escrow/escrow_configuration.h"

#include <string.h>

#include <apr_hash.h>
#include <apr_strings.h>
#include <jansson.h>
#include <openssl/evp.h>

#include "log.h"
#include "status.h"
#include "store/housekeeping.h"

#define RULE "configuration"

static const char *const store_roles[] = { "provider", "uem" };
#define ROLES 2

/** So many changes at once get one row of the audit each, as changes by hand do; more than that go
 *  together, as many in one row as a line of the log has room for. */
#define SINGLE_MAX 100
#define TOGETHER_MAX 24

/* Reading */

typedef struct {
    escrow_configuration_t *configuration;
    apr_pool_t *p;
} read_t;

static apr_status_t read_all(gh_transaction_t *transaction, escrow_configuration_t *configuration,
                             apr_pool_t *p)
{
    apr_status_t rv = gh_pins_version(transaction, &configuration->version, p);

    if (rv == APR_SUCCESS) {
        rv = gh_pin_list(transaction, &configuration->pins, p);
    }
    return rv == APR_SUCCESS ? gh_endpoint_list(transaction, &configuration->endpoints, p) : rv;
}

static apr_status_t read_work(gh_transaction_t *transaction, void *baton)
{
    read_t *read = baton;

    return read_all(transaction, read->configuration, read->p);
}

apr_status_t escrow_configuration_read(escrow_configuration_t **configuration, gh_store_t *store,
                                       apr_pool_t *p, gh_result_t *result)
{
    read_t read = { apr_pcalloc(p, sizeof(**configuration)), p };

    *configuration = read.configuration;
    return gh_store_read(store, read_work, &read, result);
}

static json_t *text_or_null(const char *text)
{
    json_t *string = text && *text ? json_string(text) : NULL;

    return string ? string : json_null();
}

static json_t *describe_pin(const gh_pin_record_t *pin, apr_pool_t *p)
{
    return json_pack("{s:s, s:s, s:o, s:s, s:s, s:o, s:o}", "thumbprint", pin->thumbprint, "role",
                     pin->role, "label", text_or_null(pin->label), "created",
                     gh_time_text(p, pin->created), "created_by", pin->created_by, "expires",
                     text_or_null(gh_time_text(p, pin->expires)), "last_used",
                     text_or_null(gh_time_text(p, pin->last_used)));
}

static json_t *describe_endpoint(const gh_endpoint_record_t *record, apr_pool_t *p)
{
    escrow_endpoint_facts_t facts;

    if (escrow_endpoint_describe(&facts, record->chain, p) != APR_SUCCESS) {
        return NULL;
    }
    return json_pack("{s:s, s:I, s:s, s:s, s:s, s:s, s:s, s:o, s:o}", "name", record->name,
                     "generation", (json_int_t)record->generation, "subject", facts.subject,
                     "thumbprint_sha256", facts.sha256, "not_before",
                     gh_time_text(p, facts.not_before), "not_after",
                     gh_time_text(p, facts.not_after), "certificates",
                     escrow_endpoint_pem(record->chain, p), "updated",
                     record->generation ? json_string(gh_time_text(p, record->updated))
                                        : json_null(),
                     "updated_by", text_or_null(record->updated_by));
}

void *escrow_configuration_json(const escrow_configuration_t *configuration, apr_pool_t *p)
{
    json_t *thumbprints = json_array(), *pins = json_array(), *endpoints = json_array();
    const char *last = "";
    int i;

    for (i = 0; i < configuration->pins->nelts; ++i) {
        const gh_pin_record_t *pin = APR_ARRAY_IDX(configuration->pins, i, const gh_pin_record_t *);

        json_array_append_new(pins, describe_pin(pin, p));
        /* they come in order */
        if (strcmp(last, pin->thumbprint)) {
            json_array_append_new(thumbprints, json_string(pin->thumbprint));
            last = pin->thumbprint;
        }
    }
    for (i = 0; i < configuration->endpoints->nelts; ++i) {
        json_array_append_new(endpoints,
                              describe_endpoint(APR_ARRAY_IDX(configuration->endpoints, i,
                                                              const gh_endpoint_record_t *), p));
    }
    return json_pack("{s:o, s:o, s:o}", "client_certificate_thumbprints", thumbprints, "pins", pins,
                     "server_certificates", endpoints);
}

/* Changing */

static int unchanged(const gh_pin_record_t *pin, const gh_pin_record_t *was)
{
    return was && was->expires == pin->expires && !strcmp(was->label ? was->label : "",
                                                          pin->label ? pin->label : "");
}

typedef struct {
    const escrow_change_t *change;
    const escrow_apply_t *how;
    apr_pool_t *p;
    gh_result_t *result;
} work_t;

static const char *key_of(const char *thumbprint, const char *role, apr_pool_t *p)
{
    return apr_pstrcat(p, thumbprint, " ", role, NULL);
}

static void wish(apr_hash_t *wished, const gh_pin_record_t *pin, const char *role, apr_pool_t *p)
{
    gh_pin_record_t *copy = apr_pmemdup(p, pin, sizeof(*pin));

    copy->role = role;
    apr_hash_set(wished, key_of(copy->thumbprint, role, p), APR_HASH_KEY_STRING, copy);
}

/** What is to be there: a pin without a role keeps those that it has, and all else of them. */
static apr_hash_t *wishes(const escrow_change_t *change, apr_hash_t *present, apr_pool_t *p)
{
    apr_hash_t *wished = apr_hash_make(p);
    int i, j;

    for (i = 0; i < change->pins->nelts; ++i) {
        const gh_pin_record_t *pin = APR_ARRAY_IDX(change->pins, i, const gh_pin_record_t *);
        int kept = 0;

        if (pin->role) {
            wish(wished, pin, pin->role, p);
            continue;
        }
        for (j = 0; j < ROLES; ++j) {
            const char *key = key_of(pin->thumbprint, store_roles[j], p);
            gh_pin_record_t *was = apr_hash_get(present, key, APR_HASH_KEY_STRING);

            if (was) {
                apr_hash_set(wished, key, APR_HASH_KEY_STRING, was);
                kept = 1;
            }
        }
        for (j = 0; !kept && j < ROLES; ++j) {
            wish(wished, pin, store_roles[j], p);
        }
    }
    return wished;
}

static const char *list_of(const apr_array_header_t *pins, apr_pool_t *p)
{
    apr_array_header_t *words = apr_array_make(p, pins->nelts + 1, sizeof(const char *));
    int i;

    for (i = 0; i < pins->nelts; ++i) {
        const gh_pin_record_t *pin = APR_ARRAY_IDX(pins, i, const gh_pin_record_t *);

        APR_ARRAY_PUSH(words, const char *) = key_of(pin->thumbprint, pin->role, p);
    }
    return words->nelts ? apr_array_pstrcat(p, words, ',') : "none";
}

/** For a line of the audit, which has no room for many. */
static const char *summary_of(const apr_array_header_t *pins, apr_pool_t *p)
{
    const char *list = list_of(pins, p);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length = 0;

    if (pins->nelts <= TOGETHER_MAX
        || EVP_Digest(list, strlen(list), digest, &length, EVP_sha256(), NULL) != 1) {
        return list;
    }
    return apr_psprintf(p, "%d pins, SHA-256 of their list %s", pins->nelts,
                        gh_hex(p, digest, length));
}

static apr_status_t audit_row(gh_transaction_t *transaction, const work_t *work, const char *what,
                              const char *role, const char *subject, const char *message)
{
    gh_audit_event_t event = *work->how->event;

    event.event = what;
    event.subject = subject;
    event.profile = role;
    event.message = message;
    event.rule = RULE;
    event.result = "done";
    event.kept = NULL;
    return gh_audit_insert(transaction, &event, gh_audit_line(&event, work->p), 0);
}

/** Whoever looks for a thumbprint finds it, however many went along. */
static apr_status_t audit_pins(gh_transaction_t *transaction, const work_t *work,
                               const apr_array_header_t *pins, const char *what)
{
    apr_array_header_t *words = apr_array_make(work->p, TOGETHER_MAX, sizeof(const char *));
    apr_status_t rv = APR_SUCCESS;
    int single = pins->nelts <= SINGLE_MAX, role, i;

    for (i = 0; single && rv == APR_SUCCESS && i < pins->nelts; ++i) {
        const gh_pin_record_t *pin = APR_ARRAY_IDX(pins, i, const gh_pin_record_t *);

        rv = audit_row(transaction, work, what, pin->role, pin->thumbprint,
                       work->how->event->message);
    }
    for (role = 0; !single && role < ROLES; ++role) {
        for (i = 0; rv == APR_SUCCESS && i <= pins->nelts; ++i) {
            const gh_pin_record_t *pin = i < pins->nelts
                ? APR_ARRAY_IDX(pins, i, const gh_pin_record_t *) : NULL;

            if (pin && !strcmp(pin->role, store_roles[role])) {
                APR_ARRAY_PUSH(words, const char *) = pin->thumbprint;
            }
            if (words->nelts == TOGETHER_MAX || (!pin && words->nelts)) {
                rv = audit_row(transaction, work, what, store_roles[role],
                               apr_psprintf(work->p, "%d pins", words->nelts),
                               apr_array_pstrcat(work->p, words, ','));
                apr_array_clear(words);
            }
        }
    }
    return rv;
}

static apr_status_t change_pins(gh_transaction_t *transaction, const work_t *work,
                                const escrow_configuration_t *before)
{
    apr_hash_t *present = apr_hash_make(work->p), *wished;
    apr_array_header_t *went = apr_array_make(work->p, 8, sizeof(const gh_pin_record_t *));
    apr_array_header_t *came = apr_array_make(work->p, 8, sizeof(const gh_pin_record_t *));
    apr_hash_index_t *index;
    apr_status_t rv = APR_SUCCESS;
    int i;

    for (i = 0; i < before->pins->nelts; ++i) {
        gh_pin_record_t *pin = APR_ARRAY_IDX(before->pins, i, gh_pin_record_t *);

        apr_hash_set(present, key_of(pin->thumbprint, pin->role, work->p), APR_HASH_KEY_STRING,
                     pin);
    }
    wished = wishes(work->change, present, work->p);
    if (!apr_hash_count(wished) && apr_hash_count(present) && !work->how->force) {
        return gh_result_fail(work->result, GH_EREFUSED, GH_FAILURE_CONFLICT, RULE,
                              "Ask with ?force=true if that is what you want.",
                              GHNO(1191) "no pin would be left in the store");
    }
    for (i = 0; rv == APR_SUCCESS && i < before->pins->nelts; ++i) {
        const gh_pin_record_t *pin = APR_ARRAY_IDX(before->pins, i, const gh_pin_record_t *);

        if (!apr_hash_get(wished, key_of(pin->thumbprint, pin->role, work->p),
                          APR_HASH_KEY_STRING)) {
            rv = gh_pin_remove(transaction, pin->thumbprint, pin->role);
            APR_ARRAY_PUSH(went, const gh_pin_record_t *) = pin;
        }
    }
    for (index = apr_hash_first(work->p, wished); rv == APR_SUCCESS && index;
         index = apr_hash_next(index)) {
        const void *key;
        void *value;
        gh_pin_record_t *pin;

        apr_hash_this(index, &key, NULL, &value);
        pin = value;
        if (!unchanged(pin, apr_hash_get(present, key, APR_HASH_KEY_STRING))) {
            pin->created = work->how->now;
            pin->created_by = work->how->who;
            rv = gh_pin_put(transaction, pin);
            APR_ARRAY_PUSH(came, const gh_pin_record_t *) = pin;
        }
    }
    if (rv == APR_SUCCESS) {
        rv = audit_pins(transaction, work, went, "unpin");
    }
    return rv == APR_SUCCESS ? audit_pins(transaction, work, came, "pin") : rv;
}

static apr_status_t change_endpoint(gh_transaction_t *transaction, const work_t *work)
{
    gh_endpoint_record_t record = { .name = work->how->endpoint_name };
    gh_endpoint_record_t *former;
    apr_status_t rv = gh_endpoint_find(transaction, record.name, &former, work->p);

    if (rv != APR_SUCCESS && rv != APR_NOTFOUND) {
        return rv;
    }
    record.generation = rv == APR_SUCCESS ? former->generation + 1 : 1;
    record.updated = work->how->now;
    record.updated_by = work->how->who;
    rv = escrow_endpoint_seal(&record, work->how->endpoint, work->how->vault, work->p,
                              work->result);
    return rv == APR_SUCCESS ? gh_endpoint_put(transaction, &record) : rv;
}

static apr_status_t apply_work(gh_transaction_t *transaction, void *baton)
{
    const work_t *work = baton;
    escrow_configuration_t before, after;
    gh_audit_event_t event = *work->how->event;
    apr_status_t rv = read_all(transaction, &before, work->p);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (work->how->version && strcmp(work->how->version, before.version)) {
        return gh_result_fail(work->result, GH_ECONFLICT, GH_FAILURE_CONFLICT, RULE,
                              "Read the configuration again, and change that.",
                              GHNO(1192) "somebody else has changed the configuration meanwhile");
    }
    if (work->change->pins) {
        rv = change_pins(transaction, work, &before);
    }
    if (rv == APR_SUCCESS && work->how->endpoint) {
        rv = change_endpoint(transaction, work);
    }
    if (rv == APR_SUCCESS) {
        rv = read_all(transaction, &after, work->p);
    }
    if (rv == APR_SUCCESS) {
        event.message = apr_psprintf(work->p, "before: %s; now: %s%s%s",
                                     summary_of(before.pins, work->p),
                                     summary_of(after.pins, work->p),
                                     work->how->endpoint ? "; new TLS certificate " : "",
                                     work->how->endpoint ? work->how->endpoint_name : "");
        event.rule = RULE;
        event.result = "done";
        rv = gh_audit_insert(transaction, &event, gh_audit_line(&event, work->p), 0);
    }
    return rv;
}

apr_status_t escrow_change_apply(const escrow_change_t *change, const escrow_apply_t *how,
                                 gh_store_t *store, apr_pool_t *p, gh_result_t *result)
{
    work_t work = { change, how, p, result };

    return gh_store_write(store, apply_work, &work, result);
}
