/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_uem_uem_template_h
#define fcgi_uem_uem_template_h

#include <apr_pools.h>
#include <jansson.h>

#include "result.h"
#include "text.h"

/*
 * Templates of what is said to a UEM: text with tokens in it, each of which is written as the place
 * where it stands needs it, so that no value can end its place and begin another.
 *
 *     {{profile.uuid}} {{device.uuid}} {{user.uuid}} {{delivery.id}} {{labels.NAME}}
 *     {{document.base64}} {{document.type}}    of deliveries
 *     {{document}}                             of deliveries, as a whole body: the bytes themselves
 */

typedef struct uem_template uem_template_t;

typedef enum {
    UEM_IN_URL,                     /* RFC 3986: all but unreserved characters percent-encoded */
    UEM_IN_HEADER,                  /* value of a header: no control characters */
    UEM_IN_JSON,                    /* within a string of JSON */
    UEM_IN_XML,                     /* character data, or within quotes */
    UEM_IN_TEXT
} uem_place_t;

/** Where a body with a media type puts its values. */
uem_place_t uem_place_of_type(const char *type);

/** Largest template, in bytes. */
#define UEM_TEMPLATE_MAX (64 * 1024)

/** What the tokens stand for. NULL: there is none. */
typedef struct {
    const char *profile;
    const char *device;
    const char *user;
    const char *delivery;
    const json_t *labels;           /* an object of strings */
    gh_bytes_t document;
    const char *document_type;
} uem_values_t;

/**
 * @param documents 1: tokens of the document may be in it
 * @return APR_EINVAL with result: a token that is not known, with its position; what cannot stand
 *         there
 */
apr_status_t uem_template_parse(uem_template_t **made, const char *text, uem_place_t place,
                                int documents, apr_pool_t *p, gh_result_t *result);

/** @return APR_EINVAL with result: a value that is not there, or that cannot stand in its place */
apr_status_t uem_template_expand(gh_bytes_t *text, const uem_template_t *one,
                                 const uem_values_t *values, apr_pool_t *p, gh_result_t *result);

#endif /* fcgi_uem_uem_template_h */
