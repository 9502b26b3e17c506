/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Building an index: collecting, sorting, writing. */

#include "status/index.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apr_file_info.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "log.h"
#include "status.h"
#include "status/index_format.h"

#define RULE_INDEX "ocsp.index"

/** Bytes that are written at a time. */
#define CHUNK ((apr_size_t)1 << 20)

/** An entry while it is collected; one of state GH_KNOWN_GOOD takes back what came before. */
typedef struct {
    index_entry_t entry;
    uint64_t order;
} change_t;

struct gh_index_builder {
    gh_index_info_t info;
    const char *path;
    const char *temporary;          /* NULL before it was made and after it was renamed */
    unsigned char key[16];
    uint64_t *hashes;
    uint64_t count, room;
    change_t *changes;
    uint64_t change_count, change_room;
    int together;                   /* its instant is some time after it is complete */
    int merging;                    /* another index was taken up: "good" may be news */
    EVP_MD_CTX *digest;
    int fd;
    apr_pool_t *pool;
};

static apr_status_t discard(void *data)
{
    gh_index_builder_t *builder = data;

    if (builder->fd >= 0) {
        close(builder->fd);
    }
    if (builder->temporary) {
        unlink(builder->temporary);
    }
    EVP_MD_CTX_free(builder->digest);
    free(builder->hashes);
    free(builder->changes);
    return APR_SUCCESS;
}

static apr_status_t fail_memory(gh_result_t *result)
{
    return gh_result_fail(result, APR_ENOMEM, GH_FAILURE_UNAVAILABLE, RULE_INDEX,
                          "Give the machine more memory.",
                          GHNO(0555) "there is no memory to make a status index");
}

static apr_status_t fail_write(const gh_index_builder_t *builder, apr_status_t rv,
                               gh_result_t *result)
{
    char reason[120];

    return gh_result_fail(result, rv, GH_FAILURE_UNAVAILABLE, RULE_INDEX,
                          "Look whether the disk is full, and who may write to OCSPDirectory.",
                          GHNO(0556) "the status index %s cannot be written: %s", builder->path,
                          apr_strerror(rv, reason, sizeof(reason)));
}

apr_status_t gh_index_begin(gh_index_builder_t **builder, const char *path,
                            const gh_index_info_t *info, apr_uint64_t expected, apr_pool_t *p,
                            gh_result_t *result)
{
    gh_index_builder_t *made = apr_pcalloc(p, sizeof(*made));

    *builder = NULL;
    made->info = *info;
    made->path = apr_pstrdup(p, path);
    made->pool = p;
    made->fd = -1;
    apr_pool_cleanup_register(p, made, discard, apr_pool_cleanup_null);
    made->room = expected + expected / 16 + 64;
    made->hashes = malloc(made->room * sizeof(*made->hashes));
    made->digest = EVP_MD_CTX_new();
    if (!made->hashes || !made->digest || RAND_bytes(made->key, sizeof(made->key)) != 1) {
        return fail_memory(result);
    }
    *builder = made;
    return APR_SUCCESS;
}

void gh_index_together(gh_index_builder_t *builder)
{
    builder->together = 1;
}

gh_index_info_t *gh_index_builder_info(gh_index_builder_t *builder)
{
    return &builder->info;
}

static apr_status_t need_hashes(gh_index_builder_t *builder, uint64_t more, gh_result_t *result)
{
    uint64_t room = builder->room, *hashes;

    if (builder->count + more <= room) {
        return APR_SUCCESS;
    }
    room = builder->count + more + room / 2;
    hashes = realloc(builder->hashes, room * sizeof(*hashes));
    if (!hashes) {
        return fail_memory(result);
    }
    builder->hashes = hashes;
    builder->room = room;
    return APR_SUCCESS;
}

