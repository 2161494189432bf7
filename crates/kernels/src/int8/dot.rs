//! The inner loop: a few rows of unsigned bytes times a panel of signed ones.
#![allow(unsafe_code)]

use super::centred::Centred;

/// Outputs of a panel: two vectors of AVX-512.
pub(crate) const PANEL: usize = 32;

/// Inputs that one instruction sums.
pub(crate) const QUAD: usize = 4;

/// Rows of the tallest tile.
pub(crate) const TALLEST: usize = 12;

/// What the sums of a tile are computed with, best first. All give the same integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dot {
    /// x86-64 with AVX-512's `vpdpbusd`: 64 products an instruction.
    Avx512Vnni,
    /// x86-64 with AVX's `vpdpbusd`: 32 products.
    AvxVnni,
    /// x86-64 with AVX2's `vpmaddubsw`: 32 products, which it adds in pairs to 16 bits; rows are
    /// taken apart, when they are quantised, so that every pair fits.
    Avx2,
    /// AArch64 with `sdot`: 16 products.
    Neon,
    /// Every processor.
    Portable,
}

impl Dot {
    const ALL: [Dot; 5] = [
        Dot::Avx512Vnni,
        Dot::AvxVnni,
        Dot::Avx2,
        Dot::Neon,
        Dot::Portable,
    ];

    /// The best that this processor has, found at run time.
    pub fn used() -> Dot {
        let here = Dot::ALL.into_iter().find(|dot| dot.is_here());
        here.unwrap_or(Dot::Portable)
    }

    /// All that this processor has, best first.
    pub fn every() -> Vec<Dot> {
        Dot::ALL.into_iter().filter(|dot| dot.is_here()).collect()
    }

    /// Whether this processor has it.
    pub fn is_here(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Dot::Avx512Vnni => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "x86_64")]
            Dot::AvxVnni => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni"),
            #[cfg(target_arch = "x86_64")]
            Dot::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "aarch64")]
            Dot::Neon => std::arch::is_aarch64_feature_detected!("dotprod"),
            Dot::Portable => true,
            #[allow(unreachable_patterns)] // Those of other architectures.
            _ => false,
        }
    }

    /// The name people use for it.
    pub fn name(self) -> &'static str {
        match self {
            Dot::Avx512Vnni => "AVX-512 VNNI",
            Dot::AvxVnni => "AVX VNNI",
            Dot::Avx2 => "AVX2",
            Dot::Neon => "NEON dot products",
            Dot::Portable => "portable",
        }
    }

    /// To compute with.
    ///
    /// # Panics
    /// If this processor lacks it.
    pub(crate) fn present(self) -> Present {
        assert!(self.is_here(), "this processor has no {}", self.name());
        Present(self)
    }
}

/// A [`Dot`] that this processor was seen to have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Present(Dot);

impl Present {
    /// Whether it reads [`Centred`] rows.
    pub(crate) fn is_centred(self) -> bool {
        self.0 == Dot::Avx2
    }

