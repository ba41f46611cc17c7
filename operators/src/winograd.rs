//! Convolutions of 3x3 taps and stride 1, in two to four times fewer multiplications.
//!
//! The result is cut into tiles of 4x4 (2x2) values. All that a tile needs of a channel, 6x6 (4x4)
//! values, is transformed, so that what remains between channels is 36 (16) matrix products, one
//! for each place in a tile; their products, transformed back, are the results. Sums are taken in
//! another order than a plain convolution takes them in, which in 32 bits changes the sixth digit.

use tract_onnx::{
    prelude::*,
    tract_core::{
        internal::*,
        ops::{
            cnn::{Conv, KernelFormat},
            nn::DataFormat,
        },
    },
};

use crate::{
    parts::{Activation, Numbers, Scratch, Weights, multiply, output, picture},
    tile::{Four, LANES, Lanes, Tile, Two},
};

/// How many values of transformed input are worked on at once: they should stay in a cache of a
/// core's own.
const STRIP: usize = 512 * 1024;
/// With fewer channels the transforms cost more than they save.
const LEAST_CHANNELS: usize = 16;

/// Where the values lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Geometry {
    /// Channels, height and width of the input.
    input: [usize; 3],
    /// Padding above and on the left.
    padding: [usize; 2],
    /// Channels, height and width of the output.
    output: [usize; 3],
    /// Side of a tile.
    tile: usize,
}

impl Geometry {
    /// Tiles, down and across.
    fn tiles(&self) -> [usize; 2] {
        [self.output[1].div_ceil(self.tile), self.output[2].div_ceil(self.tile)]
    }

    /// What a convolution with tiles of this side costs, in multiplications. The transformed
    /// weights count as well, as they have to be kept, and read each time.
    fn cost(&self) -> usize {
        const READ: usize = 32;
        let [down, across] = self.tiles();
        (self.tile + 2).pow(2) * (down * across + READ) * self.input[0] * self.output[0]
    }
}

/// The convolution, its bias and its activation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Winograd {
    geometry: Geometry,
    /// For each place in a tile, an `input x output` matrix.
    filters: Numbers,
    bias: Numbers,
    activation: Activation,
    scratch: Scratch,
}

impl Op for Winograd {
    fn name(&self) -> StaticName {
        "WinogradConv".into()
    }

    fn validation(&self) -> Validation {
        Validation::Rounding
    }

    op_as_typed_op!();
}

impl EvalOp for Winograd {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let input = input.try_as_plain_ram()?;
        let from = input.as_slice()?;
        output(self.geometry.output, |to| match self.geometry.tile {
            4 => self.run::<Four, 6, 4>(from, to),
            _ => self.run::<Two, 4, 2>(from, to),
        })
    }
}

impl TypedOp for Winograd {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [channels, height, width] = self.geometry.output;
        Ok(tvec!(inputs[0].datum_type.fact([1, channels, height, width])))
    }

    as_op!();
}

/// Some rows of tiles.
#[derive(Clone, Copy)]
struct Strip {
    start: usize,
    rows: usize,
}

impl Winograd {
    fn run<T: Tile<IN, OUT>, const IN: usize, const OUT: usize>(
        &self,
        from: &[f32],
        to: &mut [f32],
    ) -> TractResult<()> {
        let Geometry { input: [inputs, ..], output: [outputs, ..], .. } = self.geometry;
        let [down, across] = self.geometry.tiles();
        let most = (STRIP / (IN * IN * inputs.max(outputs) * across)).clamp(1, down);
        // The parts of what is borrowed: transformed values, products, and what is half done.
        let lengths = [
            IN * IN * inputs * most * across,
            IN * IN * outputs * most * across,
            (OUT * most + 2) * IN * across,
            OUT * across + 2,
        ];
        self.scratch.lend(lengths.iter().sum(), |scratch| {
            let (values, scratch) = scratch.split_at_mut(lengths[0]);
            let (products, scratch) = scratch.split_at_mut(lengths[1]);
            let (mixed, line) = scratch.split_at_mut(lengths[2]);
            for start in (0..down).step_by(most) {
                let strip = Strip { start, rows: most.min(down - start) };
                let tiles = strip.rows * across;
                let values = &mut values[..IN * IN * inputs * tiles];
                let products = &mut products[..IN * IN * outputs * tiles];
                self.transform::<T, IN, OUT>(strip, from, values, mixed, line);
                let places = values.chunks_exact(inputs * tiles);
                let places = places.zip(products.chunks_exact_mut(outputs * tiles));
                for (filters, (values, products)) in
                    self.filters.chunks_exact(outputs * inputs).zip(places)
                {
                    multiply(filters, values, products, inputs, tiles, 0..tiles)?;
                }
                self.finish::<T, IN, OUT>(strip, products, to, mixed, line);
            }
            Ok(())
        })
    }

