/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/migrations.h"

#include "store/store_backend.h"

/*
 * certificate_status is what look-ups read and has short rows in the order of its key;
 * certificate_der is read only for one certificate at a time. "touched" tells a released
 * certificate from one whose status never changed.
 */
static const char first_schema[] =
    "CREATE TABLE issuer (\n"
    "    id {identity},\n"
    "    name {text} NOT NULL UNIQUE CHECK (length(name) > 0),\n"
    "    key_sha256 {bytes} NOT NULL CHECK (length(key_sha256) = 32),\n"
    "    certificate {bytes} NOT NULL,\n"
    "    created {integer} NOT NULL\n"
    ");\n"

    "CREATE TABLE certificate_der (\n"
    "    id {identity},\n"
    "    subject {text} NOT NULL,\n"
    "    sans {text} NOT NULL,\n"
    "    profile {text} NOT NULL,\n"
    "    enrolment {text},\n"
    "    sha256 {bytes} NOT NULL CHECK (length(sha256) = 32),\n"
    "    key_sha256 {bytes} NOT NULL CHECK (length(key_sha256) = 32),\n"
    "    not_before {integer} NOT NULL,\n"
    "    der {bytes} NOT NULL CHECK (length(der) > 0)\n"
    ");\n"

    "CREATE TABLE certificate_status (\n"
    "    issuer {integer} NOT NULL REFERENCES issuer (id),\n"
    "    serial {bytes} NOT NULL CHECK (length(serial) BETWEEN 1 AND 20),\n"
    "    status {integer} NOT NULL CHECK (status BETWEEN 0 AND 2),\n"
    "    reason {integer} NOT NULL CHECK (reason BETWEEN -1 AND 10),\n"
    "    revoked_at {integer} NOT NULL,\n"
    "    invalid_from {integer} NOT NULL,\n"
    "    not_after {integer} NOT NULL,\n"
    "    change_seq {integer} NOT NULL CHECK (change_seq > 0),\n"
    "    touched {integer} NOT NULL CHECK (touched IN (0, 1)),\n"
    "    certificate {integer} NOT NULL REFERENCES certificate_der (id),\n"
    "    CHECK ((status = 0) = (revoked_at = 0)),\n"
    "    CHECK (status = 0 OR touched = 1),\n"
    "    PRIMARY KEY (issuer, serial)\n"
    "){clustered};\n"
    "CREATE INDEX certificate_status_serial ON certificate_status (serial);\n"
    "CREATE INDEX certificate_status_revoked ON certificate_status (issuer, serial, status,\n"
    "    reason, revoked_at, invalid_from, not_after) WHERE status <> 0;\n"
    "CREATE INDEX certificate_status_touched ON certificate_status (issuer, change_seq)\n"
    "    WHERE touched = 1;\n"

    "CREATE TABLE enrolment (\n"
    "    id {text} NOT NULL PRIMARY KEY CHECK (length(id) = 32),\n"
    "    lookup_key {bytes} UNIQUE CHECK (length(lookup_key) = 32),\n"
    "    state {integer} NOT NULL CHECK (state BETWEEN 1 AND 8),\n"
    "    protocol {text} NOT NULL,\n"
    "    tenant {text},\n"
    "    issuer {text} NOT NULL,\n"
    "    profile {text} NOT NULL,\n"
    "    transaction_id {text},\n"
    "    signer_sha256 {bytes},\n"
    "    subject {text},\n"
    "    request_sha256 {bytes},\n"
    "    location {text},\n"
    "    client {text},\n"
    "    username {text},\n"
    "    rule {text},\n"
    "    message {text},\n"
    "    decided_by {text},\n"
    "    serial {bytes} CHECK (state <> 5 OR serial IS NOT NULL),\n"
    "    created {integer} NOT NULL,\n"
    "    updated {integer} NOT NULL,\n"
    "    claimed_by {text},\n"
    "    claimed_until {integer} NOT NULL DEFAULT 0,\n"
    "    request {bytes},\n"
    "    plan {bytes}\n"
    ");\n"
    "CREATE INDEX enrolment_created ON enrolment (created);\n"
    "CREATE INDEX enrolment_open ON enrolment (state, created) WHERE state <> 5;\n"
    "CREATE INDEX enrolment_approved ON enrolment (created, claimed_until) WHERE state = 2;\n"

    "CREATE TABLE challenge (\n"
    "    id {text} NOT NULL PRIMARY KEY CHECK (length(id) = 32),\n"
    "    sha256 {bytes} NOT NULL UNIQUE CHECK (length(sha256) = 32),\n"
    "    challenge_set {text} NOT NULL,\n"
    "    tenant {text} NOT NULL,\n"
    "    issuer {text} NOT NULL,\n"
    "    profile {text} NOT NULL,\n"
    "    subject {text},\n"
    "    created {integer} NOT NULL,\n"
    "    expires {integer} NOT NULL,\n"
    "    used_at {integer} NOT NULL DEFAULT 0,\n"
    "    used_by {text},\n"
    "    CHECK ((used_at = 0) = (used_by IS NULL))\n"
    ");\n"
    "CREATE INDEX challenge_expires ON challenge (expires);\n"

    "CREATE TABLE device (\n"
    "    id {text} NOT NULL PRIMARY KEY CHECK (length(id) = 32),\n"
    "    tenant {text} NOT NULL,\n"
    "    fqdn {text} NOT NULL,\n"
    "    created {integer} NOT NULL,\n"
    "    UNIQUE (tenant, fqdn)\n"
    ");\n"

    "CREATE TABLE crl (\n"
    "    issuer {text} NOT NULL,\n"
    "    number {integer} NOT NULL CHECK (number > 0),\n"
    "    this_update {integer} NOT NULL,\n"
    "    next_update {integer} NOT NULL,\n"
    "    change_seq {integer} NOT NULL CHECK (change_seq >= 0),\n"
    "    entries {integer} NOT NULL CHECK (entries >= 0),\n"
    "    der {bytes} NOT NULL CHECK (length(der) > 0),\n"
    "    PRIMARY KEY (issuer, number)\n"
    ");\n"

    "CREATE TABLE audit (\n"
    "    id {identity},\n"
    "    time {integer} NOT NULL,\n"
    "    request {text},\n"
    "    node {text},\n"
    "    event {text} NOT NULL,\n"
    "    issuer {text},\n"
    "    serial {text},\n"
    "    line {text} NOT NULL CHECK (length(line) > 0),\n"
    "    logged {integer} NOT NULL CHECK (logged IN (0, 1))\n"
    ");\n"
    "CREATE INDEX audit_time ON audit (time);\n"
    "CREATE INDEX audit_unlogged ON audit (id) WHERE logged = 0;\n"

    "CREATE TABLE lease (\n"
    "    name {text} NOT NULL PRIMARY KEY,\n"
    "    holder {text} NOT NULL,\n"
    "    expires {integer} NOT NULL\n"
    "){clustered};\n"

    "CREATE TABLE sealed_key (\n"
    "    id {text} NOT NULL PRIMARY KEY CHECK (length(id) = 32),\n"
    "    purpose {text} NOT NULL,\n"
    "    issuer {text} NOT NULL,\n"
    "    generation {integer} NOT NULL CHECK (generation > 0),\n"
    "    sealed {bytes} NOT NULL CHECK (length(sealed) > 0),\n"
    "    certificate {bytes} NOT NULL CHECK (length(certificate) > 0),\n"
    "    not_before {integer} NOT NULL,\n"
    "    not_after {integer} NOT NULL,\n"
    "    UNIQUE (purpose, issuer, generation)\n"
    ");\n"

    "CREATE TABLE setting (\n"
    "    name {text} NOT NULL PRIMARY KEY,\n"
    "    value {text} NOT NULL\n"
    "){clustered};\n"

    "{change_sequence}";

