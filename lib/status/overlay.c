/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * header page | slots: numbers of entries, 0 for none | entries
 *
 * An entry never changes once a slot names it: a newer state of a certificate is another entry, and
 * the slot is set to it in one store. So readers see one or the other, whoever is killed when.
 */

#include "status/overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_siphash.h>
#include <apr_strings.h>
#include <openssl/rand.h>

#include "log.h"
#include "status.h"

#define OVERLAY_MAGIC "GHOVRLY1"
#define HEADER_SIZE 4096
#define SLOTS (4 * GH_OVERLAY_CAPACITY)     /* a power of two; at most a quarter is in use */
#define BOOT_SIZE 40
#define BOOT_FILE "/proc/sys/kernel/random/boot_id"

/** What a clock may be ahead of another process's. */
#define CLOCK_SKEW apr_time_from_sec(1)

#define RULE_OVERLAY "ocsp.overlay"

typedef struct {
    char magic[8];
    uint32_t size;                  /* of the file */
    uint32_t capacity;
    unsigned char authority[32];
    int64_t generation;
    char boot[BOOT_SIZE];           /* what was written before a boot may not have reached the
                                       disk */
    unsigned char key[16];          /* of the hashes */
    pthread_mutex_t mutex;          /* of writers, in all processes; robust */
    uint32_t used;                  /* entries that were given out */
    int64_t change;
    int64_t synced_at;
    gh_index_file_t verified;
} header_t;

typedef struct {
    unsigned char serial[20];
    uint8_t length;
    uint8_t state;
    int8_t reason;
    uint8_t unused;
    int64_t revoked_at;
    int64_t invalid_from;
    int64_t version;
} entry_t;

#define FILE_SIZE (HEADER_SIZE + SLOTS * sizeof(uint32_t) + GH_OVERLAY_CAPACITY * sizeof(entry_t))

_Static_assert(sizeof(header_t) <= HEADER_SIZE, "the header fits its page");

struct gh_overlay {
    header_t *header;
    uint32_t *slots;
    entry_t *entries;
};

static apr_status_t unmap(void *data)
{
    gh_overlay_t *overlay = data;

    munmap(overlay->header, FILE_SIZE);
    return APR_SUCCESS;
}

static apr_status_t fail_file(const char *path, apr_status_t rv, gh_result_t *result)
{
    char reason[120];

    return gh_result_fail(result, rv, GH_FAILURE_UNAVAILABLE, RULE_OVERLAY,
                          "Look whether the disk is full, and who may write to OCSPDirectory.",
                          GHNO(0558) "changes of status cannot be kept in %s: %s", path,
                          apr_strerror(rv, reason, sizeof(reason)));
}

static void read_boot(char boot[BOOT_SIZE])
{
    FILE *file = fopen(BOOT_FILE, "re");

    memset(boot, 0, BOOT_SIZE);
    if (file) {
        if (!fgets(boot, BOOT_SIZE, file)) {
            boot[0] = '\0';
        }
        fclose(file);
    }
}

static int is_ours(const header_t *header, const unsigned char authority[32],
                   apr_int64_t generation)
{
    char boot[BOOT_SIZE];

    read_boot(boot);
    return !memcmp(header->magic, OVERLAY_MAGIC, sizeof(header->magic))
           && header->size == FILE_SIZE && header->capacity == GH_OVERLAY_CAPACITY
           && !memcmp(header->authority, authority, sizeof(header->authority))
           && header->generation == generation
           && boot[0] != '\0' && !memcmp(header->boot, boot, BOOT_SIZE)
           && header->used <= GH_OVERLAY_CAPACITY;
}

static int make_mutex(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attributes;
    int failed;

    if (pthread_mutexattr_init(&attributes) != 0) {
        return -1;
    }
    failed = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED) != 0
             || pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST) != 0
             || pthread_mutex_init(mutex, &attributes) != 0;
    pthread_mutexattr_destroy(&attributes);
    return failed;
}

