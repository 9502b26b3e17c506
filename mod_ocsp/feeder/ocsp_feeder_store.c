/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Authorities whose certificates are in the store. */

#include "mod_ocsp/feeder/ocsp_feeder_private.h"
#include "status.h"

/** How often the overlay is looked at. */
#define LOOK_EVERY apr_time_from_sec(1)

/** An index with changes is merged with them when it is so old. */
#define MERGE_AFTER apr_time_from_sec(5 * 60)

/** And made from the whole of the store when that was so long ago: what was removed from the store
 *  is in an index until then. */
#define WHOLE_AFTER apr_time_from_sec(24 * 3600)

/** After a failure. */
#define RETRY apr_time_from_sec(2)

/** What cannot be made then. */
#define INDEX "its index from the store"

static apr_status_t open_store(ocsp_feeder_t *feeder, gh_result_t *result)
{
    gh_store_options_t options = { .log = feeder->log, .connections = 2 };
    apr_status_t rv;

    if (feeder->store) {
        return APR_SUCCESS;
    }
    if (feeder->store_pool) {
        apr_pool_clear(feeder->store_pool);
    }
    else {
        apr_pool_create_unmanaged_ex(&feeder->store_pool, NULL, NULL);
    }
    rv = gh_store_open(&feeder->store, feeder->store_uri, &options, feeder->store_pool, result);
    if (rv != APR_SUCCESS) {
        feeder->store = NULL;
    }
    return rv;
}

/* On the lane of the store. */
static void build(void *baton)
{
    feeder_authority_t *authority = baton;
    ocsp_feeder_t *feeder = authority->feeder;
    apr_pool_t *ptemp;

    gh_result_clear(&authority->result);
    authority->status = open_store(feeder, &authority->result);
    if (authority->status == APR_SUCCESS) {
        apr_pool_create_unmanaged_ex(&ptemp, NULL, NULL);
        authority->status = gh_view_build_from_store(feeder->folder, authority->name,
                                                     authority->reader.digest, feeder->store,
                                                     authority->issuer, authority->whole, ptemp,
                                                     &authority->result);
        apr_pool_destroy(ptemp);
    }
}

static void built(void *baton)
{
    feeder_authority_t *authority = baton;

    if (feeder_take_index(authority, INDEX, RETRY)) {
        if (authority->whole) {
            authority->built_whole = authority->built;
        }
        authority->due = authority->built + LOOK_EVERY;
    }
}

/* @return 1 if an index has to be made, with whole set */
static int is_needed(feeder_authority_t *authority, apr_time_t now)
{
    int lost = feeder_index_lost(authority, now);
    apr_uint32_t count;

    if (!lost && authority->index && gh_index_wait(authority->index)) {
        return 0;
    }
    authority->whole = !authority->index || lost || now - authority->built_whole >= WHOLE_AFTER
        || now < authority->built_whole - WHOLE_AFTER;
    if (authority->whole) {
        return 1;
    }
    count = gh_overlay_count(authority->overlay);
    return count >= GH_OVERLAY_PLENTY || (count > 0 && now - authority->built >= MERGE_AFTER);
}

apr_time_t feeder_store_step(feeder_authority_t *authority, apr_time_t now)
{
    if (authority->busy || authority->due > now) {
        return authority->busy ? now + LOOK_EVERY : authority->due;
    }
    authority->due = now + LOOK_EVERY;
    if (is_needed(authority, now)) {
        feeder_submit(authority, authority->feeder->storing, build, built, INDEX, LOOK_EVERY);
    }
    return authority->due;
}
