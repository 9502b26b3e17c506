/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_issuer_events_gap_h
#define gatehouse_issuer_events_gap_h

#include "issuer/events.h"
#include "store/certificates.h"

/*
 * Where a feed of certificate events stands, and gaps in it: what its CA's gateway cannot tell in
 * any form that can be read is passed over, since all that is behind it would be missing otherwise.
 * A job is committed with that: for each certificate that may have been revoked there the gateway
 * is asked.
 */

/** Kind of that job, in the queue of the issuer. */
#define GH_EVENTS_LOOKUP "lookup"

typedef struct {
    const char *cursor;             /* as gh_events_cursor() */
    apr_time_t from;                /* behind a gap: the time to begin with, whatever the cursor;
                                       0: the cursor says */
    apr_time_t last;                /* of the newest event that was taken up; 0: none was */
} gh_events_position_t;

/** @param position in p */
apr_status_t gh_events_position(gh_store_t *store, const char *issuer,
                                gh_events_position_t *position, apr_pool_t *p,
                                gh_result_t *result);

/** Of an issuer, as long as nobody has looked what was in them. */
typedef struct {
    int open;                       /* how many */
    int total;                      /* and with those of the past */
    apr_time_t from;                /* of the first that is open */
    apr_time_t to;                  /* of the last */
    apr_time_t opened;              /* when the last one was made, by the store's clock */
} gh_events_gaps_t;

apr_status_t gh_events_gaps(gh_transaction_t *transaction, const char *issuer,
                            gh_events_gaps_t *gaps, apr_pool_t *p);

/** They are looked at, unless one was made since that began.
 *  @param begun by the store's clock, too: nodes have others
 *  @param closed set to 1 if none is open then */
apr_status_t gh_events_gaps_close(gh_transaction_t *transaction, const char *issuer,
                                  apr_time_t begun, int *closed, apr_pool_t *p);

/** What the gateway has said of a certificate that the store has as good or held. */
typedef struct {
    const gh_certificate_record_t *known;
    apr_time_t asked;               /* when */
    gh_status_t status;
    int reason;
    apr_time_t time;                /* since when it is so; 0: not said */
} gh_events_word_t;

/**
 * Takes it up. A word that is older than what was decided here meanwhile, or that the CA has not
 * been told yet, changes nothing.
 */
apr_status_t gh_events_take_word(gh_transaction_t *transaction, const gh_events_feed_t *feed,
                                 const gh_events_word_t *word, int *changed, apr_pool_t *p);

#endif /* gatehouse_issuer_events_gap_h */
