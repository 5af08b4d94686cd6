"""Sends messages with Python's smtplib: reads a job as JSON from stdin, answers with JSON on stdout.

The job: protocol ("smtp" or "lmtp"), mode ("plain", "starttls", "implicit"), port, certificate, mails. A mail: sender,
recipients, file, and optionally mail_options, rcpt_options, bulk (False: one command after the other). The answer: for
each mail the refused recipients with code and text, and the error that refused the whole.
"""

import json
import smtplib
import ssl
import sys


def connect(job):
    context = ssl.create_default_context(cafile=job["certificate"])
    host, port = "127.0.0.1", job["port"]
    if job.get("protocol") == "lmtp":
        return smtplib.LMTP(host, port)
    if job["mode"] == "implicit":
        return smtplib.SMTP_SSL(host, port, local_hostname="python.example.net", context=context, timeout=60)
    client = smtplib.SMTP(host, port, local_hostname="python.example.net", timeout=60)
    if job["mode"] == "starttls":
        client.starttls(context=context)
    return client


def reply(code, text):
    return [code, text.decode("utf-8", "replace")]


def send(client, mail):
    with open(mail["file"], "rb") as file:
        content = file.read()
    sent = {"refused": {}, "error": None}
    try:
        refused = client.sendmail(
            mail["sender"], mail["recipients"], content, mail.get("mail_options", []), mail.get("rcpt_options", [])
        )
        sent["refused"] = {recipient: reply(*said) for recipient, said in refused.items()}
    except smtplib.SMTPRecipientsRefused as error:
        sent["refused"] = {recipient: reply(*said) for recipient, said in error.recipients.items()}
        sent["error"] = "SMTPRecipientsRefused"
    except smtplib.SMTPResponseException as error:
        sent["error"] = type(error).__name__
        sent["reply"] = reply(error.smtp_code, error.smtp_error)
    return sent


job = json.load(sys.stdin)
with connect(job) as client:
    json.dump([send(client, mail) for mail in job["mails"]], sys.stdout)
