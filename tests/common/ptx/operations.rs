//! The instructions that compute, each written as what it does to its operands.
#![allow(
    clippy::neg_cmp_op_on_partial_ord,
    clippy::double_comparisons,
    reason = "of NaN PTX says which comparison holds"
)]

/// From registers to a register.
pub type Compute = fn(u64, u64, u64, u64) -> u64;

/// What a register can mean.
pub trait Value {
    fn of(bits: u64) -> Self;
    fn bits(self) -> u64;
}

macro_rules! integers {
    ($($type:ty)*) => { $(impl Value for $type {
        fn of(bits: u64) -> $type { bits as $type }
        fn bits(self) -> u64 { self as u64 }
    })* };
}
integers!(i16 u16 i32 u32 i64 u64);

impl Value for bool {
    fn of(bits: u64) -> bool {
        bits != 0
    }
    fn bits(self) -> u64 {
        self.into()
    }
}

impl Value for f32 {
    fn of(bits: u64) -> f32 {
        f32::from_bits(bits as u32)
    }
    fn bits(self) -> u64 {
        if self.is_nan() { 0x7fff_ffff } else { self.to_bits().into() }
    }
}

impl Value for f64 {
    fn of(bits: u64) -> f64 {
        f64::from_bits(bits)
    }
    fn bits(self) -> u64 {
        self.to_bits()
    }
}

macro_rules! compute {
    (|$a:ident: $A:ty| $e:expr) => {
        |a, _, _, _| {
            let $a = <$A>::of(a);
            Value::bits($e)
        }
    };
    (|$a:ident: $A:ty, $b:ident: $B:ty| $e:expr) => {
        |a, b, _, _| {
            let ($a, $b) = (<$A>::of(a), <$B>::of(b));
            Value::bits($e)
        }
    };
    (|$a:ident: $A:ty, $b:ident: $B:ty, $c:ident: $C:ty| $e:expr) => {
        |a, b, c, _| {
            let ($a, $b, $c) = (<$A>::of(a), <$B>::of(b), <$C>::of(c));
            Value::bits($e)
        }
    };
}

macro_rules! comparison {
    ($how:expr, $type:ty) => {
        match $how {
            "eq" => Some(compute!(|a: $type, b: $type| a == b) as Compute),
            "ne" | "neu" => Some(compute!(|a: $type, b: $type| a != b)),
            "lt" => Some(compute!(|a: $type, b: $type| a < b)),
            "le" => Some(compute!(|a: $type, b: $type| a <= b)),
            "gt" => Some(compute!(|a: $type, b: $type| a > b)),
            "ge" => Some(compute!(|a: $type, b: $type| a >= b)),
            _ => None,
        }
    };
}

macro_rules! unordered {
    ($how:expr, $type:ty) => {
        match $how {
            "ltu" => Some(compute!(|a: $type, b: $type| !(a >= b)) as Compute),
            "leu" => Some(compute!(|a: $type, b: $type| !(a > b))),
            "gtu" => Some(compute!(|a: $type, b: $type| !(a <= b))),
            "geu" => Some(compute!(|a: $type, b: $type| !(a < b))),
            "num" => Some(compute!(|a: $type, b: $type| !a.is_nan() && !b.is_nan())),
            "nan" => Some(compute!(|a: $type, b: $type| a.is_nan() || b.is_nan())),
            // Of numbers "ne" is false where one is none.
            "ne" => Some(compute!(|a: $type, b: $type| a < b || a > b)),
            how => comparison!(how, $type),
        }
    };
}

/// `x`, or the zero of its sign if it is subnormal.
fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0f32.copysign(x) } else { x }
}

/// A minimum or maximum, of which -0 is less than 0 and a NaN is no candidate.
fn choose(a: f32, b: f32, first: bool) -> f32 {
    match (a.is_nan(), b.is_nan()) {
        (true, _) => b,
        (_, true) => a,
        _ if first == (a.total_cmp(&b).is_lt()) => a,
        _ => b,
    }
}

/// A shift of an integer of so many bits: from there on there is nothing left.
fn shifted<T: Value>(x: T, by: u32, bits: u32, gone: T, shift: fn(T, u32) -> T) -> T {
    if by < bits { shift(x, by) } else { gone }
}

