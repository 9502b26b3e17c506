/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Reading an index: mapping, checking, looking up. */

#include "status/index.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <apr_siphash.h>
#include <apr_strings.h>
#include <openssl/evp.h>

#include "log.h"
#include "status.h"
#include "status/index_format.h"
#include "store/certificates.h"

/** Steps of interpolation before halving takes over: uniform hashes need four or five. */
#define STEPS 8

/** What is left of a search is read through. */
#define NEAR 8

/** Before its instant an index has to be seen by followers, which look every quarter of a second,
 *  and verified by all of them, for which a hundred kilobytes in a millisecond are allowed. */
#define LEAD apr_time_from_msec(500)
#define LEAD_MAX apr_time_from_sec(5)
#define LEAD_BYTES 100              /* in a microsecond */

/** What the first table says of a serial number. */
#define IS_THERE 1
#define HAS_ENTRY 2

#define RULE_INDEX "ocsp.index"

uint64_t gh_index_hash(const unsigned char *serial, unsigned int length,
                       const unsigned char key[16])
{
    return apr_siphash24(serial, length, key) & ~(uint64_t)INDEX_HAS_ENTRY;
}

int gh_index_compare(const index_entry_t *entry, const unsigned char *serial, unsigned int length)
{
    return entry->length != length ? (entry->length < length ? -1 : 1)
                                   : memcmp(entry->serial, serial, length);
}

apr_time_t gh_index_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return apr_time_from_sec(now.tv_sec) + now.tv_nsec / 1000;
}

apr_interval_time_t gh_index_lead(apr_uint64_t size)
{
    apr_uint64_t lead = LEAD + size / LEAD_BYTES;

    return lead < LEAD_MAX ? (apr_interval_time_t)lead : LEAD_MAX;
}

apr_interval_time_t gh_index_wait(const gh_index_t *index)
{
    apr_interval_time_t wait = index->info.from ? index->info.from - gh_index_clock() : 0;

    return wait > 0 ? wait : 0;
}

static apr_status_t fail_damaged(const char *path, const char *what, gh_result_t *result)
{
    return gh_result_fail(result, GH_ECORRUPT, GH_FAILURE_INTERNAL, RULE_INDEX,
                          "It is made again by itself; if not, remove the file.",
                          GHNO(0553) "the status index %s is not used: %s", path, what);
}

static apr_status_t unmap(void *data)
{
    gh_index_t *index = data;

    munmap(index->map, index->size);
    return APR_SUCCESS;
}

/** @return why the header cannot be true, or NULL; nothing behind it has been read yet */
static const char *check_header(const index_header_t *header, apr_size_t size,
                                const unsigned char authority[32])
{
    apr_size_t body;

    if (size < sizeof(*header) || memcmp(header->magic, INDEX_MAGIC, sizeof(header->magic))) {
        return "it is none";
    }
    if (header->byte_order != INDEX_BYTE_ORDER || header->header_size != sizeof(*header)
        || header->entry_size != sizeof(index_entry_t)) {
        return "it is of another kind of machine or version";
    }
    body = size - sizeof(*header);
    if (header->hashes > body / sizeof(uint64_t)
        || header->revoked > body / sizeof(index_entry_t)
        || header->hashes * sizeof(uint64_t) + header->revoked * sizeof(index_entry_t) != body) {
        return "it is not as long as it says";
    }
    if (memcmp(header->authority, authority, sizeof(header->authority))) {
        return "it is of another authority, or of other sources";
    }
    return NULL;
}

/** The digest of all of the file, its own bytes as zeros. */
static int digest_fits(const index_header_t *header, apr_size_t size)
{
    index_header_t zeroed = *header;
    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int fits;

    memset(zeroed.sha256, 0, sizeof(zeroed.sha256));
    fits = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1
           && EVP_DigestUpdate(context, header + 1, size - sizeof(zeroed)) == 1
           && EVP_DigestUpdate(context, &zeroed, sizeof(zeroed)) == 1
           && EVP_DigestFinal_ex(context, digest, NULL) == 1
           && !memcmp(digest, header->sha256, sizeof(header->sha256));
    EVP_MD_CTX_free(context);
    return fits;
}

