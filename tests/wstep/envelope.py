# Licensed under the Apache License, Version 2.0. See LICENSE.
"""SOAP messages as Windows sends them: text, so that a test can write it any other way."""

import base64
import datetime
import textwrap
import uuid
from xml.sax.saxutils import escape, quoteattr

SOAP = "http://www.w3.org/2003/05/soap-envelope"
ADDRESSING = "http://www.w3.org/2005/08/addressing"
WSS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
WSSE = WSS + "wssecurity-secext-1.0.xsd"
WSU = WSS + "wssecurity-utility-1.0.xsd"
PASSWORD_TEXT = WSS + "username-token-profile-1.0#PasswordText"
X509V3 = WSS + "x509-token-profile-1.0#X509v3"
TRUST = "http://docs.oasis-open.org/ws-sx/ws-trust/200512"
ENROLMENT = "http://schemas.microsoft.com/windows/pki/2009/01/enrollment"
POLICY = "http://schemas.microsoft.com/windows/pki/2009/01/enrollmentpolicy"
AUTHORIZATION = "http://schemas.xmlsoap.org/ws/2006/12/authorization"
XSI = "http://www.w3.org/2001/XMLSchema-instance"

RST = ENROLMENT + "/RST/wstep"
GET_POLICIES = POLICY + "/IPolicy/GetPolicies"
ISSUE = TRUST + "/Issue"
QUERY = ENROLMENT + "/QueryTokenStatus"
KET = TRUST + "/KET"


def moment(seconds=0, zone="Z"):
    now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03d}" + zone


class Envelope:
    """One message; everything can be said otherwise."""

    def __init__(self, action, body, to="https://localhost/", user=None, password=None,
                 created=0, lifetime=300, zone="Z", type_attribute="Type",
                 password_type=PASSWORD_TEXT, headers="", security=None, prefix="s"):
        self.action = action
        self.body = body
        self.to = to
        self.user = user
        self.password = password
        self.created = created
        self.lifetime = lifetime
        self.zone = zone
        self.type_attribute = type_attribute
        self.password_type = password_type
        self.headers = headers
        self.message_id = f"urn:uuid:{uuid.uuid4()}"
        self._security = security
        self.prefix = prefix

    @property
    def security(self):
        if self._security is not None:
            return self._security
        if self.user is None:
            return ""
        return (
            f'<o:Security {self.prefix}:mustUnderstand="1" xmlns:o="{WSSE}">'
            f'<u:Timestamp u:Id="_0"><u:Created>{moment(self.created, self.zone)}</u:Created>'
            f'<u:Expires>{moment(self.created + self.lifetime, self.zone)}</u:Expires>'
            f'</u:Timestamp><o:UsernameToken u:Id="uuid-{uuid.uuid4()}-1">'
            f'<o:Username>{escape(self.user)}</o:Username>'
            f'<o:Password {self.type_attribute}={quoteattr(self.password_type)}>'
            f'{escape(self.password)}</o:Password></o:UsernameToken></o:Security>')

    def __str__(self):
        p = self.prefix
        return (
            f'<{p}:Envelope xmlns:{p}="{SOAP}" xmlns:a="{ADDRESSING}" xmlns:u="{WSU}">'
            f'<{p}:Header><a:Action {p}:mustUnderstand="1">{escape(self.action)}</a:Action>'
            f'<a:MessageID>{self.message_id}</a:MessageID><a:ReplyTo><a:Address>'
            f'{ADDRESSING}/anonymous</a:Address></a:ReplyTo><a:To {p}:mustUnderstand="1">'
            f'{escape(self.to)}</a:To>{self.headers}{self.security}</{p}:Header>'
            f'<{p}:Body xmlns:xsi="{XSI}" xmlns:xsd="http://www.w3.org/2001/XMLSchema">'
            f'{self.body}</{p}:Body></{p}:Envelope>')


def as_windows_breaks(der):
    """Base64 in lines of 64, each ended by a carriage return that is a character reference."""
    lines = textwrap.wrap(base64.b64encode(der).decode(), 64)
    return "".join(line + "&#xD;\n" for line in lines)


def request(kind=ISSUE, token=None, value_type=WSSE + "#PKCS7", request_id=None, items=(),
            token_type=X509V3, language="", more=""):
    """The body of a WSTEP message."""
    parts = [f'<RequestSecurityToken {language} xmlns="{TRUST}"><TokenType>{token_type}</TokenType>'
             f'<RequestType>{kind}</RequestType>']
    if token is not None:
        text = token if isinstance(token, str) else as_windows_breaks(token)
        parts.append(f'<BinarySecurityToken ValueType="{value_type}" EncodingType="{WSSE}'
                     f'#base64binary" a:Id="" xmlns:a="{WSU}" xmlns="{WSSE}">{text}'
                     f'</BinarySecurityToken>')
    if items:
        parts.append(f'<AdditionalContext xmlns="{AUTHORIZATION}">' + "".join(
            f'<ContextItem Name={quoteattr(name)}><Value>{escape(value)}</Value></ContextItem>'
            for name, value in items) + "</AdditionalContext>")
    if request_id is None:
        parts.append(f'<RequestID xsi:nil="true" xmlns="{ENROLMENT}"/>')
    else:
        parts.append(f'<RequestID xmlns="{ENROLMENT}">{request_id}</RequestID>')
    return "".join(parts) + more + "</RequestSecurityToken>"


def get_policies(last_update="0001-01-01T00:00:00", request_filter=None, client=None):
    """The body of an XCEP message."""
    if client is None:
        client = (f'<client><lastUpdate>{last_update}</lastUpdate>'
                  f'<preferredLanguage xsi:nil="true"/></client>')
    if request_filter is None:
        request_filter = '<requestFilter xsi:nil="true"/>'
    return f'<GetPolicies xmlns="{POLICY}">{client}{request_filter}</GetPolicies>'
