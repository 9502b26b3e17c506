/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_directory_deadline_h
#define gatehouse_directory_deadline_h

#include <apr_time.h>
#include <ldap.h>

/*
 * libldap has timeouts, but a server that says nothing in the middle of a TLS handshake is waited
 * for without end. So reading and writing pass a layer between TLS and the socket that waits
 * itself, for as long as it may.
 */

typedef struct {
    struct ldap_conncb callbacks;
    apr_time_t end;                 /* after which nothing is waited for any more */
} gh_ldap_deadline_t;

/** Before the handle connects. @param deadline outlives the handle @return LDAP_OPT_* */
int gh_ldap_deadline_set(LDAP *ldap, gh_ldap_deadline_t *deadline);

#endif /* gatehouse_directory_deadline_h */
