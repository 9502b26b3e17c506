/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_gatehouse_gatehouse_send_h
#define mod_gatehouse_gatehouse_send_h

#include <httpd.h>

#include "text.h"

/**
 * Sends the whole body of an answer, whose header fields are set, from where the bytes are.
 * A part of each module that includes it, not of the service.
 * @param bytes live as long as r->pool
 * @return what a handler returns
 */
int gatehouse_send_bytes(request_rec *r, gh_bytes_t bytes);

#endif /* mod_gatehouse_gatehouse_send_h */
