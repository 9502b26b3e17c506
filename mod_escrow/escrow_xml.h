/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_xml_h
#define gatehouse_escrow_xml_h

#include <libxml/tree.h>

#include "result.h"
#include "text.h"

/* XML without what makes it dangerous: no document type with declarations, no entities but the five
 * of XML, nothing from elsewhere. */

/** Deepest nesting. */
#define ESCROW_DEPTH_MAX 64

/**
 * @param plist 1: the document type of Apple's property lists may be named; it is not loaded
 * @return APR_EINVAL with result; the caller frees the document
 */
apr_status_t escrow_xml_parse(xmlDoc **document, gh_bytes_t text, int plist, apr_pool_t *p,
                              gh_result_t *result);

/** UTF-8, in p. @return 0 for lack of memory */
int escrow_xml_print(gh_bytes_t *out, xmlDoc *document, apr_pool_t *p);

#endif /* gatehouse_escrow_xml_h */