/*
 * A certificate has one live successor: "renewal" is keyed by the old one. A device's secret is
 * stored as a keyed digest of it, since people choose some of them.
 */
static const char second_schema[] =
    "CREATE TABLE renewal (\n"
    "    issuer {text} NOT NULL,\n"
    "    serial {bytes} NOT NULL CHECK (length(serial) BETWEEN 1 AND 20),\n"
    "    enrolment {text} NOT NULL,\n"
    "    created {integer} NOT NULL,\n"
    "    revoke_after {integer} NOT NULL DEFAULT 0,\n"
    "    PRIMARY KEY (issuer, serial)\n"
    "){clustered};\n"
    "CREATE INDEX renewal_revoke ON renewal (revoke_after) WHERE revoke_after > 0;\n"

    "ALTER TABLE challenge ADD COLUMN sans {text};\n"
    "ALTER TABLE challenge ADD COLUMN holder {text};\n"
    "CREATE INDEX challenge_holder ON challenge (holder, expires) WHERE holder IS NOT NULL;\n"

    "ALTER TABLE device ADD COLUMN issuer {text};\n"
    "ALTER TABLE device ADD COLUMN profile {text};\n"
    "ALTER TABLE device ADD COLUMN secret_mac {bytes};\n"
    "ALTER TABLE device ADD COLUMN secret_bits {integer} NOT NULL DEFAULT 0;\n"
    "ALTER TABLE device ADD COLUMN single_use {integer} NOT NULL DEFAULT 1;\n"
    "ALTER TABLE device ADD COLUMN address {text};\n"
    "ALTER TABLE device ADD COLUMN serial_number {text};\n"
    "ALTER TABLE device ADD COLUMN used_at {integer} NOT NULL DEFAULT 0;\n"
    "ALTER TABLE device ADD COLUMN used_by {text};\n";

