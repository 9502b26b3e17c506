/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_wstep/wstep_xml.h"

#include <string.h>

#include <apr_strings.h>
#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <libxml/SAX2.h>
#include <openssl/crypto.h>

#include "log.h"

/** Why a parser was stopped. */
typedef enum { STOP_NONE, STOP_DOCTYPE, STOP_LARGE, STOP_ENCODING } stop_t;

/** What a parser is told to remember, in its private member. */
typedef struct {
    stop_t stop;
    int depth;
    int nodes;
} watch_t;

void wstep_xml_initialise(void)
{
    xmlInitParser();
}

static void stop(void *data, stop_t reason)
{
    xmlParserCtxt *context = data;
    watch_t *watch = context->_private;

    if (watch->stop == STOP_NONE) {
        watch->stop = reason;
    }
    xmlStopParser(context);
}

/* Called as soon as "<!DOCTYPE name" was read. */
static void on_document_type(void *data, const xmlChar *name, const xmlChar *external,
                             const xmlChar *system)
{
    stop(data, STOP_DOCTYPE);
}

static void on_reference(void *data, const xmlChar *name)
{
    stop(data, STOP_DOCTYPE);
}

static int count(void *data)
{
    watch_t *watch = ((xmlParserCtxt *)data)->_private;

    if (++watch->nodes > WSTEP_XML_NODES_MAX) {
        stop(data, STOP_LARGE);
        return 0;
    }
    return 1;
}

static void on_start(void *data, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri,
                     int namespaces, const xmlChar **declared, int attributes, int defaulted,
                     const xmlChar **values)
{
    watch_t *watch = ((xmlParserCtxt *)data)->_private;

    watch->nodes += namespaces + attributes;
    if (++watch->depth > WSTEP_XML_DEPTH_MAX) {
        stop(data, STOP_LARGE);
    }
    else if (count(data)) {
        xmlSAX2StartElementNs(data, name, prefix, uri, namespaces, declared, attributes,
                              defaulted, values);
    }
}

static void on_end(void *data, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri)
{
    --((watch_t *)((xmlParserCtxt *)data)->_private)->depth;
    xmlSAX2EndElementNs(data, name, prefix, uri);
}

static void on_comment(void *data, const xmlChar *text)
{
    if (count(data)) {
        xmlSAX2Comment(data, text);
    }
}

static void on_instruction(void *data, const xmlChar *target, const xmlChar *text)
{
    if (count(data)) {
        xmlSAX2ProcessingInstruction(data, target, text);
    }
}

/** The others that libxml2 and iconv know are there for no client. */
static int encoding_known(const xmlChar *name)
{
    static const char *const known[] = { "UTF-8", "UTF8", "UTF-16", "UTF-16LE", "UTF-16BE",
                                         "US-ASCII", "ASCII" };
    apr_size_t i;

    for (i = 0; name && i < sizeof(known) / sizeof(known[0]); ++i) {
        if (!xmlStrcasecmp(name, (const xmlChar *)known[i])) {
            return 1;
        }
    }
    return !name;
}

static void on_document(void *data)
{
    xmlParserCtxt *context = data;

    if (!encoding_known(context->encoding)
        || (context->input && !encoding_known(context->input->encoding))) {
        stop(data, STOP_ENCODING);
        return;
    }
    xmlSAX2StartDocument(data);
}

static void silence(void *data, const char *message, ...)
{
}

/** How XML 1.0 begins in UTF-8 and UTF-16 (appendix F); not in EBCDIC or UCS-4. */
static int begins_well(gh_bytes_t text)
{
    const unsigned char *d = text.data;

    if (text.length < 4) {
        return text.length && d[0] == '<';
    }
    if (d[0] == 0xFE || d[0] == 0xFF) {
        return d[0] + d[1] == 0xFE + 0xFF && (d[2] || d[3]);
    }
    if (!d[0] || !d[1]) {
        return d[0] + d[1] == '<' && d[2] + d[3] != 0;
    }
    return d[0] == '<' || (d[0] == 0xEF && d[1] == 0xBB && d[2] == 0xBF) || d[0] == ' '
           || d[0] == '\n' || d[0] == '\r' || d[0] == '\t';
}

static apr_status_t free_document(void *data)
{
    xmlFreeDoc(data);
    return APR_SUCCESS;
}

static apr_status_t explain(stop_t reason, int line, gh_result_t *result)
{
    switch (reason) {
    case STOP_DOCTYPE:
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "xml.doctype",
                              "Send XML without a document type and without entities.",
                              GHNO(1344) "the XML has a document type or entities, which are "
                                         "never accepted");
    case STOP_LARGE:
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "xml.size",
                              "Send one request.",
                              GHNO(1345) "the XML is nested deeper than %d or has more than %d "
                                         "nodes", WSTEP_XML_DEPTH_MAX, WSTEP_XML_NODES_MAX);
    case STOP_ENCODING:
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "xml.encoding",
                              "Send UTF-8.",
                              GHNO(1346) "the XML is neither UTF-8 nor UTF-16");
    default:
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "xml.form",
                              "Look at what the client sends, and whether a proxy changes it.",
                              GHNO(1347) "the XML is not well-formed, in line %d", line);
    }
}

