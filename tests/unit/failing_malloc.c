/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "failing_malloc.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <link.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_pools.h>

#ifdef __GLIBC__

#define FRAMES_MAX 64

static struct {
    atomic_int mode;
    atomic_long count, number;
    uintptr_t spared_from, spared_to;   /* where libapr is */
} state;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);

/* there in a program with AddressSanitizer */
void *__interceptor_malloc(size_t size) __attribute__((weak));
void *__interceptor_calloc(size_t count, size_t size) __attribute__((weak));
void *__interceptor_realloc(void *memory, size_t size) __attribute__((weak));

/*
 * Where OpenSSL 3.0 itself breaks: allocations of the second function within the first are spared.
 * ASN1_item_sign_ctx() reads an algorithm over the one that is a part of the certificate, and
 * frees that part if it cannot. BN_BLINDING_update() reports success and leaves factors that do not
 * belong together, with which a key computes nonsense until they are renewed, after 32 uses.
 */
static const struct {
    const char *within;
    const char *function;
} faults[] = {
    { "ASN1_item_sign_ctx", "ASN1_item_d2i_ex" },
    { "X509_sign", "BN_BLINDING_update" },
    { "BN_BLINDING_update", "BN_BLINDING_update" }
};

#define FAULTS ((int)(sizeof(faults) / sizeof(faults[0])))

/* what the last two modes are about */
#define FAULT_CA_BLINDING   1
#define FAULT_BLINDING      2

/* where a function is */
typedef struct {
    uintptr_t from, to;
} range_t;

static range_t within[FAULTS], function[FAULTS];

static range_t find_function(const char *name)
{
    void *address = dlsym(RTLD_DEFAULT, name);
    range_t range = { (uintptr_t)address, 0 };
    ElfW(Sym) *symbol;
    Dl_info info;

    if (!address || !dladdr1(address, &info, (void **)&symbol, RTLD_DL_SYMENT)) {
        abort();
    }
    range.to = range.from + symbol->st_size;
    return range;
}

static int called_from(void *const *frames, int count, range_t range)
{
    int i;

    for (i = 0; i < count; ++i) {
        if ((uintptr_t)frames[i] > range.from && (uintptr_t)frames[i] <= range.to) {
            return 1;
        }
    }
    return 0;
}

/** @return the fault that an allocation would lead to, -1 if there is none */
static int known_fault(void)
{
    void *frames[FRAMES_MAX];
    int count = backtrace(frames, FRAMES_MAX), i;

    for (i = 0; i < FAULTS; ++i) {
        if (called_from(frames, count, within[i]) && called_from(frames, count, function[i])) {
            return i;
        }
    }
    return -1;
}

/* called before a sanitizer is ready */
#define PLAIN __attribute__((no_sanitize("address"), no_sanitize("undefined")))

PLAIN static int fails(const void *caller)
{
    int mode = atomic_load_explicit(&state.mode, memory_order_relaxed);
    long count;

    if (mode == FAIL_NEVER
        || ((uintptr_t)caller >= state.spared_from && (uintptr_t)caller < state.spared_to)
        || (mode == FAIL_BLINDING && known_fault() != FAULT_BLINDING)
        || (mode == FAIL_CA_BLINDING && known_fault() != FAULT_CA_BLINDING)) {
        return 0;
    }
    count = atomic_fetch_add(&state.count, 1) + 1;
    if (count < state.number || (count > state.number && mode == FAIL_ONCE)
        || ((mode == FAIL_ONCE || mode == FAIL_FROM_THERE) && known_fault() >= 0)) {
        return 0;
    }
    errno = ENOMEM;
    return 1;
}

PLAIN void *malloc(size_t size)
{
    if (fails(__builtin_return_address(0))) {
        return NULL;
    }
    return __interceptor_malloc ? __interceptor_malloc(size) : __libc_malloc(size);
}

PLAIN void *calloc(size_t count, size_t size)
{
    if (fails(__builtin_return_address(0))) {
        return NULL;
    }
    return __interceptor_calloc ? __interceptor_calloc(count, size) : __libc_calloc(count, size);
}

PLAIN void *realloc(void *memory, size_t size)
{
    if (size && fails(__builtin_return_address(0))) {
        return NULL;
    }
    return __interceptor_realloc ? __interceptor_realloc(memory, size)
                                 : __libc_realloc(memory, size);
}

/** Takes the range of the object that has a function of libapr. */
static int find_apr(struct dl_phdr_info *info, size_t size, void *data)
{
    uintptr_t inside = (uintptr_t)apr_pool_create_ex, from = UINTPTR_MAX, to = 0;
    int i;

    for (i = 0; i < info->dlpi_phnum; ++i) {
        if (info->dlpi_phdr[i].p_type == PT_LOAD) {
            uintptr_t start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
            from = start < from ? start : from;
            start += info->dlpi_phdr[i].p_memsz;
            to = start > to ? start : to;
        }
    }
    if (inside < from || inside >= to) {
        return 0;
    }
    state.spared_from = from;
    state.spared_to = to;
    return 1;
}

int failing_malloc_available(void)
{
    return dl_iterate_phdr(find_apr, NULL);
}

static void prepare(void)
{
    void *frame;
    int i;

    if (!failing_malloc_available()) {
        abort();
    }
    for (i = 0; i < FAULTS; ++i) {
        within[i] = find_function(faults[i].within);
        function[i] = find_function(faults[i].function);
    }
    /* the first time it allocates */
    backtrace(&frame, 1);
}

void failing_malloc_begin(fail_mode_t mode, long number)
{
    if (!within[0].to) {
        prepare();
    }
    state.count = 0;
    state.number = number;
    state.mode = (int)mode;
}

long failing_malloc_end(void)
{
    state.mode = FAIL_NEVER;
    return state.count;
}

#else

int failing_malloc_available(void)
{
    return 0;
}

void failing_malloc_begin(fail_mode_t mode, long number)
{
}

long failing_malloc_end(void)
{
    return 0;
}

#endif
