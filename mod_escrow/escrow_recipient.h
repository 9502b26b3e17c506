/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_recipient_h
#define gatehouse_escrow_recipient_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>
#include <openssl/types.h>

#include "result.h"
#include "text.h"

/*
 * Who may open a profile: the certificate of the device. Who hands in the skeleton names it, and
 * must not be able to name one of its own. So it counts only if a CA of devices issued it naming
 * the device, or if Gatehouse issued it to that device.
 */

typedef struct escrow_recipient escrow_recipient_t;

/** CAs of devices. Any thread may use it. */
typedef struct escrow_device_cas escrow_device_cas_t;

/** @param files const char * elements: PEM files with CA certificates, of EscrowDeviceCA
 *  @return APR_EINVAL with result, errors of gh_certificates_open() */
apr_status_t escrow_device_cas_open(escrow_device_cas_t **cas, const apr_array_header_t *files,
                                    apr_pool_t *p, gh_result_t *result);

/** The same from DER certificates, gh_bytes_t, as another process has them. */
apr_status_t escrow_device_cas_make(escrow_device_cas_t **cas,
                                    const apr_array_header_t *certificates, apr_pool_t *p,
                                    gh_result_t *result);

/** @return gh_bytes_t, DER; empty if there are none */
const apr_array_header_t *escrow_device_cas_certificates(const escrow_device_cas_t *cas);

/**
 * Reads the certificate of a device: RSA of 2048 bits or more, or P-256, P-384, P-521; no CA's;
 * good now; made for encryption (keyEncipherment for RSA, keyAgreement for EC, where it has a key
 * usage).
 * @return APR_EINVAL with result
 */
apr_status_t escrow_recipient_read(escrow_recipient_t **recipient, gh_bytes_t der, apr_time_t now,
                                   apr_pool_t *p, gh_result_t *result);

/**
 * Whether a CA of devices has issued it and it names the device: a common name, serialNumber or UID
 * of its subject, or a DNS name, URI ("urn:uuid:" may stand before it), or UPN of its alternative
 * names is one of the names, whole, in any case.
 * @param device its UUID
 * @param names  const char *: other names of it that we know by ourselves, never from who asks; may
 *               be NULL
 * @return GH_EREFUSED with result
 */
apr_status_t escrow_recipient_check(const escrow_recipient_t *recipient,
                                    const escrow_device_cas_t *cas, const char *device,
                                    const apr_array_header_t *names, apr_time_t now,
                                    apr_pool_t *p, gh_result_t *result);

/** @return 1 if the certificate names the device; for those that we have issued */
int escrow_recipient_names(const escrow_recipient_t *recipient, const char *device,
                           const apr_array_header_t *names, apr_pool_t *p);

/* About it, for the store (escrow_recipient). */
gh_bytes_t escrow_recipient_certificate(const escrow_recipient_t *recipient);
const unsigned char *escrow_recipient_sha256(const escrow_recipient_t *recipient);      /* 32 */
const unsigned char *escrow_recipient_key_sha256(const escrow_recipient_t *recipient);  /* 32 */
const char *escrow_recipient_subject(const escrow_recipient_t *recipient);
gh_bytes_t escrow_recipient_serial(const escrow_recipient_t *recipient);
apr_time_t escrow_recipient_not_after(const escrow_recipient_t *recipient);
X509 *escrow_recipient_x509(const escrow_recipient_t *recipient);       /* borrowed */

#endif /* gatehouse_escrow_recipient_h */
