"""The JSON lines of the driver protocol, and the messages that they speak of."""

import json
import os
import threading
import time


class Unsupported(Exception):
    """The stock client has no such function; the text is the reason."""


_lines = threading.Lock()
_stdout = 1


def own_stdout():
    """Keeps standard output for events; what the C++ library prints there goes to standard error instead."""
    global _stdout
    _stdout = os.dup(1)
    os.dup2(2, 1)


def emit(event):
    """Writes one JSON line; callbacks of several threads never mix their lines."""
    line = memoryview(json.dumps(event).encode() + b"\n")
    with _lines:
        while line:
            try:
                line = line[os.write(_stdout, line):]
            except OSError:
                os._exit(1)  # nobody reads the results any more


def now():
    """CLOCK_MONOTONIC in milliseconds: the one clock that all drivers on a host share."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) / 1e6


def body(pid, seq, size):
    """`<pid>:<seq>:` padded with a letter that depends on seq."""
    return f"{pid}:{seq}:".ljust(size, _filler(seq))


def body_matches(received, pid, seq):
    """Whether a received body is what the producer made for pid and seq. Its length is the producer's choice."""
    text = (received or b"").decode("latin-1")
    head = f"{pid}:{seq}:"
    return text.startswith(head) and text == head.ljust(len(text), _filler(seq))


def _filler(seq):
    return chr(97 + seq % 26)