/*
 * Every index is one more page to change, to log and to copy for each enrolment. What these were
 * for goes by other keys: a serial number with each issuer, enrolments by their ids, which are in
 * the order of time. Certificates are numbered by the change that added them.
 */
static const char fewer_indexes[] =
    "DROP INDEX certificate_status_serial;\n"
    "DROP INDEX enrolment_created;\n"
    "DROP INDEX audit_time;\n"
    "{certificate_numbers}";

/*
 * Who follows new certificates reads them in the order of their numbers, and needs little of them.
 * Certificates from before have none: whoever follows has taken them up as a whole.
 */
static const char new_certificates[] =
    "ALTER TABLE certificate_der ADD COLUMN issuer {integer};\n"
    "ALTER TABLE certificate_der ADD COLUMN serial {bytes};\n";

/*
 * Work for other processes. A key whose certificate another CA makes lies sealed in "key_request"
 * until that is there.
 */
static const char jobs[] =
    "CREATE TABLE job (\n"
    "    id {text} NOT NULL PRIMARY KEY CHECK (length(id) = 32),\n"
    "    kind {text} NOT NULL,\n"
    "    queue {text} NOT NULL,\n"
    "    subject {text} NOT NULL,\n"
    "    payload {bytes},\n"
    "    state {integer} NOT NULL CHECK (state BETWEEN 1 AND 2),\n"
    "    attempts {integer} NOT NULL,\n"
    "    created {integer} NOT NULL,\n"
    "    due {integer} NOT NULL,\n"
    "    deadline {integer} NOT NULL,\n"
    "    sent {integer} NOT NULL,\n"
    "    reference {text},\n"
    "    number {text},\n"
    "    message {text},\n"
    "    holder {text},\n"
    "    held_until {integer} NOT NULL,\n"
    "    CHECK (holder IS NOT NULL OR held_until = 0)\n"
    ");\n"
    "CREATE INDEX job_due ON job (queue, due) WHERE state = 1;\n"
    "CREATE INDEX job_subject ON job (queue, subject, id);\n"
    "CREATE INDEX job_holder ON job (holder) WHERE holder IS NOT NULL;\n"

    "CREATE TABLE key_request (\n"
    "    enrolment {text} NOT NULL PRIMARY KEY CHECK (length(enrolment) = 32),\n"
    "    purpose {text} NOT NULL,\n"
    "    issuer {text} NOT NULL,\n"
    "    generation {integer} NOT NULL CHECK (generation > 0),\n"
    "    sealed {bytes} NOT NULL CHECK (length(sealed) > 0),\n"
    "    UNIQUE (purpose, issuer)\n"
    ");\n"

    "ALTER TABLE issuer ADD COLUMN by_worker {integer} NOT NULL DEFAULT 0;\n";

/*
 * What device management has asked for. The rows stay as long as the certificates, by whose devices
 * and subjects they are found.
 */
