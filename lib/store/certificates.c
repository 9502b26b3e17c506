/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/certificates.h"

#include <string.h>

#include <apr_strings.h>

#include "status.h"
#include "store/store_backend.h"

#define LIST_LIMIT 1000

/* The columns that read_record() expects, without and with the DER. */
#define RECORD_COLUMNS \
    "i.name, s.serial, s.status, s.reason, s.revoked_at, s.invalid_from, d.not_before," \
    " s.not_after, s.change_seq, d.subject, d.sans, d.profile, d.enrolment, d.sha256," \
    " d.key_sha256"
#define RECORD_TABLES \
    " FROM issuer i JOIN certificate_status s ON s.issuer = i.id" \
    " JOIN certificate_der d ON d.id = s.certificate"
#define DER_COLUMN 15

/* CROSS JOIN makes SQLite walk the issuers by name and each one's certificates by serial number,
 * which is the order wanted, and look for one serial number with each of them; PostgreSQL chooses
 * for itself. */
#define LIST_TABLES \
    " FROM issuer i CROSS JOIN certificate_status s" \
    " JOIN certificate_der d ON d.id = s.certificate WHERE s.issuer = i.id"

static gh_certificate_record_t *read_record(gh_query_t *query, int with_der, apr_pool_t *p)
{
    gh_certificate_record_t *record = apr_pcalloc(p, sizeof(*record));
    int column = 0;

    record->issuer = gh_column_text(query, column++, p);
    record->serial = gh_column_bytes(query, column++, p);
    record->status = (gh_status_t)gh_column_int64(query, column++);
    record->reason = (int)gh_column_int64(query, column++);
    record->revoked_at = gh_column_int64(query, column++);
    record->invalid_from = gh_column_int64(query, column++);
    record->not_before = gh_column_int64(query, column++);
    record->not_after = gh_column_int64(query, column++);
    record->change = gh_column_int64(query, column++);
    record->subject = gh_column_text(query, column++, p);
    record->sans = gh_column_text(query, column++, p);
    record->profile = gh_column_text(query, column++, p);
    record->enrolment = gh_column_text(query, column++, p);
    record->sha256 = gh_column_bytes(query, column++, p);
    record->key_sha256 = gh_column_bytes(query, column++, p);
    if (with_der) {
        record->der = gh_column_bytes(query, DER_COLUMN, p);
    }
    return record;
}

static apr_status_t insert_der(gh_transaction_t *transaction,
                               const gh_certificate_record_t *record, apr_int64_t issuer,
                               apr_int64_t id)
{
    gh_query_t *query;

    query = gh_query(transaction,
                     "INSERT INTO certificate_der (id, subject, sans, profile, enrolment, sha256,"
                     " key_sha256, not_before, der, issuer, serial)"
                     " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)");
    gh_bind_int64(query, id);
    gh_bind_text(query, record->subject ? record->subject : "");
    gh_bind_text(query, record->sans ? record->sans : "[]");
    gh_bind_text(query, record->profile ? record->profile : "");
    gh_bind_text(query, record->enrolment);
    gh_bind_bytes(query, record->sha256);
    gh_bind_bytes(query, record->key_sha256);
    gh_bind_int64(query, record->not_before);
    gh_bind_bytes(query, record->der);
    gh_bind_int64(query, issuer);
    gh_bind_bytes(query, record->serial);
    return gh_execute(query);
}

static apr_status_t find_issuer(gh_transaction_t *transaction, const char *name, apr_int64_t *id)
{
    gh_query_t *query = gh_query(transaction, "SELECT id FROM issuer WHERE name = $1");
    apr_status_t rv;

    gh_bind_text(query, name);
    if ((rv = gh_step(query)) == APR_SUCCESS) {
        *id = gh_column_int64(query, 0);
        gh_query_end(query);
    }
    return rv == APR_EOF ? APR_NOTFOUND : rv;
}

/* The number of the change that adds a certificate is also its id: both only have to be unique and
 * to grow, and on SQLite RETURNING costs as much as the rest of an INSERT. */