static void *map(int fd)
{
    void *memory = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

/** A new file that gets its name when it is complete. Its blocks are there before it is mapped: a
 *  full disk is a failure here, and no signal later. */
static apr_status_t make_file(const char *path, const unsigned char authority[32],
                              apr_int64_t generation, void **memory, apr_pool_t *p)
{
    const char *temporary = apr_psprintf(p, "%s.%d.new", path, (int)getpid());
    int fd = open(temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), error;
    header_t *header;

    if (fd < 0) {
        return APR_FROM_OS_ERROR(errno);
    }
    *memory = NULL;
    error = posix_fallocate(fd, 0, (off_t)FILE_SIZE);
    if (!error && !(*memory = map(fd))) {
        error = errno;
    }
    close(fd);
    if (!error) {
        header = *memory;
        header->size = FILE_SIZE;
        header->capacity = GH_OVERLAY_CAPACITY;
        memcpy(header->authority, authority, sizeof(header->authority));
        header->generation = generation;
        read_boot(header->boot);
        if (make_mutex(&header->mutex) || RAND_bytes(header->key, sizeof(header->key)) != 1) {
            error = EAGAIN;
        }
        memcpy(header->magic, OVERLAY_MAGIC, sizeof(header->magic));
        if (!error && rename(temporary, path) != 0) {
            error = errno;
        }
    }
    if (error) {
        unlink(temporary);
        if (*memory) {
            munmap(*memory, FILE_SIZE);
            *memory = NULL;
        }
    }
    return error ? APR_FROM_OS_ERROR(error) : APR_SUCCESS;
}

/** @return the file that is there, if it is what it should be; else NULL */
static void *map_file(const char *path, const unsigned char authority[32],
                      apr_int64_t generation)
{
    struct stat status;
    void *memory = NULL;
    int fd = open(path, O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        return NULL;
    }
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size == (off_t)FILE_SIZE) {
        memory = map(fd);
    }
    close(fd);
    if (memory && !is_ours(memory, authority, generation)) {
        munmap(memory, FILE_SIZE);
        memory = NULL;
    }
    return memory;
}

