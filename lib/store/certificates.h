/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_store_certificates_h
#define gatehouse_store_certificates_h

#include "store/store.h"

/*
 * Certificates: what look-ups need in certificate_status, the rest in certificate_der.
 * Issuers are rows too, so that a name never changes its key unnoticed.
 */

typedef enum {
    GH_STATUS_GOOD = 0,
    GH_STATUS_REVOKED = 1,
    GH_STATUS_HELD = 2
} gh_status_t;

/** No CRLReason recorded. */
#define GH_REASON_NONE (-1)
#define GH_REASON_SUPERSEDED 4

typedef struct gh_certificate_record gh_certificate_record_t;

struct gh_certificate_record {
    const char *issuer;             /* name of the <Issuer> */
    gh_bytes_t serial;              /* as gh_serial_parse() gives it */
    gh_status_t status;
    int reason;                     /* RFC 5280 CRLReason, or GH_REASON_NONE */
    apr_time_t revoked_at;          /* 0 unless revoked or held */
    apr_time_t invalid_from;        /* invalidityDate (RFC 5280 5.3.2), 0 if none */
    apr_time_t not_before;
    apr_time_t not_after;
    apr_int64_t change;             /* change_seq of the last change of status */
    const char *subject;            /* RFC 4514 */
    const char *sans;               /* JSON array of "DNS:...", "email:..." */
    const char *profile;
    const char *enrolment;          /* id, NULL if imported */
    gh_bytes_t sha256;              /* of the DER */
    gh_bytes_t key_sha256;          /* of the SubjectPublicKeyInfo */
    gh_bytes_t der;                 /* empty where the function says so */
};

/**
 * Registers an issuer's name with its key, or checks it.
 * @param key_sha256 of the CA's SubjectPublicKeyInfo
 * @return GH_ECONFLICT if the name belongs to another key
 */
apr_status_t gh_issuer_register(gh_transaction_t *transaction, const char *name,
                                gh_bytes_t key_sha256, gh_bytes_t certificate);

/** Notes whether a worker talks to an issuer's CA, so that this is to be told of changes of status;
 *  the issuer is registered. */
apr_status_t gh_issuer_note_worker(gh_transaction_t *transaction, const char *name, int by_worker);

/** @return APR_NOTFOUND if the name was never registered */
apr_status_t gh_issuer_by_worker(gh_transaction_t *transaction, const char *name,
                                 int *by_worker);

/** The key that an issuer's name belongs to. @param key_sha256 as registered, in p
 *  @return APR_NOTFOUND if the name was never registered */
apr_status_t gh_issuer_key(gh_transaction_t *transaction, const char *name,
                           gh_bytes_t *key_sha256, apr_pool_t *p);

/** SHA-256 of a certificate, or of a key, that is not known: 32 zero bytes. Of such a certificate
 *  only serial number and status are known, and der is anything but a certificate: the entry of a
 *  CRL, or the serial number again. */
gh_bytes_t gh_certificate_unknown_digest(void);

/** @return 1 if that is all that is known of a certificate */
int gh_certificate_is_unknown(const gh_certificate_record_t *record);

/** Puts the certificate itself to a row of which only the serial number was known; its status stays
 *  as it is. @param changed set to 0 if there is no such row */
apr_status_t gh_certificate_complete(gh_transaction_t *transaction,
                                     const gh_certificate_record_t *record, int *changed);

/** Says of a certificate that is there, since its CA has told of it, by which enrolment and for
 *  which profile it was issued; one that has an enrolment keeps it. @return APR_NOTFOUND then */
apr_status_t gh_certificate_adopt(gh_transaction_t *transaction,
                                  const gh_certificate_record_t *record);

/** Adds a certificate. @return GH_ECONFLICT if issuer and serial exist already */
apr_status_t gh_certificate_insert(gh_transaction_t *transaction,
                                   const gh_certificate_record_t *record);

/**
 * Finds certificates by serial. @param issuer NULL for every issuer
 * @param records set to gh_certificate_record_t * elements in p, with DER; empty if there is none
 */
apr_status_t gh_certificate_find(gh_transaction_t *transaction, const char *issuer,
                                 gh_bytes_t serial, apr_array_header_t **records, apr_pool_t *p);

/** What to list; members that are NULL or 0 do not restrict. */
typedef struct {
    const char *issuer;
    const char *profile;
    const char *subject;            /* contained in the subject, case-insensitively */
    const char *status;             /* "good", "held", "revoked", "expired": exactly one fits */
    apr_time_t now;                 /* what "expired" means */
    gh_bytes_t after_serial;        /* continue behind this one (with after_issuer) */
    const char *after_issuer;
    int limit;                      /* 0: 1000 */
} gh_certificate_filter_t;

/** Lists certificates without DER, ordered by issuer and serial. */
apr_status_t gh_certificate_list(gh_transaction_t *transaction,
                                 const gh_certificate_filter_t *filter,
                                 apr_array_header_t **records, apr_pool_t *p);

/**
 * Sets the status by the table of states: good to held or revoked, held to good (release) or
 * revoked, revoked to revoked to raise its reason from unspecified or none to keyCompromise (the
 * time stays, as it does when a held certificate is revoked). Otherwise a revocation of what is
 * revoked is accepted and changes nothing, whatever its reason.
 * @param reason, invalid_from recorded for revoked and held
 * @param changed set to 0 if nothing was changed
 * @return APR_NOTFOUND for an unknown certificate, GH_EREFUSED for a transition that the table does
 *         not have or a certificate that expired before now
 */
apr_status_t gh_certificate_set_status(gh_transaction_t *transaction, const char *issuer,
                                       gh_bytes_t serial, gh_status_t status, int reason,
                                       apr_time_t invalid_from, apr_time_t now, int *changed);

/** The status of one certificate; one that has expired keeps it. @return APR_NOTFOUND */
apr_status_t gh_certificate_status(gh_transaction_t *transaction, const char *issuer,
                                   gh_bytes_t serial, gh_status_t *status);

/** Called for each entry of a CRL, ordered by serial. The record has issuer, serial, reason,
 *  revoked_at, invalid_from and not_after only, and is valid within the call; the transaction must
 *  not be used there. @return other than APR_SUCCESS ends the walk */
typedef apr_status_t gh_revoked_fn(const gh_certificate_record_t *record, void *baton);

/** Walks the revoked and held certificates of an issuer that expire after not_after_min. Memory
 *  does not grow with their number. */
apr_status_t gh_certificate_each_revoked(gh_transaction_t *transaction, const char *issuer,
                                         apr_time_t not_after_min, gh_revoked_fn *each,
                                         void *baton);

/** Largest change_seq among revoked, held and released certificates of an issuer; 0 if there never
 *  was one. */
apr_status_t gh_certificate_last_change(gh_transaction_t *transaction, const char *issuer,
                                        apr_int64_t *change);

#endif /* gatehouse_store_certificates_h */
