/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * A damaged status index. The first byte of an input says what the rest is:
 *
 *   r  a whole file
 *   p  changes of a sound one: three bytes each, two of the place and one that is added there; a
 *      last one that is not whole cuts the file there
 *
 * What is opened without its digest being verified is read within its bounds; what is verified is
 * sound, and is refused if one byte of it was changed.
 */

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <apr_general.h>
#include <apr_pools.h>
#include <apr_strings.h>

#include "status/index.h"
#include "status/index_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SERIALS 60

static struct {
    apr_pool_t *pool;
    unsigned char authority[32];
    unsigned char *file;            /* of a sound index */
    size_t size;
    int fd;                         /* of the file to be opened */
    const char *path;
} target;

static void require(int condition)
{
    if (!condition)
        abort();
}

static gh_bytes_t serial_of(unsigned int number, unsigned char bytes[20])
{
    gh_bytes_t serial = { bytes, 1 + number % 20 };

    memset(bytes, (int)(1 + number), 20);
    return serial;
}

static gh_known_t known_as(unsigned int number)
{
    gh_known_t known = { GH_KNOWN_GOOD, -1, 0, 0, 0 };

    if (number % 3 == 1) {
        known = (gh_known_t){ GH_KNOWN_REVOKED, 1, 1000 + number, 500, number };
    }
    else if (number % 9 == 2) {
        known = (gh_known_t){ GH_KNOWN_HELD, 6, 1000 + number, 0, number };
    }
    return known;
}

/** Makes a sound index and keeps its bytes. */
static void make_index(void)
{
    char folder[] = "/tmp/gatehouse-fuzz-XXXXXX";
    gh_index_info_t info = { .generation = 5, .change = 9, .complete = 1 };
    gh_index_builder_t *builder;
    unsigned char bytes[20];
    const char *path;
    unsigned int i;
    int fd;

    memcpy(info.authority, target.authority, sizeof(info.authority));
    require(mkdtemp(folder) != NULL);
    path = apr_pstrcat(target.pool, folder, "/index", NULL);
    require(gh_index_begin(&builder, path, &info, SERIALS, target.pool, NULL) == APR_SUCCESS);
    for (i = 0; i < SERIALS; i++) {
        gh_known_t known = known_as(i);

        require(gh_index_add(builder, serial_of(i, bytes), &known, NULL) == APR_SUCCESS);
    }
    require(gh_index_finish(builder, NULL) == APR_SUCCESS);
    target.file = apr_palloc(target.pool, 65536);
    fd = open(path, O_RDONLY);
    target.size = (size_t)read(fd, target.file, 65536);
    require(target.size > sizeof(index_header_t) && target.size < 65536);
    close(fd);
    unlink(path);
    rmdir(folder);
}

static void tear_down(void)
{
    close(target.fd);
    apr_pool_destroy(target.pool);
}

static void set_up(void)
{
    if (target.pool != NULL)
        return;
    apr_initialize();
    require(apr_pool_create(&target.pool, NULL) == APR_SUCCESS);
    memset(target.authority, 'a', sizeof(target.authority));
    target.fd = memfd_create("index", MFD_CLOEXEC);
    require(target.fd >= 0);
    target.path = apr_psprintf(target.pool, "/proc/self/fd/%d", target.fd);
    atexit(tear_down);
    make_index();
}

static apr_status_t look_at(void *baton, gh_bytes_t serial, const gh_known_t *known)
{
    const gh_index_t *index = baton;
    gh_known_t found;

    require(serial.length >= 1 && serial.length <= 20);
    require(known->state == GH_KNOWN_REVOKED || known->state == GH_KNOWN_HELD);
    gh_index_find(index, serial, &found);
    require(found.state <= GH_KNOWN_HELD);
    return APR_SUCCESS;
}

/** Reads all of an index, in bounds whatever is in it. */
static void read_all(gh_index_t *index)
{
    gh_known_t known;
    unsigned char bytes[20];
    unsigned int i;

    for (i = 0; i < SERIALS; i++) {
        gh_index_find(index, serial_of(i, bytes), &known);
        require(known.state <= GH_KNOWN_HELD);
    }
    require(gh_index_each_revoked(index, look_at, index) == APR_SUCCESS);
}

/** What a builder has made: each table in order, each entry found. */
static void check_sound(const gh_index_t *index)
{
    gh_known_t known;
    uint64_t i;

    for (i = 1; i < index->hash_count; i++)
        require(index->hashes[i - 1] < index->hashes[i]);
    for (i = 0; i < index->info.revoked; i++) {
        const index_entry_t *entry = &index->entries[i];
        gh_bytes_t serial = { entry->serial, entry->length };

        require(i == 0 || gh_index_compare(entry - 1, entry->serial, entry->length) < 0);
        gh_index_find(index, serial, &known);
        require(known.state == entry->state && known.reason == entry->reason
                && known.revoked_at == entry->revoked_at
                && known.invalid_from == entry->invalid_from && known.version == entry->version);
    }
}

/** What was put into the sound index, and nothing else. */
static void check_answers(const gh_index_t *index)
{
    unsigned char bytes[20];
    unsigned int i;

    for (i = 0; i < SERIALS; i++) {
        gh_known_t known, wanted = known_as(i);

        gh_index_find(index, serial_of(i, bytes), &known);
        require(known.state == wanted.state && known.reason == wanted.reason
                && known.revoked_at == wanted.revoked_at
                && known.invalid_from == wanted.invalid_from && known.version == wanted.version);
    }
}

static size_t change_file(uint8_t *file, const uint8_t *data, size_t size)
{
    size_t at;

    for (; size >= 3; data += 3, size -= 3) {
        at = ((size_t)data[0] << 8 | data[1]) % target.size;
        file[at] = (uint8_t)(file[at] + data[2]);
    }
    return size == 2 ? ((size_t)data[0] << 8 | data[1]) % target.size
           : size == 1 ? data[0] % target.size : target.size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *file = data + 1;
    uint8_t changed[65536];
    gh_index_t *index;
    apr_pool_t *p;
    int same = 0;

    set_up();
    if (size == 0)
        return 0;
    size--;
    if (data[0] != 'r') {
        memcpy(changed, target.file, target.size);
        size = change_file(changed, file, size);
        file = changed;
        same = size == target.size && memcmp(changed, target.file, size) == 0;
    }
    require(ftruncate(target.fd, 0) == 0
            && pwrite(target.fd, file, size, 0) == (ssize_t)size);
    require(apr_pool_create(&p, target.pool) == APR_SUCCESS);
    if (gh_index_open(&index, target.path, target.authority, 0, p, NULL) == APR_SUCCESS)
        read_all(index);
    if (gh_index_open(&index, target.path, target.authority, 1, p, NULL) == APR_SUCCESS) {
        check_sound(index);
        require(data[0] == 'r' || same);
        if (same)
            check_answers(index);
    }
    else {
        require(!same);
    }
    apr_pool_destroy(p);
    return 0;
}