/** One process at a time looks for files of the folder, and makes them. */
static int lock_folder(const char *path, apr_pool_t *p)
{
    const char *slash = strrchr(path, '/');
    int fd = open(slash ? apr_pstrmemdup(p, path, (apr_size_t)(slash - path) + 1) : ".",
                  O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    while (fd >= 0 && flock(fd, LOCK_EX) != 0) {
        if (errno != EINTR) {
            close(fd);
            fd = -1;
        }
    }
    return fd;
}

apr_status_t gh_overlay_open(gh_overlay_t **overlay, const char *path,
                             const unsigned char authority[32], apr_int64_t generation,
                             apr_pool_t *p, gh_result_t *result)
{
    gh_overlay_t *made = apr_pcalloc(p, sizeof(*made));
    apr_status_t rv = APR_SUCCESS;
    void *memory;
    int lock = lock_folder(path, p);

    *overlay = NULL;
    if (lock < 0) {
        return fail_file(path, APR_FROM_OS_ERROR(errno), result);
    }
    memory = map_file(path, authority, generation);
    if (!memory) {
        rv = make_file(path, authority, generation, &memory, p);
    }
    close(lock);
    if (rv != APR_SUCCESS) {
        return fail_file(path, rv, result);
    }
    made->header = memory;
    made->slots = (uint32_t *)(void *)((char *)memory + HEADER_SIZE);
    made->entries = (entry_t *)(void *)(made->slots + SLOTS);
    apr_pool_cleanup_register(p, made, unmap, apr_pool_cleanup_null);
    *overlay = made;
    return APR_SUCCESS;
}

/** The slot where a serial is, or where it would be; NULL if there is neither.
 *  @param entry set to what is there, NULL for nothing */
static uint32_t *find_slot(const gh_overlay_t *overlay, gh_bytes_t serial, const entry_t **entry)
{
    uint32_t at = (uint32_t)apr_siphash24(serial.data, serial.length, overlay->header->key);
    uint32_t i, number;

    for (i = 0; i < SLOTS; ++i) {
        uint32_t *slot = &overlay->slots[(at + i) & (SLOTS - 1)];

        number = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
        if (!number || number > GH_OVERLAY_CAPACITY) {
            *entry = NULL;
            return number ? NULL : slot;
        }
        *entry = &overlay->entries[number - 1];
        if ((*entry)->length == serial.length
            && !memcmp((*entry)->serial, serial.data, serial.length)) {
            return slot;
        }
    }
    *entry = NULL;
    return NULL;
}

static void take_entry(gh_known_t *known, const entry_t *entry)
{
    memset(known, 0, sizeof(*known));
    known->state = (gh_known_state_t)entry->state;
    known->reason = entry->reason;
    known->revoked_at = entry->revoked_at;
    known->invalid_from = entry->invalid_from;
    known->version = entry->version;
}

int gh_overlay_find(const gh_overlay_t *overlay, gh_bytes_t serial, gh_known_t *known)
{
    const entry_t *entry;
    const uint32_t *slot;

    if (!serial.length || serial.length > sizeof(entry->serial)
        || !__atomic_load_n(&overlay->header->used, __ATOMIC_ACQUIRE)) {
        return 0;
    }
    slot = find_slot(overlay, serial, &entry);
    if (!entry) {
        return slot ? 0 : -1;
    }
    if (entry->state > GH_KNOWN_HELD) {
        return -1;
    }
    take_entry(known, entry);
    return 1;
}

/** A process that was killed while it had the mutex has left at most an entry without a slot. */
static int lock_writers(gh_overlay_t *overlay)
{
    int error = pthread_mutex_lock(&overlay->header->mutex);

    if (error == EOWNERDEAD) {
        error = pthread_mutex_consistent(&overlay->header->mutex);
    }
    return error;
}

static apr_status_t put_locked(gh_overlay_t *overlay, gh_bytes_t serial, const gh_known_t *known)
{
    const entry_t *there;
    uint32_t *slot = find_slot(overlay, serial, &there);
    uint32_t number = overlay->header->used;
    entry_t *entry;

    if (there && there->version >= known->version) {
        return APR_SUCCESS;
    }
    if (!slot || number >= GH_OVERLAY_CAPACITY) {
        return GH_EBUSY;
    }
    __atomic_store_n(&overlay->header->used, number + 1, __ATOMIC_RELEASE);
    entry = &overlay->entries[number];
    memset(entry, 0, sizeof(*entry));
    memcpy(entry->serial, serial.data, serial.length);
    entry->length = (uint8_t)serial.length;
    entry->state = (uint8_t)known->state;
    entry->reason = (int8_t)known->reason;
    entry->revoked_at = known->revoked_at;
    entry->invalid_from = known->invalid_from;
    entry->version = known->version;
    __atomic_store_n(slot, number + 1, __ATOMIC_RELEASE);
    return APR_SUCCESS;
}

apr_status_t gh_overlay_put(gh_overlay_t *overlay, gh_bytes_t serial, const gh_known_t *known,
                            gh_result_t *result)
{
    const entry_t *there;
    apr_status_t rv;

    if (!serial.length || serial.length > sizeof(there->serial)) {
        return APR_SUCCESS;
    }
    find_slot(overlay, serial, &there);
    if (there && there->version >= known->version) {
        return APR_SUCCESS;
    }
    if (lock_writers(overlay) != 0) {
        return gh_result_fail(result, APR_EGENERAL, GH_FAILURE_INTERNAL, RULE_OVERLAY,
                              "This is a fault of Gatehouse: report it.",
                              GHNO(0560) "the changes of status cannot be locked");
    }
    rv = put_locked(overlay, serial, known);
    pthread_mutex_unlock(&overlay->header->mutex);
    if (rv == APR_SUCCESS) {
        return APR_SUCCESS;
    }
    return gh_result_fail(result, rv, GH_FAILURE_UNAVAILABLE, RULE_OVERLAY,
                          "Look whether gatehouse-ocsp-feeder runs: it makes a new index in time.",
                          GHNO(0559) "there is no room for more changes of status, %d are there",
                          GH_OVERLAY_CAPACITY);
}

void gh_overlay_progress(const gh_overlay_t *overlay, gh_overlay_progress_t *progress)
{
    progress->change = __atomic_load_n(&overlay->header->change, __ATOMIC_ACQUIRE);
    progress->synced_at = __atomic_load_n(&overlay->header->synced_at, __ATOMIC_ACQUIRE);
}

/* A clock that was set back leaves a time to come, which would make old knowledge look new. */
void gh_overlay_advance(gh_overlay_t *overlay, const gh_overlay_progress_t *progress)
{
    header_t *header = overlay->header;
    apr_time_t latest = apr_time_now() + CLOCK_SKEW;

    if (progress->synced_at > latest || lock_writers(overlay) != 0) {
        return;
    }
    if (progress->change > header->change) {
        __atomic_store_n(&header->change, progress->change, __ATOMIC_RELEASE);
    }
    if (progress->synced_at > header->synced_at || header->synced_at > latest) {
        __atomic_store_n(&header->synced_at, progress->synced_at, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&header->mutex);
}

int gh_overlay_is_verified(gh_overlay_t *overlay, const gh_index_file_t *file)
{
    int is = 0;

    if (lock_writers(overlay) == 0) {
        is = !memcmp(&overlay->header->verified, file, sizeof(*file));
        pthread_mutex_unlock(&overlay->header->mutex);
    }
    return is;
}

void gh_overlay_set_verified(gh_overlay_t *overlay, const gh_index_file_t *file)
{
    if (lock_writers(overlay) == 0) {
        overlay->header->verified = *file;
        pthread_mutex_unlock(&overlay->header->mutex);
    }
}

apr_uint32_t gh_overlay_count(const gh_overlay_t *overlay)
{
    return __atomic_load_n(&overlay->header->used, __ATOMIC_RELAXED);
}

apr_status_t gh_overlay_each(const gh_overlay_t *overlay, gh_overlay_each_fn *each, void *baton)
{
    uint32_t i, number;
    apr_status_t rv = APR_SUCCESS;

    for (i = 0; rv == APR_SUCCESS && i < SLOTS; ++i) {
        number = __atomic_load_n(&overlay->slots[i], __ATOMIC_ACQUIRE);
        if (number && number <= GH_OVERLAY_CAPACITY) {
            const entry_t *entry = &overlay->entries[number - 1];
            gh_bytes_t serial = { entry->serial, entry->length };
            gh_known_t known;

            if (entry->length && entry->length <= sizeof(entry->serial)) {
                take_entry(&known, entry);
                rv = each(baton, serial, &known);
            }
        }
    }
    return rv;
}