static const char mdm_requests[] =
    "CREATE TABLE mdm_request (\n"
    "    id {text} NOT NULL PRIMARY KEY CHECK (length(id) = 32),\n"
    "    mode {text} NOT NULL,\n"
    "    tenant {text} NOT NULL,\n"
    "    digital_id {text} NOT NULL,\n"
    "    requester {text} NOT NULL,\n"
    "    device {text},\n"
    "    subject {text} NOT NULL,\n"
    "    sans {text},\n"
    "    transaction_id {text},\n"
    "    created {integer} NOT NULL,\n"
    "    expires {integer} NOT NULL,\n"
    "    enrolment {text},\n"
    "    key_size {integer} NOT NULL DEFAULT 0,\n"
    "    request {bytes},\n"
    "    sealed {bytes},\n"
    "    fetched {integer} NOT NULL DEFAULT 0,\n"
    "    UNIQUE (tenant, requester, transaction_id)\n"
    ");\n"
    "CREATE INDEX mdm_request_device ON mdm_request (tenant, device, created)\n"
    "    WHERE device IS NOT NULL;\n"
    "CREATE INDEX mdm_request_subject ON mdm_request (tenant, subject, created);\n"
    "CREATE INDEX mdm_request_open ON mdm_request (expires) WHERE enrolment IS NULL;\n"
    "CREATE INDEX mdm_request_key ON mdm_request (expires) WHERE sealed IS NOT NULL;\n";

/*
 * Who is asked before an enrolment is issued, and the state of those that are issued but not to be
 * handed out yet. SQLite changes no CHECK: the table is written anew.
 */
static const char questions[] =
    "CREATE TABLE enrolment_asked (\n"
    "    id {text} NOT NULL PRIMARY KEY CHECK (length(id) = 32),\n"
    "    lookup_key {bytes} UNIQUE CHECK (length(lookup_key) = 32),\n"
    "    state {integer} NOT NULL CHECK (state BETWEEN 1 AND 9),\n"
    "    protocol {text} NOT NULL,\n"
    "    tenant {text},\n"
    "    issuer {text} NOT NULL,\n"
    "    profile {text} NOT NULL,\n"
    "    transaction_id {text},\n"
    "    signer_sha256 {bytes},\n"
    "    subject {text},\n"
    "    request_sha256 {bytes},\n"
    "    location {text},\n"
    "    client {text},\n"
    "    username {text},\n"
    "    rule {text},\n"
    "    message {text},\n"
    "    decided_by {text},\n"
    "    serial {bytes} CHECK (state NOT IN (5, 9) OR serial IS NOT NULL),\n"
    "    created {integer} NOT NULL,\n"
    "    updated {integer} NOT NULL,\n"
    "    claimed_by {text},\n"
    "    claimed_until {integer} NOT NULL DEFAULT 0,\n"
    "    question {text},\n"
    "    request {bytes},\n"
    "    plan {bytes}\n"
    ");\n"
    "INSERT INTO enrolment_asked (id, lookup_key, state, protocol, tenant, issuer, profile,"
    " transaction_id, signer_sha256, subject, request_sha256, location, client, username, rule,"
    " message, decided_by, serial, created, updated, claimed_by, claimed_until, request, plan)"
    " SELECT id, lookup_key, state, protocol, tenant, issuer, profile, transaction_id,"
    " signer_sha256, subject, request_sha256, location, client, username, rule, message,"
    " decided_by, serial, created, updated, claimed_by, claimed_until, request, plan"
    " FROM enrolment;\n"
    "DROP TABLE enrolment;\n"
    "ALTER TABLE enrolment_asked RENAME TO enrolment;\n"
    "CREATE INDEX enrolment_open ON enrolment (state, created) WHERE state <> 5;\n"
    "CREATE INDEX enrolment_approved ON enrolment (created, claimed_until) WHERE state = 2;\n";

/*
 * Escrow: who may ask (pins), credentials sealed by the vault, skeletons of profiles and what is
 * delivered of them. A row of escrow_credential names the key-encryption key that its data key is
 * wrapped with, so that keys rotate while all is in use.
 */
