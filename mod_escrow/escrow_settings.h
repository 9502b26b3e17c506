/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_escrow_escrow_settings_h
#define mod_escrow_escrow_settings_h

#include <httpd.h>
#include <http_config.h>
#include <jansson.h>

#include "mod_escrow/escrow_envelope.h"
#include "mod_escrow/escrow_identity.h"
#include "mod_escrow/escrow_keep.h"
#include "mod_escrow/escrow_pkcs12.h"
#include "mod_escrow/escrow_recipient.h"

/* What directives say of uploads and profiles, for the whole server. */

typedef struct {
    apr_size_t max_body;                /* EscrowMaxBody, bytes */
    int max_credentials;                /* EscrowMaxCredentials */
    escrow_retention_t retention;       /* EscrowRetention */
    apr_interval_time_t days;
    int archive;                        /* EscrowArchiveReplaced */
    apr_array_header_t *device_cas;     /* const char *: files of EscrowDeviceCA */
    apr_array_header_t *device_issuers; /* escrow_device_issuer_t *: EscrowDeviceCA issuer= */
    escrow_trust_t trust;               /* what is said by these and EscrowRecipient */
    apr_interval_time_t patience;       /* EscrowProfileLife */
    escrow_pkcs12_t pkcs12;             /* EscrowPKCS12 */
    escrow_transport_t transport;       /* EscrowKeyTransport */
    const char *signer_certificate;     /* EscrowProfileSigner; NULL: none */
    const char *signer_key;             /* gh_key_open() form */
    const char *signer_passphrase;      /* "file:PATH", "exec:PATH"; NULL: none */
    const char *signer_file;            /* where it is said */
    int signer_line;
} escrow_settings_t;

/** Made on first use in a configuration. */
escrow_settings_t *escrow_settings(apr_pool_t *pconf);
/** As configured; NULL if nothing was said. */
const escrow_settings_t *escrow_settings_now(void);

const char *escrow_set_max_body(cmd_parms *cmd, void *dir, const char *arg);
const char *escrow_set_max_credentials(cmd_parms *cmd, void *dir, const char *arg);
const char *escrow_set_retention(cmd_parms *cmd, void *dir, const char *arg);
const char *escrow_set_archive(cmd_parms *cmd, void *dir, int on);
const char *escrow_set_device_ca(cmd_parms *cmd, void *dir, int argc, char *const argv[]);
const char *escrow_set_recipient(cmd_parms *cmd, void *dir, const char *arg);
const char *escrow_set_profile_life(cmd_parms *cmd, void *dir, const char *arg);
const char *escrow_set_pkcs12(cmd_parms *cmd, void *dir, const char *arg);
const char *escrow_set_transport(cmd_parms *cmd, void *dir, const char *arg);
const char *escrow_set_signer(cmd_parms *cmd, void *dir, const char *certificate,
                              const char *key, const char *passphrase);

/** escrow_dump.c: EscrowDeviceCA issuer=, for people and the worker. */
json_t *escrow_dump_issuers(const apr_array_header_t *issuers);

/** In check_config: reads the files that are named. @return number of problems */
int escrow_settings_check(server_rec *s, apr_pool_t *pconf, apr_pool_t *ptemp);

#endif /* mod_escrow_escrow_settings_h */
