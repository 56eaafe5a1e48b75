//! What two parties must agree on: report-data binding, key release, plaintext handling.
