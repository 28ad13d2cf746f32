#!/usr/bin/env python3
"""Has the kernel take from processes what they have mapped of files under a directory: pageout.py DIR PID...

Whoever makes the kernel drop its page cache does not get at pages that a process has mapped. They must have been written. Only root may
do it, as with dropping; it fails where the kernel cannot (Linux before 5.10).
"""

import ctypes
import os
import sys

PROCESS_MADVISE = 440  # the same number on every architecture
MADV_PAGEOUT = 21


class Span(ctypes.Structure):
    _fields_ = [("begin", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def mapped(pid, directory):
    """Where the files are mapped."""
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:
            fields = line.rstrip("\n").split(maxsplit=5)
            if len(fields) == 6 and fields[5].startswith(directory + "/"):
                begin, end = (int(address, 16) for address in fields[0].split("-"))
                yield Span(begin, end - begin)


def main():
    directory = os.path.realpath(sys.argv[1])
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    for pid in map(int, sys.argv[2:]):
        process = os.pidfd_open(pid)
        for span in mapped(pid, directory):
            done = libc.syscall(PROCESS_MADVISE, process, ctypes.byref(span), ctypes.c_size_t(1), MADV_PAGEOUT, 0)
            if done < 0:
                error = ctypes.get_errno()
                sys.exit(f"pageout.py: process {pid}: {os.strerror(error)}")
        os.close(process)


main()
