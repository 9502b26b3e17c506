/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_template_private_h
#define gatehouse_escrow_template_private_h

#include "mod_escrow/escrow_fill.h"
#include "mod_escrow/escrow_template.h"

typedef struct {
    const char *name;
    /** NULL: a mobileconfig, which comes in two parts */
    apr_status_t (*fill)(gh_bytes_t *out, gh_bytes_t skeleton, escrow_fill_t *fill);
} escrow_format_t;

struct escrow_template {
    const escrow_format_t *format;
    gh_bytes_t skeleton;
    const char *needs;
    unsigned char repeated[ESCROW_USES + 1];
};

#endif /* gatehouse_escrow_template_private_h */
