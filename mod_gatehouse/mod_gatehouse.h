/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_gatehouse_h
#define mod_gatehouse_h

#include <httpd.h>
#include <apr_hash.h>
#include <apr_optional.h>
#include <openssl/types.h>

#include "audit.h"
#include "issuer/ledger.h"
#include "issuer/publisher.h"
#include "x509/seal.h"

/*
 * What mod_gatehouse offers to protocol modules, through optional functions, so that the order of
 * LoadModule does not matter. Retrieve them in a check_config or post_config hook.
 *
 * Issuers, profiles and the store belong to the whole server, not to a virtual host.
 */

/** Configuration as read; available from the check_config hook on, also with "httpd -t". */
typedef struct {
    apr_hash_t *issuers;            /* gh_issuer_t * by name */
    apr_hash_t *profiles;           /* gh_profile_t * by name and by alias */
    const char *store;              /* GatehouseStore, NULL if not configured */
    const char *public_url;         /* GatehousePublicURL, NULL if not configured */
    const char *node;               /* GatehouseNode */
    int sealing_configured;         /* GatehouseSealingKey is there */
    const gh_sealer_t *sealer;      /* NULL if not configured, or, for the dump, not to be had */
} gatehouse_config_t;

APR_DECLARE_OPTIONAL_FN(const gatehouse_config_t *, gatehouse_config, (void));

/** What is alive in a child; NULL before mod_gatehouse's child_init, which runs before the others',
 *  and as long as the store cannot be opened. */
typedef struct {
    gh_store_t *store;
    gh_ledger_t *ledger;
    gh_publisher_t *publisher;
    const gh_sealer_t *sealer;      /* NULL if not configured */
    OSSL_LIB_CTX *decoding;         /* in which to parse what clients send; NULL: the default */
    const char *node;
    const gh_log_t *log;            /* of the main server, for work without a request */
    apr_hash_t *issuers;
    apr_hash_t *profiles;
} gatehouse_service_t;

APR_DECLARE_OPTIONAL_FN(const gatehouse_service_t *, gatehouse_service, (void));

/** The id of a request (X-Request-Id), made on first use and sent with the answer. */
APR_DECLARE_OPTIONAL_FN(const char *, gatehouse_request_id, (request_rec *r));

/** Begins an event of a request: time, id, node, client, user, client_request_id. */
APR_DECLARE_OPTIONAL_FN(gh_audit_event_t *, gatehouse_audit_event, (request_rec *r));

/** Writes an event to the audit log (only there: rows are written with what they record). */
APR_DECLARE_OPTIONAL_FN(void, gatehouse_audit, (const gh_audit_event_t *event, apr_pool_t *p));

/** A log that writes to the error log with the request's context; lives as long as r. */
APR_DECLARE_OPTIONAL_FN(const gh_log_t *, gatehouse_request_log, (request_rec *r));

/** Items of GatehouseAllowRequest merged for a <Location> path ("/scep/a/b/c"), or NULL. */
APR_DECLARE_OPTIONAL_FN(const gh_allowances_t *, gatehouse_allowances,
                        (server_rec *s, const char *path));

/** The gh_expand_fn for gh_profile_context_t; its baton is the request_rec. */
APR_DECLARE_OPTIONAL_FN(apr_status_t, gatehouse_expand,
                        (void *request, const char *expression, apr_pool_t *p,
                         const char **value));

/**
 * Around work on a request that uses the store, issuers or OpenSSL: under prefork, signals that end
 * the process wait until end_work(), and again while what the work has left in r->pool is freed.
 * Reading from the client and writing to it stay outside, since he may take his time. Nestable.
 * Nothing happens with an MPM that has threads: no signal interrupts a request there.
 */
APR_DECLARE_OPTIONAL_FN(void, gatehouse_begin_work, (request_rec *r));
APR_DECLARE_OPTIONAL_FN(void, gatehouse_end_work, (void));

