/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_ocsp/ocsp_seen.h"

#include <string.h>

#include <apr_hash.h>

/** Slots: a power of two. Memory is taken by those that are in use. */
#define SLOTS 8192

/** Longest request, and longest hashes: of SHA-256. */
#define DER_MAX 128
#define HASH_MAX 32
#define SERIAL_MAX 20

typedef struct {
    int digest;
    unsigned char has_null;
    unsigned char der_length;
    unsigned char hash_length;
    unsigned char serial_length;
    unsigned char der[DER_MAX];
    unsigned char name_hash[HASH_MAX];
    unsigned char key_hash[HASH_MAX];
    unsigned char serial[SERIAL_MAX];
} content_t;

/** state is odd while a thread writes; the other threads do without, and so no lock is needed. */
typedef struct {
    volatile apr_uint32_t state;
    content_t content;
} slot_t;

struct ocsp_seen {
    slot_t *slots;
};

/** What is found, for the life of a request. */
typedef struct {
    content_t content;
    ocsp_certid_t id;
    ocsp_request_t request;
} found_t;

ocsp_seen_t *ocsp_seen_create(apr_pool_t *p)
{
    ocsp_seen_t *seen = apr_palloc(p, sizeof(*seen));

    seen->slots = apr_pcalloc(p, SLOTS * sizeof(*seen->slots));
    return seen;
}

static slot_t *slot_of(const ocsp_seen_t *seen, gh_bytes_t der)
{
    apr_ssize_t length = (apr_ssize_t)der.length;
    unsigned int hash = apr_hashfunc_default((const char *)der.data, &length);

    return &seen->slots[(hash ^ hash >> 16) & (SLOTS - 1)];
}

static int fits(const ocsp_request_t *request)
{
    const ocsp_certid_t *id = request->ids;

    return request->is_plain && request->count == 1 && request->der.length <= DER_MAX
        && id->digest != NID_undef && id->serial.length <= SERIAL_MAX
        && id->name_hash.length <= HASH_MAX && id->key_hash.length == id->name_hash.length;
}

static void fill(content_t *content, const ocsp_request_t *request)
{
    const ocsp_certid_t *id = request->ids;

    content->digest = id->digest;
    content->has_null = (unsigned char)id->has_null;
    content->der_length = (unsigned char)request->der.length;
    content->hash_length = (unsigned char)id->name_hash.length;
    content->serial_length = (unsigned char)id->serial.length;
    memcpy(content->der, request->der.data, request->der.length);
    memcpy(content->name_hash, id->name_hash.data, id->name_hash.length);
    memcpy(content->key_hash, id->key_hash.data, id->key_hash.length);
    memcpy(content->serial, id->serial.data, id->serial.length);
}

void ocsp_seen_put(ocsp_seen_t *seen, const ocsp_request_t *request)
{
    apr_uint32_t state;
    slot_t *slot;

    if (!fits(request)) {
        return;
    }
    slot = slot_of(seen, request->der);
    state = __atomic_load_n(&slot->state, __ATOMIC_RELAXED);
    if ((state & 1)
        || !__atomic_compare_exchange_n(&slot->state, &state, state + 1, 0, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED)) {
        return;
    }
    /* What is written from here on is not seen before the odd number. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    fill(&slot->content, request);
    __atomic_store_n(&slot->state, state + 2, __ATOMIC_RELEASE);
}

int ocsp_seen_find(ocsp_seen_t *seen, gh_bytes_t der, const ocsp_request_t **request,
                   apr_pool_t *p)
{
    const slot_t *slot;
    apr_uint32_t state;
    content_t *content;
    found_t *found;

    if (!der.length || der.length > DER_MAX) {
        return 0;
    }
    slot = slot_of(seen, der);
    state = __atomic_load_n(&slot->state, __ATOMIC_ACQUIRE);
    if ((state & 1) || slot->content.der_length != der.length
        || memcmp(slot->content.der, der.data, der.length) != 0) {
        return 0;
    }
    found = apr_palloc(p, sizeof(*found));
    content = &found->content;
    memcpy(content, &slot->content, sizeof(*content));
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (__atomic_load_n(&slot->state, __ATOMIC_RELAXED) != state
        || content->der_length != der.length
        || memcmp(content->der, der.data, der.length) != 0) {
        return 0;
    }
    memset(&found->id, 0, sizeof(found->id));
    found->id.digest = content->digest;
    found->id.has_null = content->has_null;
    found->id.name_hash = (gh_bytes_t){ content->name_hash, content->hash_length };
    found->id.key_hash = (gh_bytes_t){ content->key_hash, content->hash_length };
    found->id.serial = (gh_bytes_t){ content->serial, content->serial_length };
    memset(&found->request, 0, sizeof(found->request));
    found->request.der = der;
    found->request.ids = &found->id;
    found->request.count = 1;
    found->request.is_plain = 1;
    *request = &found->request;
    return 1;
}
