/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* OCSPSigner: who signs. */

#include <string.h>

#include <apr_strings.h>
#include <httpd.h>
#include <http_core.h>

#include "log.h"
#include "mod_ocsp/ocsp_config.h"

static ocsp_signer_line_t *add_line(cmd_parms *cmd, ocsp_section_t *section)
{
    ocsp_signer_line_t *line = apr_array_push(section->signers);

    memset(line, 0, sizeof(*line));
    line->place = ocsp_place_of(cmd);
    return line;
}

static int has_auto(const ocsp_section_t *section, const char *kind)
{
    int i;

    for (i = 0; i < section->signers->nelts; ++i) {
        const ocsp_signer_line_t *line = &APR_ARRAY_IDX(section->signers, i, ocsp_signer_line_t);

        if (line->config.source == OCSP_SIGNER_AUTO && !strcmp(line->config.kind, kind)) {
            return 1;
        }
    }
    return 0;
}

static const char *add_auto(cmd_parms *cmd, ocsp_section_t *section, int argc, char *const argv[])
{
    static const char *const kinds[] = { "P-256", "RSA-2048" };
    const char *profile = OCSP_SIGNER_PROFILE;
    int wanted[2] = { 0, 0 };
    int order[2], count = 0, i, k;

    for (i = 1; i < argc; ++i) {
        if (!strncmp(argv[i], "profile=", 8) && argv[i][8]) {
            profile = argv[i] + 8;
            continue;
        }
        for (k = 0; k < 2 && ap_cstr_casecmp(kinds[k], argv[i]); ++k) {
            continue;
        }
        if (k == 2 || wanted[k]) {
            return apr_psprintf(cmd->pool, GHNO(0618) "OCSPSigner auto takes P-256, RSA-2048, and "
                                "profile=NAME, each once; not \"%s\"", argv[i]);
        }
        wanted[k] = 1;
        order[count++] = k;
    }
    for (k = 0; !count && k < 2; ++k) {
        order[k] = k;
    }
    for (i = 0; i < (count ? count : 2); ++i) {
        ocsp_signer_line_t *line;

        if (has_auto(section, kinds[order[i]])) {
            return apr_psprintf(cmd->pool, GHNO(0619) "authority %s has OCSPSigner auto %s already",
                                section->name, kinds[order[i]]);
        }
        line = add_line(cmd, section);
        line->config.source = OCSP_SIGNER_AUTO;
        line->config.kind = kinds[order[i]];
        line->profile = profile;
    }
    return NULL;
}

static const char *add_files(cmd_parms *cmd, ocsp_section_t *section, int argc,
                             char *const argv[])
{
    const char *certificate, *key, *passphrase = NULL;
    ocsp_signer_line_t *line;
    const char *error;

    if (argc < 2 || argc > 3 || (argc == 3 && strncmp(argv[2], "passphrase=", 11))) {
        return GHNO(0620) "OCSPSigner takes auto, or a certificate, its key and perhaps "
                          "passphrase=file:PATH or passphrase=exec:PATH";
    }
    if (argc == 3 && !(passphrase = ocsp_secret_source(cmd->pool, argv[2] + 11))) {
        return GHNO(0621) "OCSPSigner: passphrase= takes file:PATH or exec:PATH, never the "
                          "passphrase itself";
    }
    key = argv[1];
    if (ap_strcasestr(key, "pin-value")) {
        return GHNO(0622) "OCSPSigner: a PIN must not stand in the configuration; leave out "
                          "pin-value and say passphrase=file:PATH or passphrase=exec:PATH";
    }
    error = ocsp_take_path(cmd, &certificate, argv[0]);
    if (!error && strncmp(key, "pkcs11:", 7)) {
        error = ocsp_take_path(cmd, &key, argv[1]);
    }
    if (error) {
        return error;
    }
    line = add_line(cmd, section);
    line->config.source = OCSP_SIGNER_FILES;
    line->config.certificate = certificate;
    line->config.key = key;
    line->config.passphrase = passphrase;
    return NULL;
}

const char *ocsp_set_signer(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    ocsp_section_t *section;
    const char *error = ocsp_enter_section(cmd, &section, 0);

    if (error) {
        return error;
    }
    return argc && !ap_cstr_casecmp(argv[0], "auto") ? add_auto(cmd, section, argc, argv)
                                                     : add_files(cmd, section, argc, argv);
}
