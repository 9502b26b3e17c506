/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_provide_private_h
#define gatehouse_escrow_provide_private_h

#include "escrow/provide.h"
#include "store/housekeeping.h"

/* What the files of the provider share. */

#define RULE "escrow.provide"

#define GH_PROVIDE_PROTOCOL "escrow"

/** Row and job, within a transaction. */
apr_status_t gh_provide_insert(gh_transaction_t *transaction,
                               const gh_escrow_event_record_t *record);

/** What a key that waits for its certificate is sealed for. */
const char *gh_provide_identity(const char *event, gh_escrow_purpose_t purpose, apr_pool_t *p);

#endif /* gatehouse_escrow_provide_private_h */
