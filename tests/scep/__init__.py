# Licensed under the Apache License, Version 2.0. See LICENSE.
"""A scriptable SCEP client (RFC 8894).

Requests are written from DER primitives, so that every part of them can be made wrong on purpose;
replies are read with asn1crypto and checked in full.
"""

from .client import Client
from .csr import Csr, Extension, extension
from .identity import Identity, load_key, make_key
from .message import PkiMessage, Recipient
from .reply import CertRep, ProtocolError

__all__ = ["Client", "Csr", "Extension", "extension", "Identity", "load_key", "make_key",
           "PkiMessage", "Recipient", "CertRep", "ProtocolError"]
