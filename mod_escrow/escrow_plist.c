/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Configuration profiles of Apple: property lists in XML. */

#include <string.h>

#include <apr_hash.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <openssl/evp.h>

#include "log.h"
#include "mod_escrow/escrow_fill.h"
#include "mod_escrow/escrow_plist.h"
#include "mod_escrow/escrow_xml.h"

static apr_status_t document_cleanup(void *data)
{
    xmlFreeDoc(data);
    return APR_SUCCESS;
}

static apr_status_t refuse(escrow_fill_t *fill, const xmlNode *node, const char *what)
{
    return escrow_form_refuse(fill->result, "mobileconfig", node ? (int)xmlGetLineNo(node) : 0,
                              what);
}

static int is_element(const xmlNode *node, const char *name)
{
    return node != NULL && node->type == XML_ELEMENT_NODE
        && strcmp((const char *)node->name, name) == 0;
}

const char *escrow_plist_text(xmlNode *node, apr_pool_t *p)
{
    xmlChar *content = xmlNodeGetContent(node);
    const char *text = apr_pstrdup(p, content != NULL ? (const char *)content : "");

    xmlFree(content);
    return text;
}

xmlNode *escrow_plist_get(xmlNode *dictionary, const char *name, apr_pool_t *p)
{
    xmlNode *node;

    for (node = dictionary->children; node != NULL && node->next != NULL; node = node->next) {
        if (is_element(node, "key") && strcmp(escrow_plist_text(node, p), name) == 0)
            return node->next;
    }
    return NULL;
}

static int is_blank(const xmlNode *node)
{
    const xmlChar *at = node->content;

    while (at != NULL && *at != '\0' && apr_isspace(*at))
        at++;
    return at == NULL || *at == '\0';
}

/* Containers get elements alone as children: comments and blanks go, other text is refused. */
static apr_status_t tidy(escrow_fill_t *fill, xmlNode *container)
{
    xmlNode *node, *next;

    for (node = container->children; node != NULL; node = next) {
        next = node->next;
        if (node->type == XML_ELEMENT_NODE)
            continue;
        if (node->type != XML_COMMENT_NODE && !(node->type == XML_TEXT_NODE && is_blank(node)))
            return refuse(fill, container, "has text between its elements");
        xmlUnlinkNode(node);
        xmlFreeNode(node);
    }
    return APR_SUCCESS;
}

static apr_status_t check_value(escrow_fill_t *fill, xmlNode *value);

/* Keys and values take turns. */
static apr_status_t check_dictionary(escrow_fill_t *fill, xmlNode *dictionary)
{
    apr_hash_t *names = apr_hash_make(fill->p);
    const char *name;
    apr_status_t rv;
    xmlNode *node;

    for (node = dictionary->children; node != NULL; node = node->next->next) {
        if (!is_element(node, "key") || node->next == NULL || is_element(node->next, "key"))
            return refuse(fill, node, "has a dictionary without keys and values in turn");
        name = escrow_plist_text(node, fill->p);
        if (apr_hash_get(names, name, APR_HASH_KEY_STRING) != NULL)
            return refuse(fill, node, "has a key twice in a dictionary");
        apr_hash_set(names, name, APR_HASH_KEY_STRING, name);
        if ((rv = escrow_fill_none(fill, name, strlen(name))) != APR_SUCCESS
            || (rv = check_value(fill, node->next)) != APR_SUCCESS)
            return rv;
    }
    return APR_SUCCESS;
}

static apr_status_t check_scalar(escrow_fill_t *fill, xmlNode *value)
{
    static const char *const known[] = {
        "string", "integer", "real", "true", "false", "date", "data"
    };
    const char *text;
    xmlNode *child;
    size_t i;

    for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (is_element(value, known[i]))
            break;
    }
    if (i == sizeof(known) / sizeof(known[0]))
        return refuse(fill, value, "has an element that property lists do not have");
    for (child = value->children; child != NULL; child = child->next) {
        if (child->type != XML_TEXT_NODE)
            return refuse(fill, value, "has elements or comments within a value");
    }
    if (i == 0)
        return APR_SUCCESS;
    text = escrow_plist_text(value, fill->p);
    return escrow_fill_none(fill, text, strlen(text));
}

