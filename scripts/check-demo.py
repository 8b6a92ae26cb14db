#!/usr/bin/env python3
"""Checks the result of `snapload demo --json`: usage check-demo.py FILE."""

import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    outcome = json.load(file)

problems = []
if outcome["load"]["lost"]:
    problems.append(f"{outcome['load']['lost']} packets were lost")
for index, worker in enumerate(outcome["workers"]):
    if not worker["received"]:
        problems.append(f"worker {index} received nothing")
    if worker["handovers"]:
        problems.append(f"worker {index} handed {worker['handovers']} packets over")
    if worker["received"] != worker["delivered"] + worker["sent"] + worker["dropped"]:
        problems.append(f"worker {index} does not balance: {worker}")
if problems:
    sys.exit("the demo went wrong: " + "; ".join(problems))
print("the demo lost nothing, used every worker, and handed nothing over")
