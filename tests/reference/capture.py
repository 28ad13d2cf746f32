#!/usr/bin/env python3
"""Drives stock clients against the stock Apache servers, checks what they report, and records their frames.

    capture.py [--out <folder>] <client>=<command>…

<client> names the folder of the samples, <command> is the driver up to its verb, for example

    capture.py 'java-4.4.0=tests/clients/java/run.sh 4.4.0'

(tests/clients/PROTOCOL.md describes drivers). The name 'broker' stands alone and records the broker's talk with the
NameServer, 'broker-compressed' the same with compressed registration; 'mqadmin' records the admin tool's talk, with a driver for a
consumer and a producer to look at. These get the version of the Apache servers into their folder's name. A name that
ends in '-binary' runs its driver with the binary header (Java only). The exit code is 1 when a client misbehaved.

The servers bind 127.0.0.1 and the broker advertises 127.0.0.2, where record.py listens on the same ports, so that
clients reach the broker only through the recorder and message ids lead there too. Linux answers to both.
"""

import argparse
import json
import os
import pathlib
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = HERE.parent.parent / "crates" / "remoting" / "testdata" / "golden"
APACHE = HERE / "apache.sh"
APACHE_VERSION = "5.3.3"
INSIDE, OUTSIDE = "127.0.0.1", "127.0.0.2"
UNSUPPORTED = 3