/** The same where there is no request: p takes the place of its pool. */
APR_DECLARE_OPTIONAL_FN(void, gatehouse_begin_work_in, (apr_pool_t *p));

/**
 * Tells a worker of an enrolment that was committed as "submitted", and waits until something has
 * come of its job, for the time that IssuerWait gives, or who owns the queue; does not wait if
 * there is no worker, or if too many requests wait already. What has become of the enrolment is in
 * the store. Neither a transaction nor a place in a limiter may be held meanwhile.
 * @param queue of its job: see gh_enrolment_outcome_t
 */
APR_DECLARE_OPTIONAL_FN(void, gatehouse_await,
                        (request_rec *r, const char *queue, const char *enrolment));

/**
 * Around the opening of a token: one thread of one process after the other, since some PKCS#11
 * modules find no token while somebody else logs in. Not nestable. A module with keys on tokens
 * says so by gatehouse_turn_need(), in its check_config hook.
 */
APR_DECLARE_OPTIONAL_FN(void, gatehouse_turn_need, (void));
APR_DECLARE_OPTIONAL_FN(void, gatehouse_turn_begin, (void));
APR_DECLARE_OPTIONAL_FN(void, gatehouse_turn_end, (void));

/** Lets a module add to the output of "httpd -t -D DUMP_GATEHOUSE": called with a json_t object of
 *  jansson, into which it puts members of its own (see docs/architecture.md).
 *  The list is emptied with pconf. */
typedef void gatehouse_dump_fn(void *json, server_rec *s, apr_pool_t *p);
APR_DECLARE_OPTIONAL_FN(void, gatehouse_register_dump, (gatehouse_dump_fn *fn, apr_pool_t *pconf));

/**
 * Takes down for the dump that a key or secret cannot be had. A start is refused then, but
 * gatehousectl has to learn the configuration all the same: most of what it does needs no key, and
 * a revocation must not wait for one.
 * @param issuer of whose section the directive is, or NULL
 * @param file, line where the directive stands
 * @return 1 if there will be a dump: go on as if there were no problem, since nothing will be
 *         served; 0 otherwise: it is an error of the configuration
 */
APR_DECLARE_OPTIONAL_FN(int, gatehouse_dump_problem,
                        (apr_pool_t *pconf, const char *issuer, const char *directive,
                         const char *file, int line, const gh_result_t *result));

/** A process for slow work beside httpd's children, see lib/worker.h. Everything outlives pconf or
 *  is in it. */
typedef struct {
    const char *name;               /* for logs: letters, digits, '-' */
    const char *program;            /* file name */
    const char *configuration;      /* JSON, an object; may hold secrets; copied */
    int input;                      /* becomes its standard input; -1: none */
    const int *descriptors;         /* at most 16; become GH_WORKER_DESCRIPTORS and those behind */
    int count;
} gatehouse_worker_t;

/**
 * Has a worker started once all is configured, and again whenever it ends; it is asked to end with
 * the configuration. To be called in each start, in a post_config hook (not in the first of two
 * passes).
 * @return APR_ENOENT if there is no such program; httpd will then not start
 */
APR_DECLARE_OPTIONAL_FN(apr_status_t, gatehouse_register_worker,
                        (const gatehouse_worker_t *worker, apr_pool_t *pconf));

/** A <Webhook> section, for challenge providers. */
typedef struct {
    const char *name;
    apr_interval_time_t deadline;   /* how long it is asked */
} gatehouse_webhook_t;

/** @return NULL if there is none of that name; to be called in a check_config hook */
APR_DECLARE_OPTIONAL_FN(const gatehouse_webhook_t *, gatehouse_webhook, (const char *name));

/** Something that the worker for CAs does besides issuers: jobs of a queue of its own. */
typedef struct {
    const char *section;            /* member of the worker's configuration, an array: "webhooks" */
    const char *json;               /* the object that is added to it, as text; may hold secrets */
    const char *queue;              /* of its jobs, "KIND:NAME"; health and metrics count them */
    apr_interval_time_t wait;       /* how long a request waits for one of them; 0: not at all */
    int max_waiting;                /* so many requests of this node at a time */
} gatehouse_worker_section_t;

