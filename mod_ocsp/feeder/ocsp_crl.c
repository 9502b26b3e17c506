/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* CRLs, complete and delta (RFC 5280 5): what is taken up, and why not. */

#include "mod_ocsp/feeder/ocsp_document.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/x509v3.h>

#include "log.h"
#include "status.h"
#include "store/certificates.h"
#include "x509/ca.h"
#include "x509/crl_read.h"

/** A CRL of the near future comes from a clock that is a little ahead. */
#define CLOCK_SKEW apr_time_from_sec(300)

#define OID_EXPIRED_ON_CRL "2.5.29.60"      /* X.509 9.5.2.8 */

#define REASON_HOLD             6
#define REASON_REMOVE_FROM_CRL  8

typedef struct {
    X509_CRL *crl;
    ocsp_document_t *document;
    const ocsp_fetched_t *fetched;
    const ocsp_reader_authority_t *authority;
    apr_time_t now;
    apr_pool_t *p;
    gh_result_t *result;
} reading_t;

static apr_status_t refuse_critical(const reading_t *reading, const X509_EXTENSION *extension,
                                    const char *where)
{
    char oid[80] = "";

    OBJ_obj2txt(oid, sizeof(oid), X509_EXTENSION_get_object((X509_EXTENSION *)extension), 1);
    return gh_result_fail(reading->result, GH_EREFUSED, GH_FAILURE_REQUEST, RULE_SOURCE,
                          "Let the CA publish a CRL without it; what it means for the others "
                          "cannot be told.", GHNO(0693) "the CRL from %s has the critical "
                          "extension %s in %s, which is not known", reading->fetched->url, oid,
                          where);
}

/** The extensions that RFC 5280 marks critical, and that are understood here. */
static apr_status_t check_critical(const reading_t *reading)
{
    const X509_EXTENSION *extension;
    int i = -1, nid;

    while ((i = X509_CRL_get_ext_by_critical(reading->crl, 1, i)) >= 0) {
        extension = X509_CRL_get_ext(reading->crl, i);
        nid = OBJ_obj2nid(X509_EXTENSION_get_object((X509_EXTENSION *)extension));
        if (nid != NID_issuing_distribution_point && nid != NID_delta_crl
            && nid != NID_crl_number && nid != NID_authority_key_identifier) {
            return refuse_critical(reading, extension, "it");
        }
    }
    return APR_SUCCESS;
}

/** The name of the CA, a key that may sign CRLs, a digest that cannot be forged, the signature. */
static apr_status_t check_signature(const reading_t *reading)
{
    X509 *ca = reading->authority->certificate;
    int digest = NID_undef;

    if (X509_NAME_cmp(X509_CRL_get_issuer(reading->crl), X509_get_subject_name(ca)) != 0) {
        return gh_result_fail(reading->result, GH_EREFUSED, GH_FAILURE_CONFLICT, RULE_SOURCE,
                              "Correct the URL, or the certificate of the OCSPAuthority.",
                              GHNO(0694) "the CRL from %s is of another CA",
                              reading->fetched->url);
    }
    if (!(X509_get_key_usage(ca) & KU_CRL_SIGN)) {
        return gh_result_fail(reading->result, GH_EREFUSED, GH_FAILURE_CONFLICT, RULE_SOURCE,
                              "Its CRLs are signed under another certificate; indirect CRLs are "
                              "not taken up.", GHNO(0695) "the CRL from %s counts for nothing: the "
                              "CA's certificate has a keyUsage without cRLSign",
                              reading->fetched->url);
    }
    OBJ_find_sigid_algs(X509_CRL_get_signature_nid(reading->crl), &digest, NULL);
    if (digest == NID_md5 || digest == NID_md4 || digest == NID_md2
        || X509_CRL_verify(reading->crl, X509_get0_pubkey(ca)) != 1) {
        return gh_result_openssl(reading->result, GH_EREFUSED, GH_FAILURE_INTEGRITY, RULE_SOURCE,
                                 "Look who has put it there, and whether the CA has a new key.",
                                 GHNO(0696) "the signature of the CRL from %s is not the CA's",
                                 reading->fetched->url);
    }
    return APR_SUCCESS;
}

