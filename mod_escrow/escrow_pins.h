/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_escrow_escrow_pins_h
#define mod_escrow_escrow_pins_h

#include <apr_pools.h>
#include <apr_tables.h>

#include "mod_escrow/escrow_client.h"

/* Sets of pins: thumbprints of those who may come in, and what for. A set is made once and only
 * read from then on, by any number of threads. */

#define ESCROW_ROLE_PROVIDER    1u
#define ESCROW_ROLE_UEM         2u
#define ESCROW_ROLE_ADMIN       4u
#define ESCROW_ROLE_ANY         7u
#define ESCROW_ROLES            3

/** Pins of one set. */
#define ESCROW_PINS_MAX         1000000
/** A file of pins is no larger. */
#define ESCROW_PIN_FILE_MAX     (64 * 1024 * 1024)

typedef struct escrow_pins escrow_pins_t;

typedef struct {
    gh_thumbprint_t thumbprint;
    apr_time_t expires[ESCROW_ROLES];   /* of each role: 0: it has not got it */
    volatile apr_uint32_t used;         /* somebody has come with it since that was last taken */
} escrow_pin_t;

/** Expires never. */
#define ESCROW_PIN_FOREVER APR_INT64_MAX

/** @return 0 if it is none */
unsigned escrow_role(const char *name);
/** Of one role. */
const char *escrow_role_name(unsigned role);

escrow_pins_t *escrow_pins_make(apr_pool_t *p);
/** @param expires 0 or ESCROW_PIN_FOREVER: never. The same thumbprint may be added several times:
 *  each role lasts for as long as the longest. */
void escrow_pins_add(escrow_pins_t *pins, const gh_thumbprint_t *thumbprint, unsigned roles,
                     apr_time_t expires);
unsigned escrow_pins_count(const escrow_pins_t *pins);

/** The pin by which a client has one of the roles, or NULL. */
escrow_pin_t *escrow_pins_find(const escrow_pins_t *pins, const escrow_client_t *client,
                               unsigned roles, apr_time_t now);

/** Calls back for each pin that was used since the last time, and forgets that. */
void escrow_pins_take_used(const escrow_pins_t *pins,
                           void (*take)(void *baton, const escrow_pin_t *pin), void *baton,
                           apr_pool_t *ptemp);

/** Lines of a file that were left out since they cannot be understood. */
typedef struct {
    int count;
    apr_array_header_t *said;       /* const char *: of the first ESCROW_SKIPPED_SAID, which line of
                                       which file, and why */
} escrow_skipped_t;

#define ESCROW_SKIPPED_SAID 8

/**
 * Reads a file: in each line a thumbprint, then, if with_roles is set, its roles
 * separated by commas; then "expires=" and a time of RFC 3339, and any label. '#' begins a comment.
 * @param bare set to the number of lines that have 40 digits without a prefix; may be NULL
 * @param skipped set to the lines that were left out; NULL: the first of them is an error, and
 *        result names it
 */
apr_status_t escrow_pins_read(escrow_pins_t **pins, const char *path, int with_roles, int *bare,
                              escrow_skipped_t *skipped, apr_pool_t *p, gh_result_t *result);

/** The same, of a text. */
apr_status_t escrow_pins_parse(escrow_pins_t **pins, gh_bytes_t text, const char *path,
                               int with_roles, int *bare, escrow_skipped_t *skipped,
                               apr_pool_t *p, gh_result_t *result);

/** What is to be said of lines that were left out, as the error GH1159. */
apr_status_t escrow_pins_skipped(const escrow_skipped_t *skipped, int with_roles, apr_pool_t *p,
                                 gh_result_t *result);

#endif /* mod_escrow_escrow_pins_h */
