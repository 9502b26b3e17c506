/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/uem/uem_ending.h"

#include "log.h"

#define STORE_PAUSE apr_time_from_sec(1)
#define STORE_TRIES 60

static void store(void *baton)
{
    uem_ending_t *ending = baton;

    gh_result_clear(&ending->result);
    ending->rv = gh_store_write(framework_store(ending->framework), ending->store, ending->baton,
                                &ending->result);
}

static void again(void *baton);

static void stored(void *baton)
{
    uem_ending_t *ending = baton;

    if (ending->rv == APR_SUCCESS) {
        ending->told(ending->baton);
    }
    else if (ending->rv != APR_NOTFOUND) {
        if (++ending->tries < STORE_TRIES) {
            framework_at(ending->framework, apr_time_now() + STORE_PAUSE, again, ending);
            return;
        }
        gh_log(framework_log(ending->framework), GH_LOG_ERROR, APR_SUCCESS, GHNO(1254) "what has "
               "become of %s cannot be stored; it is sent again: %s: %s", ending->what,
               ending->result.number, ending->result.message);
    }
    framework_job_over(ending->job);
}

static void again(void *baton)
{
    uem_ending_t *ending = baton;

    framework_blocking(ending->framework, store, stored, ending);
}

void uem_ending_begin(uem_ending_t *ending, framework_t *framework, framework_job_t *job)
{
    ending->framework = framework;
    ending->job = job;
    again(ending);
}