static const char *number_text(const reading_t *reading, int nid, int *malformed)
{
    int critical = -1;
    ASN1_INTEGER *number = X509_CRL_get_ext_d2i(reading->crl, nid, &critical, NULL);
    const char *text = "";

    if (number && ASN1_STRING_length(number) <= 20
        && ASN1_STRING_type(number) == V_ASN1_INTEGER) {
        text = gh_hex(reading->p, ASN1_STRING_get0_data(number),
                      (apr_size_t)ASN1_STRING_length(number));
    }
    else if (number || critical != -1) {
        *malformed = 1;
    }
    ASN1_INTEGER_free(number);
    return text;
}

/** Number, and whether it is a delta where one is expected and a complete CRL elsewhere. */
static apr_status_t read_numbers(const reading_t *reading)
{
    ocsp_document_info_t *info = &reading->document->info;
    int delta = reading->document->kind == OCSP_DOCUMENT_DELTA, malformed = 0;

    apr_cpystrn(info->number, number_text(reading, NID_crl_number, &malformed),
                sizeof(info->number));
    apr_cpystrn(info->base, number_text(reading, NID_delta_crl, &malformed), sizeof(info->base));
    if (malformed || (delta && !info->number[0])) {
        return gh_result_fail(reading->result, APR_EINVAL, GH_FAILURE_REQUEST, RULE_SOURCE,
                              "Report it to whoever runs the CA.",
                              GHNO(0697) "the CRL from %s has no proper number",
                              reading->fetched->url);
    }
    if (delta != (info->base[0] != '\0')) {
        return gh_result_fail(reading->result, GH_EREFUSED, GH_FAILURE_CONFLICT, RULE_SOURCE,
                              "The URL of OCSPSource crl is that of the complete CRL, delta= that "
                              "of the delta CRL.", GHNO(0698) "%s is a %s CRL",
                              reading->fetched->url, delta ? "complete" : "delta");
    }
    return APR_SUCCESS;
}

static apr_status_t read_times(const reading_t *reading)
{
    ocsp_document_info_t *info = &reading->document->info;
    const ASN1_TIME *next = X509_CRL_get0_nextUpdate(reading->crl);

    info->this_update = gh_asn1_time(X509_CRL_get0_lastUpdate(reading->crl));
    info->next_update = gh_asn1_time(next);
    if (!info->this_update || (next && info->next_update <= info->this_update)
        || info->this_update > reading->now + CLOCK_SKEW) {
        return gh_result_fail(reading->result, GH_EREFUSED, GH_FAILURE_TIME, RULE_SOURCE,
                              "Look at the clocks of this machine and of the CA.",
                              GHNO(0699) "the CRL from %s is of %s, until %s",
                              reading->fetched->url,
                              info->this_update ? gh_time_text(reading->p, info->this_update)
                                                : "no time",
                              info->next_update ? gh_time_text(reading->p, info->next_update)
                                                : "no time");
    }
    if (!next && !reading->authority->serve_endless) {
        return gh_result_fail(reading->result, GH_EREFUSED, GH_FAILURE_TIME, RULE_SOURCE,
                              "Let the CA publish CRLs with nextUpdate (RFC 5280 5.1.2.5), or give "
                              "OCSPMaxStale a time.", GHNO(0767) "the CRL from %s has no "
                              "nextUpdate: it would be good for ever once its source is away",
                              reading->fetched->url);
    }
    if (info->next_update && info->next_update <= reading->now
        && !reading->fetched->serve_expired) {
        return gh_result_fail(reading->result, GH_EREFUSED, GH_FAILURE_TIME, RULE_SOURCE,
                              "Let the CA publish a new one. OCSPSource ... expired=serve answers "
                              "from an expired CRL.", GHNO(0700) "the CRL from %s has expired at "
                              "%s", reading->fetched->url,
                              gh_time_text(reading->p, info->next_update));
    }
    return APR_SUCCESS;
}

/** An older CRL than the one before would bring back what was revoked since. */
static apr_status_t check_age(const reading_t *reading)
{
    const ocsp_document_info_t *info = &reading->document->info;
    const ocsp_document_info_t *former = reading->fetched->former;

    if (former && (info->this_update < former->this_update
                   || ocsp_number_compare(info->number, former->number) < 0)) {
        return gh_result_fail(reading->result, GH_EREFUSED, GH_FAILURE_CONFLICT, RULE_SOURCE,
                              "Look for a cache or mirror that lags behind.",
                              GHNO(0701) "the CRL from %s (number %s, of %s) is older than the one "
                              "before (number %s, of %s)", reading->fetched->url,
                              info->number[0] ? info->number : "none",
                              gh_time_text(reading->p, info->this_update),
                              former->number[0] ? former->number : "none",
                              gh_time_text(reading->p, former->this_update));
    }
    return APR_SUCCESS;
}

