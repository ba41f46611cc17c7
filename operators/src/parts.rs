//! What operators are made of.

use std::{
    hash,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use tract_onnx::{
    prelude::{
        tract_ndarray::{ArrayView2, ArrayViewMut2, Axis, linalg::general_mat_mul},
        *,
    },
    tract_core::{
        internal::*,
        ops::{element_wise::ElementWiseOp, nn::LeakyRelu},
    },
};

/// Constants of an operator, which can be compared and hashed.
#[derive(Debug, Clone)]
pub(crate) struct Numbers(Arc<[f32]>);

impl Numbers {
    fn bits(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|value| value.to_bits())
    }
}

impl From<Vec<f32>> for Numbers {
    fn from(values: Vec<f32>) -> Self {
        Self(values.into())
    }
}

impl std::ops::Deref for Numbers {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl PartialEq for Numbers {
    fn eq(&self, other: &Self) -> bool {
        self.bits().eq(other.bits())
    }
}

impl Eq for Numbers {}

impl hash::Hash for Numbers {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.bits().for_each(|bits| bits.hash(state));
    }
}

/// Memory that a model's operators use one after another, so that it is not asked for and cleared
/// again for each of them in each frame. What it holds means nothing from one use to the next.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scratch(Arc<Mutex<Vec<f32>>>);

impl Scratch {
    /// Lends so many values, whatever they are.
    pub(crate) fn lend<R>(&self, length: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
        // Whoever panicked with it has left values, and all values are good.
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.len() < length {
            memory.resize(length, 0.0);
        }
        work(&mut memory[..length])
    }
}

impl PartialEq for Scratch {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Scratch {}

impl hash::Hash for Scratch {
    fn hash<H: hash::Hasher>(&self, _: &mut H) {}
}

/// What becomes of each value of a convolution's output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Activation {
    /// What negative values are multiplied by: 1 leaves them as they are.
    slope: f32,
}

impl PartialEq for Activation {
    fn eq(&self, other: &Self) -> bool {
        self.slope.to_bits() == other.slope.to_bits()
    }
}

impl Eq for Activation {}

impl hash::Hash for Activation {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.slope.to_bits().hash(state);
    }
}

impl Activation {
    /// The one behind `node`, if nothing else sees the node's output, and the node that the two
    /// end with.
    pub(crate) fn behind<'m>(
        model: &'m TypedModel,
        node: &'m TypedNode,
    ) -> TractResult<(Self, &'m TypedNode)> {
        let hidden = !model.output_outlets()?.contains(&node.id.into());
        if let (true, [next]) = (hidden, &node.outputs[0].successors[..]) {
            let next = model.node(next.node);
            let op = next.op_as::<ElementWiseOp>();
            if let Some(leaky) = op.and_then(|op| op.0.downcast_ref::<LeakyRelu>()) {
                return Ok((Self { slope: leaky.alpha }, next));
            }
        }
        Ok((Self { slope: 1.0 }, node))
    }

    #[inline(always)]
    pub(crate) fn of(self, value: f32) -> f32 {
        if value < 0.0 { value * self.slope } else { value }
    }
}

/// Weights that are known when the model is loaded.
pub(crate) struct Weights {
    kernel: Arc<Tensor>,
    /// One for each channel of the output.
    pub(crate) bias: Numbers,
}

impl Weights {
    pub(crate) fn of(
        model: &TypedModel,
        node: &TypedNode,
        channels: usize,
    ) -> TractResult<Option<Self>> {
        rule_if!(node.inputs.len() == 3);
        rule_if_some!(kernel = model.outlet_fact(node.inputs[1])?.konst.clone());
        rule_if_some!(bias = model.outlet_fact(node.inputs[2])?.konst.clone());
        rule_if!([&kernel, &bias].iter().all(|one| one.datum_type() == f32::datum_type()));
        rule_if!([&kernel, &bias].iter().all(|one| one.try_as_plain_ram().is_ok()));
        let bias = bias.try_as_plain_ram()?;
        let bias = match bias.as_slice::<f32>()? {
            [one] => vec![*one; channels],
            each if each.len() == channels => each.to_vec(),
            _ => return Ok(None),
        };
        Ok(Some(Self { kernel, bias: bias.into() }))
    }

    /// `output x input x height x width`.
    pub(crate) fn kernel(&self) -> TractResult<&[f32]> {
        self.kernel.try_as_plain_ram()?.as_slice()
    }
}

/// The sides of one picture: channels, height and width. Nothing for more pictures and for empty
/// ones, for shapes that are not known, and for anything but 32 bits.
pub(crate) fn picture(fact: &TypedFact) -> Option<[usize; 3]> {
    match fact.shape.as_concrete()? {
        &[1, channels, height, width] if fact.datum_type == f32::datum_type() => {
            let sides = [channels, height, width];
            (!sides.contains(&0)).then_some(sides)
        }
        _ => None,
    }
}

/// Makes the output for an operator to write.
pub(crate) fn output(
    [channels, height, width]: [usize; 3],
    write: impl FnOnce(&mut [f32]) -> TractResult<()>,
) -> TractResult<TVec<TValue>> {
    let mut output = Tensor::zero::<f32>(&[1, channels, height, width])?;
    write(output.try_as_plain_ram_mut()?.as_slice_mut()?)?;
    Ok(tvec!(output.into_tvalue()))
}

/// Multiplies a matrix of `inner` columns, which lies column by column, with one of `inner` rows
/// and as many columns as `columns` has, into these columns of one with `width` columns.
pub(crate) fn multiply(
    left: &[f32],
    right: &[f32],
    product: &mut [f32],
    inner: usize,
    width: usize,
    columns: Range<usize>,
) -> TractResult<()> {
    let rows = left.len() / inner;
    let left = ArrayView2::from_shape((inner, rows), left)?;
    let right = ArrayView2::from_shape((inner, columns.len()), right)?;
    let mut product = ArrayViewMut2::from_shape((rows, width), product)?;
    let mut product = product.slice_axis_mut(Axis(1), columns.into());
    general_mat_mul(1.0, &left.t(), &right, 0.0, &mut product);
    Ok(())
}