    /// The input's tiles: for each place in a tile, a matrix of channels by tiles.
    fn transform<T: Tile<IN, OUT>, const IN: usize, const OUT: usize>(
        &self,
        strip: Strip,
        from: &[f32],
        values: &mut [f32],
        mixed: &mut [f32],
        line: &mut [f32],
    ) {
        let Geometry { input: [channels, height, width], padding: [top, left], .. } = self.geometry;
        let across = self.geometry.tiles()[1];
        let tiles = strip.rows * across;
        let mixed = &mut mixed[..(OUT * strip.rows + 2) * IN * across];
        line.fill(0.0);
        for (channel, plane) in from.chunks_exact(height * width).enumerate() {
            // First along x: a line of the input becomes IN lines of tiles.
            for (y, mixed) in mixed.chunks_exact_mut(IN * across).enumerate() {
                let row = (strip.start * OUT + y).checked_sub(top).filter(|row| *row < height);
                let Some(row) = row else {
                    mixed.fill(0.0);
                    continue;
                };
                line[left..left + width].copy_from_slice(&plane[row * width..][..width]);
                for at in blocks(across) {
                    let line = &line[OUT * at..][..OUT * (LANES - 1) + IN];
                    let mut d = [Lanes::ZERO; IN];
                    for (i, lanes) in d.iter_mut().enumerate() {
                        for (lane, value) in lanes.0.iter_mut().enumerate() {
                            *value = line[OUT * lane + i];
                        }
                    }
                    Lanes::store_each(T::values(d), mixed, at, across);
                }
            }
            // Then along y.
            for row in 0..strip.rows {
                let mixed = &mixed[row * OUT * IN * across..][..IN * IN * across];
                let start = channel * tiles + row * across;
                for j in 0..IN {
                    for at in blocks(across) {
                        let d = Lanes::load_each(mixed, j * across + at, IN * across);
                        let matrix = channels * tiles;
                        let start = j * matrix + start + at;
                        Lanes::store_each(T::values(d), values, start, IN * matrix);
                    }
                }
            }
        }
    }

    /// The output, of products that lie as the transformed input does.
    fn finish<T: Tile<IN, OUT>, const IN: usize, const OUT: usize>(
        &self,
        strip: Strip,
        products: &[f32],
        to: &mut [f32],
        mixed: &mut [f32],
        line: &mut [f32],
    ) {
        let Geometry { output: [channels, height, width], .. } = self.geometry;
        let across = self.geometry.tiles()[1];
        let tiles = strip.rows * across;
        let planes = to.chunks_exact_mut(height * width);
        for (channel, (plane, bias)) in planes.zip(self.bias.iter()).enumerate() {
            for j in 0..IN {
                for at in blocks(tiles) {
                    let start = (j * channels + channel) * tiles + at;
                    let m = Lanes::load_each(products, start, IN * channels * tiles);
                    Lanes::store_each(T::results(m), mixed, j * tiles + at, IN * tiles);
                }
            }
            let first = strip.start * OUT;
            let lines = plane.chunks_exact_mut(width).skip(first).take(strip.rows * OUT);
            for (y, out) in lines.enumerate() {
                let mixed = &mixed[y % OUT * IN * tiles..][..IN * tiles];
                let row = y / OUT * across;
                for at in blocks(across) {
                    let results = T::results(Lanes::load_each(mixed, row + at, tiles));
                    let line = &mut line[OUT * at..][..OUT * LANES];
                    for (o, lanes) in results.into_iter().enumerate() {
                        let lanes = lanes.change(|value| self.activation.of(value + bias));
                        for (lane, value) in lanes.0.into_iter().enumerate() {
                            line[OUT * lane + o] = value;
                        }
                    }
                }
                out.copy_from_slice(&line[..width]);
            }
        }
    }
}

