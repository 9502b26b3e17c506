/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef tests_unit_failing_malloc_h
#define tests_unit_failing_malloc_h

/*
 * malloc(), calloc() and realloc() of the program and of all its libraries, some of which fail on
 * demand. Pools are spared: httpd ends the process when one of its pools gets no memory.
 */

typedef enum {
    FAIL_NEVER,
    FAIL_ONCE,                      /* one allocation */
    FAIL_FROM_THERE,                /* that one and all after it */
    FAIL_BLINDING,                  /* that one and all after it of those with which the blinding of
                                       an RSA key is renewed: the key may compute nonsense
                                       afterwards, until that is done again */
    FAIL_CA_BLINDING                /* the same, while a certificate is signed; these are spared by
                                       FAIL_BLINDING */
} fail_mode_t;

/** @return 0 if this system's allocator cannot be stood in for */
int failing_malloc_available(void);

/** From now on counts the allocations of all threads, and fails.
 *  @param number the one that fails, from 1 */
void failing_malloc_begin(fail_mode_t mode, long number);

/** Ends that. @return how many allocations there were */
long failing_malloc_end(void);

#endif /* tests_unit_failing_malloc_h */
