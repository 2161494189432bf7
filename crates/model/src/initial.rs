//! Initial values as published: matrices from a normal distribution cut off at two standard
//! deviations (the initialiser of Google's code), biases 0, layer norms 1 and 0.

use albert_checkpoint::AlbertConfig;

use crate::dropout::mix;

/// The initial values of the parameter `name`: a function of the seed and the name alone.
pub(crate) fn values(config: &AlbertConfig, seed: u64, name: &str, shape: &[usize]) -> Vec<f32> {
    let count = shape.iter().product();
    if name.ends_with("bias") {
        vec![0.0; count]
    } else if name.contains("LayerNorm") || name.contains("layer_norm") {
        vec![1.0; count]
    } else {
        let mut normal = Normal::new(mix(seed) ^ crate::parameter_id(name).val());
        let scale = config.initializer_range as f64;
        (0..count)
            .map(|_| (scale * normal.truncated()) as f32)
            .collect()
    }
}

/// Standard normal numbers by Box and Muller's method, over a SplitMix64 sequence.
struct Normal {
    state: u64,
    spare: Option<f64>,
}

impl Normal {
    fn new(state: u64) -> Self {
        Self { state, spare: None }
    }

    /// Uniform in (0, 1].
    fn uniform(&mut self) -> f64 {
        let bits = mix(self.state) >> 11;
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (bits + 1) as f64 / (1_u64 << 53) as f64
    }

    fn draw(&mut self) -> f64 {
        if let Some(value) = self.spare.take() {
            return value;
        }
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * self.uniform()).sin_cos();
        self.spare = Some(radius * sine);
        radius * cosine
    }

    /// A number within two standard deviations; those outside are drawn again.
    fn truncated(&mut self) -> f64 {
        loop {
            let value = self.draw();
            if value.abs() <= 2.0 {
                return value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncated_normal_has_its_moments() {
        let mut normal = Normal::new(7);
        let count = 200_000;
        let values: Vec<f64> = (0..count).map(|_| normal.truncated()).collect();
        let mean = values.iter().sum::<f64>() / f64::from(count);
        let variance = values.iter().map(|v| v * v).sum::<f64>() / f64::from(count);
        // The variance of a standard normal cut at 2 is 0.7737; both estimates have a standard
        // error below 0.002, and five of these are allowed.
        assert!(mean.abs() < 0.01, "mean {mean}");
        assert!((variance - 0.7737).abs() < 0.01, "variance {variance}");
        assert!(values.iter().all(|v| v.abs() <= 2.0));
    }
}