static gh_bytes_t copy(apr_pool_t *p, const unsigned char *data, int length)
{
    gh_bytes_t bytes = { NULL, 0 };

    if (length > 0) {
        bytes.data = apr_pmemdup(p, data, (apr_size_t)length);
        bytes.length = (apr_size_t)length;
    }
    return bytes;
}

static int reason_bits(const ASN1_BIT_STRING *reasons)
{
    int i, bits = 0;

    for (i = 0; i < 16; ++i) {
        bits |= ASN1_BIT_STRING_get_bit(reasons, i) ? 1 << i : 0;
    }
    return bits;
}

static apr_status_t fail_scope(const reading_t *reading, const char *what)
{
    return gh_result_fail(reading->result, GH_EREFUSED, GH_FAILURE_REQUEST, RULE_SOURCE,
                          "Use the CA's complete CRL, or all of its partitions.",
                          GHNO(0702) "the CRL from %s is %s", reading->fetched->url, what);
}

static apr_status_t read_scope(const reading_t *reading)
{
    ocsp_scope_t *scope = &reading->document->scope;
    int at = X509_CRL_get_ext_by_NID(reading->crl, NID_issuing_distribution_point, -1);
    const ASN1_OCTET_STRING *value;
    ISSUING_DIST_POINT *point;
    unsigned char *name = NULL;
    apr_status_t rv = APR_SUCCESS;
    int length;

    if (at < 0) {
        return APR_SUCCESS;
    }
    value = X509_EXTENSION_get_data(X509_CRL_get_ext(reading->crl, at));
    scope->extension = copy(reading->p, ASN1_STRING_get0_data(value), ASN1_STRING_length(value));
    point = X509_CRL_get_ext_d2i(reading->crl, NID_issuing_distribution_point, NULL, NULL);
    if (!point) {
        return fail_scope(reading, "malformed in its issuingDistributionPoint");
    }
    if (point->distpoint && !reading->fetched->whole) {
        length = i2d_DIST_POINT_NAME(point->distpoint, &name);
        scope->point = copy(reading->p, name, length);
        OPENSSL_free(name);
    }
    scope->only_users = point->onlyuser > 0;
    scope->only_authorities = point->onlyCA > 0;
    scope->reasons = point->onlysomereasons ? reason_bits(point->onlysomereasons) : 0;
    if (point->indirectCRL > 0) {
        rv = fail_scope(reading, "indirect: it speaks of other CAs' certificates too");
    }
    else if (point->onlyattr > 0) {
        rv = fail_scope(reading, "for attribute certificates only");
    }
    else if ((scope->only_users && scope->only_authorities)
             || (point->onlysomereasons && !scope->reasons)) {
        rv = fail_scope(reading, "for nothing, as its issuingDistributionPoint says");
    }
    ISSUING_DIST_POINT_free(point);
    return rv;
}

static void read_expired(const reading_t *reading)
{
    ASN1_OBJECT *object = OBJ_txt2obj(OID_EXPIRED_ON_CRL, 1);
    int at = object ? X509_CRL_get_ext_by_OBJ(reading->crl, object, -1) : -1;
    const ASN1_OCTET_STRING *value;
    ASN1_GENERALIZEDTIME *time;
    const unsigned char *data;

    if (at >= 0) {
        value = X509_EXTENSION_get_data(X509_CRL_get_ext(reading->crl, at));
        data = ASN1_STRING_get0_data(value);
        time = d2i_ASN1_GENERALIZEDTIME(NULL, &data, ASN1_STRING_length(value));
        reading->document->expired_on_crl = gh_asn1_time(time);
        ASN1_GENERALIZEDTIME_free(time);
    }
    ASN1_OBJECT_free(object);
}