class Driver:
    """One driver process and the events it printed."""

    def __init__(self, command, verb, log, extra_env=None, **arguments):
        words = shlex.split(command) + [verb] + [f"{key}={value}" for key, value in arguments.items()]
        self.name = " ".join(words[len(shlex.split(command)):])
        self.events = []
        self.changed = threading.Condition()
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                                        text=True, env={**os.environ, **(extra_env or {})})
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                self.events.append(json.loads(line))
                self.changed.notify_all()
        with self.changed:
            self.events.append({"ev": "end of output"})
            self.changed.notify_all()

    def of(self, kind):
        with self.changed:
            return [event for event in self.events if event["ev"] == kind]

    def wait(self, condition, timeout_s):
        """True when `condition(self)` came to hold before the timeout or the end of the output."""
        end = time.monotonic() + timeout_s
        with self.changed:
            while not condition(self):
                left = end - time.monotonic()
                if left <= 0 or (self.events and self.events[-1]["ev"] == "end of output"):
                    return condition(self)
                self.changed.wait(left)
        return True

    def finish(self, timeout_s=60):
        """Waits for the process; its exit code."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait(10)
        self.wait(lambda driver: driver.of("end of output"), 10)
        return code

    def stop(self):
        try:
            self.process.stdin.write("stop\n")
            self.process.stdin.flush()
        except OSError:
            pass
        return self.finish(100)


class Scenario:
    """Everything one client is made to do."""

    def __init__(self, name, command, namesrv, state, log, problems):
        self.name, self.command, self.namesrv, self.log, self.problems = name, command, namesrv, log, problems
        self.topic = topic_of(name)
        # A state folder of its own: an earlier run's broadcast offsets would be taken up otherwise.
        self.env = {"TIMBERMQ_DRIVER_STATE": str(state)}
        if name.endswith("-binary"):
            self.env["TIMBERMQ_JAVA_OPTS"] = "-Drocketmq.serialize.type=ROCKETMQ"

    def start(self, verb, env=None, **arguments):
        return Driver(self.command, verb, self.log, {**self.env, **(env or {})}, namesrv=self.namesrv, **arguments)

    def check(self, good, driver, what):
        if not good:
            tail = [event for event in driver.events[-4:]]
            self.problems.append(f"{self.name}: {driver.name}: {what}; last events {tail}")
            print("  PROBLEM", self.problems[-1], flush=True)

    def send(self, kind, count=30, topic=None, env=None, **more):
        driver = self.start("send", env, topic=topic or self.topic, group=f"{self.topic}-producer", id=f"{kind}",
                            kind=kind, count=count, **more)
        code = driver.finish()
        if code == UNSUPPORTED:
            print(f"  send {kind}: unsupported")
            return []
        done = driver.of("done")
        self.check(code == 0 and done and done[0]["ok"] == count, driver, f"exit {code}")
        return driver.of("sent")

    def consume(self, kind, seconds, at_least, **more):
        """Starts, waits for `at_least` deliveries, stops."""
        driver = self.start("consume", topic=self.topic, kind=kind, **{"group": f"{self.topic}-{kind}", **more})
        driver.wait(lambda d: d.of("ready"), 30)
        good = driver.wait(lambda d: len(d.of("recv")) >= at_least, seconds)
        # Whatever comes beyond the expected is to be seen too.
        time.sleep(3 if at_least == 0 else 1)
        self.finish_consumer(driver, good, at_least)
        return driver

    def finish_consumer(self, driver, good, at_least):
        code = driver.stop()
        if code == UNSUPPORTED:
            print(f"  {driver.name}: unsupported")
            return
        received = driver.of("recv")
        self.check(good, driver, f"{len(received)} deliveries, wanted {at_least}")
        self.check(all(event["body_ok"] for event in received), driver, "a body is wrong")
        self.check(code == 0 and driver.of("done"), driver, f"exit {code}")

    def run(self):
        print(f"{self.name}: send", flush=True)
        # A new topic: no route, then the default topic's, then creation by the first send.
        self.send("sync", 4, topic=self.topic + "-auto")
        first = self.start("consume", topic=self.topic, kind="push", group=f"{self.topic}-push", instance="one",
                           **{"from": "first"}, fail_first=1)
        self.check(first.wait(lambda d: d.of("ready"), 30), first, "not ready")
        sent = self.send("sync")
        total = 30
        # One at a time: when several threads make the first call to an address at once, client 4.4.0 closes the connections
        # under each other, and the fate of a message is unknown.
        total += len(self.send("async", window=1))
        for kind in ("oneway", "ordered"):
            total += len(self.send(kind))
        total += sum(event["n"] for event in self.send("batch"))
        if self.name.startswith("java"):
            total += len(self.send("sync", 5, start=1_000, env={
                "TIMBERMQ_JAVA_OPTS": self.env.get("TIMBERMQ_JAVA_OPTS", "")
                + " -Dorg.apache.rocketmq.client.sendSmartMsg=false"}))

        print(f"{self.name}: consume {total}", flush=True)
        second = self.start("consume", topic=self.topic, kind="push", group=f"{self.topic}-push", instance="two",
                            **{"from": "first"}, fail_first=1)
        second.wait(lambda d: d.of("queues"), 30)
        self.consume("orderly", 60, total + 1, **{"from": "first"}, fail_first=1)
        self.consume("broadcast", 40, total, **{"from": "first"})
        self.consume("pull", 40, total, **{"from": "first"})
        self.consume("litepull", 40, total, **{"from": "first"})
        # A tag that nothing has: every pull ends with nothing matched and goes on behind what it has seen.
        none = self.consume("push", 0, 0, group=f"{self.topic}-none", tag="TagNone", **{"from": "first"})
        self.check(not none.of("recv"), none, "a message without the tag")
        # Some match: held pulls are woken by those that do.
        filtered = self.start("consume", topic=self.topic, kind="push", group=f"{self.topic}-filtered", tag="TagC", instance="three",
                              **{"from": "last"})
        filtered.wait(lambda d: d.of("queues"), 30)
        time.sleep(2)
        total += len(self.send("sync", 12, start=2_000, tags="TagA,TagC,TagB"))
        self.finish_consumer(filtered, filtered.wait(lambda d: len(d.of("recv")) >= 4, 30), 4)
        self.check(all(event["tag"] == "TagC" for event in filtered.of("recv")), filtered, "another tag")
        # Every message is refused once and comes again ten seconds later.
        keys = lambda d: {event["key"] for event in d.of("recv") if event["reconsume"] > 0}
        good = first.wait(lambda d: len(keys(d) | keys(second)) > 0, 40)
        self.finish_consumer(second, True, 0)
        self.finish_consumer(first, good, 1)

        print(f"{self.name}: query", flush=True)
        names = [("key", f"sync-{sent[3]['seq']}"), ("unique", sent[3].get("msgid", "")), ("offsetid", sent[3].get("offset_msgid", ""))] if sent else []
        for kind, name in names:
            driver = self.start("query", topic=self.topic, kind=kind, id=name)
            code = driver.finish()
            found = driver.of("found")
            if code != UNSUPPORTED:
                self.check(code == 0 and len(found) == 1 and found[0]["body_ok"]
                           and (found[0]["queue"], found[0]["offset"]) == (sent[3]["queue"], sent[3]["offset"]),
                           driver, f"exit {code}, {found} for {sent[3]}")
        driver = self.start("offsets", topic=self.topic, timestamp=int(time.time() * 1000) - 30_000)
        code = driver.finish()
        if code != UNSUPPORTED:
            queues = driver.of("queue")
            self.check(code == 0 and sum(event["max"] - event["min"] for event in queues) == total,
                       driver, f"exit {code}, {queues} for {total} messages")
        if self.name.startswith("java"):
            self.exercise()

    def exercise(self):
        for kind in ("transaction", "sql", "reply"):
            print(f"{self.name}: {kind}", flush=True)
            topic = self.topic if kind == "sql" else f"{self.topic}-{kind}"
            driver = self.start("exercise", topic=topic, group=f"{self.topic}-{kind}", kind=kind, wait_ms=60_000)
            if kind == "sql":
                time.sleep(5)
                self.send("sync", 6, start=3_000)
            code = driver.finish(120)
            self.check(code in (0, UNSUPPORTED), driver, f"exit {code}")


ADMIN_COMMANDS = [
    "updateTopic -c DefaultCluster -t golden-mqadmin -r 4 -w 4 -p 6",
    "updateTopic -c DefaultCluster -t golden-deleted -r 1 -w 1 -o true",
    "topicList", "topicList -c", "topicRoute -t golden-mqadmin", "topicStatus -t golden-mqadmin",
    "topicClusterList -t golden-mqadmin", "updateTopicPerm -t golden-mqadmin -p 4", "updateTopicPerm -t golden-mqadmin -p 6",
    "clusterList", "clusterList -m", "brokerStatus -b {broker}", "getBrokerConfig -b {broker}",
    "updateBrokerConfig -b {broker} -k brokerFastFailureEnable -v true",
    "updateSubGroup -c DefaultCluster -g golden-admin-group", "consumerProgress", "consumerProgress -g {group}",
    "consumerConnection -g {group}", "consumerStatus -g {group}", "producerConnection -g {producer} -t {topic}",
    "brokerConsumeStats -b {broker}", "statsAll -t {topic}", "sendMessage -t golden-mqadmin -p hello -k admin-key",
    "queryMsgByKey -t golden-mqadmin -k admin-key", "queryMsgByOffset -t {topic} -b broker-a -i 0 -o 0",
    "queryMsgByOffset -t {topic} -b broker-a -i 0 -o 99999999",
    "queryCq -t {topic} -q 0 -i 0 -c 2 -b {broker}",
    "resetOffsetByTime -g {group} -t {topic} -s 0", "cloneGroupOffset -s {group} -d golden-admin-group -t {topic} -o false",
    "wipeWritePerm -b broker-a", "addWritePerm -b broker-a",
    "updateKvConfig -s golden -k key -v value", "deleteKvConfig -s golden -k key", "getNamesrvConfig",
    "getBrokerEpoch -b broker-a", "haStatus -b {broker}",
    "deleteSubGroup -c DefaultCluster -g golden-admin-group", "deleteTopic -c DefaultCluster -t golden-deleted",
]


def run_mqadmin(log, namesrv, broker, scenario):
    """Runs the admin tool with a producer and a consumer online to look at."""
    consumer = scenario.start("consume", topic=scenario.topic, kind="push", group="golden-seen", **{"from": "first"})
    producer = scenario.start("send", topic=scenario.topic, group="golden-sender", id="seen", rate=2)
    consumer.wait(lambda d: len(d.of("recv")) > 2, 40)
    for line in ADMIN_COMMANDS:
        line = line.format(broker=broker, group="golden-seen", producer="golden-sender", topic=scenario.topic)
        print(f"mqadmin: {line}", flush=True)
        log.write(f"--- mqadmin {line}\n")
        log.flush()
        command = [str(APACHE), "mqadmin", *line.split(), "-n", namesrv]
        try:
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            print("  timed out")
    producer.stop()
    consumer.stop()


def topic_of(name):
    return "golden-" + name.replace(".", "-")


def free_ports():
    """A NameServer port and a broker port whose companions are free too."""
    def is_free(ip, port):
        with socket.socket() as probe:
            try:
                probe.bind((ip, port))
            except OSError:
                return False
        return True

    for base in range(23_100, 32_000, 100):
        if all(is_free(ip, base + add) for ip in (INSIDE, OUTSIDE) for add in (0, 5, 18, 20, 21)):
            return base, base + 20
    raise SystemExit("no free ports")


def wait_for_port(port, what):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            socket.create_connection((INSIDE, port), 1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"{what} did not start")


class Recorder:
    """record.py in front of the servers for the length of a with block."""

    def __init__(self, folder, *routes):
        self.command = [sys.executable, str(HERE / "record.py"), str(folder), *routes]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "recording\n":
            raise SystemExit("the recorder did not start")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=GOLDEN)
    parser.add_argument("--keep", type=pathlib.Path, help="keep servers' files and logs in this folder")
    parser.add_argument("clients", nargs="+", metavar="client", help="<name>=<driver command>, broker, broker-compressed, or mqadmin=<driver command>")
    options = parser.parse_args()
    clients = [client.partition("=")[::2] for client in options.clients]
    names = [name for name, _ in clients]
    problems, processes = [], []
    # Ended from outside, the servers are still to be stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or pathlib.Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        ns, br = free_ports()
        with open(folder / "servers.out", "a") as out, open(folder / "drivers.err", "a") as log:
            def server(*words):
                processes.append(subprocess.Popen([str(APACHE), *map(str, words)], stdin=subprocess.DEVNULL, stdout=out, stderr=out))

            try:
                server("namesrv", ns, folder / "namesrv")
                wait_for_port(ns, "the NameServer")
                compressed = "broker-compressed" in names
                broker_folder = options.out if compressed or "broker" in names else folder
                label = f"broker-{APACHE_VERSION}" + ("-compressed" if compressed else "")
                # The broker's way to the NameServer is a port of its own.
                with Recorder(broker_folder / label, f"{OUTSIDE}:{ns + 5}={INSIDE}:{ns}"):
                    server("broker", f"{OUTSIDE}:{ns + 5}", br, folder / "broker", "broker-a", f"brokerIP1={OUTSIDE}",
                           f"brokerIP2={INSIDE}", "enablePropertyFilter=true", "transactionTimeOut=1000",
                           "transactionCheckInterval=2000", "registerNameServerPeriod=10000", "forceRegister=false",
                           f"compressedRegister={str(compressed).lower()}")
                    wait_for_port(br, "the broker")
                    time.sleep(3)
                    namesrv, broker = f"{OUTSIDE}:{ns}", f"{OUTSIDE}:{br}"
                    routes = [f"{OUTSIDE}:{port}={INSIDE}:{port}" for port in (ns, br, br - 2)]
                    drivers = [(name, command) for name, command in clients if command]
                    # Topics are made with eight queues beforehand, as the `ordered` kind expects.
                    with Recorder(folder / "unused", *routes):
                        for name, _ in drivers:
                            subprocess.run([str(APACHE), "mqadmin", "updateTopic", "-n", namesrv, "-b", broker,
                                            "-t", topic_of(name), "-r", "8", "-w", "8"],
                                           stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=60, check=True)
                    if not drivers:
                        # One more registration, after the first.
                        time.sleep(25)
                    for name, command in drivers:
                        label = f"mqadmin-{APACHE_VERSION}" if name == "mqadmin" else name
                        scenario = Scenario(name, command, namesrv, folder / "state" / name, log, problems)
                        with Recorder(options.out / label, *routes):
                            if name == "mqadmin":
                                run_mqadmin(log, namesrv, broker, scenario)
                            else:
                                scenario.run()
                    if processes:
                        # The broker's farewell to the NameServer is part of its record.
                        stop_server(processes.pop())
            finally:
                for process in reversed(processes):
                    stop_server(process)
    for problem in problems:
        print("PROBLEM", problem)
    print(f"{len(problems)} problems")
    sys.exit(1 if problems else 0)


def stop_server(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


if __name__ == "__main__":
    main()
