//! Inference engines behind one boundary.
