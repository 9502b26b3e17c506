/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Registering devices, and ending registrations. */

#include <string.h>

#include <apr_strings.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "audit.h"
#include "issuer/device.h"
#include "issuer/device_private.h"
#include "log.h"
#include "status.h"
#include "store/housekeeping.h"

#define PASSWORD_BYTES 20

static int is_plain(const unsigned char *text, apr_size_t length, apr_size_t least, apr_size_t most)
{
    apr_size_t i;

    if (length < least || length > most) {
        return 0;
    }
    for (i = 0; i < length; ++i) {
        if (text[i] < 0x20 || text[i] > 0x7e) {
            return 0;
        }
    }
    return 1;
}

static apr_status_t take_names(gh_device_record_t *record, const gh_device_spec_t *spec,
                               apr_pool_t *p, gh_result_t *result)
{
    record->fqdn = gh_device_fqdn(spec->fqdn, p);
    if (!record->fqdn) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "device",
                              "Give a DNS name without wildcard, such as router1.example.com.",
                              GHNO(0474) "\"%.200s\" is not a host name", spec->fqdn);
    }
    if (spec->address && !(record->address = gh_device_address(spec->address, p))) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "device",
                              "Give an IPv4 or IPv6 address.",
                              GHNO(0475) "\"%.200s\" is not an IP address", spec->address);
    }
    if (spec->serial_number
        && !is_plain((const unsigned char *)spec->serial_number, strlen(spec->serial_number), 1,
                     GH_DEVICE_SERIAL_NUMBER_MAX)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "device",
                              "Give it as the device puts it into its requests.",
                              GHNO(0476) "a serial number has 1 to %d printable ASCII characters",
                              GH_DEVICE_SERIAL_NUMBER_MAX);
    }
    record->tenant = spec->tenant;
    record->issuer = spec->issuer;
    record->profile = spec->profile;
    record->serial_number = spec->serial_number;
    return APR_SUCCESS;
}

static const char *generate(apr_pool_t *p, gh_result_t *result)
{
    unsigned char random[PASSWORD_BYTES];
    const char *password;

    if (RAND_bytes(random, sizeof(random)) != 1) {
        gh_result_openssl(result, GH_EUNAVAILABLE, GH_FAILURE_INTERNAL, NULL, NULL,
                          GHNO(0479) "the random generator failed");
        return NULL;
    }
    password = gh_hex(p, random, sizeof(random));
    OPENSSL_cleanse(random, sizeof(random));
    return password;
}

static apr_status_t take_password(gh_device_record_t *record, const gh_sealer_t *sealer,
                                  const gh_device_spec_t *spec, const char **made, apr_pool_t *p,
                                  gh_result_t *result)
{
    gh_bytes_t password = spec->password;
    unsigned char *mac = apr_palloc(p, GH_SEAL_MAC_SIZE);
    apr_status_t rv;

    record->single_use = spec->single_use;
    if (spec->generate) {
        *made = generate(p, result);
        if (!*made) {
            return GH_EUNAVAILABLE;
        }
        password.data = (const unsigned char *)*made;
        password.length = strlen(*made);
        record->secret_bits = 8 * PASSWORD_BYTES;
    }
    if (!password.data) {
        /* who knows the name alone gets one certificate, not more */
        record->single_use = 1;
        return APR_SUCCESS;
    }
    if (!is_plain(password.data, password.length, GH_DEVICE_PASSWORD_LEAST,
                  GH_DEVICE_PASSWORD_MOST)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "device",
                              "Give a longer one, or let it be generated.",
                              GHNO(0477) "a password of a device has %d to %d printable ASCII "
                              "characters", GH_DEVICE_PASSWORD_LEAST, GH_DEVICE_PASSWORD_MOST);
    }
    rv = gh_device_mac(mac, sealer, record->tenant, record->fqdn, password, p, result);
    record->secret_mac.data = mac;
    record->secret_mac.length = GH_SEAL_MAC_SIZE;
    return rv;
}

typedef struct {
    const gh_device_record_t *record;
    int remove;
    gh_audit_event_t event;
    const char *line;
} change_t;

static apr_status_t change_work(gh_transaction_t *transaction, void *baton)
{
    change_t *change = baton;
    apr_status_t rv = change->remove ? gh_device_remove(transaction, change->record->id)
                                     : gh_device_insert(transaction, change->record);

    return rv == APR_SUCCESS ? gh_audit_insert(transaction, &change->event, change->line, 0) : rv;
}

static apr_status_t store_change(gh_store_t *store, change_t *change, const char *node,
                                 const char *actor, const char *protocol, apr_pool_t *p,
                                 gh_result_t *result)
{
    const gh_device_record_t *record = change->record;
    gh_audit_event_t *event = &change->event;

    event->time = apr_time_now();
    event->id = gh_random_id(p);
    event->event = "device";
    event->protocol = protocol;
    event->tenant = record->tenant;
    event->issuer = record->issuer;
    event->profile = record->profile;
    event->node = node;
    event->user = actor;
    event->rule = "operator";
    event->result = "done";
    event->message = apr_psprintf(p, "registration %s of %s %s%s", record->id, record->fqdn,
                                  change->remove ? "removed" : "made",
                                  change->remove ? "" : !record->secret_mac.data ? ", no password"
                                  : record->secret_bits ? ", generated password" : ", password");
    change->line = gh_audit_line(event, p);
    return gh_store_write(store, change_work, change, result);
}

apr_status_t gh_device_register(gh_store_t *store, const gh_sealer_t *sealer,
                                const gh_device_spec_t *spec, gh_device_record_t *record,
                                const char **password, apr_pool_t *p, gh_result_t *result)
{
    change_t change = { .record = record };
    apr_status_t rv;

    *password = NULL;
    memset(record, 0, sizeof(*record));
    rv = take_names(record, spec, p, result);
    if (rv == APR_SUCCESS) {
        rv = take_password(record, sealer, spec, password, p, result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    record->created = apr_time_now();
    record->id = gh_random_id(p);
    if (!record->id) {
        return gh_result_openssl(result, GH_EUNAVAILABLE, GH_FAILURE_INTERNAL, NULL, NULL,
                                 GHNO(0480) "the random generator failed");
    }
    rv = store_change(store, &change, spec->node, spec->actor, spec->protocol, p, result);
    if (rv == GH_ECONFLICT) {
        return gh_result_fail(result, rv, GH_FAILURE_CONFLICT, "device",
                              "Remove that registration first: gatehousectl device remove.",
                              GHNO(0478) "%s is registered in tenant %s already", record->fqdn,
                              record->tenant);
    }
    return rv;
}

apr_status_t gh_device_unregister(gh_store_t *store, const gh_device_record_t *record,
                                  const char *node, const char *actor, const char *protocol,
                                  apr_pool_t *p, gh_result_t *result)
{
    change_t change = { .record = record, .remove = 1 };

    return store_change(store, &change, node, actor, protocol, p, result);
}
