/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_cmp_cmp_private_h
#define fcgi_cmp_cmp_private_h

#include "fcgi/cmp/cmp_service.h"

struct cmp_service {
    cmp_party_t party;
    const char *path;               /* of the URL */
    framework_t *framework;
    framework_lane_t *lane;
    http_peer_t *peer;
};

#endif /* fcgi_cmp_cmp_private_h */
