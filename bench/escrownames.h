/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef bench_escrownames_h
#define bench_escrownames_h

#include <stdio.h>

/* Devices and users of the escrow's benchmarks, by series and number, so that each program knows
 * those that another one has made. The number stands in front, scattered: as with random UUIDs,
 * neighbours in the order of an index were not made one after the other. */

#define ESCROW_UUID_SIZE    37
#define ESCROW_PASSWORD     "correct horse battery staple"

/* an odd factor permutes 32 bits (Knuth's multiplicative hashing) */
#define ESCROW_SCATTER(n)   ((unsigned)((n) * 2654435761u))

static inline void escrow_name_pair(char device[ESCROW_UUID_SIZE], char user[ESCROW_UUID_SIZE],
                                    size_t series, size_t number)
{
    snprintf(device, ESCROW_UUID_SIZE, "%08x-0d00-4000-8000-%04x%08x", ESCROW_SCATTER(number),
             (unsigned)series & 0xffff, (unsigned)number);
    snprintf(user, ESCROW_UUID_SIZE, "%08x-0e00-4000-8000-%04x%08x", ESCROW_SCATTER(number + 7),
             (unsigned)series & 0xffff, (unsigned)number);
}

static inline void escrow_name_profile(char profile[ESCROW_UUID_SIZE], size_t series,
                                       size_t number)
{
    snprintf(profile, ESCROW_UUID_SIZE, "%08x-0f00-4000-8000-%04x%08x", ESCROW_SCATTER(number),
             (unsigned)series & 0xffff, (unsigned)number);
}

#endif /* bench_escrownames_h */
