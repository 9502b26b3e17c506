/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_directory_directory_private_h
#define gatehouse_directory_directory_private_h

#include <apr_hash.h>
#include <apr_thread_cond.h>
#include <apr_thread_mutex.h>
#include <ldap.h>

#include "directory/deadline.h"
#include "directory/directory.h"
#include "log.h"
#include "status.h"

/* What the files of lib/directory share. */

/** Most entries that one search gives. */
#define ENTRIES_MAX 1000

/** Most domains of a forest in which accounts may have the same name. */
#define DOMAINS_MAX 64

typedef struct {
    const char *name;
    apr_array_header_t *values;     /* gh_bytes_t */
} attribute_t;

struct gh_directory_entry {
    const char *dn;
    apr_array_header_t *attributes; /* attribute_t */
};

/** A server that is left alone for a while after it has failed, longer each time. */
typedef struct {
    const char *url;
    apr_interval_time_t pause;      /* the present one; 0: it answers */
    apr_time_t until;               /* its end */
    int probed;                     /* one thread tries whether it is over */
} server_t;

/** A place for one connection; of one thread while taken. */
typedef struct {
    int taken;
    LDAP *ldap;                     /* NULL: none is open */
    int server;                     /* which one it leads to */
    gh_ldap_deadline_t deadline;
} place_t;

/** Answers of a while. */
typedef struct {
    apr_pool_t *pool;               /* NULL: there are none */
    apr_hash_t *answers;            /* answer_t * by key */
    apr_size_t bytes;               /* of them */
    apr_time_t begun;
} generation_t;

struct gh_directory {
    const gh_directory_config_t *config;
    gh_limiter_t *cap;
    apr_interval_time_t connect;
    apr_interval_time_t deadline;
    apr_thread_mutex_t *mutex;      /* of all below */
    apr_thread_cond_t *freed;       /* a place was given back */
    server_t *servers;
    int server_count;
    place_t *places;
    int place_count;
    generation_t generations[2];    /* the present one, the one before */
};

/* connection.c */

/** Opens a connection and binds. @param tls the URL's own or StartTLS is used
 *  @param anonymous 1: without the credentials that are configured
 *  @return LDAP_SUCCESS, or an error with why, in p; then there is no handle */
int gh_directory_open(LDAP **ldap, const gh_directory_config_t *config, const char *url,
                      apr_interval_time_t connect, int anonymous, gh_ldap_deadline_t *deadline,
                      const char **why, apr_pool_t *p);

void gh_directory_close(LDAP *ldap);

/** @return 1 if an error says that the connection is of no use any more */
int gh_directory_broken(int error);

/** Takes a place, one with an open connection if there is one.
 *  @return GH_EBUSY if none was given back until the end */
apr_status_t gh_directory_take(place_t **place, gh_directory_t *directory, apr_time_t end,
                               gh_result_t *result);
void gh_directory_give(gh_directory_t *directory, place_t *place);

/** The first server that may be tried and has not been. @param tried bit by index
 *  @return -1: there is none */
int gh_directory_server(gh_directory_t *directory, apr_uint64_t tried, apr_time_t now);
/** @return 1 if there is such a server; none is counted as tried */
int gh_directory_has_other(gh_directory_t *directory, apr_uint64_t tried, apr_time_t now);
void gh_directory_note(gh_directory_t *directory, int server, int alive, apr_time_t now);

/* directory.c */

/** Takes one of the node's places, for a look-up of several searches. @return GH_EBUSY */
apr_status_t gh_directory_enter(gh_directory_t *directory, gh_result_t *result);
void gh_directory_leave(gh_directory_t *directory);

/** The one entry that was found. @return APR_NOTFOUND, GH_ECONFLICT with result */
apr_status_t gh_directory_only(const gh_directory_entry_t **entry,
                               const gh_directory_t *directory, const gh_directory_query_t *query,
                               const apr_array_header_t *entries, gh_result_t *result);

/** As gh_directory_find(), within one of the node's places. */
apr_status_t gh_directory_single(const gh_directory_entry_t **entry, gh_directory_t *directory,
                                 const gh_directory_query_t *query, apr_time_t end, apr_pool_t *p,
                                 gh_result_t *result);

/** One look-up of several searches. */
typedef struct {
    gh_directory_t *directory;
    apr_time_t end;
    int active;                     /* 1: it is Active Directory that answers */
    apr_pool_t *p;
    gh_result_t *result;
} gh_directory_lookup_t;

/* names.c */

/** A DN in one way of writing it, in p; as it is if it is none. */
const char *gh_directory_normal_dn(const char *text, apr_pool_t *p);

/** @return 1 if dn is base, or below it; everything is below "" */
int gh_directory_is_below(const char *dn, const char *base, apr_pool_t *p);

/** The end of a DN that names its domain, "dc=example,dc=com"; NULL: it has none. */
const char *gh_directory_domain_of(const char *dn, apr_pool_t *p);

/** Where the accounts of a domain are. @return NULL if it is not one of those configured */
const char *gh_directory_domain_base(const gh_directory_config_t *config, const char *domain,
                                     apr_pool_t *p);

/** A Global Catalog has the accounts of domains below a domain as well, which are others'.
 *  @return 1 if no domain lies between base and entry */
int gh_directory_is_of_domain(const gh_directory_entry_t *entry, const char *base);

/* account.c */

/** Bytes as they stand in a filter. */
const char *gh_directory_escape_bytes(gh_bytes_t bytes, apr_pool_t *p);

/* groups.c */

/** Finds out whether it is Active Directory that answers: sets lookup->active. */
apr_status_t gh_directory_learn_kind(gh_directory_lookup_t *lookup);

/** Fills groups, and their identifiers if the configuration wants them. */
apr_status_t gh_directory_groups(gh_directory_account_t *account, gh_directory_lookup_t *lookup,
                                 const gh_directory_entry_t *entry);

/* search.c */

/**
 * Searches, over whatever server answers.
 * @param limit of entries: 1 more than that may come
 * @param entries gh_directory_entry_t * elements
 */
apr_status_t gh_directory_search(apr_array_header_t **entries, gh_directory_t *directory,
                                 const gh_directory_query_t *query, int limit, apr_time_t end,
                                 apr_pool_t *p, gh_result_t *result);

/* cache.c */

const char *gh_directory_key(const gh_directory_query_t *query, apr_pool_t *p);
/** @return NULL: not known */
apr_array_header_t *gh_directory_kept(gh_directory_t *directory, const char *key, apr_time_t now,
                                      apr_pool_t *p);
void gh_directory_keep(gh_directory_t *directory, const char *key,
                       const apr_array_header_t *entries, apr_time_t now);

#endif /* gatehouse_directory_directory_private_h */
