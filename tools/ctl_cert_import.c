/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * Taking up what a CA issued and revoked before Gatehouse had it: cert import.
 * Importing the same again changes nothing, so an import that was broken off is simply repeated.
 */

#include "ctl_commands.h"

#include <stdio.h>
#include <string.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "ctl_cert.h"
#include "x509/crl_read.h"
#include "ctl_file.h"
#include "ctl_output.h"
#include "ctl_text.h"
#include "status.h"
#include "store/certificates.h"
#include "store/crls.h"
#include "store/housekeeping.h"
#include "x509/ca.h"
#include "x509/key.h"
#include "x509/name.h"

#define RULE "import"

/* All files together; what is larger is imported in parts. */
#define FILES_MAX ((apr_size_t)1 << 30)

/* Rows written in one transaction. */
#define BATCH 100

#define REASON_HOLD             6
#define REASON_REMOVE_FROM_CRL  8

const ctl_option_t ctl_cert_import_options[] = {
    { "issuer", 0, "NAME", "the <Issuer> whose CA issued them" },
    { "profile", 0, "NAME", "the profile to record" },
    { "crl", 0, "FILE", "the newest CRL of that CA: what it lists is marked" },
    { NULL, 0, NULL, NULL }
};

typedef struct {
    const char *name;
    gh_bytes_t bytes;
} source_t;

typedef struct {
    ctl_t *ctl;
    const char *issuer;
    const char *profile;        /* "" if none was given */
    X509 *ca;
    X509_CRL *crl;              /* NULL: none */
    gh_bytes_t crl_der;
    int imported;
    int known;
    int marked;                 /* of those known before, by the CRL */
    int refused;
    apr_array_header_t *batch;  /* item_t * */
    apr_pool_t *batch_pool;
} import_t;

/* A row to be. */
typedef struct {
    gh_certificate_record_t record;
    gh_audit_event_t *event;
    const char *line;
    enum { ITEM_NEW, ITEM_KNOWN, ITEM_MARKED } outcome;
} item_t;

typedef struct {
    import_t *import;
    gh_bytes_t key_sha256;
    gh_bytes_t certificate;
    gh_crl_record_t crl;
    apr_pool_t *p;
} baton_t;

/* What to do with a certificate that is there already: at most take over that it was revoked. */
static apr_status_t write_known(gh_transaction_t *transaction, item_t *item,
                                const gh_certificate_record_t *known)
{
    gh_certificate_record_t *record = &item->record;
    int changed = 0;
    apr_status_t rv = APR_SUCCESS;

    item->outcome = ITEM_KNOWN;
    if (gh_certificate_is_unknown(known) && !gh_certificate_is_unknown(record)) {
        rv = gh_certificate_complete(transaction, record, &changed);
        changed = 0;
    }
    if (rv == APR_SUCCESS && record->status != GH_STATUS_GOOD && known->status != GH_STATUS_REVOKED
        && known->status != record->status) {
        /* the CRL's time, which also lets what has expired since be marked */
        rv = gh_certificate_set_status(transaction, record->issuer, record->serial,
                                       record->status, record->reason, record->invalid_from,
                                       record->revoked_at, &changed);
        if (rv == GH_EREFUSED) {
            rv = APR_SUCCESS;
        }
    }
    if (changed) {
        item->outcome = ITEM_MARKED;
        rv = rv == APR_SUCCESS ? gh_audit_insert(transaction, item->event, item->line, 0) : rv;
    }
    return rv;
}

static apr_status_t batch_work(gh_transaction_t *transaction, void *data)
{
    import_t *import = data;
    apr_array_header_t *found;
    apr_status_t rv = APR_SUCCESS;
    int i;

    for (i = 0; i < import->batch->nelts && rv == APR_SUCCESS; i++) {
        item_t *item = APR_ARRAY_IDX(import->batch, i, item_t *);

        rv = gh_certificate_find(transaction, item->record.issuer, item->record.serial, &found,
                                 import->batch_pool);
        if (rv != APR_SUCCESS) {
            break;
        }
        if (found->nelts > 0) {
            rv = write_known(transaction, item,
                             APR_ARRAY_IDX(found, 0, gh_certificate_record_t *));
            continue;
        }
        item->outcome = ITEM_NEW;
        rv = gh_certificate_insert(transaction, &item->record);
        if (rv == APR_SUCCESS) {
            rv = gh_audit_insert(transaction, item->event, item->line, 0);
        }
    }
    return rv;
}

