# Licensed under the Apache License, Version 2.0. See LICENSE.
"""The error log: whatever a test did not announce fails it."""

import re

SERIOUS = ("warn", "error", "crit", "alert", "emerg")
LINE = re.compile(r"^\[[^]]+\] \[(?P<module>[\w-]*):(?P<level>\w+)\] ")
NUMBER = re.compile(r"\b((?:GH|AH)\d{4,5})\b")
EXIT_SIGNAL = re.compile(r"AH0005[0-2]: child (?:process|pid) .*exit signal")
# httpd's event MPM says these of itself when it is stopped: its main thread closes the sockets of
# workers that are about to wait for the end of a connection, or for its next request.
HTTPD_ITSELF = {"AH03092", "AH03093"}


class ErrorLog:
    """Reads what was added to a log since the last look."""

    def __init__(self, path):
        self.path = path
        self._offset = 0
        self._expected = {}
        self._allowed = set()

    def expect(self, *numbers):
        """Lines with these numbers must come before the test ends."""
        for number in numbers:
            self._expected[number] = False

    def allow(self, *numbers):
        """Lines with these numbers may come."""
        self._allowed.update(numbers)

    def text(self, start=0):
        if not self.path.exists():
            return ""
        with open(self.path, encoding="utf-8", errors="replace") as file:
            file.seek(start)
            return file.read()

    def new_text(self):
        """What was added since the last look."""
        return self.text(self._offset)

    def size(self):
        return self.path.stat().st_size if self.path.exists() else 0

    def problems(self):
        """What is wrong with the new lines. Forgets what was announced."""
        text = self.new_text()
        self._offset = self.size()
        found = []
        for line in text.splitlines():
            numbers = set(NUMBER.findall(line))
            for number in numbers & self._expected.keys():
                self._expected[number] = True
            match = LINE.match(line)
            serious = match and (match["level"] in SERIOUS or EXIT_SIGNAL.search(line))
            if match is None and line.strip():
                serious = True          # a line of the log that httpd did not write as such
            if serious and not numbers & (self._expected.keys() | self._allowed | HTTPD_ITSELF):
                found.append(line)
        found += [f"expected in the error log, but not there: {number}"
                  for number, seen in self._expected.items() if not seen]
        self._expected = {}
        self._allowed = set()
        return found
