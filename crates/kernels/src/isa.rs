//! Which instruction sets the processor has, and which of them the kernels run.

/// An instruction set that the kernels of this crate are compiled for, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// x86-64 with AVX-512 F, VL, BW and DQ: 16 numbers a vector.
    Avx512,
    /// x86-64 with AVX2, FMA and F16C: 8 numbers a vector.
    Avx2,
    /// AArch64 with NEON: 4 numbers a vector.
    Neon,
    /// WebAssembly's 128-bit vectors.
    Wasm,
    /// What every processor of the target has (SSE2 on x86-64).
    Generic,
}

impl Isa {
    /// The instruction set that the kernels run on this processor, found at run time.
    pub fn used() -> Isa {
        #[cfg(target_arch = "x86_64")]
        {
            if rten_simd::isa::Avx512Isa::new().is_some() {
                return Isa::Avx512;
            }
            if rten_simd::isa::Avx2Isa::new().is_some() {
                return Isa::Avx2;
            }
        }
        #[cfg(target_arch = "aarch64")]
        if rten_simd::isa::ArmNeonIsa::new().is_some() {
            return Isa::Neon;
        }
        if cfg!(all(target_arch = "wasm32", target_feature = "simd128")) {
            return Isa::Wasm;
        }
        Isa::Generic
    }

    /// Number of f32 in a vector.
    pub fn lanes(self) -> usize {
        match self {
            Isa::Avx512 => 16,
            Isa::Avx2 => 8,
            Isa::Neon | Isa::Wasm | Isa::Generic => 4,
        }
    }

    /// The name people use for it.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Avx512 => "AVX-512",
            Isa::Avx2 => "AVX2 + FMA",
            Isa::Neon => "NEON",
            Isa::Wasm => "WebAssembly SIMD",
            Isa::Generic => "generic",
        }
    }
}

impl std::fmt::Display for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

macro_rules! present {
    ($check:ident: $($feature:tt),+ $(,)?) => {
        [$(($feature, std::arch::$check!($feature))),+]
            .into_iter()
            .filter_map(|(name, found)| found.then_some(name))
            .collect()
    };
}

/// Names of the instruction set extensions of this processor that matter to arithmetic, as the
/// compiler spells them (`avx2`, `fma`, `avx512f`, ...). Empty on other architectures than x86-64
/// and AArch64.
pub fn detected_features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        present!(is_x86_feature_detected:
            "sse4.1", "avx", "avx2", "fma", "f16c", "avxvnni", "avx512f", "avx512vl", "avx512bw",
            "avx512dq", "avx512vnni", "avx512bf16", "avx512fp16")
    }
    #[cfg(target_arch = "aarch64")]
    {
        present!(is_aarch64_feature_detected:
            "neon", "fp16", "bf16", "dotprod", "i8mm", "sve", "sve2")
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use rten_simd::SimdOp;
    use rten_simd::ops::BitOps;

    use super::*;

    #[test]
    fn what_is_used_was_detected() {
        let found = detected_features();
        match Isa::used() {
            Isa::Avx512 => assert!(found.contains(&"avx512f") && found.contains(&"avx512vl")),
            Isa::Avx2 => assert!(found.contains(&"avx2") && found.contains(&"fma")),
            Isa::Neon => assert!(found.contains(&"neon")),
            Isa::Wasm | Isa::Generic => {}
        }
    }

    #[test]
    fn what_is_used_is_what_is_dispatched() {
        struct Lanes;
        impl rten_simd::SimdOp for Lanes {
            type Output = usize;
            fn eval<I: rten_simd::Isa>(self, isa: I) -> usize {
                isa.f32().len()
            }
        }
        assert_eq!(Lanes.dispatch(), Isa::used().lanes());
    }
}
