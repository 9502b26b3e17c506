/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef tests_unit_escrow_support_h
#define tests_unit_escrow_support_h

#include "x509_support.h"

#include "escrow/locked.h"
#include "mod_escrow/escrow_complete.h"
#include "mod_escrow/escrow_pkcs12.h"
#include "mod_escrow/escrow_recipient.h"
#include "mod_escrow/escrow_template.h"

/* What the tests of the escrow share. */

extern gh_locked_t *locked;
extern escrow_opener_t *opener;
extern gh_result_t result;

/** cmocka group fixtures: locked memory and an opener. */
int escrow_group_setup(void **state);
int escrow_group_teardown(void **state);

/** The bytes of a file below tests/fixtures. */
gh_bytes_t fixture_file(const char *path);

/** A credential of tests/fixtures/pkcs12, with the password "secret", that must open. */
escrow_credential_t *fixture_credential(const char *name, escrow_use_t use);

gh_bytes_t bytes_of(const char *text);

/** What of a message is to be there: its number and a part of its text. */
void assert_failure(apr_status_t rv, const char *number, const char *part);

/** An identity of a device, signed by a key: DER. @param usage in words of openssl; NULL: none
 *  @param names subjectAltName in words of openssl; NULL: none */
gh_bytes_t device_certificate(const char *key, const char *common_name, const char *names,
                              const char *usage, const char *ca_key);

/** PEM file with the CA of that key. */
const char *device_ca(const char *ca_key);

#endif /* tests_unit_escrow_support_h */
