# Licensed under the Apache License, Version 2.0. See LICENSE.
"""A real httpd with our modules, in a server root of its own."""
