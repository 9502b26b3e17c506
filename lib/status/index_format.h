/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_status_index_format_h
#define gatehouse_status_index_format_h

#include <stdint.h>

#include "status/index.h"

/* How an index lies in its file; see index.h. */

#define INDEX_MAGIC "GHINDEX3"
#define INDEX_BYTE_ORDER 0x01020304u

/** Only numbers, without padding; the hashes follow it at once. */
typedef struct {
    char magic[8];
    uint32_t byte_order;
    uint32_t header_size;
    uint32_t entry_size;
    uint32_t complete;
    unsigned char authority[32];
    int64_t generation;
    int64_t change;
    int64_t synced_at;
    int64_t this_update;
    int64_t next_update;
    int64_t expired_on_crl;
    int64_t from;                   /* by gh_index_clock() */
    uint64_t issued;
    uint64_t revoked;
    uint64_t hashes;                /* in the first table */
    unsigned char key[16];          /* of the hashes */
    unsigned char sha256[32];       /* of all behind the header, then of the header with these
                                       bytes zero: it is written last */
} index_header_t;

/** A certificate whose status has changed: revoked, held, or good again. */
typedef struct {
    unsigned char serial[20];       /* zeros behind it */
    uint8_t length;
    uint8_t state;                  /* gh_known_state_t */
    int8_t reason;
    uint8_t unused;
    int64_t revoked_at;
    int64_t invalid_from;
    int64_t version;
} index_entry_t;

struct gh_index {
    const index_header_t *header;
    const uint64_t *hashes;
    uint64_t hash_count;
    const index_entry_t *entries;
    gh_index_info_t info;
    void *map;
    apr_size_t size;
    gh_index_file_t file;
};

/** The order of the second table: by length, then by bytes, which is that of the numbers. */
int gh_index_compare(const index_entry_t *entry, const unsigned char *serial, unsigned int length);

/** How long before its instant an index of so many bytes is complete. */
apr_interval_time_t gh_index_lead(apr_uint64_t size);

/** The lowest bit of a hash that leads to an entry; hashes of other certificates do not have it. */
#define INDEX_HAS_ENTRY 1u

/** @return the hash, with the lowest bit 0 */
uint64_t gh_index_hash(const unsigned char *serial, unsigned int length,
                       const unsigned char key[16]);

#endif /* gatehouse_status_index_format_h */
