/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehousectl_ctl_issuer_h
#define gatehousectl_ctl_issuer_h

#include "ctl.h"

/* What commands about issuers share. */

/** @return 1 if its CA is elsewhere, and a worker talks to it */
int ctl_issuer_is_elsewhere(const ctl_issuer_t *issuer);

/** @return 1 if its CA tells what it has issued: CMP servers do not */
int ctl_issuer_has_list(const ctl_issuer_t *issuer);

#endif /* gatehousectl_ctl_issuer_h */