static const char escrow[] =
    "CREATE INDEX mdm_request_enrolment ON mdm_request (enrolment)\n"
    "    WHERE enrolment IS NOT NULL;\n"

    "CREATE TABLE pin (\n"
    "    thumbprint {text} NOT NULL,\n"
    "    role {text} NOT NULL,\n"
    "    label {text},\n"
    "    created {integer} NOT NULL,\n"
    "    created_by {text} NOT NULL,\n"
    "    expires {integer} NOT NULL DEFAULT 0,\n"
    "    last_used {integer} NOT NULL DEFAULT 0,\n"
    "    PRIMARY KEY (thumbprint, role)\n"
    ");\n"

    "CREATE TABLE escrow_endpoint (\n"
    "    name {text} NOT NULL PRIMARY KEY,\n"
    "    generation {integer} NOT NULL CHECK (generation > 0),\n"
    "    chain {bytes} NOT NULL,\n"
    "    key_id {text} NOT NULL,\n"
    "    wrapped {bytes} NOT NULL,\n"
    "    sealed {bytes} NOT NULL,\n"
    "    updated {integer} NOT NULL,\n"
    "    updated_by {text} NOT NULL\n"
    ");\n"

    "CREATE TABLE escrow_upload (\n"
    "    id {text} NOT NULL PRIMARY KEY CHECK (length(id) = 32),\n"
    "    device {text} NOT NULL,\n"
    "    user_id {text} NOT NULL,\n"
    "    digest {bytes} NOT NULL CHECK (length(digest) = 32),\n"
    "    provider {text} NOT NULL,\n"
    "    created {integer} NOT NULL,\n"
    "    expires {integer} NOT NULL,\n"
    "    receipt {text} NOT NULL,\n"
    "    UNIQUE (device, user_id)\n"
    ");\n"

    "CREATE TABLE escrow_credential (\n"
    "    id {text} NOT NULL PRIMARY KEY CHECK (length(id) = 32),\n"
    "    device {text} NOT NULL,\n"
    "    user_id {text} NOT NULL,\n"
    "    purpose {integer} NOT NULL CHECK (purpose BETWEEN 1 AND 3),\n"
    "    position {integer} NOT NULL CHECK (position >= 0),\n"
    "    sha256 {bytes} NOT NULL CHECK (length(sha256) = 32),\n"
    "    serial {bytes} NOT NULL,\n"
    "    subject {text} NOT NULL,\n"
    "    email {text},\n"
    "    not_before {integer} NOT NULL,\n"
    "    not_after {integer} NOT NULL,\n"
    "    certificate {bytes} NOT NULL,\n"
    "    chain {bytes},\n"
    "    key_id {text} NOT NULL,\n"
    "    wrapped {bytes} NOT NULL,\n"
    "    sealed {bytes} NOT NULL,\n"
    "    origin {text} NOT NULL,\n"
    "    enrolment {text},\n"
    "    created {integer} NOT NULL,\n"
    "    expires {integer} NOT NULL,\n"
    "    consume {integer} NOT NULL DEFAULT 0,\n"
    "    UNIQUE (device, user_id, purpose, position)\n"
    ");\n"
    "CREATE INDEX escrow_credential_user ON escrow_credential (user_id, purpose);\n"
    "CREATE INDEX escrow_credential_expires ON escrow_credential (expires);\n"
    "CREATE INDEX escrow_credential_key ON escrow_credential (key_id, id);\n"

    "CREATE TABLE escrow_recipient (\n"
    "    device {text} NOT NULL PRIMARY KEY,\n"
    "    spki_sha256 {bytes} NOT NULL CHECK (length(spki_sha256) = 32),\n"
    "    sha256 {bytes} NOT NULL CHECK (length(sha256) = 32),\n"
    "    bound {integer} NOT NULL,\n"
    "    bound_by {text} NOT NULL\n"
    ");\n"

    "CREATE TABLE escrow_profile (\n"
    "    id {text} NOT NULL PRIMARY KEY CHECK (length(id) = 32),\n"
    "    profile {text} NOT NULL,\n"
    "    device {text} NOT NULL,\n"
    "    user_id {text} NOT NULL,\n"
    "    format {text} NOT NULL,\n"
    "    needs {text} NOT NULL,\n"
    "    skeleton {bytes} NOT NULL,\n"
    "    recipient {bytes} NOT NULL,\n"
    "    sign {integer} NOT NULL DEFAULT 0,\n"
    "    labels {text},\n"
    "    uem {text},\n"
    "    provider {text} NOT NULL,\n"
    "    state {integer} NOT NULL CHECK (state BETWEEN 1 AND 7),\n"
    "    reason {text},\n"
    "    generation {integer} NOT NULL DEFAULT 1,\n"
    "    completed {bytes},\n"
    "    delivery {text},\n"
    "    history {text} NOT NULL,\n"
    "    created {integer} NOT NULL,\n"
    "    updated {integer} NOT NULL,\n"
    "    expires {integer} NOT NULL,\n"
    "    UNIQUE (device, user_id, profile)\n"
    ");\n"
    "CREATE INDEX escrow_profile_expires ON escrow_profile (expires) WHERE state = 1;\n"

    "CREATE TABLE delivery (\n"
    "    id {text} NOT NULL PRIMARY KEY CHECK (length(id) = 32),\n"
    "    profile {text} NOT NULL,\n"
    "    kind {text} NOT NULL,\n"
    "    uem {text} NOT NULL,\n"
    "    state {integer} NOT NULL CHECK (state BETWEEN 1 AND 4),\n"
    "    attempts {integer} NOT NULL DEFAULT 0,\n"
    "    status {integer} NOT NULL DEFAULT 0,\n"
    "    number {text},\n"
    "    message {text},\n"
    "    created {integer} NOT NULL,\n"
    "    updated {integer} NOT NULL\n"
    ");\n"
    "CREATE INDEX delivery_profile ON delivery (profile, id);\n"

    "CREATE TABLE escrow_event (\n"
    "    id {text} NOT NULL PRIMARY KEY CHECK (length(id) = 32),\n"
    "    event_key {text} NOT NULL UNIQUE,\n"
    "    device {text} NOT NULL,\n"
    "    user_id {text} NOT NULL,\n"
    "    email {text} NOT NULL,\n"
    "    rule {text} NOT NULL,\n"
    "    provider {text} NOT NULL,\n"
    "    state {integer} NOT NULL CHECK (state BETWEEN 1 AND 4),\n"
    "    reason {text},\n"
    "    created {integer} NOT NULL,\n"
    "    updated {integer} NOT NULL\n"
    ");\n"
    "CREATE INDEX escrow_event_pair ON escrow_event (device, user_id, created);\n"
    "CREATE INDEX escrow_event_open ON escrow_event (user_id) WHERE state < 3;\n"
    "CREATE UNIQUE INDEX escrow_event_user ON escrow_event (user_id) WHERE state = 2;\n"

    "CREATE TABLE escrow_event_key (\n"
    "    event {text} NOT NULL REFERENCES escrow_event (id),\n"
    "    purpose {integer} NOT NULL CHECK (purpose BETWEEN 1 AND 2),\n"
    "    request {bytes} NOT NULL,\n"
    "    key_id {text} NOT NULL,\n"
    "    wrapped {bytes} NOT NULL,\n"
    "    sealed {bytes} NOT NULL,\n"
    "    enrolment {text},\n"
    "    PRIMARY KEY (event, purpose)\n"
    ");\n";

