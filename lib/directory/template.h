/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_directory_template_h
#define gatehouse_directory_template_h

#include "directory/directory.h"

/* Certificate templates as Active Directory has them (MS-CRTD 2). */

/** Numbers that are not there are 0; what is not there otherwise is NULL. */
typedef struct {
    const char *name;               /* cn */
    const char *display_name;
    const char *oid;                /* msPKI-Cert-Template-OID */
    int schema;                     /* 1 where the attribute is not there */
    int major;
    int minor;
    apr_int64_t validity;           /* seconds */
    apr_int64_t renewal;            /* seconds */
    int minimal_key;
    int key_spec;
    unsigned int general_flags;
    unsigned int subject_flags;     /* msPKI-Certificate-Name-Flag */
    unsigned int enrolment_flags;
    unsigned int private_key_flags;
    int ra_signatures;
    const apr_array_header_t *usages;       /* const char * OIDs, pKIExtendedKeyUsage */
    const apr_array_header_t *providers;    /* const char *, in their order */
    gh_bytes_t descriptor;          /* nTSecurityDescriptor; empty: it may not be read */
} gh_directory_template_t;

/**
 * All templates of the forest. They are kept as other answers are.
 * @param templates gh_directory_template_t, in p
 * @return GH_EUNAVAILABLE if no server answers; GH_EBUSY if too many ask; each with result
 */
apr_status_t gh_directory_templates(const apr_array_header_t **templates,
                                    gh_directory_t *directory, apr_pool_t *p,
                                    gh_result_t *result);

#endif /* gatehouse_directory_template_h */
