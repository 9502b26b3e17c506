/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * Runs a fuzz target over every file of a folder, as it is and with small changes that are the same
 * each time, and over those in the folders within it, which were found by fuzzing, as they are.
 * A target that finds something aborts. Folders are given as arguments; without any it is the one
 * that was compiled in.
 *
 *     ./fuzz_csr [FOLDER...]
 */

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define INPUT_MAX   (1024 * 1024)
#define CHANGES     48

#define CORPUS      TEST_SRCDIR "/tests/fuzz/corpus/" FUZZ_CORPUS

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/** The same numbers in each run. */
static uint32_t next_number(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

/** Gives the target a copy of exactly the right size, so that reading behind it shows. */
static void run_one(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);

    if (copy == NULL)
        abort();
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void run_changed(const uint8_t *data, size_t size, uint32_t *seed)
{
    static const uint8_t special[] = { 0x00, 0x01, 0x7f, 0x80, 0xff, 0x30, 0x05, 0x84 };
    uint8_t *copy = malloc(size + 8);
    uint32_t kind = next_number(seed) % 4;
    size_t at = next_number(seed) % size;

    if (copy == NULL)
        abort();
    memcpy(copy, data, size);
    switch (kind) {
    case 0:
        copy[at] ^= (uint8_t)(1u << next_number(seed) % 8);
        break;
    case 1:
        copy[at] = special[next_number(seed) % sizeof(special)];
        break;
    case 2:
        size = at;
        break;
    default:
        memmove(copy + at + 1, copy + at, size - at);
        size++;
        break;
    }
    run_one(copy, size);
    free(copy);
}

/** @return 0 if the file cannot be read */
static int replay_file(const char *path, int changes)
{
    static uint8_t data[INPUT_MAX];
    FILE *file = fopen(path, "rb");
    uint32_t seed = 2463534242u;
    size_t size;
    int i;

    if (file == NULL) {
        fprintf(stderr, "cannot open %s: %s\n", path, strerror(errno));
        return 0;
    }
    size = fread(data, 1, sizeof(data), file);
    fclose(file);
    run_one(data, size);
    for (i = 0; size > 0 && i < changes; i++)
        run_changed(data, size, &seed);
    return 1;
}

/** @return how many files there were, -1 if one cannot be read */
static int replay_folder(const char *folder, int changes)
{
    DIR *directory = opendir(folder);
    struct dirent *entry;
    struct stat status;
    char path[4096];
    int count = 0, more;

    if (directory == NULL) {
        fprintf(stderr, "cannot open %s: %s\n", folder, strerror(errno));
        return -1;
    }
    while (count >= 0 && (entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        more = stat(path, &status) == 0 && S_ISDIR(status.st_mode) ? replay_folder(path, 0)
                                                                   : replay_file(path, changes);
        count = more > 0 ? count + more : -1;
    }
    closedir(directory);
    return count;
}

int main(int argc, char **argv)
{
    int i, count, total = 0;

    for (i = argc > 1 ? 1 : 0; i < argc; i++) {
        count = replay_folder(argc > 1 ? argv[i] : CORPUS, CHANGES);
        if (count <= 0) {
            fprintf(stderr, "nothing was replayed from %s\n", argc > 1 ? argv[i] : CORPUS);
            return 1;
        }
        total += count;
    }
    printf("%d inputs\n", total);
    return 0;
}
