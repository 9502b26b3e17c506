/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_directory_directory_h
#define gatehouse_directory_directory_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>

#include "limiter.h"
#include "result.h"
#include "text.h"

/*
 * A directory behind LDAP (RFC 4511): who somebody is. Asked on the caller's thread, for a bounded
 * time, over connections that are kept; servers that do not answer are left alone for a while, so
 * that one that hangs holds no more than a few threads.
 */

typedef struct gh_directory gh_directory_t;

/** Windows has two names for a domain; people write either. */
typedef struct {
    const char *dns;                /* "example.com" */
    const char *netbios;            /* "EXAMPLE", or NULL */
    const char *base;               /* where its accounts are; NULL: "dc=example,dc=com" */
} gh_directory_domain_t;

/** What is configured. Strings live as long as the directory. */
typedef struct {
    const char *name;               /* for messages */
    const apr_array_header_t *urls; /* const char * "ldap://host:port", "ldaps://host", in the order
                                       in which they are tried. A Global Catalog is at port 3268 or
                                       3269 */
    const char *base;               /* DN below which is searched; "": everything there is */
    int starttls;                   /* 1: no ldap:// URL is used without */
    const char *trust;              /* PEM of whom to trust for TLS; NULL: whom the system does */
    const char *bind;               /* DN or user principal name; NULL: anonymous */
    gh_bytes_t password;            /* for bind; borrowed */
    apr_interval_time_t connect;    /* how long a connection may take; 0: 5 s */
    apr_interval_time_t deadline;   /* how long a look-up may take altogether; 0: 10 s */
    int connections;                /* at once, of this process; 0: 8 */
    int referrals;                  /* how far they are followed from server to server, 0 to 10 */
    apr_interval_time_t keep;       /* how long answers are kept; 0: not at all */
    const apr_array_header_t *domains;  /* gh_directory_domain_t; NULL: there is one, whatever it
                                           is called */
    int sids;                       /* 1: accounts are to have the identifiers of their groups */
} gh_directory_config_t;

/** Most values of an attribute, bytes of one message, and bytes of all entries of an answer. */
#define GH_DIRECTORY_VALUES_MAX 1024
#define GH_DIRECTORY_BYTES_MAX  (1024 * 1024)
#define GH_DIRECTORY_ANSWER_MAX (8 * 1024 * 1024)

/** Checks what is configured. Opens no connection.
 *  @return APR_EINVAL with result */
apr_status_t gh_directory_check(const gh_directory_config_t *config, apr_pool_t *p,
                                gh_result_t *result);

/**
 * In the process that will use it; any thread may. Connections are opened when they are needed, and
 * closed with the pool.
 * @param cap look-ups at once of all processes of the node; NULL: only config->connections counts
 */
apr_status_t gh_directory_create(gh_directory_t **directory, const gh_directory_config_t *config,
                                 gh_limiter_t *cap, apr_pool_t *p);

/** A value as it may stand in a filter (RFC 4515 3), in p. */
const char *gh_directory_escape(const char *value, apr_pool_t *p);

/** One entry. */
typedef struct gh_directory_entry gh_directory_entry_t;

typedef struct {
    const char *base;               /* NULL: that of the configuration */
    int one;                        /* 1: the entry base itself, not what is below it */
    const char *filter;             /* RFC 4515; what others have said is escaped in it */
    const char *const *attributes;  /* ended by NULL */
    int descriptors;                /* 1: of nTSecurityDescriptor the list of who may what is
                                       enough, which those may read who have no more rights */
} gh_directory_query_t;

/**
 * Finds the one entry that a filter names.
 * @param entry in p
 * @return APR_NOTFOUND; GH_ECONFLICT if there are several; GH_EUNAVAILABLE if no server answers in
 *         time; GH_EBUSY if too many ask; each with result
 */
