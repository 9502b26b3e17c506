/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_mended_json_h
#define gatehouse_mended_json_h

#include <apr.h>
#include <jansson.h>

/**
 * Reads JSON from somebody who writes names into it as they are: if it is none, it is read once
 * more with a space for each control character, and "?" for each byte of what is no UTF-8. Outside
 * of texts JSON permits neither, so that nothing but the content of a text is other than it was
 * sent.
 * @param error of the first reading
 * @return NULL for what is no JSON even so, or has a member twice; otherwise owned by the caller
 */
json_t *gh_mended_json(const void *data, apr_size_t length, json_error_t *error);

#endif /* gatehouse_mended_json_h */
