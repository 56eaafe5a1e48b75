//! A software silicon vendor: structurally real evidence under a root of its own.
