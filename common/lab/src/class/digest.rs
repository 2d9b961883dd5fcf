//! Numbers that stand for texts. They are the same on every machine and with every toolchain.
//!
//! Invariant: a digest tells texts apart that differ by chance or by work. It does not guard against forgery: who makes two
//! texts with the same digest keeps the grade of the first one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// FNV-1a with 128 bits, as hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(String);

/// Makes a digest of parts. The end of a part counts: `ab` and `c` are not `a` and `bc`.
#[derive(Debug, Clone)]
pub struct Digester(u128);

impl Default for Digester {
    fn default() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl Digester {
    /// One more part.
    pub fn add(&mut self, part: impl AsRef<[u8]>) -> &mut Self {
        let part = part.as_ref();
        for byte in (part.len() as u64).to_le_bytes().iter().chain(part) {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
        self
    }

    /// More parts.
    pub fn add_all(&mut self, parts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> &mut Self {
        for part in parts {
            self.add(part);
        }
        self
    }

    /// The digest of all parts so far.
    pub fn digest(&self) -> Digest {
        Digest(format!("{:032x}", self.0))
    }
}

impl Digest {
    /// The digest of one text.
    pub fn of(text: impl AsRef<[u8]>) -> Self {
        Digester::default().add(text).digest()
    }

    /// Its first digits, which are enough where a name is needed.
    pub fn short(&self) -> &str {
        &self.0[..12.min(self.0.len())]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_their_order_count() {
        let of = |parts: &[&str]| Digester::default().add_all(parts).digest();
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["ab", "c"]), of(&["c", "ab"]));
        assert_ne!(of(&[]), of(&[""]));
        assert_eq!(of(&["x"]).short().len(), 12);
    }
}
