/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Writing XML, on libxml2's writer. */

#include <string.h>

#include <apr_strings.h>
#include <libxml/xmlwriter.h>
#include <openssl/evp.h>

#include "mod_wstep/wstep_xml.h"

struct wstep_writer {
    apr_pool_t *p;
    xmlBuffer *buffer;
    xmlTextWriter *writer;          /* NULL once it was ended */
    int failed;
};

#define TEXT(text) ((const xmlChar *)(text))

static apr_status_t free_writer(void *data)
{
    wstep_writer_t *writer = data;

    if (writer->writer) {
        xmlFreeTextWriter(writer->writer);
    }
    xmlBufferFree(writer->buffer);
    return APR_SUCCESS;
}

wstep_writer_t *wstep_writer_create(apr_pool_t *p)
{
    wstep_writer_t *writer = apr_pcalloc(p, sizeof(*writer));

    writer->p = p;
    writer->buffer = xmlBufferCreateSize(8192);
    if (!writer->buffer) {
        return NULL;
    }
    writer->writer = xmlNewTextWriterMemory(writer->buffer, 0);
    if (!writer->writer) {
        xmlBufferFree(writer->buffer);
        return NULL;
    }
    apr_pool_cleanup_register(p, writer, free_writer, apr_pool_cleanup_null);
    return writer;
}

static void note(wstep_writer_t *writer, int written)
{
    if (written < 0) {
        writer->failed = 1;
    }
}

void wstep_write_open(wstep_writer_t *writer, const char *name, const char *uri)
{
    const char *colon = strchr(name, ':');

    note(writer, xmlTextWriterStartElement(writer->writer, TEXT(name)));
    if (uri) {
        wstep_write_namespace(writer,
                              colon ? apr_pstrmemdup(writer->p, name, (apr_size_t)(colon - name))
                                    : NULL, uri);
    }
}

void wstep_write_attribute(wstep_writer_t *writer, const char *name, const char *value)
{
    note(writer, xmlTextWriterWriteAttribute(writer->writer, TEXT(name), TEXT(value)));
}

void wstep_write_namespace(wstep_writer_t *writer, const char *prefix, const char *uri)
{
    wstep_write_attribute(writer, prefix ? apr_pstrcat(writer->p, "xmlns:", prefix, NULL)
                                         : "xmlns", uri);
}

void wstep_write_close(wstep_writer_t *writer)
{
    note(writer, xmlTextWriterEndElement(writer->writer));
}

void wstep_write_text(wstep_writer_t *writer, const char *text)
{
    note(writer, xmlTextWriterWriteString(writer->writer, TEXT(text)));
}

void wstep_write_base64(wstep_writer_t *writer, gh_bytes_t bytes)
{
    char *text = apr_palloc(writer->p, (bytes.length + 2) / 3 * 4 + 1);

    EVP_EncodeBlock((unsigned char *)text, bytes.data, (int)bytes.length);
    note(writer, xmlTextWriterWriteRaw(writer->writer, TEXT(text)));
}

void wstep_write_element(wstep_writer_t *writer, const char *name, const char *text)
{
    if (!text) {
        wstep_write_nil(writer, name, NULL);
        return;
    }
    wstep_write_open(writer, name, NULL);
    wstep_write_text(writer, text);
    wstep_write_close(writer);
}

void wstep_write_number(wstep_writer_t *writer, const char *name, apr_int64_t number)
{
    wstep_write_element(writer, name, apr_psprintf(writer->p, "%" APR_INT64_T_FMT, number));
}

void wstep_write_boolean(wstep_writer_t *writer, const char *name, int value)
{
    wstep_write_element(writer, name, value ? "true" : "false");
}

void wstep_write_nil(wstep_writer_t *writer, const char *name, const char *uri)
{
    wstep_write_open(writer, name, uri);
    wstep_write_attribute(writer, "xsi:nil", "true");
    wstep_write_close(writer);
}

apr_status_t wstep_writer_finish(wstep_writer_t *writer, gh_bytes_t *xml, apr_pool_t *p)
{
    note(writer, xmlTextWriterEndDocument(writer->writer));
    xmlFreeTextWriter(writer->writer);
    writer->writer = NULL;
    xml->data = apr_pmemdup(p, xmlBufferContent(writer->buffer),
                            (apr_size_t)xmlBufferLength(writer->buffer));
    xml->length = (apr_size_t)xmlBufferLength(writer->buffer);
    /* libxml2 ends a document with a line end */
    while (xml->length && xml->data[xml->length - 1] == '\n') {
        --xml->length;
    }
    return writer->failed ? APR_ENOMEM : APR_SUCCESS;
}
