/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "x509/thumbprint.h"

#include <string.h>
#include <strings.h>

#include <apr_lib.h>
#include <apr_strings.h>

#include "log.h"

#define RULE "thumbprint"

/** Longest text that can be right: prefix and digits. */
#define KEPT_MAX (6 + 2 * GH_SHA256_LENGTH)

/* Characters of UTF-8 that dialogs and editors leave in what is copied, and nobody sees. */
static const char *const invisible[] = {
    "\xc2\xa0", "\xc2\xad",                                 /* U+00A0, U+00AD */
    "\xe2\x80\x8b", "\xe2\x80\x8c", "\xe2\x80\x8d",         /* U+200B to U+200D: no width */
    "\xe2\x80\x8e", "\xe2\x80\x8f",                         /* U+200E, U+200F: direction */
    "\xe2\x80\xaa", "\xe2\x80\xab", "\xe2\x80\xac", "\xe2\x80\xad", "\xe2\x80\xae",
    "\xe2\x80\xaf",                                         /* U+202F: narrow blank */
    "\xe2\x81\xa0",                                         /* U+2060 */
    "\xe2\x81\xa6", "\xe2\x81\xa7", "\xe2\x81\xa8", "\xe2\x81\xa9",
    "\xef\xbb\xbf"                                          /* U+FEFF: byte order mark */
};

/** @return how many bytes at text say nothing */
static apr_size_t skipped(const char *text, apr_size_t length)
{
    apr_size_t i;

    if (*text == '\0' || *text == ':' || apr_isspace(*text)) {
        return 1;
    }
    for (i = 0; i < sizeof(invisible) / sizeof(invisible[0]); ++i) {
        apr_size_t size = strlen(invisible[i]);

        if (size <= length && !memcmp(text, invisible[i], size)) {
            return size;
        }
    }
    return 0;
}

static int digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)apr_tolower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int read_digits(gh_thumbprint_t *thumbprint, const char *text, apr_size_t length)
{
    apr_size_t i;

    if (length != 2 * GH_SHA1_LENGTH && length != 2 * GH_SHA256_LENGTH) {
        return 0;
    }
    memset(thumbprint, 0, sizeof(*thumbprint));
    thumbprint->length = (int)length / 2;
    for (i = 0; i < length; i += 2) {
        int high = digit(text[i]), low = digit(text[i + 1]);

        if (high < 0 || low < 0) {
            return 0;
        }
        thumbprint->digest[i / 2] = (unsigned char)(high << 4 | low);
    }
    return 1;
}

apr_status_t gh_thumbprint_parse(gh_thumbprint_t *thumbprint, const char *text, apr_size_t length,
                                 int *bare, gh_result_t *result)
{
    char kept[KEPT_MAX + 1];
    apr_size_t count = 0, prefix = 0, i = 0, skip;
    int expected = 0;

    if (length > GH_THUMBPRINT_TEXT_MAX) {
        length = 0;
    }
    while (i < length && count <= KEPT_MAX) {
        if ((skip = skipped(text + i, length - i)) > 0) {
            i += skip;
        }
        else {
            kept[count++] = text[i++];
        }
    }
    if (count >= 6 && !strncasecmp(kept, "sha256", 6)) {
        prefix = 6;
        expected = GH_SHA256_LENGTH;
    }
    else if (count >= 4 && !strncasecmp(kept, "sha1", 4)) {
        prefix = 4;
        expected = GH_SHA1_LENGTH;
    }
    if (bare) {
        *bare = !prefix;
    }
    if (count > KEPT_MAX || !read_digits(thumbprint, kept + prefix, count - prefix)
        || (expected && thumbprint->length != expected)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, RULE,
                              "Write sha256: and 64 hexadecimal digits, or sha1: and 40.",
                              GHNO(1147) "\"%.*s\" is not the thumbprint of a certificate",
                              (int)(count < KEPT_MAX ? count : KEPT_MAX), kept);
    }
    return APR_SUCCESS;
}

const char *gh_thumbprint_text(const gh_thumbprint_t *thumbprint, apr_pool_t *p)
{
    return apr_pstrcat(p, thumbprint->length == GH_SHA1_LENGTH ? "sha1:" : "sha256:",
                       gh_hex(p, thumbprint->digest, (apr_size_t)thumbprint->length), NULL);
}
