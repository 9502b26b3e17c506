/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/timers.h"

#include <apr_tables.h>

typedef struct {
    apr_time_t when;
    apr_uint64_t number;            /* those of one time in the order in which they were added */
    timer_fn *fn;
    void *baton;
} timer_entry_t;

/** A heap: none is later than those at 2i + 1 and 2i + 2. */
struct timers {
    apr_array_header_t *heap;       /* timer_entry_t */
    apr_uint64_t number;
};

timers_t *timers_create(apr_pool_t *p)
{
    timers_t *timers = apr_pcalloc(p, sizeof(*timers));

    timers->heap = apr_array_make(p, 64, sizeof(timer_entry_t));
    return timers;
}

static int is_before(const timer_entry_t *one, const timer_entry_t *other)
{
    return one->when < other->when
        || (one->when == other->when && one->number < other->number);
}

static void swap(timer_entry_t *one, timer_entry_t *other)
{
    timer_entry_t kept = *one;

    *one = *other;
    *other = kept;
}

static void sift_up(timers_t *timers, int i)
{
    timer_entry_t *heap = (timer_entry_t *)timers->heap->elts;

    while (i > 0 && is_before(&heap[i], &heap[(i - 1) / 2])) {
        swap(&heap[i], &heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
}

static void sift_down(timers_t *timers, int i)
{
    timer_entry_t *heap = (timer_entry_t *)timers->heap->elts;
    int count = timers->heap->nelts;

    for (;;) {
        int first = i, child;

        for (child = 2 * i + 1; child <= 2 * i + 2 && child < count; ++child) {
            first = is_before(&heap[child], &heap[first]) ? child : first;
        }
        if (first == i) {
            return;
        }
        swap(&heap[i], &heap[first]);
        i = first;
    }
}

void timers_add(timers_t *timers, apr_time_t when, timer_fn *fn, void *baton)
{
    timer_entry_t *entry = apr_array_push(timers->heap);

    entry->when = when;
    entry->number = timers->number++;
    entry->fn = fn;
    entry->baton = baton;
    sift_up(timers, timers->heap->nelts - 1);
}

void timers_hurry(timers_t *timers, timer_fn *fn)
{
    int i;

    for (i = 0; i < timers->heap->nelts; ++i) {
        timer_entry_t *entry = &APR_ARRAY_IDX(timers->heap, i, timer_entry_t);

        entry->when = entry->fn == fn ? 0 : entry->when;
    }
    for (i = timers->heap->nelts / 2; i >= 0; --i) {
        sift_down(timers, i);
    }
}

apr_time_t timers_run(timers_t *timers, apr_time_t now)
{
    timer_entry_t *heap;

    while (timers->heap->nelts) {
        timer_entry_t entry;

        heap = (timer_entry_t *)timers->heap->elts;
        entry = heap[0];
        if (entry.when > now) {
            return entry.when;
        }
        heap[0] = heap[--timers->heap->nelts];
        sift_down(timers, 0);
        entry.fn(entry.baton);
    }
    return 0;
}
