/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "text.h"

int gh_equal_secret(const void *a, apr_size_t a_length, const void *b, apr_size_t b_length)
{
    const unsigned char *left = a;
    const unsigned char *right = b;
    unsigned char difference = a_length != b_length;
    apr_size_t i;

    /* Walks all of a even where b is shorter, so that only a's length shows in the time. */
    for (i = 0; i < a_length; ++i) {
        difference |= left[i] ^ (b_length ? right[i % b_length] : 0xff);
    }
    return difference == 0;
}

const char *gh_hex(apr_pool_t *p, const unsigned char *data, apr_size_t length)
{
    static const char digits[] = "0123456789abcdef";
    char *text = apr_palloc(p, 2 * length + 1);
    apr_size_t i;

    for (i = 0; i < length; ++i) {
        text[2 * i] = digits[data[i] >> 4];
        text[2 * i + 1] = digits[data[i] & 15];
    }
    text[2 * length] = '\0';
    return text;
}

static int hex_value(char digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    if (digit >= 'a' && digit <= 'f') {
        return digit - 'a' + 10;
    }
    if (digit >= 'A' && digit <= 'F') {
        return digit - 'A' + 10;
    }
    return -1;
}

apr_status_t gh_hex_parse(gh_bytes_t *bytes, const char *text, apr_pool_t *p)
{
    unsigned char *data = apr_palloc(p, strlen(text) / 2 + 1);
    apr_size_t digits = 0;

    bytes->data = NULL;
    bytes->length = 0;
    for (; *text; ++text) {
        int value;

        if (*text == ':' || *text == ' ') {
            continue;
        }
        value = hex_value(*text);
        if (value < 0) {
            return APR_EINVAL;
        }
        if (digits % 2 == 0) {
            data[digits / 2] = (unsigned char)(value << 4);
        }
        else {
            data[digits / 2] |= (unsigned char)value;
        }
        ++digits;
    }
    if (digits == 0 || digits % 2) {
        return APR_EINVAL;
    }
    bytes->data = data;
    bytes->length = digits / 2;
    return APR_SUCCESS;
}

apr_status_t gh_serial_parse(gh_bytes_t *serial, const char *text, apr_pool_t *p)
{
    const char *digit;
    apr_size_t digits = 0;
    apr_status_t rv;

    /* openssl and others print a serial without leading zero: an odd number of digits is normal. */
    for (digit = text; *digit; ++digit) {
        digits += *digit != ':' && *digit != ' ';
    }
    if (digits % 2) {
        text = apr_pstrcat(p, "0", text, NULL);
    }
    rv = gh_hex_parse(serial, text, p);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    while (serial->length > 1 && serial->data[0] == 0) {
        ++serial->data;
        --serial->length;
    }
    return serial->length > 20 ? APR_EINVAL : APR_SUCCESS;
}

const char *gh_time_text(apr_pool_t *p, apr_time_t time)
{
    apr_time_exp_t parts;

    if (!time || apr_time_exp_gmt(&parts, time) != APR_SUCCESS) {
        return "";
    }
    return apr_psprintf(p, "%04d-%02d-%02dT%02d:%02d:%02dZ", parts.tm_year + 1900,
                        parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min,
                        parts.tm_sec);
}

static int take_number(const char **text, int digits, int *number)
{
    *number = 0;
    while (digits--) {
        if (!isdigit((unsigned char)**text)) {
            return 0;
        }
        *number = *number * 10 + (*(*text)++ - '0');
    }
    return 1;
}

static int take_char(const char **text, char expected)
{
    return *(*text)++ == expected;
}

/** "Z", or "+01:00" with or without colon: seconds before UTC. */
static int take_offset(const char **text, int *offset)
{
    int hours, minutes, sign = **text == '-' ? -1 : 1;

    *offset = 0;
    if (take_char(text, 'Z')) {
        return 1;
    }
    --*text;
    if (**text != '+' && **text != '-') {
        return 0;
    }
    ++*text;
    if (!take_number(text, 2, &hours) || (**text == ':' && !take_char(text, ':'))
        || !take_number(text, 2, &minutes) || hours > 14 || minutes > 59) {
        return 0;
    }
    *offset = sign * (hours * 3600 + minutes * 60);
    return 1;
}

apr_status_t gh_time_parse(apr_time_t *time, const char *text)
{
    apr_time_exp_t parts = {0};
    apr_status_t rv;
    int offset;

    if (!take_number(&text, 4, &parts.tm_year) || !take_char(&text, '-')
        || !take_number(&text, 2, &parts.tm_mon) || !take_char(&text, '-')
        || !take_number(&text, 2, &parts.tm_mday) || !take_char(&text, 'T')
        || !take_number(&text, 2, &parts.tm_hour) || !take_char(&text, ':')
        || !take_number(&text, 2, &parts.tm_min)) {
        return APR_EINVAL;
    }
    /* some leave seconds out that are zero */
    if (*text == ':' && (!take_char(&text, ':') || !take_number(&text, 2, &parts.tm_sec))) {
        return APR_EINVAL;
    }
    if (*text == '.') {
        ++text;
        while (isdigit((unsigned char)*text)) {
            ++text;
        }
    }
    if (!take_offset(&text, &offset) || *text
        || parts.tm_year < 1970 || parts.tm_mon < 1 || parts.tm_mon > 12
        || parts.tm_mday < 1 || parts.tm_mday > 31 || parts.tm_hour > 23 || parts.tm_min > 59
        || parts.tm_sec > 60) {
        return APR_EINVAL;
    }
    parts.tm_year -= 1900;
    parts.tm_mon -= 1;
    rv = apr_time_exp_gmt_get(time, &parts);
    *time -= apr_time_from_sec(offset);
    return rv;
}

