"""Reads a notification from stdin with Python's email package and prints as JSON what it found in it."""

import email
import email.policy
import json
import sys

message = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.default)
defects = []


def walk(part, depth=0):
    defects.extend(type(defect).__name__ for defect in part.defects)
    for value in part.values():
        defects.extend(type(defect).__name__ for defect in getattr(value, "defects", []))
    if part.is_multipart() and depth < 3:
        for child in part.get_payload():
            walk(child, depth + 1)


walk(message)
text, status, returned = message.get_payload()
inner = returned.get_payload()
json.dump(
    {
        "type": message.get_content_type(),
        "reportType": message.get_param("report-type"),
        "from": message["From"].addresses[0].addr_spec,
        "to": message["To"].addresses[0].addr_spec,
        "date": message["Date"].datetime.isoformat(),
        "header": {name.lower(): str(value) for name, value in message.items()},
        "text": text.get_content(),
        "types": [part.get_content_type() for part in (text, status, returned)],
        "status": [[[name, str(value)] for name, value in group.items()] for group in status.get_payload()],
        "returned": inner if isinstance(inner, str) else inner[0].as_bytes().decode("latin-1"),
        "defects": defects,
    },
    sys.stdout,
)