static const char authenticated[] =
    "ALTER TABLE escrow_profile ADD COLUMN key_id {text}; ALTER TABLE escrow_profile ADD COLUMN"
    " wrapped {bytes}; ALTER TABLE escrow_profile ADD COLUMN sealed {bytes};\n"
    "CREATE INDEX escrow_profile_key ON escrow_profile (key_id, id) WHERE key_id IS NOT NULL;\n"
    "ALTER TABLE mdm_request ADD COLUMN key_sha256 {bytes}; UPDATE mdm_request SET key_sha256 ="
    " (SELECT d.key_sha256 FROM enrolment e JOIN issuer i ON i.name = e.issuer JOIN"
    " certificate_status s ON s.issuer = i.id AND s.serial = e.serial JOIN certificate_der d ON"
    " d.id = s.certificate WHERE e.id = mdm_request.enrolment) WHERE mode = 'p12';\n"
    "CREATE INDEX mdm_request_made ON mdm_request (key_sha256) WHERE key_sha256 IS NOT NULL;"
    "CREATE INDEX renewal_enrolment ON renewal (enrolment);\n";

static const gh_migration_t steps[] = {
    { "first schema", first_schema },
    { "renewals, devices, bound challenges", second_schema },
    { "fewer indexes", fewer_indexes },
    { "new certificates in their order", new_certificates },
    { "jobs", jobs },
    { "requests of device management", mdm_requests },
    { "questions", questions },
    { "escrow", escrow },
    { "authenticated profiles", authenticated }
};

