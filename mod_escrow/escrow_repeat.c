/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Payloads that are repeated for each credential of a use: each gets a PayloadUUID of its own, and
 * what refers to the one in the skeleton refers to them. */

#include <string.h>
#include <strings.h>

#include <apr_strings.h>
#include <openssl/sha.h>

#include "mod_escrow/escrow_plist.h"

#define UUID_SIZE 16

/** All strings that have the UUID of a payload in the skeleton. */
typedef struct {
    const char *old;
    apr_array_header_t *made;       /* const char *: what came of it */
    apr_pool_t *p;
} reference_t;

static int is_element(const xmlNode *node, const char *name)
{
    return node->type == XML_ELEMENT_NODE && strcmp((const char *)node->name, name) == 0;
}

/* Which use is repeated in a payload. @return 0: none, -1: several */
static int repeated_use(escrow_fill_t *fill, xmlNode *node)
{
    int found = 0, inner;
    apr_size_t at = 0;
    xmlNode *child;

    if (is_element(node, "string")) {
        const char *text = escrow_plist_text(node, fill->p);
        escrow_token_t token;

        for (; escrow_token_next(&token, text, strlen(text), at) == ESCROW_TOKEN_FOUND;
             at = token.end) {
            if (token.position == ESCROW_EACH)
                found = found == 0 || found == (int)token.use ? (int)token.use : -1;
        }
        return found;
    }
    for (child = node->children; child != NULL; child = child->next) {
        inner = repeated_use(fill, child);
        if (inner != 0)
            found = found == 0 || found == inner ? inner : -1;
    }
    return found;
}

/* The same for the same payload, generation and credential: made anew after a crash, it is as it
 * was. The form is that of RFC 9562 section 5.8. */
static const char *payload_uuid(escrow_fill_t *fill, const char *old,
                                const escrow_credential_t *credential)
{
    const char *text = apr_psprintf(fill->p, "escrow payload/%s/%" APR_INT64_T_FMT "/%s/%s",
                                    fill->output->profile, fill->output->generation, old,
                                    gh_hex(fill->p, credential->sha256,
                                           sizeof(credential->sha256)));
    unsigned char digest[SHA256_DIGEST_LENGTH];
    char *hex;

    SHA256((const unsigned char *)text, strlen(text), digest);
    digest[6] = (unsigned char)((digest[6] & 0x0f) | 0x80);
    digest[8] = (unsigned char)((digest[8] & 0x3f) | 0x80);
    hex = apr_pstrdup(fill->p, gh_hex(fill->p, digest, UUID_SIZE));
    for (text = hex; *hex != '\0'; hex++)
        *hex = *hex >= 'a' ? (char)(*hex - 'a' + 'A') : *hex;
    return apr_psprintf(fill->p, "%.8s-%.4s-%.4s-%.4s-%.12s", text, text + 8, text + 12, text + 16,
                        text + 20);
}

static apr_status_t make_copy(escrow_fill_t *fill, xmlNode *payload, reference_t *reference,
                              const escrow_credential_t *credential)
{
    xmlNode *copy = xmlDocCopyNode(payload, payload->doc, 1);
    xmlNode *uuid, *identifier;

    if (copy == NULL)
        return APR_ENOMEM;
    xmlAddPrevSibling(payload, copy);
    if (reference->old != NULL) {
        const char *made = payload_uuid(fill, reference->old, credential);

        uuid = escrow_plist_get(copy, "PayloadUUID", fill->p);
        identifier = escrow_plist_get(copy, "PayloadIdentifier", fill->p);
        escrow_plist_set(uuid, made);
        if (identifier != NULL)
            escrow_plist_set(identifier, apr_psprintf(fill->p, "%s.%.8s",
                                                      escrow_plist_text(identifier, fill->p),
                                                      made));
        APR_ARRAY_PUSH(reference->made, const char *) = made;
    }
    return escrow_plist_strings(fill, copy, 1);
}

static void drop(xmlNode *node)
{
    xmlUnlinkNode(node);
    xmlFreeNode(node);
}

/* In an array all of them, elsewhere the first one, as newest credentials come first. */
static xmlNode *refer(reference_t *reference, xmlNode *string)
{
    xmlNode *parent = string->parent, *next = string->next;
    int i;

    if (is_element(parent, "array")) {
        for (i = 0; i < reference->made->nelts; i++) {
            xmlNode *one = xmlNewNode(NULL, (const xmlChar *)"string");

            xmlAddPrevSibling(string, one);
            escrow_plist_set(one, APR_ARRAY_IDX(reference->made, i, const char *));
        }
        drop(string);
    }
    else if (reference->made->nelts > 0) {
        escrow_plist_set(string, APR_ARRAY_IDX(reference->made, 0, const char *));
    }
    else {
        drop(string->prev);
        drop(string);
    }
    return next;
}

static void refer_all(reference_t *reference, xmlNode *node)
{
    xmlNode *child, *next;

    for (child = node->children; child != NULL; child = next) {
        next = child->next;
        if (is_element(child, "string")
            && strcasecmp(escrow_plist_text(child, reference->p), reference->old) == 0)
            next = refer(reference, child);
        else if (child->type == XML_ELEMENT_NODE && !is_element(child, "key"))
            refer_all(reference, child);
    }
}

static apr_status_t repeat(escrow_fill_t *fill, xmlNode *payload, escrow_use_t use)
{
    xmlNode *array = payload->parent;
    xmlNode *uuid = escrow_plist_get(payload, "PayloadUUID", fill->p);
    reference_t reference = { NULL, NULL, fill->p };
    const escrow_credential_t *credential;
    apr_status_t rv = APR_SUCCESS;

    reference.made = apr_array_make(fill->p, 4, sizeof(const char *));
    if (uuid != NULL && is_element(uuid, "string"))
        reference.old = escrow_plist_text(uuid, fill->p);
    for (fill->each = 0; rv == APR_SUCCESS; fill->each++) {
        credential = escrow_set_get(fill->set, use, fill->each);
        if (credential == NULL)
            break;
        rv = make_copy(fill, payload, &reference, credential);
    }
    fill->each = -1;
    drop(payload);
    if (rv == APR_SUCCESS && reference.old != NULL && *reference.old != '\0')
        refer_all(&reference, array);
    return rv;
}

apr_status_t escrow_plist_payloads(escrow_fill_t *fill, xmlNode *payloads)
{
    apr_status_t rv = APR_SUCCESS;
    xmlNode *payload, *next;
    int use;

    for (payload = payloads->children; rv == APR_SUCCESS && payload != NULL; payload = next) {
        next = payload->next;
        use = repeated_use(fill, payload);
        if (use < 0)
            rv = escrow_form_refuse(fill->result, "mobileconfig", (int)xmlGetLineNo(payload),
                                    "has a payload that is repeated for two uses");
        else if (use > 0 && fill->set != NULL)
            rv = repeat(fill, payload, (escrow_use_t)use);
        else
            rv = escrow_plist_strings(fill, payload, use > 0);
    }
    return rv;
}
