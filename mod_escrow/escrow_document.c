/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Skeletons in JSON, XML and plain text. */

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <jansson.h>

#include "log.h"
#include "mod_escrow/escrow_fill.h"
#include "mod_escrow/escrow_xml.h"

apr_status_t escrow_form_refuse(gh_result_t *result, const char *format, int line,
                                const char *what)
{
    char where[32] = "";

    if (line > 0)
        apr_snprintf(where, sizeof(where), " (line %d)", line);
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "escrow.skeleton",
                          "Send base64 of a whole document of the format that is named.",
                          GHNO(1141) "the %s skeleton %s%s", format, what, where);
}

static apr_status_t fill_value(escrow_fill_t *fill, json_t *value, int depth);

/* A string is replaced where it stands. @return NULL with *rv set, or if it stays */
static json_t *fill_string(escrow_fill_t *fill, const json_t *string, apr_status_t *rv)
{
    const char *out;
    json_t *made;

    *rv = escrow_fill_text(fill, json_string_value(string), json_string_length(string), 0, &out);
    if (*rv != APR_SUCCESS || out == NULL)
        return NULL;
    if ((made = json_string(out)) == NULL)
        *rv = escrow_form_refuse(fill->result, "json", 0, "cannot be written");
    return made;
}

static apr_status_t fill_object(escrow_fill_t *fill, json_t *object, int depth)
{
    apr_status_t rv = APR_SUCCESS;
    const char *name;
    void *at;

    for (at = json_object_iter(object); rv == APR_SUCCESS && at != NULL;
         at = json_object_iter_next(object, at)) {
        json_t *value = json_object_iter_value(at), *made;

        name = json_object_iter_key(at);
        if ((rv = escrow_fill_none(fill, name, strlen(name))) != APR_SUCCESS)
            break;
        if (!json_is_string(value))
            rv = fill_value(fill, value, depth + 1);
        else if ((made = fill_string(fill, value, &rv)) != NULL)
            json_object_iter_set_new(object, at, made);
    }
    return rv;
}

static apr_status_t fill_array(escrow_fill_t *fill, json_t *array, int depth)
{
    apr_status_t rv = APR_SUCCESS;
    size_t i;

    for (i = 0; rv == APR_SUCCESS && i < json_array_size(array); i++) {
        json_t *value = json_array_get(array, i), *made;

        if (!json_is_string(value))
            rv = fill_value(fill, value, depth + 1);
        else if ((made = fill_string(fill, value, &rv)) != NULL)
            json_array_set_new(array, i, made);
    }
    return rv;
}

static apr_status_t fill_value(escrow_fill_t *fill, json_t *value, int depth)
{
    if (depth > ESCROW_DEPTH_MAX)
        return escrow_form_refuse(fill->result, "json", 0, "is nested too deep");
    if (json_is_object(value))
        return fill_object(fill, value, depth);
    return json_is_array(value) ? fill_array(fill, value, depth) : APR_SUCCESS;
}

apr_status_t escrow_json_fill(gh_bytes_t *out, gh_bytes_t skeleton, escrow_fill_t *fill)
{
    json_error_t error;
    json_t *root = json_loadb((const char *)skeleton.data, skeleton.length,
                              JSON_REJECT_DUPLICATES, &error);
    apr_status_t rv;
    char *text;

    if (root == NULL)
        return escrow_form_refuse(fill->result, "json", error.line,
                                  "is not well-formed, or has a name twice");
    rv = fill_value(fill, root, 0);
    if (rv == APR_SUCCESS && fill->set != NULL) {
        text = json_dumps(root, JSON_INDENT(2));
        if (text == NULL)
            rv = escrow_form_refuse(fill->result, "json", 0, "cannot be written");
        else
            *out = (gh_bytes_t) { (unsigned char *)apr_pstrdup(fill->p, text), strlen(text) };
        free(text);
    }
    json_decref(root);
    return rv;
}

static apr_status_t document_cleanup(void *data)
{
    xmlFreeDoc(data);
    return APR_SUCCESS;
}

static apr_status_t fill_content(escrow_fill_t *fill, xmlNode *node)
{
    const char *text = node->content != NULL ? (const char *)node->content : "", *out;
    apr_status_t rv;
    xmlNode *made;

    if (node->type != XML_TEXT_NODE)
        return escrow_fill_none(fill, text, strlen(text));
    rv = escrow_fill_text(fill, text, strlen(text), 0, &out);
    if (rv == APR_SUCCESS && out != NULL) {
        made = xmlNewText((const xmlChar *)out);
        xmlReplaceNode(node, made);
        xmlFreeNode(node);
    }
    return rv;
}

static apr_status_t fill_attributes(escrow_fill_t *fill, xmlNode *element)
{
    apr_status_t rv = APR_SUCCESS;
    const char *out;
    xmlAttr *attribute;
    xmlChar *text;

    for (attribute = element->properties; rv == APR_SUCCESS && attribute != NULL;
         attribute = attribute->next) {
        text = xmlNodeListGetString(element->doc, attribute->children, 1);
        if (text == NULL)
            continue;
        rv = escrow_fill_text(fill, (const char *)text, strlen((const char *)text), 0, &out);
        if (rv == APR_SUCCESS && out != NULL)
            xmlSetNsProp(element, attribute->ns, attribute->name, (const xmlChar *)out);
        xmlFree(text);
    }
    return rv;
}

static apr_status_t fill_element(escrow_fill_t *fill, xmlNode *element)
{
    apr_status_t rv = fill_attributes(fill, element);
    xmlNode *child, *next;

    for (child = element->children; rv == APR_SUCCESS && child != NULL; child = next) {
        next = child->next;
        rv = child->type == XML_ELEMENT_NODE ? fill_element(fill, child)
                                             : fill_content(fill, child);
    }
    return rv;
}

apr_status_t escrow_xml_fill(gh_bytes_t *out, gh_bytes_t skeleton, escrow_fill_t *fill)
{
    xmlDoc *document;
    apr_status_t rv = escrow_xml_parse(&document, skeleton, 0, fill->p, fill->result);

    if (rv != APR_SUCCESS)
        return rv;
    apr_pool_cleanup_register(fill->p, document, document_cleanup, apr_pool_cleanup_null);
    rv = fill_element(fill, xmlDocGetRootElement(document));
    if (rv == APR_SUCCESS && fill->set != NULL && !escrow_xml_print(out, document, fill->p))
        rv = escrow_form_refuse(fill->result, "xml", 0, "cannot be written");
    return rv;
}

apr_status_t escrow_text_fill(gh_bytes_t *out, gh_bytes_t skeleton, escrow_fill_t *fill)
{
    const char *text;
    apr_status_t rv;

    if (memchr(skeleton.data, 0, skeleton.length) != NULL)
        return escrow_form_refuse(fill->result, "text", 0, "has a NUL in it");
    rv = escrow_fill_text(fill, (const char *)skeleton.data, skeleton.length, 0, &text);
    if (rv == APR_SUCCESS && fill->set != NULL)
        *out = text != NULL ? (gh_bytes_t) { (const unsigned char *)text, strlen(text) }
                            : skeleton;
    return rv;
}