const gh_migrations_t gh_migrations = { steps, sizeof(steps) / sizeof(steps[0]) };

static const char migration_table[] =
    "CREATE TABLE IF NOT EXISTS migration (\n"
    "    number {integer} NOT NULL PRIMARY KEY CHECK (number > 0),\n"
    "    name {text} NOT NULL,\n"
    "    applied {integer} NOT NULL\n"
    ");\n";

/** The one number that a statement gives. */
static apr_status_t number_of(gh_transaction_t *transaction, const char *sql, apr_int64_t *number)
{
    gh_query_t *query = gh_query(transaction, sql);
    apr_status_t rv = gh_step(query);

    *number = 0;
    if (rv == APR_SUCCESS) {
        *number = gh_column_int64(query, 0);
        gh_query_end(query);
    }
    return rv == APR_EOF ? APR_SUCCESS : rv;
}

static apr_status_t newer_schema(apr_int64_t number, int known, gh_result_t *result)
{
    return gh_result_fail(result, GH_ECORRUPT, GH_FAILURE_INTERNAL, NULL,
                          "Run a version of Gatehouse that is at least as new as the one that "
                          "changed the store last, or restore a backup made before.",
                          GHNO(0044) "the store has schema %" APR_INT64_T_FMT
                          ", this version knows up to %d", number, known);
}

static apr_status_t run_step(gh_transaction_t *transaction, const gh_migration_t *step, int number,
                             apr_time_t now, apr_pool_t *p, gh_result_t *result)
{
    const char *text = gh_dialect_expand(transaction->backend->dialect, step->text, p);
    gh_query_t *query;
    apr_status_t rv;

    if (text == NULL) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, NULL,
                              "This is a fault of Gatehouse: report it.",
                              GHNO(0045) "migration %d has an unknown word in braces", number);
    }
    if ((rv = transaction->backend->script(transaction, text)) != APR_SUCCESS) {
        return rv;
    }
    query = gh_query(transaction,
                     "INSERT INTO migration (number, name, applied) VALUES ($1, $2, $3)");
    gh_bind_int64(query, number);
    gh_bind_text(query, step->name);
    gh_bind_int64(query, now);
    return gh_execute(query);
}

apr_status_t gh_migrations_run(gh_transaction_t *transaction, const gh_migrations_t *migrations,
                               apr_time_t now, apr_pool_t *p, gh_result_t *result)
{
    const gh_dialect_t *dialect = transaction->backend->dialect;
    apr_int64_t number;
    apr_status_t rv;
    int i;

    if (dialect->migration_lock != NULL
        && (rv = number_of(transaction, dialect->migration_lock, &number)) != APR_SUCCESS) {
        return rv;
    }
    if ((rv = number_of(transaction, dialect->other_tables, &number)) != APR_SUCCESS) {
        return rv;
    }
    if (number > 0) {
        return gh_result_fail(result, GH_ECORRUPT, GH_FAILURE_INTERNAL, NULL,
                              "Give Gatehouse a database of its own.",
                              GHNO(0046) "the database has tables that are not Gatehouse's");
    }
    rv = transaction->backend->script(transaction,
                                      gh_dialect_expand(dialect, migration_table, p));
    if (rv != APR_SUCCESS
        || (rv = number_of(transaction, "SELECT max(number) FROM migration",
                           &number)) != APR_SUCCESS) {
        return rv;
    }
    if (number > migrations->count) {
        return newer_schema(number, migrations->count, result);
    }
    for (i = (int)number; i < migrations->count; i++) {
        rv = run_step(transaction, &migrations->steps[i], i + 1, now, p, result);
        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    return APR_SUCCESS;
}

apr_status_t gh_migrations_check(gh_transaction_t *transaction, const gh_migrations_t *migrations,
                                 gh_result_t *result)
{
    apr_int64_t number;
    apr_status_t rv = number_of(transaction, "SELECT max(number) FROM migration", &number);

    if (rv == APR_SUCCESS && number > migrations->count) {
        rv = newer_schema(number, migrations->count, result);
    }
    else if (rv == APR_SUCCESS && number < migrations->count) {
        rv = gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, NULL,
                            "Start httpd: it brings the store up to date.",
                            GHNO(0047) "the store has schema %" APR_INT64_T_FMT
                            ", this version needs %d", number, migrations->count);
    }
    return rv;
}
