/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The challenge provider "device": requests of registered devices. */

#include "issuer/device.h"

#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <openssl/objects.h>

#include "issuer/device_private.h"
#include "log.h"
#include "status.h"
#include "x509/name.h"
#include "x509/san.h"

/** What a request says of its device. */
typedef struct {
    apr_array_header_t *hosts;      /* const char *, in lower case */
    apr_array_header_t *addresses;  /* const char *, as san_text() writes them */
    apr_array_header_t *serial_numbers;
} named_t;

static const char *lower(const char *text, apr_pool_t *p)
{
    char *copy = apr_pstrdup(p, text);
    char *at;

    for (at = copy; *at; ++at) {
        *at = (char)apr_tolower(*at);
    }
    return copy;
}

const char *gh_device_address(const char *text, apr_pool_t *p)
{
    GENERAL_NAME *name = NULL;
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    const char *canonical = NULL;

    if (names && gh_san_make(&name, "ip", text, NULL) == APR_SUCCESS
        && sk_GENERAL_NAME_push(names, name) > 0) {
        canonical = APR_ARRAY_IDX(gh_san_texts(names, p), 0, const char *) + strlen("IP:");
        name = NULL;
    }
    GENERAL_NAME_free(name);
    sk_GENERAL_NAME_pop_free(names, GENERAL_NAME_free);
    return canonical;
}

const char *gh_device_fqdn(const char *text, apr_pool_t *p)
{
    GENERAL_NAME *name = NULL;

    if (strchr(text, '*') || gh_san_make(&name, "dns", text, NULL) != APR_SUCCESS) {
        return NULL;
    }
    GENERAL_NAME_free(name);
    return lower(text, p);
}

/* @return 0 if a value is no text */
static int add_hosts(named_t *named, const gh_csr_t *csr, int nid, apr_pool_t *p)
{
    const apr_array_header_t *texts = gh_csr_texts(csr, nid, p);
    int i;

    for (i = 0; texts && i < texts->nelts; ++i) {
        APR_ARRAY_PUSH(named->hosts, const char *) = lower(APR_ARRAY_IDX(texts, i, const char *),
                                                           p);
    }
    return texts != NULL;
}

/* @return NULL, or why nothing can be granted to such a request */
static const char *read_sans(named_t *named, const gh_csr_t *csr, apr_pool_t *p)
{
    GENERAL_NAMES *names;
    apr_array_header_t *texts;
    int i;

    if (gh_csr_sans(csr, &names, p, NULL) != APR_SUCCESS) {
        return "the request has alternative names that cannot be read";
    }
    texts = gh_san_texts(names, p);
    for (i = 0; i < texts->nelts; ++i) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        const char *text = APR_ARRAY_IDX(texts, i, const char *);

        if (gh_san_check(name, NULL) != APR_SUCCESS) {
            return "the request has a malformed alternative name";
        }
        switch (gh_san_type(name)) {
        case GH_SAN_DNS:
            APR_ARRAY_PUSH(named->hosts, const char *) = lower(text + strlen("DNS:"), p);
            break;
        case GH_SAN_IP:
            APR_ARRAY_PUSH(named->addresses, const char *) = text + strlen("IP:");
            break;
        default:
            return apr_pstrcat(p, "the request asks for more than host names and addresses: ",
                               text, NULL);
        }
    }
    return NULL;
}

/* @return as read_sans() */
static const char *read_request(named_t *named, const gh_csr_t *csr, apr_pool_t *p)
{
    const char *reason;

    named->hosts = apr_array_make(p, 4, sizeof(const char *));
    named->addresses = apr_array_make(p, 2, sizeof(const char *));
    named->serial_numbers = gh_csr_texts(csr, NID_serialNumber, p);
    if (!add_hosts(named, csr, NID_pkcs9_unstructuredName, p)
        || !add_hosts(named, csr, NID_commonName, p) || !named->serial_numbers) {
        return "the request names the device in a form that cannot be read";
    }
    reason = read_sans(named, csr, p);
    if (reason) {
        return reason;
    }
    return named->hosts->nelts ? NULL
        : "the request names no host: neither unstructuredName nor DNS name nor common name";
}

/* @return one that is not that text, or NULL if all are */
static const char *another(const apr_array_header_t *texts, const char *expected)
{
    int i;

    for (i = 0; i < texts->nelts; ++i) {
        if (strcmp(APR_ARRAY_IDX(texts, i, const char *), expected)) {
            return APR_ARRAY_IDX(texts, i, const char *);
        }
    }
    return NULL;
}

/* unstructuredAddress is free text: it counts only where an address is registered, and where none
 * is, there is no other that an alternative name could be. */
static const char *address_misfit(const gh_device_record_t *record, named_t *named,
                                  const gh_csr_t *csr, apr_pool_t *p)
{
    const apr_array_header_t *texts = gh_csr_texts(csr, NID_pkcs9_unstructuredAddress, p);
    int i;

    if (!record->address) {
        return named->addresses->nelts ? "has no registered address, and the request names one"
                                       : NULL;
    }
    for (i = 0; texts && i < texts->nelts; ++i) {
        const char *address = gh_device_address(APR_ARRAY_IDX(texts, i, const char *), p);

        APR_ARRAY_PUSH(named->addresses, const char *) = address ? address : "";
    }
    if (!texts || !named->addresses->nelts) {
        return "has a registered address, and the request names none";
    }
    return another(named->addresses, record->address)
        ? "has another address than the request names" : NULL;
}

