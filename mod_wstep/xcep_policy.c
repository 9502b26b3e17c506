/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_wstep/xcep_policy.h"

#include <ctype.h>
#include <string.h>

#include <apr_strings.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#define ARC_MAX 4294967295ull

int xcep_oid_valid(const char *oid)
{
    int arcs = 0;

    for (;;) {
        unsigned long long arc = 0;

        if (!isdigit((unsigned char)*oid) || (*oid == '0' && isdigit((unsigned char)oid[1]))) {
            return 0;
        }
        for (; isdigit((unsigned char)*oid); ++oid) {
            arc = arc * 10 + (unsigned long long)(*oid - '0');
            if (arc > ARC_MAX) {
                return 0;
            }
        }
        if (arcs == 0 && arc > 2) {
            return 0;
        }
        ++arcs;
        if (!*oid) {
            return arcs >= 2 && arcs <= 32;
        }
        if (*oid++ != '.') {
            return 0;
        }
    }
}

static void digest(unsigned char *hash, const char *text)
{
    SHA256((const unsigned char *)text, strlen(text), hash);
}

const char *xcep_oid_make(const char *base, const char *name, apr_pool_t *p)
{
    unsigned char hash[SHA256_DIGEST_LENGTH];

    digest(hash, name);
    /* 24 bits each: many clients stop at arcs that are large */
    return apr_psprintf(p, "%s.%d.%d.%d", base, hash[0] << 16 | hash[1] << 8 | hash[2],
                        hash[3] << 16 | hash[4] << 8 | hash[5],
                        hash[6] << 16 | hash[7] << 8 | hash[8]);
}

const char *xcep_id_make(const char *text, apr_pool_t *p)
{
    unsigned char h[SHA256_DIGEST_LENGTH];

    digest(h, text);
    /* RFC 9562: version 8, a name by a digest of one's own */
    h[6] = (unsigned char)((h[6] & 0x0F) | 0x80);
    h[8] = (unsigned char)((h[8] & 0x3F) | 0x80);
    return apr_psprintf(p, "{%02X%02X%02X%02X-%02X%02X-%02X%02X-%02X%02X-%02X%02X%02X%02X%02X%02X}",
                        h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], h[8], h[9], h[10], h[11],
                        h[12], h[13], h[14], h[15]);
}

int xcep_id_valid(const char *id)
{
    static const char form[] = "{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}";
    apr_size_t i;

    for (i = 0; i < sizeof(form) - 1; ++i) {
        if (form[i] == 'x' ? !isxdigit((unsigned char)id[i]) : id[i] != form[i]) {
            return 0;
        }
    }
    return id[i] == '\0';
}
