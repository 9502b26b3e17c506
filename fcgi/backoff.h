/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_backoff_h
#define fcgi_backoff_h

#include <apr_time.h>

/**
 * The pause after a number of attempts: first, doubled with each but the first up to most, of which
 * a random part between half and all counts, so that those who failed together do not return
 * together.
 */
apr_interval_time_t backoff_pause(int attempts, apr_interval_time_t first,
                                  apr_interval_time_t most);

/** A random time between 0 and most. */
apr_interval_time_t backoff_jitter(apr_interval_time_t most);

#endif /* fcgi_backoff_h */
