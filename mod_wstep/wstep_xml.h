/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_xml_h
#define mod_wstep_wstep_xml_h

#include <libxml/tree.h>

#include <apr_pools.h>

#include "result.h"
#include "text.h"

/*
 * XML as strangers send it, and as it is answered. Documents with a document type are refused
 * before there is a tree; size, depth and number of nodes have limits; nothing is loaded from
 * elsewhere.
 * Elements are told by the URI of their namespace and their local name, never by a prefix.
 */

#define WSTEP_XML_SIZE_MAX 65536
#define WSTEP_XML_DEPTH_MAX 32
#define WSTEP_XML_NODES_MAX 4096

#define WSTEP_NS_SOAP "http://www.w3.org/2003/05/soap-envelope"
#define WSTEP_NS_ADDRESSING "http://www.w3.org/2005/08/addressing"
#define WSTEP_NS_WSSE \
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
#define WSTEP_NS_WSU \
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
#define WSTEP_NS_TRUST "http://docs.oasis-open.org/ws-sx/ws-trust/200512"
#define WSTEP_NS_ENROLMENT "http://schemas.microsoft.com/windows/pki/2009/01/enrollment"
#define WSTEP_NS_POLICY "http://schemas.microsoft.com/windows/pki/2009/01/enrollmentpolicy"
#define WSTEP_NS_AUTHORIZATION "http://schemas.xmlsoap.org/ws/2006/12/authorization"
#define WSTEP_NS_XSI "http://www.w3.org/2001/XMLSchema-instance"
#define WSTEP_NS_DSIG "http://www.w3.org/2000/09/xmldsig#"

/** Makes libxml2 ready for many threads; to be called once, before there are any. */
void wstep_xml_initialise(void);

/**
 * Parses a document. It is freed with p.
 * @return APR_EINVAL (failure MALFORMED) with result
 */
apr_status_t wstep_xml_parse(xmlDoc **document, gh_bytes_t text, apr_pool_t *p,
                             gh_result_t *result);

/** @return 1 if this is that element */
int wstep_xml_is(const xmlNode *node, const char *uri, const char *name);

/** The next element among the siblings from node on, itself included; or NULL. */
xmlNode *wstep_xml_element(xmlNode *node);

/** The one child element of that name; NULL if there is none, or more than one.
 *  @param count may be NULL; set to how many there are */
xmlNode *wstep_xml_child(const xmlNode *parent, const char *uri, const char *name, int *count);

/** The text of an element, without white space at its ends, in p; comments and processing
 *  instructions within it are refused, as elements are.
 *  @return NULL if it has them */
const char *wstep_xml_text(const xmlNode *node, apr_pool_t *p);

/** An attribute's value, in p; NULL if it is not there. @param uri NULL: without namespace */
const char *wstep_xml_attribute(const xmlNode *node, const char *uri, const char *name,
                                apr_pool_t *p);

/** @return 1 if the element says xsi:nil, or has neither text nor elements */
int wstep_xml_nil(const xmlNode *node);

/** Writes a document; what fails is remembered until the end. */
typedef struct wstep_writer wstep_writer_t;

/** @return NULL for lack of memory */
wstep_writer_t *wstep_writer_create(apr_pool_t *p);

/** Begins an element. @param name with its prefix, as declared before or by uri
 *  @param uri NULL, or the namespace that name's prefix, or no prefix, means from here on */
void wstep_write_open(wstep_writer_t *writer, const char *name, const char *uri);
/** An attribute of the element that was begun last. */
void wstep_write_attribute(wstep_writer_t *writer, const char *name, const char *value);
/** Declares a prefix at the element that was begun last. */
void wstep_write_namespace(wstep_writer_t *writer, const char *prefix, const char *uri);
void wstep_write_close(wstep_writer_t *writer);
/** Text within the current element. */
void wstep_write_text(wstep_writer_t *writer, const char *text);
/** Base64 within the current element, in one line. */
void wstep_write_base64(wstep_writer_t *writer, gh_bytes_t bytes);
/** An element with text; nil if text is NULL. */
void wstep_write_element(wstep_writer_t *writer, const char *name, const char *text);
void wstep_write_number(wstep_writer_t *writer, const char *name, apr_int64_t number);
void wstep_write_boolean(wstep_writer_t *writer, const char *name, int value);
/** An element that says xsi:nil; the prefix xsi was declared. */
void wstep_write_nil(wstep_writer_t *writer, const char *name, const char *uri);

/** Ends the document. @return APR_ENOMEM if anything has failed */
apr_status_t wstep_writer_finish(wstep_writer_t *writer, gh_bytes_t *xml, apr_pool_t *p);

#endif /* mod_wstep_wstep_xml_h */
