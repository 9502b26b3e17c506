/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_escrow/escrow_fill.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/evp.h>

#include "log.h"
#include "mod_escrow/escrow_opener.h"
#include "status.h"

/** A mark is what all begin with, the number of its secret, and an end. */
#define MARK_DIGITS 4
#define MARK_END    "."

/** What was made of a credential: all that names it gets the same. */
typedef struct {
    const escrow_credential_t *credential;
    gh_bytes_t pkcs12;                  /* base64 */
    const char *password;
} made_t;

apr_status_t escrow_fill_create(escrow_fill_t **fill, const escrow_set_t *set,
                                const escrow_output_t *output, apr_pool_t *p,
                                gh_result_t *result)
{
    escrow_fill_t *made = apr_pcalloc(p, sizeof(*made));
    const char *id = gh_random_id(p);

    *fill = NULL;
    if (id == NULL)
        return APR_EGENERAL;
    made->set = set;
    made->output = output;
    made->p = p;
    made->result = result;
    made->each = -1;
    made->secrets = apr_array_make(p, 8, sizeof(gh_bytes_t));
    made->made = apr_array_make(p, 4, sizeof(made_t));
    /* 64 random bits: no skeleton has them by chance, and none can have them on purpose */
    apr_snprintf(made->mark, sizeof(made->mark), "secret%.16s", id);
    *fill = made;
    return APR_SUCCESS;
}

apr_status_t escrow_token_refuse(gh_result_t *result, const char *text, apr_size_t length,
                                 int line, int column)
{
    char where[64] = "in a string written with escapes";

    if (line > 0 && column > 0)
        apr_snprintf(where, sizeof(where), "in line %d, column %d", line, column);
    else if (line > 0)
        apr_snprintf(where, sizeof(where), "in line %d", line);
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "escrow.token",
                          "Write {{escrow.USE[N].MEMBER}} with signing, encryption or archived; 0 "
                          "to 63; pkcs12, password, certificate, thumbprint, subject, email or "
                          "not_after.",
                          GHNO(1137) "the skeleton has an unknown token %s: %.*s", where,
                          (int)(length < 64 ? length : 64), text);
}

static apr_status_t refuse_place(escrow_fill_t *fill, const char *token, const char *why)
{
    return gh_result_fail(fill->result, APR_EINVAL, GH_FAILURE_REQUEST, "escrow.token",
                          "Put tokens into values; secrets into what is encrypted; * into payloads "
                          "of a mobileconfig, all of one use.",
                          GHNO(1138) "the skeleton has a token where it may not stand (%s): %.64s",
                          why, token);
}

static apr_status_t no_memory(escrow_fill_t *fill)
{
    return gh_result_openssl(fill->result, APR_EGENERAL, GH_FAILURE_INTERNAL, "escrow.fill",
                             "See whether memory is short.",
                             GHNO(1139) "a profile cannot be completed");
}

static gh_bytes_t base64_secret(escrow_fill_t *fill, gh_bytes_t data)
{
    apr_size_t size = (data.length + 2) / 3 * 4;
    unsigned char *out = gh_locked_alloc(fill->output->opener->locked, size + 1, fill->p);

    if (out == NULL)
        return (gh_bytes_t) { NULL, 0 };
    EVP_EncodeBlock(out, data.data, (int)data.length);
    return (gh_bytes_t) { out, size };
}

static apr_status_t make_pkcs12(escrow_fill_t *fill, const escrow_credential_t *credential,
                                const made_t **found)
{
    made_t *made;
    gh_bytes_t der;
    apr_status_t rv;
    int i;

    for (i = 0; i < fill->made->nelts; i++) {
        *found = made = &APR_ARRAY_IDX(fill->made, i, made_t);
        if (made->credential == credential)
            return APR_SUCCESS;
    }
    *found = made = apr_array_push(fill->made);
    made->credential = credential;
    made->password = escrow_password(fill->output->opener->locked, fill->p);
    if (made->password == NULL)
        return no_memory(fill);
    rv = escrow_pkcs12_make(&der, fill->output->opener, credential, made->password,
                            fill->output->pkcs12, fill->p, fill->result);
    if (rv != APR_SUCCESS)
        return rv;
    made->pkcs12 = base64_secret(fill, der);
    return made->pkcs12.data != NULL ? APR_SUCCESS : no_memory(fill);
}

/* Keeps a secret and gives the mark for it. */
static const char *mark_of(escrow_fill_t *fill, gh_bytes_t secret)
{
    APR_ARRAY_PUSH(fill->secrets, gh_bytes_t) = secret;
    return apr_psprintf(fill->p, "%s%0*d" MARK_END, fill->mark, MARK_DIGITS,
                        fill->secrets->nelts - 1);
}

static const char *base64_text(gh_bytes_t data, apr_pool_t *p)
{
    char *out = apr_palloc(p, (data.length + 2) / 3 * 4 + 1);

    EVP_EncodeBlock((unsigned char *)out, data.data, (int)data.length);
    return out;
}