/// What an instruction computes; `None` for one that is not here.
pub fn operation(opcode: &str) -> Option<Compute> {
    let parts: Vec<&str> = opcode.split('.').collect();
    if let ["setp", how, kind] = parts[..] {
        return match kind {
            "s16" => comparison!(how, i16),
            "u16" => comparison!(how, u16),
            "s32" => comparison!(how, i32),
            "u32" | "b32" => comparison!(how, u32),
            "s64" => comparison!(how, i64),
            "u64" | "b64" => comparison!(how, u64),
            "f32" => unordered!(how, f32),
            "f64" => unordered!(how, f64),
            _ => None,
        };
    }
    Some(match opcode {
        "mov.pred" | "mov.u16" | "mov.b32" | "mov.u32" | "mov.f32" | "mov.b64" | "mov.u64" | "mov.f64"
        | "cvta.to.global.u64" => |a, _, _, _| a,
        "selp.b32" | "selp.u32" | "selp.s32" | "selp.f32" | "selp.b64" | "selp.f64" => {
            compute!(|a: u64, b: u64, c: bool| if c { a } else { b })
        }

        "add.rn.f32" => compute!(|a: f32, b: f32| a + b),
        "sub.rn.f32" => compute!(|a: f32, b: f32| a - b),
        "mul.rn.f32" => compute!(|a: f32, b: f32| a * b),
        "div.rn.f32" => compute!(|a: f32, b: f32| a / b),
        "rcp.rn.f32" => compute!(|a: f32| 1.0 / a),
        "sqrt.rn.f32" => compute!(|a: f32| a.sqrt()),
        "fma.rn.f32" => compute!(|a: f32, b: f32, c: f32| a.mul_add(b, c)),
        "fma.rn.ftz.f32" => compute!(|a: f32, b: f32, c: f32| flush(flush(a).mul_add(flush(b), flush(c)))),
        "min.f32" => compute!(|a: f32, b: f32| choose(a, b, true)),
        "max.f32" => compute!(|a: f32, b: f32| choose(a, b, false)),
        "neg.f32" => compute!(|a: u32| a ^ 1 << 31),
        "abs.f32" => compute!(|a: u32| a & !(1 << 31)),
        "add.rn.f64" => compute!(|a: f64, b: f64| a + b),
        "mul.rn.f64" => compute!(|a: f64, b: f64| a * b),
        "cvt.rn.f32.s32" => compute!(|a: i32| a as f32),
        "cvt.rn.f32.u32" => compute!(|a: u32| a as f32),
        "cvt.f64.f32" => compute!(|a: f32| f64::from(a)),

        "add.s32" | "add.u32" => compute!(|a: u32, b: u32| a.wrapping_add(b)),
        "sub.s32" | "sub.u32" => compute!(|a: u32, b: u32| a.wrapping_sub(b)),
        "mul.lo.s32" | "mul.lo.u32" => compute!(|a: u32, b: u32| a.wrapping_mul(b)),
        "mad.lo.s32" | "mad.lo.u32" => compute!(|a: u32, b: u32, c: u32| a.wrapping_mul(b).wrapping_add(c)),
        "mul.wide.s32" => compute!(|a: i32, b: i32| i64::from(a) * i64::from(b)),
        "mul.wide.u32" => compute!(|a: u32, b: u32| u64::from(a) * u64::from(b)),
        "div.s32" => compute!(|a: i32, b: i32| a.wrapping_div(b)),
        "div.u32" => compute!(|a: u32, b: u32| a / b),
        "rem.s32" => compute!(|a: i32, b: i32| a.wrapping_rem(b)),
        "rem.u32" => compute!(|a: u32, b: u32| a % b),
        "min.s32" => compute!(|a: i32, b: i32| a.min(b)),
        "max.s32" => compute!(|a: i32, b: i32| a.max(b)),
        "min.u32" => compute!(|a: u32, b: u32| a.min(b)),
        "max.u32" => compute!(|a: u32, b: u32| a.max(b)),
        "neg.s32" => compute!(|a: i32| a.wrapping_neg()),
        "add.s64" | "add.u64" => compute!(|a: u64, b: u64| a.wrapping_add(b)),
        "sub.s64" | "sub.u64" => compute!(|a: u64, b: u64| a.wrapping_sub(b)),
        "mul.lo.s64" | "mul.lo.u64" => compute!(|a: u64, b: u64| a.wrapping_mul(b)),
        "div.s64" => compute!(|a: i64, b: i64| a.wrapping_div(b)),
        "div.u64" => compute!(|a: u64, b: u64| a / b),
        "rem.s64" => compute!(|a: i64, b: i64| a.wrapping_rem(b)),
        "min.s64" => compute!(|a: i64, b: i64| a.min(b)),
        "max.s64" => compute!(|a: i64, b: i64| a.max(b)),
        "neg.s64" => compute!(|a: i64| a.wrapping_neg()),
        "cvt.s64.s32" => compute!(|a: i32| i64::from(a)),
        "cvt.u64.u32" => compute!(|a: u32| u64::from(a)),
        "cvt.u32.u64" | "cvt.u32.s64" => compute!(|a: u64| a as u32),

        "and.pred" | "and.b32" | "and.b64" => |a, b, _, _| a & b,
        "or.pred" | "or.b32" | "or.b64" => |a, b, _, _| a | b,
        "xor.pred" | "xor.b32" | "xor.b64" => |a, b, _, _| a ^ b,
        "not.pred" => compute!(|a: bool| !a),
        "not.b32" => compute!(|a: u32| !a),
        "not.b64" => compute!(|a: u64| !a),
        "shl.b32" => compute!(|a: u32, b: u32| shifted(a, b, 32, 0, |x, n| x << n)),
        "shr.u32" => compute!(|a: u32, b: u32| shifted(a, b, 32, 0, |x, n| x >> n)),
        "shr.s32" => compute!(|a: i32, b: u32| shifted(a, b, 32, a >> 31, |x, n| x >> n)),
        "shl.b64" => compute!(|a: u64, b: u32| shifted(a, b, 64, 0, |x, n| x << n)),
        "shr.u64" => compute!(|a: u64, b: u32| shifted(a, b, 64, 0, |x, n| x >> n)),
        "shr.s64" => compute!(|a: i64, b: u32| shifted(a, b, 64, a >> 63, |x, n| x >> n)),
        // The upper half of (b, a) shifted to the left.
        "shf.l.wrap.b32" => compute!(|a: u32, b: u32, c: u32| {
            ((u64::from(b) << 32 | u64::from(a)) << (c & 31) >> 32) as u32
        }),
        // The lowest d bits of a, in b from bit c on.
        "bfi.b32" => |a, b, c, d| {
            let field = ((1u64 << d.min(32)) - 1) << c.min(32);
            (b & !field | a << c.min(32) & field) & 0xffff_ffff
        },
        _ => return None,
    })
}
