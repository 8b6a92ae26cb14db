#!/usr/bin/env python3
"""Checks the output of `snapload demo --json`. Usage: check-demo.py FILE"""

import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    outcome = json.load(file)

problems = []
if outcome["load"]["lost"]:
    problems.append(f"{outcome['load']['lost']} packets were lost")
for index, worker in enumerate(outcome["workers"]):
    if not worker["received"]:
        problems.append(f"worker {index} received no packets")
    if worker["handovers"]:
        problems.append(f"worker {index} handed {worker['handovers']} packets over")
    if worker["received"] != worker["delivered"] + worker["sent"] + worker["dropped"]:
        problems.append(f"the counters of worker {index} do not balance: {worker}")
if problems:
    sys.exit("the demo failed: " + "; ".join(problems))
print("demo passed: no losses, no handovers, all workers used")
