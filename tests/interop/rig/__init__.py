"""The parts of the interoperability suite: machines, daemons, traffic, captures, and the cases made of them."""


class Failure(Exception):
    """What a case expected did not happen."""


class Skip(Exception):
    """A case cannot run here, for a reason outside the code under test."""
