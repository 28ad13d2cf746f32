#!/usr/bin/env python3
"""Forwards remoting connections and keeps samples of the frames that pass.

    record.py <out-folder> <listen-ip:port>=<target-ip:port>…

Every frame goes on unchanged. One sample per shape is written to <out-folder>/<req|resp>-<code>-<n>.bin: the whole
frame with its leading length. <code> is that of the request, for a response too. A shape is the direction and code
together with the serialization type, the flags, the response code, the names of the extension fields and, for a JSON
body, the keys that have something in them, so that samples of one code differ. Samples already in the folder count. Runs until SIGTERM or SIGINT.

A broker must advertise the address that is listened on here: see capture.py, which gives it another loopback address.
"""

import argparse
import asyncio
import json
import pathlib
import re
import signal
import struct
import sys

LARGEST_FRAME = 16 * 1024 * 1024
LARGEST_SAMPLE = 16 * 1024
SAMPLES_PER_CODE = 4
MOST_OUTSTANDING = 65_536
FILE_NAME = re.compile(r"(req|resp)-(-?\d+)-(\d+)\.bin")


class Header:
    """What a sample's shape depends on."""

    def __init__(self, frame):
        length, word = struct.unpack_from(">iI", frame)
        self.serialization = word >> 24
        header = frame[8:8 + (word & 0xFFFFFF)]
        self.body = frame[8 + len(header):]
        if length != len(frame) - 4 or len(header) != word & 0xFFFFFF:
            raise ValueError("lengths do not agree")
        if self.serialization == 0:
            fields = json.loads(header.decode("utf-8"))
            self.code, self.opaque, self.flag = fields["code"], fields["opaque"], fields.get("flag", 0)
            self.ext = sorted(fields.get("extFields") or {})
        elif self.serialization == 1:
            self.code, self.opaque, self.flag, remark = struct.unpack_from(">hxxxiii", header)
            self.ext = self._binary_ext(header, 17 + remark)
        else:
            raise ValueError(f"serialization type {self.serialization}")

    @staticmethod
    def _binary_ext(header, at):
        (end,) = struct.unpack_from(">i", header, at)
        at += 4
        end += at
        names = []
        while at < end:
            (size,) = struct.unpack_from(">h", header, at)
            names.append(header[at + 2:at + 2 + size].decode("utf-8"))
            at += 2 + size
            (size,) = struct.unpack_from(">i", header, at)
            at += 4 + size
        return sorted(names)

    @property
    def is_response(self):
        return self.flag & 1 == 1

    @property
    def is_oneway(self):
        return self.flag & 2 == 2

    def shape(self, request_code):
        """Equal for frames of which one sample is enough."""
        result = self.code if self.is_response else None
        return (self.is_response, request_code, self.serialization, self.flag, result, tuple(self.ext), self._body_kind())

    def _body_kind(self):
        if not self.body:
            return "none"
        try:
            fields = json.loads(self.body.decode("utf-8"))
        except ValueError:
            return "bytes"
        if not isinstance(fields, dict):
            return "json"
        return tuple(sorted(key for key, value in fields.items() if value not in ([], {}, None, "")))


class Samples:
    """The folder of samples."""

    def __init__(self, folder):
        self.folder = folder
        self.shapes = set()
        self.counts = {}
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(folder.iterdir()):
            match = FILE_NAME.fullmatch(file.name)
            if match:
                kind, code, number = match[1], int(match[2]), int(match[3])
                self.shapes.add(Header(file.read_bytes()).shape(code))
                self.counts[kind, code] = max(self.counts.get((kind, code), 0), number)

    def offer(self, frame, header, request_code):
        shape = header.shape(request_code)
        kind = "resp" if header.is_response else "req"
        number = self.counts.get((kind, request_code), 0) + 1
        if shape in self.shapes or number > SAMPLES_PER_CODE or len(frame) > LARGEST_SAMPLE:
            return
        self.shapes.add(shape)
        self.counts[kind, request_code] = number
        (self.folder / f"{kind}-{request_code}-{number}.bin").write_bytes(frame)


async def forward(reader, writer, samples, asked_here, asked_there):
    """Copies one direction; `asked_here` are the requests seen in it, `asked_there` those of the other one."""
    while True:
        head = await reader.readexactly(4)
        (length,) = struct.unpack(">i", head)
        if not 4 <= length <= LARGEST_FRAME:
            raise ValueError(f"not a remoting frame: length {length}")
        frame = head + await reader.readexactly(length)
        writer.write(frame)
        await writer.drain()
        header = Header(frame)
        if not header.is_response:
            if not header.is_oneway and len(asked_here) < MOST_OUTSTANDING:
                asked_here[header.opaque] = header.code
            samples.offer(frame, header, header.code)
        elif header.opaque in asked_there:
            samples.offer(frame, header, asked_there.pop(header.opaque))


async def serve(client_reader, client_writer, target, samples):
    writers = [client_writer]
    pumps = []
    try:
        server_reader, server_writer = await asyncio.wait_for(asyncio.open_connection(*target), 5)
        writers.append(server_writer)
        up, down = {}, {}
        pumps = [
            asyncio.create_task(forward(client_reader, server_writer, samples, up, down)),
            asyncio.create_task(forward(server_reader, client_writer, samples, down, up)),
        ]
        done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in done:
            error = pump.exception()
            if not isinstance(error, (asyncio.IncompleteReadError, ConnectionError)):
                print(f"record.py: {target}: {error!r}", file=sys.stderr)
    except asyncio.CancelledError:
        # The recorder stops; ending quietly here is what the event loop expects of a connection's task.
        pass
    except (OSError, asyncio.TimeoutError) as error:
        print(f"record.py: cannot reach {target}: {error!r}", file=sys.stderr)
    finally:
        for pump in pumps:
            pump.cancel()
        for writer in writers:
            writer.close()


def address(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("route", nargs="+", help="<listen-ip:port>=<target-ip:port>")
    options = parser.parse_args()
    samples = Samples(options.folder)
    servers = []
    for route in options.route:
        listen, _, target = route.partition("=")

        async def on_connect(reader, writer, target=address(target)):
            await serve(reader, writer, target, samples)

        servers.append(await asyncio.start_server(on_connect, *address(listen)))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print("recording", flush=True)
    await stop.wait()
    for server in servers:
        server.close()


if __name__ == "__main__":
    asyncio.run(main())
