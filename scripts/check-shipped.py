#!/usr/bin/env python3
"""Checks that time passes for a built gateway: usage check-shipped.py DIRECTORY, with snapgate and snapload in it.

A gateway built with the mock clock of ana-gotatun never rekeys, expires or keeps alive a session, and looks sound
otherwise. So a client sends data for a second, and the gateway, which has nothing to answer, must send a keepalive
10 s later (WireGuard whitepaper, section 6.5). Nothing but the clock that tunnels go by makes it do so.
"""

import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

# 10 s for the keepalive, and a busy machine.
PATIENCE_SECONDS = 60


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, condition, gateway):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if gateway.poll() is not None:
            sys.exit(f"the gateway ended with exit code {gateway.returncode}")
        try:
            if result := condition():
                return result
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.1)
    sys.exit(f"{what} did not happen within {PATIENCE_SECONDS} s")


def main(programs):
    listen = f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    metrics = f"127.0.0.1:{free_port(socket.SOCK_STREAM)}"

    def get(path):
        with urllib.request.urlopen(f"http://{metrics}{path}", timeout=10) as answer:
            return answer.read().decode()

    def count(name, label=""):
        series = rf"^snapgate_{name}_total\{{.*{label}.*\}} (\d+)$"
        return sum(int(value) for value in re.findall(series, get("/metrics"), re.MULTILINE))

    def keepalives():
        answers = count("handshakes", 'result="answered"') + count("cookies_demanded")
        return count("originated_packets", 'result="sent"') - answers

    with tempfile.TemporaryDirectory() as directory:
        key_file = Path(directory) / "private.key"
        public_key = subprocess.run(
            [programs / "snapgate", "genkey", "--output", key_file], check=True, capture_output=True, text=True
        ).stdout.strip()
        flags = ["--listen", listen, "--metrics", metrics, "--forward", "sink", "--allow-any-identity"]
        gateway = subprocess.Popen(
            [programs / "snapgate", "run", "--private-key-file", key_file, "--workers", "1", *flags],
            stdout=subprocess.DEVNULL,
        )
        try:
            wait_for("readiness", lambda: get("/readyz"), gateway)
            # A sink gives nothing back, so what the client thinks of it does not matter.
            load = ["--tunnels", "1", "--rate", "100", "--duration", "1s"]
            subprocess.run(
                [programs / "snapload", "run", "--gateway", listen, "--public-key", public_key, *load],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            if not count("received_packets"):
                sys.exit("the gateway received nothing")
            if keepalives():
                sys.exit("the gateway sent something before a keepalive was due")
            wait_for("a keepalive, which shows that time passes for tunnels,", keepalives, gateway)
        finally:
            gateway.kill()
            gateway.wait()
    print("time passes for the tunnels of the gateway: it sent a keepalive")


if len(sys.argv) != 2:
    sys.exit(__doc__)
main(Path(sys.argv[1]))