apr_status_t gh_directory_find(const gh_directory_entry_t **entry, gh_directory_t *directory,
                               const gh_directory_query_t *query, apr_pool_t *p,
                               gh_result_t *result);

const char *gh_directory_entry_dn(const gh_directory_entry_t *entry);
/** Values of an attribute that was asked for, gh_bytes_t with a NUL behind each; NULL: none.
 *  @param name in any case */
const apr_array_header_t *gh_directory_entry_values(const gh_directory_entry_t *entry,
                                                    const char *name);
/** The first value as text; NULL if there is none, or it has a NUL. */
const char *gh_directory_entry_text(const gh_directory_entry_t *entry, const char *name);

/** All values that are text. @param entry may be NULL @return const char *, in p; NULL: none */
const apr_array_header_t *gh_directory_entry_texts(const gh_directory_entry_t *entry,
                                                   const char *name, apr_pool_t *p);

/** An account of a user or a computer, as Active Directory has it. What is not there is NULL. */
typedef struct {
    const char *dn;                 /* distinguishedName, RFC 4514 */
    const char *cn;
    const char *account;            /* sAMAccountName */
    const char *host;               /* dNSHostName */
    const char *mail;
    const char *principal;          /* userPrincipalName */
    const char *sid;                /* objectSid as text, "S-1-5-21-..." */
    gh_bytes_t guid;                /* objectGUID, 16 bytes */
    const apr_array_header_t *services;     /* const char * servicePrincipalName */
    const apr_array_header_t *groups;       /* const char * DNs: member of, directly or through
                                               other groups, and the primary group */
    const apr_array_header_t *sids; /* gh_bytes_t objectSid of the account and of groups; NULL if
                                       the configuration does not want them */
    int machine;                    /* 1: a computer */
    int disabled;                   /* 1: disabled, locked out, or past its end */
} gh_directory_account_t;

/**
 * Finds the account of who was authenticated.
 * @param user   sAMAccountName, or a user principal name if domain is NULL
 * @param domain in either form; NULL: user has it, or there is but one
 * @return as gh_directory_find(); APR_NOTFOUND also for a domain that is not configured
 */
apr_status_t gh_directory_account(const gh_directory_account_t **account,
                                  gh_directory_t *directory, const char *user, const char *domain,
                                  apr_pool_t *p, gh_result_t *result);

/**
 * Finds the account of who has logged on as user@domain, which whoever has checked that may have
 * taken for an account's own name or for a user principal name. An account that has the name of
 * another as its user principal name is taken for neither.
 * @param domain of DNS, one of those that are configured
 * @return as gh_directory_account(); GH_ECONFLICT if more than one account may be meant
 */
apr_status_t gh_directory_account_of_logon(const gh_directory_account_t **account,
                                           gh_directory_t *directory, const char *user,
                                           const char *domain, apr_pool_t *p,
                                           gh_result_t *result);

/** Finds the account of a security identifier. @param sid "S-1-5-21-..."
 *  @return as gh_directory_find(); APR_NOTFOUND also for what is no security identifier */
apr_status_t gh_directory_account_by_sid(const gh_directory_account_t **account,
                                         gh_directory_t *directory, const char *sid,
                                         apr_pool_t *p, gh_result_t *result);

/** Finds the account that has a user principal name, and none whose own name that looks like.
 *  @return as gh_directory_find() */
apr_status_t gh_directory_account_by_principal(const gh_directory_account_t **account,
                                               gh_directory_t *directory, const char *principal,
                                               apr_pool_t *p, gh_result_t *result);

/** @return 1 if an account is a member of a group. @param group DN, in any spelling */
int gh_directory_is_member(const gh_directory_account_t *account, const char *group,
                           apr_pool_t *p);

/** objectSid as text (MS-DTYP 2.4.2.1), in p; NULL if it is none. */
const char *gh_directory_sid_text(gh_bytes_t sid, apr_pool_t *p);

#endif /* gatehouse_directory_directory_h */
