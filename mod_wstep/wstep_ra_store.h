/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_ra_store_h
#define mod_wstep_wstep_ra_store_h

/** Under which the keys that sign responses lie in the store, by issuer (store/housekeeping.h). */
#define WSTEP_RA_PURPOSE "wstep-ra"

#endif /* mod_wstep_wstep_ra_store_h */
