/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_plist_h
#define gatehouse_escrow_plist_h

#include <libxml/tree.h>

#include "mod_escrow/escrow_fill.h"

/* What the files about property lists share. Lists have been checked: dictionaries have keys and
 * values in turn, containers have elements alone. */

/** What is written in a node, in p. */
const char *escrow_plist_text(xmlNode *node, apr_pool_t *p);
void escrow_plist_set(xmlNode *node, const char *text);

/** The value of a key. @return NULL if there is none */
xmlNode *escrow_plist_get(xmlNode *dictionary, const char *name, apr_pool_t *p);

/** Fills all strings in a node. @param repeats 1: it may be repeated */
apr_status_t escrow_plist_strings(escrow_fill_t *fill, xmlNode *node, int repeats);

/** Fills the array of payloads: what has tokens with * in it is repeated for each credential. */
apr_status_t escrow_plist_payloads(escrow_fill_t *fill, xmlNode *payloads);

#endif /* gatehouse_escrow_plist_h */