static apr_status_t check_value(escrow_fill_t *fill, xmlNode *value)
{
    apr_status_t rv;
    xmlNode *child;

    if (value->properties != NULL)
        return refuse(fill, value, "has attributes within the list");
    if (!is_element(value, "dict") && !is_element(value, "array"))
        return check_scalar(fill, value);
    if ((rv = tidy(fill, value)) != APR_SUCCESS)
        return rv;
    if (is_element(value, "dict"))
        return check_dictionary(fill, value);
    for (child = value->children; rv == APR_SUCCESS && child != NULL; child = child->next)
        rv = check_value(fill, child);
    return rv;
}

/* A string that is a token and nothing else may become data. */
static int is_data(const char *text)
{
    apr_size_t length = strlen(text);
    escrow_token_t token;

    return escrow_token_next(&token, text, length, 0) == ESCROW_TOKEN_FOUND && token.begin == 0
        && token.end == length
        && (token.member == ESCROW_MEMBER_PKCS12 || token.member == ESCROW_MEMBER_CERTIFICATE);
}

void escrow_plist_set(xmlNode *node, const char *text)
{
    xmlNode *child;

    while ((child = node->children) != NULL) {
        xmlUnlinkNode(child);
        xmlFreeNode(child);
    }
    xmlAddChild(node, xmlNewText((const xmlChar *)text));
}

static apr_status_t fill_string(escrow_fill_t *fill, xmlNode *node, int repeats)
{
    const char *text = escrow_plist_text(node, fill->p);
    char *trimmed = apr_pstrdup(fill->p, text);
    const char *out;
    apr_status_t rv;
    int data;

    apr_collapse_spaces(trimmed, trimmed);
    if ((data = is_data(trimmed)))
        text = trimmed;
    rv = escrow_fill_text(fill, text, strlen(text), repeats, &out);
    if (rv == APR_SUCCESS && out != NULL) {
        if (data)
            xmlNodeSetName(node, (const xmlChar *)"data");
        escrow_plist_set(node, out);
    }
    return rv;
}

apr_status_t escrow_plist_strings(escrow_fill_t *fill, xmlNode *node, int repeats)
{
    apr_status_t rv = APR_SUCCESS;
    xmlNode *child;

    if (is_element(node, "string"))
        return fill_string(fill, node, repeats);
    for (child = node->children; rv == APR_SUCCESS && child != NULL; child = child->next) {
        if (child->type == XML_ELEMENT_NODE && !is_element(child, "key"))
            rv = escrow_plist_strings(fill, child, repeats);
    }
    return rv;
}

/* The dictionary of a profile, with a PayloadContent that is an array of dictionaries. */
static apr_status_t check_profile(escrow_fill_t *fill, xmlNode *root, xmlNode **top,
                                  xmlNode **payloads)
{
    xmlNode *type, *child;
    apr_status_t rv;

    if (!is_element(root, "plist"))
        return refuse(fill, root, "is no property list");
    if ((rv = tidy(fill, root)) != APR_SUCCESS)
        return rv;
    *top = root->children;
    if (!is_element(*top, "dict") || (*top)->next != NULL)
        return refuse(fill, root, "is no dictionary");
    if ((rv = check_value(fill, *top)) != APR_SUCCESS)
        return rv;
    type = escrow_plist_get(*top, "PayloadType", fill->p);
    if (!is_element(type, "string")
        || strcmp(escrow_plist_text(type, fill->p), "Configuration") != 0)
        return refuse(fill, *top, "is no configuration profile: PayloadType is not Configuration");
    if (escrow_plist_get(*top, "EncryptedPayloadContent", fill->p) != NULL
        || escrow_plist_get(*top, "IsEncrypted", fill->p) != NULL)
        return refuse(fill, *top, "is encrypted already");
    *payloads = escrow_plist_get(*top, "PayloadContent", fill->p);
    if (!is_element(*payloads, "array"))
        return refuse(fill, *top, "has no PayloadContent that is an array");
    for (child = (*payloads)->children; child != NULL; child = child->next) {
        if (!is_element(child, "dict"))
            return refuse(fill, child, "has a payload that is no dictionary");
    }
    return APR_SUCCESS;
}

