//! ALBERT as differentiable modules, on any device.
