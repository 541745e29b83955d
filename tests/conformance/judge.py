"""Compares a run of s3-tests with the names that passed before; the list only grows.

usage: judge.py REPORT PASSING [--update] [--part]
"""

import json
import sys


def main(report, passing, *flags):
    with open(report, encoding="utf-8") as lines:
        tests = {test["name"]: test for test in map(json.loads, lines)}
    with open(passing, encoding="utf-8") as lines:
        before = set(lines.read().split())
    now = {name for name, test in tests.items() if test["outcome"] == "passed"}
    if "--part" in flags:
        before &= set(tests)
    for file in sorted({name.split("::")[0] for name in tests}):
        ran = [name for name in tests if name.startswith(file + "::")]
        print(f"{file}: {len(now.intersection(ran))} of {len(ran)} passed")
    untidy = sorted(name for name in now if "cleanup" in tests[name])
    if untidy:
        print(f"passed, but could not clean up: {len(untidy)}")
    for name in sorted(now - before):
        print(f"new: {name}")
    lost = sorted(before - now)
    for name in lost:
        print(f"LOST: {name}: {tests.get(name, {}).get('why', 'it did not run')}")
    if "--update" in flags and not lost:
        with open(passing, "w", encoding="utf-8") as out:
            out.writelines(f"{name}\n" for name in sorted(now))
    return 1 if lost or not tests else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