static apr_status_t add_change(gh_index_builder_t *builder, gh_bytes_t serial,
                               const gh_known_t *known, gh_result_t *result)
{
    uint64_t room = builder->change_room;
    change_t *changes;
    index_entry_t *entry;

    if (builder->change_count == room) {
        room = room ? 2 * room : 1024;
        changes = realloc(builder->changes, room * sizeof(*changes));
        if (!changes) {
            return fail_memory(result);
        }
        builder->changes = changes;
        builder->change_room = room;
    }
    entry = &builder->changes[builder->change_count].entry;
    memset(entry, 0, sizeof(*entry));
    memcpy(entry->serial, serial.data, serial.length);
    entry->length = (uint8_t)serial.length;
    entry->state = (uint8_t)known->state;
    entry->reason = (int8_t)known->reason;
    entry->revoked_at = known->revoked_at;
    entry->invalid_from = known->invalid_from;
    entry->version = known->version;
    builder->changes[builder->change_count].order = builder->change_count;
    ++builder->change_count;
    return APR_SUCCESS;
}

apr_status_t gh_index_add(gh_index_builder_t *builder, gh_bytes_t serial, const gh_known_t *known,
                          gh_result_t *result)
{
    apr_status_t rv;

    if (!serial.length || serial.length > 20 || known->state == GH_KNOWN_NOT) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, RULE_INDEX,
                              "This is a fault of Gatehouse: report it.",
                              GHNO(0557) "a status index was given a serial number of %d bytes",
                              (int)serial.length);
    }
    if (known->state != GH_KNOWN_GOOD) {
        return add_change(builder, serial, known, result);
    }
    if ((rv = need_hashes(builder, 1, result)) != APR_SUCCESS) {
        return rv;
    }
    builder->hashes[builder->count++] = gh_index_hash(serial.data, (unsigned int)serial.length,
                                                      builder->key);
    return builder->merging || known->version ? add_change(builder, serial, known, result)
                                              : APR_SUCCESS;
}

static apr_status_t carry_entries(gh_index_builder_t *builder, const gh_index_t *index,
                                  gh_result_t *result)
{
    apr_status_t rv = APR_SUCCESS;
    uint64_t i;

    for (i = 0; rv == APR_SUCCESS && i < index->info.revoked; ++i) {
        const index_entry_t *entry = &index->entries[i];
        gh_bytes_t serial = { entry->serial, entry->length };
        gh_known_t known = { (gh_known_state_t)entry->state, entry->reason, entry->revoked_at,
                             entry->invalid_from, entry->version };

        if (serial.length && serial.length <= sizeof(entry->serial)) {
            rv = add_change(builder, serial, &known, result);
        }
    }
    return rv;
}

apr_status_t gh_index_add_index(gh_index_builder_t *builder, const gh_index_t *index,
                                gh_result_t *result)
{
    apr_status_t rv = need_hashes(builder, index->hash_count, result);
    uint64_t i;

    if (rv != APR_SUCCESS) {
        return rv;
    }
    memcpy(builder->key, index->header->key, sizeof(builder->key));
    /* those of entries are made from the entries that will be there */
    for (i = 0; i < index->hash_count; ++i) {
        if (!(index->hashes[i] & INDEX_HAS_ENTRY)) {
            builder->hashes[builder->count++] = index->hashes[i];
        }
    }
    builder->merging = 1;
    return carry_entries(builder, index, result);
}

static int by_hash(const void *one, const void *other)
{
    uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;

    return (a > b) - (a < b);
}

static int by_serial(const void *one, const void *other)
{
    const change_t *a = one, *b = other;
    int order = gh_index_compare(&a->entry, b->entry.serial, b->entry.length);

    return order ? order : (a->order > b->order) - (a->order < b->order);
}

static void sort_hashes(gh_index_builder_t *builder)
{
    uint64_t i, kept = 0;

    qsort(builder->hashes, builder->count, sizeof(*builder->hashes), by_hash);
    builder->info.issued = 0;
    for (i = 0; i < builder->count; ++i) {
        if (!kept || builder->hashes[kept - 1] != builder->hashes[i]) {
            builder->info.issued += !(builder->hashes[i] & INDEX_HAS_ENTRY);
            builder->hashes[kept++] = builder->hashes[i];
        }
    }
    builder->count = kept;
}

