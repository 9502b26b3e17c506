/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_ocsp/ocsp_cache.h"

#include <string.h>

#include <apr_siphash.h>
#include <openssl/rand.h>

/*
 * header | sets | slots
 *
 * A key belongs to one set, of WAYS slots. A set has a tag (a keyed hash) for each slot, so that a
 * search touches one line of memory and then the slot that it is. Tags are hints: what a slot holds
 * is said by the slot.
 *
 * A slot has a state: a number that is odd while somebody writes, and the second in which it began.
 * Who makes it odd may write. One that stays odd for BUSY seconds, since its writer was killed, is
 * taken over. If that writer was only paused and goes on, it spoils the slot behind the back of the
 * other; then the checksum over all that is in the slot, under a key that only the processes know,
 * is wrong, and the slot holds nothing. Nothing is ever used that a reader has not first copied and
 * then verified.
 */

#define MAGIC APR_UINT64_C(0x4748304f43535001)
#define WAYS 8
#define PART_FRACTION 16            /* of all sets are those of part 1 */
#define SETS_MIN PART_FRACTION
#define BUSY 5                      /* seconds */
#define CLAIM 5                     /* seconds */
#define SPINS 2000                  /* a writer takes a few microseconds */

typedef struct {
    ocsp_cache_key_t key;
    ocsp_cache_entry_t entry;
    apr_uint64_t checksum;          /* of key, entry and value */
    unsigned char value[OCSP_CACHE_VALUE_MAX];
} content_t;

typedef struct {
    volatile apr_uint64_t state;    /* number << 32 | seconds */
    apr_uint64_t reserved[7];
    content_t content;
} slot_t;

typedef struct {
    volatile apr_uint64_t tags[WAYS];       /* 0: nothing */
    volatile apr_uint32_t used[WAYS];       /* ticks */
    volatile apr_uint32_t claimed[WAYS];    /* seconds; 0: by nobody */
} set_t;

typedef struct {
    apr_uint64_t magic;
    apr_uint64_t size;
    apr_uint64_t sets[2];           /* how many each part has */
    unsigned char key[APR_SIPHASH_KSIZE];
    unsigned char reserved[16];
} header_t;

struct ocsp_cache {
    header_t *header;
    set_t *sets;
    slot_t *slots;
    unsigned char key[APR_SIPHASH_KSIZE];
};

#define SET_SIZE (sizeof(set_t) + WAYS * sizeof(slot_t))

/* Layout */

apr_size_t ocsp_cache_size(apr_size_t wanted)
{
    apr_size_t sets = wanted / SET_SIZE;

    return sizeof(header_t) + (sets < SETS_MIN ? SETS_MIN : sets) * SET_SIZE;
}

apr_status_t ocsp_cache_prepare(void *memory, apr_size_t size)
{
    header_t *header = memory;
    apr_uint64_t sets;

    if (size < sizeof(*header) + SETS_MIN * SET_SIZE) {
        return APR_EINVAL;
    }
    sets = (size - sizeof(*header)) / SET_SIZE;
    memset(memory, 0, sizeof(*header) + sets * sizeof(set_t));
    header->size = size;
    header->sets[1] = sets / PART_FRACTION;
    header->sets[0] = sets - header->sets[1];
    if (RAND_bytes(header->key, sizeof(header->key)) != 1) {
        return APR_EGENERAL;
    }
    header->magic = MAGIC;
    return APR_SUCCESS;
}

apr_status_t ocsp_cache_join(ocsp_cache_t **cache, void *memory, apr_size_t size, apr_pool_t *p)
{
    header_t *header = memory;
    ocsp_cache_t *joined;

    if (size < sizeof(*header) || header->magic != MAGIC || header->size != size) {
        return APR_EINVAL;
    }
    joined = apr_pcalloc(p, sizeof(*joined));
    joined->header = header;
    joined->sets = (set_t *)(header + 1);
    joined->slots = (slot_t *)(joined->sets + header->sets[0] + header->sets[1]);
    memcpy(joined->key, header->key, sizeof(joined->key));
    *cache = joined;
    return APR_SUCCESS;
}

/** Where a key belongs. */
typedef struct {
    set_t *set;
    slot_t *slots;
    apr_uint64_t tag;
} place_t;

static place_t find_place(const ocsp_cache_t *cache, int part, const ocsp_cache_key_t *key)
{
    apr_uint64_t hash = apr_siphash24(key, sizeof(*key), cache->key);
    apr_uint64_t index = (hash >> 32) % cache->header->sets[part != 0];
    place_t place;

    if (part) {
        index += cache->header->sets[0];
    }
    place.set = &cache->sets[index];
    place.slots = &cache->slots[index * WAYS];
    place.tag = hash | 1;
    return place;
}

