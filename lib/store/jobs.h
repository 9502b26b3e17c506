/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_store_jobs_h
#define gatehouse_store_jobs_h

#include "store/store.h"

/*
 * Work that is done outside httpd's threads: a row for each piece, committed together with what
 * gave rise to it, removed in the transaction that stores what has come of it.
 *
 * Whoever works on a row holds it for a time (a lease, by the database's clock), and has to extend
 * that. Who has lost it cannot change the row any more: every change names the holder. A row whose
 * holder has died is free again when its time is over. So a job is never lost, and never changed by
 * two; whether what was done outside may be done again is told by "sent".
 */

typedef enum {
    GH_JOB_OPEN = 1,                /* due at a time */
    GH_JOB_DOUBT = 2                /* sent, with an unknown outcome that cannot be found out: an
                                       operator decides */
} gh_job_state_t;

typedef struct {
    const char *id;                 /* gh_ordered_id() */
    const char *kind;               /* "enrol", "revoke", ...: what handles it */
    const char *queue;              /* whose limits it is under: the name of an issuer */
    const char *subject;            /* what it is about: the id of an enrolment, a serial number */
    gh_bytes_t payload;             /* of the kind */
    gh_job_state_t state;
    int attempts;                   /* begun calls */
    apr_time_t created;
    apr_time_t due;                 /* not before */
    apr_time_t deadline;            /* no new attempt after that; 0: none */
    apr_time_t sent;                /* since when a call with an effect has an unknown outcome; 0:
                                       none has */
    const char *reference;          /* by which the other side knows it; or NULL */
    const char *number;             /* of the last failure, "GH0123"; or NULL */
    const char *message;            /* of the last failure; or NULL */
    const char *holder;             /* or NULL */
    apr_time_t held_until;
    apr_time_t taken;               /* when it was taken, by the same clock as sent and held_until;
                                       of no other record */
    int behind;                     /* for gh_job_insert(): it stands behind those about the same
                                       subject, whatever the clocks of their makers said */
} gh_job_record_t;

/**
 * As it is made: id, kind, queue, subject, payload, created, due, deadline and behind count. The
 * times are by the clock of this process; they are kept by that of the store, which claims and
 * deadlines go by on every node.
 * @return GH_ECONFLICT if there is one with that id
 */
apr_status_t gh_job_insert(gh_transaction_t *transaction, const gh_job_record_t *record);

/** How many there are about a subject. */
apr_status_t gh_job_about(gh_transaction_t *transaction, const char *queue, const char *subject,
                          apr_int64_t *count);

/** @return APR_NOTFOUND; fills the whole record, in p */
apr_status_t gh_job_find(gh_transaction_t *transaction, const char *id, gh_job_record_t **record,
                         apr_pool_t *p);

/**
 * Takes one, whether or not it is due, unless another one holds it or it is in doubt.
 * @return APR_NOTFOUND if there is none that can be taken
 */
apr_status_t gh_job_claim(gh_transaction_t *transaction, const char *id, const char *holder,
                          apr_interval_time_t interval, gh_job_record_t **record, apr_pool_t *p);

/**
 * Takes those that are due and that nobody holds, of some queues, the longest due first; no
 * queue takes the places of all others. Of several about one subject only the first may be taken,
 * until that is gone or in doubt.
 * @param queues  const char * elements
 * @param asks    at most so many for which a call was made that may have had an effect; a part of
 *                the places is for these, if there are any, and the others for what is new
 * @param records gh_job_record_t *, at most limit; not NULL, perhaps empty
 */
apr_status_t gh_job_claim_due(gh_transaction_t *transaction, const apr_array_header_t *queues,
                              const char *holder, apr_interval_time_t interval, int limit,
                              int asks, apr_array_header_t **records, apr_pool_t *p);

/** How many are due and free in these queues, of each counted up to a limit: cheap if that is low,
 *  however many there are. */
apr_status_t gh_job_count_due(gh_transaction_t *transaction, const apr_array_header_t *queues,
                              int limit, apr_int64_t *count);

/** Extends those of some jobs that somebody holds still, under his name or one that begins with it
 *  and a slash. What he holds and does not name runs out,
 *  so that a job of which he does not know (the store has taken it for him and could not say so, or
 *  he could not let go of it) is free again some time. @param ids const char * elements */
apr_status_t gh_job_extend(gh_transaction_t *transaction, const apr_array_header_t *ids,
                           const char *holder, apr_interval_time_t interval);

/** Frees what a holder that is known to be dead holds, he himself or under names that begin with
 *  his and a slash. */
apr_status_t gh_job_release(gh_transaction_t *transaction, const char *holder);

/* For who holds it; all return APR_NOTFOUND if another one does by now, or none, and then nothing
 * may be done or stored for the job. */

/** Notes that a call with an effect is about to be made: sent is set, unless it is, and attempts
 *  counts it. @return APR_NOTFOUND also if the holder's time is over */
apr_status_t gh_job_begin_call(gh_transaction_t *transaction, const char *id, const char *holder);

/**
 * Lets go of it, to be taken up again.
 * @param due       when
 * @param unknown   1: a call that was begun may have had its effect (sent stays); 0: it had none
 * @param reference NULL keeps what is there, of a call that may have had its effect; of one that
 *                  had none, nothing is kept
 * @param result    the failure; NULL: none
 */
apr_status_t gh_job_again(gh_transaction_t *transaction, const char *id, const char *holder,
                          apr_time_t due, int unknown, const char *reference,
                          const gh_result_t *result);

/** Leaves it to an operator. */
apr_status_t gh_job_doubt(gh_transaction_t *transaction, const char *id, const char *holder,
                          const gh_result_t *result);

/** Removes what is done, in the transaction that stores its outcome. */
apr_status_t gh_job_remove(gh_transaction_t *transaction, const char *id, const char *holder);

/** Removes those about a subject that nobody holds, since what they are for has changed. Who holds
 *  one has to find that out by himself. */
apr_status_t gh_job_drop(gh_transaction_t *transaction, const char *queue, const char *subject);

/* For operators. */

/** Makes one due at once and forgets how often it was tried; the time up to its deadline begins
 *  anew. Of one in doubt it forgets as well that it was sent: the operator has looked. Of one
 *  that is open, what became of that call is found out as ever. @return APR_NOTFOUND; GH_EBUSY
 *  if somebody holds it */
apr_status_t gh_job_retry(gh_transaction_t *transaction, const char *id);

/** Removes one that nobody holds. @return as gh_job_retry() */
apr_status_t gh_job_cancel(gh_transaction_t *transaction, const char *id);

/** Newest first. @param queue NULL: all; @param limit 0: 1000 */
apr_status_t gh_job_list(gh_transaction_t *transaction, const char *queue, int limit,
                         apr_array_header_t **records, apr_pool_t *p);

/** The same of all queues, without those of a kind, of which there may be very many. */
apr_status_t gh_job_list_without(gh_transaction_t *transaction, const char *kind, int limit,
                                 apr_array_header_t **records, apr_pool_t *p);

/** What gatehousectl, health and metrics tell of a queue. */
typedef struct {
    apr_int64_t open;
    apr_int64_t overdue;            /* due for more than a minute */
    apr_int64_t doubt;
    apr_time_t oldest;              /* created; 0: none */
} gh_job_counts_t;

apr_status_t gh_job_counts(gh_transaction_t *transaction, const char *queue,
                           gh_job_counts_t *counts);

#endif /* gatehouse_store_jobs_h */
