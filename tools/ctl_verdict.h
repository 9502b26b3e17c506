/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehousectl_ctl_verdict_h
#define gatehousectl_ctl_verdict_h

#include <apr_hash.h>

#include "ctl.h"
#include "escrow/vault.h"
#include "x509/seal.h"

/* What the parts of "check" say, one line each. */

typedef enum {
    CTL_VERDICT_OK,
    CTL_VERDICT_WARNING,
    CTL_VERDICT_ERROR
} ctl_verdict_t;

typedef struct {
    ctl_t *ctl;
    apr_pool_t *p;
    apr_hash_t *certificates;       /* X509 * of CAs, by name of the issuer */
    apr_hash_t *told;               /* names of what httpd has judged itself: no second verdict */
    gh_sealer_t *sealer;            /* NULL if there is no sealing key, or none that can be had */
    gh_vault_t *vault;              /* NULL if there is none, or none that can be opened */
    int sealed_otherwise;           /* the sealing key does not open a key of the store */
    int warnings;
    int errors;
} ctl_check_t;

/** Something is in order. */
void ctl_verdict_ok(ctl_check_t *check, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** Something is not; the result says what and what to do. */
void ctl_verdict(ctl_check_t *check, const char *name, ctl_verdict_t verdict,
                 const gh_result_t *result);

/* The parts. Those that read files of root come before privileges go, the others behind. */

void ctl_check_files(ctl_check_t *check);       /* certificates, keys */
void ctl_check_addresses(ctl_check_t *check);   /* what CA certificates say of the CA above */
void ctl_check_tokens(ctl_check_t *check);      /* keys that children open */
void ctl_check_scep(ctl_check_t *check);        /* challenges */
void ctl_check_wstep(ctl_check_t *check);       /* templates of mod_wstep */
void ctl_check_wstep_store(ctl_check_t *check); /* keys of the store that sign its responses */
void ctl_check_sealing(ctl_check_t *check);     /* the sealing key itself */
void ctl_check_store(ctl_check_t *check);       /* store, clock, CRLs of the store */
void ctl_check_ra(ctl_check_t *check);          /* keys in the store: RAs, and whose they are */
void ctl_check_jobs(ctl_check_t *check);        /* what waits for CAs elsewhere */
void ctl_check_vault_keys(ctl_check_t *check);  /* keys of the vault */
void ctl_check_client_cas(ctl_check_t *check);  /* CRLs of CAs of others */
/** Reads the keys of the vault, as who starts httpd. */
apr_status_t ctl_vault_load(const ctl_t *ctl, gh_vault_t **vault, gh_result_t *result);
void ctl_check_escrow(ctl_check_t *check);      /* vault, pins, profiles, UEMs */
void ctl_check_crl_files(ctl_check_t *check);   /* CRLs of offline CAs */
void ctl_check_ocsp_files(ctl_check_t *check);  /* OCSP signers from files */
void ctl_check_ocsp_tokens(ctl_check_t *check); /* OCSP signers on tokens */
void ctl_check_ocsp_status(ctl_check_t *check); /* indexes, their sources, the feeder */
void ctl_check_ocsp_store(ctl_check_t *check);  /* OCSP signers that are enrolled */

#endif /* gatehousectl_ctl_verdict_h */
