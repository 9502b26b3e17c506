/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_verdicts_h
#define mod_wstep_wstep_verdicts_h

#include <apr_pools.h>
#include <apr_time.h>

/*
 * What was said of user names and passwords lately, so that a client that asks for policies and
 * then for certificates costs one question to a directory, and one that repeats a wrong password
 * does not lock its account. Neither name nor password is kept: entries are found by a keyed digest
 * of both, whose key is made in each process.
 */

typedef struct wstep_verdicts wstep_verdicts_t;

/** @return NULL if the random generator or a mutex cannot be had */
wstep_verdicts_t *wstep_verdicts_create(apr_interval_time_t lifetime, apr_pool_t *p);

typedef enum { WSTEP_VERDICT_NONE, WSTEP_VERDICT_GOOD, WSTEP_VERDICT_BAD } wstep_verdict_t;

/** @param scope who was asked: the same user may be another one elsewhere */
wstep_verdict_t wstep_verdicts_find(wstep_verdicts_t *verdicts, const char *scope,
                                    const char *user, const char *password, apr_time_t now);

void wstep_verdicts_keep(wstep_verdicts_t *verdicts, const char *scope, const char *user,
                         const char *password, wstep_verdict_t verdict, apr_time_t now);

#endif /* mod_wstep_wstep_verdicts_h */
