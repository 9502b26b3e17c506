# Licensed under the Apache License, Version 2.0. See LICENSE.
"""A client of MS-WSTEP and MS-XCEP, made from their public descriptions."""

from .client import Client, Fault
from .envelope import Envelope

__all__ = ["Client", "Envelope", "Fault"]