/**
 * Adds a section, which is copied; with one of them the worker is started even if no issuer needs
 * it. To be called in a check_config hook, in each pass. The list is emptied with pconf.
 */
APR_DECLARE_OPTIONAL_FN(void, gatehouse_add_worker_section,
                        (const gatehouse_worker_section_t *section, apr_pool_t *pconf));

/**
 * Work of a module in the thread of each child that follows the store, several times a second: at
 * most a few transactions and signatures. What fails is logged with its result, not again and
 * again.
 * @param ptemp cleared afterwards
 */
typedef apr_status_t gatehouse_round_fn(const gatehouse_service_t *service, apr_pool_t *ptemp,
                                        gh_result_t *result);

/** Registers such work; in each start, in a check_config or post_config hook. The list is emptied
 *  with pconf. @param what it is, for the log: "enrolling for events" */
APR_DECLARE_OPTIONAL_FN(void, gatehouse_register_round,
                        (const char *what, gatehouse_round_fn *fn, apr_pool_t *pconf));

/**
 * What a responder offers to mod_gatehouse, which retrieves it: the URL at which this configuration
 * answers OCSP for an issuer, for the certificates of that. Called once everything was read.
 * @param public_url GatehousePublicURL of the issuer, or NULL
 * @return in p; NULL if it is not answered for
 */
APR_DECLARE_OPTIONAL_FN(const char *, gatehouse_ocsp_url,
                        (server_rec *s, const char *issuer, const char *public_url,
                         apr_pool_t *p));

/* Health: SetHandler gatehouse-health. */

typedef struct gatehouse_health gatehouse_health_t;

/** One thing that was looked at. @param ok 0 makes the answer 503
 *  @param message what it is like; copied */
APR_DECLARE_OPTIONAL_FN(void, gatehouse_add_health,
                        (gatehouse_health_t *health, const char *name, int ok,
                         const char *message));

/** Something that another node has not better: the answer stays 200, with the status degraded. */
APR_DECLARE_OPTIONAL_FN(void, gatehouse_add_degraded,
                        (gatehouse_health_t *health, const char *name, const char *message));

/** Called in a child for each answer: has to look at what is known, and wait for nothing. */
typedef void gatehouse_health_fn(gatehouse_health_t *health, apr_pool_t *p);

/** Lets a module take part. The list is emptied with pconf. */
APR_DECLARE_OPTIONAL_FN(void, gatehouse_register_health,
                        (gatehouse_health_fn *fn, apr_pool_t *pconf));

/* Metrics: SetHandler gatehouse-metrics, in the text format of Prometheus. */

typedef struct gatehouse_metrics gatehouse_metrics_t;

typedef enum { GATEHOUSE_COUNTER, GATEHOUSE_GAUGE } gatehouse_metric_kind_t;

/** Begins a metric; its values follow. @param name begins with "gatehouse_"
 *  @param help one line */
APR_DECLARE_OPTIONAL_FN(void, gatehouse_begin_metric,
                        (gatehouse_metrics_t *metrics, const char *name,
                         gatehouse_metric_kind_t kind, const char *help));

/** A value of the metric that was begun last.
 *  @param label, value one label, or NULL */
APR_DECLARE_OPTIONAL_FN(void, gatehouse_add_metric,
                        (gatehouse_metrics_t *metrics, const char *label, const char *value,
                         double number));

/** As gatehouse_health_fn. */
typedef void gatehouse_metrics_fn(gatehouse_metrics_t *metrics, apr_pool_t *p);

APR_DECLARE_OPTIONAL_FN(void, gatehouse_register_metrics,
                        (gatehouse_metrics_fn *fn, apr_pool_t *pconf));

#endif /* mod_gatehouse_h */
