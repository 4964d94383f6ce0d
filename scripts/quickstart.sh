#!/usr/bin/env bash
# Runs the quickstart package in the enclave "quickstart", calls the API it
# started, and leaves the enclave running. Safe to run twice.
set -euo pipefail
cd "$(dirname "$0")/.."

lepto=bin/lepto
if ((EUID != 0)); then
	lepto="sudo $lepto"
fi
$lepto run examples/quickstart --enclave quickstart

url=$($lepto port print quickstart api http)
echo
echo "The API answers at $url :"
if command -v curl >/dev/null; then
	curl --fail --silent --show-error --noproxy '*' --max-time 10 "$url"
else
	$lepto service exec quickstart api -- /api get greeting
fi
cat <<TXT

Try next:
  curl $url
  $lepto enclave inspect quickstart
  $lepto service logs quickstart datastore
  $lepto enclave rm -f quickstart
TXT
