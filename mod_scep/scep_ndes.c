/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_scep/scep_ndes.h"

#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <openssl/evp.h>

#define SERVICE "Network Device Enrollment Service"

/* What stands between <B> and </B> has a blank on either side: that is how programs find it. */
#define PAGE_BEGIN \
    "<HTML><Head><Title>" SERVICE "</Title></Head><Body><H1>" SERVICE "</H1>\r\n" \
    "<P> This page gives passwords for certificates by the Simple Certificate Enrollment " \
    "Protocol (SCEP). </P>\r\n"
#define PAGE_END "</Body></HTML>\r\n"

/** Digits of a digest that stand together. */
#define GROUP 8

/** ASCII as UTF-16LE with a byte order mark. */
static gh_bytes_t encode(const char *text, apr_pool_t *p)
{
    apr_size_t length = strlen(text), i;
    unsigned char *data = apr_palloc(p, 2 * length + 2);
    gh_bytes_t page = { data, 2 * length + 2 };

    data[0] = 0xff;
    data[1] = 0xfe;
    for (i = 0; i < length; ++i) {
        data[2 * i + 2] = (unsigned char)text[i];
        data[2 * i + 3] = 0;
    }
    return page;
}

static const char *thumbprint(gh_bytes_t certificate, apr_pool_t *p)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length;
    const char *hex;
    char *text, *end;

    if (EVP_Digest(certificate.data, certificate.length, digest, &length, EVP_sha256(), NULL)
        != 1) {
        return NULL;
    }
    hex = gh_hex(p, digest, length);
    text = end = apr_palloc(p, 3 * length + 1);
    for (; *hex; ++hex) {
        *end++ = (char)apr_toupper(*hex);
        if (hex[1] && (end - text) % (GROUP + 1) == GROUP) {
            *end++ = ' ';
        }
    }
    *end = '\0';
    return text;
}

apr_status_t scep_ndes_password(gh_bytes_t *page, const char *password, gh_bytes_t certificate,
                                apr_pool_t *p)
{
    const char *shown = thumbprint(certificate, p);

    if (!shown) {
        return APR_EGENERAL;
    }
    *page = encode(apr_pstrcat(p, PAGE_BEGIN
                               "<P> The thumbprint (hash value) for the CA certificate is: <B> ",
                               shown, " </B> (SHA-256)\r\n"
                               "<P> The enrollment challenge password is: <B> ", password,
                               " </B>\r\n"
                               "<P> This password can be used only once and will expire within 60 "
                               "minutes.\r\n"
                               "<P> Each enrollment requires a new challenge password. You can "
                               "refresh this web page to obtain a new challenge password. </P>\r\n"
                               PAGE_END, NULL), p);
    return APR_SUCCESS;
}

gh_bytes_t scep_ndes_full(apr_pool_t *p)
{
    return encode(PAGE_BEGIN
                  "<P> The password cache is full.\r\n"
                  "<P> Use the passwords that you were given, or wait until they expire. </P>\r\n"
                  PAGE_END, p);
}

gh_bytes_t scep_ndes_denied(apr_pool_t *p)
{
    return encode(PAGE_BEGIN
                  "<P> You do not have sufficient permission to enroll with SCEP. Please contact "
                  "your system administrator. </P>\r\n"
                  PAGE_END, p);
}