    /// The sums of `height` rows times a panel: `sums[r][c] = sum over k of rows[r][k] *
    /// panel[k / 4][c][k % 4]`; with centred rows, of what they hold times the panel plus 128.
    ///
    /// `panel` is `[quads, PANEL, QUAD]`. Meanwhile `ahead` is fetched into the second cache.
    ///
    /// # Panics
    /// If a slice is too short.
    #[inline]
    pub(crate) fn sums(
        self,
        rows: Rows<'_>,
        height: usize,
        panel: &[i8],
        ahead: &[i8],
        sums: &mut [[i32; PANEL]; TALLEST],
    ) {
        let quads = panel.len() / (PANEL * QUAD);
        assert!((1..=TALLEST).contains(&height), "rows of a tile");
        let stride = rows.stride;
        let bytes = &rows.bytes[rows.first * stride..];
        let len = (height - 1) * stride + quads * QUAD;
        assert!(bytes.len() >= len, "elements of the rows");
        let tile = Tile {
            rows: bytes.as_ptr(),
            stride,
            panel: panel.as_ptr(),
            quads,
            ahead: ahead.as_ptr(),
            ahead_step: ahead.len().div_ceil(quads.max(1)),
        };
        // SAFETY: the rows and the panel are as long as the tile says, and the instructions are
        // there.
        unsafe {
            match self.0 {
                #[cfg(target_arch = "x86_64")]
                Dot::Avx512Vnni => x86::avx512_vnni(tile, height, sums),
                #[cfg(target_arch = "x86_64")]
                Dot::AvxVnni => x86::avx_vnni(tile, height, sums),
                #[cfg(target_arch = "x86_64")]
                Dot::Avx2 => {
                    let bytes = rows.centred.bytes_from(rows.first * stride);
                    assert!(bytes.len() >= len, "elements of the centred rows");
                    let centred = Tile {
                        rows: bytes.as_ptr(),
                        stride,
                        panel: tile.panel,
                        quads,
                        ahead: tile.ahead,
                        ahead_step: tile.ahead_step,
                    };
                    x86::avx2(centred, height, sums);
                    for (row, sums) in (rows.first..).zip(&mut sums[..height]) {
                        x86::add_pieces(rows.centred.pieces(row), panel, sums);
                    }
                }
                #[cfg(target_arch = "aarch64")]
                Dot::Neon => neon::dotprod(tile, height, sums),
                _ => portable(tile, height, sums),
            }
        }
    }
}

/// Rows that start `stride` elements apart, from one of them on.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    /// `[rows, stride]`
    pub(crate) bytes: &'a [u8],
    pub(crate) stride: usize,
    /// The same rows as some [`Dot`]s read them.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(crate) centred: &'a Centred,
    /// The first row that is multiplied.
    pub(crate) first: usize,
}

/// Rows and a panel, both at least `quads * QUAD` deep.
#[derive(Clone, Copy)]
struct Tile<T> {
    rows: *const T,
    stride: usize,
    panel: *const i8,
    quads: usize,
    /// What is needed soon, and the bytes of it for each quad.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    ahead: *const i8,
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    ahead_step: usize,
}

/// Runs `$tile::<H>` over the rows in tiles of the heights given, tallest first, and of one row.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! tiles {
    ($tile:ident, $given:expr, $height:expr, $sums:expr, [$($h:literal),+]) => {{
        let mut row = 0;
        while row < $height {
            let tile = Tile {
                // SAFETY: the row is one of the tile's.
                rows: unsafe { $given.rows.add(row * $given.stride) },
                ..$given
            };
            // SAFETY: the caller's promise; there are so many rows.
            row += unsafe {
                match $height - row {
                    $($h.. => {
                        $tile::<$h>(tile, &mut $sums[row..row + $h]);
                        $h
                    })+
                    _ => {
                        $tile::<1>(tile, &mut $sums[row..row + 1]);
                        1
                    }
                }
            };
        }
    }};
}

