/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_fill_h
#define gatehouse_escrow_fill_h

#include <apr_pools.h>
#include <apr_tables.h>

#include "mod_escrow/escrow_complete.h"
#include "mod_escrow/escrow_token.h"

/*
 * Filling of skeletons. A skeleton is read twice in the same way: once when it comes, to see what
 * is in it, and once to put credentials in.
 *
 * What is secret never gets into the trees of libraries, whose memory nobody overwrites: strings
 * get marks instead, and escrow_fill_secrets() puts the secrets in their places in the finished
 * document. Secrets consist of signs that mean nothing in XML, JSON or plain text.
 */

typedef struct escrow_fill {
    const escrow_set_t *set;            /* NULL: the skeleton is only read */
    const escrow_output_t *output;
    apr_pool_t *p;
    gh_result_t *result;
    int each;                           /* position that a repeated part is made for; -1: none */
    int clear;                          /* what is here is not encrypted: no secrets */
    apr_array_header_t *secrets;        /* gh_bytes_t, by number of their mark */
    apr_array_header_t *made;           /* made_t, see escrow_fill.c */
    char mark[24];                      /* what every mark begins with */
    int tokens;                         /* so far */
    unsigned char needs[ESCROW_USES + 1][ESCROW_POSITIONS];
    unsigned char repeated[ESCROW_USES + 1];
} escrow_fill_t;

/** @param set and output NULL: to read */
apr_status_t escrow_fill_create(escrow_fill_t **fill, const escrow_set_t *set,
                                const escrow_output_t *output, apr_pool_t *p,
                                gh_result_t *result);

/**
 * What a string becomes.
 * @param repeats 1 if it stands in a part that may be repeated
 * @param out     NULL if there is no token in it; when only read too
 * @return APR_EINVAL for an unknown token, or one that may not stand there
 */
apr_status_t escrow_fill_text(escrow_fill_t *fill, const char *text, apr_size_t length,
                              int repeats, const char **out);

/** @return APR_EINVAL if a text that stays as it is has a token */
apr_status_t escrow_fill_none(escrow_fill_t *fill, const char *text, apr_size_t length);

/** The whole document with its secrets. @param document in locked memory, if some is free */
apr_status_t escrow_fill_secrets(escrow_fill_t *fill, gh_bytes_t text, gh_bytes_t *document);

/** Refuses a token. @param line 0: not known; else with column from 1 */
apr_status_t escrow_token_refuse(gh_result_t *result, const char *text, apr_size_t length,
                                 int line, int column);

/* The formats. Each reads a skeleton anew, and makes of it a document with marks in it. */

/** A mobileconfig: what is to be encrypted apart from what is around it. */
typedef struct {
    gh_bytes_t payloads;                /* plist with an array */
    void *document;                     /* the rest, for escrow_plist_finish() */
} escrow_plist_t;

apr_status_t escrow_plist_fill(escrow_plist_t *plist, gh_bytes_t skeleton, escrow_fill_t *fill);

/** The plist with EncryptedPayloadContent. @param out in p of fill */
apr_status_t escrow_plist_finish(gh_bytes_t *out, escrow_plist_t *plist, gh_bytes_t encrypted,
                                 escrow_fill_t *fill);

/** @param out empty when only read */
apr_status_t escrow_json_fill(gh_bytes_t *out, gh_bytes_t skeleton, escrow_fill_t *fill);
apr_status_t escrow_xml_fill(gh_bytes_t *out, gh_bytes_t skeleton, escrow_fill_t *fill);
apr_status_t escrow_text_fill(gh_bytes_t *out, gh_bytes_t skeleton, escrow_fill_t *fill);

/** Refuses a skeleton for its form. */
apr_status_t escrow_form_refuse(gh_result_t *result, const char *format, int line,
                                const char *what);

#endif /* gatehouse_escrow_fill_h */