static apr_status_t flush(import_t *import, gh_result_t *result)
{
    apr_status_t rv = APR_SUCCESS;
    int i;

    if (import->batch->nelts > 0) {
        rv = gh_store_write(import->ctl->store, batch_work, import, result);
        if (rv == GH_ECONFLICT) {
            /* somebody else has added one of them meanwhile: now it will be found */
            rv = gh_store_write(import->ctl->store, batch_work, import, result);
        }
    }
    for (i = 0; i < import->batch->nelts && rv == APR_SUCCESS; i++) {
        const item_t *item = APR_ARRAY_IDX(import->batch, i, const item_t *);

        import->imported += item->outcome == ITEM_NEW;
        import->known += item->outcome != ITEM_NEW;
        import->marked += item->outcome == ITEM_MARKED;
        if (import->ctl->json && item->outcome != ITEM_KNOWN) {
            ctl_json_print(stdout, ctl_certificate_json(&item->record, apr_time_now(),
                                                        import->batch_pool));
        }
    }
    apr_pool_clear(import->batch_pool);
    import->batch = apr_array_make(import->batch_pool, BATCH, sizeof(item_t *));
    return rv;
}

static void take_revocation(item_t *item, const gh_revoked_t *entry)
{
    gh_certificate_record_t *record = &item->record;

    if (entry->reason == REASON_REMOVE_FROM_CRL || entry->revoked_at == 0) {
        return;
    }
    record->status = entry->reason == REASON_HOLD ? GH_STATUS_HELD : GH_STATUS_REVOKED;
    record->reason = entry->reason;
    record->revoked_at = entry->revoked_at;
    record->invalid_from = entry->invalid_from;
}

static item_t *item_begin(const import_t *import, gh_bytes_t serial)
{
    apr_pool_t *p = import->batch_pool;
    item_t *item = apr_pcalloc(p, sizeof(*item));

    item->record.issuer = import->issuer;
    item->record.serial = serial;
    item->record.status = GH_STATUS_GOOD;
    item->record.reason = GH_REASON_NONE;
    item->record.profile = import->profile;
    item->record.sans = "[]";
    item->event = ctl_event(import->ctl, "import", p);
    item->event->issuer = import->issuer;
    item->event->serial = gh_hex(p, serial.data, serial.length);
    return item;
}

static apr_status_t item_end(import_t *import, item_t *item, gh_result_t *result)
{
    item->event->subject = item->record.subject;
    item->event->message = item->record.status == GH_STATUS_GOOD ? NULL
        : apr_pstrcat(import->batch_pool, "revoked before: ",
                      gh_reason_name(item->record.reason) != NULL
                      ? gh_reason_name(item->record.reason) : "no reason", NULL);
    item->line = gh_audit_line(item->event, import->batch_pool);
    APR_ARRAY_PUSH(import->batch, item_t *) = item;
    return import->batch->nelts >= BATCH ? flush(import, result) : APR_SUCCESS;
}

static apr_status_t check_certificate(const import_t *import, X509 *certificate,
                                      gh_result_t *result)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(certificate);

    if (X509_NAME_cmp(X509_get_issuer_name(certificate), X509_get_subject_name(import->ca)) != 0
        || X509_verify(certificate, X509_get0_pubkey(import->ca)) != 1) {
        ERR_clear_error();
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                              "Import it for the issuer whose CA signed it.",
                              GHNO(0360) "the CA of issuer %s did not sign it", import->issuer);
    }
    if (ASN1_STRING_type(serial) == V_ASN1_NEG_INTEGER || ASN1_STRING_length(serial) > 20) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                              "Such a certificate cannot be kept here; replace it.",
                              GHNO(0361) "its serial number is negative or longer than 20 bytes");
    }
    return APR_SUCCESS;
}

