//! Replicas that are killed and come back.
