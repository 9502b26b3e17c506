/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_escrow/escrow_pins.h"

#include <string.h>

#include <apr_atomic.h>
#include <apr_file_io.h>
#include <apr_hash.h>
#include <apr_lib.h>
#include <apr_strings.h>

#include "log.h"

#define RULE "pins"

struct escrow_pins {
    apr_pool_t *p;
    apr_hash_t *by_digest;          /* escrow_pin_t; SHA-1 and SHA-256 differ in their length */
};

static const char *const role_names[ESCROW_ROLES] = { "provider", "uem", "admin" };

unsigned escrow_role(const char *name)
{
    unsigned i;

    for (i = 0; i < ESCROW_ROLES; ++i) {
        if (!strcmp(name, role_names[i])) {
            return 1u << i;
        }
    }
    return 0;
}

const char *escrow_role_name(unsigned role)
{
    unsigned i;

    for (i = 0; i < ESCROW_ROLES; ++i) {
        if (role & 1u << i) {
            return role_names[i];
        }
    }
    return "none";
}

escrow_pins_t *escrow_pins_make(apr_pool_t *p)
{
    escrow_pins_t *pins = apr_palloc(p, sizeof(*pins));

    pins->p = p;
    pins->by_digest = apr_hash_make(p);
    return pins;
}

void escrow_pins_add(escrow_pins_t *pins, const gh_thumbprint_t *thumbprint, unsigned roles,
                     apr_time_t expires)
{
    escrow_pin_t *pin = apr_hash_get(pins->by_digest, thumbprint->digest, thumbprint->length);
    int i;

    if (!pin) {
        pin = apr_pcalloc(pins->p, sizeof(*pin));
        pin->thumbprint = *thumbprint;
        apr_hash_set(pins->by_digest, pin->thumbprint.digest, pin->thumbprint.length, pin);
    }
    if (!expires) {
        expires = ESCROW_PIN_FOREVER;
    }
    for (i = 0; i < ESCROW_ROLES; ++i) {
        if (roles & 1u << i && pin->expires[i] < expires) {
            pin->expires[i] = expires;
        }
    }
}

unsigned escrow_pins_count(const escrow_pins_t *pins)
{
    return apr_hash_count(pins->by_digest);
}

static escrow_pin_t *find(const escrow_pins_t *pins, const gh_thumbprint_t *thumbprint,
                          unsigned roles, apr_time_t now)
{
    escrow_pin_t *pin = NULL;
    int i;

    if (thumbprint->length) {
        pin = apr_hash_get(pins->by_digest, thumbprint->digest, thumbprint->length);
    }
    for (i = 0; pin && i < ESCROW_ROLES; ++i) {
        if (roles & 1u << i && pin->expires[i] > now) {
            return pin;
        }
    }
    return NULL;
}

escrow_pin_t *escrow_pins_find(const escrow_pins_t *pins, const escrow_client_t *client,
                               unsigned roles, apr_time_t now)
{
    escrow_pin_t *pin = find(pins, &client->sha256, roles, now);

    return pin ? pin : find(pins, &client->sha1, roles, now);
}

void escrow_pins_take_used(const escrow_pins_t *pins,
                           void (*take)(void *baton, const escrow_pin_t *pin), void *baton,
                           apr_pool_t *ptemp)
{
    apr_hash_index_t *index;
    void *value;

    for (index = apr_hash_first(ptemp, pins->by_digest); index; index = apr_hash_next(index)) {
        escrow_pin_t *pin;

        apr_hash_this(index, NULL, NULL, &value);
        pin = value;
        if (apr_atomic_read32(&pin->used) && apr_atomic_xchg32(&pin->used, 0)) {
            take(baton, pin);
        }
    }
}

/* Files */

typedef struct {
    const char *path;
    int number;
    int with_roles;
    int bare;
    escrow_pins_t *pins;
    escrow_skipped_t *skipped;      /* NULL: the first line that is bad ends it */
    apr_pool_t *p;
    gh_result_t *result;
} reader_t;

