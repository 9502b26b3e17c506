/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef tests_unit_tls_server_h
#define tests_unit_tls_server_h

#include "text.h"
#include "x509_support.h"

/*
 * A server over TLS on 127.0.0.1, on a thread, that answers as a script says: one letter for each
 * request, whichever connection it comes over.
 *
 *   a  200 "ok", and keeps the connection        q  the same, and closes it silently
 *   c  closes without an answer                  h  never answers
 *   r  429, Retry-After: 7                       d  503, Retry-After as a date in 60 s
 *   l  200 with 64 KiB                           p  the beginning of an answer
 *   m  302                                       t  200 "ok", and a 404 that nobody has asked for
 */

typedef struct tls_server tls_server_t;

/** @param demand 1: refuses clients without a certificate that ca has issued, when these have sent
 *         their request already */
tls_server_t *tls_server_start(const char *script, int demand, const gh_ca_t *ca);
void tls_server_stop(tls_server_t *server);

/** "https://127.0.0.1:PORT" */
const char *tls_server_url(const tls_server_t *server);
/** Requests that were read to their end, and the last one. */
int tls_server_requests(tls_server_t *server);
const char *tls_server_last(tls_server_t *server);
int tls_server_connections(tls_server_t *server);
/** Subject of the last client's certificate, or empty. */
const char *tls_server_client(tls_server_t *server);

/** A certificate of a CA for a key. @param san as in OpenSSL's configuration; NULL: none */
X509 *tls_certificate(const gh_ca_t *ca, EVP_PKEY *ca_key, EVP_PKEY *key, const char *name,
                      const char *san);

#endif /* tests_unit_tls_server_h */
