/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* A token of HTTP Negotiate: SPNEGO, Kerberos, NTLM. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "mod_wstep/wstep_negotiate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);    /* a block apart: reading past it shows */
    wstep_negotiate_t negotiate;
    gh_bytes_t token = { copy, size };

    if (!copy) {
        abort();
    }
    if (size) {
        memcpy(copy, data, size);
    }
    wstep_negotiate_read(&negotiate, token);
    wstep_negotiate_encryption(negotiate.ticket);
    if (ERR_peek_error()
        || (negotiate.kind != WSTEP_NEGOTIATE_KERBEROS
            && (negotiate.ticket || negotiate.session))) {
        abort();
    }
    free(copy);
    return 0;
}
