"""What this project adds to a run of s3-tests, loaded with `-p observe`.

Each test gets a prefix of buckets of its own, so that one bucket that cannot be emptied does not
fail every test behind it. What each test did goes as one JSON object a line into the file that
CONFORMANCE_REPORT names; a test passes when its own body does, and what its clean-up meets is kept
beside it.
"""

import json
import os
import secrets

import pytest
from botocore import auth

# botocore[crt] is there for checksums; requests are signed as the suite's own packages sign them,
# because the other signer refuses to make the bad requests that some tests send.
auth.AUTH_TYPE_MAPS.update(
    {
        "v4": auth.SigV4Auth,
        "v4-query": auth.SigV4QueryAuth,
        "s3v4": auth.S3SigV4Auth,
        "s3v4-query": auth.S3SigV4QueryAuth,
    }
)

_seen = {}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    import s3tests.functional as suite

    if suite.prefix is not None:
        suite.prefix = f"conform-{secrets.token_hex(6)}-"


def pytest_runtest_logreport(report):
    name = report.nodeid.rsplit("/", 1)[-1]
    test = _seen.setdefault(name, {"name": name, "outcome": "passed", "seconds": 0.0})
    test["seconds"] = round(test["seconds"] + report.duration, 2)
    if report.when == "teardown" and report.failed:
        test["cleanup"] = _last_line(report)
    elif report.skipped and test["outcome"] == "passed":
        test["outcome"] = "skipped"
    elif report.failed:
        test["outcome"] = "failed" if report.when == "call" else "error"
        test["why"] = _last_line(report)


def _last_line(report):
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else str(report.longrepr)
    return " ".join(text.split())[:400]


def pytest_sessionfinish(session):
    if hasattr(session.config, "workerinput"):
        return
    with open(os.environ["CONFORMANCE_REPORT"], "a", encoding="utf-8") as out:
        for name in sorted(_seen):
            out.write(json.dumps(_seen[name]) + "\n")
