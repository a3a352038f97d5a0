//! Prediction against what came, policy against driver.