static apr_uint32_t seconds_of(apr_time_t now)
{
    return (apr_uint32_t)apr_time_sec(now);
}

/** Of 65 ms: fine enough to tell who was used longest ago, and coarse enough that processors do not
 *  fight for what is used all the time. */
static apr_uint32_t ticks_of(apr_time_t now)
{
    return (apr_uint32_t)(now >> 16);
}

/** Whether so many seconds have passed since; so too if the clock went back as far. */
static int has_passed(apr_uint32_t since, apr_uint32_t now, apr_uint32_t seconds)
{
    return now >= since ? now - since >= seconds : since - now >= seconds;
}

/* Contents */

/**
 * A sum over a value, keyed. It has to tell whether a writer has spoilt what another has written,
 * not to withstand somebody who may write here; to read ought not to cost more than to copy.
 */
static apr_uint64_t sum_of(const ocsp_cache_t *cache, const unsigned char *value,
                           apr_size_t length)
{
    apr_uint64_t sum, word;

    memcpy(&sum, cache->key, sizeof(sum));
    for (; length >= sizeof(word); value += sizeof(word), length -= sizeof(word)) {
        memcpy(&word, value, sizeof(word));
        sum = (sum ^ word) * APR_UINT64_C(0x9e3779b97f4a7c15);
        sum ^= sum >> 32;
    }
    word = length;
    memcpy(&word, value, length);
    sum = (sum ^ word) * APR_UINT64_C(0x9e3779b97f4a7c15);
    return sum ^ sum >> 32;
}

static apr_uint64_t checksum_of(const ocsp_cache_t *cache, const ocsp_cache_key_t *key,
                                const ocsp_cache_entry_t *entry, const unsigned char *value)
{
    unsigned char head[sizeof(*key) + sizeof(*entry) + sizeof(apr_uint64_t)];
    apr_uint64_t sum = sum_of(cache, value, entry->length);

    memcpy(head, key, sizeof(*key));
    memcpy(head + sizeof(*key), entry, sizeof(*entry));
    memcpy(head + sizeof(*key) + sizeof(*entry), &sum, sizeof(sum));
    return apr_siphash24(head, sizeof(head), cache->key);
}

/** Copies what a slot holds of a key, and verifies it. @return 1 if it is whole */
static int read_slot(const ocsp_cache_t *cache, const slot_t *slot, const ocsp_cache_key_t *key,
                     apr_uint32_t second, ocsp_cache_entry_t *entry, gh_bytes_t *value,
                     apr_pool_t *p)
{
    ocsp_cache_key_t found;
    unsigned char *copy;
    apr_uint64_t before, checksum;
    int spins = 0;

    while ((before = __atomic_load_n(&slot->state, __ATOMIC_ACQUIRE)) >> 32 & 1) {
        /* Who began earlier is not running. */
        if (++spins > SPINS || has_passed((apr_uint32_t)before, second, 2)) {
            return 0;
        }
    }
    memcpy(&found, &slot->content.key, sizeof(found));
    memcpy(entry, &slot->content.entry, sizeof(*entry));
    checksum = slot->content.checksum;
    if (memcmp(&found, key, sizeof(found)) != 0 || entry->length > OCSP_CACHE_VALUE_MAX) {
        return 0;
    }
    copy = apr_palloc(p, entry->length);
    memcpy(copy, slot->content.value, entry->length);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (__atomic_load_n(&slot->state, __ATOMIC_RELAXED) != before
        || checksum != checksum_of(cache, key, entry, copy)) {
        return 0;
    }
    value->data = copy;
    value->length = entry->length;
    return 1;
}

int ocsp_cache_get(ocsp_cache_t *cache, int part, const ocsp_cache_key_t *key, apr_time_t now,
                   ocsp_cache_entry_t *entry, gh_bytes_t *value, apr_pool_t *p)
{
    place_t place = find_place(cache, part, key);
    apr_uint32_t second = seconds_of(now);
    int i;

    for (i = 0; i < WAYS; ++i) {
        if (__atomic_load_n(&place.set->tags[i], __ATOMIC_ACQUIRE) != place.tag
            || !read_slot(cache, &place.slots[i], key, second, entry, value, p)) {
            continue;
        }
        if (now >= entry->expiry) {
            return 0;
        }
        if (__atomic_load_n(&place.set->used[i], __ATOMIC_RELAXED) != ticks_of(now)) {
            __atomic_store_n(&place.set->used[i], ticks_of(now), __ATOMIC_RELAXED);
        }
        return 1;
    }
    return 0;
}

/* Writing */

/** @param state set to what slot->state has to be until it is unlocked
 *  @return 1 if the caller may write */
