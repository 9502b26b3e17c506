# Enrolment for Windows in the demo: policies (MS-XCEP) and certificates (MS-WSTEP) over https, for a
# user with a password. Sourced by ./quickstart after instance.sh.
#
#   $state/wstep/users             who may enrol, with the hash of a password, as htpasswd writes it
#   $state/secrets/wstep-password  the password

wstep_user=ada

wstep_url() { say "$(url https)/wstep/usertoken/services/demo/devices"; }
xcep_url() { say "$(url https)/xcep/usertoken/services/demo"; }

make_wstep() {
    mkdir -p "$state/wstep"
    if ! [ -s "$state/secrets/wstep-password" ] || ! [ -s "$state/wstep/users" ]; then
        openssl rand -hex 16 | put "$state/secrets/wstep-password" 600
        say "$wstep_user:$(openssl passwd -5 -stdin <"$state/secrets/wstep-password")" \
            | put "$state/wstep/users" 640
        if is_root; then chgrp "$(id -gn "$run_as")" "$state/wstep/users"; fi
    fi
}

# What there is to enrol for.
wstep_configuration() {
    cat <<TXT

# Windows asks for policies, and enrols for what they tell of; there are users alone, without a
# directory.
WSTEPDomain example.com EXAMPLE
<CertificateTemplate DemoUser>
    TemplateDisplayName "User of the demo"
    TemplateProfile wstep-digital-signature-key-encipherment
    TemplateSubject cn
    TemplateUsers all
    TemplateAutoEnroll on
</CertificateTemplate>
TXT
}

# wstep_location PATH DIRECTIVE...
wstep_location() {
    say "        <Location \"$1\">"
    shift
    printf '            %s\n' "SetHandler gatehouse-wstep" "WSTEPTenant demo devices" \
        "WSTEPAuthProvider file" "AuthUserFile \"$state/wstep/users\"" "$@"
    say "        </Location>"
}

# Within the virtual host of https: passwords are taken over TLS alone.
wstep_locations() {
    say "        WSTEPPublicURL $(url https)"
    wstep_location /wstep/usertoken "WSTEPTemplates *"
    wstep_location /xcep/usertoken "WSTEPPolicyName \"Gatehouse demo\""
}

wstep_environment() {
    entry GH_WSTEP_URL "$(wstep_url)"
    entry GH_XCEP_URL "$(xcep_url)"
    entry GH_WSTEP_USER "$wstep_user"
    entry GH_WSTEP_PASSWORD "$(cat "$state/secrets/wstep-password")"
}
