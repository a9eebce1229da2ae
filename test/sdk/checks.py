"""What the scripts share: they make calls of an SDK against the base URL that they are given, and print "N passed, 0 failed" or end with the first failure."""

import hashlib
import sys

base = sys.argv[1]
passed = 0


def check(got, want):
    global passed
    assert got == want, f"got {got!r}, want {want!r}"
    passed += 1


def raises(error, call):
    """Gives the error that a call has to end with."""
    global passed
    try:
        call()
    except error as e:
        passed += 1
        return e
    raise SystemExit("no error")


def reply(prompt):
    """What the fake answers."""
    return f"Reply {hashlib.sha256(prompt.encode()).hexdigest()[:12]} to: {prompt[:120]}"


def user(content):
    return [{"role": "user", "content": content}]


def done():
    print(f"{passed} passed, 0 failed")
