//! What skill stands beside: blur of the last frame, block matching applied again.
