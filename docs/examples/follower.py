"""Each event of the log, once, as it is appended: python follower.py var/events.ndjson"""

import json
import os
import sys
import time

path, offset, seen = sys.argv[1], 0, set()
while True:
    if (
        os.path.getsize(path) < offset
    ):  # another file (logrotate), or an append that failed and was taken back
        offset = 0
    with open(path, "rb") as log:
        log.seek(offset)
        for line in log:
            if not line.endswith(b"\n"):  # still being written
                break
            offset += len(line)
            event = json.loads(line)
            if event["id"] not in seen:
                seen.add(event["id"])
                print(event["id"], event["type"], flush=True)  # here comes your own work
    time.sleep(0.5)
