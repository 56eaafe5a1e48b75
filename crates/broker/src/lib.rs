//! The key broker: checks evidence against a policy and releases a key.
