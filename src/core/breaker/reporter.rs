//! The reporter of a call's result.

/// The longest name of a reporter, in bytes.
pub const REPORTER_BYTES: usize = 128;

/// A reporter, as the hash of its name: 128 bits of FNV-1a, so that a name takes the same room
/// whatever its length.
///
/// Two names count as one only if their hashes agree in all 128 bits. By chance that does not
/// happen. Somebody who constructs two such names gains nothing: whoever may report may report
/// under any name, also that of another. The hash has no key, so a replica and a restarted server
/// know the same reporters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reporter {
    // Two halves, because a `u128` would need an alignment of 16 bytes.
    high: u64,
    low: u64,
}

impl Reporter {
    /// All reports without a name. They count as one reporter.
    pub const UNNAMED: Self = Self { high: 0, low: 0 };

    /// The reporter of this name; `None` if the name is empty or too long.
    pub fn named(name: &[u8]) -> Option<Self> {
        const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        const PRIME: u128 = (1 << 88) + 0x13b;
        if name.is_empty() || name.len() > REPORTER_BYTES {
            return None;
        }
        let hash = name.iter().fold(BASIS, |hash, &byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
        // 0 stands for no name.
        Some(Self::from_bits(hash.max(1)))
    }

    /// The reporter for which [`Reporter::bits`] gave `bits`.
    #[allow(clippy::cast_possible_truncation)] // the two halves
    pub const fn from_bits(bits: u128) -> Self {
        Self { high: (bits >> 64) as u64, low: bits as u64 }
    }

    /// The hash of the name; 0 without a name.
    pub const fn bits(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }

    /// Whether it has a name.
    pub const fn is_named(self) -> bool {
        self.high | self.low != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hash is FNV-1a: these are its published values.
    #[test]
    fn names_are_hashed_as_published() {
        let bits = |name: &[u8]| Reporter::named(name).map(Reporter::bits);
        assert_eq!(bits(b"a"), Some(0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964));
        assert_eq!(bits(b"foobar"), Some(0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18));
        assert_eq!(bits(b""), None);
        assert_eq!(bits(&[b'x'; REPORTER_BYTES + 1]), None);
        assert!(bits(&[0; REPORTER_BYTES]).is_some());
    }
}