static apr_status_t fail_lines(gh_result_t *result, int with_roles, const char *what)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, RULE,
                          with_roles
                              ? "Write in each line: THUMBPRINT ROLE[,ROLE] [expires=TIME] [LABEL]."
                              : "Write in each line: THUMBPRINT [expires=TIME] [LABEL].",
                          GHNO(1159) "%s", what);
}

apr_status_t escrow_pins_skipped(const escrow_skipped_t *skipped, int with_roles, apr_pool_t *p,
                                 gh_result_t *result)
{
    const char *what = APR_ARRAY_IDX(skipped->said, 0, const char *);

    if (skipped->count > 1) {
        what = apr_psprintf(p, "%s; and %d more lines like that", what, skipped->count - 1);
    }
    return fail_lines(result, with_roles, what);
}

static apr_status_t bad_line(reader_t *reader, const char *what)
{
    const char *said;

    if (reader->skipped && ++reader->skipped->count > ESCROW_SKIPPED_SAID) {
        return APR_EINVAL;
    }
    said = apr_psprintf(reader->p, "line %d of %s: %s", reader->number, reader->path, what);
    if (!reader->skipped) {
        return fail_lines(reader->result, reader->with_roles, said);
    }
    APR_ARRAY_PUSH(reader->skipped->said, const char *) = said;
    return APR_EINVAL;
}

/** The next word, which ends at a blank; NUL is no blank here. */
static gh_bytes_t next_word(gh_bytes_t *rest)
{
    gh_bytes_t word;

    while (rest->length && (*rest->data == ' ' || *rest->data == '\t')) {
        ++rest->data;
        --rest->length;
    }
    word.data = rest->data;
    word.length = 0;
    while (rest->length && *rest->data != ' ' && *rest->data != '\t') {
        ++rest->data;
        --rest->length;
        ++word.length;
    }
    return word;
}

/** The thumbprint at the beginning of a line, which may have blanks in it: the longest there is. */
static int read_thumbprint(gh_thumbprint_t *thumbprint, gh_bytes_t *line, int *bare)
{
    gh_bytes_t rest = *line;
    const unsigned char *begin = line->data;
    int found = 0, i;

    for (i = 0; i < 2 * GH_SHA256_LENGTH && rest.length; ++i) {
        gh_thumbprint_t one;
        gh_bytes_t word = next_word(&rest);
        int one_bare;

        if (gh_thumbprint_parse(&one, (const char *)begin,
                                (apr_size_t)(word.data + word.length - begin), &one_bare, NULL)
            == APR_SUCCESS) {
            *thumbprint = one;
            *bare = one_bare;
            *line = rest;
            found = 1;
        }
    }
    return found;
}

static apr_status_t read_roles(reader_t *reader, gh_bytes_t word, unsigned *roles)
{
    char *text = apr_pstrmemdup(reader->p, (const char *)word.data, word.length);
    char *last, *name;

    *roles = 0;
    for (name = apr_strtok(text, ",", &last); name; name = apr_strtok(NULL, ",", &last)) {
        unsigned role = escrow_role(name);

        if (!role) {
            return bad_line(reader, "a role is provider, uem or admin");
        }
        *roles |= role;
    }
    return *roles ? APR_SUCCESS : bad_line(reader, "it names no role: provider, uem or admin");
}