static apr_status_t add_certificate(import_t *import, X509 *certificate, gh_result_t *result)
{
    apr_pool_t *p = import->batch_pool;
    GENERAL_NAMES *names;
    X509_REVOKED *revoked;
    gh_revoked_t entry;
    item_t *item = item_begin(import, gh_certificate_serial(certificate, p));
    gh_certificate_record_t *record = &item->record;
    unsigned char *digest = apr_palloc(p, EVP_MAX_MD_SIZE);
    unsigned int length = 0;

    names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    record->der = gh_certificate_der(certificate, p);
    record->not_before = gh_certificate_not_before(certificate);
    record->not_after = gh_certificate_not_after(certificate);
    record->subject = gh_name_text(X509_get_subject_name(certificate), p);
    record->sans = gh_san_json(names, p);
    record->key_sha256 = gh_key_sha256(X509_get0_pubkey(certificate), p);
    GENERAL_NAMES_free(names);
    if (X509_digest(certificate, EVP_sha256(), digest, &length) != 1) {
        return gh_result_openssl(result, APR_EGENERAL, GH_FAILURE_INTERNAL, RULE, NULL,
                                 GHNO(0362) "a certificate cannot be hashed");
    }
    record->sha256.data = digest;
    record->sha256.length = length;
    if (import->crl != NULL
        && X509_CRL_get0_by_cert(import->crl, &revoked, certificate) == 1) {
        gh_revoked_read(&entry, revoked, p);
        take_revocation(item, &entry);
    }
    return item_end(import, item, result);
}

/* One certificate that is not taken does not stop the others. */
static void refuse(import_t *import, const char *file, int number, const gh_result_t *result)
{
    import->refused++;
    fprintf(stderr, "gatehousectl: %s: %s, certificate %d: %s\n  %s\n", result->number, file,
            number, result->message, result->action);
}

static apr_status_t import_one(import_t *import, X509 *certificate, const char *file, int number,
                               gh_result_t *result)
{
    if (certificate == NULL || X509_get0_pubkey(certificate) == NULL) {
        ERR_clear_error();
        gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, RULE,
                       "Give certificates in PEM or DER.",
                       GHNO(0363) "it is malformed or has a key that cannot be read");
        refuse(import, file, number, result);
        return APR_SUCCESS;
    }
    if (check_certificate(import, certificate, result) != APR_SUCCESS) {
        refuse(import, file, number, result);
        return APR_SUCCESS;
    }
    return add_certificate(import, certificate, result);
}

static apr_status_t import_source(import_t *import, const source_t *source, gh_result_t *result)
{
    const unsigned char *at = source->bytes.data;
    apr_status_t rv = APR_SUCCESS;
    X509 *certificate;
    unsigned long error;
    int number = 0;
    BIO *bio;

    if (source->bytes.length > 0 && *at == 0x30) {
        certificate = d2i_X509(NULL, &at, (long)source->bytes.length);
        if (at != source->bytes.data + source->bytes.length) {
            X509_free(certificate);
            certificate = NULL;
        }
        rv = import_one(import, certificate, source->name, 1, result);
        X509_free(certificate);
        return rv;
    }
    bio = BIO_new_mem_buf(source->bytes.data, (int)source->bytes.length);
    while (rv == APR_SUCCESS && bio != NULL) {
        ERR_clear_error();
        certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        error = certificate == NULL ? ERR_peek_last_error() : 0;
        if (certificate == NULL && number > 0 && ERR_GET_LIB(error) == ERR_LIB_PEM
            && ERR_GET_REASON(error) == PEM_R_NO_START_LINE) {
            break;
        }
        rv = import_one(import, certificate, source->name, ++number, result);
        X509_free(certificate);
        if (certificate == NULL && BIO_eof(bio)) {
            break;
        }
    }
    ERR_clear_error();
    BIO_free(bio);
    return rv;
}

/*
 * What the CRL lists without a certificate that was imported: such an entry must stay in the CRLs
 * that follow, so it gets a row whose certificate is unknown, until the CA ends.
 */
static apr_status_t import_entries(import_t *import, int *added, gh_result_t *result)
{
    STACK_OF(X509_REVOKED) *revoked = X509_CRL_get_REVOKED(import->crl);
    apr_status_t rv = APR_SUCCESS;
    int before = import->imported;
    int i;

    for (i = 0; i < sk_X509_REVOKED_num(revoked) && rv == APR_SUCCESS; i++) {
        X509_REVOKED *one = sk_X509_REVOKED_value(revoked, i);
        apr_pool_t *p = import->batch_pool;
        unsigned char *der = NULL;
        gh_revoked_t entry;
        item_t *item;
        int length;

        gh_revoked_read(&entry, one, p);
        length = i2d_X509_REVOKED(one, &der);
        if (length <= 0 || entry.serial.length == 0 || entry.serial.length > 20) {
            OPENSSL_free(der);
            continue;
        }
        item = item_begin(import, entry.serial);
        take_revocation(item, &entry);
        item->record.subject = "";
        item->record.profile = "";
        item->record.der.data = apr_pmemdup(p, der, (apr_size_t)length);
        item->record.der.length = (apr_size_t)length;
        item->record.sha256 = item->record.key_sha256 = gh_certificate_unknown_digest();
        item->record.not_before = entry.revoked_at;
        item->record.not_after = gh_certificate_not_after(import->ca);
        OPENSSL_free(der);
        if (item->record.status != GH_STATUS_GOOD) {
            rv = item_end(import, item, result);
        }
    }
    rv = rv == APR_SUCCESS ? flush(import, result) : rv;
    *added = import->imported - before;
    import->imported = before;
    return rv;
}

