//! The one parallel split.
