/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehousectl_ctl_commands_h
#define gatehousectl_ctl_commands_h

#include "ctl.h"

/* The commands, each with its options. An option table is ended by an entry without name. */

typedef struct {
    const char *noun;
    const char *verb;               /* NULL: the noun alone is the command */
    const char *operands;           /* for help, "" if there are none */
    int least;                      /* operands */
    int most;                       /* -1: any number */
    const ctl_option_t *options;
    ctl_command_fn *run;
    const char *summary;
} ctl_command_t;

extern const ctl_option_t ctl_ad_export_options[];
extern const ctl_option_t ctl_ca_init_options[];
extern const ctl_option_t ctl_ca_crl_options[];
extern const ctl_option_t ctl_ca_import_options[];
extern const ctl_option_t ctl_cert_list_options[];
extern const ctl_option_t ctl_cert_show_options[];
extern const ctl_option_t ctl_cert_revoke_options[];
extern const ctl_option_t ctl_cert_hold_options[];
extern const ctl_option_t ctl_cert_release_options[];
extern const ctl_option_t ctl_cert_import_options[];
extern const ctl_option_t ctl_cert_events_options[];
extern const ctl_option_t ctl_enrolment_list_options[];
extern const ctl_option_t ctl_enrolment_deny_options[];
extern const ctl_option_t ctl_enrolment_cancel_options[];
extern const ctl_option_t ctl_issuer_sync_options[];
extern const ctl_option_t ctl_challenge_new_options[];
extern const ctl_option_t ctl_device_add_options[];
extern const ctl_option_t ctl_device_list_options[];
extern const ctl_option_t ctl_device_one_options[];
extern const ctl_option_t ctl_escrow_list_options[];
extern const ctl_option_t ctl_escrow_purge_options[];
extern const ctl_option_t ctl_escrow_retry_options[];
extern const ctl_option_t ctl_pin_add_options[];
extern const ctl_option_t ctl_pin_remove_options[];
extern const ctl_option_t ctl_scep_explain_options[];
extern const ctl_option_t ctl_ocsp_produce_options[];

ctl_command_fn ctl_ad_export;
ctl_command_fn ctl_ca_init;
ctl_command_fn ctl_ca_crl;
ctl_command_fn ctl_ca_import;
ctl_command_fn ctl_cert_list;
ctl_command_fn ctl_cert_show;
ctl_command_fn ctl_cert_revoke;
ctl_command_fn ctl_cert_hold;
ctl_command_fn ctl_cert_release;
ctl_command_fn ctl_cert_import;
ctl_command_fn ctl_cert_events;
ctl_command_fn ctl_enrolment_list;
ctl_command_fn ctl_enrolment_show;
ctl_command_fn ctl_enrolment_approve;
ctl_command_fn ctl_enrolment_deny;
ctl_command_fn ctl_enrolment_retry;
ctl_command_fn ctl_enrolment_cancel;
ctl_command_fn ctl_issuer_list;
ctl_command_fn ctl_issuer_test;
ctl_command_fn ctl_issuer_sync;
ctl_command_fn ctl_job_list;
ctl_command_fn ctl_job_retry;
ctl_command_fn ctl_job_cancel;
ctl_command_fn ctl_challenge_new;
ctl_command_fn ctl_scep_explain;
ctl_command_fn ctl_ocsp_status;
ctl_command_fn ctl_ocsp_produce;
ctl_command_fn ctl_device_add;
ctl_command_fn ctl_device_list;
ctl_command_fn ctl_device_show;
ctl_command_fn ctl_device_remove;
ctl_command_fn ctl_escrow_forget;
ctl_command_fn ctl_escrow_list;
ctl_command_fn ctl_escrow_purge;
ctl_command_fn ctl_escrow_retry;
ctl_command_fn ctl_escrow_show;
ctl_command_fn ctl_pin_add;
ctl_command_fn ctl_pin_list;
ctl_command_fn ctl_pin_remove;
ctl_command_fn ctl_vault_status;
ctl_command_fn ctl_vault_rotate;
ctl_command_fn ctl_vault_verify;
ctl_command_fn ctl_check;
ctl_command_fn ctl_urls;

#endif /* gatehousectl_ctl_commands_h */