static apr_status_t crl_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;
    gh_crl_record_t *newest;
    apr_status_t rv;

    rv = gh_crl_newest(transaction, baton->crl.issuer, 0, &newest, baton->p);
    if (rv == APR_SUCCESS && newest->number >= baton->crl.number) {
        return APR_SUCCESS;
    }
    return rv == APR_SUCCESS || rv == APR_NOTFOUND ? gh_crl_insert(transaction, &baton->crl) : rv;
}

/* The CRLs that follow must have larger numbers than this one. It is said to contain no change, so
 * that a server makes the next one at once. */
static apr_status_t import_crl(import_t *import, gh_result_t *result)
{
    baton_t baton;

    memset(&baton, 0, sizeof(baton));
    baton.p = import->ctl->p;
    baton.crl.issuer = import->issuer;
    baton.crl.number = gh_crl_number(import->crl);
    baton.crl.this_update = gh_asn1_time(X509_CRL_get0_lastUpdate(import->crl));
    baton.crl.next_update = gh_asn1_time(X509_CRL_get0_nextUpdate(import->crl));
    baton.crl.entries = sk_X509_REVOKED_num(X509_CRL_get_REVOKED(import->crl));
    baton.crl.entries = baton.crl.entries < 0 ? 0 : baton.crl.entries;
    baton.crl.der = import->crl_der;
    if (baton.crl.number == 0) {
        return APR_SUCCESS;
    }
    return gh_store_write(import->ctl->store, crl_work, &baton, result);
}

static apr_status_t register_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;

    return gh_issuer_register(transaction, baton->import->issuer, baton->key_sha256,
                              baton->certificate);
}

static apr_status_t register_issuer(import_t *import, gh_result_t *result)
{
    baton_t baton;
    apr_status_t rv;

    memset(&baton, 0, sizeof(baton));
    baton.import = import;
    baton.key_sha256 = gh_key_sha256(X509_get0_pubkey(import->ca), import->ctl->p);
    baton.certificate = gh_certificate_der(import->ca, import->ctl->p);
    rv = gh_store_write(import->ctl->store, register_work, &baton, result);
    if (rv == GH_ECONFLICT) {
        gh_result_fail(result, rv, GH_FAILURE_CONFLICT, RULE,
                       "Give the new CA a name of its own.",
                       GHNO(0364) "issuer %s has another key in the store", import->issuer);
    }
    return rv;
}

static apr_status_t read_crl(import_t *import, const char *path, gh_result_t *result)
{
    gh_bytes_t bytes;
    unsigned char *der = NULL;
    apr_status_t rv;
    int length;

    rv = ctl_file_read(&bytes, path, FILES_MAX, import->ctl->p);
    if (rv != APR_SUCCESS) {
        return gh_result_fail(result, APR_EGENERAL, GH_FAILURE_REQUEST, RULE,
                              "Check the path given with --crl.",
                              GHNO(0365) "the CRL %s cannot be read: %s", path,
                              ctl_error_text(rv, import->ctl->p));
    }
    import->crl = gh_crl_parse(bytes, import->ctl->p);
    if (import->crl == NULL || !gh_crl_is_of(import->crl, import->ca)
        || !gh_crl_is_complete(import->crl) || gh_crl_number(import->crl) < 0) {
        ERR_clear_error();
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                              "Give the newest complete CRL that this CA signed, in PEM or DER.",
                              GHNO(0366) "%s is no complete CRL of issuer %s", path,
                              import->issuer);
    }
    length = i2d_X509_CRL(import->crl, &der);
    import->crl_der.data = apr_pmemdup(import->ctl->p, der, (apr_size_t)length);
    import->crl_der.length = (apr_size_t)length;
    OPENSSL_free(der);
    if (X509_cmp_current_time(X509_CRL_get0_nextUpdate(import->crl)) < 0) {
        gh_result_t warning;

        gh_result_fail(&warning, APR_EGENERAL, GH_FAILURE_TIME, RULE,
                       "Import again with the newest CRL.",
                       GHNO(0367) "%s is out of date: later revocations are missing in it", path);
        ctl_fail(&warning);
    }
    return APR_SUCCESS;
}