static void watch_over(xmlParserCtxt *context, watch_t *watch)
{
    context->_private = watch;
    context->sax->startDocument = on_document;
    context->sax->internalSubset = on_document_type;
    context->sax->externalSubset = on_document_type;
    context->sax->reference = on_reference;
    context->sax->startElementNs = on_start;
    context->sax->endElementNs = on_end;
    context->sax->comment = on_comment;
    context->sax->processingInstruction = on_instruction;
    context->sax->warning = context->sax->error = silence;
}

/** The parser has a copy of the text, in which there may be a password. */
static void free_parser(xmlParserCtxt *context)
{
    if (context->input && context->input->base && context->input->end > context->input->base) {
        OPENSSL_cleanse((void *)context->input->base,
                        (size_t)(context->input->end - context->input->base));
    }
    xmlFreeParserCtxt(context);
}

apr_status_t wstep_xml_parse(xmlDoc **document, gh_bytes_t text, apr_pool_t *p,
                             gh_result_t *result)
{
    xmlParserCtxt *context;
    watch_t watch = { STOP_NONE, 0, 0 };
    xmlDoc *read;
    int line = 0, good;

    *document = NULL;
    if (text.length > WSTEP_XML_SIZE_MAX) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "xml.size",
                              "Send one request.",
                              GHNO(1348) "the message has more than %d bytes", WSTEP_XML_SIZE_MAX);
    }
    if (!begins_well(text)) {
        return explain(STOP_ENCODING, 0, result);
    }
    context = xmlNewParserCtxt();
    if (!context) {
        return gh_result_fail(result, APR_ENOMEM, GH_FAILURE_INTERNAL, "xml.memory",
                              "Try again later.", GHNO(1349) "there is no memory to read XML");
    }
    watch_over(context, &watch);
    read = xmlCtxtReadMemory(context, (const char *)text.data, (int)text.length, NULL, NULL,
                             XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING
                             | XML_PARSE_NOCDATA);
    line = context->lastError.line;
    good = context->wellFormed && context->nsWellFormed && watch.stop == STOP_NONE;
    free_parser(context);
    if (read && encoding_known(read->encoding) && good && xmlDocGetRootElement(read)) {
        apr_pool_cleanup_register(p, read, free_document, apr_pool_cleanup_null);
        *document = read;
        return APR_SUCCESS;
    }
    if (read && !encoding_known(read->encoding)) {
        watch.stop = STOP_ENCODING;
    }
    xmlFreeDoc(read);
    return explain(watch.stop, line, result);
}

/* Access */

int wstep_xml_is(const xmlNode *node, const char *uri, const char *name)
{
    return node && node->type == XML_ELEMENT_NODE
           && !strcmp((const char *)node->name, name) && node->ns && node->ns->href
           && !strcmp((const char *)node->ns->href, uri);
}

xmlNode *wstep_xml_element(xmlNode *node)
{
    while (node && node->type != XML_ELEMENT_NODE) {
        node = node->next;
    }
    return node;
}

xmlNode *wstep_xml_child(const xmlNode *parent, const char *uri, const char *name, int *number)
{
    xmlNode *node, *found = NULL;
    int n = 0;

    for (node = parent ? parent->children : NULL; node; node = node->next) {
        if (wstep_xml_is(node, uri, name)) {
            found = node;
            ++n;
        }
    }
    if (number) {
        *number = n;
    }
    return n == 1 ? found : NULL;
}

static int is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

const char *wstep_xml_text(const xmlNode *node, apr_pool_t *p)
{
    const xmlNode *child;
    const char *begin;
    apr_size_t length;
    char *text = NULL;

    for (child = node->children; child; child = child->next) {
        if (child->type != XML_TEXT_NODE && child->type != XML_CDATA_SECTION_NODE) {
            return NULL;
        }
        text = text ? apr_pstrcat(p, text, (const char *)child->content, NULL)
                    : (char *)child->content;
    }
    if (!text) {
        return "";
    }
    for (begin = text; is_space(*begin); ++begin) {
    }
    length = strlen(begin);
    while (length && is_space(begin[length - 1])) {
        --length;
    }
    return apr_pstrmemdup(p, begin, length);
}

const char *wstep_xml_attribute(const xmlNode *node, const char *uri, const char *name,
                                apr_pool_t *p)
{
    const xmlAttr *attribute;

    for (attribute = node->properties; attribute; attribute = attribute->next) {
        const xmlNs *ns = attribute->ns;

        if (!strcmp((const char *)attribute->name, name)
            && (uri ? ns && ns->href && !strcmp((const char *)ns->href, uri) : !ns)) {
            return wstep_xml_text((const xmlNode *)attribute, p);
        }
    }
    return NULL;
}

int wstep_xml_nil(const xmlNode *node)
{
    const xmlAttr *attribute;
    const xmlNode *child;

    for (attribute = node->properties; attribute; attribute = attribute->next) {
        const xmlNode *value = attribute->children;

        if (!strcmp((const char *)attribute->name, "nil") && attribute->ns
            && !strcmp((const char *)attribute->ns->href, WSTEP_NS_XSI) && value
            && value->content
            && (!strcmp((const char *)value->content, "true")
                || !strcmp((const char *)value->content, "1"))) {
            return 1;
        }
    }
    for (child = node->children; child; child = child->next) {
        if (child->type == XML_ELEMENT_NODE
            || (child->type == XML_TEXT_NODE && !xmlIsBlankNode(child))) {
            return 0;
        }
    }
    return 1;
}
