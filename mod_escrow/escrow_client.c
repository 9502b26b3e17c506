/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_escrow/escrow_client.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

static int digest(gh_thumbprint_t *thumbprint, const X509 *certificate, const EVP_MD *algorithm)
{
    unsigned int length = 0;

    if (!X509_digest(certificate, algorithm, thumbprint->digest, &length)) {
        return 0;
    }
    thumbprint->length = (int)length;
    return 1;
}

static int read_time(apr_time_t *time, const ASN1_TIME *value)
{
    int days = 0, seconds = 0;
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int ok = epoch && ASN1_TIME_diff(&days, &seconds, epoch, value);

    if (ok) {
        *time = apr_time_from_sec((apr_int64_t)days * 86400 + seconds);
    }
    ASN1_TIME_free(epoch);
    return ok;
}

int escrow_client_of(escrow_client_t *client, const X509 *certificate)
{
    memset(client, 0, sizeof(*client));
    return digest(&client->sha256, certificate, EVP_sha256())
           && digest(&client->sha1, certificate, EVP_sha1())
           && read_time(&client->not_before, X509_get0_notBefore(certificate))
           && read_time(&client->not_after, X509_get0_notAfter(certificate));
}

apr_status_t escrow_client_read(escrow_client_t *client, gh_bytes_t der)
{
    const unsigned char *at = der.data;
    X509 *certificate = NULL;
    int ok = 0;

    if (der.length > 0 && der.length <= ESCROW_CERTIFICATE_MAX) {
        certificate = d2i_X509(NULL, &at, (long)der.length);
        ok = certificate && at == der.data + der.length && escrow_client_of(client, certificate);
    }
    if (ok) {
        client->der = der;
    }
    X509_free(certificate);
    ERR_clear_error();
    return ok ? APR_SUCCESS : APR_EINVAL;
}

const gh_thumbprint_t *escrow_client_thumbprint(const escrow_client_t *client)
{
    return client->sha256.length ? &client->sha256 : &client->sha1;
}

int escrow_client_time(const escrow_client_t *client, apr_time_t now)
{
    if (client->not_before && now < client->not_before) {
        return -1;
    }
    /* notAfter is the last second that is included (RFC 5280 4.1.2.5) */
    return client->not_after && now >= client->not_after + APR_USEC_PER_SEC;
}