/* Why the registration does not fit, or NULL. This is for the log. */
static const char *misfit(const gh_device_record_t *record, const unsigned char *mac,
                          named_t *named, const gh_enrolment_request_t *request, apr_pool_t *p)
{
    if ((record->issuer && strcmp(record->issuer, request->issuer))
        || (record->profile && strcmp(record->profile, gh_profile_name(request->profile)))) {
        return "is registered for another issuer or profile";
    }
    if (record->secret_mac.data
        && (!mac || !gh_equal_secret(record->secret_mac.data, record->secret_mac.length, mac,
                                     GH_SEAL_MAC_SIZE))) {
        return mac ? "has another password" : "has a password, and the request has none";
    }
    if (record->single_use && record->used_at) {
        return apr_pstrcat(p, "has used its registration already, for enrolment ",
                           record->used_by, NULL);
    }
    if (record->serial_number && !named->serial_numbers->nelts) {
        return "has a registered serial number, and the request names none";
    }
    if (record->serial_number && another(named->serial_numbers, record->serial_number)) {
        return "has another serial number than the request names";
    }
    return address_misfit(record, named, request->csr, p);
}

typedef struct {
    const char *tenant;
    const char *fqdn;
    gh_device_record_t *record;
    apr_pool_t *pool;
} find_t;

static apr_status_t find_work(gh_transaction_t *transaction, void *baton)
{
    find_t *find = baton;

    return gh_device_find(transaction, find->tenant, find->fqdn, &find->record, find->pool);
}

static apr_status_t use_device(gh_transaction_t *transaction, void *baton, const char *enrolment,
                               apr_time_t now)
{
    return gh_device_use(transaction, baton, enrolment, now);
}

static apr_status_t refuse(gh_result_t *result, const char *subject, const char *reason)
{
    gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "challenge.device",
                   "Compare the request with the registration of the device.",
                   GHNO(0471) "no device registration grants the request");
    gh_result_cause(result, "%s%s", subject, reason);
    return GH_EREFUSED;
}

apr_status_t gh_device_mac(unsigned char mac[GH_SEAL_MAC_SIZE], const gh_sealer_t *sealer,
                           const char *tenant, const char *fqdn, gh_bytes_t password,
                           apr_pool_t *p, gh_result_t *result)
{
    if (!sealer) {
        return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "challenge.device",
                              "Configure GatehouseSealingKey.",
                              GHNO(0472) "passwords of devices need the sealing key, which is not "
                              "there");
    }
    return gh_sealer_mac(mac, sealer, apr_pstrcat(p, "device/", tenant, "/", fqdn, NULL), password,
                         result);
}

static apr_status_t check_device(const gh_authoriser_t *authoriser, gh_store_t *store,
                                 const gh_enrolment_request_t *request, gh_grant_t *grant,
                                 apr_pool_t *p, gh_result_t *result)
{
    unsigned char digest[GH_SEAL_MAC_SIZE];
    const unsigned char *mac = NULL;
    find_t find = { .tenant = request->tenant, .pool = p };
    const char *reason;
    named_t named;
    apr_status_t rv;

    reason = read_request(&named, request->csr, p);
    if (reason) {
        return refuse(result, "", reason);
    }
    find.fqdn = APR_ARRAY_IDX(named.hosts, 0, const char *);
    if (another(named.hosts, find.fqdn)) {
        return refuse(result, another(named.hosts, find.fqdn),
                      apr_pstrcat(p, " is another host than ", find.fqdn,
                                  ", which the request also names", NULL));
    }
    /* before it is known whether there is such a device, and which password it has */
    if (request->challenge && *request->challenge) {
        gh_bytes_t password = { (const unsigned char *)request->challenge,
                                strlen(request->challenge) };

        rv = gh_device_mac(digest, request->sealer, find.tenant, find.fqdn, password, p, result);
        if (rv != APR_SUCCESS) {
            return rv;
        }
        mac = digest;
    }
    rv = gh_store_read(store, find_work, &find, result);
    if (rv != APR_SUCCESS && rv != APR_NOTFOUND) {
        return rv;
    }
    reason = rv == APR_NOTFOUND ? "is not registered"
                                : misfit(find.record, mac, &named, request, p);
    if (reason) {
        return refuse(result, apr_pstrcat(p, "device ", find.fqdn, " ", NULL), reason);
    }
    /* whoever comes first under a name without a password has proved nothing */
    grant->rule = find.record->secret_mac.data ? "challenge.device" : "challenge.device.open";
    grant->message = apr_pstrcat(p, "device registration ", find.record->id, NULL);
    grant->consume = use_device;
    grant->consume_baton = (void *)find.record->id;
    grant->secret_bits = find.record->secret_mac.data ? find.record->secret_bits : 0;
    return APR_SUCCESS;
}

gh_authoriser_t *gh_authoriser_device(apr_pool_t *p)
{
    gh_authoriser_t *authoriser = apr_pcalloc(p, sizeof(*authoriser));

    authoriser->name = "device";
    authoriser->check = check_device;
    return authoriser;
}
