/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_escrow/escrow_complete.h"

#include <string.h>

#include <apr_strings.h>

#include "mod_escrow/escrow_fill.h"
#include "mod_escrow/escrow_template_private.h"

const char *escrow_media_type(const char *format, int is_signed)
{
    if (strcmp(format, "mobileconfig") == 0)
        return "application/x-apple-aspen-config";
    return is_signed ? "application/pkcs7-mime; smime-type=signed-data"
                     : "application/pkcs7-mime; smime-type=enveloped-data";
}

static apr_status_t encrypt(gh_bytes_t *out, gh_bytes_t text, escrow_fill_t *fill,
                            const escrow_recipient_t *recipient, apr_pool_t *p)
{
    gh_bytes_t plain;
    apr_status_t rv = escrow_fill_secrets(fill, text, &plain);

    if (rv == APR_SUCCESS)
        rv = escrow_encrypt(out, plain, recipient, fill->output->transport, p, fill->result);
    return rv;
}

/* The parts that are secret go with the fill's pool. */
static apr_status_t make(gh_bytes_t *out, const escrow_template_t *template, escrow_fill_t *fill,
                         const escrow_recipient_t *recipient, apr_pool_t *p)
{
    escrow_plist_t plist;
    gh_bytes_t text, encrypted;
    apr_status_t rv;

    if (template->format->fill != NULL) {
        rv = template->format->fill(&text, template->skeleton, fill);
        return rv == APR_SUCCESS ? encrypt(out, text, fill, recipient, p) : rv;
    }
    rv = escrow_plist_fill(&plist, template->skeleton, fill);
    if (rv == APR_SUCCESS)
        rv = encrypt(&encrypted, plist.payloads, fill, recipient, fill->p);
    if (rv == APR_SUCCESS)
        rv = escrow_plist_finish(out, &plist, encrypted, fill);
    if (rv == APR_SUCCESS)
        out->data = apr_pmemdup(p, out->data, out->length);
    return rv;
}

apr_status_t escrow_complete(escrow_document_t *document, const escrow_template_t *template,
                             const escrow_set_t *set, const escrow_recipient_t *recipient,
                             const escrow_output_t *output, apr_pool_t *p, gh_result_t *result)
{
    gh_bytes_t made = { NULL, 0 };
    escrow_fill_t *fill;
    apr_pool_t *ptemp;
    apr_status_t rv;

    document->bytes = made;
    document->type = escrow_media_type(template->format->name, output->signer != NULL);
    apr_pool_create(&ptemp, p);
    rv = escrow_fill_create(&fill, set, output, ptemp, result);
    if (rv == APR_SUCCESS)
        rv = make(&made, template, fill, recipient, p);
    apr_pool_destroy(ptemp);
    if (rv != APR_SUCCESS)
        return rv;
    if (output->signer == NULL)
        document->bytes = made;
    else
        rv = escrow_sign(&document->bytes, made, output->signer, p, result);
    return rv;
}
