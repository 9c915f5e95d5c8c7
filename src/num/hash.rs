//! FNV-1a with 64 bits (Fowler, Noll and Vo): a hash that is the same on every machine. An address, no secret.

/// The hash of no bytes.
pub const EMPTY: u64 = 0xcbf2_9ce4_8422_2325;

/// The hash of what `hash` stands for, followed by `bytes`. The first of them hardly reach the top bits: who
/// needs every bit of equal use adds a mixer.
pub fn fnv1a(hash: u64, bytes: impl IntoIterator<Item = u8>) -> u64 {
    let add = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.into_iter().fold(hash, add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_hashes() {
        assert_eq!(fnv1a(EMPTY, *b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(fnv1a(EMPTY, *b"foo"), *b"b"), 0xdd12_0e79_0c25_12af);
    }
}
