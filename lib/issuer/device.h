/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_issuer_device_h
#define gatehouse_issuer_device_h

#include "issuer/authorisation.h"
#include "store/devices.h"

/*
 * Device registrations, which gh_authoriser_device() takes. The host name that a request is about
 * is its unstructuredName (attribute or part of the subject), its DNS names and its common names:
 * all that are there must be the registered one. It may ask for no other alternative names than
 * that one and the registered address. A registered address must be there as unstructuredAddress
 * or as IP alternative name, a registered serial number as serialNumber of the subject; all that
 * are there must be it.
 *
 * With a password, which is the challengePassword, a device may enrol as often as it likes, unless
 * the registration is for single use; without one it may enrol once.
 */

#define GH_DEVICE_PASSWORD_LEAST    8
#define GH_DEVICE_PASSWORD_MOST     1024
#define GH_DEVICE_SERIAL_NUMBER_MAX 64

typedef struct {
    const char *tenant;
    const char *fqdn;               /* in any case */
    const char *issuer;             /* NULL: any that the tenant may use */
    const char *profile;            /* NULL: any */
    const char *address;            /* IPv4 or IPv6; NULL: none is asked for */
    const char *serial_number;      /* NULL: none is asked for */
    gh_bytes_t password;            /* data NULL: none, or one that is generated */
    int generate;                   /* make a password of 160 random bits */
    int single_use;                 /* always so without a password */
    const char *node;               /* for the audit log, as are the next two */
    const char *actor;
    const char *protocol;
} gh_device_spec_t;

/**
 * Registers a device, with an audit row.
 * @param sealer may be NULL if there is no password
 * @param record what was stored, in p; @param password the one that was generated, else NULL
 * @return APR_EINVAL with result: something is malformed; GH_ECONFLICT (failure CONFLICT): the
 *         tenant has a device of that name; GH_EUNAVAILABLE; errors of gh_store_write()
 */
apr_status_t gh_device_register(gh_store_t *store, const gh_sealer_t *sealer,
                                const gh_device_spec_t *spec, gh_device_record_t *record,
                                const char **password, apr_pool_t *p, gh_result_t *result);

/** Ends a registration, with an audit row. @return APR_NOTFOUND if it has ended meanwhile */
apr_status_t gh_device_unregister(gh_store_t *store, const gh_device_record_t *record,
                                  const char *node, const char *actor, const char *protocol,
                                  apr_pool_t *p, gh_result_t *result);

#endif /* gatehouse_issuer_device_h */
