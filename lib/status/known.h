/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_status_known_h
#define gatehouse_status_known_h

#include <apr_time.h>

#include "text.h"

/* What is known of one certificate, wherever it is known from. */

typedef enum {
    GH_KNOWN_NOT = 0,               /* no such serial: never issued, as far as the source tells */
    GH_KNOWN_GOOD = 1,
    GH_KNOWN_REVOKED = 2,
    GH_KNOWN_HELD = 3               /* revoked with reason certificateHold, may be released */
} gh_known_state_t;

/** Plain memory. For a serial that is not known all members but state are 0. */
typedef struct {
    gh_known_state_t state;
    int reason;                     /* RFC 5280 CRLReason, or GH_REASON_NONE */
    apr_time_t revoked_at;          /* 0 unless revoked or held */
    apr_time_t invalid_from;        /* invalidityDate, 0: none */
    apr_int64_t version;            /* grows with each change of this certificate's status within
                                       one source: change_seq of the store, the number of a CRL;
                                       0 if its status never changed */
} gh_known_t;

/** A serial number with what is known; input to the builder of an index. */
typedef struct {
    gh_bytes_t serial;              /* gh_serial_parse() form: 1 to 20 bytes, no leading zero */
    gh_known_t known;
} gh_known_certificate_t;

#endif /* gatehouse_status_known_h */
