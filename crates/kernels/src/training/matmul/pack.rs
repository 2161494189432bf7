//! How the sides of a product are copied into panels, which the inner kernel reads in order.

use rayon::prelude::*;

use super::{DEPTH, Kernel, LINE, Matrix};

#[derive(Clone, Copy)]
pub(super) enum Side {
    Left,
    Right,
}

/// Panels to be packed, one after the other: `lanes` (rows of the left side, columns of the right)
/// by `depth` elements from `(lane, from)` on, so many lanes a panel as the kernel has.
pub(super) struct Pack<'a> {
    pub(super) source: &'a [f32],
    pub(super) stride: usize,
    /// Whether elements of one lane are neighbours in the source.
    pub(super) depth_contiguous: bool,
    pub(super) lane: usize,
    pub(super) lanes: usize,
    pub(super) from: usize,
    pub(super) depth: usize,
    pub(super) out: &'a mut [u32],
}

/// Copies one side of a product into panels, in `scratch` from the first cache line on.
pub(super) fn pack_all(
    kernel: Kernel,
    matrix: Matrix<'_>,
    side: Side,
    scratch: &mut Vec<u32>,
    parallel: bool,
) {
    let (lanes, depth, width, depth_contiguous) = match side {
        Side::Left => (matrix.rows, matrix.columns, kernel.rows, !matrix.transposed),
        Side::Right => (
            matrix.columns,
            matrix.rows,
            kernel.columns,
            matrix.transposed,
        ),
    };
    let (panels, panel) = (lanes.div_ceil(width), width * DEPTH);
    let passes = depth.div_ceil(kernel.unit).div_ceil(DEPTH);
    let used = passes * panels * panel;
    grow(scratch, used);
    if used == 0 {
        return;
    }
    let pack = |pass: usize, first: usize, out: &mut [u32]| {
        let from = pass * DEPTH * kernel.unit;
        let panels = out.len() / panel;
        let packed = Pack {
            source: matrix.data,
            stride: matrix.stride,
            depth_contiguous,
            lane: first * width,
            lanes: (panels * width).min(lanes - first * width),
            from,
            depth: (DEPTH * kernel.unit).min(depth - from),
            out,
        };
        let pack = match side {
            Side::Left => kernel.pack_left,
            Side::Right => kernel.pack_right,
        };
        // SAFETY: the kernel was chosen for this processor's features.
        unsafe { pack(packed) };
    };
    let used = &mut aligned_mut(scratch)[..used];
    let count = kernel.panels_together;
    if parallel {
        let all = used
            .par_chunks_mut(panels * panel)
            .enumerate()
            .with_max_len(1);
        all.for_each(|(pass, used)| {
            let some = used
                .par_chunks_mut(count * panel)
                .enumerate()
                .with_max_len(1);
            some.for_each(|(i, out)| pack(pass, i * count, out));
        });
    } else {
        for (pass, used) in used.chunks_mut(panels * panel).enumerate() {
            for (i, out) in used.chunks_mut(count * panel).enumerate() {
                pack(pass, i * count, out);
            }
        }
    }
}

/// Enlarges a scratch buffer, so that `length` units are left of it when aligned; what it held is
/// lost.
fn grow(buffer: &mut Vec<u32>, length: usize) {
    if buffer.len() < length + LINE {
        *buffer = vec![0; length + LINE];
    }
}

/// A scratch buffer from the first unit on that begins a cache line: vectors as long as a line would
/// otherwise each lie in two.
pub(super) fn aligned(buffer: &[u32]) -> &[u32] {
    &buffer[line_start(buffer)..]
}

/// [`aligned`], to be written.
fn aligned_mut(buffer: &mut [u32]) -> &mut [u32] {
    let start = line_start(buffer);
    &mut buffer[start..]
}

fn line_start(buffer: &[u32]) -> usize {
    let units = buffer.as_ptr().align_offset(LINE * size_of::<u32>());
    units.min(buffer.len())
}

/// Packs f32 units, any side, `WIDTH` lanes a panel: a panel is `[lane][DEPTH]` where `by_rows`,
/// else `[depth][lane]`.
#[inline(always)]
pub(super) fn pack_f32<const WIDTH: usize>(pack: Pack<'_>, by_rows: bool) {
    let Pack {
        source,
        stride,
        depth_contiguous,
        lane: first,
        lanes: all,
        from,
        depth,
        out,
    } = pack;
    let panel = WIDTH * DEPTH;
    match (depth_contiguous, by_rows) {
        (true, true) => {
            for (i, to) in out.chunks_exact_mut(DEPTH).enumerate() {
                if i < all {
                    let at = (first + i) * stride + from;
                    let values = &source[at..at + depth];
                    for (to, value) in to.iter_mut().zip(values) {
                        *to = value.to_bits();
                    }
                } else {
                    to[..depth].fill(0);
                }
            }
        }
        (true, false) => {
            for (index, out) in out.chunks_exact_mut(panel).enumerate() {
                let lane = first + index * WIDTH;
                let lanes = WIDTH.min(all - index * WIDTH);
                if lanes < WIDTH {
                    out[..depth * WIDTH].fill(0);
                }
                // Blocks of depth, so that the lines written stay in cache while lanes go by.
                for block in (0..depth).step_by(16) {
                    let length = 16.min(depth - block);
                    for i in 0..lanes {
                        let at = (lane + i) * stride + from + block;
                        let values = &source[at..at + length];
                        let to = &mut out[block * WIDTH..(block + length) * WIDTH];
                        for (to, value) in to.chunks_exact_mut(WIDTH).zip(values) {
                            to[i] = value.to_bits();
                        }
                    }
                }
            }
        }
        (false, _) => {
            for d in 0..depth {
                let at = (from + d) * stride + first;
                let (whole, part) = source[at..at + all].as_chunks::<WIDTH>();
                let mut panels = out.chunks_exact_mut(panel);
                for (values, out) in whole.iter().zip(panels.by_ref()) {
                    let to = &mut out[d * WIDTH..(d + 1) * WIDTH];
                    for (to, value) in to.iter_mut().zip(values) {
                        *to = value.to_bits();
                    }
                }
                if let Some(out) = panels.next() {
                    let to = &mut out[d * WIDTH..(d + 1) * WIDTH];
                    for (to, value) in to.iter_mut().zip(part) {
                        *to = value.to_bits();
                    }
                    to[part.len()..].fill(0);
                }
            }
        }
    }
}
