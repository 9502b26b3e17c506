/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef tests_unit_framework_support_h
#define tests_unit_framework_support_h

#include <sys/types.h>

#include <apr_pools.h>
#include <apr_tables.h>

/* Workers as processes, whose jobs only take their time and say so in a report. */

#define LEASE_MS 1500
#define JOBS 120

extern apr_pool_t *pool;
extern char folder[];
/** Member of the configuration: where workers know of others; empty: nowhere. */
extern const char *known;
extern int lease_ms;

/** Fixtures of each test. */
int framework_setup(void **state);
int framework_teardown(void **state);

pid_t start_worker(int concurrent, double rate);
void stop_worker(pid_t pid, int number);

typedef struct {
    const char *kind;
    int first;                      /* number of it */
    int count;
    apr_int64_t open;
    apr_int64_t held;
} jobs_t;

void insert(const char *kind, int count);
/** @param first number of the first */
void insert_from(const char *kind, int first, int count);
jobs_t look(void);
void wait_until_done(int seconds);

/** A line of the report. */
typedef struct {
    char what[8];
    int job;
    long pid;
    long when;
} line_t;

apr_array_header_t *read_report(void);
/** @return how many lines say so of a job; -1: of any */
int said(const apr_array_header_t *lines, const char *what, int job);

#endif /* tests_unit_framework_support_h */
