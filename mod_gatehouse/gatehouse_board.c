/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What all children of a server see: the newest CRL number that any of them has served. Each child
 * reads the store at its own pace; thanks to this, who has seen a CRL is not given an older one by
 * the next child. And whether a token has refused a PIN, which one child should find out for all:
 * tokens count the failures. */

#include <string.h>
#include <apr_shm.h>

#include "gatehouse_private.h"

/** After this time every child has looked for itself. */
#define NEWS apr_time_from_sec(1)

typedef struct {
    apr_int64_t number;
    apr_int64_t time;               /* when number came up */
    int pin_refused;                /* until the configuration is read again */
} slot_t;

static struct {
    slot_t *slots;                  /* one per issuer; shared memory, NULL without any */
    int count;
} board;

static apr_status_t forget_board(void *data)
{
    board.slots = NULL;
    board.count = 0;
    return APR_SUCCESS;
}

apr_status_t gatehouse_board_create(int count, apr_pool_t *pconf)
{
    apr_size_t size = count * sizeof(slot_t);
    apr_shm_t *memory;
    apr_status_t rv;

    if (!count) {
        return APR_SUCCESS;
    }
    rv = apr_shm_create(&memory, size, NULL, pconf);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    board.slots = apr_shm_baseaddr_get(memory);
    board.count = count;
    memset(board.slots, 0, size);
    apr_pool_cleanup_register(pconf, NULL, forget_board, apr_pool_cleanup_null);
    return APR_SUCCESS;
}

/* Two children at once may leave the time of the one with the number of the other: both are new. */
void gatehouse_board_note(int slot, apr_int64_t number)
{
    slot_t *entry = slot < board.count ? &board.slots[slot] : NULL;

    if (entry && number > __atomic_load_n(&entry->number, __ATOMIC_ACQUIRE)) {
        __atomic_store_n(&entry->time, apr_time_now(), __ATOMIC_RELEASE);
        __atomic_store_n(&entry->number, number, __ATOMIC_RELEASE);
    }
}

int gatehouse_board_ahead(int slot, apr_int64_t number)
{
    slot_t *entry = slot < board.count ? &board.slots[slot] : NULL;
    apr_interval_time_t age;

    if (!entry || number >= __atomic_load_n(&entry->number, __ATOMIC_ACQUIRE)) {
        return 0;
    }
    age = apr_time_now() - __atomic_load_n(&entry->time, __ATOMIC_ACQUIRE);
    return age >= 0 && age < NEWS;
}

void gatehouse_board_refuse_pin(int slot)
{
    if (slot < board.count) {
        __atomic_store_n(&board.slots[slot].pin_refused, 1, __ATOMIC_RELEASE);
    }
}

int gatehouse_board_pin_refused(int slot)
{
    return slot < board.count && __atomic_load_n(&board.slots[slot].pin_refused, __ATOMIC_ACQUIRE);
}
