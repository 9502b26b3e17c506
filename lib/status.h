/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_status_h
#define gatehouse_status_h

#include <apr_errno.h>

/*
 * Status values of Gatehouse beyond those of APR. All functions of the library return apr_status_t;
 * these say what a caller has to tell apart.
 */

/** The store refused a row because a unique key exists already. Nothing was written. */
#define GH_ECONFLICT      (APR_OS_START_USERERR + 7001)
/** The store or a key cannot be reached now; the same call may succeed later. Nothing was
 *  written. */
#define GH_EUNAVAILABLE   (APR_OS_START_USERERR + 7002)
/** The answer to a COMMIT was lost: the transaction may or may not have happened. Read
 *  before retrying. */
#define GH_EUNKNOWN       (APR_OS_START_USERERR + 7003)
/** The store is damaged or has a schema that this version does not know. */
#define GH_ECORRUPT       (APR_OS_START_USERERR + 7004)
/** A flush to disk failed once: the store accepts no more writes until it was checked
 *  and restarted. */
#define GH_ESTOPPED       (APR_OS_START_USERERR + 7005)
/** Too much work is queued; the request was not begun. */
#define GH_EBUSY          (APR_OS_START_USERERR + 7006)
/** Understood, checked and refused by a rule; the gh_result_t names the rule. */
#define GH_EREFUSED       (APR_OS_START_USERERR + 7007)
/** Accepted, but the outcome comes later (approval, slow CA): the protocol's "come back later". */
#define GH_EPENDING       (APR_OS_START_USERERR + 7008)

#endif /* gatehouse_status_h */
