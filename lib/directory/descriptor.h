/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_directory_descriptor_h
#define gatehouse_directory_descriptor_h

#include <apr_tables.h>

#include "text.h"

/* Security descriptors of Active Directory (MS-DTYP 2.4.6): who may enrol by a template. */

/** Extended rights of a certificate template (MS-CRTD 2.5.1). */
typedef enum {
    GH_DIRECTORY_ENROLL,
    GH_DIRECTORY_AUTOENROLL
} gh_directory_right_t;

/**
 * Whether a descriptor gives somebody a right. What cannot be read gives none, nor does a
 * descriptor without a list.
 * @param sids gh_bytes_t objectSid of the account and of its groups; that it is one of "Everyone"
 *        and of "Authenticated Users" goes without saying
 */
int gh_directory_grants(gh_bytes_t descriptor, const apr_array_header_t *sids,
                        gh_directory_right_t right);

#endif /* gatehouse_directory_descriptor_h */
