//! The numbers the reference model computes with: plain f64, or an f64 with its derivative.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// What the model asks of a number.
pub trait Scalar:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self> + Neg<Output = Self>
{
    /// A number that does not depend on the parameters.
    fn constant(x: f64) -> Self;
    /// The number without its derivative.
    fn value(self) -> f64;
    /// `f(self)`, where `f` has the value and the slope given at `self.value()`.
    fn chain(self, value: f64, slope: f64) -> Self;

    fn exp(self) -> Self {
        let y = self.value().exp();
        self.chain(y, y)
    }

    fn ln(self) -> Self {
        self.chain(self.value().ln(), 1.0 / self.value())
    }

    fn sqrt(self) -> Self {
        let y = self.value().sqrt();
        self.chain(y, 0.5 / y)
    }

    fn tanh(self) -> Self {
        let y = self.value().tanh();
        self.chain(y, 1.0 - y * y)
    }

    fn erf(self) -> Self {
        let x = self.value();
        self.chain(libm::erf(x), std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp())
    }

    /// The greater, derivative included.
    fn max(self, other: Self) -> Self {
        if other.value() > self.value() { other } else { self }
    }

    /// Between two bounds; outside them constant.
    fn clamp(self, low: f64, high: f64) -> Self {
        let x = self.value();
        if x < low || x > high { Self::constant(x.clamp(low, high)) } else { self }
    }
}

/// The sum, 0 without terms.
pub fn sum<S: Scalar>(terms: impl IntoIterator<Item = S>) -> S {
    terms.into_iter().fold(S::constant(0.0), |sum, term| sum + term)
}

impl Scalar for f64 {
    fn constant(x: f64) -> f64 {
        x
    }

    fn value(self) -> f64 {
        self
    }

    fn chain(self, value: f64, _: f64) -> f64 {
        value
    }
}

/// Directions that one run differentiates in.
pub const LANES: usize = 8;

/// `value + derivative * h` for an infinitesimal h: running a function on these gives its exact derivative
/// in the direction that the inputs' derivatives name, for several directions at once.
#[derive(Debug, Clone, Copy)]
pub struct Dual {
    pub value: f64,
    pub derivative: [f64; LANES],
}

impl Dual {
    fn new(value: f64, derivative: impl Fn(usize) -> f64) -> Dual {
        Dual { value, derivative: std::array::from_fn(derivative) }
    }
}

impl Scalar for Dual {
    fn constant(value: f64) -> Dual {
        Dual::new(value, |_| 0.0)
    }

    fn value(self) -> f64 {
        self.value
    }

    fn chain(self, value: f64, slope: f64) -> Dual {
        Dual::new(value, |l| slope * self.derivative[l])
    }
}

impl Add for Dual {
    type Output = Dual;
    fn add(self, b: Dual) -> Dual {
        Dual::new(self.value + b.value, |l| self.derivative[l] + b.derivative[l])
    }
}

impl Sub for Dual {
    type Output = Dual;
    fn sub(self, b: Dual) -> Dual {
        Dual::new(self.value - b.value, |l| self.derivative[l] - b.derivative[l])
    }
}

impl Mul for Dual {
    type Output = Dual;
    // The product rule has a sum in it.
    #[allow(clippy::suspicious_arithmetic_impl)]
    fn mul(self, b: Dual) -> Dual {
        Dual::new(self.value * b.value, |l| self.derivative[l] * b.value + self.value * b.derivative[l])
    }
}

impl Div for Dual {
    type Output = Dual;
    fn div(self, b: Dual) -> Dual {
        let (value, inverse) = (self.value / b.value, 1.0 / b.value);
        Dual::new(value, |l| (self.derivative[l] - value * b.derivative[l]) * inverse)
    }
}

impl Neg for Dual {
    type Output = Dual;
    fn neg(self) -> Dual {
        Dual::new(-self.value, |l| -self.derivative[l])
    }
}
