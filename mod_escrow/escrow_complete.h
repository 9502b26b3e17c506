/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_complete_h
#define gatehouse_escrow_complete_h

#include <apr_pools.h>

#include "mod_escrow/escrow_envelope.h"
#include "mod_escrow/escrow_pkcs12.h"
#include "mod_escrow/escrow_recipient.h"
#include "mod_escrow/escrow_template.h"
#include "result.h"
#include "text.h"

/* From a skeleton and credentials to what is delivered: CPU work of some milliseconds. */

typedef struct {
    const escrow_opener_t *opener;
    escrow_pkcs12_t pkcs12;             /* EscrowPKCS12 */
    escrow_transport_t transport;       /* EscrowKeyTransport */
    const escrow_signer_t *signer;      /* of EscrowProfileSigner if this one is signed; or NULL */
    const char *profile;                /* its UUID */
    apr_int64_t generation;             /* with the credentials it decides on new PayloadUUIDs */
} escrow_output_t;

typedef struct {
    gh_bytes_t bytes;                   /* in p; nothing in it can be read but by the device */
    const char *type;                   /* media type */
} escrow_document_t;

/**
 * Puts credentials into a template and encrypts it to a device. A mobileconfig becomes one with
 * EncryptedPayloadContent, other formats become CMS EnvelopedData.
 * @param set all that the template needs; keys in clear
 * @return GH_EREFUSED with result if something is missing; APR_EINVAL
 */
apr_status_t escrow_complete(escrow_document_t *document, const escrow_template_t *template,
                             const escrow_set_t *set, const escrow_recipient_t *recipient,
                             const escrow_output_t *output, apr_pool_t *p, gh_result_t *result);

/** Media type of what is made of a format. */
const char *escrow_media_type(const char *format, int is_signed);

#endif /* gatehouse_escrow_complete_h */