static apr_status_t read_line(reader_t *reader, gh_bytes_t line)
{
    static const char expiry[] = "expires=";
    unsigned roles = ESCROW_ROLE_ANY;
    apr_time_t expires = 0;
    gh_thumbprint_t thumbprint;
    gh_bytes_t begin = line, word = next_word(&begin);
    int bare;
    apr_status_t rv;

    if (!word.length || *word.data == '#') {
        return APR_SUCCESS;
    }
    if (!read_thumbprint(&thumbprint, &line, &bare)) {
        return bad_line(reader, "it does not begin with the thumbprint of a certificate");
    }
    reader->bare += bare && thumbprint.length == GH_SHA1_LENGTH;
    if (reader->with_roles && (rv = read_roles(reader, next_word(&line), &roles)) != APR_SUCCESS) {
        return rv;
    }
    word = next_word(&line);
    if (word.length > sizeof(expiry) - 1 && !memcmp(word.data, expiry, sizeof(expiry) - 1)
        && (gh_time_parse(&expires, apr_pstrmemdup(reader->p, (const char *)word.data
                                                   + sizeof(expiry) - 1,
                                                   word.length - sizeof(expiry) + 1))
                != APR_SUCCESS || !expires)) {
        return bad_line(reader, "expires= takes a time such as 2027-01-31T00:00:00Z");
    }
    if (escrow_pins_count(reader->pins) >= ESCROW_PINS_MAX) {
        return bad_line(reader, "there are too many pins");
    }
    escrow_pins_add(reader->pins, &thumbprint, roles, expires);
    return APR_SUCCESS;
}

apr_status_t escrow_pins_parse(escrow_pins_t **pins, gh_bytes_t text, const char *path,
                               int with_roles, int *bare, escrow_skipped_t *skipped,
                               apr_pool_t *p, gh_result_t *result)
{
    reader_t reader = { path, 0, with_roles, 0, escrow_pins_make(p), skipped, p, result };
    apr_status_t rv = APR_SUCCESS;

    if (skipped) {
        skipped->count = 0;
        skipped->said = apr_array_make(p, 2, sizeof(const char *));
    }
    while (rv == APR_SUCCESS && text.length) {
        const unsigned char *end = memchr(text.data, '\n', text.length);
        gh_bytes_t line = { text.data, end ? (apr_size_t)(end - text.data) : text.length };
        apr_size_t taken = end ? line.length + 1 : line.length;

        text.data += taken;
        text.length -= taken;
        ++reader.number;
        if (line.length && line.data[line.length - 1] == '\r') {
            --line.length;
        }
        rv = read_line(&reader, line);
        rv = skipped ? APR_SUCCESS : rv;
    }
    *pins = reader.pins;
    if (bare) {
        *bare = reader.bare;
    }
    return rv;
}

apr_status_t escrow_pins_read(escrow_pins_t **pins, const char *path, int with_roles, int *bare,
                              escrow_skipped_t *skipped, apr_pool_t *p, gh_result_t *result)
{
    gh_bytes_t text = { NULL, 0 };
    apr_file_t *file = NULL;
    apr_finfo_t info;
    unsigned char *data;
    apr_status_t rv = apr_file_open(&file, path, APR_READ | APR_BINARY, APR_OS_DEFAULT, p);

    if (rv == APR_SUCCESS) {
        rv = apr_file_info_get(&info, APR_FINFO_SIZE | APR_FINFO_TYPE, file);
    }
    if (rv == APR_SUCCESS && (info.filetype != APR_REG || info.size > ESCROW_PIN_FILE_MAX)) {
        rv = APR_EINVAL;
    }
    if (rv == APR_SUCCESS) {
        data = apr_palloc(p, (apr_size_t)info.size + 1);
        text.data = data;
        rv = apr_file_read_full(file, data, (apr_size_t)info.size, &text.length);
        /* it may have been cut meanwhile */
        rv = APR_STATUS_IS_EOF(rv) ? APR_SUCCESS : rv;
    }
    if (file) {
        apr_file_close(file);
    }
    if (rv != APR_SUCCESS) {
        char why[120];

        return gh_result_fail(result, rv, GH_FAILURE_UNAVAILABLE, RULE,
                              "See whether it is there, and readable by the user of httpd's "
                              "children too.",
                              GHNO(1158) "the pins in %s cannot be read: %s", path,
                              apr_strerror(rv, why, sizeof(why)));
    }
    return escrow_pins_parse(pins, text, path, with_roles, bare, skipped, p, result);
}
