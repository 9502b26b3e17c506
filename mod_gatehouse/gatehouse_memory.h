/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_memory_h
#define gatehouse_memory_h

/* How the C library keeps memory for many threads. Free of httpd's headers, which define names that
 * config.h defines too. */

/** In the parent: children inherit it. */
void gatehouse_memory_limit(void);

/** Gives memory that is free back to the system. */
void gatehouse_memory_trim(void);

#endif /* gatehouse_memory_h */
