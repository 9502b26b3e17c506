/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_issuer_issuer_h
#define gatehouse_issuer_issuer_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>
#include <openssl/x509.h>

#include "log.h"
#include "result.h"
#include "x509/ca.h"
#include "x509/plan.h"

/*
 * An issuer: a CA by name, whatever signs behind it. A back end is a vtable; protocol modules
 * never know which one they talk to.
 *
 * Life: gh_issuer_create() and the setters while the configuration is read; load() in the parent,
 * as root, once per start; child_init() in every child after the fork; then any thread.
 */

typedef struct gh_issuer gh_issuer_t;
typedef struct gh_issuer_backend gh_issuer_backend_t;
struct gh_authorisation;

/** ap_register_provider() group and version under which back ends are found. */
#define GH_ISSUER_PROVIDER_GROUP    "gatehouse-issuer"
#define GH_ISSUER_PROVIDER_VERSION  "1"

struct gh_issuer_backend {
    const char *name;

    /** Opens what needs root: certificates, key files. Configuration errors are found here. */
    apr_status_t (*load)(gh_issuer_t *issuer, apr_pool_t *p, gh_result_t *result);

    /**
     * Opens what each process opens for itself (tokens, connections), and tries it. May be called
     * again, by one thread at a time, while others use the issuer.
     * @return GH_EREFUSED if a token refuses the PIN: to be tried again by a person only
     */
    apr_status_t (*child_init)(gh_issuer_t *issuer, apr_pool_t *p, gh_result_t *result);

    /**
     * Makes the certificate that an authorisation permits.
     * @param certificate owned by p
     * @return APR_SUCCESS; GH_EPENDING if a worker makes it later; GH_EREFUSED, GH_EUNAVAILABLE
     */
    apr_status_t (*enrol)(gh_issuer_t *issuer, const struct gh_authorisation *authorisation,
                          X509 **certificate, apr_pool_t *p, gh_result_t *result);

    /** 1: the CA is elsewhere and a worker talks to it: enrol() gives GH_EPENDING, and changes of
     *  status become jobs. 0: the store is the authority. */
    int by_worker;

    /** Whether the issuer signs in this process, or has failed to; NULL: it always does. */
    int (*usable)(gh_issuer_t *issuer);

    /** Tells that its key has failed to sign; NULL where that makes no difference. */
    void (*suspect)(gh_issuer_t *issuer);

    /** What signs this issuer's CRLs in this process; NULL if they are not made here now. Good
     *  until child_init() is called again, for the thread that does so. */
    const gh_ca_t *(*crl_signer)(gh_issuer_t *issuer);

    /** DER of a CRL that is made elsewhere (a file); NULL if they are made here.
     *  @return APR_NOTFOUND if there is none */
    apr_status_t (*crl)(gh_issuer_t *issuer, gh_bytes_t *der, apr_pool_t *p,
                        gh_result_t *result);

    /** Certificate of the CA key that comes next, or NULL. */
    X509 *(*next_certificate)(gh_issuer_t *issuer);
};

/** Signs in this process with a key from a file or token. */
extern const gh_issuer_backend_t gh_issuer_local;

/** Has a certificate and perhaps a CRL in a file, but no key here: an offline root. */
extern const gh_issuer_backend_t gh_issuer_offline;

/** Has a certificate here and its key behind a CA gateway. */
extern const gh_issuer_backend_t gh_issuer_cagw;

/** The same with a CMP server. */
extern const gh_issuer_backend_t gh_issuer_cmp;

/** What the directives of <Issuer> say. Strings live as long as the issuer. */
typedef struct {
    const char *certificate;        /* IssuerCertificate: path */
    const char *key;                /* IssuerKey: path or pkcs11: URI */
    const char *passphrase;         /* IssuerKey ... passphrase=exec:PATH|file:PATH */
    const char *chain;              /* IssuerChain: path of PEM, up to the root */
    const char *public_url;         /* GatehousePublicURL, without final slash */
    const char *ocsp_url;           /* NULL until a responder is configured */
    const char *crl_file;           /* IssuerCRL file=PATH (offline) */
    apr_interval_time_t crl_validity;   /* IssuerCRL validity=, default 7 d */
    apr_interval_time_t crl_publish;    /* IssuerCRL publish=, default 24 h */
    apr_interval_time_t crl_delay;      /* IssuerCRL delay=: least time between two after
                                           revocations, default 60 s */
    const char *next;                   /* IssuerNext: name of the issuer that takes over */
    apr_time_t next_from;               /* IssuerNext from=: when it does; 0: announced only */
    apr_interval_time_t deadline;       /* IssuerLimits deadline=: how long a worker tries to
                                           enrol, default 24 h */
    int any_subject;                    /* IssuerSubject any: the CA may choose another subject */
} gh_issuer_config_t;

