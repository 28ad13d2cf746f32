"""Runs the stock C++ client of Apache RocketMQ, as the PyPI package `rocketmq` ships it, under the driver protocol
of tests/clients/PROTOCOL.md: one verb, key=value arguments, JSON lines on standard output, `stop` or end of input on
standard input."""

import os
import sys
import threading
import traceback

from events import Unsupported, emit, own_stdout

# A client that has not shut down after this time is given up.
SHUTDOWN_LIMIT_S = 90

# Which keys each verb takes; other verbs are refused before their keys matter.
KEYS = {
    "send": "namesrv topic group id count kind queues batch tags rate body_bytes timeout_ms window start trigger".split(),
    "consume": "namesrv topic group tag kind instance from threads fail_first".split(),
    "version": [],
}


class Usage(Exception):
    """A wrong command line."""


class Arguments:
    """The key=value words of the command line."""

    def __init__(self, verb, words):
        self.values = {}
        for word in words:
            key, found, value = word.partition("=")
            if not key or not found:
                raise Usage(f"argument {word!r} is not key=value")
            if key not in KEYS.get(verb, [key]):
                raise Usage(f"{verb} has no argument {key}")
            self.values[key] = value

    def text(self, key, otherwise):
        return self.values.get(key, otherwise)

    def required(self, key):
        value = self.values.get(key)
        if not value:
            raise Usage(f"argument {key}= is missing")
        return value

    def number(self, key, otherwise, least=0):
        value = self.values.get(key)
        if value is None:
            return otherwise
        if not value.isdecimal() or int(value) < least:
            raise Usage(f"argument {key}={value} is not a number of at least {least}")
        return int(value)

    def choice(self, key, *allowed):
        """One of the allowed values; the first is the default."""
        value = self.text(key, allowed[0])
        if value not in allowed:
            raise Usage(f"argument {key}={value} is not one of {', '.join(allowed)}")
        return value


def stop_on_input():
    """An event that is set by the line `stop` or the end of standard input."""
    stop = threading.Event()

    def watch():
        for line in sys.stdin:
            if line.strip() == "stop":
                break
        stop.set()
        limit = threading.Timer(SHUTDOWN_LIMIT_S, os._exit, [1])
        limit.daemon = True
        limit.start()

    threading.Thread(target=watch, daemon=True).start()
    return stop


def version():
    from importlib.metadata import version as installed

    emit({"ev": "version", "client": "cpp", "version": installed("rocketmq")})


def main(verb, words):
    args = Arguments(verb, words)
    if verb == "version":
        version()
    elif verb == "send":
        from sending import send

        send(args, stop_on_input())
    elif verb == "consume":
        from consuming import consume

        consume(args, stop_on_input())
    else:
        raise Unsupported(f"no verb {verb}")


if __name__ == "__main__":
    own_stdout()
    status = 1
    try:
        if len(sys.argv) < 2:
            raise Usage("usage: driver.py <send|consume|version> key=value…")
        main(sys.argv[1], sys.argv[2:])
        status = 0
    except Unsupported as reason:
        emit({"ev": "unsupported", "why": str(reason)})
        status = 3
    except Usage as error:
        print("driver:", error, file=sys.stderr)
        status = 2
    except Exception:
        traceback.print_exc()
    sys.stderr.flush()
    # The library's threads outlive its shutdown: leave without running its destructors under them.
    os._exit(status)
