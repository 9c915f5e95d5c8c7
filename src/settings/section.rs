//! What a section of the configuration is, and the macro that writes one.
//!
//! Each field stands once, with its documentation, type, default and check; the struct, its
//! `Default`, its serde form, the table of keys that error messages search, the range checks and
//! the commented TOML all come from that one place.

use crate::error::Error;
use serde::Serialize;

/// One key of a section.
#[derive(Debug, Clone)]
pub struct Field {
    /// The key as it stands in the file.
    pub name: &'static str,
    /// Its documentation, one entry per line.
    pub doc: &'static [&'static str],
    /// Its value as TOML; `None` where it is not set.
    pub value: Option<String>,
    /// What is wrong with the value, as "what is expected"; `None` where it is within its range.
    pub wrong: Option<&'static str>,
}

/// A section: a name, a documentation and keys.
pub trait Section {
    /// The section's name, empty for the keys above all sections.
    fn key(&self) -> &'static str;
    /// Its documentation, one entry per line.
    fn about(&self) -> &'static [&'static str];
    /// Its keys in the order of the file.
    fn fields(&self) -> Vec<Field>;
    /// The sections inside it (only the whole configuration has any).
    fn sections(&self) -> Vec<&dyn Section> {
        Vec::new()
    }

    /// `section.field`, as errors and `--set` write it.
    fn path(&self, field: &str) -> String {
        if self.key().is_empty() { field.to_string() } else { format!("{}.{field}", self.key()) }
    }

    /// Every field that is out of its own range, here and in the sections inside: [`Error::Usage`] naming
    /// `section.field`.
    fn faults(&self) -> Vec<Error> {
        let own = self.fields().into_iter().filter_map(|field| {
            let found = field.value.unwrap_or_else(|| "nothing".into());
            Some(Error::usage(self.path(field.name), field.wrong?, found, ""))
        });
        let inside = self.sections().into_iter().flat_map(|section| section.faults());
        own.chain(inside).collect()
    }

    /// The whole section as TOML, each key under its documentation; a key that is not set is a comment.
    fn to_toml(&self) -> String {
        let mut out = String::new();
        let comment = |out: &mut String, lines: &[&str]| {
            for line in lines {
                out.push('#');
                out.push_str(line.trim_end());
                out.push('\n');
            }
        };
        comment(&mut out, self.about());
        if !self.key().is_empty() {
            out.push_str(&format!("[{}]\n", self.key()));
        }
        for field in self.fields() {
            out.push('\n');
            comment(&mut out, field.doc);
            match field.value {
                Some(value) => out.push_str(&format!("{} = {value}\n", field.name)),
                None => out.push_str(&format!("# {} is not set\n", field.name)),
            }
        }
        for section in self.sections() {
            out.push('\n');
            out.push_str(&section.to_toml());
        }
        out
    }
}

/// A value as TOML, floats with the fewest digits that read back to the same bits; `None` if not set.
pub(super) fn toml_value<T: Serialize>(value: &T) -> Option<String> {
    let mut text = String::new();
    value.serialize(toml::ser::ValueSerializer::new(&mut text)).ok()?;
    Some(text)
}

/// A number that a range check can look at.
pub trait Number: Copy {
    /// Its value, for comparing only.
    fn value(self) -> f64;
}
macro_rules! numbers { ($($type:ty),*) => { $( impl Number for $type { fn value(self) -> f64 { self as f64 } } )* } }
numbers!(f32, f64, u64, usize);

/// No check.
pub(super) fn any<T>(_: &T) -> Option<&'static str> {
    None
}
/// At least 1.
pub(super) fn at_least_one<T: Number>(x: &T) -> Option<&'static str> {
    (!(1.0..=9e15).contains(&x.value())).then_some("at least 1")
}
/// At least 1, where it is set.
pub(super) fn none_or_at_least_one(x: &Option<usize>) -> Option<&'static str> {
    x.as_ref().and_then(at_least_one)
}
/// Above 0 and finite.
pub(super) fn positive<T: Number>(x: &T) -> Option<&'static str> {
    (!(x.value() > 0.0 && x.value().is_finite())).then_some("a finite number above 0")
}
/// 0 or above, and finite.
pub(super) fn not_negative<T: Number>(x: &T) -> Option<&'static str> {
    (!(x.value() >= 0.0 && x.value().is_finite())).then_some("a finite number from 0 up")
}
/// Finite.
pub(super) fn finite<T: Number>(x: &T) -> Option<&'static str> {
    (!x.value().is_finite()).then_some("a finite number")
}
/// 0 to 1, both included.
pub(super) fn fraction<T: Number>(x: &T) -> Option<&'static str> {
    (!(0.0..=1.0).contains(&x.value())).then_some("a number from 0 to 1")
}
/// 0 to 1, 1 excluded: a decay rate or a dropout probability.
pub(super) fn below_one<T: Number>(x: &T) -> Option<&'static str> {
    (!(0.0..1.0).contains(&x.value())).then_some("a number from 0 up and below 1")
}
/// 0 to 1, 0 excluded.
pub(super) fn nonzero_fraction<T: Number>(x: &T) -> Option<&'static str> {
    (!(x.value() > 0.0 && x.value() <= 1.0)).then_some("a number above 0, at most 1")
}

/// Writes a section: `key: type = default, check;` under each key's documentation. The whole
/// configuration lists its sections after the keys.
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        $name:ident = $key:literal {
            $( $(#[doc = $doc:literal])* $field:ident : $type:ty = $default:expr, $check:expr; )*
        }
        $( sections { $( $(#[doc = $sub_doc:literal])* $sub:ident : $sub_type:ty; )* } )?
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $( $(#[doc = $doc])* pub $field: $type, )*
            $( $( $(#[doc = $sub_doc])* pub $sub: $sub_type, )* )?
        }

        impl Default for $name {
            fn default() -> Self {
                $name {
                    $( $field: $default, )*
                    $( $( $sub: <$sub_type>::default(), )* )?
                }
            }
        }

        impl $crate::settings::Section for $name {
            fn key(&self) -> &'static str {
                $key
            }
            fn about(&self) -> &'static [&'static str] {
                &[$($about),*]
            }
            fn fields(&self) -> Vec<$crate::settings::Field> {
                vec![$( $crate::settings::Field {
                    name: stringify!($field),
                    doc: &[$($doc),*],
                    value: $crate::settings::section::toml_value(&self.$field),
                    wrong: ($check)(&self.$field),
                } ),*]
            }
            $( fn sections(&self) -> Vec<&dyn $crate::settings::Section> {
                vec![$( &self.$sub ),*]
            } )?
        }
    };
}
pub(super) use section;