/// # Safety
/// The tile must be valid for `height` rows.
unsafe fn portable(tile: Tile<u8>, height: usize, sums: &mut [[i32; PANEL]; TALLEST]) {
    for (r, sums) in sums[..height].iter_mut().enumerate() {
        *sums = [0; PANEL];
        for k in 0..tile.quads {
            // SAFETY: k is below the tile's quads, r below its height.
            let (row, panel) = unsafe {
                (
                    std::slice::from_raw_parts(tile.rows.add(r * tile.stride + k * QUAD), QUAD),
                    std::slice::from_raw_parts(tile.panel.add(k * PANEL * QUAD), PANEL * QUAD),
                )
            };
            for (sum, column) in sums.iter_mut().zip(panel.chunks_exact(QUAD)) {
                let products = row.iter().zip(column);
                *sum += products
                    .map(|(&q, &v)| i32::from(q) * i32::from(v))
                    .sum::<i32>();
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::super::centred::Piece;
    use super::{PANEL, QUAD, TALLEST, Tile};

    /// Bytes of a panel that belong to one quad.
    const STEP: usize = PANEL * QUAD;

    /// # Safety
    /// The tile must be valid for `height` rows, and the processor have AVX-512 VNNI.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) unsafe fn avx512_vnni(
        given: Tile<u8>,
        height: usize,
        sums: &mut [[i32; PANEL]; TALLEST],
    ) {
        tiles!(avx512_tile, given, height, sums, [12, 8, 6, 4, 2]);
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    unsafe fn avx512_tile<const H: usize>(tile: Tile<u8>, out: &mut [[i32; PANEL]]) {
        let mut sums = [[_mm512_setzero_si512(); 2]; H];
        for k in 0..tile.quads {
            // SAFETY: k is below the tile's quads, r below its height; a prefetch of any address is
            // allowed.
            unsafe {
                let ahead = tile.ahead.wrapping_add(k * tile.ahead_step);
                _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                let panel = tile.panel.add(k * STEP);
                let columns = [
                    _mm512_loadu_si512(panel.cast()),
                    _mm512_loadu_si512(panel.add(64).cast()),
                ];
                for (r, sums) in sums.iter_mut().enumerate() {
                    let quad = tile.rows.add(r * tile.stride + k * QUAD);
                    let quad = _mm512_set1_epi32(quad.cast::<i32>().read_unaligned());
                    sums[0] = _mm512_dpbusd_epi32(sums[0], quad, columns[0]);
                    sums[1] = _mm512_dpbusd_epi32(sums[1], quad, columns[1]);
                }
            }
        }
        for (sums, out) in sums.iter().zip(out) {
            let (low, high) = out.split_at_mut(16);
            // SAFETY: either half holds 16 numbers.
            unsafe {
                _mm512_storeu_si512(low.as_mut_ptr().cast(), sums[0]);
                _mm512_storeu_si512(high.as_mut_ptr().cast(), sums[1]);
            }
        }
    }

    /// # Safety
    /// The tile must be valid for `height` rows, and the processor have AVX VNNI.
    #[target_feature(enable = "avx2,avxvnni")]
    pub(super) unsafe fn avx_vnni(
        given: Tile<u8>,
        height: usize,
        sums: &mut [[i32; PANEL]; TALLEST],
    ) {
        tiles!(avx_tile, given, height, sums, [6, 4, 2]);
    }

    #[target_feature(enable = "avx2,avxvnni")]
    #[inline]
    unsafe fn avx_tile<const H: usize>(tile: Tile<u8>, out: &mut [[i32; PANEL]]) {
        for half in 0..2 {
            let mut sums = [[_mm256_setzero_si256(); 2]; H];
            for k in 0..tile.quads {
                // SAFETY: k is below the tile's quads, r below its height.
                unsafe {
                    let panel = tile.panel.add(k * STEP + half * 64);
                    let columns = [
                        _mm256_loadu_si256(panel.cast()),
                        _mm256_loadu_si256(panel.add(32).cast()),
                    ];
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let quad = tile.rows.add(r * tile.stride + k * QUAD);
                        let quad = _mm256_set1_epi32(quad.cast::<i32>().read_unaligned());
                        sums[0] = _mm256_dpbusd_avx_epi32(sums[0], quad, columns[0]);
                        sums[1] = _mm256_dpbusd_avx_epi32(sums[1], quad, columns[1]);
                    }
                }
            }
            for (sums, out) in sums.iter().zip(out.iter_mut()) {
                for (sum, out) in sums.iter().zip(out[half * 16..].chunks_exact_mut(8)) {
                    // SAFETY: a chunk holds 8 numbers.
                    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), *sum) };
                }
            }
        }
    }

    /// # Safety
    /// The tile must be valid for `height` rows, of which every pair of bytes may be multiplied by
    /// 255, and the processor have AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn avx2(given: Tile<i8>, height: usize, sums: &mut [[i32; PANEL]; TALLEST]) {
        tiles!(avx2_tile, given, height, sums, [4, 3, 2]);
    }

    /// Four rows by half a panel are as many sums as leave registers for what is multiplied.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn avx2_tile<const H: usize>(tile: Tile<i8>, out: &mut [[i32; PANEL]]) {
        for half in 0..2 {
            let mut sums = [[_mm256_setzero_si256(); 2]; H];
            for k in 0..tile.quads {
                // SAFETY: k is below the tile's quads, r below its height.
                unsafe {
                    let panel = tile.panel.add(k * STEP + half * 64);
                    let columns = [unsigned(panel), unsigned(panel.add(32))];
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let quad = tile.rows.add(r * tile.stride + k * QUAD);
                        let quad = _mm256_set1_epi32(quad.cast::<i32>().read_unaligned());
                        for (sum, columns) in sums.iter_mut().zip(columns) {
                            *sum = _mm256_add_epi32(*sum, products(columns, quad));
                        }
                    }
                }
            }
            for (sums, out) in sums.iter().zip(out.iter_mut()) {
                for (sum, out) in sums.iter().zip(out[half * 16..].chunks_exact_mut(8)) {
                    // SAFETY: a chunk holds 8 numbers.
                    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), *sum) };
                }
            }
        }
    }

    /// Adds to a row's sums those quads of it that are in pieces, times the panel's.
    ///
    /// # Panics
    /// If the panel has no such quad.
    #[target_feature(enable = "avx2")]
    pub(super) fn add_pieces(pieces: &[Piece], panel: &[i8], sums: &mut [i32; PANEL]) {
        if pieces.is_empty() {
            return;
        }
        let at = sums.as_mut_ptr().cast::<__m256i>();
        // SAFETY: four vectors are as many numbers as there are sums.
        let mut sums: [_; 4] = std::array::from_fn(|v| unsafe { _mm256_loadu_si256(at.add(v)) });
        for piece in pieces {
            let panel = &panel[piece.quad * STEP..][..STEP];
            let quad = _mm256_set1_epi32(i32::from_ne_bytes(piece.bytes.map(|byte| byte as u8)));
            for (sum, panel) in sums.iter_mut().zip(panel.chunks_exact(32)) {
                // SAFETY: a chunk is 32 bytes.
                let columns = unsafe { unsigned(panel.as_ptr()) };
                *sum = _mm256_add_epi32(*sum, products(columns, quad));
            }
        }
        for (v, sum) in sums.into_iter().enumerate() {
            // SAFETY: as above.
            unsafe { _mm256_storeu_si256(at.add(v), sum) };
        }
    }

    /// 32 weights plus 128.
    ///
    /// # Safety
    /// They must be there, and AVX2.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn unsigned(panel: *const i8) -> __m256i {
        // SAFETY: the caller's promise.
        let columns = unsafe { _mm256_loadu_si256(panel.cast()) };
        _mm256_xor_si256(columns, _mm256_set1_epi8(-128))
    }

    /// Sums of four products of unsigned and signed bytes each.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn products(unsigned: __m256i, signed: __m256i) -> __m256i {
        _mm256_madd_epi16(_mm256_maddubs_epi16(unsigned, signed), _mm256_set1_epi16(1))
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::*;
    use std::arch::asm;

    use super::{PANEL, QUAD, TALLEST, Tile};

    /// Vectors of a panel.
    const VECTORS: usize = PANEL / 4;

    /// `sdot` takes signed bytes: the rows less 128, to which 128 times the panel's sums are added
    /// back.
    ///
    /// # Safety
    /// The tile must be valid for `height` rows, and the processor have dot products.
    #[target_feature(enable = "neon,dotprod")]
    pub(super) unsafe fn dotprod(
        given: Tile<u8>,
        height: usize,
        sums: &mut [[i32; PANEL]; TALLEST],
    ) {
        tiles!(tile, given, height, sums, [2]);
    }

    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    unsafe fn tile<const H: usize>(tile: Tile<u8>, out: &mut [[i32; PANEL]]) {
        let mut sums = [[vdupq_n_s32(0); VECTORS]; H];
        let mut of_panel = [vdupq_n_s32(0); VECTORS];
        let ones = vdupq_n_s8(1);
        for k in 0..tile.quads {
            for v in 0..VECTORS {
                // SAFETY: k is below the tile's quads, r below its height.
                unsafe {
                    let columns = vld1q_s8(tile.panel.add((k * PANEL + v * 4) * QUAD));
                    sdot(&mut of_panel[v], columns, ones);
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let quad = tile.rows.add(r * tile.stride + k * QUAD);
                        let quad = quad.cast::<u32>().read_unaligned() ^ 0x8080_8080;
                        let quad = vreinterpretq_s8_u32(vdupq_n_u32(quad));
                        sdot(&mut sums[v], columns, quad);
                    }
                }
            }
        }
        for (sums, out) in sums.iter().zip(out) {
            for (v, out) in out.chunks_exact_mut(4).enumerate() {
                let whole = vaddq_s32(sums[v], vshlq_n_s32::<7>(of_panel[v]));
                // SAFETY: a chunk holds 4 numbers.
                unsafe { vst1q_s32(out.as_mut_ptr(), whole) };
            }
        }
    }

    /// Adds to each of four numbers the products of its four bytes.
    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    unsafe fn sdot(sum: &mut int32x4_t, a: int8x16_t, b: int8x16_t) {
        // SAFETY: the instruction touches nothing but its registers.
        unsafe {
            asm!(
                "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
                sum = inout(vreg) *sum,
                a = in(vreg) a,
                b = in(vreg) b,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Every instruction set gives the plain sums, at the extremes as well, where 16 bits overflow.
    #[test]
    fn sums_are_exact_on_every_instruction_set() {
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        for dot in Dot::every().into_iter().map(Dot::present) {
            for case in 0..60 {
                let quads = [0, 1, 7, 64][case % 4];
                let height = 1 + case % TALLEST;
                let stride = quads * QUAD + case % 3;
                let extreme = case % 5 == 0;
                let mut draw = |low: i32, high: i32| match extreme {
                    true => [low, high][usize::from(rng.random_bool(0.9))],
                    false => rng.random_range(low..=high),
                };
                let rows: Vec<u8> = (0..(1 + height) * stride + QUAD)
                    .map(|_| draw(0, 255) as u8)
                    .collect();
                let panel: Vec<i8> = (0..quads * PANEL * QUAD)
                    .map(|_| draw(-127, 127) as i8)
                    .collect();
                let mut centred = Centred::default();
                if dot.is_centred() {
                    centred.fill(&rows, quads * QUAD, stride, 1 + height, 1);
                }
                let mut sums = [[i32::MIN; PANEL]; TALLEST];
                let given = Rows {
                    bytes: &rows,
                    stride,
                    centred: &centred,
                    first: 1,
                };
                dot.sums(given, height, &panel, &panel, &mut sums);
                for (r, sums) in sums.iter().enumerate() {
                    let centre = match dot.is_centred() {
                        true if r < height => Some(centred.centre_and_sum(1 + r).0),
                        _ => None,
                    };
                    for (c, &sum) in sums.iter().enumerate() {
                        if r >= height {
                            assert_eq!(sum, i32::MIN);
                            continue;
                        }
                        let expected: i32 = (0..quads * QUAD)
                            .map(|k| {
                                let value = panel[(k / QUAD * PANEL + c) * QUAD + k % QUAD];
                                let byte = i32::from(rows[(1 + r) * stride + k]);
                                match centre {
                                    Some(centre) => (byte - centre) * (i32::from(value) + 128),
                                    None => byte * i32::from(value),
                                }
                            })
                            .sum();
                        assert_eq!(sum, expected, "{dot:?}, row {r}, column {c}");
                    }
                }
            }
        }
    }
}