static apr_status_t check_entry(const reading_t *reading, const X509_REVOKED *revoked)
{
    const X509_EXTENSION *extension;
    int i = -1, nid;

    while ((i = X509_REVOKED_get_ext_by_critical(revoked, 1, i)) >= 0) {
        extension = X509_REVOKED_get_ext(revoked, i);
        nid = OBJ_obj2nid(X509_EXTENSION_get_object((X509_EXTENSION *)extension));
        if (nid == NID_certificate_issuer) {
            return fail_scope(reading, "indirect: an entry names another CA");
        }
        if (nid != NID_crl_reason && nid != NID_invalidity_date) {
            return refuse_critical(reading, extension, "an entry");
        }
    }
    return APR_SUCCESS;
}

/** A serial number that is negative or longer than 20 bytes is in no index; whoever asks for it is
 *  never told that it is good. */
static apr_status_t add_entry(const reading_t *reading, const X509_REVOKED *revoked,
                              apr_pool_t *ptemp)
{
    const ASN1_INTEGER *serial = X509_REVOKED_get0_serialNumber(revoked);
    ocsp_entry_t *entry;
    gh_revoked_t read;

    gh_revoked_read(&read, revoked, ptemp);
    if (ASN1_STRING_type(serial) != V_ASN1_INTEGER || !read.serial.length
        || read.serial.length > sizeof(entry->serial)) {
        ++reading->document->info.strange;
        return APR_SUCCESS;
    }
    entry = ocsp_document_add(reading->document, read.serial);
    if (!entry) {
        return APR_ENOMEM;
    }
    entry->state = read.reason == REASON_REMOVE_FROM_CRL ? GH_KNOWN_NOT
                   : read.reason == REASON_HOLD ? GH_KNOWN_HELD : GH_KNOWN_REVOKED;
    entry->reason = (signed char)read.reason;
    entry->revoked_at = read.revoked_at;
    entry->invalid_from = read.invalid_from;
    return APR_SUCCESS;
}

static apr_status_t read_entries(const reading_t *reading)
{
    STACK_OF(X509_REVOKED) *list = X509_CRL_get_REVOKED(reading->crl);
    apr_status_t rv = APR_SUCCESS;
    apr_pool_t *ptemp;
    int i;

    apr_pool_create(&ptemp, reading->p);
    for (i = 0; rv == APR_SUCCESS && i < sk_X509_REVOKED_num(list); ++i) {
        const X509_REVOKED *revoked = sk_X509_REVOKED_value(list, i);

        rv = check_entry(reading, revoked);
        if (rv == APR_SUCCESS && (rv = add_entry(reading, revoked, ptemp)) != APR_SUCCESS) {
            gh_result_fail(reading->result, rv, GH_FAILURE_UNAVAILABLE, RULE_SOURCE,
                           "Give the machine more memory.",
                           GHNO(0703) "there is no memory for the CRL from %s",
                           reading->fetched->url);
        }
        if (i % 256 == 255) {
            apr_pool_clear(ptemp);
        }
    }
    apr_pool_destroy(ptemp);
    return rv;
}

apr_status_t ocsp_read_crl(ocsp_document_t *document, const ocsp_fetched_t *fetched,
                           const ocsp_reader_authority_t *authority, apr_time_t now,
                           apr_pool_t *p, gh_result_t *result)
{
    reading_t reading = { NULL, document, fetched, authority, now, p, result };
    apr_status_t rv;
    apr_pool_t *ptemp;

    apr_pool_create(&ptemp, p);
    reading.crl = gh_crl_parse(fetched->bytes, ptemp);
    if (!reading.crl) {
        rv = gh_result_openssl(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE_SOURCE,
                               "Look what is published there: a CRL is DER, or PEM.",
                               GHNO(0704) "what came from %s is no CRL", fetched->url);
        goto cleanup;
    }
    if ((rv = check_signature(&reading)) == APR_SUCCESS
        && (rv = check_critical(&reading)) == APR_SUCCESS
        && (rv = read_numbers(&reading)) == APR_SUCCESS
        && (rv = read_times(&reading)) == APR_SUCCESS
        && (rv = check_age(&reading)) == APR_SUCCESS
        && (rv = read_scope(&reading)) == APR_SUCCESS) {
        read_expired(&reading);
        rv = read_entries(&reading);
    }

cleanup:
    ERR_clear_error();
    apr_pool_destroy(ptemp);
    return rv;
}
