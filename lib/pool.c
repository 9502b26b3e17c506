/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "pool.h"

#include <apr_thread_mutex.h>

static apr_status_t create(apr_pool_t **pool, apr_pool_t *parent, const char *tag)
{
    apr_allocator_t *allocator;
    apr_status_t rv = apr_allocator_create(&allocator);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = parent ? apr_pool_create_ex(pool, parent, NULL, allocator)
                : apr_pool_create_unmanaged_ex(pool, NULL, allocator);
    if (rv != APR_SUCCESS) {
        apr_allocator_destroy(allocator);
        return rv;
    }
    apr_allocator_owner_set(allocator, *pool);
    apr_pool_tag(*pool, tag);
    return APR_SUCCESS;
}

apr_status_t gh_pool_create(apr_pool_t **pool, const char *tag)
{
    return create(pool, NULL, tag);
}

apr_status_t gh_pool_create_below(apr_pool_t **pool, apr_pool_t *parent, const char *tag)
{
    apr_thread_mutex_t *mutex;
    apr_status_t rv = create(pool, parent, tag);

    if (rv == APR_SUCCESS) {
        rv = apr_thread_mutex_create(&mutex, APR_THREAD_MUTEX_DEFAULT, *pool);
        if (rv == APR_SUCCESS) {
            apr_allocator_mutex_set(apr_pool_allocator_get(*pool), mutex);
        }
        else {
            apr_pool_destroy(*pool);
        }
    }
    return rv;
}

static apr_status_t destroy_allocator(void *data)
{
    apr_allocator_destroy(data);
    return APR_SUCCESS;
}

apr_status_t gh_pool_create_allocator(apr_allocator_t **allocator, apr_size_t keep, apr_pool_t *p)
{
    apr_thread_mutex_t *mutex;
    apr_status_t rv = apr_thread_mutex_create(&mutex, APR_THREAD_MUTEX_DEFAULT, p);

    if (rv == APR_SUCCESS) {
        rv = apr_allocator_create(allocator);
    }
    if (rv == APR_SUCCESS) {
        apr_allocator_mutex_set(*allocator, mutex);
        apr_allocator_max_free_set(*allocator, keep);
        apr_pool_cleanup_register(p, *allocator, destroy_allocator, apr_pool_cleanup_null);
    }
    return rv;
}