static int lock_slot(slot_t *slot, apr_uint32_t second, apr_uint64_t *state)
{
    apr_uint64_t now = __atomic_load_n(&slot->state, __ATOMIC_ACQUIRE);
    apr_uint32_t number = (apr_uint32_t)(now >> 32);

    if (number & 1) {
        if (!has_passed((apr_uint32_t)now, second, BUSY)) {
            return 0;
        }
        number += 2;
    }
    else {
        number += 1;
    }
    *state = (apr_uint64_t)number << 32 | second;
    if (!__atomic_compare_exchange_n(&slot->state, &now, *state, 0, __ATOMIC_ACQ_REL,
                                     __ATOMIC_RELAXED)) {
        return 0;
    }
    /* What is written from here on is not seen before the odd number. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return 1;
}

/** If somebody has taken the slot over meanwhile, its state is theirs. */
static void unlock_slot(slot_t *slot, apr_uint64_t state)
{
    apr_uint64_t next = state + (APR_UINT64_C(1) << 32);

    __atomic_compare_exchange_n(&slot->state, &state, next, 0, __ATOMIC_RELEASE,
                                __ATOMIC_RELAXED);
}

/** Whether what a locked slot holds of the key is to stay. */
static int is_better(const ocsp_cache_t *cache, const slot_t *slot, const ocsp_cache_key_t *key,
                     const ocsp_cache_entry_t *entry, apr_time_t now)
{
    const content_t *content = &slot->content;
    const ocsp_cache_entry_t *old = &content->entry;

    if (memcmp(&content->key, key, sizeof(*key)) != 0 || old->length > OCSP_CACHE_VALUE_MAX
        || now >= old->expiry || old->produced_at > now + OCSP_CACHE_AHEAD
        || content->checksum != checksum_of(cache, key, old, content->value)) {
        return 0;
    }
    /* Of one that has a newer state of the certificate nothing is better that has an older one. */
    return old->version >= entry->version
        && (old->change > entry->change
            || (old->change == entry->change && old->produced_at > entry->produced_at));
}

/** The way to write to: the key's own, else a free one, else the one that was used longest ago. */
static int choose_way(const place_t *place)
{
    int chosen = 0, i;

    for (i = 0; i < WAYS; ++i) {
        if (place->set->tags[i] == place->tag) {
            return i;
        }
    }
    for (i = 0; i < WAYS; ++i) {
        if (!place->set->tags[i]) {
            return i;
        }
        if ((apr_int32_t)(place->set->used[i] - place->set->used[chosen]) < 0) {
            chosen = i;
        }
    }
    return chosen;
}

void ocsp_cache_put(ocsp_cache_t *cache, int part, const ocsp_cache_key_t *key,
                    const ocsp_cache_entry_t *entry, gh_bytes_t value, apr_time_t now)
{
    place_t place = find_place(cache, part, key);
    apr_uint32_t second = seconds_of(now);
    apr_uint64_t state;
    int way = choose_way(&place);
    slot_t *slot = NULL;
    int i;

    if (value.length > OCSP_CACHE_VALUE_MAX || value.length != entry->length) {
        return;
    }
    for (i = 0; i < WAYS && !slot; ++i) {
        slot = &place.slots[way];
        if (!lock_slot(slot, second, &state)) {
            slot = NULL;
            way = (way + 1) % WAYS;
        }
    }
    if (!slot) {
        return;
    }
    if (!is_better(cache, slot, key, entry, now)) {
        memcpy(&slot->content.key, key, sizeof(*key));
        memcpy(&slot->content.entry, entry, sizeof(*entry));
        memcpy(slot->content.value, value.data, value.length);
        slot->content.checksum = checksum_of(cache, key, entry, value.data);
        __atomic_store_n(&place.set->used[way], ticks_of(now), __ATOMIC_RELAXED);
        __atomic_store_n(&place.set->tags[way], place.tag, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&place.set->claimed[way], 0, __ATOMIC_RELAXED);
    unlock_slot(slot, state);
}

int ocsp_cache_claim(ocsp_cache_t *cache, int part, const ocsp_cache_key_t *key, apr_time_t now)
{
    place_t place = find_place(cache, part, key);
    apr_uint32_t second = seconds_of(now);
    int i;

    for (i = 0; i < WAYS; ++i) {
        apr_uint32_t claimed;

        if (__atomic_load_n(&place.set->tags[i], __ATOMIC_ACQUIRE) != place.tag) {
            continue;
        }
        claimed = __atomic_load_n(&place.set->claimed[i], __ATOMIC_RELAXED);
        if (claimed && !has_passed(claimed, second, CLAIM)) {
            return 0;
        }
        return __atomic_compare_exchange_n(&place.set->claimed[i], &claimed, second, 0,
                                           __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    }
    return 1;
}