/* Before privileges go, since only root may be able to read the files. */
static apr_status_t read_sources(ctl_t *ctl, const ctl_arguments_t *arguments,
                                 source_t *sources, gh_result_t *result)
{
    apr_size_t left = FILES_MAX;
    apr_status_t rv;
    int i;

    for (i = 0; i < ctl_operands(arguments); i++) {
        sources[i].name = strcmp(ctl_operand(arguments, i), "-") == 0 ? "standard input"
                                                                     : ctl_operand(arguments, i);
        rv = ctl_file_read(&sources[i].bytes, ctl_operand(arguments, i), left, ctl->p);
        if (rv != APR_SUCCESS) {
            return gh_result_fail(result, APR_EGENERAL, GH_FAILURE_REQUEST, RULE,
                                  "Check the path; import more than a gigabyte in parts.",
                                  GHNO(0368) "%s cannot be read: %s", sources[i].name,
                                  ctl_error_text(rv, ctl->p));
        }
        left -= sources[i].bytes.length;
    }
    return APR_SUCCESS;
}

static int import_all(import_t *import, const source_t *sources, int count)
{
    gh_result_t result;
    apr_status_t rv;
    int entries = 0;
    int i;

    gh_result_clear(&result);
    rv = register_issuer(import, &result);
    for (i = 0; i < count && rv == APR_SUCCESS; i++) {
        rv = import_source(import, &sources[i], &result);
    }
    rv = rv == APR_SUCCESS ? flush(import, &result) : rv;
    if (rv == APR_SUCCESS && import->crl != NULL) {
        i = import->known;
        rv = import_entries(import, &entries, &result);
        import->known = i;
        rv = rv == APR_SUCCESS ? import_crl(import, &result) : rv;
    }
    if (!import->ctl->json) {
        printf("%d imported, %d known before, %d refused", import->imported, import->known,
               import->refused);
        printf(import->crl != NULL ? "; %d of the known marked as revoked, %d revoked ones without "
               "their certificate\n" : "\n", import->marked, entries);
    }
    if (rv != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    return import->refused > 0 ? CTL_FAILED : CTL_OK;
}

int ctl_cert_import(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    const char *name = ctl_option(arguments, "issuer");
    const char *profile = ctl_option(arguments, "profile");
    const char *crl = ctl_option(arguments, "crl");
    const ctl_issuer_t *issuer;
    source_t *sources;
    import_t import;
    gh_result_t result;
    int code;

    gh_result_clear(&result);
    memset(&import, 0, sizeof(import));
    if (name == NULL) {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Name the <Issuer> whose CA issued the certificates with --issuer.",
                       GHNO(0369) "cert import needs --issuer");
        return ctl_fail_usage(&result);
    }
    code = ctl_configure(ctl);
    issuer = code == CTL_OK ? ctl_find_issuer(ctl, name, &code) : NULL;
    if (code != CTL_OK) {
        return code;
    }
    import.ctl = ctl;
    import.issuer = issuer->name;
    import.profile = profile != NULL ? profile : "";
    apr_pool_create(&import.batch_pool, ctl->p);
    import.batch = apr_array_make(import.batch_pool, BATCH, sizeof(item_t *));
    sources = apr_pcalloc(ctl->p, sizeof(*sources) * (apr_size_t)ctl_operands(arguments));
    if (gh_certificate_open(&import.ca, issuer->certificate, issuer->passphrase, ctl->p, &result)
        != APR_SUCCESS
        || (crl != NULL && read_crl(&import, crl, &result) != APR_SUCCESS)
        || read_sources(ctl, arguments, sources, &result) != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    code = ctl_drop_privileges(ctl);
    if (code != CTL_OK) {
        return code;
    }
    if (ctl_open_store(ctl, &result) != APR_SUCCESS) {
        ctl_fail(&result);
        return CTL_UNAVAILABLE;
    }
    return import_all(&import, sources, ctl_operands(arguments));
}
