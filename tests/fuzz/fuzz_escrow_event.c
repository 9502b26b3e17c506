/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* An event of a UEM: read, looked at, and made a rule of. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>

#include "mod_escrow/escrow_event.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static apr_pool_t *pool;

static void require(int condition)
{
    if (!condition) {
        abort();
    }
}

static void look_at(const escrow_event_t *event, apr_pool_t *p)
{
    gh_provide_rule_t rule = {
        .event = "148", .issuer = "mail", .encryption = "smime-key-encipherment", .bits = 2048,
        .subject = "cn=<email>,o=<user>"
    };
    apr_array_header_t *domains = apr_array_make(p, 1, sizeof(const char *));
    gh_provide_rule_t made;
    gh_provide_rule_t again;
    gh_result_t result;

    APR_ARRAY_PUSH(domains, const char *) = "example.com";
    gh_result_clear(&result);
    if (escrow_event_check(event, domains, &result) != APR_SUCCESS) {
        require(*result.number != '\0');
        return;
    }
    require(!strcmp(strrchr(event->email, '@'), "@example.com"));
    require(strlen(event->device) == 36 && strlen(event->user) == 36);
    if (event->id) {
        require(strlen(escrow_event_key(event, p)) < 1024);
    }
    if (escrow_event_rule(&made, &rule, event, p, &result) == APR_SUCCESS) {
        require(gh_provide_rule_read(&again, gh_provide_rule_text(&made, p), p, &result)
                == APR_SUCCESS);
        require(!strcmp(again.subject, made.subject));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gh_bytes_t body = { data, size };
    escrow_event_t *event;
    gh_result_t result;
    apr_pool_t *p;

    if (!pool) {
        require(apr_initialize() == APR_SUCCESS && apr_pool_create(&pool, NULL) == APR_SUCCESS);
    }
    apr_pool_create(&p, pool);
    gh_result_clear(&result);
    if (escrow_event_read(&event, body, p, &result) == APR_SUCCESS) {
        look_at(event, p);
    }
    else {
        require(*result.number != '\0');
    }
    apr_pool_destroy(p);
    return 0;
}