/* What is around the payloads stays readable, so it gets no secrets. */
static apr_status_t fill_clear(escrow_fill_t *fill, xmlNode *top, const xmlNode *payloads)
{
    apr_status_t rv = APR_SUCCESS;
    xmlNode *node;

    fill->clear = 1;
    for (node = top->children; rv == APR_SUCCESS && node != NULL; node = node->next) {
        if (node != payloads && !is_element(node, "key"))
            rv = escrow_plist_strings(fill, node, 0);
    }
    fill->clear = 0;
    return rv;
}

/* The array of payloads becomes a property list of its own; in the profile its place stays. */
static int print_payloads(gh_bytes_t *out, xmlNode *payloads, apr_pool_t *p)
{
    xmlDoc *document = xmlNewDoc((const xmlChar *)"1.0");
    xmlNode *root = document ? xmlNewDocNode(document, NULL, (const xmlChar *)"plist", NULL)
                             : NULL;
    xmlNode *copy = root ? xmlDocCopyNode(payloads, document, 1) : NULL;
    int done = 0;

    if (copy != NULL) {
        xmlDocSetRootElement(document, root);
        xmlNewProp(root, (const xmlChar *)"version", (const xmlChar *)"1.0");
        xmlAddChild(root, copy);
        done = escrow_xml_print(out, document, p);
    }
    else {
        xmlFreeNode(root);
    }
    xmlFreeDoc(document);
    return done;
}

apr_status_t escrow_plist_fill(escrow_plist_t *plist, gh_bytes_t skeleton, escrow_fill_t *fill)
{
    xmlNode *top = NULL, *payloads = NULL;
    xmlDoc *document;
    apr_status_t rv;

    plist->payloads = (gh_bytes_t) { NULL, 0 };
    rv = escrow_xml_parse(&document, skeleton, 1, fill->p, fill->result);
    if (rv != APR_SUCCESS)
        return rv;
    plist->document = document;
    apr_pool_cleanup_register(fill->p, document, document_cleanup, apr_pool_cleanup_null);
    rv = check_profile(fill, xmlDocGetRootElement(document), &top, &payloads);
    if (rv != APR_SUCCESS || (rv = fill_clear(fill, top, payloads)) != APR_SUCCESS
        || (rv = escrow_plist_payloads(fill, payloads)) != APR_SUCCESS)
        return rv;
    if (fill->set != NULL && !print_payloads(&plist->payloads, payloads, fill->p))
        rv = escrow_form_refuse(fill->result, "mobileconfig", 0, "cannot be written");
    return rv;
}

apr_status_t escrow_plist_finish(gh_bytes_t *out, escrow_plist_t *plist, gh_bytes_t encrypted,
                                 escrow_fill_t *fill)
{
    xmlNode *top = xmlDocGetRootElement(plist->document)->children;
    xmlNode *payloads = escrow_plist_get(top, "PayloadContent", fill->p);
    char *text = apr_palloc(fill->p, (encrypted.length + 2) / 3 * 4 + 1);
    xmlNode *key = payloads->prev;

    EVP_EncodeBlock((unsigned char *)text, encrypted.data, (int)encrypted.length);
    escrow_plist_set(key, "EncryptedPayloadContent");
    while (payloads->children != NULL) {
        xmlNode *child = payloads->children;

        xmlUnlinkNode(child);
        xmlFreeNode(child);
    }
    xmlNodeSetName(payloads, (const xmlChar *)"data");
    escrow_plist_set(payloads, text);
    xmlNewTextChild(top, NULL, (const xmlChar *)"key", (const xmlChar *)"IsEncrypted");
    xmlNewChild(top, NULL, (const xmlChar *)"true", NULL);
    if (!escrow_xml_print(out, plist->document, fill->p))
        return escrow_form_refuse(fill->result, "mobileconfig", 0, "cannot be written");
    return APR_SUCCESS;
}
