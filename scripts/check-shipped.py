#!/usr/bin/env python3
"""Checks that a gateway was not built with the mock clock of ana-gotatun.

Usage: check-shipped.py DIRECTORY, which contains snapgate and snapload.

With the mock clock, sessions never rekey, expire or send keepalives; everything else works. So a client sends data for
a second, and the gateway, which sends no data back, must send a keepalive 10 s later (WireGuard whitepaper, section
6.5).
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

# Above the 10 s until the keepalive, because the machine may be busy.
PATIENCE_SECONDS = 60


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, condition, gateway):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if gateway.poll() is not None:
            sys.exit(f"the gateway exited with code {gateway.returncode}")
        try:
            if result := condition():
                return result
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.1)
    sys.exit(f"no {what} within {PATIENCE_SECONDS} s")


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
            wait_for("200 from /readyz", lambda: get("/readyz"), gateway)
            # The exit code of the client does not matter: a sink sends no packets back.
            load = ["--tunnels", "1", "--rate", "100", "--duration", "1s"]
            subprocess.run(
                [programs / "snapload", "run", "--gateway", listen, "--public-key", public_key, *load],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            if not count("received_packets"):
                sys.exit("the gateway received no packets")
            if keepalives():
                sys.exit("the gateway sent a datagram before the keepalive was due")
            wait_for("keepalive of the gateway (is it built with the mock clock?)", keepalives, gateway)
        finally:
            gateway.kill()
            gateway.wait()
    print("the gateway sent a keepalive: it is built with the real clock")


if len(sys.argv) != 2:
    sys.exit(__doc__)
main(Path(sys.argv[1]))