/* Adds number units of a size; 0 on overflow. */
static int add_span(apr_int64_t *total, apr_int64_t number, apr_int64_t unit)
{
    apr_int64_t span;

    return !__builtin_mul_overflow(number, unit, &span)
        && !__builtin_add_overflow(*total, span, total);
}

static int take_decimal(const char **text, apr_int64_t *number)
{
    char *end;

    if (!isdigit((unsigned char)**text)) {
        return 0;
    }
    errno = 0;
    *number = apr_strtoi64(*text, &end, 10);
    *text = end;
    return errno == 0;
}

static apr_status_t parse_iso_duration(apr_interval_time_t *duration, const char *text)
{
    apr_int64_t total = 0;
    apr_int64_t number;
    int in_time = 0;
    int parts = 0;

    while (*text) {
        apr_int64_t unit;

        if (toupper((unsigned char)*text) == 'T' && !in_time) {
            in_time = 1;
            ++text;
            continue;
        }
        if (!take_decimal(&text, &number)) {
            return APR_EINVAL;
        }
        switch (toupper((unsigned char)*text++)) {
        case 'D': unit = in_time ? 0 : APR_INT64_C(86400); break;
        case 'H': unit = in_time ? 3600 : 0; break;
        case 'M': unit = in_time ? 60 : 0; break;
        case 'S': unit = in_time ? 1 : 0; break;
        default: unit = 0; break;
        }
        if (!unit || !add_span(&total, number, unit * APR_USEC_PER_SEC)) {
            return APR_EINVAL;
        }
        ++parts;
    }
    *duration = total;
    return parts ? APR_SUCCESS : APR_EINVAL;
}

apr_status_t gh_duration_parse(apr_interval_time_t *duration, const char *text)
{
    static const struct {
        const char *name;
        apr_int64_t usec;
    } units[] = {
        { "ms", 1000 },
        { "s", APR_USEC_PER_SEC },
        { "m", 60 * APR_USEC_PER_SEC },
        { "h", 3600 * APR_USEC_PER_SEC },
        { "d", 86400 * APR_USEC_PER_SEC },
        { "w", 7 * 86400 * APR_USEC_PER_SEC },
        { "y", 365 * 86400 * APR_USEC_PER_SEC },
    };
    apr_int64_t total = 0;
    apr_int64_t number;
    apr_size_t i;

    if (toupper((unsigned char)*text) == 'P') {
        return parse_iso_duration(duration, text + 1);
    }
    if (!take_decimal(&text, &number)) {
        return APR_EINVAL;
    }
    for (i = 0; i < sizeof(units) / sizeof(units[0]); ++i) {
        if (!strcmp(text, units[i].name)) {
            if (!add_span(&total, number, units[i].usec)) {
                return APR_EINVAL;
            }
            *duration = total;
            return APR_SUCCESS;
        }
    }
    return APR_EINVAL;
}

const char *gh_random_id(apr_pool_t *p)
{
    unsigned char random[16];

    if (RAND_bytes(random, sizeof(random)) != 1) {
        return NULL;
    }
    return gh_hex(p, random, sizeof(random));
}

const char *gh_ordered_id(apr_time_t now, apr_pool_t *p)
{
    apr_uint64_t milliseconds = (apr_uint64_t)apr_time_as_msec(now);
    unsigned char id[16];
    int i;

    if (RAND_bytes(id + 6, sizeof(id) - 6) != 1) {
        return NULL;
    }
    for (i = 5; i >= 0; --i) {
        id[i] = (unsigned char)milliseconds;
        milliseconds >>= 8;
    }
    return gh_hex(p, id, sizeof(id));
}

int gh_wildcard_match(const char *pattern, const char *name)
{
    const char *star = NULL;
    const char *resume = NULL;

    while (*name) {
        if (*pattern == '*') {
            star = pattern++;
            resume = name;
        }
        else if (*pattern == *name) {
            ++pattern;
            ++name;
        }
        else if (star) {
            pattern = star + 1;
            name = ++resume;
        }
        else {
            return 0;
        }
    }
    while (*pattern == '*') {
        ++pattern;
    }
    return !*pattern;
}

int gh_name_valid(const char *name)
{
    apr_size_t length = 0;

    for (; name[length]; ++length) {
        if (length >= 64
            || (!isalnum((unsigned char)name[length]) && !strchr("_~-", name[length]))) {
            return 0;
        }
    }
    return length > 0;
}

gh_bytes_t gh_base64_decode(const char *text, apr_pool_t *p)
{
    EVP_ENCODE_CTX *context = EVP_ENCODE_CTX_new();
    apr_size_t length = strlen(text);
    unsigned char *bytes = apr_palloc(p, length + 3);
    gh_bytes_t decoded = { bytes, 0 };
    int count = 0, rest = 0;

    if (context) {
        EVP_DecodeInit(context);
    }
    if (context && EVP_DecodeUpdate(context, bytes, &count, (const unsigned char *)text,
                                    (int)length) >= 0
        && EVP_DecodeFinal(context, bytes + count, &rest) == 1) {
        decoded.length = (apr_size_t)(count + rest);
    }
    EVP_ENCODE_CTX_free(context);
    return decoded;
}
