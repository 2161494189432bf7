//! ALBERT's configuration and weights as files.
