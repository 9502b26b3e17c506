/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_escrow/escrow_xml.h"

#include <string.h>

#include <apr_strings.h>
#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <libxml/xmlerror.h>

#include "mod_escrow/escrow_fill.h"

/** What a parser is told to remember, in its private member. */
typedef struct {
    int plist;
    int refused;
} watch_t;

static void refuse(void *data)
{
    xmlParserCtxt *context = data;
    watch_t *watch = context->_private;

    watch->refused = 1;
    xmlStopParser(context);
}

/* <!DOCTYPE name PUBLIC external system: called before declarations within it are read. */
static void on_document_type(void *data, const xmlChar *name, const xmlChar *external,
                             const xmlChar *system)
{
    static const char *const known[] = {
        "-//Apple//DTD PLIST 1.0//EN", "-//Apple Computer//DTD PLIST 1.0//EN"
    };
    xmlParserCtxt *context = data;
    watch_t *watch = context->_private;

    if (!watch->plist || strcmp((const char *)name, "plist") != 0 || external == NULL
        || (strcmp((const char *)external, known[0]) != 0
            && strcmp((const char *)external, known[1]) != 0))
        refuse(data);
    else
        xmlSAX2InternalSubset(data, name, external, system);
}

static void on_external(void *data, const xmlChar *name, const xmlChar *external,
                        const xmlChar *system)
{
    /* never loaded */
}

static void on_entity(void *data, const xmlChar *name, int type, const xmlChar *public_id,
                      const xmlChar *system_id, xmlChar *content)
{
    refuse(data);
}

static void on_element(void *data, const xmlChar *name, int type, xmlElementContent *content)
{
    refuse(data);
}

static void on_notation(void *data, const xmlChar *name, const xmlChar *public_id,
                        const xmlChar *system_id)
{
    refuse(data);
}

static void on_attribute(void *data, const xmlChar *element, const xmlChar *name, int type,
                         int kind, const xmlChar *value, xmlEnumeration *tree)
{
    xmlFreeEnumeration(tree);
    refuse(data);
}

static void on_unparsed(void *data, const xmlChar *name, const xmlChar *public_id,
                        const xmlChar *system_id, const xmlChar *notation)
{
    refuse(data);
}

static void on_reference(void *data, const xmlChar *name)
{
    refuse(data);
}

/* Nesting that is too deep costs stack in whoever walks through it. */
static int too_deep(const xmlNode *root)
{
    const xmlNode *node = root;
    int depth = 0;

    while (node != NULL) {
        if (depth > ESCROW_DEPTH_MAX)
            return 1;
        if (node->type == XML_ELEMENT_NODE && node->children != NULL) {
            node = node->children;
            depth++;
            continue;
        }
        while (node != NULL && node != root && node->next == NULL) {
            node = node->parent;
            depth--;
        }
        node = node == NULL || node == root ? NULL : node->next;
    }
    return 0;
}

static void silence(void *data, const char *message, ...)
{
}

apr_status_t escrow_xml_parse(xmlDoc **document, gh_bytes_t text, int plist, apr_pool_t *p,
                              gh_result_t *result)
{
    const char *format = plist ? "mobileconfig" : "xml";
    xmlParserCtxt *context = xmlNewParserCtxt();
    watch_t watch = { plist, 0 };
    const char *what = "is not well-formed";
    int line = 0;

    *document = NULL;
    if (context == NULL)
        return escrow_form_refuse(result, format, 0, "cannot be read for lack of memory");
    context->_private = &watch;
    context->sax->internalSubset = on_document_type;
    context->sax->externalSubset = on_external;
    context->sax->entityDecl = on_entity;
    context->sax->elementDecl = on_element;
    context->sax->notationDecl = on_notation;
    context->sax->attributeDecl = on_attribute;
    context->sax->unparsedEntityDecl = on_unparsed;
    context->sax->reference = on_reference;
    context->sax->warning = context->sax->error = silence;
    *document = xmlCtxtReadMemory(context, (const char *)text.data, (int)text.length, NULL, NULL,
                                  XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING
                                  | XML_PARSE_NOCDATA);
    if (context->lastError.code != XML_ERR_OK)
        line = context->lastError.line;
    if (watch.refused || *document == NULL || xmlDocGetRootElement(*document) == NULL
        || too_deep(xmlDocGetRootElement(*document))) {
        if (watch.refused)
            what = "has a document type, declarations or entities, which are not accepted";
        else if (*document != NULL)
            what = "is nested too deep";
        xmlFreeDoc(*document);
        *document = NULL;
    }
    xmlFreeParserCtxt(context);
    return *document != NULL ? APR_SUCCESS : escrow_form_refuse(result, format, line, what);
}

int escrow_xml_print(gh_bytes_t *out, xmlDoc *document, apr_pool_t *p)
{
    xmlChar *text = NULL;
    int length = 0;

    xmlDocDumpMemoryEnc(document, &text, &length, "UTF-8");
    if (text != NULL && length > 0)
        *out = (gh_bytes_t) { apr_pmemdup(p, text, (apr_size_t)length), (apr_size_t)length };
    xmlFree(text);
    return text != NULL && length > 0;
}
