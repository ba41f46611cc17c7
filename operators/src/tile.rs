//! The arithmetic of Winograd's minimal filtering, in one dimension: of how many values a tile is
//! made, and what is multiplied instead of convolved. Two dimensions are this twice.
//!
//! The matrices are those of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
//! with their zeroes, ones and common sums used up.

use std::ops::{Add, Mul, Sub};

/// How many values are computed at once: what SSE2 and NEON hold in a register.
pub(crate) const LANES: usize = 4;

/// As many values, added and scaled one by one.
#[derive(Clone, Copy)]
pub(crate) struct Lanes(pub(crate) [f32; LANES]);

// Loops instead of `array::map` and `from_fn`, which the compiler leaves as calls.
impl Lanes {
    pub(crate) const ZERO: Self = Self([0.0; LANES]);

    /// Those at `at` and behind it.
    #[inline(always)]
    pub(crate) fn load(from: &[f32], at: usize) -> Self {
        let mut lanes = Self::ZERO;
        for (lane, value) in lanes.0.iter_mut().zip(&from[at..][..LANES]) {
            *lane = *value;
        }
        lanes
    }

    /// Of so many arrays, each of which starts `stride` behind the one before it.
    #[inline(always)]
    pub(crate) fn load_each<const N: usize>(from: &[f32], at: usize, stride: usize) -> [Self; N] {
        let mut each = [Self::ZERO; N];
        for (i, lanes) in each.iter_mut().enumerate() {
            *lanes = Self::load(from, at + i * stride);
        }
        each
    }

    /// To `at` and behind it.
    #[inline(always)]
    pub(crate) fn store(self, to: &mut [f32], at: usize) {
        for (value, lane) in to[at..][..LANES].iter_mut().zip(self.0) {
            *value = lane;
        }
    }

    /// To as many arrays, each of which starts `stride` behind the one before it.
    #[inline(always)]
    pub(crate) fn store_each<const N: usize>(
        each: [Self; N],
        to: &mut [f32],
        at: usize,
        stride: usize,
    ) {
        for (i, lanes) in each.into_iter().enumerate() {
            lanes.store(to, at + i * stride);
        }
    }

    #[inline(always)]
    pub(crate) fn change(mut self, change: impl Fn(f32) -> f32) -> Self {
        for value in &mut self.0 {
            *value = change(*value);
        }
        self
    }
}

impl Add for Lanes {
    type Output = Self;
    #[inline(always)]
    fn add(mut self, other: Self) -> Self {
        for (value, other) in self.0.iter_mut().zip(other.0) {
            *value += other;
        }
        self
    }
}

impl Sub for Lanes {
    type Output = Self;
    #[inline(always)]
    fn sub(mut self, other: Self) -> Self {
        for (value, other) in self.0.iter_mut().zip(other.0) {
            *value -= other;
        }
        self
    }
}

impl Mul<f32> for Lanes {
    type Output = Self;
    #[inline(always)]
    fn mul(self, factor: f32) -> Self {
        self.change(|value| value * factor)
    }
}

/// A tile of `OUT` results of a filter of three taps, from `IN` = `OUT` + 2 values and as many
/// products.
pub(crate) trait Tile<const IN: usize, const OUT: usize> {
    /// What is multiplied, of the values.
    fn values(d: [Lanes; IN]) -> [Lanes; IN];
    /// What is multiplied, of the filter.
    fn filter(w: [f32; 3]) -> [f32; IN];
    /// The results, of the products.
    fn results(m: [Lanes; IN]) -> [Lanes; OUT];
}

/// F(4, 3): 36 products for 16 results in two dimensions, where a convolution takes 144.
pub(crate) struct Four;

impl Tile<6, 4> for Four {
    #[inline(always)]
    fn values(d: [Lanes; 6]) -> [Lanes; 6] {
        let (a, b) = (d[4] - d[2] * 4.0, d[3] - d[1] * 4.0);
        let (c, e) = (d[4] - d[2], (d[3] - d[1]) * 2.0);
        [d[0] * 4.0 - d[2] * 5.0 + d[4], a + b, a - b, c + e, c - e, d[1] * 4.0 - d[3] * 5.0 + d[5]]
    }

    fn filter(w: [f32; 3]) -> [f32; 6] {
        let (a, b) = ((w[0] + w[2]) / 6.0, w[1] / 6.0);
        let (c, d) = (w[0] / 24.0 + w[2] / 6.0, w[1] / 12.0);
        [w[0] / 4.0, -a - b, b - a, c + d, c - d, w[2]]
    }

    #[inline(always)]
    fn results(m: [Lanes; 6]) -> [Lanes; 4] {
        let (a, b) = (m[1] + m[2], m[1] - m[2]);
        let (c, d) = (m[3] + m[4], m[3] - m[4]);
        [m[0] + a + c, b + d * 2.0, a + c * 4.0, b + d * 8.0 + m[5]]
    }
}

/// F(2, 3): 16 products for 4 results in two dimensions, where a convolution takes 36.
pub(crate) struct Two;

impl Tile<4, 2> for Two {
    #[inline(always)]
    fn values(d: [Lanes; 4]) -> [Lanes; 4] {
        [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]
    }

    fn filter(w: [f32; 3]) -> [f32; 4] {
        let (a, b) = ((w[0] + w[2]) / 2.0, w[1] / 2.0);
        [w[0], a + b, a - b, w[2]]
    }

    #[inline(always)]
    fn results(m: [Lanes; 4]) -> [Lanes; 2] {
        [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]
    }
}
