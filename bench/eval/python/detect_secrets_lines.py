"""Run detect-secrets with its default plugins and filters over lines, as it scans a file.

Each line of standard input is a JSON object with "id" and "text"; each line of
output has the "id", the CPU time that the text took ("ns"), and "findings" with
the secret's "type".
"""

import json
import sys
import time

from detect_secrets.core.scan import _process_line_based_plugins
from detect_secrets.settings import default_settings


def scan(text):
    # what scan_file does with the lines of a file. Its scan_line is no match: it also returns what is below its own limits
    return list(_process_line_based_plugins(list(enumerate(text.splitlines(), start=1)), "lines.txt"))


def main():
    with default_settings():
        scan("warm up")
        for line in sys.stdin:
            row = json.loads(line)
            start = time.process_time_ns()
            found = [s.type for s in scan(row["text"])]
            ns = time.process_time_ns() - start
            print(json.dumps({"id": row["id"], "ns": ns, "findings": [{"type": t} for t in found]}))


if __name__ == "__main__":
    main()