static void take_info(gh_index_t *index)
{
    const index_header_t *header = index->header;

    memcpy(index->info.authority, header->authority, sizeof(index->info.authority));
    index->info.generation = header->generation;
    index->info.change = header->change;
    index->info.synced_at = header->synced_at;
    index->info.this_update = header->this_update;
    index->info.next_update = header->next_update;
    index->info.expired_on_crl = header->expired_on_crl;
    /* the clock of a boot before may have been ahead by anything */
    index->info.from = header->from - gh_index_clock() <= gh_index_lead(index->size)
        ? header->from : 0;
    index->info.complete = header->complete != 0;
    index->info.issued = header->issued;
    index->info.revoked = header->revoked;
    index->hash_count = header->hashes;
}

/** Maps a whole file. @return APR_EGENERAL for one that has no length to be mapped */
static apr_status_t map_file(gh_index_t *index, const char *path)
{
    struct stat status;
    apr_status_t rv = APR_SUCCESS;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return APR_FROM_OS_ERROR(errno);
    }
    if (fstat(fd, &status) != 0) {
        rv = APR_FROM_OS_ERROR(errno);
    }
    else if (!S_ISREG(status.st_mode) || status.st_size < (off_t)sizeof(index_header_t)) {
        rv = APR_EGENERAL;
    }
    else {
        index->size = (apr_size_t)status.st_size;
        index->file.device = (apr_int64_t)status.st_dev;
        index->file.inode = (apr_int64_t)status.st_ino;
        index->file.size = (apr_int64_t)status.st_size;
        index->file.modified = (apr_int64_t)status.st_mtim.tv_sec * APR_INT64_C(1000000000)
            + status.st_mtim.tv_nsec;
        index->map = mmap(NULL, index->size, PROT_READ, MAP_SHARED, fd, 0);
        rv = index->map == MAP_FAILED ? APR_FROM_OS_ERROR(errno) : APR_SUCCESS;
    }
    close(fd);
    return rv;
}

apr_status_t gh_index_open(gh_index_t **index, const char *path,
                           const unsigned char authority[32], int verify, apr_pool_t *p,
                           gh_result_t *result)
{
    gh_index_t *made = apr_pcalloc(p, sizeof(*made));
    const char *fault;
    apr_status_t rv;

    *index = NULL;
    rv = map_file(made, path);
    if (rv == APR_EGENERAL) {
        return fail_damaged(path, "it is none", result);
    }
    if (rv != APR_SUCCESS) {
        char reason[120];

        return gh_result_fail(result, rv, GH_FAILURE_UNAVAILABLE, RULE_INDEX,
                              "Look whether gatehouse-ocsp-feeder runs, and what it says.",
                              GHNO(0554) "there is no status index %s: %s", path,
                              apr_strerror(rv, reason, sizeof(reason)));
    }
    apr_pool_cleanup_register(p, made, unmap, apr_pool_cleanup_null);
    made->header = made->map;
    fault = check_header(made->header, made->size, authority);
    if (!fault && verify && !digest_fits(made->header, made->size)) {
        fault = "it is damaged";
    }
    if (fault) {
        apr_pool_cleanup_run(p, made, unmap);
        return fail_damaged(path, fault, result);
    }
    made->hashes = (const uint64_t *)(const void *)(made->header + 1);
    made->entries = (const index_entry_t *)(const void *)(made->hashes + made->header->hashes);
    take_info(made);
    *index = made;
    return APR_SUCCESS;
}

apr_status_t gh_index_verify(const gh_index_t *index, const char *path, gh_result_t *result)
{
    return digest_fits(index->header, index->size)
               ? APR_SUCCESS : fail_damaged(path, "it is damaged", result);
}

const gh_index_file_t *gh_index_file(const gh_index_t *index)
{
    return &index->file;
}

const gh_index_info_t *gh_index_info(const gh_index_t *index)
{
    return &index->info;
}

/** @return the hash at a place and its neighbour, if they are what was looked for: a sum of
 *  IS_THERE and HAS_ENTRY */
