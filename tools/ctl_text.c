/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "ctl_text.h"

#include <string.h>

#include <apr_errno.h>
#include <apr_strings.h>

#include "status.h"

const char *ctl_error_text(apr_status_t status, apr_pool_t *p)
{
    char text[256];

    return apr_pstrdup(p, apr_strerror(status, text, sizeof(text)));
}

/* Length of the well-formed UTF-8 sequence (RFC 3629) at the text, 0 if there is none. */
static int sequence_length(const unsigned char *text)
{
    int length;
    int i;

    if (text[0] < 0x80) {
        return 1;
    }
    length = text[0] >= 0xc2 && text[0] <= 0xdf ? 2
           : (text[0] & 0xf0) == 0xe0 ? 3
           : text[0] >= 0xf0 && text[0] <= 0xf4 ? 4 : 0;
    for (i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f)
        || (text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f)) {
        return 0;
    }
    return length;
}

const char *ctl_text_printable(const char *text, apr_pool_t *p)
{
    const unsigned char *from = (const unsigned char *)text;
    char *copy = apr_palloc(p, strlen(text) + 1);
    char *to = copy;
    int length;

    while (*from != '\0') {
        length = sequence_length(from);
        if (length == 0 || *from < 0x20 || *from == 0x7f
            || (length == 2 && from[0] == 0xc2 && from[1] < 0xa0)) {
            *to++ = '?';
            from += length == 0 ? 1 : length;
            continue;
        }
        memcpy(to, from, (size_t)length);
        to += length;
        from += length;
    }
    *to = '\0';
    return copy;
}

int ctl_text_width(const char *text)
{
    int width = 0;

    for (; *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return width;
}

const char *ctl_text_directive(const char *text, apr_pool_t *p)
{
    char *quoted;
    char *to;

    if (*text != '\0' && strpbrk(text, " \t\"'\\#<>") == NULL) {
        return text;
    }
    quoted = apr_palloc(p, 2 * strlen(text) + 3);
    to = quoted;
    *to++ = '"';
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') {
            *to++ = '\\';
        }
        *to++ = *text;
    }
    *to++ = '"';
    *to = '\0';
    return quoted;
}
