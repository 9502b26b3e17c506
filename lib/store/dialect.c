/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/dialect.h"

#include <string.h>

#include <apr_strings.h>
#include <apr_tables.h>

const gh_dialect_t gh_dialect_sqlite = {
    .integer = "INTEGER",
    .identity = "INTEGER PRIMARY KEY",
    .text = "TEXT",
    .bytes = "BLOB",
    .clustered = " WITHOUT ROWID",
    .change_sequence =
        "CREATE TABLE change_seq (id INTEGER PRIMARY KEY CHECK (id = 1), value INTEGER NOT NULL);\n"
        "INSERT INTO change_seq (id, value) VALUES (1, 0);\n",
    .certificate_numbers =
        "UPDATE change_seq SET value ="
        " max(value, COALESCE((SELECT max(id) FROM certificate_der), 0));\n",
    .migration_lock = NULL,
    .other_tables =
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND NOT EXISTS"
        " (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'migration')",
    .count_change = "UPDATE change_seq SET value = value + 1 WHERE id = 1",
    .next_change = "SELECT value FROM change_seq WHERE id = 1",
    .status_lock = NULL,
    .challenge_lock = NULL,
    .user_lock = NULL,
    .row_locks = 0,
    .now = NULL
};

/* The locks' numbers mean nothing; they only have to be Gatehouse's own within the database. */
const gh_dialect_t gh_dialect_pgsql = {
    .integer = "BIGINT",
    .identity = "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    .text = "TEXT COLLATE \"C\"",
    .bytes = "BYTEA",
    .clustered = "",
    .change_sequence = "CREATE SEQUENCE change_seq;\n",
    .certificate_numbers =
        "ALTER TABLE certificate_der ALTER COLUMN id DROP IDENTITY;\n"
        "SELECT setval('change_seq', GREATEST(nextval('change_seq'),"
        " (SELECT max(id) FROM certificate_der)));\n",
    .migration_lock = "SELECT 1 FROM pg_advisory_xact_lock(5134717091)",
    .other_tables =
        "SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname = current_schema() AND"
        " tablename IN ('issuer', 'enrolment', 'setting') AND to_regclass('migration') IS NULL",
    .count_change = NULL,
    .next_change = "SELECT nextval('change_seq')",
    .status_lock = "SELECT 1 FROM pg_advisory_xact_lock(5134717092)",
    .challenge_lock = "SELECT 1 FROM pg_advisory_xact_lock(5134717093)",
    .user_lock = "SELECT 1 FROM pg_advisory_xact_lock(513471, hashtext($1))",
    .row_locks = 1,
    .now = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"
};

static const char *word_value(const gh_dialect_t *dialect, const char *word, apr_size_t length)
{
    const struct { const char *word; const char *value; } words[] = {
        { "integer", dialect->integer },
        { "identity", dialect->identity },
        { "text", dialect->text },
        { "bytes", dialect->bytes },
        { "clustered", dialect->clustered },
        { "change_sequence", dialect->change_sequence },
        { "certificate_numbers", dialect->certificate_numbers }
    };
    apr_size_t i;

    for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strlen(words[i].word) == length && memcmp(words[i].word, word, length) == 0) {
            return words[i].value;
        }
    }
    return NULL;
}

const char *gh_dialect_expand(const gh_dialect_t *dialect, const char *text, apr_pool_t *p)
{
    apr_array_header_t *parts = apr_array_make(p, 64, sizeof(const char *));
    const char *open, *close, *value;

    while ((open = strchr(text, '{')) != NULL) {
        close = strchr(open, '}');
        value = close ? word_value(dialect, open + 1, close - open - 1) : NULL;
        if (value == NULL) {
            return NULL;
        }
        APR_ARRAY_PUSH(parts, const char *) = apr_pstrmemdup(p, text, open - text);
        APR_ARRAY_PUSH(parts, const char *) = value;
        text = close + 1;
    }
    APR_ARRAY_PUSH(parts, const char *) = text;
    return apr_array_pstrcat(p, parts, '\0');
}
