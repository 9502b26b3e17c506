/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "directory/descriptor.h"

#include <string.h>

#define HEADER 20
#define DACL_PRESENT 0x0004u
#define SELF_RELATIVE 0x8000u

/* Of an access mask: ADS_RIGHT_DS_CONTROL_ACCESS, and what includes it */
#define CONTROL_ACCESS 0x00000100u
#define GENERIC_ALL 0x10000000u

/* Types of entries (MS-DTYP 2.4.4.1); those with a condition are from 9 on */
#define ALLOWED 0
#define DENIED 1
#define ALLOWED_OBJECT 5
#define DENIED_OBJECT 6
#define DENIED_IF 10
#define DENIED_OBJECT_IF 12

#define INHERIT_ONLY 0x08
#define HAS_OBJECT 1u
#define HAS_INHERITED_OBJECT 2u
#define GUID_LENGTH 16

/* Certificate-Enrollment and Certificate-AutoEnrollment, as they are on the wire */
static const unsigned char rights[][GUID_LENGTH] = {
    { 0x68, 0xc9, 0x10, 0x0e, 0xfb, 0x78, 0xd2, 0x11, 0x90, 0xd4, 0x00, 0xc0, 0x4f, 0x79, 0xdc,
      0x55 },
    { 0xc2, 0x8c, 0x5b, 0xa0, 0xbc, 0x17, 0x02, 0x48, 0xa7, 0x10, 0xe7, 0xc1, 0x5a, 0xb8, 0x66,
      0xa2 }
};

/* S-1-1-0 and S-1-5-11: whoever has shown who he is belongs to these */
static const unsigned char everyone[] = { 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0 };
static const unsigned char authenticated[] = { 1, 1, 0, 0, 0, 0, 0, 5, 11, 0, 0, 0 };

/** One entry of a list. */
typedef struct {
    int type;
    int flags;
    gh_bytes_t body;                /* behind its head */
} entry_t;

static unsigned int number16(const unsigned char *at)
{
    return at[0] | (unsigned int)at[1] << 8;
}

static unsigned int number32(const unsigned char *at)
{
    return number16(at) | number16(at + 2) << 16;
}

static int same(gh_bytes_t sid, const unsigned char *data, apr_size_t length)
{
    return sid.length == length && !memcmp(sid.data, data, length);
}

/** @param sid with whatever stands behind it in the entry
 *  @return -1 if it is none */
static int is_one_of(gh_bytes_t sid, const apr_array_header_t *sids)
{
    int i;

    if (sid.length < 8 || sid.data[0] != 1 || sid.length < 8 + (apr_size_t)sid.data[1] * 4) {
        return -1;
    }
    sid.length = 8 + (apr_size_t)sid.data[1] * 4;
    if (same(sid, everyone, sizeof(everyone)) || same(sid, authenticated, sizeof(authenticated))) {
        return 1;
    }
    for (i = 0; sids && i < sids->nelts; ++i) {
        gh_bytes_t one = APR_ARRAY_IDX(sids, i, gh_bytes_t);

        if (same(sid, one.data, one.length)) {
            return 1;
        }
    }
    return 0;
}

static int skip(gh_bytes_t *bytes, apr_size_t length)
{
    if (bytes->length < length) {
        return 0;
    }
    bytes->data += length;
    bytes->length -= length;
    return 1;
}

static int is_denial(int type)
{
    return type == DENIED || type == DENIED_OBJECT || type == DENIED_IF
           || type == DENIED_OBJECT_IF;
}

/** Whether an entry is about the right and somebody of sids. A denial with a condition is taken for
 *  one without. @return -1 if it cannot be read */
static int concerns(const entry_t *entry, const apr_array_header_t *sids,
                    gh_directory_right_t right)
{
    int object = entry->type == ALLOWED_OBJECT || entry->type == DENIED_OBJECT
                 || entry->type == DENIED_OBJECT_IF;
    gh_bytes_t rest = entry->body;
    const unsigned char *guid = NULL;
    unsigned int mask, present;

    if (entry->flags & INHERIT_ONLY || (entry->type != ALLOWED && entry->type != ALLOWED_OBJECT
                                        && !is_denial(entry->type))) {
        return 0;
    }
    if (rest.length < 4) {
        return -1;
    }
    mask = number32(rest.data);
    skip(&rest, 4);
    if (!(mask & (CONTROL_ACCESS | GENERIC_ALL))) {
        return 0;
    }
    if (object) {
        if (rest.length < 4) {
            return -1;
        }
        present = number32(rest.data);
        skip(&rest, 4);
        if (present & HAS_OBJECT) {
            guid = rest.data;
            if (!skip(&rest, GUID_LENGTH)) {
                return -1;
            }
        }
        if (present & HAS_INHERITED_OBJECT && !skip(&rest, GUID_LENGTH)) {
            return -1;
        }
    }
    return guid && memcmp(guid, rights[right], GUID_LENGTH) ? 0 : is_one_of(rest, sids);
}

/** The discretionary list. @return 0 if there is none that can be read */
static int find_list(gh_bytes_t descriptor, gh_bytes_t *entries, int *count)
{
    unsigned int control, offset, size;

    if (descriptor.length < HEADER || descriptor.data[0] != 1) {
        return 0;
    }
    control = number16(descriptor.data + 2);
    offset = number32(descriptor.data + 16);
    if (!(control & DACL_PRESENT) || !(control & SELF_RELATIVE) || offset < HEADER
        || offset > descriptor.length || descriptor.length - offset < 8) {
        return 0;
    }
    entries->data = descriptor.data + offset;
    size = number16(entries->data + 2);
    *count = (int)number16(entries->data + 4);
    if (size < 8 || size > descriptor.length - offset) {
        return 0;
    }
    entries->data += 8;
    entries->length = size - 8;
    return 1;
}

/** @return 0 at the end, or if there is none that can be read */
static int next_entry(gh_bytes_t *entries, entry_t *entry)
{
    unsigned int size;

    if (entries->length < 4) {
        return 0;
    }
    size = number16(entries->data + 2);
    if (size < 4 || size > entries->length) {
        return 0;
    }
    entry->type = entries->data[0];
    entry->flags = entries->data[1];
    entry->body.data = entries->data + 4;
    entry->body.length = size - 4;
    return skip(entries, size);
}

/** For one right the first entry that is about it decides (MS-DTYP 2.5.3.2). */
int gh_directory_grants(gh_bytes_t descriptor, const apr_array_header_t *sids,
                        gh_directory_right_t right)
{
    gh_bytes_t entries;
    entry_t entry;
    int count, concerned;

    if (!find_list(descriptor, &entries, &count)) {
        return 0;
    }
    for (; count > 0; --count) {
        if (!next_entry(&entries, &entry)) {
            return 0;
        }
        concerned = concerns(&entry, sids, right);
        if (concerned) {
            return concerned > 0 && !is_denial(entry.type);
        }
    }
    return 0;
}