apr_status_t gh_certificate_insert(gh_transaction_t *transaction,
                                   const gh_certificate_record_t *record)
{
    gh_query_t *query;
    apr_int64_t issuer, change;
    apr_status_t rv;

    if (record->status != GH_STATUS_GOOD
        && (rv = gh_take_status_turn(transaction)) != APR_SUCCESS) {
        return rv;
    }
    if ((rv = find_issuer(transaction, record->issuer, &issuer)) != APR_SUCCESS
        || (rv = gh_next_change(transaction, &change)) != APR_SUCCESS
        || (rv = insert_der(transaction, record, issuer, change)) != APR_SUCCESS) {
        return rv;
    }
    query = gh_query(transaction,
                     "INSERT INTO certificate_status (issuer, serial, status, reason, revoked_at,"
                     " invalid_from, not_after, change_seq, touched, certificate)"
                     " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $8)");
    gh_bind_int64(query, issuer);
    gh_bind_bytes(query, record->serial);
    gh_bind_int64(query, record->status);
    gh_bind_int64(query, record->status == GH_STATUS_GOOD ? GH_REASON_NONE : record->reason);
    gh_bind_int64(query, record->revoked_at);
    gh_bind_int64(query, record->invalid_from);
    gh_bind_int64(query, record->not_after);
    gh_bind_int64(query, change);
    gh_bind_int64(query, record->status == GH_STATUS_GOOD ? 0 : 1);
    return gh_execute(query);
}

gh_bytes_t gh_certificate_unknown_digest(void)
{
    static const unsigned char zero[32];
    const gh_bytes_t digest = { zero, sizeof(zero) };

    return digest;
}

int gh_certificate_is_unknown(const gh_certificate_record_t *record)
{
    gh_bytes_t unknown = gh_certificate_unknown_digest();

    return record->sha256.length == unknown.length
        && memcmp(record->sha256.data, unknown.data, unknown.length) == 0;
}

apr_status_t gh_certificate_complete(gh_transaction_t *transaction,
                                     const gh_certificate_record_t *record, int *changed)
{
    gh_query_t *query;
    apr_status_t rv;

    *changed = 0;
    query = gh_query(transaction,
                     "UPDATE certificate_der SET subject = $1, sans = $2, sha256 = $3,"
                     " key_sha256 = $4, not_before = $5, der = $6 WHERE id = (SELECT certificate"
                     " FROM certificate_status WHERE issuer = (SELECT id FROM issuer"
                     " WHERE name = $7) AND serial = $8) AND sha256 = $9");
    gh_bind_text(query, record->subject);
    gh_bind_text(query, record->sans);
    gh_bind_bytes(query, record->sha256);
    gh_bind_bytes(query, record->key_sha256);
    gh_bind_int64(query, record->not_before);
    gh_bind_bytes(query, record->der);
    gh_bind_text(query, record->issuer);
    gh_bind_bytes(query, record->serial);
    gh_bind_bytes(query, gh_certificate_unknown_digest());
    if ((rv = gh_execute(query)) != APR_SUCCESS || !gh_rows_changed(transaction)) {
        return rv;
    }
    *changed = 1;
    query = gh_query(transaction,
                     "UPDATE certificate_status SET not_after = $1 WHERE serial = $2"
                     " AND issuer = (SELECT id FROM issuer WHERE name = $3)");
    gh_bind_int64(query, record->not_after);
    gh_bind_bytes(query, record->serial);
    gh_bind_text(query, record->issuer);
    return gh_execute(query);
}

apr_status_t gh_certificate_adopt(gh_transaction_t *transaction,
                                  const gh_certificate_record_t *record)
{
    gh_query_t *query;
    apr_status_t rv;

    query = gh_query(transaction,
                     "UPDATE certificate_der SET profile = $1, enrolment = $2 WHERE id ="
                     " (SELECT certificate FROM certificate_status WHERE issuer ="
                     " (SELECT id FROM issuer WHERE name = $3) AND serial = $4)"
                     " AND enrolment IS NULL AND sha256 = $5");
    gh_bind_text(query, record->profile);
    gh_bind_text(query, record->enrolment);
    gh_bind_text(query, record->issuer);
    gh_bind_bytes(query, record->serial);
    gh_bind_bytes(query, record->sha256);
    if ((rv = gh_execute(query)) != APR_SUCCESS) {
        return rv;
    }
    return gh_rows_changed(transaction) == 1 ? APR_SUCCESS : APR_NOTFOUND;
}

/** Reads what is left of a query into an array. */
static apr_status_t read_all(gh_query_t *query, int with_der, apr_array_header_t **records,
                             apr_pool_t *p)
{
    apr_array_header_t *found = apr_array_make(p, 1, sizeof(gh_certificate_record_t *));
    apr_status_t rv;

    while ((rv = gh_step(query)) == APR_SUCCESS) {
        APR_ARRAY_PUSH(found, gh_certificate_record_t *) = read_record(query, with_der, p);
    }
    *records = found;
    return rv == APR_EOF ? APR_SUCCESS : rv;
}

