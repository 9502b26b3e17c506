/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_escrow/escrow_token.h"

#include <string.h>

#include <apr_lib.h>

#include "mod_escrow/escrow_template.h"

static const char *const members[ESCROW_MEMBERS] = {
    "pkcs12", "password", "certificate", "thumbprint", "subject", "email", "not_after"
};

/** A text with a place in it. */
typedef struct {
    const char *text;
    apr_size_t length;
    apr_size_t at;
} cursor_t;

static int take_word(cursor_t *cursor, const char *word)
{
    apr_size_t length = strlen(word);

    if (cursor->length - cursor->at < length
        || memcmp(cursor->text + cursor->at, word, length) != 0)
        return 0;
    cursor->at += length;
    return 1;
}

static int read_use(escrow_token_t *token, cursor_t *cursor)
{
    int use;

    for (use = 1; use <= ESCROW_USES; use++) {
        token->use = (escrow_use_t)use;
        if (take_word(cursor, escrow_use_name(token->use)))
            return 1;
    }
    return 0;
}

/* A number without leading zeros, or * for each. */
static int read_position(escrow_token_t *token, cursor_t *cursor)
{
    apr_size_t begin = cursor->at;
    int position = 0;

    if (take_word(cursor, "*")) {
        token->position = ESCROW_EACH;
        return 1;
    }
    while (cursor->at < cursor->length && apr_isdigit(cursor->text[cursor->at])
           && position < ESCROW_POSITIONS)
        position = 10 * position + cursor->text[cursor->at++] - '0';
    token->position = position;
    return cursor->at > begin && position < ESCROW_POSITIONS
        && (cursor->text[begin] != '0' || cursor->at == begin + 1);
}

static int read_member(escrow_token_t *token, cursor_t *cursor)
{
    int member;

    for (member = 0; member < ESCROW_MEMBERS; member++) {
        if (take_word(cursor, members[member])) {
            token->member = (escrow_member_t)member;
            return 1;
        }
    }
    return 0;
}

escrow_found_t escrow_token_next(escrow_token_t *token, const char *text, apr_size_t length,
                                 apr_size_t from)
{
    cursor_t cursor = { text, length, 0 };
    apr_size_t at;

    for (at = from; at + 2 < length; at++) {
        if (text[at] != '{' || text[at + 1] != '{'
            || !(apr_isalpha(text[at + 2]) || text[at + 2] == ' '))
            continue;
        token->begin = at;
        cursor.at = at + 2;
        if (!take_word(&cursor, "escrow.") || !read_use(token, &cursor) || !take_word(&cursor, "[")
            || !read_position(token, &cursor) || !take_word(&cursor, "].")
            || !read_member(token, &cursor) || !take_word(&cursor, "}}"))
            return ESCROW_TOKEN_UNKNOWN;
        token->end = cursor.at;
        return ESCROW_TOKEN_FOUND;
    }
    return ESCROW_TOKEN_NONE;
}

int escrow_token_secret(const escrow_token_t *token)
{
    return token->member == ESCROW_MEMBER_PKCS12 || token->member == ESCROW_MEMBER_PASSWORD;
}
