/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_answer_h
#define gatehouse_escrow_answer_h

#include <apr_pools.h>
#include <apr_tables.h>

#include "escrow_upload.h"
#include "result.h"
#include "store/deliveries.h"
#include "store/escrow_credentials.h"
#include "store/escrow_profiles.h"
#include "store/escrow_uploads.h"

/* What is answered, as text of JSON in p, with a line end. None of it is a secret. */

/** Receipt of an upload. @param completes const char *: ids of profiles */
const char *escrow_answer_receipt(const gh_escrow_upload_record_t *row,
                                  const escrow_upload_t *upload,
                                  const apr_array_header_t *completes, apr_pool_t *p);

/** Credentials of a pair. @param records gh_escrow_credential_record_t * */
const char *escrow_answer_list(const char *device, const char *user,
                               const apr_array_header_t *records, apr_pool_t *p);

/** Whether they are there. @param upload NULL: none */
const char *escrow_answer_status(const char *device, const char *user,
                                 const apr_array_header_t *records,
                                 const gh_escrow_upload_record_t *upload, apr_pool_t *p);

/** What a client gets for its skeleton. @param missing const char * */
const char *escrow_answer_accepted(const gh_escrow_profile_record_t *record,
                                   const apr_array_header_t *missing, apr_pool_t *p);

/** A profile with its history. @param deliveries gh_delivery_record_t * */
const char *escrow_answer_profile(const gh_escrow_profile_record_t *record,
                                  const apr_array_header_t *missing,
                                  const apr_array_header_t *deliveries, apr_pool_t *p);

#endif /* gatehouse_escrow_answer_h */
