//! Tuning an adapter on a vehicle's own replay.
