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

/// Sines and cosines of each position `[positions, width]`, of root mean square `scale`.
///
/// The wavelengths run geometrically from 2 pi to 2 pi times the number of positions; Vaswani et
/// al. (2017, section 3.5) go to 10,000, of which rows of a few hundred positions see little.
pub(crate) fn sinusoids(positions: usize, width: usize, scale: f64) -> Vec<f32> {
    let waves = width.div_ceil(2) as f64;
    let amplitude = scale * std::f64::consts::SQRT_2;
    let value = |position: usize, column: usize| {
        let frequency = (positions as f64).powf(-((column / 2) as f64) / waves);
        let angle = position as f64 * frequency;
        amplitude
            * if column.is_multiple_of(2) {
                angle.sin()
            } else {
                angle.cos()
            }
    };
    (0..positions)
        .flat_map(|position| (0..width).map(move |column| value(position, column) as f32))
        .collect()
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
    fn shifts_of_sinusoids_are_rotations() {
        let (positions, width) = (64, 8);
        let table = sinusoids(positions, width, 0.04);
        let row = |i: usize| &table[i * width..(i + 1) * width];
        let square: f32 = table.iter().map(|x| x * x).sum();
        let rms = (square / table.len() as f32).sqrt();
        assert!((rms - 0.04).abs() < 1e-3, "{rms}");
        let dot =
            |i: usize, j: usize| -> f32 { row(i).iter().zip(row(j)).map(|(a, b)| a * b).sum() };
        // What two positions have in common depends on their distance alone: products of f32
        // values near 0.05, rounded to 24 bits.
        for distance in [0, 1, 7] {
            for i in 0..positions - distance {
                assert!((dot(i, i + distance) - dot(0, distance)).abs() < 1e-8);
            }
        }
        assert!(dot(0, 1) < dot(0, 0));
    }

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