/** @return NULL if the name is not valid; configuration set to defaults */
gh_issuer_t *gh_issuer_create(const char *name, const gh_issuer_backend_t *backend,
                              apr_pool_t *p);

gh_issuer_config_t *gh_issuer_config(gh_issuer_t *issuer);
const char *gh_issuer_name(const gh_issuer_t *issuer);
const gh_issuer_backend_t *gh_issuer_backend(const gh_issuer_t *issuer);

/** Loads configuration files and checks them: certificate a CA's, valid now, chain leads from it,
 *  key fits. Calls the back end's load(). */
apr_status_t gh_issuer_load(gh_issuer_t *issuer, apr_pool_t *p, gh_result_t *result);

/**
 * For a worker, which opens no files: takes what httpd's parent has loaded, and checks nothing but
 * that it can be read. The back end's load() is not called.
 * @param certificate DER; @param chain gh_bytes_t elements above it, root last
 */
apr_status_t gh_issuer_take(gh_issuer_t *issuer, gh_bytes_t certificate,
                            const apr_array_header_t *chain, apr_pool_t *p, gh_result_t *result);

/** After the fork; again, with the same pool, when the issuer is no longer usable. */
apr_status_t gh_issuer_child_init(gh_issuer_t *issuer, apr_pool_t *p, gh_result_t *result);

/** @return 0 if child_init() has not succeeded, or the key has failed since */
int gh_issuer_usable(gh_issuer_t *issuer);

/** Its key has failed to sign: nothing is signed until child_init() has succeeded again. */
void gh_issuer_suspect(gh_issuer_t *issuer);

/** The CA's certificate, once loaded; borrowed. */
X509 *gh_issuer_certificate(const gh_issuer_t *issuer);
gh_bytes_t gh_issuer_certificate_der(const gh_issuer_t *issuer);
gh_bytes_t gh_issuer_key_sha256(const gh_issuer_t *issuer);
/** X509 * elements above the CA's certificate, in order, root last; borrowed. */
const apr_array_header_t *gh_issuer_chain(const gh_issuer_t *issuer);

/** RFC 4514 text of the subject of an issuer's registration authority. */
const char *gh_issuer_ra_subject(const gh_issuer_t *issuer, apr_pool_t *p);

/** @return 1 if a subject is that of the CA, of a CA above it, or of its registration authority:
 *          names that no requester gets. To be called once loaded. */
int gh_issuer_has_name(const gh_issuer_t *issuer, const X509_NAME *subject);

/** Says who takes over; called once, while the configuration is checked. */
void gh_issuer_set_next(gh_issuer_t *issuer, gh_issuer_t *next);

/** Who takes over, or NULL. */
gh_issuer_t *gh_issuer_next(const gh_issuer_t *issuer);

/** Who issues in an issuer's place at a time: itself, or those that have taken over. */
gh_issuer_t *gh_issuer_at(gh_issuer_t *issuer, apr_time_t now);

/* For back ends. */
void gh_issuer_set_data(gh_issuer_t *issuer, void *data);
void *gh_issuer_data(const gh_issuer_t *issuer);
/** The crl() of those whose CRL is in the file that IssuerCRL names. */
apr_status_t gh_issuer_crl_file(gh_issuer_t *issuer, gh_bytes_t *der, apr_pool_t *p,
                                gh_result_t *result);
gh_ca_urls_t gh_issuer_urls(const gh_issuer_t *issuer, apr_pool_t *p);

#endif /* gatehouse_issuer_issuer_h */
