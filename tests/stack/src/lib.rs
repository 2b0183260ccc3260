//! Tests of whole stacks live in `tests/`.
