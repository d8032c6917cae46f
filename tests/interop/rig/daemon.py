"""What daemons have in common: a log in which events are awaited, each by a regular expression."""
import re
import signal

from . import Failure
from .nodes import wait_until


class Daemon:
    """A running IKE daemon on a node. `EVENTS` maps the suite's names of events to expressions over a line of its log."""

    EVENTS = {}
    LOG = ""
    NEEDS = ()    # programs, besides those that every case needs

    def __init__(self, node):
        self.node = node
        self.task = None
        self.seen = {}

    def log(self):
        try:
            return (self.node.folder / self.LOG).read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def happened(self, event):
        """How often an event is in the log."""
        return len(re.findall(self.EVENTS[event], self.log(), re.MULTILINE))

    def expect(self, event, timeout=10):
        """Waits for the next such event, and returns the line that tells it."""
        expression = re.compile(f"^.*?(?:{self.EVENTS[event]}).*$", re.MULTILINE)

        def line():
            found = expression.search(self.log(), self.seen.get(event, 0))
            if found:
                self.seen[event] = found.end()
                return found.group(0)
            if self.task and not self.task.alive():
                raise Failure(f"{self.node.name}: {self.LOG.removesuffix('.log')} ended before `{event}`: {self.last_words()}")
            return None

        return wait_until(line, timeout, f"{self.node.name}: no `{event}` in {self.LOG}")

    def forbid(self, *events):
        """Fails if one of the events is in the log."""
        for event in events:
            if self.happened(event):
                raise Failure(f"{self.node.name}: unexpected `{event}` in {self.LOG}")

    def last_words(self):
        lines = self.log().strip().splitlines()
        return lines[-1] if lines else "it logged nothing"

    def end(self, timeout=15):
        """Asks the daemon to end (SIGTERM) and returns its exit status."""
        self.task.signal(signal.SIGTERM)
        status, _ = self.task.wait(timeout)
        if status is None:
            raise Failure(f"{self.node.name}: still running {timeout} s after SIGTERM")
        return status

    def kill(self):
        self.task.kill()