apr_status_t gh_certificate_find(gh_transaction_t *transaction, const char *issuer,
                                 gh_bytes_t serial, apr_array_header_t **records, apr_pool_t *p)
{
    gh_query_t *query;

    if (issuer != NULL) {
        query = gh_query(transaction,
                         "SELECT " RECORD_COLUMNS ", d.der" RECORD_TABLES
                         " WHERE i.name = $1 AND s.serial = $2");
        gh_bind_text(query, issuer);
    }
    else {
        query = gh_query(transaction,
                         "SELECT " RECORD_COLUMNS ", d.der" LIST_TABLES
                         " AND s.serial = $1 ORDER BY i.name");
    }
    gh_bind_bytes(query, serial);
    return read_all(query, 1, records, p);
}

/** A pattern for LIKE that finds text anywhere. */
static const char *contains_pattern(const char *text, apr_pool_t *p)
{
    char *pattern = apr_palloc(p, 2 * strlen(text) + 3);
    char *to = pattern;

    *to++ = '%';
    for (; *text != '\0'; text++) {
        if (strchr("%_!", *text) != NULL) {
            *to++ = '!';
        }
        *to++ = *text;
    }
    *to++ = '%';
    *to = '\0';
    return pattern;
}

/** The number that the statement below knows a status by; 0 for every status. */
static int status_number(const char *status)
{
    const char *names[] = { "good", "held", "revoked", "expired" };
    apr_size_t i;

    for (i = 0; status != NULL && i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(status, names[i]) == 0) {
            return (int)i + 1;
        }
    }
    return status == NULL ? 0 : -1;
}

/*
 * The conditions that both parts of a list share, and its order. A revoked certificate stays
 * "revoked" when it expires; others become "expired".
 */
#define LIST_REST \
    " AND (CAST($3 AS TEXT) IS NULL OR d.profile = $3)" \
    " AND (CAST($4 AS TEXT) IS NULL OR lower(d.subject) LIKE lower($4) ESCAPE '!')" \
    " AND (CAST($5 AS BIGINT) = 0" \
    "  OR ($5 = 1 AND s.status = 0 AND s.not_after >= CAST($6 AS BIGINT))" \
    "  OR ($5 = 2 AND s.status = 2 AND s.not_after >= $6)" \
    "  OR ($5 = 3 AND s.status = 1)" \
    "  OR ($5 = 4 AND s.status <> 1 AND s.not_after < $6))" \
    " ORDER BY i.name, s.serial LIMIT $7"

static apr_status_t list_rest(gh_query_t *query, const gh_certificate_filter_t *filter,
                              int limit, apr_array_header_t *records, apr_pool_t *p)
{
    apr_array_header_t *found;
    apr_status_t rv;

    gh_bind_text(query, filter->profile);
    gh_bind_text(query, filter->subject ? contains_pattern(filter->subject, p) : NULL);
    gh_bind_int64(query, status_number(filter->status));
    gh_bind_int64(query, filter->now);
    gh_bind_int64(query, limit);
    if ((rv = read_all(query, 0, &found, p)) == APR_SUCCESS) {
        apr_array_cat(records, found);
    }
    return rv;
}

apr_status_t gh_certificate_list(gh_transaction_t *transaction,
                                 const gh_certificate_filter_t *filter,
                                 apr_array_header_t **records, apr_pool_t *p)
{
    apr_array_header_t *found = apr_array_make(p, 8, sizeof(gh_certificate_record_t *));
    const char *after = filter->after_issuer;
    int limit = filter->limit > 0 ? filter->limit : LIST_LIMIT;
    gh_query_t *query;
    apr_status_t rv = APR_SUCCESS;

    *records = found;
    if (status_number(filter->status) < 0) {
        return APR_EINVAL;
    }
    if (after != NULL && (filter->issuer == NULL || strcmp(filter->issuer, after) == 0)) {
        query = gh_query(transaction,
                         "SELECT " RECORD_COLUMNS LIST_TABLES
                         " AND i.name = $1 AND s.serial > $2" LIST_REST);
        gh_bind_text(query, after);
        gh_bind_bytes(query, filter->after_serial);
        rv = list_rest(query, filter, limit, found, p);
    }
    if (rv == APR_SUCCESS && found->nelts < limit) {
        query = gh_query(transaction,
                         "SELECT " RECORD_COLUMNS LIST_TABLES
                         " AND (CAST($1 AS TEXT) IS NULL OR i.name = $1)"
                         " AND (CAST($2 AS TEXT) IS NULL OR i.name > $2)" LIST_REST);
        gh_bind_text(query, filter->issuer);
        gh_bind_text(query, after);
        rv = list_rest(query, filter, limit - found->nelts, found, p);
    }
    return rv;
}
