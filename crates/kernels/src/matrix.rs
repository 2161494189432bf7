//! Products with a weight matrix that was packed once.

use rten_gemm::{BiasVector, GemmExecutor, GemmInputA, GemmInputB, GemmOptions, PackedBMatrix};
use rten_tensor::NdTensorView;

/// A weight matrix in the order in which the product's inner loop reads it.
///
/// Packing costs about as much as one product with a few rows, so it is done once, at load, and
/// every layer that shares the weights shares the packed copy.
///
/// # The same bits for a row, whatever is beside it
///
/// An element of a product is a sum over the inputs in blocks of 256, each block summed in order by
/// fused multiply-adds from zero, the blocks then added in order. `rten-gemm` has other orders for
/// a matrix that is not packed (a product with one row takes a path of its own), none for a packed
/// one: tile heights and the split over threads change which thread computes an element, not how.
/// `tests/invariance.rs` holds this to the bit.
pub struct PackedMatrix {
    kernel: GemmExecutor<f32, f32, f32>,
    packed: PackedBMatrix<f32>,
}

impl PackedMatrix {
    /// Packs `weight` of shape `[outputs, inputs]`, row-major, as PyTorch's `Linear` holds it.
    ///
    /// # Panics
    /// If `weight` does not have `outputs * inputs` elements.
    pub fn new(weight: &[f32], outputs: usize, inputs: usize) -> Self {
        assert_eq!(weight.len(), outputs * inputs, "elements of the weight");
        let kernel = GemmExecutor::new();
        let weight = NdTensorView::from_data([outputs, inputs], weight);
        let packed = kernel.prepack_b(weight.transposed());
        PackedMatrix { kernel, packed }
    }

    /// Number of inputs, the length of a row that is multiplied.
    pub fn inputs(&self) -> usize {
        self.packed.rows()
    }

    /// Number of outputs, the length of a row of the product.
    pub fn outputs(&self) -> usize {
        self.packed.cols()
    }

    /// `out = x weightᵀ + bias`: `x` is `[rows, inputs]`, `bias` `[outputs]`, `out`
    /// `[rows, outputs]`.
    ///
    /// # Panics
    /// If the slices do not have these shapes.
    pub fn multiply(&self, x: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
        let rows = self.rows_of(x);
        assert_eq!(out.len(), rows * self.outputs(), "elements of the product");
        assert!(
            bias.is_none_or(|bias| bias.len() == self.outputs()),
            "elements of the bias"
        );
        let result = self.kernel.gemm(
            out,
            GemmInputA::Unpacked(NdTensorView::from_data([rows, self.inputs()], x)),
            GemmInputB::Packed(&self.packed),
            GemmOptions {
                bias: bias.map(BiasVector::Row),
                ..Default::default()
            },
        );
        if let Err(error) = result {
            unreachable!("shapes were checked above: {error}");
        }
    }

    fn rows_of(&self, x: &[f32]) -> usize {
        if self.inputs() == 0 {
            return 0;
        }
        assert_eq!(x.len() % self.inputs(), 0, "elements of a row");
        x.len() / self.inputs()
    }
}
