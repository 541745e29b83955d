# `just` alone does what a change needs before it is handed in.

default: fmt lint test

fmt:
    cargo fmt --all

lint:
    cargo clippy --all-targets -- -D warnings

test *ARGS:
    cargo test {{ ARGS }}

# Exactly what CI runs.
ci:
    .ci/run

# A long run by its name: `just long sim`, `just long crash 1000`.
long *ARGS:
    tests/long.sh {{ ARGS }}

# Repeats one seed of the simulation: `just sim 42`.
sim SEED:
    GODWIT_SEED={{ SEED }} cargo test --test sim -- --nocapture

# Three regions on this machine: `just up 3`.
up N="3":
    cargo run --release -- dev --regions {{ N }}

# Real clients against a running `godwit dev`: `just clients boto3`.
clients *NAME:
    cargo test --test clients -- {{ NAME }}

# The tests of ceph/s3-tests that passed before pass again: `just conformance ../s3-tests`.
conformance CHECKOUT *ARGS:
    cargo build
    tests/conformance/run.sh {{ CHECKOUT }} {{ ARGS }}

# The console's page, built again into the binary's files: needs node.
console:
    cd src/console/web && npm ci && npm run check && npm run build

# The console's pictures, made by its test in Chromium, into the folder given.
shots FOLDER="target/shots":
    cd src/console/web && npm ci
    GODWIT_SHOTS={{ FOLDER }} cargo test --test console -- --nocapture

# Dependencies: bans, licences, sources, advisories.
deny:
    cargo deny check

# Inputs that are nearly right for one parser: `just fuzz policy 600`. tests/fuzz/corpus has the names.
fuzz TARGET SECONDS="60":
    GODWIT_FUZZ={{ TARGET }} GODWIT_FUZZ_SECONDS={{ SECONDS }} cargo test --test fuzz -- --nocapture