/// Starts of blocks of lanes that cover so many values; the last block reaches back into the one
/// before it. There must be [`LANES`] values at least.
fn blocks(length: usize) -> impl Iterator<Item = usize> {
    (0..length).step_by(LANES).map(move |at| at.min(length - LANES))
}

/// The cheapest tiles for a convolution that can be done so.
fn geometry(model: &TypedModel, node: &TypedNode, conv: &Conv) -> TractResult<Option<Geometry>> {
    let spec = &conv.pool_spec;
    rule_if!(conv.group == 1 && conv.q_params.is_none() && conv.kernel_fmt == KernelFormat::OIHW);
    rule_if!(spec.data_format == DataFormat::NCHW && spec.kernel_shape[..] == [3, 3]);
    rule_if!(spec.strides()[..] == [1, 1] && spec.dilations()[..] == [1, 1]);
    rule_if!(spec.input_channels.min(spec.output_channels) >= LEAST_CHANNELS);
    rule_if_some!(input = picture(model.outlet_fact(node.inputs[0])?));
    let sides = spec.computed_padding(&input[1..]);
    let geometry = |tile| Geometry {
        input,
        padding: [sides[0].pad_before, sides[1].pad_before],
        output: [spec.output_channels, sides[0].convoluted, sides[1].convoluted],
        tile,
    };
    let fits = |one: &Geometry| one.tiles()[0] > 0 && one.tiles()[1] >= LANES;
    let fitting = [geometry(4), geometry(2)].into_iter().filter(fits);
    Ok(fitting.min_by_key(Geometry::cost))
}

/// The weights, transformed: for each place in a tile, a matrix of inputs by outputs.
fn filters<T: Tile<IN, OUT>, const IN: usize, const OUT: usize>(
    kernel: &[f32],
    outputs: usize,
) -> Numbers {
    let pairs = kernel.len() / 9;
    let inputs = pairs / outputs;
    let mut filters = vec![0.0; IN * IN * pairs];
    for (pair, taps) in kernel.chunks_exact(9).enumerate() {
        let pair = pair % inputs * outputs + pair / inputs;
        let rows: [_; 3] =
            std::array::from_fn(|y| T::filter([taps[3 * y], taps[3 * y + 1], taps[3 * y + 2]]));
        for j in 0..IN {
            for (i, value) in T::filter(rows.map(|row| row[j])).into_iter().enumerate() {
                filters[(i * IN + j) * pairs + pair] = value;
            }
        }
    }
    filters.into()
}

/// Replaces a convolution that is worth it, with the activation behind it.
pub(crate) fn rule(
    scratch: &Scratch,
    model: &TypedModel,
    node: &TypedNode,
    name: &str,
    conv: &Conv,
) -> TractResult<Option<TypedModelPatch>> {
    rule_if_some!(geometry = geometry(model, node, conv)?);
    rule_if_some!(weights = Weights::of(model, node, geometry.output[0])?);
    let filters = match geometry.tile {
        4 => filters::<Four, 6, 4>(weights.kernel()?, geometry.output[0]),
        _ => filters::<Two, 4, 2>(weights.kernel()?, geometry.output[0]),
    };
    let (activation, last) = Activation::behind(model, node)?;
    let op =
        Winograd { geometry, filters, bias: weights.bias, activation, scratch: scratch.clone() };
    let mut patch = TypedModelPatch::new(format!("{name} as products of tiles"));
    let input = patch.tap_model(model, node.inputs[0])?;
    let output = patch.wire_node(&last.name, op, &[input])?;
    patch.shunt_outside(model, last.id.into(), output[0])?;
    Ok(Some(patch))
}
