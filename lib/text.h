/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_text_h
#define gatehouse_text_h

#include <apr_pools.h>
#include <apr_time.h>

struct gh_result;

/** Bytes that somebody else owns. */
typedef struct {
    const unsigned char *data;
    apr_size_t length;
} gh_bytes_t;

/** Compares without saying where the difference is: time depends on the lengths only.
 *  @return 1 if equal */
int gh_equal_secret(const void *a, apr_size_t a_length, const void *b, apr_size_t b_length);

/** Lower-case hexadecimal, no separators, NUL-terminated, in p. */
const char *gh_hex(apr_pool_t *p, const unsigned char *data, apr_size_t length);

/** Base64 (RFC 4648 4) as it comes, in one line or several, as bytes in p.
 *  @return length 0 if it is none */
gh_bytes_t gh_base64_decode(const char *text, apr_pool_t *p);

/**
 * Reads hexadecimal in any case, with or without colons and blanks.
 * @return APR_SUCCESS, or APR_EINVAL for anything else, an odd number of digits, or none at all
 */
apr_status_t gh_hex_parse(gh_bytes_t *bytes, const char *text, apr_pool_t *p);

/** A serial number as the store and the outside see it: big endian without leading zero bytes (zero
 *  itself is one byte), from gh_hex_parse() form. Same errors; more than 20 bytes is APR_EINVAL. */
apr_status_t gh_serial_parse(gh_bytes_t *serial, const char *text, apr_pool_t *p);

/** RFC 3339 in UTC with seconds ("2026-11-20T15:04:05Z"), in p; the empty string for 0. */
const char *gh_time_text(apr_pool_t *p, apr_time_t time);

/** @return APR_SUCCESS, or APR_EINVAL; accepts what gh_time_text() writes, also without seconds or
 *  with fractions of them, and another offset than "Z" (RFC 3339) */
apr_status_t gh_time_parse(apr_time_t *time, const char *text);

/**
 * A span of time: a decimal number and a unit, 500ms, 10s, 5m (minutes), 24h, 7d, 2w, 1y (365
 * days), or the ISO 8601 form PnDTnHnMnS. A number without unit is refused.
 * @return APR_SUCCESS, or APR_EINVAL (also for overflow and for negative values)
 */
apr_status_t gh_duration_parse(apr_interval_time_t *duration, const char *text);

/** An identifier of 128 random bits, 32 lower-case hexadecimal digits, in p.
 *  @return NULL if the random generator failed */
const char *gh_random_id(apr_pool_t *p);

/** An identifier of the same form that sorts by time, so that an index of many grows at one end: 48
 *  bits of milliseconds, then 80 random bits. @return NULL if the random generator failed */
const char *gh_ordered_id(apr_time_t now, apr_pool_t *p);

/**
 * Reads a secret from "file:PATH" (which must not be accessible to group or others) or from
 * "exec:PATH" (its standard output; exit status 0 within ten seconds). One final line end is
 * removed; any other byte but NUL is part of the secret. At most 4096 bytes, not empty.
 * A cleanup of p overwrites the secret.
 *
 * @return APR_SUCCESS; APR_EINVAL for another form; the error of the operating system, with result
 *         saying which file and what to do
 */
apr_status_t gh_secret_load(gh_bytes_t *secret, const char *source, apr_pool_t *p,
                            struct gh_result *result);

/** @return 1 if name matches pattern, in which '*' stands for any run of characters */
int gh_wildcard_match(const char *pattern, const char *name);

/** @return 1 if name consists of 1 to 64 characters of A-Z a-z 0-9 _ ~ - (elements of a path) */
int gh_name_valid(const char *name);

#endif /* gatehouse_text_h */
