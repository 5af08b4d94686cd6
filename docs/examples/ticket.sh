#!/bin/sh
# Files a message from standard input: below $TICKETS, in the directory of the ticket that $EXTENSION names, or in a new
# one. An example of a program for a pipe channel; see tickets.toml.

# Nothing is lost when this fails: 75 (EX_TEMPFAIL) means that the message is tried again.
mkdir -p "$TICKETS" || exit 75

number=$EXTENSION
if [ -z "$number" ]; then
  number=1
  # Only one program can make a directory.
  until mkdir "$TICKETS/$number" 2>/dev/null; do
    [ -d "$TICKETS/$number" ] || exit 75
    number=$((number + 1))
  done
elif [ ! -d "$TICKETS/$number" ]; then
  # Any other code is final; the first line that is printed is the reason in the log and the queue.
  echo "There is no ticket $number"
  exit 67 # EX_NOUSER
fi

# The id stays the same when a delivery is repeated, so a message is never there twice.
file=$TICKETS/$number/$MESSAGE_ID
cat >"$file.part" && mv "$file.part" "$file.eml" || exit 75
echo "Filed under $number, from <$SENDER>"
