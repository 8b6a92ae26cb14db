#!/usr/bin/env python3
"""Keeps a gateway under changing load and judges whether it stayed what it was; scripts/soak.sh runs it.

Sixty tunnels last from the beginning to the end, ten of them idle, and make new sessions every two minutes,
while the scenarios of scripts/scenarios come and go in rounds, with pauses in between. Every ten seconds a
line goes into the CSV file: memory, descriptors, threads, tunnels, and every counter of the gateway.

Judged is, from the end of the first round on, when every client has been there once:
 - memory: its median in the last third of the samples against that of the first third;
 - descriptors and threads: the least of the last third against the least of the first third, since a
   connection that is being served has a descriptor;
 - the balance of the counters of every worker, in every sample;
 - drops: none but those that the scenarios are about;
 - what the lasting tunnels lost, and the verdict of every scenario;
 - that the gateway ends as it should.
"""

import argparse
import csv
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

SAMPLE_SECONDS = 10
PAUSE_SECONDS = 5

# Each takes some 20 s. Not the ramp, which is meant to lose packets where the gateway ends.
SCENARIOS = ["churn", "rekey-storm", "many-small-clients", "elephants-and-mice", "garbage", "cold-start"]

LASTING_TUNNELS = 60
ACTIVE_TUNNELS = 50
LASTING_LOST_MAX = 0.0001

MEMORY_GROWTH_MAX_SHARE = 0.03
MEMORY_GROWTH_MAX_KIB = 2048

# What floods, garbage, replays and clients that come and go are answered with. No data of a client that is
# connected is among it.
EXPLAINED = {
    ("tunnel", reason)
    for reason in (
        "malformed no_tunnel invalid_mac address_handshake_limit total_handshake_limit cookie_reply_limit "
        "unauthorized address_held replayed_initiation stale_initiation unsolicited no_session replayed forged"
    ).split()
} | {("queue", "handshakes_full")}
# Garbage that is long enough for a train with a message in it comes to the sockets for mixed trains. Those of clients
# hold no garbage on loopback, which merges nothing.
EXPLAINED_KERNEL_DROPS = {"garbage", "handshake", "mixed"}


class Failed(Exception):
    """Something could not be run."""