static apr_status_t value_of(escrow_fill_t *fill, const escrow_token_t *token, const char **value)
{
    int position = token->position == ESCROW_EACH ? fill->each : token->position;
    const escrow_credential_t *credential = escrow_set_get(fill->set, token->use, position);
    const made_t *made = NULL;
    apr_status_t rv = APR_SUCCESS;

    if (credential == NULL)
        return gh_result_fail(fill->result, GH_EREFUSED, GH_FAILURE_NOT_FOUND, "escrow.missing",
                              "Wait until it is uploaded.",
                              GHNO(1140) "a profile needs %s[%d], which is not there",
                              escrow_use_name(token->use), position);
    if (escrow_token_secret(token)
        && (rv = make_pkcs12(fill, credential, &made)) != APR_SUCCESS)
        return rv;
    switch (token->member) {
    case ESCROW_MEMBER_PKCS12:
        *value = mark_of(fill, made->pkcs12);
        break;
    case ESCROW_MEMBER_PASSWORD:
        *value = mark_of(fill, (gh_bytes_t) { (const unsigned char *)made->password,
                                              strlen(made->password) });
        break;
    case ESCROW_MEMBER_CERTIFICATE:
        *value = base64_text(credential->certificate, fill->p);
        break;
    case ESCROW_MEMBER_THUMBPRINT:
        *value = gh_hex(fill->p, credential->sha256, sizeof(credential->sha256));
        break;
    case ESCROW_MEMBER_SUBJECT:
        *value = credential->subject;
        break;
    case ESCROW_MEMBER_EMAIL:
        *value = credential->email != NULL ? credential->email : "";
        break;
    default:
        *value = gh_time_text(fill->p, credential->not_after);
        break;
    }
    return rv;
}

static apr_status_t note(escrow_fill_t *fill, const escrow_token_t *token, const char *text,
                         int repeats)
{
    if (++fill->tokens > ESCROW_TOKENS_MAX)
        return refuse_place(fill, text, "more than 256 tokens");
    if (fill->clear && escrow_token_secret(token))
        return refuse_place(fill, text, "a secret outside of what is encrypted");
    if (token->position != ESCROW_EACH)
        fill->needs[token->use][token->position] = 1;
    else if (repeats)
        fill->repeated[token->use] = 1;
    else
        return refuse_place(fill, text, "nothing here is repeated");
    return APR_SUCCESS;
}

apr_status_t escrow_fill_text(escrow_fill_t *fill, const char *text, apr_size_t length,
                              int repeats, const char **out)
{
    apr_array_header_t *pieces = apr_array_make(fill->p, 4, sizeof(const char *));
    escrow_found_t found;
    escrow_token_t token;
    const char *value = NULL;
    apr_size_t at = 0;
    apr_status_t rv;

    *out = NULL;
    while ((found = escrow_token_next(&token, text, length, at)) == ESCROW_TOKEN_FOUND) {
        rv = note(fill, &token, apr_pstrmemdup(fill->p, text + token.begin,
                                               token.end - token.begin), repeats);
        if (rv != APR_SUCCESS)
            return rv;
        APR_ARRAY_PUSH(pieces, const char *) = apr_pstrmemdup(fill->p, text + at,
                                                              token.begin - at);
        at = token.end;
        if (fill->set == NULL)
            continue;
        if ((rv = value_of(fill, &token, &value)) != APR_SUCCESS)
            return rv;
        APR_ARRAY_PUSH(pieces, const char *) = value;
    }
    if (found == ESCROW_TOKEN_UNKNOWN)
        return escrow_token_refuse(fill->result, text + token.begin, length - token.begin, 0, 0);
    if (pieces->nelts > 0 && fill->set != NULL) {
        APR_ARRAY_PUSH(pieces, const char *) = apr_pstrmemdup(fill->p, text + at, length - at);
        *out = apr_array_pstrcat(fill->p, pieces, '\0');
    }
    return APR_SUCCESS;
}

apr_status_t escrow_fill_none(escrow_fill_t *fill, const char *text, apr_size_t length)
{
    escrow_token_t token;

    if (escrow_token_next(&token, text, length, 0) == ESCROW_TOKEN_NONE)
        return APR_SUCCESS;
    return refuse_place(fill, apr_pstrmemdup(fill->p, text + token.begin, length - token.begin),
                        "a name, a comment or data");
}

/* The next mark at or behind a place. @return its secret, or NULL */
static const gh_bytes_t *next_mark(const escrow_fill_t *fill, gh_bytes_t text, apr_size_t from,
                                   apr_size_t *begin)
{
    apr_size_t length = strlen(fill->mark), number = 0, i;

    for (*begin = from; *begin + length + MARK_DIGITS < text.length; ++*begin) {
        const unsigned char *at = text.data + *begin;

        if (*at != (unsigned char)fill->mark[0] || memcmp(at, fill->mark, length) != 0)
            continue;
        for (number = i = 0; i < MARK_DIGITS; i++)
            number = 10 * number + (apr_size_t)(at[length + i] - '0');
        return number < (apr_size_t)fill->secrets->nelts
            ? &APR_ARRAY_IDX(fill->secrets, number, gh_bytes_t) : NULL;
    }
    return NULL;
}

apr_status_t escrow_fill_secrets(escrow_fill_t *fill, gh_bytes_t text, gh_bytes_t *document)
{
    apr_size_t mark = strlen(fill->mark) + MARK_DIGITS + sizeof(MARK_END) - 1;
    apr_size_t size = text.length, from = 0, begin, length = 0;
    const gh_bytes_t *secret;
    unsigned char *out;

    while ((secret = next_mark(fill, text, from, &begin)) != NULL) {
        size += secret->length;
        from = begin + mark;
    }
    if ((out = gh_locked_alloc(fill->output->opener->locked, size + 1, fill->p)) == NULL)
        return no_memory(fill);
    from = 0;
    while ((secret = next_mark(fill, text, from, &begin)) != NULL) {
        memcpy(out + length, text.data + from, begin - from);
        length += begin - from;
        memcpy(out + length, secret->data, secret->length);
        length += secret->length;
        from = begin + mark;
    }
    memcpy(out + length, text.data + from, text.length - from);
    *document = (gh_bytes_t) { out, length + text.length - from };
    return APR_SUCCESS;
}