static apr_status_t add_hashes_of_entries(gh_index_builder_t *builder, gh_result_t *result)
{
    apr_status_t rv = need_hashes(builder, builder->info.revoked, result);
    uint64_t i;

    for (i = 0; rv == APR_SUCCESS && i < builder->info.revoked; ++i) {
        const index_entry_t *entry = &builder->changes[i].entry;

        builder->hashes[builder->count++] = gh_index_hash(entry->serial, entry->length,
                                                          builder->key) | INDEX_HAS_ENTRY;
    }
    return rv;
}

/** Of several about one serial the last counts whose version is not below that of one before. Those
 *  that end as good are left out, unless they have a version: it must not go back. */
static void sort_changes(gh_index_builder_t *builder)
{
    change_t *changes = builder->changes;
    uint64_t i, next, kept = 0;

    if (builder->change_count) {
        qsort(changes, builder->change_count, sizeof(*changes), by_serial);
    }
    for (i = 0; i < builder->change_count; i = next) {
        change_t *last = &changes[i];

        for (next = i + 1; next < builder->change_count
             && !gh_index_compare(&changes[next].entry, last->entry.serial, last->entry.length);
             ++next) {
            if (changes[next].entry.version >= last->entry.version) {
                last = &changes[next];
            }
        }
        if (last->entry.state != GH_KNOWN_GOOD || last->entry.version) {
            changes[kept++] = *last;
        }
    }
    builder->info.revoked = kept;
}

static apr_status_t write_bytes(const gh_index_builder_t *builder, const void *data,
                                apr_size_t length)
{
    const char *at = data;
    ssize_t written;

    while (length) {
        written = write(builder->fd, at, length < CHUNK ? length : CHUNK);
        if (written < 0 && errno != EINTR) {
            return APR_FROM_OS_ERROR(errno);
        }
        if (written > 0) {
            at += written;
            length -= (apr_size_t)written;
        }
    }
    return APR_SUCCESS;
}

static apr_status_t put(gh_index_builder_t *builder, const void *data, apr_size_t length)
{
    return EVP_DigestUpdate(builder->digest, data, length) == 1
        ? write_bytes(builder, data, length) : APR_EGENERAL;
}

static void make_header(const gh_index_builder_t *builder, index_header_t *header)
{
    const gh_index_info_t *info = &builder->info;

    memset(header, 0, sizeof(*header));
    memcpy(header->magic, INDEX_MAGIC, sizeof(header->magic));
    header->byte_order = INDEX_BYTE_ORDER;
    header->header_size = sizeof(*header);
    header->entry_size = sizeof(index_entry_t);
    header->complete = info->complete != 0;
    memcpy(header->authority, info->authority, sizeof(header->authority));
    header->generation = info->generation;
    header->change = info->change;
    header->synced_at = info->synced_at;
    header->this_update = info->this_update;
    header->next_update = info->next_update;
    header->expired_on_crl = info->expired_on_crl;
    header->from = info->from;
    header->issued = info->issued;
    header->revoked = info->revoked;
    header->hashes = builder->count;
    memcpy(header->key, builder->key, sizeof(header->key));
}

/** Entries lie between others' orders: they are gathered before they are written. */
static apr_status_t put_entries(gh_index_builder_t *builder)
{
    index_entry_t entries[512];
    uint64_t i;
    apr_size_t count = 0;
    apr_status_t rv = APR_SUCCESS;

    for (i = 0; rv == APR_SUCCESS && i < builder->info.revoked; ++i) {
        entries[count++] = builder->changes[i].entry;
        if (count == 512 || i + 1 == builder->info.revoked) {
            rv = put(builder, entries, count * sizeof(entries[0]));
            count = 0;
        }
    }
    return rv;
}