class Gateway:
    def __init__(self, programs, files, identities):
        key_file = files / "private.key"
        made = subprocess.run(
            [programs / "snapgate", "genkey", "--output", key_file], check=True, capture_output=True, text=True
        )
        self.public_key = made.stdout.strip()
        self.log = files / "gateway.log"
        flags = ["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--forward", "echo", "--workers", "2"]
        # Tunnels of one round go when those of the next begin, so there are never more than in the first.
        flags += ["--one-tunnel-per-identity", "--identities", identities, "--private-key-file", key_file]
        flags += os.environ.get("GATEWAY_FLAGS", "").split()
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen([programs / "snapgate", "run", *flags], stdout=log, stderr=log)
        self.address = self.find(r"listening for tunnels address=(127\.0\.0\.1:\d+)")
        self.metrics = self.find(r"serving metrics url=(http://\S+)")

    def find(self, pattern):
        """What the log says, once it does."""
        for _ in range(100):
            if found := re.search(pattern, self.log.read_text(encoding="utf-8")):
                return found[1]
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise Failed(f"the gateway did not start:\n{self.log.read_text(encoding='utf-8')}")

    def metrics_text(self):
        with urllib.request.urlopen(self.metrics, timeout=10) as answer:
            return answer.read().decode()

    def scrape(self):
        """Every time series of the gateway's own: its name, its labels, and its value."""
        text = self.metrics_text()
        series = []
        for name, labels, value in re.findall(r"^snapgate_(\w+?)(?:_total)?\{(.*)\} (\S+)$", text, re.MULTILINE):
            series.append((name, dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)))
        return series

    def resources(self):
        """Resident memory in KiB, open descriptors, threads."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        status = dict(re.findall(r"^(\w+):\s+(\d+)", text, re.MULTILINE))
        # Its directory of descriptors is closed to others (PR_SET_DUMPABLE).
        descriptors = re.search(r"^process_open_fds (\d+)$", self.metrics_text(), re.MULTILINE)
        return int(status["VmRSS"]), int(descriptors[1]), int(status["Threads"])


class Soak:
    def __init__(self, programs, csv_path, seconds):
        self.programs, self.seconds = programs, seconds
        self.samples = []
        self.problems = []
        self.rounds = 0
        self.settled_at = None
        self.csv_file = open(csv_path, "w", encoding="utf-8", newline="")
        self.csv = None

    def run(self):
        with tempfile.TemporaryDirectory() as directory:
            files = Path(directory)
            gateway = Gateway(self.programs, files, self.write_identities(files))
            lasting = scenario = None
            try:
                lasting = self.start_lasting(gateway, files)
                begin = next_sample = time.monotonic()
                names = self.names()
                while (now := time.monotonic()) < begin + self.seconds:
                    if now >= next_sample:
                        self.sample(gateway, now - begin)
                        next_sample += SAMPLE_SECONDS
                    if scenario is None:
                        name, index = next(names)
                        scenario = self.start_scenario(gateway, files, name, index)
                    elif scenario.poll() is not None:
                        self.judge_scenario(scenario, name, files)
                        scenario = None
                        time.sleep(PAUSE_SECONDS)
                    if gateway.process.poll() is not None:
                        raise Failed(f"the gateway ended:\n{gateway.log.read_text(encoding='utf-8')}")
                    time.sleep(0.2)
                self.sample(gateway, now - begin)
                self.stop(lasting)
                self.judge_lasting(files)
                self.stop(gateway.process)
                self.judge_end(gateway)
            finally:
                for process in (scenario, lasting, gateway.process):
                    if process is not None and process.poll() is None:
                        process.kill()
                        process.wait()
        self.judge_samples()

    def names(self):
        """The scenarios, round after round."""
        while True:
            for index, name in enumerate(SCENARIOS):
                yield name, index
            self.rounds += 1
            self.settled_at = self.settled_at or len(self.samples)

    def write_identities(self, files):
        path = files / "identities.toml"
        with open(path, "w", encoding="utf-8") as file:
            keys = [["--tunnels", str(LASTING_TUNNELS), "--key-seed", "1"]]
            for index, name in enumerate(SCENARIOS):
                keys.append(["--script", f"scripts/scenarios/{name}.toml", "--key-seed", str(100 + index)])
            for flags in keys:
                file.flush()
                subprocess.run([self.programs / "snapload", "keys", *flags], check=True, stdout=file)
        return path

    def start_lasting(self, gateway, files):
        flags = ["--tunnels", str(LASTING_TUNNELS), "--active", str(ACTIVE_TUNNELS), "--key-seed", "1"]
        # It is stopped before that.
        flags += ["--rate", "1000", "--duration", f"{self.seconds + 600}s", "--source-ip", "127.2.0.0/16"]
        return self.start_load("run", gateway, flags, files / "lasting.json")

    def start_scenario(self, gateway, files, name, index):
        flags = [f"scripts/scenarios/{name}.toml", "--key-seed", str(100 + index)]
        return self.start_load("script", gateway, flags, files / "scenario.json")

    def start_load(self, command, gateway, flags, output):
        to_gateway = ["--gateway", gateway.address, "--public-key", gateway.public_key, "--json"]
        with open(output, "w", encoding="utf-8") as out, open(f"{output}.err", "w", encoding="utf-8") as err:
            return subprocess.Popen([self.programs / "snapload", command, *to_gateway, *flags], stdout=out, stderr=err)

    def stop(self, process):
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{process.args[0]} does not end on SIGINT") from error

    def sample(self, gateway, at):
        series = gateway.scrape()
        memory, descriptors, threads = gateway.resources()
        for worker, balance in balances(series).items():
            if balance:
                self.problems.append(f"the counters of worker {worker} are off by {balance} after {at:.0f} s")
        row = {"seconds": round(at), "memory_kib": memory, "descriptors": descriptors, "threads": threads}
        for name, labels, value in series:
            labels.pop("worker", None)
            column = "/".join([name, *labels.values()])
            row[column] = row.get(column, 0) + int(value)
        if self.csv is None:
            self.csv = csv.DictWriter(self.csv_file, list(row), extrasaction="ignore")
            self.csv.writeheader()
        self.csv.writerow(row)
        self.csv_file.flush()
        self.samples.append(row)
        print(f"{at:7.0f} s  {memory / 1024:7.1f} MiB  {row['tunnels']:6} tunnels  {descriptors} descriptors", flush=True)

    def judge_scenario(self, process, name, files):
        if process.returncode != 0:
            last = (files / "scenario.json").read_text(encoding="utf-8").splitlines()[-1:]
            errors = (files / "scenario.json.err").read_text(encoding="utf-8").strip()
            failed = [check["check"] for line in last for check in json.loads(line).get("failed_checks", [])]
            why = "; ".join(failed) or errors or "it said nothing"
            self.problems.append(f"{name} in round {self.rounds + 1} ended with {process.returncode}: {why}")

    def judge_lasting(self, files):
        output = (files / "lasting.json").read_text(encoding="utf-8").splitlines()
        try:
            summary = json.loads(output[-1])
            sent, lost = summary["sent"], summary["lost"]
        except (IndexError, KeyError, ValueError) as error:
            errors = (files / "lasting.json.err").read_text(encoding="utf-8").strip()
            raise Failed(f"the lasting tunnels left no summary: {errors}") from error
        print(f"the lasting tunnels lost {lost} of {sent} round trips")
        if lost > sent * LASTING_LOST_MAX:
            self.problems.append(f"the lasting tunnels lost {lost} of {sent} round trips")

    def judge_end(self, gateway):
        if gateway.process.returncode != 0:
            self.problems.append(f"the gateway ended with {gateway.process.returncode}")
        errors = [line for line in gateway.log.read_text(encoding="utf-8").splitlines() if " ERROR " in line]
        if errors:
            self.problems.append(f"the gateway's log has {len(errors)} errors, the first: {errors[0]}")

    def judge_samples(self):
        if self.settled_at is None:
            raise Failed("the time was too short for one round of all scenarios: give it six minutes or more")
        settled = self.samples[self.settled_at :]
        third = max(1, len(settled) // 3)
        parts = (settled[:third], settled[-third:])
        first, last = (statistics.median(row["memory_kib"] for row in part) for part in parts)
        print(f"memory: {first / 1024:.1f} MiB after the first of {self.rounds} rounds, {last / 1024:.1f} MiB at the end")
        if last - first > max(MEMORY_GROWTH_MAX_KIB, first * MEMORY_GROWTH_MAX_SHARE):
            self.problems.append(f"memory grew from {first:.0f} to {last:.0f} KiB")
        for resource in ("descriptors", "threads"):
            first, last = (min(row[resource] for row in part) for part in parts)
            if last > first:
                self.problems.append(f"{resource} grew from {first} to {last}")
        for column, count in self.samples[-1].items():
            name, *labels = column.split("/")
            # Labels stand in the order in which the gateway writes them: stage and reason, or socket.
            unexplained = (name == "dropped_packets" and not EXPLAINED & {tuple(labels), tuple(labels[::-1])}) or (
                name == "kernel_dropped_packets" and labels[0] not in EXPLAINED_KERNEL_DROPS
            )
            if unexplained and count:
                self.problems.append(f"{count} unexplained drops: {column}")


def balances(series):
    """By worker, what came in less what became of it: 0 in every snapshot."""
    balance = {}
    for name, labels, value in series:
        if name == "received_packets" or (name == "mailbox_packets" and labels["side"] == "taken"):
            sign = 1
        elif name in ("delivered_packets", "sent_packets", "dropped_packets", "in_flight_packets") or (
            name == "mailbox_packets" and labels["side"] == "given"
        ):
            sign = -1
        else:
            continue
        balance[labels["worker"]] = balance.get(labels["worker"], 0) + sign * int(value)
    return balance


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", type=Path, required=True)
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--hours", type=float, required=True)
    arguments = parser.parse_args()
    soak = Soak(arguments.programs.resolve(), arguments.csv, int(arguments.hours * 3600))
    try:
        soak.run()
    except (Failed, subprocess.CalledProcessError, OSError) as error:
        soak.problems.append(str(error))
    if soak.problems:
        sys.exit("the soak FAILED:\n  " + "\n  ".join(soak.problems))
    print("the gateway stayed what it was")


if __name__ == "__main__":
    main()
