//! The replay store: spans of frames and motion on the vehicle's own disk.