/** All else is on the disk: so its instant is as late as it has to be, and no later. */
static apr_status_t write_header(gh_index_builder_t *builder, index_header_t *header)
{
    unsigned char digest[EVP_MAX_MD_SIZE];

    if (builder->together) {
        header->from = gh_index_clock()
            + gh_index_lead(sizeof(*header) + header->hashes * sizeof(uint64_t)
                            + header->revoked * sizeof(index_entry_t));
    }
    if (EVP_DigestUpdate(builder->digest, header, sizeof(*header)) != 1
        || EVP_DigestFinal_ex(builder->digest, digest, NULL) != 1) {
        return APR_EGENERAL;
    }
    memcpy(header->sha256, digest, sizeof(header->sha256));
    if (pwrite(builder->fd, header, sizeof(*header), 0) != (ssize_t)sizeof(*header)
        || fsync(builder->fd) != 0) {
        return APR_FROM_OS_ERROR(errno);
    }
    return APR_SUCCESS;
}

static apr_status_t write_all(gh_index_builder_t *builder)
{
    index_header_t header;
    apr_status_t rv;

    make_header(builder, &header);
    if (EVP_DigestInit_ex(builder->digest, EVP_sha256(), NULL) != 1) {
        return APR_EGENERAL;
    }
    if ((rv = write_bytes(builder, &header, sizeof(header))) != APR_SUCCESS
        || (rv = put(builder, builder->hashes, builder->count * sizeof(uint64_t))) != APR_SUCCESS
        || (rv = put_entries(builder)) != APR_SUCCESS) {
        return rv;
    }
    if (fsync(builder->fd) != 0) {
        return APR_FROM_OS_ERROR(errno);
    }
    return write_header(builder, &header);
}

static const char *folder_of(const char *path, apr_pool_t *p)
{
    const char *slash = strrchr(path, '/');

    return slash ? apr_pstrmemdup(p, path, (apr_size_t)(slash - path) + 1) : "./";
}

/** Removes temporary files of processes that were killed while they wrote. */
static void remove_leftovers(const gh_index_builder_t *builder)
{
    const char *folder = folder_of(builder->path, builder->pool);
    const char *name = apr_filepath_name_get(builder->path);
    apr_size_t length = strlen(name);
    apr_dir_t *directory;
    apr_finfo_t info;
    apr_int64_t pid;
    char *end;

    if (apr_dir_open(&directory, folder, builder->pool) != APR_SUCCESS) {
        return;
    }
    while (apr_dir_read(&info, APR_FINFO_NAME, directory) == APR_SUCCESS) {
        if (strncmp(info.name, name, length) || info.name[length] != '.'
            || !apr_isdigit(info.name[length + 1])) {
            continue;
        }
        pid = apr_strtoi64(info.name + length + 1, &end, 10);
        if (!strcmp(end, ".new") && pid > 0 && pid <= INT_MAX
            && kill((pid_t)pid, 0) != 0 && errno == ESRCH) {
            unlink(apr_pstrcat(builder->pool, folder, info.name, NULL));
        }
    }
    apr_dir_close(directory);
}

static apr_status_t flush_folder(const char *path, apr_pool_t *p)
{
    int fd = open(folder_of(path, p), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    apr_status_t rv = fd < 0 || fsync(fd) != 0 ? APR_FROM_OS_ERROR(errno) : APR_SUCCESS;

    if (fd >= 0) {
        close(fd);
    }
    return rv;
}

apr_status_t gh_index_finish(gh_index_builder_t *builder, gh_result_t *result)
{
    char *temporary = apr_psprintf(builder->pool, "%s.%d.new", builder->path, (int)getpid());
    apr_status_t rv;

    sort_changes(builder);
    if ((rv = add_hashes_of_entries(builder, result)) != APR_SUCCESS) {
        return rv;
    }
    sort_hashes(builder);
    remove_leftovers(builder);
    builder->fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (builder->fd < 0) {
        return fail_write(builder, APR_FROM_OS_ERROR(errno), result);
    }
    builder->temporary = temporary;
    if ((rv = write_all(builder)) != APR_SUCCESS) {
        return fail_write(builder, rv, result);
    }
    if (rename(temporary, builder->path) != 0) {
        return fail_write(builder, APR_FROM_OS_ERROR(errno), result);
    }
    builder->temporary = NULL;
    if ((rv = flush_folder(builder->path, builder->pool)) != APR_SUCCESS) {
        return fail_write(builder, rv, result);
    }
    return APR_SUCCESS;
}
