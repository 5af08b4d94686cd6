"""Reads an mbox file with Python's mailbox and prints its messages as JSON: separator, Delivered-To, content as Latin-1."""

import json
import mailbox
import sys

box = mailbox.mbox(sys.argv[1], create=False)
messages = []
for key in box.iterkeys():
    message = box.get_message(key)
    messages.append(
        {
            "separator": message.get_from(),
            "deliveredTo": str(message["Delivered-To"]),
            "content": box.get_bytes(key).decode("latin-1"),
        }
    )
json.dump(messages, sys.stdout)
