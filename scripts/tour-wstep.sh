# The tour's part about Windows: what a domain's machine does by group policy, done with curl and
# openssl. Sourced by ./quickstart after tour.sh.

# wstep_message ACTION URL: an envelope around standard input, with user name and password.
wstep_message() {
    cat <<TXT
<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"
    xmlns:a="http://www.w3.org/2005/08/addressing">
  <s:Header>
    <a:Action s:mustUnderstand="1">$1</a:Action>
    <a:MessageID>urn:uuid:$(new_uuid)</a:MessageID>
    <a:To s:mustUnderstand="1">$2</a:To>
    <o:Security s:mustUnderstand="1"
        xmlns:o="http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd">
      <o:UsernameToken>
        <o:Username>EXAMPLE\\$wstep_user</o:Username>
        <o:Password Type="http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordText">$(cat "$state/secrets/wstep-password")</o:Password>
      </o:UsernameToken>
    </o:Security>
  </s:Header>
  <s:Body xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
$(cat)
  </s:Body>
</s:Envelope>
TXT
}

# post NAME URL: sends $device/NAME.xml; the answer comes to be in $device/NAME-answer.xml, an
# element to a line.
post() {
    local name=$1
    typed "curl -H 'Content-Type: application/soap+xml' --data-binary @$name.xml $2"
    curl -sS --max-time 30 --noproxy '*' --cacert "$state/ca/root.pem" \
        -H 'Content-Type: application/soap+xml; charset=utf-8' --data-binary "@$device/$name.xml" \
        -o "$device/answer" "$2" 2>>"$device/log" || tour_failed "$2 does not answer"
    sed 's/></>\n</g' "$device/answer" >"$device/$name-answer.xml"
    ! grep -q ':Fault>' "$device/$name-answer.xml" || {
        grep ':Text' "$device/$name-answer.xml" >&2
        tour_failed "$2 answers with a fault"
    }
}

# text_of ELEMENT: what the elements of that name have in them.
text_of() { sed -nE "s,^<([a-zA-Z0-9]*:)?$1( [^>]*)?>([^<]*)<.*,\3,p"; }

windows_asks_for_policies() {
    step "Windows asks what there is to enrol for"
    say "   The message has a user name and a password, as by group policy \"Certificate Enrollment"
    say "   Policy\"; here it is curl that sends it."
    new_device windows
    wstep_message http://schemas.microsoft.com/windows/pki/2009/01/enrollmentpolicy/IPolicy/GetPolicies \
        "$(xcep_url)" >"$device/policies.xml" <<'TXT'
    <GetPolicies xmlns="http://schemas.microsoft.com/windows/pki/2009/01/enrollmentpolicy">
      <client><lastUpdate xsi:nil="true"/><preferredLanguage xsi:nil="true"/></client>
      <requestFilter xsi:nil="true"/>
    </GetPolicies>
TXT
    post policies "$(xcep_url)"
    grep -E '[<:](policyFriendlyName|commonName|autoEnroll|majorRevision|uri)>' \
        "$device/policies-answer.xml" | shown
    # group 9 of the object identifiers is that of templates
    template=$(grep -B 1 -E '[<:]group>9<' "$device/policies-answer.xml" | text_of value)
    [ -n "$template" ] || tour_failed "there is no template among the policies"
}

windows_enrols() {
    step "It enrols by the template that it was told of"
    cat >"$device/request.conf" <<TXT
[template]
id = OID:$template
major = INTEGER:100
minor = INTEGER:0
[req]
distinguished_name = none
[none]
[extensions]
1.3.6.1.4.1.311.21.7 = ASN1:SEQUENCE:template
keyUsage = critical,digitalSignature,keyEncipherment
TXT
    typed "openssl req -new -newkey rsa:2048 -subj / -reqexts extensions -config request.conf ..."
    (umask 077; openssl req -new -newkey rsa:2048 -nodes -subj / -reqexts extensions \
        -config "$device/request.conf" -keyout "$device/key.pem" -outform DER \
        -out "$device/request.der" 2>>"$device/log") || tour_failed "openssl makes no request"
    wstep_message http://schemas.microsoft.com/windows/pki/2009/01/enrollment/RST/wstep \
        "$(wstep_url)" >"$device/request.xml" <<TXT
    <RequestSecurityToken xmlns="http://docs.oasis-open.org/ws-sx/ws-trust/200512">
      <TokenType>http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-x509-token-profile-1.0#X509v3</TokenType>
      <RequestType>http://docs.oasis-open.org/ws-sx/ws-trust/200512/Issue</RequestType>
      <BinarySecurityToken
          ValueType="http://schemas.microsoft.com/windows/pki/2009/01/enrollment#PKCS10"
          EncodingType="http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd#base64binary"
          xmlns="http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd">$(base64 -w 0 <"$device/request.der")</BinarySecurityToken>
      <RequestID xsi:nil="true" xmlns="http://schemas.microsoft.com/windows/pki/2009/01/enrollment"/>
    </RequestSecurityToken>
TXT
    post request "$(wstep_url)"
    grep -E '[<:](DispositionMessage|RequestID)[ >]' "$device/request-answer.xml" | shown
    # the last token is the certificate, the one before it the response in CMC
    text_of BinarySecurityToken <"$device/request-answer.xml" | tail -n 1 | openssl base64 -d -A \
        | openssl x509 -inform DER -out "$device/cert.pem" 2>>"$device/log" \
        || tour_failed "there is no certificate in the answer"
    describe "$device/cert.pem"
    verifies "$device/cert.pem" >/dev/null 2>&1 || tour_failed "its chain does not verify"
}

show_wstep_tour() {
    local laptop=$device template=''
    windows_asks_for_policies
    windows_enrols
    device=$laptop
}
