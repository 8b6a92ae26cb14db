#!/usr/bin/env python3
"""Soak test of a gateway, see scripts/soak.sh.

Sixty tunnels, ten of them idle, last for the whole test and renew their sessions every two minutes. Meanwhile the
scenarios of scripts/scenarios run in rounds, with pauses in between. Every ten seconds a line is written to the CSV
file: memory, descriptors, threads, tunnels, and all counters of the gateway.

Checks, from the end of the first round, when every client has connected once:
 - memory: the median of the last third of the samples against the median of the first third;
 - descriptors and threads: the minimum of the last third against the minimum of the first third, since open
   connections have descriptors;
 - counters of every worker: balanced in every sample;
 - drops: only those that the scenarios cause;
 - losses of the lasting tunnels, and the verdict of every scenario;
 - exit code and log of the gateway.
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

# Each takes about 20 s. Without the ramp, which overloads the gateway on purpose.
SCENARIOS = ["churn", "rekey-storm", "many-small-clients", "elephants-and-mice", "garbage", "cold-start"]

LASTING_TUNNELS = 60
ACTIVE_TUNNELS = 50
LASTING_LOST_MAX = 0.0001

MEMORY_GROWTH_MAX_SHARE = 0.03
MEMORY_GROWTH_MAX_KIB = 2048

# Drop reasons caused by floods, garbage, replays, and clients that come and go. Data of connected clients is not
# among them.
EXPLAINED = {
    ("tunnel", reason)
    for reason in (
        "malformed no_tunnel invalid_mac address_handshake_limit total_handshake_limit cookie_reply_limit "
        "unauthorized address_held replayed_initiation stale_initiation unsolicited no_session replayed forged"
    ).split()
} | {("queue", "handshakes_full")}
# Garbage that is long enough for a train with a message is dispatched to the sockets for mixed trains. Loopback merges
# no datagrams, so trains of clients contain no garbage.
EXPLAINED_KERNEL_DROPS = {"garbage", "handshake", "mixed"}


class Failed(Exception):
    """The test could not be run."""


class Gateway:
    def __init__(self, programs, files, identities):
        key_file = files / "private.key"
        made = subprocess.run(
            [programs / "snapgate", "genkey", "--output", key_file], check=True, capture_output=True, text=True
        )
        self.public_key = made.stdout.strip()
        self.log = files / "gateway.log"
        flags = ["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--forward", "echo", "--workers", "2"]
        # Tunnels of one round replace those of the previous one, so their number does not grow.
        flags += ["--one-tunnel-per-identity", "--identities", identities, "--private-key-file", key_file]
        flags += os.environ.get("GATEWAY_FLAGS", "").split()
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen([programs / "snapgate", "run", *flags], stdout=log, stderr=log)
        self.address = self.find(r"listening for tunnels address=(127\.0\.0\.1:\d+)")
        self.metrics = self.find(r"serving metrics url=(http://\S+)")

    def find(self, pattern):
        """Waits for a pattern in the log, and returns its group."""
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
        """Returns name, labels and value of every time series of the gateway."""
        text = self.metrics_text()
        series = []
        for name, labels, value in re.findall(r"^snapgate_(\w+?)(?:_total)?\{(.*)\} (\S+)$", text, re.MULTILINE):
            series.append((name, dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)))
        return series

    def resources(self):
        """Returns resident memory in KiB, open descriptors, and threads."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        status = dict(re.findall(r"^(\w+):\s+(\d+)", text, re.MULTILINE))
        # Other processes cannot read /proc/PID/fd (PR_SET_DUMPABLE).
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
                        raise Failed(f"the gateway exited:\n{gateway.log.read_text(encoding='utf-8')}")
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
        """Yields the scenarios, round after round."""
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
        # Stopped earlier, at the end of the test.
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
            raise Failed(f"{process.args[0]} did not exit within 60 s after SIGINT") from error

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
            why = "; ".join(failed) or errors or "no output"
            self.problems.append(f"{name} in round {self.rounds + 1} exited with code {process.returncode}: {why}")

    def judge_lasting(self, files):
        output = (files / "lasting.json").read_text(encoding="utf-8").splitlines()
        try:
            summary = json.loads(output[-1])
            sent, lost = summary["sent"], summary["lost"]
        except (IndexError, KeyError, ValueError) as error:
            errors = (files / "lasting.json.err").read_text(encoding="utf-8").strip()
            raise Failed(f"no summary of the lasting tunnels: {errors}") from error
        print(f"the lasting tunnels lost {lost} of {sent} round trips")
        if lost > sent * LASTING_LOST_MAX:
            self.problems.append(f"the lasting tunnels lost {lost} of {sent} round trips")

    def judge_end(self, gateway):
        if gateway.process.returncode != 0:
            self.problems.append(f"the gateway exited with code {gateway.process.returncode}")
        errors = [line for line in gateway.log.read_text(encoding="utf-8").splitlines() if " ERROR " in line]
        if errors:
            self.problems.append(f"the gateway's log has {len(errors)} errors, the first: {errors[0]}")

    def judge_samples(self):
        if self.settled_at is None:
            raise Failed("the time was too short for one round of all scenarios: run at least six minutes (0.1 h)")
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
            # Labels in the order of the metrics: stage and reason, or socket.
            unexplained = (name == "dropped_packets" and not EXPLAINED & {tuple(labels), tuple(labels[::-1])}) or (
                name == "kernel_dropped_packets" and labels[0] not in EXPLAINED_KERNEL_DROPS
            )
            if unexplained and count:
                self.problems.append(f"{count} unexplained drops: {column}")


def balances(series):
    """Returns incoming minus outgoing packets per worker, which is 0 in every snapshot."""
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
    parser = argparse.ArgumentParser(description="Soak test of a gateway; scripts/soak.sh builds and runs it.")
    parser.add_argument("--programs", type=Path, required=True, help="directory with snapgate and snapload")
    parser.add_argument("--csv", type=Path, required=True, help="file for samples")
    parser.add_argument("--hours", type=float, required=True, help="duration of the test")
    arguments = parser.parse_args()
    soak = Soak(arguments.programs.resolve(), arguments.csv, int(arguments.hours * 3600))
    try:
        soak.run()
    except (Failed, subprocess.CalledProcessError, OSError) as error:
        soak.problems.append(str(error))
    if soak.problems:
        sys.exit("soak test FAILED:\n  " + "\n  ".join(soak.problems))
    print("soak test passed")


if __name__ == "__main__":
    main()
