/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehousectl_ctl_ocsp_files_h
#define gatehousectl_ctl_ocsp_files_h

#include <apr_pools.h>
#include <openssl/x509.h>

#include "ctl.h"
#include "mod_ocsp/ocsp_engine.h"

/*
 * A folder of answers that were made ahead, for a static server. The name of an answer is the
 * base64 of its request, which a GET has in its path (RFC 9919 5); where that has a slash, the rest
 * is in a folder below: so a server that decodes the path before it looks for a file finds it,
 * however a client has encoded it. No request is the beginning of another one, since DER says its
 * length first; so no name is both a file and a folder.
 */

typedef struct {
    const char *path;
    apr_pool_t *p;
    int removed;
} ctl_answers_t;

/** Opens a folder, or makes it. One that has other files is refused. */
apr_status_t ctl_answers_open(ctl_answers_t *answers, const char *path, apr_pool_t *p,
                              gh_result_t *result);

/** The name of the answer about a certificate. @return NULL without memory */
const char *ctl_answers_name(X509 *ca, int digest, gh_bytes_t serial, apr_pool_t *p);

/** @return 1 if the file there says what is to be said, is signed by the CA or for it, and has more
 *          than half of its time left; 0 if not; -1 if there is none */
int ctl_answers_current(const ctl_answers_t *answers, const char *name, X509 *ca,
                        const ocsp_verdict_t *verdict, apr_time_t now, apr_pool_t *ptemp);

/** @return 1 if the file there says what is to be said, and is not past its nextUpdate */
int ctl_answers_agrees(const ctl_answers_t *answers, const char *name,
                       const ocsp_verdict_t *verdict, apr_time_t now, apr_pool_t *ptemp);

/** Writes an answer, in one step. */
apr_status_t ctl_answers_put(ctl_answers_t *answers, const char *name,
                             const ocsp_answer_t *answer, apr_pool_t *ptemp);

/** Removes an answer that is no longer right. Harmless if there is none. */
void ctl_answers_remove(ctl_answers_t *answers, const char *name, apr_pool_t *ptemp);

/** Removes what is past its nextUpdate. */
void ctl_answers_sweep(ctl_answers_t *answers, apr_time_t now);

#endif /* gatehousectl_ctl_ocsp_files_h */