static int hashes_at(const uint64_t *hashes, uint64_t count, uint64_t at, uint64_t hash)
{
    int found = hashes[at] == hash ? IS_THERE : HAS_ENTRY;

    if (found == IS_THERE && at + 1 < count && hashes[at + 1] == (hash | INDEX_HAS_ENTRY)) {
        found |= HAS_ENTRY;
    }
    if (found == HAS_ENTRY && at > 0 && hashes[at - 1] == hash) {
        found |= IS_THERE;
    }
    return found;
}

/* Hashes are uniform, so that where one has to stand can be guessed well. Whatever the file holds,
 * nothing outside of it is read. */
static int find_hash(const uint64_t *hashes, uint64_t count, uint64_t hash)
{
    uint64_t low = 0, high = count, at;
    int step = 0;

    while (high - low > NEAR) {
        uint64_t first = hashes[low], last = hashes[high - 1];

        if ((hash | INDEX_HAS_ENTRY) < first || hash > last) {
            return 0;
        }
        at = low + (high - low) / 2;
        if (step++ < STEPS && last > first) {
            at = low + (uint64_t)((hash > first ? (double)(hash - first) : 0)
                                  / (double)(last - first) * (double)(high - 1 - low));
            at = at < high ? at : high - 1;
        }
        if ((hashes[at] & ~(uint64_t)INDEX_HAS_ENTRY) == hash) {
            return hashes_at(hashes, count, at, hash);
        }
        if (hashes[at] < hash) {
            low = at + 1;
        }
        else {
            high = at;
        }
    }
    for (; low < high; ++low) {
        if ((hashes[low] & ~(uint64_t)INDEX_HAS_ENTRY) == hash) {
            return hashes_at(hashes, count, low, hash);
        }
    }
    return 0;
}

static const index_entry_t *find_entry(const gh_index_t *index, gh_bytes_t serial)
{
    uint64_t low = 0, high = index->info.revoked, at;
    int order;

    while (low < high) {
        at = low + (high - low) / 2;
        order = gh_index_compare(&index->entries[at], serial.data, (unsigned int)serial.length);
        if (order == 0) {
            return &index->entries[at];
        }
        if (order < 0) {
            low = at + 1;
        }
        else {
            high = at;
        }
    }
    return NULL;
}

static void take_entry(gh_known_t *known, const index_entry_t *entry)
{
    known->state = entry->state == GH_KNOWN_HELD || entry->state == GH_KNOWN_GOOD
                   ? (gh_known_state_t)entry->state : GH_KNOWN_REVOKED;
    known->reason = entry->reason;
    known->revoked_at = entry->revoked_at;
    known->invalid_from = entry->invalid_from;
    known->version = entry->version;
}

void gh_index_find(const gh_index_t *index, gh_bytes_t serial, gh_known_t *known)
{
    const index_entry_t *entry = NULL;
    int found;

    memset(known, 0, sizeof(*known));
    if (!serial.length || serial.length > sizeof(entry->serial)) {
        return;
    }
    found = find_hash(index->hashes, index->hash_count,
                      gh_index_hash(serial.data, (unsigned int)serial.length,
                                    index->header->key));
    if (found & HAS_ENTRY) {
        entry = find_entry(index, serial);
    }
    if (entry) {
        take_entry(known, entry);
    }
    else if (found & IS_THERE) {
        known->state = GH_KNOWN_GOOD;
        known->reason = GH_REASON_NONE;
    }
}

apr_status_t gh_index_each_revoked(const gh_index_t *index, gh_index_each_fn *each, void *baton)
{
    uint64_t i;

    for (i = 0; i < index->info.revoked; ++i) {
        const index_entry_t *entry = &index->entries[i];
        gh_bytes_t serial = { entry->serial, entry->length };
        gh_known_t known;
        apr_status_t rv;

        if (!serial.length || serial.length > sizeof(entry->serial)
            || entry->state == GH_KNOWN_GOOD) {
            continue;
        }
        take_entry(&known, entry);
        if ((rv = each(baton, serial, &known)) != APR_SUCCESS) {
            return rv;
        }
    }
    return APR_SUCCESS;
}
