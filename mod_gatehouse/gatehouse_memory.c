/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdlib.h>
#ifdef HAVE_MALLOC_H
#include <malloc.h>
#endif

#include "gatehouse_memory.h"

/** Arenas of memory that all threads of a process share. */
#define ARENAS 2

/* glibc gives up to eight arenas per core to threads that allocate at once, and what is free in one
 * is of no use to the others. Who names a number in the environment has it. */
void gatehouse_memory_limit(void)
{
#if defined(HAVE_MALLOPT) && defined(M_ARENA_MAX)
    if (!getenv("MALLOC_ARENA_MAX") && !getenv("GLIBC_TUNABLES")) {
        mallopt(M_ARENA_MAX, ARENAS);
    }
#endif
}

void gatehouse_memory_trim(void)
{
#ifdef HAVE_MALLOC_TRIM
    malloc_trim(0);
#endif
}
