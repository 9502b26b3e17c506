/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_issuer_device_private_h
#define gatehouse_issuer_device_private_h

#include "issuer/device.h"

/* What registering a device and checking a request share: one way to write things. */

/** A host name in lower case, in p. @return NULL for anything else, wildcards among it */
const char *gh_device_fqdn(const char *text, apr_pool_t *p);

/** An IPv4 or IPv6 address as it is always written, in p. @return NULL for anything else */
const char *gh_device_address(const char *text, apr_pool_t *p);

/** The keyed digest of a device's password. @return GH_EUNAVAILABLE without a sealer */
apr_status_t gh_device_mac(unsigned char mac[GH_SEAL_MAC_SIZE], const gh_sealer_t *sealer,
                           const char *tenant, const char *fqdn, gh_bytes_t password,
                           apr_pool_t *p, gh_result_t *result);

#endif /* gatehouse_issuer_device_private_h */
